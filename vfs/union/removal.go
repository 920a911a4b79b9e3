package union

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// heldMax is how many paths an error names of what a volume still holds.
const heldMax = 5

// RemoveVolume takes a member out of the share. Not lost, it must be there, and hold nothing but directories that
// other volumes have too; the error says what it holds. Lost, what it held is forgotten with it: handles of that are
// stale from then on. Whose the conflicts are that it won is decided anew. The last volume stays.
func (u *Union) RemoveVolume(ctx context.Context, id volume.ID, lost bool) error {
	v := u.volumeByID(id)
	if v == nil {
		return fmt.Errorf("remove volume %s: it is no member of the share", id)
	}
	if u.online().minus(v.i) == 0 {
		return fmt.Errorf("remove volume %q: no other volume is there", v.name)
	}
	if !lost {
		if err := u.vacate(ctx, v); err != nil {
			return fmt.Errorf("remove volume %q: %w", v.name, err)
		}
	}
	return u.expel(v)
}

// vacate sees that v holds nothing of its own, and that nothing is placed on it from now on.
func (u *Union) vacate(ctx context.Context, v *vol) (err error) {
	if !u.online().has(v.i) {
		return fmt.Errorf("%w (bring it back, or say that it is lost)", u.refusal("look what it holds", v.i))
	}
	was := volume.Mode(v.mode.Swap(uint32(volume.NoCreate)))
	defer func() {
		if err != nil {
			v.mode.Store(uint32(was))
		}
	}()
	for range searches {
		shifts, shifting := u.shifts.Load(), u.shifting.Load() > 0
		w := &holding{u: u, v: v}
		u.root.refs.Add(1)
		if err := w.dir(ctx, u.root, nil); err != nil {
			return err
		}
		if len(w.some) > 0 {
			return fmt.Errorf("it holds %s: move it away first", strings.Join(w.some, ", "))
		}
		if !shifting && u.shifts.Load() == shifts {
			return nil
		}
	}
	return errors.New("names are moved all the time: try again")
}

// holding looks for what only v holds.
type holding struct {
	u    *Union
	v    *vol
	some []string // paths, for the error
}

// found notes a path. It reports whether that suffices.
func (w *holding) found(path []vfs.Name, name vfs.Name) bool {
	if len(w.some) == heldMax {
		w.some = append(w.some, "and more")
	} else {
		w.some = append(w.some, fmt.Sprintf("%q", pathOf(append(slices.Clip(path), name))))
	}
	return len(w.some) > heldMax
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

// dir looks into d's copy on the volume. It takes the reference to d.
func (w *holding) dir(ctx context.Context, d *node, path []vfs.Name) error {
	defer d.put()
	if len(path) > scanDepth {
		return errors.New("directories are too deep to be looked through")
	}
	dirs, err := w.list(ctx, d, path)
	if err != nil || len(w.some) > heldMax {
		return err
	}
	for _, name := range dirs {
		n, err := w.u.lookupPhys(ctx, d, w.v.i, name)
		if vfs.StatusOf(err) == vfs.NoEnt { // removed meanwhile
			continue
		}
		if err != nil {
			return err
		}
		if _, err := w.u.checkCopies(ctx, n); err != nil {
			n.put()
			return err
		}
		if n.volumes().minus(w.v.i)&w.u.online() == 0 && w.found(path, name) {
			n.put()
			return nil
		}
		if err := w.dir(ctx, n, append(slices.Clip(path), name)); err != nil || len(w.some) > heldMax {
			return err
		}
	}
	return nil
}

// list gives the directories in d's copy, and notes what is none. Under d's lease, so that who was about to make
// something there is done.
func (w *holding) list(ctx context.Context, d *node, path []vfs.Name) (dirs []vfs.Name, err error) {
	l, err := w.u.leases.Acquire(ctx, lease.Node(d.id, lease.Shared))
	if err != nil {
		return nil, err
	}
	defer l.Release()
	h, err := w.u.dirAt(ctx, d, w.v.i)
	if errors.Is(err, errNoCopy) {
		return nil, nil
	}
	if err != nil {
		return nil, err
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
			return !w.found(path, e.Name)
		}
		return true
	})
	for _, name := range unknown {
		st, serr := h.d.StatAt(ctx, name)
		if serr != nil {
			return nil, errors.Join(err, serr)
		}
		if st.Type == vfs.Directory {
			dirs = append(dirs, name)
		} else if w.found(path, name) {
			break
		}
	}
	return dirs, err
}

// expel takes v out of the share: nothing that is asked from now on is asked of it, and what is remembered of it goes.
func (u *Union) expel(v *vol) error {
	v.mu.Lock()
	v.removed = true
	cancel := v.cancel
	s := volume.State{Health: volume.Away, Reason: "it was removed from the share", Since: u.start}
	u.leave(v, s)
	v.opening.Store(0)
	v.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	v.watch.stop()
	u.change(func(m *members) {
		m.all, m.online = m.all.minus(v.i), m.online.minus(v.i)
		m.vols = slices.DeleteFunc(m.vols, func(o *vol) bool { return o == v })
	})
	u.dropOpen(v)
	u.pins.forget(v.id)
	u.pending.forget(v)
	u.forgetVolume(v.i)
	u.tell(vfs.Event{Kind: vfs.ForgetAll})
	u.recoverLater()
	return nil
}

// forget drops the pins that give a name to volume id: it was removed.
func (p *pins) forget(id volume.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, holder := range p.m {
		if holder == id {
			delete(p.m, k)
		}
	}
}

// forget drops the records that lie on v.
func (p *pending) forget(v *vol) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(r *leftover) bool { return r.v == v })
	p.n.Store(int32(len(p.list)))
}

// forgetVolume takes the volume at position v out of all that is in memory. What lay there alone is gone.
func (u *Union) forgetVolume(v int) {
	for i := range u.table.shards {
		s := &u.table.shards[i]
		s.mu.Lock()
		some := make([]*node, 0, len(s.m))
		for _, n := range s.m {
			n.refs.Add(1)
			some = append(some, n)
		}
		s.mu.Unlock()
		for _, n := range some {
			if u.forgetCopy(n, v) {
				u.retire(n)
			}
			n.put()
		}
	}
}

// forgetCopy takes n's copy on volume v out of memory, and v out of n's names. It reports whether n lay there alone.
func (u *Union) forgetCopy(n *node, v int) (gone bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.names; t != nil {
		var none []*entry
		for _, e := range t.byName {
			if e.vols = e.vols.minus(v); e.vols == 0 {
				none = append(none, e)
			}
		}
		for _, e := range none {
			t.remove(e)
		}
		t.doubt(u.away())
	}
	i := n.indexOn(v)
	if i < 0 {
		return false
	}
	u.vol(v).unkey(n.copies[i].id.Key, n)
	n.copies = append(n.copies[:i:i], n.copies[i+1:]...)
	n.attrAt = 0
	if len(n.copies) == 0 {
		return true
	}
	if n.copyOn(n.home) == nil {
		n.home = n.copies[0].vol
	}
	return false
}

// Held calls each with the path in the share, and the id, of what the index and memory know to lie on a member and
// nowhere else, until it returns false: for who says that the member is lost. A directory that other
// volumes have too is not told.
func (u *Union) Held(ctx context.Context, id volume.ID, each func(path string, n vfs.NodeID) bool) error {
	v := u.volumeByID(id)
	if v == nil {
		return fmt.Errorf("volume %s is no member of the share", id)
	}
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
		return each(u.guessPath(n), n.id)
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

// heldBatch is how many rows of the index Held reads at a time.
const heldBatch = 256

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

// guessPath is n's path by what memory and index say, without looking.
func (u *Union) guessPath(n *node) string {
	var path []vfs.Name
	n.refs.Add(1)
	for n != u.root && len(path) < depthMax {
		n.mu.Lock()
		var at place
		if len(n.places) > 0 {
			at = n.places[0]
		}
		n.mu.Unlock()
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
		n = parent
	}
	n.put()
	slices.Reverse(path)
	return pathOf(path)
}
