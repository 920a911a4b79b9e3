package union

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// TestAddVolume adds a volume with a tree of its own to a share that is in use.
func TestAddVolume(t *testing.T) {
	s := memShare(t, 3, nil)
	late := s.vols[2]
	s.vols = s.vols[:1]
	s.opt.Exclusive = map[volume.ID]bool{s.vols[0].ID(): true} // what is known does not age by itself
	u := s.open(t)
	root := s.root(t)
	d := s.mk(t, root, "d", vfs.Directory)
	s.look(t, d.Node, "there", vfs.NoEnt)
	s.look(t, root, "tree", vfs.NoEnt)

	put(t, late, "d", "there")
	put(t, late, "tree", "f")
	if err := u.AddVolume(context.Background(), late, false, volume.ReadWrite); err != nil {
		t.Fatal(err)
	}
	s.vols = append(s.vols, late)
	s.look(t, d.Node, "there", vfs.OK)
	s.path(t, "tree/f")
	if got := s.list(t, root); len(got) != 2 {
		t.Errorf("root lists %q", got)
	}
	if err := u.AddVolume(context.Background(), late, false, volume.ReadWrite); err == nil {
		t.Error("a member was added twice")
	}
	m := marker()
	m.Share = strings.Repeat("77", 16)
	other := volumetest.NewMem(volumetest.Options{Name: "other", Marker: &m})
	if err := u.AddVolume(context.Background(), other, false, volume.ReadWrite); err == nil {
		t.Error("a volume of another share was added")
	}
	want := []string{"v0", "v2"}
	var got []string
	for _, m := range u.Members() {
		got = append(got, m.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
}

// TestModeNoCreate places nothing on a volume of mode nc.
func TestModeNoCreate(t *testing.T) {
	s := memShare(t, 2, nil)
	s.opt.Modes = map[volume.ID]volume.Mode{s.vols[0].ID(): volume.NoCreate}
	u := s.open(t)
	root := s.root(t)
	on := func(name string) string {
		t.Helper()
		l, err := u.Locations(context.Background(), s.mk(t, root, name, vfs.Regular).Node)
		if err != nil {
			t.Fatal(err)
		}
		return l[0].Volume
	}
	for i := range 20 {
		if got := on(fmt.Sprintf("a%d", i)); got != "v1" {
			t.Fatalf("placed on %s, whose mode is nc", got)
		}
	}
	for i, m := range []volume.Mode{volume.ReadWrite, volume.NoCreate} {
		if err := u.SetMode(s.vols[i].ID(), m); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if got := on(fmt.Sprintf("b%d", i)); got != "v0" {
			t.Fatalf("placed on %s, whose mode is nc", got)
		}
	}
	if err := u.SetMode(volume.NewID(), volume.ReadOnly); err == nil {
		t.Error("mode of a stranger was set")
	}
}

// TestModeReadOnly changes nothing on a volume of mode ro, and everything beside it.
func TestModeReadOnly(t *testing.T) {
	ctx := context.Background()
	s := memShare(t, 2, nil)
	s.opt.Modes = map[volume.ID]volume.Mode{s.vols[1].ID(): volume.NoCreate}
	u := s.open(t)
	root := s.root(t)
	f := s.mk(t, root, "f", vfs.Regular)
	d := s.mk(t, root, "d", vfs.Directory)
	for i, m := range []volume.Mode{volume.ReadOnly, volume.ReadWrite} {
		if err := u.SetMode(s.vols[i].ID(), m); err != nil {
			t.Fatal(err)
		}
	}
	_, _, werr := u.Write(ctx, who, f.Node, []byte("x"), 0, vfs.FileSync)
	_, serr := u.SetAttr(ctx, who, f.Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}, nil)
	_, rerr := u.Remove(ctx, who, root, vfs.MustName("f"))
	_, derr := u.RemoveDir(ctx, who, root, vfs.MustName("d"))
	_, _, merr := u.Rename(ctx, who, root, vfs.MustName("f"), root, vfs.MustName("g"))
	_, _, lerr := u.Link(ctx, who, f.Node, root, vfs.MustName("g"))
	_, aerr := u.SetACL(ctx, who, f.Node, vfs.ACLs{})
	for what, err := range map[string]error{"write": werr, "setattr": serr, "remove": rerr, "rmdir": derr, "rename": merr, "link": lerr, "setacl": aerr} {
		if vfs.StatusOf(err) != vfs.ROFS {
			t.Errorf("%s: %v, want a read-only file system", what, err)
		}
	}
	n := s.mk(t, d.Node, "new", vfs.Regular)
	if l, err := u.Locations(ctx, n.Node); err != nil || l[0].Volume != "v1" {
		t.Errorf("placed on %v, %v", l, err)
	}
	s.look(t, root, "f", vfs.OK)
	if err := u.SetMode(s.vols[1].ID(), volume.ReadOnly); err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.Make(ctx, who, root, vfs.MustName("h"), &vfs.How{Type: vfs.Regular}); vfs.StatusOf(err) != vfs.ROFS {
		t.Errorf("make with all volumes ro: %v", err)
	}
}

// put makes a directory with an empty file in it, behind the server's back.
func put(t *testing.T, v volume.Volume, dir, file string) {
	t.Helper()
	d, _, _, err := v.Root().Mkdir(context.Background(), vfs.MustName(dir), &volume.New{Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	f, _, _, err := d.Create(context.Background(), vfs.MustName(file), &volume.New{Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
