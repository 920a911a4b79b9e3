package local

import (
	"strings"
	"sync"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestVolumesOfOneFileSystemShareAWatch: each gets its news, one that leaves takes nothing from the other, and
// when the last has left the next begins anew.
func TestVolumesOfOneFileSystemShareAWatch(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	va, wa, sa := watchedAs(t, a, WatchFanotify)
	vb, wb, sb := watchedAs(t, b, WatchFanotify)
	shared := wa.(*fanMember).out
	if wb.(*fanMember).out != shared {
		t.Fatal("two volumes on one file system have a watch each")
	}
	created := func(name string) func(n volume.News) bool {
		return func(n volume.News) bool { return n.Name == vfs.MustName(name) && !n.Own }
	}
	another(t, a, "echo x >in-a")
	another(t, b, "echo x >in-b")
	sa.told("a's own", created("in-a"))
	sb.told("b's own", created("in-b"))

	if err := wa.Close(); err != nil {
		t.Error(err)
	}
	n := len(sa.all) // without a lock: the race detector sees who is late
	another(t, b, "echo x >later")
	sb.told("after the other left", created("later"))
	if len(sa.all) != n || len(sa.lost) != 0 {
		t.Errorf("%d news and losses %q after the end", len(sa.all)-n, sa.lost)
	}

	again := &news{t: t}
	w, err := va.Watch(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	if w.(*fanMember).out != shared {
		t.Error("who comes back does not share")
	}
	another(t, a, "echo x >back")
	again.told("after coming back", created("back"))
	for _, w := range []volume.Watch{w, wb} {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	fresh := &news{t: t}
	w, err = vb.Watch(t.Context(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	if w.(*fanMember).out == shared {
		t.Error("a watch that was closed is used again")
	}
	another(t, b, "echo x >fresh")
	fresh.told("after all had left", created("fresh"))
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestASharedWatchEndsForAll: each is told, who was about to begin gets an error, and the next begins anew.
func TestASharedWatchEndsForAll(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	va, wa, sa := watchedAs(t, a, WatchFanotify)
	_, _, sb := watchedAs(t, b, WatchFanotify)
	shared := wa.(*fanMember).out
	v, err := Open(t.Context(), t.TempDir(), Options{Name: "third", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	late, err := v.joinFanout(&news{t: t}) // not yet tried
	if err != nil {
		t.Fatal(err)
	}
	shared.Lost(0, false, "some")
	shared.Lost(0, true, "all")
	for name, s := range map[string]*news{"a": sa, "b": sb} {
		s.mu.Lock()
		if got := strings.Join(s.lost, ", "); got != "0 false some, 0 true all" {
			t.Errorf("%s was told %q", name, got)
		}
		s.mu.Unlock()
	}
	<-late.tried
	if late.why == nil || !strings.Contains(late.why.Error(), "ended: all") {
		t.Errorf("who was about to begin: %v", late.why)
	}
	if err := late.Close(); err != nil {
		t.Error(err)
	}
	w, err := va.Watch(t.Context(), &news{t: t})
	if err != nil {
		t.Fatal(err)
	}
	if w.(*fanMember).out == shared {
		t.Error("a watch that ended is used again")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestComingAndLeavingAtOnce has volumes join and leave a shared watch while things happen.
func TestComingAndLeavingAtOnce(t *testing.T) {
	watchedAs(t, t.TempDir(), WatchFanotify) // skips where it may not
	var wg sync.WaitGroup
	for range 4 {
		v := adopted(t, t.TempDir())
		wg.Go(func() {
			for range 10 {
				s := &news{t: t}
				w, err := v.watchFanotify(s)
				if err != nil {
					t.Error(err)
					return
				}
				changes(t, v, 3)
				s.mu.Lock()
				if len(s.lost) > 0 {
					t.Errorf("lost %q", s.lost)
				}
				s.mu.Unlock()
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
