//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"errors"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
)

// statusOfErrno is the one table from the host's errors to ours. Resources that
// others will give back (descriptors, memory, a lease being broken) are
// Jukebox; EBADF and EFAULT can only be our own mistake; what is not listed is
// an I/O error, and the vfs.Error around it keeps the errno.
func statusOfErrno(e unix.Errno) vfs.Status {
	switch e {
	case 0:
		return vfs.OK
	case unix.EPERM:
		return vfs.Perm
	case unix.ENOENT:
		return vfs.NoEnt
	case unix.ENXIO:
		return vfs.NXIO
	case unix.EACCES, unix.EBUSY, unix.ETXTBSY: // EBUSY as knfsd answers it over NFSv3
		return vfs.Acces
	case unix.EEXIST:
		return vfs.Exist
	case unix.EXDEV:
		return vfs.XDev
	case unix.ENODEV:
		return vfs.NoDev
	case unix.ENOTDIR:
		return vfs.NotDir
	case unix.EISDIR:
		return vfs.IsDir
	case unix.EINVAL, unix.ELOOP, unix.E2BIG, unix.ERANGE, unix.EDOM, unix.EILSEQ:
		return vfs.Inval
	case unix.EFBIG, unix.EOVERFLOW:
		return vfs.FBig
	case unix.ENOSPC:
		return vfs.NoSpc
	case unix.EROFS:
		return vfs.ROFS
	case unix.EMLINK:
		return vfs.MLink
	case unix.ENAMETOOLONG:
		return vfs.NameTooLong
	case unix.ENOTEMPTY:
		return vfs.NotEmpty
	case unix.EDQUOT:
		return vfs.DQuot
	case unix.ESTALE:
		return vfs.Stale
	case unix.EOPNOTSUPP, unix.ENOSYS, unix.ENOTTY:
		return vfs.NotSupp
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.ETIMEDOUT, unix.ENOBUFS, unix.EINTR:
		return vfs.Jukebox
	case unix.EBADF, unix.EFAULT:
		return vfs.ServerFault
	default:
		if e == unix.ENOTSUP { // another number than EOPNOTSUPP on some hosts
			return vfs.NotSupp
		}
		return vfs.IO
	}
}

// doOf says what an operator can do about an errno that is his to mend.
func doOf(e unix.Errno) string {
	switch e {
	case unix.EMFILE, unix.ENFILE:
		return "raise the limit of open files of the server's process (ulimit -n) or lower its open files"
	case unix.ENOSPC:
		return "free space or inodes on this volume"
	case unix.EIO:
		return "look at the kernel log for the disk's errors"
	case unix.EROFS:
		return "mount the file system for writing"
	default:
		return ""
	}
}

// fault makes an error of the host, or one of ours that has no Status yet, a vfs.Error.
// What already carries a Status passes through.
func (v *Volume) fault(op, object string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[vfs.Status](err); ok {
		return err
	}
	if e, ok := errors.AsType[unix.Errno](err); ok {
		return &vfs.Error{Status: statusOfErrno(e), Op: op, Object: object, Volume: v.name, Err: e, Do: doOf(e)}
	}
	return &vfs.Error{Status: vfs.IO, Op: op, Object: object, Volume: v.name, Err: err}
}

// refuse is a vfs.Error without a cause of the host.
func (v *Volume) refuse(s vfs.Status, op, object string) error {
	return &vfs.Error{Status: s, Op: op, Object: object, Volume: v.name}
}

// errClosed: a descriptor's number may be another's by now.
var errClosed = errors.New("closed twice")

// again calls f until it was not interrupted by a signal.
func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
