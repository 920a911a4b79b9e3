package union

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// teller is a volume in memory that is watched: the test says what is told.
type teller struct {
	*volumetest.Mem
	whole bool

	mu      sync.Mutex
	sink    volume.WatchSink // nil: no watch
	covered map[uint64]bool
	limit   int // of covered; 0: none
	dumb    bool
	starts  int
	meets   func(d volume.Dir) // a directory that is about to be covered
}

func (w *teller) Watch(_ context.Context, sink volume.WatchSink) (volume.Watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starts++
	w.sink, w.covered = sink, map[uint64]bool{}
	r := &telling{w, make(chan struct{})}
	go r.run()
	return r, nil
}

// telling is a watch of a teller.
type telling struct {
	w    *teller
	stop chan struct{}
}

func (r *telling) run() {
	for {
		select {
		case <-r.stop:
			return
		case <-time.After(volume.AliveEvery):
		}
		r.w.mu.Lock()
		if !r.w.dumb {
			r.w.sink.Alive(time.Now())
		}
		r.w.mu.Unlock()
	}
}

func (r *telling) Kind() string { return "telling" }
func (r *telling) Whole() bool  { return r.w.whole }

func (r *telling) Covered() int {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return len(r.w.covered)
}

func (r *telling) Cover(ctx context.Context, d volume.Dir) (bool, error) {
	st, err := d.Stat(ctx)
	if err != nil {
		return false, err
	}
	if r.w.meets != nil {
		r.w.meets(d)
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.w.limit > 0 && len(r.w.covered) >= r.w.limit && !r.w.covered[st.Key.Ino] {
		return false, nil
	}
	r.w.covered[st.Key.Ino] = true
	return true, nil
}

func (r *telling) Uncover(ino uint64) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	delete(r.w.covered, ino)
}

func (r *telling) Close() error {
	close(r.stop)
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.sink, r.w.covered = nil, nil
	return nil
}

// tell is what another process did, if it is watched.
func (w *teller) tell(n volume.News) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sink != nil && (w.whole || w.covered[n.Dir] || n.Dir == 0) {
		w.sink.Changed(n)
	}
}

// told makes another process change a name in a directory of a teller, which tells it.
func (w *teller) told(t *testing.T, name string, does func(d volume.Dir), path ...string) {
	t.Helper()
	d := onVolume(t, w, path...)
	st, err := d.Stat(t.Context())
	must(t, err)
	n := volume.News{Dir: st.Key.Ino, Name: vfs.MustName(name)}
	look := func() {
		if o, err := d.StatAt(t.Context(), n.Name); err == nil {
			n.Ino, n.IsDir = o.Key.Ino, o.Type == vfs.Directory
		}
	}
	look()
	does(d)
	look()
	w.tell(n)
	time.Sleep(time.Millisecond) // the clock of a bubble stands still by itself
}

// first puts all on the first volume.
type first struct{}

func (first) Choose([]placement.Volume, *placement.Hints, rand.Source) (placement.Choice, error) {
	return placement.Choice{Rule: "first", Rival: -1}, nil
}

// TestNewDirectoryIsWatched: what is not in a directory that was made while its volume is watched costs no question
// long after, unless another process made something in it before the watch told of it.
func TestNewDirectoryIsWatched(t *testing.T) {
	for _, whole := range []bool{true, false} {
		t.Run(fmt.Sprintf("whole %v", whole), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ws := watchedShare(t, 1, whole)
				time.Sleep(2 * volume.AliveEvery)
				d := s.mk(t, s.root(t), "d", vfs.Directory).Node
				s.mk(t, d, "f", vfs.Regular)
				time.Sleep(2 * DefaultTrust)
				if _, err := s.u.GetAttr(t.Context(), who, d); err != nil {
					t.Fatal(err)
				}
				before := s.mems[0].Counts().Ops
				s.look(t, d, "g", vfs.NoEnt)
				if n := s.mems[0].Counts().Ops - before; n > 0 {
					t.Errorf("a name that is not in a new directory cost %d calls of the volume", n)
				}
				ws[0].told(t, "g", func(d volume.Dir) { plant(t, d, "g", vfs.Regular) }, "d")
				s.look(t, d, "g", vfs.OK)
				if whole { // it covers without being told of each
					return
				}
				ws[0].meets = func(d volume.Dir) { plant(t, d, "early", vfs.Regular) }
				e := s.mk(t, s.root(t), "e", vfs.Directory).Node
				s.look(t, e, "early", vfs.OK)
			})
		})
	}
}

// watchedShare is a share of n volumes in memory that are watched.
func watchedShare(t *testing.T, n int, whole bool) (*shareT, []*teller) {
	t.Helper()
	s := memShare(t, n, nil)
	s.opt.Policy = first{}
	var ws []*teller
	for _, m := range s.mems {
		ws = append(ws, &teller{Mem: m, whole: whole})
	}
	s.wrapped = func(v volume.Volume) volume.Volume {
		for _, w := range ws {
			if w.Mem == v {
				return w
			}
		}
		return v
	}
	s.open(t)
	time.Sleep(2 * volume.AliveEvery) // until the watches run
	return s, ws
}

// eachWatched runs f in a bubble over shares of one and two volumes that are watched as a whole, and not.
func eachWatched(t *testing.T, f func(t *testing.T, s *shareT, ws []*teller)) {
	t.Helper()
	for _, n := range []int{1, 2} {
		for _, whole := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d volumes, whole %v", n, whole), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, ws := watchedShare(t, n, whole)
					f(t, s, ws)
				})
			})
		}
	}
}

// listings is how many copies were listed.
func listings(s *shareT) int64 { return s.u.Stats().Lists }

// settleDown looks a directory up, lists it, and waits until what is known of its copies rests on watches.
func settleDown(t *testing.T, s *shareT, d vfs.Node) {
	t.Helper()
	for range 3 {
		s.list(t, d)
		time.Sleep(pastTrust)
	}
	s.list(t, d)
}

// TestWatchedNamesAreBelieved: what is watched is not listed again for a minute, and then is.
func TestWatchedNamesAreBelieved(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *shareT, _ []*teller) {
		d := s.mk(t, s.root(t), "d", vfs.Directory).Node
		s.mk(t, d, "x", vfs.Regular)
		settleDown(t, s, d)
		before := listings(s)
		for range 50 {
			s.look(t, d, "x", vfs.OK)
			s.look(t, d, "absent", vfs.NoEnt)
			if got := s.list(t, d); !slices.Equal(got, []string{"x"}) {
				t.Fatalf("listed %q", got)
			}
			time.Sleep(time.Second)
		}
		if n := listings(s) - before; n != 0 {
			t.Errorf("listed %d times within a minute", n)
		}
		if asked := s.u.Stats().Asked; asked > 100 {
			t.Errorf("%d look-ups asked", asked)
		}
		// Own changes are told as such, or stay silent: they do not make us list.
		s.mk(t, d, "y", vfs.Regular)
		time.Sleep(pastTrust)
		s.look(t, d, "z", vfs.NoEnt)
		if n := listings(s) - before; n != 0 {
			t.Errorf("listed %d times after a change of our own", n)
		}
		time.Sleep(DefaultWatched)
		s.look(t, d, "z", vfs.NoEnt)
		if n := listings(s) - before; n == 0 {
			t.Error("not looked at again after a minute")
		}
	})
}

// TestWatchedNamesAreBelievedWithoutAllocating: that names rest on watches costs a look-up no memory, also where another volume could
// get a copy.
func TestWatchedNamesAreBelievedWithoutAllocating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := watchedShare(t, 8, true)
		d := s.mk(t, s.root(t), "d", vfs.Directory).Node
		s.mk(t, d, "x", vfs.Regular)
		settleDown(t, s, d)
		at := s.u.now()
		time.Sleep(pastTrust)
		n := s.u.table.get(d.ID)
		defer n.put()
		n.mu.Lock()
		defer n.mu.Unlock()
		if s.u.foreign(n.on()).count() == 0 {
			t.Fatal("no volume could get a copy")
		}
		if allocs := testing.AllocsPerRun(10, func() {
			if now := s.u.now(); s.u.believed(at, now) || !s.u.namesBelieved(n, at, now) {
				t.Error("not believed by the watches")
			}
		}); allocs > 0 {
			t.Errorf("allocates %v times", allocs)
		}
	})
}

// TestProofOnWatchIsBelieved: a directory that has copies on some volumes alone, and came under its watch after the names of its
// parent told where, is not proved anew at each question: then it is looked for where its copies are as of a time that the watch covers.
func TestProofOnWatchIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := watchedShare(t, 2, false)
		d := s.mk(t, s.root(t), "d", vfs.Directory).Node
		e := s.mk(t, d, "e", vfs.Directory).Node
		settleDown(t, s, d)
		settleDown(t, s, e)
		for _, dir := range []vfs.Node{d, e} {
			n := s.u.table.get(dir.ID)
			covered := n.coveredAt()
			n.mu.Lock()
			if covered == 0 || !n.upWatched {
				t.Errorf("covered since %d, its parent %v", covered, n.upWatched)
			}
			for i := range n.copies {
				n.copies[i].covered = n.copiesAt + 1
			}
			n.mu.Unlock()
			n.put()
		}
		time.Sleep(pastTrust)
		before := s.u.Stats()
		for range 1000 {
			s.look(t, e, "absent", vfs.NoEnt)
			time.Sleep(10 * time.Millisecond)
		}
		if asked := s.u.Stats().Asked - before.Asked; asked > 20 {
			t.Errorf("%d of 1000 look-ups within ten seconds asked", asked)
		}
	})
}

// TestToldChanges: what another process does is seen as soon as it is told, however fresh and complete what was known is.
func TestToldChanges(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *shareT, ws []*teller) {
		root := s.root(t)
		d := s.mk(t, root, "d", vfs.Directory).Node
		home := ws[0]
		settleDown(t, s, d)
		settleDown(t, s, root)
		before := listings(s)

		s.look(t, d, "x", vfs.NoEnt)
		home.told(t, "x", func(d volume.Dir) { plant(t, d, "x", vfs.Regular) }, "d")
		x := s.look(t, d, "x", vfs.OK)
		if got := s.list(t, d); !slices.Equal(got, []string{"x"}) {
			t.Errorf("listed %q", got)
		}

		home.told(t, "x", func(d volume.Dir) {
			must(t, d.SetAttrAt(t.Context(), vfs.MustName("x"), statOf(t, d, "x").Key, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}))
		}, "d")
		if a, err := s.u.GetAttr(t.Context(), who, x.Node); err != nil || a.Mode != 0o600 {
			t.Errorf("mode %o, %v after it was told", a.Mode, err)
		}

		home.told(t, "x", func(d volume.Dir) { must(t, d.Unlink(t.Context(), vfs.MustName("x"))); plant(t, d, "x", vfs.Regular) }, "d")
		if y := s.look(t, d, "x", vfs.OK); y.Node == x.Node {
			t.Error("x was replaced, and is the same node")
		}

		home.told(t, "x", func(d volume.Dir) { must(t, d.Unlink(t.Context(), vfs.MustName("x"))) }, "d")
		s.look(t, d, "x", vfs.NoEnt)
		if got := s.list(t, d); len(got) != 0 {
			t.Errorf("listed %q", got)
		}
		if n := listings(s) - before; n != 0 {
			t.Errorf("listed %d times: names are asked for one by one", n)
		}
		if n := s.u.Stats().Doubted; n != 0 {
			t.Errorf("%d names stay in doubt", n)
		}
		for i := range 2 * doubtsOfDir {
			name := fmt.Sprint("n", i)
			home.told(t, name, func(d volume.Dir) { plant(t, d, name, vfs.Regular) }, "d")
		}
		if n := len(s.list(t, d)); n != 2*doubtsOfDir {
			t.Errorf("%d names listed of %d that were told", n, 2*doubtsOfDir)
		}
	})
}

func statOf(t *testing.T, d volume.Dir, name string) volume.Stat {
	t.Helper()
	st, err := d.StatAt(t.Context(), vfs.MustName(name))
	must(t, err)
	return st
}

// TestToldCopies: a copy of a directory that another process makes on a further volume, below parents that it also
// makes, shows as soon as it is told.
func TestToldCopies(t *testing.T) {
	for _, whole := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, ws := watchedShare(t, 2, whole)
			root := s.root(t)
			a := s.mk(t, root, "a", vfs.Directory).Node
			b := s.mk(t, a, "b", vfs.Directory).Node
			other := ws[1]
			settleDown(t, s, root)
			settleDown(t, s, a)
			settleDown(t, s, b)
			before := listings(s)
			s.look(t, b, "z", vfs.NoEnt)
			if listings(s) != before {
				t.Error("what is watched was listed")
			}
			other.told(t, "a", func(d volume.Dir) { plant(t, d, "a", vfs.Directory) })
			other.told(t, "b", func(d volume.Dir) { plant(t, d, "b", vfs.Directory) }, "a")
			other.told(t, "z", func(d volume.Dir) { plant(t, d, "z", vfs.Regular) }, "a", "b")
			time.Sleep(pastTrust) // what is not told name by name takes trust
			s.look(t, b, "z", vfs.OK)
			if got := s.list(t, b); !slices.Equal(got, []string{"z"}) {
				t.Errorf("listed %q", got)
			}
		})
	}
}

// TestLostNews: where a watch lost news, fell silent or ended, what it did not tell is seen after trust.
func TestLostNews(t *testing.T) {
	for what, spoil := range map[string]func(w *teller, d uint64){
		"overflow":       func(w *teller, _ uint64) { w.sink.Lost(0, false, "overflow") },
		"of a directory": func(w *teller, d uint64) { w.sink.Lost(d, true, "directory") },
		"silence":        func(w *teller, _ uint64) { w.dumb = true },
		"the end":        func(w *teller, _ uint64) { w.sink.Lost(0, true, "the end") },
	} {
		t.Run(what, func(t *testing.T) {
			eachWatched(t, func(t *testing.T, s *shareT, ws []*teller) {
				var events []vfs.Event
				s.u.Subscribe(func(e vfs.Event) { events = append(events, e) })
				d := s.mk(t, s.root(t), "d", vfs.Directory).Node
				home := ws[0]
				settleDown(t, s, d)
				s.look(t, d, "x", vfs.NoEnt)
				dir := onVolume(t, home, "d")
				st, err := dir.Stat(t.Context())
				must(t, err)
				plant(t, dir, "x", vfs.Regular) // nobody tells
				home.mu.Lock()
				spoil(home, st.Key.Ino)
				home.mu.Unlock()
				time.Sleep(pastTrust)
				s.look(t, d, "x", vfs.OK)
				if what == "silence" {
					return
				}
				if len(events) == 0 {
					t.Error("nobody was told to forget")
				}
				time.Sleep(2 * watchAgain)
				if what == "the end" && home.starts != 2 {
					t.Errorf("the watch was begun %d times", home.starts)
				}
				settleDown(t, s, d)
				before := listings(s)
				home.told(t, "x", func(d volume.Dir) { must(t, d.Unlink(t.Context(), vfs.MustName("x"))) }, "d")
				s.look(t, d, "x", vfs.NoEnt)
				time.Sleep(30 * time.Second)
				s.look(t, d, "x", vfs.NoEnt)
				if n := listings(s) - before; n != 0 {
					t.Errorf("listed %d times: it is watched again", n)
				}
				if w := s.u.Stats().Watches; len(w) != len(ws) || w[0].Kind != "telling" || w[0].Events+w[len(w)-1].Events == 0 {
					t.Errorf("%+v", w)
				}
			})
		})
	}
}

// TestLateNotes: what was asked before news came and is noted after is not believed.
func TestLateNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ws := watchedShare(t, 1, true)
		dn := s.mk(t, s.root(t), "d", vfs.Directory).Node
		d := s.u.table.get(dn.ID)
		defer d.put()
		settleDown(t, s, dn)
		x := vfs.MustName("x")
		asked := s.u.now()
		time.Sleep(time.Millisecond)
		ws[0].told(t, "x", func(d volume.Dir) { plant(t, d, "x", vfs.Regular) }, "d")
		time.Sleep(time.Millisecond)
		s.u.noteAbsent(d, x, asked, d.volumes(), 0)
		s.look(t, dn, "x", vfs.OK)

		// The same of a change of our own that another's came upon before we had noted ours.
		n := s.u.table.get(s.look(t, dn, "x", vfs.OK).Node.ID)
		defer n.put()
		s.u.begin(d)
		time.Sleep(time.Millisecond)
		ws[0].told(t, "x", func(d volume.Dir) { must(t, d.Unlink(t.Context(), x)) }, "d")
		time.Sleep(time.Millisecond)
		s.u.addName(t.Context(), d, place{dn, x, x}, n, d.volumes())
		s.u.end(d)
		s.look(t, dn, "x", vfs.NoEnt)

		// And of all names.
		s.u.begin(d)
		time.Sleep(time.Millisecond)
		d.mu.Lock()
		s.u.doubtNames(d, 0, s.u.now())
		d.mu.Unlock()
		time.Sleep(time.Millisecond)
		s.u.addName(t.Context(), d, place{dn, x, x}, n, d.volumes())
		s.u.end(d)
		s.look(t, dn, "x", vfs.NoEnt)
	})
}

// TestCoveredWhileInMemory: directories are covered one by one before they are listed, up to the watch's limit, and
// are not any more when they are forgotten or removed.
func TestCoveredWhileInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ws := watchedShare(t, 1, false)
		ws[0].limit = 20
		root := s.root(t)
		var dirs []vfs.Node
		for i := range 30 {
			dirs = append(dirs, s.mk(t, root, fmt.Sprint("d", i), vfs.Directory).Node)
		}
		time.Sleep(pastTrust)
		for _, d := range dirs {
			s.list(t, d)
		}
		if w := s.u.Stats().Watches[0]; w.Covered != 20 || w.Refused == 0 {
			t.Errorf("%+v, want 20 covered and others refused", w)
		}
		for i := range dirs {
			if _, err := s.u.RemoveDir(t.Context(), who, root, vfs.MustName(fmt.Sprint("d", i))); err != nil {
				t.Fatal(err)
			}
		}
		if w := s.u.Stats().Watches[0]; w.Covered != 1 {
			t.Errorf("%d covered, want the root", w.Covered)
		}
		d := s.mk(t, root, "again", vfs.Directory).Node
		time.Sleep(pastTrust)
		s.list(t, d)
		if w := s.u.Stats().Watches[0]; w.Covered != 2 {
			t.Errorf("%d covered, want the root and another", w.Covered)
		}
		s.u.opt.Memory = 1
		s.u.sweep()
		if w := s.u.Stats().Watches[0]; w.Covered != 1 {
			t.Errorf("%d covered when all was forgotten", w.Covered)
		}
	})
}

// TestKeys: a node is found by its key and by its inode number, also while another birth time has that number.
func TestKeys(t *testing.T) {
	s := memShare(t, 1, nil)
	u := s.open(t)
	v := u.newVol(s.mems[0], false, 0)
	a, b, c := newDirNode(vfs.Node{}), newDirNode(vfs.Node{}), newDirNode(vfs.Node{})
	ka, kb := volume.Key{Ino: 7, Birth: 1}, volume.Key{Ino: 7, Birth: 2}
	want := func(what string, na, nb *node, ino int) {
		t.Helper()
		if v.keyed(ka) != na || v.keyed(kb) != nb || len(v.byIno(7, nil)) != ino {
			t.Errorf("%s: %p %p %d, want %p %p %d", what, v.keyed(ka), v.keyed(kb), len(v.byIno(7, nil)), na, nb, ino)
		}
	}
	v.setKey(ka, a)
	if was := v.setKey(kb, b); was != nil {
		t.Error("another birth time displaced a node")
	}
	want("both", a, b, 2)
	v.unkey(ka, b)
	want("not its own", a, b, 2)
	v.unkey(ka, a)
	want("one", nil, b, 1)
	if was := v.setKey(kb, c); was != b {
		t.Errorf("displaced %p, want %p", was, b)
	}
	v.setKey(ka, a)
	want("both again", a, c, 2)
	v.unkey(kb, c)
	v.unkey(ka, a)
	want("none", nil, nil, 0)
}
