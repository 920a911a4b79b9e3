package vfstest

import (
	"fmt"

	"sheaf/vfs"
)

var readDirPromises = []promise{
	{"every entry once, in the order of cookies", 0, checkList},
	{"a listing goes on from any cookie", 0, checkResume},
	{"cookies do not move", 0, checkCookiesStay},
	{"changes during a listing neither hide nor repeat the others", 0, checkListWhileChanging},
	{"attributes of entries", 0, checkListAttrs},
}

// list is the listing of dir after a cookie, stopping after limit entries (0: none).
func (b *bench) list(dir vfs.Node, after vfs.Cookie, attrs bool, limit int) ([]vfs.DirEntry, bool) {
	b.Helper()
	var all []vfs.DirEntry
	last := after
	a, eof, err := b.fs.ReadDir(b.ctx, b.w, dir, after, attrs, func(e *vfs.DirEntry) bool {
		if e.Cookie <= last || e.Cookie < vfs.FirstCookie || e.Cookie > vfs.MaxCookie {
			b.Fatalf("cookie %d of %q after %d", e.Cookie, e.Name, last)
		}
		last = e.Cookie
		all = append(all, *e)
		return len(all) != limit
	})
	b.ok(err, "ReadDir")
	if a.Node.ID != dir.ID {
		b.Errorf("ReadDir of %v gave attributes of %v", dir.ID, a.Node.ID)
	}
	if limit > 0 && len(all) > limit {
		b.Fatalf("ReadDir went on after false")
	}
	return all, eof
}

// fill makes count files in the directory of the bench.
func (b *bench) fill(count int) map[string]vfs.Node {
	b.Helper()
	made := map[string]vfs.Node{}
	for i := range count {
		s := fmt.Sprintf("file %d", i)
		made[s] = b.file(s)
	}
	return made
}

func checkList(b *bench) {
	if got, eof := b.list(b.dir, 0, true, 0); len(got) != 0 || !eof {
		b.Errorf("empty directory: %v, eof %v", got, eof)
	}
	made := b.fill(300)
	got, eof := b.list(b.dir, 0, false, 0)
	if !eof || len(got) != len(made) {
		b.Errorf("%d entries, eof %v, want %d", len(got), eof, len(made))
	}
	for _, e := range got {
		if made[e.Name.String()].ID != e.Node.ID {
			b.Errorf("%q is %v, want %v", e.Name, e.Node.ID, made[e.Name.String()].ID)
		}
		delete(made, e.Name.String())
	}
	if len(made) > 0 {
		b.Errorf("not listed: %v", made)
	}
}

func checkResume(b *bench) {
	b.fill(100)
	whole, _ := b.list(b.dir, 0, false, 0)
	for _, page := range []int{1, 7, 64, 99, 100, 101} {
		var got []vfs.DirEntry
		after, eof := vfs.Cookie(0), false
		for pages := 0; !eof; pages++ {
			if pages > len(whole)+1 {
				b.Fatalf("pages of %d: no end", page)
			}
			var part []vfs.DirEntry
			if part, eof = b.list(b.dir, after, false, page); len(part) > 0 {
				after = part[len(part)-1].Cookie
			}
			got = append(got, part...)
		}
		if len(got) != len(whole) {
			b.Fatalf("pages of %d: %d entries, want %d", page, len(got), len(whole))
		}
		for i := range got {
			if got[i].Name != whole[i].Name || got[i].Cookie != whole[i].Cookie {
				b.Fatalf("pages of %d: entry %d is %q at %d, want %q at %d", page, i, got[i].Name, got[i].Cookie, whole[i].Name, whole[i].Cookie)
			}
		}
	}
	for _, c := range []vfs.Cookie{1, 2} { // after "." and ".."
		if got, _ := b.list(b.dir, c, false, 0); len(got) != len(whole) {
			b.Errorf("after cookie %d: %d entries, want %d", c, len(got), len(whole))
		}
	}
	if got, eof := b.list(b.dir, vfs.MaxCookie, false, 0); len(got) != 0 || !eof {
		b.Errorf("after the last cookie: %d entries, eof %v", len(got), eof)
	}
}

// cookies are the cookies of the names in dir.
func (b *bench) cookies(dir vfs.Node) map[string]vfs.Cookie {
	b.Helper()
	all := map[string]vfs.Cookie{}
	entries, _ := b.list(dir, 0, false, 0)
	for _, e := range entries {
		all[e.Name.String()] = e.Cookie
	}
	return all
}

func checkCookiesStay(b *bench) {
	b.fill(50)
	before := b.cookies(b.dir)
	for i := range 25 {
		_, err := b.fs.Remove(b.ctx, b.w, b.dir, name(fmt.Sprintf("file %d", 2*i)))
		b.ok(err, "Remove")
		b.file(fmt.Sprintf("new %d", i))
	}
	b.file("over")
	b.rename(b.dir, "over", b.dir, "file 1")
	after := b.cookies(b.dir)
	for i := range 25 {
		s := fmt.Sprintf("file %d", 2*i+1)
		if before[s] != after[s] {
			b.Errorf("%s moved from %d to %d", s, before[s], after[s])
		}
	}
	if len(after) != 50 {
		b.Errorf("%d names, want 50", len(after))
	}
}

func checkListWhileChanging(b *bench) {
	stay := b.fill(200)
	b.folder("elsewhere")
	times := map[string]int{}
	after, eof := vfs.Cookie(0), false
	for i := 0; !eof; i++ {
		var page []vfs.DirEntry
		page, eof = b.list(b.dir, after, i%2 == 0, 9)
		for _, e := range page {
			times[e.Name.String()]++
			after = e.Cookie
		}
		if i < 40 { // comes; the one before it goes again
			b.file(fmt.Sprintf("comes %d", i))
			if i > 0 {
				_, err := b.fs.Remove(b.ctx, b.w, b.dir, name(fmt.Sprintf("comes %d", i-1)))
				b.ok(err, "Remove")
			}
		}
		if i == 5 {
			for j := range 20 { // these leave for good
				s := fmt.Sprintf("file %d", j)
				_, err := b.fs.Remove(b.ctx, b.w, b.dir, name(s))
				b.ok(err, "Remove")
				delete(stay, s)
			}
		}
	}
	for s := range stay {
		if times[s] != 1 {
			b.Errorf("%s was there all the time and listed %d times", s, times[s])
		}
	}
	for s, n := range times {
		if n > 1 {
			b.Errorf("%s was listed %d times", s, n)
		}
	}
}

func checkListAttrs(b *bench) {
	n := b.file("f")
	b.write(n, "12345", 0)
	b.folder("d")
	b.mk(b.dir, "l", &vfs.How{Type: vfs.Symlink})
	entries, _ := b.list(b.dir, 0, true, 0)
	if len(entries) != 3 {
		b.Fatalf("%d entries, want 3", len(entries))
	}
	for _, e := range entries {
		want := b.attr(e.Node)
		if want.Atime = e.Attr.Atime; !e.HasAttr || e.Attr.Node.ID != e.Node.ID || e.Attr.Ctime != want.Ctime || e.Attr.Size != want.Size || e.Attr.Type != want.Type {
			b.Errorf("%q: %+v, want %+v", e.Name, e.Attr, want)
		}
	}
}
