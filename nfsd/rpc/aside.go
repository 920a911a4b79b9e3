package rpc

import "sync"

// aside bounds the calls that were set aside, of all connections (R12). A client has as many places at most as are left for
// others: alone it has half of them, and there is always one for who comes next.
type aside struct {
	maxCalls int64
	maxBytes int64

	mu    sync.Mutex // guards what follows, and the clients' parts
	calls int64
	bytes int64
}

// take counts a call of the client and what it holds, if there is room for it.
func (a *aside) take(cl *client, bytes int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cl.aside+1 > a.maxCalls-a.calls || bytes > 0 && cl.asideBytes+bytes > a.maxBytes-a.bytes {
		return false
	}
	a.add(cl, 1, bytes)
	return true
}

func (a *aside) give(cl *client, bytes int64) {
	a.mu.Lock()
	a.add(cl, -1, -bytes)
	a.mu.Unlock()
}

// add counts. mu is held.
func (a *aside) add(cl *client, calls, bytes int64) {
	a.calls += calls
	a.bytes += bytes
	cl.aside += calls
	cl.asideBytes += bytes
}

// load returns what is set aside.
func (a *aside) load() (calls, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls, a.bytes
}

// of returns how many calls of the client are set aside.
func (a *aside) of(cl *client) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return cl.aside
}

// crowd are calls that run for long, without room to be set aside.
type crowd struct{ calls, bytes int64 }

func (w *crowd) add(o crowd) {
	w.calls += o.calls
	w.bytes += o.bytes
}

// over reports whether they have more than half of what there is.
func (w crowd) over(calls, bytes int64) bool { return w.calls > calls/2 || w.bytes > bytes/2 }

// runList are the calls of a connection that workers run, without those set aside, the oldest
// first. Guarded by output.mu.
type runList struct{ first, last *Call }

func (l *runList) push(c *Call) {
	c.prevRun, c.nextRun = l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.nextRun = c
	}
	l.last = c
}

func (l *runList) unlink(c *Call) {
	if c.prevRun == nil {
		l.first = c.nextRun
	} else {
		c.prevRun.nextRun = c.nextRun
	}
	if c.nextRun == nil {
		l.last = c.prevRun
	} else {
		c.nextRun.prevRun = c.prevRun
	}
	c.prevRun, c.nextRun = nil, nil
}

// begin notes that a worker runs the call.
func (c *conn) begin(call *Call) {
	call.since = c.s.clock.Load()
	c.mu.Lock()
	c.runs.push(call)
	c.mu.Unlock()
}

// end notes that its handler has returned. A call that was set aside counts as the others
// from here on: its reply is on its way.
func (c *conn) end(call *Call) {
	c.mu.Lock()
	was := call.isAside
	if !was {
		c.runs.unlink(call)
	} else {
		call.isAside = false
		c.aside--
		c.used.Add(call.recCharge + call.outCharge)
	}
	c.mu.Unlock()
	if was {
		c.cl.bytes.force(call.recCharge + call.outCharge)
		c.countCalls(1)
		c.s.aside.give(c.cl, call.recCharge+call.outCharge)
		c.s.pool.lend(c.cl, -1)
	}
}

// setAside sets the calls aside that have run for longer than SlowAfter, as many as there is room for, and
// returns those that stay: they may crowd the connection. It is called by the sweeper with the time of the clock.
func (c *conn) setAside(now int64) (stay crowd) {
	before := now - int64(c.s.cfg.SlowAfter)
	moved, bytes := 0, int64(0)
	c.mu.Lock()
	for call := c.runs.first; call != nil && call.since < before; {
		next, holds := call.nextRun, call.recCharge+call.outCharge
		if !c.s.aside.take(c.cl, holds) {
			stay.add(crowd{1, holds})
		} else {
			c.runs.unlink(call)
			call.isAside = true
			c.aside++
			c.used.Add(-holds)
			bytes += holds
			moved++
		}
		call = next
	}
	c.crowded.Store(stay.over(int64(c.s.cfg.MaxCalls), c.s.cfg.MaxConnBytes))
	if moved > 0 {
		// Before a call can end, which counts it again.
		c.cl.bytes.give(bytes)
		c.countCalls(-moved)
		c.changed.Signal()
	}
	c.mu.Unlock()
	if moved > 0 {
		c.s.pool.lend(c.cl, moved)
	}
	return stay
}

// turning reports whether a call that needs a worker is to be turned away: calls that do not end crowd the
// connection, its client or the server.
func (c *conn) turning(call *Call) bool {
	return call.proc.Busy != nil && (c.crowded.Load() || c.cl.crowded.Load() || c.s.crowded.Load())
}

// turnAway answers a call, of which nothing has begun, by its procedure's Busy.
func (c *conn) turnAway(call *Call) {
	c.s.turned.Add(1)
	c.cl.turned.Add(1)
	if call.slot {
		c.callDone()
	}
	putBuffer(call.rec)
	call.Args = nil
	c.give(call.recCharge + call.outCharge)
	b := c.room(replyHeader + SmallReply)
	at := len(b)
	res := call.proc.Busy(call, c.out.b[at+replyHeader:at+replyHeader])
	b = append(b[:at+replyHeader], res...) // onto itself
	putAccepted(b[at:], call.XID, acceptSuccess, len(res))
	call.noKeep = true // sent again, it may find room
	c.s.settle(call, b[at:], Done)
	c.emit(b)
}

// awaits counts, or counts off, a reply that the connection waits for from a call of another (R9). There are no
// more of these than calls in flight, and they do not count against MaxCalls: a client that comes back asks for all
// that hung on its former connection.
func (c *conn) awaits(n int) {
	c.mu.Lock()
	c.waits += n
	c.changed.Signal()
	c.mu.Unlock()
	c.countCalls(-n)
}
