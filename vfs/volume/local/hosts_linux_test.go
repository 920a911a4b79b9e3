package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// TestOverlay: a file system without generations is served, and called weak.
func TestOverlay(t *testing.T) {
	need.Superuser(t, "mounting needs root")
	dir := t.TempDir()
	for _, n := range []string{"lower", "upper", "work", "mnt"} {
		if err := os.Mkdir(filepath.Join(dir, n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mnt := filepath.Join(dir, "mnt")
	opts := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)
	if out, err := exec.Command("mount", "-t", "overlay", "overlay", "-o", opts, mnt).CombinedOutput(); err != nil {
		need.Lack(t, "overlay", "%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	volumetest.Suite(t, func(t *testing.T) volume.Volume {
		t.Helper()
		sub, err := os.MkdirTemp(mnt, "volume") //nolint:usetesting // it has to lie on this mount
		if err != nil {
			t.Fatal(err)
		}
		v := adopted(t, sub)
		if c := v.Caps(); c.StrongIdentity || c.Locate {
			t.Errorf("%+v", c)
		}
		return v
	})
}

// TestPoorHost runs the suite as on a file system that has neither xattrs, lists, handles nor
// an exclusive rename: what stands in for them does the same.
func TestPoorHost(t *testing.T) {
	for name, links := range map[string]bool{"links": true, "no links": false} {
		t.Run(name, func(t *testing.T) {
			volumetest.Suite(t, func(t *testing.T) volume.Volume {
				t.Helper()
				v := adopted(t, t.TempDir())
				v.xattrs, v.caps.Marks, v.caps.NoReplace, v.caps.ACLs, v.caps.Locate = false, false, false, false, false
				v.caps.Links = links
				return v
			})
		})
	}
}

// TestReadOnly: a volume of a file system mounted for reading opens, and refuses changes.
func TestReadOnly(t *testing.T) {
	mnt := image(t, 16<<20, "mkfs.ext4", "-q")
	v, err := Open(t.Context(), mnt, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	if f, _, _, err := v.Root().Create(t.Context(), nameOf("f"), own(0o644)); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", mnt).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	v = adopted(t, mnt)
	c := v.Caps()
	if !c.ReadOnly || c.InPlace || !c.StrongIdentity {
		t.Errorf("%+v", c)
	}
	if _, err := v.Root().Open(t.Context(), nameOf("f"), volume.Read|volume.Write); vfs.StatusOf(err) != vfs.ROFS {
		t.Errorf("open for writing: %v", err)
	}
	if _, _, _, err := v.Root().Create(t.Context(), nameOf("g"), own(0o644)); vfs.StatusOf(err) != vfs.ROFS {
		t.Errorf("create: %v", err)
	}
	if _, err := Open(t.Context(), mnt, Options{Name: "again"}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second server: %v", err)
	}
}

// TestFull: a full volume says so, leaves nothing half made, and works when it
// has room again.
func TestFull(t *testing.T) {
	mnt := image(t, 16<<20, "mkfs.ext4", "-q", "-N", "64")
	v, err := Open(t.Context(), mnt, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, r := t.Context(), v.Root()
	f, _, _, err := r.Create(ctx, nameOf("big"), own(0o644))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // outlives the volume it was opened by
	n, err := f.WriteAt(ctx, make([]byte, 32<<20), 0)
	if vfs.StatusOf(err) != vfs.NoSpc || n >= 32<<20 {
		t.Errorf("wrote %d, %v", n, err)
	}
	for i := 0; err == nil || i == 0; i++ { // inodes run out as well
		w := own(0o600)
		w.Mark = bytes.Repeat([]byte("m"), volume.MarkMax)
		var d volume.Dir
		if d, _, _, err = r.Mkdir(ctx, nameOf(fmt.Sprint(i)), w); err == nil {
			err = d.Close()
		} else if _, serr := r.StatAt(ctx, nameOf(fmt.Sprint(i))); vfs.StatusOf(serr) != vfs.NoEnt {
			t.Errorf("mkdir failed (%v) and left its name (%v)", err, serr)
		}
	}
	if vfs.StatusOf(err) != vfs.NoSpc || !strings.Contains(err.Error(), "free space") {
		t.Errorf("mkdir: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	c := adopted(t, mnt).Caps() // a restart while it is full
	if !c.StrongIdentity || !c.Marks || !c.ACLs || !c.InPlace || !c.Links || !c.Locate {
		t.Errorf("%+v", c)
	}
	if err := f.SetAttr(ctx, &vfs.SetAttr{Mask: vfs.SetSize}); err != nil {
		t.Error(err)
	}
	if _, err := f.WriteAt(ctx, []byte("x"), 0); err != nil {
		t.Errorf("after room was made: %v", err)
	}
}

// TestOutOfDescriptors: what needs a descriptor is Jukebox, never a "not found", and
// leaves nothing behind.
func TestOutOfDescriptors(t *testing.T) {
	v := adopted(t, t.TempDir())
	ctx, r := t.Context(), v.Root()
	for _, n := range []string{"f", "g"} {
		f, _, _, err := r.Create(ctx, nameOf(n), own(0o644))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}); err != nil { // all below 3 are taken
		t.Fatal(err)
	}
	_, oerr := r.Open(ctx, nameOf("f"), volume.Read)
	_, _, ierr := r.IdentifyAt(ctx, nameOf("f"))
	lerr := r.List(ctx, func(volume.Entry) bool { return true })
	_, _, _, cerr := r.Create(ctx, nameOf("new"), own(0o644))
	_, _, _, derr := r.Mkdir(ctx, nameOf("newdir"), own(0o755))
	_, _, serr := r.Symlink(ctx, nameOf("newlink"), "x", own(0))
	st, gerr := r.StatAt(ctx, nameOf("f"))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	for i, err := range []error{oerr, ierr, lerr, cerr, derr, serr} {
		if vfs.StatusOf(err) != vfs.Jukebox {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if gerr != nil || st.Type != vfs.Regular {
		t.Errorf("stat, which needs none: %+v, %v", st, gerr)
	}
	for _, n := range []string{"new", "newdir", "newlink"} {
		if _, err := r.StatAt(ctx, nameOf(n)); vfs.StatusOf(err) != vfs.NoEnt {
			t.Errorf("%q was left: %v", n, err)
		}
	}
}

// TestSidecars: marks that objects cannot carry are kept through a restart, belong
// to one object only, and win over an xattr that could not be replaced.
func TestSidecars(t *testing.T) {
	root := t.TempDir()
	v, err := Open(t.Context(), root, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	st, _, err := v.Root().Symlink(ctx, nameOf("s"), "x", own(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(root, volume.PrivateName, marksDir)); err == nil {
		t.Error("a volume without sidecars has the directory for them")
	}
	f, fst, _, err := v.Root().Create(ctx, nameOf("f"), own(0o644))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), v.Root().SetMarkAt(ctx, nameOf("f"), fst.Key, []byte("xattr")),
		v.Root().SetMarkAt(ctx, nameOf("s"), st.Key, []byte("link"))); err != nil {
		t.Fatal(err)
	}
	marks := func(v *Volume, wantF, wantS string) {
		t.Helper()
		for n, want := range map[string]string{"f": wantF, "s": wantS} {
			if got, err := v.Root().MarkAt(ctx, nameOf(n)); err != nil || string(got) != want {
				t.Errorf("mark of %s: %q, %v, want %q", n, got, err, want)
			}
		}
	}
	marks(v, "xattr", "link")
	v.xattrs = false // from here on as if the host refused them
	if err := v.Root().SetMarkAt(ctx, nameOf("f"), fst.Key, []byte("sidecar")); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = adopted(t, root)
	marks(v, "sidecar", "link")
	if err := v.Root().SetMarkAt(ctx, nameOf("f"), fst.Key, []byte("xattr again")); err != nil {
		t.Fatal(err)
	}
	marks(v, "xattr again", "link")
	if err := v.Root().Unlink(ctx, nameOf("s")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Root().Symlink(ctx, nameOf("s"), "x", own(0)); err != nil {
		t.Fatal(err)
	}
	marks(v, "xattr again", "")
}

// TestProbeIsSwept: what a probe that was killed has left goes at the next start.
func TestProbeIsSwept(t *testing.T) {
	root := t.TempDir()
	adoptAndClose(t, root)
	left := filepath.Join(root, volume.PrivateName, probePrefix+"dead")
	if err := os.MkdirAll(filepath.Join(left, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "g"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	adoptAndClose(t, root)
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// TestBirthIsNobodys: what chown(2) and mknod(2) would take for something else is refused, and nothing stays.
func TestBirthIsNobodys(t *testing.T) {
	v := adopted(t, t.TempDir())
	name := vfs.MustName("x")
	none := volume.New{Mode: 0o4755, UID: noID, GID: noID}
	if _, _, _, err := v.Root().Create(t.Context(), name, &none); vfs.StatusOf(err) != vfs.Inval {
		t.Errorf("a file of nobody's: %v", err)
	}
	if _, _, _, err := v.Root().Mkdir(t.Context(), name, &none); vfs.StatusOf(err) != vfs.Inval {
		t.Errorf("a directory of nobody's: %v", err)
	}
	st, err := v.Root().Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range [][2]uint32{{majorMax + 1, 0}, {0, minorMax + 1}} {
		own := volume.New{Mode: 0o600, UID: st.UID, GID: st.GID}
		if _, _, err := v.Root().Mknod(t.Context(), name, vfs.Char, n[0], n[1], &own); vfs.StatusOf(err) != vfs.Inval {
			t.Errorf("device %v: %v", n, err)
		}
	}
	if _, err := v.Root().StatAt(t.Context(), name); vfs.StatusOf(err) != vfs.NoEnt {
		t.Errorf("something stays: %v", err)
	}
}
