//go:build linux || darwin || freebsd

package local

import (
	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// ref is an object that calls act on: an open descriptor, or where the host
// cannot pin an object without opening it (no O_PATH) a name in a directory.
type ref struct {
	fd    int  // -1: by name
	bare  bool // fd is O_PATH: no sync, no listing, xattrs by its magic link only
	owned bool // close closes fd
	dirfd int  // with fd -1
	name  string
	st    volume.Stat // when it was pinned, or last asked
}

func (r *ref) close() {
	if r.owned && r.fd >= 0 {
		closeFd(r.fd)
		r.fd = -1
	}
}

// closeFd closes a descriptor that was not written through, or was synced: its
// error could say nothing more. An interrupted close must not be repeated.
func closeFd(fd int) { _ = unix.Close(fd) }

// restat asks r.st anew.
func (v *Volume) restat(r *ref) error {
	if r.fd >= 0 {
		return v.statFd(r.fd, &r.st)
	}
	return v.statAt(r.dirfd, r.name, &r.st)
}

// setAttr applies set but for the size: owner first, since that clears set-id
// bits, then mode, then times, since nothing after them may move them.
func (v *Volume) setAttr(r *ref, set *vfs.SetAttr) error {
	if set.Has(vfs.SetUID | vfs.SetGID) {
		uid, gid := -1, -1
		if set.Has(vfs.SetUID) {
			uid = int(set.UID)
		}
		if set.Has(vfs.SetGID) {
			gid = int(set.GID)
		}
		if err := r.chown(uid, gid); err != nil {
			return err
		}
	}
	if set.Has(vfs.SetMode) {
		if err := v.keepMark(r, set.Mode); err != nil {
			return err
		}
		if err := r.chmod(set.Mode & vfs.ModeMask); err != nil {
			return err
		}
	}
	if !set.Has(vfs.SetAtime | vfs.SetMtime | vfs.SetAtimeNow | vfs.SetMtimeNow) {
		return nil
	}
	ts := [2]unix.Timespec{
		timespec(set.Has(vfs.SetAtimeNow), set.Has(vfs.SetAtime), set.Atime),
		timespec(set.Has(vfs.SetMtimeNow), set.Has(vfs.SetMtime), set.Mtime),
	}
	return r.utimes(&ts)
}

// timespec is an argument of utimensat(2).
func timespec(now, to bool, t vfs.Time) unix.Timespec {
	switch {
	case to:
		ts, err := unix.TimeToTimespec(t.Time())
		if err == nil {
			return ts
		}
		return unix.Timespec{Nsec: -3} // the host's own EINVAL: beyond its clock
	case now:
		return unix.Timespec{Nsec: utimeNow}
	default:
		return unix.Timespec{Nsec: utimeOmit}
	}
}

// noID is what chown(2) takes for "leave it": nobody's uid or gid.
const noID = ^uint32(0)

// birth gives a new object behind r what n wants. r.st is as it was made, and as it has become afterwards.
func (v *Volume) birth(r *ref, n *volume.New, inherits bool) error {
	if err := v.endow(r, n, inherits); err != nil {
		return err
	}
	return v.restat(r)
}

// endow is birth without a look at the result: owner, mark, ACLs, mode, times, each only after what would undo it.
func (v *Volume) endow(r *ref, n *volume.New, inherits bool) error {
	if n.UID == noID || n.GID == noID { // chown(2) would leave the object ours, set-id bits and all
		return unix.EINVAL
	}
	if n.UID != r.st.UID || n.GID != r.st.GID {
		if err := r.chown(int(n.UID), int(n.GID)); err != nil {
			return err
		}
	}
	if n.Mark != nil {
		set := v.setMark
		if v.hides(r, n.Mode) {
			set = v.setSidecar
		}
		if err := set(r, n.Mark); err != nil {
			return err
		}
	}
	listed, err := v.birthACLs(r, n.ACLs, inherits)
	if err != nil {
		return err
	}
	if listed { // a list moves the mode
		if err := v.restat(r); err != nil {
			return err
		}
	}
	// chown(2) takes set-id bits away, so what was there before it says nothing of them.
	if mode := n.Mode & vfs.ModeMask; r.st.Type != vfs.Symlink && (mode != r.st.Mode || r.st.Mode&(vfs.ModeSetUID|vfs.ModeSetGID) != 0) {
		if err := r.chmod(mode); err != nil {
			return err
		}
	}
	if n.Times {
		set := vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: n.Atime, Mtime: n.Mtime}
		return v.setAttr(r, &set)
	}
	return nil
}

// linked makes what is said of an object that was just made true of that moment: another process may have taken its name
// away by the time that it is looked at, and a living object has a link.
func (r *ref) linked() { r.st.Nlink = max(r.st.Nlink, 1) }

// birthACLs sets the lists a new object is to have, or takes away what it
// inherited: only a directory's default list can have been. It reports whether
// it had to do either.
func (v *Volume) birthACLs(r *ref, a *vfs.ACLs, inherits bool) (bool, error) {
	switch {
	case r.st.Type == vfs.Symlink: // has none, and inherits none
		return false, nil
	case a != nil && (inherits || len(a.Access)+len(a.Default) > 0):
		return true, v.setACLs(r, *a)
	case inherits:
		return true, v.setACLs(r, vfs.ACLs{})
	default:
		return false, nil
	}
}

// fresh reports whether the object behind r, found by the name of one that was
// made at or after since (Volume.tick), can be that one: a name made without a
// descriptor (mkdir, symlink, mknod) may be exchanged by a process of the host
// before it is pinned, and the new owner must not be given what others had. What is
// left to such a process is to exchange two that the server itself is making
// within one tick of the clock.
func (r *ref) fresh(t vfs.Type, uid uint32, since int64) bool {
	st := &r.st
	links := uint32(1)
	if t == vfs.Directory {
		links = 2
	}
	if st.Type != t || st.UID != uid || st.Nlink > links {
		return false
	}
	if t != vfs.Symlink && st.Mode&0o077 != 0 {
		return false
	}
	return st.Key.Birth == 0 || st.Key.Birth >= since
}

// typeOfMode is the type in the mode of stat(2).
func typeOfMode(mode uint32) vfs.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return vfs.Regular
	case unix.S_IFDIR:
		return vfs.Directory
	case unix.S_IFBLK:
		return vfs.Block
	case unix.S_IFCHR:
		return vfs.Char
	case unix.S_IFLNK:
		return vfs.Symlink
	case unix.S_IFSOCK:
		return vfs.Socket
	case unix.S_IFIFO:
		return vfs.FIFO
	default:
		return 0
	}
}

// typeOfDirent is the type in an entry of getdents(2); 0: the file system does not tell.
func typeOfDirent(t uint8) vfs.Type {
	switch t {
	case unix.DT_REG:
		return vfs.Regular
	case unix.DT_DIR:
		return vfs.Directory
	case unix.DT_BLK:
		return vfs.Block
	case unix.DT_CHR:
		return vfs.Char
	case unix.DT_LNK:
		return vfs.Symlink
	case unix.DT_SOCK:
		return vfs.Socket
	case unix.DT_FIFO:
		return vfs.FIFO
	default:
		return 0
	}
}

// modeOfType is the S_IFMT bits for mknod(2).
func modeOfType(t vfs.Type) (uint32, bool) {
	switch t {
	case vfs.Block:
		return unix.S_IFBLK, true
	case vfs.Char:
		return unix.S_IFCHR, true
	case vfs.FIFO:
		return unix.S_IFIFO, true
	case vfs.Socket:
		return unix.S_IFSOCK, true
	case vfs.Regular, vfs.Directory, vfs.Symlink:
		return 0, false
	default:
		return 0, false
	}
}
