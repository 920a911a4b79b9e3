package union

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// writingFS is the union of a share, and writes rows before every second change or listing, as time would.
type writingFS struct {
	vfs.FS
	s *shareT
	n int
}

func (f *writingFS) write() {
	if f.n++; f.n%2 == 0 {
		f.s.writeNow()
	}
}

// Make implements vfs.FS.
func (f *writingFS) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	f.write()
	return f.FS.Make(ctx, w, dir, name, how)
}

// Lookup implements vfs.FS.
func (f *writingFS) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	f.write()
	return f.FS.Lookup(ctx, w, dir, name)
}

// ReadDir implements vfs.FS.
func (f *writingFS) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	f.write()
	return f.FS.ReadDir(ctx, w, dir, after, attrs, each)
}

// Remove implements vfs.FS.
func (f *writingFS) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	f.write()
	return f.FS.Remove(ctx, w, dir, name)
}

// Rename implements vfs.FS.
func (f *writingFS) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (vfs.Change, vfs.Change, error) {
	f.write()
	return f.FS.Rename(ctx, w, from, fromName, to, toName)
}

// TestProgramPaged runs programs whose directories of two or three names are large already: their names lie in the index. The server is
// sometimes killed.
func TestProgramPaged(t *testing.T) {
	fewer(t, 12)
	var paged atomic.Int64
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, n, nil)
				s.newIndex(rt)
				s.opt.rowsDelay, s.opt.settleDelay = time.Hour, time.Hour
				s.opt.paged = rapid.IntRange(1, 2).Draw(rt, "paged")
				open := func() vfs.FS { return &writingFS{s.open(rt), s, 0} }
				restart := func(rt *rapid.T) vfs.FS {
					paged.Add(s.u.stats.paged.Load())
					s.end(rt, ending(rapid.IntRange(0, int(loses)).Draw(rt, "end")), 0)
					s.believe(rt, false)
					return open()
				}
				vfstest.RunProgram(rt, open(), vfstest.ProgramOptions{Restart: restart, Steps: 60})
				paged.Add(s.u.stats.paged.Load())
				for _, x := range s.checked(rt, false) {
					if !x.Note { // who is killed leaves hints that are old
						rt.Errorf("check found %+v", x)
					}
				}
				s.close(rt)
			})
		})
	}
	t.Logf("left to the index %d times", paged.Load())
	if !testing.Short() && paged.Load() == 0 { // with -short rapid makes one check of eight
		t.Error("no directory's names were ever left to the index")
	}
}

// TestPagedTellsWhatRowsLack: of a directory whose names lie in the index what memory knows better is told, whether its row is written or
// not, and nothing of that takes a look at what is not concerned, or another listing (G1, G4, G6).
func TestPagedTellsWhatRowsLack(t *testing.T) {
	s := memShare(t, 2, nil)
	s.opt.Trust, s.opt.rowsDelay, s.opt.settleDelay, s.opt.paged = time.Hour, time.Hour, time.Hour, 4
	s.newIndex(t)
	var ops askedOps
	s.wrapped = ops.count
	s.open(t)
	d := s.mk(t, s.root(t), "d", vfs.Directory).Node
	want := make(map[string]bool)
	for i := range 40 {
		want[largeName(i)] = true
		s.mk(t, d, largeName(i), vfs.Regular)
	}
	s.list(t, d)
	s.writeNow()
	if s.u.stats.paged.Load() != 1 {
		t.Fatalf("%d directories are paged", s.u.stats.paged.Load())
	}
	lists := s.u.stats.lists.Load()
	check := func(when string) {
		t.Helper()
		got := s.list(t, d)
		for _, name := range got {
			if !want[name] {
				t.Errorf("%s: %s is listed", when, name)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d names are listed, want %d", when, len(got), len(want))
		}
		for i := range 60 {
			if name := largeName(i); want[name] {
				s.look(t, d, name, vfs.OK)
			} else if n := ops.of(func() { s.look(t, d, name, vfs.NoEnt) }); n != 0 {
				t.Errorf("%s: %d operations on volumes for %s, which is known not to be there: %v", when, n, name, ops.n)
			}
		}
		if n := s.u.stats.lists.Load() - lists; n != 0 {
			t.Errorf("%s: listed %d times", when, n)
		}
	}
	check("at first")
	for round := range 3 {
		remove, from, to, onto, made := largeName(round), largeName(10+round), largeName(45+round), largeName(20+round), largeName(50+round)
		_, err := s.u.Remove(t.Context(), who, d, vfs.MustName(remove))
		must(t, err)
		_, _, err = s.u.Rename(t.Context(), who, d, vfs.MustName(from), d, vfs.MustName(to))
		must(t, err)
		_, _, err = s.u.Rename(t.Context(), who, d, vfs.MustName(to), d, vfs.MustName(onto))
		must(t, err)
		s.mk(t, d, made, vfs.Regular)
		delete(want, remove)
		delete(want, from)
		want[made] = true
		check("before the rows are written")
		s.writeNow()
		check("after")
	}
	s.restart(t)
	check("after a restart")
}
