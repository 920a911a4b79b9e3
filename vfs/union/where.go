package union

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"sheaf/vfs"
)

// counters count what the union does.
type counters struct {
	hits, misses, asked atomic.Int64
	lists, stats, syncs atomic.Int64
	searches, scans     atomic.Int64
	unmarked, rowErrors atomic.Int64
}

// Stats is what the union has done since it was opened, and what it holds.
type Stats struct {
	Hits      int64 // look-ups answered from memory: present
	Misses    int64 // look-ups answered from memory: absent
	Asked     int64 // look-ups that asked volumes
	Lists     int64 // copies of directories listed
	Stats     int64 // objects asked for their attributes
	Syncs     int64 // flushes of files and directories
	Searches  int64 // objects looked for because they were not where they had been
	Scans     int64 // walks over whole volumes
	Unmarked  int64 // marks that could not be written
	RowErrors int64 // rows the index did not take
	OpenFiles int
	OpenDirs  int
	Nodes     int
	Memory    int64 // bytes for nodes, names and attributes, about
}

// Stats is the counters as they are now.
func (u *Union) Stats() Stats {
	c := &u.stats
	s := Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Asked: c.asked.Load(), Lists: c.lists.Load(), Stats: c.stats.Load(),
		Syncs: c.syncs.Load(), Searches: c.searches.Load(), Scans: c.scans.Load(), Unmarked: c.unmarked.Load(),
		RowErrors: c.rowErrors.Load(), Memory: u.memory.Load(),
	}
	for i := range u.table.shards {
		t := &u.table.shards[i]
		t.mu.Lock()
		s.Nodes += len(t.m)
		t.mu.Unlock()
	}
	u.files.mu.Lock()
	s.OpenFiles = len(u.files.ring)
	u.files.mu.Unlock()
	u.dirs.mu.Lock()
	s.OpenDirs = len(u.dirs.ring)
	u.dirs.mu.Unlock()
	return s
}

// Place is where a node lies on one volume.
type Place struct {
	Volume string
	Path   string // beneath the volume's root, with a leading slash
	Home   bool   // of a directory: its mode, owner and ACL are the directory's
}

// Fact is what a look-up of a name is answered by.
type Fact uint8

// The facts, the best first.
const (
	FactListing Fact = iota + 1 // the directory is completely known
	FactName                    // the name was asked for by itself
	FactNone                    // nothing: the volumes are asked
)

// String is the fact in words.
func (f Fact) String() string {
	switch f {
	case FactListing:
		return "complete listing"
	case FactName:
		return "the name itself"
	case FactNone:
		return "nothing, the volumes are asked"
	}
	return "unknown"
}

// Whereabouts is what the union knows of one path of the share.
type Whereabouts struct {
	Node   vfs.Node
	Attr   vfs.Attr
	Places []Place
	Fact   Fact          // that answered for the last component, before it was asked about now
	Age    time.Duration // of that fact
}

// Where says where path of the share lies. Components are separated by slashes; the
// empty path is the root. Errors are those of Lookup.
func (u *Union) Where(ctx context.Context, path string) (Whereabouts, error) {
	var w Whereabouts
	n := u.root
	n.refs.Add(1)
	var phys []vfs.Name
	w.Fact = FactListing
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		name, err := vfs.ParseName(part)
		if err != nil {
			n.put()
			return w, err
		}
		w.Fact, w.Age = u.factFor(n, name)
		next, err := u.lookupSlow(ctx, n, name)
		if err == nil {
			phys = append(phys, physOf(next, n.id, name))
		}
		n.put()
		if err != nil {
			return w, err
		}
		n = next
	}
	defer n.put()
	var err error
	if w.Attr, err = u.attrsOf(ctx, vfs.Superuser, n); err != nil {
		return w, err
	}
	w.Node = n.node()
	full := ""
	for _, p := range phys {
		full += "/" + p.String()
	}
	if full == "" {
		full = "/"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.copies {
		c := &n.copies[i]
		w.Places = append(w.Places, Place{Volume: u.vols[c.vol].name, Path: full, Home: n.isDir() && c.vol == n.home})
	}
	return w, nil
}

// physOf is what the volumes call n's name in dir.
func physOf(n *node, dir vfs.NodeID, name vfs.Name) vfs.Name {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.places {
		if p.dir.ID == dir && p.name == name {
			return p.phys
		}
	}
	return name
}

// factFor is what a look-up of name in d would be answered by, and how old that is.
func (u *Union) factFor(d *node, name vfs.Name) (Fact, time.Duration) {
	now := u.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.names
	if t == nil || u.opt.Lookups == LookupOff {
		return FactNone, 0
	}
	if u.namesFresh(d) {
		return FactListing, time.Duration(now - t.asOf)
	}
	if e := t.byName[name]; e != nil && u.entryFresh(d, e) {
		return FactName, time.Duration(now - e.at)
	}
	if at, ok := t.absent[name]; ok && u.absent(d, name) {
		return FactName, time.Duration(now - at)
	}
	return FactNone, 0
}
