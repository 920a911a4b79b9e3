//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// hasACLs: the host keeps POSIX.1e lists as extended attributes.
const (
	hasACLs   = true
	utimeNow  = unix.UTIME_NOW
	utimeOmit = unix.UTIME_OMIT
)

// linkMaxOf is what the kernel does not tell (EXT4_LINK_MAX, XFS_MAXLINK,
// BTRFS_LINK_MAX); elsewhere that of ext2, the least there is.
func (v *Volume) linkMax() uint32 {
	switch v.host.magic {
	case unix.EXT4_SUPER_MAGIC:
		return 65000
	case unix.XFS_SUPER_MAGIC:
		return 1<<31 - 1
	case unix.BTRFS_SUPER_MAGIC:
		return 65535
	default:
		return 32000
	}
}

// statNow: these answer from the inode in memory, without a lock that is held during I/O (ext4_getattr,
// xfs_vn_getattr, btrfs_getattr, shmem_getattr of Linux 6.18). Others may ask a server.
func (v *Volume) statNow() bool {
	switch v.host.magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	default:
		return false
	}
}

func (v *Volume) readOnly() bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(v.root.fd, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}

// Space is statfs(2) of the root.
func (v *Volume) Space(context.Context) (volume.Space, error) {
	var fs unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(v.root.fd, &fs) }); err != nil {
		return volume.Space{}, v.fault("ask the free space", v.path, err)
	}
	unit := uint64(fs.Bsize)
	if fs.Frsize > 0 {
		unit = uint64(fs.Frsize)
	}
	return volume.Space{
		FileSystem: v.fileSystem(),
		Total:      fs.Blocks * unit, Free: fs.Bfree * unit, Avail: fs.Bavail * unit,
		Files: fs.Files, FilesFree: fs.Ffree, FilesAvail: fs.Ffree,
	}, nil
}

// fileSystem tells one file system from another while the server runs: its
// device number, but on btrfs, which has one per subvolume, its id.
func (v *Volume) fileSystem() uint64 {
	if v.host.magic != unix.BTRFS_SUPER_MAGIC {
		return v.host.dev
	}
	var info struct { // struct btrfs_ioctl_fs_info_args
		maxID, devices uint64
		fsid           [16]byte
		rest           [1024 - 32]byte
	}
	const fsInfo = 0x8400941f // BTRFS_IOC_FS_INFO, _IOR(0x94, 31, 1024)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(v.root.fd), fsInfo, uintptr(unsafe.Pointer(&info))); e != 0 {
		return v.host.dev
	}
	return binary.BigEndian.Uint64(info.fsid[:8])
}

// locateMax bounds the path that is followed down to a located object.
const locateMax = 4096

// handleFd opens the object by inode number and generation; the caller closes it.
// It wants CAP_DAC_READ_SEARCH.
func (v *Volume) handleFd(ino uint64, gen uint32, sub uint64) (int, error) {
	var h fileHandle
	if !h.build(v.host.magic, ino, gen, sub) {
		return -1, unix.EOPNOTSUPP
	}
	for {
		fd, _, e := unix.Syscall(unix.SYS_OPEN_BY_HANDLE_AT, uintptr(v.root.fd), uintptr(unsafe.Pointer(&h)), unix.O_PATH|unix.O_CLOEXEC)
		switch e {
		case 0:
			return int(fd), nil
		case unix.EINTR:
		default:
			return -1, e
		}
	}
}

// canLocate tries it with the private directory.
func (v *Volume) canLocate(id volume.Identity) bool {
	v.host.sub = id.Sub
	fd, err := v.handleFd(id.Ino, id.Gen, id.Sub)
	if err != nil {
		return false
	}
	closeFd(fd)
	return true
}

// Locate asks the kernel for the object, then for its path, and believes the
// path only after walking it from the root and finding the same object. The
// kernel knows the path of every directory, and of other objects while their
// names are in its cache; what it cannot say is NotSupp, and so is what lies on
// the file system outside the volume: it may come back.
func (v *Volume) Locate(ctx context.Context, ino uint64, gen uint32) ([]vfs.Name, error) {
	if !v.caps.Locate {
		return nil, vfs.NotSupp
	}
	fd, err := v.handleFd(ino, gen, v.host.sub)
	switch err {
	case nil:
	case unix.ESTALE, unix.ENOENT: // ENOENT: xfs on an inode number that never was
		return nil, vfs.Stale
	case unix.EPERM, unix.EOPNOTSUPP:
		return nil, vfs.NotSupp
	default:
		return nil, v.fault("locate", v.path, err)
	}
	defer closeFd(fd)
	var want volume.Stat
	if err := v.statFd(fd, &want); err == unix.EXDEV {
		return nil, vfs.NotSupp
	} else if err != nil {
		return nil, v.fault("locate", v.path, err)
	}
	if want.Nlink == 0 {
		return nil, vfs.Stale
	}
	rel, ok := v.within(hostPath(fd))
	if !ok || len(rel) > locateMax {
		return nil, vfs.NotSupp
	}
	return v.walk(ctx, rel, want.Key)
}

// walk follows rel from the root and gives its names if the last has the key want.
func (v *Volume) walk(ctx context.Context, rel string, want volume.Key) ([]vfs.Name, error) {
	names, ok := splitPath(rel)
	if !ok {
		return nil, vfs.NotSupp
	}
	d := v.root
	defer func() { _ = d.Close() }() // a directory's Close cannot fail
	for i, name := range names {
		if d.hidden(name) {
			return nil, vfs.NotSupp
		}
		if i == len(names)-1 {
			st, err := d.StatAt(ctx, name)
			if err != nil || st.Key != want {
				return nil, vfs.NotSupp // moved meanwhile
			}
			return names, nil
		}
		sub, err := v.openDir(d.fd, name.String())
		if err != nil {
			return nil, vfs.NotSupp
		}
		_ = d.Close()
		d = sub
	}
	return names, nil
}
