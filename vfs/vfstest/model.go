package vfstest

import (
	"context"
	"encoding/binary"
	"maps"
	"sync"
	"time"

	"github.com/dchest/siphash"

	"sheaf/vfs"
)

// ModelOptions are the properties of a [Model]; the zero value is a good one.
type ModelOptions struct {
	// Clock is the time; nil: the system's. It may stand still or go back: the
	// times of objects increase all the same.
	Clock func() vfs.Time
	// Capacity is how many bytes of data fit, in pages of 4 KiB; 0: 1 GiB.
	Capacity uint64
	// MaxFiles is how many objects fit; 0: 4,194,304.
	MaxFiles uint64
	// MaxFileSize is the largest size of a file in bytes; 0: 2^63-1.
	MaxFileSize uint64
	// LinkMax is the largest number of names of a file; 0: 65,000, as on ext4.
	LinkMax uint32
	// CookieBits narrows the hash that cookies start from, so that tests meet
	// collisions; 0: 63.
	CookieBits uint
	// Seed makes node ids, cookies and verifiers of different Models differ.
	Seed uint64
	// Root is who owns the root directory; RootMode its mode, 0: 0755.
	RootUID, RootGID, RootMode uint32
	// NoACLs, NoSpecial and NoLinks make a poorer file system.
	NoACLs    bool // SetACL is NotSupp
	NoSpecial bool // Make of Block, Char, FIFO and Socket is BadType
	NoLinks   bool // Link is NotSupp
}

// Model is a complete vfs.FS in memory: the reference that others are compared
// with, see doc.go for its order of checks and its choices. One mutex guards all.
type Model struct {
	opts ModelOptions

	mu       sync.Mutex
	root     *object
	objects  map[vfs.NodeID]*object // the living
	made     uint64                 // objects made so far
	lives    uint64                 // crashes and starts, for the verifier
	pages    uint64                 // pages of all files
	watchers map[*func(vfs.Event)]struct{}
}

// object is a node of the graph.
type object struct {
	attr   vfs.Attr
	acls   vfs.ACLs
	names  map[link]struct{} // all its names; none for the root
	target string            // of a Symlink
	data   *data             // of a Regular
	dir    *directory        // of a Directory
}

// link is one name of an object.
type link struct {
	dir  *object
	name vfs.Name
}

var _ vfs.FS = (*Model)(nil)

// NewModel makes an empty file system.
func NewModel(o ModelOptions) *Model {
	if o.Clock == nil {
		o.Clock = func() vfs.Time { return vfs.TimeOf(time.Now()) }
	}
	if o.RootMode == 0 {
		o.RootMode = 0o755
	}
	setDefault(&o.Capacity, 1<<30)
	setDefault(&o.MaxFiles, 1<<22)
	setDefault(&o.MaxFileSize, 1<<63-1)
	setDefault(&o.LinkMax, 65_000)
	setDefault(&o.CookieBits, 63)
	m := &Model{opts: o, objects: map[vfs.NodeID]*object{}, watchers: map[*func(vfs.Event)]struct{}{}}
	m.root = m.newObject(vfs.Directory)
	m.root.attr.Mode, m.root.attr.UID, m.root.attr.GID = o.RootMode&vfs.ModeMask, o.RootUID, o.RootGID
	return m
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// newObject makes a living object without a name, all its times now.
func (m *Model) newObject(t vfs.Type) *object {
	m.made++
	now := m.opts.Clock()
	o := &object{names: map[link]struct{}{}}
	o.attr = vfs.Attr{Node: m.newNode(), Type: t, Atime: now, Mtime: now, Ctime: now}
	switch t {
	case vfs.Directory:
		o.dir = &directory{byName: map[vfs.Name]*entry{}}
		o.attr.Nlink, o.attr.Size, o.attr.Used = 2, dirSize, dirSize
	case vfs.Regular:
		o.data = &data{pages: map[uint64]*page{}, undo: map[uint64]*page{}}
	default:
	}
	m.objects[o.attr.Node.ID] = o
	return o
}

// newNode mixes the count of objects by a bijection, so that no fileid comes
// twice and none looks like a small number.
func (m *Model) newNode() vfs.Node {
	n := vfs.Node{Birth: vfs.Birth{Volume: 1, Ino: m.made, Gen: uint32(m.opts.Seed)}}
	x := m.made*0x9e3779b97f4a7c15 ^ m.opts.Seed
	if x == 0 {
		m.made++
		return m.newNode()
	}
	binary.BigEndian.PutUint64(n.ID[:8], x)
	binary.BigEndian.PutUint64(n.ID[8:], siphash.Hash(m.opts.Seed, m.made, n.ID[:8]))
	return n
}

// object is the living object n, or Stale.
func (m *Model) object(n vfs.Node) (*object, error) {
	if o, ok := m.objects[n.ID]; ok {
		return o, nil
	}
	return nil, vfs.Stale
}

// directory is the living directory n, or Stale or NotDir.
func (m *Model) directory(n vfs.Node) (*object, error) {
	o, err := m.object(n)
	if err == nil && o.attr.Type != vfs.Directory {
		err = vfs.NotDir
	}
	return o, err
}

// touch moves o's ctime on, strictly, and returns it.
func (m *Model) touch(o *object) vfs.Time {
	now := m.opts.Clock()
	if now.Compare(o.attr.Ctime) <= 0 {
		now = o.attr.Ctime.Next()
	}
	o.attr.Ctime = now
	return now
}

// modify is touch of a change that mtime tells too.
func (m *Model) modify(o *object) { o.attr.Mtime = m.touch(o) }

// watch puts o's attributes before and after a call into c:
//
//	defer watch(o, &c)()
func watch(o *object, c *vfs.Change) func() {
	c.Before, c.HasBefore = o.attr.Pre(), true
	return func() { c.After, c.HasAfter = o.attr, true }
}

// Subscribe implements vfs.FS. Nothing changes behind a Model's back but what
// [Model.Announce] says.
func (m *Model) Subscribe(f func(vfs.Event)) (cancel func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := &f
	m.watchers[key] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, key)
	}
}

// Announce gives e to all subscribers, for tests of layers that remember.
func (m *Model) Announce(e vfs.Event) {
	m.mu.Lock()
	watchers := maps.Clone(m.watchers)
	m.mu.Unlock()
	for f := range watchers {
		(*f)(e)
	}
}

// Root implements vfs.FS.
func (m *Model) Root(context.Context, *vfs.Who) (vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root.attr, nil
}

// Parents implements vfs.FS.
func (m *Model) Parents(_ context.Context, n vfs.Node, each func(vfs.Node, vfs.Name) bool) error {
	m.mu.Lock()
	o, err := m.object(n)
	var names []link
	if err == nil {
		for l := range o.names {
			names = append(names, l)
		}
	}
	m.mu.Unlock()
	for _, l := range names {
		if !each(l.dir.attr.Node, l.name) {
			break
		}
	}
	return err
}

// Statfs implements vfs.FS.
func (m *Model) Statfs(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.Space, vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return vfs.Space{}, vfs.Attr{}, err
	}
	free, files := m.opts.Capacity-m.pages*pageSize, m.opts.MaxFiles-uint64(len(m.objects))
	return vfs.Space{
		TotalBytes: m.opts.Capacity, FreeBytes: free, AvailBytes: free,
		TotalFiles: m.opts.MaxFiles, FreeFiles: files, AvailFiles: files,
	}, o.attr, nil
}

// Limits implements vfs.FS.
func (m *Model) Limits(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.Limits, vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return vfs.Limits{}, vfs.Attr{}, err
	}
	return vfs.Limits{
		MaxFileSize: m.opts.MaxFileSize, LinkMax: m.opts.LinkMax, NameMax: vfs.NameMax,
		TimeDelta: vfs.Time{Nsec: 1}, Links: !m.opts.NoLinks, Symlinks: true, Homogeneous: true,
		CanSetTime: true, NoTrunc: true, ChownRestricted: true, CasePreserving: true,
	}, o.attr, nil
}
