package union

import (
	"context"
	"slices"
	"strings"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// listing looks whether the names that the index proves of the directory node are those of its copies, which were listed
// as lists: where the version is the one at which they were proved they must be.
func (c *check) listing(ctx context.Context, node vfs.NodeID, dirs []volume.Dir, lists [][]volume.Entry, path []vfs.Name) error {
	if c.u.opt.Index == nil {
		return nil
	}
	copies, err := c.u.opt.Index.Copies(node)
	if err != nil || !slices.ContainsFunc(copies, func(k meta.DirCopy) bool { return k.Proof }) {
		return nil //nolint:nilerr // what does not decode was found by meta's check
	}
	rows, err := c.namesOfRows(node)
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	for _, k := range copies {
		v := c.u.volumeByID(volume.ID(k.Volume))
		if !k.Proof || v == nil || dirs[v.i] == nil || lists[v.i] == nil || slices.Equal(rows[k.Volume], namesOf(lists[v.i])) {
			continue
		}
		if err := c.falseProof(ctx, node, v, dirs[v.i], path); err != nil {
			return err
		}
	}
	return nil
}

// namesOf are the names of a sorted listing.
func namesOf(list []volume.Entry) []string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name.String()
	}
	return names
}

// namesOfRows are the names that the index has of a directory, sorted, as each volume calls them.
func (c *check) namesOfRows(node vfs.NodeID) (map[meta.VolumeID][]string, error) {
	names := make(map[meta.VolumeID][]string)
	for after := vfs.Cookie(0); ; {
		entries, more, err := c.u.opt.Index.Entries(node, after, checkRows)
		if err != nil {
			return nil, err
		}
		for i := range entries {
			e := &entries[i]
			on := e.On
			if on.IsZero() {
				on = e.Name
			}
			for v := range e.Volumes.All() {
				names[v] = append(names[v], on.String())
			}
			after = e.Cookie
		}
		if !more {
			break
		}
	}
	for v := range names {
		slices.Sort(names[v])
		names[v] = slices.Compact(names[v]) // the loser of a conflict stands under both its names
	}
	return names, nil
}

// falseProof looks at one copy again, and reports if the index still proves other names than it has.
func (c *check) falseProof(ctx context.Context, node vfs.NodeID, v *vol, d volume.Dir, path []vfs.Name) error {
	f := Finding{
		Kind: FindListing, Volume: v.name, Path: joined(path), Node: node, What: "the index proves that it holds other names than it does",
		Repair: "what the index says of the directory is dropped, and it is listed anew",
	}
	there, err := c.falseStill(ctx, node, v, d, len(path) == 0, &f)
	if there {
		c.tell(f)
	}
	return err
}

// falseStill does that, and mends it, under the directory's lease and while nobody writes its rows.
func (c *check) falseStill(ctx context.Context, node vfs.NodeID, v *vol, d volume.Dir, isRoot bool, f *Finding) (bool, error) {
	l, err := c.u.leases.Acquire(ctx, lease.Node(node, lease.Exclusive))
	if err != nil {
		return false, err
	}
	defer l.Release()
	n := c.u.table.get(node)
	if n != nil {
		defer n.put()
		n.rows.write.Lock()
		defer n.rows.write.Unlock()
	}
	at, proved := c.provedAt(node, v)
	if !proved {
		return false, nil
	}
	before, err := d.Stat(ctx)
	if err != nil {
		return false, err
	}
	list, err := listAll(ctx, d)
	if err != nil {
		return false, err
	}
	after, err := d.Stat(ctx)
	if err != nil || before.Version() != at || after.Version() != at {
		return false, err
	}
	rows, err := c.namesOfRows(node)
	if err != nil || slices.Equal(rows[meta.VolumeID(v.id)], namesOf(c.shown(list, isRoot))) {
		return false, nil
	}
	c.mend(f, func() error { return c.u.voidRows(ctx, node, n) })
	return true, nil
}

// provedAt is the version at which the index proves the names of a copy, if it does.
func (c *check) provedAt(node vfs.NodeID, v *vol) (volume.Version, bool) {
	copies, err := c.u.opt.Index.Copies(node)
	if err != nil {
		return volume.Version{}, false // found by meta's check
	}
	for _, k := range copies {
		if k.Proof && k.Volume == meta.VolumeID(v.id) {
			return volume.Version{Ino: k.Version.Ino, Ctime: k.Version.Ctime, Mtime: k.Version.Mtime}, true
		}
	}
	return volume.Version{}, false
}

// shown is a listing in the order of names, without what the share does not show of a volume's root.
func (c *check) shown(list []volume.Entry, isRoot bool) []volume.Entry {
	if isRoot {
		list = slices.DeleteFunc(list, func(e volume.Entry) bool { return c.u.hidden(c.u.root, e.Name) })
	}
	slices.SortFunc(list, func(a, b volume.Entry) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	return list
}

// voidRows makes the index forget what it says of the copies of a directory, and memory, where it is n, what it knows of its names.
// The caller holds the exclusive lease on it, and rows.write of n.
func (u *Union) voidRows(ctx context.Context, id vfs.NodeID, n *node) error {
	if err := u.opt.Index.ForgetDir(ctx, id); err != nil || n == nil {
		return err
	}
	n.mu.Lock()
	r := n.rows
	r.state, r.held, r.behind, r.whole, r.stale = rowsNone, nil, nil, false, false
	u.forgetNames(n)
	n.mu.Unlock()
	return nil
}
