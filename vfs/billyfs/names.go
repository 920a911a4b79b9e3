package billyfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"sheaf/vfs"
)

// Stat is the object at p, through symbolic links.
func (f *FS) Stat(p string) (os.FileInfo, error) { return f.stat("stat", p, true) }

// Lstat is the object at p itself.
func (f *FS) Lstat(p string) (os.FileInfo, error) { return f.stat("lstat", p, false) }

func (f *FS) stat(op, p string, follow bool) (os.FileInfo, error) {
	s, err := f.walk(p, walking{follow: follow})
	if err != nil {
		return nil, fail(op, p, err)
	}
	return &info{path.Base(path.Clean("/" + p)), s.attr}, nil
}

// ReadDir lists the directory at p, sorted by name. Symbolic links in it are
// not followed.
func (f *FS) ReadDir(p string) ([]os.FileInfo, error) {
	s, err := f.walk(p, walking{follow: true})
	if err != nil {
		return nil, fail("readdir", p, err)
	}
	all, err := f.list(s.attr.Node)
	if err != nil {
		return nil, fail("readdir", p, err)
	}
	slices.SortFunc(all, func(a, b os.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// list is the entries of dir. What goes away during the listing is left out.
func (f *FS) list(dir vfs.Node) ([]os.FileInfo, error) {
	all := []os.FileInfo{}
	var bare []vfs.Name // without attributes
	after := vfs.Cookie(0)
	for eof := false; !eof; {
		var err error
		before := after
		_, eof, err = f.fs.ReadDir(f.ctx, f.who, dir, after, true, func(e *vfs.DirEntry) bool {
			after = e.Cookie
			if e.HasAttr {
				all = append(all, &info{e.Name.String(), e.Attr})
			} else {
				bare = append(bare, e.Name)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		if !eof && after == before {
			return nil, &vfs.Error{Status: vfs.ServerFault, Op: "readdir", Err: errors.New("a listing stands still")}
		}
	}
	for _, name := range bare {
		a, _, err := f.fs.Lookup(f.ctx, f.who, dir, name)
		if errors.Is(err, vfs.NoEnt) || errors.Is(err, vfs.Stale) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, &info{name.String(), a})
	}
	return all, nil
}

// MkdirAll makes the directory at p and those on the way to it that are missing.
func (f *FS) MkdirAll(p string, perm os.FileMode) error {
	s, err := f.walk(p, walking{follow: true, parents: true})
	switch {
	case err == nil && s.attr.Type != vfs.Directory:
		err = vfs.NotDir
	case errors.Is(err, vfs.NoEnt) && !s.name.IsZero():
		how := vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: modeOf(perm)}}
		if _, _, err = f.fs.Make(f.ctx, f.who, s.dir, s.name, &how); errors.Is(err, vfs.Exist) {
			err = nil // another made it just now
		}
	}
	return fail("mkdir", p, err)
}

// Remove removes the object at p, which must be empty if it is a directory.
func (f *FS) Remove(p string) error {
	s, err := f.named(p)
	if err == nil {
		if s.attr.Type == vfs.Directory {
			_, err = f.fs.RemoveDir(f.ctx, f.who, s.dir, s.name)
		} else {
			_, err = f.fs.Remove(f.ctx, f.who, s.dir, s.name)
		}
	}
	return fail("remove", p, err)
}

// named is the object at p itself, which must have a name: the root has none.
func (f *FS) named(p string) (spot, error) {
	s, err := f.walk(p, walking{})
	if err == nil && s.isRoot {
		err = vfs.Inval
	}
	return s, err
}

// Rename moves what is at from to to, replacing what is there.
func (f *FS) Rename(from, to string) error {
	src, err := f.named(from)
	if err != nil {
		return failLink("rename", from, to, err)
	}
	dst, err := f.walk(to, walking{parents: !f.opt.NoParents})
	if err != nil && (!errors.Is(err, vfs.NoEnt) || dst.name.IsZero()) {
		return failLink("rename", from, to, err)
	}
	if dst.isRoot {
		return failLink("rename", from, to, vfs.Inval)
	}
	_, _, err = f.fs.Rename(f.ctx, f.who, src.dir, src.name, dst.dir, dst.name)
	return failLink("rename", from, to, err)
}

// vacant is where an object at p is to be made: nothing is there yet.
func (f *FS) vacant(p string) (spot, error) {
	s, err := f.walk(p, walking{parents: !f.opt.NoParents})
	switch {
	case err == nil:
		return s, vfs.Exist
	case errors.Is(err, vfs.NoEnt) && !s.name.IsZero():
		return s, nil
	}
	return s, err
}

// Symlink makes a symbolic link at link.
func (f *FS) Symlink(target, link string) error {
	s, err := f.vacant(link)
	if err == nil {
		how := vfs.How{Type: vfs.Symlink, Target: target, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: vfs.ModePerm}}
		_, _, err = f.fs.Make(f.ctx, f.who, s.dir, s.name, &how)
	}
	return failLink("symlink", target, link, err)
}

// Readlink is the target of the symbolic link at p.
func (f *FS) Readlink(p string) (string, error) {
	s, err := f.walk(p, walking{})
	if err != nil {
		return "", fail("readlink", p, err)
	}
	target, _, err := f.fs.ReadLink(f.ctx, f.who, s.attr.Node)
	return target, fail("readlink", p, err)
}

// Link gives what is at p, itself, one more name.
func (f *FS) Link(p, link string) error {
	src, err := f.named(p)
	if err != nil {
		return failLink("link", p, link, err)
	}
	s, err := f.vacant(link)
	if err == nil {
		_, _, err = f.fs.Link(f.ctx, f.who, src.attr.Node, s.dir, s.name)
	}
	return failLink("link", p, link, err)
}

// Mknod makes a device, fifo or socket at p: mode says which.
func (f *FS) Mknod(p string, mode fs.FileMode, major, minor uint32) error {
	how := vfs.How{Major: major, Minor: minor, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: modeOf(mode)}}
	for t, bits := range typeBits {
		if mode.Type() == bits && t != vfs.Directory && t != vfs.Symlink {
			how.Type = t
		}
	}
	s, err := f.vacant(p)
	switch {
	case err != nil:
	case how.Type == 0:
		err = vfs.BadType
	default:
		_, _, err = f.fs.Make(f.ctx, f.who, s.dir, s.name, &how)
	}
	return fail("mknod", p, err)
}
