package meta

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// space is what is known of the room beside the index.
type space struct {
	free    atomic.Uint64 // bytes
	low     atomic.Bool   // free was below MinFree, and not yet above it by resume
	void    atomic.Bool   // free was below MinFree/2: writes were lost, reads find nothing
	refused atomic.Uint64 // rows not put since Open
	writing sync.Mutex    // held by a commit, and while everything is dropped
}

// resume is how far above the floor, as a part of it, writing begins again: so that it
// does not start and stop with every file somebody removes.
const resume = 8

// Health is how the index is, for status and metrics.
type Health struct {
	Free    uint64 // bytes free beside the index
	Floor   uint64 // bytes below which nothing is put
	Paused  bool   // nothing is put for want of space
	Void    bool   // nothing is known for want of space
	Refused uint64 // rows not put for want of space, since Open
	Queued  int    // rows not yet on stable storage
	Err     error  // the commit that failed, for good; nil: none
}

// Health is how the index is now.
func (s *Store) Health() Health {
	return Health{
		Free: s.space.free.Load(), Floor: s.opt.MinFree, Paused: s.paused(), Void: s.space.void.Load(),
		Refused: s.space.refused.Load(), Queued: s.q.len(), Err: s.failure(),
	}
}

func (s *Store) paused() bool { return s.space.low.Load() }

// watchLoop looks at the free space again and again.
func (s *Store) watchLoop() {
	t := time.NewTicker(s.opt.Watch)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		if s.gone() {
			return
		}
		if err := s.look(); err != nil {
			s.log.Error("cannot tell how much space the index has left", "op", "statfs", "err", err)
		}
	}
}

// look measures the free space and draws the consequences.
func (s *Store) look() error {
	free, err := s.notice()
	if err != nil {
		return err
	}
	if floor := s.opt.MinFree; free < floor+floor/resume || !s.paused() {
		return nil
	}
	if usable, err := s.reset(); !usable {
		return err
	}
	s.space.low.Store(false)
	s.log.Info("the index learns again", "op", "statfs", "dir", s.opt.Dir, "free", free, "floor", s.opt.MinFree)
	return nil
}

// notice measures the free space and stops writing if there is too little.
func (s *Store) notice() (free uint64, err error) {
	if free, err = s.opt.free(s.opt.Dir); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.opt.Dir, err)
	}
	s.space.free.Store(free)
	floor := s.opt.MinFree
	if free < floor/2 && !s.space.void.Load() {
		s.fall() // before anybody learns that nothing is written
	}
	if free < floor/2 && s.space.void.CompareAndSwap(false, true) {
		s.log.Error("the index is off: the state directory is full; Sheaf asks the volumes each time",
			"op", "statfs", "dir", s.opt.Dir, "free", free, "floor", floor)
	}
	if free < floor && s.space.low.CompareAndSwap(false, true) {
		s.log.Warn("the index learns nothing new: little space is left beside it",
			"op", "statfs", "dir", s.opt.Dir, "free", free, "floor", floor)
	}
	return free, nil
}

// reset drops all rows if writes were lost, since any of them may be wrong. It reports
// whether the index can be used.
func (s *Store) reset() (bool, error) {
	if !s.space.void.Load() {
		return true, nil
	}
	// No readers: DropAll takes the tables away under them. While void they are short, but for a
	// Check, which is not worth holding up everybody: the next look tries again.
	if !s.life.TryLock() {
		return false, nil
	}
	defer s.life.Unlock()
	s.space.writing.Lock()
	defer s.space.writing.Unlock()
	if err := s.db.DropAll(); err != nil {
		return false, fmt.Errorf("drop what the index knew: %w", err)
	}
	s.SetWhole(false)
	if err := errors.Join(s.setNumbers(s.numbers()), s.putID()); err != nil {
		return false, err
	}
	if err := s.stand(); err != nil {
		return false, err
	}
	s.q.drop() // what was accepted before may build on what is gone
	s.space.void.Store(false)
	return true, nil
}

// freeBytes is what statfs(2) says an ordinary user may still write.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(max(0, int64(st.Bavail))) * uint64(st.Bsize), nil // negative on FreeBSD, when the reserve is used
}
