package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/vfs"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"
)

// DefaultMinFree is Options.MinFree where none is given, in bytes.
const DefaultMinFree = 512 << 20

// DefaultWatch is Options.Watch where none is given. In a second the committer cannot write
// a tenth of half the floor (measured: 333,000 rows, 28 MB).
const DefaultWatch = time.Second

// lockName is the file in Options.Dir whose lock the owner of the index holds.
const lockName = "owner.lock"

// Options says where the index lies.
type Options struct {
	Dir     string        // the directory of the index alone; made if it is not there
	Logger  *slog.Logger  // nil: slog.Default()
	MinFree uint64        // bytes free on its file system below which nothing is put; 0: DefaultMinFree
	Watch   time.Duration // how often that is looked at; 0: DefaultWatch
	// Absences is how many rows of absent names there are at most; 0: DefaultAbsences. One hundred bytes each, about.
	Absences int
	Boot     string // what the host's present run is called; empty: the system is asked

	free func(dir string) (uint64, error) // statfs, for tests
}

// Store is the open index. Its methods may be called from any goroutine at any
// time; after Close they return ErrClosed.
type Store struct {
	opt      Options
	log      *slog.Logger
	db       *badger.DB
	owner    *os.File // locked
	unclean  bool
	id       [16]byte      // of this index
	session  atomic.Uint32 // counts the openings of this index
	void     uint32        // the last session after which nothing unsettled is believed: it was not closed
	cut      uint32        // the last session after which nothing unsettled is proved: the host went down with it
	lost     atomic.Uint32 // the last session after which nothing settled is believed either: see standing
	whole    atomic.Bool   // see SetWhole
	q        queue
	space    space
	failed   atomic.Pointer[error] // the commit that failed; nothing is written or known after it
	vanished atomic.Bool           // see gone
	stop     chan struct{}
	tasks    sync.WaitGroup // committer and watcher

	life   sync.RWMutex // held shared during every use of db; order: life, then q.mu
	closed bool         // guarded by life
}

// The errors of a Store beside *CorruptError. Each has a vfs.Status.
var (
	ErrClosed = &vfs.Error{Status: vfs.IO, Op: "index", Err: errors.New("it is closed")}
	ErrPaused = &vfs.Error{
		Status: vfs.NoSpc, Op: "write index", Err: errors.New("too little space is left beside it"),
		Do: "make room on the file system of the state directory",
	}
	errNoName = errors.New("no name")
)

// CorruptError is a row that does not decode. Callers take it for absent.
type CorruptError struct {
	Row string // in words
	Err error
}

// Error names the row.
func (c *CorruptError) Error() string { return fmt.Sprintf("index row %s: %v", c.Row, c.Err) }

// Unwrap gives IO and the cause.
func (c *CorruptError) Unwrap() []error { return []error{vfs.IO, c.Err} }

func invalid(object string, err error) error {
	return &vfs.Error{Status: vfs.Inval, Op: "write index", Object: object, Err: err}
}

// Open opens the index, or makes an empty one. One that is damaged is set aside, as Dir with [Damaged]
// behind it, in place of what was set aside before.
func Open(opt Options) (*Store, error) {
	s := &Store{opt: opt, log: opt.Logger, stop: make(chan struct{})}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.opt.MinFree == 0 {
		s.opt.MinFree = DefaultMinFree
	}
	if s.opt.Watch == 0 {
		s.opt.Watch = DefaultWatch
	}
	if s.opt.Absences <= 0 {
		s.opt.Absences = DefaultAbsences
	}
	if s.opt.free == nil {
		s.opt.free = freeBytes
	}
	s.q.init()
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, s.openError(err, "")
	}
	if err := s.look(); err != nil {
		return nil, s.openError(err, "")
	}
	if free := s.space.free.Load(); free < s.opt.MinFree/4 {
		return nil, s.openError(fmt.Errorf("only %d MiB are free", free>>20), "make room there, or give another state directory")
	}
	if err := s.own(); err != nil {
		return nil, err
	}
	if err := s.putBack(); err != nil {
		return nil, errors.Join(s.openError(err, ""), s.owner.Close())
	}
	if err := s.openOrReplace(); err != nil {
		return nil, errors.Join(err, s.owner.Close())
	}
	s.tasks.Go(s.commitLoop)
	s.tasks.Go(s.watchLoop)
	return s, nil
}

// own takes the index for this process. Badger has a lock too, but its refusal can be
// told from other errors only by its text.
func (s *Store) own() error {
	f, err := os.OpenFile(filepath.Join(s.opt.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return s.openError(err, "")
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		s.owner = f
		return nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = s.openError(errors.New("another process has it open"), "one server owns a state directory: stop it, or give this one another")
	} else {
		err = s.openError(err, "")
	}
	return errors.Join(err, f.Close())
}

func (s *Store) openError(err error, do string) error {
	return &vfs.Error{Status: vfs.IO, Op: "open index", Object: s.opt.Dir, Err: err, Do: do}
}

// settings are the measured ones: each bounds memory or disk (73,000 synced rows a
// second at 32 writers, 5 µs a Get, below 400 MB in a load of 2 million rows).
func settings(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(&logger{log}).
		WithSyncWrites(true). // db.Sync loses rows of a memtable that was just rotated
		WithMemTableSize(16 << 20).
		WithNumMemtables(3).
		WithNumCompactors(2).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(32 << 20).
		WithValueLogFileSize(64 << 20).
		WithNumVersionsToKeep(1).
		WithDetectConflicts(false). // one committer
		WithMetricsEnabled(false).
		WithCompactL0OnClose(false)
}

// Unclean reports whether the last owner of the index did not close it. A new index is not.
func (s *Store) Unclean() bool { return s.unclean }

// Whole reports whether SetWhole said so last, and the index was closed since.
func (s *Store) Whole() bool { return s.whole.Load() }

// SetWhole notes whether all that is on the volumes was seen by whoever fills the index. A new index is not
// whole, nor is one that was not closed.
func (s *Store) SetWhole(whole bool) { s.whole.Store(whole) }

// Close writes what is queued and closes the index.
func (s *Store) Close() error { return s.close(true) }

// CloseUnclean is Close for an owner who cannot tell whether something still changes that the index says:
// the next opening is Unclean.
func (s *Store) CloseUnclean() error { return s.close(false) }

func (s *Store) close(clean bool) error {
	if !clean {
		s.fall() // changes whose notes cannot be written any more may follow
	}
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.life.Unlock()
	s.q.close()
	close(s.stop)
	s.tasks.Wait()
	if s.gone() {
		return errors.Join(s.closeGone(), s.owner.Close())
	}
	err := s.failure()
	if clean && err == nil && !s.space.void.Load() {
		err = s.end()
	}
	if s.space.void.Load() {
		// A close writes a table of what is in memory, which on a full disk kills the process. All of it
		// is to be dropped anyway, and removing files needs no room.
		err = errors.Join(err, s.db.DropAll())
	}
	if cerr := s.db.Close(); err == nil && cerr != nil {
		err = &vfs.Error{Status: vfs.IO, Op: "close index", Object: s.opt.Dir, Err: cerr}
	}
	return errors.Join(err, s.owner.Close())
}

// Abandon closes the index as the end of its process would: what is not stored yet is lost, and
// the next owner finds it unclean. For tests of who keeps something there.
func (s *Store) Abandon() error {
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.life.Unlock()
	s.q.drop()
	s.q.close()
	close(s.stop)
	s.tasks.Wait()
	return errors.Join(s.db.Close(), s.owner.Close())
}

// use enters the use of db; done ends it.
func (s *Store) use() (done func(), err error) {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return nil, ErrClosed
	}
	return s.life.RUnlock, nil
}

// blind reports whether reads must find nothing: writes were lost.
func (s *Store) blind() bool { return s.space.void.Load() || s.failed.Load() != nil }

// get reads and decodes one row.
func get[T any](s *Store, key []byte, decode func(key, value []byte) (T, error)) (T, bool, error) {
	var v T
	done, err := s.use()
	if err != nil || s.blind() {
		if err == nil {
			done()
		}
		return v, false, err
	}
	defer done()
	value, ok, err := s.read(key)
	if err != nil || !ok {
		return v, false, err
	}
	if v, err = decode(key, value); err != nil {
		var none T
		return none, false, &CorruptError{rowName(key), err}
	}
	return v, true, nil
}

// read is the value of a row, queued or stored.
func (s *Store) read(key []byte) ([]byte, bool, error) {
	if v, ok := s.q.get(key); ok {
		return v, v != nil, nil
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s.readError(key, err)
	}
	v, err := item.ValueCopy(nil)
	if err != nil {
		return nil, false, s.readError(key, err)
	}
	return v, true, nil
}

func (s *Store) readError(key []byte, err error) error {
	return &vfs.Error{Status: vfs.IO, Op: "read index", Object: rowName(key), Err: err}
}

// scan is the first limit rows of a group from key from, queued ones included.
func (s *Store) scan(g group, from []byte, limit int) (rows []op, more bool, err error) {
	done, err := s.use()
	if err != nil {
		return nil, false, err
	}
	defer done()
	if s.blind() {
		return nil, false, nil
	}
	queued := s.q.group(g, from) // before the transaction, which then has all that left the queue
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	// Values lie beside the keys (they are below the value threshold), so prefetching gains nothing.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: g[:]})
	defer it.Close()
	for it.Seek(from); it.Valid() && !more; it.Next() {
		item := it.Item()
		if _, ok := queued[string(item.Key())]; ok {
			continue
		}
		if more = len(rows) == limit; more {
			break
		}
		v, err := item.ValueCopy(nil)
		if err != nil {
			return nil, false, s.readError(item.Key(), err)
		}
		rows = append(rows, op{item.KeyCopy(nil), v})
	}
	if len(queued) == 0 {
		return rows, more, nil
	}
	for k, v := range queued {
		if v != nil {
			rows = append(rows, op{[]byte(k), v})
		}
	}
	slices.SortFunc(rows, func(a, b op) int { return bytes.Compare(a.key, b.key) })
	if len(rows) > limit {
		rows, more = rows[:limit], true
	}
	return rows, more, nil
}

// all decodes the rows of a group that has few: every one, in order.
func all[T any](s *Store, g group, decode func(key, value []byte) (T, error)) ([]T, error) {
	var out []T
	for from := g[:]; ; {
		raw, more, err := s.scan(g, from, page)
		if err != nil {
			return nil, err
		}
		part, err := decodeAll(raw, decode)
		if err != nil {
			return nil, err
		}
		if out = append(out, part...); !more {
			return out, nil
		}
		from = append(bytes.Clone(raw[len(raw)-1].key), 0)
	}
}

func decodeAll[T any](raw []op, decode func(key, value []byte) (T, error)) ([]T, error) {
	out := make([]T, 0, len(raw))
	for _, r := range raw {
		v, err := decode(r.key, r.value)
		if err != nil {
			return nil, &CorruptError{rowName(r.key), err}
		}
		out = append(out, v)
	}
	return out, nil
}

// write queues ops, which are committed together. It waits only while the queue is full.
func (s *Store) write(ctx context.Context, ops ...op) error { return s.writeIn(ctx, 0, ops) }

// writeIn is write if the era is that; 0: in any.
func (s *Store) writeIn(ctx context.Context, era uint64, ops []op) error {
	if len(ops) == 0 {
		return nil
	}
	done, err := s.use()
	if err != nil {
		return err
	}
	refused := error(nil)
	if s.paused() {
		ops, refused = s.onlyDeletes(ops)
	}
	done() // Close must not wait for who waits for room
	if s.blind() || len(ops) == 0 {
		return errors.Join(refused, s.failure())
	}
	if err := s.q.add(ctx, ops, era); err != nil {
		return err
	}
	return refused
}

// onlyDeletes turns puts into deletions of what they would have replaced.
func (s *Store) onlyDeletes(ops []op) ([]op, error) {
	var kept []op
	refused := error(nil)
	for _, o := range ops {
		if o.value != nil {
			refused = ErrPaused
			s.space.refused.Add(1)
		}
		if s.space.void.Load() {
			continue
		}
		if _, there, err := s.read(o.key); there || err != nil {
			kept = append(kept, op{key: o.key})
		}
	}
	return kept, refused
}

// Flush waits until all that was written before is on stable storage.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.q.wait(ctx); err != nil {
		return err
	}
	return s.failure()
}

func (s *Store) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}
