package quota

import (
	"context"
	"errors"
	"slices"
	"time"

	"sheaf/vfs"
)

// Bounds of directories that move between limited ones (C6).
const (
	moveWait    = 5 * time.Second // for the sum of its tree; then the call is answered Jukebox, and finds it when it comes again
	movingMax   = 16              // sums that are made or kept
	movingKept  = 2 * time.Minute // since a call asked for it
	movingPause = time.Second     // between looks whether it is
)

// errCounting is in the error of a move whose tree is not summed up yet.
var errCounting = errors.New("its tree is being counted, since it moves to a directory with another limit; come again")

// crosses reports whether what lies in from and to is counted by different tallies of directories.
func (b *book) crosses(ctx context.Context, from, to vfs.Node) (crosses bool) {
	b.locked(ctx, func() {
		crosses = !sameTallies(b.covers[from.ID], b.covers[to.ID])
	}, []place{{dir: from}, {dir: to}})
	return crosses
}

func sameTallies(a, b []*tally) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(t *tally) bool { return !slices.Contains(b, t) })
}

// sumOf is a tally of what lies in dir that is known, pinned. Errors: Jukebox if that takes too long, and those of walks.
func (b *book) sumOf(ctx context.Context, dir vfs.Node) (*tally, error) {
	b.mu.Lock()
	t := b.sumHad(dir)
	b.mu.Unlock()
	if t == nil {
		return nil, &vfs.Error{Status: vfs.Jukebox, Op: "move", Object: dir.ID.String(), Err: errCounting}
	}
	if t.done != nil {
		select {
		case <-t.done:
		case <-time.After(moveWait):
		case <-ctx.Done():
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case t.failed != nil:
		t.pins--
		return nil, t.failed
	case !t.known:
		t.pins--
		return nil, &vfs.Error{Status: vfs.Jukebox, Op: "move", Object: dir.ID.String(), Err: errCounting}
	}
	return t, nil
}

// sumHad is a tally of what lies in dir, which may still be counted, pinned; nil: too many are. Needs mu.
func (b *book) sumHad(dir vfs.Node) *tally {
	for _, t := range b.dirs[dir.ID] {
		if t.moving || t.known && len(b.walks) == 0 {
			t.last = time.Now()
			t.pins++
			return t
		}
	}
	if b.movingCount() >= movingMax {
		return nil
	}
	t := &tally{moving: true, path: "a moving directory", dir: dir.ID, last: time.Now(), pins: 1, done: make(chan struct{})}
	b.dirs[dir.ID] = append(b.dirs[dir.ID], t)
	b.reshape()
	b.background.Go(func() { b.sumUp(dir, t) })
	return t
}

// movingCount is how many sums of moving directories there are. Needs mu.
func (b *book) movingCount() (n int) {
	for _, all := range b.dirs {
		for _, t := range all {
			if t.moving {
				n++
			}
		}
	}
	return n
}

// sumUp walks through a directory that is to move, and keeps its sum for as long as it is asked for.
func (b *book) sumUp(dir vfs.Node, t *tally) {
	w := newWalk(func(context.Context, time.Duration) {})
	w.scope = map[*tally]bool{t: true}
	b.run(b.life, w, []vfs.Node{dir}, func(err error) {
		if t.failed = err; err == nil {
			t.now, t.known = *w.sum(t), true
		}
	})
	close(t.done)
	for !b.over(t) {
		if !pause(b.life, movingPause) {
			return
		}
	}
}

// undirect ends that t counts its directory. Needs mu.
func (b *book) undirect(t *tally) {
	b.dirs[t.dir] = slices.DeleteFunc(b.dirs[t.dir], func(o *tally) bool { return o == t })
	if len(b.dirs[t.dir]) == 0 {
		delete(b.dirs, t.dir)
	}
	b.reshape()
}

// over ends a sum that nobody asks for any more, and reports whether it has.
func (b *book) over(t *tally) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.dirs[t.dir], t) {
		return true
	}
	if t.pins > 0 || t.failed == nil && time.Since(t.last) < movingKept {
		return false
	}
	b.undirect(t)
	return true
}

// pause waits for d, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// crossing is a directory on its way between tallies.
type crossing struct {
	dir      vfs.Node
	sum      *tally
	from, to []*tally // the tallies above it
	hold     *hold
}

// cross prepares a move of a directory (C6). Errors: DQuot, Jukebox.
func (b *book) cross(ctx context.Context, w *vfs.Who, dir, from, to vfs.Node) (*crossing, error) {
	sum, err := b.sumOf(ctx, dir)
	if err != nil {
		return nil, err
	}
	c := &crossing{dir: dir, sum: sum}
	b.locked(ctx, func() {
		c.from, c.to = slices.Clone(b.covers[from.ID]), slices.Clone(b.covers[to.ID])
		c.hold = &hold{more: usage{max(sum.now.bytes, 0), max(sum.now.files, 0)}}
		for _, t := range c.to {
			if slices.Contains(c.from, t) {
				continue
			}
			if err = b.room(w, t, c.hold.more); err != nil {
				return
			}
			c.hold.tallies = append(c.hold.tallies, t)
		}
		for _, t := range c.hold.tallies {
			t.held.add(c.hold.more)
		}
		b.moved[dir.ID] = c.from
		b.reshape()
	}, []place{{dir: from}, {dir: to}})
	if err != nil {
		b.mu.Lock()
		sum.pins--
		b.mu.Unlock()
		return nil, err
	}
	return c, nil
}

// crossed ends it. Needs no lock; moved says whether the directory has moved.
func (b *book) crossed(c *crossing, moved bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if moved {
		for _, t := range c.from {
			if !slices.Contains(c.to, t) {
				t.now.sub(c.sum.now)
			}
		}
		for _, t := range c.to {
			if !slices.Contains(c.from, t) {
				t.now.add(c.sum.now)
			}
		}
		for _, w := range b.walks {
			w.again = true
		}
		b.doubted = true  // what callers had in hand meanwhile may be off by an object
		if c.sum.linked { // whether a file of it has a name where it was is not known
			b.want()
		}
	}
	if c.sum.pins--; c.sum.pins == 0 && c.sum.moving && moved {
		b.undirect(c.sum)
	}
	b.release(c.hold)
	delete(b.moved, c.dir.ID)
	b.reshape()
	b.watch(c.from)
	b.watch(c.to)
}
