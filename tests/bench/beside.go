package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// besideNames are the servers of a comparison with others, in the order of the report.
var besideNames = []string{"echo", "go-nfs", "unfs3", "ganesha", "mergerfs-8", "sheaf-1", "sheaf-8"}

// laidName is the directory that is laid out on the disk before a server begins, with so many files.
const (
	laidName  = "laid"
	laidNames = 10_000
)

// alone is appended to the names of procedures that one connection calls, one after the other.
const alone = ", one at a time"

// aloneRounds is how many rounds of these stand for one of the others, each as much shorter: whether the host lets client and server take turns
// on one processor or wakes each on another is settled for a round, and decides its latency (seen of the echo and of all: 11 µs or 60 to 90).
const aloneRounds = 5

// comparison is one run.
type comparison struct {
	*options
	*table
	dir      string
	progress io.Writer
	held     map[string]int64      // bytes of memory at the end, by peer
	flushes  map[[2]string]float64 // per call, by procedure and peer
	names    int                   // in the directory that is listed
	absent   []error               // peers that cannot be had
	out      map[string]bool       // peers that did not start
}

func (o *options) comparison(progress io.Writer) *comparison {
	return &comparison{
		options: o, table: &table{options: o, cells: map[[2]string]*cell{}}, dir: o.dir, progress: progress,
		held: map[string]int64{}, flushes: map[[2]string]float64{}, names: laidNames, out: map[string]bool{},
	}
}

// compare measures Sheaf beside the servers of others. As root it runs in namespaces of its own.
func (c *comparison) compare(out io.Writer) (err error) {
	if err := settle(); err != nil {
		return err
	}
	if err := c.together(); err != nil {
		return err
	}
	c.inTurn()
	if err := c.report(out); err != nil {
		return err
	}
	return c.failure()
}

// besideOps are what all servers are asked for while all of them live: nothing that makes or removes names, of
// which a Sheaf that watches the file system would be told, at the cost of whoever does it.
func besideOps() (some []op) {
	for _, o := range ops() {
		switch o.proc {
		case procCreate, procRename, procRemove:
			continue
		case procReadDirPlus:
			o.unit = "entries"
		}
		some = append(some, o)
	}
	return some
}

// aloneOps are asked for by one connection, one call at a time.
func aloneOps() (some []op) {
	for _, o := range ops() {
		switch o.proc {
		case procNull, procGetAttr, procAccess, procLookup:
			o.name += alone
			some = append(some, o)
		}
	}
	return some
}

// changeOps make and remove names, and are asked for while no other server lives.
func changeOps() (some []op) {
	for _, o := range ops() {
		switch o.proc {
		case procCreate:
			some = append(some, o, storeOp())
		case procRename, procRemove:
			some = append(some, o)
		}
	}
	return some
}

// lay makes the directory that will be listed: its files spread over all homes of the peer.
func lay(homes []string, names int) error {
	for _, h := range homes {
		if err := os.MkdirAll(filepath.Join(h, laidName), 0o755); err != nil {
			return err
		}
	}
	for i := range names {
		at := filepath.Join(homes[i%len(homes)], laidName, fmt.Sprintf("name-%05d", i))
		if err := os.WriteFile(at, nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// missingPeer notes that a peer did not start, which is a failure only where it can be had.
func (c *comparison) missingPeer(name string, err error) {
	c.out[name] = true
	if errors.Is(err, errAbsent) {
		c.absent = append(c.absent, err)
	} else {
		c.missing = append(c.missing, err)
	}
	fmt.Fprintln(c.progress, "left out:", err)
}

// together measures what changes no names, with all servers alive.
func (c *comparison) together() (err error) {
	var all []*peer
	for name := range strings.SplitSeq(c.peers, ",") {
		p := newPeer(name)
		dir := filepath.Join(c.dir, name)
		if h := homes(name, dir); len(h) > 0 {
			p.laid = c.names
			if err := lay(h, c.names); err != nil {
				return err
			}
		}
		if err := p.start(dir, c.sheaf, c.conns); err != nil {
			c.missingPeer(name, err)
			continue
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		all = append(all, p)
	}
	c.rounded(all, besideOps(), c.table, c.progress)
	one := *c.options
	one.conns, one.outstanding = 1, 1
	one.rounds, one.time = one.rounds*aloneRounds, one.time/aloneRounds
	one.rounded(all, aloneOps(), c.table, c.progress)
	for _, p := range all {
		for _, pid := range p.pids() {
			n, err := memory(pid)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			c.held[p.name] += n
		}
	}
	return nil
}

// changing are the servers that make and remove names.
func (c *comparison) changing() (names []string) {
	for name := range strings.SplitSeq(c.peers, ",") {
		if c.out[name] || name == "echo" {
			continue
		}
		names = append(names, name)
		if strings.HasPrefix(name, "sheaf-") {
			names = append(names, name+" async")
		}
	}
	return names
}
