package union

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/delay"
	"sheaf/vfs/volume/fault"
	"sheaf/vfs/volume/guard"
	"sheaf/vfs/volume/volumetest"
)

// pullable is a volume in memory that can be pulled out, thrown back in, and made to hang.
type pullable struct {
	*guard.Volume
	mem   *volumetest.Mem
	fault *fault.Volume
	delay *delay.Volume
}

// kept is a volume that stays usable when an opening of it is closed.
type kept struct{ volume.Volume }

func (kept) Close() error { return nil }

// The deadlines of volumes under test: of those that are made to hang, and of all others, so that a busy machine makes
// none slow; and after which time one counts as stalled.
const (
	hangDeadline  = 200 * time.Millisecond
	stallsAfter   = 100 * time.Millisecond
	otherDeadline = time.Minute
)

// newPullable guards v, which is mem; there says whether it can be opened from the start.
func newPullable(mem *volumetest.Mem, v volume.Volume, there bool, deadline, stall time.Duration) *pullable {
	p := &pullable{mem: mem, delay: delay.New(v, 1)}
	p.fault = fault.New(p.delay, 1)
	o := guard.Options{
		Name: mem.Name(), ID: mem.ID(), Marker: mem.Marker(), Deadline: deadline, StallAfter: stall, ProbeEvery: time.Millisecond,
		Open: func(context.Context) (volume.Volume, error) {
			if err := p.fault.Present(); err != nil {
				return nil, err
			}
			return kept{p.fault}, nil
		},
		Present: func(context.Context, volume.Volume) error { return p.fault.Present() },
	}
	if there {
		o.First = kept{p.fault}
	} else {
		p.fault.PullOut()
	}
	p.Volume = guard.New(o)
	return p
}

// awayShare is a share of n volumes in memory that can be pulled out.
type awayShare struct {
	*shareT
	p     []*pullable
	sieve *sieve
	hang  int // the volume that will be made to hang; below 0: none
	stall int // the volume that will be stalled; below 0: none
}

func newAwayShare(tb testing.TB, n int) *awayShare {
	tb.Helper()
	s := &awayShare{shareT: memShare(tb, n, nil), sieve: newSieve(), hang: -1, stall: -1}
	tb.Cleanup(func() { s.close(tb) }) // before that of memShare, which wants nothing open
	return s
}

// open opens the union with all volumes there but those of out.
func (s *awayShare) open(f failer, out ...int) *Union {
	f.Helper()
	s.p, s.vols = nil, nil
	for i, m := range s.mems {
		there := true
		for _, o := range out {
			there = there && i != o
		}
		deadline := otherDeadline
		if i == s.hang {
			deadline = hangDeadline
		}
		stall := time.Duration(-1)
		if i == s.stall {
			stall = stallsAfter
		}
		p := newPullable(m, s.sieve.wrap(m), there, deadline, stall)
		s.p = append(s.p, p)
		s.vols = append(s.vols, p)
	}
	return s.shareT.open(f)
}

// close closes all.
func (s *awayShare) close(f failer) {
	f.Helper()
	if s.u != nil {
		if err := s.u.Close(); err != nil && !isAway(err) {
			f.Fatalf("close union: %v", err)
		}
		if n := s.u.leases.Busy(); n != 0 {
			f.Fatalf("%d leases are held after the end", n)
		}
		s.u = nil
	}
	for _, p := range s.p {
		if err := p.Close(); err != nil && vfs.StatusOf(err) != vfs.Jukebox { // a call is late on a busy machine; handles tell
			f.Fatalf("close volume: %v", err)
		}
	}
	s.p = nil
	for _, m := range s.mems { // what a former opening holds is closed in the background
		eventually(f, "volume "+m.Name()+" has no handles open", func() bool { return m.Handles() == 0 })
	}
	s.shareT.close(f)
}

// reopen closes all and opens it again, without the volumes of out.
func (s *awayShare) reopen(f failer, out ...int) *Union {
	f.Helper()
	s.close(f)
	for i, m := range s.mems {
		s.mems[i] = m.Reopen()
	}
	return s.open(f, out...)
}

// pull takes volume i out, and waits until the union knows.
func (s *awayShare) pull(f failer, i int) {
	f.Helper()
	s.p[i].fault.PullOut()
	s.await(f, i, false, volume.Away)
}

// put puts it back.
func (s *awayShare) put(f failer, i int) {
	f.Helper()
	s.p[i].fault.PutBack()
	s.await(f, i, true, volume.Online)
}

// exclusive lets nobody but us change volume i. It comes before the share is opened.
func (s *awayShare) exclusive(i int) {
	s.opt.Exclusive = map[volume.ID]bool{s.mems[i].ID(): true}
}

// await waits until volume i is used, or is not, and is in that state.
func (s *awayShare) await(f failer, i int, used bool, health volume.Health) {
	f.Helper()
	eventually(f, fmt.Sprintf("volume %d is %v", i, health), func() bool {
		return s.u.online().has(i) == used && s.u.Members()[i].State.Health == health
	})
}

// leveled reports whether no directory in memory has a copy that missed something.
func (s *awayShare) leveled() bool {
	for i := range s.u.table.shards {
		t := &s.u.table.shards[i]
		t.mu.Lock()
		for _, n := range t.m {
			n.mu.Lock()
			late := n.leveling || n.behind(s.u.online()) != 0
			n.mu.Unlock()
			if late {
				t.mu.Unlock()
				return false
			}
		}
		t.mu.Unlock()
	}
	return true
}

// eventually waits for ok.
func eventually(f failer, what string, ok func() bool) {
	f.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			f.Fatalf("this did not come: %s", what)
		}
	}
}

// onVolume lets new objects be placed on one volume.
func (s *awayShare) onVolume(tb testing.TB, i int) {
	tb.Helper()
	for k, v := range s.vols {
		mode := volume.NoCreate
		if k == i {
			mode = volume.ReadWrite
		}
		if err := s.u.SetMode(v.ID(), mode); err != nil {
			tb.Fatal(err)
		}
	}
}

// anywhere takes that back.
func (s *awayShare) anywhere(tb testing.TB) {
	tb.Helper()
	for _, v := range s.vols {
		if err := s.u.SetMode(v.ID(), volume.ReadWrite); err != nil {
			tb.Fatal(err)
		}
	}
}

// isRefusal reports whether err says that a volume is away.
func isRefusal(err error) bool {
	var away *volume.AwayError
	s := vfs.StatusOf(err)
	return errors.As(err, &away) && (s == vfs.Jukebox || s == vfs.IO)
}
