package wire

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

func TestGetAttr(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	a := c.ok(nfs.NFSProcedureGetAttr, fh(root)).attr
	if a.typ != uint32(vfs.Directory) || a.mode != 0o755 || a.nlink != 2 || a.fsid != 0x5ea1f || a.fileid == 0 {
		t.Errorf("root: %+v", a)
	}
	f := c.put(root, "f", "hello")
	a = c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr
	if a.typ != uint32(vfs.Regular) || a.mode != 0o644 || a.size != 5 || a.used == 0 || a.major != 0 {
		t.Errorf("file: %+v", a)
	}
	dev := c.ok(nfs.NFSProcedureMkNod, fh(root).str("null").u32(uint32(vfs.Char)).set(setMode(0o666)).u32(1).u32(3)).fh
	if a = c.ok(nfs.NFSProcedureGetAttr, fh(dev)).attr; a.major != 1 || a.minor != 3 || a.typ != uint32(vfs.Char) {
		t.Errorf("device: %+v", a)
	}
	c.ok(nfs.NFSProcedureRemove, fh(root).str("f"))
	c.want(nfs.NFSStatusStale, nfs.NFSProcedureGetAttr, fh(f))
}

func TestSetAttr(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	f := c.put(root, "f", "0123456789")
	before := c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr

	r := c.ok(nfs.NFSProcedureSetAttr, fh(f).set(settings{
		mode: new(uint32(0o100640)), uid: new(uint32(7)), gid: new(uint32(8)), size: new(uint64(4)),
		atime: &nstime{11, 12}, mtime: &nstime{13, 14},
	}).guard(before.ctime))
	a := r.wcc.post
	if a.mode != 0o640 || a.uid != 7 || a.gid != 8 || a.size != 4 || a.atime != (nstime{11, 12}) || a.mtime != (nstime{13, 14}) {
		t.Errorf("after: %+v", a)
	}
	if !r.wcc.pre || r.wcc.size != 10 || r.wcc.ctime != before.ctime || r.wcc.mtime != before.mtime {
		t.Errorf("before: %+v, want %+v", r.wcc, before)
	}
	r = c.want(nfs.NFSStatusNotSync, nfs.NFSProcedureSetAttr, fh(f).set(setMode(0)).guard(before.ctime))
	if r.wcc.post == nil || r.wcc.post.mode != 0o640 {
		t.Errorf("a wrong guard changed %+v", r.wcc.post)
	}
	c.ok(nfs.NFSProcedureSetAttr, fh(f).set(settings{atimeNow: true, mtimeNow: true}).noGuard())
	if a := c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr; a.mtime.sec == 13 || a.atime.sec == 11 {
		t.Errorf("times were not set to now: %+v", a)
	}
	c.want(nfs.NFSStatusFBig, nfs.NFSProcedureSetAttr, fh(f).set(settings{size: new(uint64(1 << 63))}).noGuard())
	c.want(nfs.NFSStatusInval, nfs.NFSProcedureSetAttr, fh(f).set(settings{uid: new(uint32(math.MaxUint32))}).noGuard())
	c.want(nfs.NFSStatusIsDir, nfs.NFSProcedureSetAttr, fh(root).set(settings{size: new(uint64(1))}).noGuard())
	c.as(1000, 1000).want(nfs.NFSStatusPerm, nfs.NFSProcedureSetAttr, fh(f).set(setMode(0o777)).noGuard())
}

func TestLookup(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	d := c.mkdir(root, "d", 0o755)
	f := c.put(d, "f", "")
	r := c.ok(nfs.NFSProcedureLookup, fh(d).str("f"))
	if !bytes.Equal(r.fh, f) || r.attr == nil || r.dir == nil || r.dir.typ != uint32(vfs.Directory) {
		t.Errorf("lookup: %+v", r)
	}
	if r := c.want(nfs.NFSStatusNoEnt, nfs.NFSProcedureLookup, fh(d).str("none")); r.attr == nil {
		t.Error("a miss carries no attributes of the directory: the client cannot remember it")
	}
	c.want(nfs.NFSStatusNotDir, nfs.NFSProcedureLookup, fh(f).str("x"))
	c.want(nfs.NFSStatusNameTooLong, nfs.NFSProcedureLookup, fh(d).str(strings.Repeat("n", 256)))
	name := "\xff\xfe not UTF-8 \x01\n"
	g := c.create(d, name, 0o600)
	if got := c.lookup(d, name); !bytes.Equal(got, g) {
		t.Error("a name that is not UTF-8 leads elsewhere")
	}
	c.ok(nfs.NFSProcedureSetAttr, fh(d).set(setMode(0o700)).noGuard())
	c.as(1000, 1000)
	for _, name := range []string{"f", ".", ".."} {
		c.want(nfs.NFSStatusAccess, nfs.NFSProcedureLookup, fh(d).str(name))
	}
}

func TestAccess(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	f := c.create(root, "f", 0o640)
	const all = uint32(vfs.AccessAll)
	for _, tt := range []struct {
		uid, gid uint32
		want     vfs.AccessMask
	}{
		{0, 0, vfs.AccessRead | vfs.AccessModify | vfs.AccessExtend},
		{1000, 0, vfs.AccessRead},
		{1000, 1000, 0},
	} {
		r := c.as(tt.uid, tt.gid).ok(nfs.NFSProcedureAccess, fh(f).u32(all|1<<20))
		if vfs.AccessMask(r.access) != tt.want || r.attr == nil {
			t.Errorf("%d:%d may %#x, want %#x", tt.uid, tt.gid, r.access, tt.want)
		}
	}
}

func TestReadLink(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	target := "../\xe9/" + strings.Repeat("t", 3000)
	l := c.ok(nfs.NFSProcedureSymlink, fh(root).str("l").set(setMode(0o777)).str(target)).fh
	if r := c.ok(nfs.NFSProcedureReadlink, fh(l)); string(r.data) != target || r.attr == nil {
		t.Errorf("target %.20q…", r.data)
	}
	c.want(nfs.NFSStatusInval, nfs.NFSProcedureReadlink, fh(root))
	c.want(nfs.NFSStatusNameTooLong, nfs.NFSProcedureSymlink, fh(root).str("m").set(settings{}).str(strings.Repeat("t", 4096)))
}

func TestReadWrite(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	f := c.create(root, "f", 0o644)
	data := strings.Repeat("0123456789abcdef", 1000)[:9999]
	r := c.ok(nfs.NFSProcedureWrite, writeArgs(f, 1, vfs.Unstable, data))
	if r.count != 9999 || r.wcc.post.size != 10000 || !r.wcc.pre || r.wcc.size != 0 {
		t.Errorf("write: %+v", r)
	}
	cm := c.ok(nfs.NFSProcedureCommit, fh(f).u64(0).u32(0))
	if !bytes.Equal(cm.verf, r.verf) || cm.wcc.post == nil {
		t.Errorf("commit's verifier %x, write's %x", cm.verf, r.verf)
	}
	for _, tt := range []struct {
		off  uint64
		size uint32
		want string
		eof  bool
	}{
		{0, 4, "\x00012", false},
		{1, 9998, data[:9998], false},
		{1, 9999, data, true},
		{9998, 100, data[9997:], true},
		{10000, 10, "", true},
		{1 << 40, 10, "", true},
		{5, 0, "", false},
	} {
		r := c.ok(nfs.NFSProcedureRead, fh(f).u64(tt.off).u32(tt.size))
		if string(r.data) != tt.want || r.eof != tt.eof || int(r.count) != len(tt.want) || r.attr.size != 10000 {
			t.Errorf("read of %d at %d: %d bytes, count %d, eof %v", tt.size, tt.off, len(r.data), r.count, r.eof)
		}
	}
	for _, stable := range []vfs.Stable{vfs.DataSync, vfs.FileSync} {
		if r := c.ok(nfs.NFSProcedureWrite, writeArgs(f, 0, stable, "x")); r.stable < uint32(stable) {
			t.Errorf("asked for %d, got %d", stable, r.stable)
		}
	}
	c.want(nfs.NFSStatusIsDir, nfs.NFSProcedureRead, fh(root).u64(0).u32(1))
	c.want(nfs.NFSStatusIsDir, nfs.NFSProcedureWrite, writeArgs(root, 0, vfs.FileSync, "x"))
	c.as(1000, 1000).want(nfs.NFSStatusAccess, nfs.NFSProcedureWrite, writeArgs(f, 0, vfs.FileSync, "x"))
}

// TestBigIO has the largest READ and WRITE, and larger ones cut to that.
func TestBigIO(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	f := c.create(root, "f", 0o644)
	big := strings.Repeat("sheaf ", 1<<20/6+8)
	if r := c.ok(nfs.NFSProcedureWrite, writeArgs(f, 0, vfs.Unstable, big[:1<<20])); r.count != 1<<20 {
		t.Errorf("wrote %d", r.count)
	}
	if r := c.ok(nfs.NFSProcedureRead, fh(f).u64(0).u32(1<<20)); string(r.data) != big[:1<<20] {
		t.Errorf("read %d other bytes", len(r.data))
	}
	if r := c.ok(nfs.NFSProcedureWrite, writeArgs(f, 1<<20, vfs.Unstable, big[:1<<20+6])); r.count != 1<<20 {
		t.Errorf("of too much, wrote %d", r.count)
	}
	if r := c.ok(nfs.NFSProcedureRead, fh(f).u64(0).u32(math.MaxUint32)); r.count != 1<<20 || r.eof {
		t.Errorf("asked for 4 GiB, got %d, eof %v", r.count, r.eof)
	}
}

func TestCreate(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	f := c.put(root, "f", "data")
	r := c.ok(nfs.NFSProcedureCreate, fh(root).str("f").u32(0).set(setMode(0o600)))
	if !bytes.Equal(r.fh, f) || r.attr.size != 4 || r.attr.mode != 0o644 {
		t.Errorf("UNCHECKED on a file that is there: %+v", r.attr)
	}
	r = c.ok(nfs.NFSProcedureCreate, fh(root).str("f").u32(0).set(settings{size: new(uint64(0))}))
	if r.attr.size != 0 {
		t.Errorf("UNCHECKED with size 0 left %d bytes", r.attr.size)
	}
	r = c.want(nfs.NFSStatusExist, nfs.NFSProcedureCreate, fh(root).str("f").u32(1).set(settings{}))
	if r.wcc.post == nil {
		t.Error("a failed CREATE says nothing about the directory")
	}
	excl := func(name, verf string) args { return fh(root).str(name).u32(2).raw([]byte(verf)...) }
	x := c.ok(nfs.NFSProcedureCreate, excl("x", "verifier")).fh
	if r := c.ok(nfs.NFSProcedureCreate, excl("x", "verifier")); !bytes.Equal(r.fh, x) {
		t.Error("EXCLUSIVE again with the same verifier gave another file")
	}
	c.want(nfs.NFSStatusExist, nfs.NFSProcedureCreate, excl("x", "another!"))
	c.want(nfs.NFSStatusExist, nfs.NFSProcedureCreate, excl("f", "verifier"))
	c.as(1000, 1000).want(nfs.NFSStatusAccess, nfs.NFSProcedureCreate, fh(root).str("g").u32(1).set(settings{}))
}

func TestMake(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	r := c.ok(nfs.NFSProcedureMkDir, fh(root).str("d").set(setMode(0o1711)))
	if r.attr.typ != uint32(vfs.Directory) || r.attr.mode != 0o1711 || r.wcc.post.nlink != 3 || !r.wcc.pre {
		t.Errorf("mkdir: %+v, parent %+v", r.attr, r.wcc)
	}
	c.want(nfs.NFSStatusExist, nfs.NFSProcedureMkDir, fh(root).str("d").set(settings{}))
	for typ, name := range map[vfs.Type]string{vfs.FIFO: "p", vfs.Socket: "s"} {
		r := c.ok(nfs.NFSProcedureMkNod, fh(root).str(name).u32(uint32(typ)).set(setMode(0o600)))
		if r.attr.typ != uint32(typ) || r.attr.mode != 0o600 {
			t.Errorf("mknod of %d: %+v", typ, r.attr)
		}
	}
	r = c.ok(nfs.NFSProcedureMkNod, fh(root).str("b").u32(uint32(vfs.Block)).set(setMode(0o600)).u32(8).u32(1))
	if r.attr.major != 8 || r.attr.minor != 1 {
		t.Errorf("block device: %+v", r.attr)
	}
	for _, typ := range []uint32{0, uint32(vfs.Regular), uint32(vfs.Directory), uint32(vfs.Symlink), 8, math.MaxUint32} {
		c.want(nfs.NFSStatusBadType, nfs.NFSProcedureMkNod, fh(root).str("z").u32(typ))
	}
	f := c.create(root, "f", 0)
	c.want(nfs.NFSStatusNotDir, nfs.NFSProcedureMkDir, fh(f).str("x").set(settings{}))
}

func TestRemoveRenameLink(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	d, e := c.mkdir(root, "d", 0o755), c.mkdir(root, "e", 0o755)
	f := c.put(d, "f", "one")
	r := c.ok(nfs.NFSProcedureLink, fh(f).fh(e).str("g"))
	if r.attr.nlink != 2 || r.wcc.post == nil || !r.wcc.pre {
		t.Errorf("link: %+v, %+v", r.attr, r.wcc)
	}
	c.want(nfs.NFSStatusExist, nfs.NFSProcedureLink, fh(f).fh(e).str("g"))
	c.want(nfs.NFSStatusInval, nfs.NFSProcedureLink, fh(d).fh(e).str("h"))
	r = c.ok(nfs.NFSProcedureRename, fh(d).str("f").fh(e).str("h"))
	if r.wcc.post == nil || r.to.post == nil || r.wcc.post.fileid == r.to.post.fileid {
		t.Errorf("rename: %+v, %+v", r.wcc, r.to)
	}
	c.want(nfs.NFSStatusNoEnt, nfs.NFSProcedureRename, fh(d).str("f").fh(e).str("h"))
	c.want(nfs.NFSStatusNotEmpty, nfs.NFSProcedureRmDir, fh(root).str("e"))
	c.want(nfs.NFSStatusInval, nfs.NFSProcedureRename, fh(root).str("e").fh(e).str("in"))
	c.want(nfs.NFSStatusIsDir, nfs.NFSProcedureRemove, fh(root).str("e"))
	c.want(nfs.NFSStatusNotDir, nfs.NFSProcedureRmDir, fh(e).str("h"))
	if r := c.ok(nfs.NFSProcedureRemove, fh(e).str("h")); r.wcc.post == nil {
		t.Error("REMOVE says nothing about the directory")
	}
	if got := c.get(f); got != "one" {
		t.Errorf("the handle of a linked file reads %q after rename and remove of one name", got)
	}
	c.ok(nfs.NFSProcedureRemove, fh(e).str("g"))
	c.want(nfs.NFSStatusNoEnt, nfs.NFSProcedureRemove, fh(e).str("g"))
	c.ok(nfs.NFSProcedureRmDir, fh(root).str("e"))
	c.want(nfs.NFSStatusStale, nfs.NFSProcedureGetAttr, fh(e))
}

// names lists a directory page by page.
func (c *client) names(dir []byte, plus bool, count uint32) (names []string, pages int) {
	c.tb.Helper()
	for cookie := uint64(0); ; pages++ {
		proc, a := nfs.NFSProcedureReadDir, dirArgs(dir, cookie, count)
		if plus {
			proc, a = nfs.NFSProcedureReadDirPlus, plusArgs(dir, cookie, count, count)
		}
		r := c.ok(proc, a)
		if len(r.raw) > int(count) {
			c.tb.Fatalf("%v: %d bytes, at most %d were asked for", proc, len(r.raw), count)
		}
		for _, e := range r.entries {
			if e.cookie <= cookie {
				c.tb.Fatalf("%v: cookie %d after %d", proc, e.cookie, cookie)
			}
			cookie = e.cookie
			names = append(names, e.name)
		}
		if r.eof {
			return names, pages + 1
		}
		if len(r.entries) == 0 {
			c.tb.Fatalf("%v: a page without entries that is not the last", proc)
		}
	}
}

func TestReadDir(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	d := c.mkdir(root, "d", 0o755)
	want := []string{".", ".."}
	for i := range 300 {
		name := fmt.Sprintf("%d-%s", i, strings.Repeat("n", i%200))
		c.create(d, name, 0o644)
		want = append(want, name)
	}
	slices.Sort(want)
	for _, plus := range []bool{false, true} {
		for _, count := range []uint32{1024, 4096, 32768, math.MaxUint32} {
			got, pages := c.names(d, plus, count)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("plus %v, %d bytes a page: %d names, want %d", plus, count, len(got), len(want))
			}
			if count == 1024 && pages < 30 {
				t.Errorf("plus %v: %d pages of %d bytes cannot hold it", plus, pages, count)
			}
		}
	}
	r := c.ok(nfs.NFSProcedureReadDirPlus, plusArgs(d, 0, 4096, 4096))
	for _, e := range r.entries {
		if e.attr == nil || e.fh == nil || e.attr.fileid != e.fileid {
			t.Errorf("%q: fileid %d, attributes %+v, handle %x", e.name, e.fileid, e.attr, e.fh)
		}
	}
	dots := r.entries[:2]
	if dots[0].name != "." || dots[0].cookie != 1 || !bytes.Equal(dots[0].fh, d) ||
		dots[1].name != ".." || dots[1].cookie != 2 || !bytes.Equal(dots[1].fh, root) {
		t.Errorf("dots: %+v", dots)
	}
	// A page may begin after "." alone.
	if r := c.ok(nfs.NFSProcedureReadDir, dirArgs(d, 1, 4096)); r.entries[0].name != ".." {
		t.Errorf("after the cookie of dot comes %q", r.entries[0].name)
	}
	f := c.create(root, "f", 0)
	c.want(nfs.NFSStatusNotDir, nfs.NFSProcedureReadDir, dirArgs(f, 0, 4096))
	c.want(nfs.NFSStatusBadCookie, nfs.NFSProcedureReadDir, dirArgs(d, 1<<63, 4096))
	for _, count := range []uint32{0, 100, 120} {
		c.want(nfs.NFSStatusTooSmall, nfs.NFSProcedureReadDir, dirArgs(d, 0, count))
		c.want(nfs.NFSStatusTooSmall, nfs.NFSProcedureReadDirPlus, plusArgs(d, 0, count, count))
		// Behind the last entry a listing is empty, and has a size all the same.
		end, status := uint64(1<<63-1), nfs.NFSStatusTooSmall
		if count == 120 {
			status = nfs.NFSStatusOk
		}
		c.want(status, nfs.NFSProcedureReadDir, dirArgs(d, end, count))
		c.want(status, nfs.NFSProcedureReadDirPlus, plusArgs(d, end, count, count))
	}
	c.ok(nfs.NFSProcedureSetAttr, fh(d).set(setMode(0o711)).noGuard())
	c.as(1000, 1000).want(nfs.NFSStatusAccess, nfs.NFSProcedureReadDir, dirArgs(d, 0, 4096))
}

func TestFileSystemProcedures(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{Capacity: 1 << 30, LinkMax: 77})
	o := options(t, everybody)
	o.ReadMax, o.WriteMax, o.DirMax = 256<<10, 128<<10, 16<<10
	c := start(t, m, nil, o).dial()
	root := c.root("/")
	r := c.ok(nfs.NFSProcedureFSStat, fh(root))
	if r.numbers[0] != 1<<30 || r.numbers[1] > r.numbers[0] || r.numbers[2] > r.numbers[1] || r.attr == nil {
		t.Errorf("FSSTAT: %v", r.numbers)
	}
	r = c.ok(nfs.NFSProcedureFSInfo, fh(root))
	want := []uint64{256 << 10, 256 << 10, 4096, 128 << 10, 128 << 10, 4096, 16 << 10, math.MaxInt64, 0, 1, 0x1b}
	if !slices.Equal(r.numbers, want) {
		t.Errorf("FSINFO: %v, want %v", r.numbers, want)
	}
	r = c.ok(nfs.NFSProcedurePathConf, fh(root))
	if want := []uint64{77, 255, 1, 1, 0, 1}; !slices.Equal(r.numbers, want) {
		t.Errorf("PATHCONF: %v, want %v", r.numbers, want)
	}
	f := c.create(root, "f", 0o644)
	if r := c.ok(nfs.NFSProcedureWrite, writeArgs(f, 0, vfs.Unstable, strings.Repeat("x", 130<<10))); r.count != 128<<10 {
		t.Errorf("wrote %d beyond wtmax", r.count)
	}
	if r := c.ok(nfs.NFSProcedureReadDir, dirArgs(root, 0, math.MaxUint32)); len(r.raw) > 16<<10 {
		t.Errorf("%d bytes of listing beyond dtpref", len(r.raw))
	}
}
