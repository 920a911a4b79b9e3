package vfstest

import (
	"context"
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"sheaf/vfs"
)

// ProgramOptions say how [RunProgram] runs, and what may differ.
type ProgramOptions struct {
	Options // what the file system under test cannot do
	// Steps is the longest program; 0: 120.
	Steps int
	// Restart closes the file system under test in good order and opens it again. Nodes
	// stay valid; data written and not committed stays too, but the write
	// verifier changes. nil: no restarts.
	Restart func(t *rapid.T) vfs.FS
	// Check looks for broken invariants of the file system under test; it is
	// called after every restart and at the end. nil: none.
	Check func() error
	// OtherFailure allows a failure with another status than the Model's.
	OtherFailure func(step string, under, model vfs.Status) bool
	// AnyDirLinks allows directories to have any number of links (btrfs).
	AnyDirLinks bool
	// CoarseMtime allows mtime of files to stand still over a write.
	CoarseMtime bool
}

// RunProgram draws a program and runs it on the empty file system under and on
// a Model in lockstep. After each step it wants the same status, the same
// results, and of every living object the same attributes: type, mode, links,
// owner, group, size and device; ctime that has increased if and only if the
// Model's has, mtime that has changed if and only if the Model's has. Nodes may
// be anything but correspond one to one. At the end trees and data are compared.
// A failure prints the program so far; rapid shrinks it.
func RunProgram(t *rapid.T, under vfs.FS, o ProgramOptions) {
	if o.Steps == 0 {
		o.Steps = 120
	}
	p := newProgram(t, under, o)
	// In bursts that may be empty, so that rapid can shrink a program to what matters.
	const burst = 8
	most := rapid.SampledFrom([]int{1, 3, o.Steps / burst / 2, o.Steps / burst}).Draw(t, "bursts")
	for _, b := range rapid.SliceOfN(rapid.SliceOfN(steps(o), 0, burst), most, most).Draw(t, "program") {
		for _, s := range b {
			s.run(p, s)
			p.sweep()
		}
	}
	if o.Restart != nil {
		runRestart(p, &step{})
		p.sweep()
	}
	p.compareTrees()
	p.checkInvariants()
}

// program is a run in progress.
type program struct {
	t     *rapid.T
	ctx   context.Context
	opts  ProgramOptions
	under vfs.FS
	model *Model
	whos  []*vfs.Who

	nodes   []*pair // every object ever seen, the root first
	byUnder map[vfs.NodeID]*pair
	byModel map[vfs.NodeID]*pair

	listings []*listing
	verifier *vfs.Verifier // of this life of the file system under test
	past     map[vfs.Verifier]bool

	told     []told   // attributes that the last step gave
	text     []string // the program so far
	finished bool     // the last of text has its outcome
}

// pair is one object under both file systems, with its attributes after the last step.
type pair struct {
	index        int
	under, model vfs.Node
	attr, want   vfs.Attr
	loose        bool // the last step may or may not have moved its times
}

// told are attributes of an object given by the file system under test.
type told struct {
	*pair
	attr vfs.Attr
}

// newProgram pairs the roots and makes a directory that all may write.
func newProgram(t *rapid.T, under vfs.FS, o ProgramOptions) *program {
	p := &program{t: t, ctx: t.Context(), opts: o, under: under, byUnder: map[vfs.NodeID]*pair{}, byModel: map[vfs.NodeID]*pair{}, past: map[vfs.Verifier]bool{}}
	p.whos = []*vfs.Who{vfs.Superuser, ann, ben, cid}
	if o.As != nil {
		p.whos = []*vfs.Who{o.As}
	}
	root, err := under.Root(p.ctx, p.whos[0])
	p.must(err, "Root")
	limits, _, err := under.Limits(p.ctx, p.whos[0], root.Node)
	p.must(err, "Limits")
	p.model = NewModel(ModelOptions{
		RootUID: root.UID, RootGID: root.GID, RootMode: root.Mode, MaxFileSize: limits.MaxFileSize, LinkMax: limits.LinkMax,
		NoACLs: o.NoACLs, NoSpecial: o.NoSpecial, NoLinks: o.NoLinks,
	})
	want, err := p.model.Root(p.ctx, p.whos[0])
	p.must(err, "Root of the Model")
	p.meet(root, want)
	p.sweep()
	mode := rapid.SampledFrom([]uint32{0o777, 0o1777}).Draw(t, "mode of the common directory")
	runMake(p, &step{name: nameRef{name: name("pub")}, how: vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: mode}}})
	p.sweep()
	return p
}

// fail ends the run with the program so far.
func (p *program) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s\nprogram so far:\n  %s", fmt.Sprintf(format, args...), strings.Join(p.text, "\n  "))
}

func (p *program) must(err error, what string) {
	p.t.Helper()
	if err != nil {
		p.fail("%s: %v", what, err)
	}
}

// say writes the step that is about to run.
func (p *program) say(format string, args ...any) {
	p.text, p.finished = append(p.text, fmt.Sprintf(format, args...)), false
}

// same wants the same status of both, and reports whether it is OK.
func (p *program) same(under, model error) bool {
	p.t.Helper()
	u, m := vfs.StatusOf(under), vfs.StatusOf(model)
	if !p.finished {
		p.text[len(p.text)-1] += fmt.Sprintf(" → %v", m)
		p.finished = true
	}
	if u != m {
		what := p.text[len(p.text)-1]
		if u == vfs.OK || m == vfs.OK || p.opts.OtherFailure == nil || !p.opts.OtherFailure(what, u, m) {
			p.fail("%s: got %v (%v), want %v", what, u, under, m)
		}
	}
	return m == vfs.OK
}

// meet pairs the objects that both file systems gave for one thing.
func (p *program) meet(under, model vfs.Attr) *pair {
	p.t.Helper()
	u, m := p.byUnder[under.Node.ID], p.byModel[model.Node.ID]
	if u != m || under.Node.IsZero() {
		p.fail("got object %s, want %s", describe(u, under), describe(m, model))
	}
	if u == nil {
		u = &pair{index: len(p.nodes), under: under.Node, model: model.Node}
		p.nodes = append(p.nodes, u)
		p.byUnder[under.Node.ID], p.byModel[model.Node.ID] = u, u
	}
	p.tell(u, under)
	return u
}

func describe(n *pair, a vfs.Attr) string {
	if n == nil {
		return "unknown " + a.Node.ID.String()
	}
	return fmt.Sprintf("#%d", n.index)
}

// tell notes attributes of n that the step gave, to be compared by sweep.
func (p *program) tell(n *pair, a vfs.Attr) {
	if !a.Node.IsZero() {
		p.told = append(p.told, told{n, a})
	}
}

// tellChange does so with a change, whose first half must be what was.
func (p *program) tellChange(n *pair, c vfs.Change) {
	p.t.Helper()
	if c.HasBefore && c.Before != n.attr.Pre() {
		p.fail("#%d before the step was %+v, want %+v", n.index, c.Before, n.attr.Pre())
	}
	if c.HasAfter {
		p.tell(n, c.After)
	}
}

// alive reports whether n lives, by the Model.
func (p *program) alive(n *pair) bool { return p.model.objects[n.model.ID] != nil }

// sweep compares all living objects after a step.
func (p *program) sweep() {
	p.t.Helper()
	for _, n := range p.nodes {
		if p.alive(n) {
			p.compare(n)
		}
	}
	for _, t := range p.told {
		if got, now := stamp(t.attr), stamp(t.pair.attr); p.alive(t.pair) && got != now {
			p.fail("#%d was given as %+v and is %+v", t.index, got, now)
		}
	}
	p.told = p.told[:0]
	for _, l := range p.listings {
		l.forget(p)
	}
}

// stamp is a without what may change by itself or not be known yet.
func stamp(a vfs.Attr) vfs.Attr {
	a.Atime, a.Used, a.Node.Birth = vfs.Time{}, 0, vfs.Birth{}
	return a
}

// compare holds n's attributes under test to the Model's.
func (p *program) compare(n *pair) {
	p.t.Helper()
	got, err := p.under.GetAttr(p.ctx, p.whos[0], n.under)
	p.must(err, fmt.Sprintf("GetAttr of #%d", n.index))
	want, err := p.model.GetAttr(p.ctx, p.whos[0], n.model)
	p.must(err, fmt.Sprintf("GetAttr of #%d in the Model", n.index))
	if got.Node.ID != n.under.ID {
		p.fail("GetAttr of #%d gave another node", n.index)
	}
	if g, w := p.facts(got), p.facts(want); g != w {
		p.fail("#%d is %+v, want %+v", n.index, g, w)
	}
	if !n.attr.Node.IsZero() && !n.loose {
		p.compareTimes(n, got, want)
	}
	n.attr, n.want, n.loose = got, want, false
}

// compareTimes holds the change of n's times to that of the Model's.
func (p *program) compareTimes(n *pair, got, want vfs.Attr) {
	p.t.Helper()
	moved, wantMoved := got.Ctime.Compare(n.attr.Ctime), want.Ctime.Compare(n.want.Ctime)
	if moved != wantMoved {
		p.fail("#%d: ctime went from %v to %v, the Model's from %v to %v", n.index, n.attr.Ctime, got.Ctime, n.want.Ctime, want.Ctime)
	}
	changed, wantChanged := got.Mtime != n.attr.Mtime, want.Mtime != n.want.Mtime
	mayStand := p.opts.CoarseMtime && wantChanged && got.Type == vfs.Regular
	if changed != wantChanged && !mayStand {
		p.fail("#%d: mtime went from %v to %v, the Model's from %v to %v", n.index, n.attr.Mtime, got.Mtime, n.want.Mtime, want.Mtime)
	}
}

// facts are the attributes that both file systems must agree on.
func (p *program) facts(a vfs.Attr) vfs.Attr {
	f := vfs.Attr{Type: a.Type, Mode: a.Mode, Nlink: a.Nlink, UID: a.UID, GID: a.GID, Size: a.Size, Major: a.Major, Minor: a.Minor}
	if a.Type == vfs.Directory {
		f.Size = 0
		if p.opts.AnyDirLinks {
			f.Nlink = 0
		}
	}
	if a.Type != vfs.Block && a.Type != vfs.Char {
		f.Major, f.Minor = 0, 0
	}
	return f
}

func (p *program) checkInvariants() {
	p.t.Helper()
	if p.opts.Check != nil {
		p.must(p.opts.Check(), "invariants")
	}
}
