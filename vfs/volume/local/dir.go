//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"errors"
	"path"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// dir is an open directory of a Volume. It has no state but its descriptor, so
// its methods need no lock.
type dir struct {
	v      *Volume
	fd     int
	bare   bool // see the package's Descriptors
	root   bool // hides PrivateName
	closed atomic.Bool
}

// self is the directory as an object; not to be closed.
func (d *dir) self() (ref, error) {
	r := ref{fd: d.fd, bare: d.bare}
	return r, d.v.statFd(d.fd, &r.st)
}

// fault says what went wrong in d. Statuses that are answers, not troubles,
// come without words: they are made millions of times. ENOENT in a
// directory that was itself removed is Stale, never a "not found".
func (d *dir) fault(op, name string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOENT:
		if removed(d.fd) {
			return vfs.Stale
		}
		return vfs.NoEnt
	case unix.EEXIST:
		return vfs.Exist
	case unix.ENOTEMPTY:
		return vfs.NotEmpty
	}
	if _, ok := errors.AsType[vfs.Status](err); ok {
		return err
	}
	return d.v.fault(op, d.object(name), err)
}

// object is the path of name for messages.
func (d *dir) object(name string) string {
	if p, ok := d.v.within(hostPath(d.fd)); ok {
		return path.Join(p, name)
	}
	return name
}

// hidden reports whether name is the private directory, which no call on the
// root finds, makes or removes; on a host that folds case, by any spelling.
func (d *dir) hidden(name vfs.Name) bool {
	if !d.root {
		return false
	}
	if name.String() == volume.PrivateName {
		return true
	}
	if !d.v.folds {
		return false
	}
	var st volume.Stat
	return d.v.statAt(d.fd, name.String(), &st) == nil && st.Key == d.v.privateKey
}

func (d *dir) refuseHidden(op string, name vfs.Name) error {
	return d.v.refuse(vfs.Acces, op, name.String())
}

// pinned holds the object called name if it has the key want (nil: any).
func (d *dir) pinned(op string, name vfs.Name, want *volume.Key) (ref, error) {
	if d.hidden(name) {
		return ref{fd: -1}, vfs.NoEnt
	}
	r, err := d.v.pin(d.fd, name.String())
	for look := 1; err == nil && r.st.Nlink == 0 && look < nameLooks; look++ {
		r.close()
		r, err = d.v.pin(d.fd, name.String())
	}
	if err == nil && r.st.Nlink == 0 && d.v.countsLinks() {
		r.close()
		err = unix.ENOENT
	}
	if err != nil {
		return ref{fd: -1}, d.fault(op, name.String(), err)
	}
	if want != nil && r.st.Key != *want {
		r.close()
		return ref{fd: -1}, vfs.Stale
	}
	return r, nil
}

// Stat is the directory itself.
func (d *dir) Stat(context.Context) (st volume.Stat, err error) {
	if err := d.v.statFd(d.fd, &st); err != nil {
		return volume.Stat{}, d.fault("stat", "", err)
	}
	return st, nil
}

// Identify is Stat with the identity.
func (d *dir) Identify(context.Context) (volume.Stat, volume.Identity, error) {
	r, err := d.self()
	if err != nil {
		return volume.Stat{}, volume.Identity{}, d.fault("identify", "", err)
	}
	return r.st, d.v.identity(&r), nil
}

// StatAt costs one system call and, for a name that is not there, no memory.
func (d *dir) StatAt(_ context.Context, name vfs.Name) (st volume.Stat, err error) {
	if d.hidden(name) {
		return volume.Stat{}, vfs.NoEnt
	}
	err = d.v.statAt(d.fd, name.String(), &st)
	for look := 1; err == nil && st.Nlink == 0 && look < nameLooks; look++ {
		err = d.v.statAt(d.fd, name.String(), &st)
	}
	if err == nil && st.Nlink == 0 && d.v.countsLinks() {
		err = unix.ENOENT
	}
	if err != nil {
		return volume.Stat{}, d.fault("stat", name.String(), err)
	}
	return st, nil
}

// nameLooks is how often a name is looked at whose object has no links: the name is being taken from it, and is gone at the
// next look or another's. If it still is not, who removes it was stopped in the middle of that, and the name counts as gone.
const nameLooks = 8

// countsLinks reports whether the file system tells of links at all.
func (v *Volume) countsLinks() bool {
	var st volume.Stat
	return v.statFd(v.root.fd, &st) == nil && st.Nlink > 0
}

// IdentifyAt pins the object, so that the stat and the identity are of one.
func (d *dir) IdentifyAt(_ context.Context, name vfs.Name) (volume.Stat, volume.Identity, error) {
	r, err := d.pinned("identify", name, nil)
	if err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	defer r.close()
	return r.st, d.v.identity(&r), nil
}

// listBuffer holds some 800 entries of 40 bytes a call.
const listBuffer = 32 << 10

var listBuffers = sync.Pool{New: func() any { return new([listBuffer]byte) }}

// List reads through a descriptor of its own, since the offset belongs to the
// descriptor and several may list at once.
func (d *dir) List(ctx context.Context, each func(volume.Entry) bool) error {
	fd, err := openSelf(d.fd)
	if err != nil {
		return d.fault("list", "", err)
	}
	defer closeFd(fd)
	buf := listBuffers.Get().(*[listBuffer]byte)
	defer listBuffers.Put(buf)
	var ended error
	err = listFd(fd, buf[:], func(ino uint64, t vfs.Type, raw []byte) bool {
		if len(raw) <= 2 && (string(raw) == "." || string(raw) == "..") || d.root && string(raw) == volume.PrivateName {
			return true
		}
		name, err := vfs.ParseName(string(raw))
		if err != nil {
			return true // only a file system with longer names has such, and nobody could ask for it
		}
		if ended = ctx.Err(); ended != nil {
			return false
		}
		return each(volume.Entry{Name: name, Ino: ino, Type: t})
	})
	if err != nil {
		return d.fault("list", "", err)
	}
	return ended
}

// OpenDir opens a directory beneath, bare if it may not be read.
func (d *dir) OpenDir(_ context.Context, name vfs.Name) (volume.Dir, error) {
	if d.hidden(name) {
		return nil, vfs.NoEnt
	}
	sub, err := d.v.openDir(d.fd, name.String())
	if err != nil {
		return nil, d.fault("open", name.String(), err)
	}
	return sub, nil
}

// openDir opens the directory called name and makes sure that it is no mount point.
func (v *Volume) openDir(dirfd int, name string) (*dir, error) {
	fd, bare, err := openDirAt(dirfd, name)
	if err == unix.ELOOP || err == unix.EMLINK { // a symbolic link; EMLINK on FreeBSD
		return nil, unix.ENOTDIR
	}
	if err != nil {
		return nil, err
	}
	var st volume.Stat
	if err := v.statFd(fd, &st); err != nil {
		closeFd(fd)
		return nil, err
	}
	return &dir{v: v, fd: fd, bare: bare}, nil
}

// Open opens a regular file. It is looked at before, too: opening a device has
// effects of its own. O_NONBLOCK keeps a fifo put there meanwhile from blocking.
func (d *dir) Open(_ context.Context, name vfs.Name, flags volume.Flag) (volume.File, error) {
	if d.hidden(name) {
		return nil, vfs.NoEnt
	}
	var st volume.Stat
	if err := d.v.statAt(d.fd, name.String(), &st); err != nil {
		return nil, d.fault("open", name.String(), err)
	}
	if st.Type != vfs.Regular {
		return nil, vfs.Inval
	}
	mode := unix.O_RDONLY
	switch {
	case flags&volume.Write != 0 && flags&volume.Read != 0:
		mode = unix.O_RDWR
	case flags&volume.Write != 0:
		mode = unix.O_WRONLY
	}
	fd, err := openBeneath(d.fd, name.String(), mode|unix.O_NONBLOCK, 0)
	switch err {
	case nil:
	case unix.ELOOP, unix.EMLINK, unix.ENXIO, unix.EISDIR: // became a link, a socket or a fifo, a directory
		return nil, vfs.Inval
	default:
		return nil, d.fault("open", name.String(), err)
	}
	err = d.v.statFd(fd, &st)
	if err == nil && st.Type != vfs.Regular {
		err = vfs.Inval
	}
	if err != nil {
		closeFd(fd)
		return nil, d.fault("open", name.String(), err)
	}
	return &file{v: d.v, fd: fd, label: name.String()}, nil
}

// inherits reports whether what is made in d inherits a list: it has a default
// one. Asking costs less than taking the inherited ones away each time.
func (d *dir) inherits() bool {
	if !d.v.caps.ACLs {
		return false
	}
	r := ref{fd: d.fd, bare: d.bare}
	n, err := r.getxattr(xattrDefaultACL, nil)
	return n > 0 || err != nil
}

// Create makes a file without a name (O_TMPFILE of open(2)), gives it its attributes, and then the name: a
// process that is killed in between leaves nothing, so that whoever makes the same file again finds it as it
// should be or not at all, also by the times that EXCLUSIVE keeps its verifier in. On ext4 it
// costs no more than making it under its name, on xfs a quarter more (18 µs of CPU, and 14).
func (d *dir) Create(_ context.Context, name vfs.Name, n *volume.New) (volume.File, volume.Stat, volume.Identity, error) {
	fail := func(err error) (volume.File, volume.Stat, volume.Identity, error) {
		return nil, volume.Stat{}, volume.Identity{}, d.fault("create", name.String(), err)
	}
	if d.hidden(name) {
		return fail(d.refuseHidden("create", name))
	}
	inherits := d.inherits()
	r, named, err := d.newFile(name, n.Mode)
	if err != nil {
		return fail(err)
	}
	if err = d.v.statFd(r.fd, &r.st); err == nil {
		err = d.v.endow(&r, n, inherits)
	}
	if err == nil && !named {
		err = d.v.linkRef(&r, d.fd, name.String())
		named = err == nil
	}
	if err == nil {
		err = d.v.restat(&r)
	}
	if err != nil {
		if named {
			d.takeBack(name, &r)
		}
		closeFd(r.fd)
		return fail(err)
	}
	r.linked()
	return &file{v: d.v, fd: r.fd, label: name.String()}, r.st, d.v.identity(&r), nil
}

// newFile is an empty file that nobody else can open: without a name where the host can do that, and of the mode then, but for
// what the umask takes; else named, its owner's alone, and a kill before it has its attributes leaves it so.
func (d *dir) newFile(name vfs.Name, mode uint32) (r ref, named bool, err error) {
	if !d.v.named.Load() {
		r.fd, err = openNameless(d.fd, mode&permBits)
		switch err {
		case unix.EOPNOTSUPP, unix.ENOSYS, unix.EISDIR, unix.EINVAL: // by the file system, the host, and its kernel before 3.11
			d.v.named.Store(true)
		case unix.EPERM: // ext4's answer in a directory that was removed
			if removed(d.fd) {
				err = unix.ENOENT
			}
			return r, false, err
		default:
			return r, false, err
		}
	}
	r.fd, err = openBeneath(d.fd, name.String(), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err == unix.ELOOP { // RESOLVE_NO_SYMLINKS comes before O_EXCL
		err = unix.EEXIST
	}
	return r, true, err
}

// permBits of a mode can be given to open(2) without harm whoever owns the file at first: no set-id bits.
const permBits = 0o777

// takeBack removes what was made and could not be given its attributes, if it
// still has its name.
func (d *dir) takeBack(name vfs.Name, r *ref) {
	var st volume.Stat
	if d.v.statAt(d.fd, name.String(), &st) != nil || st.Key != r.st.Key {
		return
	}
	flags := 0
	if st.Type == vfs.Directory {
		flags = unix.AT_REMOVEDIR
	}
	// A failure leaves an empty object of the server's own, as a crash would; the
	// caller is told the first error, which says more.
	_ = again(func() error { return unix.Unlinkat(d.fd, name.String(), flags) })
}

// make does what Mkdir, Symlink and Mknod share: call makes the name, then the
// object is pinned, found to be the one made, and given its attributes.
func (d *dir) make(op string, name vfs.Name, t vfs.Type, n *volume.New, call func(dirfd int, name string) error) (ref, volume.Identity, error) {
	fail := func(err error) (ref, volume.Identity, error) {
		return ref{fd: -1}, volume.Identity{}, d.fault(op, name.String(), err)
	}
	if d.hidden(name) {
		return fail(d.refuseHidden(op, name))
	}
	inherits := d.inherits()
	since := d.v.tick()
	if err := call(d.fd, name.String()); err != nil {
		return fail(err)
	}
	r, err := d.hold(name, t)
	if err == unix.ENOENT || err == unix.ENOTDIR || err == nil && !r.fresh(t, d.v.maker, since) {
		r.close()
		return fail(&vfs.Error{
			Status: vfs.IO, Op: op, Object: d.object(name.String()), Volume: d.v.name,
			Err: errors.New("a process of the host took the new object away at once"),
		})
	}
	if err != nil { // out of descriptors, say: what was made has no owner yet
		if d.v.statAt(d.fd, name.String(), &r.st) == nil && r.fresh(t, d.v.maker, since) {
			d.takeBack(name, &r)
		}
		return fail(err)
	}
	if err := d.v.birth(&r, n, inherits); err != nil {
		d.takeBack(name, &r)
		r.close()
		return fail(err)
	}
	r.linked()
	return r, d.v.identity(&r), nil
}

// hold pins a new object; a directory by a descriptor that can be kept.
func (d *dir) hold(name vfs.Name, t vfs.Type) (ref, error) {
	if t != vfs.Directory {
		return d.v.pin(d.fd, name.String())
	}
	sub, err := d.v.openDir(d.fd, name.String())
	if err != nil {
		return ref{fd: -1}, err
	}
	r := ref{fd: sub.fd, bare: sub.bare, owned: true}
	if err := d.v.statFd(r.fd, &r.st); err != nil {
		r.close()
		return ref{fd: -1}, err
	}
	return r, nil
}

// Mkdir makes a directory and opens it.
func (d *dir) Mkdir(_ context.Context, name vfs.Name, n *volume.New) (volume.Dir, volume.Stat, volume.Identity, error) {
	r, id, err := d.make("mkdir", name, vfs.Directory, n, func(dirfd int, name string) error {
		return again(func() error { return unix.Mkdirat(dirfd, name, 0o700) })
	})
	if err != nil {
		return nil, volume.Stat{}, volume.Identity{}, err
	}
	return &dir{v: d.v, fd: r.fd, bare: r.bare}, r.st, id, nil
}

// Symlink makes a symbolic link. Its mode is the host's affair.
func (d *dir) Symlink(_ context.Context, name vfs.Name, target string, n *volume.New) (volume.Stat, volume.Identity, error) {
	r, id, err := d.make("symlink", name, vfs.Symlink, n, func(dirfd int, name string) error {
		return again(func() error { return unix.Symlinkat(target, dirfd, name) })
	})
	r.close()
	return r.st, id, err
}

// Mknod makes a fifo, socket or device.
func (d *dir) Mknod(_ context.Context, name vfs.Name, t vfs.Type, major, minor uint32, n *volume.New) (volume.Stat, volume.Identity, error) {
	kind, ok := modeOfType(t)
	if !ok {
		return volume.Stat{}, volume.Identity{}, vfs.BadType
	}
	r, id, err := d.make("mknod", name, t, n, func(dirfd int, name string) error {
		return mknodAt(dirfd, name, kind|0o600, major, minor)
	})
	r.close()
	return r.st, id, err
}

// sameVolume is other as a directory of this volume.
func (d *dir) sameVolume(op string, other volume.Dir) (*dir, error) {
	o, ok := other.(*dir)
	if !ok || o.v != d.v {
		return nil, &vfs.Error{Status: vfs.XDev, Op: op, Volume: d.v.name, Err: errors.New("the other directory is of another volume")}
	}
	return o, nil
}

// Link gives the pinned object its further name.
func (d *dir) Link(_ context.Context, from volume.Dir, fromName vfs.Name, want volume.Key, name vfs.Name) error {
	src, err := d.sameVolume("link", from)
	if err != nil {
		return err
	}
	if d.hidden(name) {
		return d.refuseHidden("link", name)
	}
	r, err := src.pinned("link", fromName, &want)
	if err != nil {
		return err
	}
	defer r.close()
	switch {
	case r.st.Type == vfs.Directory:
		return vfs.IsDir
	case !d.v.caps.Links: // the host would say EPERM
		return vfs.NotSupp
	}
	err = d.v.linkRef(&r, d.fd, name.String())
	if err == unix.ENOENT && !removed(d.fd) { // the object's last name went meanwhile
		return vfs.Stale
	}
	return d.fault("link", name.String(), err)
}

// Rename moves a name.
func (d *dir) Rename(_ context.Context, fromName vfs.Name, to volume.Dir, toName vfs.Name, noReplace bool) error {
	dst, err := d.sameVolume("rename", to)
	if err != nil {
		return err
	}
	if d.hidden(fromName) {
		return vfs.NoEnt
	}
	if dst.hidden(toName) {
		return d.refuseHidden("rename", toName)
	}
	from, target := fromName.String(), toName.String()
	switch {
	case !noReplace:
		err = again(func() error { return unix.Renameat(d.fd, from, dst.fd, target) })
	case d.v.caps.NoReplace:
		err = renameExclusive(d.fd, from, dst.fd, target)
	default:
		err = d.renameByLink(from, dst, target)
	}
	if err == unix.ENOENT && removed(dst.fd) {
		return vfs.Stale
	}
	return d.fault("rename", from, err)
}

// renameByLink renames without replacing where the host has no call for it. A
// directory takes the place of an empty one that is made first; everything else
// gets the new name as a link, then loses the old. A crash between leaves both
// names (or the empty directory), never none. Where links are unknown too the
// name is only looked at first: Caps.NoReplace says that this is not atomic.
func (d *dir) renameByLink(from string, dst *dir, to string) error {
	var st volume.Stat
	if err := d.v.statAt(d.fd, from, &st); err != nil {
		return err
	}
	if st.Type == vfs.Directory {
		if err := again(func() error { return unix.Mkdirat(dst.fd, to, 0o700) }); err != nil {
			return err
		}
		err := again(func() error { return unix.Renameat(d.fd, from, dst.fd, to) })
		if err != nil {
			_ = unix.Unlinkat(dst.fd, to, unix.AT_REMOVEDIR) // ours and empty; the rename's error says more
		}
		return err
	}
	if d.v.caps.Links {
		if err := again(func() error { return unix.Linkat(d.fd, from, dst.fd, to, 0) }); err != nil {
			return err
		}
		return again(func() error { return unix.Unlinkat(d.fd, from, 0) })
	}
	switch err := d.v.statAt(dst.fd, to, &st); err {
	case nil:
		return unix.EEXIST
	case unix.ENOENT:
		return again(func() error { return unix.Renameat(d.fd, from, dst.fd, to) })
	default:
		return err
	}
}

// Unlink removes a name that is not a directory's.
func (d *dir) Unlink(_ context.Context, name vfs.Name) error {
	if d.hidden(name) {
		return vfs.NoEnt
	}
	err := again(func() error { return unix.Unlinkat(d.fd, name.String(), 0) })
	if err == unix.EPERM { // what POSIX wants for a directory, and BSDs answer
		var st volume.Stat
		if d.v.statAt(d.fd, name.String(), &st) == nil && st.Type == vfs.Directory {
			return vfs.IsDir
		}
	}
	return d.fault("unlink", name.String(), err)
}

// Rmdir removes an empty directory.
func (d *dir) Rmdir(_ context.Context, name vfs.Name) error {
	if d.hidden(name) {
		return vfs.NoEnt
	}
	err := again(func() error { return unix.Unlinkat(d.fd, name.String(), unix.AT_REMOVEDIR) })
	if err == unix.EEXIST { // POSIX allows it for ENOTEMPTY
		err = unix.ENOTEMPTY
	}
	return d.fault("rmdir", name.String(), err)
}

// ReadLink is the target of a symbolic link; Inval for everything else.
func (d *dir) ReadLink(_ context.Context, name vfs.Name) (string, error) {
	if d.hidden(name) {
		return "", vfs.NoEnt
	}
	var buf [unix.PathMax]byte
	var n int
	err := again(func() (err error) {
		n, err = unix.Readlinkat(d.fd, name.String(), buf[:])
		return err
	})
	if err == unix.EINVAL {
		return "", vfs.Inval
	}
	if err != nil {
		return "", d.fault("readlink", name.String(), err)
	}
	return string(buf[:n]), nil
}

// SetAttr changes the directory's own attributes.
func (d *dir) SetAttr(_ context.Context, set *vfs.SetAttr) error {
	if set.Has(vfs.SetSize) {
		return vfs.IsDir
	}
	r, err := d.self()
	if err == nil {
		err = d.v.setAttr(&r, set)
	}
	return d.fault("setattr", "", err)
}

// SetAttrAt changes the pinned object.
func (d *dir) SetAttrAt(_ context.Context, name vfs.Name, want volume.Key, set *vfs.SetAttr) error {
	if set.Has(vfs.SetSize) {
		return vfs.Inval
	}
	r, err := d.pinned("setattr", name, &want)
	if err != nil {
		return err
	}
	defer r.close()
	return d.fault("setattr", name.String(), d.v.setAttr(&r, set))
}

// Sync makes the directory's names and attributes durable.
func (d *dir) Sync(context.Context) error {
	var err error
	if d.bare {
		err = syncAll(d.v.root.fd)
	} else {
		err = fullsync(d.fd)
	}
	return d.fault("sync", "", err)
}

// Close gives the descriptor back. The volume's own two stay open.
func (d *dir) Close() error {
	if d == d.v.root || d == d.v.private {
		return nil
	}
	if d.closed.Swap(true) {
		return &vfs.Error{Status: vfs.ServerFault, Op: "close", Volume: d.v.name, Err: errClosed}
	}
	closeFd(d.fd)
	return nil
}
