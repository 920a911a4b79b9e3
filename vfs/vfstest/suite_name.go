package vfstest

import (
	"sheaf/vfs"
)

var namePromises = []promise{
	{"Lookup finds what is there, with the directory", 0, checkLookup},
	{"what is no directory has no names", 0, checkNotDir},
	{"Parents knows every name", links, checkParents},
	{"Link gives one more name", links, checkLink},
	{"Link refuses", links, checkLinkRefuses},
	{"Remove removes a name", 0, checkRemove},
	{"the last name of several", links, checkRemoveLast},
	{"RemoveDir removes what is empty", 0, checkRemoveDir},
}

func checkLookup(b *bench) {
	n := b.file("f")
	dir := b.attr(b.dir)
	a, d, err := b.fs.Lookup(b.ctx, b.w, b.dir, name("f"))
	b.ok(err, "Lookup")
	if a.Node.ID != n.ID || d.Node.ID != b.dir.ID || d.Ctime != dir.Ctime {
		b.Errorf("Lookup: %+v in %+v", a, d)
	}
	a, d, err = b.fs.Lookup(b.ctx, b.w, b.dir, name("g"))
	b.want(err, "Lookup", vfs.NoEnt)
	if !a.Node.IsZero() {
		b.Errorf("NoEnt came with attributes %+v", a)
	}
	if !d.Node.IsZero() && d.Ctime != dir.Ctime {
		b.Errorf("NoEnt came with the directory as %+v, want %+v", d, dir)
	}
}

func checkNotDir(b *bench) {
	f := b.file("f")
	l := b.mk(b.dir, "l", &vfs.How{Type: vfs.Symlink, Target: "."}).Node
	for _, n := range []vfs.Node{f, l} {
		_, _, err := b.fs.Lookup(b.ctx, b.w, n, name("x"))
		b.want(err, "Lookup", vfs.NotDir)
		_, err = b.fs.Remove(b.ctx, b.w, n, name("x"))
		b.want(err, "Remove", vfs.NotDir)
		_, err = b.fs.RemoveDir(b.ctx, b.w, n, name("x"))
		b.want(err, "RemoveDir", vfs.NotDir)
		_, _, err = b.fs.Rename(b.ctx, b.w, n, name("x"), b.dir, name("y"))
		b.want(err, "Rename from", vfs.NotDir)
		_, _, err = b.fs.Rename(b.ctx, b.w, b.dir, name("f"), n, name("y"))
		b.want(err, "Rename to", vfs.NotDir)
		_, _, err = b.fs.ReadDir(b.ctx, b.w, n, 0, false, func(*vfs.DirEntry) bool { return true })
		b.want(err, "ReadDir", vfs.NotDir)
		if !b.opts.NoLinks {
			_, _, err = b.fs.Link(b.ctx, b.w, f, n, name("x"))
			b.want(err, "Link", vfs.NotDir)
		}
	}
}

// parents are the names of n as "parent's fileid/name".
func (b *bench) parents(n vfs.Node) map[place]bool {
	b.Helper()
	all := map[place]bool{}
	b.ok(b.fs.Parents(b.ctx, n, func(dir vfs.Node, s vfs.Name) bool {
		p := place{dir.ID, s}
		if all[p] {
			b.Errorf("Parents says %v twice", p)
		}
		all[p] = true
		return true
	}), "Parents")
	return all
}

type place struct {
	dir  vfs.NodeID
	name vfs.Name
}

func checkParents(b *bench) {
	d, f := b.folder("d"), b.file("f")
	want := func(n vfs.Node, places ...place) {
		b.Helper()
		got := b.parents(n)
		for _, p := range places {
			if !got[p] {
				b.Errorf("Parents does not know %v", p)
			}
		}
		if len(got) != len(places) {
			b.Errorf("Parents: %v, want %v", got, places)
		}
	}
	want(d, place{b.dir.ID, name("d")})
	want(f, place{b.dir.ID, name("f")})
	_, _, err := b.fs.Link(b.ctx, b.w, f, d, name("g"))
	b.ok(err, "Link")
	want(f, place{b.dir.ID, name("f")}, place{d.ID, name("g")})
	_, _, err = b.fs.Rename(b.ctx, b.w, b.dir, name("f"), d, name("h"))
	b.ok(err, "Rename")
	want(f, place{d.ID, name("h")}, place{d.ID, name("g")})
	calls := 0
	b.ok(b.fs.Parents(b.ctx, f, func(vfs.Node, vfs.Name) bool { calls++; return false }), "Parents")
	if calls != 1 {
		b.Errorf("Parents went on after false: %d calls", calls)
	}
	_, err = b.fs.Remove(b.ctx, b.w, d, name("g"))
	b.ok(err, "Remove")
	want(f, place{d.ID, name("h")})
}

func checkLink(b *bench) {
	f, d := b.file("f"), b.folder("d")
	for i, s := range []string{"g", "h"} {
		before, dir := b.attr(f), b.attr(d)
		a, c, err := b.fs.Link(b.ctx, b.w, f, d, name(s))
		b.ok(err, "Link")
		b.change("Link", c, dir)
		b.moved("Link: directory", dir, b.attr(d), true)
		b.moved("Link: object", before, a, false)
		if a.Nlink != uint32(i+2) || a.Node.ID != f.ID {
			b.Errorf("link %d: %+v", i, a)
		}
		b.has(d, s, f)
	}
	b.has(b.dir, "f", f)
	l := b.mk(b.dir, "l", &vfs.How{Type: vfs.Symlink}).Node
	_, _, err := b.fs.Link(b.ctx, b.w, l, d, name("l"))
	b.ok(err, "Link of a symbolic link")
	b.has(d, "l", l)
}

func checkLinkRefuses(b *bench) {
	f, d := b.file("f"), b.folder("d")
	before, dir := b.attr(f), b.attr(b.dir)
	for _, s := range []string{"f", "d"} {
		_, c, err := b.fs.Link(b.ctx, b.w, f, b.dir, name(s))
		b.want(err, "Link over "+s, vfs.Exist)
		b.unchanged("Link", c, dir)
	}
	_, _, err := b.fs.Link(b.ctx, b.w, d, b.dir, name("x"))
	b.want(err, "Link of a directory", vfs.IsDir)
	b.still("a refused Link", before)
	b.still("a refused Link", dir)
}

func checkRemove(b *bench) {
	for _, t := range []vfs.Type{vfs.Regular, vfs.Symlink, vfs.FIFO} {
		if t == vfs.FIFO && b.opts.NoSpecial {
			continue
		}
		b.mk(b.dir, "x", &vfs.How{Type: t})
		dir := b.attr(b.dir)
		c, err := b.fs.Remove(b.ctx, b.w, b.dir, name("x"))
		b.ok(err, "Remove")
		b.change("Remove", c, dir)
		b.moved("Remove", dir, b.attr(b.dir), true)
		b.hasNot(b.dir, "x")
	}
	d := b.folder("d")
	dir := b.attr(b.dir)
	c, err := b.fs.Remove(b.ctx, b.w, b.dir, name("x"))
	b.want(err, "Remove of nothing", vfs.NoEnt)
	b.unchanged("Remove", c, dir)
	_, err = b.fs.Remove(b.ctx, b.w, b.dir, name("d"))
	b.want(err, "Remove of a directory", vfs.IsDir)
	b.has(b.dir, "d", d)
	b.still("a refused Remove", dir)
}

func checkRemoveLast(b *bench) {
	f := b.file("f")
	_, _, err := b.fs.Link(b.ctx, b.w, f, b.dir, name("g"))
	b.ok(err, "Link")
	before := b.attr(f)
	_, err = b.fs.Remove(b.ctx, b.w, b.dir, name("f"))
	b.ok(err, "Remove")
	after := b.attr(f)
	b.moved("Remove of one name", before, after, false)
	if after.Nlink != 1 {
		b.Errorf("links: %d, want 1", after.Nlink)
	}
	_, err = b.fs.Remove(b.ctx, b.w, b.dir, name("g"))
	b.ok(err, "Remove")
	_, err = b.fs.GetAttr(b.ctx, b.w, f)
	b.want(err, "GetAttr", vfs.Stale)
}

func checkRemoveDir(b *bench) {
	d := b.folder("d")
	sub := b.mk(d, "sub", &vfs.How{Type: vfs.Directory}).Node
	b.file("f")
	dir := b.attr(b.dir)
	for s, want := range map[string]vfs.Status{"x": vfs.NoEnt, "f": vfs.NotDir, "d": vfs.NotEmpty} {
		c, err := b.fs.RemoveDir(b.ctx, b.w, b.dir, name(s))
		b.want(err, "RemoveDir "+s, want)
		b.unchanged("RemoveDir", c, dir)
	}
	b.still("a refused RemoveDir", dir)
	before := b.attr(d)
	c, err := b.fs.RemoveDir(b.ctx, b.w, d, name("sub"))
	b.ok(err, "RemoveDir")
	b.change("RemoveDir", c, before)
	after := b.attr(d)
	b.moved("RemoveDir", before, after, true)
	if after.Nlink != before.Nlink-1 {
		b.Errorf("links went from %d to %d", before.Nlink, after.Nlink)
	}
	_, err = b.fs.RemoveDir(b.ctx, b.w, b.dir, name("d"))
	b.ok(err, "RemoveDir")
	for _, n := range []vfs.Node{d, sub} {
		_, _, err = b.fs.Make(b.ctx, b.w, n, name("x"), &vfs.How{Type: vfs.Regular})
		b.want(err, "Make in a removed directory", vfs.Stale)
	}
}
