package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

func TestQ1Version4IsRefusedAtOnce(t *testing.T) {
	c := serve(t).dial()
	for _, vers := range []uint32{2, 4} {
		accept, b := c.call(progNFS, vers, 0, nil)
		if accept != 2 || !bytes.Equal(b, args(nil).u32(3).u32(3)) {
			t.Errorf("version %d: accept_stat %d, % x; want PROG_MISMATCH 3 3", vers, accept, b)
		}
	}
	if accept, _ := c.call(100021, 4, 0, nil); accept != 1 {
		t.Errorf("NLM: accept_stat %d, want PROG_UNAVAIL", accept)
	}
}

func TestQ2OldMountVersions(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.root("/")
	for _, vers := range []uint32{1, 2} {
		if accept, _ := c.call(progMount, vers, uint32(nfs.MountProcNull), nil); accept != success {
			t.Errorf("version %d NULL: %d", vers, accept)
		}
		if accept, _ := c.call(progMount, vers, uint32(nfs.MountProcMount), args(nil).str("/")); accept != procUnavail {
			t.Errorf("version %d MNT: %d, want PROC_UNAVAIL", vers, accept)
		}
	}
	if n := len(s.Stats().Mounts); n != 1 {
		t.Errorf("%d mounts, want 1", n)
	}
	if accept, b := c.call(progMount, 1, uint32(nfs.MountProcUmnt), args(nil).str("/")); accept != success || len(b) != 0 {
		t.Errorf("UMNT: %d % x", accept, b)
	}
	if n := len(s.Stats().Mounts); n != 0 {
		t.Errorf("%d mounts after UMNT", n)
	}
}

func TestQ3ExclusiveThenSetAttr(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	excl := fh(root).str("x").u32(2).raw([]byte("verifier")...)
	x := c.ok(nfs.NFSProcedureCreate, excl).fh
	if again := c.ok(nfs.NFSProcedureCreate, excl).fh; !bytes.Equal(again, x) {
		t.Error("the repeated call found another file")
	}
	set := settings{mode: new(uint32(0o644)), atimeNow: true, mtimeNow: true}
	c.ok(nfs.NFSProcedureSetAttr, fh(x).set(set).noGuard())
	c.want(nfs.NFSStatusExist, nfs.NFSProcedureCreate, excl)
}

func TestQ4Dots(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	setup := start(t, m, nil, options(t, everybody)).dial()
	top := setup.root("/")
	out := setup.mkdir(top, "out", 0o755)
	deep := setup.mkdir(setup.mkdir(out, "in", 0o755), "deep", 0o755)
	setup.mkdir(deep, "deeper", 0o755)

	s := start(t, m, nil, options(t, "/out/in *(rw,no_root_squash,insecure)\n"))
	c := s.dial()
	in := c.root("/out/in")
	d := c.lookup(in, "deep")
	e := c.lookup(d, "deeper")
	for _, tt := range []struct {
		from []byte
		name string
		to   []byte
	}{{in, ".", in}, {in, "..", in}, {d, ".", d}, {d, "..", in}, {e, "..", d}} {
		if got := c.lookup(tt.from, tt.name); !bytes.Equal(got, tt.to) {
			t.Errorf("%q leads elsewhere", tt.name)
		}
	}
	r := c.ok(nfs.NFSProcedureReadDirPlus, plusArgs(in, 0, 4096, 4096))
	if r.entries[1].name != ".." || !bytes.Equal(r.entries[1].fh, in) || r.entries[1].fileid != r.entries[0].fileid {
		t.Errorf("a listing of the export's root tells of what is above: %+v", r.entries[1])
	}
	// Renamed out of the export, a directory does not lead above it.
	setup.ok(nfs.NFSProcedureRename, fh(setup.lookup(out, "in")).str("deep").fh(top).str("free"))
	c.want(nfs.NFSStatusAccess, nfs.NFSProcedureLookup, fh(d).str(".."))
	c.want(nfs.NFSStatusAccess, nfs.NFSProcedureLookup, fh(e).str(".."))
	if r := c.ok(nfs.NFSProcedureReadDirPlus, plusArgs(d, 0, 4096, 4096)); !bytes.Equal(r.entries[1].fh, d) {
		t.Error("a listing outside the export tells of what is above")
	}
	f := c.put(in, "f", "")
	c.want(nfs.NFSStatusNotDir, nfs.NFSProcedureLookup, fh(f).str("."))
	c.want(nfs.NFSStatusNotDir, nfs.NFSProcedureLookup, fh(f).str(".."))
}

// nameCalls are all calls with a name, with that name in each of its places.
func nameCalls(dir, file []byte, name string) map[string]struct {
	proc nfs.NFSProcedure
	args args
} {
	type call = struct {
		proc nfs.NFSProcedure
		args args
	}
	return map[string]call{
		"LOOKUP":  {nfs.NFSProcedureLookup, fh(dir).str(name)},
		"CREATE":  {nfs.NFSProcedureCreate, fh(dir).str(name).u32(0).set(settings{})},
		"MKDIR":   {nfs.NFSProcedureMkDir, fh(dir).str(name).set(settings{})},
		"SYMLINK": {nfs.NFSProcedureSymlink, fh(dir).str(name).set(settings{}).str("t")},
		"MKNOD":   {nfs.NFSProcedureMkNod, fh(dir).str(name).u32(uint32(vfs.FIFO)).set(settings{})},
		"REMOVE":  {nfs.NFSProcedureRemove, fh(dir).str(name)},
		"RMDIR":   {nfs.NFSProcedureRmDir, fh(dir).str(name)},
		"RENAME1": {nfs.NFSProcedureRename, fh(dir).str(name).fh(dir).str("to")},
		"RENAME2": {nfs.NFSProcedureRename, fh(dir).str("f").fh(dir).str(name)},
		"LINK":    {nfs.NFSProcedureLink, fh(file).fh(dir).str(name)},
	}
}

func TestQ5NamesThatCannotBe(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	d := c.mkdir(root, "d", 0o777)
	f := c.put(d, "f", "data")
	for _, name := range []string{"", "/", "a/b", "../f", "..\x00", "\x00", "f\x00", "/etc/passwd"} {
		for what, call := range nameCalls(d, f, name) {
			if r := c.do(call.proc, call.args); r.status != nfs.NFSStatusAccess {
				t.Errorf("%s %q: %d, want ACCES", what, name, r.status)
			}
		}
	}
	for what, call := range nameCalls(d, f, strings.Repeat("x", 256)) {
		if r := c.do(call.proc, call.args); r.status != nfs.NFSStatusNameTooLong {
			t.Errorf("%s of 256 bytes: %d, want NAMETOOLONG", what, r.status)
		}
	}
	const exist, acces, inval = nfs.NFSStatusExist, nfs.NFSStatusAccess, nfs.NFSStatusInval
	want := map[string][2]nfs.NFSStatus{ // for "." and ".."
		"LOOKUP": {nfs.NFSStatusOk, nfs.NFSStatusOk},
		"CREATE": {exist, exist}, "MKDIR": {exist, exist}, "SYMLINK": {exist, exist}, "MKNOD": {exist, exist},
		"LINK": {exist, exist}, "REMOVE": {acces, acces}, "RMDIR": {inval, exist},
		"RENAME1": {inval, inval}, "RENAME2": {inval, inval},
	}
	for i, name := range []string{".", ".."} {
		for what, call := range nameCalls(d, f, name) {
			if r := c.do(call.proc, call.args); r.status != want[what][i] {
				t.Errorf("%s %q: %d, want %d", what, name, r.status, want[what][i])
			}
		}
	}
	if names, _ := c.names(d, false, 4096); len(names) != 3 || c.get(f) != "data" {
		t.Errorf("afterwards: %q", names)
	}
}

func TestQ6NamesAreBytes(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	all := make([]byte, 0, 255)
	for b := 1; b < 256; b++ {
		if b != '/' {
			all = append(all, byte(b))
		}
	}
	f := c.put(root, string(all), "x")
	if got := c.lookup(root, string(all)); !bytes.Equal(got, f) {
		t.Error("the name leads elsewhere")
	}
	if names, _ := c.names(root, true, 4096); names[2] != string(all) {
		t.Errorf("listed as %q", names[2])
	}
}

func TestQ7OffsetsBeyondTheEndOfTheWorld(t *testing.T) {
	c := serve(t).dial()
	f := c.put(c.root("/"), "f", "data")
	for _, off := range []uint64{math.MaxInt64, 1 << 63, math.MaxUint64} {
		if r := c.ok(nfs.NFSProcedureRead, fh(f).u64(off).u32(4096)); !r.eof || len(r.data) != 0 {
			t.Errorf("READ at %#x: %d bytes, eof %v", off, len(r.data), r.eof)
		}
		c.want(nfs.NFSStatusFBig, nfs.NFSProcedureWrite, writeArgs(f, off, vfs.FileSync, "xx"))
	}
	for _, off := range []uint64{1 << 63, math.MaxUint64} {
		c.want(nfs.NFSStatusInval, nfs.NFSProcedureCommit, fh(f).u64(off).u32(0))
		c.want(nfs.NFSStatusFBig, nfs.NFSProcedureSetAttr, fh(f).set(settings{size: new(off)}).noGuard())
	}
	c.ok(nfs.NFSProcedureCommit, fh(f).u64(math.MaxInt64).u32(math.MaxUint32))
	if c.get(f) != "data" {
		t.Error("the file changed")
	}
}

func TestQ8WriteWhoseCountLies(t *testing.T) {
	c := serve(t).dial()
	f := c.put(c.root("/"), "f", "data")
	for _, count := range []uint32{0, 3, 5, math.MaxUint32} {
		a := fh(f).u64(0).u32(count).u32(2).str("DATA")
		if accept, _ := c.call(progNFS, 3, uint32(nfs.NFSProcedureWrite), a); accept != garbageArgs {
			t.Errorf("count %d of 4 bytes: accept_stat %d", count, accept)
		}
	}
	if accept, _ := c.call(progNFS, 3, uint32(nfs.NFSProcedureWrite), fh(f).u64(0).u32(4).u32(3).str("DATA")); accept != garbageArgs {
		t.Errorf("stable_how 3: accept_stat %d", accept)
	}
	if c.get(f) != "data" {
		t.Error("something was written")
	}
}

func TestQ9WriteOfNothing(t *testing.T) {
	c := serve(t).dial()
	f := c.put(c.root("/"), "f", "data")
	before := *c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr
	r := c.ok(nfs.NFSProcedureWrite, writeArgs(f, 100, vfs.FileSync, ""))
	if r.count != 0 || len(r.verf) != 8 || *r.wcc.post != before {
		t.Errorf("%+v, before %+v", r.wcc.post, before)
	}
}

func TestQ10AnyCookieVerifier(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	c.create(root, "f", 0)
	for _, verf := range []uint64{0, 1, math.MaxUint64} {
		r := c.ok(nfs.NFSProcedureReadDir, fh(root).u64(2).u64(verf).u32(4096))
		if len(r.entries) != 1 || !r.eof || binary.BigEndian.Uint64(r.verf) != 0 {
			t.Errorf("verifier %#x: %d entries, verifier %x", verf, len(r.entries), r.verf)
		}
	}
}

func TestQ11DirCountIsAHint(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	for _, name := range []string{"a", "b", "c", "d"} {
		c.create(root, name, 0)
	}
	const one = 8 + 4 + 4 + 8 // fileid, name, cookie of a short name
	for _, tt := range []struct {
		dircount uint32
		want     int
	}{{0, 6}, {1, 1}, {one, 1}, {2 * one, 2}, {2*one + 1, 2}, {4096, 6}, {math.MaxUint32, 6}} {
		r := c.ok(nfs.NFSProcedureReadDirPlus, plusArgs(root, 0, tt.dircount, 4096))
		if len(r.entries) != tt.want || r.eof != (tt.want == 6) {
			t.Errorf("dircount %d: %d entries, eof %v, want %d", tt.dircount, len(r.entries), r.eof, tt.want)
		}
	}
}

func TestQ12MountPaths(t *testing.T) {
	s := serve(t)
	c := s.dial()
	d := c.mkdir(c.root("/"), "d", 0o755)
	e := c.mkdir(d, "e", 0o755)
	c.put(d, "f", "")
	c.ok(nfs.NFSProcedureSymlink, fh(d).str("l").set(settings{}).str("e"))
	for path, want := range map[string][]byte{
		"/d": d, "/d/": d, "//d//": d, "/./d/.": d, "/d/e": e, "/d//e/": e,
	} {
		if got := c.root(path); !bytes.Equal(got, want) {
			t.Errorf("%q is another directory", path)
		}
	}
	for path, want := range map[string]nfs.MountStatus{
		"": nfs.MountStatusErrInval, "d": nfs.MountStatusErrInval, "/d/..": nfs.MountStatusErrInval,
		"/../d": nfs.MountStatusErrInval, "/none": nfs.MountStatusErrNoEnt, "/d/f": nfs.MountStatusErrNotDir,
		"/d/f/g": nfs.MountStatusErrNotDir, "/d/l": nfs.MountStatusErrNotDir, "/d/l/x": nfs.MountStatusErrNotDir,
		"/d\x00": nfs.MountStatusErrInval, "/" + strings.Repeat("n", 256): nfs.MountStatusErrNameTooLong,
		strings.Repeat("/d", 600): nfs.MountStatusErrNameTooLong,
	} {
		if got, _ := c.mnt(path); got != want {
			t.Errorf("MNT %.20q: %d, want %d", path, got, want)
		}
	}
	before := len(s.Stats().Mounts)
	c.call(progMount, 3, uint32(nfs.MountProcUmnt), args(nil).str("/d//e/"))
	if after := len(s.Stats().Mounts); after != before-1 {
		t.Errorf("UMNT of the path as written left %d of %d mounts", after, before)
	}
}

func TestQ13TooManyNanoseconds(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	f := c.put(root, "f", "")
	before := *c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr
	for _, nsec := range []uint32{1e9, math.MaxUint32} {
		bad := &nstime{5, nsec}
		c.want(nfs.NFSStatusInval, nfs.NFSProcedureSetAttr, fh(f).set(settings{atime: bad}).noGuard())
		c.want(nfs.NFSStatusInval, nfs.NFSProcedureSetAttr, fh(f).set(settings{mtime: bad, size: new(uint64(9))}).noGuard())
		c.want(nfs.NFSStatusAccess, nfs.NFSProcedureMkDir, fh(root).str("d").set(settings{mtime: bad}))
	}
	c.want(nfs.NFSStatusNotSync, nfs.NFSProcedureSetAttr, fh(f).set(setMode(0)).guard(nstime{before.ctime.sec, 1e9}))
	if after := *c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr; after != before {
		t.Errorf("changed: %+v", after)
	}
	c.ok(nfs.NFSProcedureSetAttr, fh(f).set(settings{mtime: &nstime{5, 999_999_999}}).noGuard())
}

// odd lets a test change what a file system says of attributes and entries.
type odd struct {
	vfs.FS
	attr  func(*vfs.Attr)
	entry func(*vfs.DirEntry)
}

func (o *odd) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	a, err := o.FS.GetAttr(ctx, w, n)
	if o.attr != nil {
		o.attr(&a)
	}
	return a, err
}

func (o *odd) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	return o.FS.ReadDir(ctx, w, dir, after, attrs, func(e *vfs.DirEntry) bool {
		if o.entry != nil {
			o.entry(e)
		}
		return each(e)
	})
}

func TestQ14TimesThatDoNotFit(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	fs := &odd{FS: m, attr: func(a *vfs.Attr) {
		a.Atime = vfs.Time{Sec: -1, Nsec: 5}
		a.Mtime = vfs.Time{Sec: 1 << 32}
		a.Ctime = vfs.Time{Sec: math.MaxUint32, Nsec: 7}
	}}
	c := start(t, m, fs, options(t, everybody)).dial()
	a := c.ok(nfs.NFSProcedureGetAttr, fh(c.root("/"))).attr
	if a.atime != (nstime{}) || a.mtime != (nstime{math.MaxUint32, 999_999_999}) || a.ctime != (nstime{math.MaxUint32, 7}) {
		t.Errorf("%+v", a)
	}
}

func TestQ15ReadOnlyExport(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	rw := start(t, m, nil, options(t, everybody)).dial()
	root := rw.root("/")
	rw.put(root, "f", "data")
	rw.ok(nfs.NFSProcedureSetAttr, fh(root).set(setMode(0o777)).noGuard())

	c := start(t, m, nil, options(t, "/ *(ro,no_root_squash,insecure)\n")).dial()
	d := c.root("/")
	f := c.lookup(d, "f")
	if r := c.ok(nfs.NFSProcedureAccess, fh(d).u32(math.MaxUint32)); vfs.AccessMask(r.access) != vfs.AccessRead|vfs.AccessLookup {
		t.Errorf("may %#x", r.access)
	}
	for what, call := range nameCalls(d, f, "x") {
		want := nfs.NFSStatusROFS
		if what == "LOOKUP" {
			want = nfs.NFSStatusNoEnt
		}
		if r := c.do(call.proc, call.args); r.status != want {
			t.Errorf("%s: %d, want %d", what, r.status, want)
		}
	}
	c.want(nfs.NFSStatusROFS, nfs.NFSProcedureSetAttr, fh(f).set(setMode(0)).noGuard())
	c.want(nfs.NFSStatusROFS, nfs.NFSProcedureWrite, writeArgs(f, 0, vfs.FileSync, "x"))
	c.ok(nfs.NFSProcedureCommit, fh(f).u64(0).u32(0))
	if c.get(f) != "data" {
		t.Error("the file changed")
	}
}

func TestQ16TheOwnerMay(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	f := c.put(root, "f", "data")
	c.ok(nfs.NFSProcedureSetAttr, fh(f).set(settings{mode: new(uint32(0)), uid: new(uint32(1000))}).noGuard())
	c.as(1000, 1000)
	if c.get(f) != "data" {
		t.Error("the owner cannot read on")
	}
	c.ok(nfs.NFSProcedureWrite, writeArgs(f, 0, vfs.FileSync, "DATA"))
	c.as(1001, 1000).want(nfs.NFSStatusAccess, nfs.NFSProcedureRead, fh(f).u64(0).u32(1))
}

func TestQ17AuthNoneIsAnonymous(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	f := c.create(root, "f", 0o600)
	c.asNobody()
	c.root("/")
	c.ok(nfs.NFSProcedureFSInfo, fh(root))
	c.ok(nfs.NFSProcedureGetAttr, fh(f))
	c.want(nfs.NFSStatusAccess, nfs.NFSProcedureRead, fh(f).u64(0).u32(1)) // although no_root_squash
}

// busy answers Remove with Jukebox as often as told.
type busy struct {
	vfs.FS
	left atomic.Int32
}

func (b *busy) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	if b.left.Add(-1) >= 0 {
		return vfs.Change{}, vfs.Jukebox
	}
	return b.FS.Remove(ctx, w, dir, name)
}

func TestQ18JukeboxIsNotKept(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	fs := &busy{FS: m}
	fs.left.Store(1)
	c := start(t, m, fs, options(t, everybody)).dial()
	root := c.root("/")
	c.create(root, "f", 0)
	a := fh(root).str("f")
	record := c.record(77, progNFS, 3, uint32(nfs.NFSProcedureRemove), a)
	for i, want := range []nfs.NFSStatus{nfs.NFSStatusJukebox, nfs.NFSStatusOk, nfs.NFSStatusOk} {
		c.write(record)
		_, _, b, err := c.readReply()
		if err != nil {
			t.Fatal(err)
		}
		if r := decodeResult(t, nfs.NFSProcedureRemove, b); r.status != want {
			t.Errorf("time %d: %d, want %d", i, r.status, want)
		}
	}
}

func TestQ19UnknownObjectsAreListed(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	fs := &odd{FS: m, entry: func(e *vfs.DirEntry) { e.Node, e.HasAttr = vfs.Node{}, false }}
	c := start(t, m, fs, options(t, everybody)).dial()
	root := c.root("/")
	c.create(root, "f", 0)
	r := c.ok(nfs.NFSProcedureReadDirPlus, plusArgs(root, 2, 4096, 4096))
	e := r.entries[0]
	if e.name != "f" || e.fileid == 0 || e.attr != nil || e.fh != nil {
		t.Errorf("%+v", e)
	}
	if again := c.ok(nfs.NFSProcedureReadDir, dirArgs(root, 2, 4096)).entries[0]; again.fileid != e.fileid {
		t.Errorf("fileid %d, then %d", e.fileid, again.fileid)
	}
}

func TestQ20UncheckedCreate(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	f := c.put(root, "f", "data")
	c.ok(nfs.NFSProcedureCreate, fh(root).str("f").u32(0).set(setMode(0o777)))
	if a := c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr; a.size != 4 || a.mode != 0o644 {
		t.Errorf("%+v", a)
	}
	c.mkdir(root, "d", 0o755)
	c.want(nfs.NFSStatusExist, nfs.NFSProcedureCreate, fh(root).str("d").u32(0).set(settings{}))
}

func TestQ21SetAttrOfNothing(t *testing.T) {
	c := serve(t).dial()
	f := c.put(c.root("/"), "f", "data")
	before := *c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr
	if r := c.ok(nfs.NFSProcedureSetAttr, fh(f).set(settings{}).noGuard()); *r.wcc.post != before {
		t.Errorf("%+v, before %+v", r.wcc.post, before)
	}
}

func TestQ22HandlesOfOthers(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	for _, n := range []int{0, 1, 28, 32, 56, 59, 61, 64} {
		h := append(bytes.Clone(root), 0, 0, 0, 0)[:n]
		c.want(nfs.NFSStatusBadHandle, nfs.NFSProcedureGetAttr, fh(h))
	}
	for _, n := range []int{65, 128, 4096} {
		if accept, _ := c.call(progNFS, 3, uint32(nfs.NFSProcedureGetAttr), fh(make([]byte, n))); accept != garbageArgs {
			t.Errorf("handle of %d bytes: accept_stat %d", n, accept)
		}
	}
}

func TestQ23BytesAfterTheArguments(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	c.ok(nfs.NFSProcedureGetAttr, fh(root).u64(0))
	c.ok(nfs.NFSProcedureMkDir, fh(root).str("d").set(settings{}).raw(1, 2, 3, 4))
}

func TestQ24NoSuchID(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	f := c.put(root, "f", "")
	no := new(uint32(math.MaxUint32))
	c.want(nfs.NFSStatusInval, nfs.NFSProcedureSetAttr, fh(f).set(settings{uid: no}).noGuard())
	c.want(nfs.NFSStatusInval, nfs.NFSProcedureSetAttr, fh(f).set(settings{gid: no, mode: new(uint32(1))}).noGuard())
	c.want(nfs.NFSStatusAccess, nfs.NFSProcedureMkDir, fh(root).str("d").set(settings{uid: no}))
	if a := c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr; a.mode != 0o644 {
		t.Errorf("mode %#o", a.mode)
	}
}

func TestQ25NothingMovesBetweenExports(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	setup := start(t, m, nil, options(t, everybody)).dial()
	top := setup.root("/")
	setup.mkdir(top, "a", 0o777)
	setup.mkdir(top, "b", 0o777)
	c := start(t, m, nil, options(t, "/a *(rw,insecure)\n/b *(rw,insecure,all_squash)\n")).dial().as(1000, 1000)
	a, b := c.root("/a"), c.root("/b")
	f := c.put(a, "f", "")
	c.want(nfs.NFSStatusXDev, nfs.NFSProcedureRename, fh(a).str("f").fh(b).str("f"))
	c.want(nfs.NFSStatusXDev, nfs.NFSProcedureLink, fh(f).fh(b).str("f"))
	if got := c.lookup(a, "f"); !bytes.Equal(got, f) {
		t.Error("the file is not where it was")
	}
}
