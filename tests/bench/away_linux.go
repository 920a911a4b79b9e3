package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"sheaf/tests/disk"
)

// awayOps are calls that do not need the volume that is away.
const awayOps = "GETATTR,LOOKUP hit,LOOKUP miss,READ 4K,READDIRPLUS,WRITE 4K sync,CREATE"

// The states of the third volume, in the order in which it has them in a round.
var awayStates = []string{"well", "hung", "well", "out"}

const (
	awayRounds = 2
	// awayFiles lie on the third volume. At the beginning of each measurement every connection sends a WRITE of FILE_SYNC and a READ for
	// each: more calls than a connection may have in flight.
	awayFiles = 150
	// awaySize is the size of each, in bytes. They are read where they are not written, so that the host has to ask the disk.
	awaySize = 128 << 10
	// awayHead is how long these calls are alone, and awayGrace how long a reply is waited for.
	awayHead  = 300 * time.Millisecond
	awayGrace = 5 * time.Second
	// awayBack is how long it may take until a volume that came back is used again.
	awayBack = 2 * time.Minute

	nfsJukebox = 10008
)

// absence is a share of three volumes, the third of which is on a disk that can be made to hang.
type absence struct {
	*options
	peer  *peer
	disk  *disk.Disk
	there []object
	cells map[[2]string]*awayCell
}

// awayCell is one kind of call beside the third volume in one state.
type awayCell struct {
	lat     histogram
	stuck   int
	refused atomic.Int64 // told to come again
}

// absences measures calls on healthy volumes beside one that hangs, and that is pulled out.
func (o *options) absences(dir string, out, progress io.Writer) (err error) {
	d, err := disk.New(filepath.Join(dir, "v2"))
	if err != nil {
		fmt.Fprintf(out, "\nA volume that is away: left out: %v\n", err)
		return nil
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	a := &absence{options: o, disk: d, cells: map[[2]string]*awayCell{}}
	a.peer = &peer{name: "away", said: &tail{}, done: make(chan struct{})}
	if err := a.peer.serve(o.sheaf, dir, 2, false, "--volume", "v2="+d.Dir); err != nil {
		return err
	}
	if err := a.peer.await(); err != nil {
		return fmt.Errorf("away: %w\n%s", err, a.peer.said)
	}
	defer func() { err = errors.Join(err, a.peer.stop()) }()
	defer func() { err = errors.Join(err, d.Release()) }() // before the server is to end
	if err := a.layOut(); err != nil {
		return fmt.Errorf("away: %w\n%s", err, a.peer.said)
	}
	for round := range awayRounds {
		for _, state := range awayStates {
			if err := a.window(state, uint64(round)); err != nil {
				return fmt.Errorf("away, volume %s: %w\n%s", state, err, a.peer.said)
			}
		}
		fmt.Fprintf(progress, "round %d of %d: a volume that is away\n", round+1, awayRounds)
	}
	a.print(out)
	return nil
}

// mode says what the volumes may be used for.
func (a *absence) mode(mode string, volumes ...string) error {
	for _, v := range volumes {
		if said, err := exec.Command(a.sheaf, "volume", "mode", "--state", a.peer.state, v, mode).CombinedOutput(); err != nil {
			return fmt.Errorf("sheaf volume mode %s %s: %w\n%s", v, mode, err, said)
		}
	}
	return nil
}

// layOut makes what the calls need on the first volumes, in directories that the third has, too; and some files there.
func (a *absence) layOut() error {
	if err := a.mode("nc", "v2"); err != nil {
		return err
	}
	var err error
	if a.peer.site, err = newSite(a.peer, a.conns); err != nil {
		return err
	}
	for _, name := range []string{"hits", "churn"} {
		if err := os.Mkdir(filepath.Join(a.disk.Dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(a.mode("nc", "v0", "v1"), a.mode("rw", "v2")); err != nil {
		return err
	}
	c, err := dial(a.peer.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	dir, err := make1(c, a.peer.site.root, "there", true)
	for i := 0; i < awayFiles && err == nil; i++ {
		var o object
		o, err = make1(c, dir.handle, fmt.Sprintf("there-%03d", i), false)
		a.there = append(a.there, o)
		if err == nil {
			_, err = c.call(progNFS, procWrite, func(b []byte) []byte { return writeArgs(b, o.handle, 0, unstable, data(0, 0, awaySize)) })
		}
	}
	return errors.Join(err, a.mode("rw", "v0", "v1"))
}

// also sends the calls for the third volume on a connection, and lets them be for a moment.
func (a *absence) also(c *conn, base uint32) (n int, err error) {
	put := func(proc uint32, args func(b []byte) []byte) {
		n++
		at := len(c.out)
		c.out = args(header(c.out, base-uint32(n), progNFS, proc))
		seal(c.out, at)
	}
	for _, o := range a.there {
		put(procWrite, func(b []byte) []byte { return writeArgs(b, o.handle, 0, fileSync, data(0, 0, 4<<10)) })
		put(procRead, func(b []byte) []byte { return readArgs(b, o.handle, awaySize-4<<10, 4<<10) })
	}
	err = c.flush()
	time.Sleep(awayHead)
	return n, err
}

// window measures every op while the third volume is in a state, and brings it back.
func (a *absence) window(state string, round uint64) (err error) {
	ops, err := chosen(awayOps)
	if err != nil {
		return err
	}
	away := a.disk.Dir + ".away"
	switch state {
	case "hung":
		err = a.disk.Hang()
	case "out":
		err = os.Rename(a.disk.Dir, away)
	}
	if err != nil {
		return err
	}
	l := a.load
	l.seed += round
	l.time, l.count = a.away/time.Duration(len(ops)), 1<<30
	l.also, l.grace = a.also, awayGrace
	var errs []error
	for i := range ops {
		cell := a.at(ops[i].name, state)
		r, err := l.run(a.peer, cell.lenient(ops[i]))
		cell.lat.add(&r.lat)
		cell.stuck += r.stuck
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ops[i].name, err))
		}
	}
	switch state {
	case "hung":
		err = a.disk.Release()
	case "out":
		err = os.Rename(away, a.disk.Dir)
	}
	return errors.Join(append(errs, err, a.awaitBack())...)
}

// lenient is o for who may be told to come again.
func (c *awayCell) lenient(o op) *op {
	check := o.check
	o.check = func(w *caller, s *call, r *reader) error {
		if len(r.b) >= 4 && be.Uint32(r.b) == nfsJukebox {
			c.refused.Add(1)
			r.b = nil
			return nil
		}
		return check(w, s, r)
	}
	return &o
}

func (a *absence) at(op, state string) *awayCell {
	k := [2]string{op, state}
	if a.cells[k] == nil {
		a.cells[k] = &awayCell{}
	}
	return a.cells[k]
}

// awaitBack waits until the third volume is used again.
func (a *absence) awaitBack() error {
	c, err := dial(a.peer.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	o := a.there[0]
	for end := time.Now().Add(awayBack); ; time.Sleep(100 * time.Millisecond) {
		r, err := c.call(progNFS, procWrite, func(b []byte) []byte { return writeArgs(b, o.handle, 0, fileSync, bytes.Repeat([]byte("x"), 512)) })
		if err != nil {
			return err
		}
		if err := checkWritten(&r, 512, fileSync); err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (a *absence) print(w io.Writer) {
	fmt.Fprintf(w, `
A share of three volumes, one of which hangs, and is pulled out, for %v at a time, between windows in which it is well, %d rounds:
calls that do not need it, on files of the others, in directories that it has a copy of. %d connections, %d calls in
flight on each, which also has %d WRITEs and READs for that volume under way when a measurement begins. Latencies in µs. "Stuck"
had no reply within %v: a CREATE may have been placed on the volume before it was known to hang. "Again" were told to come again.

`, a.away, awayRounds, a.conns, a.outstanding, 2*awayFiles, awayGrace)
	fmt.Fprintf(w, "| procedure | volume | calls | p50 | p99 | longest | p99 × well | stuck | again |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n")
	ops, _ := chosen(awayOps)
	for _, o := range ops {
		well := a.at(o.name, "well").lat.quantile(0.99)
		for _, state := range []string{"well", "hung", "out"} {
			c := a.at(o.name, state)
			fmt.Fprintf(w, "| %s | %s | %d | %.0f | %.0f | %.0f | %.2f | %d | %d |\n", o.name, state, c.lat.n,
				micros(c.lat.quantile(0.5)), micros(c.lat.quantile(0.99)), micros(c.lat.longest()),
				float64(c.lat.quantile(0.99))/float64(max(1, well)), c.stuck, c.refused.Load())
		}
	}
	fmt.Fprintf(w, "\nGoal of calls that do not need a volume: a p99 of at most %.0f times what it is with the volume well:\n\n", awayGoal)
	for _, o := range ops {
		well := float64(max(1, a.at(o.name, "well").lat.quantile(0.99)))
		for _, state := range []string{"hung", "out"} {
			r := float64(a.at(o.name, state).lat.quantile(0.99)) / well
			fmt.Fprintf(w, "- %s, volume %s: %.2f: %s\n", o.name, state, r, verdict(r <= awayGoal))
		}
	}
}
