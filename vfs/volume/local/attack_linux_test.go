package local

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

func nameOf(s string) vfs.Name { return vfs.MustName(s) }

// own is how an object is made as the server's own.
func own(mode uint32) *volume.New {
	return &volume.New{Mode: mode, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}

// outside is a tree beside the volume that nothing may touch or read.
type outside struct {
	dir    string
	before map[string]os.FileInfo
}

const secretText = "outside"

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{dir: t.TempDir(), before: map[string]os.FileInfo{}}
	for _, n := range []string{"f", "x", "victim"} {
		if err := os.WriteFile(filepath.Join(o.dir, n), []byte(secretText), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(o.dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.each(t, func(n string, fi os.FileInfo) { o.before[n] = fi })
	return o
}

func (o *outside) each(t *testing.T, f func(string, os.FileInfo)) {
	t.Helper()
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		f(e.Name(), fi)
	}
}

// untouched compares names, sizes, modes, owners and times with what was there.
func (o *outside) untouched(t *testing.T) {
	t.Helper()
	n := 0
	o.each(t, func(name string, fi os.FileInfo) {
		n++
		was := o.before[name]
		if was == nil || was.Mode() != fi.Mode() || was.Size() != fi.Size() || !was.ModTime().Equal(fi.ModTime()) ||
			was.Sys().(*syscall.Stat_t).Uid != fi.Sys().(*syscall.Stat_t).Uid || was.Sys().(*syscall.Stat_t).Nlink != fi.Sys().(*syscall.Stat_t).Nlink {
			t.Errorf("%q outside of the volume changed: %v, was %v", name, fi, was)
		}
	})
	if n != len(o.before) {
		t.Errorf("%d names outside of the volume, were %d", n, len(o.before))
	}
}

// swapper puts, until stop, a symbolic link to target and the real thing in turns
// in the place of path.
func swapper(t *testing.T, path, target string) (stop func()) {
	t.Helper()
	link := path + ".link"
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil && err != unix.ENOENT {
				t.Errorf("exchange: %v", err)
				return
			}
		}
	})
	return func() { done.Store(true); wg.Wait() }
}

// TestSymlinkSwapped: a directory and a file that are exchanged for links out of
// the volume, during every operation, lead none of them astray.
func TestSymlinkSwapped(t *testing.T) {
	root := t.TempDir()
	v := adopted(t, root)
	o := newOutside(t)
	for _, n := range []string{"d", "keep"} {
		if err := os.Mkdir(filepath.Join(root, n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("inside"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "d", "f"), []byte("inside"), 0o644); err != nil {
		t.Fatal(err)
	}
	stopDir := swapper(t, filepath.Join(root, "d"), o.dir)
	stopFile := swapper(t, filepath.Join(root, "f"), filepath.Join(o.dir, "victim"))
	hits := map[string]int{}
	for i := 0; i < 1000 || len(hits) < 4 && i < 100_000; i++ { // on a busy host the exchanges come late
		attackDir(t, v, hits, i)
		attackFile(t, v, hits)
	}
	stopDir()
	stopFile()
	o.untouched(t)
	for _, what := range []string{"directory", "file", "set", "refused"} {
		if hits[what] == 0 {
			t.Errorf("the race never came to %q: %v", what, hits)
		}
	}
}

func attackDir(t *testing.T, v *Volume, hits map[string]int, i int) {
	t.Helper()
	ctx, d := t.Context(), nameOf("d")
	sub, err := v.Root().OpenDir(ctx, d)
	if err != nil {
		if s := vfs.StatusOf(err); s != vfs.NotDir && s != vfs.NoEnt {
			t.Fatalf("opendir: %v", err)
		}
		hits["refused"]++
		return
	}
	defer func() { _ = sub.Close() }()
	hits["directory"]++
	if got := readAll(t, sub, "f"); got != "" && got != "inside" {
		t.Fatalf("read %q through the volume", got)
	}
	n := nameOf("new" + strconv.Itoa(i))
	f, _, _, err := sub.Create(ctx, n, own(0o644))
	if err != nil {
		t.Fatalf("create in an open directory: %v", err)
	}
	if err := errors.Join(f.Close(), sub.Rename(ctx, n, v.Root(), nameOf("moved"), false), v.Root().Unlink(ctx, nameOf("moved")),
		sub.SetAttr(ctx, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}), sub.SetMark(ctx, []byte("m"))); err != nil {
		t.Fatal(err)
	}
}

func attackFile(t *testing.T, v *Volume, hits map[string]int) {
	t.Helper()
	ctx, n := t.Context(), nameOf("f")
	if got := readAll(t, v.Root(), "f"); got == "inside" {
		hits["file"]++
	} else if got != "" {
		t.Fatalf("read %q through the volume", got)
	}
	if f, err := v.Root().Open(ctx, n, volume.Write); err == nil {
		if _, err := f.WriteAt(ctx, []byte("inside"), 0); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	st, err := v.Root().StatAt(ctx, n)
	if err != nil {
		t.Fatal(err) // an exchange leaves no moment without the name
	}
	set := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID | vfs.SetMtimeNow, Mode: 0o600, UID: uint32(os.Geteuid())}
	if v.Caps().Chown {
		set.UID = 12345
	}
	switch err := v.Root().SetAttrAt(ctx, n, st.Key, &set); vfs.StatusOf(err) {
	case vfs.OK:
		hits["set"]++
	case vfs.Stale:
	default:
		t.Fatalf("setattr: %v", err)
	}
	for _, err := range []error{
		v.Root().SetMarkAt(ctx, n, st.Key, []byte("m")),
		v.Root().SetACLsAt(ctx, n, st.Key, vfs.ACLs{}),
		v.Root().Link(ctx, v.Root(), n, st.Key, nameOf("linked")),
	} {
		if s := vfs.StatusOf(err); s != vfs.OK && s != vfs.Stale && s != vfs.NotSupp {
			t.Fatal(err)
		}
	}
	if err := v.Root().Unlink(ctx, nameOf("linked")); err != nil && vfs.StatusOf(err) != vfs.NoEnt {
		t.Fatal(err)
	}
}

// readAll is the file's content; "" if it is none at this moment.
func readAll(t *testing.T, d volume.Dir, n string) string {
	t.Helper()
	f, err := d.Open(t.Context(), nameOf(n), volume.Read)
	if err != nil {
		if s := vfs.StatusOf(err); s != vfs.Inval && s != vfs.NoEnt {
			t.Fatal(err)
		}
		return ""
	}
	defer func() { _ = f.Close() }()
	buf := make([]byte, 64)
	k, err := f.ReadAt(t.Context(), buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:k])
}

// TestExchangedAtBirth: what is made by name and exchanged before it gets its owner
// is not given away: a new owner never gets an object that was there before.
func TestExchangedAtBirth(t *testing.T) {
	need.Superuser(t, "only root gives objects away")
	root := t.TempDir()
	v := adopted(t, root)
	victim := filepath.Join(root, "victim")
	if err := os.Mkdir(victim, 0o700); err != nil {
		t.Fatal(err)
	}
	stamp := filepath.Join(victim, "stamp")
	if err := os.WriteFile(stamp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := v.Root().StatAt(t.Context(), nameOf("victim"))
	if err != nil {
		t.Fatal(err)
	}
	if v.tick() == 0 || st.Key.Birth == 0 {
		t.Skip("this file system's clock is not known")
	}
	for v.tick() <= st.Key.Birth { // at most one tick of the host's clock, 4 ms
		runtime.Gosched()
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			// ENOENT while there is no "new"; an exchange puts the victim in its place.
			_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "new"), unix.AT_FDCWD, victim, unix.RENAME_EXCHANGE)
		}
	})
	ctx := t.Context()
	exchanged := 0
	for range 500 {
		d, _, _, err := v.Root().Mkdir(ctx, nameOf("new"), &volume.New{Mode: 0o777, UID: 12345, GID: 12345})
		switch vfs.StatusOf(err) {
		case vfs.OK:
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		case vfs.IO:
			exchanged++
		case vfs.Exist: // the exchange outran the clearing below
		default:
			t.Fatal(err)
		}
		// Only the one without the stamp is empty and goes; the other is the victim again.
		_ = os.Remove(filepath.Join(root, "victim"))
		_ = os.Remove(filepath.Join(root, "new"))
		_ = os.Rename(filepath.Join(root, "new"), victim)
	}
	done.Store(true)
	wg.Wait()
	var after unix.Stat_t
	// The last exchange may have come between the clearings of the last round.
	_ = os.Remove(filepath.Join(root, "victim"))
	_ = os.Remove(filepath.Join(root, "new"))
	_ = os.Rename(filepath.Join(root, "new"), victim) // if the victim is there
	if err := unix.Stat(filepath.Dir(stamp), &after); err != nil || after.Uid != 0 || after.Mode&0o7777 != 0o700 {
		t.Errorf("the victim belongs to %d with mode %o, %v", after.Uid, after.Mode&0o7777, err)
	}
	if _, err := os.Lstat(stamp); err != nil {
		t.Error(err)
	}
	t.Logf("%d of 500 were exchanged in time", exchanged)
}

// TestMountPoints: what is mounted inside a volume is not there.
func TestMountPoints(t *testing.T) {
	need.Superuser(t, "mounting needs root")
	root := t.TempDir()
	v := adopted(t, root)
	o := newOutside(t)
	mnt, file := filepath.Join(root, "mnt"), filepath.Join(root, "file")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for src, dst := range map[string]string{o.dir: mnt, filepath.Join(o.dir, "victim"): file} {
		if out, err := exec.Command("mount", "--bind", src, dst).CombinedOutput(); err != nil {
			need.Lack(t, need.Root, "this host cannot mount: %v\n%s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("umount", dst).CombinedOutput(); err != nil {
				t.Errorf("umount: %v\n%s", err, out)
			}
		})
	}
	ctx, r := t.Context(), v.Root()
	wantXDev := func(what string, err error) {
		t.Helper()
		if vfs.StatusOf(err) != vfs.XDev {
			t.Errorf("%s: %v, want XDev", what, err)
		}
	}
	_, err := r.OpenDir(ctx, nameOf("mnt"))
	wantXDev("opendir", err)
	_, err = r.Open(ctx, nameOf("file"), volume.Read|volume.Write)
	wantXDev("open", err)
	for _, n := range []string{"mnt", "file"} {
		_, err = r.StatAt(ctx, nameOf(n))
		wantXDev("stat", err)
		_, _, err = r.IdentifyAt(ctx, nameOf(n))
		wantXDev("identify", err)
		_, err = r.MarkAt(ctx, nameOf(n))
		wantXDev("mark", err)
		wantXDev("setattr", r.SetAttrAt(ctx, nameOf(n), volume.Key{}, &vfs.SetAttr{Mask: vfs.SetMode}))
		if err := r.Rename(ctx, nameOf(n), r, nameOf("elsewhere"), false); err == nil {
			t.Errorf("renamed the mount point %s", n)
		}
	}
	if err := r.Rmdir(ctx, nameOf("mnt")); err == nil {
		t.Error("removed a mount point")
	}
	o.untouched(t)
}

// TestSubvolume: a btrfs subvolume is like a mount point, since a snapshot's objects
// have the keys of the originals.
func TestSubvolume(t *testing.T) {
	mnt := image(t, 256<<20, "mkfs.btrfs", "-q")
	tool, err := exec.LookPath("btrfs")
	if err != nil {
		need.Lack(t, "btrfs", "%v", err)
	}
	v := adopted(t, mnt)
	if err := os.WriteFile(filepath.Join(mnt, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "subvolume", "snapshot", mnt, filepath.Join(mnt, "snap")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := v.Root().OpenDir(t.Context(), nameOf("snap")); vfs.StatusOf(err) != vfs.XDev {
		t.Errorf("opendir of a snapshot: %v", err)
	}
	if _, err := v.Root().StatAt(t.Context(), nameOf("snap")); vfs.StatusOf(err) != vfs.XDev {
		t.Errorf("stat of a snapshot: %v", err)
	}
}

// TestShrinking: a file that is cut while it is read ends early and fails nobody.
func TestShrinking(t *testing.T) {
	root := t.TempDir()
	v := adopted(t, root)
	path := filepath.Join(root, "f")
	content := strings.Repeat("a", 1<<20)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := v.Root().Open(t.Context(), nameOf("f"), volume.Read)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			if err := errors.Join(os.Truncate(path, 100), os.Truncate(path, 1<<20)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	buf := make([]byte, 1<<20)
	for i := range 300 {
		n, err := f.ReadAt(t.Context(), buf, 0)
		if i%2 == 1 {
			if n, err = f.ReadNow(buf, 0); vfs.StatusOf(err) == vfs.Again {
				continue
			}
		}
		if err != nil || n < 100 {
			t.Fatalf("read %d, %v", n, err)
		}
		for _, c := range buf[:n] {
			if c != 'a' && c != 0 {
				t.Fatalf("read %q", c)
			}
		}
	}
	done.Store(true)
	wg.Wait()
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc on this host: %v", err)
	}
	return len(entries)
}

// TestNoLeak: neither what works nor what fails leaves a descriptor.
func TestNoLeak(t *testing.T) {
	root := t.TempDir()
	adoptAndClose(t, root) // the runtime's own are open after this
	before := descriptors(t)
	for range 3 {
		v, err := Open(t.Context(), root, Options{Name: "vol"})
		if err != nil {
			t.Fatal(err)
		}
		useAll(t, v)
		for range 20 {
			if _, err := Open(t.Context(), root, Options{Name: "again"}); !errors.Is(err, ErrLocked) {
				t.Fatal(err)
			}
			if _, err := Inspect("again", root); err != nil {
				t.Fatal(err)
			}
			if err := CheckDistinct([]Place{{"a", root}, {"b", root}}); err == nil {
				t.Fatal("one directory twice")
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

// useAll calls everything, as it works and as it fails.
func useAll(t *testing.T, v *Volume) {
	t.Helper()
	ctx, r := t.Context(), v.Root()
	bad := volume.Key{Ino: 1}
	for i, n := range []string{"a", "b", "c", "a"} {
		w := own(0o600)
		w.Mark, w.ACLs = []byte("m"), &vfs.ACLs{}
		if i == 2 {
			w.Mark = make([]byte, volume.MarkMax+1) // fails after the object was made
		}
		if f, _, _, err := r.Create(ctx, nameOf(n), w); err == nil {
			_ = f.Close()
		}
		if d, _, _, err := r.Mkdir(ctx, nameOf(n+"d"), w); err == nil {
			_ = d.Close()
		}
		_, _, _ = r.Symlink(ctx, nameOf(n+"s"), "x", w)
		_, _, _ = r.Mknod(ctx, nameOf(n+"p"), vfs.FIFO, 0, 0, w)
		for _, n := range []string{n, n + "d", n + "s", n + "p", "nothing"} {
			n := nameOf(n)
			st, _, _ := r.IdentifyAt(ctx, n)
			for _, key := range []volume.Key{st.Key, bad} {
				_ = r.SetAttrAt(ctx, n, key, &vfs.SetAttr{Mask: vfs.SetMtimeNow})
				_ = r.SetACLsAt(ctx, n, key, vfs.ACLs{})
				_ = r.SetMarkAt(ctx, n, key, []byte("n"))
				_ = r.Link(ctx, r, n, key, nameOf("link"))
				_ = r.Unlink(ctx, nameOf("link"))
			}
			_, _ = r.MarkAt(ctx, n)
			_, _ = r.ACLsAt(ctx, n)
			_, _ = v.Locate(ctx, st.Key.Ino, 1)
			if f, err := r.Open(ctx, n, volume.Read); err == nil {
				_ = f.Close()
			}
			if d, err := r.OpenDir(ctx, n); err == nil {
				_ = d.Close()
			}
		}
	}
	stop, cancel := context.WithCancel(ctx)
	cancel()
	_ = r.List(stop, func(volume.Entry) bool { return true })
	for _, left := range []string{"c", "cd", "cs", "cp"} {
		if _, err := r.StatAt(ctx, nameOf(left)); vfs.StatusOf(err) != vfs.NoEnt {
			t.Errorf("%q could not be given its mark and is still there: %v", left, err)
		}
	}
}

// TestNotFoundIsFree: a name that is not there costs no memory.
func TestNotFoundIsFree(t *testing.T) {
	r, n := adopted(t, t.TempDir()).Root(), nameOf("nothing")
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() {
		if _, err := r.StatAt(ctx, n); vfs.StatusOf(err) != vfs.NoEnt {
			t.Error(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkStatAtMiss(b *testing.B) {
	dir := b.TempDir()
	v, err := Open(b.Context(), dir, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	r, n := v.Root(), nameOf("nothing")
	for b.Loop() {
		_, _ = r.StatAt(b.Context(), n)
	}
}
