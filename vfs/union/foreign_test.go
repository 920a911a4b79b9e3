package union

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
	"sheaf/vfs/volume/volumetest"
)

// onVolume is the directory at path on a volume, as another process sees it.
func onVolume(t testing.TB, v volume.Volume, path ...string) volume.Dir {
	t.Helper()
	d := v.Root()
	for _, p := range path {
		sub, err := d.OpenDir(t.Context(), vfs.MustName(p))
		if err != nil {
			t.Fatalf("open %s on volume %s: %v", p, v.Name(), err)
		}
		t.Cleanup(func() { sub.Close() })
		d = sub
	}
	return d
}

// plant makes a file or directory on a volume, as another process does.
func plant(t testing.TB, d volume.Dir, name string, typ vfs.Type) {
	t.Helper()
	n := &volume.New{Mode: 0o755}
	switch typ {
	case vfs.Directory:
		sub, _, _, err := d.Mkdir(t.Context(), vfs.MustName(name), n)
		if err != nil {
			t.Fatalf("plant %s: %v", name, err)
		}
		sub.Close()
	default:
		f, _, _, err := d.Create(t.Context(), vfs.MustName(name), n)
		if err != nil {
			t.Fatalf("plant %s: %v", name, err)
		}
		f.Close()
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const pastTrust = DefaultTrust + time.Millisecond

// TestForeignChanges holds the union to its bound: what another process does on a volume shows
// after trust, whatever was known before.
func TestForeignChanges(t *testing.T) {
	for _, mode := range []Lookups{LookupFull, LookupNames, LookupOff} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memShare(t, 2, nil)
				s.opt.Lookups = mode
				s.open(t)
				root := s.root(t)
				a := s.look(t, s.mk(t, root, "d", vfs.Directory).Node, "x", vfs.NoEnt)
				d := s.path(t, "d")
				home := s.u.table.get(d.Node.ID)
				v := s.mems[home.volumes().first()]
				home.put()
				other := s.mems[0]
				if other == v {
					other = s.mems[1]
				}

				plant(t, onVolume(t, v, "d"), "x", vfs.Regular)
				time.Sleep(pastTrust)
				a = s.look(t, d.Node, "x", vfs.OK)

				must(t, onVolume(t, v, "d").Rename(t.Context(), vfs.MustName("x"), onVolume(t, v, "d"), vfs.MustName("y"), true))
				time.Sleep(pastTrust)
				s.look(t, d.Node, "x", vfs.NoEnt)
				if b := s.look(t, d.Node, "y", vfs.OK); b.Node != a.Node {
					t.Errorf("after a rename behind our back y is %v, want %v", b.Node, a.Node)
				}

				// A copy of d that another process makes on the other volume brings names.
				plant(t, onVolume(t, other), "d", vfs.Directory)
				plant(t, onVolume(t, other, "d"), "z", vfs.Regular)
				time.Sleep(pastTrust)
				s.look(t, d.Node, "z", vfs.OK)
				if got := s.list(t, d.Node); !slices.Contains(got, "y") || !slices.Contains(got, "z") || len(got) != 2 {
					t.Errorf("listed %q, want y and z", got)
				}
				if again := s.path(t, "d"); again.Node != d.Node {
					t.Errorf("d became %v with its second copy, was %v", again.Node, d.Node)
				}

				must(t, onVolume(t, v, "d").Unlink(t.Context(), vfs.MustName("y")))
				time.Sleep(pastTrust)
				s.look(t, d.Node, "y", vfs.NoEnt)
				if _, err := s.u.GetAttr(t.Context(), who, a.Node); vfs.StatusOf(err) != vfs.Stale {
					t.Errorf("GetAttr of what another process removed: %v, want Stale", err)
				}
			})
		})
	}
}

// TestMadeWhileListed lets another process make a name while a directory is being listed, in the clock tick of the change
// before, and the listing end after that tick: that the version stayed the same proves nothing then.
func TestMadeWhileListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const quiet = 50 * time.Millisecond
		s := memShare(t, 1, func(_ int, o *volumetest.Options) { o.Quiet, o.Now = quiet, time.Now })
		busy := false
		s.wrapped = func(v volume.Volume) volume.Volume {
			return hook.New(v, func(_ context.Context, op volume.Op, do func() error) error {
				err := do()
				if op == volume.OpList && busy {
					busy = false
					plant(t, s.mems[0].Root(), "late", vfs.Regular)
					time.Sleep(2 * quiet)
				}
				return err
			})
		}
		s.open(t)
		s.look(t, s.root(t), "none", vfs.NoEnt)
		time.Sleep(pastTrust)
		plant(t, s.mems[0].Root(), "early", vfs.Regular)
		busy = true
		s.look(t, s.root(t), "none", vfs.NoEnt)
		if busy {
			t.Fatal("the directory was not listed")
		}
		time.Sleep(pastTrust)
		s.look(t, s.root(t), "late", vfs.OK)
	})
}

// TestForeignCopyReplaced lets another process remove one copy of a directory and make it anew, with a name in it. Who
// finds the old copy gone knows no better where copies are than before: what the new one holds shows after trust.
func TestForeignCopyReplaced(t *testing.T) {
	for _, mode := range []Lookups{LookupFull, LookupNames, LookupOff} {
		for _, first := range []string{"look up", "list", "stat"} {
			t.Run(fmt.Sprintf("%v, %s", mode, first), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := memShare(t, 2, nil)
					s.opt.Lookups = mode
					s.open(t)
					for i := range s.mems {
						plant(t, onVolume(t, s.mems[i]), "d", vfs.Directory)
					}
					d := s.path(t, "d")
					s.list(t, d.Node)

					stat := func() {
						if _, err := s.u.GetAttr(t.Context(), who, d.Node); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(pastTrust)
					stat()
					top := onVolume(t, s.mems[1])
					must(t, top.Rmdir(t.Context(), vfs.MustName("d")))
					plant(t, top, "d", vfs.Directory)
					plant(t, onVolume(t, s.mems[1], "d"), "z", vfs.Regular)
					time.Sleep(DefaultTrust - time.Millisecond) // the attributes are believed still
					switch first {
					case "look up":
						s.look(t, d.Node, "y", vfs.NoEnt)
					case "list":
						s.list(t, d.Node)
					case "stat":
						stat()
					}
					time.Sleep(DefaultTrust / 4)
					s.look(t, d.Node, "z", vfs.OK)
					if got := s.list(t, d.Node); !slices.Equal(got, []string{"z"}) {
						t.Errorf("listed %q, want z", got)
					}
				})
			})
		}
	}
}

// TestForeignReplacement wants a new node for a new object, also under the old name and with the
// old inode number.
func TestForeignReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memShare(t, 1, func(_ int, o *volumetest.Options) { o.Reuse = true })
		s.open(t)
		root := s.root(t)
		was := s.mk(t, root, "x", vfs.Regular)
		d := onVolume(t, s.mems[0])
		must(t, d.Unlink(t.Context(), vfs.MustName("x")))
		plant(t, d, "x", vfs.Regular)
		time.Sleep(pastTrust)
		is := s.look(t, root, "x", vfs.OK)
		if is.Node == was.Node {
			t.Errorf("x is another object and has the same node %v", is.Node)
		}
		if _, err := s.u.GetAttr(t.Context(), who, was.Node); vfs.StatusOf(err) != vfs.Stale {
			t.Errorf("GetAttr of the old one: %v, want Stale", err)
		}
	})
}

// TestForeignMove moves a directory behind our back: what lies beneath keeps its handles.
func TestForeignMove(t *testing.T) {
	for _, locate := range []bool{true, false} {
		t.Run(fmt.Sprintf("locate=%v", locate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memShare(t, 2, func(_ int, o *volumetest.Options) { o.Caps = func(c *volume.Caps) { c.Locate = locate } })
				s.opt.OpenDirs = 1 // no open directory leads there
				s.open(t)
				root := s.root(t)
				a := s.mk(t, root, "a", vfs.Directory)
				b := s.mk(t, a.Node, "b", vfs.Directory)
				f := s.mk(t, b.Node, "f", vfs.Regular)
				for i := range s.mems {
					d := onVolume(t, s.mems[i])
					err := d.Rename(t.Context(), vfs.MustName("a"), d, vfs.MustName("elsewhere"), true)
					if s := vfs.StatusOf(err); s != vfs.OK && s != vfs.NoEnt {
						t.Fatal(err)
					}
				}
				time.Sleep(pastTrust)
				if got, err := s.u.GetAttr(t.Context(), who, f.Node); err != nil || got.Node != f.Node {
					t.Errorf("GetAttr of f: %v, %v", got.Node, err)
				}
				s.look(t, root, "a", vfs.NoEnt)
				if got := s.path(t, "elsewhere/b/f"); got.Node != f.Node {
					t.Errorf("f is %v at its new path, was %v", got.Node, f.Node)
				}
			})
		})
	}
}

// TestErrorsAreNotAbsences lets one copy of a directory fail: nothing is told that is not known.
func TestErrorsAreNotAbsences(t *testing.T) {
	var broken atomic.Bool
	s := memShare(t, 2, func(i int, o *volumetest.Options) {
		if i == 1 {
			o.Fault = func(op string, _ int) error {
				if broken.Load() {
					return &vfs.Error{Status: vfs.IO, Op: op, Err: errors.New("injected")}
				}
				return nil
			}
		}
	})
	plant(t, s.mems[0].Root(), "here", vfs.Regular)
	plant(t, s.mems[1].Root(), "there", vfs.Regular)
	s.open(t)
	root := s.root(t)
	s.u.distrust(s.u.root)
	broken.Store(true)
	s.look(t, root, "there", vfs.IO)
	s.look(t, root, "nowhere", vfs.IO)
	if _, _, err := s.u.ReadDir(t.Context(), who, root, 0, false, func(*vfs.DirEntry) bool { return true }); vfs.StatusOf(err) != vfs.IO {
		t.Errorf("ReadDir while a copy fails: %v, want IO", err)
	}
	if _, _, err := s.u.Make(t.Context(), who, root, vfs.MustName("there"), &vfs.How{Type: vfs.Regular}); vfs.StatusOf(err) != vfs.IO {
		t.Errorf("Make of a name that cannot be known to be free: %v, want IO", err)
	}
	broken.Store(false)
	s.look(t, root, "there", vfs.OK)
	s.look(t, root, "nowhere", vfs.NoEnt)
	if got := s.list(t, root); len(got) != 2 {
		t.Errorf("listed %q, want here and there", got)
	}
}

// TestExclusiveDoesNotAge wants no question to a volume that nobody else changes.
func TestExclusiveDoesNotAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memShare(t, 2, nil)
		s.opt.Exclusive = map[volume.ID]bool{s.mems[0].ID(): true, s.mems[1].ID(): true}
		s.open(t)
		root := s.root(t)
		x := s.mk(t, root, "x", vfs.Regular)
		s.list(t, root)
		time.Sleep(time.Hour)
		before := s.mems[0].Counts().Ops + s.mems[1].Counts().Ops
		nowait := &vfs.Who{NoWait: true}
		for range 3 {
			if _, err := s.u.GetAttr(context.Background(), nowait, x.Node); err != nil {
				t.Fatal(err)
			}
			if a, _, err := s.u.Lookup(context.Background(), nowait, root, vfs.MustName("x")); err != nil || a.Node != x.Node {
				t.Fatal(err)
			}
			if _, _, err := s.u.Lookup(context.Background(), nowait, root, vfs.MustName("y")); vfs.StatusOf(err) != vfs.NoEnt {
				t.Fatal(err)
			}
		}
		if after := s.mems[0].Counts().Ops + s.mems[1].Counts().Ops; after != before {
			t.Errorf("%d questions to exclusive volumes", after-before)
		}
	})
}
