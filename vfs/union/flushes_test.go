package union

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// proofOf is all that is demanded of one kind of call over some volumes.
type proofOf struct {
	d       durable
	volumes int
	turned  bool
	s       *sieve
	ops     int64             // that the call takes
	again   int64             // that the longest recovery takes
	was, is map[string]string // the shapes of the share before and after the call
}

func (p *proofOf) String() string {
	s := fmt.Sprintf("%s/%d", p.d.name, p.volumes)
	if p.turned {
		s += " turned"
	}
	return s
}

func (p *proofOf) tree(t testing.TB) *tree {
	p.s.listen(false)
	x := newTreeOn(t, p.volumes, p.turned, p.s.wrap)
	p.d.prepare(t, x)
	return x
}

// learn makes the call once without a fault, and takes the measures for what follows.
func (p *proofOf) learn(t testing.TB) {
	x := p.tree(t)
	before := p.look(t, x)
	x.m.settled(t)
	x.dies.Store(1 << 40)
	p.s.listen(true)
	_, err := p.d.call(x)
	p.ops = 1<<40 - x.dies.Swap(0)
	p.s.listen(false)
	must(t, err)
	if x.m.u != nil {
		x.m.kill() // all volumes are there again
		x.m.open(t)
		p.was, p.is = shape(before, before), shape(p.look(t, x), before)
	}
	x.m.close(t)
}

// look is what the share shows, where it may be looked at.
func (p *proofOf) look(t testing.TB, x *tree) map[string]vfs.NodeID {
	if p.d.blind {
		return nil
	}
	return x.m.seen(t)
}

// shape is what a share shows, the nodes told by the names they had before: so it can be compared with that
// of another share.
func shape(now, before map[string]vfs.NodeID) map[string]string {
	names := make(map[vfs.NodeID][]string)
	for _, path := range slices.Sorted(maps.Keys(before)) {
		names[before[path]] = append(names[before[path]], path)
	}
	m := make(map[string]string)
	for path, id := range now {
		if m[path] = strings.Join(names[id], "|"); m[path] == "" {
			m[path] = "new"
		}
	}
	return m
}

// reply cuts the power right behind the reply. Every other time the volumes come back one by one
// first.
func (p *proofOf) reply(t testing.TB, seed uint64) {
	x := p.tree(t)
	p.s.listen(true)
	check, err := p.d.call(x)
	must(t, err)
	together := x.m.u != nil && x.m.u.away() == 0 && !p.d.apart
	if seed%2 == 1 && together {
		p.s.listen(false)
		all := x.m.attrs(t)
		x.m.turnOff(seed)
		if x.settled() {
			x.alone(t, all, true)
		}
	} else {
		x.m.turnOff(seed)
	}
	p.s.listen(true)
	x.m.open(t)
	p.s.listen(false)
	check()
	p.d.lasting(x)
	if !p.d.apart {
		x.alone(t, x.m.attrs(t), true)
	}
	x.m.close(t)
}

func (d *durable) lasting(x *tree) {
	if d.holds != nil {
		d.holds(x)
	}
}

// settled reports whether there is nothing to recover, which one volume could not do without the others.
func (x *tree) settled() bool {
	for _, v := range x.m.mems {
		for _, name := range []vfs.Name{displacedName, intentsName} {
			d, err := v.Private().OpenDir(x.t.Context(), name)
			if vfs.StatusOf(err) == vfs.NoEnt {
				continue
			}
			must(x.t, err)
			empty := true
			must(x.t, d.List(x.t.Context(), func(volume.Entry) bool { empty = false; return false }))
			must(x.t, d.Close())
			if !empty {
				return false
			}
		}
	}
	return true
}

// The ways in which a server ends at an operation, and the next one.
const (
	cutOnce     = iota
	cutTwice    // the power goes again while it recovers, or right after
	killThenCut // the process dies, then the power goes while the next one recovers, or right after
	ends
)

// crash lets the server end at operation i, and the next one at operation again of its recovery.
func (p *proofOf) crash(t testing.TB, end int, i, again int64, seed uint64) {
	x := p.tree(t)
	before := p.look(t, x)
	x.m.settled(t)
	x.dies.Store(i)
	p.s.listen(true)
	check, err := p.d.call(x)
	x.m.u.abandon() // before the volumes answer again
	x.dies.Store(0)
	switch end {
	case cutTwice:
		x.m.turnOff(seed + 1)
		p.recover(t, x, again)
	case killThenCut:
		x.m.kill()
		p.recover(t, x, again)
	}
	x.m.cut(t, seed)
	p.s.listen(false)
	now := p.look(t, x)
	if got := shape(now, before); !maps.Equal(got, p.was) && !maps.Equal(got, p.is) {
		t.Errorf("the share is neither what it was\n%v\nnor what it should become\n%v\nbut\n%v", p.was, p.is, got)
	}
	x.whole(t)
	p.d.lasting(x)
	if !p.d.apart {
		x.m.u.scans.wait()
		x.alone(t, x.m.attrs(t), false)
	}
	if err == nil {
		check()
	}
	x.m.close(t)
	for _, v := range x.m.mems {
		left(t, v, true)
	}
}

// recover opens the share and dies at an operation of that.
func (p *proofOf) recover(t testing.TB, x *tree, again int64) {
	x.dies.Store(again)
	o := x.m.opt
	for _, v := range x.m.vols {
		o.Volumes = append(o.Volumes, x.m.wrapped(v))
	}
	u, err := Open(t.Context(), o)
	if err == nil {
		u.abandon()
		x.m.u = u
	}
	p.again = max(p.again, again-x.dies.Swap(0))
}

// whole wants the file as it was or as it is written to: no block of the disk is a mixture.
func (x *tree) whole(t testing.TB) {
	a, err := x.m.u.GetAttr(t.Context(), who, x.file)
	if vfs.StatusOf(err) == vfs.Stale {
		return
	}
	must(t, err)
	buf := make([]byte, a.Size)
	_, _, _, err = x.m.u.Read(t.Context(), who, x.file, buf, 0)
	must(t, err)
	const block = 4096
	for i := 0; i < len(buf); i += block {
		got := buf[i:min(len(buf), i+block)]
		same := false
		for _, s := range []string{"before", "bef", long, ""} {
			want := make([]byte, i+block)
			copy(want, s)
			same = same || string(got) == string(want[i:i+len(got)])
		}
		if !same {
			t.Errorf("block %d of the file is torn: %.40q", i/block, got)
		}
	}
}

// alone opens each volume without the others: what lies there are the same nodes under the same names as
// all shows, and with attrs directories have the same mode and owner.
func (x *tree) alone(t testing.TB, all map[string]vfs.Attr, attrs bool) {
	for i, v := range x.m.mems {
		one := &shareT{tb: t, opt: x.m.opt, vols: []volume.Volume{v}}
		for path, a := range one.attrsOf(t) {
			b, ok := all[path]
			if !ok || a.Node.ID != b.Node.ID {
				t.Errorf("%s is %s on volume %d alone, and %s with all", path, a.Node.ID, i, b.Node.ID)
			} else if attrs && (a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID) {
				t.Errorf("%s has mode %o of %d:%d on volume %d alone, and %o of %d:%d with all", path, a.Mode, a.UID, a.GID, i, b.Mode, b.UID, b.GID)
			}
		}
	}
}

// attrsOf opens s and gives its attrs.
func (s *shareT) attrsOf(t testing.TB) map[string]vfs.Attr {
	s.open(t)
	all := s.attrs(t)
	s.u.scans.wait()
	must(t, s.u.Close())
	return all
}

// attrs is what the share shows: path to attributes.
func (s *shareT) attrs(t testing.TB) map[string]vfs.Attr {
	all := make(map[string]vfs.Attr)
	for path := range s.seen(t) {
		all[path] = s.path(t, path)
	}
	return all
}

// try is one of endless attempts, by seed.
func (p *proofOf) try(t testing.TB, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	if seed < 4 || rnd.IntN(8) == 0 || p.d.many {
		p.reply(t, seed)
		return
	}
	i, again := 1+rnd.Int64N(p.ops+1), int64(1)<<30
	if p.again > 0 && rnd.IntN(4) > 0 {
		again = 1 + rnd.Int64N(p.again+1)
	}
	p.crash(t, rnd.IntN(ends), i, again, seed)
}

// proofs are those of all kinds of calls; quick: over two volumes and, turned, over three.
func proofs(quick bool) []*proofOf {
	var all []*proofOf
	for _, kinds := range [][]durable{births(), deaths(), moves(), settings(), writings(), writingsOnce(), oddities(), repairs()} {
		for _, d := range kinds {
			for volumes := 1; volumes <= 3; volumes++ {
				if !quick || volumes == 2 {
					all = append(all, &proofOf{d: d, volumes: volumes, s: newSieve()})
				}
				if volumes > 1 && !quick || volumes == 3 {
					all = append(all, &proofOf{d: d, volumes: volumes, turned: true, s: newSieve()})
				}
			}
		}
	}
	return all
}

// attempts is how often a proof is tried with all flushes made, and most how often without one before it
// counts as unnoticed.
const (
	quickAttempts = 6
	allAttempts   = 100
	mostAttempts  = 600
)

// TestEveryFlushIsNeeded takes one flush after the other out of the code, and wants the proofs to fail: first each
// by itself of those that a reply waits for, in every kind of call, then each of the others in whatever call comes to it. A
// flush without which no proof fails is not needed, or a proof is missing.
//
// With SHEAF_PROOFS=all it takes minutes: all kinds of calls over one to three volumes. The race detector, which
// has other tests for the same calls, would make it five times as long (make crash runs it without).
func TestEveryFlushIsNeeded(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes thousands of power cuts: make crash")
	}
	quick := os.Getenv("SHEAF_PROOFS") != "all"
	n := allAttempts
	if quick {
		n = quickAttempts
	}
	ps := proofs(quick)
	others := make(map[string][]*proofOf)
	for _, p := range ps {
		p.learn(t)
		for seed := range uint64(n) + uint64(p.ops) {
			if why := try(t, func(t testing.TB) { p.try(t, seed) }); why != "" {
				t.Fatalf("%s fails with seed %d: %s", p, seed, why)
			}
		}
		for _, f := range p.s.sites() {
			if isElsewhere(f.site) {
				continue
			}
			if !f.replied() {
				if ps := others[f.site]; len(ps) == 0 || ps[len(ps)-1] != p {
					others[f.site] = append(ps, p)
				}
			} else if !p.d.many {
				p.without(t, f.String(), func(g flushAt) bool { return f == g }, mostAttempts)
			}
		}
	}
	seen := make(map[string]bool)
	for _, p := range ps {
		for _, f := range p.s.sites() {
			place, _, _ := strings.Cut(f.site, " ")
			seen[place] = true
		}
	}
	unreached(t, seen)
	for _, site := range slices.Sorted(maps.Keys(others)) {
		anywhere(t, site, others[site])
	}
}

// replied reports whether f is a flush that a reply waits for, of which each is wanted by itself.
func (f *flushAt) replied() bool {
	return strings.Contains(f.site, "flushDir") || strings.Contains(f.site, "dirFlusher") || strings.Contains(f.site, ".Make") || strings.Contains(f.site, ".done")
}

// without runs the proof without some flushes and reports whether that is noticed.
func (p *proofOf) without(t *testing.T, what string, mute func(flushAt) bool, most uint64) bool {
	t.Helper()
	p.s.mute = mute
	defer func() { p.s.mute = nil }()
	for seed := range most {
		if why := try(t, func(t testing.TB) { p.try(t, seed) }); why != "" {
			t.Logf("%s without %s fails with seed %d: %.80q", p, what, seed, why)
			return true
		}
	}
	t.Errorf("%s does not notice that %s is left out", p, what)
	return false
}

// anywhere runs the proofs in turn without all flushes of one place in the code.
func anywhere(t *testing.T, site string, ps []*proofOf) {
	t.Helper()
	for _, p := range ps {
		p.s.mute = func(f flushAt) bool { return f.site == site }
		defer func() { p.s.mute = nil }()
	}
	for seed := range uint64(mostAttempts) {
		for _, p := range ps {
			if why := try(t, func(t testing.TB) { p.try(t, seed) }); why != "" {
				t.Logf("%s without %s fails with seed %d: %.80q", p, site, seed, why)
				return
			}
		}
	}
	t.Errorf("nobody notices that %s is left out; %d kinds of calls come to it, as %s", site, len(ps), ps[0])
}

// elsewhere are functions whose flushes the proofs do not come to or cannot tell, and the tests that fail without them.
var elsewhere = map[string]string{
	"(*Union).flushCopies": "TestSettledIsDurable",  // it has an index, and leaves them out itself
	"(*Union).alignTimes":  "TestTimesNeverGoBack",  // the proofs look at no times of directories
	"(*vol).sign":          "TestTurnOutlivesPower", // about who serves the share next with another index
	"(*vol).unsign":        "TestTurnOutlivesPower",
	"writeSmall":           "TestTurnOutlivesPower",
}

// isElsewhere reports whether another test sees to the flush at site.
func isElsewhere(site string) bool {
	_, rest, _ := strings.Cut(site, " ")
	innermost, _, _ := strings.Cut(rest, " < ")
	for name := range elsewhere {
		if after, ok := strings.CutPrefix(innermost, name); ok && (after == "" || after[0] == '.') {
			return true
		}
	}
	return false
}

// unreached are the flushes in the source of this package that were not seen.
func unreached(t *testing.T, seen map[string]bool) {
	t.Helper()
	fset := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	must(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		must(t, err)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || slices.Contains(flushSteps, funcName(fn)) || elsewhere[funcName(fn)] != "" {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Sync", "SyncAll", "syncDir", "sync", "flush"}, sel.Sel.Name) {
					at := fset.Position(call.Pos())
					if place := fmt.Sprintf("%s:%d", at.Filename, at.Line); !seen[place] {
						t.Errorf("no proof comes to the flush at %s in %s: add the call that does to oddities, or remove it", place, funcName(fn))
					}
				}
				return true
			})
		}
	}
}

// funcName is how the runtime calls a function, without its package.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
		return fmt.Sprintf("(*%s).%s", star.X, fn.Name.Name)
	}
	return fmt.Sprintf("%s.%s", fn.Recv.List[0].Type, fn.Name.Name)
}
