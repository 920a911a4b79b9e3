package vfstest

import (
	"context"
	"strings"

	"sheaf/vfs"
	"sheaf/vfs/perm"
)

// TargetMax is the longest target of a symbolic link, in bytes (PATH_MAX of
// Linux without the NUL).
const TargetMax = 4095

// Lookup implements vfs.FS.
func (m *Model) Lookup(_ context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.directory(dir)
	if d == nil {
		return obj, dirAttr, err
	}
	if err == nil {
		err = search(w, d)
	}
	if err != nil {
		return obj, d.attr, err
	}
	e := d.dir.byName[name]
	if e == nil {
		return obj, d.attr, vfs.NoEnt
	}
	return e.obj.attr, d.attr, nil
}

// ReadLink implements vfs.FS. Like readlink(2) it needs no permission on the link.
func (m *Model) ReadLink(_ context.Context, _ *vfs.Who, n vfs.Node) (string, vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return "", vfs.Attr{}, err
	}
	if o.attr.Type != vfs.Symlink {
		return "", o.attr, vfs.Inval
	}
	return o.target, o.attr, nil
}

// Make implements vfs.FS.
func (m *Model) Make(_ context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (a vfs.Attr, c vfs.Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.directory(dir)
	if d != nil {
		defer watch(d, &c)()
	}
	if err == nil {
		err = m.validHow(how)
	}
	if err == nil {
		err = search(w, d)
	}
	if err != nil {
		return a, c, err
	}
	if e := d.dir.byName[name]; e != nil {
		err = m.makeOver(w, e.obj, how)
		return e.obj.attr, c, err
	}
	if err = mayAdd(w, d); err != nil {
		return a, c, err
	}
	o, err := m.makeNew(w, d, how)
	if err != nil {
		return a, c, err
	}
	m.add(d, name, o)
	m.modify(d)
	return o.attr, c, nil
}

// validHow checks what depends on the arguments alone.
func (m *Model) validHow(how *vfs.How) error {
	switch how.Type {
	case vfs.Regular:
		if how.Exists > vfs.Exclusive {
			return vfs.Inval
		}
		if how.Exists != vfs.Exclusive && how.Set.Has(vfs.SetSize) && how.Set.Size > m.opts.MaxFileSize {
			return vfs.FBig
		}
	case vfs.Directory:
	case vfs.Symlink:
		switch {
		case how.Target == "" || strings.IndexByte(how.Target, 0) >= 0:
			return vfs.Inval
		case len(how.Target) > TargetMax:
			return vfs.NameTooLong
		}
	case vfs.Block, vfs.Char, vfs.FIFO, vfs.Socket:
		if m.opts.NoSpecial {
			return vfs.BadType
		}
	default:
		return vfs.BadType
	}
	return perm.ValidTimes(&how.Set)
}

// makeOver is Make of a name that o has (RFC 1813 section 3.3.8).
func (m *Model) makeOver(w *vfs.Who, o *object, how *vfs.How) error {
	if how.Type != vfs.Regular || o.attr.Type != vfs.Regular {
		return vfs.Exist
	}
	switch how.Exists {
	case vfs.Unchecked:
		return m.setAttr(w, o, &vfs.SetAttr{Mask: how.Set.Mask & vfs.SetSize, Size: how.Set.Size})
	case vfs.Exclusive:
		if perm.SameExclusive(&o.attr, how.Verifier) {
			return nil
		}
	case vfs.Guarded:
	}
	return vfs.Exist
}

// makeNew makes the object, without a name yet.
func (m *Model) makeNew(w *vfs.Who, d *object, how *vfs.How) (*object, error) {
	born, err := perm.Birth(w, &d.attr, d.acls.Default, how)
	if err != nil {
		return nil, err
	}
	if uint64(len(m.objects)) >= m.opts.MaxFiles {
		return nil, vfs.NoSpc
	}
	o := m.newObject(how.Type)
	o.attr.Mode, o.attr.UID, o.attr.GID, o.acls = born.Mode, born.UID, born.GID, born.ACLs
	switch how.Type {
	case vfs.Regular:
		if how.Set.Has(vfs.SetSize) && how.Exists != vfs.Exclusive {
			m.resize(o, how.Set.Size)
		}
	case vfs.Symlink:
		o.target, o.attr.Size = how.Target, uint64(len(how.Target))
	case vfs.Block, vfs.Char:
		o.attr.Major, o.attr.Minor = how.Major, how.Minor
	case vfs.Directory, vfs.FIFO, vfs.Socket:
	}
	if how.Type == vfs.Regular && how.Exists == vfs.Exclusive {
		o.attr.Atime, o.attr.Mtime = perm.ExclusiveTimes(how.Verifier)
	} else {
		setTimes(&o.attr, &how.Set, o.attr.Ctime)
	}
	return o, nil
}

// Link implements vfs.FS.
func (m *Model) Link(_ context.Context, w *vfs.Who, n, dir vfs.Node, name vfs.Name) (a vfs.Attr, c vfs.Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return a, c, err
	}
	defer func() { a = o.attr }()
	d, err := m.directory(dir)
	if d != nil {
		defer watch(d, &c)()
	}
	if err == nil {
		err = m.mayLink(w, o, d, name)
	}
	if err != nil {
		return a, c, err
	}
	m.add(d, name, o)
	m.touch(o)
	m.modify(d)
	return a, c, nil
}

func (m *Model) mayLink(w *vfs.Who, o, d *object, name vfs.Name) error {
	if err := search(w, d); err != nil {
		return err
	}
	if d.dir.byName[name] != nil {
		return vfs.Exist
	}
	if err := mayAdd(w, d); err != nil {
		return err
	}
	switch {
	case o.dir != nil:
		return vfs.IsDir
	case m.opts.NoLinks:
		return vfs.NotSupp
	case o.attr.Nlink >= m.opts.LinkMax:
		return vfs.MLink
	}
	return nil
}

// Remove implements vfs.FS.
func (m *Model) Remove(_ context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return m.removeName(w, dir, name, false)
}

// RemoveDir implements vfs.FS.
func (m *Model) RemoveDir(_ context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return m.removeName(w, dir, name, true)
}

func (m *Model) removeName(w *vfs.Who, dir vfs.Node, name vfs.Name, isDir bool) (c vfs.Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.directory(dir)
	if d != nil {
		defer watch(d, &c)()
	}
	if err == nil {
		err = search(w, d)
	}
	if err != nil {
		return c, err
	}
	e := d.dir.byName[name]
	if e == nil {
		return c, vfs.NoEnt
	}
	if err := mayRemove(w, d, e.obj, isDir); err != nil {
		return c, err
	}
	if isDir && len(e.obj.dir.order) > 0 {
		return c, vfs.NotEmpty
	}
	o := e.obj
	m.remove(d, e)
	m.modify(d)
	m.touch(o)
	m.drop(o)
	return c, nil
}

// mayRemove is may_delete of fs/namei.c: whether w may take o's name in d, given
// that a directory is meant or not.
func mayRemove(w *vfs.Who, d, o *object, isDir bool) error {
	if err := mayDelete(w, d, o); err != nil {
		return err
	}
	switch {
	case isDir && o.dir == nil:
		return vfs.NotDir
	case !isDir && o.dir != nil:
		return vfs.IsDir
	}
	return nil
}
