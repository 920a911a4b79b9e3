package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sheaf/tests/bench/chart"
)

// growthSays is what the page says first.
const growthSays = "What a call costs the server, and what memory it holds, as directories, files, volumes and clients grow."

// growthLimits are how far each thing grows.
type growthLimits struct {
	entries, files, volumes, clients, share int
	of                                      string // what grows; "": everything
}

func (g *growthLimits) growthFlags(f *flag.FlagSet) {
	f.IntVar(&g.entries, "growth-entries", 1_000_000, "entries of the largest directory")
	f.IntVar(&g.files, "growth-files", 1_000_000, "files of the largest tree; each size has a tree of its own, and each file takes an inode")
	f.IntVar(&g.volumes, "growth-volumes", 64, "most volumes of a share")
	f.IntVar(&g.share, "growth-share", 8, "volumes of a share of which something else grows")
	f.StringVar(&g.of, "growth-of", "", "what grows, by the beginning of its name, with commas: "+strings.Join(growing, ", ")+" (default all)")
	f.IntVar(&g.clients, "growth-conns", 1000, "most connections")
}

// growing is what grows.
var growing = []string{"entries", "files", "volumes", "connections"}

// dimension is one thing that grows.
type dimension struct {
	name  string // of the chart's file
	title string
	unit  string // of the sizes
	says  string // how it was measured, and what explains the slope
	sizes []int
	peers []*peer // by size
	ops   []op
	// from is the least size that is judged for an op, where smaller ones are answered in another way.
	from  map[string]int
	extra []column
	more  func(d *dimension, w io.Writer, t *table) // says what else is to be said; nil: nothing
}

// column is beside the costs.
type column struct {
	head  string
	cells []string // by size
}

// powers are the powers of base from least to most, and most.
func powers(base, least, most int) (all []int) {
	for n := least; n < most; n *= base {
		all = append(all, n)
	}
	return append(all, most)
}

// grow measures all that grows.
func (o *options) grow(dir string, out, progress io.Writer) error {
	fmt.Fprintf(out, "%d connections with %d calls in flight on each where nothing else is said, %d interleaved rounds of %v, seed %d. Server CPU in µs per call, median of the rounds; p50 in µs.\n",
		o.conns, o.outstanding, o.rounds, o.time, o.seed)
	fmt.Fprintf(out, "The goal: nothing grows faster than the logarithm of the size. From each size to the largest the cost may grow as log 2n does, and by a quarter for\nthe noise of the machine. The exponent is that of the power of the size which the cost from the least to the largest amounts to: 0 is flat, 1 is in proportion.\n")
	var errs []error
	measures := []func(string, io.Writer, func(*dimension)) error{o.growEntries, o.growFiles, o.growVolumes, o.growConns}
	for i, name := range growing {
		if !slices.ContainsFunc(strings.Split(o.of, ","), func(word string) bool { return strings.HasPrefix(name, word) }) {
			continue
		}
		sub := filepath.Join(dir, name)
		err := os.MkdirAll(sub, 0o755)
		if err == nil {
			err = measures[i](sub, progress, func(d *dimension) { errs = append(errs, o.measureGrowth(d, out, progress)) })
		}
		errs = append(errs, err, os.RemoveAll(sub)) // it is large
	}
	return errors.Join(errs...)
}

// measureGrowth gives every op to every size in each round and prints what it cost.
func (o *options) measureGrowth(d *dimension, out, progress io.Writer) error {
	t := &table{options: o, cells: map[[2]string]*cell{}}
	o.measure(d.peers, d.ops, t, progress)
	d.print(out, t)
	o.picture(out, d.name, d.title, d.chart(t))
	d.goals(out, t)
	if d.more != nil {
		d.more(d, out, t)
	}
	return t.failure()
}

func (d *dimension) print(w io.Writer, t *table) {
	fmt.Fprintf(w, "\n## %s\n\n%s\n\n| %s |", d.title, d.says, d.unit)
	for _, o := range d.ops {
		fmt.Fprintf(w, " %s | p50 |", o.name)
	}
	for _, c := range d.extra {
		fmt.Fprintf(w, " %s |", c.head)
	}
	fmt.Fprintln(w, "\n|"+strings.Repeat("---:|", 1+2*len(d.ops)+len(d.extra)))
	for i, size := range d.sizes {
		fmt.Fprintf(w, "| %s |", grouped(size))
		for _, o := range d.ops {
			if c := t.at(o.name, d.peers[i].name); len(c.cpu) > 0 && c.err == nil {
				fmt.Fprintf(w, " %.2f | %.0f |", median(c.cpu), micros(c.lat.quantile(0.5)))
			} else {
				fmt.Fprint(w, " failed | |")
			}
		}
		for _, c := range d.extra {
			fmt.Fprintf(w, " %s |", c.cells[i])
		}
		fmt.Fprintln(w)
	}
}

// grouped writes a number with commas.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (d *dimension) chart(t *table) drawer {
	c := chart.Lines{Title: d.title, X: d.unit, Y: "server CPU, µs per call"}
	for _, o := range d.ops {
		s := chart.Series{Name: o.name}
		for i, size := range d.sizes {
			if v := median(t.at(o.name, d.peers[i].name).cpu); v > 0 {
				s.Points = append(s.Points, chart.Point{X: float64(size), Y: v})
			}
		}
		if len(s.Points) > 0 {
			c.Series = append(c.Series, s)
		}
	}
	return c
}

// growthNoise is what the cost may grow by beside the logarithm.
const growthNoise = 1.25

// logarithm is by what the cost may grow from one size to a larger one.
func logarithm(from, to int) float64 { return math.Log2(2*float64(to)) / math.Log2(2*float64(from)) }

// slope is how the cost of an op grows.
type slope struct {
	least, most float64 // cost at the least and the largest size judged
	exponent    float64
	met         bool
	worst       int // size from which it grows faster than allowed
}

// slopeOf judges the costs of ascending sizes.
func slopeOf(sizes []int, cost []float64) slope {
	last := len(sizes) - 1
	s := slope{least: cost[0], most: cost[last], met: true}
	if sizes[last] > sizes[0] {
		s.exponent = math.Log(s.most/s.least) / math.Log(float64(sizes[last])/float64(sizes[0]))
	}
	for i := range last {
		if s.most > cost[i]*growthNoise*logarithm(sizes[i], sizes[last]) {
			s.met, s.worst = false, sizes[i]
		}
	}
	return s
}

// goals says for each op how its cost grows.
func (d *dimension) goals(w io.Writer, t *table) {
	fmt.Fprintln(w)
	for _, o := range d.ops {
		var sizes []int
		var cost []float64
		for i, size := range d.sizes {
			if c := t.at(o.name, d.peers[i].name); size >= d.from[o.name] && len(c.cpu) > 0 && c.err == nil {
				sizes, cost = append(sizes, size), append(cost, median(c.cpu))
			}
		}
		if len(sizes) < 2 {
			continue
		}
		s := slopeOf(sizes, cost)
		said := verdict(s.met)
		if !s.met {
			said += fmt.Sprintf(" from %s on", grouped(s.worst))
		}
		fmt.Fprintf(w, "- %s, %s to %s: × %.2f, exponent %.2f: %s\n", o.name, grouped(sizes[0]), grouped(sizes[len(sizes)-1]), s.most/s.least, s.exponent, said)
	}
}

// named are ops by their names, in that order.
func named(names ...string) (some []op) {
	all := ops()
	for _, name := range names {
		i := slices.IndexFunc(all, func(o op) bool { return o.name == name })
		some = append(some, all[i])
	}
	return some
}

// sized is a peer that shares a server with others, with a site of its own.
func (p *peer) sized(size int, s *site) *peer {
	q := *p
	q.name, q.site = strconv.Itoa(size), s
	return &q
}

// serveOver starts a sheaf over so many volumes, which may have files.
func (o *options) serveOver(dir string, volumes int, more ...string) (*peer, error) {
	p := &peer{name: strconv.Itoa(volumes), said: &tail{}, done: make(chan struct{})}
	err := p.serve(o.sheaf, dir, volumes, false, more...)
	if err == nil {
		err = p.await()
	}
	if err != nil {
		return nil, fmt.Errorf("sheaf over %d volumes: %w\n%s", volumes, err, p.said)
	}
	return p, nil
}

// quietLimit is how long a server may be busy by itself before it is measured all the same.
const quietLimit = 2 * time.Minute

// quiet waits until the server does nothing: it reads and writes its index in the background after much was new to it.
func quiet(p *peer) error {
	const window, idle = 250 * time.Millisecond, 10 * time.Millisecond // CPU time within a window that is nothing
	for end := time.Now().Add(quietLimit); time.Now().Before(end); {
		before, err := cpuTime(p.pid())
		if err != nil {
			return err
		}
		time.Sleep(window)
		after, err := cpuTime(p.pid())
		if err != nil {
			return err
		}
		if after-before < idle {
			return nil
		}
	}
	return nil
}

// mebibytes writes bytes as MiB.
func mebibytes(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }
