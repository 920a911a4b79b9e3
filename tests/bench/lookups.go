package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// Goals of look-ups at the wire.
const (
	wireGoal = 1.3 // a look-up of the include path takes at most so much of NULL's average, one outstanding
	missGoal = 0.9 // names never asked for before: the least part of NULL's rate
)

// restartTimes is how many times as long as others the one measurement after a restart is: it begins with the first call, and the
// first page has each of the includes looked at on its volume once.
const restartTimes = 4

// missConns and missOutstanding are how hard names never asked for before are looked up.
const missConns, missOutstanding = 4, 8

// article is Table 1 of "Extending GlusterFS with Python" (Linux Journal, 2013): ms per look-up.
var article = []struct {
	name                    string
	least, average, most, p float64
}{
	{"no caching", 0.368, 6.898, 16.286, 9.702},
	{"translator in C", 0.379, 1.036, 18.503, 2.180},
	{"the same in Python", 0.381, 1.527, 21.163, 2.916},
}

// lookUps measures look-ups of an include path and prints what it finds.
func (o *options) lookUps(dir string, out, progress io.Writer) error {
	fmt.Fprintf(out, "\nLook-ups: an include path of %d directories, %d includes, %d volumes; ms per look-up, %d rounds of %v in turn.\n", includeDirs, includeFiles, includeVolumes, o.rounds, o.time)
	fmt.Fprintf(out, "`off` asks all volumes at once each time, `names` remembers names one by one, `full` directories.\n\n")
	printArticle(out)
	in := newIncludes(o.seed, includeDirs, includeFiles)
	var errs []error
	for _, wait := range []time.Duration{includeDelay, 0} {
		rows, err := o.contract(context.Background(), filepath.Join(dir, fmt.Sprint("contract-", wait.Microseconds())), in, wait)
		fmt.Fprintf(progress, "look-ups at the contract, volumes with %v: %v\n", wait, errText(err))
		if errs = append(errs, err); err == nil {
			printContract(out, rows, wait)
		}
	}
	errs = append(errs, o.wireLookUps(filepath.Join(dir, "wire"), in, out, progress))
	return errors.Join(errs...)
}

func errText(err error) string {
	if err != nil {
		return err.Error()
	}
	return "done"
}

const latencyHead = "| %s | min | average | max | p99 | average of off | p99 of off |\n|---|---:|---:|---:|---:|---:|---:|\n"

func printArticle(w io.Writer) {
	fmt.Fprintf(w, "The article's own, on other machines:\n\n| | min | average | max | p99 | average of no caching | p99 of it |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, a := range article {
		fmt.Fprintf(w, "| %s | %.3f | %.3f | %.3f | %.3f | ÷ %.1f | ÷ %.1f |\n", a.name, a.least, a.average, a.most, a.p, article[0].average/a.average, article[0].p/a.p)
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.4f", float64(d)/float64(time.Millisecond)) }

// latency is a row of the article's columns.
func latency(w io.Writer, name string, h *histogram) {
	fmt.Fprintf(w, "| %s | %s | %s | %s | %s |", name, millis(h.least), millis(h.average()), millis(h.most), millis(h.quantile(0.99)))
}

func ratioOf(a, b time.Duration) float64 { return float64(a) / float64(max(1, b)) }

// printContract writes the rows of the layers, and their goals.
func printContract(w io.Writer, rows []*contractRow, wait time.Duration) {
	what := "bare local volumes"
	if wait > 0 {
		what = fmt.Sprintf("volumes of %v more", wait)
	}
	fmt.Fprintf(w, "\nAt the contract, %s:\n\n", what)
	fmt.Fprintf(w, latencyHead, "lookups")
	off := &rows[0].lat
	for _, r := range rows {
		latency(w, r.name, &r.lat)
		fmt.Fprintf(w, " ÷ %.1f | ÷ %.1f |\n", ratioOf(off.average(), r.lat.average()), ratioOf(off.quantile(0.99), r.lat.quantile(0.99)))
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		average, p99 := ratioOf(off.average(), r.lat.average()), ratioOf(off.quantile(0.99), r.lat.quantile(0.99))
		switch {
		case wait > 0 && r.average > 0:
			fmt.Fprintf(w, "- %s: %.1f times faster than off on average, at least %.0f: %s\n", r.name, average, r.average, verdict(average >= r.average))
		case wait == 0 && r.bare > 0:
			fmt.Fprintf(w, "- %s: %.1f times faster than off on average, at least %.0f: %s\n", r.name, average, r.bare, verdict(average >= r.bare))
		}
		if wait > 0 && r.p99 > 0 {
			fmt.Fprintf(w, "- %s: %.1f times faster than off at p99, at least %.0f: %s\n", r.name, p99, r.p99, verdict(p99 >= r.p99))
		}
	}
}

// includePath is the include path as a client sees it.
type includePath struct {
	dirs [][]byte // handles
	at   []int    // directory of each include
}

// makeIncludes makes the include path on a server.
func makeIncludes(p *peer, in includes) (*includePath, error) {
	c, err := dial(p.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ip := &includePath{at: in.at}
	for i := range in.dirs {
		d, err := make1(c, p.site.root, includeDir(i), true)
		if err != nil {
			return nil, err
		}
		ip.dirs = append(ip.dirs, d.handle)
	}
	for i, d := range in.at {
		if _, err := make1(c, ip.dirs[d], includeName(i), false); err != nil {
			return nil, err
		}
	}
	return ip, nil
}

// walk is the op of a client that looks includes up, one call after the other.
func (ip *includePath) walk() op {
	file, dir := 0, 0
	return op{
		name: "LOOKUP include", proc: procLookup,
		next: func(_ *caller, _ *call, b []byte) ([]byte, bool) {
			return appendName(b, ip.dirs[dir], includeName(file)), true
		},
		check: func(_ *caller, _ *call, r *reader) error {
			if dir == ip.at[file] {
				file, dir = (file+1)%len(ip.at), 0
				r.status(nfsOK)
				return r.err
			}
			dir++
			r.status(nfsNoEnt)
			return r.err
		},
	}
}

// pair is a procedure beside NULL, round by round.
type pair struct {
	name       string
	null, ours histogram
	nulls, us  []float64 // calls per second, by round
}

// measure measures both in turn, beginning with another in each round.
func (o *options) measurePair(q *pair, p *peer, l load, ours op, rounds int) error {
	null, err := chosen("NULL")
	if err != nil {
		return err
	}
	for round := range rounds {
		for i := range 2 {
			it, h, rates := ours, &q.ours, &q.us
			if (i+round)%2 == 1 {
				it, h, rates = null[0], &q.null, &q.nulls
			}
			r, err := l.run(p, &it)
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			h.add(&r.lat)
			*rates = append(*rates, float64(r.calls)/r.wall.Seconds())
		}
	}
	return nil
}

// wireLookUps measures look-ups on a server over 8 volumes, also right after it was started again.
func (o *options) wireLookUps(dir string, in includes, out, progress io.Writer) (err error) {
	p, err := start("sheaf-8", dir, o.sheaf, missConns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	ip, err := makeIncludes(p, in)
	if err != nil {
		return err
	}
	one := o.load
	one.conns, one.outstanding = 1, 1
	warm := one
	warm.time = 2 * time.Second // attributes and names of the first second are those of what was made just now
	walk := ip.walk()
	if _, err := warm.run(p, &walk); err != nil {
		return err
	}
	steady := &pair{name: "LOOKUP include"}
	if err := o.measurePair(steady, p, one, walk, o.rounds); err != nil {
		return err
	}
	fresh, err := chosen("LOOKUP miss")
	if err != nil {
		return err
	}
	many := o.load
	many.conns, many.outstanding = missConns, missOutstanding
	miss := &pair{name: "LOOKUP of names never asked for"}
	if err := o.measurePair(miss, p, many, fresh[0], o.rounds); err != nil {
		return err
	}
	fmt.Fprintln(progress, "look-ups at the wire: measured, the server is started again")
	again := &pair{name: "LOOKUP include, right after a restart"}
	if err := p.restart(dir, o.sheaf); err != nil {
		return err
	}
	one.time *= restartTimes
	if err := o.measurePair(again, p, one, ip.walk(), 1); err != nil {
		return err
	}
	printWire(out, steady, again, miss)
	return nil
}

// restart stops the server and starts it again, over the same volumes and state.
func (p *peer) restart(dir, sheaf string) error {
	if err := p.stop(); err != nil {
		return err
	}
	old := p.addr
	p.addr, p.done = "", make(chan struct{})
	if err := p.serve(sheaf, dir, includeVolumes, false); err != nil {
		return err
	}
	if err := p.await(); err != nil {
		return fmt.Errorf("%s, started again (it was at %s): %w\n%s", p.name, old, err, p.said)
	}
	return nil
}

// printWire writes what was measured on the server, and the goals.
func printWire(w io.Writer, steady, again, miss *pair) {
	fmt.Fprintf(w, "\nAt the wire, one call outstanding on one connection:\n\n| procedure | min | average | max | p99 | average of NULL |\n|---|---:|---:|---:|---:|---:|\n")
	for _, q := range []*pair{steady, again} {
		latency(w, "NULL", &q.null)
		fmt.Fprintf(w, " × 1.00 |\n")
		latency(w, q.name, &q.ours)
		fmt.Fprintf(w, " × %.2f |\n", ratioOf(q.ours.average(), q.null.average()))
	}
	part := make([]float64, len(miss.us))
	for i := range part {
		part[i] = miss.us[i] / miss.nulls[i]
	}
	fmt.Fprintf(w, "\nAt the wire, %d connections with %d calls in flight each, per second, median [least … most]:\n\n", missConns, missOutstanding)
	fmt.Fprintf(w, "| procedure | calls/s | of NULL |\n|---|---:|---:|\n")
	fmt.Fprintf(w, "| NULL | %.0f [%.0f … %.0f] | 1.00 |\n", median(miss.nulls), slices.Min(miss.nulls), slices.Max(miss.nulls))
	fmt.Fprintf(w, "| %s | %.0f [%.0f … %.0f] | %.2f [%.2f … %.2f] |\n\n", miss.name, median(miss.us), slices.Min(miss.us), slices.Max(miss.us),
		median(part), slices.Min(part), slices.Max(part))
	for _, q := range []*pair{steady, again} {
		r := ratioOf(q.ours.average(), q.null.average())
		fmt.Fprintf(w, "- %s: %.2f of NULL's average, at most %.1f: %s\n", q.name, r, wireGoal, verdict(r <= wireGoal))
	}
	fmt.Fprintf(w, "- %s: %.2f of NULL's rate, at least %.1f: %s\n", miss.name, median(part), missGoal, verdict(median(part) >= missGoal))
}
