package rpc

import "sync/atomic"

// aside bounds the calls that were set aside, of all connections (R12).
type aside struct {
	calls    atomic.Int64
	bytes    atomic.Int64
	maxCalls int64
	maxBytes int64
}

// take counts a call and what it holds, if there is room for it.
func (a *aside) take(bytes int64) bool {
	if a.calls.Add(1) > a.maxCalls {
		a.calls.Add(-1)
		return false
	}
	if a.bytes.Add(bytes) > a.maxBytes && bytes > 0 {
		a.calls.Add(-1)
		a.bytes.Add(-bytes)
		return false
	}
	return true
}

func (a *aside) give(bytes int64) {
	a.calls.Add(-1)
	a.bytes.Add(-bytes)
}

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
		c.s.aside.give(call.recCharge + call.outCharge)
		c.s.pool.lend(-1)
	}
}

// setAside sets the calls aside that have run for longer than SlowAfter, as many as there is room for, and
// notes whether those that stay crowd the connection. It is called by the sweeper with the time of the clock.
func (c *conn) setAside(now int64) {
	before := now - int64(c.s.cfg.SlowAfter)
	moved, calls, bytes := 0, 0, int64(0)
	c.mu.Lock()
	for call := c.runs.first; call != nil && call.since < before; {
		next, holds := call.nextRun, call.recCharge+call.outCharge
		if !c.s.aside.take(holds) {
			calls++
			bytes += holds
		} else {
			c.runs.unlink(call)
			call.isAside = true
			c.aside++
			c.used.Add(-holds)
			moved++
		}
		call = next
	}
	c.crowded.Store(calls > c.s.cfg.MaxCalls/2 || bytes > c.s.cfg.MaxConnBytes/2)
	if moved > 0 {
		c.changed.Signal()
	}
	c.mu.Unlock()
	if moved > 0 {
		c.s.pool.lend(moved)
	}
}

// turning reports whether a call that needs a worker is to be turned away: calls that do not end crowd the
// connection.
func (c *conn) turning(call *Call) bool { return call.proc.Busy != nil && c.crowded.Load() }

// turnAway answers a call, of which nothing has begun, by its procedure's Busy.
func (c *conn) turnAway(call *Call) {
	c.s.turned.Add(1)
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
}
