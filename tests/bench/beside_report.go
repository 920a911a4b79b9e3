package main

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"sheaf/tests/bench/chart"
)

// besideHead is what stands above the figures, in print and on the page.
const besideHead = `%d connections, %d calls in flight on each (of 1 MiB: %d), %d rounds of %v in turn, medians [least … most]; GOMAXPROCS %d, %s,
seed %d. Server CPU is that of all processes that serve, with the kernel's time that is charged to them, in µs per call (of
READDIRPLUS: per entry; of CREATE+WRITE+COMMIT, 4 KiB: per file); the rate is of the same, per second. Every reply is checked: status, identity,
data, and that a listing has each of its %d names once. Flushes (fsync and its like) are counted per call under strace, apart from
the timed rounds, as strace slows all down and more callers then share a flush. "Plain" is a program without a server that makes the
same system calls in as many directories with as many threads. "Async" is a Sheaf whose export is async: like Ganesha, it does not
flush directories before it answers.
`

// besideRows are what the table has sections of.
func besideRows() []op { return slices.Concat(besideOps(), aloneOps(), changeOps()) }

// report prints the figures as Markdown, and writes the page, if there is to be one and nothing failed.
func (c *comparison) report(w io.Writer) error {
	var figures bytes.Buffer
	c.figures(&figures)
	if _, err := w.Write(figures.Bytes()); err != nil || c.page == "" {
		return err
	}
	if err := c.failure(); err != nil {
		return fmt.Errorf("%s stays as it is: %w", c.page, err)
	}
	return c.write(figures.Bytes())
}

// figures writes tables and goals.
func (c *comparison) figures(w io.Writer) {
	fmt.Fprintf(w, besideHead, c.conns, c.outstanding, min(c.outstanding, bigOutstanding), c.rounds, c.time,
		runtime.GOMAXPROCS(0), runtime.Version(), c.seed, c.names)
	for _, err := range slices.Concat(c.absent, c.missing) {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintf(w, "\nLeft out: %s.\n", first)
	}
	c.picture(w, "rates", "the rate of each server, as a multiple of one's", c.chart())
	fmt.Fprintf(w, "\n| procedure | server | CPU µs | × echo | × Ganesha | per second | × Ganesha | p50 µs | p99 µs | flushes |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, o := range besideRows() {
		for _, name := range c.columns() {
			c.line(w, o.name, name)
		}
	}
	c.memories(w)
	c.verdicts(w)
}

// columns are all that was measured, in the order of the report.
func (c *comparison) columns() (names []string) {
	for name := range strings.SplitSeq(c.peers, ",") {
		names = append(names, name)
		if after, ok := strings.CutPrefix(name, "sheaf-"); ok {
			names = append(names, name+" async", "plain-"+after)
		}
	}
	return names
}

func (c *comparison) line(w io.Writer, op, peer string) {
	k := c.at(op, peer)
	if k.err != nil {
		fmt.Fprintf(w, "| %s | %s | failed | | | | | | | |\n", op, peer)
		return
	}
	if len(k.cpu) == 0 {
		return
	}
	flushes, times := "–", "–"
	if n, ok := c.flushes[[2]string{op, peer}]; ok {
		flushes = fmt.Sprintf("%.2f", n)
	}
	if r := c.factor(op, peer, "ganesha", "rate"); r > 0 {
		times = fmt.Sprintf("%.2f", r)
	}
	lat := [2]string{"–", "–"}
	if k.lat.n > 0 {
		lat = [2]string{fmt.Sprintf("%.0f", micros(k.lat.quantile(0.5))), fmt.Sprintf("%.0f", micros(k.lat.quantile(0.99)))}
	}
	fmt.Fprintf(w, "| %s | %s | %.2f [%.2f … %.2f] | %s | %s | %.0f | %s | %s | %s | %s |\n", op, peer,
		median(k.cpu), slices.Min(k.cpu), slices.Max(k.cpu), c.ratio(op, k, "echo"), c.ratio(op, k, "ganesha"),
		median(k.rate), times, lat[0], lat[1], flushes)
}

// memories writes what the servers have resident.
func (c *comparison) memories(w io.Writer) {
	fmt.Fprintf(w, "\n| server | memory at the end, MiB, without pages of mapped files |\n|---|---:|\n")
	for name := range strings.SplitSeq(c.peers, ",") {
		if n, ok := c.held[name]; ok {
			fmt.Fprintf(w, "| %s | %d |\n", name, n>>20)
		}
	}
}

// factor is one peer's value as a multiple of another's; 0 if one of them has none.
func (c *comparison) factor(op, peer, other, of string) float64 {
	a, b := c.at(op, peer), c.at(op, other)
	if a.err != nil || b.err != nil || len(a.cpu) == 0 || len(b.cpu) == 0 {
		return 0
	}
	switch of {
	case "CPU":
		return median(a.cpu) / median(b.cpu)
	case "p50":
		return float64(a.lat.quantile(0.5)) / float64(b.lat.quantile(0.5))
	}
	return median(a.rate) / median(b.rate)
}

// besideGoal is what a share of 8 volumes shall reach.
type besideGoal struct {
	ops    []string
	peer   string
	of     string // CPU, p50 (at most), or rate (at least)
	beside string
	limit  float64
	flush  bool // and it flushes as often, or more
}

// besideGoals are all of them. Where unfs3 is missing, those about it are not printed.
func besideGoals() []besideGoal {
	memory := []string{"GETATTR", "ACCESS", "LOOKUP hit", "LOOKUP miss"}
	mega := []string{"READ 1M", "WRITE 1M unstable"}
	stable := []string{"WRITE 4K sync", "WRITE 1M sync", "CREATE+WRITE+COMMIT"}
	single := make([]string, len(memory))
	for i, m := range memory {
		single[i] = m + alone
	}
	return []besideGoal{
		{memory, goalPeer, "CPU", "echo", 1.5, false},
		{memory, goalPeer, "CPU", "ganesha", 0.5, false},
		{memory, goalPeer, "rate", "ganesha", 1.5, false},
		{memory, goalPeer, "rate", "unfs3", 1, false},
		{[]string{"READ 4K"}, goalPeer, "CPU", "ganesha", 0.6, false},
		{mega, goalPeer, "CPU", "ganesha", 0.5, false},
		{mega, goalPeer, "CPU", "unfs3", 1, false},
		{mega, goalPeer, "rate", "ganesha", 1, false},
		{mega, goalPeer, "rate", "unfs3", 1, false},
		{stable, goalPeer, "rate", "ganesha", 1, true},
		{[]string{"RENAME", "REMOVE"}, goalPeer + " async", "rate", "ganesha", 1, false},
		{[]string{"RENAME", "REMOVE"}, goalPeer, "rate", "plain-8", 0.7, false},
		{[]string{"READDIRPLUS"}, goalPeer, "rate", "ganesha", 1.5, false},
		{single, goalPeer, "p50", "echo", 1.3, false},
	}
}

// evenGoal is how much more CPU, and how much less of a rate, 8 volumes may have than 1.
const evenGoal = 1.15

// evenOps are those it holds for: calls by handle, and LOOKUP.
func evenOps() (names []string) {
	for _, o := range besideOps() {
		if o.proc != procNull && o.proc != procReadDirPlus {
			names = append(names, o.name)
		}
	}
	return names
}

// verdicts says which goals this run shows to be missed.
func (c *comparison) verdicts(w io.Writer) {
	fmt.Fprintf(w, "\nGoals, of 8 volumes:\n\n")
	for _, g := range besideGoals() {
		for _, op := range g.ops {
			f := c.factor(op, g.peer, g.beside, g.of)
			if f == 0 {
				continue
			}
			met, bound, flushes := f <= g.limit, "at most", ""
			if g.of == "rate" {
				met, bound = f >= g.limit, "at least"
			}
			if g.flush {
				mine, theirs := c.flushes[[2]string{op, g.peer}], c.flushes[[2]string{op, g.beside}]
				flushes = fmt.Sprintf("; %.2f flushes beside %.2f", mine, theirs)
			}
			fmt.Fprintf(w, "- %s, %s: %.2f of the %s of %s%s, %s %.1f: %s\n", op, g.peer, f, g.of, g.beside, flushes, bound, g.limit, verdict(met))
		}
	}
	fmt.Fprintf(w, "\n8 volumes beside 1 (for calls by handle and LOOKUP within %.0f %%):\n\n", 100*evenGoal-100)
	for _, o := range besideRows() {
		cpu, rate := c.factor(o.name, "sheaf-8", "sheaf-1", "CPU"), c.factor(o.name, "sheaf-8", "sheaf-1", "rate")
		if cpu == 0 {
			continue
		}
		said := ""
		if slices.Contains(evenOps(), o.name) {
			said = ": " + verdict(cpu <= evenGoal && rate >= 1/evenGoal)
		}
		fmt.Fprintf(w, "- %s: %.2f of the CPU at %.2f of the rate%s\n", o.name, cpu, rate, said)
	}
}

// chart draws rates as multiples of Ganesha's, or of another's where that is missing.
func (c *comparison) chart() chart.Bars {
	base := "ganesha"
	for _, name := range []string{"go-nfs", "echo"} {
		if c.out[base] || !slices.Contains(c.columns(), base) {
			base = name
		}
	}
	b := chart.Bars{Title: "Rate, as a multiple of that of " + base + " (longer is better)", Unit: "× " + base, Log: true}
	for _, name := range c.columns() {
		if name != "echo" && name != "sheaf-1 async" && !strings.HasPrefix(name, "plain-") && !c.out[name] {
			b.Series = append(b.Series, name)
		}
	}
	for _, o := range slices.Concat(besideOps(), changeOps()) {
		g := chart.Group{Name: o.name}
		for _, name := range b.Series {
			g.Values = append(g.Values, c.factor(o.name, name, base, "rate"))
		}
		b.Groups = append(b.Groups, g)
	}
	return b
}
