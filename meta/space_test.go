package meta

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/tests/need"
	"sheaf/vfs"
)

// roomy opens an index whose disk has as much free as the result says; looks come
// only from the test.
func roomy(t *testing.T, dir string) (*Store, *atomic.Uint64) {
	t.Helper()
	free := new(atomic.Uint64)
	free.Store(2000)
	s := openStore(t, Options{Dir: dir, MinFree: 1000, Watch: time.Hour, free: func(string) (uint64, error) { return free.Load(), nil }})
	return s, free
}

func TestLittleSpacePausesPuts(t *testing.T) {
	ctx := t.Context()
	s, free := roomy(t, t.TempDir())
	d := nid(0)
	must(t, s.PutNode(ctx, file(1)))
	must(t, s.PutNode(ctx, file(2)))
	must(t, s.ReplaceDir(ctx, d, slices.Values(entries(0, 3, 1)), are(complete(1))))
	free.Store(999)
	must(t, s.look())
	for i, err := range []error{
		s.PutNode(ctx, file(1)), s.PutNode(ctx, file(9)), putEntry(s, d, entries(0, 1, 7)[0]),
		s.ReplaceDir(ctx, nid(1), slices.Values(entries(0, 3, 1)), are(complete(1))),
	} {
		if !errors.Is(err, ErrPaused) || vfs.StatusOf(err) != vfs.NoSpc {
			t.Errorf("put %d: %v", i, err)
		}
	}
	must(t, dropEntry(s, d, entries(1, 2, 1)[0].Cookie))
	must(t, s.Flush(ctx))
	_, replaced, e1 := s.Node(nid(1))
	_, kept, e2 := s.Node(nid(2))
	_, refused, e3 := s.Node(nid(9))
	if replaced || !kept || refused || errors.Join(e1, e2, e3) != nil {
		t.Errorf("replaced %v kept %v refused %v", replaced, kept, refused)
	}
	if es, _, err := s.Entries(d, 0, 10); err != nil || !slices.Equal(es, entries(2, 3, 1)) {
		t.Errorf("entries %v %v", es, err)
	}
	if h := s.Health(); !h.Paused || h.Void || h.Refused != 3 || h.Free != 999 || h.Floor != 1000 {
		t.Errorf("health %+v", h)
	}
	free.Store(1001) // not enough to begin again
	must(t, s.look())
	if err := s.PutNode(ctx, file(1)); !errors.Is(err, ErrPaused) {
		t.Errorf("just above the floor: %v", err)
	}
	free.Store(1125)
	must(t, s.look())
	must(t, s.PutNode(ctx, file(1)))
	if _, ok, err := s.Node(nid(2)); !ok || err != nil {
		t.Error("a pause lost what was stored")
	}
	checkClean(t, s)
}

func TestNoSpaceMakesTheIndexKnowNothing(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s, free := roomy(t, dir)
	d := nid(0)
	must(t, s.PutNode(ctx, file(1)))
	must(t, s.ReplaceDir(ctx, d, slices.Values(entries(0, 3, 1)), are(complete(1))))
	must(t, s.Flush(ctx))
	letGo := hold(s)
	must(t, s.PutNode(ctx, file(2))) // queued when the space goes
	era := s.Era()
	if !s.Holds(era) {
		t.Error("it does not hold what it has")
	}
	free.Store(499)
	must(t, s.look())
	blind := func() {
		t.Helper()
		if s.Holds(era) {
			t.Error("it holds what it does not find")
		}
		_, n1, e1 := s.Node(nid(1))
		_, n2, e2 := s.Node(nid(2))
		c, e3 := s.Copies(d)
		es, _, e4 := s.Entries(d, 0, 10)
		if n1 || n2 || len(c)+len(es) > 0 || errors.Join(e1, e2, e3, e4) != nil {
			t.Errorf("found %v %v %v %v", n1, n2, c, es)
		}
	}
	blind()
	must(t, s.DeleteNode(ctx, nid(1)))
	if h := s.Health(); !h.Void || !h.Paused {
		t.Errorf("health %+v", h)
	}
	letGo()
	free.Store(2000)
	s.life.RLock() // somebody reads: not now
	must(t, s.look())
	s.life.RUnlock()
	blind()
	must(t, s.look())
	blind()
	must(t, s.PutNode(ctx, file(3)))
	must(t, s.Flush(ctx))
	if s.Holds(era) || !s.Holds(s.Era()) {
		t.Errorf("of era %d, begun in %d, what is read holds: %v, and of the former: %v", s.Era(), era, s.Holds(s.Era()), s.Holds(era))
	}
	if _, ok, err := s.Node(nid(3)); !ok || err != nil || s.Health().Void {
		t.Errorf("after room came back: %v %v", ok, err)
	}
	checkClean(t, s)
	free.Store(499)
	must(t, s.look())
	must(t, s.Close())
	free.Store(2000)
	s, _ = roomy(t, dir)
	if _, ok, err := s.Node(nid(3)); ok || err != nil {
		t.Errorf("an index that lost writes was kept over a restart: %v %v", ok, err)
	}
	checkClean(t, s)
}

// What was queued before everything was dropped must not come after it: a listing
// could be complete without its entries.
func TestADropTakesTheQueueAlong(t *testing.T) {
	ctx := t.Context()
	s, free := roomy(t, t.TempDir())
	must(t, s.PutNode(ctx, file(1)))
	must(t, s.PutNode(ctx, file(2)))
	taken, _ := s.q.take() // by a committer that is slow
	must(t, s.PutNode(ctx, file(3)))
	free.Store(1)
	must(t, s.look())
	free.Store(2000)
	must(t, s.look())
	s.commit(taken)
	s.q.finish(taken)
	must(t, s.PutNode(ctx, file(4)))
	must(t, s.Flush(ctx))
	for i, want := range []bool{1: false, 2: false, 3: false, 4: true} {
		if _, ok, err := s.Node(nid(i)); i > 0 && (ok != want || err != nil) {
			t.Errorf("node %d: %v %v", i, ok, err)
		}
	}
	if n := s.Health().Queued; n != 0 {
		t.Errorf("%d rows queued", n)
	}
}

func TestOpenOnAFullDiskIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(Options{Dir: dir, MinFree: 1000, free: func(string) (uint64, error) { return 249, nil }, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("error %v", err)
	}
}

// On a real small disk that somebody else fills, this process lives (Badger would
// die of SIGBUS), and the index works again when there is room.
func TestARealFullDisk(t *testing.T) {
	ctx := t.Context()
	disk := need.Tmpfs(t, 192<<20)
	s := openStore(t, Options{Dir: filepath.Join(disk, "index"), MinFree: 96 << 20, Watch: time.Millisecond})
	hog, err := os.Create(filepath.Join(disk, "hog"))
	must(t, err)
	defer hog.Close()
	fill := make([]byte, 4<<20)
	paused, round := false, 0
	for ; !s.Health().Void; round++ {
		if _, err := hog.Write(fill); err != nil {
			t.Fatalf("the disk is full and the index does not say so: %+v, %v", s.Health(), err)
		}
		for i := range 200 {
			if err := s.PutNode(ctx, file(round*200+i)); errors.Is(err, ErrPaused) {
				paused = true
			} else if err != nil {
				t.Fatal(err)
			}
		}
		must(t, s.look())
	}
	if !paused {
		t.Error("no put was refused before the index was off")
	}
	must(t, hog.Truncate(0))
	for s.Health().Paused {
		must(t, s.look())
	}
	must(t, s.PutNode(ctx, file(1)))
	must(t, s.Flush(ctx))
	checkClean(t, s)
	t.Logf("%d rounds, %+v", round, s.Health())
}

// It is closed on a full disk too, without the table that Badger would write of what is in memory.
func TestARealFullDiskAtTheEnd(t *testing.T) {
	ctx := t.Context()
	disk := need.Tmpfs(t, 192<<20)
	opt := Options{Dir: filepath.Join(disk, "index"), MinFree: 96 << 20, Watch: time.Hour}
	s, err := Open(opt)
	must(t, err)
	for i := range 1000 {
		must(t, s.PutNode(ctx, file(i)))
	}
	must(t, s.Flush(ctx))
	hog, err := os.Create(filepath.Join(disk, "hog"))
	must(t, err)
	defer hog.Close()
	fill := make([]byte, 1<<20)
	for err == nil {
		_, err = hog.Write(fill)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	must(t, s.PutNode(ctx, file(1))) // the watcher has not looked: the commit does
	must(t, s.Flush(ctx))
	if h := s.Health(); !h.Void {
		t.Errorf("a commit on a full disk: %+v", h)
	}
	must(t, s.Close())
	must(t, hog.Truncate(0))
	s = openStore(t, opt)
	if _, ok, err := s.Node(nid(2)); ok || err != nil {
		t.Errorf("an index that lost writes was kept: %v %v", ok, err)
	}
	checkClean(t, s)
}
