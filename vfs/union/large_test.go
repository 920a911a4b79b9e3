package union

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"sheaf/vfs"
)

// largeDir is how many names TestLargeDirectory and TestCostBySize give a directory: SHEAF_BIG_DIR, else 4,000.
func largeDir(tb testing.TB) int {
	tb.Helper()
	n, err := strconv.Atoi(os.Getenv("SHEAF_BIG_DIR"))
	if err != nil {
		return 4_000
	}
	return n
}

// heapAlive is what lies in the heap and is used.
func heapAlive() uint64 {
	runtime.GC()
	runtime.GC() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func largeName(i int) string { return fmt.Sprintf("message-%08d.eml", i) }

// fill makes names 0 to n-1 in a directory of the roots of the volumes, on each in turn, as other processes do.
func (s *shareT) fill(tb testing.TB, name string, n int) {
	tb.Helper()
	for v, dir := range s.dirs {
		d := filepath.Join(dir, name)
		if err := os.Mkdir(d, 0o755); err != nil {
			tb.Fatal(err)
		}
		for i := v; i < n; i += len(s.dirs) {
			f, err := os.OpenFile(filepath.Join(d, largeName(i)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// onDisk are the names of d as they lie on the volumes.
func (s *shareT) onDisk(tb testing.TB) map[string]bool {
	tb.Helper()
	names := make(map[string]bool)
	for _, dir := range s.dirs {
		f, err := os.Open(filepath.Join(dir, "d"))
		if err != nil {
			tb.Fatal(err)
		}
		list, err := f.Readdirnames(-1)
		f.Close()
		if err != nil {
			tb.Fatal(err)
		}
		for _, name := range list {
			names[name] = true
		}
	}
	return names
}

// listWhole lists d in pages of 500, calls between after each, and fails if a name comes twice or the cookies do not grow.
func (s *shareT) listWhole(tb testing.TB, d vfs.Node, between func(page int)) map[string]bool {
	tb.Helper()
	seen := make(map[string]bool)
	after := vfs.Cookie(0)
	for page := 0; ; page++ {
		n := 0
		_, eof, err := s.u.ReadDir(context.Background(), who, d, after, false, func(e *vfs.DirEntry) bool {
			if name := e.Name.String(); seen[name] {
				tb.Errorf("%s is listed twice", name)
			} else {
				seen[name] = true
			}
			if e.Cookie <= after {
				tb.Errorf("cookie %d after %d", e.Cookie, after)
			}
			after = e.Cookie
			n++
			return n < 500
		})
		if err != nil {
			tb.Fatal(err)
		}
		if eof {
			return seen
		}
		if between != nil {
			between(page)
		}
	}
}

// wantListed compares a listing with what lies on the volumes.
func (s *shareT) wantListed(tb testing.TB, when string, got map[string]bool) {
	tb.Helper()
	want := s.onDisk(tb)
	for name := range want {
		if !got[name] {
			tb.Errorf("%s: %s is not listed", when, name)
		}
	}
	for name := range got {
		if !want[name] {
			tb.Errorf("%s: %s is listed, and not there", when, name)
		}
	}
}

// TestLargeDirectory has a directory whose names the index holds, and not memory: listed, looked up, changed while it is listed, by us
// and by others, over a restart in good order and one that is not.
func TestLargeDirectory(t *testing.T) {
	size := largeDir(t)
	s := localShare(t, 2)
	s.opt.Trust, s.opt.paged = time.Hour, min(size/8, DefaultPaged)
	s.newIndex(t)
	s.fill(t, "d", size)
	empty := heapAlive()
	s.open(t)
	d := s.path(t, "d").Node
	began := time.Now()
	s.wantListed(t, "first", s.listWhole(t, d, nil))
	t.Logf("listed first in %v", time.Since(began))
	s.wantBounded(t, d)
	t.Logf("%d names: paged after %v, heap %d KiB, accounted %d KiB", size, time.Since(began), (heapAlive()-empty)/1024, s.u.memory.Load()/1024)
	s.changeLarge(t, d, size, "x")
	s.wantBounded(t, d)

	for _, how := range []ending{closes, isKilled} {
		if how == closes {
			s.close(t)
		} else {
			must(t, s.store.Abandon())
			_ = s.u.Close() // whatever it says: nobody hears it
			for _, v := range s.vols {
				_ = v.Close()
			}
			s.u, s.store, s.vols = nil, nil, nil
		}
		if s.vols == nil {
			s.openLocal(t)
		}
		s.open(t)
		d = s.path(t, "d").Node
		lists := s.u.stats.lists.Load()
		began := time.Now()
		s.listWhole(t, d, func(page int) {
			if page == 0 {
				t.Logf("a page after a restart came in %v; %d listings", time.Since(began), s.u.stats.lists.Load()-lists)
			}
		})
		s.wantListed(t, "after a restart", s.listWhole(t, d, nil))
		s.wantBounded(t, d)
		s.changeLarge(t, d, size, fmt.Sprint("y", how))
	}
}

// wantBounded waits until memory holds no more of d than it shall.
func (s *shareT) wantBounded(t *testing.T, d vfs.Node) {
	t.Helper()
	n := s.u.table.get(d.ID)
	defer n.put()
	eventually(t, "most names are left to the index", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return s.u.pagedNow(n) && n.names.order.n <= s.opt.paged
	})
}

// changeLarge changes names of d while it is listed, and looks them up; tag is in the names that are made.
func (s *shareT) changeLarge(t *testing.T, d vfs.Node, size int, tag string) {
	t.Helper()
	ctx := t.Context()
	there := s.onDisk(t)
	touched := make(map[string]bool)
	pick := func() string {
		for {
			if name := largeName(rand.IntN(size)); there[name] && !touched[name] {
				touched[name] = true
				return name
			}
		}
	}
	got := s.listWhole(t, d, func(page int) {
		made := fmt.Sprint(tag, page)
		touched[made] = true
		s.mk(t, d, made, vfs.Regular)
		gone := pick()
		_, err := s.u.Remove(ctx, who, d, vfs.MustName(gone))
		must(t, err)
		was, is := pick(), fmt.Sprint(tag, "r", page)
		touched[is] = true
		_, _, err = s.u.Rename(ctx, who, d, vfs.MustName(was), d, vfs.MustName(is))
		must(t, err)
		over, onto := pick(), pick()
		_, _, err = s.u.Rename(ctx, who, d, vfs.MustName(over), d, vfs.MustName(onto))
		must(t, err)
		for _, name := range []string{gone, was, over, "no" + made} {
			s.look(t, d, name, vfs.NoEnt)
		}
		for _, name := range []string{made, is, onto, pick()} {
			s.look(t, d, name, vfs.OK)
		}
	})
	for name := range there {
		if !touched[name] && !got[name] {
			t.Errorf("%s was skipped while others were changed", name)
		}
	}
	s.wantListed(t, "after changes", s.listWhole(t, d, nil))
}

// TestCostBySize prints what calls in directories of 10 names and more cost, with SHEAF_BIG_DIR up to so many. It asserts nothing about
// time.
func TestCostBySize(t *testing.T) {
	if os.Getenv("SHEAF_BIG_DIR") == "" {
		t.Skip("SHEAF_BIG_DIR is not set: the largest directory of which the costs are wanted")
	}
	s := localShare(t, 2)
	s.opt.Trust = time.Hour // as where others are watched
	s.newIndex(t)
	var sizes []int
	for n := 10; n <= largeDir(t); n *= 10 {
		if n != 100 && n != 10_000 {
			sizes = append(sizes, n)
			s.fill(t, fmt.Sprint("d", n), n)
		}
	}
	s.open(t)
	for _, n := range sizes {
		s.printCosts(t, s.path(t, fmt.Sprint("d", n)).Node, n)
	}
}

// printCosts prints what a call in d, which has n names, costs: the least mean of some batches, since others use this host too.
func (s *shareT) printCosts(t *testing.T, d vfs.Node, n int) {
	t.Helper()
	ctx := t.Context()
	began := time.Now()
	s.list(t, d)
	t.Logf("%7d names: listed first in %v", n, time.Since(began))
	dir := s.u.table.get(d.ID)
	defer dir.put()
	eventually(t, "the rows are written", func() bool {
		dir.mu.Lock()
		defer dir.mu.Unlock()
		return len(dir.rows.behind) == 0 && !dir.rows.whole && dir.rows.state == rowsHeld && (n <= DefaultPaged || s.u.pagedNow(dir))
	})
	next := 0
	fresh := func(what string) vfs.Name { next++; return vfs.MustName(fmt.Sprint(what, next)) }
	look := func(name vfs.Name) { _, _, _ = s.u.Lookup(ctx, who, d, name) }
	hot, none := vfs.MustName(largeName(0)), fresh("none")
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"LOOKUP of any name", func() { look(vfs.MustName(largeName(rand.IntN(n)))) }},
		{"LOOKUP hit", func() { look(hot) }},
		{"LOOKUP of a new missing name", func() { look(fresh("none")) }},
		{"LOOKUP miss", func() { look(none) }},
		{"CREATE", func() { s.mk(t, d, fresh("new").String(), vfs.Regular) }},
		{"READDIRPLUS of 100", func() {
			left := 100
			_, _, err := s.u.ReadDir(ctx, who, d, vfs.Cookie(rand.Uint64N(uint64(vfs.MaxCookie)/2)), true, func(*vfs.DirEntry) bool { left--; return left > 0 })
			must(t, err)
		}},
	} {
		least := time.Duration(1<<63 - 1)
		for range 30 {
			began := time.Now()
			for range 50 {
				c.do()
			}
			least = min(least, time.Since(began)/50)
		}
		t.Logf("%7d names: %-30s %v", n, c.what, least)
	}
}
