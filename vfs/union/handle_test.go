package union

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// TestHandlesOutlive keeps handles over renames of parents, kill -9, and loss of the index, on
// volumes that can and cannot find objects by identity.
func TestHandlesOutlive(t *testing.T) {
	for _, index := range []string{"kept", "lost", "none"} {
		for _, locate := range []bool{true, false} {
			t.Run(fmt.Sprintf("index %s, locate %v", index, locate), func(t *testing.T) {
				s := memShare(t, 3, func(_ int, o *volumetest.Options) { o.Caps = func(c *volume.Caps) { c.Locate = locate } })
				if index != "none" {
					s.newIndex(t)
				}
				s.open(t)
				checkHandlesOutlive(t, s, func() {
					if index == "lost" {
						s.close(t)
						s.newIndex(t)
					}
					s.restart(t)
				})
			})
		}
	}
}

func TestHandlesOutliveLocal(t *testing.T) {
	if me := localCan().As; me != nil { // the only caller an ordinary user's server can act as
		who = me
		t.Cleanup(func() { who = vfs.Superuser })
	}
	s := localShare(t, 2)
	s.open(t)
	checkHandlesOutlive(t, s, func() { s.restart(t) })
}

func checkHandlesOutlive(t testing.TB, s *shareT, restart func()) {
	t.Helper()
	root := s.root(t)
	a := s.mk(t, root, "a", vfs.Directory)
	b := s.mk(t, a.Node, "b", vfs.Directory)
	other := s.mk(t, root, "other", vfs.Directory)
	var all []vfs.Attr
	for i := range 6 {
		all = append(all, s.mk(t, b.Node, fmt.Sprintf("f%d", i), vfs.Regular))
	}
	all = append(all, a, b, s.mk(t, b.Node, "link", vfs.Symlink), s.mk(t, b.Node, "fifo", vfs.FIFO))
	gone := s.mk(t, b.Node, "gone", vfs.Regular)
	check := func(when string) {
		t.Helper()
		for _, want := range all {
			got, err := s.u.GetAttr(t.Context(), who, want.Node)
			if err != nil || got.Node != want.Node || got.Type != want.Type {
				t.Errorf("%s: GetAttr of %v: %v, %v", when, want.Node, got.Node, err)
			}
		}
	}
	must(t, rename(t, s, a.Node, "b", other.Node, "b2"))
	check("after rename")
	must(t, rename(t, s, root, "other", a.Node, "deep"))
	check("after rename of the parent")
	if _, err := s.u.Remove(t.Context(), who, b.Node, vfs.MustName("gone")); err != nil {
		t.Fatal(err)
	}
	restart()
	check("after restart")
	for range 2 { // the second time it is remembered
		if _, err := s.u.GetAttr(t.Context(), who, gone.Node); vfs.StatusOf(err) != vfs.Stale {
			t.Errorf("GetAttr of what was removed: %v, want Stale", err)
		}
	}
	if scans := s.u.Stats().Scans; scans > 0 && s.index != "" && s.u.vol(0).can().Locate {
		t.Logf("%d walks over the volumes", scans)
	}
	must(t, rename(t, s, root, "a", root, "z"))
	restart()
	if got := s.path(t, "z/deep/b2/f3"); got.Node != all[3].Node {
		t.Errorf("f3 is %v, was %v", got.Node, all[3].Node)
	}
	check("after all")
	if _, err := s.u.GetAttr(t.Context(), who, vfs.Node{ID: vfs.NodeID{1, 2, 3}}); vfs.StatusOf(err) != vfs.Stale {
		t.Errorf("GetAttr of no object: %v, want Stale", err)
	}
}

func rename(t testing.TB, s *shareT, from vfs.Node, fromName string, to vfs.Node, toName string) error {
	t.Helper()
	_, _, err := s.u.Rename(t.Context(), who, from, vfs.MustName(fromName), to, vfs.MustName(toName))
	return err
}

// TestCookies lets names share few hashes: every entry keeps its cookie, over changes
// around it and a restart, and no page skips or repeats one.
func TestCookies(t *testing.T) {
	s := memShare(t, 2, nil)
	s.newIndex(t)
	open := func() {
		s.u.hash = func(n vfs.Name) vfs.Cookie { return vfs.FirstCookie + vfs.Cookie(len(n.String())%3)*10 }
	}
	s.open(t)
	open()
	d := s.mk(t, s.root(t), "d", vfs.Directory)
	names := make(map[string]bool)
	for i := range 40 {
		name := fmt.Sprintf("n%0*d", i%5+2, i)
		names[name] = true
		s.mk(t, d.Node, name, vfs.Regular)
	}
	cookies := func() map[string]vfs.Cookie {
		m := make(map[string]vfs.Cookie)
		for after := vfs.Cookie(0); ; {
			count := 0
			_, eof, err := s.u.ReadDir(t.Context(), who, d.Node, after, false, func(e *vfs.DirEntry) bool {
				if count == 3 {
					return false
				}
				count++
				if _, ok := m[e.Name.String()]; ok || e.Cookie <= after {
					t.Errorf("%s comes twice or out of order", e.Name)
				}
				m[e.Name.String()], after = e.Cookie, e.Cookie
				return true
			})
			must(t, err)
			if eof {
				return m
			}
		}
	}
	before := cookies()
	if len(before) != len(names) {
		t.Fatalf("listed %d of %d", len(before), len(names))
	}
	removed := 0
	for name := range names {
		if rand.IntN(3) == 0 {
			_, err := s.u.Remove(t.Context(), who, d.Node, vfs.MustName(name))
			must(t, err)
			delete(names, name)
			removed++
		}
	}
	check := func(when string) {
		t.Helper()
		now := cookies()
		if len(now) != len(names) {
			t.Errorf("%s: listed %d of %d", when, len(now), len(names))
		}
		for name, c := range now {
			if c != before[name] {
				t.Errorf("%s: cookie of %s is %d, was %d", when, name, c, before[name])
			}
		}
	}
	check("after removals")
	for i := range 10 { // some take a cookie that another has left
		name := fmt.Sprintf("again%0*d", i%5+2, i)
		names[name] = true
		s.mk(t, d.Node, name, vfs.Regular)
	}
	for name := range names {
		if rand.IntN(3) == 0 {
			_, err := s.u.Remove(t.Context(), who, d.Node, vfs.MustName(name))
			must(t, err)
			s.mk(t, d.Node, name, vfs.Regular)
		}
	}
	before = cookies()
	s.restart(t)
	open()
	check("after restart")
}

// TestNewcomerTakesNoCookie: of names with one hash the first that was listed keeps its cookie, also when another process makes
// the others, whatever their order, and over a restart.
func TestNewcomerTakesNoCookie(t *testing.T) {
	s := memShare(t, 1, nil)
	s.newIndex(t)
	s.opt.Trust = time.Nanosecond
	s.open(t)
	hash := func(vfs.Name) vfs.Cookie { return vfs.FirstCookie + 7 }
	s.u.hash = hash
	cookies := func() map[string]vfs.Cookie {
		m := make(map[string]vfs.Cookie)
		_, eof, err := s.u.ReadDir(t.Context(), who, s.root(t), 0, false, func(e *vfs.DirEntry) bool {
			m[e.Name.String()] = e.Cookie
			return true
		})
		if err != nil || !eof {
			t.Fatal(err, eof)
		}
		return m
	}
	was := map[string]vfs.Cookie{}
	for _, name := range []string{"m", "z", "a", "k"} {
		plant(t, s.mems[0].Root(), name, vfs.Regular)
		now := cookies()
		for n, c := range was {
			if now[n] != c {
				t.Errorf("when %s came the cookie of %s became %d, was %d", name, n, now[n], c)
			}
		}
		was = now
	}
	s.restart(t)
	s.u.hash = hash
	if now := cookies(); !maps.Equal(now, was) {
		t.Errorf("after a restart the cookies are %v, were %v", now, was)
	}
}

// TestReadDirWhileOthersWrite lists a directory again and again while names come and go: those
// that stay are given exactly once.
func TestReadDirWhileOthersWrite(t *testing.T) {
	s := memShare(t, 3, nil)
	s.open(t)
	d := s.mk(t, s.root(t), "d", vfs.Directory)
	const stay = 500
	for i := range stay {
		s.mk(t, d.Node, fmt.Sprintf("stay%d", i), vfs.Regular)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := vfs.MustName(fmt.Sprintf("come%d", i%50))
			if _, _, err := s.u.Make(t.Context(), who, d.Node, name, &vfs.How{Type: vfs.Regular}); err != nil && vfs.StatusOf(err) != vfs.Exist {
				t.Errorf("make: %v", err)
			}
			if _, err := s.u.Remove(t.Context(), who, d.Node, name); err != nil && vfs.StatusOf(err) != vfs.NoEnt {
				t.Errorf("remove: %v", err)
			}
		}
	}()
	for range 20 {
		var got []string
		for after := vfs.Cookie(0); ; {
			count := 0
			_, eof, err := s.u.ReadDir(t.Context(), who, d.Node, after, true, func(e *vfs.DirEntry) bool {
				if count++; count > 100 {
					return false
				}
				after = e.Cookie
				if e.Name.String()[0] == 's' {
					got = append(got, e.Name.String())
				}
				return true
			})
			must(t, err)
			if eof {
				break
			}
		}
		slices.Sort(got)
		if len(got) != stay || len(slices.Compact(got)) != stay {
			t.Errorf("listed %d names that stay, want %d", len(got), stay)
		}
	}
	close(stop)
	<-done
}
