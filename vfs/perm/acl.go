package perm

import (
	"cmp"
	"slices"

	"sheaf/vfs"
)

// MaxACLEntries is the longest ACL taken (the NFSACL protocol's limit; ext4
// holds some 500 in a block of 4 KiB, xfs with CRC 5,461).
const MaxACLEntries = 1024

// Normalize is acl sorted as acl(5) orders entries, or Inval if it is not a
// valid ACL: exactly one entry each for owner, group and others, no user or group named
// twice, a mask if any is named and never two, permissions of three bits, no
// more than [MaxACLEntries]. The empty ACL is valid. The ID of an entry that
// names nobody becomes 0. The result shares no memory with acl.
func Normalize(acl vfs.ACL) (vfs.ACL, error) {
	if len(acl) == 0 {
		return nil, nil
	}
	if len(acl) > MaxACLEntries {
		return nil, vfs.Inval
	}
	out := clone(acl)
	for i := range out {
		if out[i].Tag != vfs.ACLUser && out[i].Tag != vfs.ACLGroup {
			out[i].ID = 0
		}
	}
	slices.SortStableFunc(out, func(a, b vfs.ACLEntry) int {
		return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.ID, b.ID))
	})
	return out, valid(out)
}

// valid checks a sorted ACL.
func valid(acl vfs.ACL) error {
	var seen vfs.ACLTag
	for i, e := range acl {
		switch e.Tag {
		case vfs.ACLUser, vfs.ACLGroup:
			if e.ID == NoID || i > 0 && acl[i-1].Tag == e.Tag && acl[i-1].ID == e.ID {
				return vfs.Inval
			}
		case vfs.ACLUserObj, vfs.ACLGroupObj, vfs.ACLMask, vfs.ACLOther:
			if seen&e.Tag != 0 {
				return vfs.Inval
			}
		default:
			return vfs.Inval
		}
		if e.Perm > Read|Write|Exec {
			return vfs.Inval
		}
		seen |= e.Tag
	}
	const needed = vfs.ACLUserObj | vfs.ACLGroupObj | vfs.ACLOther
	if seen&needed != needed || seen&(vfs.ACLUser|vfs.ACLGroup) != 0 && seen&vfs.ACLMask == 0 {
		return vfs.Inval
	}
	return nil
}

// SetACL is whether w may give an object with attributes a the lists acls, and
// what to store: the mode that follows from the access list, and the lists sorted,
// without an access list that says no more than the mode. Removing the
// access list leaves the mode as it is. S_ISGID goes if w is not in the group.
// Errors: NotSupp for a symbolic link, Perm for another than the owner, Inval
// for an invalid list or a default list of what is no directory.
func SetACL(w *vfs.Who, a *vfs.Attr, acls vfs.ACLs) (mode uint32, stored vfs.ACLs, err error) {
	switch {
	case a.Type == vfs.Symlink:
		return a.Mode, stored, vfs.NotSupp
	case len(acls.Default) > 0 && a.Type != vfs.Directory:
		return a.Mode, stored, vfs.Inval
	}
	if stored.Access, err = Normalize(acls.Access); err != nil {
		return a.Mode, vfs.ACLs{}, err
	}
	if stored.Default, err = Normalize(acls.Default); err != nil {
		return a.Mode, vfs.ACLs{}, err
	}
	if w.UID != a.UID && !w.IsRoot() {
		return a.Mode, vfs.ACLs{}, vfs.Perm
	}
	if len(stored.Access) == 0 {
		return a.Mode, stored, nil
	}
	perm, same := modeOf(stored.Access)
	mode = a.Mode&^vfs.ModePerm | perm
	if same {
		stored.Access = nil
	}
	if !inGroup(w, a.GID) {
		mode &^= vfs.ModeSetGID
	}
	return mode, stored, nil
}

// modeOf are the permission bits of a valid ACL: the mask, if there is one,
// stands for the group (acl(5), "Correspondence between ACL entries and file
// permission bits"). same: the mode says all that the ACL says.
func modeOf(acl vfs.ACL) (perm uint32, same bool) {
	same = true
	for _, e := range acl {
		switch e.Tag {
		case vfs.ACLUserObj:
			perm |= uint32(e.Perm) << 6
		case vfs.ACLGroupObj:
			perm |= uint32(e.Perm) << 3
		case vfs.ACLOther:
			perm |= uint32(e.Perm)
		case vfs.ACLMask:
			perm = perm&^0o070 | uint32(e.Perm)<<3
			same = false
		case vfs.ACLUser, vfs.ACLGroup:
			same = false
		}
	}
	return perm, same
}

// Chmod is acl after the permission bits became those of mode: the entries of owner
// and others follow, and the mask or, without one, that of the group.
func Chmod(acl vfs.ACL, mode uint32) vfs.ACL {
	if len(acl) == 0 {
		return nil
	}
	out := clone(acl)
	group := groupClass(out)
	for i := range out {
		switch out[i].Tag {
		case vfs.ACLUserObj:
			out[i].Perm = uint16(mode >> 6 & 7)
		case group:
			out[i].Perm = uint16(mode >> 3 & 7)
		case vfs.ACLOther:
			out[i].Perm = uint16(mode & 7)
		default:
		}
	}
	return out
}

// inherit is the access ACL and mode of an object made with mode beneath a
// default ACL (posix_acl_create_masq): the entries that correspond to permission
// bits are masked by them, then the bits by the entries. The ACL is nil if the
// mode says as much.
func inherit(def vfs.ACL, mode uint32) (vfs.ACL, uint32) {
	out := clone(def)
	group := groupClass(out)
	for i := range out {
		switch out[i].Tag {
		case vfs.ACLUserObj:
			out[i].Perm &= uint16(mode >> 6 & 7)
		case group:
			out[i].Perm &= uint16(mode >> 3 & 7)
		case vfs.ACLOther:
			out[i].Perm &= uint16(mode & 7)
		default:
		}
	}
	perm, same := modeOf(out)
	mode = mode&^vfs.ModePerm | perm
	if same {
		out = nil
	}
	return out, mode
}

// groupClass is the tag of the entry that the group bits of the mode correspond to.
func groupClass(acl vfs.ACL) vfs.ACLTag {
	for _, e := range acl {
		if e.Tag == vfs.ACLMask {
			return vfs.ACLMask
		}
	}
	return vfs.ACLGroupObj
}

func clone(acl vfs.ACL) vfs.ACL { return slices.Clone(acl) }
