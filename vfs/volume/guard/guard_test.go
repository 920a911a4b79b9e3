package guard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

func name(s string) vfs.Name { return vfs.MustName(s) }

func TestSuite(t *testing.T) {
	volumetest.Suite(t, func(t *testing.T) volume.Volume {
		m := volumetest.NewMem(volumetest.Options{})
		g := New(Options{Name: "mem", ID: m.ID(), First: m})
		t.Cleanup(func() { closeGuard(t, g, m) })
		return g
	})
}

// closeGuard closes g and demands that nothing stays open.
func closeGuard(t *testing.T, g *Volume, m *volumetest.Mem) {
	t.Helper()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if n := m.Handles(); n != 0 {
		t.Errorf("%d Dirs and Files of the host are still open", n)
	}
}

// host is a Mem whose operations can be made to hang and to fail.
type host struct {
	*volumetest.Mem

	mu    sync.Mutex
	hangs map[string]chan struct{} // operations that wait until it is closed
	fails map[string]error
	gone  error // of present
	opens int
}

func newHost() *host {
	h := &host{hangs: map[string]chan struct{}{}, fails: map[string]error{}}
	h.Mem = volumetest.NewMem(volumetest.Options{Fault: h.fault})
	return h
}

func (h *host) fault(op string, _ int) error {
	h.mu.Lock()
	wait, err := h.hangs[op], h.fails[op]
	h.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return err
}

// hang makes operations wait until the function it returns is called.
func (h *host) hang(ops ...string) (release func()) {
	c := make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range ops {
		h.hangs[op] = c
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, op := range ops {
			delete(h.hangs, op)
		}
		close(c)
	}
}

// fail makes operations fail; with nil no more.
func (h *host) fail(err error, ops ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range ops {
		h.fails[op] = err
	}
}

func (h *host) present(context.Context, volume.Volume) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone
}

func (h *host) setGone(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = err
}

// open is the Mem anew, if it is there.
func (h *host) open(context.Context) (volume.Volume, error) {
	h.mu.Lock()
	h.opens++
	err := h.gone
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return h.Reopen(), nil
}

func (h *host) guard(change func(*Options)) *Volume {
	o := Options{Name: "disk", ID: h.ID(), First: h.Mem, Open: h.open, Present: h.present}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// bubble runs a test with a clock of its own; the guard that it made is closed in the end, and
// no goroutine may be left.
func bubble(t *testing.T, change func(*Options), f func(t *testing.T, h *host, g *Volume)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		g := h.guard(change)
		defer func() {
			synctest.Wait() // what is of former openings is closed
			closeGuard(t, g, h.Mem)
		}()
		f(t, h, g)
	})
}

func wantAway(t *testing.T, err error, op volume.Op, health volume.Health, status vfs.Status) {
	t.Helper()
	var away *volume.AwayError
	if !errors.As(err, &away) {
		t.Fatalf("%v, want an AwayError", err)
	}
	if away.Op != op.String() || away.Volume != "disk" || away.State.Health != health || away.State.Reason == "" || vfs.StatusOf(err) != status {
		t.Fatalf("%+v (%v), want %s refused, %s, %v", away, err, op, health, status)
	}
}

func wantHealth(t *testing.T, g *Volume, h volume.Health, attached uint64) {
	t.Helper()
	if s := g.State(); s.Health != h || s.Attached != attached || (h == volume.Online) != (s.Reason == "") {
		t.Fatalf("%+v, want %s, attached %d", s, h, attached)
	}
}

func create(t *testing.T, d volume.Dir, n, content string) volume.File {
	t.Helper()
	f, _, _, err := d.Create(t.Context(), name(n), &volume.New{Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(t.Context(), []byte(content), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadIsGivenUp: a read-only call that hangs is answered at its deadline, the volume is slow
// from then on, and the probe brings it back though the call still hangs.
func TestReadIsGivenUp(t *testing.T) {
	bubble(t, neverStalled, func(t *testing.T, h *host, g *Volume) {
		release := h.hang("statat", "syncfile")
		began := time.Now()
		_, err := g.Root().StatAt(t.Context(), name("x"))
		wantAway(t, err, volume.OpStatAt, volume.Slow, vfs.Jukebox)
		if took := time.Since(began); took < Deadline || took > Deadline+2*g.tick {
			t.Errorf("answered after %v", took)
		}
		wantHealth(t, g, volume.Slow, 1)
		_, err = g.Root().Stat(t.Context())
		wantAway(t, err, volume.OpStat, volume.Slow, vfs.Jukebox)
		err = g.Root().Unlink(t.Context(), name("x"))
		wantAway(t, err, volume.OpUnlink, volume.Slow, vfs.Jukebox)

		time.Sleep(OfflineWait)
		_, err = g.Root().Stat(t.Context())
		wantAway(t, err, volume.OpStat, volume.Slow, vfs.IO) // the probe hangs, too: it flushes
		if n := g.Stats(); n.Hung != 1 || n.Refused < 3 {
			t.Errorf("%+v", n)
		}
		release()
		time.Sleep(2 * ProbeEvery)
		wantHealth(t, g, volume.Online, 1)
		_, err = g.Root().Stat(t.Context())
		ok(t, err)
		if n := g.Stats(); n.Hung != 0 || n.InFlight != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// TestBackWhileOneHangs: what hangs by itself does not keep the volume away, and makes it slow once.
func TestBackWhileOneHangs(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		release := h.hang("readlink")
		_, err := g.Root().ReadLink(t.Context(), name("x"))
		wantAway(t, err, volume.OpReadLink, volume.Slow, vfs.Jukebox)
		time.Sleep(2 * ProbeEvery)
		wantHealth(t, g, volume.Online, 1)
		time.Sleep(5 * Deadline)
		wantHealth(t, g, volume.Online, 1)
		if n := g.Stats(); n.Hung != 1 || n.InFlight != 1 {
			t.Errorf("%+v", n)
		}
		release()
	})
}

// TestChangeIsWaitedFor: a changing call is answered with what it did, however late.
func TestChangeIsWaitedFor(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		release := h.hang("mkdir")
		done := make(chan error)
		var d volume.Dir
		go func() {
			var err error
			d, _, _, err = g.Root().Mkdir(t.Context(), name("d"), &volume.New{Mode: 0o755})
			done <- err
		}()
		time.Sleep(Deadline - time.Second)
		wantHealth(t, g, volume.Online, 1)
		time.Sleep(4 * time.Second)
		if s := g.Stats(); s.Hung != 1 || s.InFlight != 1 {
			t.Fatalf("%+v", s)
		}
		select {
		case err := <-done:
			t.Fatalf("answered before it was done: %v", err)
		default:
		}
		release()
		ok(t, <-done)
		time.Sleep(2 * ProbeEvery)
		wantHealth(t, g, volume.Online, 1)
		_, err := g.Root().StatAt(t.Context(), name("d"))
		ok(t, err)
		ok(t, d.Close())
	})
}

// TestFlushHasLonger: write-back may take minutes.
func TestFlushHasLonger(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		release := h.hang("syncdir")
		done := make(chan error)
		go func() { done <- g.Root().Sync(t.Context()) }()
		time.Sleep((FlushDeadlines - 1) * Deadline)
		wantHealth(t, g, volume.Online, 1)
		stuck := h.hang("syncfile") // so that the probe does not pass
		time.Sleep(2 * Deadline)
		wantHealth(t, g, volume.Slow, 1)
		stuck()
		release()
		ok(t, <-done)
	})
}

// TestLateResultsAreClosed: what was opened for somebody who has left is closed; what was read goes
// nowhere; what he closed meanwhile is closed after the call in it.
func TestLateResultsAreClosed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		f := create(t, g.Root(), "f", "content")
		sub, _, _, err := g.Root().Mkdir(t.Context(), name("d"), &volume.New{Mode: 0o755})
		ok(t, err)
		h.fail(vfs.Again, "readnow")
		release := h.hang("open", "opendir", "read", "statat")
		buf := make([]byte, 7)
		var all sync.WaitGroup
		for _, call := range []func() error{
			func() error { _, err := g.Root().Open(t.Context(), name("f"), volume.Read); return err },
			func() error { _, err := g.Root().OpenDir(t.Context(), name("d")); return err },
			func() error { _, err := f.ReadAt(t.Context(), buf, 0); return err },
			func() error { _, err := sub.StatAt(t.Context(), name("x")); return err },
		} {
			all.Go(func() {
				if err := call(); vfs.StatusOf(err) != vfs.Jukebox {
					t.Error(err)
				}
			})
		}
		all.Wait()
		ok(t, f.Close())
		ok(t, sub.Close())
		time.Sleep(ProbeEvery)
		synctest.Wait()
		if n := h.Handles(); n != 3 { // f, d and the probe's
			t.Errorf("%d handles are open: the calls in them are not over", n)
		}
		release()
		synctest.Wait()
		if n := h.Handles(); n != 0 {
			t.Errorf("%d handles are open", n)
		}
		if string(buf) != "\x00\x00\x00\x00\x00\x00\x00" {
			t.Errorf("%q was written into the buffer of one who had left", buf)
		}
		if err := f.Close(); vfs.StatusOf(err) != vfs.ServerFault {
			t.Errorf("closed twice: %v", err)
		}
		if _, err := sub.Stat(t.Context()); err == nil {
			t.Error("used after Close")
		}
	})
}

// TestContext: whoever waits for a read-only call, or for his turn, may go; a changing call that
// began is finished.
func TestContext(t *testing.T) {
	bubble(t, func(o *Options) { o.Workers = 1 }, func(t *testing.T, h *host, g *Volume) {
		release := h.hang("stat", "rmdir")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error, 4)
		go func() { _, err := g.Root().Stat(ctx); errs <- err }()
		synctest.Wait()
		go func() { _, err := g.Root().Stat(ctx); errs <- err }() // waits for the one turn
		began := time.Now()
		for range 2 {
			if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		if time.Since(began) != time.Second {
			t.Error(time.Since(began))
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { errs <- g.Root().Rmdir(ctx, name("x")) }()
		time.Sleep(2 * time.Second)
		if len(errs) != 0 {
			t.Error("a changing call was left")
		}
		release()
		if err := <-errs; vfs.StatusOf(err) != vfs.NoEnt {
			t.Error(err)
		}
		wantHealth(t, g, volume.Online, 1)
	})
}

// TestQueue: beyond those who work and those who wait calls are refused, and nobody waits behind
// calls that seem to hang, or goes on waiting.
func TestQueue(t *testing.T) {
	bubble(t, func(o *Options) { o.Workers, o.Waiting = 2, 3 }, func(t *testing.T, h *host, g *Volume) {
		release := h.hang("statat", "unlink")
		errs := make(chan error, 20)
		for range 6 {
			go func() { _, err := g.Root().StatAt(t.Context(), name("x")); errs <- err }()
			go func() { errs <- g.Root().Unlink(t.Context(), name("x")) }()
		}
		synctest.Wait()
		if s := g.Stats(); s.InFlight != 4 || s.Waiting != 6 || len(errs) != 2 {
			t.Fatalf("%+v, %d refused", s, len(errs))
		}
		for range 2 {
			if err := <-errs; vfs.StatusOf(err) != vfs.Jukebox {
				t.Error(err)
			}
		}
		wantHealth(t, g, volume.Online, 1)
		if s := g.Stalled(); s != 0 {
			t.Errorf("stalled for %v", s)
		}
		time.Sleep(Deadline/StuckPart + time.Second)
		go func() { _, err := g.Root().StatAt(t.Context(), name("x")); errs <- err }()
		synctest.Wait()
		if len(errs) != 7 {
			t.Errorf("%d were answered", len(errs))
		}
		for range len(errs) {
			if err := <-errs; vfs.StatusOf(err) != vfs.Jukebox {
				t.Error(err)
			}
		}
		if s := g.Stats(); s.InFlight != 4 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		if s := g.Stalled(); s < Deadline/StuckPart {
			t.Errorf("stalled for %v", s)
		}
		release()
		for range 4 {
			<-errs //nolint:errcheck // that all are answered counts here, not how
		}
		if s := g.Stats(); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Second)
		_, err := g.Root().StatAt(t.Context(), name("x"))
		if vfs.StatusOf(err) != vfs.NoEnt {
			t.Error(err)
		}
	})
}

// TestQueueMoves: who waits goes on waiting while one call hangs and others come back.
func TestQueueMoves(t *testing.T) {
	bubble(t, func(o *Options) { o.Workers = 2 }, func(t *testing.T, h *host, g *Volume) {
		defer h.hang("unlink")()
		one := make(chan struct{}) // lets one through
		h.hangs["mkdir"] = one
		errs, done := make(chan error, 1), make(chan error, 6)
		go func() { errs <- g.Root().Unlink(t.Context(), name("x")) }()
		synctest.Wait()
		for i := range 6 {
			go func() {
				d, _, _, err := g.Root().Mkdir(t.Context(), name(string(rune('a'+i))), &volume.New{Mode: 0o755})
				if err == nil {
					err = d.Close()
				}
				done <- err
			}()
		}
		for range 6 {
			time.Sleep(Deadline / StuckPart)
			one <- struct{}{}
			ok(t, <-done)
		}
		if len(errs) != 0 {
			t.Error("the call that hangs was answered")
		}
	})
}

// TestFlooded: when flushes do not come back, and as many as Workers are under way, no more changes begin; what began
// is flushed. Who reads is served.
func TestFlooded(t *testing.T) {
	bubble(t, func(o *Options) { o.Workers = 2 }, func(t *testing.T, h *host, g *Volume) {
		release := h.hang("syncdir")
		errs := make(chan error, 20)
		for range 3 { // one more than Workers: a flush is not refused
			go func() { errs <- g.Root().Sync(t.Context()) }()
		}
		synctest.Wait()
		ok(t, create(t, g.Root(), "before", "content").Close())
		time.Sleep(Deadline/StuckPart + time.Second)
		if s := g.Stalled(); s < Deadline/StuckPart {
			t.Errorf("stalled for %v", s)
		}
		if err := g.Root().Unlink(t.Context(), name("before")); vfs.StatusOf(err) != vfs.Jukebox {
			t.Errorf("a change begins: %v", err)
		}
		_, err := g.Root().StatAt(t.Context(), name("before"))
		ok(t, err)
		wantHealth(t, g, volume.Online, 1)
		go func() { errs <- g.Root().Sync(t.Context()) }()
		synctest.Wait()
		release()
		for range 4 {
			ok(t, <-errs)
		}
		time.Sleep(ProbeEvery)
		ok(t, g.Root().Unlink(t.Context(), name("before")))
		if s := g.Stalled(); s != 0 {
			t.Errorf("stalled for %v", s)
		}
	})
}

// TestGoesAndComes: a volume that is not there is Away, says why, comes back by itself as another
// opening, and what was open before stays away.
func TestGoesAndComes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		var told []volume.State
		cancel := g.Notify(func(s volume.State) { told = append(told, s) })
		f := create(t, g.Root(), "f", "content")
		ok(t, g.Root().Sync(t.Context()))
		d, _, _, err := g.Root().Mkdir(t.Context(), name("d"), &volume.New{Mode: 0o755})
		ok(t, err)

		h.setGone(volume.ErrGone)
		time.Sleep(ProbeEvery + 2*g.tick)
		wantHealth(t, g, volume.Away, 1)
		_, err = g.Root().StatAt(t.Context(), name("f"))
		wantAway(t, err, volume.OpStatAt, volume.Away, vfs.Jukebox)
		_, err = f.ReadNow(make([]byte, 1), 0)
		wantAway(t, err, volume.OpReadNow, volume.Away, vfs.Jukebox)
		h.setGone(errors.New("no such file or directory"))
		time.Sleep(OfflineWait)
		_, err = f.WriteAt(t.Context(), []byte("x"), 0)
		wantAway(t, err, volume.OpWriteAt, volume.Away, vfs.IO)
		if r := g.State().Reason; r != "no such file or directory" {
			t.Errorf("reason %q", r)
		}

		h.setGone(nil)
		time.Sleep(ProbeEvery + 2*g.tick)
		wantHealth(t, g, volume.Online, 2)
		_, err = g.Root().StatAt(t.Context(), name("f"))
		ok(t, err)
		_, err = f.WriteAt(t.Context(), []byte("x"), 0)
		wantAway(t, err, volume.OpWriteAt, volume.Away, vfs.IO)
		_, err = d.Stat(t.Context())
		wantAway(t, err, volume.OpStat, volume.Away, vfs.IO)
		err = g.Root().Rename(t.Context(), name("f"), d, name("f"), false)
		wantAway(t, err, volume.OpRename, volume.Away, vfs.IO)
		ok(t, f.Close())
		ok(t, d.Close())

		synctest.Wait()
		want := []volume.Health{volume.Away, volume.Away, volume.Online}
		if len(told) != len(want) {
			t.Fatalf("told %+v", told)
		}
		for i, s := range told {
			if s.Health != want[i] {
				t.Errorf("told %+v", told)
			}
		}
		cancel()
		h.setGone(volume.ErrGone)
		time.Sleep(2 * ProbeEvery)
		if wantHealth(t, g, volume.Away, 2); len(told) != len(want) {
			t.Error("told after cancel")
		}
	})
}

// TestTellsBeforeItIsBack: whoever is still being told that the volume went keeps it from
// being used anew.
func TestTellsBeforeItIsBack(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		wait := make(chan struct{})
		g.Notify(func(s volume.State) {
			if s.Health == volume.Away {
				<-wait
			}
		})
		h.setGone(volume.ErrGone)
		time.Sleep(2 * ProbeEvery)
		h.setGone(nil)
		time.Sleep(10 * ProbeEvery)
		wantHealth(t, g, volume.Away, 1)
		close(wait)
		time.Sleep(ProbeEvery)
		wantHealth(t, g, volume.Online, 2)
	})
}

// TestNeverThere: a volume that is not there at the start answers what is known of it.
func TestNeverThere(t *testing.T) {
	var there atomic.Bool
	bubble(t, func(o *Options) {
		o.First, o.Marker.Share = nil, "share"
		open := o.Open
		o.Open = func(ctx context.Context) (volume.Volume, error) {
			if !there.Load() {
				return nil, errors.New("not mounted")
			}
			return open(ctx)
		}
	}, func(t *testing.T, h *host, g *Volume) {
		if g.ID() != h.ID() || g.Name() != "disk" || g.Caps() != (volume.Caps{}) || g.Marker().Share != "share" {
			t.Errorf("%v %v %+v %+v", g.ID(), g.Name(), g.Caps(), g.Marker())
		}
		root := g.Root()
		_, err := root.Stat(t.Context())
		wantAway(t, err, volume.OpStat, volume.Away, vfs.Jukebox)
		if err := g.Attach(t.Context()); err == nil || err.Error() != "not mounted" {
			t.Error(err)
		}
		there.Store(true)
		ok(t, g.Attach(t.Context()))
		wantHealth(t, g, volume.Online, 1)
		_, err = root.Stat(t.Context())
		ok(t, err)
		if g.Caps() != h.Caps() || g.Marker().Share == "share" {
			t.Errorf("%+v %+v", g.Caps(), g.Marker())
		}
	})
}

// TestAnotherVolume: what is found in the volume's place is not taken for it.
func TestAnotherVolume(t *testing.T) {
	other := volumetest.NewMem(volumetest.Options{Name: "other"})
	bubble(t, func(o *Options) {
		o.First, o.Open = nil, func(context.Context) (volume.Volume, error) { return other, nil }
	}, func(t *testing.T, _ *host, g *Volume) {
		if err := g.Attach(t.Context()); !errors.Is(err, volume.ErrGone) {
			t.Error(err)
		}
		wantHealth(t, g, volume.Away, 0)
		if _, err := other.Root().Stat(t.Context()); err == nil {
			t.Error("it was not closed")
		}
	})
}

// TestErrorsOfHardware: some in a row make the guard look, and a volume that fails the probe is
// refused until it passes.
func TestErrorsOfHardware(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		h.fail(vfs.IO, "statat")
		for range 3 * BadMax {
			if _, err := g.Root().StatAt(t.Context(), name("x")); err != vfs.IO { //nolint:errorlint // it is to come bare
				t.Fatal(err)
			}
		}
		synctest.Wait()
		wantHealth(t, g, volume.Online, 1) // a bad spot, not a bad volume
		h.fail(vfs.IO, "syncfile")
		for range BadMax {
			_, err := g.Root().StatAt(t.Context(), name("x"))
			if err == nil {
				t.Fatal("no error")
			}
		}
		synctest.Wait()
		wantHealth(t, g, volume.Slow, 1)
		h.fail(nil, "syncfile", "statat")
		time.Sleep(2 * ProbeEvery)
		wantHealth(t, g, volume.Online, 1)
		if _, err := g.Private().StatAt(t.Context(), name(probeFile)); vfs.StatusOf(err) != vfs.NoEnt {
			t.Errorf("the probe's file: %v", err)
		}
	})
}

// TestProbeHangs: a probe that hangs makes the volume slow, and is replaced by another, so that the
// disk that is put in place of a dead one is found.
func TestProbeHangs(t *testing.T) {
	wait := make(chan struct{})
	var hang atomic.Bool
	bubble(t, func(o *Options) {
		wait = make(chan struct{})
		present := o.Present
		o.Present = func(ctx context.Context, v volume.Volume) error {
			if hang.Load() {
				<-wait
			}
			return present(ctx, v)
		}
	}, func(t *testing.T, h *host, g *Volume) {
		defer close(wait)
		hang.Store(true)
		time.Sleep(Deadline + 4*time.Second)
		wantHealth(t, g, volume.Slow, 1)
		hang.Store(false)
		h.setGone(volume.ErrGone)
		time.Sleep(2*Deadline + 4*time.Second)
		wantHealth(t, g, volume.Away, 1)
		h.setGone(nil)
		time.Sleep(2 * Deadline)
		wantHealth(t, g, volume.Online, 2)
	})
}

// TestOpenHangs: so does an attempt to open it; what comes of it in the end is closed.
func TestOpenHangs(t *testing.T) {
	wait := make(chan struct{})
	var mu sync.Mutex
	var opened []*volumetest.Mem
	bubble(t, func(o *Options) {
		wait = make(chan struct{})
		first := o.First.(*volumetest.Mem)
		o.First = nil
		var calls atomic.Int32
		o.Open = func(context.Context) (volume.Volume, error) {
			if calls.Add(1) == 1 {
				<-wait
			}
			mu.Lock()
			defer mu.Unlock()
			m := first.Reopen()
			opened = append(opened, m)
			return m, nil
		}
	}, func(t *testing.T, _ *host, g *Volume) {
		time.Sleep(Deadline + 4*time.Second)
		wantHealth(t, g, volume.Online, 1)
		close(wait)
		synctest.Wait()
		wantHealth(t, g, volume.Online, 1)
		mu.Lock()
		defer mu.Unlock()
		if _, err := opened[1].Root().Stat(t.Context()); err == nil {
			t.Error("the late opening is open")
		}
	})
}

// TestCloseIsBounded: a call that hangs keeps Close for CloseWait, and the volume open until it
// comes back.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		g := h.guard(nil)
		release := h.hang("unlink", "stat")
		errs := make(chan error, 2)
		go func() { errs <- g.Root().Unlink(t.Context(), name("x")) }()
		go func() { _, err := g.Root().Stat(t.Context()); errs <- err }()
		synctest.Wait()
		began := time.Now()
		if err := g.Close(); vfs.StatusOf(err) != vfs.Jukebox {
			t.Error(err)
		}
		if time.Since(began) != CloseWait {
			t.Error(time.Since(began))
		}
		wantAway(t, <-errs, volume.OpStat, volume.Away, vfs.Jukebox)
		if err := g.Close(); err == nil {
			t.Error("closed twice")
		}
		release()
		if err := <-errs; vfs.StatusOf(err) != vfs.NoEnt {
			t.Errorf("unlink: %v", err)
		}
		synctest.Wait()
		if _, err := h.Mem.Root().Stat(t.Context()); err == nil {
			t.Error("the volume is still open")
		}
	})
}

// TestList: large directories come in batches, whose deadline is their own, and a caller who works
// on them does not keep others out; he may stop, and is answered when a batch hangs.
func TestList(t *testing.T) {
	bubble(t, func(o *Options) { o.Workers = 1 }, func(t *testing.T, h *host, g *Volume) {
		const many = 5*listBatch/2 + 1
		for i := range many {
			ok(t, create(t, g.Root(), "f"+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)), "").Close())
		}
		seen := 0
		ok(t, g.Root().List(t.Context(), func(e volume.Entry) bool {
			seen++
			if seen%100 == 0 {
				time.Sleep(Deadline)
				_, err := g.Root().StatAt(t.Context(), e.Name)
				ok(t, err)
			}
			return true
		}))
		if seen != many {
			t.Errorf("%d entries", seen)
		}
		wantHealth(t, g, volume.Online, 1)
		for _, most := range []int{1, listBatch, listBatch + 1} {
			seen = 0
			ok(t, g.Root().List(t.Context(), func(volume.Entry) bool { seen++; return seen < most }))
			if seen != most {
				t.Errorf("%d entries, want %d", seen, most)
			}
		}
		synctest.Wait()
		if s := g.Stats(); s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		seen = 0
		err := g.Root().List(t.Context(), func(volume.Entry) bool {
			if seen++; seen == listBatch {
				h.setGone(volume.ErrGone)
				time.Sleep(2 * ProbeEvery)
			}
			return true
		})
		if wantAway(t, err, volume.OpList, volume.Away, vfs.Jukebox); seen != listBatch {
			t.Errorf("%d entries", seen)
		}
		h.setGone(nil)
	})
}

// TestStatNow: what never waits is made at once, through the same gate as everything else.
func TestStatNow(t *testing.T) {
	m := volumetest.NewMem(volumetest.Options{})
	var gone atomic.Bool
	g := New(Options{
		Name: "disk", ID: m.ID(), First: m, ProbeEvery: time.Millisecond,
		Present: func(context.Context, volume.Volume) error {
			if gone.Load() {
				return volume.ErrGone
			}
			return nil
		},
	})
	f := create(t, g.Root(), "f", "x")
	if st, err := f.Stat(t.Context()); err != nil || st.Size != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := g.Root().Stat(t.Context()); err != nil || st.Type != vfs.Directory {
		t.Errorf("%+v, %v", st, err)
	}
	if n := g.current.idle.Load(); n != 0 {
		t.Errorf("%d workers were needed", n)
	}
	gone.Store(true)
	for deadline := time.Now().Add(time.Minute); g.State().Health != volume.Away; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not noticed")
		}
	}
	_, err := f.Stat(t.Context())
	wantAway(t, err, volume.OpFStat, volume.Away, vfs.Jukebox)
	_, err = g.Root().Stat(t.Context())
	wantAway(t, err, volume.OpStat, volume.Away, vfs.Jukebox)
	ok(t, f.Close())
	for deadline := time.Now().Add(time.Minute); m.Handles() != 0; time.Sleep(time.Millisecond) { // closed in the background
		if time.Now().After(deadline) {
			t.Fatal("it is not closed")
		}
	}
	closeGuard(t, g, m)
}

// neverStalled has the volume go from Online to Slow.
func neverStalled(o *Options) { o.StallAfter = -1 }
