package group

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

func TestSuite(t *testing.T) {
	volumetest.Suite(t, func(*testing.T) volume.Volume { return New(volumetest.NewMem(volumetest.Options{})) })
}

// gate is a Mem whose flushes wait until they are let through.
type gate struct {
	*volumetest.Mem
	t      *testing.T
	wait   chan error // one element ends one flush
	flying atomic.Int32
	most   atomic.Int32
	total  atomic.Int32
	onOp   map[string]bool
}

func newGate(t *testing.T, ops ...string) (*gate, *Volume) {
	t.Helper()
	g := &gate{t: t, wait: make(chan error), onOp: map[string]bool{}}
	for _, op := range ops {
		g.onOp[op] = true
	}
	g.Mem = volumetest.NewMem(volumetest.Options{Fault: func(op string, _ int) error {
		if !g.onOp[op] {
			return nil
		}
		g.total.Add(1)
		now := g.flying.Add(1)
		g.most.Store(max(now, g.most.Load()))
		err := <-g.wait
		g.flying.Add(-1)
		return err
	}})
	return g, New(g.Mem)
}

// callers start n calls and give their errors in any order.
func callers(n int, call func() error) <-chan error {
	errs := make(chan error, n)
	for range n {
		go func() { errs <- call() }()
	}
	return errs
}

func collect(errs <-chan error, n int) (all []error) {
	for range n {
		all = append(all, <-errs)
	}
	return all
}

func mkdir(t *testing.T, in volume.Dir, name string) volume.Dir {
	t.Helper()
	d, _, _, err := in.Mkdir(t.Context(), vfs.MustName(name), &volume.New{Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestNextIsShared: who comes while one runs gets the next, all of them one, not the
// running one, and each through any Dir of the directory.
func TestNextIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, v := newGate(t, "syncdir")
		a := mkdir(t, v.Root(), "d")
		b, err := v.Root().OpenDir(t.Context(), vfs.MustName("d"))
		if err != nil {
			t.Fatal(err)
		}
		first := callers(1, func() error { return a.Sync(t.Context()) })
		synctest.Wait()
		early, late := callers(10, func() error { return a.Sync(t.Context()) }), callers(10, func() error { return b.Sync(t.Context()) })
		synctest.Wait()
		if g.total.Load() != 1 {
			t.Fatalf("%d flushes began, want 1", g.total.Load())
		}
		g.wait <- nil
		synctest.Wait()
		if err := <-first; err != nil || len(early)+len(late) != 0 || g.total.Load() != 2 {
			t.Fatalf("first %v; %d answered by a flush that began before they asked; %d flushes", err, len(early)+len(late), g.total.Load())
		}
		third := callers(5, func() error { return b.Sync(t.Context()) })
		synctest.Wait()
		g.wait <- nil
		synctest.Wait()
		if len(early)+len(late) != 20 || len(third) != 0 {
			t.Fatalf("%d of 20 answered, and %d of those who came too late", len(early)+len(late), len(third))
		}
		g.wait <- nil
		for _, err := range append(append(collect(early, 10), collect(late, 10)...), collect(third, 5)...) {
			if err != nil {
				t.Error(err)
			}
		}
		if g.total.Load() != 3 || g.most.Load() != 1 {
			t.Errorf("%d flushes for 26 calls, %d at once", g.total.Load(), g.most.Load())
		}
		if asked, made := v.flusher.counter.Asked(), v.flusher.counter.Made(); asked != 26 || made != 3 {
			t.Errorf("counted %d asked for and %d made, want 26 and 3", asked, made)
		}
	})
}

// TestErrorGoesToAllWhoShared, and to nobody else.
func TestErrorGoesToAllWhoShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, v := newGate(t, "syncdir")
		d := mkdir(t, v.Root(), "d")
		boom := errors.New("boom")
		first := callers(1, func() error { return d.Sync(t.Context()) })
		synctest.Wait()
		shared := callers(7, func() error { return d.Sync(t.Context()) })
		synctest.Wait()
		g.wait <- nil
		synctest.Wait()
		after := callers(3, func() error { return d.Sync(t.Context()) })
		synctest.Wait()
		g.wait <- boom
		synctest.Wait()
		g.wait <- nil
		if err := <-first; err != nil {
			t.Error(err)
		}
		for _, err := range collect(shared, 7) {
			if !errors.Is(err, boom) {
				t.Errorf("%v to one who shared the failed flush", err)
			}
		}
		for _, err := range collect(after, 3) {
			if err != nil {
				t.Errorf("%v to one who came later", err)
			}
		}
	})
}

// TestOthersDoNotWait: another directory, a file and the volume have flushes of their own.
func TestOthersDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, v := newGate(t, "syncdir", "syncfile", "syncall")
		ctx := t.Context()
		d, e := mkdir(t, v.Root(), "d"), mkdir(t, v.Root(), "e")
		f, _, _, err := d.Create(ctx, vfs.MustName("f"), &volume.New{Mode: 0o644})
		if err != nil {
			t.Fatal(err)
		}
		all := []<-chan error{
			callers(2, func() error { return d.Sync(ctx) }),
			callers(2, func() error { return e.Sync(ctx) }),
			callers(2, func() error { return f.Sync(ctx, false) }),
			callers(2, func() error { return v.SyncAll(ctx) }),
		}
		synctest.Wait()
		if g.flying.Load() != 4 {
			t.Errorf("%d in flight, want 4", g.flying.Load())
		}
		for range 8 {
			g.wait <- nil
		}
		for _, c := range all {
			for _, err := range collect(c, 2) {
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestFullWins: a flush that one wants with attributes has them for all.
func TestFullWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFlusher(&Counter{})
		gate := make(chan struct{})
		var kinds []bool
		sync := func(full bool) func() error {
			return func() error {
				return fl.do(t.Context(), 1, full, func(_ context.Context, full bool) error {
					kinds = append(kinds, full)
					<-gate
					return nil
				})
			}
		}
		a := callers(1, sync(false))
		synctest.Wait()
		b, c := callers(2, sync(false)), callers(1, sync(true))
		synctest.Wait()
		close(gate)
		collect(a, 1)
		collect(b, 2)
		collect(c, 1)
		if len(kinds) != 2 || kinds[0] || !kinds[1] {
			t.Errorf("flushes %v, want one of data, then one of everything", kinds)
		}
	})
}

// TestLimit: no more than FlushMax are in flight, and callers join one that waits for its turn.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, v := newGate(t, "syncdir")
		const dirs = FlushMax + 10
		var all []<-chan error
		for i := range dirs {
			d := mkdir(t, v.Root(), "d"+string(rune('a'+i%26))+string(rune('a'+i/26)))
			all = append(all, callers(1, func() error { return d.Sync(t.Context()) }))
			synctest.Wait()
			if i >= FlushMax {
				all[i] = merge(all[i], callers(2, func() error { return d.Sync(t.Context()) }))
			}
		}
		synctest.Wait()
		if g.flying.Load() != FlushMax {
			t.Errorf("%d in flight", g.flying.Load())
		}
		for range dirs {
			g.wait <- nil
		}
		for i, c := range all {
			n := 1
			if i >= FlushMax {
				n = 3
			}
			for _, err := range collect(c, n) {
				if err != nil {
					t.Error(err)
				}
			}
		}
		if g.total.Load() != dirs {
			t.Errorf("%d flushes, want %d", g.total.Load(), dirs)
		}
	})
}

func merge(cs ...<-chan error) <-chan error {
	out := make(chan error, 16)
	for _, c := range cs {
		go func() {
			for range cap(c) {
				out <- <-c
			}
		}()
	}
	return out
}

// TestContextEndsWaiting: who waits may go, the others are flushed all the
// same; whose descriptor is in use stays until it is not.
func TestContextEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, v := newGate(t, "syncdir")
		d := mkdir(t, v.Root(), "d")
		ctx, cancel := context.WithCancel(t.Context())
		running := callers(1, func() error { return d.Sync(ctx) })
		synctest.Wait()
		leaving := callers(1, func() error { return d.Sync(ctx) })
		synctest.Wait()
		staying := callers(1, func() error { return d.Sync(t.Context()) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		if err := <-leaving; !errors.Is(err, context.Canceled) {
			t.Errorf("one who waits gets %v", err)
		}
		if len(running) != 0 {
			t.Error("one whose descriptor is being flushed got an answer")
		}
		g.wait <- nil
		if err := <-running; err != nil {
			t.Error(err)
		}
		g.wait <- nil
		if err := <-staying; err != nil {
			t.Error(err)
		}

		// All who wait go: no flush is made for nobody, and the next caller is served.
		running = callers(1, func() error { return d.Sync(t.Context()) })
		synctest.Wait()
		ctx, cancel = context.WithCancel(t.Context())
		leaving = callers(3, func() error { return d.Sync(ctx) })
		synctest.Wait()
		cancel()
		collect(leaving, 3)
		g.wait <- nil
		if err := <-running; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if g.total.Load() != 3 || len(v.flusher.queue) != 0 || len(v.flusher.slots) != 0 {
			t.Errorf("%d flushes; %d queues and %d slots are left", g.total.Load(), len(v.flusher.queue), len(v.flusher.slots))
		}
	})
}

// TestDurable: whatever was changed before Sync was called survives, among many
// who change and sync at once.
func TestDurable(t *testing.T) {
	m := volumetest.NewMem(volumetest.Options{})
	v := New(m)
	d := mkdir(t, v.Root(), "d")
	if err := v.Root().Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	const workers, rounds = 8, 200
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				f, _, _, err := d.Create(t.Context(), vfs.MustName(string(rune('a'+w))+string(rune('0'+i%10))+string(rune('0'+i/10%10))+string(rune('0'+i/100))), &volume.New{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(d.Sync(t.Context()), f.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	after := New(m.PowerCut(1))
	d, err := after.Root().OpenDir(t.Context(), vfs.MustName("d"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := d.List(t.Context(), func(volume.Entry) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	if n != workers*rounds {
		t.Errorf("%d of %d names survived", n, workers*rounds)
	}
}

// told is a volume that says which directory was covered.
type told struct {
	volume.Volume
	covered volume.Dir
}

func (v *told) Watch(context.Context, volume.WatchSink) (volume.Watch, error) { return v, nil }
func (v *told) Kind() string                                                  { return "told" }
func (v *told) Whole() bool                                                   { return true }
func (v *told) Covered() int                                                  { return 0 }
func (v *told) Uncover(uint64)                                                {}

func (v *told) Cover(_ context.Context, d volume.Dir) (bool, error) {
	v.covered = d
	return true, nil
}

// TestWatch: a watch of the decorated volume covers its own directories; a volume that tells no news says so.
func TestWatch(t *testing.T) {
	inner := &told{Volume: volumetest.NewMem(volumetest.Options{Name: "silent"})}
	g := New(inner)
	w, err := volume.StartWatch(t.Context(), g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := w.Cover(t.Context(), g.Root()); !ok || err != nil || inner.covered != inner.Root() || w.Kind() != "told" {
		t.Errorf("cover: %v, %v, of %v", ok, err, inner.covered)
	}
	if _, err := volume.StartWatch(t.Context(), New(inner.Volume), nil); vfs.StatusOf(err) != vfs.NotSupp {
		t.Errorf("watch of a volume that cannot: %v", err)
	}
}
