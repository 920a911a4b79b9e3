package rpc

import (
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Readers of one client, beside those of others (R15). What a reader answers itself takes no worker, and Go shares its
// processors between goroutines: a client with a hundred connections would have a hundred times what one with one has. Worse, a
// connection that always has input never lets the runtime look which others have some: it does that when a processor has nothing
// to run, and else every 10 ms (findRunnable and sysmon in runtime/proc.go). Measured on two processors: 15 clients with 8 calls in
// flight each kept a hundredth of their rate beside one that flooded over 100 connections.
//
// So when several clients call, a client has one reader at work, and they take turns of turnCalls calls. Between two turns one
// waits until the runtime has looked for input once (round), so that all who have some go first. If
// there were none of other clients', turns get longer, and there are more readers, up to the number of processors. A client
// who is alone pays for none of this.
const (
	// turnCalls is how many calls make a turn, and turnLongest that of a reader who has found nobody else to have work.
	turnCalls   = 16
	turnLongest = flushCalls
	// livelyTicks is for how many ticks of the sweeper a client who has called is one who calls.
	livelyTicks = 2
)

// turnState is where a reader is.
type turnState uint8

const (
	turnNone turnState = iota
	turnHeld           // he counts among his client's
	turnLent           // he held one for so long that he does not count any more
)

// readers are those of one client that are at work.
type readers struct {
	mu    sync.Mutex
	n     int     // that count
	limit int     // of them
	queue []*conn // who wait, the first first

	input atomic.Uint64 // times that one had input after he had waited for it, while several clients call
}

// myTurn is what a connection keeps of this.
type myTurn struct {
	has   bool // the reader's own: state is not turnNone
	calls int  // the reader's own: since the turn began
	limit int  // the reader's own: of calls

	state turnState     // guarded by readers.mu
	since int64         // clock when it began; guarded by readers.mu
	go1   chan struct{} // receives when the reader is let in; made when he first waits
}

// takeTurn waits until the reader may work, if several clients call. It reports false if the connection failed meanwhile.
func (c *conn) takeTurn() bool {
	r := &c.cl.readers
	r.mu.Lock()
	if r.n < max(1, r.limit) && len(r.queue) == 0 {
		r.n++
		c.begins()
		r.mu.Unlock()
	} else {
		if c.turn.go1 == nil {
			c.turn.go1 = make(chan struct{}, 1)
		}
		r.queue = append(r.queue, c)
		r.mu.Unlock()
		c.flush() // nobody else would while we wait
		select {
		case <-c.turn.go1:
		case <-c.dead:
			if !c.cl.readers.forget(c) {
				<-c.turn.go1 // let in meanwhile
				c.turn.has = true
				c.endTurn()
			}
			return false
		}
	}
	c.turn.has, c.turn.calls = true, 0
	c.turn.limit = max(c.turn.limit, turnCalls)
	return true
}

// begins notes that c's turn begins. readers.mu is held.
func (c *conn) begins() { c.turn.state, c.turn.since = turnHeld, c.s.clock.Load() }

// forget takes c out of the queue, and reports whether it was there.
func (r *readers) forget(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.Index(r.queue, c)
	if at < 0 {
		return false
	}
	r.queue = slices.Delete(r.queue, at, at+1)
	return true
}

// gone counts a reader off, and lets the next ones in. mu is held.
func (r *readers) gone() {
	for r.n--; len(r.queue) > 0 && r.n < max(1, r.limit); r.n++ {
		next := r.queue[0]
		r.queue = slices.Delete(r.queue, 0, 1)
		next.begins()
		next.turn.go1 <- struct{}{}
	}
}

// found takes notice of whether readers of other clients had input while one of these waited.
func (r *readers) found(others bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if others {
		r.limit = 1
	} else {
		r.limit = min(r.limit+1, runtime.GOMAXPROCS(0))
	}
}

// endTurn ends the reader's turn, if he has one. He calls it before he waits for anything.
func (c *conn) endTurn() {
	if !c.turn.has {
		return
	}
	c.turn.has = false
	r := &c.cl.readers
	r.mu.Lock()
	if c.turn.state == turnHeld {
		r.gone()
	}
	c.turn.state = turnNone
	r.mu.Unlock()
}

// lendTurn lets another reader of the client in beside one who has been at work since before the time given: he waits for
// something, a client who does not take his replies or a handler that should not wait. It is called by the sweeper.
func (c *conn) lendTurn(before int64) {
	r := &c.cl.readers
	r.mu.Lock()
	if c.turn.state == turnHeld && c.turn.since < before {
		r.gone()
		c.turn.state = turnLent
	}
	r.mu.Unlock()
}

// called counts a call of the turn, and ends it when it has been long enough: then others have theirs.
func (c *conn) called(full bool) {
	if c.turn.calls++; c.turn.calls < c.turn.limit && !full {
		return
	}
	c.flush()
	if c.s.contended.Load() { // the next of the client begins after the others, too
		others := c.othersRead()
		c.cl.readers.found(others)
		if others {
			c.turn.limit = turnCalls
		} else {
			c.turn.limit = min(2*c.turn.limit, turnLongest)
		}
	}
	c.endTurn()
}

// othersRead waits for the end of a round, and reports whether readers of other clients had input meanwhile.
func (c *conn) othersRead() bool {
	all, own := c.s.round.input.Load(), c.cl.readers.input.Load()
	c.s.round.wait()
	return c.s.round.input.Load()-all > c.cl.readers.input.Load()-own
}

// hadInput notes that there is some, for which the reader has waited.
func (c *conn) hadInput() {
	if last := c.s.latest.Load(); last != c.cl { // the sweeper would find out, but a flood leaves nobody so much time
		c.s.latest.Store(c.cl)
		if last != nil {
			c.s.contended.Store(true)
		}
	}
	if c.s.contended.Load() {
		c.cl.readers.input.Add(1) // first: it is not taken for another's
		c.s.round.input.Add(1)
	}
}

// round lets goroutines wait until the runtime has looked for input: they wait for a pipe that has some.
type round struct {
	mu      sync.Mutex
	over    sync.Cond // on mu
	n       uint64    // that are over
	asked   bool      // there is something in the pipe
	in, out *os.File  // nil: not open

	input atomic.Uint64 // see readers.input, of all
}

// open begins to make rounds, as long as the server runs. Without a pipe waiting is no more than giving way.
func (r *round) open() error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.over.L = &r.mu
	r.in, r.out = in, out
	r.mu.Unlock()
	go r.run(in)
	return nil
}

// close ends the rounds. Who waits goes on.
func (r *round) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil {
		return
	}
	// Of a pipe of our own nothing can be lost.
	_ = r.out.Close()
	r.out = nil
}

// run is the goroutine that makes them.
func (r *round) run(in *os.File) {
	var b [16]byte
	for {
		_, err := in.Read(b[:])
		r.mu.Lock()
		r.n++
		r.asked = false
		r.over.Broadcast()
		if err != nil {
			_ = in.Close()
			r.mu.Unlock()
			r.close()
			return
		}
		r.mu.Unlock()
	}
}

// wait waits for the end of a round.
func (r *round) wait() {
	r.mu.Lock()
	if r.out == nil {
		r.mu.Unlock()
		runtime.Gosched()
		return
	}
	if !r.asked {
		r.asked = true
		if _, err := r.out.Write([]byte{0}); err != nil {
			r.asked = false
			r.mu.Unlock()
			runtime.Gosched()
			return
		}
	}
	for n := r.n; n == r.n && r.out != nil; {
		r.over.Wait()
	}
	r.mu.Unlock()
}

// findLively notes whether several clients call. mu is held.
func (s *Server) findLively() {
	lively := 0
	for _, cl := range s.clients.known {
		n := cl.answered.Load()
		if n != cl.heard {
			cl.heard, cl.lively = n, livelyTicks
		} else if cl.lively > 0 {
			cl.lively--
		}
		if cl.lively > 0 {
			lively++
		}
	}
	s.contended.Store(lively > 1)
}
