package union

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"path"
	"sync"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// vol is one member of the share.
type vol struct {
	i         int
	v         volume.Volume
	id        volume.ID
	tag       uint64 // of vfs.Birth
	name      string
	caps      volume.Caps
	exclusive bool

	keys [keyShards]keyShard
}

// keyShards is how many locks a volume's map of keys is cut into.
const keyShards = 64

// keyShard maps keys to the nodes in memory that lie there.
type keyShard struct {
	mu sync.Mutex
	m  map[volume.Key]*node
}

func newVol(i int, v volume.Volume, exclusive bool) *vol {
	id := v.ID()
	o := &vol{i: i, v: v, id: id, tag: volumeTag(id), name: v.Name(), caps: v.Caps(), exclusive: exclusive}
	for k := range o.keys {
		o.keys[k].m = make(map[volume.Key]*node)
	}
	return o
}

// volumeTag is what a vfs.Birth calls the volume id: never 0, which is "no hint".
func volumeTag(id volume.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) | 1 }

func (v *vol) shard(k volume.Key) *keyShard { return &v.keys[k.Ino%keyShards] }

// keyed is the node that lies at k as far as memory knows, without a reference.
func (v *vol) keyed(k volume.Key) *node {
	s := v.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[k]
}

func (v *vol) setKey(k volume.Key, n *node) {
	s := v.shard(k)
	s.mu.Lock()
	s.m[k] = n
	s.mu.Unlock()
}

func (v *vol) unkey(k volume.Key, n *node) {
	s := v.shard(k)
	s.mu.Lock()
	if s.m[k] == n {
		delete(s.m, k)
	}
	s.mu.Unlock()
}

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
	for _, v := range u.vols {
		if v.id == id {
			return v
		}
	}
	return nil
}

// volumeByTag is the member that a vfs.Birth means, or nil.
func (u *Union) volumeByTag(tag uint64) *vol {
	for _, v := range u.vols {
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

// each calls f for every volume of s and joins the first error, one after the other for
// one and at once for several: a slow disk costs the time of one.
func each(s volset, f func(v int) error) error {
	switch s.count() {
	case 0:
		return nil
	case 1:
		return f(s.first())
	}
	list := s.list()
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, v := range list[1:] {
		wg.Go(func() { errs[i+1] = f(v) })
	}
	errs[0] = f(list[0])
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// openRoot makes the root's node: it exists on every volume.
func (u *Union) openRoot(ctx context.Context, id vfs.NodeID) error {
	n := newDirNode(vfs.Node{ID: id})
	n.home = 0
	for _, v := range u.vols {
		d := v.v.Root()
		st, ident, err := d.Identify(ctx)
		if err != nil {
			return err
		}
		h := &dirHandle{d: d, n: n, vol: v.i, fixed: true}
		n.copies = append(n.copies, copyOf{vol: v.i, id: ident, trusted: true, marked: true, dir: h, ctime: st.Ctime, mtime: st.Mtime})
		v.setKey(ident.Key, n)
	}
	u.root, _, _ = u.table.add(n)
	return nil
}

func newDirNode(vn vfs.Node) *node {
	return &node{id: vn.ID, birth: vn.Birth, typ: vfs.Directory, fill: make(chan struct{}, 1), sibling: -1}
}
