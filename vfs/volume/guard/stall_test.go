package guard

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

const stallAfter = Deadline / StallShare

// states notes what g tells.
func states(g *Volume) (told func() []volume.Health) {
	var mu sync.Mutex
	var all []volume.Health
	g.Notify(func(s volume.State) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s.Health)
	})
	return func() []volume.Health {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// TestStalls: of a volume that does not answer, whoever looks is told so after seconds, whoever reads, or is in the midst of a change,
// waits; and what comes back brings it back, before its caller goes on.
func TestStalls(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		told := states(g)
		f := create(t, g.Root(), "f", "content")
		h.fail(vfs.Again, "readnow")
		release := h.hang("statat", "read", "syncfile")
		buf := make([]byte, 7)
		var all sync.WaitGroup
		all.Go(func() {
			_, err := f.ReadAt(t.Context(), buf, 0)
			if err != nil || string(buf) != "content" {
				t.Errorf("read %q, %v", buf, err)
			}
			if s := g.State(); s.Health != volume.Online {
				t.Errorf("the volume answers and is %v", s.Health)
			}
		})
		all.Go(func() {
			_, err := g.Root().StatAt(context.WithoutCancel(t.Context()), name("f"))
			if err != nil {
				t.Errorf("part of a change: %v", err)
			}
		})
		began := time.Now()
		_, err := g.Root().StatAt(t.Context(), name("f"))
		wantAway(t, err, volume.OpStatAt, volume.Stalled, vfs.Jukebox)
		if took := time.Since(began); took < stallAfter || took > stallAfter+2*g.tick {
			t.Errorf("answered after %v", took)
		}
		time.Sleep(2 * OfflineWait)
		began = time.Now()
		_, err = g.Root().StatAt(t.Context(), name("f"))
		wantAway(t, err, volume.OpStatAt, volume.Stalled, vfs.Jukebox) // it may be waking up
		if took := time.Since(began); took != 0 {
			t.Errorf("refused after %v", took)
		}
		ok(t, create(t, g.Root(), "g", "").Close()) // what comes back at once says nothing
		wantHealth(t, g, volume.Stalled, 1)
		release()
		all.Wait()
		_, err = g.Root().StatAt(t.Context(), name("f"))
		ok(t, err)
		time.Sleep(2 * Deadline)
		if got, want := told(), []volume.Health{volume.Stalled, volume.Online}; !slices.Equal(got, want) {
			t.Errorf("it was %v, want %v", got, want)
		}
		ok(t, f.Close())
	})
}

// TestStalledByAChange: a change that hangs stalls a volume as well, and is waited for; at the deadline the volume is slow.
func TestStalledByAChange(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		told := states(g)
		release := h.hang("mkdir", "syncfile")
		done := make(chan volume.State, 2)
		for i := range cap(done) {
			go func() {
				d, _, _, err := g.Root().Mkdir(t.Context(), name(string(rune('a'+i))), &volume.New{Mode: 0o755})
				if err != nil {
					t.Error(err)
				} else if err := d.Close(); err != nil {
					t.Error(err)
				}
				done <- g.State()
			}()
		}
		time.Sleep(stallAfter + 3*g.tick)
		wantHealth(t, g, volume.Stalled, 1)
		time.Sleep(Deadline)
		wantHealth(t, g, volume.Slow, 1)
		release()
		<-done
		<-done
		time.Sleep(2 * ProbeEvery)
		if got, want := told(), []volume.Health{volume.Stalled, volume.Slow, volume.Online}; !slices.Equal(got, want) {
			t.Errorf("it was %v, want %v", got, want)
		}
	})
}

// TestStallsOnlyUnproved: neither a call that hangs by itself, nor flushes that take long, stall a volume.
func TestStallsOnlyUnproved(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		told := states(g)
		release := h.hang("syncdir", "readlink")
		synced, read := make(chan error, 1), make(chan error, 1)
		go func() { synced <- g.Root().Sync(t.Context()) }()
		go func() {
			_, err := g.Root().ReadLink(t.Context(), name("x"))
			read <- err
		}()
		for range Deadline/time.Second - 1 { // others come and go
			time.Sleep(time.Second)
			_, err := g.Root().Stat(t.Context())
			ok(t, err)
		}
		if got := told(); len(got) > 0 {
			t.Errorf("it was %v", got)
		}
		release()
		ok(t, <-synced)
		if err := <-read; vfs.StatusOf(err) != vfs.NoEnt {
			t.Error(err)
		}
	})
}

// TestStalledAgain: a volume that came back, while a call still hangs in it, stalls when further ones do.
func TestStalledAgain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, h *host, g *Volume) {
		told := states(g)
		old := h.hang("readlink")
		broken := h.hang("syncfile")
		_, err := g.Root().ReadLink(t.Context(), name("x"))
		wantAway(t, err, volume.OpReadLink, volume.Stalled, vfs.Jukebox)
		broken()
		time.Sleep(stallAfter)
		wantHealth(t, g, volume.Online, 1)
		time.Sleep(stallAfter)
		wantHealth(t, g, volume.Online, 1) // though it still hangs
		release := h.hang("statat", "syncfile")
		_, err = g.Root().StatAt(t.Context(), name("x"))
		wantAway(t, err, volume.OpStatAt, volume.Stalled, vfs.Jukebox)
		release()
		synctest.Wait()
		wantHealth(t, g, volume.Online, 1)
		old()
		if got, want := told(), []volume.Health{volume.Stalled, volume.Online, volume.Stalled, volume.Online}; !slices.Equal(got, want) {
			t.Errorf("it was %v, want %v", got, want)
		}
	})
}
