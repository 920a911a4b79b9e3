package placement

import "math/rand/v2"

// FirstFound is the policy "first-found" of doc.go.
type FirstFound struct {
	Limits Limits
}

// Choose implements Policy.
func (p FirstFound) Choose(volumes []Volume, h *Hints, _ rand.Source) (Choice, error) {
	return p.Limits.relax(volumes, h, func(l Limits, volumes []Volume, h *Hints) (Choice, bool) {
		for i := range volumes {
			if l.Check(&volumes[i], h) == Eligible {
				return Choice{Index: i, Rule: "first", Rival: -1}, true
			}
		}
		return Choice{}, false
	})
}
