package union

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// onto is a policy that says which volume, by its name, takes the next object.
type onto struct{ name atomic.Value }

func (o *onto) Choose(volumes []placement.Volume, _ *placement.Hints, _ rand.Source) (placement.Choice, error) {
	for i := range volumes {
		if volumes[i].Name == o.name.Load() {
			return placement.Choice{Index: i, Rival: -1}, nil
		}
	}
	return placement.Choice{Index: 0, Rival: -1}, nil
}

func (o *onto) to(v int) { o.name.Store(fmt.Sprintf("v%d", v)) }

// died is what every operation fails with once the server is dead.
var died = &vfs.Error{Status: vfs.IO, Op: "anything", Err: errors.New("the server is dead")}

// mortal is a share whose server can be made to die at a given operation on its volumes.
type mortal struct {
	*shareT
	place *onto
	left  atomic.Int64 // operations until death; below 0: it lives
}

func newMortal(t testing.TB, volumes int) *mortal {
	t.Helper()
	m := &mortal{place: &onto{}}
	m.left.Store(-1)
	m.shareT = memShare(t, volumes, func(_ int, o *volumetest.Options) {
		o.Fault = m.fault
	})
	m.opt.Policy = m.place
	m.open(t)
	return m
}

// fault counts down to death.
func (m *mortal) fault(string, int) error {
	for {
		n := m.left.Load()
		if n < 0 {
			return nil
		}
		if n == 0 {
			return died
		}
		if m.left.CompareAndSwap(n, n-1) {
			return nil
		}
	}
}

// revive starts the server again on the volumes as it left them.
func (m *mortal) revive(t testing.TB) {
	t.Helper()
	m.u.abandon() // before the volumes answer again
	m.left.Store(-1)
	m.u = nil
	for i := range m.mems {
		m.mems[i] = m.mems[i].Reopen()
		m.vols[i] = m.mems[i]
	}
	m.open(t)
}

// untilItWorks lets the server die at every operation of step, one after the other, each time
// in a share that setup made anew; check sees what the next server finds.
func untilItWorks(t testing.TB, volumes int, setup, step func(m *mortal) error, check func(m *mortal, worked bool)) {
	t.Helper()
	for n := int64(0); ; n++ {
		m := newMortal(t, volumes)
		must(t, setup(m))
		m.left.Store(n)
		err := step(m)
		spent := m.left.Load() == 0
		if err == nil && !spent {
			check(m, true)
			m.revive(t)
			check(m, true)
			return
		}
		if n > 2000 {
			t.Fatalf("still fails at operation %d: %v", n, err)
		}
		m.revive(t)
		m.wantNoFault(t, "after the crash")
		check(m, err == nil)
		m.close(t)
		for i := range m.mems {
			left(t, m.mems[i], err == nil)
		}
	}
}

// left wants nothing of ours that recovery should have taken away.
func left(t testing.TB, v volume.Volume, _ bool) {
	t.Helper()
	for _, name := range []vfs.Name{displacedName, intentsName} {
		d, err := v.Private().OpenDir(t.Context(), name)
		if vfs.StatusOf(err) == vfs.NoEnt {
			continue
		}
		must(t, err)
		must(t, d.List(t.Context(), func(e volume.Entry) bool {
			t.Errorf("%s of volume %s still holds %s", name, v.Name(), e.Name)
			return true
		}))
		must(t, d.Close())
	}
}

func (m *mortal) mkAt(t testing.TB, v int, dir vfs.Node, name string, typ vfs.Type) vfs.Attr {
	t.Helper()
	m.place.to(v)
	return m.mk(t, dir, name, typ)
}

func (m *mortal) rename(t testing.TB, from vfs.Node, fromName string, to vfs.Node, toName string) error {
	t.Helper()
	_, _, err := m.u.Rename(t.Context(), who, from, vfs.MustName(fromName), to, vfs.MustName(toName))
	return err
}

// TestRenameOverAnotherVolumeCrash kills the server at every step of a rename onto an object
// that lies elsewhere: afterwards the name has the old or the new object, never none, and
// neither is lost before its time.
func TestRenameOverAnotherVolumeCrash(t *testing.T) {
	var from, to, src, dst vfs.Attr
	setup := func(m *mortal) error {
		root := m.root(t)
		from, to = m.mkAt(t, 0, root, "from", vfs.Directory), m.mkAt(t, 1, root, "to", vfs.Directory)
		src, dst = m.mkAt(t, 0, from.Node, "s", vfs.Regular), m.mkAt(t, 1, to.Node, "t", vfs.Regular)
		return nil
	}
	step := func(m *mortal) error { return m.rename(t, from.Node, "s", to.Node, "t") }
	untilItWorks(t, 2, setup, step, func(m *mortal, worked bool) {
		t.Helper()
		now := m.look(t, to.Node, "t", vfs.OK)
		switch now.Node.ID {
		case src.Node.ID:
			m.look(t, from.Node, "s", vfs.NoEnt)
			if _, err := m.u.GetAttr(t.Context(), who, dst.Node); vfs.StatusOf(err) != vfs.Stale {
				t.Errorf("GetAttr of what was replaced: %v, want Stale", err)
			}
		case dst.Node.ID:
			if a := m.look(t, from.Node, "s", vfs.OK); a.Node.ID != src.Node.ID || worked {
				t.Errorf("rename said %v; s is %v, t still what it was", worked, a.Node.ID)
			}
		default:
			t.Errorf("t is %v, neither the old nor the new", now.Node.ID)
		}
		if got := m.list(t, to.Node); !slices.Equal(got, []string{"t"}) {
			t.Errorf("to holds %q", got)
		}
	})
}

// TestRenameDirectoryCrash kills the server at every step of a rename of a directory with
// copies: it has one name afterwards, its own node, and all that it held.
func TestRenameDirectoryCrash(t *testing.T) {
	for _, over := range []bool{false, true} {
		t.Run(fmt.Sprintf("over=%v", over), func(t *testing.T) {
			var from, to, d vfs.Attr
			setup := func(m *mortal) error {
				root := m.root(t)
				from, to = m.mkAt(t, 0, root, "from", vfs.Directory), m.mkAt(t, 1, root, "to", vfs.Directory)
				d = m.mkAt(t, 1, from.Node, "d", vfs.Directory)
				for v := range 2 {
					m.mkAt(t, v, d.Node, fmt.Sprintf("f%d", v), vfs.Regular)
				}
				if over {
					x := m.mkAt(t, 2, to.Node, "d", vfs.Directory)
					for v := range 2 { // give it copies
						m.mkAt(t, v, x.Node, "x", vfs.Regular)
						_, err := m.u.Remove(t.Context(), who, x.Node, vfs.MustName("x"))
						must(t, err)
					}
				}
				return nil
			}
			step := func(m *mortal) error { return m.rename(t, from.Node, "d", to.Node, "d") }
			untilItWorks(t, 3, setup, step, func(m *mortal, worked bool) {
				t.Helper()
				inFrom, inTo := m.list(t, from.Node), m.list(t, to.Node)
				where := to.Node
				if len(inFrom) == 1 && !worked {
					where = from.Node
				} else if len(inFrom) != 0 || len(inTo) != 1 {
					t.Errorf("rename said %v; from holds %q, to %q", worked, inFrom, inTo)
				}
				if a := m.look(t, where, "d", vfs.OK); a.Node.ID != d.Node.ID {
					t.Errorf("d is %v, was %v", a.Node.ID, d.Node.ID)
				}
				got := m.list(t, d.Node)
				slices.Sort(got)
				if !slices.Equal(got, []string{"f0", "f1"}) {
					t.Errorf("d holds %q", got)
				}
			})
		})
	}
}

// TestMakeOnAnotherVolumeCrash kills the server while copies of directories are made on
// demand: the directories keep their nodes and times.
func TestMakeOnAnotherVolumeCrash(t *testing.T) {
	var a, b vfs.Attr
	setup := func(m *mortal) error {
		a = m.mkAt(t, 1, m.root(t), "a", vfs.Directory)
		b = m.mkAt(t, 1, a.Node, "b", vfs.Directory)
		a = m.path(t, "a")
		return nil
	}
	step := func(m *mortal) error {
		m.place.to(0)
		_, _, err := m.u.Make(t.Context(), who, b.Node, vfs.MustName("f"), &vfs.How{Type: vfs.Regular})
		return err
	}
	untilItWorks(t, 2, setup, step, func(m *mortal, worked bool) {
		t.Helper()
		got := m.path(t, "a")
		if got.Node.ID != a.Node.ID || m.path(t, "a/b").Node.ID != b.Node.ID {
			t.Errorf("a and b are %v and %v, were %v and %v", got.Node.ID, m.path(t, "a/b").Node.ID, a.Node.ID, b.Node.ID)
		}
		if worked && (got.Ctime != a.Ctime || got.Mtime != a.Mtime) {
			t.Errorf("a has times %v, %v; had %v, %v", got.Ctime, got.Mtime, a.Ctime, a.Mtime)
		}
		if list := m.list(t, b.Node); len(list) > 1 || worked && len(list) != 1 {
			t.Errorf("make said %v; b holds %q", worked, list)
		}
	})
}

// TestRemoveDirectoryCrash kills the server at every step of the removal of a directory with copies.
func TestRemoveDirectoryCrash(t *testing.T) {
	var d vfs.Attr
	setup := func(m *mortal) error {
		d = m.mkAt(t, 1, m.root(t), "d", vfs.Directory)
		for v := range 3 {
			m.mkAt(t, v, d.Node, "x", vfs.Regular)
			_, err := m.u.Remove(t.Context(), who, d.Node, vfs.MustName("x"))
			must(t, err)
		}
		return nil
	}
	step := func(m *mortal) error {
		_, err := m.u.RemoveDir(t.Context(), who, m.root(t), vfs.MustName("d"))
		return err
	}
	untilItWorks(t, 3, setup, step, func(m *mortal, worked bool) {
		t.Helper()
		a, _, err := m.u.Lookup(t.Context(), who, m.root(t), vfs.MustName("d"))
		switch {
		case err == nil && (worked || a.Node.ID != d.Node.ID):
			t.Errorf("removal said %v; d is %v, was %v", worked, a.Node.ID, d.Node.ID)
		case err == nil:
			m.mkAt(t, 0, d.Node, "usable", vfs.Regular)
		case vfs.StatusOf(err) != vfs.NoEnt:
			t.Error(err)
		}
	})
}

// TestBothNamesOfADisplacedObject: a power cut between the flushes of two directories may leave an object that was
// being set aside under both its names (btrfs does, by its log): it has but its own again.
func TestBothNamesOfADisplacedObject(t *testing.T) {
	s := memShare(t, 1, nil)
	s.open(t)
	root := s.root(t)
	old := s.mk(t, root, "n", vfs.Regular)
	ctx, v, id, n := t.Context(), s.u.vol(0), vfs.MustName("0000000000000001"), vfs.MustName("n")
	b, err := json.Marshal(displacedFile{
		Dir: recordOf(root), Name: []byte("n"), Phys: []byte("n"), Successor: nodeRecord{ID: vfs.NodeID{1}.String()},
	})
	must(t, err)
	must(t, v.writePrivate(ctx, displacedName, jsonName(id), b))
	d, err := v.privateDir(ctx, displacedName, true)
	must(t, err)
	st, err := v.v.Root().StatAt(ctx, n)
	must(t, err)
	must(t, d.Link(ctx, v.v.Root(), n, st.Key, id))
	must(t, d.Close())
	s.restart(t)
	if got := s.list(t, root); !slices.Equal(got, []string{"n"}) {
		t.Errorf("the share has %q", got)
	}
	if a := s.look(t, root, "n", vfs.OK); a.Node.ID != old.Node.ID || a.Nlink != 1 {
		t.Errorf("%+v, was %+v", a, old)
	}
	s.wantClean(t)
}
