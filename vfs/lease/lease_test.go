package lease

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
)

func id(n int) vfs.NodeID { return vfs.NodeID{0: byte(n), 14: byte(n >> 8), 15: byte(n)} }

// take acquires or fails the test.
func take(tb testing.TB, table *Table, wants ...Want) Held {
	tb.Helper()
	h, err := table.Acquire(context.Background(), wants...)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// later acquires on a goroutine and closes the channel once it has; the lease is
// given back by the result of done.
func later(ctx context.Context, t *testing.T, table *Table, wants ...Want) (got chan struct{}, done func()) {
	t.Helper()
	got, end := make(chan struct{}), make(chan struct{})
	go func() {
		h, err := table.Acquire(ctx, wants...)
		if err != nil {
			t.Error(err)
			return
		}
		close(got)
		<-end
		h.Release()
	}()
	return got, func() { close(end) }
}

func granted(c chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWhatExcludesWhat(t *testing.T) {
	dir := id(1)
	for _, c := range []struct {
		name string
		a, b Want
		both bool
	}{
		{"readers", Node(dir, Shared), Node(dir, Shared), true},
		{"reader, writer", Node(dir, Shared), Node(dir, Exclusive), false},
		{"writer, reader", Node(dir, Exclusive), Node(dir, Shared), false},
		{"writers", Node(dir, Exclusive), Node(dir, Exclusive), false},
		{"other nodes", Node(dir, Exclusive), Node(id(2), Exclusive), true},
		{"tree", Tree(Exclusive), Tree(Shared), false},
		{"tree and node", Tree(Exclusive), Node(dir, Exclusive), true},
		{"node and name", Node(dir, Exclusive), Name(dir, 0, Exclusive), true},
		{"names", Name(dir, 7, Exclusive), Name(dir, 7, Exclusive), false},
		{"other names", Name(dir, 7, Exclusive), Name(dir, 8, Exclusive), true},
		{"zero node and tree", Node(vfs.NodeID{}, Exclusive), Tree(Exclusive), true},
	} {
		var table Table
		h := take(t, &table, c.a)
		h2, ok := table.TryAcquire(c.b)
		if ok != c.both {
			t.Errorf("%s: together %v, want %v", c.name, ok, c.both)
		}
		h2.Release()
		h.Release()
		if h, ok = table.TryAcquire(c.b); !ok {
			t.Errorf("%s: not free after release", c.name)
		}
		h.Release()
		if n := table.Busy(); n != 0 {
			t.Errorf("%s: %d keys are left", c.name, n)
		}
	}
}

func TestKeysAreTakenInOrder(t *testing.T) {
	sorted := []Want{
		Tree(Shared), Name(id(1), 1, Shared), Name(id(1), 2, Shared), Name(id(2), 0, Shared),
		Node(vfs.NodeID{}, Shared), Node(id(1), Shared), Node(id(2), Shared), Node(id(3), Shared), Node(id(300), Shared),
	}
	sorted[7], sorted[8] = sorted[8], sorted[7] // 300 is 0x012c: its first byte is 0x2c
	slices.SortFunc(sorted[5:], func(a, b Want) int { return compare(a.key, b.key) })
	for n := 1; n <= len(sorted); n++ {
		wants := append(slices.Clone(sorted[:n]), sorted[:n]...)
		rand.Shuffle(len(wants), func(i, j int) { wants[i], wants[j] = wants[j], wants[i] })
		var table Table
		h := take(t, &table, wants...)
		if got := h.all(); !slices.Equal(got, sorted[:n]) || h.Len() != n {
			t.Errorf("%d keys: %v", n, got)
		}
		h.Release()
	}
}

func TestAKeyTwiceIsTakenInTheStrongerMode(t *testing.T) {
	for _, wants := range [][]Want{
		{Node(id(1), Shared), Node(id(1), Exclusive)},
		{Node(id(1), Exclusive), Node(id(1), Shared)},
	} {
		var table Table
		h := take(t, &table, wants...)
		if _, ok := table.TryAcquire(Node(id(1), Shared)); ok || h.Len() != 1 {
			t.Errorf("%v: shared, %d keys", wants, h.Len())
		}
		h.Release()
		if table.Busy() != 0 {
			t.Error("keys are left")
		}
	}
}

// A reader that comes after a waiting writer waits for it; readers that wait
// together go together.
func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		reader := take(t, &table, Node(id(1), Shared))
		writer, writerDone := later(t.Context(), t, &table, Node(id(1), Exclusive))
		synctest.Wait()
		r1, r1Done := later(t.Context(), t, &table, Node(id(1), Shared))
		r2, r2Done := later(t.Context(), t, &table, Node(id(1), Shared))
		synctest.Wait()
		writer2, writer2Done := later(t.Context(), t, &table, Node(id(1), Exclusive))
		if granted(writer) || granted(r1) || granted(r2) {
			t.Fatal("granted beside what excludes it, or before its turn")
		}
		if _, ok := table.TryAcquire(Node(id(1), Shared)); ok {
			t.Error("TryAcquire jumps the queue")
		}
		reader.Release()
		if !granted(writer) || granted(r1) {
			t.Error("the writer is next, alone")
		}
		writerDone()
		if !granted(r1) || !granted(r2) || granted(writer2) {
			t.Error("both readers are next")
		}
		r1Done()
		if granted(writer2) {
			t.Error("a reader is still there")
		}
		r2Done()
		if !granted(writer2) {
			t.Error("the second writer is last")
		}
		writer2Done()
		synctest.Wait()
		if n := table.Busy(); n != 0 {
			t.Errorf("%d keys are left", n)
		}
	})
}

func TestGivingUpLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		reader := take(t, &table, Node(id(3), Shared))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		gaveUp := make(chan error)
		go func() {
			h, err := table.Acquire(ctx, Node(id(1), Exclusive), Node(id(3), Exclusive), Node(id(5), Shared))
			if h.Len() != 0 {
				t.Error("holds something after all")
			}
			gaveUp <- err
		}()
		synctest.Wait()
		if _, ok := table.TryAcquire(Node(id(1), Shared)); ok {
			t.Error("the first key is not held while waiting for the second")
		}
		behind, done := later(t.Context(), t, &table, Node(id(3), Shared)) // only the writer is in its way
		if granted(behind) {
			t.Error("overtook the writer")
		}
		err := <-gaveUp
		if vfs.StatusOf(err) != vfs.Jukebox || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "node 03") {
			t.Errorf("error %v", err)
		}
		if !granted(behind) {
			t.Error("who waited behind the one that gave up still waits")
		}
		done()
		reader.Release()
		synctest.Wait()
		if n := table.Busy(); n != 0 {
			t.Errorf("%d keys are left", n)
		}
	})
}

func TestACancelledContextStillTakesWhatIsFree(t *testing.T) {
	var table Table
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h, err := table.Acquire(ctx, Node(id(1), Exclusive))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Acquire(ctx, Node(id(0), Shared), Node(id(1), Shared)); !errors.Is(err, context.Canceled) {
		t.Errorf("waits with a context that ended: %v", err)
	}
	h.Release()
	if table.Busy() != 0 {
		t.Error("keys are left")
	}
}

func TestReleasingTwicePanics(t *testing.T) {
	var table Table
	h := take(t, &table, Node(id(1), Shared))
	again := h // the mistake under test
	h.Release()
	h.Release() // empty by now
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "released twice") {
			t.Errorf("recovered %v", r)
		}
	}()
	again.Release()
}

// Random sets of keys, some given up: nobody is ever beside who excludes it, everybody
// gets there, and nothing is left.
func TestMutualExclusion(t *testing.T) {
	const keys, workers, rounds = 12, 16, 1500
	var table Table
	var readers, writers [keys]atomic.Int32
	seed := rand.Uint64()
	t.Log("seed", seed)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for range rounds {
				mode := map[int]Mode{}
				var wants []Want
				for range 1 + r.IntN(5) {
					k, m := r.IntN(keys), Shared+Mode(r.IntN(2))
					mode[k] = max(mode[k], m)
					wants = append(wants, keyed(k, m))
				}
				h, ok := try(&table, r, wants)
				if !ok {
					continue
				}
				visit(t, mode, &readers, &writers)
				h.Release()
			}
		})
	}
	wg.Wait()
	if n := table.Busy(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// keyed spreads small numbers over the kinds of keys.
func keyed(k int, m Mode) Want {
	switch {
	case k == 0:
		return Tree(m)
	case k%3 == 0:
		return Name(id(k/3%2), vfs.Cookie(k), m)
	}
	return Node(id(k), m)
}

// try takes wants in one of the ways there are.
func try(table *Table, r *rand.Rand, wants []Want) (Held, bool) {
	switch r.IntN(4) {
	case 0:
		return table.TryAcquire(wants...)
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(20))*time.Microsecond)
		defer cancel()
		h, err := table.Acquire(ctx, wants...)
		return h, err == nil
	}
	h, err := table.Acquire(context.Background(), wants...)
	return h, err == nil
}

// visit is what goes on under the leases.
func visit(t *testing.T, mode map[int]Mode, readers, writers *[12]atomic.Int32) {
	t.Helper()
	for k, m := range mode {
		if m == Exclusive {
			if writers[k].Add(1) != 1 || readers[k].Load() != 0 {
				t.Errorf("key %d: a writer is not alone", k)
			}
			defer writers[k].Add(-1)
		} else {
			readers[k].Add(1)
			if writers[k].Load() != 0 {
				t.Errorf("key %d: a reader beside a writer", k)
			}
			defer readers[k].Add(-1)
		}
	}
}

func TestUncontendedDoesNotAllocate(t *testing.T) {
	var table Table
	wants := []Want{Tree(Shared), Name(id(1), 5, Exclusive), Node(id(1), Exclusive), Node(id(2), Shared), Node(id(3), Shared)}
	take := func() {
		h, err := table.Acquire(context.Background(), wants...)
		if err != nil {
			t.Fatal(err)
		}
		h.Release()
	}
	take()
	if n := testing.AllocsPerRun(100, take); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOneNode(b *testing.B) {
	var table Table
	b.ReportAllocs()
	for b.Loop() {
		h := take(b, &table, Node(id(1), Exclusive))
		h.Release()
	}
}

func BenchmarkRename(b *testing.B) {
	var table Table
	b.ReportAllocs()
	for b.Loop() {
		h := take(b, &table, Tree(Exclusive), Node(id(1), Exclusive), Node(id(3), Exclusive), Node(id(2), Exclusive), Node(id(4), Exclusive))
		h.Release()
	}
}

func BenchmarkSharedByAll(b *testing.B) {
	var table Table
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h := take(b, &table, Node(id(1), Shared))
			h.Release()
		}
	})
}
