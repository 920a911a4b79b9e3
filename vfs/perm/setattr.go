package perm

import "sheaf/vfs"

// NoID is the uid or gid that means "leave it", as for chown(2) and knfsd.
const NoID = ^uint32(0)

// Outcome are the attributes of an object that the rules decide: what to store.
type Outcome struct {
	Mode   uint32
	UID    uint32
	GID    uint32
	Access vfs.ACL // may share memory with the ACL given if nothing changed
}

// SetAttr is whether w may make the change set to an object with attributes a
// and access ACL acl, and what mode, owner and ACL it has afterwards; size and
// times are the caller's. Errors, in the order they are looked for:
//
//	Inval      a time to set with a billion nanoseconds or more (utimensat(2))
//	NotSupp    mode of a symbolic link (chmod(2): EOPNOTSUPP)
//	IsDir      size of a directory (truncate(2))
//	Inval      size of anything else but a regular file (truncate(2))
//	Acces      size without write permission; both times to now by another
//	           than the owner without write permission (utimensat(2))
//	Perm       owner, group, mode or times without the right (chown(2),
//	           chmod(2), utimensat(2))
//
// An explicit time, or one time to now and the other left alone, is the
// owner's to set. With a size, times to now need no more than the size does,
// because that is how a client says O_TRUNC.
func SetAttr(w *vfs.Who, a *vfs.Attr, acl vfs.ACL, set *vfs.SetAttr) (Outcome, error) {
	out := Outcome{Mode: a.Mode, UID: a.UID, GID: a.GID, Access: acl}
	if err := maySet(w, a, acl, set); err != nil {
		return out, err
	}
	chown := false
	if set.Has(vfs.SetUID) && set.UID != NoID {
		out.UID, chown = set.UID, true
	}
	if set.Has(vfs.SetGID) && set.GID != NoID {
		out.GID, chown = set.GID, true
	}
	switch {
	case set.Has(vfs.SetMode):
		out.Mode = chmod(w, a, out.GID, set.Mode, chown)
		out.Access = Chmod(acl, out.Mode)
	case chown:
		out.Mode = Chowned(w, a)
	}
	if set.Has(vfs.SetSize) && !set.Has(vfs.SetMode) {
		out.Mode &= Written(w, a)
	}
	return out, nil
}

func maySet(w *vfs.Who, a *vfs.Attr, acl vfs.ACL, set *vfs.SetAttr) error {
	if err := ValidTimes(set); err != nil {
		return err
	}
	if set.Has(vfs.SetMode) && a.Type == vfs.Symlink {
		return vfs.NotSupp
	}
	if set.Has(vfs.SetSize) {
		switch a.Type {
		case vfs.Regular:
		case vfs.Directory:
			return vfs.IsDir
		default:
			return vfs.Inval
		}
		if err := WriteFile(w, a, acl); err != nil {
			return err
		}
	}
	if w.IsRoot() {
		return nil
	}
	owner := w.UID == a.UID
	if !owner && touches(set) && !Allowed(w, a, acl, Write) {
		return vfs.Acces
	}
	switch {
	case set.Has(vfs.SetUID) && set.UID != NoID && (!owner || set.UID != a.UID),
		set.Has(vfs.SetGID) && set.GID != NoID && (!owner || set.GID != a.GID && !w.In(set.GID)),
		set.Has(vfs.SetMode) && !owner,
		set.Has(vfs.SetAtime|vfs.SetMtime) && !owner,
		set.Has(vfs.SetAtimeNow|vfs.SetMtimeNow) && !owner && !touches(set) && !set.Has(vfs.SetSize):
		return vfs.Perm
	}
	return nil
}

// ValidTimes is whether the times in set are times: nil or Inval.
func ValidTimes(set *vfs.SetAttr) error {
	const second = 1_000_000_000
	if set.Has(vfs.SetAtime) && set.Atime.Nsec >= second || set.Has(vfs.SetMtime) && set.Mtime.Nsec >= second {
		return vfs.Inval
	}
	return nil
}

// touches reports whether set is utimes(path, NULL), which whoever may write may do.
func touches(set *vfs.SetAttr) bool {
	return set.Mask&(vfs.SetAtime|vfs.SetMtime|vfs.SetAtimeNow|vfs.SetMtimeNow) == vfs.SetAtimeNow|vfs.SetMtimeNow
}

// chmod is the mode that asking for mode gives: set-id bits go if the owner is
// changed in the same call (nfsd_sanitize_attrs), S_ISGID if w is no member of
// the group that the object will have (chmod(2)).
func chmod(w *vfs.Who, a *vfs.Attr, gid, mode uint32, chown bool) uint32 {
	mode &= vfs.ModeMask
	if chown && a.Type != vfs.Directory {
		mode &^= vfs.ModeSetUID
		if mode&0o010 != 0 {
			mode &^= vfs.ModeSetGID
		}
	}
	if !inGroup(w, gid) {
		mode &^= vfs.ModeSetGID
	}
	return mode
}

// Chowned is the mode of a after chown(2) by w, root too: S_ISUID is cleared,
// and S_ISGID if the group may execute or w is not one of them. Directories
// keep both.
func Chowned(w *vfs.Who, a *vfs.Attr) uint32 {
	if a.Type == vfs.Directory {
		return a.Mode
	}
	return dropSetGID(w, a) &^ vfs.ModeSetUID
}

// Written is the mode of a after a write(2) or truncate(2) by w: of a regular
// file and for others than root as for [Chowned].
func Written(w *vfs.Who, a *vfs.Attr) uint32 {
	if a.Type != vfs.Regular || w.IsRoot() {
		return a.Mode
	}
	return dropSetGID(w, a) &^ vfs.ModeSetUID
}

// dropSetGID is setattr_should_drop_sgid: without group execution S_ISGID once
// meant mandatory locking and stays for members of the group.
func dropSetGID(w *vfs.Who, a *vfs.Attr) uint32 {
	if a.Mode&0o010 != 0 || !inGroup(w, a.GID) {
		return a.Mode &^ vfs.ModeSetGID
	}
	return a.Mode
}

// inGroup is in_group_or_capable.
func inGroup(w *vfs.Who, gid uint32) bool { return w.IsRoot() || w.In(gid) }
