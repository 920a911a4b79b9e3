package union

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestConflict puts objects of two volumes under one name: the first in volume order has it and
// keeps it, also after a restart with the volumes in another order.
func TestConflict(t *testing.T) {
	for _, first := range []vfs.Type{vfs.Regular, vfs.Directory} {
		other := vfs.Regular + vfs.Directory - first
		s := memShare(t, 2, nil)
		plant(t, s.mems[0].Root(), "x", first)
		plant(t, s.mems[1].Root(), "x", other)
		s.open(t)
		root := s.root(t)
		winner, loser := s.look(t, root, "x", vfs.OK), s.look(t, root, "x.conflict-v1", vfs.OK)
		if winner.Type != first || loser.Type != other {
			t.Fatalf("x is of type %d, the loser of type %d", winner.Type, loser.Type)
		}
		if got := s.list(t, root); len(got) != 2 {
			t.Errorf("listed %q", got)
		}
		s.mems[0], s.mems[1] = s.mems[1], s.mems[0]
		s.restart(t)
		if a := s.look(t, root, "x", vfs.OK); a.Node.ID != winner.Node.ID {
			t.Errorf("after another order x is %v, was %v", a.Node.ID, winner.Node.ID)
		}
		if a := s.look(t, root, "x.conflict-v1", vfs.OK); a.Node.ID != loser.Node.ID {
			t.Errorf("after another order the loser is %v, was %v", a.Node.ID, loser.Node.ID)
		}
		for _, v := range s.mems {
			if _, err := v.Root().StatAt(t.Context(), vfs.MustName("x")); err != nil {
				t.Errorf("x on volume %s: %v; nothing is renamed there", v.Name(), err)
			}
		}
		s.close(t)
	}
}

// TestConflictLoserIsOrdinary renames and removes losers.
func TestConflictLoserIsOrdinary(t *testing.T) {
	s := memShare(t, 3, nil)
	for _, v := range s.mems {
		plant(t, v.Root(), "x", vfs.Regular)
	}
	s.open(t)
	root := s.root(t)
	x, x1, x2 := s.look(t, root, "x", vfs.OK), s.look(t, root, "x.conflict-v1", vfs.OK), s.look(t, root, "x.conflict-v2", vfs.OK)
	if _, _, err := s.u.Rename(t.Context(), who, root, vfs.MustName("x.conflict-v1"), root, vfs.MustName("y")); err != nil {
		t.Fatal(err)
	}
	if a := s.look(t, root, "y", vfs.OK); a.Node != x1.Node {
		t.Errorf("y is %v, want %v", a.Node, x1.Node)
	}
	s.look(t, root, "x.conflict-v1", vfs.NoEnt)

	// What has the name goes: the loser keeps the one it is known by.
	if _, err := s.u.Remove(t.Context(), who, root, vfs.MustName("x")); err != nil {
		t.Fatal(err)
	}
	s.look(t, root, "x", vfs.NoEnt)
	if a := s.look(t, root, "x.conflict-v2", vfs.OK); a.Node != x2.Node {
		t.Errorf("the loser is %v, was %v", a.Node, x2.Node)
	}
	if a, err := s.u.GetAttr(t.Context(), who, x2.Node); err != nil || a.Node != x2.Node {
		t.Errorf("GetAttr of the loser: %v, %v", a.Node, err)
	}
	if _, err := s.u.GetAttr(t.Context(), who, x.Node); vfs.StatusOf(err) != vfs.Stale {
		t.Errorf("GetAttr of what was removed: %v, want Stale", err)
	}
	n := s.mk(t, root, "x", vfs.Regular)
	s.restart(t)
	got := s.list(t, root)
	slices.Sort(got)
	if !slices.Equal(got, []string{"x", "x.conflict-v2", "y"}) {
		t.Errorf("listed %q", got)
	}
	if a := s.look(t, root, "x", vfs.OK); a.Node != n.Node {
		t.Errorf("the new x is %v, was %v", a.Node, n.Node)
	}
	if _, err := s.u.Remove(t.Context(), who, root, vfs.MustName("x.conflict-v2")); err != nil {
		t.Fatal(err)
	}
	s.look(t, root, "x.conflict-v2", vfs.NoEnt)
}

// TestConflictLater lets another process make the conflict while the name is known: who has
// it keeps it, though the other's volume comes first.
func TestConflictLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memShare(t, 2, nil)
		plant(t, s.mems[1].Root(), "x", vfs.Regular)
		s.open(t)
		root := s.root(t)
		x := s.look(t, root, "x", vfs.OK)
		plant(t, s.mems[0].Root(), "x", vfs.Regular)
		time.Sleep(pastTrust)
		if a := s.look(t, root, "x", vfs.OK); a.Node != x.Node {
			t.Errorf("x became %v, was %v", a.Node, x.Node)
		}
		if got := s.list(t, root); !slices.Contains(got, "x.conflict-v0") {
			t.Errorf("listed %q", got)
		}
	})
}

// TestConflictNames wants every name fit for a file system, and unique.
func TestConflictNames(t *testing.T) {
	s := memShare(t, 2, nil)
	long := strings.Repeat("l", vfs.NameMax-1)
	for _, v := range s.mems {
		for _, name := range []string{"x", long + "a", long + "b"} {
			plant(t, v.Root(), name, vfs.Regular)
		}
	}
	plant(t, s.mems[0].Root(), "x.conflict-v1", vfs.Regular)
	s.open(t)
	got := s.list(t, s.root(t))
	seen := make(map[string]bool)
	for _, name := range got {
		if len(name) > vfs.NameMax || seen[name] {
			t.Errorf("name %q is too long or comes twice", name)
		}
		seen[name] = true
		s.look(t, s.root(t), name, vfs.OK)
	}
	if len(got) != 7 {
		t.Errorf("listed %d names: %q", len(got), got)
	}
}

// TestTwoDirectoriesAreOne adopts a directory that two volumes have: it is marked, and keeps its node
// when either copy's volume comes first.
func TestTwoDirectoriesAreOne(t *testing.T) {
	s := memShare(t, 2, nil)
	for i, v := range s.mems {
		plant(t, v.Root(), "d", vfs.Directory)
		sub, err := v.Root().OpenDir(t.Context(), vfs.MustName("d"))
		must(t, err)
		plant(t, sub, string(rune('a'+i)), vfs.Regular)
		must(t, sub.Close())
	}
	s.open(t)
	d := s.path(t, "d")
	s.path(t, "d/a")
	s.path(t, "d/b")
	if d.Nlink != 2 {
		t.Errorf("d has %d links", d.Nlink)
	}
	for i, v := range s.mems {
		sub, err := v.Root().OpenDir(t.Context(), vfs.MustName("d"))
		must(t, err)
		_, id, err := sub.Identify(t.Context())
		must(t, err)
		b, err := sub.Mark(t.Context())
		must(t, err)
		m, ok := decodeMark(s.u.markKey, b, v.ID(), &id)
		if !ok || m.node.ID != d.Node.ID || m.home != (i == 0) {
			t.Errorf("mark on volume %d: %+v, %v", i, m, ok)
		}
		must(t, sub.Close())
	}
	s.mems[0], s.mems[1] = s.mems[1], s.mems[0]
	s.restart(t)
	if again := s.path(t, "d"); again.Node != d.Node || again.Ctime != d.Ctime || again.Mtime != d.Mtime {
		t.Errorf("after another order d is %+v, was %+v", again, d)
	}
}

// TestMark wants a mark believed only beside the inode it was made for.
func TestMark(t *testing.T) {
	k := sipKey{1, 2}
	on := volume.ID{7}
	id := volume.Identity{Key: volume.Key{Ino: 3, Birth: 4}, Gen: 5, Sub: 6}
	m := mark{home: true, node: vfs.Node{ID: vfs.NodeID{9, 15: 1}, Birth: vfs.Birth{Volume: 1, Ino: 2, Gen: 3, Sub: 4}}, epoch: 5, attrEpoch: 6}
	m.stamp = stamp{vfs.Time{Sec: -1, Nsec: 2}, vfs.Time{Sec: 3}, 0o755, 5, 6}
	b := m.encode(k, on, &id)
	if len(b) != markLen || len(b) > volume.MarkMax {
		t.Fatalf("mark has %d bytes", len(b))
	}
	if got, ok := decodeMark(k, b, on, &id); !ok || got != m {
		t.Fatalf("read back %+v, %v", got, ok)
	}
	for i := range b {
		c := slices.Clone(b)
		c[i] ^= 1
		if _, ok := decodeMark(k, c, on, &id); ok {
			t.Errorf("believed with byte %d changed", i)
		}
	}
	other := id
	other.Gen++
	if _, ok := decodeMark(k, b, on, &other); ok {
		t.Error("believed beside another inode")
	}
	if _, ok := decodeMark(k, b, volume.ID{8}, &id); ok {
		t.Error("believed on another volume")
	}
	if _, ok := decodeMark(sipKey{1, 3}, b, on, &id); ok {
		t.Error("believed under another key")
	}
	if _, ok := decodeMark(k, b[:markLen-1], on, &id); ok {
		t.Error("believed when cut")
	}
}

// FuzzMark feeds any bytes: nothing but what encode made is believed.
func FuzzMark(f *testing.F) {
	k := sipKey{1, 2}
	id := volume.Identity{Key: volume.Key{Ino: 3, Birth: 4}, Gen: 5}
	m := mark{node: vfs.Node{ID: vfs.NodeID{1}}}
	f.Add(m.encode(k, volume.ID{}, &id))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := decodeMark(k, b, volume.ID{}, &id); ok {
			if again := m.encode(k, volume.ID{}, &id); m.stamp != (stamp{}) && !slices.Equal(again, b) {
				t.Errorf("%x is believed and encodes as %x", b, again)
			}
		}
	})
}
