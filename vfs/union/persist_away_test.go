package union

import (
	"slices"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume/volumetest"
)

// kill ends the server as kill -9 does, and starts it without the volumes of out.
func (s *awayShare) kill(t *testing.T, out ...int) {
	t.Helper()
	s.end(t, (*volumetest.Mem).Reopen, out...)
}

// end ends the server, and its volumes' hosts as after says; what it had given to the index is kept.
func (s *awayShare) end(t *testing.T, after func(*volumetest.Mem) *volumetest.Mem, out ...int) {
	t.Helper()
	must(t, s.store.Flush(t.Context()))
	must(t, s.store.Abandon())
	for i, m := range s.mems {
		s.mems[i] = after(m) // before anything else is done to them
	}
	_ = s.u.Close() // whatever it says: nobody hears it
	for _, p := range s.p {
		_ = p.Close()
	}
	s.u, s.store, s.p = nil, nil, nil
	s.open(t, out...)
}

// restAway is a share of two volumes: directories d and e are on both, in d are here and there on the first and
// the second, in e is one on the first; low is on the second alone, with deep in it, where nothing is. All is known.
func restAway(t *testing.T) *awayShare {
	t.Helper()
	s := newAwayShare(t, 2)
	s.opt.rowsDelay, s.opt.settleDelay = time.Hour, time.Hour
	s.newIndex(t)
	s.open(t)
	root := s.root(t)
	s.onVolume(t, 0)
	d, e := s.mk(t, root, "d", vfs.Directory).Node, s.mk(t, root, "e", vfs.Directory).Node
	s.mk(t, d, "here", vfs.Regular)
	s.mk(t, e, "one", vfs.Regular)
	s.onVolume(t, 1)
	s.mk(t, d, "there", vfs.Regular)
	s.mk(t, e, "gone", vfs.Regular)
	must(t, s.removed(t, e, "gone"))
	low := s.mk(t, root, "low", vfs.Directory).Node
	s.mk(t, low, "deep", vfs.Directory)
	s.onVolume(t, 0)
	must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
	s.settleNow()
	return s
}

func (s *shareT) removed(t *testing.T, dir vfs.Node, name string) error {
	t.Helper()
	_, err := s.u.Remove(t.Context(), who, dir, vfs.MustName(name))
	return err
}

// TestNamesStandOverRestart: of a volume that is away at the start what was known of its names last stands, after a good end and
// after any, as long as nothing was changed since that was not seen to be written.
func TestNamesStandOverRestart(t *testing.T) {
	for name, c := range map[string]struct {
		kill     bool
		before   func(t *testing.T, s *awayShare) // after all rested
		d, root  bool                             // what is known of them
		newcomer string                           // in d, on the volume that is away
	}{
		"closed": {d: true, root: true},
		"killed": {kill: true, d: true, root: true},
		"closed after a change there": {
			before: func(t *testing.T, s *awayShare) { s.changeThere(t) }, d: true, root: true, newcomer: "new",
		},
		"killed after a change there": {
			kill: true, before: func(t *testing.T, s *awayShare) { s.changeThere(t) }, root: true,
		},
		"killed after a change there that rested": {
			kill: true, before: func(t *testing.T, s *awayShare) { s.changeThere(t); s.settleNow() }, d: true, root: true, newcomer: "new",
		},
		"killed after a change elsewhere": {
			kill: true, d: true, root: true,
			before: func(t *testing.T, s *awayShare) { s.mk(t, s.path(t, "d").Node, "more", vfs.Regular) },
		},
		"killed after a change of what memory had forgotten": {
			kill: true, root: true,
			before: func(t *testing.T, s *awayShare) {
				s.reopen(t)
				s.changeThere(t)
			},
		},
		"closed after a change of what memory had forgotten": {
			d: true, root: true, newcomer: "new",
			before: func(t *testing.T, s *awayShare) {
				s.reopen(t)
				s.changeThere(t)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := restAway(t)
			if c.before != nil {
				c.before(t, s)
				s.writeNow()
			}
			if c.kill {
				s.kill(t, 1)
			} else {
				s.reopen(t, 1)
			}
			s.stands(t, c.d, c.root, c.newcomer)
			if !c.kill { // nor does it matter how often that happens
				s.reopen(t, 1)
				s.stands(t, c.d, c.root, c.newcomer)
			}
			s.put(t, 1)
			for _, name := range []string{"d/here", "d/there", "e/one", "low/deep"} {
				s.path(t, name)
			}
			s.look(t, s.path(t, "d").Node, "nowhere", vfs.NoEnt)
		})
	}
}

// changeThere makes a file in d on the second volume.
func (s *awayShare) changeThere(t *testing.T) {
	t.Helper()
	s.onVolume(t, 1)
	s.mk(t, s.path(t, "d").Node, "new", vfs.Regular)
	s.onVolume(t, 0)
}

// stands wants the second volume's names to be known, in d and at the root.
func (s *awayShare) stands(t *testing.T, d, root bool, newcomer string) {
	t.Helper()
	known := func(is bool) vfs.Status {
		if is {
			return vfs.NoEnt
		}
		return vfs.Jukebox
	}
	at := s.path(t, "d").Node
	s.look(t, at, "here", vfs.OK)
	s.look(t, at, "there", vfs.Jukebox)
	s.look(t, at, "nowhere", known(d))
	s.look(t, s.root(t), "nowhere", known(root))
	s.look(t, s.root(t), "low", vfs.Jukebox)
	s.look(t, s.path(t, "e").Node, "nowhere", vfs.NoEnt)
	if newcomer != "" {
		s.look(t, at, newcomer, vfs.Jukebox)
	}
	_, _, err := s.u.Make(t.Context(), who, at, vfs.MustName("there"), &vfs.How{Type: vfs.Regular})
	if !isRefusal(err) {
		t.Errorf("make of a name that is away: %v", err)
	}
	if !d {
		return
	}
	got := s.list(t, at)
	for _, name := range []string{"here", "there", newcomer} {
		if name != "" && !slices.Contains(got, name) {
			t.Errorf("%q lacks %s", got, name)
		}
	}
}

// TestSettledIsDurable cuts the power behind what the index was told to be settled, of a call that its client did not want to be
// durable: what is answered of the volume while it is away holds when it comes back. Without the flushes that settling
// makes it does not.
func TestSettledIsDurable(t *testing.T) {
	for _, without := range []bool{false, true} {
		wrong := 0
		for seed := range uint64(8) {
			s := restAway(t)
			for _, m := range s.mems {
				must(t, m.SyncAll(t.Context()))
			}
			_, err := s.u.Remove(t.Context(), &vfs.Who{Async: true}, s.path(t, "d").Node, n("there"))
			must(t, err)
			if without {
				s.sieve.mute = func(flushAt) bool { return true }
			}
			s.settleNow()
			s.sieve.mute = nil
			s.end(t, func(m *volumetest.Mem) *volumetest.Mem { return m.PowerCut(seed) }, 1)
			d := s.path(t, "d").Node
			s.look(t, d, "there", vfs.NoEnt)
			s.put(t, 1)
			if _, _, err := s.u.Lookup(t.Context(), who, d, n("there")); err == nil {
				wrong++
			} else if vfs.StatusOf(err) != vfs.NoEnt {
				t.Fatal(err)
			}
			s.close(t)
		}
		if without != (wrong > 0) {
			t.Errorf("flushes left out: %v; told to be absent and there: %d of 8 times", without, wrong)
		}
	}
}
