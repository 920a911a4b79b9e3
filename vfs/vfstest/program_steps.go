package vfstest

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"sheaf/vfs"
)

// step is one operation with its arguments as drawn; references to objects are
// numbers that are resolved when it runs, so that rapid can drop other steps.
type step struct {
	run         func(p *program, s *step)
	caller      int
	node, node2 ref
	name, name2 nameRef
	how         vfs.How
	set         vfs.SetAttr
	guard       guard
	off         uint64
	count       int
	fill        byte
	stable      vfs.Stable
	access      vfs.AccessMask
	acls        vfs.ACLs
	fresh       bool
}

// ref refers to an object: any ever seen, or the i-th living one that suits.
type ref struct {
	any bool
	i   int
}

// nameRef refers to a name: the i-th that the directory has, or one that it
// may have or not.
type nameRef struct {
	there bool
	i     int
	name  vfs.Name
}

type guard uint8

const (
	noGuard guard = iota
	rightGuard
	wrongGuard
)

// The weights of the steps.
var stepWeights = []struct {
	weight int
	draw   func(t *rapid.T, o ProgramOptions) step
}{
	{8, drawMake},
	{6, drawNames(runRename)},
	{3, drawNames(runRemove)},
	{2, drawNames(runRemoveDir)},
	{3, drawNames(runLink)},
	{2, drawNames(runLookup)},
	{4, drawWrite},
	{2, drawRead},
	{1, drawNode(runCommit)},
	{4, drawSetAttr},
	{2, drawAccess},
	{3, drawList},
	{1, drawNode(runReadLink)},
	{2, drawSetACL},
	{1, drawNode(runRestart)},
}

// steps draws steps that the file system under test can do.
func steps(o ProgramOptions) *rapid.Generator[*step] {
	var weighted []int
	for i, s := range stepWeights {
		for range s.weight {
			weighted = append(weighted, i)
		}
	}
	return rapid.Custom(func(t *rapid.T) *step {
		s := stepWeights[weighted[evenly(t, "kind", 6)%len(weighted)]].draw(t, o)
		s.caller = evenly(t, "caller", 3)
		return &s
	})
}

// evenly draws a number of so many bits; rapid's own integers are mostly small.
func evenly(t *rapid.T, label string, bits int) (n int) {
	for range bits {
		if n *= 2; rapid.Bool().Draw(t, label) {
			n++
		}
	}
	return n
}

var (
	refs = rapid.Custom(func(t *rapid.T) ref {
		return ref{evenly(t, "any", 4) == 15, evenly(t, "object", 6)}
	})
	names = rapid.Custom(func(t *rapid.T) nameRef {
		return nameRef{evenly(t, "there", 2) > 0, evenly(t, "which", 4), pool.Draw(t, "name")}
	})
	pool = rapid.SampledFrom([]vfs.Name{
		name("a"), name("b"), name("c"), name("d"), name("e"), name("\xff"), name(strings.Repeat("n", vfs.NameMax)),
	})
	modes = rapid.SampledFrom([]uint32{0o644, 0o755, 0o777, 0o700, 0o600, 0o070, 0o007, 0, 0o1777, 0o2775, 0o4755, 0o2644, 0o6777, 0o711})
	sizes = rapid.OneOf(rapid.Uint64Range(0, 100), rapid.Uint64Range(0, 3*pageSize), rapid.SampledFrom([]uint64{pageSize, 1 << 20, 1<<64 - 1}))
	users = rapid.SampledFrom([]uint32{1001, 1002, 1003, 0})
	gangs = rapid.SampledFrom([]uint32{2001, 2002, 2003, 0})
	times = rapid.Custom(func(t *rapid.T) vfs.Time { return vfs.Time{Sec: rapid.Int64Range(1, 1<<31-1).Draw(t, "seconds")} })
)

func drawMake(t *rapid.T, o ProgramOptions) step {
	types := []vfs.Type{vfs.Regular, vfs.Regular, vfs.Regular, vfs.Regular, vfs.Directory, vfs.Directory, vfs.Directory, vfs.Symlink, vfs.Symlink, 0}
	if !o.NoSpecial {
		if types = append(types, vfs.FIFO, vfs.Socket); !o.NoDevices {
			types = append(types, vfs.Char)
		}
	}
	s := step{run: runMake, node: refs.Draw(t, "in"), name: names.Draw(t, "name")}
	s.how.Type = types[evenly(t, "type", 4)%len(types)]
	mask := rapid.SampledFrom([]vfs.SetMask{vfs.SetMode, vfs.SetMode | vfs.SetSize, vfs.SetMode | vfs.SetAtime | vfs.SetMtime, 0, vfs.SetMode | vfs.SetUID | vfs.SetGID}).Draw(t, "mask")
	if o.As != nil {
		mask &^= vfs.SetUID | vfs.SetGID
	}
	s.how.Set = vfs.SetAttr{Mask: mask, Mode: modes.Draw(t, "mode"), UID: 1001, GID: 2002, Size: sizes.Draw(t, "size"), Atime: vfs.Time{Sec: 3}, Mtime: vfs.Time{Sec: 4}}
	switch s.how.Type {
	case vfs.Regular:
		s.how.Exists = vfs.Exists(evenly(t, "exists", 2) % 3)
		s.how.Verifier[7] = rapid.ByteRange(1, 3).Draw(t, "verifier")
		s.how.Verifier[3] = s.how.Verifier[7]
	case vfs.Symlink:
		s.how.Target = rapid.SampledFrom([]string{"a", "../b", "/c", ""}).Draw(t, "target")
	case vfs.Char:
		s.how.Major, s.how.Minor = 1, 3
	default:
	}
	return s
}

// drawNames draws steps that name one or two names.
func drawNames(run func(*program, *step)) func(*rapid.T, ProgramOptions) step {
	return func(t *rapid.T, _ ProgramOptions) step {
		return step{run: run, node: refs.Draw(t, "in"), name: names.Draw(t, "name"), node2: refs.Draw(t, "other"), name2: names.Draw(t, "other name")}
	}
}

// drawNode draws steps about one object.
func drawNode(run func(*program, *step)) func(*rapid.T, ProgramOptions) step {
	return func(t *rapid.T, _ ProgramOptions) step { return step{run: run, node: refs.Draw(t, "of")} }
}

func drawWrite(t *rapid.T, _ ProgramOptions) step {
	return step{
		run: runWrite, node: refs.Draw(t, "file"), off: sizes.Draw(t, "offset"), count: rapid.SampledFrom([]int{10, 0, 1, 5000}).Draw(t, "count"),
		fill: rapid.ByteRange('A', 'Z').Draw(t, "fill"), stable: rapid.SampledFrom([]vfs.Stable{vfs.Unstable, vfs.DataSync, vfs.FileSync}).Draw(t, "stable"),
	}
}

func drawRead(t *rapid.T, _ ProgramOptions) step {
	return step{run: runRead, node: refs.Draw(t, "file"), off: sizes.Draw(t, "offset"), count: rapid.IntRange(0, 3*pageSize).Draw(t, "count")}
}

func drawSetAttr(t *rapid.T, o ProgramOptions) step {
	masks := []vfs.SetMask{
		vfs.SetMode, vfs.SetSize, 0, vfs.SetMtime, vfs.SetAtime, vfs.SetAtime | vfs.SetMtime, vfs.SetAtimeNow | vfs.SetMtimeNow,
		vfs.SetMtimeNow, vfs.SetSize | vfs.SetMtimeNow, vfs.SetMode | vfs.SetSize | vfs.SetMtime,
	}
	if o.As == nil {
		masks = append(masks, vfs.SetUID, vfs.SetGID, vfs.SetUID|vfs.SetGID, vfs.SetMode|vfs.SetUID|vfs.SetGID)
	}
	return step{
		run: runSetAttr, node: refs.Draw(t, "of"), guard: rapid.SampledFrom([]guard{noGuard, noGuard, rightGuard, wrongGuard}).Draw(t, "guard"),
		set: vfs.SetAttr{
			Mask: rapid.SampledFrom(masks).Draw(t, "mask"), Mode: modes.Draw(t, "mode"), UID: users.Draw(t, "uid"), GID: gangs.Draw(t, "gid"),
			Size: sizes.Draw(t, "size"), Atime: times.Draw(t, "atime"), Mtime: times.Draw(t, "mtime"),
		},
	}
}

func drawAccess(t *rapid.T, _ ProgramOptions) step {
	return step{run: runAccess, node: refs.Draw(t, "of"), access: vfs.AccessMask(rapid.Uint32Range(0, uint32(vfs.AccessAll)).Draw(t, "rights"))}
}

func drawList(t *rapid.T, _ ProgramOptions) step {
	return step{run: runList, node: refs.Draw(t, "of"), fresh: rapid.IntRange(0, 2).Draw(t, "begin") == 0, count: rapid.SampledFrom([]int{1, 2, 3, 50}).Draw(t, "count")}
}

func drawSetACL(t *rapid.T, _ ProgramOptions) step {
	lists := rapid.SampledFrom([]vfs.ACL{nil, acl(1003, 7, 7), acl(1002, 4, 6), acl(1003, 6, 0), acl(1, 1, 1)[:2]})
	s := step{run: runSetACL, node: refs.Draw(t, "of")}
	s.acls.Access = lists.Draw(t, "access list")
	if rapid.Bool().Draw(t, "has a default list") {
		s.acls.Default = lists.Draw(t, "default list")
	}
	return s
}

// who is the caller of s; the superuser, first, twice as likely as others.
func (p *program) who(s *step) *vfs.Who { return p.whos[max(s.caller-2, 0)%len(p.whos)] }

// pick is the object that r refers to, suiting if there is one.
func (p *program) pick(r ref, suits func(vfs.Attr) bool) *pair {
	if r.any {
		return p.nodes[r.i%len(p.nodes)]
	}
	var all []*pair
	for _, n := range p.nodes {
		if p.alive(n) && suits(n.want) {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return p.nodes[0]
	}
	return all[(len(all)-1+r.i)%len(all)] // the youngest when rapid shrinks to 0
}

// resolve is the name that r refers to, in d.
func (p *program) resolve(r nameRef, d *pair) vfs.Name {
	has := slices.SortedFunc(maps.Keys(p.entriesOf(d)), func(a, b vfs.Name) int { return strings.Compare(a.String(), b.String()) })
	if !r.there || len(has) == 0 {
		return r.name
	}
	return has[r.i%len(has)]
}

func (p *program) dir(r ref) *pair {
	return p.pick(r, func(a vfs.Attr) bool { return a.Type == vfs.Directory })
}

func (p *program) file(r ref) *pair {
	return p.pick(r, func(a vfs.Attr) bool { return a.Type == vfs.Regular })
}

func (p *program) object(r ref) *pair { return p.pick(r, func(vfs.Attr) bool { return true }) }

// resized notes that n is given a size that it may have already: whether times
// move then is left open (ftruncate(2) and truncate(2) differ).
func (p *program) resized(n *pair, set *vfs.SetAttr) {
	if set.Has(vfs.SetSize) && n.want.Type == vfs.Regular && n.want.Size == set.Size {
		n.loose = true
	}
}

func runMake(p *program, s *step) {
	d, w := p.dir(s.node), p.who(s)
	x := p.resolve(s.name, d)
	p.say("uid %d makes %.9q in #%d: %+v", w.UID, x, d.index, s.how)
	if id, ok := p.entriesOf(d)[x]; ok && s.how.Exists == vfs.Unchecked {
		p.resized(p.byModel[id], &s.how.Set)
	}
	got, c, err := p.under.Make(p.ctx, w, d.under, x, &s.how)
	want, _, wantErr := p.model.Make(p.ctx, w, d.model, x, &s.how)
	if p.same(err, wantErr) {
		p.meet(got, want)
	}
	p.tellChange(d, c)
}

func runRename(p *program, s *step) {
	d, d2, w := p.dir(s.node), p.dir(s.node2), p.who(s)
	x, y := p.resolve(s.name, d), p.resolve(s.name2, d2)
	p.say("uid %d renames %.9q in #%d to %.9q in #%d", w.UID, x, d.index, y, d2.index)
	c, c2, err := p.under.Rename(p.ctx, w, d.under, x, d2.under, y)
	_, _, wantErr := p.model.Rename(p.ctx, w, d.model, x, d2.model, y)
	p.same(err, wantErr)
	p.tellChange(d, c)
	p.tellChange(d2, c2)
}

func runRemove(p *program, s *step) {
	d, w := p.dir(s.node), p.who(s)
	x := p.resolve(s.name, d)
	p.say("uid %d removes %.9q of #%d", w.UID, x, d.index)
	c, err := p.under.Remove(p.ctx, w, d.under, x)
	_, wantErr := p.model.Remove(p.ctx, w, d.model, x)
	p.same(err, wantErr)
	p.tellChange(d, c)
}

func runRemoveDir(p *program, s *step) {
	d, w := p.dir(s.node), p.who(s)
	x := p.resolve(s.name, d)
	p.say("uid %d removes directory %.9q of #%d", w.UID, x, d.index)
	c, err := p.under.RemoveDir(p.ctx, w, d.under, x)
	_, wantErr := p.model.RemoveDir(p.ctx, w, d.model, x)
	p.same(err, wantErr)
	p.tellChange(d, c)
}

func runLink(p *program, s *step) {
	n, d, w := p.pick(s.node2, func(a vfs.Attr) bool { return a.Type != vfs.Directory }), p.dir(s.node), p.who(s)
	x := p.resolve(s.name, d)
	p.say("uid %d links #%d as %.9q in #%d", w.UID, n.index, x, d.index)
	got, c, err := p.under.Link(p.ctx, w, n.under, d.under, x)
	_, _, wantErr := p.model.Link(p.ctx, w, n.model, d.model, x)
	p.same(err, wantErr)
	p.tell(n, got)
	p.tellChange(d, c)
}

func runLookup(p *program, s *step) {
	d, w := p.dir(s.node), p.who(s)
	x := p.resolve(s.name, d)
	p.say("uid %d looks %.9q up in #%d", w.UID, x, d.index)
	got, dirAttr, err := p.under.Lookup(p.ctx, w, d.under, x)
	want, _, wantErr := p.model.Lookup(p.ctx, w, d.model, x)
	if p.same(err, wantErr) {
		p.meet(got, want)
	}
	p.tell(d, dirAttr)
}

func runWrite(p *program, s *step) {
	n, w := p.file(s.node), p.who(s)
	data := bytes.Repeat([]byte{s.fill}, s.count)
	p.say("uid %d writes %d × %q at %d of #%d, stable %d", w.UID, s.count, s.fill, s.off, n.index, s.stable)
	got, c, err := p.under.Write(p.ctx, w, n.under, data, s.off, s.stable)
	_, _, wantErr := p.model.Write(p.ctx, w, n.model, data, s.off, s.stable)
	if p.same(err, wantErr) {
		if got.Count != s.count || got.Stable < s.stable {
			p.fail("written %+v", got)
		}
		p.verify(got.Verifier)
	}
	p.tellChange(n, c)
}

// verify wants the verifier not to change during a life, nor to be that of an
// earlier one.
func (p *program) verify(v vfs.Verifier) {
	switch {
	case p.past[v]:
		p.fail("the verifier %x is that of before a restart", v)
	case p.verifier != nil && *p.verifier != v:
		p.fail("the verifier went from %x to %x without a restart", *p.verifier, v)
	}
	p.verifier = &v
}

func runRead(p *program, s *step) {
	n, w := p.file(s.node), p.who(s)
	p.say("uid %d reads %d at %d of #%d", w.UID, s.count, s.off, n.index)
	p.compareRead(n, w, s.off, s.count)
}

func runCommit(p *program, s *step) {
	n, w := p.file(s.node), p.who(s)
	p.say("uid %d commits #%d", w.UID, n.index)
	v, c, err := p.under.Commit(p.ctx, w, n.under, 0, 0)
	_, _, wantErr := p.model.Commit(p.ctx, w, n.model, 0, 0)
	if p.same(err, wantErr) {
		p.verify(v)
	}
	p.tellChange(n, c)
}

func runSetAttr(p *program, s *step) {
	n, w := p.object(s.node), p.who(s)
	p.say("uid %d sets %+v of #%d, guard %d", w.UID, s.set, n.index, s.guard)
	var g, wantG *vfs.Time
	if s.guard != noGuard {
		a, b := n.attr.Ctime, n.want.Ctime
		if s.guard == wrongGuard {
			a, b = a.Next(), b.Next()
		}
		g, wantG = &a, &b
	}
	p.resized(n, &s.set)
	c, err := p.under.SetAttr(p.ctx, w, n.under, &s.set, g)
	wantC, wantErr := p.model.SetAttr(p.ctx, w, n.model, &s.set, wantG)
	ok := p.same(err, wantErr)
	if ok && c.HasAfter && s.set.Has(vfs.SetMtime) && c.After.Mtime != wantC.After.Mtime ||
		ok && c.HasAfter && s.set.Has(vfs.SetAtime) && c.After.Atime != wantC.After.Atime {
		p.fail("times set to %v, %v, want %v, %v", c.After.Atime, c.After.Mtime, wantC.After.Atime, wantC.After.Mtime)
	}
	n.loose = n.loose && ok
	p.tellChange(n, c)
}

func runAccess(p *program, s *step) {
	n, w := p.object(s.node), p.who(s)
	p.say("uid %d asks for %06b of #%d", w.UID, s.access, n.index)
	got, a, err := p.under.Access(p.ctx, w, n.under, s.access)
	want, _, wantErr := p.model.Access(p.ctx, w, n.model, s.access)
	if p.same(err, wantErr) && got != want {
		p.fail("access %06b, want %06b", got, want)
	}
	p.tell(n, a)
}

func runReadLink(p *program, s *step) {
	n, w := p.pick(s.node, func(a vfs.Attr) bool { return a.Type == vfs.Symlink }), p.who(s)
	p.say("uid %d reads the link #%d", w.UID, n.index)
	got, a, err := p.under.ReadLink(p.ctx, w, n.under)
	want, _, wantErr := p.model.ReadLink(p.ctx, w, n.model)
	if p.same(err, wantErr) && got != want {
		p.fail("target %q, want %q", got, want)
	}
	p.tell(n, a)
}

func runSetACL(p *program, s *step) {
	n, w := p.object(s.node), p.who(s)
	p.say("uid %d gives #%d the lists %v", w.UID, n.index, s.acls)
	got, err := p.under.SetACL(p.ctx, w, n.under, s.acls)
	_, wantErr := p.model.SetACL(p.ctx, w, n.model, s.acls)
	p.same(err, wantErr)
	p.tell(n, got)
}

func runRestart(p *program, _ *step) {
	if p.opts.Restart == nil {
		return
	}
	p.say("restart")
	p.under = p.opts.Restart(p.t)
	if p.verifier != nil {
		p.past[*p.verifier], p.verifier = true, nil
	}
	p.checkInvariants()
	p.compareTrees()
}
