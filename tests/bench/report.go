package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// table is what was measured, by procedure and peer.
type table struct {
	*options
	cells   map[[2]string]*cell
	missing []error // peers that did not start
}

// cell is one procedure on one server, over all rounds.
type cell struct {
	cpu  []float64 // µs per call, or what the procedure counts, by round
	rate []float64 // of the same, per second
	lat  histogram
	err  error
}

func (t *table) at(op, peer string) *cell {
	k := [2]string{op, peer}
	if t.cells[k] == nil {
		t.cells[k] = &cell{}
	}
	return t.cells[k]
}

func (c *cell) add(r result) {
	if r.units == 0 {
		return
	}
	c.cpu = append(c.cpu, float64(r.cpu)/float64(time.Microsecond)/float64(r.units))
	c.rate = append(c.rate, float64(r.units)/r.wall.Seconds())
	c.lat.add(&r.lat)
}

// median of the rounds: one that something else disturbed does not count.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// print writes the report as Markdown.
func (t *table) print(w io.Writer, some []op, peers []*peer) {
	fmt.Fprintf(w, "%d connections, %d calls in flight on each (of 1 MiB: %d), %d rounds of %v, GOMAXPROCS %d, %s, seed %d.\n",
		t.conns, t.outstanding, min(t.outstanding, bigOutstanding), t.rounds, t.time, runtime.GOMAXPROCS(0), runtime.Version(), t.seed)
	fmt.Fprintf(w, "CPU is the server's, in µs per call, median of the rounds [least … most].\n\n")
	fmt.Fprintf(w, "| procedure | server | CPU | × echo | × go-nfs | calls/s | p50 µs | p99 µs |\n|---|---|---:|---:|---:|---:|---:|---:|\n")
	for _, o := range some {
		for _, p := range peers {
			t.row(w, o.name, p.name)
		}
	}
	t.goals(w, some, peers)
	for _, err := range t.missing {
		fmt.Fprintf(w, "\nMissing: %v\n", err)
	}
}

func (t *table) row(w io.Writer, op, peer string) {
	c := t.at(op, peer)
	switch {
	case c.err != nil:
		fmt.Fprintf(w, "| %s | %s | failed | | | | | |\n", op, peer)
		return
	case len(c.cpu) == 0:
		fmt.Fprintf(w, "| %s | %s | no calls | | | | | |\n", op, peer)
		return
	}
	fmt.Fprintf(w, "| %s | %s | %.2f [%.2f … %.2f] | %s | %s | %.0f | %.0f | %.0f |\n", op, peer,
		median(c.cpu), slices.Min(c.cpu), slices.Max(c.cpu), t.ratio(op, c, "echo"), t.ratio(op, c, "go-nfs"),
		median(c.rate), micros(c.lat.quantile(0.5)), micros(c.lat.quantile(0.99)))
}

// The goals for a share of 8 volumes: what is answered from memory costs at most floorGoal
// times the echo's CPU, and nothing costs more CPU or gives fewer calls than go-nfs.
const (
	goalPeer  = "sheaf-8"
	floorGoal = 1.7
)

// fromMemory are the procedures that floorGoal is about.
var fromMemory = []string{"GETATTR", "ACCESS", "LOOKUP hit"}

// goals says which goals this run shows to be missed. It decides nothing: one run on a busy
// machine is no proof of either.
func (t *table) goals(w io.Writer, some []op, peers []*peer) {
	if !slices.ContainsFunc(peers, func(p *peer) bool { return p.name == goalPeer }) {
		return
	}
	fmt.Fprintf(w, "\nGoals of %s:\n\n", goalPeer)
	for _, o := range some {
		c, echo, stock := t.at(o.name, goalPeer), t.at(o.name, "echo"), t.at(o.name, "go-nfs")
		if len(c.cpu) == 0 {
			continue
		}
		if slices.Contains(fromMemory, o.name) && len(echo.cpu) > 0 {
			r := median(c.cpu) / median(echo.cpu)
			fmt.Fprintf(w, "- %s: %.2f of the echo's CPU, at most %.1f: %s\n", o.name, r, floorGoal, verdict(r <= floorGoal))
		}
		if len(stock.cpu) > 0 {
			cpu, rate := median(c.cpu)/median(stock.cpu), median(c.rate)/median(stock.rate)
			fmt.Fprintf(w, "- %s: %.2f of go-nfs' CPU at %.2f of its rate: %s\n", o.name, cpu, rate, verdict(cpu <= 1 && rate >= 1))
		}
	}
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

// ratio is c's CPU per call as a multiple of another peer's.
func (t *table) ratio(op string, c *cell, other string) string {
	d := median(t.at(op, other).cpu)
	if d == 0 || t.at(op, other).err != nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", median(c.cpu)/d)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
