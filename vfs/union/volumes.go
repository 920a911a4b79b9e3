package union

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/meta"
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
	writer    uint64 // is in the names of small files while we write them

	caps atomic.Pointer[volume.Caps] // as of its last opening
	mode atomic.Uint32               // a volume.Mode

	signed meta.Turn // what it was signed with last; who admits it has it alone

	openedAt atomic.Int64                 // when it was admitted as it is open now
	opening  atomic.Uint64                // State.Attached of what was admitted; 0: nothing
	refused  atomic.Pointer[volume.State] // why calls are refused; nil: they are not

	mu       sync.Mutex   // guards the rest; before roster.mu
	state    volume.State // as the volume told it last
	heard    bool         // it told something
	entering bool         // takeIn is under way
	removed  bool         // it is no member any more
	cancel   func()       // ends the news

	watch *watch
	pace  pace

	keys [keyShards]keyShard
}

// newVol is a member without a position.
func (u *Union) newVol(v volume.Volume, exclusive bool, mode volume.Mode) *vol {
	id, caps := v.ID(), v.Caps()
	o := &vol{i: -1, v: v, id: id, tag: volumeTag(id), name: v.Name(), exclusive: exclusive, writer: randomWord()}
	o.caps.Store(&caps)
	o.mode.Store(uint32(mode))
	o.state = volume.StateOf(v)
	if o.state.Health != volume.Online {
		s := o.state
		o.refused.Store(&s)
	} else {
		o.refused.Store(&volume.State{Health: volume.Away, Reason: "it is being taken in", Since: time.Now()})
	}
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

// openRoot makes the root's node, which exists on every volume.
func (u *Union) openRoot(id vfs.NodeID) {
	n := newDirNode(vfs.Node{ID: id})
	for _, v := range u.members().vols {
		n.copies = append(n.copies, copyOf{vol: v.i, trusted: true})
	}
	u.root, _, _ = u.table.add(n)
}

// openVolumes takes in the volumes that are there, one at least.
func (u *Union) openVolumes(ctx context.Context) error {
	var all error
	var there []*vol
	for _, v := range u.members().vols {
		if volume.StateOf(v.v).Health != volume.Online {
			all = errors.Join(all, u.refusal("open", v.i))
			continue
		}
		there = append(there, v)
	}
	if err := u.checkTurns(ctx, there); err != nil {
		return err
	}
	for _, v := range there {
		err := u.admit(ctx, v, volume.StateOf(v.v).Attached)
		if _, comer := v.v.(volume.Comer); err != nil && !comer {
			return err
		}
		all = errors.Join(all, err)
	}
	if u.online() == 0 {
		return fmt.Errorf("no volume can be used: %w", all)
	}
	return nil
}

// setRootCopy notes how the root is on v as it is open now.
func (u *Union) setRootCopy(v *vol, st volume.Stat, id volume.Identity) {
	n := u.root
	n.mu.Lock()
	c := n.copyOn(v.i)
	was := c.id.Key
	if c.id != id {
		c.ctime, c.mtime = st.Ctime, st.Mtime
	}
	c.epoch = 0
	c.id, c.dir = id, &dirHandle{d: v.v.Root(), n: n, vol: v.i, fixed: true}
	n.mu.Unlock()
	v.unkey(was, n)
	u.keyAt(v, id.Key, n)
}

func newDirNode(vn vfs.Node) *node {
	return &node{id: vn.ID, birth: vn.Birth, typ: vfs.Directory, fill: make(chan struct{}, 1), sibling: -1, rows: new(rows)}
}
