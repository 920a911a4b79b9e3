package union

import (
	"context"
	"fmt"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// directory looks at the copies of a directory, and gives the node that they are.
func (c *check) directory(ctx context.Context, dirs []volume.Dir, on volset, path []vfs.Name, name vfs.Name) (node vfs.NodeID, err error) {
	copies, err := c.copies(ctx, dirs, on, name)
	if err != nil || len(copies) == 0 {
		return node, err
	}
	node, _, _ = c.chosen(copies)
	for i := range copies {
		s := &copies[i]
		c.besides(ctx, s.vol, dirs[s.vol], &s.st, name)
		if err := c.twin(ctx, dirs[s.vol], s, path, name); err != nil {
			return node, err
		}
		if len(copies) == 1 && (s.verdict == markCopied || s.verdict == markForeign) {
			return node, c.oddMark(ctx, dirs[s.vol], *s, path, name)
		}
	}
	if len(c.judge(copies)) == 0 {
		return node, nil
	}
	found, err := c.judgeQuietly(ctx, dirs, copies, name)
	path = append(slices.Clip(path), name)
	for _, f := range found {
		f.Path = joined(path)
		c.say(f, func() error { return c.alignCopies(ctx, on.first(), path) })
	}
	return node, err
}

// copies are what is called name in dirs on the volumes on.
func (c *check) copies(ctx context.Context, dirs []volume.Dir, on volset, name vfs.Name) ([]copySight, error) {
	list := make([]copySight, 0, on.count())
	for _, v := range on.list() {
		s, err := c.sight(ctx, v, dirs[v], name)
		if vfs.StatusOf(err) == vfs.NoEnt {
			continue
		}
		if err == nil && on.count() > 1 && c.u.vol(v).can().ACLs {
			s.acls, err = dirs[v].ACLsAt(ctx, name)
		}
		if err != nil {
			return nil, err
		}
		if s.isDir() {
			list = append(list, s)
		}
	}
	return list, nil
}

func (s *copySight) isDir() bool { return s.st.Type == vfs.Directory }

// nodesOf are the nodes that copies can be taken for.
func nodesOf(copies []copySight) []vfs.NodeID {
	var ids []vfs.NodeID
	for i := range copies {
		ids = append(ids, copies[i].node.ID)
	}
	return ids
}

// judgeQuietly is judge under the exclusive leases on all that the copies can be taken for: no call of ours is changing
// them. Those that are found may be others than were: copies that came after the directory was listed are looked for. If the
// share knows of one in a place that this walk did not come to nothing is told.
func (c *check) judgeQuietly(ctx context.Context, dirs []volume.Dir, copies []copySight, name vfs.Name) ([]Finding, error) {
	var on volset
	for v, d := range dirs {
		if d != nil {
			on = on.with(v)
		}
	}
	for range searches {
		ids := nodesOf(copies)
		wants := make([]lease.Want, 0, len(ids))
		for _, id := range ids {
			wants = append(wants, lease.Node(id, lease.Exclusive))
		}
		l, err := c.u.leases.Acquire(ctx, wants...)
		if err != nil {
			return nil, err
		}
		copies, err = c.copies(ctx, dirs, on, name)
		whole := err == nil && c.whole(copies)
		l.Release()
		switch {
		case err != nil || !whole:
			return nil, err
		case slices.Equal(ids, nodesOf(copies)):
			return c.judge(copies), nil
		}
	}
	return nil, nil // it is never the same
}

// whole reports whether copies are all that the share knows the directory to have.
func (c *check) whole(copies []copySight) bool {
	if len(copies) == 0 {
		return false
	}
	node, _, _ := c.chosen(copies)
	n := c.u.table.get(node)
	if n == nil {
		return true
	}
	defer n.put()
	known := n.volumes() & c.u.online()
	for i := range copies {
		known = known.minus(copies[i].vol)
	}
	return known == 0
}

// judge tells what is wrong with the copies of a directory.
func (c *check) judge(copies []copySight) (found []Finding) {
	if len(copies) < 2 {
		return nil
	}
	node, home, newest := c.chosen(copies)
	if !slices.ContainsFunc(copies, func(s copySight) bool { return s.verdict != markNone }) {
		return []Finding{{Kind: FindUnmarked, Note: true, Node: node, What: "it is on several volumes, and nobody has looked at it yet", Repair: "its copies are marked, as at the first look-up"}}
	}
	homes, unmarked := 0, false
	for i := range copies {
		s := &copies[i]
		f := Finding{Volume: c.u.vol(s.vol).name, Node: node}
		switch mine := s.verdict == markBelieved && s.node.ID == node; {
		case !mine:
			unmarked = true
			f.Kind, f.Note, f.What, f.Repair = FindUnmarked, true, unmarkedWhat[s.verdict], "it is marked, as at the next look-up"
			found = append(found, f)
			continue
		case s.mark.attrEpoch < newest:
			f.Kind, f.Repair = FindEpoch, "it gets mode, owner, ACLs and epoch of the newest"
			f.What = fmt.Sprintf("its attributes are of epoch %d and those of another copy of epoch %d", s.mark.attrEpoch, newest)
			found = append(found, f)
			continue
		case s.mark.home:
			homes++
		}
	}
	// The home copy may be on a volume that is away: it is not missed, and no other made it.
	if !unmarked && (homes > 1 || homes == 0 && len(c.sum.Unchecked) == 0) {
		found = append(found, Finding{
			Kind: FindHome, Note: true, Volume: c.u.vol(copies[home].vol).name, Node: node,
			What: fmt.Sprintf("%d of the copies of the directory are marked as the home copy", homes), Repair: "this one is, and the others are not",
		})
	}
	return append(found, c.judgeAttrs(copies, node, home, newest)...)
}

// unmarkedWhat says what is wrong with a copy by what is thought of its mark.
var unmarkedWhat = map[markVerdict]string{
	markNone:     "it is a copy of a directory that is on several volumes, and has no mark",
	markForeign:  "it is a copy of a directory that is on several volumes, and its mark is none of this share",
	markCopied:   "it is a copy of a directory that is on several volumes, and its mark was written for another object",
	markBelieved: "it is a copy of a directory, and has the mark of another",
}

// chosen is the node that the copies are, the position of its home copy, and the newest epoch of its attributes.
func (c *check) chosen(copies []copySight) (node vfs.NodeID, home int, newest uint64) {
	node = copies[0].node.ID
	if i := slices.IndexFunc(copies, func(s copySight) bool { return s.verdict == markBelieved }); i >= 0 {
		node = copies[i].node.ID
	}
	home = -1
	for i := range copies {
		s := &copies[i]
		if s.node.ID != node {
			continue
		}
		if s.verdict == markBelieved {
			newest = max(newest, s.mark.attrEpoch)
		}
		if home < 0 && (s.verdict == markBelieved && s.mark.home || s.verdict != markBelieved) {
			home = i
		}
	}
	return node, max(home, 0), newest
}

// judgeAttrs tells which copies have other attributes than the home copy, those of an older epoch aside.
func (c *check) judgeAttrs(copies []copySight, node vfs.NodeID, home int, newest uint64) (found []Finding) {
	h := &copies[home]
	for i := range copies {
		s := &copies[i]
		if i == home || s.verdict == markBelieved && s.mark.attrEpoch < newest {
			continue
		}
		what := ""
		switch {
		case s.st.Mode != h.st.Mode:
			what = fmt.Sprintf("its mode is %04o, and %04o on volume %s", s.st.Mode, h.st.Mode, c.u.vol(h.vol).name)
		case s.st.UID != h.st.UID || s.st.GID != h.st.GID:
			what = fmt.Sprintf("it belongs to %d:%d, and to %d:%d on volume %s", s.st.UID, s.st.GID, h.st.UID, h.st.GID, c.u.vol(h.vol).name)
		case !sameACLs(c.u.vol(s.vol), s.acls, c.u.vol(h.vol), h.acls):
			what = "its ACLs are not those that it has on volume " + c.u.vol(h.vol).name
		default:
			continue
		}
		found = append(found, Finding{
			Kind: FindAttributes, Note: true, Volume: c.u.vol(s.vol).name, Node: node,
			What: what + ", which the share shows", Repair: "it gets those that the share shows",
		})
	}
	return found
}

// sameACLs compares lists where both volumes keep any.
func sameACLs(v *vol, a vfs.ACLs, w *vol, b vfs.ACLs) bool {
	return !v.can().ACLs || !w.can().ACLs || slices.Equal(a.Access, b.Access) && slices.Equal(a.Default, b.Default)
}

// alignCopies gives all copies of the directory at path on volume v the mode, owner and ACLs that the share shows, and marks.
func (c *check) alignCopies(ctx context.Context, v int, path []vfs.Name) error {
	n, err := c.u.walk(ctx, v, path)
	if err != nil {
		return err
	}
	defer n.put()
	return c.u.again(ctx, func(ctx context.Context) error {
		if _, err := c.u.checkCopies(ctx, n); err != nil {
			return err
		}
		l, err := c.u.leases.Acquire(ctx, lease.Node(n.id, lease.Exclusive))
		if err != nil {
			return err
		}
		defer l.Release()
		if err := c.u.whole("repair", n); err != nil {
			return err
		}
		if _, err := c.u.refresh(ctx, n); err != nil {
			return err
		}
		c.u.begin(n)
		defer c.u.end(n)
		return done(c.u.align(context.WithoutCancel(ctx), n))
	})
}

// align is alignCopies for who holds the exclusive lease on n, has refreshed it and announced a change.
func (u *Union) align(ctx context.Context, n *node) error {
	hs, err := u.dirsAt(ctx, n, u.all())
	if err != nil {
		return err
	}
	defer hs.release()
	n.mu.Lock()
	from, epoch, copies, mtime := n.acting(u.online()), n.epoch(), slices.Clone(n.copies), n.attr.Mtime
	n.mu.Unlock()
	if from < 0 || hs[from] == nil {
		return errNoCopy
	}
	st, err := hs[from].d.Stat(ctx)
	if err != nil {
		return err
	}
	acls, err := hs[from].d.ACLs(ctx)
	if err != nil {
		return err
	}
	for _, k := range copies {
		h := hs[k.vol]
		if h == nil {
			return errNoCopy
		}
		if k.vol != from {
			if err := u.levelCopy(ctx, h, &vfs.Attr{Mode: st.Mode, UID: st.UID, GID: st.GID, Mtime: mtime}, acls); err != nil {
				return err
			}
		}
		k.epoch = epoch
		if err := u.markCopy(ctx, n, k, h); err != nil {
			return err
		}
		if err := u.syncDir(ctx, h); err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.acls = nil
	n.mu.Unlock()
	return u.settleDir(ctx, n)
}

// conflict looks whether who has a name that objects of several volumes want is written on all of these.
func (c *check) conflict(ctx context.Context, dirs []volume.Dir, path []vfs.Name, name vfs.Name) error {
	dir := c.u.root.node()
	if len(path) > 0 {
		n, err := c.u.walk(ctx, c.firstOf(dirs), path)
		if err != nil {
			return err
		}
		dir = n.node()
		n.put()
	}
	k := pinKey{dir.ID, name}
	if state, err := c.conflictOf(ctx, k); err != nil || state != conflictLive {
		return err
	}
	holder, pinned := c.u.pins.get(k.dir, k.name)
	for v, d := range dirs {
		if d == nil {
			continue
		}
		if there, err := exists(ctx, d, name); err != nil || !there {
			if err != nil {
				return err
			}
			continue
		}
		written, err := c.pinWritten(ctx, c.u.vol(v), k)
		if err != nil {
			return err
		}
		if pinned && written {
			continue
		}
		f := Finding{
			Kind: FindUnpinned, Note: true, Volume: c.u.vol(v).name, Path: joined(append(slices.Clip(path), name)), Node: k.dir,
			What:   "objects of several volumes have this name, and which of them the share shows under it is not written on this volume",
			Repair: "it is written",
		}
		c.say(f, func() error {
			if !pinned {
				return c.pin(ctx, dir, name)
			}
			return c.u.pins.write(ctx, c.u.vol(v), k, holder)
		})
	}
	return nil
}

// pinWritten reports whether k's pin lies on volume v.
func (c *check) pinWritten(ctx context.Context, v *vol, k pinKey) (bool, error) {
	d, err := v.privateDir(ctx, conflictsName, false)
	if err != nil || d == nil {
		return false, err
	}
	there, err := exists(ctx, d, k.fileName())
	return there, errClose(err, d)
}

// errClose closes a directory that was only read, and gives the first error.
func errClose(err error, d volume.Dir) error {
	if cerr := d.Close(); err == nil {
		return cerr
	}
	return err
}

// pin lets the share decide who has a name, which writes it.
func (c *check) pin(ctx context.Context, dir vfs.Node, name vfs.Name) error {
	n, err := c.u.resolve(ctx, dir)
	if err != nil {
		return err
	}
	defer n.put()
	c.u.distrust(n)
	return c.u.again(ctx, func(ctx context.Context) error { return c.u.prove(ctx, n, false) })
}
