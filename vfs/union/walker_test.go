package union

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// plantTree makes directories and files on a volume as somebody would who knows nothing of us.
func plantTree(t *testing.T, v volume.Volume, n int) {
	t.Helper()
	for i := range n {
		d := fmt.Sprintf("d%d", i)
		plant(t, v.Root(), d, vfs.Directory)
		in := onVolume(t, v, d)
		for j := range n {
			plant(t, in, fmt.Sprintf("%s-f%d", v.Name(), j), vfs.Regular)
		}
		plant(t, in, "deep", vfs.Directory)
		deep, err := in.OpenDir(t.Context(), vfs.MustName("deep"))
		must(t, err)
		plant(t, deep, v.Name(), vfs.Regular)
		must(t, deep.Close())
		must(t, in.Close())
	}
}

// TestWalkKnowsEverything: after a walk the index knows each object and all names, and a restart takes no listing to
// answer for any.
func TestWalkKnowsEverything(t *testing.T) {
	ctx := t.Context()
	var lists atomic.Int64
	s := memShare(t, 3, func(_ int, o *volumetest.Options) {
		o.Fault = func(op string, _ int) error {
			if op == "list" {
				lists.Add(1)
			}
			return nil
		}
	})
	s.newIndex(t)
	for _, v := range s.vols {
		plantTree(t, v, 3)
	}
	s.open(t)
	if s.store.Whole() {
		t.Fatal("a new index is whole")
	}
	must(t, s.u.walks.walk(ctx, "test", walkOptions{}))
	p := s.u.ScanProgress()
	const dirs, names = 1 + 3 + 3, 3 + 3*(3*3+1) + 3*3
	if p.Running || p.Err != nil || !p.Whole || p.Directories != dirs || p.Listed != dirs || p.Objects != names || p.Entered != names {
		t.Errorf("progress %+v, want %d directories, %d names", p, dirs, names)
	}
	s.settleNow()
	for path := range s.seen(t) {
		a := s.path(t, path)
		if _, ok, err := s.store.Node(a.Node.ID); !ok || err != nil {
			t.Errorf("no row for %s: %v", path, err)
		}
	}
	s.end(t, closes, 0)
	if proofs, completes := s.believe(t, false); proofs != 3*dirs || completes != 3*dirs {
		t.Errorf("%d copies are proved and %d complete, of %d", proofs, completes, 3*dirs)
	}
	lists.Store(0)
	s.open(t)
	if !s.store.Whole() {
		t.Error("it is not whole after a restart")
	}
	for i := range 3 {
		d := s.path(t, fmt.Sprintf("d%d", i)).Node
		s.look(t, d, "nothing", vfs.NoEnt)
		s.look(t, s.look(t, d, "deep", vfs.OK).Node, "nothing", vfs.NoEnt)
		if got := len(s.list(t, d)); got != 10 {
			t.Errorf("%d names", got)
		}
	}
	if n := lists.Load(); n != 0 {
		t.Errorf("%d copies were listed", n)
	}
	must(t, s.u.walks.walk(ctx, "again", walkOptions{}))
	if p := s.u.ScanProgress(); p.Listed != 0 || p.Entered != 0 || p.Directories != dirs || p.Objects != names {
		t.Errorf("a walk over what is known: %+v", p)
	}
	if n := lists.Load(); n != 0 {
		t.Errorf("a walk over what is known listed %d copies", n)
	}
}

// TestWalkGoesOn: a walk that was ended goes on where it was, as what it saw is known; one that cannot see a directory
// says so, and sees the others.
func TestWalkGoesOn(t *testing.T) {
	var deny atomic.Bool
	s := memShare(t, 1, func(_ int, o *volumetest.Options) {
		o.Fault = func(op string, _ int) error {
			if op == "list" && deny.CompareAndSwap(true, false) {
				return errDisk
			}
			return nil
		}
	})
	s.newIndex(t)
	plantTree(t, s.vols[0], 4)
	s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	seen := int64(0)
	err := s.u.walks.walk(ctx, "test", walkOptions{tell: func(p ScanProgress) { seen = p.Directories }})
	must(t, err)
	if seen != 9 {
		t.Fatalf("%d directories", seen)
	}
	cancel()
	if err := s.u.walks.walk(ctx, "test", walkOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a walk that was ended: %v", err)
	}
	s.end(t, loses, 0)
	s.open(t)
	s.list(t, s.path(t, "d0").Node) // and so the root
	deny.Store(true)
	err = s.u.walks.walk(t.Context(), "test", walkOptions{})
	p := s.u.ScanProgress()
	if err == nil || p.Err == nil || p.Whole || p.Listed != 5 || p.Directories != 7 {
		t.Errorf("with a directory that cannot be listed: %v, %+v", err, p)
	}
	must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
	if p := s.u.ScanProgress(); p.Listed != 2 || !p.Whole { // that one, and what is beneath
		t.Errorf("the next time: %+v", p)
	}
}

// TestWalkRests: while clients are served the walk works a tenth of the time, and goes on.
func TestWalkRests(t *testing.T) {
	s := memShare(t, 1, nil)
	s.newIndex(t)
	plantTree(t, s.vols[0], 3)
	s.open(t)
	r := &walkRun{w: &s.u.walks, o: walkOptions{paced: true}, m: s.u.members()}
	for i, c := range []struct {
		clients        bool
		worked, rested time.Duration
	}{
		{false, time.Hour, 0},
		{true, time.Millisecond, 9 * time.Millisecond},
		{true, time.Hour, scanRestMax},
		{false, time.Hour, 0},
	} {
		if c.clients {
			s.look(t, s.u.root.node(), "nothing", vfs.NoEnt)
		}
		before := s.u.ScanProgress().Rested
		must(t, r.rest(t.Context(), c.worked))
		if got := s.u.ScanProgress().Rested - before; got != c.rested {
			t.Errorf("%d: rests %v, want %v", i, got, c.rested)
		}
	}
}

// TestWalkBegins: a walk begins by itself where not all is known, and not where all is.
func TestWalkBegins(t *testing.T) {
	s := memShare(t, 2, nil)
	s.newIndex(t)
	plantTree(t, s.vols[0], 2)
	s.opt.scanDelay = time.Nanosecond
	s.open(t)
	eventually(t, "the walk sees everything", func() bool { return s.u.ScanProgress().Whole })
	s.settleNow()
	s.restart(t)
	if p := s.u.ScanProgress(); p.Running || p.Why != "" || !p.Whole {
		t.Errorf("after a clean stop: %+v", p)
	}
	s.end(t, isKilled, 0)
	s.open(t)
	if s.store.Whole() {
		t.Error("whole after a kill")
	}
	eventually(t, "the walk sees everything", func() bool { return s.u.ScanProgress().Whole })
	if p := s.u.ScanProgress(); p.Listed != 0 {
		t.Errorf("what was known before the kill was listed again: %+v", p)
	}
}

// TestRebuild: what the index says wrongly is put right.
func TestRebuild(t *testing.T) {
	ctx := t.Context()
	s := memShare(t, 2, nil)
	s.newIndex(t)
	plantTree(t, s.vols[0], 2)
	plantTree(t, s.vols[1], 2)
	s.open(t)
	must(t, s.u.walks.walk(ctx, "test", walkOptions{}))
	want := s.list(t, s.path(t, "d1").Node)
	d := s.path(t, "d1").Node
	s.settleNow()
	must(t, s.store.Flush(ctx))
	entries, _, err := s.store.Entries(d.ID, 0, 100)
	must(t, err)
	copies, err := s.store.Copies(d.ID)
	must(t, err)
	must(t, s.store.ChangeDir(ctx, d.ID, s.store.Era(), &meta.DirChange{Copies: copies, Drop: []vfs.Cookie{entries[0].Cookie}}))
	s.restart(t)
	if got := s.list(t, s.path(t, "d1").Node); len(got) != len(want)-1 {
		t.Fatalf("the wrong index is not believed: %q", got)
	}
	var told int
	must(t, s.u.Rebuild(ctx, func(p ScanProgress) { told++ }))
	if got := s.list(t, s.path(t, "d1").Node); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("holds %q, want %q", got, want)
	}
	if p := s.u.ScanProgress(); p.Directories != 5 || p.Listed != 5 || told == 0 || !p.Whole {
		t.Errorf("%+v, told %d times", p, told)
	}
	s.settleNow()
	s.end(t, closes, 0)
	if proofs, completes := s.believe(t, false); proofs != 10 || completes != 10 {
		t.Errorf("%d proofs, %d complete", proofs, completes)
	}
}
