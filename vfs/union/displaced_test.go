package union

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/fault"
	"sheaf/vfs/volume/hook"
)

// newOverShare is a share with a on volume 0 and b on volume 1.
func newOverShare(t *testing.T) (s *awayShare, root vfs.Node, a, b vfs.NodeID) {
	t.Helper()
	s = newAwayShare(t, 2)
	s.open(t)
	root = s.root(t)
	s.onVolume(t, 0)
	a = s.mk(t, root, "a", vfs.Regular).Node.ID
	s.onVolume(t, 1)
	b = s.mk(t, root, "b", vfs.Regular).Node.ID
	s.anywhere(t)
	return s, root, a, b
}

// TestRenameCutOff lets one operation after the other of a rename over what lies on another volume fail after it was made, and
// before: nothing shows under a name of its own, whoever is told of an error finds both names, or the new one, and no
// name is told to be free that is not.
func TestRenameCutOff(t *testing.T) {
	for _, after := range []bool{false, true} {
		for v := range 2 {
			for i, spent := 0, false; !spent; i++ {
				s, root, a, b := newOverShare(t)
				before := s.p[v].fault.Injected()
				s.p[v].fault.Set(fault.Rule{Pick: hook.Pick{Ops: []volume.Op{volume.OpRename, volume.OpUnlink, volume.OpSyncDir, volume.OpCreate}, Skip: i, Count: 1}, After: after})
				_, _, err := s.u.Rename(t.Context(), who, root, n("a"), root, n("b"))
				s.p[v].fault.Set()
				spent = s.p[v].fault.Injected() == before
				if st := vfs.StatusOf(err); err != nil && st != vfs.IO && st != vfs.Jukebox {
					t.Errorf("the rename: %v", err)
				}
				var got vfs.Attr
				eventually(t, "b is found", func() (ok bool) {
					var lerr error
					if got, _, lerr = s.u.Lookup(t.Context(), who, root, n("b")); lerr != nil && vfs.StatusOf(lerr) != vfs.Jukebox {
						t.Fatalf("look b up: %v", lerr)
					}
					return lerr == nil
				})
				want := []string{"a", "b"}
				if got.Node.ID == a {
					want = want[1:]
				} else if got.Node.ID != b || err == nil {
					t.Errorf("b is %v after %v", got.Node.ID, err)
				}
				var names []string
				eventually(t, "the names are listed", func() bool {
					var lerr error
					if names, lerr = namesIn(t.Context(), s.u, root); lerr != nil && vfs.StatusOf(lerr) != vfs.Jukebox {
						t.Fatalf("list: %v", lerr)
					}
					return lerr == nil
				})
				if slices.Sort(names); !slices.Equal(names, want) {
					t.Errorf("there are %s, want %s", strings.Join(names, " "), strings.Join(want, " "))
				}
				if t.Failed() {
					t.Fatalf("with operation %d of volume %d failing, after it was made: %v; the rename said %v", i, v, after, err)
				}
				s.close(t)
			}
		}
	}
}

// beforeRename is a directory that has something done before a name in it is changed.
type beforeRename struct {
	volume.Dir
	do func()
}

func (b *beforeRename) Rename(ctx context.Context, name vfs.Name, to volume.Dir, toName vfs.Name, noReplace bool) error {
	b.do()
	return b.Dir.Rename(ctx, name, to.(*beforeRename).Dir, toName, noReplace)
}

// TestRecordOutlivesReturn lets a volume be taken in again while a rename writes its record there.
func TestRecordOutlivesReturn(t *testing.T) {
	s, root, a, _ := newOverShare(t)
	v := s.u.members().vols[1]
	swept := false
	d, err := v.privateDir(t.Context(), displacedName, true)
	must(t, err)
	defer func() { must(t, d.Close()) }()
	sweep := func() { swept = true; must(t, v.sweepPrivate(t.Context(), displacedName)) }
	must(t, v.writeIn(t.Context(), &beforeRename{d, sweep}, n("r.json"), []byte("{}")))
	if there, err := v.hasPrivate(t.Context(), displacedName, n("r.json")); err != nil || !there || !swept {
		t.Fatalf("the record is there: %v, %v", there, err)
	}
	must(t, v.removePrivate(t.Context(), displacedName, n("r.json")))
	_, _, err = s.u.Rename(t.Context(), who, root, n("a"), root, n("b"))
	must(t, err)
	if got := s.look(t, root, "b", vfs.OK); got.Node.ID != a {
		t.Errorf("b is %v", got.Node.ID)
	}
}

// TestReplacedStaysGone lets the volume of what a rename has replaced go before that can be deleted, and what has
// replaced it leave the name: it does not come back with its volume.
func TestReplacedStaysGone(t *testing.T) {
	s, root, a, _ := newOverShare(t)
	s.p[1].fault.Set(fault.Rule{Pick: hook.Pick{Ops: []volume.Op{volume.OpUnlink}}}) // of what was set aside
	_, _, err := s.u.Rename(t.Context(), who, root, n("a"), root, n("b"))
	must(t, err)
	s.pull(t, 1)
	s.p[1].fault.Set()
	_, _, err = s.u.Rename(t.Context(), who, root, n("b"), root, n("c"))
	must(t, err)
	s.put(t, 1)
	eventually(t, "the record is finished", func() bool {
		there := 0
		err := s.u.members().vols[1].eachPrivate(t.Context(), displacedName, func(vfs.Name, []byte) { there++ })
		return err == nil && there == 0 && s.u.pending.n.Load() == 0 // an error: one went while it was read
	})
	if names := s.list(t, root); !slices.Equal(names, []string{"c"}) {
		t.Errorf("there are %s, want c", strings.Join(names, " "))
	}
	if got := s.look(t, root, "c", vfs.OK); got.Node.ID != a {
		t.Errorf("c is %v", got.Node.ID)
	}
	if len(s.u.pending.decided) != 0 {
		t.Errorf("%d are remembered", len(s.u.pending.decided))
	}
}

// TestRenameOnBusyVolume lets volumes refuse operations of a rename because they have too many, though they are there: what it leaves
// is seen to without their going and coming.
func TestRenameOnBusyVolume(t *testing.T) {
	for _, c := range []struct {
		name  string
		op    volume.Op
		first int32 // operation that is refused; the next one is, too
		want  []string
	}{
		{"what was replaced cannot be deleted", volume.OpUnlink, 1, []string{"b"}},
		{"what was set aside cannot be put back", volume.OpRename, 3, []string{"a", "b"}}, // after its record, and it
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newAwayShare(t, 2)
			var on atomic.Bool
			var n atomic.Int32
			s.wrapped = func(v volume.Volume) volume.Volume {
				return hook.New(v, func(_ context.Context, op volume.Op, next func() error) error {
					if on.Load() && op == c.op {
						if i := n.Add(1); i == c.first || i == c.first+1 {
							state := volume.State{Health: volume.Slow, Reason: "it has too many calls", Since: time.Now(), Attached: 1}
							return &volume.AwayError{Op: op.String(), Volume: v.Name(), State: state, Status: vfs.Jukebox}
						}
					}
					return next()
				})
			}
			s.open(t)
			root := s.root(t)
			s.onVolume(t, 0)
			s.mk(t, root, "a", vfs.Regular)
			s.onVolume(t, 1)
			s.mk(t, root, "b", vfs.Regular)
			s.anywhere(t)
			on.Store(true)
			_, _, err := s.u.Rename(t.Context(), who, root, vfs.MustName("a"), root, vfs.MustName("b"))
			if st := vfs.StatusOf(err); err != nil && st != vfs.IO && st != vfs.Jukebox {
				t.Errorf("the rename: %v", err)
			}
			if n.Load() < c.first {
				t.Fatalf("there were %d operations", n.Load())
			}
			eventually(t, "the record is finished", func() bool {
				there := 0
				err := s.u.members().vols[1].eachPrivate(t.Context(), displacedName, func(vfs.Name, []byte) { there++ })
				return err == nil && there == 0 && s.u.pending.n.Load() == 0
			})
			names := s.list(t, root)
			if slices.Sort(names); !slices.Equal(names, c.want) {
				t.Errorf("there are %s, want %s", strings.Join(names, " "), strings.Join(c.want, " "))
			}
		})
	}
}
