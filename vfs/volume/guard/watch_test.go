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

// watched is a volume that can be watched.
type watched struct {
	volume.Volume
	mu   sync.Mutex
	said []string
}

func (w *watched) say(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, s)
}

func (w *watched) Watch(context.Context, volume.WatchSink) (volume.Watch, error) { return w, nil }
func (w *watched) Kind() string                                                  { return "watched" }
func (w *watched) Whole() bool                                                   { return false }
func (w *watched) Covered() int                                                  { return 0 }
func (w *watched) Uncover(uint64)                                                { w.say("uncover") }

func (w *watched) Cover(_ context.Context, d volume.Dir) (bool, error) {
	if d != w.Root() {
		w.say("another directory")
	}
	return true, nil
}

func (w *watched) Close() error { w.say("close"); return nil }

// Changed, Lost and Alive make it a sink, too.
func (w *watched) Changed(volume.News) {}
func (w *watched) Alive(time.Time)     {}
func (w *watched) Lost(dir uint64, dropped bool, why string) {
	if dir == 0 && dropped && why != "" {
		w.say("lost")
	}
}

// TestWatch: a watch is of one opening; when that ends the watch is closed and its sink is told, unless
// it was closed before.
func TestWatch(t *testing.T) {
	var host1 *watched
	bubble(t, func(o *Options) {
		host1 = &watched{Volume: o.First}
		o.First = host1
	}, func(t *testing.T, h *host, g *Volume) {
		ctx := t.Context()
		w, err := g.Watch(ctx, host1)
		ok(t, err)
		closed, err := g.Watch(ctx, host1)
		ok(t, err)
		if yes, err := w.Cover(ctx, g.Root()); !yes || err != nil || w.Kind() != "watched" {
			t.Error(yes, err)
		}
		w.Uncover(1)
		ok(t, closed.Close())
		sub, _, _, err := g.Root().Mkdir(ctx, name("d"), &volume.New{Mode: 0o700})
		ok(t, err)
		h.setGone(volume.ErrGone)
		time.Sleep(2 * ProbeEvery)
		if _, err := g.Watch(ctx, host1); vfs.StatusOf(err) != vfs.Jukebox {
			t.Error(err)
		}
		h.setGone(nil)
		time.Sleep(2 * ProbeEvery)
		synctest.Wait()
		wantHealth(t, g, volume.Online, 2)
		if _, err := w.Cover(ctx, sub); vfs.StatusOf(err) != vfs.Jukebox {
			t.Errorf("%v for a directory of another opening", err)
		}
		ok(t, sub.Close())
		ok(t, w.Close())
		// The last close is the volume's own, of the opening that ended.
		if want := []string{"uncover", "close", "close", "lost", "close"}; !slices.Equal(host1.said, want) {
			t.Errorf("%q, want %q", host1.said, want)
		}
		if _, err := g.Watch(ctx, host1); vfs.StatusOf(err) != vfs.NotSupp {
			t.Errorf("%v of a volume that cannot be watched", err)
		}
	})
}
