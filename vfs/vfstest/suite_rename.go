package vfstest

import (
	"sheaf/vfs"
)

var renamePromises = []promise{
	{"nodes stay what they are", 0, checkRenameKeeps},
	{"what is beneath a moved directory stays", 0, checkRenameTree},
	{"each type over each type", 0, checkRenameOver},
	{"what is replaced is gone, or has a name less", 0, checkRenameReplaced},
	{"two names of one object: nothing happens", links, checkRenameSame},
	{"a directory does not go into itself", 0, checkRenameInto},
	{"links of directories follow", 0, checkRenameLinks},
	{"nothing to rename", 0, checkRenameNothing},
}

// rename must succeed and tell of both directories.
func (b *bench) rename(from vfs.Node, s string, to vfs.Node, t string) {
	b.Helper()
	fromBefore, toBefore := b.attr(from), b.attr(to)
	fc, tc, err := b.fs.Rename(b.ctx, b.w, from, name(s), to, name(t))
	b.ok(err, "Rename "+s+" to "+t)
	b.change("Rename: from", fc, fromBefore)
	b.change("Rename: to", tc, toBefore)
	b.moved("Rename: from", fromBefore, b.attr(from), true)
	b.moved("Rename: to", toBefore, b.attr(to), true)
}

// refused wants a Rename to fail so, and to change nothing.
func (b *bench) refused(want vfs.Status, from vfs.Node, s string, to vfs.Node, t string) {
	b.Helper()
	fromBefore, toBefore := b.attr(from), b.attr(to)
	fc, tc, err := b.fs.Rename(b.ctx, b.w, from, name(s), to, name(t))
	b.want(err, "Rename "+s+" to "+t, want)
	b.unchanged("Rename: from", fc, fromBefore)
	b.unchanged("Rename: to", tc, toBefore)
	b.still("a refused Rename: from", fromBefore)
	b.still("a refused Rename: to", toBefore)
}

func checkRenameKeeps(b *bench) {
	d := b.folder("d")
	for _, t := range []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink} {
		before := b.mk(b.dir, "x", &vfs.How{Type: t, Target: "t"})
		b.rename(b.dir, "x", b.dir, "y")
		b.hasNot(b.dir, "x")
		b.has(b.dir, "y", before.Node)
		b.rename(b.dir, "y", d, "z")
		b.hasNot(b.dir, "y")
		b.has(d, "z", before.Node)
		after := b.attr(before.Node)
		if after.Ctime.Compare(before.Ctime) <= 0 {
			b.Errorf("ctime of what was moved: %v, was %v", after.Ctime, before.Ctime)
		}
		after.Ctime, after.Atime = before.Ctime, before.Atime
		if after.Node, after.Used = before.Node, before.Used; after != before {
			b.Errorf("moved: %+v, was %+v", after, before)
		}
		b.rename(d, "z", d, "kept"+string(rune('0'+t)))
	}
}

func checkRenameTree(b *bench) {
	one, two := b.folder("one"), b.folder("two")
	top := b.mk(one, "top", &vfs.How{Type: vfs.Directory}).Node
	sub := b.mk(top, "sub", &vfs.How{Type: vfs.Directory}).Node
	leaf := b.mk(sub, "leaf", &vfs.How{Type: vfs.Regular}).Node
	b.write(leaf, "data", 0)
	b.rename(one, "top", two, "other")
	b.has(two, "other", top)
	b.has(top, "sub", sub)
	b.has(sub, "leaf", leaf)
	if got := b.read(leaf, 0, 10); got != "data" {
		b.Errorf("read %q", got)
	}
	b.mk(sub, "new", &vfs.How{Type: vfs.Regular})
	if got := b.parents(top); !got[place{two.ID, name("other")}] || len(got) != 1 {
		b.Errorf("parents of the moved directory: %v", got)
	}
	if got := b.parents(leaf); !got[place{sub.ID, name("leaf")}] || len(got) != 1 {
		b.Errorf("parents of the leaf: %v", got)
	}
	_, err := b.fs.RemoveDir(b.ctx, b.w, b.dir, name("one"))
	b.ok(err, "RemoveDir of what is empty now")
}

func checkRenameOver(b *bench) {
	file := func(d vfs.Node, s string) vfs.Node { return b.mk(d, s, &vfs.How{Type: vfs.Regular}).Node }
	link := func(d vfs.Node, s string) vfs.Node { return b.mk(d, s, &vfs.How{Type: vfs.Symlink}).Node }
	empty := func(d vfs.Node, s string) vfs.Node { return b.mk(d, s, &vfs.How{Type: vfs.Directory}).Node }
	full := func(d vfs.Node, s string) vfs.Node {
		n := empty(d, s)
		file(n, "in")
		return n
	}
	kinds := map[string]func(vfs.Node, string) vfs.Node{"file": file, "link": link, "empty": empty, "full": full}
	isDir := map[string]bool{"empty": true, "full": true}
	for src, mkSrc := range kinds {
		for dst, mkDst := range kinds {
			d := b.folder(src + " over " + dst)
			other := b.mk(d, "other", &vfs.How{Type: vfs.Directory}).Node
			n, victim := mkSrc(d, "src"), mkDst(other, "dst")
			want := vfs.OK
			switch {
			case isDir[src] && !isDir[dst]:
				want = vfs.NotDir
			case !isDir[src] && isDir[dst]:
				want = vfs.IsDir
			case dst == "full":
				want = vfs.NotEmpty
			}
			if want != vfs.OK {
				b.refused(want, d, "src", other, "dst")
				b.has(other, "dst", victim)
				b.has(d, "src", n)
				continue
			}
			b.rename(d, "src", other, "dst")
			b.has(other, "dst", n)
			b.hasNot(d, "src")
			_, err := b.fs.GetAttr(b.ctx, b.w, victim)
			b.want(err, "GetAttr of what was replaced", vfs.Stale)
		}
	}
}

func checkRenameReplaced(b *bench) {
	f, g := b.file("f"), b.file("g")
	if !b.opts.NoLinks {
		_, _, err := b.fs.Link(b.ctx, b.w, g, b.dir, name("h"))
		b.ok(err, "Link")
		before := b.attr(g)
		b.rename(b.dir, "f", b.dir, "g")
		if after := b.attr(g); after.Nlink != 1 || after.Ctime.Compare(before.Ctime) <= 0 {
			b.Errorf("replaced under one of two names: %+v", after)
		}
		b.has(b.dir, "h", g)
		b.rename(b.dir, "g", b.dir, "h")
	} else {
		b.rename(b.dir, "f", b.dir, "g")
	}
	_, err := b.fs.GetAttr(b.ctx, b.w, g)
	b.want(err, "GetAttr of what was replaced", vfs.Stale)
	if got := b.names(b.dir); len(got) != 1 || b.attr(f).Nlink != 1 {
		b.Errorf("left: %v", got)
	}
}

func checkRenameSame(b *bench) {
	f, d := b.file("f"), b.folder("d")
	_, _, err := b.fs.Link(b.ctx, b.w, f, d, name("g"))
	b.ok(err, "Link")
	for _, to := range []struct {
		from vfs.Node
		s    string
		to   vfs.Node
		t    string
	}{{b.dir, "f", b.dir, "f"}, {b.dir, "f", d, "g"}, {d, "g", b.dir, "f"}, {b.dir, "d", b.dir, "d"}} {
		b.refused(vfs.OK, to.from, to.s, to.to, to.t)
	}
	b.has(b.dir, "f", f)
	b.has(d, "g", f)
	b.has(b.dir, "d", d)
	if a := b.attr(f); a.Nlink != 2 {
		b.Errorf("links: %d, want 2", a.Nlink)
	}
}

func checkRenameInto(b *bench) {
	top := b.folder("top")
	sub := b.mk(top, "sub", &vfs.How{Type: vfs.Directory}).Node
	b.mk(sub, "f", &vfs.How{Type: vfs.Regular})
	b.refused(vfs.Inval, b.dir, "top", top, "x")
	b.refused(vfs.Inval, b.dir, "top", top, "sub")
	b.refused(vfs.Inval, b.dir, "top", sub, "x")
	b.refused(vfs.NotEmpty, top, "sub", b.dir, "top")
	b.refused(vfs.NotEmpty, sub, "f", b.dir, "top")
	b.rename(top, "sub", b.dir, "sub")
	b.rename(b.dir, "top", sub, "top")
	b.has(sub, "top", top)
}

func checkRenameLinks(b *bench) {
	one, two := b.folder("one"), b.folder("two")
	b.mk(one, "d", &vfs.How{Type: vfs.Directory})
	want := func(n1, n2 uint32) {
		b.Helper()
		if a1, a2 := b.attr(one), b.attr(two); a1.Nlink != n1 || a2.Nlink != n2 {
			b.Errorf("links %d and %d, want %d and %d", a1.Nlink, a2.Nlink, n1, n2)
		}
	}
	want(3, 2)
	b.rename(one, "d", two, "d")
	want(2, 3)
	b.mk(one, "e", &vfs.How{Type: vfs.Directory})
	b.rename(one, "e", two, "d")
	want(2, 3)
	b.rename(two, "d", two, "e")
	want(2, 3)
}

func checkRenameNothing(b *bench) {
	d := b.folder("d")
	b.refused(vfs.NoEnt, b.dir, "x", b.dir, "y")
	b.refused(vfs.NoEnt, b.dir, "x", d, "x")
	b.refused(vfs.NoEnt, b.dir, "x", b.dir, "d")
	b.refused(vfs.NoEnt, b.dir, "x", b.dir, "x")
}
