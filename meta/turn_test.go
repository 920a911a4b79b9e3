package meta

import (
	"math"
	"slices"
	"testing"
)

// TestTurn: an index knows its own openings, not those of another, nor those that it had forgotten.
func TestTurn(t *testing.T) {
	s := openStore(t, Options{})
	first := s.Turn()
	s = reopen(t, s, false)
	if now := s.Turn(); now.Index != first.Index || now.Session != first.Session+1 {
		t.Errorf("turn %v after %v", now, first)
	}
	other := openStore(t, Options{}).Turn()
	later := Turn{first.Index, s.Turn().Session + 1}
	for want, turns := range map[bool][]Turn{true: {first}, false: {s.Turn(), other, later, {}}} {
		for _, turn := range turns {
			if s.Knows(turn) != want {
				t.Errorf("knows %v: %v in turn %v", turn, !want, s.Turn())
			}
		}
	}
}

// TestDistrust: what was written before does not stand, after any end; what is written later does, and versions still prove.
func TestDistrust(t *testing.T) {
	ctx := t.Context()
	settled := func(on byte) []DirCopy {
		c := complete(1)
		c[0].Volume = VolumeID{on}
		c[0].Settled = true
		return c
	}
	for _, kill := range []bool{false, true} {
		s := openStore(t, Options{})
		must(t, s.ReplaceDir(ctx, nid(0), slices.Values(entries(0, 3, 1)), are(settled(1))))
		s.SetWhole(true)
		s = reopen(t, s, kill)
		ahead := Turn{s.Turn().Index, s.Turn().Session + 7}
		must(t, s.ReplaceDir(ctx, nid(1), slices.Values(entries(1, 3, 1)), are(settled(1)))) // perhaps queued only
		must(t, s.Distrust(ahead))
		if !s.Knows(ahead) {
			t.Errorf("what it was told of is not known in turn %v", s.Turn())
		}
		must(t, s.ReplaceDir(ctx, nid(2), slices.Values(entries(2, 3, 1)), are(settled(1))))
		for range 3 {
			if s.Whole() {
				t.Error("it is whole")
			}
			for dir, stands := range []bool{false, false, true} {
				c, err := s.Copies(nid(dir))
				if err != nil || len(c) != 1 || !c[0].Proof || c[0].Complete != stands || c[0].Settled != stands {
					t.Errorf("kill %v, directory %d: %+v, %v", kill, dir, c, err)
				}
			}
			checkClean(t, s)
			s = reopen(t, s, kill)
		}
		was := s.Turn()
		must(t, s.Distrust(Turn{was.Index, math.MaxUint32})) // nobody's
		if now := s.Turn(); now.Session != was.Session+1 {
			t.Errorf("turn %v after %v", now, was)
		}
	}
}
