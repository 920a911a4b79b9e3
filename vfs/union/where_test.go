package union

import (
	"fmt"
	"strings"
	"testing"

	"sheaf/vfs"
)

// pathText is a location in words.
func pathText(l Location) string {
	s := l.Volume + ":"
	for _, n := range l.Path {
		s += "/" + n.String()
	}
	return s
}

// makeAt makes an object as the superuser and gives its node.
func makeAt(t *testing.T, u *Union, dir vfs.Node, name string, typ vfs.Type) vfs.Node {
	t.Helper()
	how := vfs.How{Type: typ, Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}}
	a, _, err := u.Make(t.Context(), vfs.Superuser, dir, vfs.MustName(name), &how)
	if err != nil {
		t.Fatal(err)
	}
	return a.Node
}

// TestLocations follows objects through renames and restarts to where they lie.
func TestLocations(t *testing.T) {
	s := memShare(t, 3, nil)
	u := s.open(t)
	root, err := u.Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	dir := makeAt(t, u, root.Node, "dir", vfs.Directory)
	sub := makeAt(t, u, dir, "sub", vfs.Directory)
	file := makeAt(t, u, sub, "file", vfs.Regular)
	check := func(n vfs.Node, path string, copies int) {
		t.Helper()
		got, err := u.Locations(t.Context(), n)
		if err != nil || copies > 0 && len(got) != copies || len(got) == 0 {
			t.Fatalf("locations %v, %v, want %d", got, err, copies)
		}
		seen := map[string]bool{}
		for _, l := range got {
			if pathText(l) != l.Volume+":"+path || seen[l.Volume] {
				t.Errorf("at %s, want %s", pathText(l), path)
			}
			seen[l.Volume] = true
			there(t, u, l)
		}
	}
	check(root.Node, "", 3)
	check(file, "/dir/sub/file", 1)
	if _, _, err := u.Rename(t.Context(), vfs.Superuser, root.Node, vfs.MustName("dir"), root.Node, vfs.MustName("moved")); err != nil {
		t.Fatal(err)
	}
	check(file, "/moved/sub/file", 1)
	check(sub, "/moved/sub", 0)
	u = s.restart(t)
	check(file, "/moved/sub/file", 1)
	if _, err := u.Remove(t.Context(), vfs.Superuser, sub, vfs.MustName("file")); err != nil {
		t.Fatal(err)
	}
	if l, err := u.Locations(t.Context(), file); vfs.StatusOf(err) != vfs.Stale {
		t.Errorf("a removed file lies at %v, %v", l, err)
	}
}

// there checks that a volume has what Locations says it has.
func there(t *testing.T, u *Union, l Location) {
	t.Helper()
	for _, v := range u.members().vols {
		if v.v.Name() != l.Volume {
			continue
		}
		d := v.v.Root()
		for i, name := range l.Path {
			if _, err := d.StatAt(t.Context(), name); err != nil {
				t.Errorf("%s is not there: %v", pathText(l), err)
				return
			}
			if i == len(l.Path)-1 {
				return
			}
			sub, err := d.OpenDir(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			d = sub
		}
		return
	}
	t.Errorf("no volume %q", l.Volume)
}

// TestExplain compares what is said with what is asked: an answer from memory costs no
// look at a volume.
func TestExplain(t *testing.T) {
	for _, mode := range []Lookups{LookupFull, LookupNames, LookupOff} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			s := memShare(t, 2, nil)
			s.opt.Lookups = mode
			u := s.open(t)
			root, err := u.Root(t.Context(), vfs.Superuser)
			if err != nil {
				t.Fatal(err)
			}
			makeAt(t, u, root.Node, "here", vfs.Regular)
			for name, want := range map[string]string{"here": "present", "none": "absent"} {
				// Twice: the first look-up may be the one that learns.
				for range 2 {
					_, _, err = u.Lookup(t.Context(), vfs.Superuser, root.Node, vfs.MustName(name))
				}
				if (err == nil) != (want == "present") {
					t.Fatalf("look-up of %s: %v", name, err)
				}
				if mode == LookupOff {
					want = "unknown"
				}
				answer, fact := u.Explain(root.Node, vfs.MustName(name))
				if answer != want || fact == "" {
					t.Errorf("%s: %s (%s), want %s", name, answer, fact, want)
				}
				asked := u.stats.stats.Load()
				_, err := u.recallForTest(root.Node, vfs.MustName(name))
				if known := vfs.StatusOf(err) != vfs.Again; known != (answer != "unknown") || u.stats.stats.Load() != asked {
					t.Errorf("%s: said to be %s (%s), and recalling it gives %v", name, answer, fact, err)
				}
			}
			if answer, fact := u.Explain(vfs.Node{ID: vfs.NodeID{1}}, vfs.MustName("x")); answer != "unknown" || fact == "" {
				t.Errorf("in a directory nobody has seen: %s (%s)", answer, fact)
			}
		})
	}
}

// recallForTest is what a look-up does first; Again: memory does not answer.
func (u *Union) recallForTest(dir vfs.Node, name vfs.Name) (vfs.NodeID, error) {
	d := u.table.get(dir.ID)
	if d == nil {
		return vfs.NodeID{}, vfs.Again
	}
	defer d.put()
	n, err := u.recall(d, name)
	if n == nil {
		if err == nil {
			err = vfs.Again
		}
		return vfs.NodeID{}, err
	}
	defer n.put()
	return n.id, nil
}

// TestExplainAway says of a name on a volume that is away that it is known from before.
func TestExplainAway(t *testing.T) {
	s := restAway(t)
	s.reopen(t, 1)
	d := s.path(t, "d").Node
	s.look(t, d, "there", vfs.Jukebox)
	if answer, fact := s.u.Explain(d, n("there")); answer != "present" || !strings.Contains(fact, "volume v1, which is away") {
		t.Errorf("%s: %s", answer, fact)
	}
}
