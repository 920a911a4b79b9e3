package billyfs

import (
	"io"
	"math"
	"os"
	"sync"

	"github.com/go-git/go-billy/v5"

	"sheaf/vfs"
)

// file is an open file. Its methods are safe for concurrent use; Read, Write and
// Seek, which share an offset, wait for each other.
type file struct {
	fs   *FS
	name string
	node vfs.Node
	flag int

	mu     sync.Mutex // guards what follows
	off    int64
	closed bool
	locked *lock
}

var _ billy.File = (*file)(nil)

// Name is the path that the file was opened by, from the root and without a slash
// before it.
func (f *file) Name() string { return f.name }

// check wants f.mu. It refuses a closed file and one that was not opened for this.
func (f *file) check(op string, allowed bool) error {
	if f.closed {
		return &os.PathError{Op: op, Path: f.name, Err: os.ErrClosed}
	}
	if !allowed {
		return &os.PathError{Op: op, Path: f.name, Err: os.ErrPermission}
	}
	return nil
}

// Read reads from the offset.
func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("read", readable(f.flag)); err != nil {
		return 0, err
	}
	n, eof, err := f.read(p, f.off)
	f.off += int64(n)
	if err == nil && n == 0 && eof && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

// ReadAt fills p from off, or says why not: io.EOF at the end of the file.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	err := f.check("read", readable(f.flag))
	f.mu.Unlock()
	if err == nil && off < 0 {
		err = fail("read", f.name, vfs.Inval)
	}
	if err != nil {
		return 0, err
	}
	n, _, err := f.read(p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *file) read(p []byte, off int64) (int, bool, error) {
	n, eof, _, err := f.fs.fs.Read(f.fs.ctx, f.fs.who, f.node, p, uint64(off))
	return n, eof, fail("read", f.name, err)
}

// Write writes at the offset, or at the end with O_APPEND.
func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("write", writable(f.flag)); err != nil {
		return 0, err
	}
	if f.flag&os.O_APPEND != 0 {
		size, err := f.size()
		if err != nil {
			return 0, fail("write", f.name, err)
		}
		f.off = size
	}
	n, err := f.write(p, f.off)
	f.off += int64(n)
	return n, fail("write", f.name, err)
}

// WriteAt writes all of p at off.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	err := f.check("write", writable(f.flag))
	f.mu.Unlock()
	if err == nil && off < 0 {
		err = fail("write", f.name, vfs.Inval)
	}
	if err != nil {
		return 0, err
	}
	n, err := f.write(p, off)
	return n, fail("write", f.name, err)
}

func (f *file) write(p []byte, off int64) (int, error) {
	w, _, err := f.fs.fs.Write(f.fs.ctx, f.fs.who, f.node, p, uint64(off), f.fs.opt.Stable)
	if err == nil && w.Count < len(p) {
		err = io.ErrShortWrite
	}
	return w.Count, err
}

func (f *file) size() (int64, error) {
	a, err := f.fs.fs.GetAttr(f.fs.ctx, f.fs.who, f.node)
	return int64(min(a.Size, math.MaxInt64)), err
}

// Seek moves the offset.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("seek", true); err != nil {
		return 0, err
	}
	base := int64(0)
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		base = f.off
	case io.SeekEnd:
		size, err := f.size()
		if err != nil {
			return 0, fail("seek", f.name, err)
		}
		base = size
	default:
		return 0, fail("seek", f.name, vfs.Inval)
	}
	if offset < -base || offset > math.MaxInt64-base {
		return 0, fail("seek", f.name, vfs.Inval)
	}
	f.off = base + offset
	return f.off, nil
}

// Truncate sets the size.
func (f *file) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("truncate", writable(f.flag)); err != nil {
		return err
	}
	if size < 0 {
		return fail("truncate", f.name, vfs.Inval)
	}
	set := vfs.SetAttr{Mask: vfs.SetSize, Size: uint64(size)}
	_, err := f.fs.fs.SetAttr(f.fs.ctx, f.fs.who, f.node, &set, nil)
	return fail("truncate", f.name, err)
}

// Close lets go of the file, and of its lock.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("close", true); err != nil {
		return err
	}
	f.closed = true
	f.release()
	return nil
}

// Lock waits until nobody else has the file locked through this FS, and locks it.
// A file that is locked already stays so.
func (f *file) Lock() error {
	f.mu.Lock()
	err, held := f.check("lock", true), f.locked != nil
	f.mu.Unlock()
	if err != nil || held {
		return err
	}
	l, err := f.fs.locks.take(f.fs.ctx, f.node.ID)
	if err != nil {
		return fail("lock", f.name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.locked != nil { // meanwhile
		f.fs.locks.give(l)
		return f.check("lock", true)
	}
	f.locked = l
	return nil
}

// Unlock gives the lock up, if the file has it.
func (f *file) Unlock() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("unlock", true); err != nil {
		return err
	}
	f.release()
	return nil
}

// release wants f.mu.
func (f *file) release() {
	if f.locked != nil {
		f.fs.locks.give(f.locked)
		f.locked = nil
	}
}
