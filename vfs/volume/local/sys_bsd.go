//go:build darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// What macOS and FreeBSD lack of Linux, as this package uses it: a way to pin an
// object that is not opened, so that symbolic links and special files are
// compared and then changed by name; a look at the page cache; a path for a
// descriptor, so no Locate; POSIX.1e lists as extended attributes.
const hasACLs = false

// Marks in a timespec for ref.utimes, which no file system has as nanoseconds.
const (
	utimeNow     = -1
	utimeOmit    = -2
	utimeInvalid = -3 // as timespec has it
)

// hostFacts are what the volume's file system is, found when it is opened.
type hostFacts struct {
	ready bool
	dev   uint64
	path  string // not known here
}

func (h *hostFacts) learn(fd int) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	*h = hostFacts{ready: true, dev: uint64(st.Dev)}
	return nil
}

func openBeneath(dirfd int, name string, flags int, mode uint32) (int, error) {
	return openPlain(dirfd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY, mode)
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

// openDirAt opens a directory. One that may not be read cannot be opened here.
func openDirAt(dirfd int, name string) (fd int, bare bool, err error) {
	fd, err = openBeneath(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return fd, false, err
}

func (v *Volume) statAt(dirfd int, name string, st *volume.Stat) error {
	var x unix.Stat_t
	if err := again(func() error { return unix.Fstatat(dirfd, name, &x, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return err
	}
	return v.fromStat(&x, st)
}

func (v *Volume) statFd(fd int, st *volume.Stat) error {
	var x unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &x) }); err != nil {
		return err
	}
	return v.fromStat(&x, st)
}

// fromStat fills st, and refuses what is on another device: a mount point.
func (v *Volume) fromStat(x *unix.Stat_t, st *volume.Stat) error {
	if v.host.ready && uint64(x.Dev) != v.host.dev {
		return unix.EXDEV
	}
	*st = volume.Stat{
		Key:  volume.Key{Ino: x.Ino, Birth: unix.TimespecToNsec(x.Btim)},
		Type: typeOfMode(uint32(x.Mode)), Mode: uint32(x.Mode) & vfs.ModeMask, Nlink: uint32(x.Nlink),
		UID: x.Uid, GID: x.Gid, Size: uint64(x.Size), Used: uint64(x.Blocks) * 512, // stat(2): units of 512 bytes
		Major: unix.Major(uint64(x.Rdev)), Minor: unix.Minor(uint64(x.Rdev)),
		Atime: timeOf(x.Atim), Mtime: timeOf(x.Mtim), Ctime: timeOf(x.Ctim),
	}
	return nil
}

func timeOf(ts unix.Timespec) vfs.Time {
	return vfs.Time{Sec: int64(ts.Sec), Nsec: uint32(ts.Nsec)}
}

func removed(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Nlink == 0
}

// pin holds a file or directory that may be read by a descriptor, and everything
// else by its name.
func (v *Volume) pin(dirfd int, name string) (ref, error) {
	r := ref{fd: -1, dirfd: dirfd, name: name}
	if err := v.statAt(dirfd, name, &r.st); err != nil {
		return r, err
	}
	if r.st.Type != vfs.Regular && r.st.Type != vfs.Directory {
		return r, nil
	}
	fd, err := openBeneath(dirfd, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return r, nil //nolint:nilerr // it may not be read: by name
	}
	r.fd, r.owned = fd, true
	if err := v.statFd(fd, &r.st); err != nil {
		r.close()
		return r, err
	}
	return r, nil
}

func (r *ref) chown(uid, gid int) error {
	return again(func() error {
		if r.fd >= 0 {
			return unix.Fchown(r.fd, uid, gid)
		}
		return unix.Fchownat(r.dirfd, r.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (r *ref) chmod(mode uint32) error {
	if r.st.Type == vfs.Symlink {
		return nil // as on Linux
	}
	return again(func() error {
		if r.fd >= 0 {
			return unix.Fchmod(r.fd, mode)
		}
		return unix.Fchmodat(r.dirfd, r.name, mode, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// utimes sets times, by a descriptor to the microsecond only.
func (r *ref) utimes(ts *[2]unix.Timespec) error {
	full := [2]unix.Timespec{}
	for i, was := range [2]vfs.Time{r.st.Atime, r.st.Mtime} {
		var err error
		switch ts[i].Nsec {
		case utimeInvalid:
			return unix.EINVAL
		case utimeNow:
			full[i], err = unix.TimeToTimespec(time.Now())
		case utimeOmit:
			full[i], err = unix.TimeToTimespec(was.Time())
		default:
			full[i] = ts[i]
		}
		if err != nil {
			return unix.EINVAL
		}
	}
	return again(func() error {
		if r.fd >= 0 {
			tv := [2]unix.Timeval{unix.NsecToTimeval(unix.TimespecToNsec(full[0])), unix.NsecToTimeval(unix.TimespecToNsec(full[1]))}
			return unix.Futimes(r.fd, tv[:])
		}
		return unix.UtimesNanoAt(r.dirfd, r.name, full[:], unix.AT_SYMLINK_NOFOLLOW)
	})
}

// openNameless: these hosts have no files without a name.
func openNameless(int, uint32) (int, error) { return -1, unix.ENOSYS }

// linkRef gives the object a further name, after another look at what has the old one.
func (v *Volume) linkRef(r *ref, dirfd int, name string) error {
	var st volume.Stat
	if err := v.statAt(r.dirfd, r.name, &st); err != nil {
		return err
	}
	if st.Key != r.st.Key {
		return vfs.Stale
	}
	return again(func() error { return unix.Linkat(r.dirfd, r.name, dirfd, name, 0) })
}

// getxattr is 0 and no error for an attribute that is not there.
func (r *ref) getxattr(attr string, buf []byte) (n int, err error) {
	if r.fd < 0 {
		return 0, unix.EPERM
	}
	err = again(func() (err error) {
		n, err = unix.Fgetxattr(r.fd, attr, buf)
		return err
	})
	if err == unix.ENOATTR {
		return 0, nil
	}
	return n, err
}

func (r *ref) setxattr(attr string, value []byte) error {
	if r.fd < 0 {
		return unix.EPERM
	}
	return again(func() error { return unix.Fsetxattr(r.fd, attr, value, 0) })
}

func (r *ref) removexattr(attr string) error {
	if r.fd < 0 {
		return unix.EPERM
	}
	err := again(func() error { return unix.Fremovexattr(r.fd, attr) })
	if err == unix.ENOATTR {
		return nil
	}
	return err
}

// readNow never knows.
func readNow(int, []byte, int64) (int, error) { return 0, unix.EAGAIN }

func listFd(fd int, buf []byte, each func(ino uint64, t vfs.Type, name []byte) bool) error {
	head := int(unsafe.Offsetof(unix.Dirent{}.Name))
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for b := buf[:n]; len(b) >= head; {
			e := (*unix.Dirent)(unsafe.Pointer(&b[0]))
			reclen := int(e.Reclen)
			if reclen < head || reclen > len(b) || head+int(e.Namlen) > reclen {
				return unix.EIO
			}
			if ino := inoOf(e); ino != 0 && !each(ino, typeOfDirent(e.Type), b[head:head+int(e.Namlen)]) {
				return nil
			}
			b = b[reclen:]
		}
	}
}

// hostPath is not known here.
func hostPath(int) string { return "" }

// identity has the generation that stat(2) tells the superuser.
func (v *Volume) identity(r *ref) volume.Identity {
	id := volume.Identity{Key: r.st.Key}
	var x unix.Stat_t
	err := again(func() error {
		if r.fd >= 0 {
			return unix.Fstat(r.fd, &x)
		}
		return unix.Fstatat(r.dirfd, r.name, &x, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err == nil && x.Ino == id.Ino {
		id.Gen = uint32(x.Gen)
	}
	return id
}

// strong: a generation is told. It is 0 to ordinary users, and on APFS, which does
// not use an inode number twice.
func (v *Volume) strong(r *ref) bool { return v.identity(r).Gen != 0 || neverReused(v.root.fd) }

// linkMax is LINK_MAX of <sys/syslimits.h>.
func (v *Volume) linkMax() uint32 { return 32767 }

// statNow: it is not known of any file system here.
func (v *Volume) statNow() bool { return false }

func (v *Volume) readOnly() bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(v.root.fd, &fs) == nil && fs.Flags&unix.MNT_RDONLY != 0
}

// Space is statfs(2) of the root.
func (v *Volume) Space(context.Context) (volume.Space, error) {
	var fs unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(v.root.fd, &fs) }); err != nil {
		return volume.Space{}, v.fault("ask the free space", v.path, err)
	}
	unit := uint64(fs.Bsize)
	avail, files := uint64(max(0, int64(fs.Bavail))), uint64(max(0, int64(fs.Ffree))) // FreeBSD counts below zero into its reserve
	return volume.Space{
		FileSystem: v.host.dev, Total: fs.Blocks * unit, Free: fs.Bfree * unit, Avail: avail * unit,
		Files: fs.Files, FilesFree: files, FilesAvail: files,
	}, nil
}

func (v *Volume) canLocate(volume.Identity) bool { return false }

// Locate is not possible here.
func (v *Volume) Locate(context.Context, uint64, uint32) ([]vfs.Name, error) {
	return nil, vfs.NotSupp
}

// tick is no clock that birth times could be compared with.
func (v *Volume) tick() int64 { return 0 }
