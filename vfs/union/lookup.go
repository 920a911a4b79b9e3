package union

import (
	"context"
	"strings"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
)

// Which directories are listed at a look-up, rather than asked name by name.
const (
	listBytes = 1 << 20 // a directory not listed yet whose size is at most this is listed (ext4: some 20,000 names)
	listSmall = 1024    // names: one listed before is listed again whenever its version does not prove it
	listShare = 4       // a larger one is listed again after as many questions as a listShare-th of its names
)

// Lookup implements vfs.FS.
func (u *Union) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	done, err := u.lookupNow(w, dir.ID, name, &obj, &dirAttr)
	if done {
		return obj, dirAttr, err
	}
	d, err := u.enter(ctx, w, dir)
	if err != nil {
		return obj, dirAttr, err
	}
	defer d.put()
	dirAttr, acl, err := u.rightsOf(ctx, w, d)
	if err != nil {
		return obj, dirAttr, err
	}
	if !d.isDir() {
		return obj, dirAttr, vfs.NotDir
	}
	if err := perm.Search(w, &dirAttr, acl); err != nil {
		return obj, dirAttr, err
	}
	for range pairTries {
		obj, err = u.lookupOnce(ctx, w, d, name)
		if vfs.StatusOf(err) != vfs.Stale || d.isGone() { // what had the name went while we asked for its attributes
			break
		}
	}
	return obj, dirAttr, err
}

// lookupOnce finds name and what has it.
func (u *Union) lookupOnce(ctx context.Context, w *vfs.Who, d *node, name vfs.Name) (vfs.Attr, error) {
	n, err := u.recall(d, name)
	if n == nil && err == nil {
		if w.NoWait {
			return vfs.Attr{}, vfs.Again
		}
		n, err = u.lookupSlow(ctx, d, name)
	}
	if err != nil {
		return vfs.Attr{}, err
	}
	defer n.put()
	return u.attrsOf(ctx, w, n)
}

func (u *Union) lookupSlow(ctx context.Context, d *node, name vfs.Name) (n *node, err error) {
	u.stats.asked.Add(1)
	if u.opt.Lookups != LookupOff && u.remembers(d, name) {
		u.stats.refused.Add(1)
	}
	err = u.again(ctx, func(ctx context.Context) (err error) {
		n, err = u.lookup(ctx, d, name)
		return err
	})
	return n, err
}

// lookupNow is Lookup from memory, in one stay under the directory's mutex and with one look at the clock, which
// are most of what a look-up costs. It is not done where memory does not suffice. The attributes go where the caller wants them: to
// copy them from frame to frame costs as much as to find the name.
func (u *Union) lookupNow(w *vfs.Who, dir vfs.NodeID, name vfs.Name, obj, dirAttr *vfs.Attr) (done bool, err error) {
	d := u.table.get(dir)
	if d == nil {
		return false, nil
	}
	now := u.now()
	d.mu.Lock()
	id, done, err := u.lookupIn(w, d, name, now, dirAttr)
	d.mu.Unlock()
	d.put()
	if done || id.IsZero() {
		return done, err
	}
	n := u.table.get(id)
	if n == nil {
		return false, nil
	}
	a, ok, _ := u.peekAt(n, now) // what is gone, who asks the volumes finds out
	n.put()
	if ok {
		*obj = a
		u.stats.hits.Add(1)
	}
	return ok, nil
}

// lookupIn is lookupNow in a directory: done with an error, or the node to be told of; zero if memory does not know it. Needs d.mu.
func (u *Union) lookupIn(w *vfs.Who, d *node, name vfs.Name, now int64, dirAttr *vfs.Attr) (id vfs.NodeID, done bool, err error) {
	if d.gone || !d.isDir() || !u.fresh(d, now) {
		return id, false, nil
	}
	var acls vfs.ACLs
	if !w.IsRoot() {
		known := false
		if acls, known = u.heldACLs(d); !known {
			return id, false, nil
		}
	}
	*dirAttr = d.attr
	if err := perm.Search(w, dirAttr, acls.Access); err != nil {
		return id, true, err
	}
	if id, err = u.recallHeld(d, name, now); err != nil {
		return id, true, u.missed(err)
	}
	return id, false, nil
}

// recallHeld answers from the name table: an id, NoEnt, or neither. Needs d.mu.
func (u *Union) recallHeld(d *node, name vfs.Name, now int64) (vfs.NodeID, error) {
	var e *entry
	if d.names != nil {
		e = d.names.byName[name]
	}
	switch {
	case e == nil && u.absent(d, name, now):
		return vfs.NodeID{}, vfs.NoEnt
	case e == nil || e.seen != d.names.round || !u.entryFresh(d, e, now):
		return vfs.NodeID{}, nil
	}
	return e.node, nil
}

// remembers reports whether memory has something of name, whatever it is worth.
func (u *Union) remembers(d *node, name vfs.Name) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.names; t != nil && (t.byName[name] != nil || t.complete && u.opt.Lookups == LookupFull) {
		return true
	}
	_, ok := u.absentSince(d, name)
	return ok
}

// missed counts an absence that memory knew.
func (u *Union) missed(err error) error {
	u.stats.misses.Add(1)
	return err
}

// recall answers from memory: a node with a reference, NoEnt, or neither.
func (u *Union) recall(d *node, name vfs.Name) (*node, error) {
	now := u.now()
	d.mu.Lock()
	id, err := u.recallHeld(d, name, now)
	d.mu.Unlock()
	if err != nil {
		return nil, u.missed(err)
	}
	n := u.table.get(id)
	if n != nil {
		u.stats.hits.Add(1)
	}
	return n, nil
}

// lookup finds name in d by asking, and gives its node with a reference. The caller
// holds no lease.
func (u *Union) lookup(ctx context.Context, d *node, name vfs.Name) (*node, error) {
	if err := u.ready(ctx, d, name); err != nil {
		return nil, err
	}
	l, err := u.acquire(ctx, lease.Node(d.id, lease.Shared))
	if err != nil {
		return nil, err
	}
	n, err := u.lookupHeld(ctx, d, name)
	l.Release()
	if err != nil {
		return nil, err
	}
	u.markLater(ctx, n)
	return n, nil
}

// ready brings what is known of d's names up to date as far as that is worth it for one
// name. The caller holds no lease.
func (u *Union) ready(ctx context.Context, d *node, name vfs.Name) error {
	if d.isGone() {
		return vfs.Stale
	}
	if strings.Contains(name.String(), conflictInfix) || u.worthListing(d) {
		if u.doubtful(d) == 0 { // else it cannot be proved, but the name may be found
			return u.prove(ctx, d, false)
		}
	}
	_, err := u.checkCopies(ctx, d)
	return err
}

func (n *node) isGone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gone
}

// worthListing says whether a look-up in d shall list it.
func (u *Union) worthListing(d *node) bool {
	if u.opt.Lookups != LookupFull {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.names
	if t == nil || t.round == 0 {
		return d.attr.Size <= listBytes
	}
	if t.large || t.order.n > u.opt.paged { // as one that was never listed: who reads it does; equal versions prove it with its attributes
		return false
	}
	if t.complete && u.namesBelieved(d, t.asOf, u.now()) {
		return false
	}
	own := !t.provable
	for i := range d.copies {
		own = own || d.copies[i].own
	}
	return !own || t.order.n <= listSmall || t.asks >= t.order.n/listShare
}

// lookupHeld is lookup for who holds a lease on d.
func (u *Union) lookupHeld(ctx context.Context, d *node, name vfs.Name) (*node, error) {
	if u.hidden(d, name) {
		return nil, vfs.NoEnt
	}
	if err := u.closedDir(ctx, d.id); err != nil {
		return nil, err
	}
	u.fetchName(d, name)
	d.mu.Lock()
	if d.gone {
		d.mu.Unlock()
		return nil, vfs.Stale
	}
	now := u.now()
	if u.absent(d, name, now) {
		d.mu.Unlock()
		return nil, vfs.NoEnt
	}
	if d.names == nil {
		d.names = newNames()
	}
	e := d.names.byName[name]
	if e == nil || !u.entryFresh(d, e, now) && e.phys == e.name {
		d.mu.Unlock()
		if e == nil && u.recallAbsence(d, name) {
			return nil, vfs.NoEnt
		}
		return u.ask(ctx, d, name)
	}
	at, vols := place{d.node(), e.name, e.phys}, e.vols
	d.mu.Unlock()
	n, err := u.lookAt(ctx, d, at, vols)
	if err != nil || n != nil {
		return n, err
	}
	u.distrust(d)
	if at.phys != at.name {
		return nil, vfs.NoEnt
	}
	return u.ask(ctx, d, name)
}

// lookAt looks at what an entry says, and confirms it. No node and no error: it is not
// so any more.
func (u *Union) lookAt(ctx context.Context, d *node, at place, vols volset) (*node, error) {
	m := u.members()
	there := vols & m.online
	if there == 0 {
		return nil, u.refusal("look up", vols.first())
	}
	hs, err := u.dirsAt(ctx, d, there)
	if err != nil {
		return nil, err
	}
	defer hs.release()
	if hs.set() != there {
		return nil, nil
	}
	asked := u.now()
	seen, err := u.lookAll(ctx, hs, at.phys)
	if err != nil {
		return nil, err
	}
	if len(seen) != there.count() || len(seen) > 1 && !allDirs(seen) {
		return nil, nil
	}
	all, asOf := there, int64(0)
	d.mu.Lock()
	if u.allKnown(d) && d.names.asOf > m.cameAt { // the other copies do not have it, as of their listing
		all, asOf = m.online, d.names.asOf
	}
	d.mu.Unlock()
	n, err := u.settle(ctx, at, seen, all, asOf)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.names != nil {
		if e := d.names.byName[at.name]; e != nil && e.phys == at.phys && e.vols == vols {
			if e.typ != n.typ || e.node != n.id && !u.rowsLate(d) {
				u.rowBehind(d, e.name, e.cookie)
			}
			e.node, e.seen, e.at, e.whole, e.ino = n.id, d.names.round, u.asOf(d, asked), vols == d.on(), seen[0].st.Key.Ino
			d.names.setType(e, n.typ)
		}
	}
	d.mu.Unlock()
	return n, nil
}

func allDirs(seen []sighting) bool {
	for i := range seen {
		if !seen[i].isDir() {
			return false
		}
	}
	return true
}

// distrust makes the names of d be proved before they are believed again: something was
// not as they say.
func (u *Union) distrust(d *node) {
	d.mu.Lock()
	u.forgetNames(d)
	d.mu.Unlock()
	u.tell(vfs.Event{Kind: vfs.ForgetName, Node: d.id})
}

// ask asks every copy of d for name and notes the answer. The caller holds a lease on d.
func (u *Union) ask(ctx context.Context, d *node, name vfs.Name) (*node, error) {
	m := u.members()
	away := m.all &^ m.online
	u.fetchName(d, name)
	hs, err := u.dirsAt(ctx, d, m.online)
	if err != nil {
		return nil, err
	}
	defer hs.release()
	if u.unsought(d) {
		return nil, &moved{d.node(), -1}
	}
	u.cover(ctx, d, hs)
	u.beginProof(ctx, d, hs)
	asked := u.now()
	seen, err := u.lookAll(ctx, hs, name)
	if err != nil {
		return nil, err
	}
	if len(seen) == 0 {
		if err := u.missing(d, name, m); vfs.StatusOf(err) != vfs.NoEnt {
			if n, lerr := u.askLoser(ctx, d, name); n != nil || lerr != nil {
				return n, lerr
			}
			return nil, err
		}
		u.noteAbsent(d, name, asked, hs.set(), away)
		return nil, vfs.NoEnt
	}
	if err := u.claimed(d, name, seen, away); err != nil {
		return nil, err
	}
	mine, others, err := u.split(ctx, d, name, seen)
	if err != nil {
		return nil, err
	}
	at := place{d.node(), name, name}
	n, err := u.settle(ctx, at, mine, hs.set(), asked)
	if err != nil {
		return nil, err
	}
	u.notePresent(ctx, d, at, mine, n, asked, away)
	if len(others) > 0 { // their names must be unique among all: list
		u.distrust(d)
	}
	return n, nil
}

// noteAbsent notes that none of these copies of d, all but those on away, has name, as of the time asked.
func (u *Union) noteAbsent(d *node, name vfs.Name, asked int64, copies, away volset) {
	d.mu.Lock()
	if d.on()&^away != copies { // one that was found meanwhile may have it
		d.mu.Unlock()
		return
	}
	if d.names == nil {
		d.names = newNames()
	}
	d.names.asks++
	if e := d.names.byName[name]; e != nil {
		if e.vols&away != 0 {
			d.mu.Unlock()
			return
		}
		d.names.remove(e)
		u.foundChanged(d)
		u.rowBehind(d, name, e.cookie)
	}
	u.miss(d, name, asked)
	u.askedName(d, name, asked)
	grown := d.names.charge()
	d.mu.Unlock()
	u.charge(grown)
}

// notePresent notes that name is the node n, seen as mine where it can be while these volumes are away.
func (u *Union) notePresent(ctx context.Context, d *node, at place, mine []sighting, n *node, asked int64, away volset) {
	var vols volset
	for i := range mine {
		vols = vols.with(mine[i].vol)
	}
	fresh := entry{name: at.name, phys: at.phys, vols: vols, ino: mine[0].st.Key.Ino, typ: n.typ, node: n.id, whole: true}
	d.mu.Lock()
	if d.names == nil {
		d.names = newNames()
	}
	d.names.asks++
	fresh.at = u.asOf(d, asked)
	if has, dirs := u.stands(d, at.name, away); dirs && allDirs(mine) {
		fresh.vols |= has
	}
	o := d.names.byName[at.name]
	if o == nil || o.vols != fresh.vols || o.phys != at.phys {
		u.foundChanged(d)
	}
	if o == nil && n.isDir() {
		d.names.counted = false // of a paged table: its row may count already
	}
	moved := u.upsert(d, &fresh)
	u.askedName(d, at.name, asked)
	grown := d.names.charge()
	d.mu.Unlock()
	u.charge(grown)
	u.rememberCookie(ctx, d, &fresh, moved)
}

// upsert puts e into the table of d, or brings what is there up to date; moved: its
// cookie is not its hash. Needs d.mu.
func (u *Union) upsert(d *node, e *entry) (moved bool) {
	t := d.names
	u.unmiss(d, e.name)
	e.seen = t.round
	if o := t.byName[e.name]; o != nil {
		t.setType(o, e.typ)
		e.cookie = o.cookie
		if !o.sameRow(e) {
			u.rowBehind(d, e.name, o.cookie)
		}
		o.phys, o.vols, o.ino, o.node, o.seen, o.at, o.whole = e.phys, e.vols, e.ino, e.node, e.seen, e.at, e.whole
		return u.collided.Load() && o.cookie != u.hash(o.name)
	}
	e.cookie, moved = u.cookieFor(d, e.name)
	kept := *e
	t.put(&kept)
	u.rowBehind(d, e.name, 0)
	u.trimNames(d, &kept)
	return moved
}
