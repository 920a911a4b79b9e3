package union

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// TestRefusingVolumeKeepsNobodyFromAnother: a volume that takes nothing more, being full or
// read-only, keeps no CREATE in its directories from another volume (P6), and the directories
// keep their nodes.
func TestRefusingVolumeKeepsNobodyFromAnother(t *testing.T) {
	for _, status := range []vfs.Status{vfs.NoSpc, vfs.DQuot, vfs.ROFS} {
		t.Run(status.Error(), func(t *testing.T) {
			var refuses atomic.Bool
			place := &onto{}
			s := memShare(t, 2, func(i int, o *volumetest.Options) {
				if i == 0 {
					o.Fault = func(op string, _ int) error {
						switch op {
						case "create", "mkdir", "setmark", "setmarkat", "rename", "write", "setattr":
							if refuses.Load() {
								return status
							}
						}
						return nil
					}
				}
			})
			s.opt.Policy = place
			s.open(t)
			place.to(0)
			d := s.mk(t, s.root(t), "d", vfs.Directory)
			e := s.mk(t, d.Node, "e", vfs.Directory)
			s.mk(t, e.Node, "old", vfs.Regular)
			refuses.Store(true)
			place.to(0) // first refused, then given to the other
			s.mk(t, e.Node, "new", vfs.Regular)
			for range 2 {
				if got := s.path(t, "d/e"); got.Node.ID != e.Node.ID || s.path(t, "d").Node.ID != d.Node.ID {
					t.Errorf("d/e is %s, was %s", got.Node.ID, e.Node.ID)
				}
				if got := s.list(t, e.Node); len(got) != 2 {
					t.Errorf("d/e holds %q", got)
				}
				s.restart(t)
			}
		})
	}
}

// TestFullWhileMarking: a volume that has room for a directory but not for its mark is passed
// over, and keeps nothing half-made.
func TestFullWhileMarking(t *testing.T) {
	s, place, x, _ := trapped(t, 3)
	place.to(0)
	d := s.mk(t, s.root(t), "d", vfs.Directory)
	s.mk(t, d.Node, "old", vfs.Regular)
	place.to(1)
	x.fail("setmark", 2, 0, vfs.NoSpc) // the first marks what is on volume 0
	s.mk(t, d.Node, "new", vfs.Regular)
	if _, err := s.mems[1].Root().StatAt(t.Context(), vfs.MustName("d")); vfs.StatusOf(err) != vfs.NoEnt {
		t.Errorf("the volume that was passed over: %v, want no d on it", err)
	}
	if got := s.list(t, d.Node); len(got) != 2 {
		t.Errorf("d holds %q", got)
	}
}

// TestIndexDoesNotHideCopies: a row that tells less copies of a directory than there are hides none
// of its names, though nobody else changes the volumes.
func TestIndexDoesNotHideCopies(t *testing.T) {
	for _, ask := range []string{"lookup", "getattr first", "readdir"} {
		t.Run(ask, func(t *testing.T) {
			m := newMortal(t, 3)
			m.close(t)
			m.opt.Exclusive = map[volume.ID]bool{}
			for i := range m.mems {
				m.mems[i] = m.mems[i].Reopen()
				m.vols[i] = m.mems[i]
				m.opt.Exclusive[m.vols[i].ID()] = true
			}
			m.newIndex(t)
			m.open(t)
			d := m.mkAt(t, 0, m.root(t), "d", vfs.Directory)
			m.mkAt(t, 1, d.Node, "one", vfs.Regular)
			m.mkAt(t, 2, d.Node, "two", vfs.Regular)
			must(t, m.store.Flush(t.Context()))
			row, ok, err := m.store.Node(d.Node.ID)
			must(t, err)
			if !ok || len(row.Copies) != 3 {
				t.Fatalf("row %v, %v", ok, row)
			}
			row.Copies = row.Copies[:2] // as it was before the last change
			m.restartWith(t, func(st *meta.Store) { must(t, st.PutNode(t.Context(), &row)) })
			switch ask {
			case "getattr first":
				_, err := m.u.GetAttr(t.Context(), who, d.Node)
				must(t, err)
				fallthrough
			case "lookup":
				m.look(t, d.Node, "two", vfs.OK)
				m.look(t, d.Node, "three", vfs.NoEnt)
			case "readdir":
				if got := m.list(t, d.Node); len(got) != 2 {
					t.Errorf("d holds %q", got)
				}
			}
		})
	}
}

// restartWith is restart with something done to the index before the union is opened.
func (m *mortal) restartWith(t testing.TB, f func(*meta.Store)) {
	t.Helper()
	m.close(t)
	st, err := meta.Open(meta.Options{Dir: m.index, MinFree: 1, Logger: m.opt.Log})
	must(t, err)
	f(st)
	must(t, st.Close())
	for i, v := range m.mems {
		m.mems[i] = v.Reopen()
		m.vols[i] = m.mems[i]
	}
	m.open(t)
}

// TestParentsInACircle: directories that another process moved such that what is known of their
// parents leads in a circle are looked for, and the process lives.
func TestParentsInACircle(t *testing.T) {
	m := newMortal(t, 2)
	m.close(t)
	m.mems[0], m.mems[1] = m.mems[0].Reopen(), m.mems[1].Reopen()
	m.vols[0], m.vols[1] = m.mems[0], m.mems[1]
	m.opt.Trust = time.Nanosecond
	m.open(t)
	a := m.mkAt(t, 0, m.root(t), "a", vfs.Directory)
	b := m.mkAt(t, 0, a.Node, "b", vfs.Directory)
	c := m.mkAt(t, 0, b.Node, "c", vfs.Directory)
	m.mkAt(t, 0, a.Node, "f", vfs.Regular)
	ctx, root := t.Context(), m.mems[0].Root()
	da, err := root.OpenDir(ctx, vfs.MustName("a"))
	must(t, err)
	must(t, da.Rename(ctx, vfs.MustName("b"), root, vfs.MustName("b"), true))
	db, err := root.OpenDir(ctx, vfs.MustName("b"))
	must(t, err)
	must(t, root.Rename(ctx, vfs.MustName("a"), db, vfs.MustName("a"), true))
	must(t, da.Close())
	must(t, db.Close())
	na, nb := m.u.table.get(a.Node.ID), m.u.table.get(b.Node.ID)
	defer na.put()
	defer nb.put()
	// What look-ups through handles that were open all the time, or rows of the index, can leave.
	na.mu.Lock()
	na.places = []place{{b.Node, vfs.MustName("a"), vfs.MustName("a")}}
	na.mu.Unlock()
	for _, n := range []*node{na, nb} {
		n.mu.Lock()
		h := n.copies[0].dir
		n.copies[0].dir = nil
		n.mu.Unlock()
		if h != nil {
			m.u.dirs.doom(h)
		}
	}
	m.look(t, b.Node, "c", vfs.OK)
	m.look(t, a.Node, "f", vfs.OK)
	if got := m.path(t, "b/c"); got.Node.ID != c.Node.ID {
		t.Errorf("b/c is %s, was %s", got.Node.ID, c.Node.ID)
	}
	if got := m.path(t, "b/a"); got.Node.ID != a.Node.ID {
		t.Errorf("b/a is %s, was %s", got.Node.ID, a.Node.ID)
	}
}

// TestRecoveryWaitsForSearch: a share whose volumes must be walked, slowly, to find the directory of
// what a crash left half done opens all the same.
func TestRecoveryWaitsForSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		m := &mortal{place: &onto{}}
		m.shareT = memShare(t, 2, func(_ int, o *volumetest.Options) {
			o.Caps = func(c *volume.Caps) { c.Locate = false }
			o.Fault = func(op string, _ int) error {
				if slow.Load() && op == "list" {
					time.Sleep(2 * scanPatience)
				}
				return m.fault(op, 0)
			}
		})
		m.left.Store(-1)
		m.opt.Policy = m.place
		m.open(t)
		d := m.mkAt(t, 0, m.root(t), "d", vfs.Directory)
		m.mkAt(t, 0, d.Node, "s", vfs.Regular)
		m.mkAt(t, 1, d.Node, "t", vfs.Regular)
		for n := int64(1); ; n++ { // until the object is set aside and its successor has not come
			m.left.Store(n)
			err := m.rename(t, d.Node, "s", d.Node, "t")
			if err == nil {
				t.Fatal("the rename was never interrupted half-way")
			}
			m.left.Store(-1)
			if m.setAside(t, 1) {
				break
			}
			m.revive(t)
		}
		slow.Store(true)
		m.revive(t)
		slow.Store(false)
		if got := m.list(t, d.Node); len(got) != 2 {
			t.Errorf("d holds %q", got)
		}
	})
}

// setAside reports whether an object is set aside on volume v.
func (m *mortal) setAside(t testing.TB, v int) (some bool) {
	t.Helper()
	d, err := m.mems[v].Private().OpenDir(t.Context(), displacedName)
	if vfs.StatusOf(err) == vfs.NoEnt {
		return false
	}
	must(t, err)
	must(t, d.List(t.Context(), func(e volume.Entry) bool {
		some = some || !strings.Contains(e.Name.String(), ".") // else a record
		return true
	}))
	must(t, d.Close())
	return some
}

// seen is what the share shows: path to node.
func (s *shareT) seen(t testing.TB) map[string]vfs.NodeID {
	t.Helper()
	all := make(map[string]vfs.NodeID)
	var walk func(dir vfs.Node, at string)
	walk = func(dir vfs.Node, at string) {
		for _, name := range s.list(t, dir) {
			a := s.look(t, dir, name, vfs.OK)
			all[at+name] = a.Node.ID
			if a.Type == vfs.Directory {
				walk(a.Node, at+name+"/")
			}
		}
	}
	walk(s.root(t), "")
	return all
}

// forgetAll makes the union ask the volumes for everything.
func (s *shareT) forgetAll() {
	was := s.u.opt.Memory
	s.u.opt.Memory = 0
	s.u.sweep()
	s.u.sweep()
	s.u.opt.Memory = was
	for i := range s.u.table.shards {
		t := &s.u.table.shards[i]
		t.mu.Lock()
		for _, n := range t.m {
			n.mu.Lock()
			s.u.forgetNames(n)
			n.attrAt = 0
			n.mu.Unlock()
		}
		t.mu.Unlock()
	}
}

// TestFailedCallLeavesTruth lets the i-th operation on the volumes fail, for every i: what memory
// says afterwards is what the volumes hold, though nobody else changes these and so memory does not age.
func TestFailedCallLeavesTruth(t *testing.T) {
	for _, kinds := range [][]durable{births(), deaths(), moves(), settings()} {
		for _, d := range kinds {
			t.Run(d.name, func(t *testing.T) {
				for i := int64(1); ; i++ {
					x := newTree(t, 2)
					d.prepare(t, x)
					x.m.u.change(func(m *members) {
						for _, v := range m.vols {
							v.exclusive = true
						}
					})
					x.m.seen(t)
					x.failing.Store(i)
					_, err := d.call(x)
					if x.failing.Swap(-1) > 0 {
						return
					}
					eventually(t, "what was left half done is finished", func() bool { return x.m.u.pending.n.Load() == 0 })
					got := x.m.seen(t)
					x.m.forgetAll()
					if want := x.m.seen(t); !maps.Equal(got, want) {
						t.Errorf("after %v memory says\n%v\nand the volumes\n%v", err, got, want)
					}
					x.m.close(t)
					if t.Failed() {
						t.Fatalf("with operation %d failing", i)
					}
				}
			})
		}
	}
}

// TestSetAttrAllOrNothing: a SETATTR that one copy of a directory refuses leaves the directory as it was.
func TestSetAttrAllOrNothing(t *testing.T) {
	for i := int64(1); i <= 3; i++ {
		x := newTree(t, 3)
		before, err := x.m.u.GetAttr(t.Context(), who, x.wide)
		must(t, err)
		x.trap = &trap{}
		x.trap.fail("setattr", i, 0, errDisk)
		_, err = x.m.u.SetAttr(t.Context(), who, x.wide, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID, Mode: 0o700, UID: 5}, nil)
		if err == nil {
			t.Errorf("the %d. copy failed and nobody learned of it", i)
		}
		after, err := x.m.u.GetAttr(t.Context(), who, x.wide)
		must(t, err)
		if after.Mode != before.Mode || after.UID != before.UID {
			t.Errorf("with the %d. copy failing: mode %o, uid %d; were %o, %d", i, after.Mode, after.UID, before.Mode, before.UID)
		}
	}
}

// TestReadFollowsNoNewcomer: a READ that looked its file up before it was removed does not get
// the one that has its name, its inode number and its birth time now.
func TestReadFollowsNoNewcomer(t *testing.T) {
	tr := &trap{}
	s := memShare(t, 1, func(_ int, o *volumetest.Options) { o.Reuse, o.Fault = true, tr.fault })
	s.open(t)
	root := s.root(t)
	old := s.mk(t, root, "f", vfs.Regular)
	_, _, err := s.u.Write(t.Context(), who, old.Node, []byte("old"), 0, vfs.FileSync)
	must(t, err)
	n := s.u.table.get(old.Node.ID)
	n.mu.Lock()
	f := n.file
	n.file = nil
	n.mu.Unlock()
	s.u.files.drop(s.u, f)
	n.put()
	hit, release := tr.hold("open", 1)
	done := make(chan error)
	var got string
	go func() {
		buf := make([]byte, 16)
		k, _, _, err := s.u.Read(t.Context(), who, old.Node, buf, 0)
		got = string(buf[:k])
		done <- err
	}()
	<-hit
	_, err = s.u.Remove(t.Context(), who, root, vfs.MustName("f"))
	must(t, err)
	next := s.mk(t, root, "f", vfs.Regular)
	_, _, err = s.u.Write(t.Context(), who, next.Node, []byte("new"), 0, vfs.FileSync)
	must(t, err)
	if next.Node.Birth.Ino != old.Node.Birth.Ino {
		t.Fatal("the inode number did not come again")
	}
	release()
	if err := <-done; vfs.StatusOf(err) != vfs.Stale {
		t.Errorf("READ of the removed file: %v with %q, want Stale", err, got)
	}
}

// TestMemoryIsAccountedFor: what the counter says is what nodes and names take.
func TestMemoryIsAccountedFor(t *testing.T) {
	for _, mode := range []Lookups{LookupFull, LookupNames, LookupOff} {
		rapid.Check(t, func(rt *rapid.T) {
			s := memShare(t, 2, nil)
			s.opt.Lookups = mode
			s.open(rt)
			vfstest.RunProgram(rt, s.u, vfstest.ProgramOptions{Steps: 80})
			for i := range 20 {
				s.look(rt, s.root(rt), fmt.Sprintf("absent %d", i), vfs.NoEnt)
			}
			want := int64(s.u.absences.count()) * absenceBytes
			for i := range s.u.table.shards {
				for _, n := range s.u.table.shards[i].m {
					if n != s.u.root {
						want += nodeBytes
					}
					if n.names != nil {
						want += n.names.charged
					}
				}
			}
			if got := s.u.memory.Load(); got != want {
				rt.Fatalf("%d bytes are accounted for, %d taken", got, want)
			}
			s.close(rt)
		})
	}
}
