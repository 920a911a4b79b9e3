package union

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume/volumetest"
)

// wideShare is a share of n volumes with a directory that has a copy and a file on each of them.
func wideShare(t *testing.T, n int, change func(i int, o *volumetest.Options)) (s *shareT, d vfs.Node) {
	t.Helper()
	s = memShare(t, n, change)
	for i := range n {
		plant(t, s.mems[i].Root(), "d", vfs.Directory)
		plant(t, onVolume(t, s.mems[i], "d"), fmt.Sprintf("f%d", i), vfs.Regular)
	}
	s.open(t)
	return s, s.path(t, "d").Node
}

// warm makes everything about d known, and its marks written.
func (s *shareT) warm(t *testing.T, d vfs.Node) {
	t.Helper()
	for _, name := range s.list(t, d) {
		s.look(t, d, name, vfs.OK)
	}
	if _, err := s.u.GetAttr(t.Context(), who, d); err != nil {
		t.Fatal(err)
	}
}

// on is the volume on which an object lies.
func (s *shareT) on(t *testing.T, n vfs.Node) int {
	t.Helper()
	o := s.u.table.get(n.ID)
	if o == nil {
		t.Fatalf("node %v is not in memory", n)
	}
	defer o.put()
	return o.volumes().first()
}

// TestOnlyTheChangedCopyIsAsked counts calls: what changes a name of a directory with eight copies asks
// the volume that has the name, and no other.
func TestOnlyTheChangedCopyIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var said []string // what the volumes were asked; guarded by mu
		s, d := wideShare(t, 8, func(i int, o *volumetest.Options) {
			o.Fault = func(op string, _ int) error {
				mu.Lock()
				defer mu.Unlock()
				said = append(said, fmt.Sprintf("%s of %d", op, i))
				return nil
			}
		})
		s.warm(t, d)
		s.mk(t, d, "first", vfs.Regular) // asks every volume for its space
		if _, _, err := s.u.GetACL(t.Context(), who, d); err != nil {
			t.Fatal(err)
		}
		asked := func(what string, v int, most int, f func()) {
			t.Helper()
			var before [8]int
			for i, m := range s.mems {
				before[i] = m.Counts().Ops
			}
			said = nil
			f()
			for i, m := range s.mems {
				n := m.Counts().Ops - before[i]
				if v < 0 && n > 0 { // whichever was chosen
					v = i
				}
				if i == v && n > most || i != v && n > 0 {
					t.Errorf("%s: %d calls of volume %d, want at most %d of volume %d only: %q", what, n, i, most, v, said)
				}
			}
		}
		var a vfs.Attr
		asked("create", -1, 4, func() { a = s.mk(t, d, "new", vfs.Regular) })
		v := s.on(t, a.Node)
		asked("rename", v, 8, func() { must(t, rename(t, s, d, "new", d, "newer")) })
		asked("rename over", v, 12, func() { must(t, rename(t, s, d, "newer", d, fmt.Sprintf("f%d", v))) })
		asked("remove", v, 7, func() {
			_, err := s.u.Remove(t.Context(), who, d, vfs.MustName(fmt.Sprintf("f%d", v)))
			must(t, err)
		})
	})
}

// TestOwnChangesKeepACLs: changes of ours move the ctime of a directory, which is no reason to read its lists again; what another
// process does to them is seen, also where it comes between our looks at the directory before and after a change of
// ours.
func TestOwnChangesKeepACLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read atomic.Int64
		var between atomic.Pointer[func()] // called once, right before a file is made
		s, d := wideShare(t, 1, func(_ int, o *volumetest.Options) {
			o.Fault = func(op string, _ int) error {
				switch op {
				case "acls":
					read.Add(1)
				case "create":
					if f := between.Swap(nil); f != nil {
						(*f)()
					}
				}
				return nil
			}
		})
		s.warm(t, d)
		dir := onVolume(t, s.mems[0], "d")
		lists := func(id uint32) vfs.ACLs {
			return vfs.ACLs{Access: vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 7}, {Tag: vfs.ACLUser, ID: id, Perm: 7}, {Tag: vfs.ACLGroupObj, Perm: 5}, {Tag: vfs.ACLMask, Perm: 7}, {Tag: vfs.ACLOther}}}
		}
		told := func() uint32 {
			acls, _, err := s.u.GetACL(t.Context(), who, d)
			must(t, err)
			if len(acls.Access) != 5 {
				return 0
			}
			return acls.Access[1].ID
		}
		must(t, dir.SetACLs(t.Context(), lists(5)))
		time.Sleep(DefaultTrust)
		s.mk(t, d, "first", vfs.Regular)
		if got := told(); got != 5 {
			t.Fatalf("the list is of user %d, want 5", got)
		}
		before := read.Load()
		for i := range 10 {
			s.mk(t, d, fmt.Sprintf("new%d", i), vfs.Regular)
			must(t, rename(t, s, d, fmt.Sprintf("new%d", i), d, "other"))
			_, err := s.u.Remove(t.Context(), who, d, vfs.MustName("other"))
			must(t, err)
		}
		if n := read.Load() - before; n > 0 {
			t.Errorf("the lists were read %d times for 30 changes of ours", n)
		}
		must(t, dir.SetACLs(t.Context(), lists(6)))
		s.mk(t, d, "second", vfs.Regular) // looks at the directory, and sees that its ctime is not ours
		if got := told(); got != 6 {
			t.Errorf("after another process's change the list is of user %d, want 6", got)
		}
		f := func() { must(t, dir.SetACLs(t.Context(), lists(7))) }
		between.Store(&f)
		s.mk(t, d, "third", vfs.Regular)
		time.Sleep(DefaultTrust)
		if got := told(); got != 7 {
			t.Errorf("trust after a change in the midst of ours the list is of user %d, want 7", got)
		}
	})
}

// TestForeignChangeOfAnotherCopyShows changes a copy behind our back while we change another all the time:
// within trust the times move beyond those of our own changes, and the name is there.
func TestForeignChangeOfAnotherCopyShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := wideShare(t, 2, nil)
		s.warm(t, d)
		serial := 0
		var last vfs.Attr // as a client knows it that believes what wcc data tell it
		change := func() (own bool) {
			serial++
			name := vfs.MustName(fmt.Sprintf("own%d", serial))
			_, ch, err := s.u.Make(t.Context(), who, d, name, &vfs.How{Type: vfs.Regular})
			must(t, err)
			if !ch.HasBefore || !ch.HasAfter || ch.After.Ctime.Compare(ch.Before.Ctime) <= 0 {
				t.Fatalf("change %d: ctime from %v to %v", serial, ch.Before.Ctime, ch.After.Ctime)
			}
			own = ch.Before.Ctime == last.Ctime && ch.Before.Mtime == last.Mtime
			last = ch.After
			return own
		}
		change()
		for v := range 2 {
			for range 20 {
				if !change() {
					t.Fatalf("our own change %d looks like another's", serial)
				}
			}
			plant(t, onVolume(t, s.mems[v], "d"), fmt.Sprintf("foreign%d", v), vfs.Regular)
			begin, seen := time.Now(), false
			for time.Since(begin) <= DefaultTrust && !seen {
				time.Sleep(DefaultTrust / 10)
				seen = !change()
			}
			if !seen {
				t.Errorf("a change of copy %d by another process did not show in %v of our own changes", v, DefaultTrust)
			}
			time.Sleep(pastTrust) // names are proved in a rhythm of their own
			s.look(t, d, fmt.Sprintf("foreign%d", v), vfs.OK)
			change()
		}
	})
}

// TestForeignChangeBeforeOurs changes the very copy that we change next: our reply tells a
// client that it did not know the directory.
func TestForeignChangeBeforeOurs(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *shareT, d vfs.Node, v int) vfs.Change{
		"remove": func(t *testing.T, s *shareT, d vfs.Node, v int) vfs.Change {
			ch, err := s.u.Remove(t.Context(), who, d, vfs.MustName(fmt.Sprintf("f%d", v)))
			must(t, err)
			return ch
		},
		"rename": func(t *testing.T, s *shareT, d vfs.Node, v int) vfs.Change {
			from, to, err := s.u.Rename(t.Context(), who, d, vfs.MustName(fmt.Sprintf("f%d", v)), d, vfs.MustName("g"))
			must(t, err)
			if from != to {
				t.Errorf("one directory has the changes %v and %v", from, to)
			}
			return to
		},
		"link": func(t *testing.T, s *shareT, d vfs.Node, v int) vfs.Change {
			_, ch, err := s.u.Link(t.Context(), who, s.look(t, d, fmt.Sprintf("f%d", v), vfs.OK).Node, d, vfs.MustName("g"))
			must(t, err)
			return ch
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := wideShare(t, 3, nil)
				s.warm(t, d)
				known, err := s.u.GetAttr(t.Context(), who, d)
				must(t, err)
				plant(t, onVolume(t, s.mems[1], "d"), "foreign", vfs.Regular)
				ch := change(t, s, d, 1)
				if ch.Before.Ctime.Compare(known.Ctime) <= 0 || ch.Before.Mtime.Compare(known.Mtime) <= 0 {
					t.Errorf("before our change times were %v and %v, a client knew %v and %v: another's change came between", ch.Before.Ctime, ch.Before.Mtime, known.Ctime, known.Mtime)
				}
				if ch.After.Ctime.Compare(ch.Before.Ctime) <= 0 || ch.After.Mtime.Compare(ch.Before.Mtime) <= 0 {
					t.Errorf("our change moved times from %v and %v to %v and %v", ch.Before.Ctime, ch.Before.Mtime, ch.After.Ctime, ch.After.Mtime)
				}
			})
		})
	}
}

// TestQuestionsAreAskedAtOnce lets every volume answer only when all were asked: after patience where all were quick until now, and
// from the beginning where they were slow, or nothing is to be remembered.
func TestQuestionsAreAskedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		slow volset
		mode Lookups
		want time.Duration
	}{
		"quick":          {0, LookupFull, patience},
		"slow":           {1<<8 - 1, LookupFull, 0},
		"all but one":    {0b1011_1111, LookupFull, 0},
		"one":            {0b0000_1000, LookupFull, patience},
		"never remember": {0, LookupOff, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 8
				s := memShare(t, n, nil)
				s.opt.Lookups = c.mode
				u := s.open(t)
				for _, v := range u.members().vols {
					v.pace.ns.Store(0)
					if c.slow.has(v.i) {
						v.pace.ns.Store(int64(slowQuestion) + 1)
					}
				}
				var waiting atomic.Int32
				all := make(chan struct{})
				begin := time.Now()
				err := u.askEach(1<<n-1, func(int) error {
					if waiting.Add(1) == n {
						close(all)
					}
					<-all
					return nil
				})
				if took := time.Since(begin); err != nil || took != c.want {
					t.Errorf("took %v with error %v, want %v", took, err, c.want)
				}
			})
		})
	}
}

// TestPace wants a volume that was quick to be slow after some slow answers, and quick again after some quick ones.
func TestPace(t *testing.T) {
	var p pace
	answers := func(d time.Duration, slow bool) (n int) {
		for ; p.slow() != slow && n < 100; n++ {
			p.took(d)
		}
		return n
	}
	if n := answers(300*time.Microsecond, true); n == 0 || n > paceShare {
		t.Errorf("slow after %d slow answers", n)
	}
	if n := answers(time.Microsecond, false); n == 0 || n > 8*paceShare {
		t.Errorf("quick after %d quick answers", n)
	}
}

// TestQuickQuestionsAreAskedByOne wants no goroutine started for what is answered at once, each
// question put once, and the error of the first volume that has one.
func TestQuickQuestionsAreAskedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := memShare(t, 8, nil).open(t)
		var order []int
		err := u.askEach(0b1011_0110, func(v int) error {
			order = append(order, v) // the race detector sees it if another does
			if v == 2 || v == 5 {
				return fmt.Errorf("volume %d", v)
			}
			return nil
		})
		if fmt.Sprint(order) != "[1 2 4 5 7]" || err == nil || err.Error() != "volume 2" {
			t.Errorf("asked %v with error %v", order, err)
		}
	})
}
