package billyfs

import (
	"errors"
	"strings"

	"github.com/go-git/go-billy/v5"

	"sheaf/vfs"
)

// maxLinks is how many symbolic links one path may lead through (MAXSYMLINKS of Linux).
const maxLinks = 40

// dirMode is the mode of parents that are made, as billy's osfs has it.
const dirMode = 0o755

var errLoop = &vfs.Error{Status: vfs.Inval, Op: "resolve", Err: errors.New("too many levels of symbolic links")}

// A spot is where a path leads: a name in a directory, or the root.
type spot struct {
	dir    vfs.Node // directory of the name; the root's own if root
	name   vfs.Name
	attr   vfs.Attr // of the object, if there
	there  bool
	isRoot bool
}

// walking says how a path is walked.
type walking struct {
	follow  bool // resolve a symbolic link at the end, too
	parents bool // make missing directories on the way
}

// A walk is one resolution of a path, at some point of it.
type walk struct {
	*FS
	how   walking
	stack []vfs.Node // the directories from the root to here
	parts []string   // what is still to walk
	links int
}

// walk finds where p leads. The error is NoEnt, with the spot where the object would
// be, if only that is missing.
func (f *FS) walk(p string, how walking) (spot, error) {
	c, err := clean(p)
	if err != nil {
		return spot{}, err
	}
	root, err := f.rootAttr(how.parents)
	if err != nil {
		return spot{}, err
	}
	w := walk{FS: f, how: how, stack: []vfs.Node{root.Node}, parts: split(c)}
	last := spot{dir: root.Node, attr: root, there: true, isRoot: true}
	for len(w.parts) > 0 {
		if last, err = w.step(root); err != nil {
			return last, err
		}
	}
	return last, nil
}

// rootAttr finds the root, walking through the outer roots first.
func (f *FS) rootAttr(mk bool) (vfs.Attr, error) {
	if f.outer == nil {
		return f.fs.GetAttr(f.ctx, f.who, f.root)
	}
	s, err := f.outer.walk(f.base, walking{follow: true, parents: mk})
	if mk && errors.Is(err, vfs.NoEnt) && !s.name.IsZero() {
		return f.makeDir(s.dir, s.name)
	}
	if err == nil && s.attr.Type != vfs.Directory {
		err = vfs.NotDir
	}
	return s.attr, err
}

// step walks the next part.
func (w *walk) step(root vfs.Attr) (spot, error) {
	part := w.parts[0]
	w.parts = w.parts[1:]
	here := w.stack[len(w.stack)-1]
	if part == ".." { // of a symbolic link's target: p itself is clean
		return w.up(root)
	}
	name, err := vfs.ParseName(part)
	if err != nil {
		return spot{}, err
	}
	at := spot{dir: here, name: name}
	at.attr, _, err = w.fs.Lookup(w.ctx, w.who, here, name)
	switch {
	case errors.Is(err, vfs.NoEnt) && len(w.parts) > 0 && w.how.parents:
		at.attr, err = w.makeDir(here, name)
	case errors.Is(err, vfs.NoEnt) && len(w.parts) > 0:
		return spot{}, err
	}
	if err != nil {
		return at, err
	}
	at.there = true
	if at.attr.Type == vfs.Symlink && (len(w.parts) > 0 || w.how.follow) {
		return w.link(at, root)
	}
	if len(w.parts) > 0 {
		w.stack = append(w.stack, at.attr.Node)
	}
	return at, nil
}

// up leaves a directory.
func (w *walk) up(root vfs.Attr) (spot, error) {
	if len(w.stack) == 1 {
		return spot{}, billy.ErrCrossedBoundary
	}
	w.stack = w.stack[:len(w.stack)-1]
	return w.here(root)
}

// here is the directory at the end of the stack as a spot. Its own name is not
// known any more; what only needs the object does not miss it.
func (w *walk) here(root vfs.Attr) (spot, error) {
	if len(w.stack) == 1 {
		return spot{dir: root.Node, attr: root, there: true, isRoot: true}, nil
	}
	a, err := w.fs.GetAttr(w.ctx, w.who, w.stack[len(w.stack)-1])
	return spot{dir: w.stack[len(w.stack)-2], attr: a, there: true}, err
}

// link puts a symbolic link's target before what is still to walk.
func (w *walk) link(at spot, root vfs.Attr) (spot, error) {
	if w.links++; w.links > maxLinks {
		return at, errLoop
	}
	target, _, err := w.fs.ReadLink(w.ctx, w.who, at.attr.Node)
	if err != nil {
		return at, err
	}
	if target == "" {
		return spot{}, vfs.NoEnt // as path_resolution(7) has it
	}
	if target[0] == '/' {
		w.stack = w.stack[:1]
	}
	w.parts = append(split(target), w.parts...)
	if len(w.parts) == 0 {
		return w.here(root)
	}
	return spot{}, nil
}

// makeDir makes a directory, or finds the one that another just made.
func (f *FS) makeDir(dir vfs.Node, name vfs.Name) (vfs.Attr, error) {
	how := vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: dirMode}}
	a, _, err := f.fs.Make(f.ctx, f.who, dir, name, &how)
	if errors.Is(err, vfs.Exist) {
		a, _, err = f.fs.Lookup(f.ctx, f.who, dir, name)
	}
	return a, err
}

// split takes a path apart. "." and empty components are nothing.
func split(p string) []string {
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}
