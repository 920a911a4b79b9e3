package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// inTurn measures what makes and removes names: of each server in turn, while no other lives. Names are removed when all else
// has had its rounds (measure tells why).
func (c *comparison) inTurn() {
	names := c.changing()
	left := map[[2]string]*site{} // names that are there to be removed, by server and directory
	programs := c.programs()
	for round := range c.rounds {
		for i := range names {
			name := names[(i+round)%len(names)]
			c.noteTurn(name, c.turn(name, round, left))
		}
		for _, p := range programs {
			c.noteTurn(p.name, c.program(p, round, "CREATE", "RENAME"))
		}
		fmt.Fprintf(c.progress, "round %d of %d: CREATE to RENAME\n", round+1, c.rounds)
	}
	for round := range c.rounds {
		for i := range names {
			name := names[(i+round)%len(names)]
			c.noteTurn(name, c.removal(name, round, left))
		}
		for _, p := range programs {
			c.noteTurn(p.name, c.program(p, round, "REMOVE"))
		}
		fmt.Fprintf(c.progress, "round %d of %d: REMOVE\n", round+1, c.rounds)
	}
	if !(need{what: "strace"}).have() {
		c.absent = append(c.absent, errors.New("flushes are not counted, as strace is not installed"))
		return
	}
	for _, name := range names {
		c.noteTurn(name, c.counted(name))
	}
	fmt.Fprintf(c.progress, "flushes are counted\n")
}

// noteTurn notes that a server could not be measured.
func (c *comparison) noteTurn(name string, err error) {
	if err != nil {
		err = fmt.Errorf("%s, by itself: %w", name, err)
		c.missing = append(c.missing, err)
		fmt.Fprintln(c.progress, err)
	}
}

// byItself starts a server in a directory that it has to itself, and does something with it.
func (c *comparison) byItself(name string, do func(p *peer) error) (err error) {
	p := newPeer(name)
	p.site = &site{}
	if err := p.launch(filepath.Join(c.dir, "turns", name), c.sheaf); err != nil {
		return fmt.Errorf("%w\n%s", err, p.said)
	}
	defer func() {
		if err = errors.Join(err, p.stop()); err != nil {
			err = fmt.Errorf("%w\n%s", err, p.said)
		}
	}()
	return do(p)
}

// churnName is the directory in which names come and go in a round.
func churnName(round int) string { return fmt.Sprintf("churn-%d", round) }

// turn is a round of what makes names.
func (c *comparison) turn(name string, round int, left map[[2]string]*site) error {
	return c.byItself(name, func(p *peer) error {
		if err := p.renew(churnName(round)); err != nil {
			return err
		}
		left[[2]string{name, churnName(round)}] = p.site
		l := c.load
		l.count = min(l.count, createCount/l.conns)
		l.seed += uint64(round)
		warm := l
		warm.time /= warmUp
		if _, err := warm.run(p, &changeOps()[0]); err != nil {
			return err
		}
		for _, o := range changeOps() {
			if o.proc != procRemove {
				c.one(p, l, &o)
			}
		}
		return nil
	})
}

// one measures a procedure.
func (c *comparison) one(p *peer, l load, o *op) {
	cell := c.at(o.name, p.name)
	if cell.err != nil {
		return
	}
	r, err := l.run(p, o)
	if err != nil {
		cell.err = fmt.Errorf("%s on %s: %w", o.name, p.name, err)
		fmt.Fprintf(c.progress, "%v\n%s", cell.err, p.said)
	}
	cell.add(r)
}

// removal is a round of REMOVE, of the names that the same round made.
func (c *comparison) removal(name string, round int, left map[[2]string]*site) error {
	before := left[[2]string{name, churnName(round)}]
	if before == nil {
		return nil // the round failed, and has said so
	}
	return c.byItself(name, func(p *peer) (err error) {
		if p.site.root, err = p.mount(); err != nil {
			return err
		}
		conn, err := dial(p.addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if p.site.churn.handle, err = lookup1(conn, p.site.root, churnName(round)); err != nil {
			return err
		}
		p.site.made, p.site.renamed = before.made, before.renamed
		remove, err := chosen("REMOVE")
		if err != nil {
			return err
		}
		c.one(p, c.load, &remove[0])
		return nil
	})
}

// How hard a server is driven while its flushes are counted.
const (
	countedCalls = 50 // of a procedure, per connection
	countedRound = "counted"
)

// counted counts the flushes that each changing procedure makes, under strace, which slows all down: nothing else is measured then.
func (c *comparison) counted(name string) error {
	return c.byItself(name, func(p *peer) error {
		if err := p.renew(countedRound); err != nil {
			return err
		}
		if err := p.aim(c.conns); err != nil {
			return err
		}
		l := c.load
		l.count = countedCalls
		var some []op
		for _, o := range ops() {
			if o.proc == procWrite {
				some = append(some, o)
			}
		}
		for _, o := range append(some, changeOps()...) {
			n, err := c.flushesIn(p, func() (int, error) {
				r, err := l.run(p, &o)
				return r.units, err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			c.flushes[[2]string{o.name, name}] = n
		}
		return nil
	})
}

// aim gives a site the files that are written.
func (p *peer) aim(conns int) error {
	c, err := dial(p.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range conns {
		o, err := filled(c, p.site.root, fmt.Sprintf("target-%d", i))
		if err != nil {
			return err
		}
		p.site.targets = append(p.site.targets, target{o, make([]uint8, bigSize/block)})
	}
	return nil
}

// flushCalls are the system calls that make data durable; flushBegun finds where one begins in what strace writes.
// What Sheaf's index flushes of its own, with msync, is not counted: no answer waits for it.
const flushCalls = "fsync,fdatasync,sync_file_range,syncfs"

var flushBegun = regexp.MustCompile(`(?m)^\d+ +(fsync|fdatasync|sync_file_range|syncfs)\(`)

// flushesIn counts the flushes of all processes that serve, per unit of what do does.
func (c *comparison) flushesIn(p *peer, do func() (units int, err error)) (float64, error) {
	at := filepath.Join(c.dir, "strace.txt")
	s := newPeer("strace")
	args := []string{"-f", "-e", "trace=" + flushCalls, "-e", "signal=none", "-o", at}
	for _, pid := range p.pids() {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	s.cmd = exec.Command("strace", args...)
	if _, err := s.begin(); err != nil {
		return 0, err
	}
	err := s.until(func() bool { return strings.Count(s.said.String(), "attached") >= len(p.pids()) })
	units := 0
	if err == nil {
		units, err = do()
	}
	if e := s.cmd.Process.Signal(syscall.SIGINT); e != nil { // lets go of them, and ends
		err = errors.Join(err, e)
	}
	if err = errors.Join(err, s.stop()); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, s.said)
	}
	said, err := os.ReadFile(at)
	if err == nil && units == 0 {
		err = errors.New("nothing was done")
	}
	return float64(len(flushBegun.FindAllIndex(bytes.TrimSpace(said), -1))) / float64(max(1, units)), err
}

// lookAgain is how long is waited before a child is looked at again that does not say when it is ready.
const lookAgain = 10 * time.Millisecond

// until waits for a child to be ready.
func (p *peer) until(ready func() bool) error {
	limit := time.After(readyLimit)
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready", p.name)
		case <-limit:
			return fmt.Errorf("%s is not ready in %v", p.name, readyLimit)
		case <-time.After(lookAgain):
		}
	}
	return nil
}

// program is the plain program in turn with the servers, with as many directories as a Sheaf has volumes.
type program struct {
	plain
	name  string
	moved map[int]int // names that were renamed, by round
}

// programs are a plain program beside each Sheaf that is measured.
func (c *comparison) programs() (all []*program) {
	for _, n := range c.changing() {
		if after, ok := strings.CutPrefix(n, "sheaf-"); ok && !strings.HasSuffix(n, "async") {
			p := &program{name: "plain-" + after, moved: map[int]int{}}
			p.root, p.volumes, p.fsync = filepath.Join(c.dir, "turns", p.name), len(homes(n, "")), true
			p.time, p.count = c.time, min(createCount, c.count*c.conns)
			all = append(all, p)
		}
	}
	return all
}

// program runs it for some procedures, one after the other: it renames what it made, and removes what it renamed.
func (c *comparison) program(p *program, round int, procs ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	q := p.plain
	for _, proc := range procs {
		q.verb = strings.ToLower(proc)
		if proc == "REMOVE" {
			if q.count = p.moved[round]; q.count == 0 {
				return nil // the round failed, and has said so
			}
		}
		m, err := q.again(self, c.conns*c.outstanding, round)
		if err != nil {
			return fmt.Errorf("%s: %w", proc, err)
		}
		q.count = m.files
		if proc == "RENAME" {
			p.moved[round] = m.files
		}
		if m.files > 0 {
			k := c.at(proc, p.name)
			k.add(result{units: m.files, cpu: m.cpu, wall: m.wall})
			c.flushes[[2]string{proc, p.name}] = float64(m.fsyncs) / float64(m.files)
		}
	}
	return nil
}
