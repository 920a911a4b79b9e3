package vfstest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/dchest/siphash"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/perm"
)

// host is a directory of the running kernel as a vfs.FS, just enough for
// programs: calls that name names are the kernel's own, made as their caller,
// so that the Model's order of checks is held to the kernel's. Each node is
// kept open with O_PATH. It must stay on one locked thread.
type host struct {
	nodes map[vfs.NodeID]int // descriptors
	root  vfs.Node
}

// TestModelIsLikeTheKernel runs programs on a real directory against the Model.
func TestModelIsLikeTheKernel(t *testing.T) {
	need.Superuser(t, "comparison with the kernel needs root, to act as several users")
	base := t.TempDir()
	if what := sameTick(t, base); what != "" {
		t.Skip("the file system of the temporary directory gives two changes one ctime: ", what)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(done)
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- err
			return
		}
		unix.Umask(0)
		count := 0
		rapid.Check(t, func(t *rapid.T) {
			count++
			h := newHost(t, filepath.Join(base, fmt.Sprint(count)))
			defer h.close()
			root, err := h.Root(context.Background(), vfs.Superuser)
			if err != nil {
				t.Fatal(err)
			}
			RunProgram(t, h, ProgramOptions{Options: Options{NoACLs: true}, CoarseMtime: true, AnyDirLinks: root.Nlink == 1})
		})
	}()
	if err := <-done; err != nil {
		need.Lack(t, need.Root, "no thread of its own: %v", err)
	}
}

// sameTick is a change of a directory in dir that its ctime did not tell from
// the one before, or nothing: kernels before 6.13 and tmpfs have such.
func sameTick(t *testing.T, dir string) string {
	t.Helper()
	at := func(s string) string { return filepath.Join(dir, "probe", s) }
	last, what := vfs.Time{}, ""
	step := func(name string, err error) {
		var st unix.Stat_t
		if err = errors.Join(err, unix.Stat(at(""), &st)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		now := vfs.Time{Sec: st.Ctim.Sec, Nsec: uint32(st.Ctim.Nsec)}
		if now.Compare(last) <= 0 {
			what = name
		}
		last = now
	}
	step("mkdir", unix.Mkdir(at(""), 0o755))
	for range 32 {
		step("create", unix.Mknod(at("a"), unix.S_IFREG|0o600, 0))
		step("link", unix.Link(at("a"), at("b")))
		step("unlink", unix.Unlink(at("a")))
		step("chmod", unix.Chmod(at(""), 0o700))
		step("create", unix.Mknod(at("a"), unix.S_IFREG|0o600, 0))
		step("rename", unix.Rename(at("a"), at("b")))
		step("unlink", unix.Unlink(at("b")))
	}
	return what
}

func newHost(t *rapid.T, dir string) *host {
	h := &host{nodes: map[vfs.NodeID]int{}}
	fd, err := -1, unix.Mkdir(dir, 0o755)
	if err == nil {
		fd, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	if err == nil {
		h.root, err = h.meet(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) close() {
	for _, fd := range h.nodes {
		unix.Close(fd)
	}
}

// as runs f with w's credentials on this thread, and gives its status.
func (h *host) as(w *vfs.Who, f func() error) error {
	become(w)
	err := f()
	become(vfs.Superuser)
	return status(err)
}

// become panics if it fails: nothing that follows would mean anything.
func become(w *vfs.Who) {
	const keep = ^uintptr(0)
	groups := append([]uint32{w.GID}, w.Groups...)
	_, _, e1 := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep)
	_, _, e2 := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0)
	_, _, e3 := unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(w.GID), keep)
	_, _, e4 := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(w.UID), keep)
	if e1|e2|e3|e4 != 0 {
		panic(fmt.Sprint("becoming ", w, e1, e2, e3, e4))
	}
}

func status(err error) error {
	for errno, s := range map[unix.Errno]vfs.Status{
		unix.EPERM: vfs.Perm, unix.ENOENT: vfs.NoEnt, unix.EACCES: vfs.Acces, unix.EEXIST: vfs.Exist, unix.ENOTDIR: vfs.NotDir,
		unix.EISDIR: vfs.IsDir, unix.EINVAL: vfs.Inval, unix.ENOTEMPTY: vfs.NotEmpty, unix.EFBIG: vfs.FBig, unix.EMLINK: vfs.MLink,
	} {
		if errors.Is(err, errno) {
			return s
		}
	}
	return err
}

// path names the object behind a descriptor for calls that want a path.
func path(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// attrOf is the attributes of what fd is, and Stale if it has no name.
func attrOf(fd int) (vfs.Attr, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, "", &st, unix.AT_EMPTY_PATH); err != nil {
		return vfs.Attr{}, err
	}
	if st.Nlink == 0 {
		return vfs.Attr{}, vfs.Stale
	}
	types := map[uint32]vfs.Type{
		unix.S_IFREG: vfs.Regular, unix.S_IFDIR: vfs.Directory, unix.S_IFLNK: vfs.Symlink, unix.S_IFIFO: vfs.FIFO,
		unix.S_IFSOCK: vfs.Socket, unix.S_IFCHR: vfs.Char, unix.S_IFBLK: vfs.Block,
	}
	moment := func(ts unix.Timespec) vfs.Time { return vfs.Time{Sec: ts.Sec, Nsec: uint32(ts.Nsec)} }
	a := vfs.Attr{
		Type: types[st.Mode&unix.S_IFMT], Mode: st.Mode & vfs.ModeMask, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Size: uint64(st.Size), Used: uint64(st.Blocks) * 512, Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev),
		Atime: moment(st.Atim), Mtime: moment(st.Mtim), Ctime: moment(st.Ctim),
	}
	// Open descriptors keep inode numbers from coming again.
	binary.BigEndian.PutUint64(a.Node.ID[:], st.Ino)
	return a, nil
}

// meet takes fd over as a node.
func (h *host) meet(fd int) (vfs.Node, error) {
	a, err := attrOf(fd)
	if err != nil {
		return vfs.Node{}, err
	}
	if _, known := h.nodes[a.Node.ID]; known {
		unix.Close(fd)
	} else {
		h.nodes[a.Node.ID] = fd
	}
	return a.Node, nil
}

// get is the descriptor and attributes of a living node.
func (h *host) get(n vfs.Node) (int, vfs.Attr, error) {
	fd, ok := h.nodes[n.ID]
	if !ok {
		return -1, vfs.Attr{}, vfs.Stale
	}
	a, err := attrOf(fd)
	return fd, a, err
}

// find opens a name as w.
func (h *host) find(w *vfs.Who, dir int, n vfs.Name) (a vfs.Attr, err error) {
	fd := -1
	if err = h.as(w, func() (err error) {
		fd, err = unix.Openat(dir, n.String(), unix.O_PATH|unix.O_NOFOLLOW, 0)
		return err
	}); err != nil {
		return a, err
	}
	node, err := h.meet(fd)
	if err != nil {
		return a, err
	}
	return h.GetAttr(context.Background(), w, node)
}

func (h *host) Root(ctx context.Context, w *vfs.Who) (vfs.Attr, error) {
	return h.GetAttr(ctx, w, h.root)
}

func (h *host) GetAttr(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	_, a, err := h.get(n)
	return a, err
}

// SetAttr obeys perm.SetAttr, which perm's own tests compare with the kernel.
func (h *host) SetAttr(_ context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (vfs.Change, error) {
	fd, a, err := h.get(n)
	if err != nil {
		return vfs.Change{}, err
	}
	if guard != nil && *guard != a.Ctime {
		return vfs.Change{}, vfs.NotSync
	}
	out, err := perm.SetAttr(w, &a, nil, set)
	if err == nil && set.Has(vfs.SetSize) && set.Size > hostFileMax {
		err = vfs.FBig
	}
	if err != nil || set.Mask == 0 {
		return vfs.Change{}, err
	}
	if set.Has(vfs.SetSize) {
		err = errors.Join(err, unix.Truncate(path(fd), int64(set.Size)))
	}
	err = errors.Join(err, unix.Fchownat(fd, "", int(out.UID), int(out.GID), unix.AT_EMPTY_PATH))
	if a.Type != vfs.Symlink {
		err = errors.Join(err, unix.Chmod(path(fd), out.Mode))
	}
	if times := set.Mask &^ (vfs.SetMode | vfs.SetUID | vfs.SetGID | vfs.SetSize); times != 0 {
		ts := []unix.Timespec{timespec(set, vfs.SetAtimeNow, vfs.SetAtime, set.Atime), timespec(set, vfs.SetMtimeNow, vfs.SetMtime, set.Mtime)}
		err = errors.Join(err, utimens(fd, ts))
	}
	return vfs.Change{}, status(err)
}

// utimens is utimensat(2) of a descriptor, with AT_EMPTY_PATH.
func utimens(fd int, ts []unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

func timespec(set *vfs.SetAttr, now, to vfs.SetMask, at vfs.Time) unix.Timespec {
	switch {
	case set.Has(now):
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case set.Has(to):
		return unix.Timespec{Sec: at.Sec, Nsec: int64(at.Nsec)}
	}
	return unix.Timespec{Nsec: unix.UTIME_OMIT}
}

func (h *host) Access(_ context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	_, a, err := h.get(n)
	return perm.Access(w, &a, nil, want), a, err
}

func (h *host) Lookup(_ context.Context, w *vfs.Who, dir vfs.Node, n vfs.Name) (vfs.Attr, vfs.Attr, error) {
	fd, d, err := h.get(dir)
	if err != nil {
		return vfs.Attr{}, d, err
	}
	a, err := h.find(w, fd, n)
	return a, d, err
}

func (h *host) Parents(_ context.Context, n vfs.Node, each func(vfs.Node, vfs.Name) bool) error {
	if _, _, err := h.get(n); err != nil {
		return err
	}
	for id, fd := range h.nodes {
		names, err := list(fd)
		if err != nil {
			continue // no directory, or gone
		}
		for _, s := range names {
			if a, err := h.find(vfs.Superuser, fd, s); err == nil && a.Node.ID == n.ID && !each(vfs.Node{ID: id}, s) {
				return nil
			}
		}
	}
	return nil
}

// list are the names in a directory.
func list(fd int) ([]vfs.Name, error) {
	entries, err := os.ReadDir(path(fd))
	var names []vfs.Name
	for _, e := range entries {
		names = append(names, name(e.Name()))
	}
	return names, err
}

func (h *host) ReadLink(_ context.Context, _ *vfs.Who, n vfs.Node) (string, vfs.Attr, error) {
	fd, a, err := h.get(n)
	if err != nil || a.Type != vfs.Symlink {
		return "", a, cmp.Or(err, error(vfs.Inval))
	}
	buf := make([]byte, TargetMax)
	count, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(count, 0)]), a, err
}

// data opens a file for what w may do by perm; the server's overrides are no kernel's.
func (h *host) data(w *vfs.Who, n vfs.Node, may func(*vfs.Who, *vfs.Attr, vfs.ACL) error) (int, error) {
	fd, a, err := h.get(n)
	switch {
	case err != nil:
		return -1, err
	case a.Type == vfs.Directory:
		return -1, vfs.IsDir
	case a.Type != vfs.Regular:
		return -1, vfs.Inval
	}
	if err := may(w, &a, nil); err != nil {
		return -1, err
	}
	return unix.Open(path(fd), unix.O_RDWR, 0)
}

func (h *host) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (int, bool, vfs.Attr, error) {
	fd, err := h.data(w, n, perm.ReadFile)
	if err != nil {
		return 0, false, vfs.Attr{}, err
	}
	defer unix.Close(fd)
	a, err := h.GetAttr(ctx, w, n)
	count := 0
	if off < a.Size {
		count, err = unix.Pread(fd, buf, int64(off))
	}
	return count, off+uint64(count) >= a.Size, a, err
}

// hostFileMax is the largest file the tests make, below that of any file system.
const hostFileMax = 1 << 40

func (h *host) Write(_ context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, _ vfs.Stable) (vfs.Written, vfs.Change, error) {
	fd, err := h.data(w, n, perm.WriteFile)
	if err != nil {
		return vfs.Written{}, vfs.Change{}, err
	}
	defer unix.Close(fd)
	if len(data) > 0 && (off > hostFileMax || off+uint64(len(data)) > hostFileMax) {
		return vfs.Written{}, vfs.Change{}, vfs.FBig
	}
	if len(data) > 0 {
		err = h.as(w, func() error { _, err := unix.Pwrite(fd, data, int64(off)); return err })
	}
	return vfs.Written{Count: len(data), Stable: vfs.FileSync}, vfs.Change{}, err
}

func (h *host) Commit(_ context.Context, w *vfs.Who, n vfs.Node, _, _ uint64) (vfs.Verifier, vfs.Change, error) {
	fd, err := h.data(w, n, perm.WriteFile)
	if err == nil {
		unix.Close(fd)
	}
	return vfs.Verifier{}, vfs.Change{}, err
}

// Make leaves to the kernel all but the creation modes of NFS.
func (h *host) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, n vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	fd, d, err := h.get(dir)
	switch {
	case err != nil:
		return vfs.Attr{}, vfs.Change{}, err
	case d.Type != vfs.Directory:
		return vfs.Attr{}, vfs.Change{}, vfs.NotDir
	case how.Type == 0:
		return vfs.Attr{}, vfs.Change{}, vfs.BadType
	case how.Type == vfs.Symlink && how.Target == "":
		return vfs.Attr{}, vfs.Change{}, vfs.Inval
	case how.Type == vfs.Regular && how.Exists != vfs.Exclusive && how.Set.Has(vfs.SetSize) && how.Set.Size > hostFileMax:
		return vfs.Attr{}, vfs.Change{}, vfs.FBig
	}
	err = h.as(w, func() error { return create(fd, n.String(), how) })
	if errors.Is(err, vfs.Exist) && how.Type == vfs.Regular {
		a, err := h.find(vfs.Superuser, fd, n)
		switch {
		case err != nil:
		case a.Type == vfs.Regular && how.Exists == vfs.Unchecked:
			_, err = h.SetAttr(ctx, w, a.Node, &vfs.SetAttr{Mask: how.Set.Mask & vfs.SetSize, Size: how.Set.Size}, nil)
		case how.Exists != vfs.Exclusive || !perm.SameExclusive(&a, how.Verifier):
			err = vfs.Exist
		}
		if err == nil {
			a, err = h.GetAttr(ctx, w, a.Node)
		}
		return a, vfs.Change{}, err
	}
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	a, err := h.initial(fd, w, n, how)
	return a, vfs.Change{}, err
}

// create makes the object with the mode that the caller asked for.
func create(dir int, n string, how *vfs.How) error {
	mode := uint32(0)
	if how.Set.Has(vfs.SetMode) {
		mode = how.Set.Mode
	}
	switch how.Type {
	case vfs.Directory:
		return unix.Mkdirat(dir, n, mode)
	case vfs.Symlink:
		return unix.Symlinkat(how.Target, dir, n)
	case vfs.FIFO:
		return unix.Mknodat(dir, n, unix.S_IFIFO|mode, 0)
	case vfs.Socket:
		return unix.Mknodat(dir, n, unix.S_IFSOCK|mode, 0)
	case vfs.Char:
		return unix.Mknodat(dir, n, unix.S_IFCHR|mode, int(unix.Mkdev(how.Major, how.Minor)))
	}
	return unix.Mknodat(dir, n, unix.S_IFREG|mode, 0)
}

// initial gives a new object the rest of its attributes, as the server.
func (h *host) initial(dir int, w *vfs.Who, n vfs.Name, how *vfs.How) (vfs.Attr, error) {
	a, err := h.find(vfs.Superuser, dir, n)
	if err != nil {
		return a, err
	}
	fd := h.nodes[a.Node.ID]
	set := how.Set
	if how.Type == vfs.Regular && how.Exists == vfs.Exclusive {
		set.Mask = set.Mask&^vfs.SetSize | vfs.SetAtime | vfs.SetMtime
		set.Atime, set.Mtime = perm.ExclusiveTimes(how.Verifier)
	}
	if how.Type == vfs.Regular && set.Has(vfs.SetSize) {
		err = errors.Join(err, unix.Truncate(path(fd), int64(set.Size)))
	}
	if w.IsRoot() && set.Has(vfs.SetUID|vfs.SetGID) {
		err = errors.Join(err, unix.Fchownat(fd, "", int(set.UID), int(set.GID), unix.AT_EMPTY_PATH))
	}
	ts := []unix.Timespec{timespec(&set, vfs.SetAtimeNow, vfs.SetAtime, set.Atime), timespec(&set, vfs.SetMtimeNow, vfs.SetMtime, set.Mtime)}
	if err = errors.Join(err, utimens(fd, ts)); err != nil {
		return a, err
	}
	return attrOf(fd)
}

func (h *host) Link(_ context.Context, w *vfs.Who, n, dir vfs.Node, s vfs.Name) (vfs.Attr, vfs.Change, error) {
	fd, a, err := h.get(n)
	if err != nil {
		return a, vfs.Change{}, err
	}
	d, _, err := h.get(dir)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	link := func() error { return unix.Linkat(unix.AT_FDCWD, path(fd), d, s.String(), unix.AT_SYMLINK_FOLLOW) }
	err = h.as(w, link)
	if errors.Is(err, vfs.Perm) {
		err = h.linkUnrestricted(w, d, a.Type == vfs.Directory, link)
	}
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	a, err = attrOf(fd)
	return a, vfs.Change{}, err
}

// linkUnrestricted is what the kernel would do without fs.protected_hardlinks,
// which it looks at after Exist and before the permission of the directory.
// A directory is IsDir and not Perm: the one deviation.
func (h *host) linkUnrestricted(w *vfs.Who, dir int, isDir bool, link func() error) error {
	err := h.as(w, func() error { return unix.Faccessat(dir, "", unix.W_OK|unix.X_OK, unix.AT_EACCESS|unix.AT_EMPTY_PATH) })
	switch {
	case err != nil:
		return err
	case isDir:
		return vfs.IsDir
	}
	return h.as(vfs.Superuser, link)
}

func (h *host) Remove(_ context.Context, w *vfs.Who, dir vfs.Node, s vfs.Name) (vfs.Change, error) {
	fd, _, err := h.get(dir)
	if err != nil {
		return vfs.Change{}, err
	}
	return vfs.Change{}, h.as(w, func() error { return unix.Unlinkat(fd, s.String(), 0) })
}

func (h *host) RemoveDir(_ context.Context, w *vfs.Who, dir vfs.Node, s vfs.Name) (vfs.Change, error) {
	fd, _, err := h.get(dir)
	if err != nil {
		return vfs.Change{}, err
	}
	return vfs.Change{}, h.as(w, func() error { return unix.Unlinkat(fd, s.String(), unix.AT_REMOVEDIR) })
}

func (h *host) Rename(_ context.Context, w *vfs.Who, from vfs.Node, s vfs.Name, to vfs.Node, t vfs.Name) (c, c2 vfs.Change, err error) {
	fd, _, err := h.get(from)
	if err != nil {
		return c, c2, err
	}
	td, _, err := h.get(to)
	if err != nil {
		return c, c2, err
	}
	return c, c2, h.as(w, func() error { return unix.Renameat(fd, s.String(), td, t.String()) })
}

func (h *host) ReadDir(_ context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, _ bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	fd, a, err := h.get(dir)
	if err == nil && a.Type != vfs.Directory {
		err = vfs.NotDir
	}
	if err == nil {
		err = h.as(w, func() error {
			f, err := unix.Open(path(fd), unix.O_RDONLY|unix.O_DIRECTORY, 0)
			unix.Close(f)
			return err
		})
	}
	if err != nil {
		return vfs.Attr{}, false, err
	}
	names, err := list(fd)
	if err != nil {
		return vfs.Attr{}, false, err
	}
	cookie := func(s vfs.Name) vfs.Cookie {
		return vfs.FirstCookie + vfs.Cookie(siphash.Hash(1, 2, []byte(s.String()))>>2) // of few names: none collide
	}
	slices.SortFunc(names, func(x, y vfs.Name) int { return cmp.Compare(cookie(x), cookie(y)) })
	for _, s := range names {
		if cookie(s) <= after {
			continue
		}
		o, err := h.find(vfs.Superuser, fd, s)
		if err != nil {
			return a, false, err
		}
		if !each(&vfs.DirEntry{Name: s, Cookie: cookie(s), Node: o.Node}) {
			return a, false, nil
		}
	}
	return a, true, nil
}

func (h *host) Statfs(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.Space, vfs.Attr, error) {
	_, a, err := h.get(n)
	return vfs.Space{}, a, err
}

func (h *host) Limits(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.Limits, vfs.Attr, error) {
	_, a, err := h.get(n)
	return vfs.Limits{MaxFileSize: hostFileMax, LinkMax: 1000, NameMax: vfs.NameMax}, a, err
}

func (h *host) GetACL(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.ACLs, vfs.Attr, error) {
	_, a, err := h.get(n)
	return vfs.ACLs{}, a, err
}

func (h *host) SetACL(_ context.Context, _ *vfs.Who, n vfs.Node, _ vfs.ACLs) (vfs.Attr, error) {
	_, a, err := h.get(n)
	return a, cmp.Or(err, error(vfs.NotSupp))
}

func (h *host) Subscribe(func(vfs.Event)) func() { return func() {} }
