//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is what was measured, by workload and server.
type report struct {
	*options
	cells   map[[2]string]*cell
	null    map[string]time.Duration // an empty call of the guest, by server; the least of the rounds' medians
	missing []error                  // servers that did not start
	load    string                   // average of the last minute, at the start
}

// load is how many wait for a processor or the disk, on average of the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	last, _, _ := strings.Cut(string(text), " ")
	return last
}

// cell is one workload on one server, by round.
type cell struct {
	took, cpu []time.Duration
	calls     []map[string]calls
	err       error
}

func (r *report) at(workload, server string) *cell {
	k := [2]string{workload, server}
	if r.cells[k] == nil {
		r.cells[k] = &cell{}
	}
	return r.cells[k]
}

// add takes what a timed script printed.
func (c *cell) add(out, point string, cpu time.Duration) error {
	_, rest, _ := strings.Cut(out, tookMark)
	first, rest, ok := strings.Cut(rest, "\n")
	before, after, ok2 := strings.Cut(rest, afterMark)
	us, err := strconv.Atoi(first)
	if err != nil || !ok || !ok2 {
		return fmt.Errorf("the script did not say what it took: %s", out)
	}
	old, err := mountStats(before, point)
	if err != nil {
		return err
	}
	now, err := mountStats(after, point)
	if err != nil {
		return err
	}
	c.took, c.cpu, c.calls = append(c.took, time.Duration(us)*time.Microsecond), append(c.cpu, cpu), append(c.calls, since(old, now))
	return nil
}

// median of the rounds: one that something else disturbed does not count.
func median[T cmp.Ordered](v []T) T {
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

func (c *cell) time() float64 { return median(c.took).Seconds() }

// count is how many calls were made.
func (c *cell) count() int {
	var n []int
	for _, of := range c.calls {
		n = append(n, total(of).n)
	}
	return median(n)
}

// part is the server's part of the time: what the client waited for answers beyond what as many empty calls take. Calls that
// are under way together are waited for together, so it is all at most.
func (c *cell) part(null time.Duration) float64 {
	var parts []float64
	for i, of := range c.calls {
		t := total(of)
		parts = append(parts, min(max(float64(t.wait-time.Duration(t.n)*null)/float64(c.took[i]), 0), 1))
	}
	return median(parts)
}

// says is what the page says above the figures.
const says = `# By a Linux client in a guest

PHP along an include path, git clone, tar, grep -r, rm -rf and fio through the NFS client of a real kernel, beside NFS-Ganesha over one
directory and mergerfs over eight under another Ganesha; Sheaf over eight. What is measured, and what the columns say: tests/e2e/bench/doc.go.
Written by

    make -s bench-guest >contrib/bench/guest.md

`

// print writes the report as Markdown.
func (r *report) print(w io.Writer, some []workload, servers []*server) {
	fmt.Fprintf(w, "%son %d processors, load average %s at the start and %s at the end: on a busy machine a time may be two or three times another.\n", says, runtime.NumCPU(), r.load, load())
	fmt.Fprintf(w, "%d rounds; %d files in the tree, %d includes in %d directories; mounted with `%s`.\n", r.rounds, r.files, includes, includeDirs,
		strings.ReplaceAll(mountOptions, ",port=%d,mountport=%d,mountproto=tcp", ""))
	fmt.Fprintf(w, "An empty call of the guest takes, in µs:")
	sep := ""
	for _, s := range servers {
		fmt.Fprintf(w, "%s %s %.0f", sep, s.name, float64(r.null[s.name])/float64(time.Microsecond))
		sep = ","
	}
	fmt.Fprintf(w, ".\n\n| workload | server | s [least … most] | rate | × ganesha | server CPU, s | calls | server's part |\n|---|---|---:|---:|---:|---:|---:|---:|\n")
	for _, l := range some {
		for _, s := range servers {
			r.row(w, l, s.name)
		}
	}
	r.goals(w, some)
	r.procedures(w, some, servers)
	for _, err := range r.missing {
		fmt.Fprintf(w, "\nLeft out: %v\n", err)
	}
}

func (r *report) row(w io.Writer, l workload, name string) {
	c := r.at(l.name, name)
	switch {
	case c.err != nil:
		fmt.Fprintf(w, "| %s | %s | failed | | | | | |\n", l.name, name)
		return
	case len(c.took) == 0:
		fmt.Fprintf(w, "| %s | %s | not measured | | | | | |\n", l.name, name)
		return
	}
	fmt.Fprintf(w, "| %s | %s | %.3f [%.3f … %.3f] | %.4g %s | %s | %.3f | %d | %.0f %% |\n", l.name, name,
		c.time(), slices.Min(c.took).Seconds(), slices.Max(c.took).Seconds(), l.units(r.options)/c.time(), l.unit,
		r.faster(l, name), median(c.cpu).Seconds(), c.count(), 100*c.part(r.null[name]))
}

// faster tells how many times as fast as Ganesha a server is.
func (r *report) faster(l workload, name string) string {
	g := r.at(l.name, ganesha)
	if g.err != nil || len(g.took) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", g.time()/r.at(l.name, name).time())
}

// What is to be reached: so many times as fast as Ganesha where so much of Ganesha's time is its own part, and never slower.
const (
	goalFaster = 1.2
	goalPart   = 1.0 / 3
)

// goals says which goals this run shows to be missed. It decides nothing: one run on a busy machine is no proof of either.
func (r *report) goals(w io.Writer, some []workload) {
	fmt.Fprintf(w, "\nGoals, times as fast as ganesha:\n\n")
	for _, l := range some {
		ours := sheafSync
		if l.names {
			ours = sheafAsync
		}
		g, c := r.at(l.name, ganesha), r.at(l.name, ours)
		if len(g.took) == 0 || len(c.took) == 0 || g.err != nil || c.err != nil {
			continue
		}
		least, part := 1.0, g.part(r.null[ganesha])
		if part >= goalPart {
			least = goalFaster
		}
		ratio, verdict := g.time()/c.time(), "met"
		if ratio < least {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "- %s, %s: %.2f, at least %.1f (ganesha's part %.0f %%): %s\n", l.name, ours, ratio, least, 100*part, verdict)
	}
}

// procedures writes how many calls of each procedure the client made.
func (r *report) procedures(w io.Writer, some []workload, servers []*server) {
	fmt.Fprintf(w, "\n| workload | server | calls of the client, last round |\n|---|---|---|\n")
	for _, l := range some {
		for _, s := range servers {
			c := r.at(l.name, s.name)
			if c.err != nil || len(c.calls) == 0 {
				continue
			}
			last := c.calls[len(c.calls)-1]
			var said []string
			for _, name := range slices.Sorted(maps.Keys(last)) {
				said = append(said, fmt.Sprintf("%s %d (%.0f µs)", name, last[name].n, float64(last[name].wait)/float64(time.Microsecond)/float64(last[name].n)))
			}
			fmt.Fprintf(w, "| %s | %s | %s |\n", l.name, s.name, strings.Join(said, ", "))
		}
	}
}

// failure is what failed, if anything did.
func (r *report) failure() error {
	var errs []error
	for _, c := range r.cells {
		errs = append(errs, c.err)
	}
	return errors.Join(errs...)
}
