//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// resolve is how a component beneath an open directory is looked up.
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// openTries bounds how often openat2(2) is asked again when it could not rule
// out a race (EAGAIN, see its man page).
const openTries = 64

// openBeneath opens one component. The caller adds O_DIRECTORY, O_PATH or an
// access mode. Without openat2(2) (kernels before 5.6, some sandboxes) openat(2)
// does, since a single component has only itself to follow; a mount point is
// then found out by statFd.
func openBeneath(dirfd int, name string, flags int, mode uint32) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	if flags&unix.O_PATH == 0 { // openat2(2) takes no others beside O_PATH
		flags |= unix.O_NOCTTY
	}
	how := unix.OpenHow{Flags: uint64(flags), Mode: uint64(mode), Resolve: resolve}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dirfd, name, &how)
		switch {
		case err == nil:
			return fd, nil
		case err == unix.EINTR, err == unix.EAGAIN && try < openTries:
		case err == unix.ENOSYS:
			return openPlain(dirfd, name, flags, mode)
		default:
			return -1, err
		}
	}
}

// openNameless makes a file in the directory behind dirfd that has no name yet, and goes with its last descriptor
// unless it gets one (linkRef). Its mode is less what the process's umask takes.
func openNameless(dirfd int, mode uint32) (int, error) {
	return openBeneath(dirfd, ".", unix.O_TMPFILE|unix.O_RDWR, mode)
}

func openPlain(dirfd int, name string, flags int, mode uint32) (fd int, err error) {
	err = again(func() (err error) {
		fd, err = unix.Openat(dirfd, name, flags, mode)
		return err
	})
	return fd, err
}

// openSelf opens the directory behind fd once more, with an offset of its own.
func openSelf(fd int) (int, error) {
	return openPlain(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// openDirAt opens a directory for reading, or bare where that is not permitted.
func openDirAt(dirfd int, name string) (fd int, bare bool, err error) {
	fd, err = openBeneath(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == unix.EACCES || err == unix.EPERM {
		fd, err = openBeneath(dirfd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		return fd, true, err
	}
	return fd, false, err
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// cname is a NUL-terminated name that can stay on the stack, for the calls
// that are made for every look-up.
type cname [vfs.NameMax + 1]byte

func (c *cname) set(s string) bool { return copy(c[:vfs.NameMax], s) == len(s) }

// statx is statx(2) without following a final symbolic link or starting an automount.
func statx(dirfd int, name string, flags int, x *unix.Statx_t) error {
	var c cname
	if !c.set(name) {
		return unix.ENAMETOOLONG
	}
	flags |= unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	for {
		_, _, e := unix.Syscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(&c)), uintptr(flags), statMask, uintptr(unsafe.Pointer(x)), 0)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return e
		}
	}
}

// statAt is the object called name in the open directory dirfd; EXDEV for what
// is mounted there.
func (v *Volume) statAt(dirfd int, name string, st *volume.Stat) error {
	var x unix.Statx_t
	if err := statx(dirfd, name, 0, &x); err != nil {
		return err
	}
	return v.fromStatx(&x, st)
}

// statFd is the object behind fd, which may be bare.
func (v *Volume) statFd(fd int, st *volume.Stat) error {
	var x unix.Statx_t
	if err := statx(fd, "", unix.AT_EMPTY_PATH, &x); err != nil {
		return err
	}
	return v.fromStatx(&x, st)
}

// fromStatx fills st, and refuses mount points and, on btrfs, other subvolumes.
// Overlayfs gives files another device than their directory, so the device
// alone says nothing elsewhere.
func (v *Volume) fromStatx(x *unix.Statx_t, st *volume.Stat) error {
	if v.host.ready {
		other := x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 || v.host.magic == unix.BTRFS_SUPER_MAGIC && v.host.device(x) != v.host.dev
		if other && (x.Ino != v.host.rootIno || v.host.device(x) != v.host.dev) {
			return unix.EXDEV
		}
	}
	*st = volume.Stat{
		Key:  volume.Key{Ino: x.Ino},
		Type: typeOfMode(uint32(x.Mode)), Mode: uint32(x.Mode) & vfs.ModeMask, Nlink: x.Nlink,
		UID: x.Uid, GID: x.Gid, Size: x.Size, Used: x.Blocks * 512, // statx(2): units of 512 bytes
		Major: x.Rdev_major, Minor: x.Rdev_minor,
		Atime: vfs.Time{Sec: x.Atime.Sec, Nsec: x.Atime.Nsec},
		Mtime: vfs.Time{Sec: x.Mtime.Sec, Nsec: x.Mtime.Nsec},
		Ctime: vfs.Time{Sec: x.Ctime.Sec, Nsec: x.Ctime.Nsec},
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		st.Key.Birth = x.Btime.Sec*1e9 + int64(x.Btime.Nsec)
	}
	return nil
}

// removed reports whether the directory behind fd has no name any more.
func removed(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Nlink == 0
}

// pin holds the object called name, whatever it is, so that what follows is
// done to it and to no other. The caller closes it.
func (v *Volume) pin(dirfd int, name string) (ref, error) {
	fd, err := openBeneath(dirfd, name, unix.O_PATH, 0)
	if err != nil {
		return ref{fd: -1}, err
	}
	r := ref{fd: fd, bare: true, owned: true}
	if err := v.statFd(fd, &r.st); err != nil {
		r.close()
		return ref{fd: -1}, err
	}
	return r, nil
}

// procPath is how calls that want a path are given a descriptor, bare or not:
// the magic link leads to exactly that object and is not followed further.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (r *ref) chown(uid, gid int) error {
	return again(func() error { return unix.Fchownat(r.fd, "", uid, gid, unix.AT_EMPTY_PATH) })
}

// chmod changes the mode. A symbolic link has none of its own on Linux, and
// knfsd ignores the wish too (nfsd_setattr in fs/nfsd/vfs.c).
func (r *ref) chmod(mode uint32) error {
	switch {
	case r.st.Type == vfs.Symlink:
		return nil
	case r.bare:
		return again(func() error { return unix.Chmod(procPath(r.fd), mode) })
	default:
		return again(func() error { return unix.Fchmod(r.fd, mode) })
	}
}

func (r *ref) utimes(ts *[2]unix.Timespec) error {
	return again(func() error {
		if r.bare { // a kernel before 5.8 knows no AT_EMPTY_PATH here
			err := unix.UtimesNanoAt(r.fd, "", ts[:], unix.AT_EMPTY_PATH)
			if err != unix.EINVAL || r.st.Type == vfs.Symlink {
				return err
			}
			return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(r.fd), ts[:], 0)
		}
		_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(r.fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0) // futimens(3)
		if e != 0 {
			return e
		}
		return nil
	})
}

// linkRef gives the object a further name. AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH (ENOENT without, linkat(2)), which the
// magic link does not, but takes one microsecond longer.
func (v *Volume) linkRef(r *ref, dirfd int, name string) error {
	if !v.byMagic.Load() {
		err := again(func() error { return unix.Linkat(r.fd, "", dirfd, name, unix.AT_EMPTY_PATH) })
		if err != unix.ENOENT { // which it also is where the directory was removed
			return err
		}
	}
	err := again(func() error {
		return unix.Linkat(unix.AT_FDCWD, procPath(r.fd), dirfd, name, unix.AT_SYMLINK_FOLLOW)
	})
	if err == nil && !v.byMagic.Load() {
		v.byMagic.Store(true)
	}
	return err
}

// getxattr is 0 and no error for an attribute that is not there.
func (r *ref) getxattr(attr string, buf []byte) (n int, err error) {
	err = again(func() (err error) {
		if r.bare {
			n, err = unix.Getxattr(procPath(r.fd), attr, buf)
		} else {
			n, err = unix.Fgetxattr(r.fd, attr, buf)
		}
		return err
	})
	if err == unix.ENODATA {
		return 0, nil
	}
	return n, err
}

func (r *ref) setxattr(attr string, value []byte) error {
	return again(func() error {
		if r.bare {
			return unix.Setxattr(procPath(r.fd), attr, value, 0)
		}
		return unix.Fsetxattr(r.fd, attr, value, 0)
	})
}

// removexattr succeeds if there is none.
func (r *ref) removexattr(attr string) error {
	err := again(func() error {
		if r.bare {
			return unix.Removexattr(procPath(r.fd), attr)
		}
		return unix.Fremovexattr(r.fd, attr)
	})
	if err == unix.ENODATA {
		return nil
	}
	return err
}

// Linux keeps 12 bits of a major number and 20 of a minor (MINORBITS of linux/kdev_t.h); the rest would be cut off.
const (
	majorMax = 1<<12 - 1
	minorMax = 1<<20 - 1
)

func mknodAt(dirfd int, name string, mode uint32, major, minor uint32) error {
	if major > majorMax || minor > minorMax {
		return unix.EINVAL
	}
	return again(func() error { return unix.Mknodat(dirfd, name, mode, int(unix.Mkdev(major, minor))) })
}

// renameExclusive fails with EEXIST if to is taken, and with EINVAL where the
// file system cannot do that.
func renameExclusive(fromfd int, from string, tofd int, to string) error {
	return again(func() error { return unix.Renameat2(fromfd, from, tofd, to, unix.RENAME_NOREPLACE) })
}

// readNow is preadv2(2) with RWF_NOWAIT: EAGAIN where it would wait. What is not in memory is not asked for: RWF_NOWAIT
// does not wait for it, but begins to read it (filemap_get_pages), and that waits when the queue of the device is
// full. Seen on a disk that hung: the reader of a connection stayed in it for as long as that did.
func readNow(fd int, buf []byte, off int64) (int, error) {
	if !resident(fd, len(buf), off) {
		return 0, unix.EAGAIN
	}
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	for {
		n, _, e := unix.Syscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1,
			uintptr(off), uintptr(uint64(off)>>32), unix.RWF_NOWAIT) // the high half counts on 32-bit hosts only
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// resident reports whether the host has these bytes of a file in its page cache, as far as they are not behind its end
// (cachestat(2), since Linux 6.5). Where that cannot be asked (older; since 6.14 of a file that is another's and read-only) they may be.
func resident(fd, n int, off int64) bool {
	var c unix.Cachestat_t
	r := unix.CachestatRange{Off: uint64(off), Len: uint64(n)}
	if err := unix.Cachestat(uint(fd), &r, &c, 0); err != nil || c.Cache >= pages(off, n) {
		return true
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size <= off {
		return err == nil
	}
	return int64(n) > st.Size-off && c.Cache >= pages(off, int(st.Size-off))
}

var pageSize = int64(os.Getpagesize())

// pages is how many pages have any of the n bytes from off.
func pages(off int64, n int) uint64 {
	return uint64((off+int64(n)-1)/pageSize - off/pageSize + 1)
}

func datasync(fd int) error { return again(func() error { return unix.Fdatasync(fd) }) }
func fullsync(fd int) error { return again(func() error { return unix.Fsync(fd) }) }
func syncAll(fd int) error  { return again(func() error { return unix.Syncfs(fd) }) }

// direntHead is the size of linux_dirent64 before its name: ino, off, reclen, type.
const direntHead = 8 + 8 + 2 + 1

// listFd gives each raw entry of the directory behind fd until each returns false.
func listFd(fd int, buf []byte, each func(ino uint64, t vfs.Type, name []byte) bool) error {
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for b := buf[:n]; len(b) >= direntHead; {
			reclen := int(*(*uint16)(unsafe.Pointer(&b[16])))
			if reclen < direntHead || reclen > len(b) {
				return unix.EIO
			}
			name := b[direntHead:reclen]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			if !each(*(*uint64)(unsafe.Pointer(&b[0])), typeOfDirent(b[18]), name) {
				return nil
			}
			b = b[reclen:]
		}
	}
}

// hostPath is where the host says the open directory is, for messages.
func hostPath(fd int) string {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(procPath(fd), buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
