package union

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
)

// nameShare is a share of n volumes that is never listed for a look-up, and a directory with a copy on each.
func nameShare(t *testing.T, n int) (*shareT, vfs.Node) {
	t.Helper()
	s := memShare(t, n, nil)
	for _, m := range s.mems {
		plant(t, m.Root(), "d", vfs.Directory)
	}
	s.opt.Lookups = LookupNames
	s.open(t)
	return s, s.path(t, "d").Node
}

// asked is how many look-ups asked volumes while f ran.
func (s *shareT) asked(f func()) int64 {
	before := s.u.Stats().Asked
	f()
	return s.u.Stats().Asked - before
}

// TestAbsencesAreProvedByVersions: a second later all that was asked for is believed again at a stat of each copy, and
// a third after that; nothing is when another process has changed a copy (A5).
func TestAbsencesAreProvedByVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := nameShare(t, 3)
		s.warm(t, d) // or the marks that are written now move the versions
		time.Sleep(pastTrust)
		all := func() {
			for i := range 50 {
				s.look(t, d, fmt.Sprintf("none-%d", i), vfs.NoEnt)
			}
		}
		all()
		if n := s.asked(all); n != 0 {
			t.Errorf("%d of 50 names were asked for again at once", n)
		}
		for range 3 {
			time.Sleep(pastTrust)
			if n := s.asked(all); n != 0 {
				t.Errorf("%d of 50 names were asked for again, though no version has moved", n)
			}
		}
		if n := s.u.Stats().Revalidated; n < 3 {
			t.Errorf("%d times revalidated", n)
		}
		plant(t, onVolume(t, s.mems[1], "d"), "none-7", vfs.Regular)
		time.Sleep(pastTrust)
		s.look(t, d, "none-7", vfs.OK)
		refused := s.u.Stats().Refused
		if n := s.asked(func() { s.look(t, d, "none-8", vfs.NoEnt) }); n != 1 {
			t.Error("a version has moved, and what it proved is told still")
		}
		if n := s.u.Stats().Refused; n != refused+1 {
			t.Errorf("%d answers of memory refused, want one more than %d", n, refused)
		}
	})
}

// TestAbsenceNeedsQuietVersions: where a clock stands still equal versions prove nothing until it is sure that it has moved on.
func TestAbsenceNeedsQuietVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := nameShare(t, 2)
		n := s.u.table.get(d.ID)
		defer n.put()
		sum := func(ctime time.Time) bool {
			st := volume.Stat{Key: volume.Key{Ino: 1}, Ctime: vfs.TimeOf(ctime), Mtime: vfs.TimeOf(ctime)}
			_, ok := s.u.sumVersions(0b11, []volume.Stat{st, st}, time.Now())
			return ok
		}
		if !sum(time.Now()) {
			t.Error("an exact version proves nothing")
		}
		caps := *s.u.vol(1).can()
		caps.Quiet = 50 * time.Millisecond
		s.u.vol(1).caps.Store(&caps)
		if sum(time.Now().Add(-49*time.Millisecond)) || !sum(time.Now().Add(-51*time.Millisecond)) {
			t.Error("a version of a coarse clock proves something too soon, or never")
		}
	})
}

// TestAbsencesEnd: what makes all that is known of a directory doubtful makes its absences void (A3, A4).
func TestAbsencesEnd(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *shareT, n *node){
		"distrust": func(_ *testing.T, s *shareT, n *node) { s.u.distrust(n) },
		"listing": func(_ *testing.T, s *shareT, n *node) {
			n.mu.Lock()
			defer n.mu.Unlock()
			s.u.install(n, newNames())
		},
		"forget":   func(_ *testing.T, s *shareT, n *node) { s.u.forget(n) },
		"one name": func(_ *testing.T, s *shareT, n *node) { s.u.distrustName(n, vfs.MustName("none"), s.u.online()) },
		"lost": func(_ *testing.T, s *shareT, n *node) {
			if err := s.u.loseCopies(n, 0b10, nil); err != nil {
				panic(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, d := nameShare(t, 2)
			s.look(t, d, "none", vfs.NoEnt)
			n := s.u.table.get(d.ID)
			defer n.put()
			known := func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return s.u.absent(n, vfs.MustName("none"), s.u.now())
			}
			if !known() {
				t.Fatal("the absence is not remembered")
			}
			if end(t, s, n); known() {
				t.Error("the absence outlived what it rests on")
			}
		})
	}
}

// TestOwnChangeEndsProof: versions that were seen before a change of ours prove no absence that was asked for after it: a power
// cut may take the directory back to them.
func TestOwnChangeEndsProof(t *testing.T) {
	s, d := nameShare(t, 2)
	s.look(t, d, "none", vfs.NoEnt)
	must(t, s.u.lookStill(d, true))
	s.mk(t, d, "made", vfs.Regular)
	must(t, s.u.lookStill(d, false))
}

// lookStill wants the versions of d to prove absences, or not to.
func (u *Union) lookStill(d vfs.Node, want bool) error {
	n := u.table.get(d.ID)
	defer n.put()
	n.mu.Lock()
	defer n.mu.Unlock()
	if (n.absents.still != 0) != want {
		return fmt.Errorf("proved by versions: %v", !want)
	}
	return nil
}

// TestAbsencesAreBounded asks for more names than may be remembered: so many are, the count is true, and memory has
// what they take (A8).
func TestAbsencesAreBounded(t *testing.T) {
	limit := 4 * absenceShards
	if said := os.Getenv("SHEAF_MISSES"); said != "" { // ten times as many as are kept
		n, err := strconv.Atoi(said)
		must(t, err)
		limit = n / 10 / absenceShards * absenceShards
	}
	s, _ := nameShare(t, 1)
	s.close(t)
	s.opt.Absences = limit
	s.newIndex(t)
	s.open(t)
	d := s.path(t, "d").Node
	memory, heap, began := s.u.memory.Load(), heapAlive(), time.Now()
	name := []byte("none-")
	for i := range 10 * limit {
		name = strconv.AppendInt(name[:len("none-")], int64(i), 10)
		s.look(t, d, string(name), vfs.NoEnt)
	}
	t.Logf("%d names asked for in %v; the heap grew by %d KiB", 10*limit, time.Since(began), (int64(heapAlive())-int64(heap))/1024)
	st := s.u.Stats()
	if st.Absences > limit || st.Absences < limit*9/10 || st.Evicted != int64(10*limit-st.Absences) {
		t.Errorf("%d absences are kept and %d went, of %d with a limit of %d", st.Absences, st.Evicted, 10*limit, limit)
	}
	if got := s.u.memory.Load() - memory; got != int64(st.Absences)*absenceBytes {
		t.Errorf("%d bytes for %d absences", got, st.Absences)
	}
	if n := s.u.absences.behind.Load(); n > absencesBehind {
		t.Errorf("%d names wait to be written, at most %d may", n, absencesBehind)
	}
	s.u.absences.expire(s.u.now())
	if got := s.u.memory.Load() - memory; got != 0 || s.u.absences.count() != 0 {
		t.Errorf("%d bytes for what is expired, %d left", got, s.u.absences.count())
	}
}

// TestLosersAreNotAbsent: the name of a conflict's loser is never remembered to be absent (A7).
func TestLosersAreNotAbsent(t *testing.T) {
	s, d := nameShare(t, 2)
	s.look(t, d, "x"+conflictInfix+"v1", vfs.NoEnt)
	if n := s.u.absences.count(); n != 0 {
		t.Errorf("%d absences", n)
	}
}

// TestDropCache forgets a directory that nothing else would make anybody look at again, and all beneath, which is in the index and
// not in memory.
func TestDropCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memShare(t, 2, nil)
		s.newIndex(t)
		s.opt.Exclusive = map[volume.ID]bool{s.mems[0].ID(): true, s.mems[1].ID(): true}
		for _, m := range s.mems {
			plant(t, m.Root(), "d", vfs.Directory)
			plant(t, onVolume(t, m, "d"), "e", vfs.Directory)
		}
		s.open(t)
		e := s.path(t, "d/e").Node
		d := s.path(t, "d").Node
		s.look(t, e, "late", vfs.NoEnt)
		plant(t, onVolume(t, s.mems[1], "d", "e"), "late", vfs.Regular)
		plant(t, onVolume(t, s.mems[1], "d"), "late", vfs.Regular)
		s.look(t, e, "late", vfs.NoEnt) // nobody else changes it, it was said
		drop := func(vn vfs.Node, below bool, want Dropped) {
			t.Helper()
			if got, err := s.u.DropCache(t.Context(), vn, below); err != nil || got != want {
				t.Fatalf("dropped %+v, %v; want %+v", got, err, want)
			}
		}
		drop(d, false, Dropped{Directories: 1})
		s.look(t, d, "late", vfs.OK)
		s.look(t, e, "late", vfs.NoEnt)
		drop(d, true, Dropped{Directories: 2, Objects: 1})
		s.look(t, e, "late", vfs.OK)
		if _, err := s.u.DropCache(t.Context(), vfs.Node{ID: vfs.NodeID{1}}, false); vfs.StatusOf(err) != vfs.Stale {
			t.Errorf("of a node that is not there: %v", err)
		}
	})
}

// TestDropCacheOfTheIndex: what is only in the index is forgotten, too, at a restart.
func TestDropCacheOfTheIndex(t *testing.T) {
	s := memShare(t, 2, nil)
	s.newIndex(t)
	s.open(t)
	d := s.mk(t, s.root(t), "d", vfs.Directory).Node
	e := s.mk(t, d, "e", vfs.Directory).Node
	for i := range 5 {
		s.mk(t, e, fmt.Sprint("f", i), vfs.Regular)
	}
	lists := func(f func()) int64 {
		before := s.u.Stats().Lists
		f()
		return s.u.Stats().Lists - before
	}
	s.list(t, e)
	s.restart(t)
	s.list(t, e) // after changes of ours it is listed once more
	s.restart(t)
	if n := lists(func() { s.list(t, e) }); n != 0 {
		t.Fatalf("%d copies were listed, which the index knew", n)
	}
	s.restart(t)
	if _, err := s.u.DropCache(t.Context(), d, true); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	if n := lists(func() { s.list(t, e) }); n == 0 {
		t.Error("the index still knew what was dropped")
	}
	s.wantClean(t)
}

// TestAbsencesOutliveARestart: what the versions proved is believed after a restart, without a question to any volume about a
// name; not if a version has moved meanwhile (A6).
func TestAbsencesOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := nameShare(t, 3)
		s.close(t)
		s.newIndex(t)
		var ops askedOps
		s.wrapped = ops.count
		s.open(t)
		d := s.path(t, "d").Node
		s.warm(t, d)
		time.Sleep(pastTrust)
		all := func() {
			for i := range 40 {
				s.look(t, d, fmt.Sprintf("none-%d", i), vfs.NoEnt)
			}
		}
		all()
		if n := s.u.absences.behind.Load(); n != 40 {
			t.Fatalf("%d names wait for a proof", n)
		}
		time.Sleep(pastTrust)
		all() // the versions are seen to be the same
		if n := s.u.absences.behind.Load(); n != 0 {
			t.Fatalf("%d names wait for a proof", n)
		}
		s.restart(t)
		d = s.path(t, "d").Node
		if n := ops.of(all, volume.OpStatAt, volume.OpIdentifyAt, volume.OpList); n != 0 {
			t.Errorf("%d questions to volumes, though no version has moved", n)
		}
		s.close(t)
		inside(t, s.mems[1], "d", func(v volume.Dir) error {
			plant(t, v, "none-7", vfs.Regular)
			return nil
		})
		s.restart(t)
		d = s.path(t, "d").Node
		s.look(t, d, "none-7", vfs.OK)
		if n := ops.of(func() { s.look(t, d, "none-8", vfs.NoEnt) }, volume.OpStatAt, volume.OpIdentifyAt); n != 3 {
			t.Errorf("%d questions to volumes, of which one has another version", n)
		}
		s.wantClean(t)
		s.close(t)
	})
}

// TestNoAbsenceIsWrittenUnproved: what was asked for after the versions were seen last is not written when they are, nor what was
// asked for before a change of ours (A5).
func TestNoAbsenceIsWrittenUnproved(t *testing.T) {
	s, _ := nameShare(t, 2)
	s.close(t)
	s.newIndex(t)
	s.open(t)
	d := s.path(t, "d").Node
	s.look(t, d, "none", vfs.NoEnt)
	n := s.u.table.get(d.ID)
	defer n.put()
	stats := func() []volume.Stat {
		hs, err := s.u.dirsAt(t.Context(), n, s.u.online())
		must(t, err)
		defer hs.release()
		stats, err := s.u.statDirs(t.Context(), hs)
		must(t, err)
		return stats
	}
	early, at := stats(), s.u.now()
	s.look(t, d, "late", vfs.NoEnt)
	s.u.proveAbsents(n, 0b11, early, at)
	written := func(name string) bool {
		_, ok, err := s.store.Absence(d.ID, vfs.MustName(name), s.u.slotOf(d.ID, vfs.MustName(name)))
		must(t, err)
		return ok
	}
	if !written("none") || written("late") {
		t.Errorf("written: none %v, late %v", written("none"), written("late"))
	}
	s.mk(t, d, "made", vfs.Regular)
	s.u.proveAbsents(n, 0b11, early, s.u.now()) // as a power cut would take them back
	s.u.proveAbsents(n, 0b11, early, s.u.now())
	if written("late") {
		t.Error("an absence from before a change of ours is written")
	}
}

// askedOps counts the operations of volumes.
type askedOps struct {
	mu sync.Mutex
	n  map[volume.Op]int
}

// count is for shareT.wrapped.
func (c *askedOps) count(v volume.Volume) volume.Volume {
	return hook.New(v, func(_ context.Context, op volume.Op, next func() error) error {
		c.mu.Lock()
		if c.n == nil {
			c.n = map[volume.Op]int{}
		}
		c.n[op]++
		c.mu.Unlock()
		return next()
	})
}

// of is how many of these operations there were while f ran; of all without any.
func (c *askedOps) of(f func(), ops ...volume.Op) (n int) {
	c.mu.Lock()
	clear(c.n)
	c.mu.Unlock()
	f()
	c.mu.Lock()
	defer c.mu.Unlock()
	for op, k := range c.n {
		if len(ops) == 0 || slices.Contains(ops, op) {
			n += k
		}
	}
	return n
}

// TestHotFilesCostNoVolumeCall: LOOKUP, ACCESS and GETATTR of a small file in use are answered from memory, and READ by one pread, all on
// the goroutine that reads the connection.
func TestHotFilesCostNoVolumeCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memShare(t, 8, nil)
		var ops askedOps
		s.wrapped = ops.count
		s.open(t)
		d := s.mk(t, s.root(t), "d", vfs.Directory).Node
		f := s.mk(t, d, "f", vfs.Regular).Node
		_, _, err := s.u.Write(t.Context(), who, f, []byte("<?php"), 0, vfs.FileSync)
		must(t, err)
		me := &vfs.Who{UID: 1000, GID: 1000}
		use := func(w *vfs.Who) {
			if _, _, err := s.u.Lookup(t.Context(), w, d, vfs.MustName("f")); err != nil {
				t.Errorf("LOOKUP: %v", err)
			}
			if _, _, err := s.u.Lookup(t.Context(), w, d, vfs.MustName("none")); vfs.StatusOf(err) != vfs.NoEnt {
				t.Errorf("LOOKUP of a missing name: %v", err)
			}
			if _, _, err := s.u.Access(t.Context(), w, f, vfs.AccessAll); err != nil {
				t.Errorf("ACCESS: %v", err)
			}
			if _, err := s.u.GetAttr(t.Context(), w, f); err != nil {
				t.Errorf("GETATTR: %v", err)
			}
		}
		buf := make([]byte, 100)
		read := func(w *vfs.Who) {
			if n, _, _, err := s.u.Read(t.Context(), w, f, buf, 0); err != nil || n != 5 {
				t.Errorf("READ: %d bytes, %v", n, err)
			}
		}
		use(me)
		read(me)
		now := *me
		now.NoWait = true
		if n := ops.of(func() { use(&now) }); n != 0 {
			t.Errorf("%d operations on volumes for what memory knows: %v", n, ops.n)
		}
		if n := ops.of(func() { read(me) }); n != 1 {
			t.Errorf("%d operations on volumes for a READ: %v", n, ops.n)
		}
	})
}
