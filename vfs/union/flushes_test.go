package union

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// victimsOf are the paths that a call may take away.
var victimsOf = map[string][]string{
	"remove": {"away/other"}, "rmdir of a directory with copies": {"home/empty"},
	"rename over what lies elsewhere": {"away/other"}, "rename over what lies beside": {"home/file"},
	"rename of a directory with copies over another": {"away/empty"},
}

// proofOf is all that is demanded of one kind of call over some volumes.
type proofOf struct {
	d       durable
	volumes int
	s       *sieve
	ops     int64 // that the call takes
	again   int64 // that the longest recovery takes
}

func (p *proofOf) tree(t testing.TB) *tree {
	p.s.listen(false)
	x := newTreeOn(t, p.volumes, p.s.wrap)
	p.d.prepare(t, x)
	return x
}

// reply cuts the power right behind the reply.
func (p *proofOf) reply(t testing.TB, seed uint64) {
	x := p.tree(t)
	x.dies.Store(1 << 40)
	p.s.listen(true)
	check, err := p.d.call(x)
	p.ops = max(p.ops, 1<<40-x.dies.Swap(0))
	must(t, err)
	p.restart(t, x, 0, seed)
	check()
	x.m.close(t)
}

// cut cuts the power at operation i, and with again at operation again of the recovery, too.
func (p *proofOf) cut(t testing.TB, i, again int64, seed uint64) {
	x := p.tree(t)
	before := x.m.seen(t)
	x.m.settled(t)
	x.dies.Store(i)
	p.s.listen(true)
	check, err := p.d.call(x)
	x.dies.Store(0)
	if again > 0 {
		p.restart(t, x, again, seed+1)
	}
	p.restart(t, x, 0, seed)
	if err == nil {
		check()
	}
	x.nothingLost(t, before, victimsOf[p.d.name])
	x.m.close(t)
	for _, v := range x.m.mems {
		left(t, v, true)
	}
}

// restart cuts the power and opens the share, which dies at operation again if that is not 0.
func (p *proofOf) restart(t testing.TB, x *tree, again int64, seed uint64) {
	if again == 0 {
		x.m.cut(t, seed)
		return
	}
	x.m.turnOff(seed)
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

// try is one of endless attempts, by seed.
func (p *proofOf) try(t testing.TB, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	if seed < 8 || rnd.IntN(8) == 0 || p.d.name[:4] == "seta" || p.d.name[:4] == "writ" || p.d.name[:4] == "comm" {
		p.reply(t, seed)
		return
	}
	i, again := 1+rnd.Int64N(p.ops+1), int64(0)
	if rnd.IntN(2) == 0 {
		again = 1 << 30
		if p.again > 0 {
			again = 1 + rnd.Int64N(p.again+1)
		}
	}
	p.cut(t, i, again, seed)
}

func TestMatrix(t *testing.T) {
	for _, kinds := range [][]durable{births(), deaths(), moves(), settings(), writings(), writingsOnce()} {
		for _, d := range kinds {
			for _, volumes := range []int{1, 2, 3} {
				t.Run(fmt.Sprintf("%s/%d", d.name, volumes), func(t *testing.T) {
					s := newSieve()
					p := &proofOf{d: d, volumes: volumes, s: s}
					for seed := range uint64(200) {
						if why := try(t, func(t testing.TB) { p.try(t, seed) }); why != "" {
							t.Fatalf("unmuted: %d %s", seed, why)
						}
					}
					for _, f := range s.sites() {
						s.mute = func(g flushAt) bool { return f == g }
						why := ""
						seed := uint64(0)
						for ; seed < 400 && why == ""; seed++ {
							why = try(t, func(t testing.TB) { p.try(t, seed) })
						}
						if why == "" {
							fmt.Fprintf(os.Stderr, "UNNOTICED %s/%d: %s\n", d.name, volumes, f)
						} else {
							fmt.Fprintf(os.Stderr, "noticed %s/%d: %s: %d %.60q\n", d.name, volumes, f, seed, why)
						}
					}
				})
			}
		}
	}
}
