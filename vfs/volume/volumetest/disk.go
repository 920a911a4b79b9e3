package volumetest

import (
	"maps"
	"slices"
	"sync"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// disk is the state that outlives a Mem: what is there, and what of it is durable.
type disk struct {
	mu sync.Mutex // guards everything below, and all inodes

	clock    func() time.Time
	last     time.Time // that it was asked for
	reuse    bool
	weak     bool
	step     time.Duration // of change times; 0: none
	capacity uint64        // 0: none

	root, private *inode
	inodes        map[uint64]*inode
	nextIno       uint64
	free          []*inode // with reuse: whose numbers are free
	nextGen       uint32
	used          uint64 // bytes, with inodeCost for each inode
	marker        volume.Marker

	log []*change // changes of names not known to be durable, oldest first
}

const (
	pageSize  = 4096
	inodeCost = 512 // bytes that an inode counts for
	rootIno   = 2
)

type page [pageSize]byte

// meta is what SetAttr changes, and the times that changes move.
type meta struct {
	mode, uid, gid      uint32
	atime, mtime, ctime vfs.Time
}

// slot is one name.
type slot struct {
	dir  *inode
	name string
}

// inode is an object. What ends in D is as it is on the disk.
type inode struct {
	ino   uint64
	gen   uint32
	birth int64
	typ   vfs.Type
	major uint32
	minor uint32
	link  string // of a symbolic link

	meta, metaD meta
	acls, aclsD vfs.ACLs
	mark, markD []byte

	prev  *inode // had the number before, and must be gone where this is kept
	names []slot // all the names it has
	open  int    // descriptors, which keep it when it has none

	size, sizeD   uint64
	pages, pagesD map[int64]*page    // absent: a hole; a page in both is not written to
	dirty         map[int64]struct{} // pages that may differ

	entries, entriesD map[string]*inode
	subdirs           int
	pending           []*change // of the log, that touch this directory and were made since its last sync
}

// change is one atomic change of names: each slot gets a new content, nil for none.
type change struct {
	slots   []slot
	to      []*inode
	objects []*inode // whose earlier changes it needs
	waits   int      // directories to be synced before it is durable
	kept    bool
}

func newDisk(o *Options) *disk {
	d := &disk{
		clock: o.Now, reuse: o.Reuse, weak: o.Weak, step: o.Quiet / 2, capacity: o.Capacity,
		inodes: map[uint64]*inode{}, nextIno: rootIno, nextGen: 1,
	}
	d.root = d.newInode(vfs.Directory, 0o755)
	d.private = d.newInode(vfs.Directory, 0o700)
	d.put(slot{d.root, volume.PrivateName}, d.private)
	d.syncAll()
	d.marker = drawnMarker(o)
	d.marker.Birth = d.private.identity(o.Weak)
	return d
}

// newInode makes an object without a name.
func (d *disk) newInode(t vfs.Type, mode uint32) *inode {
	ino, prev := d.nextIno, (*inode)(nil)
	if k := len(d.free); k > 0 {
		prev, d.free = d.free[k-1], d.free[:k-1]
		ino = prev.ino
	} else {
		d.nextIno++
	}
	now := d.now()
	birth := now
	if d.reuse {
		birth = now.Truncate(birthTick)
	}
	n := &inode{ino: ino, gen: d.nextGen, birth: birth.UnixNano(), typ: t, prev: prev}
	d.nextGen++
	at := d.stamp(now)
	n.meta = meta{mode: mode, atime: at, mtime: at, ctime: at}
	switch t {
	case vfs.Directory:
		n.entries, n.entriesD = map[string]*inode{}, map[string]*inode{}
	case vfs.Regular:
		n.pages, n.pagesD, n.dirty = map[int64]*page{}, map[int64]*page{}, map[int64]struct{}{}
	case vfs.Block, vfs.Char, vfs.Symlink, vfs.Socket, vfs.FIFO:
	}
	d.inodes[ino] = n
	d.used += inodeCost
	return n
}

// now is the clock's time; without a step it never stands still, so that every change
// shows.
func (d *disk) now() time.Time {
	t := d.clock()
	if d.step == 0 && !t.After(d.last) {
		t = d.last.Add(1)
	}
	d.last = t
	return t
}

// stamp is a time as a change leaves it.
func (d *disk) stamp(t time.Time) vfs.Time {
	if d.step > 0 {
		t = t.Truncate(d.step)
	}
	return vfs.TimeOf(t)
}

func (d *disk) touch(n *inode, data bool) {
	at := d.stamp(d.now())
	n.meta.ctime = at
	if data {
		n.meta.mtime = at
	}
}

// full reports whether more bytes are too many.
func (d *disk) full(more uint64) bool { return d.capacity > 0 && d.used+more > d.capacity }

// put sets the content of a slot without logging it, and keeps names and counts.
func (d *disk) put(s slot, n *inode) {
	if old := s.dir.entries[s.name]; old != nil {
		old.names = slices.DeleteFunc(old.names, func(o slot) bool { return o == s })
		if old.typ == vfs.Directory {
			s.dir.subdirs--
		}
		delete(s.dir.entries, s.name)
	}
	if n == nil {
		return
	}
	s.dir.entries[s.name] = n
	n.names = append(n.names, s)
	if n.typ == vfs.Directory {
		s.dir.subdirs++
	}
}

// assign is a content for a slot.
type assign struct {
	slot slot
	to   *inode
}

// apply makes one atomic change of names and logs it. objects are those whose
// earlier changes must not be missing where this one is kept.
func (d *disk) apply(objects []*inode, as ...assign) {
	c := &change{objects: objects}
	for _, a := range as {
		old := a.slot.dir.entries[a.slot.name]
		d.put(a.slot, a.to)
		c.slots, c.to = append(c.slots, a.slot), append(c.to, a.to)
		if !slices.Contains(a.slot.dir.pending, c) {
			a.slot.dir.pending = append(a.slot.dir.pending, c)
			c.waits++
		}
		d.touch(a.slot.dir, true)
		for _, n := range []*inode{old, a.to} {
			if n != nil {
				c.objects = append(c.objects, n)
				if n.prev != nil {
					c.objects, n.prev = append(c.objects, n.prev), nil
				}
				d.touch(n, false)
			}
		}
		if old != nil {
			defer d.release(old)
		}
	}
	d.log = append(d.log, c)
}

// release frees an object that has neither name nor descriptor. The log may
// still know it: a power cut can bring its name back.
func (d *disk) release(n *inode) {
	if len(n.names) > 0 || n.open > 0 || n == d.root || d.inodes[n.ino] != n {
		return
	}
	delete(d.inodes, n.ino)
	d.used -= inodeCost + uint64(len(n.pages))*pageSize
	if d.reuse {
		d.free = append(d.free, n)
	}
}

// syncDir makes the names in n and its own attributes durable.
func (d *disk) syncDir(n *inode) {
	for _, c := range n.pending {
		if c.waits--; c.waits == 0 {
			c.kept = true
		}
	}
	n.pending = nil
	n.syncMeta()
	for len(d.log) > 0 && d.log[0].kept { // nothing can be missing before these
		d.log[0].commit()
		d.log[0] = nil
		d.log = d.log[1:]
	}
}

func (c *change) commit() {
	for i, s := range c.slots {
		if c.to[i] == nil {
			delete(s.dir.entriesD, s.name)
		} else {
			s.dir.entriesD[s.name] = c.to[i]
		}
	}
}

func (n *inode) syncMeta() { n.metaD, n.aclsD, n.markD = n.meta, n.acls, n.mark }

// syncData makes data and size durable. A page that both sides share is copied
// before it is written to.
func (n *inode) syncData() {
	for i := range n.dirty {
		if p := n.pages[i]; p != nil {
			n.pagesD[i] = p
		} else {
			delete(n.pagesD, i)
		}
	}
	clear(n.dirty)
	n.sizeD = n.size
}

func (d *disk) syncAll() {
	for _, n := range d.inodes {
		n.syncMeta()
		n.pending = nil
		switch n.typ {
		case vfs.Regular:
			n.syncData()
		case vfs.Directory:
			n.entriesD = maps.Clone(n.entries)
		case vfs.Block, vfs.Char, vfs.Symlink, vfs.Socket, vfs.FIFO:
		}
	}
	d.log = nil
}

// draw is a coin for one fact of one object: no order of asking matters.
func draw(seed, ino, fact uint64) bool {
	x := seed ^ ino*0x9e3779b97f4a7c15 ^ fact*0xbf58476d1ce4e5b9
	for range 2 { // the finalizer of splitmix64
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x&1 == 0
}

// The facts of an object that a cut draws; pages follow.
const (
	factMeta = iota
	factACLs
	factMark
	factSize
	factPages
)

// cut leaves what survives a power cut.
func (d *disk) cut(seed uint64) {
	d.keep(seed)
	reached := map[*inode]bool{}
	d.reach(d.root, reached)
	d.inodes, d.used, d.log = map[uint64]*inode{}, 0, nil
	for n := range reached {
		d.inodes[n.ino] = n
		n.survive(seed)
		d.used += inodeCost + uint64(len(n.pages))*pageSize
	}
	for n := range reached {
		for _, name := range slices.Sorted(maps.Keys(n.entriesD)) {
			d.put(slot{n, name}, n.entriesD[name])
		}
	}
	d.free = nil
}

// keep decides which changes of names survive, the latest first, so that each takes
// with it what it needs, and commits them in order. One name of a file may go, durably, and another that was made before
// be lost, as nothing but a flush promises it; directories cannot be had without their names.
func (d *disk) keep(seed uint64) {
	slots, objects := map[slot]bool{}, map[*inode]bool{}
	for i, c := range slices.Backward(d.log) {
		c.kept = c.kept || draw(seed, uint64(i), factPages)
		for _, s := range c.slots {
			c.kept = c.kept || slots[s]
		}
		for _, n := range c.objects {
			c.kept = c.kept || objects[n] && n.typ == vfs.Directory
		}
		if !c.kept {
			continue
		}
		for _, s := range c.slots {
			slots[s] = true
		}
		for _, n := range c.objects {
			objects[n] = true
		}
	}
	for _, c := range d.log {
		if c.kept {
			c.commit()
		}
	}
}

func (d *disk) reach(n *inode, seen map[*inode]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	for _, sub := range n.entriesD {
		d.reach(sub, seen)
	}
}

// survive makes n what is left of it, without names and entries.
func (n *inode) survive(seed uint64) {
	if !draw(seed, n.ino, factMeta) {
		n.meta = n.metaD
	}
	if !draw(seed, n.ino, factACLs) {
		n.acls = n.aclsD
	}
	if !draw(seed, n.ino, factMark) {
		n.mark = n.markD
	}
	n.syncMeta()
	n.names, n.open, n.pending, n.subdirs = nil, 0, nil, 0
	switch n.typ {
	case vfs.Directory:
		n.entries = map[string]*inode{}
	case vfs.Regular:
		for i := range n.dirty {
			if draw(seed, n.ino, factPages+1+uint64(i)) {
				continue
			}
			if p := n.pagesD[i]; p != nil {
				n.pages[i] = p
			} else {
				delete(n.pages, i)
			}
		}
		if !draw(seed, n.ino, factSize) {
			n.size = n.sizeD
		}
		clear(n.dirty)
		n.pagesD = maps.Clone(n.pages)
		n.trim()
		n.syncData()
	case vfs.Block, vfs.Char, vfs.Symlink, vfs.Socket, vfs.FIFO:
	}
}

// trim takes away what lies beyond the size.
func (n *inode) trim() {
	for i := range n.pages {
		if uint64(i)*pageSize >= n.size {
			delete(n.pages, i)
			n.dirty[i] = struct{}{}
		}
	}
	if tail := n.size % pageSize; tail != 0 {
		if p := n.writable(int64(n.size / pageSize)); p != nil {
			clear(p[tail:])
		}
	}
}

// writable is page i, not shared with the durable state; nil for a hole.
func (n *inode) writable(i int64) *page {
	p := n.pages[i]
	if p == nil {
		return nil
	}
	if _, own := n.dirty[i]; !own {
		q := *p
		p = &q
		n.pages[i] = p
		n.dirty[i] = struct{}{}
	}
	return p
}

// dropNameless ends what only descriptors kept.
func (d *disk) dropNameless() {
	for _, n := range d.inodes {
		n.open = 0
		d.release(n)
	}
}

func (n *inode) key() volume.Key { return volume.Key{Ino: n.ino, Birth: n.birth} }

func (n *inode) identity(weak bool) volume.Identity {
	id := volume.Identity{Key: n.key(), Gen: n.gen}
	if weak {
		id.Gen = 0
	}
	return id
}

func (n *inode) stat() volume.Stat {
	st := volume.Stat{
		Key: n.key(), Type: n.typ, Mode: n.meta.mode, Nlink: uint32(len(n.names)), UID: n.meta.uid, GID: n.meta.gid,
		Size: n.size, Used: uint64(len(n.pages)) * pageSize, Major: n.major, Minor: n.minor,
		Atime: n.meta.atime, Mtime: n.meta.mtime, Ctime: n.meta.ctime,
	}
	switch n.typ {
	case vfs.Directory:
		if st.Size = pageSize; len(n.names) > 0 || n.ino == rootIno {
			st.Nlink = 2 + uint32(n.subdirs)
		}
	case vfs.Symlink:
		st.Size = uint64(len(n.link))
	case vfs.Regular, vfs.Block, vfs.Char, vfs.Socket, vfs.FIFO:
	}
	return st
}
