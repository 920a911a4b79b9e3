package perm

import (
	"encoding/binary"

	"sheaf/vfs"
)

// Born are the attributes of a new object that the rules decide.
type Born struct {
	Mode uint32
	UID  uint32
	GID  uint32
	ACLs vfs.ACLs // what it inherits; the caller's to keep
}

// Birth is what a new object made by w in dir is born with; def is dir's
// default ACL. Permission to add a name to dir is [Add]'s. Error: Perm for a
// device not made by root (mknod(2)).
//
//   - Owner is w; group is w's, or dir's if dir has S_ISGID (inode(7)), which a
//     new directory inherits.
//   - Only root can make an object for another: uid and gid in how.Set are
//     ignored from others, as knfsd does (IRIX clients send the gid always);
//     from root they are a chown(2) after the creation, which clears set-id bits.
//   - A symbolic link has mode 0777 and no ACL.
//   - mkdir(2) takes permission and sticky bits only.
//   - S_ISGID of a file that the group may execute is dropped in a S_ISGID
//     directory of a group that w is not in.
//   - With a default ACL the mode is masked by it, and what is not equal to a
//     mode becomes the access ACL; a directory inherits the default ACL too
//     (acl(5), "Object creation and default ACLs").
func Birth(w *vfs.Who, dir *vfs.Attr, def vfs.ACL, how *vfs.How) (Born, error) {
	if (how.Type == vfs.Block || how.Type == vfs.Char) && !w.IsRoot() {
		return Born{}, vfs.Perm
	}
	b := Born{UID: w.UID, GID: w.GID}
	if how.Set.Has(vfs.SetMode) {
		b.Mode = how.Set.Mode & vfs.ModeMask
	}
	setgid := dir.Mode&vfs.ModeSetGID != 0
	if setgid {
		b.GID = dir.GID
	}
	switch {
	case how.Type == vfs.Symlink:
		b.Mode = vfs.ModePerm
	case how.Type == vfs.Directory:
		b.Mode &= vfs.ModePerm | vfs.ModeSticky
		if setgid {
			b.Mode |= vfs.ModeSetGID
		}
	case setgid && b.Mode&0o010 != 0 && !inGroup(w, dir.GID):
		b.Mode &^= vfs.ModeSetGID
	}
	if how.Type != vfs.Symlink && len(def) > 0 {
		b.ACLs.Access, b.Mode = inherit(def, b.Mode)
		if how.Type == vfs.Directory {
			b.ACLs.Default = clone(def)
		}
	}
	giveAway(w, how, &b)
	return b, nil
}

// giveAway applies uid and gid of how.Set if w is root.
func giveAway(w *vfs.Who, how *vfs.How, b *Born) {
	uid, gid := how.Set.Has(vfs.SetUID) && how.Set.UID != NoID, how.Set.Has(vfs.SetGID) && how.Set.GID != NoID
	if !w.IsRoot() || !uid && !gid {
		return
	}
	b.Mode = Chowned(w, &vfs.Attr{Type: how.Type, Mode: b.Mode, UID: b.UID, GID: b.GID})
	if uid {
		b.UID = how.Set.UID
	}
	if gid {
		b.GID = how.Set.GID
	}
}

// ExclusiveTimes are the times under which a file keeps the verifier of its
// EXCLUSIVE creation, as knfsd does: mtime's seconds are the first four bytes and
// atime's the last four, big-endian, their highest bits cleared (Solaris 7
// cannot take them), no nanoseconds. A retransmission is one if both match and
// the file is empty still, see [SameExclusive].
func ExclusiveTimes(v [8]byte) (atime, mtime vfs.Time) {
	const positive = 1<<31 - 1
	mtime.Sec = int64(binary.BigEndian.Uint32(v[:4]) & positive)
	atime.Sec = int64(binary.BigEndian.Uint32(v[4:]) & positive)
	return atime, mtime
}

// SameExclusive reports whether a was made by an EXCLUSIVE creation with
// verifier v, and nothing has happened to it since that a client would do after
// it had the reply.
func SameExclusive(a *vfs.Attr, v [8]byte) bool {
	atime, mtime := ExclusiveTimes(v)
	return a.Type == vfs.Regular && a.Size == 0 && a.Atime.Sec == atime.Sec && a.Mtime.Sec == mtime.Sec
}
