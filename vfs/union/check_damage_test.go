package union

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// damaged is the share that damages are done to: two volumes with an index, and on them
//
//	d    on both, home on the first, with f on the first and g on the second
//	e    on the first
type damaged struct {
	*mortal
	d, f, g, e vfs.Attr
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	m := newMortal(t, 2)
	m.close(t)
	m.newIndex(t)
	m.reopenMems()
	m.open(t)
	x := &damaged{mortal: m}
	x.d, x.f, x.g = wide(t, m, "d")
	x.e = m.mkAt(t, 0, m.root(t), "e", vfs.Directory)
	x.wantClean(t)
	return x
}

func (s *shareT) reopenMems() {
	for i := range s.mems {
		s.mems[i] = s.mems[i].Reopen()
		s.vols[i] = s.mems[i]
	}
}

// private writes a file of ours, as a server does.
func (x *damaged) private(t *testing.T, v int, dir, name string, content any) {
	t.Helper()
	b, ok := content.([]byte)
	if !ok {
		var err error
		b, err = json.Marshal(content)
		must(t, err)
	}
	must(t, x.u.vol(v).writePrivate(t.Context(), vfs.MustName(dir), vfs.MustName(name), b))
}

// setAttr changes a directory on one volume behind our back.
func (x *damaged) setAttr(t *testing.T, v int, set vfs.SetAttr) {
	t.Helper()
	inside(t, x.mems[v], "d", func(d volume.Dir) error { return d.SetAttr(t.Context(), &set) })
}

// remark writes the mark of d's copy on a volume anew, changed by f.
func (x *damaged) remark(t *testing.T, v int, f func(m *mark)) {
	t.Helper()
	inside(t, x.mems[v], "d", func(d volume.Dir) error {
		_, id, err := d.Identify(t.Context())
		must(t, err)
		b, err := d.Mark(t.Context())
		must(t, err)
		m, ok := decodeMark(x.u.markKey, b, x.mems[v].ID(), &id)
		if !ok {
			t.Fatal("there is no mark")
		}
		f(&m)
		return d.SetMark(t.Context(), m.encode(x.u.markKey, x.mems[v].ID(), &id))
	})
}

// markOf puts a mark of the node vn beside a file of volume 0, as if it were its own.
func (x *damaged) markOf(t *testing.T, name string, vn vfs.Node) {
	t.Helper()
	r := x.mems[0].Root()
	st, id, err := r.IdentifyAt(t.Context(), vfs.MustName(name))
	must(t, err)
	m := mark{home: true, node: vn, epoch: 1, attrEpoch: 1}
	must(t, r.SetMarkAt(t.Context(), vfs.MustName(name), st.Key, m.encode(x.u.markKey, x.mems[0].ID(), &id)))
}

// raw puts bytes beside an object of volume 0.
func (x *damaged) raw(t *testing.T, name string, b []byte) {
	t.Helper()
	r := x.mems[0].Root()
	st, err := r.StatAt(t.Context(), vfs.MustName(name))
	must(t, err)
	must(t, r.SetMarkAt(t.Context(), vfs.MustName(name), st.Key, b))
}

// setAside does what a rename does before it decides, and dies: f of d lies aside.
func (x *damaged) setAside(t *testing.T, successor vfs.Node, record bool) {
	t.Helper()
	ctx := t.Context()
	if record {
		x.private(t, 0, "displaced", "0123.json", displacedFile{Dir: recordOf(x.d.Node), Name: []byte("f"), Phys: []byte("f"), Successor: recordOf(successor)})
	}
	p, err := x.u.vol(0).privateDir(ctx, displacedName, true)
	must(t, err)
	inside(t, x.mems[0], "d", func(d volume.Dir) error { return d.Rename(ctx, vfs.MustName("f"), p, vfs.MustName("0123"), true) })
	must(t, p.Close())
}

// damage is one kind of it: what is done, what Check finds, and what it leaves when it has repaired.
type damage struct {
	name  string
	do    func(t *testing.T, x *damaged)
	found []FindingKind
	stays []FindingKind
	after func(t *testing.T, x *damaged) // the repair
}

func damages() []damage {
	return slices.Concat(markDamages(), copyDamages(), conflictDamages(), privateDamages(), rowDamages())
}

func markDamages() []damage {
	return []damage{
		{name: "a mark copied to a file", found: []FindingKind{FindCopiedMark}, do: func(t *testing.T, x *damaged) {
			plant(t, x.mems[0].Root(), "copy", vfs.Regular)
			x.raw(t, "copy", bytesOf(t, x.mems[0], "d"))
		}},
		{name: "a mark copied to a directory", found: []FindingKind{FindCopiedMark}, do: func(t *testing.T, x *damaged) {
			plantCopy(t, x.mems[1], bytesOf(t, x.mems[0], "d"), "copy")
		}},
		{
			name: "marks of another share", found: []FindingKind{FindForeignMark, FindForeignMark}, stays: []FindingKind{FindForeignMark, FindForeignMark},
			do: func(t *testing.T, x *damaged) {
				plant(t, x.mems[0].Root(), "copy", vfs.Regular)
				b := bytesOf(t, x.mems[0], "d")
				b[len(b)-1]++
				x.raw(t, "copy", b)
				x.raw(t, "e", []byte("not a mark"))
			},
		},
		{name: "a copy that was moved away", found: []FindingKind{FindRow, FindTwins}, do: func(t *testing.T, x *damaged) {
			r := x.mems[1].Root()
			must(t, r.Rename(t.Context(), vfs.MustName("d"), r, vfs.MustName("moved"), true))
		}},
		{name: "two files with one id", found: []FindingKind{FindTwins}, stays: []FindingKind{FindTwins}, do: func(t *testing.T, x *damaged) {
			for _, n := range []string{"one", "two"} {
				plant(t, x.mems[0].Root(), n, vfs.Regular)
				x.markOf(t, n, vfs.Node{ID: vfs.NodeID{1, 2, 3}})
			}
		}},
	}
}

func copyDamages() []damage {
	attrs := func(x *damaged, t *testing.T) {
		t.Helper()
		for _, m := range x.mems {
			inside(t, m, "d", func(d volume.Dir) error {
				st, err := d.Stat(t.Context())
				if st.Mode != 0o755 || st.UID != 0 {
					t.Errorf("mode %o, owner %d on %s", st.Mode, st.UID, m.Name())
				}
				return err
			})
		}
	}
	return []damage{
		{name: "directories that were never looked at", found: []FindingKind{FindUnmarked}, do: func(t *testing.T, x *damaged) {
			plant(t, x.mems[0].Root(), "new", vfs.Directory)
			plant(t, x.mems[1].Root(), "new", vfs.Directory)
		}},
		{name: "a mark lost", found: []FindingKind{FindUnmarked}, do: func(t *testing.T, x *damaged) {
			inside(t, x.mems[1], "d", func(d volume.Dir) error { return d.SetMark(t.Context(), nil) })
		}},
		{name: "no home", found: []FindingKind{FindHome}, do: func(t *testing.T, x *damaged) { x.remark(t, 0, func(m *mark) { m.home = false }) }},
		{name: "two homes", found: []FindingKind{FindHome}, do: func(t *testing.T, x *damaged) { x.remark(t, 1, func(m *mark) { m.home = true }) }},
		{name: "an older epoch", found: []FindingKind{FindEpoch}, after: func(t *testing.T, x *damaged) { attrs(x, t) }, do: func(t *testing.T, x *damaged) {
			x.remark(t, 0, func(m *mark) { m.attrEpoch = 2 })
			x.setAttr(t, 1, vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700})
		}},
		{name: "another mode", found: []FindingKind{FindAttributes}, after: func(t *testing.T, x *damaged) { attrs(x, t) }, do: func(t *testing.T, x *damaged) {
			x.setAttr(t, 1, vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o711})
		}},
		{name: "another owner", found: []FindingKind{FindAttributes}, after: func(t *testing.T, x *damaged) { attrs(x, t) }, do: func(t *testing.T, x *damaged) {
			x.setAttr(t, 1, vfs.SetAttr{Mask: vfs.SetUID, UID: 7})
		}},
		{name: "another list", found: []FindingKind{FindAttributes}, do: func(t *testing.T, x *damaged) {
			list := vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 7}, {Tag: vfs.ACLGroupObj, Perm: 5}, {Tag: vfs.ACLOther, Perm: 5}}
			inside(t, x.mems[1], "d", func(d volume.Dir) error { return d.SetACLs(t.Context(), vfs.ACLs{Default: list}) })
		}},
	}
}

func conflictDamages() []damage {
	clash := func(t *testing.T, x *damaged) {
		t.Helper()
		for _, m := range x.mems {
			plant(t, m.Root(), "x", vfs.Regular)
		}
	}
	seen := func(t *testing.T, x *damaged) {
		t.Helper()
		clash(t, x)
		x.u.distrust(x.u.root)
		x.look(t, x.root(t), "x.conflict-v1", vfs.OK)
		x.wantClean(t)
	}
	pin := func(x *damaged) vfs.Name { return pinKey{x.u.root.id, vfs.MustName("x")}.fileName() }
	return []damage{
		{name: "a conflict that was never looked at", found: []FindingKind{FindUnpinned, FindUnpinned}, do: clash},
		{name: "a pin lost", found: []FindingKind{FindUnpinned}, do: func(t *testing.T, x *damaged) {
			seen(t, x)
			must(t, x.u.vol(1).removePrivate(t.Context(), conflictsName, pin(x)))
		}},
		{name: "a pin that says another", found: []FindingKind{FindUnpinned}, do: func(t *testing.T, x *damaged) {
			seen(t, x)
			must(t, x.u.pins.write(t.Context(), x.u.vol(1), pinKey{x.u.root.id, vfs.MustName("x")}, x.mems[1].ID()))
		}},
		{name: "pins of a conflict that is over", found: []FindingKind{FindPin, FindPin}, do: func(t *testing.T, x *damaged) {
			seen(t, x)
			must(t, x.mems[0].Root().Unlink(t.Context(), vfs.MustName("x")))
		}},
		{name: "a pin in a directory that is gone", found: []FindingKind{FindPin}, do: func(t *testing.T, x *damaged) {
			must(t, x.u.pins.write(t.Context(), x.u.vol(0), pinKey{vfs.NodeID{9}, vfs.MustName("x")}, x.mems[1].ID()))
		}},
		{name: "pins that cannot be read", found: []FindingKind{FindBadRecord, FindBadRecord}, stays: []FindingKind{FindBadRecord, FindBadRecord}, do: func(t *testing.T, x *damaged) {
			x.private(t, 0, "conflicts", "torn.json", []byte("{"))
			x.private(t, 1, "conflicts", "other.json", pinFile{Dir: x.d.Node.ID.String(), Name: []byte("x"), Holder: x.mems[0].ID().String()})
		}},
	}
}

func privateDamages() []damage {
	is := func(name string, want vfs.Attr) func(t *testing.T, x *damaged) {
		return func(t *testing.T, x *damaged) {
			t.Helper()
			if got := x.look(t, x.d.Node, name, vfs.OK); got.Type != want.Type {
				t.Errorf("%s is %+v", name, got)
			}
		}
	}
	return []damage{
		{name: "an object set aside", found: []FindingKind{FindDisplaced, FindRow}, after: is("f", vfs.Attr{Type: vfs.Regular}), do: func(t *testing.T, x *damaged) {
			x.setAside(t, x.e.Node, true)
			x.u.distrust(x.u.table.get(x.d.Node.ID))
		}},
		{name: "an object whose successor came", found: []FindingKind{FindDisplaced, FindRow, FindRow}, do: func(t *testing.T, x *damaged) {
			x.setAside(t, x.g.Node, true)
			inside(t, x.mems[1], "d", func(d volume.Dir) error {
				return d.Rename(t.Context(), vfs.MustName("g"), d, vfs.MustName("f"), true)
			})
			x.u.distrust(x.u.table.get(x.d.Node.ID))
		}, after: func(t *testing.T, x *damaged) {
			if got := x.look(t, x.d.Node, "f", vfs.OK); got.Node.ID != x.g.Node.ID {
				t.Errorf("f is %v, its successor %v", got.Node, x.g.Node)
			}
		}},
		{name: "an object without a record", found: []FindingKind{FindDisplaced, FindRow}, stays: []FindingKind{FindDisplaced}, do: func(t *testing.T, x *damaged) { x.setAside(t, x.e.Node, false) }},
		{name: "a record without its object", found: []FindingKind{FindRecord}, do: func(t *testing.T, x *damaged) {
			x.private(t, 0, "displaced", "0123.json", displacedFile{Dir: recordOf(x.d.Node), Name: []byte("f"), Phys: []byte("f"), Successor: recordOf(x.e.Node)})
		}},
		{name: "records that cannot be read", found: []FindingKind{FindBadRecord, FindBadRecord}, stays: []FindingKind{FindBadRecord, FindBadRecord}, do: func(t *testing.T, x *damaged) {
			x.private(t, 0, "displaced", "0123.json", []byte("nothing"))
			x.private(t, 1, "intents", "0123.json", []byte("{}"))
		}},
		{name: "a rename that not all copies followed", found: []FindingKind{FindIntent, FindRow, FindTwins}, do: func(t *testing.T, x *damaged) {
			root := recordOf(x.u.root.node())
			x.private(t, 0, "intents", "0123.json", intentFile{
				Node: recordOf(x.d.Node), From: root, FromName: []byte("d"), To: root, ToName: []byte("moved"),
				Volumes: []string{x.mems[0].ID().String(), x.mems[1].ID().String()},
			})
			r := x.mems[0].Root()
			must(t, r.Rename(t.Context(), vfs.MustName("d"), r, vfs.MustName("moved"), true))
			x.u.distrust(x.u.root)
		}, after: func(t *testing.T, x *damaged) {
			if got := x.path(t, "moved"); got.Node.ID != x.d.Node.ID || len(x.list(t, got.Node)) != 2 {
				t.Errorf("the directory is %v, was %v", got.Node, x.d.Node)
			}
		}},
		{name: "a mark beside nothing", found: []FindingKind{FindSidecar}, do: func(t *testing.T, x *damaged) {
			sidecar(t, x, volume.Identity{Key: volume.Key{Ino: 1 << 40, Birth: 5}, Gen: 6})
			_, id, err := x.mems[0].Root().IdentifyAt(t.Context(), vfs.MustName("e"))
			must(t, err)
			sidecar(t, x, id) // that of a directory that is there
		}},
		{name: "temporaries", found: []FindingKind{FindTemporary, FindTemporary}, do: func(t *testing.T, x *damaged) {
			x.private(t, 0, "conflicts", "some.json.0123.tmp", []byte("{"))
			plant(t, x.mems[0].Private(), "volume.json.tmp-0123", vfs.Regular)
		}},
		{name: "what is none of ours", found: []FindingKind{FindUnknown}, stays: []FindingKind{FindUnknown}, do: func(t *testing.T, x *damaged) {
			plant(t, x.mems[0].Private(), "notes.txt", vfs.Regular)
		}},
		{name: "links from where nobody looks", found: []FindingKind{FindLinks}, stays: []FindingKind{FindLinks}, do: func(t *testing.T, x *damaged) {
			plant(t, x.mems[0].Root(), "lost+found", vfs.Directory)
			inside(t, x.mems[0], "lost+found", func(l volume.Dir) error {
				var err error
				inside(t, x.mems[0], "d", func(d volume.Dir) error {
					st, serr := d.StatAt(t.Context(), vfs.MustName("f"))
					err = errors.Join(serr, l.Link(t.Context(), d, vfs.MustName("f"), st.Key, vfs.MustName("f")))
					return nil
				})
				return err
			})
		}},
	}
}

// sidecar writes a mark beside the object id of volume 0 as a volume does that cannot keep it otherwise.
func sidecar(t *testing.T, x *damaged, id volume.Identity) {
	t.Helper()
	bucket, name := volume.SidecarName(id)
	p := x.mems[0].Private()
	for _, dir := range []string{volume.SidecarDir, bucket} {
		d, err := p.OpenDir(t.Context(), vfs.MustName(dir))
		if vfs.StatusOf(err) == vfs.NoEnt {
			plant(t, p, dir, vfs.Directory)
			d, err = p.OpenDir(t.Context(), vfs.MustName(dir))
		}
		must(t, err)
		if p != x.mems[0].Private() {
			must(t, p.Close())
		}
		p = d
	}
	plant(t, p, name, vfs.Regular)
	must(t, p.Close())
}

func rowDamages() []damage {
	put := func(f func(row *meta.Node)) func(t *testing.T, x *damaged) {
		return func(t *testing.T, x *damaged) {
			t.Helper()
			must(t, x.store.Flush(t.Context()))
			row, ok, err := x.store.Node(x.f.Node.ID)
			must(t, err)
			if !ok {
				t.Fatal("f has no row")
			}
			f(&row)
			must(t, x.store.PutNode(t.Context(), &row))
		}
	}
	return []damage{
		{name: "a row with another identity", found: []FindingKind{FindRow}, do: put(func(r *meta.Node) { r.Copies[0].Identity.Gen++ })},
		{name: "a row with another name", found: []FindingKind{FindRow}, do: put(func(r *meta.Node) { r.Places[0].Name = vfs.MustName("other") })},
		{name: "a row with another volume", found: []FindingKind{FindRow}, do: put(func(r *meta.Node) { r.Copies[0].Volume = meta.VolumeID{1} })},
		{name: "a proof of other names", found: []FindingKind{FindListing}, do: func(t *testing.T, x *damaged) {
			x.forgetAll()
			x.list(t, x.d.Node)
			x.writeNow()
			copies, err := x.store.Copies(x.d.Node.ID)
			must(t, err)
			entries, _, err := x.store.Entries(x.d.Node.ID, 0, 10)
			must(t, err)
			if len(copies) != 2 || !copies[0].Proof || !copies[1].Proof || len(entries) != 2 {
				t.Fatalf("copies %+v, entries %+v", copies, entries)
			}
			for _, e := range entries {
				if e.Name.String() == "g" {
					must(t, x.store.ChangeDir(t.Context(), x.d.Node.ID, x.store.Era(), &meta.DirChange{Drop: []vfs.Cookie{e.Cookie}}))
				}
			}
		}, after: func(t *testing.T, x *damaged) {
			x.restart(t)
			if got := x.list(t, x.d.Node); len(got) != 2 {
				t.Errorf("d holds %q", got)
			}
		}},
		{name: "a row that breaks the index", found: []FindingKind{FindIndex}, stays: []FindingKind{FindIndex}, do: func(t *testing.T, x *damaged) {
			must(t, x.store.PutCollision(t.Context(), x.d.Node.ID, meta.Collision{Name: vfs.MustName("a"), Cookie: 77}))
			must(t, x.store.PutCollision(t.Context(), x.d.Node.ID, meta.Collision{Name: vfs.MustName("b"), Cookie: 77}))
		}},
	}
}

// TestCheckFinds does each kind of damage: Check finds just that, twice the same; repairs what it says; and finds no more then
// what it said that it would not. What users have stays.
func TestCheckFinds(t *testing.T) {
	for _, d := range damages() {
		t.Run(strings.ReplaceAll(d.name, " ", "_"), func(t *testing.T) {
			x := newDamaged(t)
			d.do(t, x)
			x.wantFound(t, false, d.found...)
			x.wantFound(t, false, d.found...)
			for _, f := range x.checked(t, true) {
				if (f.Repair != "") != f.Repaired || f.Err != nil {
					t.Errorf("said %q and did: %v, %v", f.Repair, f.Repaired, f.Err)
				}
			}
			x.wantFound(t, false, d.stays...)
			if d.after != nil {
				d.after(t, x)
			}
			for _, want := range []vfs.Attr{x.d, x.g, x.e} {
				if got, err := x.u.GetAttr(t.Context(), who, want.Node); err != nil || got.Node.ID != want.Node.ID {
					t.Errorf("GetAttr of %v: %v, %v", want.Node, got.Node, err)
				}
			}
		})
	}
}

// TestCheckUnreadable: what cannot be looked at is a fault, and keeps nothing else from being found; nothing is said of what
// may lie there.
func TestCheckUnreadable(t *testing.T) {
	var broken atomic.Bool
	s := memShare(t, 2, func(i int, o *volumetest.Options) {
		o.Fault = func(op string, _ int) error {
			if i == 1 && op == "list" && broken.Load() {
				return errDisk
			}
			return nil
		}
	})
	s.open(t)
	plant(t, s.mems[0].Private(), "notes.txt", vfs.Regular)
	broken.Store(true)
	kinds := map[FindingKind]int{}
	for _, f := range s.checked(t, false) {
		kinds[f.Kind]++
		if f.Kind == FindUnreadable && (f.Volume != "v1" || f.Note || f.Err == nil) {
			t.Errorf("%+v", f)
		}
	}
	if kinds[FindUnreadable] == 0 || kinds[FindUnknown] != 1 {
		t.Errorf("found %v", kinds)
	}
}

// TestCheckWithAVolumeAway: what lies on a volume that is away is not looked at, and that is said; nothing that it could
// explain is a fault, and it is clean when the volume is back.
func TestCheckWithAVolumeAway(t *testing.T) {
	s, _, _ := clash(t)
	d := s.mk(t, s.root(t), "d", vfs.Directory)
	for i := range 12 { // on all volumes, in turn
		s.mk(t, d.Node, fmt.Sprint(i), vfs.Regular)
	}
	s.pull(t, 0)
	sum, err := s.u.Check(t.Context(), CheckOptions{Repair: true, Report: func(f Finding) { t.Errorf("%+v", f) }})
	must(t, err)
	if len(sum.Unchecked) != 1 || sum.Unchecked["v0"] == "" || sum.Clean() {
		t.Errorf("%+v", sum)
	}
	s.put(t, 0)
	s.wantClean(t)
}

// TestCheckTellsHowFar: who waits sees each phase begin or pass, and numbers that only grow.
func TestCheckTellsHowFar(t *testing.T) {
	x := newDamaged(t)
	var told []CheckProgress
	sum, err := x.u.Check(t.Context(), CheckOptions{Progress: func(p CheckProgress) { told = append(told, p) }})
	must(t, err)
	if len(told) == 0 || told[0].Phase != "private" {
		t.Fatalf("told %+v", told)
	}
	if sum.Directories != 3 || sum.Objects != 2 || sum.Rows != 4 || !sum.Clean() {
		t.Errorf("%+v", sum)
	}
}

// TestCheckEnds: a check whose caller goes ends soon, and another may follow.
func TestCheckEnds(t *testing.T) {
	x := newDamaged(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.u.Check(ctx, CheckOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	x.wantClean(t)
}

// TestCheckWhileServing: what calls do meanwhile is no finding.
func TestCheckWhileServing(t *testing.T) {
	s := memShare(t, 3, func(_ int, o *volumetest.Options) { o.Now = time.Now }) // temporaries are not older than the server
	s.newIndex(t)
	s.open(t)
	root := s.root(t)
	var dirs []vfs.Node
	for _, n := range []string{"a", "b", "c"} {
		dirs = append(dirs, s.mk(t, root, n, vfs.Directory).Node)
	}
	ctx := t.Context()
	var stop atomic.Bool
	var rounds atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for ; !stop.Load(); rounds.Add(1) {
				from, to := dirs[r.IntN(len(dirs))], dirs[r.IntN(len(dirs))]
				one, other := vfs.MustName(fmt.Sprint(r.IntN(8))), vfs.MustName(fmt.Sprint(r.IntN(8)))
				typ := []vfs.Type{vfs.Regular, vfs.Directory}[r.IntN(2)]
				_, _, _ = s.u.Make(ctx, who, from, one, &vfs.How{Type: typ, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}})
				if a, _, err := s.u.Lookup(ctx, who, from, one); err == nil && a.Type == vfs.Directory { // so that it comes to lie on several
					_, _, _ = s.u.Make(ctx, who, a.Node, other, &vfs.How{Type: vfs.Regular})
					_, _ = s.u.SetAttr(ctx, who, a.Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700 | r.Uint32N(64)}, nil)
				} else if err == nil {
					_, _, _ = s.u.Link(ctx, who, a.Node, to, other)
				}
				_, _, _ = s.u.Rename(ctx, who, from, one, to, other) // any of these may find what the others did
				_, _ = s.u.Remove(ctx, who, to, one)
				_, _ = s.u.RemoveDir(ctx, who, to, other)
			}
		})
	}
	checks := 0
	for ; checks < 15 || rounds.Load() < 300; checks++ {
		for _, f := range s.checked(t, false) {
			t.Errorf("%+v", f)
		}
	}
	t.Logf("%d checks beside %d rounds of calls", checks, rounds.Load())
	stop.Store(true)
	wg.Wait()
	s.wantClean(t)
}
