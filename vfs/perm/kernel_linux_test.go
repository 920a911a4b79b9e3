package perm

import (
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sheaf/tests/need"
	"sheaf/vfs"
)

// kernel runs operations on the kernel as whoever they say, in a directory of
// its own. It belongs to one locked thread with its own credentials, working
// directory and umask (credentials(7): all three are a thread's on Linux).
type kernel struct{ acls bool }

// withKernel runs f with a kernel, or skips where none can be had.
func withKernel(t *testing.T, f func(k *kernel)) {
	t.Helper()
	need.Superuser(t, "comparison with the kernel needs root, to act as several users")
	dir := t.TempDir()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(done)
		if err := errors.Join(unix.Unshare(unix.CLONE_FS), os.Chmod(dir, 0o755), unix.Chdir(dir)); err != nil {
			done <- err
			return
		}
		unix.Umask(0)
		k := &kernel{acls: true}
		if err := k.setACL(".", vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 7}, {Tag: vfs.ACLGroupObj, Perm: 5}, {Tag: vfs.ACLOther, Perm: 5}}, "access"); err != nil {
			k.acls = false
		}
		f(k)
	}()
	if err := <-done; err != nil {
		need.Lack(t, need.Root, "no thread of its own: %v", err)
	}
}

// as runs f as w and gives its errno.
func (k *kernel) as(t *rapid.T, w *vfs.Who, f func() error) error {
	become(t, w)
	err := f()
	become(t, &vfs.Who{})
	return err
}

// become changes the credentials of this thread only, hence raw calls.
func become(t *rapid.T, w *vfs.Who) {
	const keep = ^uintptr(0)
	groups := append([]uint32{w.GID}, w.Groups...)
	call := func(nr, a, b, c uintptr) {
		if _, _, e := unix.RawSyscall(nr, a, b, c); e != 0 {
			t.Fatalf("becoming %+v: %v", w, e)
		}
	}
	call(unix.SYS_SETRESUID, keep, 0, keep)
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		t.Fatalf("groups of %+v: %v", w, e)
	}
	call(unix.SYS_SETRESGID, keep, uintptr(w.GID), keep)
	call(unix.SYS_SETRESUID, keep, uintptr(w.UID), keep)
}

// fixture makes an object with a's type, mode and owner and the lists acls.
func (k *kernel) fixture(t *rapid.T, name string, a *vfs.Attr, acls vfs.ACLs) {
	var err error
	if a.Type == vfs.Directory {
		err = unix.Mkdir(name, 0o700)
	} else {
		var fd int
		if fd, err = unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600); err == nil {
			_, err = unix.Write(fd, []byte("data"))
			unix.Close(fd)
		}
	}
	if err != nil {
		t.Fatalf("fixture: %v", err)
	}
	err = errors.Join(unix.Lchown(name, int(a.UID), int(a.GID)), unix.Chmod(name, a.Mode))
	if k.acls {
		err = errors.Join(err, k.setACL(name, acls.Access, "access"))
		if a.Type == vfs.Directory {
			err = errors.Join(err, k.setACL(name, acls.Default, "default")) // or removes what the parent left it
		}
	}
	if err != nil {
		t.Fatalf("fixture: %v", err)
	}
}

// state is what the kernel says of name in the terms of this package.
func (k *kernel) state(t *rapid.T, name string) Born {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Fatalf("lstat: %v", err)
	}
	b := Born{Mode: st.Mode & vfs.ModeMask, UID: st.Uid, GID: st.Gid}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		b.ACLs = vfs.ACLs{Access: k.getACL(t, name, "access"), Default: k.getACL(t, name, "default")}
	}
	return b
}

func (k *kernel) setACL(name string, acl vfs.ACL, kind string) error {
	if len(acl) == 0 {
		if err := unix.Removexattr(name, "system.posix_acl_"+kind); !errors.Is(err, unix.ENODATA) {
			return err
		}
		return nil
	}
	b := []byte{2, 0, 0, 0} // POSIX_ACL_XATTR_VERSION
	for _, e := range acl {
		b = binary.LittleEndian.AppendUint16(b, uint16(e.Tag))
		b = binary.LittleEndian.AppendUint16(b, e.Perm)
		b = binary.LittleEndian.AppendUint32(b, e.ID)
	}
	return unix.Setxattr(name, "system.posix_acl_"+kind, b, 0)
}

func (k *kernel) getACL(t *rapid.T, name, kind string) (acl vfs.ACL) {
	b := make([]byte, 4096)
	n, err := unix.Getxattr(name, "system.posix_acl_"+kind, b)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	} else if err != nil {
		t.Fatalf("getxattr: %v", err)
	}
	for b = b[4:n]; len(b) >= 8; b = b[8:] {
		e := vfs.ACLEntry{Tag: vfs.ACLTag(binary.LittleEndian.Uint16(b)), Perm: binary.LittleEndian.Uint16(b[2:])}
		if e.Tag == vfs.ACLUser || e.Tag == vfs.ACLGroup {
			e.ID = binary.LittleEndian.Uint32(b[4:])
		}
		acl = append(acl, e)
	}
	return acl
}

// The people and groups of the scenarios: few, so that they meet.
var (
	uids = rapid.SampledFrom([]uint32{0, 1001, 1002, 1003})
	gids = rapid.SampledFrom([]uint32{2001, 2002, 2003})
	mode = rapid.Custom(func(t *rapid.T) uint32 {
		return rapid.Uint32Range(0, 0o777).Draw(t, "perm") | rapid.Uint32Range(0, 7).Draw(t, "set-id and sticky")<<9
	})
	whos = rapid.Custom(func(t *rapid.T) *vfs.Who {
		return &vfs.Who{
			UID: uids.Draw(t, "uid"), GID: gids.Draw(t, "gid"),
			Groups: rapid.SliceOfNDistinct(gids, 0, 2, rapid.ID).Draw(t, "groups"),
		}
	})
	lists = rapid.Custom(func(t *rapid.T) vfs.ACL {
		perm := func() uint16 { return rapid.Uint16Range(0, 7).Draw(t, "perm") }
		acl := vfs.ACL{{Tag: vfs.ACLOther, Perm: perm()}, {Tag: vfs.ACLGroupObj, Perm: perm()}, {Tag: vfs.ACLUserObj, Perm: perm()}}
		for _, id := range rapid.SliceOfNDistinct(gids, 0, 2, rapid.ID).Draw(t, "named groups") {
			acl = append(acl, vfs.ACLEntry{Tag: vfs.ACLGroup, Perm: perm(), ID: id})
		}
		for _, id := range rapid.SliceOfNDistinct(uids, 0, 2, rapid.ID).Draw(t, "named users") {
			acl = append(acl, vfs.ACLEntry{Tag: vfs.ACLUser, Perm: perm(), ID: id})
		}
		if len(acl) > 3 || rapid.Bool().Draw(t, "mask") {
			acl = append(acl, vfs.ACLEntry{Tag: vfs.ACLMask, Perm: perm()})
		}
		out, err := Normalize(acl)
		if err != nil {
			t.Fatalf("a valid list is refused: %v", acl)
		}
		return out
	})
)

// maybeACL is a list half of the time, if the file system keeps them.
func (k *kernel) maybeACL(t *rapid.T, label string) vfs.ACL {
	if !k.acls || !rapid.Bool().Draw(t, "has "+label) {
		return nil
	}
	return lists.Draw(t, label)
}

// subject draws an object and makes it; the lists are as SetACL stores them.
func (k *kernel) subject(t *rapid.T, name string, types ...vfs.Type) (vfs.Attr, vfs.ACLs) {
	a := vfs.Attr{Type: rapid.SampledFrom(types).Draw(t, "type"), Mode: mode.Draw(t, "mode"), UID: uids.Draw(t, "owner"), GID: gids.Draw(t, "group")}
	acls := vfs.ACLs{Access: k.maybeACL(t, "access list")}
	if a.Type == vfs.Directory {
		acls.Default = k.maybeACL(t, "default list")
	}
	k.fixture(t, name, &a, acls)
	m, stored, err := SetACL(vfs.Superuser, &a, acls)
	if err != nil {
		t.Fatalf("SetACL: %v", err)
	}
	a.Mode = m
	if got := k.state(t, name); !same(got, Born{m, a.UID, a.GID, stored}) {
		t.Fatalf("the kernel made %+v, want %+v of %+v", got, stored, a)
	}
	return a, stored
}

func same(a, b Born) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && equal(a.ACLs.Access, b.ACLs.Access) && equal(a.ACLs.Default, b.ACLs.Default)
}

func equal(a, b vfs.ACL) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

// statusOf is the status of an errno of these tests.
func statusOf(t *rapid.T, err error) vfs.Status {
	switch {
	case err == nil:
		return vfs.OK
	case errors.Is(err, unix.EACCES):
		return vfs.Acces
	case errors.Is(err, unix.EPERM):
		return vfs.Perm
	}
	t.Fatalf("unexpected: %v", err)
	return vfs.ServerFault
}

// each runs a property many times in fresh directories.
func each(t *testing.T, property func(t *rapid.T, k *kernel)) {
	t.Helper()
	withKernel(t, func(k *kernel) {
		rapid.Check(t, func(rt *rapid.T) {
			defer os.RemoveAll("x")
			property(rt, k)
		})
	})
}

// TestKernelAllowed compares every combination of permissions with faccessat2(2).
func TestKernelAllowed(t *testing.T) {
	each(t, func(t *rapid.T, k *kernel) {
		a, acls := k.subject(t, "x", vfs.Regular, vfs.Directory)
		for range 5 {
			w := whos.Draw(t, "who")
			for want := uint16(1); want <= 7; want++ {
				err := k.as(t, w, func() error { return unix.Faccessat(unix.AT_FDCWD, "x", uint32(want), unix.AT_EACCESS) })
				if got := Allowed(w, &a, acls.Access, want); got != (statusOf(t, err) == vfs.OK) {
					t.Fatalf("%+v wants %d of %+v, %v: %v, the kernel says %v", w, want, a, acls.Access, got, err)
				}
			}
		}
	})
}

// TestKernelSetAttr compares chmod(2), chown(2), utimensat(2) and ftruncate(2).
func TestKernelSetAttr(t *testing.T) {
	each(t, func(t *rapid.T, k *kernel) {
		a, acls := k.subject(t, "x", vfs.Regular, vfs.Directory)
		w := whos.Draw(t, "who")
		set := vfs.SetAttr{
			Mode: mode.Draw(t, "new mode"), UID: uids.Draw(t, "new owner"), GID: gids.Draw(t, "new group"), Size: 1,
			Atime: vfs.Time{Sec: 5}, Mtime: vfs.Time{Sec: 6},
		}
		changes := []vfs.SetMask{
			vfs.SetMode, vfs.SetUID, vfs.SetGID, vfs.SetUID | vfs.SetGID, vfs.SetAtime, vfs.SetMtime,
			vfs.SetAtimeNow, vfs.SetMtimeNow, vfs.SetAtime | vfs.SetMtime, vfs.SetAtimeNow | vfs.SetMtime, vfs.SetAtimeNow | vfs.SetMtimeNow,
		}
		if a.Type == vfs.Regular {
			changes = append(changes, vfs.SetSize)
		}
		set.Mask = rapid.SampledFrom(changes).Draw(t, "mask")
		out, err := SetAttr(w, &a, acls.Access, &set)
		got := statusOf(t, k.set(t, w, &a, &set))
		if got != vfs.StatusOf(err) {
			t.Fatalf("%+v sets %+v of %+v, %v: %v, the kernel says %v", w, set, a, acls, err, got)
		}
		want := Born{out.Mode, out.UID, out.GID, vfs.ACLs{Access: out.Access, Default: acls.Default}}
		if now := k.state(t, "x"); !same(now, want) {
			t.Fatalf("%+v sets %+v of %+v, %v: %+v, the kernel %+v", w, set, a, acls, want, now)
		}
	})
}

// set makes one of the changes of TestKernelSetAttr.
func (k *kernel) set(t *rapid.T, w *vfs.Who, a *vfs.Attr, set *vfs.SetAttr) error {
	switch {
	case set.Has(vfs.SetMode):
		return k.as(t, w, func() error { return unix.Chmod("x", set.Mode) })
	case set.Has(vfs.SetUID | vfs.SetGID):
		uid, gid := -1, -1
		if set.Has(vfs.SetUID) {
			uid = int(set.UID)
		}
		if set.Has(vfs.SetGID) {
			gid = int(set.GID)
		}
		return k.as(t, w, func() error { return unix.Lchown("x", uid, gid) })
	case set.Has(vfs.SetSize):
		return k.withFile(t, w, a, func(fd int) error { return unix.Ftruncate(fd, int64(set.Size)) })
	}
	stamp := func(now, to vfs.SetMask, at vfs.Time) unix.Timespec {
		switch {
		case set.Has(now):
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case set.Has(to):
			return unix.Timespec{Sec: at.Sec, Nsec: int64(at.Nsec)}
		}
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	ts := []unix.Timespec{stamp(vfs.SetAtimeNow, vfs.SetAtime, set.Atime), stamp(vfs.SetMtimeNow, vfs.SetMtime, set.Mtime)}
	return k.as(t, w, func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, "x", ts, 0) })
}

// withFile runs f as w with x open for writing: the owner has it opened before,
// which is what the owner's override stands for (RFC 1813 section 4.4).
func (k *kernel) withFile(t *rapid.T, w *vfs.Who, a *vfs.Attr, f func(fd int) error) error {
	if w.UID == a.UID {
		fd, err := unix.Open("x", unix.O_WRONLY, 0)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		defer unix.Close(fd)
		return k.as(t, w, func() error { return f(fd) })
	}
	return k.as(t, w, func() error {
		fd, err := unix.Open("x", unix.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(fd)
	})
}

// TestKernelWritten compares what write(2) leaves of the mode.
func TestKernelWritten(t *testing.T) {
	each(t, func(t *rapid.T, k *kernel) {
		a, acls := k.subject(t, "x", vfs.Regular)
		w := whos.Draw(t, "who")
		want := a.Mode
		err := WriteFile(w, &a, acls.Access)
		if err == nil {
			want = Written(w, &a)
		}
		got := statusOf(t, k.withFile(t, w, &a, func(fd int) error {
			_, err := unix.Pwrite(fd, []byte("x"), 0)
			return err
		}))
		if now := k.state(t, "x").Mode; got != vfs.StatusOf(err) || now != want {
			t.Fatalf("%+v writes %+v, %v: %v %04o, the kernel %v %04o", w, a, acls, err, want, got, now)
		}
	})
}

// TestKernelBirth compares open(2), mkdir(2), mknod(2) and symlink(2) beneath
// set-group-id directories and default ACLs.
func TestKernelBirth(t *testing.T) {
	each(t, func(t *rapid.T, k *kernel) {
		dir, acls := k.subject(t, "x", vfs.Directory)
		w := whos.Draw(t, "who")
		how := vfs.How{Type: rapid.SampledFrom([]vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink, vfs.FIFO, vfs.Socket, vfs.Char}).Draw(t, "new type")}
		how.Set = vfs.SetAttr{Mask: vfs.SetMode, Mode: mode.Draw(t, "new mode")}
		want, err := Born{}, Add(w, &dir, acls.Access)
		if err == nil {
			want, err = Birth(w, &dir, acls.Default, &how)
		}
		got := statusOf(t, k.as(t, w, func() error { return birth("x/new", &how) }))
		if got != vfs.StatusOf(err) {
			t.Fatalf("%+v makes %+v in %+v, %v: %v, the kernel says %v", w, how, dir, acls, err, got)
		}
		if err != nil {
			return
		}
		if now := k.state(t, "x/new"); !same(now, want) {
			t.Fatalf("%+v makes %+v in %+v, %v: %+v, the kernel %+v", w, how, dir, acls, want, now)
		}
	})
}

func birth(name string, how *vfs.How) error {
	switch how.Type {
	case vfs.Directory:
		return unix.Mkdir(name, how.Set.Mode)
	case vfs.Symlink:
		return unix.Symlink("target", name)
	case vfs.FIFO:
		return unix.Mknod(name, unix.S_IFIFO|how.Set.Mode, 0)
	case vfs.Socket:
		return unix.Mknod(name, unix.S_IFSOCK|how.Set.Mode, 0)
	case vfs.Char:
		return unix.Mknod(name, unix.S_IFCHR|how.Set.Mode, int(unix.Mkdev(1, 3)))
	}
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY, how.Set.Mode)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// TestKernelDelete compares unlink(2), rmdir(2) and rename(2) out of a
// directory, sticky or not.
func TestKernelDelete(t *testing.T) {
	each(t, func(t *rapid.T, k *kernel) {
		dir, acls := k.subject(t, "x", vfs.Directory)
		k.fixture(t, "x/sub", &vfs.Attr{Type: vfs.Directory, Mode: 0o777}, vfs.ACLs{})
		victim, vacls := k.subject(t, "x/victim", vfs.Regular, vfs.Directory)
		w := whos.Draw(t, "who")
		move := rapid.Bool().Draw(t, "move")
		want := Delete(w, &dir, acls.Access, &victim)
		if want == nil && move && victim.Type == vfs.Directory {
			want = Reparent(w, &victim, vacls.Access)
		}
		got := statusOf(t, k.as(t, w, func() error {
			switch {
			case move:
				return unix.Rename("x/victim", "x/sub/victim")
			case victim.Type == vfs.Directory:
				return unix.Rmdir("x/victim")
			}
			return unix.Unlink("x/victim")
		}))
		if vfs.StatusOf(want) != got {
			t.Fatalf("%+v removes %+v from %+v, %v: %v, the kernel says %v", w, victim, dir, acls, want, got)
		}
	})
}

// TestKernelSetACL compares setxattr(2) and removexattr(2) of both lists.
func TestKernelSetACL(t *testing.T) {
	each(t, func(t *rapid.T, k *kernel) {
		if !k.acls {
			t.Skip("the file system of the temporary directory keeps no ACLs")
		}
		a, acls := k.subject(t, "x", vfs.Regular, vfs.Directory)
		w := whos.Draw(t, "who")
		next := vfs.ACLs{Access: k.maybeACL(t, "new access list")}
		if a.Type == vfs.Directory {
			next.Default = k.maybeACL(t, "new default list")
		}
		m, stored, err := SetACL(w, &a, next)
		want := Born{m, a.UID, a.GID, stored}
		if err != nil {
			want.ACLs = acls
		}
		got := statusOf(t, k.as(t, w, func() error {
			if err := k.setACL("x", next.Access, "access"); err != nil || a.Type != vfs.Directory {
				return err
			}
			return k.setACL("x", next.Default, "default")
		}))
		if now := k.state(t, "x"); got != vfs.StatusOf(err) || !same(now, want) {
			t.Fatalf("%+v gives %+v, %v the lists %v: %v %+v, the kernel %v %+v", w, a, acls, next, err, want, got, now)
		}
	})
}
