package translators

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
)

// TestNegativeAnswers: the second look-up of what is not there asks nobody (NEG-1), and is counted (NEG-7).
func TestNegativeAnswers(t *testing.T) {
	s := newShare(t, "negative.star", nil)
	for range 5 {
		_, st := s.lookup(ann, s.root, "none")
		s.want("lookup", st, vfs.NoEnt)
	}
	if n := s.below.lookups.Load(); n != 1 {
		t.Errorf("%d look-ups below, want 1", n)
	}
	if hits, misses := s.counter("hits"), s.counter("misses"); hits != 4 || misses != 1 {
		t.Errorf("%v hits and %v misses, want 4 and 1", hits, misses)
	}
}

// TestNegativeCleared: whatever makes a name is seen by the next look-up (NEG-3).
func TestNegativeCleared(t *testing.T) {
	s := newShare(t, "negative.star", nil)
	f, _ := s.mk(ann, s.root, "file")
	ctx, name := t.Context(), vfs.MustName
	for verb, make := range map[string]func(n vfs.Name) error{
		"create": func(n vfs.Name) error {
			_, _, err := s.fs.Make(ctx, ann, s.root, n, &vfs.How{Type: vfs.Regular})
			return err
		},
		"mkdir": func(n vfs.Name) error {
			_, _, err := s.fs.Make(ctx, ann, s.root, n, &vfs.How{Type: vfs.Directory})
			return err
		},
		"symlink": func(n vfs.Name) error {
			_, _, err := s.fs.Make(ctx, ann, s.root, n, &vfs.How{Type: vfs.Symlink, Target: "x"})
			return err
		},
		"mknod": func(n vfs.Name) error {
			_, _, err := s.fs.Make(ctx, ann, s.root, n, &vfs.How{Type: vfs.FIFO})
			return err
		},
		"link": func(n vfs.Name) error { _, _, err := s.fs.Link(ctx, ann, f.Node, s.root, n); return err },
		"rename": func(n vfs.Name) error {
			_, _, err := s.fs.Rename(ctx, ann, s.root, name("file"), s.root, n)
			return err
		},
	} {
		for range 2 {
			_, st := s.lookup(ann, s.root, "new "+verb)
			s.want("lookup before "+verb, st, vfs.NoEnt)
		}
		if err := make(name("new " + verb)); err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		_, st := s.lookup(ann, s.root, "new "+verb)
		s.want("lookup after "+verb, st, vfs.OK)
		if verb == "rename" {
			f, _ = s.mk(ann, s.root, "file")
		}
	}
}

// TestNegativeRace: an absence that was found before a name was made, and comes back after, is not kept. That is the
// race that the article's cache loses.
func TestNegativeRace(t *testing.T) {
	s := newShare(t, "negative.star", nil)
	var once sync.Once
	s.below.made = func(string) {
		once.Do(func() {
			_, st := s.mk(ann, s.root, "f")
			s.want("create", st, vfs.OK)
		})
	}
	_, st := s.lookup(ann, s.root, "f")
	s.want("lookup beside create", st, vfs.NoEnt)
	_, st = s.lookup(ann, s.root, "f")
	s.want("lookup after create", st, vfs.OK)
}

// slowMake stops before and after it makes something.
type slowMake struct {
	vfs.FS
	before, after func()
}

func (f slowMake) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	f.before()
	defer f.after()
	return f.FS.Make(ctx, w, dir, name, how)
}

// TestNegativeWhileMaking: once a name is there below, no look-up is told otherwise, even while the call
// that makes it is not yet answered.
func TestNegativeWhileMaking(t *testing.T) {
	s := newShare(t, "negative.star", nil)
	look := func(want vfs.Status) func() {
		return func() {
			for range 2 {
				_, st := s.lookup(ann, s.root, "f")
				s.want("lookup while the name is made", st, want)
			}
		}
	}
	look(vfs.NoEnt)()
	s.below.FS = slowMake{s.model, look(vfs.NoEnt), look(vfs.OK)}
	_, st := s.mk(ann, s.root, "f")
	s.want("create", st, vfs.OK)
}

// failing answers look-ups with an error.
type failing struct {
	vfs.FS
	status vfs.Status
}

func (f failing) Lookup(context.Context, *vfs.Who, vfs.Node, vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	return vfs.Attr{}, vfs.Attr{}, f.status
}

// TestNegativeOnlyAbsence: no other error is remembered (NEG-2).
func TestNegativeOnlyAbsence(t *testing.T) {
	s := newShare(t, "negative.star", nil)
	s.put(ann, s.root, "f")
	for _, st := range vfs.Statuses() {
		if st == vfs.NoEnt || st == vfs.Again {
			continue
		}
		s.below.FS = failing{s.model, st}
		_, got := s.lookup(ann, s.root, "f")
		s.want("lookup", got, st)
		s.below.FS = s.model
		_, got = s.lookup(ann, s.root, "f")
		s.want("lookup after "+st.Error(), got, vfs.OK)
	}
}

// TestNegativeRights: who may not search a directory is not told what is absent, also after its mode changes.
func TestNegativeRights(t *testing.T) {
	s := newShare(t, "negative.star", nil)
	d := s.mkdir(admin, s.root, "d")
	chmod := func(mode uint32) {
		t.Helper()
		if _, err := s.fs.SetAttr(t.Context(), admin, d, &vfs.SetAttr{Mask: vfs.SetMode, Mode: mode}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		w    *vfs.Who
		mode uint32
		want vfs.Status
	}{{ann, 0o755, vfs.NoEnt}, {ann, 0o700, vfs.Acces}, {admin, 0o700, vfs.NoEnt}, {ann, 0o700, vfs.Acces}, {ann, 0o755, vfs.NoEnt}} {
		chmod(c.mode)
		for range 2 {
			_, st := s.lookup(c.w, d, "none")
			s.want(fmt.Sprintf("lookup by %d in a directory of mode %o", c.w.UID, c.mode), st, c.want)
		}
	}
}

// TestNegativeDirectoryGone: a directory that was removed or replaced is stale, whatever was known of it.
func TestNegativeDirectoryGone(t *testing.T) {
	s := newShare(t, "negative.star", nil)
	a, b := s.mkdir(ann, s.root, "a"), s.mkdir(ann, s.root, "b")
	for _, d := range []vfs.Node{a, b} {
		_, st := s.lookup(ann, d, "none")
		s.want("lookup", st, vfs.NoEnt)
	}
	if _, _, err := s.fs.Rename(t.Context(), ann, s.root, vfs.MustName("a"), s.root, vfs.MustName("b")); err != nil {
		t.Fatal(err)
	}
	_, st := s.lookup(ann, b, "none")
	s.want("lookup in what was replaced", st, vfs.Stale)
	if _, err := s.fs.RemoveDir(t.Context(), ann, s.root, vfs.MustName("b")); err != nil {
		t.Fatal(err)
	}
	_, st = s.lookup(ann, a, "none")
	s.want("lookup in what was removed", st, vfs.Stale)
}

// TestNegativeExpires: an absence is believed for ttl (NEG-4).
func TestNegativeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(t, "negative.star", map[string]any{"ttl": 3})
		behind := func() { // another process makes the name
			if _, _, err := s.model.Make(t.Context(), admin, s.root, vfs.MustName("f"), &vfs.How{Type: vfs.Regular}); err != nil {
				t.Fatal(err)
			}
		}
		_, st := s.lookup(ann, s.root, "f")
		s.want("lookup", st, vfs.NoEnt)
		behind()
		time.Sleep(3*time.Second - 1)
		_, st = s.lookup(ann, s.root, "f")
		s.want("lookup within ttl", st, vfs.NoEnt)
		time.Sleep(time.Nanosecond)
		_, st = s.lookup(ann, s.root, "f")
		s.want("lookup after ttl", st, vfs.OK)
	})
}

// TestNegativeEvents: news of names, directories, volumes and lost news clear what they may concern.
func TestNegativeEvents(t *testing.T) {
	s := newShare(t, "negative.star", map[string]any{"ttl": 3600})
	for i, e := range []vfs.Event{
		{Kind: vfs.ForgetName, Node: s.root.ID, Name: vfs.MustName("f0")},
		{Kind: vfs.ForgetName, Node: s.root.ID},
		{Kind: vfs.ForgetNode, Node: s.root.ID},
		{Kind: vfs.ForgetVolume, Volume: "a"},
		{Kind: vfs.ForgetAll},
	} {
		name := fmt.Sprintf("f%d", i)
		_, st := s.lookup(ann, s.root, name)
		s.want("lookup", st, vfs.NoEnt)
		if _, _, err := s.model.Make(t.Context(), admin, s.root, vfs.MustName(name), &vfs.How{Type: vfs.Regular}); err != nil {
			t.Fatal(err)
		}
		s.model.Announce(e)
		_, st = s.lookup(ann, s.root, name)
		s.want(fmt.Sprintf("lookup after %+v", e), st, vfs.OK)
	}
}

// TestNegativeBounded: no more than max absences are kept, whatever is asked (NEG-5).
func TestNegativeBounded(t *testing.T) {
	s := newShare(t, "negative.star", map[string]any{"max": 50})
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := range 200 {
				if _, st := s.lookup(ann, s.root, fmt.Sprintf("%d-%d", c, i)); st != vfs.NoEnt {
					t.Errorf("lookup: %v", st)
				}
			}
		})
	}
	wg.Wait()
	if n := s.count("table_entries", "absent"); n > 50 || n < 40 {
		t.Errorf("%v absences are kept, want about 50", n)
	}
	if n := s.count("table_evicted_total", "absent"); n < 1000 {
		t.Errorf("%v were evicted", n)
	}
}

// TestNegativePresent: with present, a name that was found is not looked for again, its attributes are those of now, and
// whatever takes the name away is seen.
func TestNegativePresent(t *testing.T) {
	s := newShare(t, "negative.star", map[string]any{"present": true})
	ctx, name := t.Context(), vfs.MustName
	f, _ := s.mk(ann, s.root, "f")
	look := func(what string, want vfs.Status) (a vfs.Attr) {
		t.Helper()
		for range 3 {
			var st vfs.Status
			a, st = s.lookup(ann, s.root, "f")
			s.want("lookup "+what, st, want)
		}
		return a
	}
	look("of what is there", vfs.OK)
	if n := s.below.lookups.Load(); n != 1 {
		t.Errorf("%d look-ups below, want 1", n)
	}
	if _, err := s.fs.SetAttr(ctx, admin, f.Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}, nil); err != nil {
		t.Fatal(err)
	}
	if a := look("after chmod", vfs.OK); a.Mode != 0o600 {
		t.Errorf("mode %o", a.Mode)
	}
	if _, _, err := s.fs.Rename(ctx, ann, s.root, name("f"), s.root, name("g")); err != nil {
		t.Fatal(err)
	}
	look("after rename", vfs.NoEnt)
	s.put(ann, s.root, "f")
	look("after create", vfs.OK)
	if _, _, err := s.fs.Rename(ctx, ann, s.root, name("g"), s.root, name("f")); err != nil {
		t.Fatal(err)
	}
	if a := look("after rename onto it", vfs.OK); a.Node.ID != f.Node.ID {
		t.Error("the name is still the object that was replaced")
	}
	if _, err := s.fs.Remove(ctx, ann, s.root, name("f")); err != nil {
		t.Fatal(err)
	}
	look("after remove", vfs.NoEnt)
	// What another process removes is not there any more, whatever is remembered.
	f, _ = s.mk(ann, s.root, "f")
	look("after create", vfs.OK)
	if _, err := s.model.Remove(ctx, admin, s.root, name("f")); err != nil {
		t.Fatal(err)
	}
	look("of what was removed below", vfs.NoEnt)
}
