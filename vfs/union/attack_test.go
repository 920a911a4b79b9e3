package union

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// inside calls f with the directory called name at a volume's root, as another process has it open.
func inside(t *testing.T, v volume.Volume, name string, f func(d volume.Dir) error) {
	t.Helper()
	d, err := v.Root().OpenDir(t.Context(), vfs.MustName(name))
	must(t, err)
	must(t, f(d))
	must(t, d.Close())
}

// bytesOf is the mark beside a directory, as cp -a and rsync -X take it along.
func bytesOf(t *testing.T, v volume.Volume, name string) (b []byte) {
	t.Helper()
	inside(t, v, name, func(d volume.Dir) (err error) {
		b, err = d.Mark(t.Context())
		return err
	})
	return b
}

// plantCopy makes a directory with a file and somebody else's mark, as a copying program does.
func plantCopy(t *testing.T, v volume.Volume, mark []byte, name string) {
	t.Helper()
	plant(t, v.Root(), name, vfs.Directory)
	inside(t, v, name, func(d volume.Dir) error {
		plant(t, d, "f", vfs.Regular)
		return d.SetMark(t.Context(), mark)
	})
}

// wide makes a directory with a copy on each of two volumes, the home copy on the first, and a file on each.
func wide(t *testing.T, m *mortal, name string) (d, f, g vfs.Attr) {
	t.Helper()
	d = m.mkAt(t, 0, m.root(t), name, vfs.Directory)
	f = m.mkAt(t, 0, d.Node, "f", vfs.Regular)
	g = m.mkAt(t, 1, d.Node, "g", vfs.Regular)
	return d, f, g
}

// reopen closes the union, and opens the volumes again without it.
func (s *shareT) reopen(t *testing.T) {
	t.Helper()
	s.close(t)
	for i := range s.mems {
		s.mems[i] = s.mems[i].Reopen()
		s.vols[i] = s.mems[i]
	}
}

// TestCopiedMarks: marks that came with a copy, on the same volume or another, make nothing another object; handles of the
// original lead to it.
func TestCopiedMarks(t *testing.T) {
	m := newMortal(t, 2)
	d, f, g := wide(t, m, "d")
	home, other := bytesOf(t, m.mems[0], "d"), bytesOf(t, m.mems[1], "d")
	m.reopen(t)
	for i, c := range []struct {
		vol  int
		mark []byte
	}{{0, home}, {1, home}, {0, other}, {1, other}} {
		name := fmt.Sprintf("copy%d", i)
		plantCopy(t, m.mems[c.vol], c.mark, name)
	}
	m.open(t)
	for _, when := range []string{"at first", "after a restart", "after a restart in another order"} {
		ids := map[vfs.NodeID]string{d.Node.ID: "d"}
		for i := range 4 {
			name := fmt.Sprintf("copy%d", i)
			a := m.look(t, m.root(t), name, vfs.OK)
			if was, ok := ids[a.Node.ID]; ok {
				t.Errorf("%s: %s has the id of %s", when, name, was)
			}
			ids[a.Node.ID] = name
		}
		for _, want := range []vfs.Attr{d, f, g} {
			if got, err := m.u.GetAttr(t.Context(), who, want.Node); err != nil || got.Node.ID != want.Node.ID {
				t.Errorf("%s: handle of the original: %v, %v", when, got.Node, err)
			}
		}
		if got := m.path(t, "d"); got.Node.ID != d.Node.ID {
			t.Errorf("%s: d is %v, was %v", when, got.Node, d.Node)
		}
		m.wantFound(t, false, FindCopiedMark, FindCopiedMark, FindCopiedMark, FindCopiedMark)
		if when == "after a restart" {
			m.mems[0], m.mems[1] = m.mems[1], m.mems[0]
		}
		m.reopen(t)
		m.open(t)
	}
	m.wantFound(t, true, FindCopiedMark, FindCopiedMark, FindCopiedMark, FindCopiedMark)
	m.wantClean(t)
}

// TestMovedCopy moves one copy of a directory away from the others behind our back: it is a directory of its own from then
// on, whichever of the two is seen first, and the handle stays with the home copy.
func TestMovedCopy(t *testing.T) {
	for _, first := range []string{"d", "moved"} {
		for _, moves := range []int{0, 1} {
			t.Run(fmt.Sprintf("copy %d moves, %s is seen first", moves, first), func(t *testing.T) {
				m := newMortal(t, 2)
				d, f, g := wide(t, m, "d")
				m.reopen(t)
				r := m.mems[moves].Root()
				must(t, r.Rename(t.Context(), vfs.MustName("d"), r, vfs.MustName("moved"), true))
				m.open(t)
				home := map[int]string{0: "moved", 1: "d"}[moves] // where the home copy is now
				for range 3 {
					m.look(t, m.root(t), first, vfs.OK)
					for _, name := range []string{"d", "moved"} {
						if got := m.path(t, name); (got.Node.ID == d.Node.ID) != (name == home) {
							t.Errorf("%s is %v, the directory was %v and its home copy is %s", name, got.Node, d.Node, home)
						}
					}
					for _, want := range []vfs.Attr{d, f, g} {
						if got, err := m.u.GetAttr(t.Context(), who, want.Node); err != nil || got.Node.ID != want.Node.ID {
							t.Errorf("GetAttr of %v: %v, %v", want.Node, got.Node, err)
						}
					}
					m.restart(t)
				}
				m.wantClean(t)
			})
		}
	}
}

// TestHandlesInTightLoops holds the handles of what is made and removed as fast as it goes, on volumes that give inode
// numbers and birth times again: each leads to its own object or is Stale, also where the volume has no generations,
// as far as we removed the object ourselves.
func TestHandlesInTightLoops(t *testing.T) {
	for _, weak := range []bool{false, true} {
		t.Run(fmt.Sprintf("weak=%v", weak), func(t *testing.T) {
			s := memShare(t, 2, func(_ int, o *volumetest.Options) { o.Reuse, o.Weak = true, weak })
			s.open(t)
			tightLoop(t, s, 300)
		})
	}
}

func tightLoop(t *testing.T, s *shareT, rounds int) {
	t.Helper()
	root := s.root(t)
	var gone []vfs.Attr
	inos := make(map[uint64]int)
	for i := range rounds {
		typ := []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink, vfs.FIFO}[i%4]
		a := s.mk(t, root, "x", typ)
		inos[a.Node.Birth.Ino]++
		for _, g := range gone {
			if g.Node.ID == a.Node.ID {
				t.Fatalf("round %d: the new object has the id %v of a removed one", i, a.Node.ID)
			}
		}
		if got, err := s.u.GetAttr(t.Context(), who, a.Node); err != nil || got.Type != typ {
			t.Fatalf("round %d: %+v, %v", i, got, err)
		}
		var err error
		if typ == vfs.Directory {
			_, err = s.u.RemoveDir(t.Context(), who, root, vfs.MustName("x"))
		} else {
			_, err = s.u.Remove(t.Context(), who, root, vfs.MustName("x"))
		}
		must(t, err)
		gone = append(gone, a)
	}
	last := s.mk(t, root, "x", vfs.Regular)
	for _, g := range gone {
		if got, err := s.u.GetAttr(t.Context(), who, g.Node); vfs.StatusOf(err) != vfs.Stale {
			t.Fatalf("handle of a removed object: %+v, %v", got.Node, err)
		}
		if _, _, err := s.u.Lookup(t.Context(), who, g.Node, vfs.MustName("y")); vfs.StatusOf(err) != vfs.Stale {
			t.Fatalf("look-up in a removed object: %v", err)
		}
	}
	if got, err := s.u.GetAttr(t.Context(), who, last.Node); err != nil || got.Node.ID != last.Node.ID {
		t.Errorf("%v, %v", got.Node, err)
	}
	t.Logf("%d objects had %d inode numbers", rounds, len(inos))
}

// TestReplacedWithUncommittedWrites replaces a file by a rename behind our back while a client has written to it without
// COMMIT: the handle is Stale, nothing of the write gets into the newcomer, and the newcomer is whole.
func TestReplacedWithUncommittedWrites(t *testing.T) {
	for _, locate := range []bool{true, false} {
		t.Run(fmt.Sprintf("locate=%v", locate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memShare(t, 2, func(_ int, o *volumetest.Options) { o.Caps = func(c *volume.Caps) { c.Locate = locate } })
				place := &onto{}
				s.opt.Policy = place
				place.to(0)
				s.open(t)
				root, ctx := s.root(t), t.Context()
				old := s.mk(t, root, "x", vfs.Regular)
				_, _, err := s.u.Write(ctx, who, old.Node, []byte("old, not committed"), 0, vfs.Unstable)
				must(t, err)
				r := s.mems[0].Root()
				n, err := privateNew(ctx, r, 0o644)
				must(t, err)
				f, _, _, err := r.Create(ctx, vfs.MustName("new"), n)
				must(t, err)
				_, err = f.WriteAt(ctx, []byte("new"), 0)
				must(t, err)
				must(t, f.Close())
				must(t, r.Rename(ctx, vfs.MustName("new"), r, vfs.MustName("x"), false))
				time.Sleep(pastTrust)

				is := s.look(t, root, "x", vfs.OK)
				if is.Node.ID == old.Node.ID || is.Size != 3 {
					t.Errorf("x is %v of %d bytes, the old one was %v", is.Node, is.Size, old.Node)
				}
				buf := make([]byte, 64)
				k, _, _, err := s.u.Read(ctx, who, is.Node, buf, 0)
				if err != nil || string(buf[:k]) != "new" {
					t.Errorf("the new one holds %q, %v", buf[:k], err)
				}
				if _, err := s.u.GetAttr(ctx, who, old.Node); vfs.StatusOf(err) != vfs.Stale {
					t.Errorf("GETATTR: %v", err)
				}
				if k, _, _, err := s.u.Read(ctx, who, old.Node, buf, 0); vfs.StatusOf(err) != vfs.Stale {
					t.Errorf("READ: %q, %v", buf[:k], err)
				}
				if _, _, err := s.u.Write(ctx, who, old.Node, []byte("more"), 0, vfs.Unstable); vfs.StatusOf(err) != vfs.Stale {
					t.Errorf("WRITE: %v", err)
				}
				if _, _, err := s.u.Commit(ctx, who, old.Node, 0, 0); vfs.StatusOf(err) != vfs.Stale {
					t.Errorf("COMMIT: %v", err)
				}
				s.restart(t)
				if _, err := s.u.GetAttr(ctx, who, old.Node); vfs.StatusOf(err) != vfs.Stale {
					t.Errorf("GETATTR after a restart: %v", err)
				}
				if got := s.look(t, root, "x", vfs.OK); got.Node.ID != is.Node.ID || got.Size != 3 {
					t.Errorf("x is %v of %d bytes after a restart, was %v", got.Node, got.Size, is.Node)
				}
			})
		})
	}
}

// TestFileIDsCollide lets two objects have one fileid, and one have none: each gets its own, which is written beside it and
// is the same after a restart.
func TestFileIDsCollide(t *testing.T) {
	s := memShare(t, 1, nil)
	plant(t, s.mems[0].Root(), "x", vfs.Regular)
	s.open(t)
	_, id, err := s.mems[0].Root().IdentifyAt(t.Context(), vfs.MustName("x"))
	must(t, err)
	twin := s.u.vol(0).birthNode(&id)
	twin.ID[15]++
	n := s.u.newNode(twin, vfs.Regular)
	if _, added, _ := s.u.table.add(n); !added {
		t.Fatal("the twin is there already")
	}
	x := s.look(t, s.root(t), "x", vfs.OK)
	if x.Node.ID.FileID() == twin.ID.FileID() {
		t.Errorf("x is %v beside %v", x.Node.ID, twin.ID)
	}
	n.put()
	s.restart(t)
	if got := s.look(t, s.root(t), "x", vfs.OK); got.Node.ID != x.Node.ID {
		t.Errorf("x is %v after a restart, was %v", got.Node.ID, x.Node.ID)
	}
	if got, err := s.u.GetAttr(t.Context(), who, x.Node); err != nil || got.Node.ID != x.Node.ID {
		t.Errorf("its handle leads to %v, %v", got.Node, err)
	}
	s.wantClean(t)
}

// TestCtimeOutlivesEviction changes objects again and again while their volume's clock stands still, and drives them out of
// memory: what is told afterwards is what was told before, and the next change is later still.
func TestCtimeOutlivesEviction(t *testing.T) {
	still := time.Unix(1_700_000_000, 0)
	s := memShare(t, 2, func(_ int, o *volumetest.Options) {
		o.Quiet, o.Now = 50*time.Millisecond, func() time.Time { return still }
	})
	s.open(t)
	ctx := t.Context()
	d := s.mk(t, s.root(t), "d", vfs.Directory)
	var all []vfs.Attr
	for i := range 3 {
		all = append(all, s.mk(t, d.Node, fmt.Sprint(i), vfs.FIFO)) // nothing keeps it open, and so in memory
	}
	change := func(i int) {
		ch, err := s.u.SetAttr(ctx, who, all[i].Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600 + uint32(i)}, nil)
		must(t, err)
		if ch.After.Ctime.Compare(all[i].Ctime) <= 0 {
			t.Errorf("file %d changed at %v, and before at %v", i, ch.After.Ctime, all[i].Ctime)
		}
		all[i] = ch.After
	}
	for range 5 {
		for i := range all {
			change(i)
			change(i)
		}
		dir, err := s.u.GetAttr(ctx, who, d.Node)
		must(t, err)
		s.forgetAll()
		if n := s.u.table.get(all[0].Node.ID); n != nil {
			t.Fatal("a file stays in memory")
		}
		for i := range all {
			got, err := s.u.GetAttr(ctx, who, all[i].Node)
			must(t, err)
			if got.Ctime != all[i].Ctime {
				t.Errorf("file %d is told to have changed at %v, and before at %v", i, got.Ctime, all[i].Ctime)
			}
		}
		if got, err := s.u.GetAttr(ctx, who, d.Node); err != nil || got.Ctime.Compare(dir.Ctime) < 0 {
			t.Errorf("the directory is told to have changed at %v (%v), and before at %v", got.Ctime, err, dir.Ctime)
		}
	}
}

// TestLeadsAreBounded: no more are kept than leadsMax.
func TestLeadsAreBounded(t *testing.T) {
	var l leads
	id := func(i int) vfs.NodeID { return vfs.NodeID{byte(i), byte(i >> 8)} }
	for i := range leadsMax + 100 {
		l.put(id(i), vfs.Time{Sec: 1})
	}
	if len(l.m) != leadsMax {
		t.Errorf("%d are kept", len(l.m))
	}
	if _, ok := l.take(id(leadsMax + 99)); !ok {
		t.Error("the last is not kept")
	}
}

// TestHomeOnItsWay looks at a copy of a directory while the volume of its home copy counts as away but answers already, as
// one does that is about to come, and asks as somebody does who did not see it come: the copy is not taken for one
// that was moved away, whose mark goes and with it what handles lead to.
func TestHomeOnItsWay(t *testing.T) {
	x := newTreeOn(t, 2, false, newSieve().wrap)
	below := x.emptyWide(t, x.wide, "below")
	for path, was := range map[string]vfs.Node{"wide": x.wide, "wide/below": below} {
		x.without(x.near, func() { x.is(t, path, was) })
		x.is(t, path, was)
		far := x.m.mems[x.far]
		dir, name := far.Root(), vfs.MustName(filepath.Base(path))
		at := place{x.m.root(t), name, name}
		if path != "wide" {
			dir, at.dir = onVolume(t, far, "wide"), x.wide
		}
		st, id, err := dir.IdentifyAt(t.Context(), name)
		must(t, err)
		if x.m.u.homeElsewhere(t.Context(), was, at, []sighting{{vol: x.far, st: st, id: id}}) {
			t.Errorf("the home copy of %s counts as elsewhere", path)
		}
		at.dir = x.home
		if !x.m.u.homeElsewhere(t.Context(), was, at, []sighting{{vol: x.far, st: st, id: id}}) {
			t.Errorf("the home copy of %s does not count as elsewhere for one that is in another directory", path)
		}
	}
}
