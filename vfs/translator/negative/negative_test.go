package negative

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

// fixture is the layer over a Model, with a hook in between that a test can set.
type fixture struct {
	fs    *translator.Stack
	model *vfstest.Model
	hook  translator.Hook
	below int // look-ups that went below, of a single goroutine
	root  vfs.Node
}

func over(t testing.TB, options map[string]any) *fixture {
	t.Helper()
	f := &fixture{model: vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})}
	between := translator.Around(f.model, func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if f.hook != nil {
			return f.hook(ctx, c, next)
		}
		return next(ctx, c)
	})
	f.fs = translator.NewStack(between, []translator.Kind{Kind}, slog.New(slog.DiscardHandler))
	must(t, f.fs.Load(context.Background(), []translator.Spec{{Kind: "negative", Options: options}}))
	a, err := f.fs.Root(context.Background(), vfs.Superuser)
	must(t, err)
	f.root = a.Node
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func name(s string) vfs.Name { return vfs.MustName(s) }

// counting makes f count look-ups below.
func (f *fixture) counting() {
	f.hook = func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if c.Verb == translator.Lookup {
			f.below++
		}
		return next(ctx, c)
	}
}

// lookup looks a name up as w, and wants a status and so many look-ups below.
func (f *fixture) lookup(t testing.TB, w *vfs.Who, dir vfs.Node, s string, want vfs.Status, below int) {
	t.Helper()
	f.below = 0
	_, _, err := f.fs.Lookup(t.Context(), w, dir, name(s))
	if vfs.StatusOf(err) != want || f.below != below {
		t.Errorf("Lookup %s: %v and %d below, want %v and %d", s, err, f.below, want, below)
	}
}

func (f *fixture) make(t testing.TB, dir vfs.Node, s string, how vfs.How) vfs.Node {
	t.Helper()
	how.Set = vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}
	if how.Type == vfs.Symlink {
		how.Target = "x"
	}
	a, _, err := f.fs.Make(t.Context(), vfs.Superuser, dir, name(s), &how)
	must(t, err)
	return a.Node
}

// TestSuite: answers are those of the FS below, with and without room for them.
func TestSuite(t *testing.T) {
	for what, options := range map[string]map[string]any{"plain": nil, "tight": {"entries": MinEntries, "expiry": "1ms"}} {
		t.Run(what, func(t *testing.T) {
			vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS { return over(t, options).fs })
		})
	}
}

// TestProgram is random programs in lockstep with a Model.
func TestProgram(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		vfstest.RunProgram(rt, over(t, nil).fs, vfstest.ProgramOptions{Steps: 60})
	})
}

// TestMakersForget: N1 and N2, each way of making a name.
func TestMakersForget(t *testing.T) {
	f := over(t, nil)
	f.counting()
	file := f.make(t, f.root, "file", vfs.How{Type: vfs.Regular})
	for what, mk := range map[string]func(s string) error{
		"CREATE":  func(s string) error { f.make(t, f.root, s, vfs.How{Type: vfs.Regular}); return nil },
		"MKDIR":   func(s string) error { f.make(t, f.root, s, vfs.How{Type: vfs.Directory}); return nil },
		"MKNOD":   func(s string) error { f.make(t, f.root, s, vfs.How{Type: vfs.FIFO}); return nil },
		"SYMLINK": func(s string) error { f.make(t, f.root, s, vfs.How{Type: vfs.Symlink}); return nil },
		"LINK": func(s string) error {
			_, _, err := f.fs.Link(t.Context(), vfs.Superuser, file, f.root, name(s))
			return err
		},
		"RENAME": func(s string) error {
			f.make(t, f.root, "old", vfs.How{Type: vfs.Regular})
			_, _, err := f.fs.Rename(t.Context(), vfs.Superuser, f.root, name("old"), f.root, name(s))
			return err
		},
	} {
		f.lookup(t, vfs.Superuser, f.root, what, vfs.NoEnt, 1)
		f.lookup(t, vfs.Superuser, f.root, what, vfs.NoEnt, 0)
		must(t, mk(what))
		f.lookup(t, vfs.Superuser, f.root, what, vfs.OK, 1)
	}
}

// TestOnlyAbsence: other failures are not remembered.
func TestOnlyAbsence(t *testing.T) {
	f := over(t, nil)
	f.hook = func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if c.Verb == translator.Lookup {
			f.below++
			return vfs.IO
		}
		return next(ctx, c)
	}
	f.lookup(t, vfs.Superuser, f.root, "x", vfs.IO, 1)
	f.lookup(t, vfs.Superuser, f.root, "x", vfs.IO, 1)
}

// TestEvents: N4.
func TestEvents(t *testing.T) {
	f := over(t, nil)
	f.counting()
	for _, e := range []vfs.Event{
		{Kind: vfs.ForgetName, Node: f.root.ID, Name: name("x")},
		{Kind: vfs.ForgetName, Node: f.root.ID},
		{Kind: vfs.ForgetNode, Node: f.root.ID},
		{Kind: vfs.ForgetVolume, Volume: "v"},
		{Kind: vfs.ForgetAll},
	} {
		f.lookup(t, vfs.Superuser, f.root, "x", vfs.NoEnt, 1)
		f.lookup(t, vfs.Superuser, f.root, "x", vfs.NoEnt, 0)
		f.model.Announce(e)
		f.lookup(t, vfs.Superuser, f.root, fmt.Sprint("other", e.Kind, e.Name), vfs.NoEnt, 1) // the directory is known again, x is not
	}
	f.lookup(t, vfs.Superuser, f.root, "x", vfs.NoEnt, 1)
	must(t, f.fs.Load(t.Context(), nil))
	must(t, f.fs.Close(t.Context()))
}

// TestPermission: N5. Nobody learns from what another was told, and nobody whose right was taken away keeps it.
func TestPermission(t *testing.T) {
	f := over(t, nil)
	f.counting()
	dir := f.make(t, f.root, "d", vfs.How{Type: vfs.Directory})
	chmod := func(mode uint32) {
		t.Helper()
		_, err := f.fs.SetAttr(t.Context(), vfs.Superuser, dir, &vfs.SetAttr{Mask: vfs.SetMode, Mode: mode}, nil)
		must(t, err)
	}
	ann, ben := &vfs.Who{UID: 1, GID: 1}, &vfs.Who{UID: 1, GID: 1, Groups: []uint32{5}}
	f.lookup(t, ann, dir, "x", vfs.NoEnt, 1)
	f.lookup(t, ann, dir, "x", vfs.NoEnt, 0)
	f.lookup(t, ben, dir, "x", vfs.NoEnt, 1)
	f.lookup(t, ben, dir, "x", vfs.NoEnt, 0)
	chmod(0o700)
	f.lookup(t, ann, dir, "x", vfs.Acces, 1)
	f.lookup(t, vfs.Superuser, dir, "x", vfs.NoEnt, 1)
	f.lookup(t, ann, dir, "x", vfs.Acces, 1)
	chmod(0o755)
	for i := range uint32(2 * tellersMax) { // more callers than are known
		f.lookup(t, &vfs.Who{UID: 100 + i}, dir, "x", vfs.NoEnt, 1)
	}
	f.lookup(t, &vfs.Who{UID: 100 + 2*tellersMax - 1}, dir, "x", vfs.NoEnt, 0)
	f.lookup(t, &vfs.Who{UID: 100}, dir, "x", vfs.NoEnt, 1)
	_, err := f.fs.SetACL(t.Context(), vfs.Superuser, dir, vfs.ACLs{Access: vfs.ACL{
		{Tag: vfs.ACLUserObj, Perm: 7}, {Tag: vfs.ACLUser, ID: 100}, {Tag: vfs.ACLGroupObj, Perm: 5}, {Tag: vfs.ACLMask, Perm: 5}, {Tag: vfs.ACLOther, Perm: 5},
	}})
	must(t, err)
	f.lookup(t, &vfs.Who{UID: 100}, dir, "x", vfs.Acces, 1)
}

// TestRemovedDirectory: N6.
func TestRemovedDirectory(t *testing.T) {
	f := over(t, nil)
	one, two := f.make(t, f.root, "one", vfs.How{Type: vfs.Directory}), f.make(t, f.root, "two", vfs.How{Type: vfs.Directory})
	f.counting()
	f.lookup(t, vfs.Superuser, one, "x", vfs.NoEnt, 1)
	f.lookup(t, vfs.Superuser, two, "x", vfs.NoEnt, 1)
	_, _, err := f.fs.Rename(t.Context(), vfs.Superuser, f.root, name("one"), f.root, name("two"))
	must(t, err)
	f.lookup(t, vfs.Superuser, two, "x", vfs.Stale, 1)
	f.lookup(t, vfs.Superuser, one, "x", vfs.NoEnt, 0)
	_, err = f.fs.RemoveDir(t.Context(), vfs.Superuser, f.root, name("two"))
	must(t, err)
	f.lookup(t, vfs.Superuser, one, "x", vfs.Stale, 1)
}

// TestLateAnswer: N3. A look-up that is below while the name is made must not be remembered when it comes back, and while a
// name is being made its absence is not answered from memory.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := over(t, nil)
		release, made := make(chan struct{}), make(chan struct{})
		f.hook = func(ctx context.Context, c *translator.Call, next translator.Next) error {
			err := next(ctx, c)
			switch c.Verb {
			case translator.Lookup:
				<-release
			case translator.Make:
				<-made
			}
			return err
		}
		late := make(chan error)
		go func() { _, _, err := f.fs.Lookup(t.Context(), vfs.Superuser, f.root, name("x")); late <- err }()
		synctest.Wait() // it is below, and has been told that x does not exist
		done := make(chan error)
		go func() {
			_, _, err := f.fs.Make(t.Context(), vfs.Superuser, f.root, name("x"), &vfs.How{Type: vfs.Regular})
			done <- err
		}()
		synctest.Wait() // x exists, and its maker has not been told
		close(release)
		if err := <-late; vfs.StatusOf(err) != vfs.NoEnt {
			t.Errorf("the late look-up: %v", err)
		}
		see := func(when string) {
			t.Helper()
			if _, _, err := f.fs.Lookup(t.Context(), vfs.Superuser, f.root, name("x")); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		see("while it is made")
		close(made)
		must(t, <-done)
		see("after it was made")
	})
}

// TestTogether has makers, removers and lookers on the same names: who was told that a name was made, and has not yet removed it, must find it.
func TestTogether(t *testing.T) {
	f := over(t, map[string]any{"entries": MinEntries})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				s := fmt.Sprintf("%d-%d", i, j%5)
				if _, _, err := f.fs.Lookup(t.Context(), vfs.Superuser, f.root, name(s)); vfs.StatusOf(err) != vfs.NoEnt {
					t.Errorf("before %s is made: %v", s, err)
				}
				if _, _, err := f.fs.Make(t.Context(), vfs.Superuser, f.root, name(s), &vfs.How{Type: vfs.Regular}); err != nil {
					t.Errorf("make %s: %v", s, err)
				}
				if _, _, err := f.fs.Lookup(t.Context(), vfs.Superuser, f.root, name(s)); err != nil {
					t.Errorf("after %s was made: %v", s, err)
				}
				if _, err := f.fs.Remove(t.Context(), vfs.Superuser, f.root, name(s)); err != nil {
					t.Errorf("remove %s: %v", s, err)
				}
			}
		})
		wg.Go(func() { // keeps absences coming in
			for j := range 1000 {
				_, _, err := f.fs.Lookup(t.Context(), vfs.Superuser, f.root, name(fmt.Sprintf("%d-%d", i, j%5)))
				if err != nil && vfs.StatusOf(err) != vfs.NoEnt {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestBounds: N7.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := over(t, map[string]any{"entries": 1000, "expiry": "1s"})
		f.counting()
		for i := range 20_000 {
			f.lookup(t, vfs.Superuser, f.root, fmt.Sprint(i), vfs.NoEnt, 1)
		}
		f.lookup(t, vfs.Superuser, f.root, "19999", vfs.NoEnt, 0)
		counts := map[string]float64{}
		f.fs.Counts(func(_, _ string, all []translator.Count) {
			for _, c := range all {
				counts[c.Name] = c.Value
			}
		})
		if n := counts["entries"]; n == 0 || n > 1000 || counts["evicted_total"] < 19_000 || counts["hits_total"] != 1 || counts["misses_total"] != 20_000 {
			t.Errorf("counts %v", counts)
		}
		time.Sleep(time.Second)
		f.lookup(t, vfs.Superuser, f.root, "19999", vfs.NoEnt, 1)
	})
}

// TestReloadDuringAChange: a name that is being made while the layer comes, by a call that does not go through it, is
// there for everybody once that call is answered.
func TestReloadDuringAChange(t *testing.T) {
	for of, before := range map[string][]translator.Spec{"of none": nil, "of another": {{Kind: "negative"}}} {
		t.Run(of, func(t *testing.T) {
			f := over(t, nil)
			must(t, f.fs.Load(t.Context(), before))
			entered, release, made := make(chan struct{}), make(chan struct{}), make(chan error)
			f.hook = func(ctx context.Context, c *translator.Call, next translator.Next) error {
				if c.Verb == translator.Make {
					close(entered)
					<-release
				}
				return next(ctx, c)
			}
			go func() {
				_, _, err := f.fs.Make(t.Context(), vfs.Superuser, f.root, name("x"), &vfs.How{Type: vfs.Regular})
				made <- err
			}()
			<-entered
			must(t, f.fs.Load(t.Context(), []translator.Spec{{Kind: "negative", Options: map[string]any{"expiry": "1h"}}}))
			if _, _, err := f.fs.Lookup(t.Context(), vfs.Superuser, f.root, name("x")); vfs.StatusOf(err) != vfs.NoEnt {
				t.Fatal(err)
			}
			close(release)
			must(t, <-made)
			if _, _, err := f.fs.Lookup(t.Context(), vfs.Superuser, f.root, name("x")); err != nil {
				t.Errorf("after it was made: %v", err)
			}
		})
	}
}
