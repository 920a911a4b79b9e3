package volumetest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Options are what a Mem can be made to be. The zero value is a volume that
// can do everything, on a clock of its own.
type Options struct {
	Name   string         // the operator's; "mem" if empty
	ID     volume.ID      // drawn if zero
	Marker *volume.Marker // Share, Root, Key, Epoch and Members of its marker; drawn if nil

	// Caps changes what the volume says it can do, and so what it does: without
	// Links, Symlinks, Special, ACLs, Chown, Locate, Marks those calls fail, with
	// ReadOnly all changes do. Marks only tells where a mark lies, so nothing changes.
	Caps func(*volume.Caps)

	// Weak takes the generation out of identities and StrongIdentity out of Caps.
	Weak bool
	// Reuse gives the inode numbers of removed objects to new ones at once, and birth
	// times in steps of 4 ms, so that a Key comes again as on ext4; with Weak an Identity, too.
	Reuse bool
	// Quiet makes the time stamps of changes come in steps of half of it, so that
	// a directory's version must be that old to be believed (Caps.Quiet).
	Quiet time.Duration

	// Capacity is how many bytes of data and inodes (512 each) there are; 0: no limit.
	Capacity uint64
	// Now is the clock; nil: one that moves by 1 µs each time it is looked at.
	Now func() time.Time
	// Fault is called before every operation with its name and its number, from 1
	// on; the operation fails with the error it returns, without effect. It may be
	// called by many at once and must not call the volume.
	Fault func(op string, n int) error
}

// Counts are how often a Mem was asked for what takes time on a disk.
type Counts struct {
	Ops      int // everything, as Options.Fault counts
	FileSync int
	DirSync  int
	SyncAll  int
}

// Mem is a volume in memory. It implements volume.Volume.
type Mem struct {
	o    Options
	id   volume.ID
	caps volume.Caps
	disk *disk

	dead    atomic.Bool // the power went, or it was reopened
	ops     atomic.Int64
	syncs   [3]atomic.Int64
	handles atomic.Int64 // open Dirs and Files, without the two of the volume itself

	root, private *memDir
}

// The indices of Mem.syncs.
const (
	syncFile = iota
	syncDir
	syncAll
)

// birthTick is the granule of birth times with Options.Reuse (one tick of a
// kernel of 250 Hz).
const birthTick = 4 * time.Millisecond

// NewMem makes an empty volume.
func NewMem(o Options) *Mem {
	if o.Name == "" {
		o.Name = "mem"
	}
	if o.ID == (volume.ID{}) {
		o.ID = volume.NewID()
	}
	if o.Now == nil {
		o.Now = ticking()
	}
	d := newDisk(&o)
	return mount(o, d)
}

func mount(o Options, d *disk) *Mem {
	m := &Mem{o: o, id: o.ID, disk: d}
	m.caps = volume.Caps{
		StrongIdentity: !o.Weak, InPlace: true, Links: true, Symlinks: true, Special: true, Marks: true,
		ACLs: true, NoReplace: true, Durable: true, Chown: true, Locate: true, Quiet: o.Quiet,
		StatNow:     o.Fault == nil, // a Fault may wait
		MaxFileSize: math.MaxInt64, LinkMax: 65000, NameMax: vfs.NameMax, TimeDelta: vfs.Time{Nsec: 1},
	}
	if o.Caps != nil {
		o.Caps(&m.caps)
	}
	m.root = &memDir{handle: handle{m: m, n: d.root}}
	m.private = &memDir{handle: handle{m: m, n: d.private}}
	return m
}

// ticking is a clock that is never the same twice.
func ticking() func() time.Time {
	var ticks atomic.Int64
	start := time.Unix(1_700_000_000, 0)
	return func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Microsecond) }
}

func drawnMarker(o *Options) volume.Marker {
	draw := func(n int) string {
		b := make([]byte, n)
		rand.Read(b) // never fails (crypto/rand)
		return hex.EncodeToString(b)
	}
	m := volume.Marker{Share: draw(16), Root: draw(16), Key: draw(32)}
	if o.Marker != nil {
		m = *o.Marker
	}
	m.Format, m.Volume, m.Name = volume.MarkerFormat, o.ID.String(), o.Name
	return m
}

var (
	errDead   = errors.New("the power is off, or the volume was opened anew")
	errClosed = errors.New("used after Close")
)

// begin counts an operation and asks whether it is to fail.
func (m *Mem) begin(op string) error {
	n := m.ops.Add(1)
	if m.o.Fault != nil {
		if err := m.o.Fault(op, int(n)); err != nil {
			return err
		}
	}
	return nil
}

// lock takes the disk's lock for an operation on it; the caller unlocks unless there is
// an error.
func (m *Mem) lock(op string, changes bool) error {
	if err := m.begin(op); err != nil {
		return err
	}
	m.disk.mu.Lock()
	switch {
	case m.dead.Load():
		m.disk.mu.Unlock()
		return m.fail(op, vfs.IO, errDead)
	case changes && m.caps.ReadOnly:
		m.disk.mu.Unlock()
		return vfs.ROFS
	}
	return nil
}

func (m *Mem) fail(op string, s vfs.Status, cause error) error {
	return &vfs.Error{Status: s, Op: op, Volume: m.o.Name, Err: cause}
}

// PowerCut turns the volume off and on again. The receiver and all that was
// opened through it fail from now on; the result is the volume as it comes
// back, with what the package's documentation says. Equal seeds and equal
// histories leave equal trees.
func (m *Mem) PowerCut(seed uint64) *Mem {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.dead.Store(true)
	m.disk.cut(seed)
	return mount(m.o, m.disk)
}

// Reopen is PowerCut without a loss: the server died, the host did not.
func (m *Mem) Reopen() *Mem {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.dead.Store(true)
	m.disk.dropNameless()
	return mount(m.o, m.disk)
}

// Counts are since NewMem, Reopen or PowerCut.
func (m *Mem) Counts() Counts {
	return Counts{
		Ops: int(m.ops.Load()), FileSync: int(m.syncs[syncFile].Load()),
		DirSync: int(m.syncs[syncDir].Load()), SyncAll: int(m.syncs[syncAll].Load()),
	}
}

// Handles is how many Dirs and Files are open.
func (m *Mem) Handles() int { return int(m.handles.Load()) }

// ID is the volume's own.
func (m *Mem) ID() volume.ID { return m.id }

// Name is the operator's.
func (m *Mem) Name() string { return m.o.Name }

// Caps are by the Options.
func (m *Mem) Caps() volume.Caps { return m.caps }

// Root is the volume's directory.
func (m *Mem) Root() volume.Dir { return m.root }

// Private is volume.PrivateName.
func (m *Mem) Private() volume.Dir { return m.private }

// unlimited stands for room without a limit: 1 EiB.
const unlimited = 1 << 60

// Space is by Options.Capacity.
func (m *Mem) Space(context.Context) (volume.Space, error) {
	if err := m.lock("space", false); err != nil {
		return volume.Space{}, err
	}
	defer m.disk.mu.Unlock()
	total := m.o.Capacity
	if total == 0 {
		total = unlimited
	}
	free := total - min(total, m.disk.used)
	return volume.Space{
		FileSystem: uint64(m.id[0])<<56 | uint64(m.id[1])<<48 | uint64(m.id[2])<<40 | 1,
		Total:      total, Free: free, Avail: free,
	}, nil
}

// SyncAll makes everything durable.
func (m *Mem) SyncAll(context.Context) error {
	m.syncs[syncAll].Add(1)
	if err := m.lock("syncall", false); err != nil {
		return err
	}
	defer m.disk.mu.Unlock()
	m.disk.syncAll()
	return nil
}

// Locate finds a path by the names that each object knows it has.
func (m *Mem) Locate(_ context.Context, ino uint64, gen uint32) ([]vfs.Name, error) {
	if err := m.lock("locate", false); err != nil {
		return nil, err
	}
	defer m.disk.mu.Unlock()
	n := m.disk.inodes[ino]
	switch {
	case !m.caps.Locate:
		return nil, vfs.NotSupp
	case n == nil || n.gen != gen && !m.o.Weak:
		return nil, vfs.Stale
	}
	var up []string
	for n != m.disk.root {
		if len(n.names) == 0 {
			return nil, vfs.Stale
		}
		if n == m.disk.private {
			return nil, vfs.NotSupp
		}
		up = append(up, n.names[0].name)
		n = n.names[0].dir
	}
	path := make([]vfs.Name, len(up))
	for i, s := range up {
		path[len(up)-1-i] = vfs.MustName(s)
	}
	return path, nil
}

// Marker is the volume's own statement.
func (m *Mem) Marker() volume.Marker {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.disk.marker
}

// SetMarker replaces it durably.
func (m *Mem) SetMarker(_ context.Context, mk volume.Marker) error {
	if err := m.lock("setmarker", true); err != nil {
		return err
	}
	defer m.disk.mu.Unlock()
	old := m.disk.marker
	mk.Format, mk.Volume, mk.Birth = volume.MarkerFormat, old.Volume, old.Birth
	m.disk.marker = mk
	return nil
}

// Close ends nothing that is open: its owner does.
func (m *Mem) Close() error {
	m.dead.Store(true)
	return nil
}

// handle is what an open directory and an open file have in common.
type handle struct {
	m      *Mem
	n      *inode
	closed atomic.Bool
}

// lock is Mem.lock for an operation on an open object.
func (h *handle) lock(op string, changes bool) error {
	if h.closed.Load() {
		return h.m.fail(op, vfs.ServerFault, errClosed)
	}
	return h.m.lock(op, changes)
}

func (h *handle) unlock() { h.m.disk.mu.Unlock() }

func (h *handle) close(op string) error {
	if h.closed.Swap(true) {
		return h.m.fail(op, vfs.ServerFault, errClosed)
	}
	h.m.handles.Add(-1)
	return nil
}
