package vfstest

import (
	"strings"

	"sheaf/vfs"
)

var makePromises = []promise{
	{"every type is made with what it was asked for", 0, checkTypes},
	{"special files", special, checkSpecial},
	{"initial attributes", 0, checkInitial},
	{"a new object tells on its directory", 0, checkMakeChange},
	{"what is taken is Exist", 0, checkExist},
	{"UNCHECKED takes the file that is there", 0, checkUnchecked},
	{"EXCLUSIVE knows its own retransmission", 0, checkExclusive},
	{"types that are none are BadType", 0, checkBadType},
	{"targets of symbolic links", 0, checkTargets},
	{"any bytes make a name", 0, checkNames},
	{"a directory is needed", 0, checkMakeInFile},
}

func checkTypes(b *bench) {
	for _, how := range []vfs.How{
		{Type: vfs.Regular, Exists: vfs.Guarded}, {Type: vfs.Directory}, {Type: vfs.Symlink, Target: "some/where"},
	} {
		t := how.Type
		s := "x" + string(rune('0'+t))
		a := b.mk(b.dir, s, &how)
		b.born(a, t, 1)
		if now := b.lookup(b.dir, s); now != a {
			b.Errorf("made %+v, found %+v", a, now)
		}
	}
}

// born wants a to be a new object of type t whose owner is the bench's caller.
func (b *bench) born(a vfs.Attr, t vfs.Type, nlink uint32) {
	b.Helper()
	wantSize := uint64(0)
	switch t {
	case vfs.Directory:
		nlink, wantSize = 2, a.Size
	case vfs.Symlink:
		wantSize = uint64(len("some/where"))
	default:
	}
	if a.Type != t || a.Nlink != nlink || a.UID != b.w.UID || a.GID != b.w.GID || a.Size != wantSize {
		b.Errorf("new object of type %d: %+v", t, a)
	}
	if a.Mtime.Compare(a.Ctime) > 0 { // owner and mode may come after the name, as on a host
		b.Errorf("new object has mtime %v and ctime %v", a.Mtime, a.Ctime)
	}
}

func checkSpecial(b *bench) {
	types := []vfs.Type{vfs.FIFO, vfs.Socket}
	if !b.opts.NoDevices && b.w.IsRoot() {
		types = append(types, vfs.Char, vfs.Block)
	}
	for _, t := range types {
		how := &vfs.How{Type: t}
		if t == vfs.Char || t == vfs.Block {
			how.Major, how.Minor = 7, 300
		}
		a := b.mk(b.dir, "x"+string(rune('0'+t)), how)
		b.born(a, t, 1)
		if a.Major != how.Major || a.Minor != how.Minor {
			b.Errorf("device %d:%d, want %d:%d", a.Major, a.Minor, how.Major, how.Minor)
		}
	}
}

func checkInitial(b *bench) {
	at, mt := vfs.Time{Sec: 1_000_000_000}, vfs.Time{Sec: 1_100_000_000}
	set := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetSize | vfs.SetAtime | vfs.SetMtime, Mode: 0o1751, Size: 5000, Atime: at, Mtime: mt}
	for _, e := range []vfs.Exists{vfs.Unchecked, vfs.Guarded} {
		a := b.mk(b.dir, "f"+string(rune('0'+e)), &vfs.How{Type: vfs.Regular, Exists: e, Set: set})
		if a.Mode != 0o1751 || a.Size != 5000 || a.Atime != at || a.Mtime != mt {
			b.Errorf("made with all attributes: %+v", a)
		}
	}
	a := b.mk(b.dir, "d", &vfs.How{Type: vfs.Directory, Set: set})
	if a.Mode != 0o1751 || a.Mtime != mt {
		b.Errorf("directory made with all attributes: %+v", a)
	}
	a, _, err := b.fs.Make(b.ctx, b.w, b.dir, name("bare"), &vfs.How{Type: vfs.Regular})
	b.ok(err, "Make")
	if a.Mode != 0 {
		b.Errorf("made without a mode: %04o", a.Mode)
	}
	if b.opts.As == nil {
		set.Mask, set.UID, set.GID = vfs.SetUID|vfs.SetGID|vfs.SetMode, ann.UID, ann.GID
		if a := b.mk(b.dir, "anns", &vfs.How{Type: vfs.Regular, Set: set}); a.UID != ann.UID || a.GID != ann.GID {
			b.Errorf("made for another: %+v", a)
		}
	}
}

func checkMakeChange(b *bench) {
	for i, t := range []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink} {
		before := b.attr(b.dir)
		_, c, err := b.fs.Make(b.ctx, b.w, b.dir, name(string(rune('a'+i))), &vfs.How{Type: t, Target: "t"})
		b.ok(err, "Make")
		b.change("Make", c, before)
		after := b.attr(b.dir)
		b.moved("Make", before, after, true)
		if want := before.Nlink; t == vfs.Directory && after.Nlink != want+1 || t != vfs.Directory && after.Nlink != want {
			b.Errorf("type %d: the directory's links went from %d to %d", t, before.Nlink, after.Nlink)
		}
	}
}

func checkExist(b *bench) {
	b.file("f")
	b.folder("d")
	b.mk(b.dir, "l", &vfs.How{Type: vfs.Symlink, Target: "f"})
	before := b.attr(b.dir)
	for _, s := range []string{"f", "d", "l"} {
		for t, how := range map[string]vfs.How{
			"guarded":   {Type: vfs.Regular, Exists: vfs.Guarded},
			"exclusive": {Type: vfs.Regular, Exists: vfs.Exclusive, Verifier: [8]byte{9}},
			"directory": {Type: vfs.Directory},
			"symlink":   {Type: vfs.Symlink, Target: "t"},
		} {
			_, c, err := b.fs.Make(b.ctx, b.w, b.dir, name(s), &how)
			b.want(err, t+" over "+s, vfs.Exist)
			b.unchanged("Make", c, before)
		}
		if s != "f" {
			_, _, err := b.fs.Make(b.ctx, b.w, b.dir, name(s), &vfs.How{Type: vfs.Regular})
			b.want(err, "unchecked over "+s, vfs.Exist)
		}
	}
	b.still("a refused Make", before)
}

// unchanged wants c, of a call that failed, to show no change since before.
func (b *bench) unchanged(what string, c vfs.Change, before vfs.Attr) {
	b.Helper()
	if c.HasBefore && c.Before != before.Pre() || c.HasAfter && c.After.Pre() != before.Pre() {
		b.Errorf("%s changed %+v to %+v, was %+v", what, c.Before, c.After.Pre(), before.Pre())
	}
}

func checkUnchecked(b *bench) {
	n := b.file("f")
	b.write(n, "0123456789", 0)
	before, dir := b.attr(n), b.attr(b.dir)
	set := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtime, Mode: 0o777, Mtime: vfs.Time{Sec: 1}}
	a, c, err := b.fs.Make(b.ctx, b.w, b.dir, name("f"), &vfs.How{Type: vfs.Regular, Set: set})
	b.ok(err, "UNCHECKED")
	if a.Node.ID != n.ID {
		b.Errorf("another node: %v, want %v", a.Node.ID, n.ID)
	}
	b.still("UNCHECKED without a size", before)
	b.unchanged("UNCHECKED", c, dir)

	set.Mask, set.Size = set.Mask|vfs.SetSize, 4
	a, _, err = b.fs.Make(b.ctx, b.w, b.dir, name("f"), &vfs.How{Type: vfs.Regular, Set: set})
	b.ok(err, "UNCHECKED with a size")
	if a.Size != 4 || a.Mode != before.Mode {
		b.Errorf("UNCHECKED with a size: %+v", a)
	}
	b.moved("UNCHECKED with a size", before, a, true)
	if got := b.read(n, 0, 10); got != "0123" {
		b.Errorf("cut to %q", got)
	}
	b.still("UNCHECKED of what is there", a)
}

func checkExclusive(b *bench) {
	how := &vfs.How{Type: vfs.Regular, Exists: vfs.Exclusive, Verifier: [8]byte{0x81, 2, 3, 4, 0x85, 6, 7, 8}}
	a, _, err := b.fs.Make(b.ctx, b.w, b.dir, name("f"), how)
	b.ok(err, "EXCLUSIVE")
	dir := b.attr(b.dir)
	again, c, err := b.fs.Make(b.ctx, b.w, b.dir, name("f"), how)
	b.ok(err, "EXCLUSIVE again")
	if again.Node.ID != a.Node.ID {
		b.Errorf("again: %v, want %v", again.Node.ID, a.Node.ID)
	}
	b.unchanged("EXCLUSIVE again", c, dir)
	for i := range how.Verifier {
		other := *how
		other.Verifier[i] ^= 1
		_, _, err = b.fs.Make(b.ctx, b.w, b.dir, name("f"), &other)
		b.want(err, "EXCLUSIVE with another verifier", vfs.Exist)
	}
	b.set(a.Node, vfs.SetAttr{Mask: vfs.SetMode | vfs.SetAtimeNow | vfs.SetMtimeNow, Mode: 0o644})
	_, _, err = b.fs.Make(b.ctx, b.w, b.dir, name("f"), how)
	b.want(err, "EXCLUSIVE after the first SETATTR", vfs.Exist)
}

func checkBadType(b *bench) {
	for _, t := range []vfs.Type{0, vfs.FIFO + 1, 255} {
		_, _, err := b.fs.Make(b.ctx, b.w, b.dir, name("x"), &vfs.How{Type: t})
		b.want(err, "Make", vfs.BadType)
	}
	_, _, err := b.fs.Make(b.ctx, b.w, b.dir, name("x"), &vfs.How{Type: vfs.Regular, Exists: vfs.Exclusive + 1})
	b.want(err, "Make", vfs.Inval)
	b.hasNot(b.dir, "x")
}

func checkTargets(b *bench) {
	for i, target := range []string{"t", "../../etc/passwd", "/", "\xff\xfe", strings.Repeat("x/", 500)} {
		a := b.mk(b.dir, string(rune('a'+i)), &vfs.How{Type: vfs.Symlink, Target: target})
		got, at, err := b.fs.ReadLink(b.ctx, b.w, a.Node)
		b.ok(err, "ReadLink")
		if got != target || a.Size != uint64(len(target)) || at.Node.ID != a.Node.ID || a.Mode != 0o777 {
			b.Errorf("target %q: %q, %+v", target, got, a)
		}
	}
	for target, want := range map[string]vfs.Status{"": vfs.Inval, "a\x00b": vfs.Inval, strings.Repeat("x", TargetMax+1): vfs.NameTooLong} {
		_, _, err := b.fs.Make(b.ctx, b.w, b.dir, name("bad"), &vfs.How{Type: vfs.Symlink, Target: target})
		b.want(err, "a bad target", want)
	}
	b.hasNot(b.dir, "bad")
	for _, n := range []vfs.Node{b.file("f"), b.folder("dir")} {
		_, _, err := b.fs.ReadLink(b.ctx, b.w, n)
		b.want(err, "ReadLink", vfs.Inval)
	}
}

func checkNames(b *bench) {
	all := map[string]vfs.Node{}
	spellings := []string{"...", " ", "-", "\n", "*", "\x01", ".hidden", "a b", "\\", strings.Repeat("n", vfs.NameMax), strings.Repeat("n", vfs.NameMax-1)}
	if !b.opts.FoldedNames {
		spellings = append(spellings, "\xff\xfe", "Case", "case", "é", "e\u0301")
	}
	for _, s := range spellings {
		all[s] = b.file(s)
	}
	for s, n := range all {
		b.has(b.dir, s, n)
	}
	got := b.names(b.dir)
	if len(got) != len(all) {
		b.Errorf("%d names listed, want %d: %q", len(got), len(all), got)
	}
	for _, s := range got {
		if _, ok := all[s]; !ok {
			b.Errorf("listed %q", s)
		}
	}
}

func checkMakeInFile(b *bench) {
	f := b.file("f")
	for _, t := range []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink} {
		_, _, err := b.fs.Make(b.ctx, b.w, f, name("x"), &vfs.How{Type: t, Target: "t"})
		b.want(err, "Make in a file", vfs.NotDir)
	}
}
