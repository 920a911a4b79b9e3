package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// createVolumes are how many volumes the directory has copies on in which files are made.
var createVolumes = []int{1, 8}

// createCount is the most files that are made in a measurement: without flushes the plain program makes a hundred
// thousand in a second.
const createCount = 10_000

// createGoal is what a server shall reach of a plain program's rate.
const createGoal = 0.7

// creating is one row: a server and a plain program, in turn.
type creating struct {
	volumes     int
	async       bool
	outstanding int
	server      *peer
	plain       *plain
	err         error

	rate, plainRate, ratio []float64 // by round
	calls, asked, flushed  int       // of the server, in all rounds: creates, flushes asked for, flushes made
	files, fsyncs          int       // of the plain program
	lat                    histogram
}

// outstandings are the numbers in a list with commas.
func outstandings(list string) (ns []int, err error) {
	if list == "" {
		return nil, nil
	}
	for w := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(w))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-creates %q: want numbers from 1 on, with commas", list)
		}
		ns = append(ns, n)
	}
	return ns, nil
}

// creations measures and prints what -creates asks for.
func (o *options) creations(dir string, out, progress io.Writer) (err error) {
	ns, err := outstandings(o.creates)
	if err != nil || len(ns) == 0 {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var rows []*creating
	for _, volumes := range createVolumes {
		for _, async := range []bool{false, true} {
			c := creating{volumes: volumes, async: async}
			name := fmt.Sprintf("creates-%d-%s", volumes, c.export())
			if c.server, err = startCreating(name, filepath.Join(dir, name), o.sheaf, volumes, async); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.server.stop()) }()
			c.plain = &plain{root: filepath.Join(dir, name+"-plain"), volumes: volumes, fsync: !async, time: o.time, count: min(createCount, o.count)}
			for _, n := range ns {
				row := c
				row.outstanding = n
				rows = append(rows, &row)
			}
		}
	}
	for round := range o.rounds {
		for _, c := range rows {
			o.createRound(c, self, round)
			if c.err != nil {
				fmt.Fprintf(progress, "%v\n%s", c.err, c.server.said)
			}
		}
		fmt.Fprintf(progress, "round %d of %d: creates beside a plain program\n", round+1, o.rounds)
	}
	return o.printCreates(out, rows)
}

// startCreating starts a server with a directory to make files in.
func startCreating(name, dir, sheaf string, volumes int, async bool) (*peer, error) {
	p := &peer{name: name, said: &tail{}, done: make(chan struct{})}
	err := p.serve(sheaf, dir, volumes, async)
	if err == nil {
		err = p.await()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, p.said)
	}
	p.site = &site{}
	return p, nil
}

// renew gives the server's site an empty directory to make files in: a full one is slower.
func (s *site) renew(addr string) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if s.root, err = mount(c); err != nil {
		return fmt.Errorf("MNT: %w", err)
	}
	s.churn, err = make1(c, s.root, s.fresh("churn"), true)
	s.made = nil
	return err
}

// createRound measures both, beginning with another in each round. What fails is not asked again.
func (o *options) createRound(c *creating, self string, round int) {
	steps := []func() (float64, error){
		func() (float64, error) { return c.byServer(o.load, o.sheaf, round) },
		func() (float64, error) { return c.byPlain(self) },
	}
	var rates [2]float64
	for i := range steps {
		which := (i + round) % 2
		if c.err == nil {
			rates[which], c.err = steps[which]()
		}
	}
	if c.err != nil {
		c.err = fmt.Errorf("creates, %s: %w", c, c.err)
		return
	}
	c.rate, c.plainRate = append(c.rate, rates[0]), append(c.plainRate, rates[1])
	c.ratio = append(c.ratio, rates[0]/rates[1])
}

// byServer gives creates per second.
func (c *creating) byServer(l load, sheaf string, round int) (float64, error) {
	l.conns = min(l.conns, c.outstanding)
	l.outstanding = (c.outstanding + l.conns - 1) / l.conns
	l.count = min(l.count, createCount/l.conns)
	l.seed += uint64(round)
	create, err := chosen("CREATE")
	if err == nil {
		err = c.server.site.renew(c.server.addr)
	}
	if err != nil {
		return 0, err
	}
	warm := l
	warm.time /= warmUp
	if _, err := warm.run(c.server, &create[0]); err != nil {
		return 0, err
	}
	before, err := flushesOf(sheaf, c.server)
	if err != nil {
		return 0, err
	}
	r, err := l.run(c.server, &create[0])
	if err != nil {
		return 0, err
	}
	after, err := flushesOf(sheaf, c.server)
	c.calls += r.calls
	c.asked += after.Asked - before.Asked
	c.flushed += after.Made - before.Made
	c.lat.add(&r.lat)
	return float64(r.calls) / r.wall.Seconds(), err
}

// byPlain gives creates per second.
func (c *creating) byPlain(self string) (float64, error) {
	m, err := c.plain.measure(self, c.outstanding)
	c.files += m.files
	c.fsyncs += m.fsyncs
	if err == nil && m.files == 0 {
		err = errors.New("the plain program made nothing")
	}
	return float64(m.files) / m.wall.Seconds(), err
}

// flushes are as a server counts them.
type flushes struct{ Asked, Made int }

// flushesOf asks a server for its flushes since it began, over all volumes.
func flushesOf(sheaf string, p *peer) (sum flushes, err error) {
	said, err := exec.Command(sheaf, "status", "--json", "--state", p.state).Output()
	if err != nil {
		return sum, fmt.Errorf("sheaf status: %w", err)
	}
	var st struct{ Volumes []struct{ Flushes flushes } }
	if err := json.Unmarshal(said, &st); err != nil {
		return sum, fmt.Errorf("sheaf status: %w", err)
	}
	for _, v := range st.Volumes {
		sum.Asked += v.Flushes.Asked
		sum.Made += v.Flushes.Made
	}
	return sum, nil
}

func (c *creating) export() string {
	if c.async {
		return "async"
	}
	return "sync"
}

// String names a row.
func (c *creating) String() string {
	return fmt.Sprintf("%d volumes, %s, %d outstanding", c.volumes, c.export(), c.outstanding)
}

// printCreates writes the rows as Markdown. A row that failed fails the run.
func (o *options) printCreates(w io.Writer, rows []*creating) error {
	fmt.Fprintf(w, `
Creates per second in a directory with a copy on each volume, beside a plain program that makes the same system calls in as many
directories with as many threads, %d rounds of %v in turn, median [least … most]. On a sync export the directory is
flushed before the answer, as the plain program does after each file. Flushes are counted by the server, per
create: asked for, and made: those who wait for one directory share the next flush of it. The plain program's threads
share nothing but what the host merges.

`, o.rounds, o.time)
	fmt.Fprintf(w, "| volumes | export | outstanding | creates/s | plain | of plain | flushes asked | made | plain's | p50 µs | p99 µs |\n")
	fmt.Fprintf(w, "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	var errs []error
	for _, c := range rows {
		errs = append(errs, c.err)
		c.row(w)
	}
	fmt.Fprintf(w, "\nGoal of creates: at least %.1f of the plain program:\n\n", createGoal)
	for _, c := range rows {
		if len(c.ratio) > 0 {
			fmt.Fprintf(w, "- %s: %.2f: %s\n", c, median(c.ratio), verdict(median(c.ratio) >= createGoal))
		}
	}
	return errors.Join(errs...)
}

func (c *creating) row(w io.Writer) {
	fmt.Fprintf(w, "| %d | %s | %d |", c.volumes, c.export(), c.outstanding)
	if c.err != nil || len(c.rate) == 0 {
		fmt.Fprintf(w, " failed | | | | | | | |\n")
		return
	}
	per := func(n, of int) float64 { return float64(n) / float64(max(1, of)) }
	fmt.Fprintf(w, " %.0f [%.0f … %.0f] | %.0f [%.0f … %.0f] | %.2f | %.2f | %.2f | %.2f | %.0f | %.0f |\n",
		median(c.rate), slices.Min(c.rate), slices.Max(c.rate),
		median(c.plainRate), slices.Min(c.plainRate), slices.Max(c.plainRate), median(c.ratio),
		per(c.asked, c.calls), per(c.flushed, c.calls), per(c.fsyncs, c.files),
		micros(c.lat.quantile(0.5)), micros(c.lat.quantile(0.99)))
}
