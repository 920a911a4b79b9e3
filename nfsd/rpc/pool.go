package rpc

import "sync"

// pool runs calls that must wait. Goroutines are started as they are needed, up
// to max, and end when the sweeper finds them idle. When all are busy,
// connections queue for them in turn, one call each, so that one with many slow
// calls does not hold up the others longer than it must.
type pool struct {
	run func(*Call)
	max int // guarded by mu; more while calls are set aside

	mu      sync.Mutex
	n       int       // goroutines
	idle    []*worker // the last one became idle last
	first   *conn     // connections with calls queued, linked by conn.nextReady
	last    *conn
	stopped bool
}

// worker is an idle goroutine; a nil call ends it.
type worker struct {
	next  chan *Call
	since int64 // clock at the time it became idle
}

// submit hands the call to a goroutine or queues it. It never waits.
func (p *pool) submit(c *Call) {
	p.mu.Lock()
	if k := len(p.idle); k > 0 { // then nothing is queued
		w := p.idle[k-1]
		p.idle[k-1] = nil
		p.idle = p.idle[:k-1]
		p.mu.Unlock()
		w.next <- c
		return
	}
	if p.n < p.max {
		p.n++
		p.mu.Unlock()
		go p.work(c)
		return
	}
	conn := c.conn
	if conn.queueHead == nil {
		conn.queueHead = c
		p.ready(conn)
	} else {
		conn.queueTail.nextQueued = c
	}
	conn.queueTail = c
	p.mu.Unlock()
}

// ready appends c to the connections with calls queued. mu is held.
func (p *pool) ready(c *conn) {
	if p.first == nil {
		p.first = c
	} else {
		p.last.nextReady = c
	}
	p.last = c
}

// pop takes the next queued call, nil if there is none. mu is held.
func (p *pool) pop() *Call {
	c := p.first
	if c == nil {
		return nil
	}
	p.first, c.nextReady = c.nextReady, nil
	call := c.queueHead
	c.queueHead, call.nextQueued = call.nextQueued, nil
	if c.queueHead != nil {
		p.ready(c)
	}
	return call
}

// hasRoom reports whether a call may be run without taking the turn of one that waits.
func (p *pool) hasRoom() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first == nil && p.n-len(p.idle) < p.max
}

// join counts a goroutine that runs a call and came by itself; leave ends that.
func (p *pool) join() {
	p.mu.Lock()
	p.n++
	p.mu.Unlock()
}

// leave is the end of a goroutine that joined. Who waits has its turn.
func (p *pool) leave() {
	p.mu.Lock()
	p.n--
	p.mu.Unlock()
	p.lend(0)
}

// work is a goroutine's life.
func (p *pool) work(c *Call) {
	var w *worker
	for {
		p.run(c)
		p.mu.Lock()
		if p.n > p.max { // it ran a call that was set aside
			p.n--
			p.mu.Unlock()
			return
		}
		if c = p.pop(); c == nil {
			if p.stopped {
				p.n--
				p.mu.Unlock()
				return
			}
			if w == nil {
				w = &worker{next: make(chan *Call, 1)}
			}
			w.since = -1
			p.idle = append(p.idle, w)
		}
		p.mu.Unlock()
		if c == nil {
			if c = <-w.next; c == nil {
				return
			}
		}
	}
}

// lend allows so many goroutines more, or less: those that run calls set aside do not count. Who waits
// has his turn at once.
func (p *pool) lend(n int) {
	p.mu.Lock()
	p.max += n
	var calls []*Call
	for p.n < p.max {
		c := p.pop()
		if c == nil {
			break
		}
		p.n++
		calls = append(calls, c)
	}
	p.mu.Unlock()
	for _, c := range calls {
		go p.work(c)
	}
}

// trim ends the goroutines that have been idle since before the time given. It
// learns when a goroutine became idle only here: a submit costs no clock.
func (p *pool) trim(now, before int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := 0
	for k < len(p.idle) && p.idle[k].since >= 0 && p.idle[k].since < before {
		p.end(p.idle[k])
		k++
	}
	p.idle = append(p.idle[:0], p.idle[k:]...)
	clear(p.idle[len(p.idle) : len(p.idle)+k])
	for _, w := range p.idle {
		if w.since < 0 {
			w.since = now
		}
	}
}

// end ends an idle goroutine. mu is held.
func (p *pool) end(w *worker) {
	p.n--
	w.next <- nil
}

// stop ends the idle goroutines; the others end after their calls and what is
// queued.
func (p *pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, w := range p.idle {
		p.end(w)
	}
	p.idle = nil
}

// size returns the number of goroutines.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}
