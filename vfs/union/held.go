package union

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

const (
	heldMax   = 5   // paths that an error names of what a volume still holds
	heldBatch = 256 // rows of the index that are read at a time
)

// Held calls each with the path in the share of what lies on a member and nowhere else, and with its id if that is known,
// until each returns false. A directory that other volumes have too is not told. A member that is there is looked through; of one
// that is away it is what the index and memory know, which may be more or less than it has: for who says that it is lost.
func (u *Union) Held(ctx context.Context, id volume.ID, each func(path string, n vfs.NodeID) bool) error {
	v := u.volumeByID(id)
	if v == nil {
		return fmt.Errorf("volume %s is no member of the share", id)
	}
	if u.online().has(v.i) {
		_, err := u.heldThere(ctx, v, 0, each)
		return err
	}
	return u.heldAway(ctx, v, each)
}

// heldSome are some paths of what only v holds, which is there, for an error.
func (u *Union) heldSome(ctx context.Context, v *vol) (some []string, err error) {
	_, err = u.heldThere(ctx, v, heldMax+1, func(path string, _ vfs.NodeID) bool {
		if len(some) == heldMax {
			some = append(some, "and more")
			return false
		}
		some = append(some, fmt.Sprintf("%q", path))
		return true
	})
	return some, err
}

// heldThere tells each what only v holds, by looking; no more than limit of one directory, unless that is 0.
func (u *Union) heldThere(ctx context.Context, v *vol, limit int, each func(path string, n vfs.NodeID) bool) (more bool, err error) {
	w := &holding{u: u, v: v, limit: limit, each: each}
	u.root.refs.Add(1)
	return w.dir(ctx, u.root, nil)
}

// holding looks for what only v holds.
type holding struct {
	u     *Union
	v     *vol
	limit int
	each  func(path string, n vfs.NodeID) bool
}

// pathOf is a path in the share as text.
func pathOf(path []vfs.Name) string {
	var b strings.Builder
	for _, n := range path {
		b.WriteByte('/')
		b.WriteString(n.String())
	}
	return b.String()
}

// dir looks into d's copy on the volume, until each has enough. It takes the reference to d.
func (w *holding) dir(ctx context.Context, d *node, path []vfs.Name) (more bool, err error) {
	defer d.put()
	if len(path) > scanDepth {
		return false, errors.New("directories are too deep to be looked through")
	}
	dirs, others, err := w.list(ctx, d)
	if err != nil {
		return false, err
	}
	for _, phys := range others {
		name, err := w.shown(ctx, d, phys)
		if isGone(err) {
			continue
		}
		if err != nil || !w.each(pathOf(append(slices.Clip(path), name)), vfs.NodeID{}) {
			return false, err
		}
	}
	for _, phys := range dirs {
		if more, err := w.below(ctx, d, phys, path); err != nil || !more {
			return false, err
		}
	}
	return true, context.Cause(ctx)
}

// below looks into the directory that the volume calls phys in d.
func (w *holding) below(ctx context.Context, d *node, phys vfs.Name, path []vfs.Name) (more bool, err error) {
	n, err := w.u.lookupPhys(ctx, d, w.v.i, phys)
	if isGone(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	name := phys
	if alias, ok := w.u.aliasOf(d, w.v.i, phys); ok {
		name = alias
	}
	if _, err := w.u.checkCopies(ctx, n); err != nil {
		n.put()
		return false, err
	}
	path = append(slices.Clip(path), name)
	if n.volumes().minus(w.v.i)&w.u.online() == 0 && !w.each(pathOf(path), n.id) {
		n.put()
		return false, nil
	}
	return w.dir(ctx, n, path)
}

// isGone reports whether err says that a name is not there any more, or not the volume's (something is mounted there).
func isGone(err error) bool {
	s := vfs.StatusOf(err)
	return s == vfs.NoEnt || s == vfs.XDev
}

// shown is the name in the share of what the volume calls phys in d.
func (w *holding) shown(ctx context.Context, d *node, phys vfs.Name) (vfs.Name, error) {
	if _, pinned := w.u.pins.get(d.id, phys); !pinned {
		return phys, nil
	}
	n, err := w.u.lookupPhys(ctx, d, w.v.i, phys)
	if err != nil {
		return vfs.Name{}, err
	}
	n.put()
	if alias, ok := w.u.aliasOf(d, w.v.i, phys); ok {
		return alias, nil
	}
	return phys, nil
}

// list gives the directories in d's copy, and what is none. Under d's lease, so that who was about to make
// something there is done.
func (w *holding) list(ctx context.Context, d *node) (dirs, others []vfs.Name, err error) {
	l, err := w.u.leases.Acquire(ctx, lease.Node(d.id, lease.Shared))
	if err != nil {
		return nil, nil, err
	}
	defer l.Release()
	h, err := w.u.dirAt(ctx, d, w.v.i)
	if errors.Is(err, errNoCopy) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer h.release()
	var unknown []vfs.Name
	err = h.d.List(ctx, func(e volume.Entry) bool {
		switch {
		case w.u.hidden(d, e.Name):
		case e.Type == vfs.Directory:
			dirs = append(dirs, e.Name)
		case e.Type == 0:
			unknown = append(unknown, e.Name)
		default:
			others = append(others, e.Name)
		}
		return ctx.Err() == nil && (w.limit == 0 || len(others) < w.limit)
	})
	for _, name := range unknown {
		st, serr := h.d.StatAt(ctx, name)
		switch {
		case isGone(serr):
		case serr != nil:
			return nil, nil, errors.Join(err, serr)
		case st.Type == vfs.Directory:
			dirs = append(dirs, name)
		default:
			others = append(others, name)
		}
	}
	return dirs, others, err
}

// heldAway tells each what only v holds, which is away, as far as that is known.
func (u *Union) heldAway(ctx context.Context, v *vol, each func(path string, n vfs.NodeID) bool) error {
	told := make(map[vfs.NodeID]bool)
	tell := func(vn vfs.Node) bool {
		if told[vn.ID] {
			return true
		}
		n, err := u.known(vn)
		if err != nil { // it went
			return true
		}
		defer n.put()
		if n.volumes() != volset(0).with(v.i) {
			return true
		}
		at, there := u.standingPlace(n, v)
		return !there || each(u.guessPath(n, at), n.id)
	}
	for _, vn := range u.inMemory() {
		if !tell(vn) || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		told[vn.ID] = true
	}
	if u.opt.Index == nil {
		return nil
	}
	var after vfs.NodeID
	for {
		rows, more, err := u.opt.Index.Nodes(after, heldBatch)
		if err != nil {
			return err
		}
		for i := range rows {
			after = rows[i].ID
			if !tell(vfs.Node{ID: rows[i].ID, Birth: rows[i].Birth}) || ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		if !more {
			return nil
		}
	}
}

// inMemory are the nodes in memory.
func (u *Union) inMemory() []vfs.Node {
	var all []vfs.Node
	for i := range u.table.shards {
		s := &u.table.shards[i]
		s.mu.Lock()
		for _, n := range s.m {
			all = append(all, n.node())
		}
		s.mu.Unlock()
	}
	return all
}

// standingPlace is a name of n on volume v, which is away. Not there: the names that stand say that n has none any more. What
// another process replaced or removed before the volume went keeps its row, and would be told beside, or instead of, what
// has its name.
func (u *Union) standingPlace(n *node, v *vol) (at place, there bool) {
	n.mu.Lock()
	places := slices.Clone(n.places)
	gone := n.gone
	n.mu.Unlock()
	if gone {
		return place{}, false
	}
	for _, p := range places {
		if u.mayStand(p, n.id, v) {
			return p, true
		}
	}
	return place{}, len(places) == 0
}

// mayStand reports whether p may be a name of the object id on volume v, by what memory and index know of names there.
func (u *Union) mayStand(p place, id vfs.NodeID, v *vol) bool {
	if d := u.table.get(p.dir.ID); d != nil {
		defer d.put()
		d.mu.Lock()
		known := u.knownOf(d).has(v.i)
		var e *entry
		if known {
			e = d.names.byName[p.name]
		}
		holds := e != nil && e.vols.has(v.i) && (e.node.IsZero() || e.node == id)
		d.mu.Unlock()
		if known {
			return holds
		}
	}
	if !u.keeps() {
		return true
	}
	x := u.opt.Index
	cookie, other, err := x.Collision(p.dir.ID, p.name)
	if !other {
		cookie = u.hash(p.name)
	}
	if err != nil {
		return true
	}
	e, found, err := x.Entry(p.dir.ID, cookie)
	if err != nil {
		return true
	}
	if found && e.Name == p.name {
		on := slices.Contains(slices.Collect(e.Volumes.All()), meta.VolumeID(v.id))
		return on && (e.Child.IsZero() || e.Child == id)
	}
	copies, err := x.Copies(p.dir.ID)
	return err != nil || !slices.ContainsFunc(copies, func(c meta.DirCopy) bool { return c.Complete && c.Volume == meta.VolumeID(v.id) })
}

// guessPath is the path that ends with at, a name of n, by what memory and index say, without looking.
func (u *Union) guessPath(n *node, at place) string {
	var path []vfs.Name
	n.refs.Add(1)
	for n != u.root && len(path) < depthMax {
		n.put()
		if at.name.IsZero() {
			slices.Reverse(path)
			return "…" + pathOf(path)
		}
		path = append(path, at.name)
		parent, err := u.known(at.dir)
		if err != nil {
			slices.Reverse(path)
			return "…" + pathOf(path)
		}
		n, at = parent, place{}
		n.mu.Lock()
		if len(n.places) > 0 {
			at = n.places[0]
		}
		n.mu.Unlock()
	}
	n.put()
	slices.Reverse(path)
	return pathOf(path)
}
