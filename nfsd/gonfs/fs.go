package gonfs

import (
	"io/fs"
	"os"

	"github.com/go-git/go-billy/v5"
	nfs "github.com/willscott/go-nfs"
	"github.com/willscott/go-nfs/file"

	"sheaf/vfs"
	"sheaf/vfs/billyfs"
)

// fsys is the share as the library wants it. mounted is the directory that a MOUNT
// asked for; all other calls come with the path from the root.
type fsys struct {
	*billyfs.FS
	mounted vfs.Node
}

var (
	_ billy.Filesystem = (*fsys)(nil)
	_ nfs.UnixChange   = (*fsys)(nil)
)

// info tells the library what it cannot learn from an fs.FileInfo.
type info struct{ fs.FileInfo }

// Sys is a *file.FileInfo.
func (i info) Sys() any {
	a, ok := i.FileInfo.Sys().(*vfs.Attr)
	if !ok {
		return nil
	}
	return &file.FileInfo{
		Nlink: a.Nlink, UID: a.UID, GID: a.GID,
		Major: a.Major, Minor: a.Minor, Fileid: a.Node.ID.FileID(),
	}
}

func (f *fsys) Stat(path string) (os.FileInfo, error)  { return wrap(f.FS.Stat(path)) }
func (f *fsys) Lstat(path string) (os.FileInfo, error) { return wrap(f.FS.Lstat(path)) }

func wrap(i os.FileInfo, err error) (os.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	return info{i}, nil
}

func (f *fsys) ReadDir(path string) ([]os.FileInfo, error) {
	all, err := f.FS.ReadDir(path)
	for i := range all {
		all[i] = info{all[i]}
	}
	return all, err
}

// socketMode is the mode of a new socket, which the library sets afterwards.
const socketMode = 0o600

// Mknod makes a block device: the library asks for no other (F16).
func (f *fsys) Mknod(path string, mode, major, minor uint32) error {
	return f.FS.Mknod(path, fs.FileMode(mode).Perm()|fs.ModeDevice, major, minor)
}

// Mkfifo makes a fifo.
func (f *fsys) Mkfifo(path string, mode uint32) error {
	return f.FS.Mknod(path, fs.FileMode(mode).Perm()|fs.ModeNamedPipe, 0, 0)
}

// Socket makes a socket.
func (f *fsys) Socket(path string) error {
	return f.FS.Mknod(path, socketMode|fs.ModeSocket, 0, 0)
}
