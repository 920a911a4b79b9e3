package volumetest

import (
	"context"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// setAttr applies set but for the size. The change time moves in any case.
func (m *Mem) setAttr(n *inode, set *vfs.SetAttr) error {
	owner := set.Has(vfs.SetUID) && set.UID != n.meta.uid || set.Has(vfs.SetGID) && set.GID != n.meta.gid
	if owner && !m.caps.Chown {
		return vfs.Perm
	}
	now := m.disk.stamp(m.disk.now())
	if set.Has(vfs.SetUID) {
		n.meta.uid = set.UID
	}
	if set.Has(vfs.SetGID) {
		n.meta.gid = set.GID
	}
	if set.Has(vfs.SetUID|vfs.SetGID) && n.typ == vfs.Regular { // chown(2)
		n.meta.mode &^= vfs.ModeSetUID
		if n.meta.mode&0o010 != 0 {
			n.meta.mode &^= vfs.ModeSetGID
		}
	}
	if set.Has(vfs.SetMode) && n.typ != vfs.Symlink {
		n.setMode(set.Mode & vfs.ModeMask)
	}
	switch {
	case set.Has(vfs.SetAtime):
		n.meta.atime = set.Atime
	case set.Has(vfs.SetAtimeNow):
		n.meta.atime = now
	}
	switch {
	case set.Has(vfs.SetMtime):
		n.meta.mtime = set.Mtime
	case set.Has(vfs.SetMtimeNow):
		n.meta.mtime = now
	}
	n.meta.ctime = now
	return nil
}

// setMode sets the mode, and what of it the access list says (acl(5),
// "Correspondence between ACL entries and file permission bits").
func (n *inode) setMode(mode uint32) {
	n.meta.mode = mode
	if len(n.acls.Access) == 0 {
		return
	}
	a := slices.Clone(n.acls.Access)
	masked := slices.ContainsFunc(a, func(e vfs.ACLEntry) bool { return e.Tag == vfs.ACLMask })
	for i := range a {
		switch a[i].Tag {
		case vfs.ACLUserObj:
			a[i].Perm = uint16(mode >> 6 & 7)
		case vfs.ACLMask:
			a[i].Perm = uint16(mode >> 3 & 7)
		case vfs.ACLGroupObj:
			if !masked {
				a[i].Perm = uint16(mode >> 3 & 7)
			}
		case vfs.ACLOther:
			a[i].Perm = uint16(mode & 7)
		case vfs.ACLUser, vfs.ACLGroup:
		}
	}
	n.acls.Access = a
}

// setACLs replaces both lists. One that a mode can say becomes the mode.
func (n *inode) setACLs(a vfs.ACLs) {
	n.acls.Default = slices.Clone(a.Default)
	n.acls.Access = nil
	if len(a.Access) == 0 {
		return
	}
	perm, extended := n.meta.mode&vfs.ModePerm, false
	for _, e := range a.Access {
		switch e.Tag {
		case vfs.ACLUserObj:
			perm = perm&0o077 | uint32(e.Perm)<<6
		case vfs.ACLGroupObj:
			if !extended {
				perm = perm&0o707 | uint32(e.Perm)<<3
			}
		case vfs.ACLMask:
			perm, extended = perm&0o707|uint32(e.Perm)<<3, true
		case vfs.ACLOther:
			perm = perm&0o770 | uint32(e.Perm)
		case vfs.ACLUser, vfs.ACLGroup:
			extended = true
		}
	}
	n.meta.mode = n.meta.mode&^vfs.ModePerm | perm
	if extended {
		n.acls.Access = slices.Clone(a.Access)
	}
}

func (m *Mem) checkACLs(n *inode, a vfs.ACLs) error {
	empty := len(a.Access)+len(a.Default) == 0
	switch {
	case empty && !m.caps.ACLs:
		return nil
	case !m.caps.ACLs, n.typ == vfs.Symlink:
		return vfs.NotSupp
	case n.typ != vfs.Directory && len(a.Default) > 0:
		return vfs.Inval
	default:
		return nil
	}
}

func (m *Mem) changeACLs(n *inode, a vfs.ACLs) error {
	if err := m.checkACLs(n, a); err != nil {
		return err
	}
	n.setACLs(a)
	m.disk.touch(n, false)
	return nil
}

func (n *inode) copyACLs() vfs.ACLs {
	return vfs.ACLs{Access: slices.Clone(n.acls.Access), Default: slices.Clone(n.acls.Default)}
}

// changeMark replaces the mark. That of a link or special file lies in a file
// of its own and is durable at once, as volume/local has it.
func (m *Mem) changeMark(n *inode, mark []byte) error {
	if len(mark) > volume.MarkMax {
		return vfs.Inval
	}
	n.mark = slices.Clone(mark)
	if len(mark) == 0 {
		n.mark = nil
	}
	if n.typ != vfs.Regular && n.typ != vfs.Directory {
		n.markD = n.mark
		return nil
	}
	m.disk.touch(n, false)
	return nil
}

// SetAttr changes the directory's own attributes.
func (d *memDir) SetAttr(_ context.Context, set *vfs.SetAttr) error {
	if err := d.lock("setattr", true); err != nil {
		return err
	}
	defer d.unlock()
	if set.Has(vfs.SetSize) {
		return vfs.IsDir
	}
	return d.m.setAttr(d.n, set)
}

// SetAttrAt changes those of the object called name.
func (d *memDir) SetAttrAt(_ context.Context, name vfs.Name, want volume.Key, set *vfs.SetAttr) error {
	if set.Has(vfs.SetSize) {
		return vfs.Inval
	}
	return d.change("setattrat", name, want, func(n *inode) error { return d.m.setAttr(n, set) })
}

// change does f to the object called name if it has the key want.
func (d *memDir) change(op string, name vfs.Name, want volume.Key, f func(*inode) error) error {
	if err := d.enter(op, true); err != nil {
		return err
	}
	defer d.unlock()
	n, err := d.findKey(name, want)
	if err != nil {
		return err
	}
	return f(n)
}

// ACLs are the directory's own.
func (d *memDir) ACLs(context.Context) (vfs.ACLs, error) {
	if err := d.lock("acls", false); err != nil {
		return vfs.ACLs{}, err
	}
	defer d.unlock()
	return d.n.copyACLs(), nil
}

// ACLsAt are those of the object called name.
func (d *memDir) ACLsAt(_ context.Context, name vfs.Name) (vfs.ACLs, error) {
	if err := d.enter("aclsat", false); err != nil {
		return vfs.ACLs{}, err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return vfs.ACLs{}, err
	}
	return n.copyACLs(), nil
}

// SetACLs replaces the directory's own.
func (d *memDir) SetACLs(_ context.Context, a vfs.ACLs) error {
	if err := d.lock("setacls", true); err != nil {
		return err
	}
	defer d.unlock()
	return d.m.changeACLs(d.n, a)
}

// SetACLsAt replaces those of the object called name.
func (d *memDir) SetACLsAt(_ context.Context, name vfs.Name, want volume.Key, a vfs.ACLs) error {
	return d.change("setaclsat", name, want, func(n *inode) error { return d.m.changeACLs(n, a) })
}

// Mark is the directory's own.
func (d *memDir) Mark(context.Context) ([]byte, error) {
	if err := d.lock("mark", false); err != nil {
		return nil, err
	}
	defer d.unlock()
	return slices.Clone(d.n.mark), nil
}

// SetMark replaces it.
func (d *memDir) SetMark(_ context.Context, mark []byte) error {
	if err := d.lock("setmark", true); err != nil {
		return err
	}
	defer d.unlock()
	return d.m.changeMark(d.n, mark)
}

// MarkAt is that of the object called name.
func (d *memDir) MarkAt(_ context.Context, name vfs.Name) ([]byte, error) {
	if err := d.enter("markat", false); err != nil {
		return nil, err
	}
	defer d.unlock()
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	return slices.Clone(n.mark), nil
}

// SetMarkAt replaces that of the object called name.
func (d *memDir) SetMarkAt(_ context.Context, name vfs.Name, want volume.Key, mark []byte) error {
	return d.change("setmarkat", name, want, func(n *inode) error { return d.m.changeMark(n, mark) })
}
