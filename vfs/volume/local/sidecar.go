//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// xattrMark holds the mark of a file or directory.
const xattrMark = "user.sheaf.node"

// Where an xattr is refused (symbolic links and special files, another's
// read-only file, file systems without them) the mark lies in a file named by the
// object's identity (volume.SidecarName). Its
// content is the mark's bytes; an empty file says that there is no mark although
// an xattr that could not be taken away says so. A sidecar wins over an xattr.
// It is durable when SetMark returns. One whose object is gone harms nobody: its
// identity does not come again, or the mark inside does not match the newcomer.
const marksDir = volume.SidecarDir

// sidecars is the volume's directory of them.
type sidecars struct {
	any  atomic.Bool // the directory exists; until then nothing is looked for
	make sync.Mutex  // held while a directory is made, until its name is durable
}

// xattrMarks reports whether the type can carry the mark itself.
func (v *Volume) xattrMarks(t vfs.Type) bool {
	return v.xattrs && (t == vfs.Regular || t == vfs.Directory)
}

// mark is the mark of the object behind r; nil if it has none.
func (v *Volume) mark(r *ref) ([]byte, error) {
	if v.marks.any.Load() {
		mark, found, err := v.readSidecar(v.identity(r))
		if found || err != nil {
			return mark, err
		}
	}
	if !v.xattrMarks(r.st.Type) {
		return nil, nil
	}
	buf := make([]byte, volume.MarkMax)
	n, err := r.getxattr(xattrMark, buf)
	switch {
	case err == unix.ERANGE: // longer than any of ours: somebody else's
		return nil, nil
	case err == unix.EACCES && v.hides(r, r.st.Mode): // ours would be in a sidecar
		return nil, nil
	case err != nil:
		return nil, err
	case n == 0:
		return nil, nil
	}
	return buf[:n], nil
}

// setMark replaces the mark; nil takes it away.
func (v *Volume) setMark(r *ref, mark []byte) error {
	if len(mark) > volume.MarkMax {
		return vfs.Inval
	}
	refused := true
	if v.xattrMarks(r.st.Type) {
		var err error
		if len(mark) == 0 {
			err = r.removexattr(xattrMark)
		} else {
			err = r.setxattr(xattrMark, mark)
		}
		switch err {
		case nil:
			refused = false
		case unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.ENOSPC, unix.E2BIG: // ENOSPC: the inode's own room for attributes
		default:
			return err
		}
	}
	switch {
	case !refused || len(mark) == 0 && !v.xattrMarks(r.st.Type):
		if !v.marks.any.Load() {
			return nil
		}
		return v.dropSidecar(r)
	default:
		return v.writeSidecar(v.identity(r), mark)
	}
}

// dropSidecar removes the sidecar of an object whose xattr says the same now. The xattr is made
// durable first: a power cut between must not leave neither.
func (v *Volume) dropSidecar(r *ref) error {
	id := v.identity(r)
	if _, found, err := v.readSidecar(id); !found || err != nil {
		return err
	}
	sync := func() error { return fullsync(r.fd) }
	if r.fd < 0 || r.bare {
		sync = func() error { return syncAll(v.root.fd) }
	}
	if err := sync(); err != nil {
		return err
	}
	return v.removeSidecar(id)
}

// hides reports whether the server, if it is no superuser, could not read an xattr of
// the object behind r under the mode: a mark must lie elsewhere then.
func (v *Volume) hides(r *ref, mode uint32) bool {
	return !v.caps.Chown && v.xattrMarks(r.st.Type) && mode&0o400 == 0
}

// setSidecar writes the mark into a sidecar though the object could carry it now.
func (v *Volume) setSidecar(r *ref, mark []byte) error {
	if len(mark) > volume.MarkMax {
		return vfs.Inval
	}
	return v.writeSidecar(v.identity(r), mark)
}

// keepMark copies the mark to where it can be read under the coming mode.
func (v *Volume) keepMark(r *ref, mode uint32) error {
	if !v.hides(r, mode) || v.hides(r, r.st.Mode) {
		return nil
	}
	mark, err := v.mark(r)
	if err != nil || mark == nil {
		return err
	}
	return v.setSidecar(r, mark)
}

// bucket opens the directory that holds id's sidecar, made if create is set.
func (v *Volume) bucket(id volume.Identity, create bool) (*dir, string, error) {
	b, name := volume.SidecarName(id)
	if !create {
		marks, err := v.openDir(v.private.fd, marksDir)
		if err != nil {
			return nil, "", err
		}
		defer closeFd(marks.fd)
		d, err := v.openDir(marks.fd, b)
		return d, name, err
	}
	v.marks.make.Lock()
	defer v.marks.make.Unlock()
	marks, err := v.privateDir(v.private, marksDir)
	if err != nil {
		return nil, "", err
	}
	defer closeFd(marks.fd)
	d, err := v.privateDir(marks, b)
	return d, name, err
}

// privateDir opens the directory called name in one of ours, made durably if it is not there.
func (v *Volume) privateDir(parent *dir, name string) (*dir, error) {
	d, err := v.openDir(parent.fd, name)
	if err != unix.ENOENT {
		return d, err
	}
	err = again(func() error { return unix.Mkdirat(parent.fd, name, 0o700) })
	if err != nil && err != unix.EEXIST {
		return nil, err
	}
	if err := fullsync(parent.fd); err != nil {
		return nil, err
	}
	return v.openDir(parent.fd, name)
}

func (v *Volume) readSidecar(id volume.Identity) (mark []byte, found bool, err error) {
	d, name, err := v.bucket(id, false)
	if err == unix.ENOENT {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer closeFd(d.fd)
	b, err := readSmall(d.fd, name, volume.MarkMax)
	switch {
	case err == unix.ENOENT:
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case len(b) == 0:
		return nil, true, nil
	}
	return b, true, nil
}

func (v *Volume) writeSidecar(id volume.Identity, mark []byte) error {
	d, name, err := v.bucket(id, true)
	if err != nil {
		return err
	}
	defer closeFd(d.fd)
	if err := replaceSmall(d.fd, name, mark); err != nil {
		return err
	}
	v.marks.any.Store(true)
	return nil
}

func (v *Volume) removeSidecar(id volume.Identity) error {
	d, name, err := v.bucket(id, false)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeFd(d.fd)
	err = again(func() error { return unix.Unlinkat(d.fd, name, 0) })
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	return fullsync(d.fd)
}

// errLong: a file of ours is longer than it can be.
var errLong = errors.New("the file is longer than Sheaf ever writes it")

// readSmall is the content of a regular file of ours, at most limit bytes.
func readSmall(dirfd int, name string, limit int) ([]byte, error) {
	fd, err := openBeneath(dirfd, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer closeFd(fd)
	buf := make([]byte, limit+1)
	done := 0
	for {
		n, err := unix.Read(fd, buf[done:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return buf[:done], nil
		default:
			if done += n; done > limit {
				return nil, errLong
			}
		}
	}
}

// replaceSmall gives the file its content all or nothing, durably: a
// temporary, fsync, rename, fsync of the directory. Writers of one name are
// serialized by their callers or write the same object's newest mark.
func replaceSmall(dirfd int, name string, content []byte) error {
	tmp := name + tmpSuffix()
	fd, err := openBeneath(dirfd, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = writeAll(fd, content)
	if err == nil {
		err = again(func() error { return unix.Fchmod(fd, 0o600) }) // whatever the umask made of it
	}
	if err == nil {
		err = fullsync(fd)
	}
	closeFd(fd)
	if err == nil {
		err = again(func() error { return unix.Renameat(dirfd, tmp, dirfd, name) })
	}
	if err != nil {
		_ = unix.Unlinkat(dirfd, tmp, 0) // the first error says more
		return err
	}
	return fullsync(dirfd)
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		default:
			b = b[n:]
		}
	}
	return nil
}

// Mark is the mark beside the directory.
func (d *dir) Mark(context.Context) ([]byte, error) {
	r, err := d.self()
	if err != nil {
		return nil, d.fault("read the mark", "", err)
	}
	mark, err := d.v.mark(&r)
	return mark, d.fault("read the mark", "", err)
}

// SetMark replaces it.
func (d *dir) SetMark(_ context.Context, mark []byte) error {
	r, err := d.self()
	if err == nil {
		err = d.v.setMark(&r, mark)
	}
	return d.fault("set the mark", "", err)
}

// MarkAt is the mark beside the object called name.
func (d *dir) MarkAt(_ context.Context, name vfs.Name) ([]byte, error) {
	r, err := d.pinned("read the mark", name, nil)
	if err != nil {
		return nil, err
	}
	defer r.close()
	mark, err := d.v.mark(&r)
	return mark, d.fault("read the mark", name.String(), err)
}

// SetMarkAt replaces that of the pinned object.
func (d *dir) SetMarkAt(_ context.Context, name vfs.Name, want volume.Key, mark []byte) error {
	r, err := d.pinned("set the mark", name, &want)
	if err != nil {
		return err
	}
	defer r.close()
	return d.fault("set the mark", name.String(), d.v.setMark(&r, mark))
}
