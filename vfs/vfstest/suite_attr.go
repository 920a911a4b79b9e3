package vfstest

import (
	"slices"

	"sheaf/vfs"
)

var attrPromises = []promise{
	{"the root is a directory without parents and stays the same", 0, checkRoot},
	{"a node that never was is Stale", 0, func(b *bench) { b.staleEverywhere(vfs.Node{ID: vfs.NodeID{1, 2, 3}}) }},
	{"a removed object is Stale everywhere", 0, checkRemovedIsStale},
	{"fileids are not zero and never the same", 0, checkFileIDs},
	{"SetAttr sets what is asked for and only that", 0, checkSetAttr},
	{"SetAttr of nothing changes nothing", 0, checkSetNothing},
	{"SetAttr gives files away", callers, checkChown},
	{"SetAttr with a guard", 0, checkGuard},
	{"SetAttr sets all or nothing", callers, checkAllOrNothing},
	{"SetAttr of the size of what is no file", 0, checkSizeOfOthers},
	{"SetAttr of times", 0, checkTimes},
	{"Statfs and Limits make sense", 0, checkStatfs},
	{"Subscribe can be ended, twice too", 0, checkSubscribe},
}

func checkRoot(b *bench) {
	root, err := b.fs.Root(b.ctx, b.w)
	b.ok(err, "Root")
	if root.Type != vfs.Directory {
		b.Errorf("the root is %+v", root)
	}
	b.folder("d")
	again, err := b.fs.Root(b.ctx, b.w)
	b.ok(err, "Root")
	if again.Node != root.Node {
		b.Errorf("the root was %v and is %v", root.Node, again.Node)
	}
	b.ok(b.fs.Parents(b.ctx, root.Node, func(dir vfs.Node, n vfs.Name) bool {
		b.Errorf("the root is %v in %v", n, dir)
		return true
	}), "Parents")
}

// staleEverywhere wants every method to know that n is gone.
func (b *bench) staleEverywhere(n vfs.Node) {
	b.Helper()
	f := b.file("living")
	for what, err := range b.everyMethod(n, f) {
		b.want(err, what, vfs.Stale)
	}
}

// everyMethod is what each method says of n, a living file where it needs another.
func (b *bench) everyMethod(n, living vfs.Node) map[string]error {
	ctx, w, fs, x := b.ctx, b.w, b.fs, name("x")
	errs := map[string]error{}
	_, errs["GetAttr"] = fs.GetAttr(ctx, w, n)
	_, errs["SetAttr"] = fs.SetAttr(ctx, w, n, &vfs.SetAttr{Mask: vfs.SetMode}, nil)
	_, _, errs["Access"] = fs.Access(ctx, w, n, vfs.AccessAll)
	_, _, errs["Lookup"] = fs.Lookup(ctx, w, n, x)
	errs["Parents"] = fs.Parents(ctx, n, func(vfs.Node, vfs.Name) bool { return true })
	_, _, errs["ReadLink"] = fs.ReadLink(ctx, w, n)
	_, _, _, errs["Read"] = fs.Read(ctx, w, n, make([]byte, 1), 0)
	_, _, errs["Write"] = fs.Write(ctx, w, n, []byte{1}, 0, vfs.Unstable)
	_, _, errs["Commit"] = fs.Commit(ctx, w, n, 0, 0)
	_, _, errs["Make"] = fs.Make(ctx, w, n, x, &vfs.How{Type: vfs.Regular})
	_, _, errs["Link of it"] = fs.Link(ctx, w, n, b.dir, x)
	_, _, errs["Link into it"] = fs.Link(ctx, w, living, n, x)
	_, errs["Remove"] = fs.Remove(ctx, w, n, x)
	_, errs["RemoveDir"] = fs.RemoveDir(ctx, w, n, x)
	_, _, errs["Rename from"] = fs.Rename(ctx, w, n, x, b.dir, x)
	_, _, errs["Rename to"] = fs.Rename(ctx, w, b.dir, name("living"), n, x)
	_, _, errs["ReadDir"] = fs.ReadDir(ctx, w, n, 0, true, func(*vfs.DirEntry) bool { return true })
	_, _, errs["Statfs"] = fs.Statfs(ctx, w, n)
	_, _, errs["Limits"] = fs.Limits(ctx, w, n)
	_, _, errs["GetACL"] = fs.GetACL(ctx, w, n)
	if !b.opts.NoACLs {
		_, errs["SetACL"] = fs.SetACL(ctx, w, n, vfs.ACLs{})
	}
	return errs
}

func checkRemovedIsStale(b *bench) {
	f, d := b.file("f"), b.folder("d")
	_, err := b.fs.Remove(b.ctx, b.w, b.dir, name("f"))
	b.ok(err, "Remove")
	_, err = b.fs.RemoveDir(b.ctx, b.w, b.dir, name("d"))
	b.ok(err, "RemoveDir")
	if again := b.file("f"); again.ID == f.ID {
		b.Error("a new file has the node of a removed one")
	}
	b.staleEverywhere(f)
	_, err = b.fs.Remove(b.ctx, b.w, b.dir, name("living"))
	b.ok(err, "Remove")
	b.staleEverywhere(d)
}

func checkFileIDs(b *bench) {
	root, err := b.fs.Root(b.ctx, b.w)
	b.ok(err, "Root")
	seen := map[uint64]bool{root.Node.ID.FileID(): true, b.dir.ID.FileID(): true}
	for i := range 200 {
		n := b.file(string(rune('a'+i%26)) + string(rune('a'+i/26)))
		if id := n.ID.FileID(); id == 0 || seen[id] {
			b.Fatalf("fileid %d is zero or not the first", id)
		}
		seen[n.ID.FileID()] = true
	}
}

func checkSetAttr(b *bench) {
	n := b.file("f")
	b.write(n, "0123456789", 0)
	before := b.attr(n)
	c := b.set(n, vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o1642, Size: 3, UID: 9, Mtime: vfs.Time{Sec: 1}})
	b.change("chmod", c, before)
	after := b.attr(n)
	b.moved("chmod", before, after, false)
	before.Mode, before.Ctime = 0o1642, after.Ctime
	b.still("chmod", before)

	before = b.attr(n)
	c = b.set(n, vfs.SetAttr{Mask: vfs.SetSize, Size: 4})
	b.change("truncate", c, before)
	b.moved("truncate", before, c.After, true)
	if got := b.read(n, 0, 10); got != "0123" {
		b.Errorf("truncated: %q", got)
	}
	before = b.attr(n)
	c = b.set(n, vfs.SetAttr{Mask: vfs.SetSize, Size: 8})
	b.moved("extend", before, c.After, true)
	if got := b.read(n, 0, 10); got != "0123\x00\x00\x00\x00" {
		b.Errorf("what was cut off shines through: %q", got)
	}
}

func checkSetNothing(b *bench) {
	before := b.attr(b.file("f"))
	b.change("SetAttr", b.set(before.Node, vfs.SetAttr{Mode: 0o777, Size: 5}), before)
	b.still("SetAttr of nothing", before)
}

func checkChown(b *bench) {
	for _, t := range []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink} {
		n := b.mk(b.dir, "x"+string(rune('0'+t)), &vfs.How{Type: t}).Node
		before := b.attr(n)
		c := b.set(n, vfs.SetAttr{Mask: vfs.SetUID | vfs.SetGID, UID: ann.UID, GID: cid.GID})
		b.change("chown", c, before)
		b.moved("chown", before, b.attr(n), false)
		if a := b.attr(n); a.UID != ann.UID || a.GID != cid.GID || a.Mode != before.Mode {
			b.Errorf("given away: %+v", a)
		}
	}
}

func checkGuard(b *bench) {
	before := b.attr(b.file("f"))
	set := &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}
	wrong := before.Ctime.Next()
	c, err := b.fs.SetAttr(b.ctx, b.w, before.Node, set, &wrong)
	b.want(err, "SetAttr with a wrong guard", vfs.NotSync)
	b.still("a wrong guard", before)
	if c.HasAfter && c.After.Ctime != before.Ctime {
		b.Errorf("after a wrong guard: %+v", c.After)
	}
	_, err = b.fs.SetAttr(b.ctx, b.w, before.Node, set, &before.Ctime)
	b.ok(err, "SetAttr with the right guard")
	_, err = b.fs.SetAttr(b.ctx, b.w, before.Node, set, &before.Ctime)
	b.want(err, "SetAttr with the guard of before", vfs.NotSync)
}

func checkAllOrNothing(b *bench) {
	n := b.mkAs(ann, b.dir, "f", &vfs.How{Type: vfs.Regular}).Node
	before := b.attr(n)
	_, err := b.fs.SetAttr(b.ctx, ann, n, &vfs.SetAttr{
		Mask: vfs.SetMode | vfs.SetSize | vfs.SetUID | vfs.SetMtime, Mode: 0o600, Size: 100, UID: ben.UID, Mtime: vfs.Time{Sec: 9},
	}, nil)
	b.want(err, "chmod, truncate and give away", vfs.Perm)
	b.still("a refused SetAttr", before)
	limits, _, err := b.fs.Limits(b.ctx, b.w, n)
	b.ok(err, "Limits")
	if limits.MaxFileSize < 1<<64-1 {
		_, err = b.fs.SetAttr(b.ctx, ann, n, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetSize, Mode: 0o600, Size: limits.MaxFileSize + 1}, nil)
		b.want(err, "chmod and a size too large", vfs.FBig)
		b.still("a refused SetAttr", before)
	}
}

func checkSizeOfOthers(b *bench) {
	for _, t := range []vfs.Type{vfs.Directory, vfs.Symlink, vfs.FIFO} {
		if t == vfs.FIFO && b.opts.NoSpecial {
			continue
		}
		want := vfs.Inval
		if t == vfs.Directory {
			want = vfs.IsDir
		}
		before := b.mk(b.dir, "x"+string(rune('0'+t)), &vfs.How{Type: t})
		_, err := b.fs.SetAttr(b.ctx, b.w, before.Node, &vfs.SetAttr{Mask: vfs.SetSize}, nil)
		b.want(err, "size", want)
		b.still("a refused size", before)
	}
}

func checkTimes(b *bench) {
	for _, t := range []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink} {
		n := b.mk(b.dir, "x"+string(rune('0'+t)), &vfs.How{Type: t}).Node
		before := b.attr(n)
		at, mt := vfs.Time{Sec: 1_000_000_000, Nsec: 123_456_789}, vfs.Time{Sec: 2_000_000_000, Nsec: 987_654_321}
		if b.opts.CoarseTimes {
			at.Nsec, mt.Nsec = 0, 0
		}
		b.set(n, vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: at, Mtime: mt})
		a := b.attr(n)
		if a.Atime != at || a.Mtime != mt || a.Ctime.Compare(before.Ctime) <= 0 {
			b.Errorf("times set to %v, %v: %+v", at, mt, a)
		}
		b.set(n, vfs.SetAttr{Mask: vfs.SetAtimeNow})
		if now := b.attr(n); now.Mtime != mt || now.Atime == at || now.Ctime.Compare(a.Ctime) <= 0 {
			b.Errorf("atime set to now: %+v", now)
		}
		b.set(n, vfs.SetAttr{Mask: vfs.SetMtimeNow})
		if now := b.attr(n); now.Mtime.Compare(mt) >= 0 || now.Mtime.Compare(before.Mtime) < 0 {
			b.Errorf("mtime set to now: %v, made at %v", now.Mtime, before.Mtime)
		}
	}
	n := b.file("new")
	_, err := b.fs.SetAttr(b.ctx, b.w, n, &vfs.SetAttr{Mask: vfs.SetMtime, Mtime: vfs.Time{Nsec: 1e9}}, nil)
	b.want(err, "a billion nanoseconds", vfs.Inval)
}

func checkStatfs(b *bench) {
	n := b.file("f")
	s, a, err := b.fs.Statfs(b.ctx, b.w, n)
	b.ok(err, "Statfs")
	if a.Node.ID != n.ID || s.TotalBytes == 0 || s.FreeBytes > s.TotalBytes || s.AvailBytes > s.FreeBytes ||
		s.FreeFiles > s.TotalFiles || s.AvailFiles > s.FreeFiles {
		b.Errorf("Statfs: %+v with %+v", s, a)
	}
	l, a, err := b.fs.Limits(b.ctx, b.w, n)
	b.ok(err, "Limits")
	if a.Node.ID != n.ID || l.MaxFileSize < 1<<31-1 || l.NameMax == 0 || l.NameMax > vfs.NameMax || l.LinkMax == 0 {
		b.Errorf("Limits: %+v with %+v", l, a)
	}
	if l.Links == b.opts.NoLinks {
		b.Errorf("Limits says links: %v", l.Links)
	}
}

func checkSubscribe(b *bench) {
	cancel := b.fs.Subscribe(func(vfs.Event) {})
	b.file("f")
	cancel()
	cancel()
	b.file("g")
	if got := b.names(b.dir); len(got) != 2 || !slices.Contains(got, "f") {
		b.Errorf("names %v", got)
	}
}
