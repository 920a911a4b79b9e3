package union

import (
	"context"
	"errors"
	"fmt"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// unfitError says that a volume cannot take a copy of a directory: something else has the
// name there, or it cannot be given its owner.
type unfitError struct{ err error }

func (e *unfitError) Error() string { return e.err.Error() }
func (e *unfitError) Unwrap() error { return e.err }

// unfit makes err an *unfitError where it says that the volume takes no more, or never did.
func unfit(err error) error {
	switch vfs.StatusOf(err) {
	case vfs.Perm, vfs.Acces, vfs.NoSpc, vfs.DQuot, vfs.ROFS, vfs.NotSupp:
		return &unfitError{err}
	default:
		return err
	}
}

// ensureCopy sees that d, and so all directories above it, has a copy on volume v. The caller
// holds no lease. An *unfitError if it cannot have one.
func (u *Union) ensureCopy(ctx context.Context, d *node, v int) error {
	for range scanDepth {
		parent, child, err := u.lackingCopy(d, v)
		if err != nil || child == nil {
			return err
		}
		err = u.makeCopy(ctx, parent, child, v)
		parent.put()
		child.put()
		if err != nil {
			return err
		}
	}
	return u.fault("make a copy of a directory", d.id.String(), "its parents never end")
}

// lackingCopy is the highest directory on the way to d without a copy on v, and its
// parent, which has one; both with references. No child: d has one.
func (u *Union) lackingCopy(d *node, v int) (parent, child *node, err error) {
	d.refs.Add(1)
	child = d
	if d.volumes().has(v) {
		d.put()
		return nil, nil, nil
	}
	for range scanDepth {
		child.mu.Lock()
		var up vfs.Node
		if len(child.places) > 0 {
			up = child.places[0].dir
		}
		gone := child.gone
		child.mu.Unlock()
		if gone || up.IsZero() {
			vn := child.node()
			child.put()
			if gone {
				return nil, nil, vfs.Stale
			}
			return nil, nil, &moved{vn, d.volumes().first()}
		}
		parent, err := u.known(up)
		if err != nil {
			child.put()
			return nil, nil, err
		}
		if parent.volumes().has(v) {
			return parent, child, nil
		}
		child.put()
		child = parent
	}
	child.put()
	return nil, nil, u.fault("make a copy of a directory", d.id.String(), "its parents never end")
}

// makeCopy makes the copy of child on v, beneath that of parent. Neither's times move for a
// client. Nothing is done if they are not as they were any more.
//
// Steps: (1) the other copies are marked, durably; (2) the directory is made with
// owner, mode, ACLs and times; (3) it is marked and synced; (4) the parent's copy gets its mtime
// back and a stamp (mark.go), and is synced. Only then is it a copy that may take something. A crash
// before (3) leaves an unmarked directory where a marked one has its name: they are one at the
// next sight, under the id of the mark. A copy on a volume that takes no mark, being full or
// read-only, goes without: the new one's mark tells the id.
//
// Step 1 is made before the parent's lease is taken, too: it waits for the other volumes, and who uses the parent need not.
func (u *Union) makeCopy(ctx context.Context, parent, child *node, v int) error {
	if err := u.markFirst(ctx, child, v); err != nil {
		return err
	}
	l, err := u.acquire(ctx, lease.Node(parent.id, lease.Exclusive), lease.Node(child.id, lease.Exclusive))
	if err != nil {
		return err
	}
	defer l.Release()
	child.mu.Lock()
	still := !child.gone && len(child.places) > 0 && child.places[0].dir.ID == parent.id && child.copyOn(v) == nil
	var at place
	if still {
		at = child.places[0]
	}
	child.mu.Unlock()
	if !still || !parent.volumes().has(v) {
		return nil
	}
	if _, err := u.refresh(ctx, parent); err != nil {
		return err
	}
	ca, err := u.refresh(ctx, child)
	if err != nil {
		return err
	}
	acls, err := u.aclsOf(ctx, vfs.Superuser, child)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	u.beginNames(ctx, parent, volset(0).with(v))
	defer u.end(parent)
	u.begin(child)
	defer u.end(child)
	err = unfit(u.markCopies(ctx, child))
	if _, refused := errors.AsType[*unfitError](err); refused {
		u.stats.unmarked.Add(1)
		u.log.Warn("directory cannot be marked where it is; its new copy is", "op", "mark", "node", child.id, "err", err)
	} else if err != nil {
		return err
	}
	return u.bearCopy(ctx, parent, child, v, at, &ca, acls)
}

// markFirst marks the copies of child, of which v is to have one. If a volume that it takes seems to hang, nothing is begun.
func (u *Union) markFirst(ctx context.Context, child *node, v int) error {
	child.mu.Lock()
	takes := volset(0).with(v)
	for _, c := range child.copies {
		if !c.marked {
			takes = takes.with(c.vol)
		}
	}
	child.mu.Unlock()
	for _, i := range takes.list() {
		if since := u.vol(i).stalled(); since >= stalledAvoid {
			return u.stalledError("make a copy of a directory", i, since)
		}
	}
	if takes == volset(0).with(v) {
		return nil
	}
	l, err := u.acquire(ctx, lease.Node(child.id, lease.Exclusive))
	if err != nil {
		return err
	}
	defer l.Release()
	if _, err := u.refresh(ctx, child); err != nil {
		return err
	}
	u.begin(child)
	defer u.end(child)
	err = unfit(u.markCopies(context.WithoutCancel(ctx), child))
	if _, refused := errors.AsType[*unfitError](err); refused {
		return nil // makeCopy says so
	}
	return err
}

// bearCopy is steps 2 to 4 of makeCopy.
func (u *Union) bearCopy(ctx context.Context, parent, child *node, v int, at place, ca *vfs.Attr, acls vfs.ACLs) error {
	opening := u.vol(v).opening.Load()
	h, err := u.dirAt(ctx, parent, v)
	if err != nil {
		return err
	}
	defer h.release()
	born := volume.New{Mode: ca.Mode, UID: ca.UID, GID: ca.GID, Times: true, Atime: ca.Atime, Mtime: ca.Mtime, ACLs: &acls}
	d, st, id, err := h.d.Mkdir(ctx, at.phys, &born)
	if vfs.StatusOf(err) == vfs.Exist { // made by another process, or a conflict's loser
		return u.adoptCopy(ctx, child, h, at)
	}
	if err != nil {
		return unfit(err)
	}
	// Step 3. The copy counts as changed when the directory was.
	child.mu.Lock()
	epoch := child.epoch()
	child.mu.Unlock()
	m := mark{node: child.node(), epoch: 1, attrEpoch: epoch, stamp: stamp{ca.Ctime, st.Mtime, st.Mode, st.UID, st.GID}}
	err = d.SetMark(ctx, m.encode(u.markKey, u.vol(v).id, &id))
	if err == nil {
		err = d.Sync(ctx)
	}
	if err == nil {
		err = errors.Join(u.redate(ctx, parent, h), u.syncDir(ctx, h))
	}
	if err != nil {
		return errors.Join(unfit(err), d.Close(), h.d.Rmdir(ctx, at.phys))
	}
	s := sighting{vol: v, st: st, id: id, trusted: old(id.Key), node: child.node(), mark: m, marked: true}
	u.gainCopy(child, s, at, true)
	nh, err := u.keepDir(child, v, id, d, opening)
	if err == nil {
		nh.release()
	}
	return errors.Join(err, u.settleDir(ctx, parent), u.settleDir(ctx, child))
}

// redate gives a copy the directory's mtime, and stamps it with the ctime of its last real
// change: making a directory in it for our own purposes is none. Not the mtime that it had: until it is stamped it is
// the newest copy, which tells the mtime after a crash. The caller holds the exclusive lease on n.
func (u *Union) redate(ctx context.Context, n *node, h *dirHandle) error {
	n.mu.Lock()
	c := n.copyOn(h.vol)
	if c == nil {
		n.mu.Unlock()
		return errNoCopy
	}
	was, mtime := *c, n.attr.Mtime
	n.mu.Unlock()
	err := h.d.SetAttr(ctx, &vfs.SetAttr{Mask: vfs.SetMtime, Mtime: mtime})
	if s := vfs.StatusOf(err); s == vfs.Perm || s == vfs.Acces {
		return nil // another's directory, not ours to date: its times move at the next start
	}
	if err != nil {
		return err
	}
	return u.markCopy(ctx, n, was, h)
}

// alignTimes gives all copies that are there the directory's mtime, before a change that may move their ctimes
// only: whichever is the newest then tells the right one, also after a crash or a power cut at any step. The caller holds the
// exclusive lease on n, and has refreshed it.
func (u *Union) alignTimes(ctx context.Context, n *node) error {
	n.mu.Lock()
	var todo volset
	for _, c := range n.copies {
		if len(n.copies) > 1 && c.mtime != n.attr.Mtime && u.online().has(c.vol) {
			todo = todo.with(c.vol)
		}
	}
	set := vfs.SetAttr{Mask: vfs.SetMtime, Mtime: n.attr.Mtime}
	n.mu.Unlock()
	hs, err := u.dirsAt(ctx, n, todo)
	if err != nil {
		return err
	}
	defer hs.release()
	return each(hs.set(), func(v int) error {
		err := hs[v].d.SetAttr(ctx, &set)
		if s := vfs.StatusOf(err); s == vfs.Perm || s == vfs.Acces {
			return nil // another's directory, not ours to date
		}
		if err != nil {
			return err
		}
		return u.syncDir(ctx, hs[v])
	})
}

// adoptCopy takes the directory that has the name on a volume for the missing copy.
func (u *Union) adoptCopy(ctx context.Context, child *node, h *dirHandle, at place) error {
	s, err := u.look(ctx, h, at.phys)
	if err != nil {
		return err
	}
	if !s.isDir() {
		return &unfitError{fmt.Errorf("%q on volume %q is no directory: %w", at.phys, u.vol(h.vol).name, vfs.Exist)}
	}
	if err := u.syncDir(ctx, h); err != nil { // it may be what a failed attempt of ours has left
		return err
	}
	u.gainCopy(child, s, at, false)
	if _, err := u.refresh(ctx, child); err != nil { // what it tells counts from now on
		return err
	}
	return u.markCopies(ctx, child)
}

// gainCopy adds a copy to child, whose names are more now unless it is empty, and its volume to
// the entry that child has in its parent. The caller holds the exclusive leases on both.
func (u *Union) gainCopy(child *node, s sighting, at place, empty bool) {
	child.mu.Lock()
	n := len(child.copies)
	child.copies, _ = mergeCopy(child.copies, nil, &s, child.id)
	if c := child.copyOn(s.vol); c != nil && len(child.copies) > n {
		c.own = true
		if empty {
			u.emptyCopy(child, s.vol, s.st.Version())
			c.ctime, c.mtime, c.changed = s.st.Ctime, s.st.Mtime, s.st.Ctime
			if s.mark.stamp.holds(&s.st) {
				c.changed = s.mark.stamp.ctime
			}
		}
	}
	if !empty {
		u.forgetNames(child)
	} else if child.names != nil {
		child.names.known = child.names.known.with(s.vol)
	}
	child.mu.Unlock()
	u.rekey(child, nil)
	u.putRow(child)
	if p := u.table.get(at.dir.ID); p != nil {
		u.fetchName(p, at.name)
		p.mu.Lock()
		u.ownChange(p, volset(0).with(s.vol))
		if p.names != nil {
			if e := p.names.byName[at.name]; e != nil && e.phys == at.phys {
				u.rowBehind(p, at.name, e.cookie)
				e.vols = e.vols.with(s.vol)
			}
		}
		p.mu.Unlock()
		p.put()
	}
}

// settleDir takes note of the physical times after a change of ours that is none to a
// client. The caller holds the exclusive lease on n.
func (u *Union) settleDir(ctx context.Context, n *node) error {
	hs, err := u.dirsAt(ctx, n, u.online())
	if err != nil {
		return err
	}
	defer hs.release()
	at := u.now()
	stats, err := u.statDirs(ctx, hs)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.on()&u.online() != hs.set() {
		return &moved{n.node(), -1}
	}
	u.settled(n, hs.set(), stats, at)
	return nil
}

// markCopies writes n's id beside each copy that has none, durably, the home copy first. What one
// refuses does not keep it from the others; the first refusal is the error. The caller holds
// the exclusive lease on n.
func (u *Union) markCopies(ctx context.Context, n *node) error {
	n.mu.Lock()
	var todo []copyOf
	online := u.online()
	for _, c := range n.copies {
		if !online.has(c.vol) {
			continue // it is marked when it is seen again
		}
		if !c.marked && c.vol == n.home {
			todo = append([]copyOf{c}, todo...)
		} else if !c.marked {
			todo = append(todo, c)
		}
	}
	n.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	var refused error
	for _, c := range todo {
		h, err := u.dirAt(ctx, n, c.vol)
		if err != nil {
			return err
		}
		err = u.markCopy(ctx, n, c, h)
		if err == nil {
			err = u.syncDir(ctx, h)
		}
		h.release()
		if _, no := errors.AsType[*unfitError](unfit(err)); no {
			if refused == nil {
				refused = err
			}
		} else if err != nil {
			return err
		}
	}
	if err := u.settleDir(ctx, n); err != nil {
		return err
	}
	return refused
}

// markCopy writes the mark of a copy, stamped with what it is now.
func (u *Union) markCopy(ctx context.Context, n *node, c copyOf, h *dirHandle) error {
	st, err := h.d.Stat(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	m := mark{home: c.vol == n.home, node: n.node(), epoch: 1, attrEpoch: max(c.epoch, 1)}
	m.stamp = stamp{c.changed, st.Mtime, st.Mode, st.UID, st.GID}
	if n.newest() == c.vol {
		m.stamp.ctime = n.attr.Ctime
	}
	n.mu.Unlock()
	return u.setMark(ctx, n, c, h, m)
}

// setMark writes a mark and notes it.
func (u *Union) setMark(ctx context.Context, n *node, c copyOf, h *dirHandle, m mark) error {
	if err := u.changeable(volset(0).with(c.vol)); err != nil {
		return err
	}
	if err := h.d.SetMark(ctx, m.encode(u.markKey, u.vol(c.vol).id, &c.id)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := n.copyOn(c.vol); k != nil && k.id == c.id {
		k.marked, k.stamp, k.epoch = true, m.stamp, m.attrEpoch
	}
	return nil
}

// newest is the volume of the copy that really changed last. Needs n.mu.
func (n *node) newest() int {
	if len(n.copies) == 0 {
		return -1
	}
	best := &n.copies[0]
	for i := range n.copies {
		if best.older(&n.copies[i]) {
			best = &n.copies[i]
		}
	}
	return best.vol
}

// unstamp takes the stamps out of a directory's marks before a real change that may leave
// mtime, mode and owner as they are; the copies get one mtime before that. The caller holds the exclusive lease on n,
// and has refreshed it.
func (u *Union) unstamp(ctx context.Context, n *node) error {
	if err := u.alignTimes(ctx, n); err != nil {
		return err
	}
	n.mu.Lock()
	var todo []copyOf
	online := u.online()
	for _, c := range n.copies {
		if c.stamp != (stamp{}) && online.has(c.vol) {
			todo = append(todo, c)
		}
	}
	home := n.home
	n.mu.Unlock()
	for _, c := range todo {
		h, err := u.dirAt(ctx, n, c.vol)
		if err != nil {
			return err
		}
		err = u.setMark(ctx, n, c, h, mark{home: c.vol == home, node: n.node(), epoch: 1, attrEpoch: max(c.epoch, 1)})
		h.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// unmarked reports whether n is a directory on several volumes, and one of its copies on those that are online lacks its
// mark, or has missed changes.
func (n *node) unmarked(online volset) bool {
	if !n.isDir() {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	todo := n.behind(online) != 0
	for i := range n.copies {
		todo = todo || len(n.copies) > 1 && !n.copies[i].marked && online.has(n.copies[i].vol)
	}
	return todo
}

// markLater marks the copies of a directory that was seen on several volumes. If that
// cannot be done now the next look-up tries again: until then its id is that of the first
// volume's inode, which is the same at every sight.
func (u *Union) markLater(ctx context.Context, n *node) {
	if !n.unmarked(u.online()) {
		return
	}
	l, ok := u.leases.TryAcquire(lease.Node(n.id, lease.Exclusive))
	if !ok {
		return
	}
	defer l.Release()
	_, err := u.refresh(ctx, n) // marks are stamped with its times
	if err == nil {
		u.begin(n)
		defer u.end(n)
		ctx = context.WithoutCancel(ctx)
		err = errors.Join(u.markCopies(ctx, n), u.level(ctx, n))
	}
	if err != nil {
		u.stats.unmarked.Add(1)
		u.log.Warn("directory on several volumes cannot be marked, or brought to one mode and owner", "op", "mark", "node", n.id, "err", err)
	}
}
