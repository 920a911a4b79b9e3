package local

import "golang.org/x/sys/unix"

func inoOf(e *unix.Dirent) uint64 { return e.Fileno }

func mknodAt(dirfd int, name string, mode uint32, major, minor uint32) error {
	return again(func() error { return unix.Mknodat(dirfd, name, mode, unix.Mkdev(major, minor)) })
}

// renameExclusive: FreeBSD has no such call.
func renameExclusive(int, string, int, string) error { return unix.EINVAL }

func fullsync(fd int) error { return again(func() error { return unix.Fsync(fd) }) }

func datasync(fd int) error { return fullsync(fd) }

// syncAll: sync(2) begins to write and does not wait (its man page); the root's
// flush waits for what was queued before it on this file system's journal or log.
func syncAll(fd int) error {
	if err := unix.Sync(); err != nil {
		return err
	}
	return fullsync(fd)
}

// neverReused is not known of any.
func neverReused(int) bool { return false }
