package union

import (
	"context"
	"errors"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
)

// SetAttr implements vfs.FS.
func (u *Union) SetAttr(ctx context.Context, w *vfs.Who, vn vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (ch vfs.Change, err error) {
	if w.NoWait {
		return ch, vfs.Again
	}
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return ch, err
	}
	defer n.put()
	var flush flusher
	err = u.again(ctx, func(ctx context.Context) (err error) {
		if flush != nil { // of an attempt that came to nothing
			_ = flush(ctx, false)
		}
		flush, err = u.setAttr(ctx, w, n, set, guard, &ch)
		return err
	})
	if flush == nil {
		return ch, err
	}
	if err != nil || w.Async {
		return ch, errors.Join(err, flush(ctx, false))
	}
	return ch, flush(context.WithoutCancel(ctx), true)
}

// flusher makes a change durable, if do, and gives back what it keeps open.
type flusher func(ctx context.Context, do bool) error

// setAttr is SetAttr under the lease.
func (u *Union) setAttr(ctx context.Context, w *vfs.Who, n *node, set *vfs.SetAttr, guard *vfs.Time, ch *vfs.Change) (flusher, error) {
	if n.isDir() && !u.verified(n) {
		if _, err := u.checkCopies(ctx, n); err != nil { // all are to be changed, also one that the index did not tell of
			return nil, err
		}
	}
	l, err := u.acquire(ctx, lease.Node(n.id, lease.Exclusive))
	if err != nil {
		return nil, err
	}
	defer l.Release()
	a, acl, err := u.before(ctx, w, n, ch)
	if err != nil {
		return nil, err
	}
	if guard != nil && *guard != a.Ctime {
		return nil, vfs.NotSync
	}
	if set.Mask == 0 {
		return nil, nil
	}
	if err := perm.ValidTimes(set); err != nil {
		return nil, err
	}
	out, err := perm.SetAttr(w, &a, acl, set)
	if err != nil {
		return nil, err
	}
	if set.Has(vfs.SetSize) && set.Size > u.fileLimit(n) {
		return nil, vfs.FBig
	}
	if err := u.changeable(n.volumes()); err != nil {
		return nil, err
	}
	phys := physical(&a, set, &out)
	ctx = context.WithoutCancel(ctx)
	u.begin(n)
	defer u.end(n)
	var flush flusher
	if n.isDir() {
		flush, err = u.setDir(ctx, n, &a, &phys)
	} else {
		flush, err = u.setObject(ctx, n, &phys)
	}
	if err != nil {
		n.mu.Lock()
		n.attrAt = 0
		n.mu.Unlock()
		return flush, err
	}
	n.mu.Lock()
	n.acls = nil // chmod(2) changes an access list, and the clock may not tell
	n.mu.Unlock()
	u.after(ctx, n, ch, true)
	if set.Has(vfs.SetMtimeNow) || set.Has(vfs.SetSize) && set.Size != a.Size && !set.Has(vfs.SetMtime) {
		n.moveMtime(ch)
	}
	return flush, nil
}

// physical is what to ask of a volume: the outcome of the rules, with the mode last, since
// chown(2) and truncate(2) clear set-id bits by rules of their own.
func physical(a *vfs.Attr, set *vfs.SetAttr, out *perm.Outcome) vfs.SetAttr {
	p := *set
	p.Mask &^= vfs.SetMode | vfs.SetUID | vfs.SetGID
	if set.Has(vfs.SetUID) && set.UID != perm.NoID {
		p.Mask |= vfs.SetUID
	}
	if set.Has(vfs.SetGID) && set.GID != perm.NoID {
		p.Mask |= vfs.SetGID
	}
	same := p.Has(vfs.SetSize) && p.Size == a.Size // ftruncate(2) would move the mtime, knfsd does not
	if same {
		p.Mask &^= vfs.SetSize
	}
	special := (a.Mode|out.Mode)&(vfs.ModeSetUID|vfs.ModeSetGID) != 0
	if a.Type != vfs.Symlink && (set.Has(vfs.SetMode) || same || out.Mode != a.Mode || special && p.Has(vfs.SetUID|vfs.SetGID|vfs.SetSize)) {
		p.Mask |= vfs.SetMode
		p.Mode = out.Mode
	}
	return p
}

// setObject changes what is not a directory. What cannot be opened, and so not be flushed
// alone, costs a flush of its volume.
func (u *Union) setObject(ctx context.Context, n *node, set *vfs.SetAttr) (flusher, error) {
	if n.typ == vfs.Regular {
		f, err := u.files.get(ctx, u, n, set.Has(vfs.SetSize))
		if err == nil {
			since := f.failed.Load()
			err = f.f.SetAttr(ctx, set)
			f.written.Add(1)
			return func(ctx context.Context, do bool) (err error) {
				if do {
					err = f.sync(ctx, u, false, since)
				}
				f.release(u)
				return err
			}, err
		}
		if s := vfs.StatusOf(err); set.Has(vfs.SetSize) || s != vfs.Acces && s != vfs.Perm {
			return nil, err
		}
	}
	h, phys, st, err := u.reach(ctx, n)
	if err != nil {
		return nil, err
	}
	defer h.release()
	v := u.vol(h.vol).v
	err = h.d.SetAttrAt(ctx, phys, st.Key, set)
	if vfs.StatusOf(err) == vfs.Stale {
		err = &moved{n.node(), h.vol}
	}
	return u.volumeFlusher(v), err
}

func (u *Union) volumeFlusher(v interface{ SyncAll(context.Context) error }) flusher {
	return func(ctx context.Context, do bool) error {
		if !do {
			return nil
		}
		u.stats.syncs.Add(1)
		err := v.SyncAll(ctx)
		if err != nil {
			u.newVerifier()
		}
		return err
	}
}

// setDir changes all copies of a directory, the home copy last: what it has counts. The
// mtime is set with it where there are several, so that whichever changed last tells the
// right one.
func (u *Union) setDir(ctx context.Context, n *node, a *vfs.Attr, set *vfs.SetAttr) (flusher, error) {
	there, err := u.raise(ctx, n)
	if err != nil {
		return nil, err
	}
	hs, err := u.dirsAt(ctx, n, there)
	if err != nil {
		return nil, err
	}
	each := *set
	if hs.set().count() > 1 {
		each = sameTimes(a, set)
	}
	err = u.onCopies(n, hs, func(h *dirHandle) error { return h.d.SetAttr(ctx, &each) })
	return u.dirFlusher(hs), err
}

// sameTimes is set with explicit times.
func sameTimes(a *vfs.Attr, set *vfs.SetAttr) vfs.SetAttr {
	s := *set
	now := vfs.TimeOf(time.Now())
	if s.Has(vfs.SetAtimeNow) {
		s.Mask, s.Atime = s.Mask&^vfs.SetAtimeNow|vfs.SetAtime, now
	}
	if s.Has(vfs.SetMtimeNow) {
		s.Mask, s.Mtime = s.Mask&^vfs.SetMtimeNow|vfs.SetMtime, now
	}
	if !s.Has(vfs.SetMtime) {
		s.Mask, s.Mtime = s.Mask|vfs.SetMtime, a.Mtime
	}
	return s
}

// onCopies calls f for every copy, the home copy last and alone: an error before leaves the
// directory as it was.
func (u *Union) onCopies(n *node, hs handles, f func(h *dirHandle) error) error {
	n.mu.Lock()
	home := n.acting(hs.set())
	n.mu.Unlock()
	if home < 0 {
		return errNoCopy
	}
	if err := each(hs.set().minus(home), func(v int) error { return f(hs[v]) }); err != nil {
		return err
	}
	return f(hs[home])
}

// dirFlusher flushes and releases all of hs.
func (u *Union) dirFlusher(hs handles) flusher {
	return func(ctx context.Context, do bool) (err error) {
		if do {
			err = each(hs.set(), func(v int) error { return u.flushDir(ctx, hs[v]) })
		}
		hs.release()
		return err
	}
}

// GetACL implements vfs.FS.
func (u *Union) GetACL(ctx context.Context, w *vfs.Who, vn vfs.Node) (acls vfs.ACLs, a vfs.Attr, err error) {
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return acls, a, err
	}
	defer n.put()
	if a, err = u.attrsOf(ctx, w, n); err != nil {
		return acls, a, err
	}
	if w.NoWait {
		return acls, a, vfs.Again
	}
	err = u.again(ctx, func(ctx context.Context) (err error) {
		acls, err = u.aclsOf(ctx, w, n)
		return err
	})
	return vfs.ACLs{Access: append(vfs.ACL(nil), acls.Access...), Default: append(vfs.ACL(nil), acls.Default...)}, a, err
}

// SetACL implements vfs.FS.
func (u *Union) SetACL(ctx context.Context, w *vfs.Who, vn vfs.Node, acls vfs.ACLs) (a vfs.Attr, err error) {
	if w.NoWait {
		return a, vfs.Again
	}
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return a, err
	}
	defer n.put()
	var ch vfs.Change
	var flush flusher
	err = u.again(ctx, func(ctx context.Context) (err error) {
		if flush != nil { // of an attempt that came to nothing
			_ = flush(ctx, false)
		}
		flush, err = u.setACL(ctx, w, n, acls, &ch)
		return err
	})
	if flush != nil {
		err = errors.Join(err, flush(context.WithoutCancel(ctx), err == nil && !w.Async))
	}
	return ch.After, err
}

// setACL is SetACL under the lease.
func (u *Union) setACL(ctx context.Context, w *vfs.Who, n *node, acls vfs.ACLs, ch *vfs.Change) (flusher, error) {
	if n.isDir() && !u.verified(n) {
		if _, err := u.checkCopies(ctx, n); err != nil { // all are to be changed, also one that the index did not tell of
			return nil, err
		}
	}
	l, err := u.acquire(ctx, lease.Node(n.id, lease.Exclusive))
	if err != nil {
		return nil, err
	}
	defer l.Release()
	a, _, err := u.before(ctx, w, n, ch)
	if err != nil {
		return nil, err
	}
	for _, v := range n.volumes().list() {
		if !u.vol(v).can().ACLs {
			return nil, vfs.NotSupp
		}
	}
	mode, stored, err := perm.SetACL(w, &a, acls)
	if err != nil {
		return nil, err
	}
	if err := u.changeable(n.volumes()); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	u.begin(n)
	defer u.end(n)
	flush, err := u.storeACL(ctx, n, &a, mode, stored)
	n.mu.Lock()
	n.acls = nil
	n.mu.Unlock()
	u.after(ctx, n, ch, err == nil)
	return flush, err
}

// storeACL puts the lists and then the mode on the volumes: with a list that is there the
// group bits of the mode are its mask, which is the same.
func (u *Union) storeACL(ctx context.Context, n *node, a *vfs.Attr, mode uint32, acls vfs.ACLs) (flusher, error) {
	set := vfs.SetAttr{Mask: vfs.SetMode, Mode: mode}
	if n.isDir() {
		there, err := u.raise(ctx, n)
		if err != nil {
			return nil, err
		}
		hs, err := u.dirsAt(ctx, n, there)
		if err != nil {
			return nil, err
		}
		one := set
		if hs.set().count() > 1 {
			one = sameTimes(a, &set)
		}
		err = u.onCopies(n, hs, func(h *dirHandle) error {
			if err := h.d.SetACLs(ctx, acls); err != nil {
				return err
			}
			return h.d.SetAttr(ctx, &one)
		})
		return u.dirFlusher(hs), err
	}
	h, phys, st, err := u.reach(ctx, n)
	if err != nil {
		return nil, err
	}
	defer h.release()
	err = h.d.SetACLsAt(ctx, phys, st.Key, acls)
	if err == nil {
		err = h.d.SetAttrAt(ctx, phys, st.Key, &set)
	}
	return u.volumeFlusher(u.vol(h.vol).v), err
}
