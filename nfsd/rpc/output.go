package rpc

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
)

// segment is a piece of output: one or more whole replies.
type segment struct {
	b      []byte
	buf    *buffer // what b lies in
	charge int64   // bytes in flight given back when b is sent
	loose  bool    // the reader's gathered replies, not charged
}

// sendPiece bounds what is written before the write deadline starts anew, in
// bytes, give or take one reply.
const sendPiece = 1 << 20

// maxSegments bounds the segments of one writev (IOV_MAX on Linux is 1,024).
const maxSegments = 1024

// output is the half of a connection that readers and workers share: replies on
// their way out and what bounds them.
type output struct {
	mu       sync.Mutex
	changed  sync.Cond // on mu; only the reader waits
	calls    int       // parked calls, and replies this connection waits for
	aside    int       // of these, set aside (R12)
	waits    int       // of these, replies waited for
	runs     runList
	crowded  atomic.Bool  // by calls that could not be set aside: others that need a worker are turned away
	used     atomic.Int64 // bytes in flight, with those waited for, without those set aside; changed under mu
	loose    int          // loose segments queued or being sent
	queue    []segment
	flushing bool  // somebody sends; everybody else only queues
	failed   error // why the connection ends; set once, nothing is sent after
	dead     chan struct{}

	// The flusher's own.
	sending []segment
	pieces  net.Buffers // backing array of iov
	iov     net.Buffers // consumed by WriteTo
}

func (o *output) init() {
	o.changed.L = &o.mu
	o.dead = make(chan struct{})
}

// fail ends the connection: what is queued is dropped, waits end, contexts are
// cancelled. Only the first error counts. It does not wait and may be called by
// anyone.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.failed != nil {
		c.mu.Unlock()
		return
	}
	c.failed = err
	dropped := c.queue
	c.queue = nil
	close(c.dead)
	c.changed.Signal()
	c.mu.Unlock()
	c.release(dropped)
	c.cancel()
	// Wakes a read or write in progress. If it fails the descriptor is
	// closed, and there is nothing to wake.
	_ = c.nc.SetDeadline(pastTime)
}

// reason returns why the connection ends, nil while it lives.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// busy reports whether calls or replies are under way.
func (c *conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls > 0 || c.flushing || len(c.queue) > 0
}

// running reports whether calls of this connection are with workers.
func (c *conn) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls > 0
}

// drained waits until all calls are answered and all replies sent, or the
// connection fails.
func (c *conn) drained() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.failed == nil && (c.calls > 0 || c.flushing || len(c.queue) > 0) {
		c.changed.Wait()
	}
}

// ended waits until no call and no flusher uses the connection any more.
func (c *conn) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.calls > 0 || c.flushing {
		c.changed.Wait()
	}
}

// fits reports whether n more bytes and slots more calls may be in flight. mu is
// held.
func (c *conn) fits(n int64, slots int) bool {
	return c.calls-c.aside-c.waits+slots <= c.s.cfg.MaxCalls &&
		(n == 0 || c.used.Load() == 0 || c.used.Load()+n <= c.s.cfg.MaxConnBytes)
}

// admit waits until n bytes and slots calls may be in flight and counts them; it
// reports false if the connection failed meanwhile. Only the reader calls it, and with n above 0 only before the
// call holds any bytes (R5).
func (c *conn) admit(n int64, slots int, holding bool) bool {
	c.mu.Lock()
	if !c.fits(n, slots) {
		c.mu.Unlock()
		c.flush() // nobody else would while we wait
		c.endTurn()
		c.mu.Lock()
		for c.failed == nil && !c.fits(n, slots) {
			c.changed.Wait()
		}
	}
	if c.failed != nil {
		c.mu.Unlock()
		return false
	}
	c.calls += slots
	c.used.Add(n)
	c.mu.Unlock()
	if c.share(n, int64(slots), holding) {
		return true
	}
	c.mu.Lock()
	c.calls -= slots
	c.used.Add(-n)
	c.mu.Unlock()
	return false
}

// share takes of what the client and the server may have in flight: calls first, then bytes. A call that holds bytes
// does not wait for a place among the calls (R5).
func (c *conn) share(n, slots int64, holding bool) bool {
	if holding {
		c.countCalls(int(slots))
		slots = 0
	}
	steps := [...]struct {
		of *budget
		n  int64
	}{{&c.cl.calls, slots}, {&c.s.calls, slots}, {&c.cl.bytes, n}, {&c.s.budget, n}}
	for i, step := range steps {
		if step.n == 0 || c.wait(step.of, step.n) {
			continue
		}
		for _, had := range steps[:i] {
			if had.n > 0 {
				had.of.give(had.n)
			}
		}
		if holding {
			c.countCalls(-int(slots))
		}
		return false
	}
	return true
}

// wait takes n of what others have, too, and reports false if the connection failed before it was there.
func (c *conn) wait(of *budget, n int64) bool {
	if of.tryTake(n) {
		return true
	}
	c.cl.limited.Add(1)
	c.s.limited.Add(1)
	c.flush() // nobody else would while we wait
	c.endTurn()
	held := &c.cl.bytes.used
	if of == &c.cl.calls || of == &c.s.calls {
		held = &c.cl.calls.used
	}
	return of.take(n, holder{held, &c.used}, c.dead)
}

// countCalls counts calls of the connection in flight, or off, without asking.
func (c *conn) countCalls(n int) {
	switch {
	case n > 0:
		c.cl.calls.force(int64(n))
		c.s.calls.force(int64(n))
	case n < 0:
		c.cl.calls.give(int64(-n))
		c.s.calls.give(int64(-n))
	}
}

// admitRecord is admit for a large record that has only begun. All of these share half
// of the server's bytes, and of the client's: who begins records and does not end them holds up others who
// send large records, and nobody else.
func (c *conn) admitRecord(n int64) bool {
	if !c.wait(&c.cl.arriving, n) {
		return false
	}
	if !c.wait(&c.s.arriving, n) {
		c.cl.arriving.give(n)
		return false
	}
	if !c.admit(n, 0, false) {
		c.hasArrived(n)
		return false
	}
	return true
}

// hasArrived counts a large record off those under way.
func (c *conn) hasArrived(n int64) {
	c.s.arriving.give(n)
	c.cl.arriving.give(n)
}

// force counts n bytes in flight without asking.
func (c *conn) force(n int64) {
	if n <= 0 {
		return
	}
	c.mu.Lock()
	c.used.Add(n)
	c.mu.Unlock()
	c.cl.bytes.force(n)
	c.s.budget.force(n)
}

// give takes n bytes off those in flight.
func (c *conn) give(n int64) {
	if n <= 0 {
		return
	}
	c.mu.Lock()
	c.used.Add(-n)
	c.changed.Signal()
	c.mu.Unlock()
	c.cl.bytes.give(n)
	c.s.budget.give(n)
}

// callDone counts a call off that sends nothing.
func (c *conn) callDone() {
	c.mu.Lock()
	c.calls--
	c.changed.Signal()
	c.mu.Unlock()
	c.countCalls(-1)
	c.lastCall.Store(c.s.clock.Load())
}

// room returns the reader's reply buffer with at least n bytes free.
func (c *conn) room(n int) []byte {
	if c.out != nil && len(c.out.b)-c.outLen < n {
		c.flush()
	}
	if c.out == nil {
		c.mu.Lock()
		if c.loose >= maxLoose {
			c.mu.Unlock()
			c.flush() // push queues and sends nothing: nobody else would while we wait
			c.endTurn()
			c.mu.Lock()
			for c.failed == nil && c.loose >= maxLoose {
				c.changed.Wait()
			}
		}
		c.mu.Unlock()
		c.out = getBuffer(readSize)
	}
	return c.out.b[:c.outLen]
}

// seal queues the reader's reply buffer. mu is held.
func (c *conn) seal() {
	if c.out == nil {
		return
	}
	out, n := c.out, c.outLen
	c.out, c.outLen, c.outCalls = nil, 0, 0
	if n == 0 || c.failed != nil {
		putBuffer(out)
		return
	}
	c.loose++
	c.queue = append(c.queue, segment{b: out.b[:n], buf: out, loose: true})
}

// push queues an inline reply that has its own buffer, after those gathered. It is
// sent when enough has gathered (loop).
func (c *conn) push(seg segment) {
	c.pushed += len(seg.b)
	c.mu.Lock()
	c.seal()
	if c.failed == nil {
		c.queue = append(c.queue, seg)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.release([]segment{seg})
}

// flush sends what the reader gathered and what is queued, unless somebody else
// is sending, who will. It returns when that is done; an error ends the
// connection.
func (c *conn) flush() {
	c.pushed, c.caution.held = 0, 0
	c.mu.Lock()
	c.seal()
	if c.flushing || len(c.queue) == 0 {
		c.mu.Unlock()
		return
	}
	c.flushing = true
	c.send()
	c.mu.Unlock()
}

// post queues a worker's reply, empty for none, and counts its call off. A
// worker never sends itself: a client that does not read would hold it up.
func (c *conn) post(seg segment) {
	c.lastCall.Store(c.s.clock.Load())
	c.countCalls(-1)
	c.mu.Lock()
	c.calls--
	c.changed.Signal()
	if seg.b == nil || c.failed != nil {
		c.mu.Unlock()
		c.release([]segment{seg})
		return
	}
	c.queue = append(c.queue, seg)
	start := !c.flushing
	c.flushing = true
	c.mu.Unlock()
	if start {
		go c.flusher()
	}
}

// flusher is a goroutine that sends what workers posted and ends.
func (c *conn) flusher() {
	// Let the workers that are about to finish do so: their replies go in the
	// same write. With 32 outstanding (BenchmarkWorker, two processors) this
	// takes a call from 4.4 to 1.6 µs of CPU.
	runtime.Gosched()
	c.mu.Lock()
	c.send()
	c.mu.Unlock()
}

// send writes the queue until it is empty. mu is held, and flushing was set by
// the caller; mu is given up for the writes.
func (c *conn) send() {
	for len(c.queue) > 0 && c.failed == nil {
		c.sending, c.queue = c.queue, c.sending[:0]
		c.mu.Unlock()
		segs := c.sending
		for len(segs) > 0 {
			k, err := c.write(segs)
			c.release(segs[:k])
			segs = segs[k:]
			if err != nil {
				c.release(segs)
				c.fail(err)
				break
			}
		}
		c.mu.Lock()
	}
	if cap(c.sending) > maxSegments { // a burst is no reason to keep the memory
		c.sending, c.pieces, c.iov = nil, nil, nil
	}
	c.flushing = false
	c.changed.Signal()
}

// write writes the first segments, at least one, and returns how many.
func (c *conn) write(segs []segment) (k int, err error) {
	n := len(segs[0].b)
	for k = 1; k < len(segs) && k < maxSegments && n+len(segs[k].b) <= sendPiece; k++ {
		n += len(segs[k].b)
	}
	c.writeSince.Store(c.s.clock.Load())
	if k == 1 {
		_, err = c.nc.Write(segs[0].b)
	} else {
		c.pieces = c.pieces[:0]
		for i := range segs[:k] {
			c.pieces = append(c.pieces, segs[i].b)
		}
		c.iov = c.pieces
		_, err = c.iov.WriteTo(c.nc)
	}
	c.writeSince.Store(0)
	if err == nil {
		c.cl.out.Add(uint64(n))
	}
	return k, err
}

// release gives the segments' buffers and charges back.
func (c *conn) release(segs []segment) {
	var charge int64
	loose := 0
	for i := range segs {
		charge += segs[i].charge
		if segs[i].loose {
			loose++
		}
		putBuffer(segs[i].buf)
		segs[i] = segment{}
	}
	if loose > 0 {
		c.mu.Lock()
		c.loose -= loose
		c.changed.Signal()
		c.mu.Unlock()
	}
	c.give(charge)
}
