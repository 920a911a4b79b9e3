package union

import (
	"context"
	"errors"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
)

// Link implements vfs.FS.
func (u *Union) Link(ctx context.Context, w *vfs.Who, vn, dir vfs.Node, name vfs.Name) (a vfs.Attr, ch vfs.Change, err error) {
	if w.NoWait {
		return a, ch, vfs.Again
	}
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return a, ch, err
	}
	defer n.put()
	d, err := u.enter(ctx, w, dir)
	if err != nil {
		return a, ch, err
	}
	defer d.put()
	var flush flusher
	err = u.again(ctx, func(ctx context.Context) (err error) {
		for range pairTries {
			var again bool
			if flush, again, err = u.linkOnce(ctx, w, n, d, name, &a, &ch); !again {
				return err
			}
		}
		return &vfs.Error{Status: vfs.Jukebox, Op: "link", Object: name.String()}
	})
	if flush != nil {
		err = errors.Join(err, done(flush(context.WithoutCancel(ctx), err == nil && !w.Async)))
	}
	return a, ch, err
}

// linkOnce is one attempt; again: a copy of the directory was made, or the name was taken
// by another process.
func (u *Union) linkOnce(ctx context.Context, w *vfs.Who, n, d *node, name vfs.Name, a *vfs.Attr, ch *vfs.Change) (flush flusher, again bool, err error) {
	if d.isDir() {
		if _, err := u.checkCopies(ctx, d); err != nil {
			return nil, false, err
		}
	}
	flush, again, err = u.linkHeld(ctx, w, n, d, name, a, ch)
	if !errors.Is(err, errNoCopy) {
		return flush, again, err
	}
	err = u.ensureCopy(ctx, d, n.volumes().first())
	if refused, ok := errors.AsType[*unfitError](err); ok {
		err = refused.err
	}
	return nil, err == nil, err
}

// linkHeld is linkOnce under the leases. errNoCopy: d has no copy where n lies.
func (u *Union) linkHeld(ctx context.Context, w *vfs.Who, n, d *node, name vfs.Name, a *vfs.Attr, ch *vfs.Change) (flusher, bool, error) {
	l, err := u.acquire(ctx, lease.Node(d.id, lease.Exclusive), lease.Node(n.id, lease.Exclusive))
	if err != nil {
		return nil, false, err
	}
	defer l.Release()
	since := u.now()
	na, err := u.refresh(ctx, n)
	if err != nil {
		return nil, false, err
	}
	*a = na
	da, acl, err := u.beforeNames(ctx, w, d, ch)
	if err != nil {
		return nil, false, err
	}
	if err := u.mayLink(ctx, w, n, d, name, &da, acl, &na); err != nil {
		return nil, false, err
	}
	v := n.volumes().first()
	if !d.volumes().has(v) {
		return nil, false, errNoCopy
	}
	fh, phys, st, err := u.reach(ctx, n)
	if err != nil {
		return nil, false, err
	}
	defer fh.release()
	hs, err := u.dirsAt(ctx, d, volset(0).with(v))
	if err != nil {
		return nil, false, err
	}
	ctx = context.WithoutCancel(ctx)
	defer u.shift()()
	u.beginNames(ctx, d, hs.set())
	defer u.end(d)
	u.begin(n)
	defer u.end(n)
	if err := u.lookBefore(ctx, d, hs, since, ch); err != nil {
		hs.release()
		return nil, false, err
	}
	if err := hs[v].d.Link(ctx, fh.d, phys, st.Key, name); err != nil {
		u.uncertain(d, name, hs.set(), err)
		hs.release()
		if vfs.StatusOf(err) == vfs.Exist {
			return nil, true, nil
		}
		return nil, false, hs[v].lost(err)
	}
	u.linked(ctx, n, d, name, hs, a, ch)
	return u.dirFlusher(hs), false, nil
}

// mayLink is the order of checks of vfstest.
func (u *Union) mayLink(ctx context.Context, w *vfs.Who, n, d *node, name vfs.Name, da *vfs.Attr, acl vfs.ACL, na *vfs.Attr) error {
	if !d.isDir() {
		return vfs.NotDir
	}
	if err := perm.Search(w, da, acl); err != nil {
		return err
	}
	other, err := u.lookupHeld(ctx, d, name)
	if err == nil {
		other.put()
		return vfs.Exist
	}
	if vfs.StatusOf(err) != vfs.NoEnt {
		return err
	}
	if u.hidden(d, name) {
		return vfs.Acces
	}
	if err := perm.Add(w, da, acl); err != nil {
		return err
	}
	if n.isDir() {
		return vfs.IsDir
	}
	if err := u.changeable(n.volumes()); err != nil {
		return err
	}
	c := u.vol(n.volumes().first()).can()
	switch {
	case !c.Links:
		return vfs.NotSupp
	case c.LinkMax != 0 && na.Nlink >= c.LinkMax:
		return vfs.MLink
	}
	return nil
}

// linked takes note of a new name.
func (u *Union) linked(ctx context.Context, n, d *node, name vfs.Name, hs handles, a *vfs.Attr, ch *vfs.Change) {
	at := place{d.node(), name, name}
	u.addName(ctx, d, at, n, hs.set())
	n.mu.Lock()
	n.setPlace(at, n.attr.Nlink+1)
	n.mu.Unlock()
	if na, ok := u.touched(ctx, n); ok {
		*a = na
	}
	u.putRow(n)
	u.afterNames(ctx, d, ch, hs)
}
