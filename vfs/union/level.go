package union

// A directory's copies have one mode, owner and ACL. While some are away a change of these is made on the
// others, after the attribute epoch in their marks was raised, durably: so the copies that missed it
// are known when they come back, by their marks alone, and are brought to what the others have. Until then those
// of the highest epoch tell the attributes.

import (
	"context"

	"sheaf/vfs"
	"sheaf/vfs/lease"
)

// leveled reports whether the attribute epochs of all copies on online are known. Needs n.mu.
func (n *node) leveled(online volset) bool {
	for i := range n.copies {
		if c := &n.copies[i]; c.epoch == 0 && online.has(c.vol) {
			return false
		}
	}
	return true
}

// epoch is the highest attribute epoch of n's copies, as far as it is known. Needs n.mu.
func (n *node) epoch() uint64 {
	e := uint64(1)
	for i := range n.copies {
		e = max(e, n.copies[i].epoch)
	}
	return e
}

// acting is the volume of that copy of a directory which tells its mode, owner and ACL: the home copy, or
// where that is away or missed a change another of the highest epoch. Below 0: none is there. Needs n.mu.
func (n *node) acting(online volset) int {
	best := -1
	var epoch uint64
	for i := range n.copies {
		c := &n.copies[i]
		if !online.has(c.vol) {
			continue
		}
		if best < 0 || c.epoch > epoch || c.epoch == epoch && c.vol == n.home {
			best, epoch = c.vol, c.epoch
		}
	}
	return best
}

// raise prepares for a change of the mode, owner or ACL of the directory n: where a copy is away, or may
// be, the epoch in the marks of the others is raised, durably. Stamps go besides (unstamp). there are the volumes whose copies
// are to be changed, all of them: one that went meanwhile has the epoch of those that were. The caller holds the
// exclusive lease on n.
func (u *Union) raise(ctx context.Context, n *node) (there volset, err error) {
	m := u.members()
	away := m.all &^ m.online
	n.mu.Lock()
	if v := n.ahead(m.online); v >= 0 {
		n.mu.Unlock()
		return 0, u.refusal("set attributes", v) // what these copies have is not what is to be changed
	}
	on, epoch := n.on(), n.epoch()
	for i := range n.copies { // those that are known to be behind already are that far behind
		if c := &n.copies[i]; c.epoch != 0 && c.epoch < epoch {
			away = away.minus(c.vol)
		}
	}
	n.mu.Unlock()
	if away &= on | u.mayHave(n, away&^on); away == 0 {
		return m.online, u.unstamp(ctx, n)
	}
	return m.online, u.markAll(ctx, n, m.online, epoch+1)
}

// markAll marks the copies of n on vols with an epoch, durably, and without stamps; as unstamp, it gives them one mtime before.
func (u *Union) markAll(ctx context.Context, n *node, vols volset, epoch uint64) error {
	if err := u.alignTimes(ctx, n); err != nil {
		return err
	}
	hs, err := u.dirsAt(ctx, n, vols)
	if err != nil {
		return err
	}
	defer hs.release()
	n.mu.Lock()
	copies := append([]copyOf(nil), n.copies...)
	home := n.home
	n.mu.Unlock()
	for _, c := range copies {
		if c.vol >= len(hs) || hs[c.vol] == nil {
			continue
		}
		if err := u.setMark(ctx, n, c, hs[c.vol], mark{home: c.vol == home, node: n.node(), epoch: 1, attrEpoch: epoch}); err != nil {
			return err
		}
		if err := u.syncDir(ctx, hs[c.vol]); err != nil {
			return err
		}
	}
	return u.settleDir(ctx, n)
}

// behind are the copies of n that are there and missed a change of its attributes, if one is there that did not.
// Needs n.mu.
func (n *node) behind(online volset) (set volset) {
	epoch, best := n.epoch(), uint64(0)
	for i := range n.copies {
		c := &n.copies[i]
		if !online.has(c.vol) {
			continue
		}
		best = max(best, c.epoch)
		if c.epoch != 0 && c.epoch < epoch {
			set = set.with(c.vol)
		}
	}
	if best < epoch { // those that know are away: nothing can be learned from these
		return 0
	}
	return set
}

// ahead is a volume that is away whose copy of n knows of a change which no copy that is there does; below 0:
// none. Needs n.mu.
func (n *node) ahead(online volset) int {
	best, epoch := -1, uint64(1)
	for i := range n.copies {
		if c := &n.copies[i]; c.epoch > epoch || c.epoch == epoch && online.has(c.vol) {
			best, epoch = c.vol, c.epoch
		}
	}
	if best >= 0 && online.has(best) {
		return -1
	}
	return best
}

// level brings copies that missed a change of attributes while they were away to what the others have. The caller
// holds the exclusive lease on n, and has refreshed it.
func (u *Union) level(ctx context.Context, n *node) error {
	online := u.online()
	n.mu.Lock()
	late, from, epoch, a := n.behind(online), n.acting(online), n.epoch(), n.attr
	n.mu.Unlock()
	if late == 0 {
		return nil
	}
	acls, err := u.readACLs(ctx, n, from)
	if err != nil {
		return err
	}
	hs, err := u.dirsAt(ctx, n, late)
	if err != nil {
		return err
	}
	defer hs.release()
	for _, v := range hs.set().list() {
		if err := u.levelCopy(ctx, hs[v], &a, acls); err != nil {
			return err
		}
		if err := u.syncDir(ctx, hs[v]); err != nil { // before the mark says that it has them
			return err
		}
		n.mu.Lock()
		c := n.copyOn(v)
		if c == nil {
			n.mu.Unlock()
			return errNoCopy
		}
		was := *c
		n.mu.Unlock()
		was.epoch = epoch
		if err := u.markCopy(ctx, n, was, hs[v]); err != nil { // stamped: that it was brought up is no change
			return err
		}
		if err := u.syncDir(ctx, hs[v]); err != nil {
			return err
		}
	}
	return u.settleDir(ctx, n)
}

// levelLater begins to level n, if a copy is behind: somebody saw that who cannot do it himself.
func (u *Union) levelLater(n *node) {
	n.mu.Lock()
	todo := !n.leveling && n.behind(u.online()) != 0
	n.leveling = n.leveling || todo
	n.mu.Unlock()
	if !todo {
		return
	}
	n.refs.Add(1)
	if !u.spawn(func() { u.levelNow(n) }) {
		u.endLeveling(n)
	}
}

// endLeveling ends what levelLater began.
func (u *Union) endLeveling(n *node) {
	n.mu.Lock()
	n.leveling = false
	n.mu.Unlock()
	n.put()
}

// levelNow levels n under its lease.
func (u *Union) levelNow(n *node) {
	defer u.endLeveling(n)
	ctx := u.background
	l, err := u.leases.Acquire(ctx, lease.Node(n.id, lease.Exclusive))
	if err != nil {
		return // the server stops; the marks tell it again
	}
	defer l.Release()
	if _, err = u.refresh(ctx, n); err == nil {
		u.begin(n)
		defer u.end(n)
		err = u.level(context.WithoutCancel(ctx), n)
	}
	if err != nil && !isAway(err) {
		u.log.Warn("a directory's copies have different modes or owners; it is tried again when it is seen", "op", "level", "node", n.id, "err", err)
	}
}

// levelAll looks at all directories in memory that have a copy on v, which came back, so that those which missed
// something are brought up at once. All others are when they are seen.
func (u *Union) levelAll(ctx context.Context, v int) {
	for i := range u.table.shards {
		s := &u.table.shards[i]
		s.mu.Lock()
		var some []*node
		for _, n := range s.m {
			if n.isDir() {
				n.refs.Add(1)
				some = append(some, n)
			}
		}
		s.mu.Unlock()
		for _, n := range some {
			n.mu.Lock()
			several := len(n.copies) > 1 && n.copyOn(v) != nil
			n.mu.Unlock()
			if several && ctx.Err() == nil {
				_, _ = u.attrsSlow(ctx, vfs.Superuser, n) // begins it; whoever needs them gets the error
			}
			n.put()
		}
	}
}

// levelCopy gives a copy mode, owner and ACL; and the mtime, which it tells if a crash leaves it the newest. Durable once the
// copy is flushed.
func (u *Union) levelCopy(ctx context.Context, h *dirHandle, a *vfs.Attr, acls vfs.ACLs) error {
	st, err := h.d.Stat(ctx)
	if err != nil {
		return err
	}
	set := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtime, Mode: a.Mode, Mtime: a.Mtime}
	if st.UID != a.UID || st.GID != a.GID {
		set.Mask |= vfs.SetUID | vfs.SetGID
		set.UID, set.GID = a.UID, a.GID
	}
	if u.vol(h.vol).can().ACLs {
		if err := h.d.SetACLs(ctx, acls); err != nil {
			return err
		}
	}
	return h.d.SetAttr(ctx, &set)
}
