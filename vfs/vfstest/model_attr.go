package vfstest

import (
	"context"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/perm"
)

// GetAttr implements vfs.FS.
func (m *Model) GetAttr(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return vfs.Attr{}, err
	}
	return o.attr, nil
}

// SetAttr implements vfs.FS.
func (m *Model) SetAttr(_ context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (c vfs.Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return c, err
	}
	defer watch(o, &c)()
	if guard != nil && *guard != o.attr.Ctime {
		return c, vfs.NotSync
	}
	return c, m.setAttr(w, o, set)
}

// setAttr makes the change set with all checks. Nothing to set is no change.
func (m *Model) setAttr(w *vfs.Who, o *object, set *vfs.SetAttr) error {
	if set.Mask == 0 {
		return nil
	}
	out, err := perm.SetAttr(w, &o.attr, o.acls.Access, set)
	if err != nil {
		return err
	}
	if set.Has(vfs.SetSize) && set.Size > m.opts.MaxFileSize {
		return vfs.FBig
	}
	now := m.touch(o)
	if set.Has(vfs.SetSize) {
		if set.Size != o.attr.Size {
			o.attr.Mtime = now
		}
		m.resize(o, set.Size)
	}
	o.attr.Mode, o.attr.UID, o.attr.GID, o.acls.Access = out.Mode, out.UID, out.GID, out.Access
	setTimes(&o.attr, set, now)
	return nil
}

// setTimes gives a the times of set, which are valid.
func setTimes(a *vfs.Attr, set *vfs.SetAttr, now vfs.Time) {
	switch {
	case set.Has(vfs.SetAtimeNow):
		a.Atime = now
	case set.Has(vfs.SetAtime):
		a.Atime = set.Atime
	}
	switch {
	case set.Has(vfs.SetMtimeNow):
		a.Mtime = now
	case set.Has(vfs.SetMtime):
		a.Mtime = set.Mtime
	}
}

// Access implements vfs.FS.
func (m *Model) Access(_ context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return 0, vfs.Attr{}, err
	}
	return perm.Access(w, &o.attr, o.acls.Access, want), o.attr, nil
}

// GetACL implements vfs.FS.
func (m *Model) GetACL(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.ACLs, vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return vfs.ACLs{}, vfs.Attr{}, err
	}
	return vfs.ACLs{Access: slices.Clone(o.acls.Access), Default: slices.Clone(o.acls.Default)}, o.attr, nil
}

// SetACL implements vfs.FS.
func (m *Model) SetACL(_ context.Context, w *vfs.Who, n vfs.Node, acls vfs.ACLs) (vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.object(n)
	if err != nil {
		return vfs.Attr{}, err
	}
	if m.opts.NoACLs {
		return o.attr, vfs.NotSupp
	}
	mode, stored, err := perm.SetACL(w, &o.attr, acls)
	if err != nil {
		return o.attr, err
	}
	m.touch(o)
	o.attr.Mode, o.acls = mode, stored
	return o.attr, nil
}

// search is whether w may look names up in the directory d.
func search(w *vfs.Who, d *object) error { return perm.Search(w, &d.attr, d.acls.Access) }

// mayAdd is whether w may add a name to the directory d.
func mayAdd(w *vfs.Who, d *object) error { return perm.Add(w, &d.attr, d.acls.Access) }

// mayDelete is whether w may remove or replace victim in the directory d.
func mayDelete(w *vfs.Who, d, victim *object) error {
	return perm.Delete(w, &d.attr, d.acls.Access, &victim.attr)
}
