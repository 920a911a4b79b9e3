package remote

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sheaf/nfsd/gonfs"
	"sheaf/vfs"
)

// difference is an outcome of one operation that differs between nfsd and go-nfs.
type difference struct {
	op            string
	native, stock vfs.Status
}

// serveStock serves fs by go-nfs and gives a client of it, and what to do at the end.
func serveStock(t failer, fs vfs.FS) (c *Client, done func()) {
	t.Helper()
	s, err := gonfs.New(context.Background(), fs, gonfs.Options{Who: vfs.Superuser})
	if err != nil {
		t.Fatalf("gonfs: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, closed := mount(t, Options{Stock: true, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}})
	return c, func() {
		t.Helper()
		closed()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

// twins are one program's two servers, each over a Model, and what it has met.
type twins struct {
	t             failer
	ctx           context.Context
	native, stock *Client
	nodes         []twin // every object met, the root first
	text          []string
	allowed       map[difference]bool
	met           map[difference]bool
}

// twin is one object under both.
type twin struct{ native, stock vfs.Node }

// newTwins starts both; done ends them.
func newTwins(t failer, allowed map[difference]bool) (p *twins, done func()) {
	t.Helper()
	one := newServer(t, model())
	native, closeNative := one.client(t, Options{})
	stock, closeStock := serveStock(t, model())
	p = &twins{t: t, ctx: context.Background(), native: native, stock: stock, allowed: allowed, met: map[difference]bool{}}
	p.nodes = []twin{{native.root, stock.root}}
	return p, func() {
		t.Helper()
		closeNative()
		one.stop()
		closeStock()
	}
}

// same compares the outcomes of the step last said. A difference must be a known one.
func (p *twins) same(op string, native, stock error) (both bool) {
	p.t.Helper()
	n, s := vfs.StatusOf(native), vfs.StatusOf(stock)
	p.text[len(p.text)-1] += fmt.Sprintf(" → %v", n)
	if n == s {
		return n == vfs.OK
	}
	d := difference{op, n, s}
	if !p.allowed[d] {
		p.fail("difference {%q, %v, %v} is not known: nfsd %v, go-nfs %v", op, n, s, native, stock)
	}
	p.met[d] = true
	return false
}

func (p *twins) fail(format string, args ...any) {
	p.t.Helper()
	text := fmt.Sprintf(format, args...)
	for _, s := range p.text {
		text += "\n  " + s
	}
	p.t.Fatalf("%s", text)
}

func (p *twins) say(format string, args ...any) {
	p.text = append(p.text, fmt.Sprintf(format, args...))
}

// meet pairs what both gave for one object.
func (p *twins) meet(native, stock vfs.Attr) {
	p.t.Helper()
	tw := twin{native.Node, stock.Node}
	for i, other := range p.nodes {
		if other == tw {
			return
		}
		if other.native.ID == tw.native.ID || other.stock.ID == tw.stock.ID {
			p.fail("one of the servers says that this is object %d, the other that it is not", i)
		}
	}
	p.nodes = append(p.nodes, tw)
	if f, g := stockFacts(native), stockFacts(stock); f != g {
		p.fail("a new object is %+v, by go-nfs %+v", f, g)
	}
}

// stockFacts are the attributes that both must agree on.
func stockFacts(a vfs.Attr) vfs.Attr {
	f := vfs.Attr{Type: a.Type, Mode: a.Mode, Nlink: a.Nlink, UID: a.UID, GID: a.GID, Size: a.Size}
	if a.Type == vfs.Directory || a.Type == vfs.Symlink {
		f.Size = 0
	}
	return f
}

// stockStep is an operation with its arguments.
type stockStep struct {
	op          string
	node, to    int // of twins.nodes
	name, name2 vfs.Name
	how         vfs.How
	set         vfs.SetAttr
	off         uint64
	data        []byte
}

func (p *twins) run(s *stockStep) {
	p.t.Helper()
	n := p.nodes[s.node%len(p.nodes)]
	to := p.nodes[s.to%len(p.nodes)]
	ctx, w := p.ctx, vfs.Superuser
	p.say("%s #%d %q to #%d %q, %+v, %+v, %d bytes at %d", s.op, s.node%len(p.nodes), s.name, s.to%len(p.nodes), s.name2, s.how, s.set, len(s.data), s.off)
	switch s.op {
	case "make":
		a, _, err := p.native.Make(ctx, w, n.native, s.name, &s.how)
		b, _, err2 := p.stock.Make(ctx, w, n.stock, s.name, &s.how)
		if p.same(makeName(&s.how), err, err2) {
			p.meet(a, b)
		}
	case "lookup":
		a, _, err := p.native.Lookup(ctx, w, n.native, s.name)
		b, _, err2 := p.stock.Lookup(ctx, w, n.stock, s.name)
		if p.same(s.op, err, err2) {
			p.meet(a, b)
		}
	case "remove": // by the verb for what is there
		a, _, err := p.native.Lookup(ctx, w, n.native, s.name)
		remove, remove2 := p.native.Remove, p.stock.Remove
		if err == nil && a.Type == vfs.Directory {
			remove, remove2 = p.native.RemoveDir, p.stock.RemoveDir
		}
		_, err = remove(ctx, w, n.native, s.name)
		_, err2 := remove2(ctx, w, n.stock, s.name)
		p.same(s.op, err, err2)
	case "unlink":
		_, err := p.native.Remove(ctx, w, n.native, s.name)
		_, err2 := p.stock.Remove(ctx, w, n.stock, s.name)
		p.same(s.op, err, err2)
	case "rmdir":
		_, err := p.native.RemoveDir(ctx, w, n.native, s.name)
		_, err2 := p.stock.RemoveDir(ctx, w, n.stock, s.name)
		p.same(s.op, err, err2)
	case "rename":
		_, _, err := p.native.Rename(ctx, w, n.native, s.name, to.native, s.name2)
		_, _, err2 := p.stock.Rename(ctx, w, n.stock, s.name, to.stock, s.name2)
		p.same(s.op, err, err2)
	case "setattr":
		_, err := p.native.SetAttr(ctx, w, n.native, &s.set, nil)
		_, err2 := p.stock.SetAttr(ctx, w, n.stock, &s.set, nil)
		p.same(s.op, err, err2)
	case "write":
		_, _, err := p.native.Write(ctx, w, n.native, s.data, s.off, vfs.Unstable)
		_, _, err2 := p.stock.Write(ctx, w, n.stock, s.data, s.off, vfs.Unstable)
		p.same(s.op, err, err2)
	case "read":
		p.compareData(n, s.off)
	case "readlink":
		a, _, err := p.native.ReadLink(ctx, w, n.native)
		b, _, err2 := p.stock.ReadLink(ctx, w, n.stock)
		if p.same(s.op, err, err2) && a != b {
			p.fail("target %q, by go-nfs %q", a, b)
		}
	}
}

// makeName names a creation in the table of differences.
func makeName(how *vfs.How) string {
	switch how.Type {
	case vfs.Directory:
		return "mkdir"
	case vfs.Symlink:
		return "symlink"
	case vfs.Regular:
		return "create"
	}
	return "mknod"
}

const stockRead = 4000 // bytes of a read, below all limits of the library

func (p *twins) compareData(n twin, off uint64) {
	p.t.Helper()
	a, b := make([]byte, stockRead), make([]byte, stockRead)
	got, _, _, err := p.native.Read(p.ctx, vfs.Superuser, n.native, a, off)
	got2, _, _, err2 := p.stock.Read(p.ctx, vfs.Superuser, n.stock, b, off)
	if p.same("read", err, err2) && !bytes.Equal(a[:got], b[:got2]) {
		p.fail("read %q, by go-nfs %q", a[:got], b[:got2])
	}
}

// compare compares both trees from the roots, by READDIRPLUS and READDIR.
func (p *twins) compare(n twin, path string) {
	p.t.Helper()
	list := func(c *Client, n vfs.Node, attrs bool) map[vfs.Name]vfs.Attr {
		all := map[vfs.Name]vfs.Attr{}
		_, eof, err := c.ReadDir(p.ctx, vfs.Superuser, n, 0, attrs, func(e *vfs.DirEntry) bool {
			all[e.Name] = e.Attr
			return true
		})
		if err != nil || !eof {
			p.fail("list %s: eof %v, %v", path, eof, err)
		}
		return all
	}
	natives, stocks := list(p.native, n.native, true), list(p.stock, n.stock, true)
	if a, b := list(p.native, n.native, false), list(p.stock, n.stock, false); len(a) != len(natives) || len(b) != len(natives) || len(stocks) != len(natives) {
		p.fail("%s has %d entries; by READDIR %d; by go-nfs %d and %d", path, len(natives), len(a), len(stocks), len(b))
	}
	for name, a := range natives {
		b, ok := stocks[name]
		if f, g := stockFacts(a), stockFacts(b); !ok || f != g {
			p.fail("%s/%s is %+v, by go-nfs %+v", path, name, f, g)
		}
		tw := twin{a.Node, b.Node}
		switch p.say("compare %s/%s", path, name); a.Type {
		case vfs.Directory:
			p.compare(tw, path+"/"+name.String())
		case vfs.Regular:
			p.compareData(tw, 0)
		case vfs.Symlink:
			p.run(&stockStep{op: "readlink", node: p.index(tw)})
		}
	}
}

// index is the place of tw among the nodes.
func (p *twins) index(tw twin) int {
	if i := slices.Index(p.nodes, tw); i >= 0 {
		return i
	}
	p.nodes = append(p.nodes, tw)
	return len(p.nodes) - 1
}

// Symbolic links have names of their own: go-nfs follows one to find out whether a name is
// free.
var (
	stockNames = rapid.SampledFrom([]vfs.Name{vfs.MustName("a"), vfs.MustName("b"), vfs.MustName("c"), vfs.MustName("\xff d")})
	stockLinks = rapid.SampledFrom([]vfs.Name{vfs.MustName("link"), vfs.MustName("link too")})
)

// drawStock draws what go-nfs can do: all by one caller (F2), no EXCLUSIVE (F5), no UNCHECKED
// of what is there (F6), no LINK (F7), no set-id bits (F15), no MKNOD (F16).
func drawStock(t *rapid.T) *stockStep {
	s := &stockStep{
		op:   rapid.SampledFrom([]string{"make", "make", "make", "lookup", "remove", "remove", "rename", "rename", "setattr", "write", "write", "read", "readlink"}).Draw(t, "op"),
		node: rapid.IntRange(0, 1<<16).Draw(t, "node"), to: rapid.IntRange(0, 1<<16).Draw(t, "other node"),
		name: stockNames.Draw(t, "name"), name2: stockNames.Draw(t, "other name"),
		off:  rapid.Uint64Range(0, 6000).Draw(t, "offset"),
		data: bytes.Repeat([]byte{rapid.ByteRange('A', 'Z').Draw(t, "fill")}, rapid.IntRange(1, 3000).Draw(t, "length")),
	}
	mode := rapid.SampledFrom([]uint32{0o644, 0o755, 0o700, 0o600, 0o444}).Draw(t, "mode")
	s.how = vfs.How{
		Type:   rapid.SampledFrom([]vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink}).Draw(t, "type"),
		Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: mode},
	}
	if s.op == "make" && s.how.Type == vfs.Symlink || rapid.IntRange(0, 5).Draw(t, "about links") == 0 {
		s.how.Type, s.how.Set.Mask = vfs.Symlink, 0
		s.name, s.name2 = stockLinks.Draw(t, "link"), stockLinks.Draw(t, "other link")
		s.how.Target = rapid.SampledFrom([]string{"a", "../b", "/nowhere"}).Draw(t, "target")
	}
	s.set = vfs.SetAttr{
		Mask: rapid.SampledFrom([]vfs.SetMask{vfs.SetMode, vfs.SetSize, vfs.SetAtime | vfs.SetMtime, vfs.SetUID | vfs.SetGID}).Draw(t, "mask"),
		Mode: mode, UID: 1001, GID: 2001, Size: rapid.Uint64Range(0, 9000).Draw(t, "size"), Atime: vfs.Time{Sec: 5}, Mtime: vfs.Time{Sec: 7},
	}
	return s
}

// noLink is i, or the next node that is no symbolic link: go-nfs reads, writes and looks
// names up where the link points (F9).
func (p *twins) noLink(i int) int {
	for p.native.nodes.typeOf(p.nodes[i%len(p.nodes)].native) == vfs.Symlink {
		i++
	}
	return i
}

// TestStockProgram runs random programs on nfsd and on go-nfs, each over a Model. They
// may fail with the different statuses that the table has, and differ in nothing else.
func TestStockProgram(t *testing.T) {
	allowed := map[difference]bool{}
	for _, d := range differences {
		allowed[d.difference] = d.native != vfs.OK && d.stock != vfs.OK
	}
	rapid.Check(t, func(rt *rapid.T) {
		p, done := newTwins(rt, allowed)
		defer done()
		for _, s := range rapid.SliceOfN(rapid.Custom(drawStock), 1, 40).Draw(rt, "program") {
			if s.op != "readlink" {
				s.node, s.to = p.noLink(s.node), p.noLink(s.to)
			}
			p.run(s)
		}
		p.compare(p.nodes[0], "")
	})
}

// TestStockDifferences shows each difference.
func TestStockDifferences(t *testing.T) {
	for _, d := range differences {
		t.Run(fmt.Sprintf("%s %v %v", d.op, d.native, d.stock), func(t *testing.T) {
			p, done := newTwins(t, map[difference]bool{d.difference: true})
			defer done()
			for i := range d.steps {
				p.run(&d.steps[i])
			}
			if !p.met[d.difference] {
				t.Errorf("not so any more: %s", d.why)
			}
		})
	}
}

// Steps of the table.
func makes(dir int, s string, t vfs.Type) stockStep {
	how := vfs.How{Type: t, Exists: vfs.Guarded, Target: "nowhere", Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}}
	if t == vfs.Symlink {
		how.Set.Mask = 0
	}
	return stockStep{op: "make", node: dir, name: vfs.MustName(s), how: how}
}

func renames(dir int, s string, to int, s2 string) stockStep {
	return stockStep{op: "rename", node: dir, name: vfs.MustName(s), to: to, name2: vfs.MustName(s2)}
}

func does(op string, node int, s string) stockStep {
	return stockStep{op: op, node: node, name: vfs.MustName(s), data: []byte("data"), set: vfs.SetAttr{Mask: vfs.SetSize}}
}

// exclusive and dressed are creations.
var (
	exclusive = stockStep{op: "make", name: vfs.MustName("f"), how: vfs.How{Type: vfs.Regular, Exists: vfs.Exclusive, Verifier: [8]byte{1}}}
	dressed   = stockStep{op: "make", name: vfs.MustName("l"), how: vfs.How{Type: vfs.Symlink, Target: "nowhere", Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o644}}}
)

// differences are those between nfsd and go-nfs that one can see with what both can do,
// each with the steps that show it, of which the last differs. F numbers are those of
// package gonfs, which shows what is worse: LINK (F7) and MKNOD (F16) answer with
// bytes that are no result, and so are not drawn at all. Object 0 is the root, the others
// are counted as they are made.
var differences = []struct {
	difference
	why   string
	steps []stockStep
}{
	{difference{"create", vfs.OK, vfs.NotSupp}, "EXCLUSIVE is refused (F5)", []stockStep{exclusive}},
	{difference{"create", vfs.Exist, vfs.OK}, "whether a name is free is asked by a Stat, which follows symbolic links: " +
		"a link to nowhere is a free name, and what it points at is made", []stockStep{makes(0, "l", vfs.Symlink), makes(0, "l", vfs.Regular)}},
	{difference{"mkdir", vfs.Exist, vfs.Acces}, "any failure of MkdirAll is ACCES", []stockStep{makes(0, "f", vfs.Regular), makes(0, "f", vfs.Directory)}},
	{difference{"symlink", vfs.Exist, vfs.Acces}, "any failure is ACCES", []stockStep{makes(0, "l", vfs.Symlink), makes(0, "l", vfs.Symlink)}},
	{difference{"symlink", vfs.OK, vfs.IO}, "a mode for a symbolic link is set by chmod, which fails after the link was made", []stockStep{dressed}},
	{difference{"unlink", vfs.IsDir, vfs.OK}, "REMOVE and RMDIR are one: both remove what is there", []stockStep{makes(0, "d", vfs.Directory), does("unlink", 0, "d")}},
	{difference{"rmdir", vfs.NotDir, vfs.OK}, "REMOVE and RMDIR are one: both remove what is there", []stockStep{makes(0, "f", vfs.Regular), does("rmdir", 0, "f")}},
	{difference{"remove", vfs.NotEmpty, vfs.IO}, "failures that are neither ErrNotExist nor ErrPermission are IO", []stockStep{
		makes(0, "d", vfs.Directory), makes(1, "f", vfs.Regular), does("remove", 0, "d"),
	}},
	{difference{"rename", vfs.NotDir, vfs.IO}, "failures that are neither ErrNotExist nor ErrPermission are IO", []stockStep{
		makes(0, "d", vfs.Directory), makes(0, "f", vfs.Regular), renames(0, "d", 0, "f"),
	}},
	{difference{"rename", vfs.IsDir, vfs.IO}, "failures that are neither ErrNotExist nor ErrPermission are IO", []stockStep{
		makes(0, "d", vfs.Directory), makes(0, "f", vfs.Regular), renames(0, "f", 0, "d"),
	}},
	{difference{"rename", vfs.Inval, vfs.IO}, "failures that are neither ErrNotExist nor ErrPermission are IO", []stockStep{
		makes(0, "d", vfs.Directory), renames(0, "d", 1, "in itself"),
	}},
	{difference{"rename", vfs.NotEmpty, vfs.IO}, "failures that are neither ErrNotExist nor ErrPermission are IO", []stockStep{
		makes(0, "d", vfs.Directory), makes(0, "e", vfs.Directory), makes(2, "f", vfs.Regular), renames(0, "d", 0, "e"),
	}},
	{difference{"write", vfs.IsDir, vfs.Inval}, "only regular files are written, whatever else it is", []stockStep{does("write", 0, "-")}},
	{difference{"read", vfs.IsDir, vfs.Acces}, "any failure of Open is ACCES", []stockStep{does("read", 0, "-")}},
	{difference{"setattr", vfs.IsDir, vfs.Inval}, "sizes are of regular files only, whatever else it is", []stockStep{does("setattr", 0, "-")}},
}
