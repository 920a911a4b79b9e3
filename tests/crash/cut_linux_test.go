package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/tests/e2e/server"
	"sheaf/tests/need"
)

// run runs a command of the host.
func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%q: %w\n%s", args, err, out)
	}
	return nil
}

// mount mounts an image until the test ends, or end is called.
func mount(t *testing.T, img, at, options string) (end func()) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(at, 0o755), run("mount", "-o", options, img, at)); err != nil {
		need.Lack(t, need.Loop, "this host cannot mount an image: %v", err)
	}
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		if err := run("umount", at); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return end
}

// image makes a file system in a file.
func image(t *testing.T, name string, size int64, mkfs ...string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, size)); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		need.Lack(t, strings.TrimPrefix(mkfs[0], "mkfs."), "no %s on this host", mkfs[0])
	}
	if err := run(append(mkfs, name)...); err != nil {
		t.Fatal(err)
	}
}

// clone copies an image as it is at one moment.
func clone(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())), dst.Close())
}

// snapshot is a power cut: what the disk held, and between which moments.
type snapshot struct {
	img          string
	since, until time.Duration
}

// TestPowerCuts cuts the power of all volumes while clients work: on each file system everything that was acknowledged
// is there after it is mounted again and the server started, under the handles that clients hold, and what
// was under way was done or not.
func TestPowerCuts(t *testing.T) {
	if os.Getuid() != 0 {
		need.Lack(t, need.Root, "mounting an image needs root")
	}
	cuts, first := need.Number(t, "SHEAF_CRASH_CUTS", 4), need.Seed(t, "SHEAF_CRASH_SEED", rand.Uint64())
	top := t.TempDir()
	image(t, filepath.Join(top, "store.img"), 4<<30, "mkfs.xfs", "-q", "-m", "reflink=1")
	store := filepath.Join(top, "store")
	mount(t, filepath.Join(top, "store.img"), store, "loop")
	for _, c := range []struct {
		name, options string
		size          int64
		mkfs          []string
	}{
		{"ext4", "loop", 128 << 20, []string{"mkfs.ext4", "-q"}},
		{"xfs", "loop,nouuid", 320 << 20, []string{"mkfs.xfs", "-q"}},
		{"btrfs", "loop", 256 << 20, []string{"mkfs.btrfs", "-q"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, at := filepath.Join(store, c.name), filepath.Join(t.TempDir(), "at")
			image(t, img, c.size, c.mkfs...)
			end := mount(t, img, at, c.options)
			chance := rand.New(rand.NewPCG(first, 1))
			s := server.Start(t, server.Options{Volumes: volumesIn(t, at, 3)})
			c1 := connect(t, s, nil)
			hands, err := newHands(t.Context(), c1, who(), chance.Uint64(), handCount)
			if err != nil {
				t.Fatal(err)
			}
			snaps := snapshots(t, hands, img, cuts, chance)
			if err := c1.Close(); err != nil {
				t.Error(err)
			}
			s.Stop()
			end()
			for i, snap := range snaps {
				t.Run(fmt.Sprint("cut ", i), func(t *testing.T) {
					mount(t, snap.img, at, c.options) // at the same place: the volumes are the same
					s := server.Start(t, server.Options{Volumes: volumesIn(t, at, 3)})
					c2 := connect(t, s, c1)
					for _, h := range hands {
						if err := h.verify(t.Context(), c2, snap.since, snap.until); err != nil {
							t.Error(err)
						}
					}
					clean(t, s)
					for _, v := range c2.Violations() {
						t.Error(v)
					}
					if err := c2.Close(); err != nil {
						t.Error(err)
					}
					s.Stop()
				})
			}
		})
	}
}

// snapshots lets the hands work and takes copies of the image meanwhile.
func snapshots(t *testing.T, hands []*hand, img string, cuts int, chance *rand.Rand) []snapshot {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, h := range hands {
		wg.Go(func() { h.work(t.Context(), stop) })
	}
	var snaps []snapshot
	start := hands[0].start
	for i := range cuts {
		time.Sleep(200*time.Millisecond + time.Duration(chance.Int64N(int64(300*time.Millisecond))))
		snap := snapshot{img: fmt.Sprintf("%s.%d", img, i), since: time.Since(start)}
		if err := clone(img, snap.img); err != nil {
			t.Errorf("a copy of the image: %v", err)
			break
		}
		snap.until = time.Since(start)
		t.Logf("cut %d took %v", i, snap.until-snap.since)
		snaps = append(snaps, snap)
	}
	close(stop)
	wg.Wait()
	for _, h := range hands {
		if h.err != nil {
			t.Error(h.err)
		}
		t.Logf("hand %d made %d calls", h.nth, len(h.steps))
	}
	return snaps
}
