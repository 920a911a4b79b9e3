package union

import (
	"context"

	"sheaf/vfs"
)

// before asks for n's attributes under its lease, as they are before a change.
func (u *Union) before(ctx context.Context, w *vfs.Who, n *node, ch *vfs.Change) (vfs.Attr, vfs.ACL, error) {
	a, err := u.refresh(ctx, n)
	if err != nil {
		return a, nil, err
	}
	ch.Before, ch.HasBefore = a.Pre(), true
	ch.After, ch.HasAfter = a, true
	acls, err := u.aclFor(ctx, w, n)
	return a, acls.Access, err
}

// beforeNames is before for a directory of which a name is to change. Of its copies only those
// that hold the name will change by it: what the others said within trust is good enough, and
// these are asked by lookBefore when it is known which they are.
func (u *Union) beforeNames(ctx context.Context, w *vfs.Who, d *node, ch *vfs.Change) (vfs.Attr, vfs.ACL, error) {
	a, ok, err := u.peek(d)
	if err != nil {
		return a, nil, err
	}
	if !ok {
		return u.before(ctx, w, d, ch)
	}
	ch.Before, ch.HasBefore, ch.After, ch.HasAfter = a.Pre(), true, a, true
	acls, err := u.aclFor(ctx, w, d)
	return a, acls.Access, err
}

// lookBefore asks the copies in hs, which are about to change, for their attributes: what another
// process did to them since they were asked last moves the times before our change does, and
// a client sees by ch that it did not know them. since is when the call took the lease on d: what
// was asked later is not asked again. The caller has announced the change with begin.
func (u *Union) lookBefore(ctx context.Context, d *node, hs handles, since int64, ch *vfs.Change) error {
	d.mu.Lock()
	a, asked := d.attr, d.attrAt > since
	d.mu.Unlock()
	if !asked {
		var err error
		if a, err = u.refreshOn(ctx, d, hs); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.aclStay = u.aclsStand(d)
	d.mu.Unlock()
	ch.Before, ch.HasBefore, ch.After, ch.HasAfter = a.Pre(), true, a, true
	return nil
}

// refreshOn is refresh of a directory for who changes the copies in hs, and no others: these
// count as what they said last, and attrAt stays theirs. So what other processes do to them is
// seen as soon as if nothing had been changed.
func (u *Union) refreshOn(ctx context.Context, d *node, hs handles) (vfs.Attr, error) {
	d.mu.Lock()
	suffices := d.allTold(hs, u.online())
	d.mu.Unlock()
	if !suffices {
		return u.refresh(ctx, d)
	}
	stats, err := u.statDirs(ctx, hs)
	if err != nil {
		return vfs.Attr{}, err
	}
	set := hs.set()
	d.mu.Lock()
	if lostCopies(stats, set) != 0 || !d.allTold(hs, u.online()) {
		d.mu.Unlock()
		return u.refresh(ctx, d)
	}
	defer d.mu.Unlock()
	m := movement{newest: -1, dated: -1}
	for i, v := range set.list() {
		c := d.indexOn(hs[v].vol)
		d.observe(&m, c, &stats[i])
		d.copies[c].keep(&stats[i])
	}
	d.composeDir(u.online())
	d.conclude(&m)
	return d.attr, nil
}

// allTold reports whether n has several copies, among them those in hs, and what each that is there said when it was last
// accounted for is known. Needs n.mu.
func (n *node) allTold(hs handles, online volset) bool {
	if n.gone || n.attrAt == 0 || len(n.copies) < 2 {
		return false
	}
	for i := range n.copies {
		c := &n.copies[i]
		if !online.has(c.vol) {
			continue
		}
		if c.last == nil || c.last.Ctime != c.ctime || c.last.Mtime != c.mtime {
			return false
		}
	}
	for _, h := range hs {
		if h != nil && n.indexOn(h.vol) < 0 {
			return false
		}
	}
	return true
}

// indexOn is the position of the copy on volume v among n.copies, or -1. Needs n.mu.
func (n *node) indexOn(v int) int {
	for i := range n.copies {
		if n.copies[i].vol == v {
			return i
		}
	}
	return -1
}

// unsettle makes the next to need n's attributes ask every copy: one was changed that its caller does
// not know of.
func (n *node) unsettle() {
	n.mu.Lock()
	n.attrAt = 0
	n.mu.Unlock()
}

// afterNames is after for a directory whose names have changed in hs, and in no other copies. Its times move
// strictly, also where the copy's clock tells less than another copy's has told already
// (Linux gives coarse times, a tick of up to 10 ms old, to what nobody has asked for lately): then
// the copy is touched, which after our stat gives it a fine one.
func (u *Union) afterNames(ctx context.Context, d *node, ch *vfs.Change, hs handles) {
	ctx = context.WithoutCancel(ctx)
	a, err := u.refreshOn(ctx, d, hs)
	d.changed(ch, a, err, true)
	if ch.HasAfter && hs.set() != 0 && ch.After.Ctime == ch.Before.Ctime.Next() && d.volumes().count() > 1 {
		h := hs[hs.set().first()]
		if err := h.d.SetAttr(ctx, &vfs.SetAttr{Mask: vfs.SetMtimeNow}); err != nil {
			u.log.Debug("times of a directory stay behind those of its other copies", "op", "touch", "node", d.id, "err", err)
		}
		a, err = u.refreshOn(ctx, d, hs)
		d.changed(ch, a, err, true)
	}
	if ch.HasAfter {
		u.keepACLs(d)
	}
	d.moveMtime(ch)
}

// moveMtime moves the logical mtime where a change to now found the volume's clock standing still.
func (n *node) moveMtime(ch *vfs.Change) {
	if !ch.HasAfter || ch.After.Mtime != ch.Before.Mtime {
		return
	}
	n.mu.Lock()
	n.attr.Mtime = n.attr.Mtime.Next()
	ch.After.Mtime = n.attr.Mtime
	n.mu.Unlock()
}

// after asks for n's attributes once more: the change is over.
func (u *Union) after(ctx context.Context, n *node, ch *vfs.Change, changed bool) {
	a, err := u.refresh(context.WithoutCancel(ctx), n)
	n.changed(ch, a, err, changed)
}

// changed puts into ch what n is after a change. A real one moves the logical ctime
// even where the volume's clock did not. What cannot be told then is left out: the change was made
// all the same, and an error would make the client, or again, try it once more.
func (n *node) changed(ch *vfs.Change, a vfs.Attr, err error, really bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.attrAt = 0
		ch.HasAfter = false
		return
	}
	if really && a.Ctime.Compare(ch.Before.Ctime) <= 0 {
		a.Ctime = ch.Before.Ctime.Next()
		n.attr.Ctime = a.Ctime
	}
	ch.After, ch.HasAfter = a, true
}

// touched asks for the attributes of an object that lost, got or changed a name, which moves its
// ctime, and gives them if they can be had. The caller holds the exclusive lease on n.
func (u *Union) touched(ctx context.Context, n *node) (vfs.Attr, bool) {
	n.mu.Lock()
	before := n.attr.Ctime
	n.mu.Unlock()
	a, err := u.refresh(ctx, n)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.attrAt = 0
		return a, false
	}
	if a.Ctime.Compare(before) <= 0 {
		a.Ctime = before.Next()
		n.attr.Ctime = a.Ctime
	}
	return a, true
}
