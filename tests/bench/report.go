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
	cpu  []float64 // µs per call, by round
	rate []float64 // calls per second
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
	if r.calls == 0 {
		return
	}
	c.cpu = append(c.cpu, float64(r.cpu)/float64(time.Microsecond)/float64(r.calls))
	c.rate = append(c.rate, float64(r.calls)/r.wall.Seconds())
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

// ratio is c's CPU per call as a multiple of another peer's.
func (t *table) ratio(op string, c *cell, other string) string {
	d := median(t.at(op, other).cpu)
	if d == 0 || t.at(op, other).err != nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", median(c.cpu)/d)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
