//nolint:errorlint // the errnos of package unix come bare
package local

import "golang.org/x/sys/unix"

func inoOf(e *unix.Dirent) uint64 { return e.Ino }

// mknodAt: macOS has mknod(2) by path only, and a path could lead elsewhere.
func mknodAt(int, string, uint32, uint32, uint32) error { return unix.ENOTSUP }

func renameExclusive(fromfd int, from string, tofd int, to string) error {
	err := again(func() error { return unix.RenameatxNp(fromfd, from, tofd, to, unix.RENAME_EXCL) })
	if err == unix.ENOTSUP {
		return unix.EINVAL
	}
	return err
}

// fullsync is F_FULLFSYNC: fsync(2) alone leaves the data in the disk's cache on macOS.
func fullsync(fd int) error {
	err := again(func() error { _, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0); return err })
	if err == unix.ENOTSUP || err == unix.ENOTTY || err == unix.EINVAL { // a file system that does not know it
		return again(func() error { return unix.Fsync(fd) })
	}
	return err
}

func datasync(fd int) error { return fullsync(fd) }

// syncAll begins with everybody's data, then waits for the disk.
func syncAll(fd int) error {
	if err := unix.Sync(); err != nil {
		return err
	}
	return fullsync(fd)
}

// neverReused: APFS counts inode numbers up (64 bits).
func neverReused(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && unix.ByteSliceToString(fs.Fstypename[:]) == "apfs"
}
