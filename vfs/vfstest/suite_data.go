package vfstest

import (
	"strings"

	"sheaf/vfs"
)

var dataPromises = []promise{
	{"what is written can be read", 0, checkReadWrite},
	{"eof is told", 0, checkEOF},
	{"holes read as zeros", 0, checkHoles},
	{"a write moves mtime and ctime", 0, checkWriteTimes},
	{"a write of nothing changes nothing", 0, checkWriteNothing},
	{"a write is at least as stable as asked for", 0, checkStable},
	{"Commit gives the verifier of the writes", 0, checkCommit},
	{"a write beyond the largest size is FBig", 0, checkFBig},
	{"data belongs to regular files", 0, checkNoData},
	{"data is reached by every name", links, checkLinkedData},
}

func checkReadWrite(b *bench) {
	n := b.file("f")
	const length = 3*65536 + 17
	text := strings.Repeat("abcdefg", length/7+1)[:length]
	b.write(n, text, 0)
	for _, r := range []struct {
		off   uint64
		count int
	}{{0, length}, {0, 1}, {65535, 2}, {4095, 8193}, {length - 1, 1}, {1, length - 1}} {
		if got := b.read(n, r.off, r.count); got != text[r.off:r.off+uint64(r.count)] {
			b.Errorf("%d bytes at %d differ", r.count, r.off)
		}
	}
	b.write(n, "XYZ", 70_000)
	if got := b.read(n, 69_999, 5); got != text[69_999:70_000]+"XYZ"+text[70_003:70_004] {
		b.Errorf("overwritten: %q", got)
	}
	if a := b.attr(n); a.Size != length {
		b.Errorf("size %d, want %d", a.Size, length)
	}
}

func checkEOF(b *bench) {
	n := b.file("f")
	if got := b.read(n, 0, 10); got != "" {
		b.Errorf("empty file: %q", got)
	}
	b.write(n, "0123456789", 0)
	for _, r := range []struct {
		off   uint64
		count int
		want  string
		eof   bool
	}{
		{0, 9, "012345678", false},
		{0, 10, "0123456789", true},
		{5, 100, "56789", true},
		{10, 1, "", true},
		{1 << 40, 1, "", true},
		{1<<63 - 1, 10, "", true},
		{1<<64 - 1, 10, "", true},
		{3, 0, "", false},
		{10, 0, "", true},
	} {
		buf := make([]byte, r.count)
		got, eof, a, err := b.fs.Read(b.ctx, b.w, n, buf, r.off)
		b.ok(err, "Read")
		if string(buf[:got]) != r.want || eof != r.eof || a.Size != 10 {
			b.Errorf("%d at %d: %q, eof %v, size %d", r.count, r.off, buf[:got], eof, a.Size)
		}
	}
}

func checkHoles(b *bench) {
	n := b.file("f")
	b.write(n, "end", 1<<20)
	if got := b.read(n, 1<<20-5, 10); got != "\x00\x00\x00\x00\x00end" {
		b.Errorf("around the end: %q", got)
	}
	if got := b.read(n, 0, 4096); got != strings.Repeat("\x00", 4096) {
		b.Error("the hole is not zeros")
	}
	b.set(n, vfs.SetAttr{Mask: vfs.SetSize, Size: 1<<20 + 1})
	b.set(n, vfs.SetAttr{Mask: vfs.SetSize, Size: 1<<20 + 10})
	if got := b.read(n, 1<<20, 20); got != "e"+strings.Repeat("\x00", 9) {
		b.Errorf("cut and extended: %q", got)
	}
	b.set(n, vfs.SetAttr{Mask: vfs.SetSize, Size: 0})
	b.write(n, "x", 4096)
	if got := b.read(n, 0, 10); got != strings.Repeat("\x00", 10) {
		b.Errorf("emptied and written again: %q", got)
	}
}

func checkWriteTimes(b *bench) {
	n := b.file("f")
	for i := range 5 {
		before := b.attr(n)
		c := b.write(n, "same", 0)
		b.change("Write", c, before)
		b.moved("Write", before, b.attr(n), true)
		if i == 2 {
			b.set(n, vfs.SetAttr{Mask: vfs.SetMtime, Mtime: vfs.Time{Sec: 1 << 33}}) // in 2242; back it must come
		}
	}
	before := b.attr(n)
	b.read(n, 0, 4)
	b.still("Read", before)
}

func checkWriteNothing(b *bench) {
	n := b.file("f")
	b.write(n, "data", 0)
	before := b.attr(n)
	w, c, err := b.fs.Write(b.ctx, b.w, n, nil, 1000, vfs.FileSync)
	b.ok(err, "Write of nothing")
	if w.Count != 0 {
		b.Errorf("Write of nothing took %d bytes", w.Count)
	}
	b.change("Write of nothing", c, before)
	b.still("Write of nothing", before)
}

func checkStable(b *bench) {
	n := b.file("f")
	for _, s := range []vfs.Stable{vfs.Unstable, vfs.DataSync, vfs.FileSync} {
		w, _, err := b.fs.Write(b.ctx, b.w, n, []byte("data"), 0, s)
		b.ok(err, "Write")
		if w.Stable < s || w.Stable > vfs.FileSync {
			b.Errorf("asked for %d, got %d", s, w.Stable)
		}
	}
}

func checkCommit(b *bench) {
	n, other := b.file("f"), b.file("g")
	w, _, err := b.fs.Write(b.ctx, b.w, n, []byte("data"), 0, vfs.Unstable)
	b.ok(err, "Write")
	before := b.attr(n)
	for _, r := range [][2]uint64{{0, 4}, {0, 0}, {2, 1}, {1 << 40, 10}, {1<<64 - 1, 1<<64 - 1}} {
		v, c, err := b.fs.Commit(b.ctx, b.w, n, r[0], r[1])
		b.ok(err, "Commit")
		if v != w.Verifier {
			b.Errorf("Commit of %v: verifier %x, the write's is %x", r, v, w.Verifier)
		}
		b.change("Commit", c, before)
	}
	b.still("Commit", before)
	w2, _, err := b.fs.Write(b.ctx, b.w, other, []byte("data"), 0, vfs.Unstable)
	b.ok(err, "Write")
	if w2.Verifier != w.Verifier {
		b.Error("the verifier changed though nothing happened")
	}
}

func checkFBig(b *bench) {
	n := b.file("f")
	before := b.attr(n)
	limits, _, err := b.fs.Limits(b.ctx, b.w, n)
	b.ok(err, "Limits")
	for _, off := range []uint64{limits.MaxFileSize, limits.MaxFileSize - 2, 1<<63 - 2, 1 << 63, 1<<64 - 1, 1<<64 - 3} {
		_, _, err := b.fs.Write(b.ctx, b.w, n, []byte("data"), off, vfs.FileSync)
		b.want(err, "Write beyond the limit", vfs.FBig)
	}
	b.still("a write beyond the limit", before)
	_, err = b.fs.SetAttr(b.ctx, b.w, n, &vfs.SetAttr{Mask: vfs.SetSize, Size: 1<<64 - 1}, nil)
	b.want(err, "SetAttr beyond the limit", vfs.FBig)
}

func checkNoData(b *bench) {
	for _, t := range []vfs.Type{vfs.Directory, vfs.Symlink, vfs.FIFO} {
		if t == vfs.FIFO && b.opts.NoSpecial {
			continue
		}
		want := vfs.Inval
		if t == vfs.Directory {
			want = vfs.IsDir
		}
		n := b.mk(b.dir, "x"+string(rune('0'+t)), &vfs.How{Type: t}).Node
		_, _, _, err := b.fs.Read(b.ctx, b.w, n, make([]byte, 1), 0)
		b.want(err, "Read", want)
		_, _, err = b.fs.Write(b.ctx, b.w, n, []byte{1}, 0, vfs.Unstable)
		b.want(err, "Write", want)
		_, _, err = b.fs.Commit(b.ctx, b.w, n, 0, 0)
		b.want(err, "Commit", want)
	}
}

func checkLinkedData(b *bench) {
	n := b.file("f")
	_, _, err := b.fs.Link(b.ctx, b.w, n, b.dir, name("g"))
	b.ok(err, "Link")
	b.write(b.lookup(b.dir, "g").Node, "data", 0)
	_, err = b.fs.Remove(b.ctx, b.w, b.dir, name("f"))
	b.ok(err, "Remove")
	if got := b.read(n, 0, 10); got != "data" {
		b.Errorf("by the node: %q", got)
	}
}
