package union

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"path"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// vol is one member of the share.
type vol struct {
	i         int // its position
	v         volume.Volume
	id        volume.ID
	tag       uint64 // of vfs.Birth
	name      string
	exclusive bool

	caps atomic.Pointer[volume.Caps] // as of its last opening
	mode atomic.Uint32               // a volume.Mode

	openedAt atomic.Int64 // when it was admitted as it is open now

	watch *watch

	keys [keyShards]keyShard
}

// newVol is a member without a position.
func (u *Union) newVol(v volume.Volume, exclusive bool, mode volume.Mode) *vol {
	id, caps := v.ID(), v.Caps()
	o := &vol{i: -1, v: v, id: id, tag: volumeTag(id), name: v.Name(), exclusive: exclusive}
	o.caps.Store(&caps)
	o.mode.Store(uint32(mode))
	for k := range o.keys {
		o.keys[k].m = make(map[uint64]keyNode)
	}
	o.watch = newWatch(u, o)
	return o
}

// can is what the volume can do.
func (v *vol) can() *volume.Caps { return v.caps.Load() }

// getMode is what the operator lets it be used for.
func (v *vol) getMode() volume.Mode { return volume.Mode(v.mode.Load()) }

// volumeTag is what a vfs.Birth calls the volume id: never 0, which is "no hint".
func volumeTag(id volume.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) | 1 }

// birthNode is the node that an object has by its birth facts alone.
func (v *vol) birthNode(id *volume.Identity) vfs.Node {
	b := make([]byte, 0, len(v.id)+28)
	b = append(b, v.id[:]...)
	b = binary.BigEndian.AppendUint64(b, id.Sub)
	b = binary.BigEndian.AppendUint64(b, id.Ino)
	b = binary.BigEndian.AppendUint32(b, id.Gen)
	b = binary.BigEndian.AppendUint64(b, uint64(id.Birth))
	sum := sha256.Sum256(b)
	return vfs.Node{
		ID:    vfs.NodeID(sum[:16]),
		Birth: vfs.Birth{Volume: v.tag, Ino: id.Ino, Gen: id.Gen, Sub: uint32(id.Sub) ^ uint32(id.Sub>>32)},
	}
}

// volumeByID is the member with that id, or nil.
func (u *Union) volumeByID(id volume.ID) *vol {
	for _, v := range u.members().vols {
		if v.id == id {
			return v
		}
	}
	return nil
}

// volumeByTag is the member that a vfs.Birth means, or nil.
func (u *Union) volumeByTag(tag uint64) *vol {
	for _, v := range u.members().vols {
		if v.tag == tag {
			return v
		}
	}
	return nil
}

// hidden reports whether name is not shown in the directory d.
func (u *Union) hidden(d *node, name vfs.Name) bool {
	if d != u.root {
		return false
	}
	if name.String() == volume.PrivateName {
		return true
	}
	for _, pattern := range u.opt.Hide {
		if ok, _ := path.Match(pattern, name.String()); ok { // patterns were checked by Open
			return true
		}
	}
	return false
}

// openRoot makes the root's node: it exists on every volume.
func (u *Union) openRoot(ctx context.Context, id vfs.NodeID) error {
	n := newDirNode(vfs.Node{ID: id})
	n.home = 0
	u.root, _, _ = u.table.add(n)
	for _, v := range u.members().vols {
		c, err := v.root(ctx)
		if err != nil {
			return err
		}
		u.addRootCopy(v, c)
		u.change(func(m *members) { m.online = m.online.with(v.i) })
	}
	return nil
}

// root is the copy of the root on v, without its position.
func (v *vol) root(ctx context.Context) (copyOf, error) {
	d := v.v.Root()
	st, id, err := d.Identify(ctx)
	if err != nil {
		return copyOf{}, err
	}
	return copyOf{id: id, trusted: true, marked: true, dir: &dirHandle{d: d, fixed: true}, ctime: st.Ctime, mtime: st.Mtime}, nil
}

// addRootCopy adds the root's copy on v, the last in the order of volumes.
func (u *Union) addRootCopy(v *vol, c copyOf) {
	c.vol, c.dir.vol, c.dir.n = v.i, v.i, u.root
	u.root.mu.Lock()
	u.root.copies = append(u.root.copies, c)
	u.forgetNames(u.root)
	u.root.attrAt = 0
	u.root.mu.Unlock()
	u.keyAt(v, c.id.Key, u.root)
}

func newDirNode(vn vfs.Node) *node {
	return &node{id: vn.ID, birth: vn.Birth, typ: vfs.Directory, fill: make(chan struct{}, 1), sibling: -1}
}
