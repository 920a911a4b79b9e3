package union

import (
	"context"
	"errors"
	"sync"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// resolve is the node vn with a reference: from memory, else by the index, else at
// its birthplace, else by searching every volume. Stale: it is known to be gone.
func (u *Union) resolve(ctx context.Context, vn vfs.Node) (*node, error) {
	if n := u.table.get(vn.ID); n != nil {
		return n, nil
	}
	if u.scans.gone.has(vn.ID) {
		return nil, vfs.Stale
	}
	if vn.ID.IsZero() {
		return nil, vfs.BadHandle
	}
	if n := u.fromIndex(vn); n != nil {
		return n, nil
	}
	n, err := u.atBirthplace(ctx, vn)
	if n != nil || err != nil {
		return n, err
	}
	return u.scans.find(ctx, wanted{node: vn, vol: u.birthVolume(vn), ino: vn.Birth.Ino})
}

// birthVolume is the position of the volume that vn was born on, or -1.
func (u *Union) birthVolume(vn vfs.Node) int {
	if v := u.volumeByTag(vn.Birth.Volume); v != nil {
		return v.i
	}
	return -1
}

// fromIndex makes a node of what the index says of it. It is believed only where it is
// followed: every open compares identities.
func (u *Union) fromIndex(vn vfs.Node) *node {
	if u.opt.Index == nil {
		return nil
	}
	row, ok, err := u.opt.Index.Node(vn.ID)
	if err != nil {
		u.log.Warn("row of a node cannot be read; it is searched for", "op", "resolve", "node", vn.ID, "err", err)
		return nil
	}
	if !ok || len(row.Copies) == 0 || len(row.Places) == 0 {
		return nil
	}
	n := u.newNode(vfs.Node{ID: vn.ID, Birth: row.Birth}, row.Type)
	for _, c := range row.Copies {
		v := u.volumeByID(volume.ID(c.Volume))
		if v == nil {
			continue
		}
		n.copies = append(n.copies, copyOf{vol: v.i, id: volume.Identity{Key: volume.Key{Ino: c.Identity.Ino, Birth: c.Identity.Birth}, Gen: c.Identity.Gen, Sub: c.Identity.Sub}})
	}
	if len(n.copies) == 0 || !n.isDir() && len(n.copies) != 1 {
		return nil
	}
	n.sortCopies()
	for _, p := range row.Places {
		n.places = append(n.places, place{vfs.Node{ID: p.Dir}, p.Name, p.Name})
	}
	n.home = u.homeOf(n)
	there, added, taken := u.table.add(n)
	if taken {
		return nil
	}
	if added {
		u.charge(nodeBytes)
	}
	return there
}

// sortCopies puts copies in volume order, which may have changed since they were
// written. Needs n to be the caller's alone.
func (n *node) sortCopies() {
	for i := 1; i < len(n.copies); i++ {
		for j := i; j > 0 && n.copies[j].vol < n.copies[j-1].vol; j-- {
			n.copies[j], n.copies[j-1] = n.copies[j-1], n.copies[j]
		}
	}
}

// homeOf is the copy whose birth is the node's, else the first.
func (u *Union) homeOf(n *node) int {
	for i := range n.copies {
		c := &n.copies[i]
		if v := u.vol(c.vol); v.tag == n.birth.Volume && c.id.Ino == n.birth.Ino && c.id.Gen == n.birth.Gen {
			return c.vol
		}
	}
	return n.copies[0].vol
}

// atBirthplace asks the volume a node was born on. No node and no error: it is not
// known there.
func (u *Union) atBirthplace(ctx context.Context, vn vfs.Node) (*node, error) {
	v := u.volumeByTag(vn.Birth.Volume)
	if v == nil || !v.can().Locate || !u.online().has(v.i) {
		return nil, nil
	}
	for range searches {
		path, err := v.v.Locate(ctx, vn.Birth.Ino, vn.Birth.Gen)
		switch vfs.StatusOf(err) {
		case vfs.OK:
		case vfs.Stale:
			if len(u.members().vols) == 1 { // with more, a copy of a directory may live on elsewhere
				u.scans.gone.add(vn.ID)
				return nil, vfs.Stale
			}
			return nil, nil
		case vfs.NotSupp:
			return nil, nil
		default:
			return nil, err
		}
		n, err := u.walk(ctx, v.i, path)
		if err == nil && n.id == vn.ID {
			return n, nil
		}
		if err == nil {
			another := n.liesOn(v.i, vn.Birth.Ino, vn.Birth.Gen) // by a mark
			n.put()
			if another {
				return nil, nil
			}
		} else if s := vfs.StatusOf(err); s != vfs.NoEnt && s != vfs.Stale && s != vfs.Jukebox {
			return nil, err
		}
	}
	return nil, &vfs.Error{Status: vfs.Jukebox, Op: "find", Object: vn.ID.String(), Volume: v.name, Err: errors.New("it is moved again and again")}
}

// liesOn reports whether n's copy on volume v is that inode.
func (n *node) liesOn(v int, ino uint64, gen uint32) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.copyOn(v)
	return c != nil && c.id.Ino == ino && c.id.Gen == gen
}

// walk goes down path on volume v and gives the node at its end with a reference. Each
// node on the way learns its place.
func (u *Union) walk(ctx context.Context, v int, path []vfs.Name) (*node, error) {
	n := u.root
	n.refs.Add(1)
	for _, phys := range path {
		next, err := u.lookupPhys(ctx, n, v, phys)
		n.put()
		if err != nil {
			return nil, err
		}
		n = next
	}
	return n, nil
}

// lookupPhys is the node of what volume v calls phys in d, under whatever name the share
// shows it.
func (u *Union) lookupPhys(ctx context.Context, d *node, v int, phys vfs.Name) (*node, error) {
	for range searches {
		n, err := u.lookup(ctx, d, phys)
		if err == nil && n.volumes().has(v) {
			return n, nil
		}
		if err == nil {
			n.put()
		} else if vfs.StatusOf(err) != vfs.NoEnt {
			return nil, err
		}
		u.distrust(d) // what is known may be as old as trust, the path is news
		if err := u.prove(ctx, d, false); err != nil {
			return nil, err
		}
		if alias, ok := u.aliasOf(d, v, phys); ok {
			return u.lookup(ctx, d, alias)
		}
	}
	return nil, &moved{d.node(), -1}
}

// aliasOf is the name in the share of what volume v calls phys in d, if it is another.
func (u *Union) aliasOf(d *node, v int, phys vfs.Name) (vfs.Name, bool) {
	if _, ok := u.pins.get(d.id, phys); !ok {
		return vfs.Name{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names == nil {
		return vfs.Name{}, false
	}
	for _, e := range d.names.byName {
		if e.phys == phys && e.name != phys && e.vols.has(v) {
			return e.name, true
		}
	}
	return vfs.Name{}, false
}

// search finds n again, whose object is not where it was on volume v. Afterwards its
// place is known, or it has no copy there any more. Stale: it is gone.
func (u *Union) search(ctx context.Context, n *node, v int) error {
	if !u.online().has(v) {
		return u.refusal("find", v)
	}
	n.mu.Lock()
	c := n.copyOn(v)
	if n.gone || c == nil {
		gone := n.gone
		n.mu.Unlock()
		if gone {
			return vfs.Stale
		}
		return nil
	}
	want := c.id
	n.mu.Unlock()
	u.stats.searches.Add(1)
	for range searches {
		path, err := u.pathOf(ctx, n, v, want)
		if vfs.StatusOf(err) == vfs.Stale {
			return u.lost(n, v, want)
		}
		if err != nil {
			return err
		}
		found, err := u.walk(ctx, v, path)
		if err != nil {
			if s := vfs.StatusOf(err); s == vfs.NoEnt || s == vfs.Stale || s == vfs.Jukebox { // moved on meanwhile
				continue
			}
			return err
		}
		another := found != n && found.liesOn(v, want.Ino, want.Gen)
		found.put()
		if found == n {
			return nil
		}
		if another { // its inode belongs to another node now
			return u.lost(n, v, want)
		}
	}
	return &moved{n.node(), v}
}

// pathOf is where the object want of volume v is now.
func (u *Union) pathOf(ctx context.Context, n *node, v int, want volume.Identity) ([]vfs.Name, error) {
	if u.vol(v).can().Locate {
		path, err := u.vol(v).v.Locate(ctx, want.Ino, want.Gen)
		if vfs.StatusOf(err) != vfs.NotSupp {
			return path, err
		}
	}
	return u.scans.path(ctx, wanted{node: n.node(), vol: v, ino: want.Ino, id: &want, only: true})
}

// lost notes that n is not on volume v any more.
func (u *Union) lost(n *node, v int, was volume.Identity) error {
	if n.isDir() {
		return u.loseCopies(n, volset(0).with(v), func(int) volume.Identity { return was })
	}
	u.retire(n)
	u.tell(vfs.Event{Kind: vfs.ForgetNode, Node: n.id})
	return vfs.Stale
}

// Parents implements vfs.FS.
func (u *Union) Parents(ctx context.Context, vn vfs.Node, each func(dir vfs.Node, name vfs.Name) bool) error {
	n, err := u.resolve(ctx, vn)
	if err != nil {
		return err
	}
	defer n.put()
	n.mu.Lock()
	places := append([]place(nil), n.places...)
	n.mu.Unlock()
	for _, p := range places {
		if !each(p.dir, p.name) {
			break
		}
	}
	return nil
}

// goneSet remembers nodes that are known to be gone: ids never come again. Bounded, the
// older half is forgotten when it is full.
type goneSet struct {
	mu         sync.Mutex
	young, old map[vfs.NodeID]struct{}
}

// goneMax is how many ids each half of a goneSet holds.
const goneMax = 1 << 15

func (g *goneSet) add(id vfs.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.young == nil || len(g.young) >= goneMax {
		g.old, g.young = g.young, make(map[vfs.NodeID]struct{})
	}
	g.young[id] = struct{}{}
}

func (g *goneSet) remove(id vfs.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.young, id)
	delete(g.old, id)
}

func (g *goneSet) has(id vfs.NodeID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.young[id]; ok {
		return true
	}
	_, ok := g.old[id]
	return ok
}

// putRow writes what is known of n to the index: a hint for the next start. It
// does not wait for the disk.
func (u *Union) putRow(n *node) {
	if u.opt.Index == nil || n == u.root {
		return
	}
	n.mu.Lock()
	if n.gone || len(n.copies) == 0 || len(n.places) == 0 {
		n.mu.Unlock()
		return
	}
	row := meta.Node{ID: n.id, Type: n.typ, Birth: n.birth}
	for i := range n.copies {
		c := &n.copies[i]
		row.Copies = append(row.Copies, meta.Copy{
			Volume:   meta.VolumeID(u.vol(c.vol).id),
			Identity: meta.Identity{Ino: c.id.Ino, Birth: c.id.Birth, Gen: c.id.Gen, Sub: c.id.Sub},
		})
	}
	for _, p := range n.places {
		row.Places = append(row.Places, meta.Place{Dir: p.dir.ID, Name: p.name})
	}
	n.mu.Unlock()
	u.rowError(u.opt.Index.PutNode(u.background, &row), row.ID)
}

// dropRow removes what the index holds of a node that is gone.
func (u *Union) dropRow(n *node) {
	if u.opt.Index == nil {
		return
	}
	u.rowError(u.opt.Index.DeleteNode(u.background, n.id), n.id)
}

// rowError says once in a while that the index does not take rows. Nothing depends on
// them but speed after the next start.
func (u *Union) rowError(err error, id vfs.NodeID) {
	if err == nil || errors.Is(err, meta.ErrPaused) {
		return
	}
	if u.stats.rowErrors.Add(1)%1000 == 1 {
		u.log.Warn("the index does not take a row; objects are searched for after a restart", "op", "index", "node", id, "err", err)
	}
}
