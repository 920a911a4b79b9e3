package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"sheaf/vfs"

	"github.com/dgraph-io/badger/v4"
)

// openStore opens an index that the test closes and checks at its end, unless it did so.
func openStore(tb testing.TB, opt Options) *Store {
	tb.Helper()
	if opt.Dir == "" {
		opt.Dir = tb.TempDir()
	}
	if opt.MinFree == 0 {
		opt.MinFree = 1 // the machine that runs the tests may have little
	}
	opt.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			tb.Error(err)
		}
	})
	return s
}

func checkClean(tb testing.TB, s *Store) {
	tb.Helper()
	found, err := s.Check(context.Background(), 10)
	if err != nil || len(found) > 0 {
		tb.Errorf("check: %v, %v", found, err)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func nid(n int) (id vfs.NodeID) {
	be.PutUint64(id[:8], uint64(n+1)*0x9e3779b97f4a7c15)
	be.PutUint64(id[8:], uint64(n))
	return id
}

func file(n int) *Node {
	return &Node{ID: nid(n), Type: vfs.Regular, Birth: vfs.Birth{Ino: uint64(n)}}
}

func entries(from, to, mark int) (es []Entry) {
	for i := from; i < to; i++ {
		es = append(es, Entry{Cookie: vfs.FirstCookie + vfs.Cookie(i), Name: vfs.MustName(fmt.Sprint("n", i)), Child: nid(mark), Volumes: all1, Type: vfs.Regular})
	}
	return es
}

// all1 is the set of the volume that entries lie on.
var all1 = SetOf(VolumeID{1})

func complete(n int) []DirCopy {
	return []DirCopy{{Volume: VolumeID{1}, Version: Version{Ino: uint64(n)}, Proof: true, Complete: true}}
}

// are is what ReplaceDir asks for copies that are known beforehand.
func are(copies []DirCopy) func() ([]DirCopy, error) {
	return func() ([]DirCopy, error) { return copies, nil }
}

func change(s *Store, dir vfs.NodeID, c DirChange) error {
	return s.ChangeDir(context.Background(), dir, s.Era(), &c)
}

func putEntry(s *Store, dir vfs.NodeID, e Entry) error {
	return change(s, dir, DirChange{Put: []Entry{e}})
}

func dropEntry(s *Store, dir vfs.NodeID, c vfs.Cookie) error {
	return change(s, dir, DirChange{Drop: []vfs.Cookie{c}})
}

func putCopy(s *Store, dir vfs.NodeID, c DirCopy) error {
	return change(s, dir, DirChange{Copies: []DirCopy{c}})
}

func dropCopy(s *Store, dir vfs.NodeID, v VolumeID) error {
	return change(s, dir, DirChange{Forget: []VolumeID{v}})
}

// hold keeps the committer from storing anything until the result is called.
func hold(s *Store) (letGo func()) {
	s.space.writing.Lock()
	return s.space.writing.Unlock
}

// Each kind of row is read back equal: from the queue, from the database, and by
// another process's eyes after a reopen.
func TestRowsAreReadBack(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := openStore(t, Options{Dir: dir})
	if s.Unclean() {
		t.Error("a new index is unclean")
	}
	d, x := nid(100), vfs.MustName("x")
	node := file(1)
	node.Copies = []Copy{{VolumeID{9}, Identity{1, 2, 3, 4}}}
	node.Places = []Place{{d, x}}
	entry := Entry{Cookie: 77, Name: x, Child: node.ID, Volumes: SetOf(VolumeID{9}, VolumeID{2}, VolumeID{9}), Type: vfs.Regular}
	copies := []DirCopy{complete(5)[0], {Volume: VolumeID{2}, Listed: vfs.Time{Sec: 1}}}
	collision := Collision{x, 77}
	letGo := hold(s)
	must(t, s.PutNode(ctx, node))
	must(t, putEntry(s, d, entry))
	must(t, putCopy(s, d, copies[0]))
	must(t, putCopy(s, d, copies[1]))
	must(t, s.PutCollision(ctx, d, collision))
	verify := func(where string) {
		t.Helper()
		if n, ok, err := s.Node(node.ID); err != nil || !ok || !reflect.DeepEqual(&n, node) {
			t.Errorf("%s: node %v %v %v", where, n, ok, err)
		}
		if e, ok, err := s.Entry(d, 77); err != nil || !ok || e != entry {
			t.Errorf("%s: entry %v %v %v", where, e, ok, err)
		}
		if es, more, err := s.Entries(d, 76, 1); err != nil || more || !slices.Equal(es, []Entry{entry}) {
			t.Errorf("%s: entries %v %v %v", where, es, more, err)
		}
		if es, more, err := s.Entries(d, 77, 1); err != nil || more || len(es) > 0 {
			t.Errorf("%s: entries after the last %v %v %v", where, es, more, err)
		}
		if c, err := s.Copies(d); err != nil || !slices.Equal(c, copies) {
			t.Errorf("%s: copies %v %v", where, c, err)
		}
		if c, ok, err := s.Collision(d, x); err != nil || !ok || c != 77 {
			t.Errorf("%s: collision %v %v %v", where, c, ok, err)
		}
		if c, err := s.Collisions(d); err != nil || !slices.Equal(c, []Collision{collision}) {
			t.Errorf("%s: collisions %v %v", where, c, err)
		}
	}
	verify("queued")
	letGo()
	must(t, s.Flush(ctx))
	if n := s.Health().Queued; n != 0 {
		t.Errorf("%d rows queued after a flush", n)
	}
	verify("stored")
	must(t, s.Close())
	s = openStore(t, Options{Dir: dir})
	if s.Unclean() {
		t.Error("unclean after a close")
	}
	verify("reopened")
	checkClean(t, s)
	for _, letGo := range []func(){hold(s), func() {}} {
		must(t, s.DeleteNode(ctx, node.ID))
		must(t, s.DeleteDir(ctx, d))
		_, there, err := s.Node(node.ID)
		c, err2 := s.Copies(d)
		es, _, err3 := s.Entries(d, 0, 10)
		cs, err4 := s.Collisions(d)
		if there || len(c)+len(es)+len(cs) > 0 || errors.Join(err, err2, err3, err4) != nil {
			t.Errorf("after deletion: %v %v %v %v %v", there, c, es, cs, errors.Join(err, err2, err3, err4))
		}
		letGo()
		must(t, s.Flush(ctx))
	}
}

// A page never skips or repeats, whether rows are stored, queued or queued to go.
func TestEntriesByPages(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{})
	d := nid(0)
	must(t, s.ReplaceDir(ctx, d, slices.Values(entries(0, 300, 1)), are(complete(1))))
	must(t, s.Flush(ctx))
	letGo := hold(s)
	want := map[vfs.Cookie]Entry{}
	for _, e := range entries(0, 300, 1) {
		want[e.Cookie] = e
	}
	for _, e := range entries(250, 400, 2) {
		must(t, putEntry(s, d, e))
		want[e.Cookie] = e
	}
	for i := range 100 {
		must(t, dropEntry(s, d, vfs.FirstCookie+vfs.Cookie(3*i)))
		delete(want, vfs.FirstCookie+vfs.Cookie(3*i))
	}
	must(t, putEntry(s, nid(1), entries(0, 1, 1)[0])) // of a neighbour
	for _, limit := range []int{1, 7, 100, 1000} {
		got := map[vfs.Cookie]Entry{}
		for after, more := vfs.Cookie(0), true; more; {
			var es []Entry
			var err error
			es, more, err = s.Entries(d, after, limit)
			must(t, err)
			if len(es) > limit || len(es) < limit && more {
				t.Fatalf("page of %d has %d, more %v", limit, len(es), more)
			}
			for _, e := range es {
				if e.Cookie <= after {
					t.Fatalf("cookie %d after %d", e.Cookie, after)
				}
				after = e.Cookie
				got[after] = e
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("pages of %d: %d entries, want %d", limit, len(got), len(want))
		}
	}
	letGo()
}

func TestReplaceDirWritesOnlyWhatDiffers(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{})
	d := nid(0)
	for i, list := range [][]Entry{
		entries(0, 5000, 1), entries(0, 5000, 1), entries(1000, 6000, 1), nil,
		entries(0, 3000, 1), append(entries(0, 10, 1), entries(2990, 3010, 2)...), entries(5, 2000, 1),
	} {
		must(t, s.ReplaceDir(ctx, d, slices.Values(list), are(complete(i+1))))
		got, more, err := s.Entries(d, 0, 10_000)
		if err != nil || more || !slices.Equal(got, list) && len(list) > 0 || len(got) != len(list) {
			t.Fatalf("round %d: %d entries, want %d, %v", i, len(got), len(list), err)
		}
		if i%2 == 0 {
			must(t, s.Flush(ctx))
		}
	}
	must(t, s.Flush(ctx))
	letGo := hold(s)
	defer letGo()
	must(t, s.ReplaceDir(ctx, d, slices.Values(entries(5, 2000, 1)), are(complete(9))))
	if n := s.Health().Queued; n != 2 { // the copy, away and back
		t.Errorf("an equal listing writes %d rows", n)
	}
}

func TestMistakesAreRefused(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{})
	x := vfs.MustName("x")
	down := entries(0, 2, 1)
	slices.Reverse(down)
	for name, err := range map[string]error{
		"node without id":        s.PutNode(ctx, &Node{Type: vfs.Regular}),
		"node without type":      s.PutNode(ctx, &Node{ID: nid(1)}),
		"directory, two names":   s.PutNode(ctx, &Node{ID: nid(1), Type: vfs.Directory, Places: []Place{{nid(2), x}, {nid(3), x}}}),
		"in itself":              s.PutNode(ctx, &Node{ID: nid(1), Type: vfs.Directory, Places: []Place{{nid(1), x}}}),
		"place without name":     s.PutNode(ctx, &Node{ID: nid(1), Type: vfs.Regular, Places: []Place{{nid(2), vfs.Name{}}}}),
		"entry with cookie 2":    putEntry(s, nid(1), Entry{Cookie: 2, Name: x, Volumes: all1}),
		"entry beyond":           putEntry(s, nid(1), Entry{Cookie: vfs.MaxCookie + 1, Name: x, Volumes: all1}),
		"entry without name":     putEntry(s, nid(1), Entry{Cookie: 3, Volumes: all1}),
		"entry of no volume":     putEntry(s, nid(1), Entry{Cookie: 3, Name: x}),
		"entry of half a volume": putEntry(s, nid(1), Entry{Cookie: 3, Name: x, Volumes: all1[:8]}),
		"volumes not in order":   putEntry(s, nid(1), Entry{Cookie: 3, Name: x, Volumes: all1 + all1}),
		"entry of type 8":        putEntry(s, nid(1), Entry{Cookie: 3, Name: x, Volumes: all1, Type: 8}),
		"complete at none":       putCopy(s, nid(1), DirCopy{Complete: true}),
		"proof at none":          putCopy(s, nid(1), DirCopy{Proof: true}),
		"settled and unknown":    putCopy(s, nid(1), DirCopy{Settled: true}),
		"a change too large":     change(s, nid(1), DirChange{Drop: make([]vfs.Cookie, ChangeMax+1)}),
		"collision at 0":         s.PutCollision(ctx, nid(1), Collision{x, 0}),
		"collision of nothing":   s.PutCollision(ctx, nid(1), Collision{Cookie: 3}),
		"listing not in order":   s.ReplaceDir(ctx, nid(1), slices.Values(down), are(complete(1))),
		"listing at no version":  s.ReplaceDir(ctx, nid(1), slices.Values(down[:1]), are([]DirCopy{{Complete: true}})),
	} {
		if vfs.StatusOf(err) != vfs.Inval {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := s.Copies(nid(1)); err != nil || len(c) > 0 {
		t.Errorf("a refused listing left copies %v, %v", c, err)
	}
	checkClean(t, s)
}

// A call stands in the database whole or not at all, and folding many calls loses none.
func TestManyWritersAreFolded(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := openStore(t, Options{Dir: dir})
	var wg sync.WaitGroup
	const writers, each = 16, 500
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := s.PutNode(ctx, file(w*each+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, s.Close())
	s = openStore(t, Options{Dir: dir})
	for i := range writers * each {
		if n, ok, err := s.Node(nid(i)); err != nil || !ok || n.Birth.Ino != uint64(i) {
			t.Fatalf("node %d: %v %v %v", i, n, ok, err)
		}
	}
}

func TestAFullQueueHoldsWriters(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{})
	letGo := hold(s)
	for i := range queueRows {
		must(t, s.PutNode(ctx, file(i)))
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.PutNode(over, file(-1)); vfs.StatusOf(err) != vfs.Jukebox || !errors.Is(err, context.Canceled) {
		t.Errorf("a put into the full queue: %v", err)
	}
	if err := s.Flush(over); !errors.Is(err, context.Canceled) {
		t.Errorf("a flush that gave up: %v", err)
	}
	if _, ok, _ := s.Node(nid(-1)); ok {
		t.Error("what was refused is there")
	}
	waits := make(chan error)
	go func() { waits <- s.PutNode(ctx, file(-2)) }()
	letGo()
	must(t, <-waits)
	must(t, s.Flush(ctx))
	if _, ok, err := s.Node(nid(-2)); !ok || err != nil {
		t.Errorf("what waited is lost: %v", err)
	}
}

// Nobody need flush for a row to be stored.
func TestALoneRowIsStoredInTime(t *testing.T) {
	s := openStore(t, Options{})
	s.q.mu.RLock()
	moved := s.q.moved
	s.q.mu.RUnlock()
	must(t, s.PutNode(t.Context(), file(1)))
	<-moved
	if n := s.Health().Queued; n != 0 {
		t.Errorf("%d rows are queued still", n)
	}
	found := false
	must(t, s.db.View(func(txn *badger.Txn) error {
		_, err := txn.Get(nodeKey(nid(1)))
		found = err == nil
		return err
	}))
	if !found {
		t.Error("the row is not in the database")
	}
}

func TestSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	openStore(t, Options{Dir: dir})
	s, err := Open(Options{Dir: dir, MinFree: 1, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Fatal("opened twice", s.Close())
	}
	for _, word := range []string{dir, "another process has it open", "stop it"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Options{Dir: dir})
	must(t, s.setNumbers(map[string]uint32{string(keyFormat): Format + 1}))
	must(t, s.Close())
	_, err := Open(Options{Dir: dir, MinFree: 1, Logger: slog.New(slog.DiscardHandler)})
	for _, word := range []string{dir, fmt.Sprint("format is ", Format+1), "newer program", "delete the directory"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %q", err, word)
		}
	}
}

// raw writes bytes past the encoders.
func raw(tb testing.TB, s *Store, key, value []byte) {
	tb.Helper()
	must(tb, s.db.Update(func(txn *badger.Txn) error { return txn.Set(key, value) }))
}

func TestCorruptRowsAreNamedAndReplaced(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{})
	d := nid(0)
	must(t, s.ReplaceDir(ctx, d, slices.Values(entries(0, 10, 1)), are(complete(1))))
	must(t, s.PutNode(ctx, file(1)))
	must(t, s.Flush(ctx))
	for _, key := range [][]byte{nodeKey(nid(1)), entryKey(d, 5), copyKey(d, VolumeID{1})} {
		raw(t, s, key, []byte("not a row"))
	}
	_, found, e1 := s.Node(nid(1))
	_, there, e2 := s.Entry(d, 5)
	_, _, e3 := s.Entries(d, 0, 100)
	_, e4 := s.Copies(d)
	for i, err := range []error{e1, e2, e3, e4} {
		var c *CorruptError
		if !errors.As(err, &c) || vfs.StatusOf(err) != vfs.IO {
			t.Errorf("read %d: %v", i, err)
		} else if !strings.Contains(c.Row, nid(1).String()) && !strings.Contains(c.Row, d.String()) {
			t.Errorf("%q does not name its row", c.Row)
		}
	}
	if found || there {
		t.Error("a corrupt row counts as found")
	}
	v, err := s.Check(ctx, 10)
	if err != nil || len(v) != 3 {
		t.Errorf("check: %v %v", v, err)
	}
	must(t, s.ReplaceDir(ctx, d, slices.Values(entries(0, 10, 1)), are(complete(1))))
	must(t, s.PutNode(ctx, file(1)))
	if es, _, err := s.Entries(d, 0, 100); err != nil || !slices.Equal(es, entries(0, 10, 1)) {
		t.Errorf("after a new listing: %v %v", es, err)
	}
	checkClean(t, s)
}

func TestClosed(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{})
	must(t, s.Close())
	_, _, e1 := s.Node(nid(1))
	_, _, e2 := s.Entries(nid(1), 0, 1)
	_, e3 := s.Check(ctx, 1)
	for i, err := range []error{e1, e2, e3, s.PutNode(ctx, file(1)), s.DeleteDir(ctx, nid(1)), s.Close()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// A commit that failed must not leave an old row to be believed.
func TestAFailedCommitMakesTheIndexKnowNothing(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := openStore(t, Options{Dir: dir})
	must(t, s.PutNode(ctx, file(1)))
	must(t, s.Flush(ctx))
	cause := errors.New("the disk is gone")
	s.fail(cause)
	_, ok, err := s.Node(nid(1))
	if ok || err != nil {
		t.Errorf("read: %v %v", ok, err)
	}
	for i, err := range []error{s.PutNode(ctx, file(2)), s.Flush(ctx), s.Health().Err, s.Close()} {
		if !errors.Is(err, cause) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if s = openStore(t, Options{Dir: dir}); !s.Unclean() {
		t.Error("clean after a failure")
	}
}

func TestCheckFindsEachInvariant(t *testing.T) {
	d, x := nid(0), vfs.MustName("x")
	enc := func(k []byte, f func(k []byte) []byte) op { return op{k, f(k)} }
	entry := func(c vfs.Cookie, e Entry) op {
		return enc(entryKey(d, c), func(k []byte) []byte { return encodeEntry(k, &e) })
	}
	for want, rows := range map[string][]op{
		"M1": {{[]byte("zzz"), nil}},
		"M2": {enc(nodeKey(nid(1)), func(k []byte) []byte {
			return encodeNode(k, &Node{Type: vfs.Directory, Places: []Place{{d, x}, {nid(2), x}}})
		})},
		"M3": {entry(3, Entry{Name: x, Volumes: all1}), entry(4, Entry{Name: x, Volumes: all1})},
		"M4": {
			enc(collisionKey(d, x), func(k []byte) []byte { return encodeCollision(k, 9) }),
			entry(9, Entry{Name: vfs.MustName("y"), Volumes: all1}),
		},
		"M5": {enc(copyKey(d, VolumeID{}), func(k []byte) []byte { return encodeCopy(k, &storedCopy{DirCopy: DirCopy{Complete: true}}) })},
		"M6": {enc(keyFormat, func(k []byte) []byte { return appendSum(k, be.AppendUint32(nil, 0)) })},
		"M7": {
			entry(3, Entry{Name: x, Child: nid(5), Volumes: all1, Type: vfs.FIFO}),
			enc(nodeKey(nid(5)), func(k []byte) []byte { return encodeNode(k, &Node{Type: vfs.Regular}) }),
		},
	} {
		t.Run(want, func(t *testing.T) {
			s := openStore(t, Options{})
			for _, r := range rows {
				raw(t, s, r.key, r.value)
			}
			found, err := s.Check(t.Context(), 10)
			if err != nil || len(found) != 1 || found[0].Invariant != want {
				t.Errorf("found %v, %v", found, err)
			}
		})
	}
}
