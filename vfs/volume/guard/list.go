package guard

import (
	"context"

	"sheaf/vfs/volume"
)

// listBatch is how many entries a worker reads ahead of the caller, who works on them meanwhile.
// The deadline is for a batch, not for the directory: a large one takes as long as it takes.
const listBatch = 512

// listing is a List under way. Worker and caller take turns: the worker hands over a batch with
// the slot it was read in, the caller takes a new slot when it wants more, so that a
// caller who makes other calls in between does not keep one.
type listing struct {
	call
	ctx   context.Context //nolint:containedctx // the caller's, for the call it is
	in    volume.Dir
	s     *slot
	fate  uint64
	next  chan *slot // the caller's answer to a batch; nil: enough
	batch []volume.Entry
	end   bool  // there is no more
	err   error // then
	left  bool  // the caller was answered meanwhile, or wants no more
}

// List hands entries to each on the caller's own goroutine.
func (d *dir) List(ctx context.Context, each func(volume.Entry) bool) error {
	c, in := d.at(volume.OpList)
	if !c.h.use() {
		return c.h.misuse(c.op)
	}
	s, err := c.enterAs(ctx, awaited)
	if err != nil {
		c.h.unuse()
		return err
	}
	l := &listing{call: c, ctx: ctx, in: in, s: s, fate: s.fate.Load(), next: make(chan *slot, 1)}
	c.o.calls.Add(1) // the worker's own, till List of the host returned
	if c.h != nil {
		c.h.uses.Add(1)
	}
	fate, done := l.fate, *s.done.Load()
	c.o.hand(l)
	for {
		if err := l.await(s, fate, done); err != nil {
			return err
		}
		for _, e := range l.batch {
			if !each(e) {
				l.stop()
				return nil
			}
		}
		if l.end {
			return l.err
		}
		c.gt = c.g.gate.Load()
		if !c.h.use() {
			l.stop()
			return c.h.misuse(c.op)
		}
		if s, err = c.enterAs(ctx, awaited); err != nil {
			c.h.unuse()
			l.stop()
			return err
		}
		fate, done = s.fate.Load(), *s.done.Load()
		l.next <- s
	}
}

// await waits for a batch.
func (l *listing) await(s *slot, fate uint64, done chan struct{}) error {
	select {
	case <-done:
	case <-l.ctx.Done():
		if s.decide(fate, left) {
			return l.ctx.Err()
		}
		<-done
	}
	if s.fate.Load() != fate&^fateMask|over {
		return l.refuse(l.g.gate.Load())
	}
	s.release()
	l.h.unuse()
	l.o.leave()
	return nil
}

// stop tells the worker that the caller wants no more.
func (l *listing) stop() {
	if !l.end {
		l.next <- nil
	}
}

// run is the worker's side.
func (l *listing) run() {
	err := l.in.List(l.ctx, func(e volume.Entry) bool {
		l.batch = append(l.batch, e)
		return len(l.batch) < listBatch || l.give()
	})
	if !l.left {
		l.end, l.err = true, err
		l.o.note(err)
		l.give()
	}
	l.h.unuse()
	l.o.leave()
}

// give hands the batch over, and says whether more is wanted.
func (l *listing) give() bool {
	l.o.back(l.s)
	s, done, end := l.s, *l.s.done.Load(), l.end
	if !s.decide(l.fate, over) {
		l.left = true
		l.abandon(s)
		return false
	}
	done <- struct{}{}
	if end {
		return false
	}
	s = <-l.next
	if s == nil {
		l.left = true
		return false
	}
	l.s, l.fate, l.batch = s, s.fate.Load(), make([]volume.Entry, 0, listBatch)
	return true
}
