package volumetest

import (
	"context"
	"errors"
	"maps"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// memDir is an open directory of a Mem.
type memDir struct{ handle }

// enter locks the disk for an operation in the directory, which must still be there.
func (d *memDir) enter(op string, changes bool) error {
	if err := d.lock(op, changes); err != nil {
		return err
	}
	if d.removed() {
		d.unlock()
		return vfs.Stale
	}
	return nil
}

func (d *memDir) removed() bool { return d.n != d.m.disk.root && len(d.n.names) == 0 }

// find is the object called name; the private directory is not there at the root.
func (d *memDir) find(name vfs.Name) (*inode, error) {
	n := d.n.entries[name.String()]
	if n == nil || n == d.m.disk.private {
		return nil, vfs.NoEnt
	}
	return n, nil
}

func (d *memDir) findKey(name vfs.Name, want volume.Key) (*inode, error) {
	n, err := d.find(name)
	if err == nil && n.key() != want {
		return nil, vfs.Stale
	}
	return n, err
}

// vacant fails if name cannot be made.
func (d *memDir) vacant(name vfs.Name) error {
	if n := d.n.entries[name.String()]; n == nil {
		return nil
	} else if n == d.m.disk.private {
		return vfs.Acces
	}
	return vfs.Exist
}

// Stat is the directory itself.
func (d *memDir) Stat(context.Context) (volume.Stat, error) {
	if err := d.lock("stat", false); err != nil {
		return volume.Stat{}, err
	}
	defer d.unlock()
	return d.n.stat(), nil
}

// Identify is Stat with the identity.
func (d *memDir) Identify(context.Context) (volume.Stat, volume.Identity, error) {
	if err := d.lock("identify", false); err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	defer d.unlock()
	return d.n.stat(), d.n.identity(d.m.o.Weak), nil
}

// StatAt is the object called name.
func (d *memDir) StatAt(_ context.Context, name vfs.Name) (volume.Stat, error) {
	if err := d.enter("statat", false); err != nil {
		return volume.Stat{}, err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return volume.Stat{}, err
	}
	return n.stat(), nil
}

// IdentifyAt is StatAt with the identity.
func (d *memDir) IdentifyAt(_ context.Context, name vfs.Name) (volume.Stat, volume.Identity, error) {
	if err := d.enter("identifyat", false); err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	return n.stat(), n.identity(d.m.o.Weak), nil
}

// List gives the entries as they are when it begins.
func (d *memDir) List(ctx context.Context, each func(volume.Entry) bool) error {
	if err := d.enter("list", false); err != nil {
		return err
	}
	entries := make([]volume.Entry, 0, len(d.n.entries))
	for _, name := range slices.Sorted(maps.Keys(d.n.entries)) {
		if n := d.n.entries[name]; n != d.m.disk.private {
			entries = append(entries, volume.Entry{Name: vfs.MustName(name), Ino: n.ino, Type: n.typ})
		}
	}
	d.unlock()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !each(e) {
			return nil
		}
	}
	return nil
}

// OpenDir opens a directory beneath.
func (d *memDir) OpenDir(_ context.Context, name vfs.Name) (volume.Dir, error) {
	if err := d.enter("opendir", false); err != nil {
		return nil, err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	if n.typ != vfs.Directory {
		return nil, vfs.NotDir
	}
	return d.newDir(n), nil
}

func (d *memDir) newDir(n *inode) *memDir {
	n.open++
	d.m.handles.Add(1)
	return &memDir{handle: handle{m: d.m, n: n}}
}

// Open opens a regular file.
func (d *memDir) Open(_ context.Context, name vfs.Name, flags volume.Flag) (volume.File, error) {
	if err := d.enter("open", flags&volume.Write != 0); err != nil {
		return nil, err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	if n.typ != vfs.Regular {
		return nil, vfs.Inval
	}
	return d.newFile(n, flags), nil
}

func (d *memDir) newFile(n *inode, flags volume.Flag) *memFile {
	n.open++
	d.m.handles.Add(1)
	return &memFile{handle: handle{m: d.m, n: n}, flags: flags}
}

// make makes an object with its attributes, which are as durable as its name.
func (d *memDir) make(name vfs.Name, t vfs.Type, w *volume.New) (*inode, error) {
	disk := d.m.disk
	if err := d.vacant(name); err != nil {
		return nil, err
	}
	switch {
	case disk.full(inodeCost):
		return nil, vfs.NoSpc
	case !d.m.caps.Chown && (w.UID != 0 || w.GID != 0):
		return nil, vfs.Perm
	case len(w.Mark) > volume.MarkMax:
		return nil, vfs.Inval
	case w.ACLs != nil && !d.m.caps.ACLs && len(w.ACLs.Access)+len(w.ACLs.Default) > 0:
		return nil, vfs.NotSupp
	case w.ACLs != nil && t != vfs.Directory && len(w.ACLs.Default) > 0:
		return nil, vfs.Inval
	}
	mode := w.Mode & vfs.ModeMask
	if t == vfs.Symlink {
		mode = vfs.ModePerm
	}
	n := disk.newInode(t, mode)
	n.meta.uid, n.meta.gid = w.UID, w.GID
	if w.Times {
		n.meta.atime, n.meta.mtime = w.Atime, w.Mtime
	}
	if w.ACLs != nil && t != vfs.Symlink {
		n.setACLs(*w.ACLs)
		n.setMode(mode)
	}
	n.mark = slices.Clone(w.Mark)
	n.syncMeta()
	disk.apply(nil, assign{slot{d.n, name.String()}, n})
	return n, nil
}

// Create makes a regular file and opens it.
func (d *memDir) Create(_ context.Context, name vfs.Name, w *volume.New) (volume.File, volume.Stat, volume.Identity, error) {
	if err := d.enter("create", true); err != nil {
		return nil, volume.Stat{}, volume.Identity{}, err
	}
	defer d.unlock()
	n, err := d.make(name, vfs.Regular, w)
	if err != nil {
		return nil, volume.Stat{}, volume.Identity{}, err
	}
	return d.newFile(n, volume.Read|volume.Write), n.stat(), n.identity(d.m.o.Weak), nil
}

// Mkdir makes a directory and opens it.
func (d *memDir) Mkdir(_ context.Context, name vfs.Name, w *volume.New) (volume.Dir, volume.Stat, volume.Identity, error) {
	if err := d.enter("mkdir", true); err != nil {
		return nil, volume.Stat{}, volume.Identity{}, err
	}
	defer d.unlock()
	n, err := d.make(name, vfs.Directory, w)
	if err != nil {
		return nil, volume.Stat{}, volume.Identity{}, err
	}
	return d.newDir(n), n.stat(), n.identity(d.m.o.Weak), nil
}

// targetMax is the longest target of a symbolic link (PATH_MAX without its NUL).
const targetMax = 4095

// Symlink makes a symbolic link.
func (d *memDir) Symlink(_ context.Context, name vfs.Name, target string, w *volume.New) (volume.Stat, volume.Identity, error) {
	if err := d.enter("symlink", true); err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	defer d.unlock()
	switch {
	case !d.m.caps.Symlinks:
		return volume.Stat{}, volume.Identity{}, vfs.NotSupp
	case target == "": // symlink(2)
		return volume.Stat{}, volume.Identity{}, vfs.NoEnt
	case len(target) > targetMax:
		return volume.Stat{}, volume.Identity{}, vfs.NameTooLong
	}
	n, err := d.make(name, vfs.Symlink, w)
	if err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	n.link = target
	return n.stat(), n.identity(d.m.o.Weak), nil
}

// Mknod makes a fifo, socket or device.
func (d *memDir) Mknod(_ context.Context, name vfs.Name, t vfs.Type, major, minor uint32, w *volume.New) (volume.Stat, volume.Identity, error) {
	if err := d.enter("mknod", true); err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	defer d.unlock()
	device := t == vfs.Block || t == vfs.Char
	switch {
	case !device && t != vfs.FIFO && t != vfs.Socket:
		return volume.Stat{}, volume.Identity{}, vfs.BadType
	case device && !d.m.caps.Special:
		return volume.Stat{}, volume.Identity{}, vfs.Perm
	}
	n, err := d.make(name, t, w)
	if err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	if device {
		n.major, n.minor = major, minor
	}
	return n.stat(), n.identity(d.m.o.Weak), nil
}

var errOther = errors.New("the other directory is of another volume")

// peer is another directory of the same volume that is still there.
func (d *memDir) peer(op string, o volume.Dir) (*memDir, error) {
	p, ok := o.(*memDir)
	switch {
	case !ok || p.m != d.m:
		return nil, d.m.fail(op, vfs.XDev, errOther)
	case p.closed.Load():
		return nil, d.m.fail(op, vfs.ServerFault, errClosed)
	case p.removed():
		return nil, vfs.Stale
	}
	return p, nil
}

// Link gives an object a further name.
func (d *memDir) Link(_ context.Context, from volume.Dir, fromName vfs.Name, want volume.Key, name vfs.Name) error {
	if err := d.enter("link", true); err != nil {
		return err
	}
	defer d.unlock()
	src, err := d.peer("link", from)
	if err != nil {
		return err
	}
	n, err := src.findKey(fromName, want)
	if err != nil {
		return err
	}
	switch {
	case n.typ == vfs.Directory:
		return vfs.IsDir
	case !d.m.caps.Links:
		return vfs.NotSupp
	}
	if err := d.vacant(name); err != nil {
		return err
	}
	if uint32(len(n.names)) >= d.m.caps.LinkMax {
		return vfs.MLink
	}
	d.m.disk.apply(nil, assign{slot{d.n, name.String()}, n})
	return nil
}

// Rename moves a name, with the rules of rename(2).
func (d *memDir) Rename(_ context.Context, fromName vfs.Name, to volume.Dir, toName vfs.Name, noReplace bool) error {
	if err := d.enter("rename", true); err != nil {
		return err
	}
	defer d.unlock()
	dst, err := d.peer("rename", to)
	if err != nil {
		return err
	}
	n, err := d.find(fromName)
	if err != nil {
		return err
	}
	old := dst.n.entries[toName.String()]
	if old == d.m.disk.private {
		return vfs.Acces
	}
	if n.typ == vfs.Directory && dst.n.beneath(n) {
		return vfs.Inval
	}
	if old != nil {
		if err := replaceable(n, old, noReplace); err != nil || n == old {
			return err
		}
	}
	var objects []*inode
	if n.typ == vfs.Directory { // see the package: not without what leads to its new place
		for p := dst.n; ; p = p.names[0].dir {
			objects = append(objects, p)
			if len(p.names) == 0 {
				break
			}
		}
	}
	d.m.disk.apply(objects, assign{slot{d.n, fromName.String()}, nil}, assign{slot{dst.n, toName.String()}, n})
	return nil
}

// replaceable says whether n may take the name of old.
func replaceable(n, old *inode, noReplace bool) error {
	switch {
	case noReplace:
		return vfs.Exist
	case n == old:
		return nil
	case n.typ == vfs.Directory && old.typ != vfs.Directory:
		return vfs.NotDir
	case n.typ != vfs.Directory && old.typ == vfs.Directory:
		return vfs.IsDir
	case len(old.entries) > 0:
		return vfs.NotEmpty
	default:
		return nil
	}
}

// beneath reports whether n is top or lies in it.
func (n *inode) beneath(top *inode) bool {
	for n != top {
		if len(n.names) == 0 {
			return false
		}
		n = n.names[0].dir
	}
	return true
}

// Unlink removes a name that is not a directory's.
func (d *memDir) Unlink(_ context.Context, name vfs.Name) error {
	if err := d.enter("unlink", true); err != nil {
		return err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return err
	}
	if n.typ == vfs.Directory {
		return vfs.IsDir
	}
	d.m.disk.apply(nil, assign{slot{d.n, name.String()}, nil})
	return nil
}

// Rmdir removes an empty directory.
func (d *memDir) Rmdir(_ context.Context, name vfs.Name) error {
	if err := d.enter("rmdir", true); err != nil {
		return err
	}
	defer d.unlock()
	n, err := d.find(name)
	switch {
	case err != nil:
		return err
	case n.typ != vfs.Directory:
		return vfs.NotDir
	case len(n.entries) > 0:
		return vfs.NotEmpty
	}
	d.m.disk.apply(nil, assign{slot{d.n, name.String()}, nil})
	return nil
}

// ReadLink is the target of a symbolic link.
func (d *memDir) ReadLink(_ context.Context, name vfs.Name) (string, error) {
	if err := d.enter("readlink", false); err != nil {
		return "", err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return "", err
	}
	if n.typ != vfs.Symlink {
		return "", vfs.Inval
	}
	return n.link, nil
}

// Sync makes names, attributes and mark durable.
func (d *memDir) Sync(context.Context) error {
	d.m.syncs[syncDir].Add(1)
	if err := d.lock("syncdir", false); err != nil {
		return err
	}
	defer d.unlock()
	d.m.disk.syncDir(d.n)
	return nil
}

// Close ends the use of the directory; the volume's own two stay open.
func (d *memDir) Close() error {
	if d == d.m.root || d == d.m.private {
		return nil
	}
	if err := d.close("closedir"); err != nil {
		return err
	}
	d.forget()
	return nil
}

// forget takes the descriptor off the object.
func (h *handle) forget() {
	h.m.disk.mu.Lock()
	defer h.m.disk.mu.Unlock()
	if h.m.dead.Load() {
		return
	}
	h.n.open--
	h.m.disk.release(h.n)
}
