package rpc

import (
	"slices"
	"sync"
	"sync/atomic"
)

// budget bounds the bytes, or the calls, in flight of one client or of all. Who waits is served by how
// little his client holds, and then his connection, so that a few clients that hold much and take their
// replies slowly do not share what they give back with those who hold nothing; of
// equals the oldest is served first. Nobody overtakes the one whose turn it is, so
// that a large call is not starved by small ones. Nor is a connection that holds
// much: it holds less and less while it waits.
type budget struct {
	mu    sync.Mutex
	used  atomic.Int64 // changed under mu
	limit int64
	queue []*budgetWaiter // oldest first
}

type budgetWaiter struct {
	n       int64
	by      holder
	granted chan struct{}
}

// holder is who waits, by what his client, and of that his connection, has or waits for.
type holder struct{ client, conn *atomic.Int64 }

// less reports whether h holds less than o.
func (h holder) less(o holder) bool {
	if a, b := h.client.Load(), o.client.Load(); a != b {
		return a < b
	}
	return h.conn.Load() < o.conn.Load()
}

// fits reports whether n more may be taken. One call is always admitted,
// even if it is larger than the limit: it could never run otherwise.
func (b *budget) fits(n int64) bool { return b.used.Load() == 0 || b.used.Load()+n <= b.limit }

// tryTake takes n if that needs no waiting.
func (b *budget) tryTake(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 || !b.fits(n) {
		return false
	}
	b.used.Add(n)
	return true
}

// take waits until it has n or stop is closed, and reports which. The caller must not hold bytes that only
// its own progress gives back (R5).
func (b *budget) take(n int64, by holder, stop <-chan struct{}) bool {
	b.mu.Lock()
	if len(b.queue) == 0 && b.fits(n) {
		b.used.Add(n)
		b.mu.Unlock()
		return true
	}
	w := &budgetWaiter{n: n, by: by, granted: make(chan struct{})}
	b.queue = append(b.queue, w)
	b.mu.Unlock()
	select {
	case <-w.granted:
		return true
	case <-stop:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.granted: // granted while we gave up
		b.used.Add(-n)
	default:
		for i, x := range b.queue {
			if x == w {
				b.queue = slices.Delete(b.queue, i, i+1)
				break
			}
		}
	}
	b.grant()
	return false
}

// force takes n whatever the limit says.
func (b *budget) force(n int64) {
	b.mu.Lock()
	b.used.Add(n)
	b.mu.Unlock()
}

// give returns n.
func (b *budget) give(n int64) {
	b.mu.Lock()
	if b.used.Add(-n) < 0 {
		panic("rpc: more given back than taken")
	}
	if len(b.queue) > 0 {
		b.grant()
	}
	b.mu.Unlock()
}

// grant serves the waiters whose turn it is. mu is held.
func (b *budget) grant() {
	for len(b.queue) > 0 {
		at := b.turn()
		w := b.queue[at]
		if !b.fits(w.n) {
			return
		}
		b.queue = slices.Delete(b.queue, at, at+1)
		b.used.Add(w.n)
		close(w.granted)
	}
}

// turn returns whose turn it is: there are at most as many waiters as connections.
// mu is held, and somebody waits.
func (b *budget) turn() int {
	at := 0
	for i, w := range b.queue {
		if w.by.less(b.queue[at].by) {
			at = i
		}
	}
	return at
}

// pressed reports whether anybody waits.
func (b *budget) pressed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) > 0
}

// load returns what is taken.
func (b *budget) load() int64 { return b.used.Load() }
