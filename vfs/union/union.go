package union

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/meta"
	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// Lookups says how much of what is absent is remembered, for measurement.
type Lookups uint8

// The modes of Options.Lookups.
const (
	LookupFull  Lookups = iota // list directories and believe the listing
	LookupNames                // remember each name that was asked for
	LookupOff                  // ask the volumes each time
)

// Defaults of Options (design.md section 10).
const (
	DefaultTrust     = time.Second
	DefaultWatched   = time.Minute
	DefaultMemory    = 256 << 20 // bytes
	DefaultOpenFiles = 1024
	DefaultOpenDirs  = 4096

	DefaultOfflineWait = 10 * time.Second
)

// Options are what a Union is made of. Zero values mean the defaults.
type Options struct {
	// Volumes are the members of the share in the operator's order, all of one
	// share by their markers. They stay open for the Union's life; closing them is
	// the caller's.
	Volumes []volume.Volume
	// Exclusive holds the volumes that nobody else changes: what is known of them
	// does not age.
	Exclusive map[volume.ID]bool
	// Modes are what the volumes may be used for; ReadWrite where nothing is said.
	Modes map[volume.ID]volume.Mode
	// Index keeps what is known over a restart; nil: nothing is kept.
	Index *meta.Store
	// Policy chooses the volume of a new object. nil: placement.Default.
	Policy placement.Policy
	// Trust is how long names and attributes are believed without looking at
	// the volume again.
	Trust time.Duration
	// Watched is how long names are believed where a watch tells what others change.
	Watched time.Duration
	// Memory bounds what nodes, names and attributes take, in bytes, about.
	Memory int64
	// OpenFiles and OpenDirs bound the descriptors kept open when not in use.
	OpenFiles int
	OpenDirs  int
	// OfflineWait is for how long after a volume went calls that need it are told to come again (Jukebox); from
	// then on they fail (IO).
	OfflineWait time.Duration
	// Lookups is how absent names are remembered.
	Lookups Lookups
	// Absences bounds the names that are remembered one by one not to be there, in memory, of which they take a quarter
	// at most, and again in the index.
	Absences int
	// Hide are path.Match patterns of names at the volumes' roots that the share
	// does not show. nil: "lost+found".
	Hide []string
	// Log gets what an operator should know. nil: slog.Default().
	Log *slog.Logger

	rowsDelay, settleDelay, scanDelay time.Duration // for tests
	paged                             int           // the same; DefaultPaged
}

// Union is many volumes as one vfs.FS.
type Union struct {
	opt        Options
	log        *slog.Logger
	roster     roster
	facts      volume.Marker // of which Share, Root and Key are the share's
	root       *node
	start      time.Time
	trust      int64 // nanoseconds
	servedAt   int64 // when the volumes that were there at the start had been opened
	watchTrust int64 // nanoseconds

	markKey   sipKey
	cookieKey sipKey
	hash      func(vfs.Name) vfs.Cookie // of a name; replaced by tests of collisions

	table    table
	absences absenceTable
	leases   lease.Table
	dirs     dirCache
	files    fileTable
	scans    scanner
	rowQueue rowQueue
	walks    walker
	setRows  sync.Map // of volset to meta.VolumeSet
	pins     pins
	subs     subscribers
	space    spaces
	pending  pending
	chance   chance
	leads    leads

	checking chan struct{} // held by the Check that runs

	background context.Context // of what outlives a call
	stop       context.CancelFunc
	tasks      sync.WaitGroup // beside calls and walks

	dirNews atomic.Int64 // when others last changed the name of a directory, or it cannot be known that they did not
	doubted atomic.Int64 // names in doubt

	shifting atomic.Int64  // names being moved
	shifts   atomic.Uint64 // names that were moved

	ownTurn   meta.Turn // where nothing is kept
	verifier  atomic.Uint64
	collided  atomic.Bool // some name may have a cookie that is not its hash
	displaced atomic.Uint64
	memory    atomic.Int64
	sweeping  atomic.Bool
	hand      atomic.Uint32 // shard that was swept last
	stats     counters
	opened    atomic.Bool // Open has taken in what was there
	closed    atomic.Bool
}

var _ vfs.FS = (*Union)(nil)

// chance is a source of randomness that many may draw from.
type chance struct {
	mu  sync.Mutex
	src mathrand.Source
}

// Uint64 implements math/rand/v2.Source.
func (c *chance) Uint64() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.src.Uint64()
}

// Open makes a Union of opt.Volumes and finishes what a crash left half done.
// Errors: the volumes are none, too many, or not of one share.
func Open(ctx context.Context, opt Options) (*Union, error) {
	opt.setDefaults()
	u := &Union{opt: opt, log: opt.Log, start: time.Now(), trust: int64(opt.Trust), watchTrust: int64(opt.Watched), ownTurn: drawTurn()}
	u.background, u.stop = context.WithCancel(context.WithoutCancel(ctx))
	rootID, secret, err := u.readMarkers()
	if err != nil {
		u.stop()
		return nil, err
	}
	u.markKey = deriveKey(secret, "mark")
	u.cookieKey = deriveKey(secret, "cookie")
	u.hash = u.cookieHash
	u.chance.src = mathrand.NewPCG(randomWord(), randomWord())
	u.newVerifier()
	u.dirs.limit = opt.OpenDirs
	u.files.limit = opt.OpenFiles
	u.displaced.Store(randomWord())
	u.scans.u = u
	u.pins.m = make(map[pinKey]volume.ID)
	u.checking = make(chan struct{}, 1)
	u.table.init()
	u.absences.init(deriveKey(secret, "absence"), opt.Absences, opt.Memory, &u.memory)
	u.scans.ctx, u.scans.cancel = context.WithCancel(u.background)
	if u.keeps() {
		u.rowQueue.start(u)
	}
	u.openRoot(rootID)
	if u.keeps() {
		err = u.underHide()
	}
	if err == nil {
		err = u.openVolumes(ctx)
	}
	u.servedAt = u.now()
	if err == nil {
		err = u.recoverAll(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	u.opened.Store(true)
	for _, v := range u.members().vols {
		u.follow(v)
		u.watchVolume(v)
	}
	u.startWalks()
	u.tasks.Go(func() { u.pruneAbsences(u.background) })
	return u, nil
}

func (o *Options) setDefaults() {
	if o.Policy == nil {
		o.Policy = placement.Default
	}
	if o.Trust <= 0 {
		o.Trust = DefaultTrust
	}
	if o.Watched <= 0 {
		o.Watched = DefaultWatched
	}
	if o.Absences <= 0 {
		o.Absences = DefaultAbsences
	}
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = DefaultOpenFiles
	}
	if o.OpenDirs <= 0 {
		o.OpenDirs = DefaultOpenDirs
	}
	if o.OfflineWait <= 0 {
		o.OfflineWait = DefaultOfflineWait
	}
	if o.rowsDelay <= 0 {
		o.rowsDelay = rowsDelay
	}
	if o.settleDelay <= 0 {
		o.settleDelay = settleDelay
	}
	if o.paged <= 0 {
		o.paged = DefaultPaged
	}
	if o.scanDelay <= 0 {
		o.scanDelay = scanDelay
	}
	if o.Hide == nil {
		o.Hide = []string{"lost+found"}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

// readMarkers checks that the volumes are of one share and gives its facts.
func (u *Union) readMarkers() (root vfs.NodeID, secret []byte, err error) {
	if n := len(u.opt.Volumes); n == 0 || n > MaxVolumes {
		return root, nil, fmt.Errorf("union of %d volumes: want 1 to %d", n, MaxVolumes)
	}
	for _, pattern := range u.opt.Hide {
		if _, err := path.Match(pattern, ""); err != nil {
			return root, nil, fmt.Errorf("hide pattern %q: %w", pattern, err)
		}
	}
	u.facts = u.opt.Volumes[0].Marker()
	u.change(func(*members) {})
	for _, v := range u.opt.Volumes {
		if err := u.fits(v); err != nil {
			return root, nil, err
		}
		u.change(func(m *members) { m.add(u.newVol(v, u.opt.Exclusive[v.ID()], u.opt.Modes[v.ID()])) })
	}
	return u.readFacts()
}

// deriveKey is the key for one purpose.
func deriveKey(secret []byte, purpose string) sipKey {
	h := sha256.Sum256(append([]byte("sheaf union "+purpose+"\x00"), secret...))
	return sipKey{binary.LittleEndian.Uint64(h[:8]), binary.LittleEndian.Uint64(h[8:16])}
}

func randomWord() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return binary.LittleEndian.Uint64(b[:])
}

// now is the monotonic time since the Union was opened, in nanoseconds; never 0.
func (u *Union) now() int64 { return int64(time.Since(u.start)) + 1 }

// Close flushes uncommitted writes and index rows and closes what is open. No other
// call may be under way or follow.
func (u *Union) Close() error {
	if u.closed.Swap(true) {
		return nil
	}
	for _, v := range u.members().vols {
		v.mu.Lock()
		cancel := v.cancel
		v.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	}
	u.roster.mu.Lock()
	u.roster.closed = true
	u.roster.mu.Unlock()
	if u.walks.u != nil {
		u.walks.cancel()
	}
	err := u.files.closeAll(u)
	u.scans.wait()
	u.stop()
	u.tasks.Wait()
	u.rowQueue.close()
	u.dirs.closeAll()
	return err
}

// Verifier is the write verifier as it is now.
func (u *Union) Verifier() vfs.Verifier {
	var v vfs.Verifier
	binary.BigEndian.PutUint64(v[:], u.verifier.Load())
	return v
}

// newVerifier makes clients send again what they have not committed.
func (u *Union) newVerifier() { u.verifier.Store(randomWord()) }

// subscribers get events.
type subscribers struct {
	mu   sync.Mutex
	next int
	fs   map[int]func(vfs.Event)
}

// Subscribe implements vfs.FS.
func (u *Union) Subscribe(f func(vfs.Event)) (cancel func()) {
	s := &u.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fs == nil {
		s.fs = make(map[int]func(vfs.Event))
	}
	id := s.next
	s.next++
	s.fs[id] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.fs, id)
	}
}

// tell gives every subscriber an event.
func (u *Union) tell(e vfs.Event) {
	u.subs.mu.Lock()
	defer u.subs.mu.Unlock()
	for _, f := range u.subs.fs {
		f(e)
	}
}

// fault is a broken invariant of ours.
func (u *Union) fault(op, object, what string) error {
	err := &vfs.Error{Status: vfs.ServerFault, Op: op, Object: object, Err: errors.New(what)}
	u.log.Error("broken invariant", "op", op, "object", object, "err", what)
	return err
}
