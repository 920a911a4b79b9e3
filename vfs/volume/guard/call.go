package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// call is a call on its way to the host.
type call struct {
	g  *Volume
	op volume.Op
	gt *gate    // as it was when the call came
	o  *opening // that the object called upon belongs to; nil: there is none
	h  *held    // the object; nil: one that lives as long as the opening
}

// slot is the right to be with the host. Its fate is told in one word, a sequence number
// above and a state below, so that what is decided about one use cannot hit the next.
//
//	idle → busy → idle                      the caller makes the call itself
//	idle → awaited → over → idle            a worker makes it; the caller takes the result
//	idle → awaited → left → idle            the caller was answered before; the worker gives the slot back
type slot struct {
	k     *kind
	fate  atomic.Uint64
	began atomic.Int64 // tick
	op    atomic.Uint32
	firm  atomic.Bool                   // of a change that was begun
	done  atomic.Pointer[chan struct{}] // one element when awaited ends; another channel after left
	noted uint64                        // the fate that the watch has called late
}

// The states of a slot.
const (
	idle = iota
	busy
	awaited
	over
	left
	fateBits = 3
	fateMask = 1<<fateBits - 1
)

// begin is the slot's next use.
func (s *slot) begin(op volume.Op, firm bool, now int64, state uint64) (fate uint64) {
	fate = (s.fate.Load()>>fateBits+1)<<fateBits | state
	s.op.Store(uint32(op))
	s.firm.Store(firm)
	s.began.Store(now)
	s.fate.Store(fate)
	return fate
}

// decide ends an awaited use in one way or the other; false if it was decided before.
func (s *slot) decide(fate, state uint64) bool {
	return s.fate.CompareAndSwap(fate, fate&^fateMask|state)
}

// spared reports whether the slot's call is one whose caller does not wait for a volume that is stalled.
func (s *slot) spared() bool { return !s.firm.Load() && spare(volume.Op(s.op.Load())) }

// spare reports whether a read-only op asks what others may know, too; data has one volume only.
func spare(op volume.Op) bool { return op != volume.OpReadAt }

// firm reports whether a call with ctx is part of a change that was begun, and so must be done though its volume is stalled.
func firm(ctx context.Context) bool { return ctx.Done() == nil }

func (s *slot) renew() {
	done := make(chan struct{}, 1)
	s.done.Store(&done)
}

func (s *slot) release() {
	s.fate.Store(s.fate.Load() &^ fateMask)
	s.k.free <- s
}

// enter waits for the call's turn, or refuses it.
func (c *call) enter(ctx context.Context) (*slot, error) {
	return c.enterAs(ctx, busy)
}

func (c *call) enterAs(ctx context.Context, state uint64) (*slot, error) {
	if c.o == nil || c.gt.o != c.o {
		return nil, c.refuse(c.gt)
	}
	if c.o.calls.Add(1) <= 0 {
		c.o.leave()
		return nil, c.refuse(c.g.gate.Load())
	}
	if state == awaited && c.gt.state.Health == volume.Stalled && spare(c.op) && !firm(ctx) {
		c.o.leave()
		return nil, c.refuse(c.gt)
	}
	var s *slot
	k := &c.o.kinds[kindOf(c.op)]
	if k == &c.o.kinds[changes] && c.o.flooded() {
		c.o.leave()
		return nil, c.busy(&c.o.kinds[flushes], int(c.o.kinds[flushes].waiting.Load()))
	}
	select {
	case s = <-k.free:
	default:
		var err error
		if s, err = c.wait(ctx, k); err != nil {
			c.o.leave()
			return nil, err
		}
	}
	s.begin(c.op, firm(ctx), c.g.now.Load(), state)
	return s, nil
}

// wait is for a slot.
func (c *call) wait(ctx context.Context, k *kind) (*slot, error) {
	waiting := int(k.waiting.Add(1))
	defer k.waiting.Add(-1)
	var kicked chan struct{} // never for a flush: what it is to flush was begun
	if !c.op.Flushes() {
		kicked = *k.kick.Load()
	}
	if waiting > c.g.o.Waiting || k.stuck.Load() {
		return nil, c.busy(k, waiting-1)
	}
	select {
	case s := <-k.free:
		if c.g.gate.Load().over != c.gt.over { // both at once
			s.release()
			return nil, c.refuse(c.g.gate.Load())
		}
		return s, nil
	case <-c.gt.over:
		return nil, c.refuse(c.g.gate.Load())
	case <-kicked:
		return nil, c.busy(k, waiting-1)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// flooded reports whether flushes do not come back and so many wait for them that no more changes are to be
// begun, each of which wants one.
func (o *opening) flooded() bool {
	k := &o.kinds[flushes]
	return k.jammed.Load() && len(k.slots)-len(k.free) >= o.g.o.Workers
}

// now enters a call that never waits for the host, and so needs no turn; leaveNow ends it.
func (c *call) now() error {
	if c.o == nil || c.gt.o != c.o {
		return c.refuse(c.gt)
	}
	if c.o.calls.Add(1) <= 0 {
		c.o.leave()
		return c.refuse(c.g.gate.Load())
	}
	return nil
}

func (c *call) leaveNow(err error) {
	if err != vfs.Again { //nolint:errorlint // it comes bare
		c.o.note(err)
	}
	c.o.leave()
}

// exit is the end of a call that the caller made itself.
func (c *call) exit(s *slot, err error) error {
	c.o.note(err)
	c.o.back(s)
	s.release()
	c.o.leave()
	return err
}

// refuse is the answer to a call that does not get through gt.
func (c *call) refuse(gt *gate) error {
	state := gt.state
	if c.o != nil {
		if ended := c.o.ended.Load(); ended != nil {
			state = *ended
		}
	}
	if state.Health == volume.Online { // it came back between two looks at it
		state.Health, state.Reason = volume.Slow, "it has just come back"
	}
	return c.away(state)
}

// busy is the answer to a call for which there is no room in the queue.
func (c *call) busy(k *kind, waiting int) error {
	state := c.gt.state
	state.Health, state.Since = volume.Slow, time.Now()
	state.Reason = fmt.Sprintf("%d calls are with the host and %d wait", len(k.slots), waiting)
	return c.away(state)
}

func (c *call) away(state volume.State) error {
	c.g.refused.Add(1)
	e := &volume.AwayError{Op: c.op.String(), Volume: c.g.o.Name, State: state, Status: vfs.Jukebox}
	if state.Health != volume.Stalled && time.Since(state.Since) >= c.g.o.OfflineWait {
		e.Status = vfs.IO
	}
	return e
}

// job is what a worker does.
type job interface{ run() }

// asked is a read-only call made by a worker.
type asked[T any] struct {
	call
	ctx  context.Context //nolint:containedctx // the caller's, for the call it is
	s    *slot
	fate uint64
	f    func(context.Context) (T, error)
	late func(T) // takes a result that nobody waits for; may be nil
	v    T
	err  error
}

// look makes a read-only call by a worker, and answers without its result once it is late, its
// volume goes, or ctx ends. f must then not touch what is the caller's.
func look[T any](ctx context.Context, c call, f func(context.Context) (T, error), late func(T)) (T, error) {
	var none T
	if !c.h.use() {
		return none, c.h.misuse(c.op)
	}
	s, err := c.enterAs(ctx, awaited)
	if err != nil {
		c.h.unuse()
		return none, err
	}
	a := &asked[T]{call: c, ctx: ctx, s: s, fate: s.fate.Load(), f: f, late: late}
	done := *s.done.Load()
	c.o.hand(a)
	select {
	case <-done:
	case <-ctx.Done():
		if s.decide(a.fate, left) {
			return none, ctx.Err()
		}
		<-done
	}
	if s.fate.Load() != a.fate&^fateMask|over {
		return none, c.refuse(c.g.gate.Load())
	}
	s.release()
	c.h.unuse()
	c.o.leave()
	return a.v, a.err
}

// run is the worker's side of look.
func (a *asked[T]) run() {
	a.v, a.err = a.f(a.ctx)
	a.o.note(a.err)
	a.o.back(a.s)
	s, done := a.s, *a.s.done.Load()
	if s.decide(a.fate, over) {
		done <- struct{}{}
		return
	}
	if a.err == nil && a.late != nil {
		a.late(a.v)
	}
	a.abandon(s)
}

// abandon is the end of a call whose caller has left.
func (c *call) abandon(s *slot) {
	s.renew() // the caller may not have looked at the old one yet
	s.release()
	c.h.unuse()
	c.o.leave()
}

// dismiss answers the caller of an awaited call, whose fate was read before.
func (s *slot) dismiss(fate uint64) {
	done := *s.done.Load()
	if s.decide(fate, left) {
		done <- struct{}{}
	}
}

// hand gives a job to an idle worker, or to a new one.
func (o *opening) hand(j job) {
	select {
	case o.jobs <- j:
	default:
		go o.work(j)
	}
}

// work is a worker: no more of them stay idle than there can be calls.
func (o *opening) work(j job) {
	for {
		j.run()
		if int(o.idle.Add(1)) > o.g.o.Workers {
			o.idle.Add(-1)
			return
		}
		var ok bool
		j, ok = <-o.jobs
		o.idle.Add(-1)
		if !ok {
			return
		}
	}
}

// held is an open Dir or File. Its owner may close it while a call that he was told is late is
// still in it; it is closed after that.
type held struct {
	g      *Volume
	o      *opening
	inner  io.Closer
	uses   atomic.Int64 // calls that their caller need not wait for, in it; endedBias less once it was closed
	closed atomic.Bool
}

// use is false after Close. Of a nil held it is always true.
func (h *held) use() bool {
	if h == nil || h.uses.Add(1) > 0 {
		return true
	}
	h.unuse()
	return false
}

func (h *held) unuse() {
	if h != nil && h.uses.Add(-1) == -endedBias && h.closed.CompareAndSwap(false, true) {
		h.o.reap(h.inner)
	}
}

func (h *held) misuse(op volume.Op) error {
	return &vfs.Error{Status: vfs.ServerFault, Op: op.String(), Volume: h.g.o.Name, Err: errClosed}
}

// close has the last user close it, in the background. Of a nil held it does nothing.
func (h *held) close() error {
	if h == nil {
		return nil
	}
	uses := h.uses.Add(-endedBias)
	if uses < -endedBias {
		h.uses.Add(endedBias)
		return h.misuse(volume.OpClose)
	}
	if uses == -endedBias && h.closed.CompareAndSwap(false, true) {
		h.o.reap(h.inner)
	}
	return nil
}

var errClosed = errors.New("used after Close")
