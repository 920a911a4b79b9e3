package union

import (
	"context"

	"sheaf/vfs"
)

// Bounds of the names in doubt that are remembered one by one; beyond, all names of a directory are.
const (
	doubtsOfDir = 256
	doubtsOfAll = 1 << 16
	// doubtsAsked is how many names in doubt are asked for one by one rather than the directory
	// listed again.
	doubtsAsked = 64
)

// doubts is what watches said of a node: look again. Nothing that was asked before is believed, however
// late it is noted. Guarded by the node's mu.
type doubts struct {
	attrs int64 // when its attributes were last said to be others
	all   int64 // of a directory: when any of its names was
	// names are those of a directory that may mean something else, and when that was said. They stay
	// until the volumes were asked after that.
	names map[vfs.Name]int64
}

// doubtAttrs makes n's attributes be asked for again.
func (u *Union) doubtAttrs(n *node, now int64) {
	n.mu.Lock()
	n.doubts.attrs = now
	n.mu.Unlock()
	u.tell(vfs.Event{Kind: vfs.ForgetNode, Node: n.id})
}

// doubtAttrsAt is doubtAttrs for what is known as name in d.
func (u *Union) doubtAttrsAt(d *node, name vfs.Name, now int64) {
	if n := u.remembered(d, name); n != nil {
		u.doubtAttrs(n, now)
		n.put()
	}
}

// doubtCopies makes the names of the directory that is known as name in d be asked for again: it may have got a
// further copy.
func (u *Union) doubtCopies(d *node, v int, name vfs.Name, now int64) {
	n := u.remembered(d, name)
	if n == nil {
		return
	}
	if n.isDir() {
		n.mu.Lock()
		u.doubtNames(n, v, now)
		n.mu.Unlock()
		u.tell(vfs.Event{Kind: vfs.ForgetName, Node: n.id})
	}
	n.put()
}

// remembered is the node in memory that was last seen as name in d, with a reference, or nil.
func (u *Union) remembered(d *node, name vfs.Name) *node {
	var id vfs.NodeID
	d.mu.Lock()
	if d.names != nil {
		if e := d.names.byName[name]; e != nil {
			id = e.node
		}
	}
	d.mu.Unlock()
	return u.table.get(id)
}

// doubtName makes what is known of a name of d, as its volume calls it, be asked for again; and d's attributes. The
// zero Name: all names. A name that two volumes' objects compete for may have others in its train.
func (u *Union) doubtName(d *node, v int, name vfs.Name, now int64) {
	_, contested := u.pins.get(d.id, name)
	d.mu.Lock()
	d.unsure(v)
	d.doubts.attrs = now
	o := &d.doubts
	_, again := o.names[name]
	switch {
	case again:
		o.names[name] = now
	case d.names == nil || contested || name.IsZero() || len(o.names) >= doubtsOfDir || u.doubted.Load() >= doubtsOfAll:
		u.doubtNames(d, v, now)
		name = vfs.Name{}
	default:
		if o.names == nil {
			o.names = make(map[vfs.Name]int64)
		}
		o.names[name] = now
		u.doubted.Add(1)
	}
	d.mu.Unlock()
	u.tell(vfs.Event{Kind: vfs.ForgetName, Node: d.id, Name: name})
}

// doubtNames makes all names of d be asked for again. Needs d.mu.
func (u *Union) doubtNames(d *node, v int, now int64) {
	d.unsure(v)
	d.doubts.all = now
	u.noDoubts(d)
}

// unsure notes that the names of the copy on volume v may be others. Needs n.mu.
func (n *node) unsure(v int) {
	if n.names != nil {
		n.names.unsure = n.names.unsure.with(v)
	}
}

// sure notes that all copies that are there were asked about all that was doubted until the time at. Needs d.mu.
func (u *Union) sure(d *node, at int64) {
	if d.names != nil && len(d.doubts.names) == 0 && d.doubts.all < at {
		d.names.unsure &= u.away()
	}
}

// noDoubts forgets names in doubt one by one. Needs d.mu.
func (u *Union) noDoubts(d *node) {
	u.doubted.Add(-int64(len(d.doubts.names)))
	d.doubts.names = nil
}

// askedName notes that the volumes were asked for a name at the time at. Needs d.mu.
func (u *Union) askedName(d *node, name vfs.Name, at int64) {
	if said, ok := d.doubts.names[name]; ok && said < at {
		delete(d.doubts.names, name)
		u.doubted.Add(-1)
		u.sure(d, at)
	}
}

// askedNames notes that all names are known as of the time at. Needs d.mu.
func (u *Union) askedNames(d *node, at int64) {
	for name, said := range d.doubts.names {
		if said < at {
			delete(d.doubts.names, name)
			u.doubted.Add(-1)
		}
	}
	u.sure(d, at)
}

// inDoubt reports whether name has to be asked for. Needs n.mu.
func (n *node) inDoubt(name vfs.Name) bool {
	if len(n.doubts.names) == 0 {
		return false
	}
	_, ok := n.doubts.names[name]
	return ok
}

// namesBelieved reports whether what was seen of d's names at the time at may be told at the time now, but for
// names in doubt: for trust, and for watchTrust where watches have told all that others changed since. Needs d.mu.
func (u *Union) namesBelieved(d *node, at, now int64) bool {
	if u.believed(at, now) {
		return at > d.doubts.all
	}
	return now-at < u.watchTrust && at > d.doubts.all && at > u.members().cameAt && u.watched(d, u.all(), at, now)
}

// watched reports whether all changes that others made to d's names on the volumes of set since the time at were
// told, but for those within the last trust: in its copies, and of copies that it may have got. Needs d.mu.
func (u *Union) watched(d *node, set volset, at, now int64) bool {
	for i := range d.copies {
		c := &d.copies[i]
		if v := u.vol(c.vol); set.has(c.vol) && !v.exclusive && !v.watch.told(c.covered, at, now) {
			return false
		}
	}
	return u.copiesWatched(d, at, now)
}

// copiesWatched reports whether a copy that d got on a further volume since the time at was told. Needs d.mu.
func (u *Union) copiesWatched(d *node, at, now int64) bool {
	if d == u.root {
		return true
	}
	m, on := u.members(), d.on()
	for _, v := range m.vols {
		if !m.foreign(on, v) {
			continue
		}
		if !d.upWatched || at <= u.dirNews.Load() || !v.watch.told(v.watch.began.Load(), at, now) {
			return false
		}
	}
	return true
}

// cover lets the changes that others make to d's names in hs be told from now on, as far as that can be. It
// comes before asking. The caller has a reference to d.
func (u *Union) cover(ctx context.Context, d *node, hs handles) {
	for i, h := range hs {
		if h == nil {
			continue
		}
		v := u.vol(i)
		began := v.watch.began.Load()
		if began == 0 {
			continue
		}
		d.mu.Lock()
		c := d.copyOn(i)
		if c == nil || c.covered >= began || d.gone {
			d.mu.Unlock()
			continue
		}
		id := c.id
		d.mu.Unlock()
		u.keyAt(v, id.Key, d)
		if !v.watch.cover(ctx, h.d) {
			continue
		}
		now := u.now()
		d.mu.Lock()
		if c := d.copyOn(i); c != nil && c.id == id {
			c.covered = now
		}
		d.mu.Unlock()
	}
}

// settleDoubts asks for the names of d that are in doubt, if they are few and all else is known. The caller
// holds a lease on d, and d.fill.
func (u *Union) settleDoubts(ctx context.Context, d *node) error {
	d.mu.Lock()
	var names []vfs.Name
	if u.allKnown(d) && len(d.doubts.names) <= doubtsAsked && u.namesBelieved(d, d.names.asOf, u.now()) {
		for name := range d.doubts.names {
			names = append(names, name)
		}
	}
	d.mu.Unlock()
	for _, name := range names {
		if u.hidden(d, name) {
			d.mu.Lock()
			u.askedName(d, name, u.now())
			d.mu.Unlock()
			continue
		}
		n, err := u.ask(ctx, d, name)
		if err == nil {
			n.put()
		} else if vfs.StatusOf(err) != vfs.NoEnt {
			return err
		}
	}
	return nil
}
