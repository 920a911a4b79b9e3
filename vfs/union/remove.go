package union

import (
	"context"
	"errors"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
	"sheaf/vfs/volume"
)

// pairTries bounds how often an operation on a directory and what it holds begins anew because
// the name came to mean another object before both were leased.
const pairTries = 100

// Remove implements vfs.FS.
func (u *Union) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return u.removeName(ctx, w, dir, name, false)
}

// RemoveDir implements vfs.FS.
func (u *Union) RemoveDir(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return u.removeName(ctx, w, dir, name, true)
}

func (u *Union) removeName(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, isDir bool) (ch vfs.Change, err error) {
	if w.NoWait {
		return ch, vfs.Again
	}
	d, err := u.enter(ctx, w, dir)
	if err != nil {
		return ch, err
	}
	defer d.put()
	var flush flusher
	err = u.again(ctx, func(ctx context.Context) (err error) {
		for range pairTries {
			var again bool
			if flush, again, err = u.removeOnce(ctx, w, d, name, isDir, &ch); !again {
				return err
			}
		}
		return &vfs.Error{Status: vfs.Jukebox, Op: "remove", Object: name.String()}
	})
	if flush != nil {
		err = errors.Join(err, done(flush(context.WithoutCancel(ctx), err == nil && !w.Async)))
	}
	return ch, err
}

// removeOnce is one attempt; again: the name came to mean another object.
func (u *Union) removeOnce(ctx context.Context, w *vfs.Who, d *node, name vfs.Name, isDir bool, ch *vfs.Change) (flush flusher, again bool, err error) {
	if err := u.mayLook(ctx, w, d, ch); err != nil {
		return nil, false, err
	}
	n, err := u.find(ctx, d, name)
	if err != nil {
		return nil, false, err
	}
	defer n.put()
	if n.isDir() {
		if _, err := u.checkCopies(ctx, n); err != nil {
			return nil, false, err
		}
	}
	l, err := u.acquire(ctx, lease.Node(d.id, lease.Exclusive), lease.Node(n.id, lease.Exclusive))
	if err != nil {
		return nil, false, err
	}
	defer l.Release()
	since := u.now()
	da, acl, err := u.beforeNames(ctx, w, d, ch)
	if err != nil {
		return nil, false, err
	}
	at, vols, err := u.confirm(ctx, d, name, n)
	if err != nil || at.name.IsZero() {
		return nil, err == nil, err
	}
	na, err := u.confirmed(ctx, n)
	if err != nil {
		return nil, false, err
	}
	if err := mayRemove(w, &da, acl, &na, isDir); err != nil {
		return nil, false, err
	}
	if err := u.changeable(vols); err != nil {
		return nil, false, err
	}
	ctx = context.WithoutCancel(ctx)
	if isDir {
		flush, err = u.removeDir(ctx, d, n, at, vols, since, ch)
	} else {
		flush, err = u.removeObject(ctx, d, n, at, vols, since, ch)
	}
	if err != nil && flush != nil { // removed nothing that has to last; another attempt opens anew
		err, flush = errors.Join(err, flush(ctx, false)), nil
	}
	return flush, false, err
}

// mayRemove is may_delete of fs/namei.c.
func mayRemove(w *vfs.Who, da *vfs.Attr, acl vfs.ACL, na *vfs.Attr, isDir bool) error {
	if err := perm.Delete(w, da, acl, na); err != nil {
		return err
	}
	switch {
	case isDir && na.Type != vfs.Directory:
		return vfs.NotDir
	case !isDir && na.Type == vfs.Directory:
		return vfs.IsDir
	}
	return nil
}

// mayLook is whether w may look names up in d, before any lease is taken; ch gets d's attributes.
func (u *Union) mayLook(ctx context.Context, w *vfs.Who, d *node, ch *vfs.Change) error {
	a, acl, err := u.rights(ctx, w, d)
	if err != nil {
		return err
	}
	ch.Before, ch.HasBefore, ch.After, ch.HasAfter = a.Pre(), true, a, true
	if !d.isDir() {
		return vfs.NotDir
	}
	return perm.Search(w, &a, acl)
}

// find is the node called name in d, with a reference, from memory or by asking. The
// caller holds no lease.
func (u *Union) find(ctx context.Context, d *node, name vfs.Name) (*node, error) {
	n, err := u.recall(d, name)
	if n != nil || err != nil {
		return n, err
	}
	return u.lookup(ctx, d, name)
}

// confirm sees, under the leases on both, that name still is n, and gives its place and the volumes
// that have it. No place: it is another's.
func (u *Union) confirm(ctx context.Context, d *node, name vfs.Name, n *node) (place, volset, error) {
	u.fetchName(d, name)
	d.mu.Lock()
	var at place
	var vols volset
	if d.names != nil {
		if e := d.names.byName[name]; e != nil && e.node == n.id {
			at, vols = place{d.node(), e.name, e.phys}, e.vols
		}
	}
	gone, paged := d.gone, u.pagedNow(d)
	d.mu.Unlock()
	switch {
	case gone:
		return place{}, 0, vfs.Stale
	case at.name.IsZero() && paged: // others took its place in memory since it was looked up
		return place{}, 0, nil
	case at.name.IsZero():
		u.distrustName(d, name, u.online())
		return place{}, 0, nil
	}
	if err := u.closedDir(ctx, d.id); err != nil {
		return place{}, 0, err
	}
	if err := u.whole("change a name", n); err != nil {
		return place{}, 0, err
	}
	hs, err := u.dirsAt(ctx, d, vols)
	if err != nil {
		return place{}, 0, err
	}
	defer hs.release()
	asked := u.now()
	seen, err := u.lookAll(ctx, hs, at.phys)
	if err != nil {
		return place{}, 0, err
	}
	same := len(seen) == vols.count()
	n.mu.Lock()
	for i := range seen {
		c := n.copyOn(seen[i].vol)
		same = same && c != nil && c.id == seen[i].id
		if same { // it need not be asked again
			c.trusted = c.trusted || seen[i].trusted
		}
	}
	same = same && (!n.isDir() || n.on() == vols)
	if same && !n.isDir() {
		u.account(n, n.on(), []volume.Stat{seen[0].st}, asked)
	}
	n.mu.Unlock()
	if !same { // changed by another process
		u.distrustName(d, name, u.online())
		return place{}, 0, nil
	}
	return at, vols, nil
}

// confirmed is the attributes of n after confirm, which saw them where n is no directory.
func (u *Union) confirmed(ctx context.Context, n *node) (vfs.Attr, error) {
	if n.isDir() {
		return u.refresh(ctx, n)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr, nil
}

// distrustName makes the next look-up of name ask the volumes. Whether the copies on vols have it is not known
// any more.
func (u *Union) distrustName(d *node, name vfs.Name, vols volset) {
	d.mu.Lock()
	u.unmiss(d, name)
	if d.names != nil {
		d.names.complete, d.names.paged = false, false
		d.names.known &^= vols
		u.copiesBehind(d)
		if e := d.names.byName[name]; e != nil {
			e.at, e.seen = 0, d.names.round-1
		}
	}
	d.mu.Unlock()
}

// removeObject removes a name of what is not a directory.
func (u *Union) removeObject(ctx context.Context, d, n *node, at place, vols volset, since int64, ch *vfs.Change) (flusher, error) {
	v := vols.first()
	h, err := u.dirAt(ctx, d, v)
	if err != nil {
		return nil, err
	}
	hs := make(handles, MaxVolumes)
	hs[v] = h
	flush := u.dirFlusher(hs)
	if err := u.freeName(ctx, d, at, vols); err != nil {
		return flush, err
	}
	u.beginNames(ctx, d, vols)
	defer u.end(d)
	u.begin(n)
	defer u.end(n)
	if err := u.lookBefore(ctx, d, hs, since, ch); err != nil {
		return flush, err
	}
	if err := h.d.Unlink(ctx, at.phys); err != nil {
		u.uncertain(d, at.name, vols, err)
		u.after(ctx, d, ch, false)
		return flush, h.lost(err)
	}
	u.dropName(d, at.name, false, vols)
	u.endConflict(ctx, d, at)
	u.unnamed(ctx, n, at)
	u.afterNames(ctx, d, ch, hs)
	return flush, nil
}

// unnamed notes that n, which is not a directory, lost the name at: with the last one it is
// gone. The caller holds the exclusive lease on n.
func (u *Union) unnamed(ctx context.Context, n *node, at place) {
	n.mu.Lock()
	n.dropPlace(at.dir.ID, at.name)
	links := n.attr.Nlink
	n.mu.Unlock()
	if links <= 1 {
		u.retire(n)
		return
	}
	u.touched(ctx, n)
	u.putRow(n)
}

// removeDir removes a directory: all copies must be empty, then all go, the home copy
// last. Until that is gone the directory is there, and empty.
func (u *Union) removeDir(ctx context.Context, d, n *node, at place, vols volset, since int64, ch *vfs.Change) (flusher, error) {
	hs, err := u.dirsAt(ctx, d, vols)
	if err != nil {
		return nil, err
	}
	flush := u.dirFlusher(hs)
	if err := u.empty(ctx, n); err != nil {
		return flush, err
	}
	if err := u.freeName(ctx, d, at, vols); err != nil {
		return flush, err
	}
	u.beginNames(ctx, d, vols)
	defer u.end(d)
	u.begin(n)
	defer u.end(n)
	if err := u.lookBefore(ctx, d, hs, since, ch); err != nil {
		return flush, err
	}
	if err := u.removeCopies(ctx, d, n, at, hs); err != nil {
		u.after(ctx, d, ch, true)
		return flush, err
	}
	u.dropName(d, at.name, true, vols)
	u.endConflict(ctx, d, at)
	u.retire(n)
	u.afterNames(ctx, d, ch, hs)
	return flush, nil
}

// removeCopies removes the copies of n that lie in hs, the home copy last.
func (u *Union) removeCopies(ctx context.Context, d, n *node, at place, hs handles) error {
	n.mu.Lock()
	home := n.home
	n.mu.Unlock()
	list := hs.set().minus(home).list()
	if hs.set().has(home) {
		list = append(list, home)
	}
	for _, v := range list {
		if err := hs[v].d.Rmdir(ctx, at.phys); err != nil {
			u.uncertain(d, at.name, volset(0).with(v), err)
			if v == list[0] {
				return err
			}
			return done(err)
		}
		if v == list[len(list)-1] {
			break
		}
		n.mu.Lock()
		c := *n.copyOn(v)
		var kept []copyOf
		for _, k := range n.copies {
			if k.vol != v {
				kept = append(kept, k)
			}
		}
		n.copies = kept
		n.attrAt = 0
		if n.names != nil {
			n.names.known = n.names.known.minus(v)
		}
		n.mu.Unlock()
		u.rekey(n, []copyOf{c})
		d.mu.Lock()
		if d.names != nil {
			if e := d.names.byName[at.name]; e != nil {
				u.rowBehind(d, at.name, e.cookie)
				e.vols = e.vols.minus(v)
			}
		}
		u.ownChange(d, volset(0).with(v))
		d.mu.Unlock()
	}
	return nil
}

// empty is nil if no copy of n holds anything, also none that went since it was looked whether all are there. The caller holds
// the exclusive lease on n.
func (u *Union) empty(ctx context.Context, n *node) error {
	hs, err := u.dirsAt(ctx, n, n.volumes())
	if err != nil {
		return err
	}
	defer hs.release()
	return each(hs.set(), func(v int) error {
		some := false
		err := hs[v].d.List(ctx, func(volume.Entry) bool { some = true; return false })
		if err == nil && some {
			err = vfs.NotEmpty
		}
		return err
	})
}

// freeName prepares for the physical name of at to become free on vols: losers of a
// conflict about it, on other volumes, are first given for good the names under which the
// share shows them. Nothing is to be done for a loser itself. The caller holds the exclusive lease on
// d.
func (u *Union) freeName(ctx context.Context, d *node, at place, vols volset) error {
	if _, ok := u.pins.get(d.id, at.phys); !ok || at.name != at.phys {
		return nil
	}
	if err := u.prove(ctx, d, true); err != nil {
		return err
	}
	d.mu.Lock()
	var losers []entry
	for _, e := range d.names.byName {
		if e.phys == at.phys && e.name != e.phys && e.vols&vols == 0 {
			losers = append(losers, *e)
		}
	}
	d.mu.Unlock()
	for _, e := range losers {
		if lost := e.vols & u.away(); lost != 0 {
			return u.refusal("rename the loser of a conflict", lost.first())
		}
	}
	for _, e := range losers {
		if err := u.settleLoser(ctx, d, &e); err != nil {
			return err
		}
	}
	u.pins.drop(ctx, u, d.id, at.phys)
	return nil
}

// settleLoser renames a conflict's loser on its volumes to the name that the share shows.
func (u *Union) settleLoser(ctx context.Context, d *node, e *entry) error {
	defer u.shift()()
	hs, err := u.dirsAt(ctx, d, e.vols)
	if err != nil {
		return err
	}
	defer hs.release()
	u.beginNames(ctx, d, e.vols)
	defer u.end(d)
	for _, v := range e.vols.list() {
		if hs[v] == nil {
			return errNoCopy
		}
		if err := hs[v].d.Rename(ctx, e.phys, hs[v].d, e.name, true); err != nil {
			return err
		}
		if err := u.syncDir(ctx, hs[v]); err != nil {
			return err
		}
	}
	d.unsettle()
	d.mu.Lock()
	if o := d.names.byName[e.name]; o != nil {
		u.rowBehind(d, o.name, o.cookie)
		o.phys = o.name
	}
	u.ownChange(d, e.vols)
	d.mu.Unlock()
	if n := u.table.get(e.node); n != nil {
		n.mu.Lock()
		for i := range n.places {
			if p := &n.places[i]; p.dir.ID == d.id && p.name == e.name {
				p.phys = e.name
			}
		}
		n.mu.Unlock()
		n.put()
	}
	return nil
}
