package union

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
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
	before := x.m.seen(t)
	x.m.settled(t)
	x.dies.Store(1 << 40)
	p.s.listen(true)
	_, err := p.d.call(x)
	p.ops = 1<<40 - x.dies.Swap(0)
	p.s.listen(false)
	must(t, err)
	if x.m.u != nil {
		p.was, p.is = shape(before, before), shape(x.m.seen(t), before)
	}
	x.m.close(t)
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
	if seed%2 == 1 && !p.d.apart && x.m.u != nil {
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
	x.m.close(t)
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
	before := x.m.seen(t)
	x.m.settled(t)
	x.dies.Store(i)
	p.s.listen(true)
	check, err := p.d.call(x)
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
	now := x.m.seen(t)
	if got := shape(now, before); !maps.Equal(got, p.was) && !maps.Equal(got, p.is) {
		t.Errorf("the share is neither what it was\n%v\nnor what it should become\n%v\nbut\n%v", p.was, p.is, got)
	}
	x.whole(t)
	if !p.d.apart {
		x.m.u.scans.wait()
		u := x.m.u
		x.alone(t, x.m.attrs(t), false)
		x.m.u = u
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

func TestMatrix(t *testing.T) {
	for _, kinds := range [][]durable{births(), deaths(), moves(), settings(), writings(), writingsOnce(), oddities()} {
		for _, d := range kinds {
			for _, turned := range []bool{false, true} {
				for _, volumes := range []int{1, 2, 3} {
					if volumes == 1 && turned {
						continue
					}
					s := newSieve()
					p := &proofOf{d: d, volumes: volumes, turned: turned, s: s}
					t.Run(p.String(), func(t *testing.T) {
						p.learn(t)
						for seed := range uint64(200) {
							if why := try(t, func(t testing.TB) { p.try(t, seed) }); why != "" {
								t.Fatalf("unmuted: %d %s", seed, why)
							}
						}
						for _, f := range s.sites() {
							s.mute = func(g flushAt) bool { return f == g }
							why := ""
							seed := uint64(0)
							for ; seed < 200 && why == ""; seed++ {
								why = try(t, func(t testing.TB) { p.try(t, seed) })
							}
							if why == "" {
								fmt.Fprintf(os.Stderr, "UNNOTICED %s: %s\n", p, f)
							} else {
								fmt.Fprintf(os.Stderr, "noticed %s: %s: %d %.60q\n", p, f, seed, why)
							}
						}
					})
				}
			}
		}
	}
}
