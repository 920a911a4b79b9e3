package vfstest

import (
	"context"

	"sheaf/vfs"
	"sheaf/vfs/perm"
)

// Rename implements vfs.FS.
func (m *Model) Rename(_ context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (fromChange, toChange vfs.Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fd, fromErr := m.directory(from)
	td, toErr := m.directory(to)
	if fd != nil {
		defer watch(fd, &fromChange)()
	}
	if td != nil {
		defer watch(td, &toChange)()
	}
	if err = mayStart(w, fd, fromErr, td, toErr); err != nil {
		return fromChange, toChange, err
	}
	src, dst := fd.dir.byName[fromName], td.dir.byName[toName]
	if src == nil {
		return fromChange, toChange, vfs.NoEnt
	}
	if dst != nil && dst.obj == src.obj {
		return fromChange, toChange, nil
	}
	if err := mayRename(w, fd, src, td, dst); err != nil {
		return fromChange, toChange, err
	}
	m.rename(fd, src, td, dst, toName)
	return fromChange, toChange, nil
}

// mayStart is whether w may look up names in both directories, as far as they
// are directories.
func mayStart(w *vfs.Who, fd *object, fromErr error, td *object, toErr error) error {
	switch {
	case fd == nil || td != nil && fromErr != nil:
		return fromErr
	case td == nil:
		return toErr
	}
	if err := search(w, fd); err != nil {
		return err
	}
	if toErr != nil {
		return toErr
	}
	return search(w, td)
}

// mayRename is the rest of the order of checks, see doc.go.
func mayRename(w *vfs.Who, fd *object, src *entry, td *object, dst *entry) error {
	isDir := src.obj.dir != nil
	if within(td, src.obj) {
		return vfs.Inval
	}
	if dst != nil && within(fd, dst.obj) {
		return vfs.NotEmpty
	}
	if err := mayDelete(w, fd, src.obj); err != nil {
		return err
	}
	if dst == nil {
		if err := mayAdd(w, td); err != nil {
			return err
		}
	} else if err := mayRemove(w, td, dst.obj, isDir); err != nil {
		return err
	}
	if isDir && fd != td {
		if err := perm.Reparent(w, &src.obj.attr, src.obj.acls.Access); err != nil {
			return err
		}
	}
	if isDir && dst != nil && len(dst.obj.dir.order) > 0 {
		return vfs.NotEmpty
	}
	return nil
}

// within reports whether the directory d is o or lies beneath it.
func within(d, o *object) bool {
	for {
		if d == o {
			return true
		}
		parent := d
		for l := range d.names {
			parent = l.dir
		}
		if parent == d {
			return false // the root
		}
		d = parent
	}
}

// rename moves src to the name toName, which dst has or nobody.
func (m *Model) rename(fd *object, src *entry, td *object, dst *entry, toName vfs.Name) {
	o := src.obj
	m.remove(fd, src)
	if dst != nil {
		victim := dst.obj
		m.replace(td, dst, o)
		m.touch(victim)
		m.drop(victim)
	} else {
		m.add(td, toName, o)
	}
	m.touch(o)
	m.modify(fd)
	if td != fd {
		m.modify(td)
	}
}
