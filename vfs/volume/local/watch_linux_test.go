package local

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// patience is how long news may take on a machine that is busy with other things.
const patience = 60 * time.Second

// news is a sink that remembers.
type news struct {
	t     *testing.T
	mu    sync.Mutex
	all   []volume.News
	lost  []string
	alive time.Time
}

func (s *news) Changed(n volume.News) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, n)
}

func (s *news) Lost(dir uint64, dropped bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, fmt.Sprintf("%d %v %s", dir, dropped, why))
}

func (s *news) Alive(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.Before(s.alive) {
		s.t.Errorf("alive at %v, then at %v", s.alive, at)
	}
	s.alive = at
}

// until waits until ok, which holds mu, says so.
func (s *news) until(what string, ok func() bool) {
	s.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		done := ok()
		s.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(limit) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("%s: not told in %v; %d news, the last %+v; %d losses, the last %q", what, patience, len(s.all), s.all[max(0, len(s.all)-10):], len(s.lost), s.lost[max(0, len(s.lost)-3):])
		}
	}
}

// told waits for news that match.
func (s *news) told(what string, match func(n volume.News) bool) {
	s.t.Helper()
	s.until(what, func() bool {
		return slices.ContainsFunc(s.all, match)
	})
}

// settled waits until all that happened before the call was told, and forgets it.
func (s *news) settled() []volume.News {
	s.t.Helper()
	now := time.Now()
	s.until("being alive", func() bool { return s.alive.After(now) })
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all
	s.all = nil
	return all
}

// watchedAs opens a volume and watches it.
func watchedAs(t *testing.T, path string, mode WatchMode) (*Volume, volume.Watch, *news) {
	t.Helper()
	v, err := Open(t.Context(), path, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	v.WatchBy(mode, 0)
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &news{t: t}
	w, err := v.Watch(t.Context(), s)
	if err != nil {
		if mode == WatchFanotify && os.Geteuid() != 0 {
			need.Lack(t, need.Fanotify, "%v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.Kind() != string(mode) {
		t.Fatalf("watches by %s, want %s", w.Kind(), mode)
	}
	return v, w, s
}

// another is another process that does something in dir.
func another(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func inoOf(t *testing.T, path ...string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(path...), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// cover covers a directory of the volume's root.
func cover(t *testing.T, v *Volume, w volume.Watch, name string) volume.Dir {
	t.Helper()
	d, err := v.Root().OpenDir(t.Context(), nameOf(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	for range 2 { // the second changes nothing
		if ok, err := w.Cover(t.Context(), d); !ok || err != nil {
			t.Fatalf("cover: %v, %v", ok, err)
		}
	}
	return d
}

// eachWatch runs f for each means on each file system there is.
func eachWatch(t *testing.T, f func(t *testing.T, mode WatchMode, root string)) {
	t.Helper()
	places := map[string]func(t *testing.T) string{"temporary": func(t *testing.T) string { t.Helper(); return t.TempDir() }}
	if os.Geteuid() == 0 {
		places["ext4"] = func(t *testing.T) string { t.Helper(); return image(t, 16<<20, "mkfs.ext4", "-q") }
		places["xfs"] = func(t *testing.T) string { t.Helper(); return image(t, 320<<20, "mkfs.xfs", "-q") }
		places["btrfs"] = func(t *testing.T) string { t.Helper(); return image(t, 128<<20, "mkfs.btrfs", "-q") }
		places["tmpfs"] = func(t *testing.T) string { t.Helper(); return need.Tmpfs(t, 64<<20) }
	}
	for place, dir := range places {
		for _, mode := range []WatchMode{WatchFanotify, WatchInotify} {
			t.Run(place+" by "+string(mode), func(t *testing.T) { f(t, mode, dir(t)) })
		}
	}
}

// inMemory is a directory for tens of thousands of changes, which a disk that is busy with flushes takes a minute for.
func inMemory(t *testing.T) string {
	t.Helper()
	if os.Geteuid() == 0 {
		return need.Tmpfs(t, 64<<20)
	}
	return t.TempDir()
}

// TestWatch: every kind of change that another process makes is told, of the right directory, name and object.
func TestWatch(t *testing.T) {
	eachWatch(t, func(t *testing.T, mode WatchMode, root string) {
		if err := os.Mkdir(filepath.Join(root, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		v, w, s := watchedAs(t, root, mode)
		cover(t, v, w, "d")
		if ok, err := w.Cover(t.Context(), v.Root()); !ok || err != nil {
			t.Fatalf("cover the root: %v, %v", ok, err)
		}
		dir, top := inoOf(t, root, "d"), inoOf(t, root)
		exact := mode == WatchFanotify // tells objects
		for _, c := range []struct {
			does, dirname, name, object string
			attr                        bool
		}{
			{"echo x >d/f", "d", "f", "d/f", false},
			{"chmod 600 d/f", "d", "f", "d/f", true},
			{"echo y >>d/f", "d", "f", "d/f", true},
			{"touch -d @1 d/f", "d", "f", "d/f", true},
			{"ln d/f d/g", "d", "g", "d/g", false},
			{"rm d/g", "d", "g", "d/f", false},
			{"mv d/f f", "d", "f", "f", false},
			{"mkdir d/sub", "d", "sub", "d/sub", false},
			{"mv d/sub sub", "", "sub", "sub", false},
			{"rmdir sub", "", "sub", "", false},
			{"ln -s nowhere d/s", "d", "s", "d/s", false},
			{"mkfifo d/p", "d", "p", "d/p", false},
			{"mv f d/s", "d", "s", "d/s", false},
		} {
			s.settled()
			another(t, root, c.does)
			want, obj := top, uint64(0)
			if c.dirname == "d" {
				want = dir
			}
			if c.object != "" && exact {
				obj = inoOf(t, root, c.object)
			}
			s.told(c.does, func(n volume.News) bool {
				if c.attr && exact {
					return n.Ino == obj && !n.Own
				}
				return n.Dir == want && n.Name == vfs.MustName(c.name) && n.AttrOnly == c.attr && !n.Own && (obj == 0 || n.Ino == obj)
			})
		}
		s.settled()
		another(t, root, "chmod 700 d")
		s.told("chmod of the directory", func(n volume.News) bool { return n.Ino == dir && !n.Own })
		s.settled()
		another(t, root, "mv d e")
		s.told("rename of a directory", func(n volume.News) bool { return n.Dir == top && n.Name == vfs.MustName("e") && n.IsDir })
		another(t, root, "touch e/after")
		s.told("a name in a directory that was moved", func(n volume.News) bool { return n.Dir == dir && n.Name == vfs.MustName("after") })
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.lost) != 0 {
			t.Errorf("lost %q", s.lost)
		}
	})
}

// TestWatchOwn: what this process does is told as its own, and a change of another to the same name besides.
func TestWatchOwn(t *testing.T) {
	root := t.TempDir()
	v, _, s := watchedAs(t, root, WatchFanotify)
	ctx, top := t.Context(), inoOf(t, root)
	for range 100 {
		s.settled()
		f, _, _, err := v.Root().Create(ctx, nameOf("x"), own(0o644))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := v.Root().Unlink(ctx, nameOf("x")); err != nil {
			t.Fatal(err)
		}
		for _, n := range s.settled() {
			if n.Dir == top && !n.Own {
				t.Fatalf("our own change was told as another's: %+v", n)
			}
		}
	}
	another(t, root, "for i in 1 2 3 4 5 6 7 8 9; do echo >x; rm x; done; echo >x")
	if err := v.Root().Unlink(ctx, nameOf("x")); err != nil {
		t.Fatal(err)
	}
	s.told("another's change", func(n volume.News) bool { return n.Dir == top && n.Name == vfs.MustName("x") && !n.Own })
	s.told("our own change", func(n volume.News) bool { return n.Own && n.Times > 0 })
}

// TestWatchIsNotTold: what lies elsewhere, is not covered, or not any more.
func TestWatchIsNotTold(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	v, w, s := watchedAs(t, root, WatchInotify)
	before := watches.used
	a := cover(t, v, w, "a")
	b, err := v.Root().OpenDir(t.Context(), nameOf("b"))
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := w.Cover(t.Context(), b); !ok || err != nil {
		t.Fatal(ok, err)
	}
	w.Uncover(inoOf(t, root, "a"))
	w.Uncover(inoOf(t, root, "a"))
	another(t, root, "touch a/x b/x")
	ino := inoOf(t, root, "b")
	s.told("b/x", func(n volume.News) bool { return n.Dir == ino })
	for _, n := range s.settled() {
		if n.Dir != ino {
			t.Errorf("told %+v", n)
		}
	}
	if ok, err := w.Cover(t.Context(), a); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := b.Close(); err != nil { // while it is open it has not quite gone
		t.Error(err)
	}
	another(t, root, "rm -r b")
	s.until("the end of a directory", func() bool { return len(s.lost) > 0 && strings.HasPrefix(s.lost[0], fmt.Sprint(ino, " true ")) })
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if ok, err := w.Cover(t.Context(), a); ok || vfs.StatusOf(err) != vfs.IO {
		t.Errorf("cover after the end: %v, %v", ok, err)
	}
	if watches.used != before {
		t.Errorf("%d watches are counted, there were %d", watches.used, before)
	}
}

// TestWatchLimit: beyond the limit a directory is not covered, and is when another has gone.
func TestWatchLimit(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	v, w, _ := watchedAs(t, root, WatchInotify)
	cover(t, v, w, "a")
	w.(*inotify).limit = 1
	d, err := v.Root().OpenDir(t.Context(), nameOf("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if ok, err := w.Cover(t.Context(), d); ok || err != nil {
		t.Errorf("beyond the limit: %v, %v", ok, err)
	}
	w.Uncover(inoOf(t, root, "a"))
	if ok, err := w.Cover(t.Context(), d); !ok || err != nil {
		t.Errorf("at the limit: %v, %v", ok, err)
	}
}

// TestInotifyOverflow: what the kernel could not keep is told as lost, and the watch goes on.
func TestInotifyOverflow(t *testing.T) {
	root := inMemory(t)
	v := adopted(t, root)
	s := &news{t: t}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	w := &inotify{stream: newStream(fd, "inotify", s), v: v, limit: 1 << 20, dirs: make(map[int32]uint64), wds: make(map[uint64]int32)}
	w.take, w.behind = w.tell, func() error { return nil }
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if ok, err := w.Cover(t.Context(), v.Root()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	overflow(t, v, "/proc/sys/fs/inotify/max_queued_events")
	w.start()
	afterOverflow(t, root, s)
}

// TestFanotifyOverflow: the same of a watch whose queue the kernel bounds.
func TestFanotifyOverflow(t *testing.T) {
	root := inMemory(t)
	v := adopted(t, root)
	s := &news{t: t}
	w := unstarted(t, v, s, 0)
	overflow(t, v, "/proc/sys/fs/fanotify/max_queued_events")
	w.start()
	afterOverflow(t, root, s)
}

// unstarted is a watch by fanotify that does not read yet.
func unstarted(t *testing.T, v *Volume, s *news, flags uint) *fanotify {
	t.Helper()
	fd, err := fanotifyInit(flags)
	if err != nil {
		need.Lack(t, need.Fanotify, "%v", err)
	}
	w := &fanotify{
		stream: newStream(fd, "fanotify", s), magic: v.host.magic, sub: v.host.sub, pid: int32(os.Getpid()),
		limit: fanotifyQueueMax, inFull: func() bool { return true },
	}
	w.take, w.behind = w.tell, w.checkQueue
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, fanotifyMask, v.root.fd, ""); err != nil {
		need.Lack(t, need.Fanotify, "%v", err)
	}
	return w
}

// overflow makes more events in the root than the kernel keeps.
func overflow(t *testing.T, v *Volume, setting string) {
	t.Helper()
	b, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(b), &n); err != nil || n > 1<<18 {
		t.Skipf("%s is %q: too many to fill", setting, b)
	}
	changes(t, v, n/2+100)
}

// changes makes n names and removes them.
func changes(t *testing.T, v *Volume, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprint("n", i)
		if err := unix.Symlinkat("x", v.root.fd, name); err != nil {
			t.Fatal(err)
		}
		if err := unix.Unlinkat(v.root.fd, name, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func afterOverflow(t *testing.T, root string, s *news) {
	t.Helper()
	s.until("the loss", func() bool { return len(s.lost) > 0 && s.lost[0] == "0 false the kernel's queue of events overflowed" })
	s.settled()
	another(t, root, "touch after")
	s.told("what came after it", func(n volume.News) bool { return n.Name == vfs.MustName("after") })
}

// TestFanotifyQueue: a queue that grows beyond our own bound ends the watch, and says so.
func TestFanotifyQueue(t *testing.T) {
	v := adopted(t, inMemory(t))
	s := &news{t: t}
	w := unstarted(t, v, s, unix.FAN_UNLIMITED_QUEUE)
	w.buf, w.limit, w.full = make([]byte, 2*watchEventMax), 1000, fanotifyLook-1
	changes(t, v, 2000)
	w.start()
	s.until("the end", func() bool {
		return len(s.lost) == 1 && strings.HasPrefix(s.lost[0], "0 true ") && strings.HasSuffix(s.lost[0], "more than 1000")
	})
}

// TestWatchRefused: where news cannot be had the reason is told.
func TestWatchRefused(t *testing.T) {
	v := adopted(t, t.TempDir())
	v.watch = WatchOff
	_, err := v.Watch(t.Context(), &news{t: t})
	refused(t, err, vfs.NotSupp, "not to be watched")
	v.watch, v.host.magic = WatchAuto, unix.OVERLAYFS_SUPER_MAGIC
	_, err = v.Watch(t.Context(), &news{t: t})
	refused(t, err, vfs.NotSupp, "without news")
	if os.Geteuid() == 0 {
		return
	}
	v = adopted(t, t.TempDir())
	v.watch = WatchFanotify
	_, err = v.Watch(t.Context(), &news{t: t})
	refused(t, err, vfs.NotSupp, "fanotify: ", "as root")
	v.watch = WatchAuto
	w, err := v.Watch(t.Context(), &news{t: t})
	if err != nil {
		t.Fatal(err)
	}
	if w.Kind() != "inotify" {
		t.Errorf("an ordinary user watches by %s", w.Kind())
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestWatchStays: a watch that is closed while events come calls the sink no more.
func TestWatchStays(t *testing.T) {
	root := t.TempDir()
	v := adopted(t, root)
	for range 20 {
		s := &news{t: t}
		w, err := v.Watch(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := w.Cover(t.Context(), v.Root()); !ok || err != nil {
			t.Fatal(ok, err)
		}
		changes(t, v, 5)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil { // again, as the owner of a watch that ended by itself may
			t.Error(err)
		}
		n := len(s.all) + len(s.lost) // without a lock: the race detector sees who is late
		changes(t, v, 5)
		if len(s.all)+len(s.lost) != n || len(s.lost) != 0 {
			t.Errorf("%d news after the end, lost %q", len(s.all)-n, s.lost)
		}
	}
}
