package group

import (
	"context"
	"slices"
	"sync"
)

// FlushMax is how many flushes of one volume are in flight at most: more only
// grow the host's queue (measured: 24 threads of 32 goroutines keep it full).
const FlushMax = 64

// flusher shares flushes among callers that name the same key.
type flusher struct {
	slots chan struct{} // one element per flush in flight

	counter *Counter

	mu    sync.Mutex // guards queue and all that hangs on it; never held while flushing
	queue map[any]*queue
}

// queue is one key's flushes. It is in the map while there is a runner: a
// caller or a goroutine that is going to look at next again.
type queue struct {
	next *batch // nil: nobody has asked since the running one began
}

// batch is a flush and those who share it.
type batch struct {
	members []*member
	full    bool    // somebody wants attributes, too
	lead    *member // whose descriptor is used; nil until it begins
	done    chan struct{}
	err     error // valid once done is closed
}

// member is a caller. flush must not be called after it has left.
type member struct {
	ctx   context.Context //nolint:containedctx // the flush is made in its name
	flush func(ctx context.Context, full bool) error
}

func newFlusher(c *Counter) *flusher {
	return &flusher{counter: c, slots: make(chan struct{}, FlushMax), queue: map[any]*queue{}}
}

// do returns when a flush of key that began after the call was made has ended.
func (f *flusher) do(ctx context.Context, key any, full bool, flush func(context.Context, bool) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.counter.asked.Add(1)
	me := &member{ctx: ctx, flush: flush}
	f.mu.Lock()
	q := f.queue[key]
	if q == nil {
		q = &queue{}
		f.queue[key] = q
		select {
		case f.slots <- struct{}{}: // nobody to wait for: flush here
			b := &batch{members: []*member{me}, full: full, lead: me, done: make(chan struct{})}
			f.mu.Unlock()
			f.flush(b)
			f.passOn(key, q)
			return b.err
		default:
			go f.run(key, q)
		}
	}
	b := q.join(me, full)
	f.mu.Unlock()
	return f.wait(ctx, q, b, me)
}

// join wants f.mu.
func (q *queue) join(me *member, full bool) *batch {
	if q.next == nil {
		q.next = &batch{done: make(chan struct{})}
	}
	q.next.members = append(q.next.members, me)
	q.next.full = q.next.full || full
	return q.next
}

// flush makes b's flush; the slot is the caller's and is given back.
func (f *flusher) flush(b *batch) {
	f.counter.made.Add(1)
	b.err = b.lead.flush(context.WithoutCancel(b.lead.ctx), b.full)
	<-f.slots
	close(b.done)
}

// passOn leaves the queue to a goroutine if anybody has come, or ends it.
func (f *flusher) passOn(key any, q *queue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.next == nil {
		delete(f.queue, key)
		return
	}
	go f.run(key, q)
}

// run flushes until nobody asks any more.
func (f *flusher) run(key any, q *queue) {
	for {
		f.slots <- struct{}{}
		f.mu.Lock()
		b := q.next
		q.next = nil
		if b == nil { // all have left, or the last batch was the last
			delete(f.queue, key)
			f.mu.Unlock()
			<-f.slots
			return
		}
		b.lead = b.members[0]
		f.mu.Unlock()
		f.flush(b)
		f.mu.Lock()
		if q.next == nil {
			delete(f.queue, key)
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
	}
}

// wait is for b's end or the caller's.
func (f *flusher) wait(ctx context.Context, q *queue, b *batch, me *member) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	}
	if f.leave(q, b, me) {
		return ctx.Err()
	}
	<-b.done
	return b.err
}

// leave reports whether me may go: its descriptor is not the one in use.
func (f *flusher) leave(q *queue, b *batch, me *member) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.lead != nil {
		return b.lead != me
	}
	b.members = slices.DeleteFunc(b.members, func(m *member) bool { return m == me })
	if len(b.members) == 0 {
		q.next = nil
	}
	return true
}
