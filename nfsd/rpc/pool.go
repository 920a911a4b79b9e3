package rpc

import "sync"

// pool runs calls that must wait. Goroutines are started as they are needed, up
// to max, and end when the sweeper finds them idle. Who has calls here has share goroutines at most,
// and when several clients have some they have an equal part of that each, one at
// least: so that what piles up piles up here, where clients have their turns, and not in front of a disk, where the first
// comes first. Calls that are queued are taken in turn, of the clients and then of a client's connections, one call each: one
// with many slow calls does not hold up the others longer than it must, and many connections are worth no more than one.
type pool struct {
	run   func(*Call)
	max   int // guarded by mu; more while calls are set aside
	share int

	mu          sync.Mutex
	n           int       // goroutines
	idle        []*worker // the last one became idle last
	active      int       // clients with calls queued or running, without those set aside
	queued      int       // clients with calls queued
	first, last *client   // these, linked by client.queue.next
	stopped     bool
}

// turn is what the pool keeps of a client. Guarded by pool.mu.
type turn struct {
	running     int   // goroutines that run its calls, without those set aside
	calls       int   // queued
	first, last *conn // with calls queued, linked by conn.nextReady
	next        *client
}

// worker is an idle goroutine; a nil call ends it.
type worker struct {
	next  chan *Call
	since int64 // clock at the time it became idle
}

// submit hands the call to a goroutine or queues it. It never waits.
func (p *pool) submit(c *Call) {
	p.mu.Lock()
	p.enqueue(c)
	w, c := p.start()
	p.mu.Unlock()
	p.begin(w, c)
}

// start takes the next call for a goroutine that is idle, or for a new one if w is nil; c is nil if there is none. mu is held.
func (p *pool) start() (w *worker, c *Call) {
	k := len(p.idle)
	if k == 0 && p.n >= p.max {
		return nil, nil
	}
	if c = p.pop(); c == nil {
		return nil, nil
	}
	if k == 0 {
		p.n++
		return nil, c
	}
	w = p.idle[k-1]
	p.idle[k-1] = nil
	p.idle = p.idle[:k-1]
	return w, c
}

// begin lets the goroutine run what start has taken.
func (p *pool) begin(w *worker, c *Call) {
	switch {
	case c == nil:
	case w == nil:
		go p.work(c)
	default:
		w.next <- c
	}
}

// startAll starts what may be. mu is held.
func (p *pool) startAll() {
	for p.queued > 0 {
		w, c := p.start()
		if c == nil {
			return
		}
		p.begin(w, c)
	}
}

// enqueue appends the call to those of its connection. mu is held.
func (p *pool) enqueue(c *Call) {
	conn := c.conn
	cl := conn.cl
	t := &cl.queue
	if t.running == 0 && t.calls == 0 {
		p.active++
	}
	t.calls++
	if conn.queueHead != nil {
		conn.queueTail.nextQueued = c
		conn.queueTail = c
		return
	}
	conn.queueHead, conn.queueTail = c, c
	t.ready(conn)
	if t.calls == 1 {
		p.ready(cl)
	}
}

// ready appends c to the connections with calls queued.
func (t *turn) ready(c *conn) {
	if t.first == nil {
		t.first = c
	} else {
		t.last.nextReady = c
	}
	t.last = c
}

// ready appends cl to the clients with calls queued. mu is held.
func (p *pool) ready(cl *client) {
	if p.first == nil {
		p.first = cl
	} else {
		p.last.queue.next = cl
	}
	p.last = cl
	p.queued++
}

// pop takes the next queued call of a client that has not its part of the goroutines, nil if there is none. mu is held.
func (p *pool) pop() *Call {
	part := p.part(p.active)
	for range p.queued {
		cl := p.first
		t := &cl.queue
		p.first, t.next = t.next, nil
		p.queued--
		if t.running >= part {
			p.ready(cl)
			continue
		}
		conn := t.first
		t.first, conn.nextReady = conn.nextReady, nil
		call := conn.queueHead
		conn.queueHead, call.nextQueued = call.nextQueued, nil
		if conn.queueHead != nil {
			t.ready(conn)
		}
		t.running++
		if t.calls--; t.calls > 0 {
			p.ready(cl)
		}
		return call
	}
	return nil
}

// part is how many goroutines may run calls of each client, if so many have some.
func (p *pool) part(active int) int { return max(1, p.share/max(1, active)) }

// runs counts goroutines that run calls of cl, or off. mu is held.
func (p *pool) runs(cl *client, n int) {
	t := &cl.queue
	was := t.running > 0 || t.calls > 0
	t.running += n
	if is := t.running > 0 || t.calls > 0; is && !was {
		p.active++
	} else if was && !is {
		p.active--
	}
}

// enter reports whether a call of cl may be run by its reader without taking the turn of one that waits, or more than the client's
// part, and counts it; exit ends that.
func (p *pool) enter(cl *client) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &cl.queue
	active := p.active
	if t.running == 0 {
		active++
	}
	if t.calls > 0 || p.n-len(p.idle) >= p.max || t.running >= p.part(active) {
		return false
	}
	p.runs(cl, 1)
	return true
}

// exit is the end of a call that entered. Who waits has its turn.
func (p *pool) exit(cl *client) {
	p.mu.Lock()
	p.runs(cl, -1)
	p.startAll()
	p.mu.Unlock()
}

// join counts a goroutine that runs a call and came by itself; leave ends that.
func (p *pool) join() {
	p.mu.Lock()
	p.n++
	p.mu.Unlock()
}

// leave is the end of a goroutine that joined.
func (p *pool) leave() {
	p.mu.Lock()
	p.n--
	p.mu.Unlock()
}

// work is a goroutine's life.
func (p *pool) work(c *Call) {
	var w *worker
	for {
		cl := c.conn.cl
		p.run(c)
		p.mu.Lock()
		p.runs(cl, -1)
		if p.n > p.max { // it ran a call that was set aside
			p.n--
			p.mu.Unlock()
			return
		}
		if c = p.pop(); c != nil {
			p.startAll() // there is more, if the others have a larger part now
		} else {
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

// lend allows so many goroutines more, or less, since those that run calls of cl set aside do not count. Who waits
// has his turn at once.
func (p *pool) lend(cl *client, n int) {
	p.mu.Lock()
	p.max += n
	p.runs(cl, -n)
	p.startAll()
	p.mu.Unlock()
}

// waiting returns how many calls of the client are queued.
func (p *pool) waiting(cl *client) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cl.queue.calls
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
