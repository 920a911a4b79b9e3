package local

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// nobody is a user who owns nothing.
const nobody = 65534

// asUser are the tests that privileges change.
const asUser = "^(TestSuite|TestSymlinkSwapped|TestBareDirectory|TestNoLeak|TestOutOfDescriptors|TestSidecars|TestMarkerStays|TestUnreadableMark|TestNotOursToAdopt|TestWatch|TestWatchIsNotTold|TestWatchLimit|TestWatchRefused|TestWatchStays)$"

// TestOrdinaryUser runs them again as somebody who is not root.
func TestOrdinaryUser(t *testing.T) {
	need.Superuser(t, "this is an ordinary user already")
	dir := t.TempDir()
	bin, tmp := filepath.Join(dir, "test"), filepath.Join(dir, "tmp")
	for _, d := range []string{dir, filepath.Dir(dir)} { // both are the test's own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, bin)
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "-test.run="+asUser)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp, need.Required+"=") // he has less
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// copyFile copies the test's own binary to where everybody may run it.
func copyFile(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBareDirectory: a directory that may be entered and written but not read keeps
// working by its names, and can be synced.
func TestBareDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything; TestOrdinaryUser runs this")
	}
	v := adopted(t, t.TempDir())
	ctx := t.Context()
	made, _, _, err := v.Root().Mkdir(ctx, nameOf("d"), own(0o333))
	if err != nil {
		t.Fatal(err)
	}
	d, err := v.Root().OpenDir(ctx, nameOf("d"))
	if err != nil {
		t.Fatal(err)
	}
	f, st, _, err := d.Create(ctx, nameOf("f"), own(0o644))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.StatAt(ctx, nameOf("f")); err != nil || got.Key != st.Key {
		t.Errorf("%+v, %v", got, err)
	}
	if err := d.List(ctx, func(volume.Entry) bool { return true }); vfs.StatusOf(err) != vfs.Acces {
		t.Errorf("list: %v", err)
	}
	if _, _, err := d.Identify(ctx); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.Sync(ctx), d.SetMark(ctx, []byte("m")), d.SetAttr(ctx, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtimeNow, Mode: 0o700}),
		d.Unlink(ctx, nameOf("f")), f.Close(), d.Close(), made.Close()); err != nil {
		t.Error(err)
	}
	if err := d.Close(); vfs.StatusOf(err) != vfs.ServerFault {
		t.Errorf("closed twice: %v", err)
	}
	if mark, err := v.Root().MarkAt(ctx, nameOf("d")); err != nil || string(mark) != "m" {
		t.Errorf("mark %q, %v", mark, err)
	}
}

// TestAdoptedByAnother: a volume whose private directory is somebody else's is refused with
// the reason, whoever is root of the two.
func TestAdoptedByAnother(t *testing.T) {
	need.Superuser(t, "giving a directory away needs root")
	root := t.TempDir()
	adoptAndClose(t, root)
	if err := os.Chown(filepath.Join(root, volume.PrivateName), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), root, Options{Name: "vol"})
	refused(t, err, vfs.Acces, "uid 65534", "server's user")
}

// TestUnreadableMark: an ordinary server's own file that it may not read has no mark, rather than an error that
// would keep it from being renamed.
func TestUnreadableMark(t *testing.T) {
	v := adopted(t, t.TempDir())
	for _, mode := range []uint32{0, 0o200} {
		name := vfs.MustName("m" + strconv.Itoa(int(mode)))
		f, _, _, err := v.Root().Create(t.Context(), name, &volume.New{Mode: mode, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if mark, err := v.Root().MarkAt(t.Context(), name); mark != nil || err != nil {
			t.Errorf("mode %o: %q, %v", mode, mark, err)
		}
	}
}

// TestNotOursToAdopt: an ordinary server that may not write a directory says as whom, and what to do.
func TestNotOursToAdopt(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere; TestOrdinaryUser runs this")
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), root, Options{Name: "vol", Adopt: &volume.Marker{}})
	refused(t, err, vfs.Acces, "as uid "+strconv.Itoa(os.Geteuid()), "give the directory")
}
