package rpc

import "sync"

// budget bounds the bytes in flight of all connections. Waiters are served in
// the order of their arrival, so that a large call is not starved by small ones.
type budget struct {
	mu    sync.Mutex
	used  int64
	limit int64
	queue []*budgetWaiter // oldest first
}

type budgetWaiter struct {
	n       int64
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

// take waits until it has n bytes or stop is closed, and reports which. The
// caller must not hold bytes that only its own progress gives back (R5).
func (b *budget) take(n int64, stop <-chan struct{}) bool {
	b.mu.Lock()
	if len(b.queue) == 0 && b.fits(n) {
		b.used += n
		b.mu.Unlock()
		return true
	}
	w := &budgetWaiter{n: n, granted: make(chan struct{})}
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
				b.queue = append(b.queue[:i], b.queue[i+1:]...)
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

// grant serves waiters from the front. mu is held.
func (b *budget) grant() {
	for len(b.queue) > 0 && b.fits(b.queue[0].n) {
		w := b.queue[0]
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.used += w.n
		close(w.granted)
	}
}

// load returns the bytes taken.
func (b *budget) load() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
