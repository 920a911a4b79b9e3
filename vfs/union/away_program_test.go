package union

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// awayProgram is a random program on a share whose volumes are pulled out and thrown back in, beside the
// Model. Every answer is the Model's, or that a volume is away; then nothing has changed.
type awayProgram struct {
	t       *rapid.T
	s       *awayShare
	m       *vfstest.Model
	nodes   []awayNode // the root first
	out     volset
	text    []string
	refused int
}

// awayNode is one object under both file systems.
type awayNode struct{ under, model vfs.Node }

var awayNames = []string{"a", "b", "c", "d", "e"}

// TestAwayProgram runs such programs.
func TestAwayProgram(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(rt, "volumes")
		s := newAwayShare(t, n)
		if rapid.Bool().Draw(rt, "all is asked for") {
			s.opt.Trust = 1
		}
		if rapid.Bool().Draw(rt, "with an index") {
			s.newIndex(rt)
		}
		s.open(rt)
		p := &awayProgram{t: rt, s: s}
		a, err := s.u.Root(context.Background(), who)
		p.must(err)
		p.m = vfstest.NewModel(vfstest.ModelOptions{RootUID: a.UID, RootGID: a.GID, RootMode: a.Mode, MaxFileSize: 1 << 40, LinkMax: 1000})
		ma, err := p.m.Root(context.Background(), who)
		p.must(err)
		p.nodes = []awayNode{{a.Node, ma.Node}}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			p.step()
		}
		for _, v := range p.out.list() {
			p.put(v)
		}
		p.compare(p.nodes[0].under, p.nodes[0].model, "")
		s.close(rt)
	})
}

func (p *awayProgram) must(err error) {
	p.t.Helper()
	if err != nil {
		p.fail("%v", err)
	}
}

func (p *awayProgram) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s\nprogram:\n  %s", fmt.Sprintf(format, args...), strings.Join(p.text, "\n  "))
}

func (p *awayProgram) say(format string, args ...any) {
	p.text = append(p.text, fmt.Sprintf(format, args...))
}

// same says how both have answered. It reports whether the step was made: by both, with one status.
func (p *awayProgram) same(err error, model func() error) bool {
	p.t.Helper()
	if isRefusal(err) && p.out != 0 {
		p.text[len(p.text)-1] += " → away"
		p.refused++
		return false
	}
	want := vfs.StatusOf(model())
	p.text[len(p.text)-1] += fmt.Sprintf(" → %v", want)
	if got := vfs.StatusOf(err); got != want {
		p.fail("%s: got %v (%v)", p.text[len(p.text)-1], got, err)
	}
	return want == vfs.OK
}

func (p *awayProgram) any(what string) (int, awayNode) {
	i := rapid.IntRange(0, len(p.nodes)-1).Draw(p.t, what)
	return i, p.nodes[i]
}

func (p *awayProgram) name() vfs.Name {
	return vfs.MustName(rapid.SampledFrom(awayNames).Draw(p.t, "name"))
}

func (p *awayProgram) put(v int) {
	p.say("put volume %d back", v)
	p.s.put(p.t, v)
	p.out = p.out.minus(v)
	for _, n := range p.nodes { // seen, and so brought up to what it missed
		if _, err := p.s.u.GetAttr(context.Background(), who, n.under); err != nil && !isRefusal(err) && vfs.StatusOf(err) != vfs.Stale && vfs.StatusOf(err) != vfs.Jukebox {
			p.fail("after it came: %v", err)
		}
	}
	eventually(p.t, "all is leveled", func() bool { return p.s.leveled() })
}

func (p *awayProgram) step() {
	ctx := context.Background()
	steps := []func(context.Context){
		p.make, p.make, p.make, p.remove, p.rename, p.rename, p.link, p.write, p.read, p.lookup, p.lookup, p.list, p.list,
		p.setMode, p.getAttr, p.pullOrPut, p.pullOrPut, p.restart,
	}
	steps[rapid.IntRange(0, len(steps)-1).Draw(p.t, "step")](ctx)
}

func (p *awayProgram) make(ctx context.Context) {
	i, d := p.any("directory")
	name := p.name()
	how := &vfs.How{
		Type: rapid.SampledFrom([]vfs.Type{vfs.Directory, vfs.Regular, vfs.Symlink}).Draw(p.t, "type"), Target: "t",
		Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755},
	}
	p.say("make #%d/%v of type %d", i, name, how.Type)
	a, _, err := p.s.u.Make(ctx, who, d.under, name, how)
	var ma vfs.Attr
	if p.same(err, func() (err error) { ma, _, err = p.m.Make(ctx, who, d.model, name, how); return err }) {
		p.nodes = append(p.nodes, awayNode{a.Node, ma.Node})
		p.text[len(p.text)-1] += fmt.Sprintf(" #%d", len(p.nodes)-1)
	}
}

func (p *awayProgram) remove(ctx context.Context) {
	i, d := p.any("directory")
	name, isDir := p.name(), rapid.Bool().Draw(p.t, "rmdir")
	p.say("remove #%d/%v, rmdir %v", i, name, isDir)
	call := func(fs vfs.FS, d vfs.Node) error {
		f := fs.Remove
		if isDir {
			f = fs.RemoveDir
		}
		_, err := f(ctx, who, d, name)
		return err
	}
	p.same(call(p.s.u, d.under), func() error { return call(p.m, d.model) })
}

func (p *awayProgram) rename(ctx context.Context) {
	i, from := p.any("from")
	j, to := p.any("to")
	a, b := p.name(), p.name()
	p.say("rename #%d/%v to #%d/%v", i, a, j, b)
	_, _, err := p.s.u.Rename(ctx, who, from.under, a, to.under, b)
	p.same(err, func() error { _, _, err := p.m.Rename(ctx, who, from.model, a, to.model, b); return err })
}

func (p *awayProgram) link(ctx context.Context) {
	i, n := p.any("object")
	j, d := p.any("directory")
	name := p.name()
	p.say("link #%d as #%d/%v", i, j, name)
	_, _, err := p.s.u.Link(ctx, who, n.under, d.under, name)
	p.same(err, func() error { _, _, err := p.m.Link(ctx, who, n.model, d.model, name); return err })
}

func (p *awayProgram) write(ctx context.Context) {
	i, n := p.any("file")
	data := []byte(fmt.Sprintf("step %d", len(p.text)))
	p.say("write #%d", i)
	_, _, err := p.s.u.Write(ctx, who, n.under, data, 0, vfs.FileSync)
	p.same(err, func() error { _, _, err := p.m.Write(ctx, who, n.model, data, 0, vfs.FileSync); return err })
}

func (p *awayProgram) read(ctx context.Context) {
	i, n := p.any("file")
	p.say("read #%d", i)
	var got, want [64]byte
	k, _, _, err := p.s.u.Read(ctx, who, n.under, got[:], 0)
	if p.same(err, func() error { _, _, _, err := p.m.Read(ctx, who, n.model, want[:], 0); return err }) && !bytes.Equal(got[:k], bytes.TrimRight(want[:], "\x00")) {
		p.fail("read %q, want %q", got[:k], want)
	}
}

func (p *awayProgram) lookup(ctx context.Context) {
	i, d := p.any("directory")
	name := p.name()
	p.say("look #%d/%v up", i, name)
	a, _, err := p.s.u.Lookup(ctx, who, d.under, name)
	var ma vfs.Attr
	if p.same(err, func() (err error) { ma, _, err = p.m.Lookup(ctx, who, d.model, name); return err }) {
		p.meet(a, ma)
	}
}

// meet wants one object of both.
func (p *awayProgram) meet(a, ma vfs.Attr) {
	p.t.Helper()
	for k, n := range p.nodes {
		if (n.under.ID == a.Node.ID) != (n.model.ID == ma.Node.ID) {
			p.fail("got another object than #%d: %v", k, a.Node)
		}
	}
	if a.Type != ma.Type || a.Mode != ma.Mode || a.Type == vfs.Regular && (a.Size != ma.Size || a.Nlink != ma.Nlink) {
		p.fail("got %+v, want %+v", a, ma)
	}
}

func (p *awayProgram) getAttr(ctx context.Context) {
	i, n := p.any("object")
	p.say("attributes of #%d", i)
	a, err := p.s.u.GetAttr(ctx, who, n.under)
	var ma vfs.Attr
	if p.same(err, func() (err error) { ma, err = p.m.GetAttr(ctx, who, n.model); return err }) {
		p.meet(a, ma)
	}
}

func (p *awayProgram) setMode(ctx context.Context) {
	i, n := p.any("object")
	set := &vfs.SetAttr{Mask: vfs.SetMode, Mode: rapid.SampledFrom([]uint32{0o700, 0o711, 0o750, 0o777}).Draw(p.t, "mode")}
	p.say("set the mode of #%d to %o", i, set.Mode)
	_, err := p.s.u.SetAttr(ctx, who, n.under, set, nil)
	p.same(err, func() error { _, err := p.m.SetAttr(ctx, who, n.model, set, nil); return err })
}

// namesIn is the names in dir, in order.
func namesIn(ctx context.Context, fs vfs.FS, dir vfs.Node) (names []string, err error) {
	_, _, err = fs.ReadDir(ctx, who, dir, 0, true, func(e *vfs.DirEntry) bool {
		names = append(names, e.Name.String())
		return true
	})
	slices.Sort(names)
	return names, err
}

func (p *awayProgram) list(ctx context.Context) {
	i, d := p.any("directory")
	p.say("list #%d", i)
	names, err := namesIn(ctx, p.s.u, d.under)
	var want []string
	if p.same(err, func() (err error) { want, err = namesIn(ctx, p.m, d.model); return err }) && !slices.Equal(names, want) {
		p.fail("listed %q, want %q", names, want)
	}
}

func (p *awayProgram) pullOrPut(context.Context) {
	v := rapid.IntRange(0, len(p.s.mems)-1).Draw(p.t, "volume")
	switch {
	case p.out.has(v):
		p.put(v)
	case p.out.count() < len(p.s.mems)-1:
		p.say("pull volume %d", v)
		p.s.pull(p.t, v)
		p.out = p.out.with(v)
	}
}

func (p *awayProgram) restart(context.Context) {
	p.say("restart")
	p.s.reopen(p.t, p.out.list()...)
}

// compare wants one tree of both, with all volumes there.
func (p *awayProgram) compare(under, model vfs.Node, path string) {
	p.t.Helper()
	ctx := context.Background()
	names, err := namesIn(ctx, p.s.u, under)
	p.must(err)
	want, err := namesIn(ctx, p.m, model)
	p.must(err)
	if !slices.Equal(names, want) {
		p.fail("in the end %q lists %q, want %q", path, names, want)
	}
	for _, name := range names {
		a, _, err := p.s.u.Lookup(ctx, who, under, vfs.MustName(name))
		for end := time.Now().Add(30 * time.Second); vfs.StatusOf(err) == vfs.Jukebox && time.Now().Before(end); {
			a, _, err = p.s.u.Lookup(ctx, who, under, vfs.MustName(name))
		}
		p.must(err)
		ma, _, err := p.m.Lookup(ctx, who, model, vfs.MustName(name))
		p.must(err)
		p.meet(a, ma)
		if a.Type == vfs.Directory {
			p.compare(a.Node, ma.Node, path+"/"+name)
		}
	}
}
