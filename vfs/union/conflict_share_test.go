package union

import (
	"slices"
	"testing"
	"time"

	"sheaf/vfs"
)

// clash is a share of pullable volumes of which the first two have a file x: the first has the name.
func clash(t *testing.T) (s *awayShare, winner, loser vfs.Attr) {
	t.Helper()
	s = newAwayShare(t, 3)
	s.opt.Trust = time.Nanosecond // nothing is told from memory
	for _, v := range s.mems[:2] {
		plant(t, v.Root(), "x", vfs.Regular)
	}
	s.open(t)
	return s, s.look(t, s.root(t), "x", vfs.OK), s.look(t, s.root(t), "x.conflict-v1", vfs.OK)
}

// wantRefused wants the error of a volume that is away.
func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	if !isAway(err) {
		t.Errorf("%s: %v, want that a volume is away", what, err)
	}
}

// TestConflictWithoutItsWinner takes the volume away whose object has the name, with the names known and after a start without
// it: nobody else gets the name, the loser stays reachable under its own, and all is as before when the winner is back.
func TestConflictWithoutItsWinner(t *testing.T) {
	for _, restart := range []bool{false, true} {
		name := "pulled out"
		if restart {
			name = "not there at the start"
		}
		t.Run(name, func(t *testing.T) {
			s, winner, loser := clash(t)
			root, ctx := s.root(t), t.Context()
			if restart {
				s.reopen(t, 0)
			} else {
				s.pull(t, 0)
			}
			_, _, err := s.u.Lookup(ctx, who, root, vfs.MustName("x"))
			wantRefused(t, "look x up", err)
			_, err = s.u.GetAttr(ctx, who, winner.Node)
			wantRefused(t, "handle of the winner", err)
			if got := s.look(t, root, "x.conflict-v1", vfs.OK); got.Node.ID != loser.Node.ID {
				t.Errorf("the loser is %v, was %v", got.Node, loser.Node)
			}
			if got, err := s.u.GetAttr(ctx, who, loser.Node); err != nil || got.Node.ID != loser.Node.ID {
				t.Errorf("handle of the loser: %v, %v", got.Node, err)
			}
			_, _, err = s.u.Make(ctx, who, root, vfs.MustName("x"), &vfs.How{Type: vfs.Regular})
			wantRefused(t, "make x", err)
			wantRefused(t, "rename to x", s.rename(t, root, "x.conflict-v1", "x"))
			s.put(t, 0)
			if got := s.look(t, root, "x", vfs.OK); got.Node.ID != winner.Node.ID {
				t.Errorf("x is %v when its volume is back, was %v", got.Node, winner.Node)
			}
			if got := s.list(t, root); len(got) != 2 {
				t.Errorf("listed %q", got)
			}
			s.wantClean(t)
		})
	}
}

// TestConflictResolvedWithoutItsWinner renames and removes the loser while the winner is away: it is an ordinary object.
func TestConflictResolvedWithoutItsWinner(t *testing.T) {
	for _, how := range []string{"rename", "remove"} {
		t.Run(how, func(t *testing.T) {
			s, winner, loser := clash(t)
			root, ctx := s.root(t), t.Context()
			s.pull(t, 0)
			if how == "rename" {
				must(t, s.rename(t, root, "x.conflict-v1", "y"))
				if got := s.look(t, root, "y", vfs.OK); got.Node.ID != loser.Node.ID {
					t.Errorf("y is %v, want %v", got.Node, loser.Node)
				}
			} else {
				_, err := s.u.Remove(ctx, who, root, vfs.MustName("x.conflict-v1"))
				must(t, err)
			}
			_, _, err := s.u.Lookup(ctx, who, root, vfs.MustName("x"))
			wantRefused(t, "look x up", err)
			s.put(t, 0)
			if got := s.look(t, root, "x", vfs.OK); got.Node.ID != winner.Node.ID {
				t.Errorf("x is %v, was %v", got.Node, winner.Node)
			}
			s.look(t, root, "x.conflict-v1", vfs.NoEnt)
			for _, f := range s.checked(t, true) { // what is written of it on the volume that was away is not needed
				if f.Kind != FindPin {
					t.Errorf("%+v", f)
				}
			}
			s.wantClean(t)
		})
	}
}

// rename renames in one directory.
func (s *awayShare) rename(t *testing.T, dir vfs.Node, from, to string) error {
	t.Helper()
	_, _, err := s.u.Rename(t.Context(), who, dir, vfs.MustName(from), dir, vfs.MustName(to))
	return err
}

// TestConflictResolved ends a conflict in each way that the share offers: what is left has its name for good, over a restart with
// the volumes in another order, and nothing is kept of the conflict.
func TestConflictResolved(t *testing.T) {
	root := func(s *awayShare) vfs.Node { return s.root(t) }
	for _, c := range []struct {
		name string
		do   func(t *testing.T, s *awayShare) error
		left []string // names afterwards; the winner is a file of one byte, the loser empty
	}{
		{"remove the winner", func(t *testing.T, s *awayShare) error {
			_, err := s.u.Remove(t.Context(), who, root(s), vfs.MustName("x"))
			return err
		}, []string{"x.conflict-v1:0"}},
		{"remove the loser", func(t *testing.T, s *awayShare) error {
			_, err := s.u.Remove(t.Context(), who, root(s), vfs.MustName("x.conflict-v1"))
			return err
		}, []string{"x:1"}},
		{"rename the winner", func(t *testing.T, s *awayShare) error { return s.rename(t, root(s), "x", "y") }, []string{"x.conflict-v1:0", "y:1"}},
		{"rename the loser", func(t *testing.T, s *awayShare) error { return s.rename(t, root(s), "x.conflict-v1", "y") }, []string{"x:1", "y:0"}},
		{"the loser replaces the winner", func(t *testing.T, s *awayShare) error { return s.rename(t, root(s), "x.conflict-v1", "x") }, []string{"x:0"}},
		{"the winner replaces the loser", func(t *testing.T, s *awayShare) error { return s.rename(t, root(s), "x", "x.conflict-v1") }, []string{"x.conflict-v1:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, winner, _ := clash(t)
			_, _, err := s.u.Write(t.Context(), who, winner.Node, []byte("w"), 0, vfs.FileSync)
			must(t, err)
			must(t, c.do(t, s))
			for _, when := range []string{"at once", "after a restart", "after another"} {
				var got []string
				for _, n := range s.list(t, root(s)) {
					a := s.look(t, root(s), n, vfs.OK)
					got = append(got, n+":"+string(rune('0'+a.Size)))
				}
				slices.Sort(got)
				if !slices.Equal(got, c.left) {
					t.Errorf("%s: there are %q, want %q", when, got, c.left)
				}
				s.wantClean(t)
				s.close(t)
				slices.Reverse(s.mems)
				for i := range s.mems {
					s.mems[i] = s.mems[i].Reopen()
				}
				s.open(t)
			}
		})
	}
}
