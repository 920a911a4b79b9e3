package vfstest

import (
	"sheaf/vfs"
)

var permPromises = []promise{
	{"a directory without search permission hides its names", callers, checkNoSearch},
	{"a directory without write permission keeps its names", callers, checkNoWrite},
	{"a directory without read permission is not listed", callers, checkNoRead},
	{"the order of refusals", callers, checkOrder},
	{"sticky directories", callers, checkSticky},
	{"a directory that changes parents must be writable", callers, checkReparent},
	{"READ and WRITE", callers, checkDataPermission},
	{"who may change attributes", callers, checkAttrPermission},
	{"set-id bits do not outlive a write, a truncation, a new owner", callers, checkSetIDBits},
	{"set-group-id directories", callers, checkSetGIDDir},
	{"devices are the superuser's", callers | special, checkDevices},
	{"Access tells the truth", callers, checkAccess},
}

// as is a bench whose calls are w's.
func (b *bench) as(w *vfs.Who) *bench {
	c := *b
	c.w = w
	return &c
}

func checkNoSearch(b *bench) {
	d := b.folder("d")
	f := b.mk(d, "f", &vfs.How{Type: vfs.Regular}).Node
	b.chmod(d, 0o766)
	a := b.as(ann)
	for _, s := range []string{"f", "none"} {
		_, _, err := b.fs.Lookup(b.ctx, ann, d, name(s))
		b.want(err, "Lookup "+s, vfs.Acces)
		_, _, err = b.fs.Make(b.ctx, ann, d, name(s), &vfs.How{Type: vfs.Regular})
		b.want(err, "Make "+s, vfs.Acces)
		_, err = b.fs.Remove(b.ctx, ann, d, name(s))
		b.want(err, "Remove "+s, vfs.Acces)
		_, err = b.fs.RemoveDir(b.ctx, ann, d, name(s))
		b.want(err, "RemoveDir "+s, vfs.Acces)
		_, _, err = b.fs.Rename(b.ctx, ann, d, name(s), b.dir, name("x"))
		b.want(err, "Rename from "+s, vfs.Acces)
		_, _, err = b.fs.Rename(b.ctx, ann, b.dir, name("d"), d, name(s))
		b.want(err, "Rename to "+s, vfs.Acces)
	}
	if got := a.names(d); len(got) != 1 {
		b.Errorf("names %v, want f", got)
	}
	entries, _ := a.list(d, 0, true, 0)
	for _, e := range entries {
		if e.HasAttr {
			b.Errorf("who may not search is shown attributes of %q", e.Name)
		}
	}
	if got := a.attr(f); got.Node.ID != f.ID {
		b.Errorf("by the node: %+v", got)
	}
}

func checkNoWrite(b *bench) {
	d := b.folder("d")
	f := b.mk(d, "f", &vfs.How{Type: vfs.Regular}).Node
	b.mk(d, "sub", &vfs.How{Type: vfs.Directory})
	mine := b.mkAs(ann, b.dir, "mine", &vfs.How{Type: vfs.Regular}).Node
	before := b.attr(d)
	_, _, err := b.fs.Make(b.ctx, ann, d, name("x"), &vfs.How{Type: vfs.Regular})
	b.want(err, "Make", vfs.Acces)
	_, err = b.fs.Remove(b.ctx, ann, d, name("f"))
	b.want(err, "Remove", vfs.Acces)
	_, err = b.fs.RemoveDir(b.ctx, ann, d, name("sub"))
	b.want(err, "RemoveDir", vfs.Acces)
	_, _, err = b.fs.Rename(b.ctx, ann, d, name("f"), b.dir, name("x"))
	b.want(err, "Rename from", vfs.Acces)
	_, _, err = b.fs.Rename(b.ctx, ann, b.dir, name("mine"), d, name("x"))
	b.want(err, "Rename to", vfs.Acces)
	_, _, err = b.fs.Rename(b.ctx, ann, b.dir, name("mine"), d, name("f"))
	b.want(err, "Rename over", vfs.Acces)
	if !b.opts.NoLinks {
		_, _, err = b.fs.Link(b.ctx, ann, mine, d, name("x"))
		b.want(err, "Link", vfs.Acces)
	}
	b.still("a refused change", before)
	b.as(ann).has(d, "f", f)
}

func checkNoRead(b *bench) {
	d := b.folder("d")
	f := b.mk(d, "f", &vfs.How{Type: vfs.Regular}).Node
	b.chmod(d, 0o711)
	_, _, err := b.fs.ReadDir(b.ctx, ann, d, 0, false, func(e *vfs.DirEntry) bool {
		b.Errorf("listed %q", e.Name)
		return true
	})
	b.want(err, "ReadDir", vfs.Acces)
	b.as(ann).has(d, "f", f)
}

func checkOrder(b *bench) {
	d := b.folder("d")
	b.mk(d, "f", &vfs.How{Type: vfs.Regular})
	b.mk(d, "sub", &vfs.How{Type: vfs.Directory})
	_, _, err := b.fs.Make(b.ctx, ann, d, name("f"), &vfs.How{Type: vfs.Directory})
	b.want(err, "MKDIR of what is there, unwritable", vfs.Exist)
	_, _, err = b.fs.Make(b.ctx, ann, d, name("f"), &vfs.How{Type: vfs.Regular})
	b.want(err, "UNCHECKED of what is there, unwritable", vfs.OK)
	_, _, err = b.fs.Make(b.ctx, ann, d, name("f"), &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetSize}})
	b.want(err, "UNCHECKED with a size, of another's file", vfs.Acces)
	_, err = b.fs.Remove(b.ctx, ann, d, name("none"))
	b.want(err, "Remove of nothing, unwritable", vfs.NoEnt)
	_, err = b.fs.Remove(b.ctx, ann, d, name("sub"))
	b.want(err, "Remove of a directory, unwritable", vfs.Acces)
	_, err = b.fs.RemoveDir(b.ctx, ann, d, name("f"))
	b.want(err, "RemoveDir of a file, unwritable", vfs.Acces)
	_, _, err = b.fs.Rename(b.ctx, ann, d, name("none"), d, name("x"))
	b.want(err, "Rename of nothing, unwritable", vfs.NoEnt)
	_, _, err = b.fs.Rename(b.ctx, ann, d, name("f"), d, name("f"))
	b.want(err, "Rename of nothing to do, unwritable", vfs.OK)
	_, _, err = b.fs.Rename(b.ctx, ann, b.dir, name("d"), d, name("x"))
	b.want(err, "Rename into itself, unwritable", vfs.Inval)
}

func checkSticky(b *bench) {
	d := b.folder("d")
	b.chmod(d, 0o1777)
	b.mkAs(ann, d, "anns", &vfs.How{Type: vfs.Regular})
	b.mkAs(ann, d, "anns dir", &vfs.How{Type: vfs.Directory})
	b.mkAs(ben, d, "bens", &vfs.How{Type: vfs.Regular})
	_, err := b.fs.Remove(b.ctx, ben, d, name("anns"))
	b.want(err, "Remove", vfs.Perm)
	_, err = b.fs.Remove(b.ctx, ben, d, name("anns dir"))
	b.want(err, "Remove of a directory", vfs.Perm)
	_, err = b.fs.RemoveDir(b.ctx, ben, d, name("anns dir"))
	b.want(err, "RemoveDir", vfs.Perm)
	_, _, err = b.fs.Rename(b.ctx, ben, d, name("anns"), b.dir, name("x"))
	b.want(err, "Rename from", vfs.Perm)
	_, _, err = b.fs.Rename(b.ctx, ben, d, name("bens"), d, name("anns"))
	b.want(err, "Rename over", vfs.Perm)
	_, _, err = b.fs.Rename(b.ctx, ben, d, name("bens"), d, name("bens too"))
	b.ok(err, "Rename of one's own")
	_, err = b.fs.Remove(b.ctx, ann, d, name("anns"))
	b.ok(err, "Remove of one's own")
	b.set(d, vfs.SetAttr{Mask: vfs.SetUID, UID: cid.UID})
	_, err = b.fs.Remove(b.ctx, cid, d, name("bens too"))
	b.ok(err, "Remove by the directory's owner")
	_, err = b.fs.RemoveDir(b.ctx, b.w, d, name("anns dir"))
	b.ok(err, "RemoveDir by the superuser")
}

func checkReparent(b *bench) {
	other := b.folder("other")
	b.chmod(other, 0o777)
	n := b.mk(b.dir, "d", &vfs.How{Type: vfs.Directory}).Node
	_, _, err := b.fs.Rename(b.ctx, ann, b.dir, name("d"), other, name("d"))
	b.want(err, "Rename to another directory", vfs.Acces)
	_, _, err = b.fs.Rename(b.ctx, ann, b.dir, name("d"), b.dir, name("e"))
	b.ok(err, "Rename within the directory")
	b.chmod(n, 0o777)
	_, _, err = b.fs.Rename(b.ctx, ann, b.dir, name("e"), other, name("d"))
	b.ok(err, "Rename of what may be written")
}

func checkDataPermission(b *bench) {
	for _, c := range []struct {
		what        string
		w           *vfs.Who
		mode        uint32
		read, write vfs.Status
	}{
		{"the owner, whatever the mode", ann, 0, vfs.OK, vfs.OK},
		{"the group", ben, 0o740, vfs.OK, vfs.Acces},
		{"the group has not what others have", ben, 0o706, vfs.Acces, vfs.Acces},
		{"others", cid, 0o706, vfs.OK, vfs.OK},
		{"others who may only write", cid, 0o702, vfs.Acces, vfs.OK},
		{"who may execute may read", cid, 0o711, vfs.OK, vfs.Acces},
		{"the superuser", vfs.Superuser, 0, vfs.OK, vfs.OK},
	} {
		n := b.mkAs(ann, b.dir, c.what, &vfs.How{Type: vfs.Regular}).Node
		b.chmod(n, c.mode)
		before := b.attr(n)
		_, _, _, err := b.fs.Read(b.ctx, c.w, n, make([]byte, 1), 0)
		b.want(err, c.what+": Read", c.read)
		_, _, err = b.fs.Write(b.ctx, c.w, n, []byte{1}, 0, vfs.Unstable)
		b.want(err, c.what+": Write", c.write)
		_, _, err = b.fs.Commit(b.ctx, c.w, n, 0, 0)
		b.want(err, c.what+": Commit", c.write)
		if c.write != vfs.OK {
			b.still(c.what+": refused", before)
		}
	}
}

func checkAttrPermission(b *bench) {
	set := func(mask vfs.SetMask) vfs.SetAttr {
		return vfs.SetAttr{Mask: mask, Mode: 0o600, UID: cid.UID, GID: ben.GID, Mtime: vfs.Time{Sec: 1}}
	}
	const now = vfs.SetAtimeNow | vfs.SetMtimeNow
	for _, c := range []struct {
		what string
		w    *vfs.Who
		set  vfs.SetAttr
		want vfs.Status
	}{
		{"chmod by the owner", ann, set(vfs.SetMode), vfs.OK},
		{"chmod by another", ben, set(vfs.SetMode), vfs.Perm},
		{"giving away by the owner", ann, set(vfs.SetUID), vfs.Perm},
		{"giving to oneself", ann, vfs.SetAttr{Mask: vfs.SetUID, UID: ann.UID}, vfs.OK},
		{"giving to a foreign group", ann, set(vfs.SetGID), vfs.Perm},
		{"a group of one's own", &vfs.Who{UID: ann.UID, GID: 1, Groups: []uint32{ben.GID}}, set(vfs.SetGID), vfs.OK},
		{"mtime by another who may write", ben, set(vfs.SetMtime), vfs.Perm},
		{"both times to now by another who may write", ben, set(now), vfs.OK},
		{"both times to now by another who may not", cid, set(now), vfs.Acces},
		{"one time to now by another who may write", ben, set(vfs.SetMtimeNow), vfs.Perm},
		{"size by another who may write", ben, set(vfs.SetSize), vfs.OK},
		{"size and mtime to now by another who may write", ben, set(vfs.SetSize | vfs.SetMtimeNow), vfs.OK},
		{"size by another who may not", cid, set(vfs.SetSize), vfs.Acces},
		{"anything by the superuser", vfs.Superuser, set(vfs.SetMode | vfs.SetUID | vfs.SetGID | vfs.SetSize | vfs.SetMtime), vfs.OK},
	} {
		n := b.mkAs(ann, b.dir, c.what, &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o664}}).Node
		before := b.attr(n)
		_, err := b.fs.SetAttr(b.ctx, c.w, n, &c.set, nil)
		b.want(err, c.what, c.want)
		if c.want != vfs.OK {
			b.still(c.what, before)
		}
	}
}

func checkSetIDBits(b *bench) {
	for _, c := range []struct {
		what string
		mode uint32
		do   func(n vfs.Node) error
		want uint32
	}{
		{"write by another", 0o6777, func(n vfs.Node) error {
			_, _, err := b.fs.Write(b.ctx, cid, n, []byte{1}, 0, vfs.FileSync)
			return err
		}, 0o0777},
		{"write by the owner", 0o6755, func(n vfs.Node) error {
			_, _, err := b.fs.Write(b.ctx, ann, n, []byte{1}, 0, vfs.Unstable)
			return err
		}, 0o0755},
		{"write of nothing", 0o6755, func(n vfs.Node) error {
			_, _, err := b.fs.Write(b.ctx, ann, n, nil, 0, vfs.Unstable)
			return err
		}, 0o6755},
		{"write by the superuser", 0o6755, func(n vfs.Node) error {
			_, _, err := b.fs.Write(b.ctx, vfs.Superuser, n, []byte{1}, 0, vfs.Unstable)
			return err
		}, 0o6755},
		{"truncation", 0o6755, func(n vfs.Node) error {
			_, err := b.fs.SetAttr(b.ctx, ann, n, &vfs.SetAttr{Mask: vfs.SetSize, Size: 5}, nil)
			return err
		}, 0o0755},
		{"a new owner", 0o6755, func(n vfs.Node) error {
			_, err := b.fs.SetAttr(b.ctx, vfs.Superuser, n, &vfs.SetAttr{Mask: vfs.SetUID, UID: ben.UID}, nil)
			return err
		}, 0o0755},
		{"a new owner without group execution", 0o6745, func(n vfs.Node) error {
			_, err := b.fs.SetAttr(b.ctx, vfs.Superuser, n, &vfs.SetAttr{Mask: vfs.SetUID, UID: ben.UID}, nil)
			return err
		}, 0o2745},
		{"S_ISGID asked for by one who is not in the group", 0o755, func(n vfs.Node) error {
			_, err := b.fs.SetAttr(b.ctx, &vfs.Who{UID: ann.UID, GID: 1}, n, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o2755}, nil)
			return err
		}, 0o755},
	} {
		n := b.mkAs(ann, b.dir, c.what, &vfs.How{Type: vfs.Regular}).Node
		b.chmod(n, c.mode)
		b.ok(c.do(n), c.what)
		if a := b.attr(n); a.Mode != c.want {
			b.Errorf("%s: mode %04o, want %04o", c.what, a.Mode, c.want)
		}
	}
}

func checkSetGIDDir(b *bench) {
	d := b.folder("d")
	b.set(d, vfs.SetAttr{Mask: vfs.SetGID | vfs.SetMode, GID: ben.GID, Mode: 0o2777})
	mode := vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o2755}
	for _, c := range []struct {
		what string
		w    *vfs.Who
		t    vfs.Type
		mode uint32
	}{
		{"directory", ann, vfs.Directory, 0o2755},
		{"file by a stranger to the group", ann, vfs.Regular, 0o0755},
		{"file by a member", ben, vfs.Regular, 0o2755},
		{"symbolic link", ann, vfs.Symlink, 0o777},
	} {
		a := b.mkAs(c.w, d, c.what, &vfs.How{Type: c.t, Set: mode})
		if a.UID != c.w.UID || a.GID != ben.GID || a.Mode != c.mode {
			b.Errorf("%s: %+v", c.what, a)
		}
	}
}

func checkDevices(b *bench) {
	_, _, err := b.fs.Make(b.ctx, ann, b.dir, name("dev"), &vfs.How{Type: vfs.Char, Major: 1, Minor: 3})
	b.want(err, "Make of a device", vfs.Perm)
	b.hasNot(b.dir, "dev")
	b.mkAs(ann, b.dir, "fifo", &vfs.How{Type: vfs.FIFO})
}

func checkAccess(b *bench) {
	f := b.mkAs(ann, b.dir, "f", &vfs.How{Type: vfs.Regular}).Node
	d := b.mkAs(ann, b.dir, "d", &vfs.How{Type: vfs.Directory}).Node
	const (
		read, lookup, exec = vfs.AccessRead, vfs.AccessLookup, vfs.AccessExecute
		change             = vfs.AccessModify | vfs.AccessExtend
		del                = vfs.AccessDelete
	)
	for _, c := range []struct {
		n    vfs.Node
		mode uint32
		w    *vfs.Who
		want vfs.AccessMask
	}{
		{f, 0o640, ann, read | change},
		{f, 0o640, ben, read},
		{f, 0o640, cid, 0},
		{f, 0o100, ann, exec},
		{f, 0o000, ann, 0},
		{f, 0o000, vfs.Superuser, read | change},
		{f, 0o001, vfs.Superuser, read | change | exec},
		{d, 0o750, ann, read | lookup | change | del},
		{d, 0o750, ben, read | lookup},
		{d, 0o750, cid, 0},
		{d, 0o666, cid, read},
		{d, 0o000, vfs.Superuser, read | lookup | change | del},
	} {
		b.chmod(c.n, c.mode)
		for _, want := range []vfs.AccessMask{vfs.AccessAll, read | del, exec, 0} {
			got, a, err := b.fs.Access(b.ctx, c.w, c.n, want)
			b.ok(err, "Access")
			if got != c.want&want || a.Node.ID != c.n.ID {
				b.Errorf("uid %d asks %06b of mode %04o: %06b, want %06b", c.w.UID, want, c.mode, got, c.want&want)
			}
		}
	}
}
