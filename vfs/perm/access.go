package perm

import "sheaf/vfs"

// Permission bits, as one class of a mode or an ACL entry holds them.
const (
	Read  uint16 = 4
	Write uint16 = 2
	Exec  uint16 = 1 // of a directory: search
)

// Allowed reports whether w has all of the permissions want on an object with
// attributes a and access ACL acl (empty: the mode says everything). It is
// generic_permission of fs/namei.c.
func Allowed(w *vfs.Who, a *vfs.Attr, acl vfs.ACL, want uint16) bool {
	if granted(w, a, acl, want) {
		return true
	}
	if !w.IsRoot() {
		return false
	}
	// CAP_DAC_OVERRIDE: everything, but executing needs an x bit somewhere.
	return a.Type == vfs.Directory || want&Exec == 0 || a.Mode&0o111 != 0
}

// granted is acl_permission_check: owner, then ACL, then group or others.
func granted(w *vfs.Who, a *vfs.Attr, acl vfs.ACL, want uint16) bool {
	mode := uint16(a.Mode)
	if w.UID == a.UID {
		return want&^(mode>>6) == 0
	}
	// The kernel looks at the ACL only if the group bits, which are the mask, are
	// not empty: with an empty mask a named user is not denied as acl(5) has it
	// but falls through to group or others.
	if len(acl) > 0 && a.Mode&0o070 != 0 {
		return grantedByACL(w, a, acl, want)
	}
	if w.In(a.GID) {
		mode >>= 3
	}
	return want&^mode == 0
}

// grantedByACL is the access check algorithm of acl(5) for who is not the owner.
func grantedByACL(w *vfs.Who, a *vfs.Attr, acl vfs.ACL, want uint16) bool {
	mask := uint16(7)
	for _, e := range acl {
		if e.Tag == vfs.ACLMask {
			mask = e.Perm
		}
	}
	inGroup := false
	for _, e := range acl {
		switch e.Tag {
		case vfs.ACLUser:
			if e.ID == w.UID {
				return want&^(e.Perm&mask) == 0
			}
		case vfs.ACLGroupObj, vfs.ACLGroup:
			gid := e.ID
			if e.Tag == vfs.ACLGroupObj {
				gid = a.GID
			}
			if w.In(gid) {
				inGroup = true
				if want&^e.Perm == 0 {
					return want&^mask == 0
				}
			}
		case vfs.ACLOther:
			return !inGroup && want&^e.Perm == 0
		case vfs.ACLUserObj, vfs.ACLMask:
		}
	}
	return false // no entry for others: not a valid ACL
}

func check(ok bool, otherwise vfs.Status) error {
	if ok {
		return nil
	}
	return otherwise
}

// Search is whether w may look names up in dir: nil or Acces.
func Search(w *vfs.Who, dir *vfs.Attr, acl vfs.ACL) error {
	return check(Allowed(w, dir, acl, Exec), vfs.Acces)
}

// List is whether w may list dir: nil or Acces. Attributes of the entries
// need [Search] besides.
func List(w *vfs.Who, dir *vfs.Attr, acl vfs.ACL) error {
	return check(Allowed(w, dir, acl, Read), vfs.Acces)
}

// Add is whether w may add a name to dir: nil or Acces.
func Add(w *vfs.Who, dir *vfs.Attr, acl vfs.ACL) error {
	return check(Allowed(w, dir, acl, Write|Exec), vfs.Acces)
}

// Delete is whether w may remove or replace a name of victim in dir: nil; Acces
// without write and search permission of dir; Perm if dir is sticky and w owns
// neither (unlink(2), rename(2)).
func Delete(w *vfs.Who, dir *vfs.Attr, acl vfs.ACL, victim *vfs.Attr) error {
	if err := Add(w, dir, acl); err != nil {
		return err
	}
	if dir.Mode&vfs.ModeSticky != 0 && w.UID != victim.UID && w.UID != dir.UID && !w.IsRoot() {
		return vfs.Perm
	}
	return nil
}

// Reparent is whether w may give the directory dir another parent, which
// changes its "..": nil or Acces (rename(2)).
func Reparent(w *vfs.Who, dir *vfs.Attr, acl vfs.ACL) error {
	return check(Allowed(w, dir, acl, Write), vfs.Acces)
}

// ReadFile is whether w may READ the file a: nil or Acces. Owners may, and who
// may execute it.
func ReadFile(w *vfs.Who, a *vfs.Attr, acl vfs.ACL) error {
	return check(w.UID == a.UID || Allowed(w, a, acl, Read) || Allowed(w, a, acl, Exec), vfs.Acces)
}

// WriteFile is whether w may WRITE, COMMIT or resize the file a: nil or Acces.
// Owners may.
func WriteFile(w *vfs.Who, a *vfs.Attr, acl vfs.ACL) error {
	return check(w.UID == a.UID || Allowed(w, a, acl, Write), vfs.Acces)
}

// Access is the subset of want that w has on a (RFC 1813 section 3.3.4), by
// the tables of fs/nfsd/vfs.c: LOOKUP and DELETE exist for directories only,
// EXECUTE for everything else only.
func Access(w *vfs.Who, a *vfs.Attr, acl vfs.ACL, want vfs.AccessMask) vfs.AccessMask {
	var have vfs.AccessMask
	grant := func(rights vfs.AccessMask, bits uint16) {
		if want&rights != 0 && Allowed(w, a, acl, bits) {
			have |= want & rights
		}
	}
	grant(vfs.AccessRead, Read)
	if a.Type == vfs.Directory {
		grant(vfs.AccessLookup, Exec)
		grant(vfs.AccessModify|vfs.AccessExtend|vfs.AccessDelete, Write|Exec)
	} else {
		grant(vfs.AccessModify|vfs.AccessExtend, Write)
		grant(vfs.AccessExecute, Exec)
	}
	return have
}
