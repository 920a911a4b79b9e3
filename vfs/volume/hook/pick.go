package hook

import (
	"math/rand/v2"
	"slices"
	"sync"

	"sheaf/vfs/volume"
)

// Pick says which operations a rule is about.
type Pick struct {
	Ops    []volume.Op // these; none: all but Close
	Chance float64     // of each, 0 to 1; 0 is 1: always
	Skip   int         // the first ones are left alone
	Count  int         // at most so many after them; 0: any number
}

// Picker applies Picks. Equal seeds and equal sequences of operations give equal choices. Its methods
// are safe for concurrent use.
type Picker struct {
	mu    sync.Mutex
	seed  uint64
	rand  *rand.Rand
	picks []Pick
	seen  []int // operations that each Pick was about, by Ops and Chance
	count uint64
}

// NewPicker has no Picks.
func NewPicker(seed uint64) *Picker { return &Picker{seed: seed, rand: rand.New(rand.NewPCG(seed, 0))} }

// Seed is what NewPicker was given.
func (p *Picker) Seed() uint64 { return p.seed }

// Set replaces all Picks. What they counted begins anew.
func (p *Picker) Set(picks []Pick) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.picks, p.seen = slices.Clone(picks), make([]int, len(picks))
}

// Pick is the index of the first Pick that takes the operation, -1 if none does.
func (p *Picker) Pick(op volume.Op) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.picks {
		k := &p.picks[i]
		about := slices.Contains(k.Ops, op) || len(k.Ops) == 0 && op != volume.OpClose
		if !about || k.Chance > 0 && k.Chance < 1 && p.rand.Float64() >= k.Chance {
			continue
		}
		if p.seen[i]++; p.seen[i] > k.Skip && (k.Count == 0 || p.seen[i] <= k.Skip+k.Count) {
			p.count++
			return i
		}
	}
	return -1
}

// Picked is how many operations were picked, since NewPicker.
func (p *Picker) Picked() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Rules are what is done to operations of which Picks tell which: R holds a Pick. The methods are safe for concurrent use.
type Rules[R any] struct {
	mu     sync.RWMutex // makes rules and the picker's one
	rules  []R
	pick   func(*R) Pick
	picker *Picker
}

// NewRules has no rules yet; pick is the Pick of one.
func NewRules[R any](seed uint64, pick func(*R) Pick) *Rules[R] {
	return &Rules[R]{pick: pick, picker: NewPicker(seed)}
}

// Set replaces all rules.
func (r *Rules[R]) Set(rules []R) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = slices.Clone(rules)
	picks := make([]Pick, len(rules))
	for i := range r.rules {
		picks[i] = r.pick(&r.rules[i])
	}
	r.picker.Set(picks)
}

// For is the first rule that takes the operation, if one does.
func (r *Rules[R]) For(op volume.Op) (rule R, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.rules) == 0 {
		return rule, false
	}
	i := r.picker.Pick(op)
	if i < 0 {
		return rule, false
	}
	return r.rules[i], true
}

// Applied is how many operations rules took.
func (r *Rules[R]) Applied() uint64 { return r.picker.Picked() }
