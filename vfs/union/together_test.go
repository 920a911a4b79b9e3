package union

import (
	"testing"

	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// TestHistories records concurrent calls and wants an order that explains them.
func TestHistories(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			vfstest.History(t, memShare(t, n, nil).open(t), vfstest.HistoryOptions{})
		})
	}
}

// TestHistoriesSmall is TestHistories with room for hardly anything in memory, and no listings.
func TestHistoriesSmall(t *testing.T) {
	s := memShare(t, 3, nil)
	s.opt.Memory, s.opt.OpenDirs, s.opt.OpenFiles, s.opt.Lookups = 4*nodeBytes, 1, 1, LookupNames
	vfstest.History(t, s.open(t), vfstest.HistoryOptions{})
}

// TestHistoriesLocal is TestHistories on the host's file system.
func TestHistoriesLocal(t *testing.T) {
	need.Superuser(t, "the callers make directories of mode 0, of which only root can see on several volumes whether they are empty")
	vfstest.History(t, vfstest.Ordered(localShare(t, 2).open(t))[0], vfstest.HistoryOptions{Options: localCan(), Rounds: 6})
}

var nowait = &vfs.Who{NoWait: true}

// TestMemoryAnswers wants fresh knowledge told without waiting and without allocating.
func TestMemoryAnswers(t *testing.T) {
	s := memShare(t, 3, nil)
	s.open(t)
	d := s.mk(t, s.root(t), "d", vfs.Directory)
	f := s.mk(t, d.Node, "f", vfs.Regular)
	s.list(t, d.Node)
	s.look(t, d.Node, "nowhere", vfs.NoEnt)
	ctx := t.Context()
	for name, ask := range map[string]func() error{
		"GetAttr": func() error { _, err := s.u.GetAttr(ctx, nowait, f.Node); return err },
		"Access":  func() error { _, _, err := s.u.Access(ctx, nowait, f.Node, vfs.AccessAll); return err },
		"hit":     func() error { _, _, err := s.u.Lookup(ctx, nowait, d.Node, vfs.MustName("f")); return err },
		"miss": func() error {
			_, _, err := s.u.Lookup(ctx, nowait, d.Node, vfs.MustName("nowhere"))
			if vfs.StatusOf(err) == vfs.NoEnt {
				return nil
			}
			return err
		},
	} {
		if n := testing.AllocsPerRun(10, func() {
			if err := ask(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}); n > 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// benchShare is a share over eight volumes with a file in a directory.
func benchShare(b *testing.B) (s *shareT, d, f vfs.Attr) {
	b.Helper()
	s = memShare(b, 8, nil)
	s.opt.Trust = 1 << 40 // the benchmark is about what is known
	s.open(b)
	d = s.mk(b, s.root(b), "d", vfs.Directory)
	f = s.mk(b, d.Node, "f", vfs.Regular)
	s.list(b, d.Node)
	return s, d, f
}

func BenchmarkGetAttr(b *testing.B) {
	s, _, f := benchShare(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.u.GetAttr(b.Context(), nowait, f.Node); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	s, _, f := benchShare(b)
	w := &vfs.Who{UID: 7, GID: 7, NoWait: true}
	if _, _, err := s.u.Access(b.Context(), &vfs.Who{UID: 7, GID: 7}, f.Node, vfs.AccessAll); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.u.Access(b.Context(), w, f.Node, vfs.AccessAll); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookupHit(b *testing.B) {
	s, d, _ := benchShare(b)
	name := vfs.MustName("f")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.u.Lookup(b.Context(), nowait, d.Node, name); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookupMiss(b *testing.B) {
	s, d, _ := benchShare(b)
	name := vfs.MustName("nowhere")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.u.Lookup(b.Context(), nowait, d.Node, name); vfs.StatusOf(err) != vfs.NoEnt {
			b.Fatal(err)
		}
	}
}
