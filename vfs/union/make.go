package union

import (
	"context"
	"errors"
	"strings"
	"time"

	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
	"sheaf/vfs/volume"
)

// targetMax is the longest target of a symbolic link, in bytes (PATH_MAX without
// its NUL).
const targetMax = 4095

// makeTries bounds how often a Make begins anew because something came between: a copy had to
// be made, a volume was full, another process took the name.
const makeTries = 3 * MaxVolumes

// making is one Make under way.
type making struct {
	w      *vfs.Who
	d      *node
	name   vfs.Name
	how    *vfs.How
	vol    int    // chosen; -1: not yet
	unfit  volset // cannot take it
	why    error  // of the last of these
	since  int64  // when the lease on d was taken
	opened uint64 // opening of vol before anything was made
	attr   vfs.Attr
	change vfs.Change
	sync   *dirHandle // to be flushed, with a reference
	file   *openFile  // to be flushed too, with a reference
	over   *node      // what was found under the name, with a reference
}

// Make implements vfs.FS.
func (u *Union) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	if w.NoWait {
		return vfs.Attr{}, vfs.Change{}, vfs.Again
	}
	d, err := u.enter(ctx, w, dir)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	defer d.put()
	m := &making{w: w, d: d, name: name, how: how, vol: -1}
	err = u.again(ctx, func(ctx context.Context) error { return u.makeAny(ctx, m) })
	return m.attr, m.change, u.finishMake(ctx, m, err)
}

// finishMake makes what was made durable, without a lease.
func (u *Union) finishMake(ctx context.Context, m *making, err error) error {
	ctx = context.WithoutCancel(ctx)
	if m.file != nil {
		if err == nil && !m.w.Async {
			err = done(m.file.sync(ctx, u, false, m.file.failed.Load()))
		}
		m.file.release(u)
	}
	if m.sync != nil {
		if err == nil && !m.w.Async {
			err = done(u.flushDir(ctx, m.sync))
		}
		m.sync.release()
	}
	if m.over != nil {
		defer m.over.put()
		if err == nil && m.how.Exists == vfs.Unchecked {
			var ch vfs.Change
			ch, err = u.SetAttr(ctx, m.w, m.over.node(), &vfs.SetAttr{Mask: m.how.Set.Mask & vfs.SetSize, Size: m.how.Set.Size}, nil)
			if ch.HasAfter {
				m.attr = ch.After
			}
		}
	}
	return err
}

// flushDir is syncDir at the end of a call that has changed h, without leases: what was begun is answered when its outcome is
// known, so where the volume only is slow or stalled the flush is not refused but tried until it answers or is gone.
func (u *Union) flushDir(ctx context.Context, h *dirHandle) error {
	return u.flushed(func() error { return u.outlast(func() error { return h.d.Sync(ctx) }) })
}

// How long to wait before a flush is tried again on a volume that is slow: it doubles from the first to the second.
const (
	outlastSoon = time.Millisecond
	outlastMost = 100 * time.Millisecond
)

// outlast calls f until it is not refused because its volume is slow or stalled, or the server stops.
func (u *Union) outlast(f func() error) error {
	for pause := outlastSoon; ; pause = min(2*pause, outlastMost) {
		err := f()
		if away, ok := errors.AsType[*volume.AwayError](err); !ok || away.State.Health != volume.Slow && away.State.Health != volume.Stalled {
			return err
		}
		select {
		case <-time.After(pause):
		case <-u.background.Done():
			return err
		}
	}
}

func (u *Union) syncDir(ctx context.Context, h *dirHandle) error {
	return u.flushed(func() error { return h.d.Sync(ctx) })
}

// flushed makes one flush of a directory and takes note of it.
func (u *Union) flushed(sync func() error) error {
	u.stats.syncs.Add(1)
	err := sync()
	if err != nil { // whatever keeps names from the disk may have kept data from it, too
		u.newVerifier()
	}
	return err
}

// makeAny tries until an attempt says how it ends.
func (u *Union) makeAny(ctx context.Context, m *making) error {
	for range makeTries {
		if m.d.isDir() {
			if err := u.ready(ctx, m.d, m.name); err != nil {
				return err
			}
		}
		again, err := u.makeOnce(ctx, m)
		if isAway(err) && m.vol >= 0 && !u.online().has(m.vol) { // nothing was begun: another may take it
			m.refuse(err)
			continue
		}
		if err != nil || !again {
			return err
		}
		if m.vol < 0 {
			continue
		}
		err = u.ensureCopy(ctx, m.d, m.vol)
		if refused, ok := errors.AsType[*unfitError](err); ok {
			m.refuse(refused.err)
		} else if isAway(err) && !u.online().has(m.vol) {
			m.refuse(err)
		} else if err != nil {
			return err
		}
	}
	return &vfs.Error{Status: vfs.Jukebox, Op: "make", Object: m.name.String(), Err: m.why}
}

// refuse notes that the chosen volume cannot take it.
func (m *making) refuse(why error) {
	m.unfit, m.why, m.vol = m.unfit.with(m.vol), why, -1
}

// makeOnce is one attempt under the lease on the directory. again: m.vol must get a copy of
// the directory, or another volume be chosen.
func (u *Union) makeOnce(ctx context.Context, m *making) (again bool, err error) {
	l, err := u.acquire(ctx, lease.Node(m.d.id, lease.Exclusive))
	if err != nil {
		return false, err
	}
	defer l.Release()
	m.since = u.now()
	da, acl, err := u.beforeNames(ctx, m.w, m.d, &m.change)
	if err != nil {
		return false, err
	}
	if !m.d.isDir() {
		return false, vfs.NotDir
	}
	if err := u.validHow(m.how); err != nil {
		return false, err
	}
	if err := perm.Search(m.w, &da, acl); err != nil {
		return false, err
	}
	n, err := u.lookupHeld(ctx, m.d, m.name)
	if err == nil {
		return false, u.makeOver(ctx, m, n)
	}
	if vfs.StatusOf(err) != vfs.NoEnt {
		return false, err
	}
	if u.hidden(m.d, m.name) {
		return false, vfs.Acces
	}
	if err := perm.Add(m.w, &da, acl); err != nil {
		return false, err
	}
	acls, err := u.aclsOf(ctx, m.w, m.d)
	if err != nil {
		return false, err
	}
	born, err := perm.Birth(m.w, &da, acls.Default, m.how)
	if err != nil {
		return false, err
	}
	if m.vol < 0 || u.vol(m.vol).getMode() != volume.ReadWrite { // which may have changed since it was chosen
		if m.vol, err = u.choose(ctx, m); err != nil {
			return false, err
		}
	}
	if !m.d.volumes().has(m.vol) {
		return true, nil
	}
	return u.bear(ctx, m, &born)
}

// validHow checks what depends on the arguments alone.
func (u *Union) validHow(how *vfs.How) error {
	switch how.Type {
	case vfs.Regular:
		if how.Exists > vfs.Exclusive {
			return vfs.Inval
		}
		if how.Exists != vfs.Exclusive && how.Set.Has(vfs.SetSize) && how.Set.Size > u.maxFileSize() {
			return vfs.FBig
		}
	case vfs.Directory:
	case vfs.Symlink:
		switch {
		case how.Target == "" || strings.IndexByte(how.Target, 0) >= 0:
			return vfs.Inval
		case len(how.Target) > targetMax:
			return vfs.NameTooLong
		}
	case vfs.Block, vfs.Char, vfs.FIFO, vfs.Socket:
	default:
		return vfs.BadType
	}
	return perm.ValidTimes(&how.Set)
}

// makeOver is Make of a name that n has (RFC 1813 section 3.3.8). Takes the reference to n.
func (u *Union) makeOver(ctx context.Context, m *making, n *node) error {
	if m.how.Type != vfs.Regular || n.typ != vfs.Regular || m.how.Exists == vfs.Guarded {
		n.put()
		return vfs.Exist
	}
	a, err := u.attrsNoWait(ctx, n)
	if err != nil {
		n.put()
		return err
	}
	if m.how.Exists == vfs.Exclusive && !perm.SameExclusive(&a, m.how.Verifier) {
		n.put()
		return vfs.Exist
	}
	// Whoever made it may not have flushed its name yet, or have failed to: this call promises it, too.
	h, err := u.dirAt(ctx, m.d, n.volumes().first())
	if err != nil {
		n.put()
		return err
	}
	m.attr, m.over, m.sync = a, n, h
	return nil
}

// attrsNoWait is n's attributes for who holds another lease and so cannot wait for n's.
func (u *Union) attrsNoWait(ctx context.Context, n *node) (vfs.Attr, error) {
	a, ok, err := u.peek(n)
	if ok || err != nil {
		return a, err
	}
	l, ok := u.leases.TryAcquire(lease.Node(n.id, lease.Shared))
	if !ok {
		return a, &vfs.Error{Status: vfs.Jukebox, Op: "stat", Object: n.id.String(), Err: errors.New("it is being changed")}
	}
	defer l.Release()
	return u.refresh(ctx, n)
}

// choose asks the policy for a volume among those that can take it.
func (u *Union) choose(ctx context.Context, m *making) (int, error) {
	var list []int
	for _, v := range u.members().vols {
		if m.unfit.has(v.i) || !u.online().has(v.i) {
			continue
		}
		switch can, special := v.can(), m.how.Type == vfs.Block || m.how.Type == vfs.Char; {
		case m.how.Type == vfs.Symlink && !can.Symlinks, special && !can.Special:
			if m.why == nil {
				m.why = vfs.BadType
			}
		case can.ReadOnly:
			if m.why == nil {
				m.why = vfs.ROFS
			}
		case v.getMode() == volume.ReadOnly:
			if m.why == nil {
				m.why = u.changeable(volset(0).with(v.i))
			}
		case v.getMode() != volume.ReadWrite:
			if m.why == nil {
				m.why = vfs.NoSpc
			}
		default:
			list = append(list, v.i)
		}
	}
	list = u.lively(list)
	switch len(list) {
	case 0:
		return -1, u.noRoom(m)
	case 1:
		return list[0], nil
	}
	h := placement.Hints{Type: m.how.Type, Dir: m.d.id, Sibling: -1}
	sibling := m.sibling()
	candidates := make([]placement.Volume, 0, len(list))
	for i, v := range list {
		if v == sibling {
			h.Sibling = i
		}
		candidates = append(candidates, u.candidate(ctx, v))
	}
	c, err := u.opt.Policy.Choose(candidates, &h, &u.chance)
	if err != nil {
		if m.why != nil {
			return -1, m.why
		}
		return -1, err
	}
	return list[c.Index], nil
}

// sibling is the volume that took the directory's last file, or the only one that has the directory: a first file elsewhere
// would have to wait for a copy of it there, and be waited for by each look into two directories from then on. (Untar, one
// call after the other: 7.5 ms against 0.15 for the first file of each directory.) A directory in a new one goes anywhere, so that a tree
// is spread. Below 0: none.
func (m *making) sibling() int {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if on := m.d.on(); m.d.sibling < 0 && m.how.Type != vfs.Directory && on.count() == 1 {
		return on.first()
	}
	return m.d.sibling
}

// lively is list without the volumes that seem to hang, unless all do.
func (u *Union) lively(list []int) []int {
	var some []int
	for _, v := range list {
		if u.vol(v).stalled() < stalledAvoid {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		return list
	}
	return some
}

// noRoom is why no volume can take a new object. What is away for a short time may have room.
func (u *Union) noRoom(m *making) error {
	for _, v := range u.away().list() {
		if u.vol(v).getMode() != volume.ReadWrite {
			continue
		}
		if err := u.refusal("make", v); m.why == nil || vfs.StatusOf(err) == vfs.Jukebox {
			return err
		}
	}
	if m.why == nil {
		return vfs.NoSpc
	}
	return m.why
}

// bear makes the object on the chosen volume.
func (u *Union) bear(ctx context.Context, m *making, born *perm.Born) (again bool, err error) {
	h, err := u.dirAt(ctx, m.d, m.vol)
	if err != nil {
		return false, err
	}
	ctx = context.WithoutCancel(ctx)
	u.beginNames(ctx, m.d, volset(0).with(m.vol))
	defer u.end(m.d)
	if err := u.lookBefore(ctx, m.d, handles{h}, m.since, &m.change); err != nil {
		h.release()
		return false, err
	}
	s := sighting{vol: m.vol, at: u.now()}
	m.opened = u.vol(m.vol).opening.Load()
	f, sub, err := m.create(ctx, h.d, born, &s)
	switch vfs.StatusOf(err) {
	case vfs.OK:
	case vfs.Exist: // another process was faster: look again
		h.release()
		u.distrust(m.d)
		return true, nil
	case vfs.NoSpc, vfs.DQuot, vfs.ROFS:
		h.release()
		m.refuse(err)
		return true, nil
	case vfs.Perm:
		h.release()
		if u.vol(m.vol).can().Chown {
			return false, err
		}
		m.refuse(err)
		return true, nil
	default:
		h.release()
		if isAway(err) { // nothing was begun: another may take it
			m.refuse(err)
			return true, nil
		}
		u.distrustName(m.d, m.name, volset(0).with(m.vol))
		return false, h.lost(err)
	}
	m.sync = h
	s.st.Nlink = max(s.st.Nlink, 1) // as it was made; another process may have removed it since
	if err := u.born(ctx, m, &s, f, sub); err != nil {
		u.distrustName(m.d, m.name, volset(0).with(m.vol))
		return false, done(err)
	}
	return false, nil
}

// create calls the volume.
func (m *making) create(ctx context.Context, d volume.Dir, born *perm.Born, s *sighting) (f volume.File, sub volume.Dir, err error) {
	n := volume.New{Mode: born.Mode, UID: born.UID, GID: born.GID}
	if len(born.ACLs.Access)+len(born.ACLs.Default) > 0 {
		n.ACLs = &born.ACLs
	}
	m.times(&n)
	switch m.how.Type {
	case vfs.Regular:
		f, s.st, s.id, err = d.Create(ctx, m.name, &n)
	case vfs.Directory:
		sub, s.st, s.id, err = d.Mkdir(ctx, m.name, &n)
	case vfs.Symlink:
		s.st, s.id, err = d.Symlink(ctx, m.name, m.how.Target, &n)
	default:
		s.st, s.id, err = d.Mknod(ctx, m.name, m.how.Type, m.how.Major, m.how.Minor, &n)
	}
	if err != nil || f == nil || !m.how.Set.Has(vfs.SetSize) || m.how.Exists == vfs.Exclusive || m.how.Set.Size == 0 {
		return f, sub, err
	}
	set := vfs.SetAttr{Mask: vfs.SetSize, Size: m.how.Set.Size}
	if n.Times {
		set.Mask |= vfs.SetAtime | vfs.SetMtime
		set.Atime, set.Mtime = n.Atime, n.Mtime
	}
	if err = f.SetAttr(ctx, &set); err == nil {
		s.st, err = f.Stat(ctx)
	}
	if err != nil {
		return nil, nil, done(errors.Join(err, f.Close(), d.Unlink(ctx, m.name)))
	}
	return f, nil, nil
}

// times sets the times of birth that the caller wants.
func (m *making) times(n *volume.New) {
	set := &m.how.Set
	if m.how.Type == vfs.Regular && m.how.Exists == vfs.Exclusive {
		n.Times = true
		n.Atime, n.Mtime = perm.ExclusiveTimes(m.how.Verifier)
		return
	}
	if !set.Has(vfs.SetAtime | vfs.SetMtime) {
		return
	}
	now := vfs.TimeOf(time.Now())
	n.Times, n.Atime, n.Mtime = true, now, now
	if set.Has(vfs.SetAtime) {
		n.Atime = set.Atime
	}
	if set.Has(vfs.SetMtime) {
		n.Mtime = set.Mtime
	}
}

// born takes a new object into memory.
func (u *Union) born(ctx context.Context, m *making, s *sighting, f volume.File, sub volume.Dir) error {
	s.trusted = old(s.id.Key)
	at := place{m.d.node(), m.name, m.name}
	seen := []sighting{*s}
	n, added, err := u.intern(ctx, at, u.vol(s.vol).birthNode(&s.id), seen, u.online(), s.at)
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		if sub != nil {
			err = errors.Join(err, sub.Close())
		}
		return err
	}
	defer n.put()
	if !added { // seen by another call between its creation and now
		u.learn(n, at, seen, u.online(), s.at)
	}
	now := u.now()
	n.mu.Lock()
	m.attr = n.attr
	if n.isDir() && n.names == nil { // it is empty: nothing has to be asked for until that is old
		n.names = newNames()
		n.names.complete, n.names.asOf, n.names.round = true, now, 1
		n.names.known, n.names.since = volset(0).with(s.vol), s.at
		n.copies[0].own = true
		u.bornRows(n, s.vol, s.st.Version())
	}
	n.mu.Unlock()
	if f != nil {
		o := u.files.keep(u, n, f, true, s.vol, m.opened)
		if m.how.Set.Has(vfs.SetSize) && m.how.Exists != vfs.Exclusive && m.how.Set.Size > 0 {
			o.written.Add(1)
			m.file = o
		} else {
			o.release(u)
		}
	}
	if sub != nil {
		if h, err := u.keepDir(n, s.vol, s.id, sub, m.opened); err == nil {
			u.bornCovered(ctx, n, h, s)
			h.release()
		}
	}
	u.addName(ctx, m.d, at, n, volset(0).with(s.vol))
	if m.how.Type == vfs.Regular {
		m.d.mu.Lock()
		m.d.sibling = s.vol
		m.d.mu.Unlock()
	}
	u.afterNames(ctx, m.d, &m.change, handles{m.sync})
	return nil
}

// bornCovered lets the emptiness of a new directory be believed for as long as watches are: what was made in it before they told of it
// would have changed its version. Without, each name that is made in it later than trust after it would be asked for first.
func (u *Union) bornCovered(ctx context.Context, n *node, h *dirHandle, s *sighting) {
	if u.vol(s.vol).can().Quiet != 0 {
		return
	}
	n.mu.Lock()
	t, changes := n.names, n.changes
	n.mu.Unlock()
	hs := make(handles, h.vol+1)
	hs[h.vol] = h
	u.cover(ctx, n, hs)
	at := u.now()
	st, err := h.d.Stat(ctx)
	if err != nil || st.Version() != s.st.Version() {
		u.distrust(n)
		return
	}
	n.mu.Lock()
	if n.names == t && n.changes == changes && len(n.copies) == 1 && t != nil && t.complete {
		t.asOf = max(t.asOf, at)
	}
	n.mu.Unlock()
}

// entry is the entry that n has at a place.
func (n *node) entry(at place, vols volset, now int64) entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := entry{name: at.name, phys: at.phys, vols: vols, typ: n.typ, node: n.id, at: now}
	if len(n.copies) > 0 {
		e.ino = n.copies[0].id.Ino
	}
	return e
}

// addName notes a name that we made. The caller holds the exclusive lease on d.
func (u *Union) addName(ctx context.Context, d *node, at place, n *node, vols volset) {
	e := n.entry(at, vols, u.now())
	d.mu.Lock()
	grown, moved := u.addEntry(d, &e)
	d.mu.Unlock()
	u.charge(grown)
	u.rememberCookie(ctx, d, &e, moved)
}

// addEntry is addName in memory; it gives the bytes that were added, and whether the cookie is not the
// name's hash. Needs d.mu.
func (u *Union) addEntry(d *node, e *entry) (grown int64, moved bool) {
	u.ownChange(d, e.vols)
	if d.changing { // what another did since is not known, though we note ours only now
		e.at = min(e.at, d.changesAt)
	}
	if d.names == nil {
		d.names = newNames()
	}
	moved = u.upsert(d, e)
	return d.names.charge(), moved
}

// ownChange notes that we changed the names of copies: their versions prove nothing until they are
// listed again. Needs n.mu; the caller has a reference to n.
func (u *Union) ownChange(n *node, vols volset) {
	for i := range n.copies {
		if vols.has(n.copies[i].vol) {
			n.copies[i].own = true
		}
	}
	u.unproveAbsents(n)
	u.namesChanged(n, vols)
}

// dropName notes that a name is no more, by a change of ours. The caller holds the
// exclusive lease on d.
func (u *Union) dropName(d *node, name vfs.Name, isDir bool, vols volset) {
	d.mu.Lock()
	freed := u.dropEntry(d, name, isDir, vols)
	d.mu.Unlock()
	u.memory.Add(-freed)
}

// dropEntry is dropName in memory; it gives the bytes that were freed. Needs d.mu.
func (u *Union) dropEntry(d *node, name vfs.Name, isDir bool, vols volset) (freed int64) {
	u.ownChange(d, vols)
	was := vfs.Cookie(0)
	if d.names != nil && d.names.byName[name] != nil {
		was = d.names.byName[name].cookie
	}
	u.rowBehind(d, name, was)
	at := u.now()
	if d.changing {
		at = min(at, d.changesAt)
	}
	if u.away() == 0 { // one that is away may have the name, too: it was not asked
		u.miss(d, name, at)
	}
	if d.names == nil {
		return 0
	}
	if e := d.names.byName[name]; e != nil {
		d.names.remove(e)
	} else if d.names.paged && isDir {
		d.names.dirs--
	}
	return -d.names.charge()
}
