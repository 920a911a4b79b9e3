package union

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestRemoveVolume removes a member that holds something, one that holds nothing, and one that is lost.
func TestRemoveVolume(t *testing.T) {
	ctx := context.Background()
	s := newAwayShare(t, 3)
	s.newIndex(t)
	s.opt.Trust = 1
	u := s.open(t)
	root := s.root(t)
	s.onVolume(t, 0)
	d := s.mk(t, root, "d", vfs.Directory)
	kept := s.mk(t, d.Node, "kept", vfs.Regular)
	s.onVolume(t, 1)
	held := s.mk(t, d.Node, "held", vfs.Regular)
	alone := s.mk(t, root, "alone", vfs.Directory)
	inside := s.mk(t, alone.Node, "inside", vfs.Regular)
	s.anywhere(t)

	err := u.RemoveVolume(ctx, s.vols[1].ID(), false)
	if err == nil || !strings.Contains(err.Error(), `"/d/held"`) || !strings.Contains(err.Error(), `"/alone"`) {
		t.Fatalf("a volume that holds something was removed, or the error does not say what: %v", err)
	}
	if m := u.Members()[1].Mode; m.String() != "rw" {
		t.Errorf("its mode is %v after a refused removal", m)
	}
	if err := u.RemoveVolume(ctx, s.vols[2].ID(), false); err != nil {
		t.Fatalf("an empty volume: %v", err)
	}

	s.pull(t, 1)
	if err := u.RemoveVolume(ctx, s.vols[1].ID(), false); err == nil {
		t.Fatal("a volume that is away was removed as if it held nothing")
	}
	got := map[string]vfs.NodeID{}
	if err := u.Held(ctx, s.vols[1].ID(), func(path string, n vfs.NodeID) bool { got[path] = n; return true }); err != nil {
		t.Fatal(err)
	}
	want := map[string]vfs.NodeID{"/d/held": held.Node.ID, "/alone": alone.Node.ID, "/alone/inside": inside.Node.ID}
	for path, n := range want {
		if got[path] != n {
			t.Errorf("held: %q is %v, want %v", path, got[path], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("held: %v, want %v", got, want)
	}
	if err := u.RemoveVolume(ctx, s.vols[1].ID(), true); err != nil {
		t.Fatal(err)
	}
	s.look(t, d.Node, "held", vfs.NoEnt)
	s.look(t, root, "alone", vfs.NoEnt)
	if a := s.look(t, d.Node, "kept", vfs.OK); a.Node != kept.Node {
		t.Errorf("kept is another: %v", a.Node)
	}
	for _, n := range []vfs.Node{held.Node, alone.Node, inside.Node} {
		if _, err := u.GetAttr(ctx, who, n); vfs.StatusOf(err) != vfs.Stale {
			t.Errorf("what was lost: %v, want stale", err)
		}
	}
	s.mk(t, d.Node, "held", vfs.Regular)
	if err := u.RemoveVolume(ctx, s.vols[0].ID(), true); err == nil {
		t.Error("the last volume was removed")
	}
	if n := len(u.Members()); n != 1 {
		t.Errorf("%d members are left", n)
	}
}

// TestHeldAfterChangesByOthers tells each object of a volume that is away once, and none that another process took away before.
func TestHeldAfterChangesByOthers(t *testing.T) {
	ctx := t.Context()
	s := newAwayShare(t, 2)
	s.newIndex(t)
	s.opt.Trust = 1
	s.open(t)
	root := s.root(t)
	s.onVolume(t, 1)
	d := s.mk(t, root, "d", vfs.Directory).Node
	for _, name := range []string{"kept", "replaced", "removed"} {
		s.mk(t, d, name, vfs.Regular)
	}
	s.writeNow()
	s.reopen(t) // memory knows nothing of them
	m := s.mems[1].Root()
	dir, err := m.OpenDir(ctx, vfs.MustName("d"))
	must(t, err)
	f, _, _, err := dir.Create(ctx, vfs.MustName(".replaced"), &volume.New{Mode: 0o644})
	must(t, err)
	must(t, f.Close())
	must(t, dir.Rename(ctx, vfs.MustName(".replaced"), dir, vfs.MustName("replaced"), false))
	must(t, dir.Unlink(ctx, vfs.MustName("removed")))
	must(t, dir.Close())
	d = s.path(t, "d").Node
	want := map[string]vfs.NodeID{"/d": d.ID, "/d/kept": s.path(t, "d/kept").Node.ID, "/d/replaced": s.path(t, "d/replaced").Node.ID}
	held := func() {
		t.Helper()
		got := map[string]vfs.NodeID{}
		must(t, s.u.Held(ctx, s.vols[1].ID(), func(path string, n vfs.NodeID) bool {
			if _, twice := got[path]; twice {
				t.Errorf("%s is told twice", path)
			}
			got[path] = n
			return true
		}))
		if !maps.Equal(got, want) {
			t.Errorf("held: %v, want %v", got, want)
		}
	}
	s.writeNow()
	s.pull(t, 1)
	held()
	s.reopen(t, 1) // by the index alone
	held()
}

// TestRemoveVolumeNamesTheShare tells what a volume holds by the names of the share, whose they are or not.
func TestRemoveVolumeNamesTheShare(t *testing.T) {
	ctx := t.Context()
	s := newAwayShare(t, 2)
	s.opt.Trust = 1
	u := s.open(t)
	root := s.root(t)
	s.onVolume(t, 0)
	s.mk(t, root, "name", vfs.Regular)
	m := s.mems[1].Root()
	f, _, _, err := m.Create(ctx, vfs.MustName("name"), &volume.New{Mode: 0o644})
	must(t, err)
	must(t, f.Close())
	if got := s.list(t, root); !slices.Equal(got, []string{"name", "name.conflict-v1"}) && !slices.Equal(got, []string{"name.conflict-v1", "name"}) {
		t.Fatalf("the share has %q", got)
	}
	if err := u.RemoveVolume(ctx, s.vols[1].ID(), false); err == nil || !strings.Contains(err.Error(), `"/name.conflict-v1"`) {
		t.Errorf("it holds something: %v", err)
	}
	var got []string
	must(t, u.Held(ctx, s.vols[1].ID(), func(path string, _ vfs.NodeID) bool { got = append(got, path); return true }))
	if !slices.Equal(got, []string{"/name.conflict-v1"}) {
		t.Errorf("it holds %q", got)
	}
}
