//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// file is an open regular file.
type file struct {
	v      *Volume
	fd     int
	label  string // the name it was opened by, for messages
	closed atomic.Bool

	// A read that changes the access time waits for the file system's journal, and RWF_NOWAIT does not prevent that. With
	// relatime (mount(8)) it is the first after a change, or after a day: it is left to ReadAt.
	changed atomic.Uint64 // counts our changes
	read    atomic.Uint64 // one more than changed was when it was read last; 0: it was not
}

// Stat is the file as it is now.
func (f *file) Stat(context.Context) (st volume.Stat, err error) {
	if err := f.v.statFd(f.fd, &st); err != nil {
		return volume.Stat{}, f.v.fault("stat", f.label, err)
	}
	return st, nil
}

// checkRange refuses what pread(2) and pwrite(2) cannot be asked for.
func checkRange(n int, off int64) error {
	switch {
	case off < 0:
		return vfs.Inval
	case int64(n) > math.MaxInt64-off:
		return vfs.FBig
	default:
		return nil
	}
}

// ReadAt reads until buf is full or the file ends; a file that shrinks
// meanwhile has simply ended.
func (f *file) ReadAt(_ context.Context, buf []byte, off int64) (int, error) {
	if off < 0 {
		return 0, vfs.Inval
	}
	before := f.changed.Load()
	defer func() { f.read.Store(before + 1) }()
	buf = buf[:min(int64(len(buf)), math.MaxInt64-off)]
	done := 0
	for done < len(buf) {
		n, err := unix.Pread(f.fd, buf[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, f.v.fault("read", f.label, err)
		case n == 0:
			return done, nil
		default:
			done += n
		}
	}
	return done, nil
}

// ReadNow reads what the host has in memory. A short answer is asked again: only
// a second one tells the end of the file from a page that is not there.
func (f *file) ReadNow(buf []byte, off int64) (int, error) {
	if off < 0 {
		return 0, vfs.Inval
	}
	if f.read.Load() != f.changed.Load()+1 {
		return 0, vfs.Again
	}
	buf = buf[:min(int64(len(buf)), math.MaxInt64-off)]
	done := 0
	for done < len(buf) {
		n, err := readNow(f.fd, buf[done:], off+int64(done))
		switch {
		case err == unix.EAGAIN, err == unix.EOPNOTSUPP, err == unix.ENOSYS:
			return 0, vfs.Again
		case err != nil:
			return 0, f.v.fault("read", f.label, err)
		case n == 0:
			return done, nil
		default:
			done += n
		}
	}
	return done, nil
}

// WriteAt writes all of buf or says why not.
func (f *file) WriteAt(_ context.Context, buf []byte, off int64) (int, error) {
	if err := checkRange(len(buf), off); err != nil {
		return 0, err
	}
	defer f.changed.Add(1)
	done := 0
	for done < len(buf) {
		n, err := unix.Pwrite(f.fd, buf[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, f.v.fault("write", f.label, err)
		case n == 0: // not in POSIX for a regular file; never spin on it
			return done, f.v.fault("write", f.label, unix.EIO)
		default:
			done += n
		}
	}
	return done, nil
}

// SetAttr changes the size first, since that moves the times.
func (f *file) SetAttr(_ context.Context, set *vfs.SetAttr) error {
	defer f.changed.Add(1)
	if set.Has(vfs.SetSize) {
		if set.Size > math.MaxInt64 {
			return vfs.FBig
		}
		if err := again(func() error { return unix.Ftruncate(f.fd, int64(set.Size)) }); err != nil {
			return f.v.fault("truncate", f.label, err)
		}
	}
	r := ref{fd: f.fd}
	err := f.v.statFd(f.fd, &r.st)
	if err == nil {
		err = f.v.setAttr(&r, set)
	}
	return f.v.fault("setattr", f.label, err)
}

// Sync makes the data durable. Linux reports an error of write-back once per
// descriptor that was open when it happened (fsync(2)).
func (f *file) Sync(_ context.Context, dataOnly bool) error {
	if dataOnly {
		return f.v.fault("sync", f.label, datasync(f.fd))
	}
	return f.v.fault("sync", f.label, fullsync(f.fd))
}

// Close gives the descriptor back. Its error is the last word of a file
// system that writes at close (NFS).
func (f *file) Close() error {
	if f.closed.Swap(true) {
		return &vfs.Error{Status: vfs.ServerFault, Op: "close", Object: f.label, Volume: f.v.name, Err: errClosed}
	}
	if err := unix.Close(f.fd); err != unix.EINTR {
		return f.v.fault("close", f.label, err)
	}
	return nil
}
