package foreign

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sheaf/tests/e2e/server"
	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/volume/local"
)

// flood is how many names are made and removed while the server is stopped: more than the kernel keeps
// events for (fs.inotify.max_queued_events, 16,384 where it was not changed).
const flood = 12_000

// TestStopped stops the real server while a hand makes more changes than the kernel keeps news of for inotify. What
// was lost is seen as soon as the server goes on, because it knows that it was behind; later news come again. By
// fanotify nothing is lost.
func TestStopped(t *testing.T) {
	for _, mode := range []local.WatchMode{local.WatchFanotify, local.WatchInotify} {
		t.Run(string(mode), func(t *testing.T) {
			if mode == local.WatchFanotify && os.Geteuid() != 0 {
				need.Lack(t, need.Fanotify, "it wants privileges")
			}
			t.Parallel()
			dir := t.TempDir
			if os.Geteuid() == 0 { // a disk that is busy with flushes takes half a minute for the flood
				dir = func() string { return sites["tmpfs"](t) }
			}
			site := newSite(t, dir())
			s := server.Start(t, server.Options{
				Volumes: []server.Volume{{Name: "v0", Dir: site.volumes[0]}, {Name: "v1", Dir: site.volumes[1]}},
				Args:    []string{"--watch", string(mode)},
			})
			until(t, "both volumes are watched", func() bool { return strings.Count(s.Log(), "volume is watched") == 2 })
			k := newClient(t, connect(t, fmt.Sprintf("127.0.0.1:%d", s.Port)))
			d := filepath.Join(site.volumes[0], "d")
			k.sees(t, "before", vfs.NoEnt)
			touch(t, filepath.Join(d, "gone"))
			touch(t, filepath.Join(d, "before"))
			until(t, "a change is seen", func() bool { return k.status(t, "before") == vfs.OK })
			k.sees(t, "gone", vfs.OK)
			k.sees(t, "hidden", vfs.NoEnt)

			if err := syscall.Kill(s.Pid(), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			for i := range flood {
				p := filepath.Join(d, fmt.Sprint("flood", i))
				touch(t, p)
				remove(t, p)
			}
			touch(t, filepath.Join(d, "hidden"))
			remove(t, filepath.Join(d, "gone"))
			time.Sleep(bound) // so that it must be known at once
			if err := syscall.Kill(s.Pid(), syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			k.sees(t, "hidden", vfs.OK)
			k.sees(t, "gone", vfs.NoEnt)
			if mode == local.WatchInotify {
				until(t, "the loss is told", func() bool { return strings.Contains(s.Log(), "news of a volume were lost") })
			}
			touch(t, filepath.Join(d, "after"))
			made := time.Now()
			until(t, "a change after it is seen", func() bool { return k.status(t, "after") == vfs.OK })
			t.Logf("seen %v after it was made", time.Since(made))
			if mode == local.WatchFanotify && strings.Contains(s.Log(), "news of a volume were lost") {
				t.Error("news were lost")
			}
		})
	}
}

// status is what a look-up of a name in d says.
func (k *client) status(t *testing.T, name string) vfs.Status {
	t.Helper()
	_, _, err := k.c.Lookup(t.Context(), k.w, k.dirs["d"], vfs.MustName(name))
	return vfs.StatusOf(err)
}

func (k *client) sees(t *testing.T, name string, want vfs.Status) {
	t.Helper()
	if got := k.status(t, name); got != want {
		t.Errorf("look %s up: %v, want %v", name, got, want)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// until waits.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
