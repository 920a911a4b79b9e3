package billyfs

import (
	"os"
	"time"

	"sheaf/vfs"
)

// Chmod sets the mode of the object at p, through symbolic links.
func (f *FS) Chmod(p string, mode os.FileMode) error {
	return f.change("chmod", p, true, &vfs.SetAttr{Mask: vfs.SetMode, Mode: modeOf(mode)})
}

// Lchown sets the owner of the object at p itself; -1 leaves one as it is.
func (f *FS) Lchown(p string, uid, gid int) error {
	return f.change("lchown", p, false, owners(uid, gid))
}

// Chown sets the owner of the object at p, through symbolic links; -1 leaves one as it is.
func (f *FS) Chown(p string, uid, gid int) error {
	return f.change("chown", p, true, owners(uid, gid))
}

// Chtimes sets the times of the object at p, through symbolic links.
func (f *FS) Chtimes(p string, atime, mtime time.Time) error {
	return f.change("chtimes", p, true, &vfs.SetAttr{
		Mask: vfs.SetAtime | vfs.SetMtime, Atime: vfs.TimeOf(atime), Mtime: vfs.TimeOf(mtime),
	})
}

func owners(uid, gid int) *vfs.SetAttr {
	var set vfs.SetAttr
	if uid >= 0 {
		set.Mask, set.UID = set.Mask|vfs.SetUID, uint32(uid)
	}
	if gid >= 0 {
		set.Mask, set.GID = set.Mask|vfs.SetGID, uint32(gid)
	}
	return &set
}

func (f *FS) change(op, p string, follow bool, set *vfs.SetAttr) error {
	s, err := f.walk(p, walking{follow: follow})
	if err == nil {
		_, err = f.fs.SetAttr(f.ctx, f.who, s.attr.Node, set, nil)
	}
	return fail(op, p, err)
}
