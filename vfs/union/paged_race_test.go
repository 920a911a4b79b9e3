package union

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestLookedUpWhilePaged: names of a large directory that are looked up while its rows are recalled stay in it.
func TestLookedUpWhilePaged(t *testing.T) {
	s := localShare(t, 1)
	s.opt.Trust, s.opt.rowsDelay, s.opt.settleDelay, s.opt.paged = time.Hour, time.Hour, time.Hour, 4
	s.opt.Lookups = LookupNames // so that a look-up does not list
	s.newIndex(t)
	const n = 20000
	s.fill(t, "d", n)
	time.Sleep(2200 * time.Millisecond) // versions that are so young prove nothing
	s.open(t)
	for range 2 { // the first listing has no rows to recall, the second writes their proof
		s.list(t, s.path(t, "d").Node)
		s.writeNow()
		s.restart(t)
	}
	d := s.path(t, "d").Node
	rows := s.u.table.get(d.ID)
	defer rows.put()
	recalling := func() bool {
		rows.mu.Lock()
		defer rows.mu.Unlock()
		return rows.rows.state == rowsHeld
	}
	listed := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for !recalling() {
				runtime.Gosched()
			}
			for i := w; i < n; i += 4 {
				select {
				case <-listed:
					return
				default:
					s.look(t, d, largeName(i), vfs.OK)
				}
			}
		})
	}
	if got := s.list(t, d); len(got) != n {
		t.Errorf("%d of %d names are listed", len(got), n)
	}
	close(listed)
	wg.Wait()
	s.writeNow()
	if got := s.list(t, d); len(got) != n {
		t.Errorf("%d of %d names are listed after the rows are written", len(got), n)
	}
	for i := range n {
		s.look(t, d, largeName(i), vfs.OK)
	}
}

// TestStandsAfterStall: what the index knows of a large directory stands while a volume is away, also if that was stalled before and the
// names were left to the index again since.
func TestStandsAfterStall(t *testing.T) {
	s := newAwayShare(t, 2)
	s.stall = 1
	s.opt.rowsDelay, s.opt.settleDelay, s.opt.paged = time.Hour, time.Hour, 4
	s.newIndex(t)
	s.open(t)
	d := s.mk(t, s.root(t), "d", vfs.Directory).Node
	for i := range 40 {
		s.onVolume(t, i%2)
		s.mk(t, d, largeName(i), vfs.Regular)
	}
	s.anywhere(t)
	pagedAgain := func(than uint64) {
		eventually(t, "its names are left to the index", func() bool {
			s.list(t, d)
			s.writeNow()
			return uint64(s.u.stats.paged.Load()) > than
		})
	}
	pagedAgain(0)
	end := s.p[1].delay.Hang()
	defer end()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _, _ = s.u.Lookup(t.Context(), who, d, vfs.MustName(largeName(1)))
	}()
	s.await(t, 1, false, volume.Stalled)
	_, _, _ = s.u.Lookup(t.Context(), who, d, vfs.MustName("nowhere")) // brings the names into memory
	before := uint64(s.u.stats.paged.Load())
	end()
	<-asked
	s.await(t, 1, true, volume.Online)
	pagedAgain(before)
	s.pull(t, 1)
	if _, _, err := s.u.Lookup(t.Context(), who, d, vfs.MustName("nowhere")); vfs.StatusOf(err) != vfs.NoEnt {
		t.Errorf("a name that no listing has: %v", err)
	}
}
