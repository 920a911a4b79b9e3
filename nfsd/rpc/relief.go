package rpc

import (
	"sync"
	"time"
)

// A call that needs a worker is run by the reader himself where that keeps nobody waiting (R13). Handing it over, and its
// reply to a flusher, wakes other threads for each call (measured with CREATE on an async export, one call in flight, two
// processors: 102 µs of the server's CPU a call, and 77 without; the host takes 20 for making the file).
const (
	// reliefTick is how often is looked for readers that are to be relieved. One is when he has been in his call for a
	// whole tick, so input waits for two at most.
	reliefTick = 2 * time.Millisecond
	// reliefIdle is for how many ticks nobody may run a call until it is not looked any more.
	reliefIdle = 50
	// briefCall is how long a call takes at most if the reader is to run the next ones though others of the connection are
	// under way: one that takes longer waits for a disk, and should have others beside it.
	briefCall = 250 * time.Microsecond
	// wary is how many calls workers have their turn after one that was not brief, or kept input waiting, until the
	// reader tries again. It doubles each time, to wariest.
	wary, wariest = 32, 2048
	// ownReplies is how many replies to calls that the reader ran gather before they are sent though more calls wait.
	ownReplies = 4
)

// caution says which calls the reader runs himself. It is his own.
type caution struct {
	beside backoff // for calls beside which others of the connection are under way
	alone  backoff // for others
	long   bool    // the last call that he ran was not brief: input that is there at the first look after it has waited
	held   int     // replies gathered to calls that he ran
}

// backoff counts calls for which something is not to be done, twice as many each time that it was a mistake.
type backoff struct{ left, last int }

// judge notes whether it was a mistake.
func (b *backoff) judge(mistake bool) {
	if !mistake {
		b.last = 0
		return
	}
	b.last = min(max(2*b.last, wary), wariest)
	b.left = b.last
}

// over reports whether it may be done again, and else counts.
func (b *backoff) over() bool {
	if b.left == 0 {
		return true
	}
	b.left--
	return false
}

// ran notes that the reader ran a call; waits says that it is of those that wait for a flush.
func (k *caution) ran(took time.Duration, waits bool) {
	k.held++
	k.long = took >= briefCall
	k.beside.judge(k.long || waits)
}

// relieved notes that the reader did not come back. Its call may be one of many: it is not found out of each.
func (k *caution) relieved() {
	k.long = false
	k.beside.judge(true)
	k.alone.judge(true)
}

// looked notes what the first look for input after it found.
func (k *caution) looked(found bool) {
	if k.long {
		k.long = false
		k.alone.judge(found)
	}
}

// runsHere reports whether the reader runs the next call himself. others says whether calls of the connection are under way or
// wait to be read, large whether it brings data: to put that where it belongs is work that others can do while he reads on.
func (k *caution) runsHere(others, large bool) bool {
	alone := k.alone.over()
	return alone && (!others || !large && k.beside.over())
}

// others reports whether calls of the connection beside the one that was just admitted are under way or wait to be read.
func (c *conn) others() bool {
	if c.rr.r < c.rr.w {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls-c.aside-c.waits > 1
}

// runHere runs a call on the reader. It is errRelieved when another goroutine has become the reader meanwhile.
func (c *conn) runHere(call *Call) error {
	if c.outLen+c.pushed > 0 && c.caution.beside.last > 0 { // it may take its time
		c.flush()
	}
	c.endTurn()
	s := c.s
	s.relief.begin(c)
	began := time.Now()
	seg, waits := s.answer(call)
	took := time.Since(began)
	still := s.relief.end(c)
	if !still {
		s.pool.leave()
	}
	s.pool.exit(c.cl)
	if !still {
		c.reply(seg)
		return errRelieved
	}
	c.caution.ran(took, waits)
	c.callDone()
	switch {
	case seg.b == nil:
		c.release([]segment{seg})
	case len(seg.b) > replyHeader+SmallReply: // it outgrew what was announced
		c.answered++
		c.push(seg)
	default:
		c.emit(append(c.room(len(seg.b)), seg.b...))
		c.release([]segment{seg})
	}
	if c.caution.held >= ownReplies {
		c.flush()
	}
	return nil
}

// relief watches over readers that run calls themselves, and has another goroutine read where one does not come back.
type relief struct {
	s *Server

	mu      sync.Mutex       // guards the following
	running map[*conn]uint64 // the round in which each began
	round   uint64           // counts ticks
	awake   bool             // tick runs
}

// begin notes that c's reader runs a call.
func (r *relief) begin(c *conn) {
	r.mu.Lock()
	r.running[c] = r.round
	if !r.awake {
		r.awake = true
		go r.watch()
	}
	r.mu.Unlock()
}

// end notes that the call is over; false: the caller is not the reader any more.
func (r *relief) end(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, still := r.running[c]; !still {
		return false
	}
	delete(r.running, c)
	return true
}

// watch relieves readers until there have been none for a while.
func (r *relief) watch() {
	t := time.NewTicker(reliefTick)
	defer t.Stop()
	for idle := 0; ; {
		<-t.C
		var late []*conn
		r.mu.Lock()
		for c, since := range r.running {
			if since < r.round {
				delete(r.running, c)
				late = append(late, c)
			}
		}
		r.round++
		idle++
		if len(r.running) > 0 {
			idle = 0
		}
		if idle > reliefIdle {
			r.awake = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		for _, c := range late {
			c.caution.relieved()
			r.s.pool.join()
			go c.serve()
		}
	}
}
