package placement

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// Balanced is the policy "balanced" of doc.go. The zero value ignores latency
// and affinity and keeps no headroom.
type Balanced struct {
	Limits      Limits
	PointsPerMs float64 // points of used % that 1 ms of expected wait is worth
	MaxPenalty  float64 // points
	Affinity    float64 // points that keeping a directory together may cost
}

// Default is the policy of a share that configures none. 10 ms of expected wait weigh
// one point, and no wait more than filling a disk from empty.
var Default = Balanced{Limits: DefaultLimits, PointsPerMs: 0.1, MaxPenalty: 100, Affinity: 1}

// Choose implements Policy.
func (p Balanced) Choose(volumes []Volume, h *Hints, chance rand.Source) (Choice, error) {
	return p.Limits.relax(volumes, h, func(l Limits, volumes []Volume, h *Hints) (Choice, bool) {
		return p.draw(l, volumes, h, chance)
	})
}

// draw chooses among the volumes eligible under l.
func (p Balanced) draw(l Limits, volumes []Volume, h *Hints, chance rand.Source) (Choice, bool) {
	var sum uint64 // of free bytes over eligible volumes: 2^64 bytes are 16 EiB
	only, eligible := -1, 0
	for i := range volumes {
		if l.Check(&volumes[i], h) == Eligible {
			sum += l.weight(&volumes[i])
			only = i
			eligible++
		}
	}
	switch eligible {
	case 0:
		return Choice{}, false
	case 1:
		return Choice{Index: only, Rule: "only one", Rival: -1}, true
	}
	a := l.pick(volumes, h, -1, below(chance, sum))
	b := l.pick(volumes, h, a, below(chance, sum-l.weight(&volumes[a])))
	c := Choice{Index: a, Rule: "lower score", Rival: b, Score: p.Score(&volumes[a]), Against: p.Score(&volumes[b])}
	if c.Against < c.Score {
		c.Index, c.Rival, c.Score, c.Against = b, a, c.Against, c.Score
	}
	return p.affine(c, l, volumes, h), true
}

// affine gives the object to its siblings' volume if that costs little.
func (p Balanced) affine(c Choice, l Limits, volumes []Volume, h *Hints) Choice {
	s := h.Sibling
	if p.Affinity <= 0 || s < 0 || s >= len(volumes) || s == c.Index || l.Check(&volumes[s], h) != Eligible {
		return c
	}
	if score := p.Score(&volumes[s]); score <= c.Score+p.Affinity {
		return Choice{Index: s, Rule: "affinity", Rival: c.Index, Score: score, Against: c.Score}
	}
	return c
}

// Score is what balanced keeps low: how full v is, in percent, and a penalty
// for how long a write there waits.
func (p Balanced) Score(v *Volume) float64 {
	used := 100.0
	if v.Total > 0 {
		used = 100 * (1 - float64(minus(v.Avail, v.Reserved))/float64(v.Total))
	}
	wait := float64(v.Latency) / float64(time.Millisecond) * float64(max(0, v.InFlight)+1)
	return used + min(p.MaxPenalty, p.PointsPerMs*wait)
}

// weight is the share of v in a draw: its free space, scaled so that a sum
// over any number of volumes does not overflow.
func (l Limits) weight(v *Volume) uint64 { return l.Free(v)>>16 + 1 }

// pick is the eligible volume other than not into whose share of the weights
// at falls.
func (l Limits) pick(volumes []Volume, h *Hints, not int, at uint64) int {
	last := -1
	for i := range volumes {
		if i == not || l.Check(&volumes[i], h) != Eligible {
			continue
		}
		last = i
		w := l.weight(&volumes[i])
		if at < w {
			break
		}
		at -= w
	}
	return last
}

// below is a number below n drawn from chance; the bias of the multiplication is
// below n / 2^64.
func below(chance rand.Source, n uint64) uint64 {
	hi, _ := bits.Mul64(chance.Uint64(), n)
	return hi
}
