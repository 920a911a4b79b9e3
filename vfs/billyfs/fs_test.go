package billyfs_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/util"

	"sheaf/vfs"
	"sheaf/vfs/billyfs"
	"sheaf/vfs/vfstest"
)

// newFS is an FS for who over a Model whose root everybody may write to.
func newFS(t *testing.T, who *vfs.Who, opt billyfs.Options) (*billyfs.FS, *vfstest.Model) {
	t.Helper()
	m := vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})
	return over(t, m, who, opt), m
}

func over(t *testing.T, f vfs.FS, who *vfs.Who, opt billyfs.Options) *billyfs.FS {
	t.Helper()
	root, err := f.Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	return billyfs.New(t.Context(), f, who, root.Node, opt)
}

// do fails the test for the first error.
func do(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, f billy.Basic, path, data string) {
	t.Helper()
	do(t, util.WriteFile(f, path, []byte(data), 0o644))
}

func get(t *testing.T, f billy.Basic, path string) string {
	t.Helper()
	b, err := util.ReadFile(f, path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLinksStayInside has a symbolic link for each way out.
func TestLinksStayInside(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	put(t, f, "secret", "outside")
	put(t, f, "jail/in/file", "inside")
	jail, err := f.Chroot("jail")
	do(t, err)
	for link, target := range map[string]string{
		"up": "../secret", "upup": "../../../secret", "in/up": "../../secret", "absolute": "/secret",
		"through": "in/../../secret", "chain": "up", "dir": "..", "in/absdir": "/../secret",
	} {
		do(t, jail.Symlink(target, link))
		if link == "dir" {
			link = "dir/secret"
		}
		_, err := jail.Open(link)
		if !errors.Is(err, billy.ErrCrossedBoundary) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s → %s: %v", link, target, err)
		}
		if got, err := util.ReadFile(jail, link); err == nil {
			t.Errorf("%s → %s reads %q", link, target, got)
		}
	}
	put(t, jail, "ok1", "inside")
	for link, target := range map[string]string{
		"ok0": "in/file", "ok2": "/in/file", "ok3": "in/../in/./file", "ok4": "ok1", "in/ok5": "../in//file", "ok6": "//in/file",
	} {
		do(t, jail.Symlink(target, link))
		if got := get(t, jail, link); got != "inside" {
			t.Errorf("%s → %s reads %q", link, target, got)
		}
	}
}

func TestLinksThatLeadNowhere(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	do(t, f.Symlink("loop", "loop"), f.Symlink("b", "a"), f.Symlink("a", "b"), f.Symlink("made/by/link", "dangling"))
	for _, p := range []string{"loop", "a", "a/x"} {
		if _, err := f.Stat(p); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat of %s: %v", p, err)
		}
		if _, err := f.Lstat(strings.TrimSuffix(p, "/x")); err != nil {
			t.Error(err)
		}
	}
	// A chain as long as is allowed, and one link more.
	put(t, f, "end", "end")
	last := "end"
	for i := range 40 {
		name := "l" + strings.Repeat("x", i)
		do(t, f.Symlink(last, name))
		last = name
	}
	if got := get(t, f, last); got != "end" {
		t.Errorf("40 links lead to %q", got)
	}
	do(t, f.Symlink(last, "more"))
	if _, err := f.Stat("more"); err == nil {
		t.Error("41 links are followed")
	}
	put(t, f, "dangling", "x")
	if got := get(t, f, "made/by/link"); got != "x" {
		t.Errorf("writing through a dangling link made %q", got)
	}
	if _, err := f.OpenFile("dangling", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); !os.IsExist(err) {
		t.Errorf("an exclusive open follows links: %v", err)
	}
}

func TestPermissionsAreTheCallers(t *testing.T) {
	root, m := newFS(t, vfs.Superuser, billyfs.Options{})
	put(t, root, "private", "x")
	do(t, root.Chmod("private", 0o600), root.MkdirAll("dir", 0o755))
	put(t, root, "dir/file", "x")
	user := over(t, m, &vfs.Who{UID: 1000, GID: 1000}, billyfs.Options{})
	put(t, user, "own", "x")
	do(t, user.Chmod("own", 0o200))
	for name, err := range map[string]error{
		"open of another's 0600 file": second(user.Open("private")),
		"create in another's 0755":    second(user.Create("dir/new")),
		"truncate of another's 0644":  second(user.OpenFile("dir/file", os.O_TRUNC, 0)),
		"write of another's 0644":     second(user.OpenFile("dir/file", os.O_WRONLY, 0)),
		"read of one's own 0200":      second(user.Open("own")),
		"remove from another's 0755":  user.Remove("dir/file"),
		"rename from another's 0755":  user.Rename("dir/file", "mine"),
		"mkdir in another's 0755":     user.MkdirAll("dir/new", 0o755),
		"chown of one's own":          user.Chown("own", 0, -1),
		"chmod of another's":          user.Chmod("private", 0o644),
		"times of another's":          user.Chtimes("private", time.Now(), time.Now()),
	} {
		if !os.IsPermission(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := get(t, root, "dir/file"); got != "x" {
		t.Errorf("the file holds %q", got)
	}
	file, err := user.OpenFile("made", os.O_RDWR|os.O_CREATE, 0)
	do(t, err)
	if _, err := file.Write([]byte("x")); err != nil {
		t.Errorf("who makes a file of mode 0 cannot write to it: %v", err)
	}
	do(t, file.Close())
}

func second[T any](_ T, err error) error { return err }

func TestChanges(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	put(t, f, "file", "x")
	do(t, f.Symlink("file", "link"))
	when, then := time.Unix(1_000_000_001, 5), time.Unix(-7, 999_999_999)
	do(t, f.Chmod("link", 0o640|os.ModeSetuid|os.ModeSticky), f.Chown("link", 7, -1), f.Lchown("link", -1, 9), f.Chtimes("link", when, then))
	at := func(p string) *vfs.Attr {
		i, err := f.Lstat(p)
		do(t, err)
		a, ok := i.Sys().(*vfs.Attr)
		if !ok {
			t.Fatalf("Sys is %T", i.Sys())
		}
		return a
	}
	a := at("file")
	if a.Mode != 0o640|vfs.ModeSetUID|vfs.ModeSticky && a.Mode != 0o640|vfs.ModeSticky { // chown takes set-id bits away
		t.Errorf("mode %o", a.Mode)
	}
	if a.UID != 7 || a.GID != 0 || a.Atime.Time() != when || a.Mtime.Time() != then {
		t.Errorf("attributes %+v", a)
	}
	if l := at("link"); l.UID != 0 || l.GID != 9 {
		t.Errorf("the link's owner is %d, its group %d", l.UID, l.GID)
	}
	i, err := f.Stat("file")
	do(t, err)
	if i.Mode().Perm() != 0o640 || i.Mode()&os.ModeSticky == 0 || !i.ModTime().Equal(then) || i.Size() != 1 {
		t.Errorf("info %v %v %d", i.Mode(), i.ModTime(), i.Size())
	}
}

func TestOtherTypes(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	for name, mode := range map[string]fs.FileMode{
		"fifo": fs.ModeNamedPipe, "socket": fs.ModeSocket, "block": fs.ModeDevice, "char": fs.ModeDevice | fs.ModeCharDevice,
	} {
		do(t, f.Mknod(name, mode|0o600, 1, 3))
		i, err := f.Lstat(name)
		do(t, err)
		if i.Mode() != mode|0o600 {
			t.Errorf("%s has mode %v, want %v", name, i.Mode(), mode|0o600)
		}
		if _, err := f.Open(name); err == nil {
			t.Errorf("%s can be opened", name)
		}
	}
	for _, mode := range []fs.FileMode{0, fs.ModeDir, fs.ModeSymlink} {
		if err := f.Mknod("no", mode, 0, 0); billyfs.StatusOf(err) != vfs.BadType {
			t.Errorf("mknod of %v: %v", mode, err)
		}
	}
	put(t, f, "file", "x")
	do(t, f.Link("file", "sub/link"))
	put(t, f, "sub/link", "both")
	if got := get(t, f, "file"); got != "both" {
		t.Errorf("the other name reads %q", got)
	}
	if err := f.Link("file", "sub/link"); !os.IsExist(err) {
		t.Errorf("a link onto a name: %v", err)
	}
}

func TestPathsThatCannotBe(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	put(t, f, "file", "x")
	do(t, f.MkdirAll("dir", 0o755))
	long := strings.Repeat("n", vfs.NameMax+1)
	for name, c := range map[string]struct {
		err  error
		want vfs.Status
	}{
		"a file on the way":      {second(f.Stat("file/x")), vfs.NotDir},
		"a long name":            {second(f.Stat(long)), vfs.NameTooLong},
		"a name with NUL":        {second(f.Stat("a\x00b")), vfs.Inval},
		"removing the root":      {f.Remove("/"), vfs.Inval},
		"moving the root":        {f.Rename("/", "x"), vfs.Inval},
		"moving onto the root":   {f.Rename("file", "/"), vfs.Inval},
		"making the root a link": {f.Symlink("x", "/"), vfs.Exist},
		"opening a directory":    {second(f.Open("dir")), vfs.IsDir},
		"a directory as a file":  {f.MkdirAll("file", 0o755), vfs.NotDir},
		"above the root":         {f.Remove("../file"), vfs.Acces},
		"rename from nothing":    {f.Rename("none", "x"), vfs.NoEnt},
		"listing a file":         {second(f.ReadDir("file")), vfs.NotDir},
		"reading a file's link":  {second(f.Readlink("file")), vfs.Inval},
	} {
		if got := billyfs.StatusOf(c.err); got != c.want {
			t.Errorf("%s: %v with status %v, want %v", name, c.err, got, c.want)
		}
	}
}

func TestNoParents(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{NoParents: true})
	put(t, f, "file", "x")
	for name, err := range map[string]error{
		"create":  second(f.Create("no/file")),
		"symlink": f.Symlink("x", "no/link"),
		"rename":  f.Rename("file", "no/file"),
	} {
		if !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.Stat("no"); !os.IsNotExist(err) {
		t.Errorf("the directory was made: %v", err)
	}
}

// bare is an FS whose listings have no attributes, as of a volume that is away.
type bare struct {
	vfs.FS
	gone vfs.Name // and which is removed while it is listed
}

func (b bare) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	a, eof, err := b.FS.ReadDir(ctx, w, dir, after, attrs, func(e *vfs.DirEntry) bool {
		cut := *e
		cut.HasAttr = false
		return each(&cut)
	})
	if err == nil && eof {
		_, err = b.Remove(ctx, w, dir, b.gone)
	}
	return a, eof, err
}

func TestListingAsksForWhatIsMissing(t *testing.T) {
	f, m := newFS(t, vfs.Superuser, billyfs.Options{})
	put(t, f, "a", "1")
	put(t, f, "b", "22")
	put(t, f, "gone", "")
	all, err := over(t, bare{m, vfs.MustName("gone")}, vfs.Superuser, billyfs.Options{}).ReadDir("/")
	do(t, err)
	if len(all) != 2 || all[0].Name() != "a" || all[1].Size() != 2 {
		t.Errorf("listed %v", all)
	}
}

func TestOpenFilesStayTheSame(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	file, err := f.Create("a")
	do(t, err, f.Rename("a", "b"))
	put(t, f, "a", "another")
	_, err = file.Write([]byte("the first"))
	do(t, err)
	if got := get(t, f, "b"); got != "the first" {
		t.Errorf("b holds %q", got)
	}
	do(t, f.Remove("b"))
	if _, err := file.Read(make([]byte, 1)); billyfs.StatusOf(err) != vfs.Stale {
		t.Errorf("reading a removed file: %v", err)
	}
	do(t, file.Close())
	for name, err := range map[string]error{
		"write": second(file.Write(nil)), "read": second(file.Read(nil)), "seek": second(file.Seek(0, io.SeekStart)),
		"truncate": file.Truncate(0), "lock": file.Lock(), "unlock": file.Unlock(), "close": file.Close(),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s of a closed file: %v", name, err)
		}
	}
}

func TestSeeksThatCannotBe(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	file, err := f.Create("a")
	do(t, err)
	for _, c := range []struct {
		off    int64
		whence int
	}{{-1, io.SeekStart}, {-1, io.SeekCurrent}, {-1, io.SeekEnd}, {0, 3}, {-1 << 63, io.SeekStart}} {
		if n, err := file.Seek(c.off, c.whence); err == nil {
			t.Errorf("seek to %d from %d gives %d", c.off, c.whence, n)
		}
	}
	if _, err := file.Seek(1<<63-1, io.SeekStart); err != nil {
		t.Error(err)
	}
	if n, err := file.Seek(1, io.SeekCurrent); err == nil {
		t.Errorf("beyond the last offset is %d", n)
	}
	for _, err := range []error{second(file.ReadAt(nil, -1)), file.Truncate(-1)} {
		if billyfs.StatusOf(err) != vfs.Inval {
			t.Errorf("a negative offset: %v", err)
		}
	}
	do(t, file.Close())
}

// TestLock: a second holder waits until the first lets go, in whatever way.
func TestLock(t *testing.T) {
	letGo := map[string]func(billy.File) error{"unlock": billy.File.Unlock, "close": billy.File.Close}
	for name, release := range letGo {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
				inner, err := f.Chroot("dir")
				do(t, err)
				first, err := f.Create("dir/file")
				do(t, err)
				second, err := inner.Open("file")
				do(t, err, first.Lock(), first.Lock()) // again is no change
				var got bool
				go func() {
					do(t, second.Lock())
					got = true
				}()
				synctest.Wait()
				if got {
					t.Fatal("two hold the lock")
				}
				do(t, release(first))
				synctest.Wait()
				if !got {
					t.Fatal("the lock was not handed on")
				}
				do(t, second.Unlock(), second.Unlock())
			})
		})
	}
}

func TestLockEndsWithItsContext(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	root, err := m.Root(t.Context(), vfs.Superuser)
	do(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	f := billyfs.New(ctx, m, vfs.Superuser, root.Node, billyfs.Options{})
	first, err := f.Create("file")
	do(t, err, first.Lock())
	other, err := f.Open("file")
	do(t, err)
	cancel()
	if err := other.Lock(); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a lock after the end: %v", err)
	}
}

// TestTogether has many make, rename and remove the same names: nothing but these
// outcomes is ever seen.
func TestTogether(t *testing.T) {
	f, _ := newFS(t, vfs.Superuser, billyfs.Options{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				for name, err := range map[string]error{
					"write":  util.WriteFile(f, "d/e/file", []byte("x"), 0o644),
					"rename": f.Rename("d/e/file", "d/moved"),
					"remove": f.Remove("d/moved"),
					"mkdir":  f.MkdirAll("d/e/f", 0o755),
					"rmdir":  f.Remove("d/e/f"),
				} {
					if err != nil && !os.IsNotExist(err) && billyfs.StatusOf(err) != vfs.Stale {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	all.Wait()
}

// TestEveryStatusHasItsError: none gets lost on the way, and os knows its own.
func TestEveryStatusHasItsError(t *testing.T) {
	for _, s := range vfs.Statuses() {
		_, err := over(t, failing{vfstest.NewModel(vfstest.ModelOptions{}), s}, vfs.Superuser, billyfs.Options{}).Stat("x")
		got := billyfs.StatusOf(err)
		if s == vfs.Perm {
			s = vfs.Acces // fs.ErrPermission is both
		}
		if got != s {
			t.Errorf("status %v arrives as %v: %v", s, got, err)
		}
		var path *os.PathError
		if !errors.As(err, &path) || path.Path != "x" || path.Op != "stat" {
			t.Errorf("the error is %#v", err)
		}
		if os.IsNotExist(err) != (s == vfs.NoEnt) || os.IsPermission(err) != (s == vfs.Acces) || os.IsExist(err) != (s == vfs.Exist) {
			t.Errorf("os takes %v for something else", err)
		}
	}
}

// failing is an FS whose look-ups fail.
type failing struct {
	vfs.FS
	status vfs.Status
}

func (f failing) Lookup(context.Context, *vfs.Who, vfs.Node, vfs.Name) (vfs.Attr, vfs.Attr, error) {
	return vfs.Attr{}, vfs.Attr{}, &vfs.Error{Status: f.status, Op: "lookup"}
}

// FuzzPaths walks paths of any bytes over a small tree: nothing outside is reached, by no
// spelling.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"", "/", "in/file", "../secret", "in/../../secret", "up", "dir/../secret", "a/./b//c", "\x00", strings.Repeat("../", 50)} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, target, path string) {
		root, _ := newFS(t, vfs.Superuser, billyfs.Options{})
		put(t, root, "secret", "outside")
		put(t, root, "jail/in/file", "inside")
		jail, err := root.Chroot("jail")
		do(t, err)
		_ = jail.Symlink(target, "link") // may be no target
		for _, p := range []string{path, "link", "link/" + path, "in/" + path} {
			if b, err := util.ReadFile(jail, p); err == nil && string(b) != "inside" {
				t.Fatalf("%q with the link to %q reads %q", p, target, b)
			}
			if i, err := jail.Stat(p); err == nil && i.Name() == "secret" && i.Size() == 7 {
				t.Fatalf("%q with the link to %q is the secret", p, target)
			}
		}
	})
}
