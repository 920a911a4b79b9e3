package lease

import (
	"context"
	"sync"

	"sheaf/vfs"
)

// shards is how many locks the table is cut into; a power of two. With 1,000
// operations in flight two of them rarely meet on one.
const shards = 64

// inline is how many leases a Held keeps without allocating: a rename of a
// directory over another takes the tree, two names and four nodes at most.
const inline = 7

// spare is how many idle entries a shard keeps for the next lease.
const spare = 64

// Table holds the leases of one share. The zero Table is ready for use and
// must not be copied.
type Table struct {
	shard [shards]shard
}

// shard is a part of the table. Its lock is held for a few map operations,
// never while waiting.
type shard struct {
	mu      sync.Mutex
	entries map[Key]*entry
	idle    []*entry // at most spare
	_       [64]byte // keeps neighbours off this shard's cache line
}

// entry is a key that somebody holds or waits for.
type entry struct {
	readers int  // holders in Shared mode
	writer  bool // held in Exclusive mode; then readers is 0
	first   *waiter
	last    *waiter
}

// waiter is a request that could not be granted at once. All but ready is
// guarded by the shard's lock.
type waiter struct {
	mode       Mode
	granted    bool
	prev, next *waiter
	ready      chan struct{} // closed when granted
}

// Held are leases that were granted together. Release gives them back; it must
// be called exactly once, and a Held must not be copied before it. The zero Held
// holds nothing and may be released too.
type Held struct {
	t    *Table
	n    int
	some [inline]Want
	more []Want // all of them, if they are more than inline
}

// Acquire takes all of wants, waiting for those that others hold. A key given twice is
// taken once, in the stronger mode. If ctx ends first nothing is held and the error is
// a Jukebox that wraps the context's cause.
func (t *Table) Acquire(ctx context.Context, wants ...Want) (Held, error) {
	h := Held{t: t}
	h.set(wants)
	for i, w := range h.all() {
		if err := t.acquire(ctx, w); err != nil {
			h.releaseFirst(i)
			return Held{}, &vfs.Error{Status: vfs.Jukebox, Op: "wait for lease", Object: w.key.String(), Err: err}
		}
	}
	return h, nil
}

// TryAcquire takes all of wants if that needs no waiting, and otherwise nothing.
func (t *Table) TryAcquire(wants ...Want) (Held, bool) {
	h := Held{t: t}
	h.set(wants)
	for i, w := range h.all() {
		s := t.shardOf(w.key)
		s.mu.Lock()
		ok := s.enter(w)
		s.mu.Unlock()
		if !ok {
			h.releaseFirst(i)
			return Held{}, false
		}
	}
	return h, true
}

// Release gives back what h holds.
func (h *Held) Release() {
	h.releaseFirst(h.n)
	*h = Held{}
}

// Len is how many keys are held.
func (h *Held) Len() int { return h.n }

// Busy is how many keys are held or waited for, for health and leak tests.
func (t *Table) Busy() int {
	n := 0
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

// set keeps wants in h. The two ways share no slice: one that could point into h
// would move every Held to the heap.
func (h *Held) set(wants []Want) {
	if len(wants) > inline {
		h.more = sorted(make([]Want, 0, len(wants)), wants)
		h.n = len(h.more)
		return
	}
	h.n = len(sorted(h.some[:0], wants))
}

// sorted puts wants into list in order and merges what is there twice, by
// insertion: they are few.
func sorted(list, wants []Want) []Want {
	for _, w := range wants {
		i := len(list)
		for i > 0 && compare(list[i-1].key, w.key) > 0 {
			i--
		}
		if i > 0 && list[i-1].key == w.key {
			list[i-1].mode = max(list[i-1].mode, w.mode)
			continue
		}
		list = append(list, Want{})
		copy(list[i+1:], list[i:])
		list[i] = w
	}
	return list
}

func (h *Held) all() []Want {
	if h.more != nil {
		return h.more
	}
	return h.some[:h.n]
}

// releaseFirst releases the first n, the last taken first.
func (h *Held) releaseFirst(n int) {
	list := h.all()
	for i := n - 1; i >= 0; i-- {
		s := h.t.shardOf(list[i].key)
		s.mu.Lock()
		s.leave(list[i])
		s.mu.Unlock()
	}
}

// shardOf spreads keys by the bits of the node id, which is a hash itself.
func (t *Table) shardOf(k Key) *shard {
	h := (k.lo ^ k.hi ^ k.sub*0x9e3779b97f4a7c15) * 0x9e3779b97f4a7c15
	return &t.shard[h>>(64-6)]
}

// acquire takes one key or waits for it.
func (t *Table) acquire(ctx context.Context, w Want) error {
	s := t.shardOf(w.key)
	s.mu.Lock()
	if s.enter(w) {
		s.mu.Unlock()
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		s.mu.Unlock()
		return err
	}
	me := &waiter{mode: w.mode, ready: make(chan struct{})}
	s.entries[w.key].push(me)
	s.mu.Unlock()

	select {
	case <-me.ready:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if me.granted { // at the same moment: give it to the next
		s.leave(w)
		return context.Cause(ctx)
	}
	e := s.entries[w.key]
	e.unlink(me)
	e.grant() // a writer that left may have kept readers waiting
	return context.Cause(ctx)
}

// enter grants w if nobody is in its way, nor waits already. Needs s.mu.
func (s *shard) enter(w Want) bool {
	e := s.entries[w.key]
	if e == nil {
		e = s.fresh()
		s.entries[w.key] = e
	}
	if e.first != nil || !e.admits(w.mode) {
		return false
	}
	e.take(w.mode)
	return true
}

// leave ends a lease and grants it to who waits. Needs s.mu.
func (s *shard) leave(w Want) {
	e := s.entries[w.key]
	if e == nil || w.mode == Exclusive && !e.writer || w.mode == Shared && e.readers == 0 {
		panic("lease: released twice: " + w.key.String())
	}
	if w.mode == Exclusive {
		e.writer = false
	} else {
		e.readers--
	}
	e.grant()
	if e.readers == 0 && !e.writer { // and so nobody waits
		delete(s.entries, w.key)
		if len(s.idle) < spare {
			s.idle = append(s.idle, e)
		}
	}
}

// fresh is an entry that nobody holds. Needs s.mu.
func (s *shard) fresh() *entry {
	if s.entries == nil {
		s.entries = make(map[Key]*entry)
	}
	n := len(s.idle)
	if n == 0 {
		return new(entry)
	}
	e := s.idle[n-1]
	s.idle = s.idle[:n-1]
	return e
}

func (e *entry) admits(m Mode) bool { return !e.writer && (m == Shared || e.readers == 0) }

func (e *entry) take(m Mode) {
	if m == Exclusive {
		e.writer = true
	} else {
		e.readers++
	}
}

// grant serves the head of the queue for as long as it can be served.
func (e *entry) grant() {
	for e.first != nil && e.admits(e.first.mode) {
		w := e.first
		e.unlink(w)
		e.take(w.mode)
		w.granted = true
		close(w.ready)
	}
}

func (e *entry) push(w *waiter) {
	w.prev = e.last
	if e.last == nil {
		e.first = w
	} else {
		e.last.next = w
	}
	e.last = w
}

func (e *entry) unlink(w *waiter) {
	if w.prev == nil {
		e.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		e.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}
