package union

import (
	"context"
	"errors"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
	"sheaf/vfs/volume"
)

// fresh reports whether n's attributes may be told without asking at the time now. Needs n.mu.
func (u *Union) fresh(n *node, now int64) bool {
	m := u.members()
	if n.attrAt == 0 || n.attrAt <= m.cameAt || n.attrAt <= n.doubts.attrs {
		return false
	}
	if now-n.attrAt < u.trust {
		return true
	}
	if m.online != m.all && n.on()&m.online == 0 {
		return false
	}
	if m.exempt {
		return true
	}
	for i := range n.copies {
		if !u.vol(n.copies[i].vol).exclusive {
			return false
		}
	}
	return true
}

// peek is n's attributes if memory knows them.
func (u *Union) peek(n *node) (a vfs.Attr, ok bool, err error) { return u.peekAt(n, u.now()) }

// peekAt is peek at the time now.
func (u *Union) peekAt(n *node, now int64) (a vfs.Attr, ok bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return a, false, vfs.Stale
	}
	if !u.fresh(n, now) {
		return a, false, nil
	}
	return n.attr, true, nil
}

// attrs is n's attributes, from memory or by asking. The caller holds no lease on n.
func (u *Union) attrs(ctx context.Context, w *vfs.Who, n *node) (vfs.Attr, error) {
	a, ok, err := u.peek(n)
	if ok || err != nil {
		return a, err
	}
	if w.NoWait {
		return a, vfs.Again
	}
	if n.isDir() && !u.verified(n) {
		if _, err := u.checkCopies(ctx, n); err != nil {
			return a, err
		}
	}
	held, err := u.acquire(ctx, lease.Node(n.id, lease.Shared))
	if err != nil {
		return a, err
	}
	defer held.Release()
	if a, ok, err := u.peek(n); ok || err != nil {
		return a, err
	}
	return u.refresh(ctx, n)
}

// refresh asks the volumes for n's attributes. The caller holds a lease on n.
func (u *Union) refresh(ctx context.Context, n *node) (vfs.Attr, error) {
	if n.isDir() {
		return u.refreshDir(ctx, n)
	}
	for range searches {
		at := u.now()
		st, err := u.statFile(ctx, n)
		if err != nil {
			return vfs.Attr{}, err
		}
		n.mu.Lock()
		if len(n.copies) == 1 && n.copies[0].id.Key == st.Key {
			u.account(n, n.on(), []volume.Stat{st}, at)
			a := n.attr
			n.mu.Unlock()
			return a, nil
		}
		n.mu.Unlock()
	}
	return vfs.Attr{}, &moved{n.node(), -1}
}

// statFile asks an open file, or the name under which the object is reached.
func (u *Union) statFile(ctx context.Context, n *node) (volume.Stat, error) {
	u.stats.stats.Add(1)
	if f := u.files.peek(n); f != nil {
		defer f.release(u)
		st, err := f.f.Stat(ctx)
		if err != nil || st.Nlink > 0 {
			return st, err
		}
		n.mu.Lock() // another process took its last name
		vn, v := n.node(), n.copies[0].vol
		if n.file == f {
			n.file = nil
		}
		n.mu.Unlock()
		u.files.drop(u, f)
		return st, &moved{vn, v}
	}
	h, _, st, err := u.reach(ctx, n)
	if err == nil {
		h.release()
	}
	return st, err
}

// reach finds a name under which the object n, which is not a directory, is to be had:
// an open directory, which the caller releases, and the name in it.
func (u *Union) reach(ctx context.Context, n *node) (*dirHandle, vfs.Name, volume.Stat, error) {
	n.mu.Lock()
	if n.gone || len(n.copies) == 0 {
		gone := n.gone
		n.mu.Unlock()
		if gone {
			return nil, vfs.Name{}, volume.Stat{}, vfs.Stale
		}
		return nil, vfs.Name{}, volume.Stat{}, &moved{n.node(), -1}
	}
	c := n.copies[0]
	if !u.online().has(c.vol) {
		n.mu.Unlock()
		return nil, vfs.Name{}, volume.Stat{}, u.refusal("reach", c.vol)
	}
	places := append(make([]place, 0, 4), n.places...)
	n.mu.Unlock()
	var unknown error // a place whose directory has to be looked for first
	for _, p := range places {
		h, st, err := u.tryPlace(ctx, p, c)
		if err == nil {
			return h, p.phys, st, nil
		}
		if m := (*moved)(nil); errors.As(err, &m) {
			unknown = err
			continue
		}
		if !errors.Is(err, errElsewhere) {
			return nil, vfs.Name{}, volume.Stat{}, err
		}
		n.mu.Lock()
		n.dropPlace(p.dir.ID, p.name)
		n.mu.Unlock()
	}
	if unknown != nil {
		return nil, vfs.Name{}, volume.Stat{}, unknown
	}
	return nil, vfs.Name{}, volume.Stat{}, &moved{n.node(), c.vol}
}

// errElsewhere says that an object is not at one of its places. It does not leave reach.
var errElsewhere = errors.New("not there")

// tryPlace looks whether the object c is at p.
func (u *Union) tryPlace(ctx context.Context, p place, c copyOf) (*dirHandle, volume.Stat, error) {
	d, err := u.known(p.dir)
	if vfs.StatusOf(err) == vfs.Stale {
		err = errElsewhere
	}
	if err != nil {
		return nil, volume.Stat{}, err
	}
	defer d.put()
	h, err := u.dirAt(ctx, d, c.vol)
	if errors.Is(err, errNoCopy) || vfs.StatusOf(err) == vfs.Stale {
		return nil, volume.Stat{}, errElsewhere
	}
	if err != nil {
		return nil, volume.Stat{}, err
	}
	st, err := u.sameAt(ctx, h, p.phys, c)
	if err != nil {
		h.release()
		return nil, st, err
	}
	return h, st, nil
}

// sameAt sees that what is called phys in h is the object c. errElsewhere if it is not.
func (u *Union) sameAt(ctx context.Context, h *dirHandle, phys vfs.Name, c copyOf) (volume.Stat, error) {
	if c.trusted {
		st, err := h.d.StatAt(ctx, phys)
		if s := vfs.StatusOf(err); s == vfs.NoEnt || s == vfs.Stale || err == nil && st.Key != c.id.Key {
			return st, errElsewhere
		}
		return st, err
	}
	st, id, err := h.d.IdentifyAt(ctx, phys)
	if s := vfs.StatusOf(err); s == vfs.NoEnt || s == vfs.Stale || err == nil && id != c.id {
		return st, errElsewhere
	}
	return st, err
}

// refreshDir asks every copy of a directory. The caller holds a lease on it.
func (u *Union) refreshDir(ctx context.Context, n *node) (vfs.Attr, error) {
	if err := u.readStamps(ctx, n); err != nil {
		return vfs.Attr{}, err
	}
	began := u.now()
	u.countDirs(ctx, n)
	n.mu.Lock()
	a, told := n.attr, n.attrAt > began && !n.changing && !n.gone
	n.mu.Unlock()
	if told { // it was asked for its versions just now
		u.levelLater(n)
		return a, nil
	}
	for range searches {
		hs, err := u.dirsUpTo(ctx, n, u.online())
		if err != nil {
			return vfs.Attr{}, err
		}
		at := u.now()
		stats, err := u.statDirs(ctx, hs)
		hs.release()
		if err != nil {
			return vfs.Attr{}, err
		}
		if lost := lostCopies(stats, hs.set()); lost != 0 {
			if err := u.loseCopies(n, lost, hs.identity); err != nil {
				return vfs.Attr{}, err
			}
			continue
		}
		n.mu.Lock()
		if n.on()&u.online() == hs.set() && len(stats) > 0 {
			u.account(n, hs.set(), stats, at)
			a := n.attr
			n.mu.Unlock()
			u.proveBy(n, hs.set(), stats, at)
			u.levelLater(n)
			return a, nil
		}
		lost := n.on() & u.away()
		n.mu.Unlock()
		if len(stats) == 0 && lost != 0 {
			return vfs.Attr{}, u.refusal("stat", lost.first())
		}
	}
	return vfs.Attr{}, &moved{n.node(), -1}
}

// countDirs sees that the subdirectories of a directory whose copies cannot tell their number
// are known: nlink is logical. One that is large, or cannot be listed, tells
// the most that a copy does.
func (u *Union) countDirs(ctx context.Context, n *node) {
	n.mu.Lock()
	verified := n == u.root || n.copiesAt > u.members().cameAt || u.online()&^n.on() == 0
	needed := verified && (len(n.copies) > 1 || n == u.root) && (n.names == nil || !n.names.countsDirs()) && n.attr.Size <= listBytes
	n.mu.Unlock()
	if needed && u.doubtful(n) == 0 {
		_ = u.prove(ctx, n, true) // whoever needs the names gets the error
	}
}

// readStamps reads marks that were not read yet: of a directory that is new in memory for their stamps, of
// which its first attributes are made, and of any for their attribute epochs.
func (u *Union) readStamps(ctx context.Context, n *node) error {
	online := u.online()
	n.mu.Lock()
	first := n.attr.Ctime == vfs.Time{}
	needed := (len(n.copies) > 1 || n == u.root) && (first && n.attrAt == 0 || !n.leveled(online))
	n.mu.Unlock()
	if !needed {
		return nil
	}
	hs, err := u.dirsAt(ctx, n, u.online())
	if err != nil {
		return err
	}
	defer hs.release()
	return each(hs.set(), func(v int) error {
		b, err := hs[v].d.Mark(ctx)
		if err != nil {
			return err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if c := n.copyOn(v); c != nil {
			m, ok := decodeMark(u.markKey, b, u.vol(v).id, &c.id)
			if ok = ok && m.node.ID == n.id; ok {
				c.stamp = m.stamp // known, so that unstamp finds it, also where the times were accounted for without
			}
			c.marked, c.epoch = ok, max(m.attrEpoch, 1)
		}
		return nil
	})
}

// statDirs asks every copy in hs; the results are in volume order, without gaps.
func (u *Union) statDirs(ctx context.Context, hs handles) ([]volume.Stat, error) {
	set := hs.set()
	stats := make([]volume.Stat, set.count())
	u.stats.stats.Add(int64(len(stats)))
	if len(stats) == 1 { // by far the most
		return stats, hs[set.first()].stat(ctx, &stats[0])
	}
	return stats, u.askEach(set, func(v int) error { return hs[v].stat(ctx, &stats[set.rank(v)]) })
}

// stat puts into st what the directory is; no links if it was removed.
func (h *dirHandle) stat(ctx context.Context, st *volume.Stat) (err error) {
	*st, err = h.d.Stat(ctx)
	if vfs.StatusOf(err) == vfs.Stale {
		*st, err = volume.Stat{}, nil
	}
	return err
}

// lostCopies are those of set whose directory was removed behind our back.
func lostCopies(stats []volume.Stat, set volset) volset {
	var lost volset
	for i, v := range set.list() {
		if stats[i].Nlink == 0 {
			lost = lost.with(v)
		}
	}
	return lost
}

// loseCopies forgets copies that were removed behind our back; with the last one the
// directory is gone.
//
// was tells which copies were looked at, nil: those there are. One that came in the place of a lost one stays.
func (u *Union) loseCopies(n *node, lost volset, was func(v int) volume.Identity) error {
	n.mu.Lock()
	var gone, kept []copyOf
	for _, c := range n.copies {
		if lost.has(c.vol) && n != u.root && (was == nil || was(c.vol) == c.id) {
			gone = append(gone, c)
		} else {
			kept = append(kept, c)
		}
	}
	n.copies = kept
	if n.copyOn(n.home) == nil && len(kept) > 0 {
		n.home = kept[0].vol
	}
	u.forgetNames(n)
	n.attrAt, n.copiesAt = 0, 0 // who removed it may have made another
	n.mu.Unlock()
	u.rekey(n, gone)
	u.tell(vfs.Event{Kind: vfs.ForgetNode, Node: n.id})
	if len(kept) == 0 {
		if may := u.mayHave(n, u.away()); may != 0 { // then it may live on
			u.retireHere(n)
			return u.refusal("stat", may.first())
		}
		u.retire(n)
		return vfs.Stale
	}
	if n == u.root {
		return &vfs.Error{Status: vfs.IO, Op: "stat", Object: "/", Err: errors.New("the root of a volume was removed"), Do: "mount it again and restart the server"}
	}
	u.putRow(n)
	return nil
}

// storeAttr takes the attributes that came with sightings, if they tell all. Needs n.mu.
func (u *Union) storeAttr(n *node, seen []sighting, at int64) {
	if !n.isDir() {
		u.account(n, n.on(), []volume.Stat{seen[0].st}, at)
		return
	}
	online := u.online()
	if len(n.copies) > 1 && (n.names == nil || !n.names.countsDirs() || !n.leveled(online)) { // nlink is not known, or whose mode counts
		return
	}
	var set volset
	stats := make([]volume.Stat, len(seen))
	for i := range seen { // in volume order, as copies are
		set = set.with(seen[i].vol)
		stats[i] = seen[i].st
	}
	if set != n.on()&online {
		return
	}
	u.account(n, set, stats, at)
}

// account makes n's logical attributes of what its copies on set, in their order, say. Those that are away
// count as what they said last. A copy whose ctime has moved since it was last accounted for has really changed:
// the logical ctime moves too, strictly, and the newest of those whose mtime has moved tells the
// mtime. Needs n.mu.
func (u *Union) account(n *node, set volset, stats []volume.Stat, at int64) {
	m := movement{first: n.attrAt == 0 && n.attr.Ctime == vfs.Time{}, newest: -1, dated: -1}
	k := 0
	for i := range n.copies {
		if set.has(n.copies[i].vol) {
			n.observe(&m, i, &stats[k])
			k++
		}
	}
	u.compose(n, set, stats)
	n.conclude(&m)
	if m.first {
		u.regainLead(n)
	}
	n.attrAt = at
}

// accountRead is account of a directory for who has not read its marks: nothing, if the stamp of a copy that was never
// accounted for is not known. Needs n.mu.
func (u *Union) accountRead(n *node, set volset, stats []volume.Stat, at int64) {
	for i := range n.copies {
		if c := &n.copies[i]; set.has(c.vol) && c.epoch == 0 && c.ctime == (vfs.Time{}) && (len(n.copies) > 1 || n == u.root) {
			return
		}
	}
	u.account(n, set, stats, at)
}

// movement is what changed of an object's copies.
type movement struct {
	first         bool // nothing was known before
	newest, dated int  // the last copy to change, and the last whose mtime did; below 0: none
}

// observe notes what copy i says now. Needs n.mu.
func (n *node) observe(m *movement, i int, st *volume.Stat) {
	c := &n.copies[i]
	fresh := m.first || c.ctime == vfs.Time{} // never accounted for
	redated := fresh || c.mtime != st.Mtime
	moved := redated || c.ctime != st.Ctime // a coarse clock may stand still over a change
	if moved {
		c.changed = st.Ctime
		if fresh && c.stamp.holds(st) {
			c.changed = c.stamp.ctime
		}
	}
	if fresh && !m.first && c.changed.Compare(n.attr.Ctime) <= 0 { // it was away; the others have moved on
		moved, redated = false, false
	}
	c.ctime, c.mtime = st.Ctime, st.Mtime
	if moved && (m.newest < 0 || n.copies[m.newest].older(c)) {
		m.newest = i
	}
	if redated && (m.dated < 0 || n.copies[m.dated].older(c)) {
		m.dated = i
	}
}

// conclude moves the logical times by what was observed. Needs n.mu.
func (n *node) conclude(m *movement) {
	if m.newest >= 0 {
		n.moveCtime(n.copies[m.newest].changed, m.first)
	}
	if m.dated >= 0 {
		n.attr.Mtime = n.copies[m.dated].mtime
	}
}

// older reports whether c really changed before d.
func (c *copyOf) older(d *copyOf) bool {
	if o := c.changed.Compare(d.changed); o != 0 {
		return o < 0
	}
	return c.mtime.Compare(d.mtime) < 0
}

// moveCtime sets the logical ctime after a real change at the physical time t. Needs n.mu.
func (n *node) moveCtime(t vfs.Time, first bool) {
	if first || t.Compare(n.attr.Ctime) > 0 {
		n.attr.Ctime = t
		return
	}
	n.attr.Ctime = n.attr.Ctime.Next()
}

// settled notes the physical times of the copies on set, in their order, after a change of ours that is
// none to a client: a mark was set, a copy made, times put right. Needs n.mu.
func (u *Union) settled(n *node, set volset, stats []volume.Stat, at int64) {
	k := 0
	for i := range n.copies {
		if c := &n.copies[i]; set.has(c.vol) {
			c.ctime, c.mtime = stats[k].Ctime, stats[k].Mtime
			k++
		}
	}
	u.compose(n, set, stats)
	n.attrAt = at
}

// compose sets all but ctime and mtime. Needs n.mu.
func (u *Union) compose(n *node, set volset, stats []volume.Stat) {
	if len(n.copies) > 1 {
		k := 0
		for i := range n.copies {
			if set.has(n.copies[i].vol) {
				n.copies[i].keep(&stats[k])
				k++
			}
		}
		n.composeDir(u.online())
		return
	}
	n.composeOf(&stats[0])
	n.attr.Nlink, n.attr.Size, n.attr.Used = stats[0].Nlink, stats[0].Size, stats[0].Used
	if n == u.root && n.names != nil && n.names.countsDirs() { // PrivateName is not counted
		n.attr.Nlink = uint32(2 + n.names.dirs)
	}
}

// composeOf sets what one stat tells: that of the home copy. Needs n.mu.
func (n *node) composeOf(st *volume.Stat) {
	a := &n.attr
	a.Node, a.Type = n.node(), n.typ
	a.Mode, a.UID, a.GID = st.Mode, st.UID, st.GID
	a.Major, a.Minor, a.Atime = st.Major, st.Minor, st.Atime
}

// keep remembers what a copy of a directory that has several says. Needs the mu of its node.
func (c *copyOf) keep(st *volume.Stat) {
	if c.last == nil {
		c.last = new(volume.Stat)
	}
	*c.last = *st
}

// composeDir is compose of a directory with several copies, by what they said last. Needs n.mu.
func (n *node) composeDir(online volset) {
	from := n.acting(online)
	if v := n.ahead(online); v >= 0 && n.copyOn(v).last != nil { // it is away, and told last what counts
		from = v
	}
	if c := n.copyOn(from); c != nil && c.last != nil {
		n.composeOf(c.last)
	}
	a := &n.attr
	a.Size, a.Used, a.Nlink = 0, 0, 0
	for i := range n.copies {
		st := n.copies[i].last
		if st == nil { // away, and not seen before
			continue
		}
		a.Size = max(a.Size, st.Size) // not the sum: a copy made on demand must not show
		a.Used += st.Used
		a.Nlink = max(a.Nlink, st.Nlink)
		if st.Atime.Compare(a.Atime) > 0 {
			a.Atime = st.Atime
		}
	}
	if n.names != nil && n.names.countsDirs() {
		a.Nlink = uint32(2 + n.names.dirs)
	}
}

// enter is the node a call is about, with a reference.
func (u *Union) enter(ctx context.Context, w *vfs.Who, vn vfs.Node) (*node, error) {
	if n := u.table.get(vn.ID); n != nil {
		return n, nil
	}
	if w.NoWait {
		if u.scans.gone.has(vn.ID) {
			return nil, vfs.Stale
		}
		return nil, vfs.Again
	}
	return u.resolve(ctx, vn)
}

// GetAttr implements vfs.FS.
func (u *Union) GetAttr(ctx context.Context, w *vfs.Who, vn vfs.Node) (vfs.Attr, error) {
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return vfs.Attr{}, err
	}
	defer n.put()
	return u.attrsOf(ctx, w, n)
}

// Root implements vfs.FS.
func (u *Union) Root(ctx context.Context, w *vfs.Who) (vfs.Attr, error) {
	return u.attrsOf(ctx, w, u.root)
}

// attrsOf is attrs for a call that holds nothing yet: what moved is looked for.
func (u *Union) attrsOf(ctx context.Context, w *vfs.Who, n *node) (vfs.Attr, error) {
	a, ok, err := u.peek(n)
	if ok || err != nil {
		return a, err
	}
	if w.NoWait {
		return a, vfs.Again
	}
	return u.attrsSlow(ctx, w, n)
}

func (u *Union) attrsSlow(ctx context.Context, w *vfs.Who, n *node) (a vfs.Attr, err error) {
	err = u.again(ctx, func(ctx context.Context) (err error) {
		a, err = u.attrs(ctx, w, n)
		return err
	})
	return a, err
}

// Access implements vfs.FS.
func (u *Union) Access(ctx context.Context, w *vfs.Who, vn vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return 0, vfs.Attr{}, err
	}
	defer n.put()
	a, acl, err := u.rightsOf(ctx, w, n)
	if err != nil {
		return 0, a, err
	}
	return perm.Access(w, &a, acl, want), a, nil
}

// rightsOf is rights for a call that holds nothing yet: what moved is looked for.
func (u *Union) rightsOf(ctx context.Context, w *vfs.Who, n *node) (vfs.Attr, vfs.ACL, error) {
	if a, ok, err := u.peek(n); err != nil || ok && w.IsRoot() {
		return a, nil, err
	} else if ok {
		if acls, ok := u.peekACLs(n); ok {
			return a, acls.Access, nil
		}
	}
	if w.NoWait {
		return vfs.Attr{}, nil, vfs.Again
	}
	return u.rightsSlow(ctx, w, n)
}

func (u *Union) rightsSlow(ctx context.Context, w *vfs.Who, n *node) (a vfs.Attr, acl vfs.ACL, err error) {
	err = u.again(ctx, func(ctx context.Context) (err error) {
		a, acl, err = u.rights(ctx, w, n)
		return err
	})
	return a, acl, err
}

// rights is what permission is decided by: n's attributes and access ACL. The
// caller holds no lease on n.
func (u *Union) rights(ctx context.Context, w *vfs.Who, n *node) (vfs.Attr, vfs.ACL, error) {
	a, err := u.attrs(ctx, w, n)
	if err != nil {
		return a, nil, err
	}
	acls, err := u.aclFor(ctx, w, n)
	return a, acls.Access, err
}

// aclFor is n's lists as far as they decide what w may do: root needs none.
func (u *Union) aclFor(ctx context.Context, w *vfs.Who, n *node) (vfs.ACLs, error) {
	if w.IsRoot() {
		return vfs.ACLs{}, nil
	}
	return u.aclsOf(ctx, w, n)
}

// aclsOf is n's lists. They are read again when the ctime of the copy that has them has
// moved (setxattr(2) moves it) by more than changes of names that are ours (keepACLs).
func (u *Union) aclsOf(ctx context.Context, w *vfs.Who, n *node) (vfs.ACLs, error) {
	if acls, ok := u.peekACLs(n); ok {
		return acls, nil
	}
	if w.NoWait {
		return vfs.ACLs{}, vfs.Again
	}
	n.mu.Lock()
	v, changes, at := n.aclVolume(u.online()), n.changes, u.now()
	var asOf vfs.Time
	if c := n.copyOn(v); c != nil {
		asOf = c.ctime
	}
	n.mu.Unlock()
	acls, err := u.readACLs(ctx, n, v)
	if err != nil {
		return acls, err
	}
	n.mu.Lock()
	if n.changes == changes {
		n.acls, n.aclTime, n.aclMoved, n.aclAt = &acls, asOf, false, at
	}
	n.mu.Unlock()
	return acls, nil
}

// aclVolume is the volume whose copy has n's lists. Needs n.mu.
func (n *node) aclVolume(online volset) int {
	if n.isDir() || len(n.copies) == 0 {
		return n.acting(online)
	}
	return n.copies[0].vol
}

// peekACLs is n's lists if memory knows them.
func (u *Union) peekACLs(n *node) (vfs.ACLs, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return u.heldACLs(n)
}

// heldACLs is peekACLs for who holds n.mu.
func (u *Union) heldACLs(n *node) (vfs.ACLs, bool) {
	v := n.aclVolume(u.online())
	c := n.copyOn(v)
	if n.typ == vfs.Symlink || c == nil || !u.vol(v).can().ACLs {
		return vfs.ACLs{}, true
	}
	if n.acls == nil || n.aclTime != c.ctime {
		return vfs.ACLs{}, false
	}
	if n.aclMoved && (u.now()-n.aclAt >= u.trust || n.aclAt <= n.doubts.attrs) {
		return vfs.ACLs{}, false
	}
	return *n.acls, true
}

// aclsStand reports whether n's lists are known as of what its copy told last. Needs n.mu.
func (u *Union) aclsStand(n *node) bool {
	c := n.copyOn(n.aclVolume(u.online()))
	return n.acls != nil && c != nil && n.aclTime == c.ctime
}

// keepACLs has the lists of a directory stand over a change of its names that we made, which has moved its ctime: they were
// those of the copy right before (aclStay). What another process set meanwhile is seen after trust, as a mode is that memory tells.
func (u *Union) keepACLs(n *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.copyOn(n.aclVolume(u.online()))
	if n.aclStay && n.acls != nil && c != nil && n.aclTime != c.ctime {
		n.aclTime, n.aclMoved = c.ctime, true
	}
}

// readACLs asks volume v.
func (u *Union) readACLs(ctx context.Context, n *node, v int) (vfs.ACLs, error) {
	if n.isDir() {
		h, err := u.dirAt(ctx, n, v)
		if err != nil {
			return vfs.ACLs{}, err
		}
		defer h.release()
		return h.d.ACLs(ctx)
	}
	h, phys, _, err := u.reach(ctx, n)
	if err != nil {
		return vfs.ACLs{}, err
	}
	defer h.release()
	return h.d.ACLsAt(ctx, phys)
}
