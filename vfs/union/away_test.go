package union

import (
	"context"
	"slices"
	"testing"

	"sheaf/vfs"
)

// TestAwayLookup asks for names while a volume is away.
func TestAwayLookup(t *testing.T) {
	s := newAwayShare(t, 2)
	s.opt.Trust = 1 // everything is asked for
	u := s.open(t)
	root := s.root(t)
	d := s.mk(t, root, "d", vfs.Directory)
	s.onVolume(t, 0)
	s.mk(t, d.Node, "here", vfs.Regular)
	s.onVolume(t, 1)
	there := s.mk(t, d.Node, "there", vfs.Regular)
	unlisted := s.mk(t, root, "unlisted", vfs.Directory)
	s.anywhere(t)
	s.list(t, root)
	s.list(t, d.Node)

	s.pull(t, 1)
	s.look(t, d.Node, "here", vfs.OK)
	s.look(t, d.Node, "nowhere", vfs.NoEnt)
	s.look(t, d.Node, "there", vfs.Jukebox)
	if _, err := u.GetAttr(context.Background(), who, there.Node); !isRefusal(err) {
		t.Errorf("attributes of what is away: %v", err)
	}
	if got := s.list(t, d.Node); !slices.Contains(got, "there") || len(got) != 2 {
		t.Errorf("listed %q", got)
	}
	if _, _, err := u.Lookup(context.Background(), who, unlisted.Node, vfs.MustName("x")); !isRefusal(err) {
		t.Errorf("a name in a directory that is away: %v", err)
	}
	s.mk(t, d.Node, "new", vfs.Regular)
	if _, _, err := u.Make(context.Background(), who, d.Node, vfs.MustName("there"), &vfs.How{Type: vfs.Regular}); !isRefusal(err) {
		t.Errorf("make of a name that is away: %v", err)
	}
	s.put(t, 1)
	if a := s.look(t, d.Node, "there", vfs.OK); a.Node != there.Node {
		t.Errorf("it came back as another: %v, was %v", a.Node, there.Node)
	}
	if got := s.list(t, d.Node); len(got) != 3 {
		t.Errorf("listed %q", got)
	}
}
