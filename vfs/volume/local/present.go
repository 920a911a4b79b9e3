//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Present looks whether the path that the volume was opened by leads to it now: volume.ErrGone if
// not, because nothing is mounted there, or something else. It asks for what the host has in
// memory as long as the volume is open: no disk is woken by it. Other errors say nothing about that.
func (v *Volume) Present(context.Context) error {
	fd, err := openPlain(unix.AT_FDCWD, v.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR:
		return v.gone("%q: %w", v.path, err)
	case unix.ENODEV, unix.ENXIO, unix.ESTALE, unix.ENOTCONN: // the device, the export, the process behind a FUSE mount
		return v.gone("its file system is disconnected: %w", err)
	default:
		return v.fault("look for volume", v.path, err)
	}
	defer closeFd(fd)
	same, err := sameSite(fd, v.root.fd)
	switch {
	case err != nil:
		return v.fault("look for volume", v.path, err)
	case !same:
		return v.gone("something else is mounted at %q, or nothing is", v.path)
	}
	var at, private unix.Stat_t
	err = again(func() error { return unix.Fstatat(fd, volume.PrivateName, &at, unix.AT_SYMLINK_NOFOLLOW) })
	if err == unix.ENOENT {
		return v.gone("%q was taken away", filepath.Join(v.path, volume.PrivateName))
	}
	if err == nil {
		err = again(func() error { return unix.Fstat(v.private.fd, &private) })
	}
	switch {
	case err != nil:
		return v.fault("look for volume", v.path, err)
	case at.Dev != private.Dev || at.Ino != private.Ino:
		return v.gone("%q was exchanged", filepath.Join(v.path, volume.PrivateName))
	}
	return nil
}

// sameSite reports whether two descriptors are one directory of one mounted file system.
func sameSite(a, b int) (bool, error) {
	var x, y unix.Stat_t
	if err := again(func() error { return unix.Fstat(a, &x) }); err != nil {
		return false, err
	}
	if err := again(func() error { return unix.Fstat(b, &y) }); err != nil {
		return false, err
	}
	return x.Dev == y.Dev && x.Ino == y.Ino, nil
}

func (v *Volume) gone(format string, args ...any) error {
	return &vfs.Error{
		Status: vfs.NXIO, Op: "look for volume", Object: v.path, Volume: v.name,
		Err: fmt.Errorf("%w: %w", volume.ErrGone, fmt.Errorf(format, args...)), Do: "mount its disk there; it is taken in by itself",
	}
}
