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
	"time"
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
	dir         string // of the server; it runs only while it is measured
	echo        *peer
	plain       *plain
	err         error

	rate, plainRate, echoRate []float64 // by round
	ratio, most               []float64
	calls, asked, flushed     int // of the server, in all rounds: creates, flushes asked for, flushes made
	files, fsyncs             int // of the plain program
	cpu, plainCPU             time.Duration
	lat                       histogram
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

// creations measures and prints what -creates asks for. A server runs only while it is measured: it watches the file
// system that its volumes lie on, and would be told of each file that another makes there, which costs both (measured on xfs: a
// quarter more CPU for the plain program).
func (o *options) creations(dir string, out, progress io.Writer) (err error) {
	ns, err := outstandings(o.creates)
	if err != nil || len(ns) == 0 {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	echo, err := start("echo", dir, o.sheaf, o.conns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, echo.stop()) }()
	var rows []*creating
	for _, volumes := range createVolumes {
		for _, async := range []bool{false, true} {
			c := creating{volumes: volumes, async: async, echo: echo}
			name := fmt.Sprintf("creates-%d-%s", volumes, c.export())
			c.dir = filepath.Join(dir, name)
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
				fmt.Fprintln(progress, c.err)
			}
		}
		fmt.Fprintf(progress, "round %d of %d: creates beside a plain program\n", round+1, o.rounds)
	}
	return o.printCreates(out, rows)
}

// start starts the row's server.
func (c *creating) start(sheaf string) (*peer, error) {
	p := &peer{name: "sheaf", said: &tail{}, done: make(chan struct{}), site: &site{}}
	err := p.serve(sheaf, c.dir, c.volumes, c.async)
	if err == nil {
		err = p.await()
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.said)
	}
	return p, nil
}

// renew gives the server's site an empty directory to make files in: a full one is slower. Its name is the round's,
// which no earlier one has.
func (p *peer) renew(name string) (err error) {
	if p.site.root, err = p.mount(); err != nil {
		return err
	}
	c, err := dial(p.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	p.site.churn, err = make1(c, p.site.root, name, true)
	return err
}

// createRound measures all three, beginning with another in each round. What fails is not asked again.
func (o *options) createRound(c *creating, self string, round int) {
	rates := make([]float64, 3)
	steps := []func() (float64, error){
		func() (float64, error) { return c.byServer(o.load, o.sheaf, round) },
		func() (float64, error) { return c.byPlain(self) },
		func() (float64, error) { return c.byEcho(o.load, round) },
	}
	for i := range steps {
		which := (i + round) % len(steps)
		if c.err == nil {
			rates[which], c.err = steps[which]()
		}
	}
	if c.err != nil {
		c.err = fmt.Errorf("creates, %s: %w", c, c.err)
		return
	}
	server, plain, echo := rates[0], rates[1], rates[2]
	c.rate, c.plainRate, c.echoRate = append(c.rate, server), append(c.plainRate, plain), append(c.echoRate, echo)
	c.ratio, c.most = append(c.ratio, server/plain), append(c.most, echo/(echo+plain))
}

// loadOf is l with the row's calls in flight, and the procedure.
func (c *creating) loadOf(l load, round int) (load, *op, error) {
	l.conns = min(l.conns, c.outstanding)
	l.outstanding = (c.outstanding + l.conns - 1) / l.conns
	l.count = min(l.count, createCount/l.conns)
	l.seed += uint64(round)
	create, err := chosen("CREATE")
	if err != nil {
		return l, nil, err
	}
	return l, &create[0], nil
}

// byServer gives creates per second.
func (c *creating) byServer(l load, sheaf string, round int) (rate float64, err error) {
	l, create, err := c.loadOf(l, round)
	if err != nil {
		return 0, err
	}
	server, err := c.start(sheaf)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, server.stop()); err != nil {
			err = fmt.Errorf("%w\n%s", err, server.said)
		}
	}()
	if err := server.renew(fmt.Sprintf("churn-%d-%d", c.outstanding, round)); err != nil {
		return 0, err
	}
	warm := l
	warm.time /= warmUp
	if _, err := warm.run(server, create); err != nil {
		return 0, err
	}
	before, err := flushesOf(sheaf, server)
	if err != nil {
		return 0, err
	}
	r, err := l.run(server, create)
	if err != nil {
		return 0, err
	}
	after, err := flushesOf(sheaf, server)
	c.calls += r.calls
	c.cpu += r.cpu
	c.asked += after.Asked - before.Asked
	c.flushed += after.Made - before.Made
	c.lat.add(&r.lat)
	return float64(r.calls) / r.wall.Seconds(), err
}

// byEcho gives calls per second that are answered without being done: what is left for the way of a call.
func (c *creating) byEcho(l load, round int) (float64, error) {
	l, create, err := c.loadOf(l, round)
	if err != nil {
		return 0, err
	}
	r, err := l.run(c.echo, create)
	return float64(r.calls) / r.wall.Seconds(), err
}

// byPlain gives creates per second.
func (c *creating) byPlain(self string) (float64, error) {
	m, err := c.plain.measure(self, c.outstanding)
	c.files += m.files
	c.plainCPU += m.cpu
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
flushed before the answer, as the plain program does after each file. "At most" is what a server would reach that needs
for a create what the plain program does, and for the call what a bare echo does: both times, one after the other. CPU is the
process's, per create. Flushes are counted by the server, per create: asked for, and made: those who wait for one
directory share the next flush of it. The plain program's threads share nothing but what the host merges.

`, o.rounds, o.time)
	fmt.Fprintf(w, "| volumes | export | outstanding | creates/s | plain | of plain | at most | CPU µs | plain's | flushes asked | made | plain's | p50 µs | p99 µs |\n")
	fmt.Fprintf(w, "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	var errs []error
	for _, c := range rows {
		errs = append(errs, c.err)
		c.row(w)
	}
	fmt.Fprintf(w, "\nGoal of creates: at least %.1f of the plain program:\n\n", createGoal)
	for _, c := range rows {
		if len(c.ratio) > 0 {
			fmt.Fprintf(w, "- %s: %.2f (at most %.2f): %s\n", c, median(c.ratio), median(c.most), verdict(median(c.ratio) >= createGoal))
		}
	}
	return errors.Join(errs...)
}

func (c *creating) row(w io.Writer) {
	fmt.Fprintf(w, "| %d | %s | %d |", c.volumes, c.export(), c.outstanding)
	if c.err != nil || len(c.rate) == 0 {
		fmt.Fprintf(w, " failed | | | | | | | | | | |\n")
		return
	}
	each := func(d time.Duration, of int) time.Duration { return d / time.Duration(max(1, of)) }
	per := func(n, of int) float64 { return float64(n) / float64(max(1, of)) }
	fmt.Fprintf(w, " %.0f [%.0f … %.0f] | %.0f [%.0f … %.0f] | %.2f | %.2f | %.1f | %.1f | %.2f | %.2f | %.2f | %.0f | %.0f |\n",
		median(c.rate), slices.Min(c.rate), slices.Max(c.rate),
		median(c.plainRate), slices.Min(c.plainRate), slices.Max(c.plainRate), median(c.ratio), median(c.most),
		micros(each(c.cpu, c.calls)), micros(each(c.plainCPU, c.files)), per(c.asked, c.calls), per(c.flushed, c.calls), per(c.fsyncs, c.files),
		micros(c.lat.quantile(0.5)), micros(c.lat.quantile(0.99)))
}
