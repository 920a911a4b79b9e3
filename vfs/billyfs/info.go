package billyfs

import (
	"io/fs"
	"time"

	"sheaf/vfs"
)

// info is attributes as an fs.FileInfo. Sys is the *vfs.Attr.
type info struct {
	name string
	attr vfs.Attr
}

var _ fs.FileInfo = (*info)(nil)

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return int64(i.attr.Size) }
func (i *info) Mode() fs.FileMode  { return fileMode(i.attr.Type, i.attr.Mode) }
func (i *info) ModTime() time.Time { return i.attr.Mtime.Time() }
func (i *info) IsDir() bool        { return i.attr.Type == vfs.Directory }
func (i *info) Sys() any           { return &i.attr }

// typeBits are the types as package fs has them.
var typeBits = map[vfs.Type]fs.FileMode{ //nolint:exhaustive // a regular file has none
	vfs.Directory: fs.ModeDir,
	vfs.Block:     fs.ModeDevice,
	vfs.Char:      fs.ModeDevice | fs.ModeCharDevice,
	vfs.Symlink:   fs.ModeSymlink,
	vfs.Socket:    fs.ModeSocket,
	vfs.FIFO:      fs.ModeNamedPipe,
}

// modeBits are the bits beside the permissions, which both have in the same place.
var modeBits = []struct {
	ours   uint32
	theirs fs.FileMode
}{
	{vfs.ModeSetUID, fs.ModeSetuid},
	{vfs.ModeSetGID, fs.ModeSetgid},
	{vfs.ModeSticky, fs.ModeSticky},
}

// fileMode is type and mode as package fs has them.
func fileMode(t vfs.Type, mode uint32) fs.FileMode {
	m := fs.FileMode(mode&vfs.ModePerm) | typeBits[t]
	for _, b := range modeBits {
		if mode&b.ours != 0 {
			m |= b.theirs
		}
	}
	return m
}

// modeOf is the mode in m, without its type.
func modeOf(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, b := range modeBits {
		if m&b.theirs != 0 {
			mode |= b.ours
		}
	}
	return mode
}
