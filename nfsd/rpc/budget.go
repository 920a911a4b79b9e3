package rpc

import (
	"slices"
	"sync"
	"sync/atomic"
)

// budget bounds the bytes in flight of all connections. Who waits is served by how
// little his connection holds, so that a few clients that hold much and take their
// replies slowly do not share what they give back with those who hold nothing; of
// equals the oldest is served first. Nobody overtakes the one whose turn it is, so
// that a large call is not starved by small ones. Nor is a connection that holds
// much: it holds less and less while it waits.
type budget struct {
	mu    sync.Mutex
	used  int64
	limit int64
	queue []*budgetWaiter // oldest first
}

type budgetWaiter struct {
	n       int64
	held    *atomic.Int64 // bytes that its connection has or waits for
	granted chan struct{}
}

// fits reports whether n more bytes may be taken. One call is always admitted,
// even if it is larger than the limit: it could never run otherwise.
func (b *budget) fits(n int64) bool { return b.used == 0 || b.used+n <= b.limit }

// tryTake takes n bytes if that needs no waiting.
func (b *budget) tryTake(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 || !b.fits(n) {
		return false
	}
	b.used += n
	return true
}

// take waits until it has n bytes or stop is closed, and reports which. held is what
// the caller's connection has or waits for. The caller must not hold bytes that only
// its own progress gives back (R5).
func (b *budget) take(n int64, held *atomic.Int64, stop <-chan struct{}) bool {
	b.mu.Lock()
	if len(b.queue) == 0 && b.fits(n) {
		b.used += n
		b.mu.Unlock()
		return true
	}
	w := &budgetWaiter{n: n, held: held, granted: make(chan struct{})}
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
		b.used -= n
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

// force takes n bytes whatever the limit says.
func (b *budget) force(n int64) {
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
}

// give returns n bytes.
func (b *budget) give(n int64) {
	b.mu.Lock()
	b.used -= n
	if b.used < 0 {
		panic("rpc: more bytes given back than taken")
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
		b.used += w.n
		close(w.granted)
	}
}

// turn returns whose turn it is: there are at most as many waiters as connections.
// mu is held, and somebody waits.
func (b *budget) turn() int {
	at, least := 0, b.queue[0].held.Load()
	for i, w := range b.queue[1:] {
		if n := w.held.Load(); n < least {
			at, least = i+1, n
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

// load returns the bytes taken.
func (b *budget) load() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
