package billyfs

import (
	"crypto/rand"
	"errors"
	"os"
	"path"

	"github.com/go-git/go-billy/v5"

	"sheaf/vfs"
)

// Create makes the file at p with mode 0666, or empties the one that is there, and
// opens it for reading and writing.
func (f *FS) Create(p string) (billy.File, error) {
	return f.OpenFile(p, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// Open opens the file at p for reading.
func (f *FS) Open(p string) (billy.File, error) { return f.OpenFile(p, os.O_RDONLY, 0) }

// openTries bounds how often OpenFile begins again because a file that was found
// went away, or one that was missing appeared.
const openTries = 16

// OpenFile opens the file at p as open(2) does. Only regular files can be opened.
func (f *FS) OpenFile(p string, flag int, perm os.FileMode) (billy.File, error) {
	for try := 1; ; try++ {
		file, err := f.open(p, flag, perm)
		if err == nil {
			return file, nil
		}
		raced := errors.Is(err, vfs.Stale) || errors.Is(err, vfs.Exist) && flag&os.O_EXCL == 0
		if !raced || try == openTries {
			return nil, fail("open", p, err)
		}
	}
}

func (f *FS) open(p string, flag int, perm os.FileMode) (*file, error) {
	create := flag&os.O_CREATE != 0
	exclusive := create && flag&os.O_EXCL != 0
	s, err := f.walk(p, walking{follow: !exclusive, parents: create && !f.opt.NoParents})
	switch {
	case err == nil && exclusive:
		return nil, vfs.Exist
	case errors.Is(err, vfs.NoEnt) && create && !s.name.IsZero():
		how := vfs.How{Type: vfs.Regular, Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: modeOf(perm)}}
		// Whoever makes a file may use it, whatever its mode is (open(2)).
		if s.attr, _, err = f.fs.Make(f.ctx, f.who, s.dir, s.name, &how); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		if err := f.mayOpen(&s.attr, flag); err != nil {
			return nil, err
		}
	}
	name, err := clean(p)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, name: name, node: s.attr.Node, flag: flag}, nil
}

// mayOpen checks what open(2) checks of a file that is there, and empties it if asked to.
func (f *FS) mayOpen(a *vfs.Attr, flag int) error {
	switch a.Type {
	case vfs.Regular:
	case vfs.Directory:
		return vfs.IsDir
	default:
		return vfs.Inval
	}
	var want vfs.AccessMask
	if readable(flag) {
		want |= vfs.AccessRead
	}
	if writable(flag) || flag&os.O_TRUNC != 0 {
		want |= vfs.AccessModify | vfs.AccessExtend
	}
	got, _, err := f.fs.Access(f.ctx, f.who, a.Node, want)
	if err != nil {
		return err
	}
	if got != want {
		return vfs.Acces
	}
	if flag&os.O_TRUNC != 0 {
		_, err = f.fs.SetAttr(f.ctx, f.who, a.Node, &vfs.SetAttr{Mask: vfs.SetSize}, nil)
	}
	return err
}

func accessMode(flag int) int { return flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) }
func readable(flag int) bool  { return accessMode(flag) != os.O_WRONLY }
func writable(flag int) bool  { return accessMode(flag) != os.O_RDONLY }

// tempTries bounds how many names TempFile tries: with 130 random bits the second is
// needed never.
const tempTries = 8

// TempFile makes a file in dir whose name begins with prefix, with mode 0600, and
// opens it for reading and writing. An empty dir is the root.
func (f *FS) TempFile(dir, prefix string) (billy.File, error) {
	for try := 1; ; try++ {
		file, err := f.OpenFile(path.Join(dir, prefix+rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil || !os.IsExist(err) || try == tempTries {
			return file, err
		}
	}
}
