package rpc

import (
	"context"
	"runtime/debug"
	"sync"
)

// callState is what the server keeps with a Call.
type callState struct {
	noKeep     bool
	waits      bool    // see Waits
	moved      *buffer // what Reserve took, nil if nothing
	conn       *conn
	proc       *Proc
	credHash   uint64
	entry      *cacheEntry // nil: not cached
	rec        *buffer     // what Args lie in, owned; nil: the read buffer, or nothing
	recCharge  int64       // bytes charged for rec
	outCharge  int64       // bytes charged for the reply
	slot       bool        // counted in output.calls
	since      int64       // clock when a worker began it
	isAside    bool        // set aside (R12); guarded by output.mu, as the list is
	prevRun    *Call
	nextRun    *Call
	nextQueued *Call // guarded by the pool's mutex
}

// parked holds Calls for workers.
var parked = sync.Pool{New: func() any { return new(Call) }}

// reserve: see Reserve.
func (c *Call) reserve(out []byte, n int) []byte {
	if cap(out)-len(out) >= n {
		return out
	}
	const line = 64
	nb := getBuffer(line + replyHeader + len(out) + n)
	// Buffers start on a cache line, so the next byte appended does too. The
	// kernel copies a payload to such an address faster.
	nb.start = -(replyHeader + len(out)) & (line - 1)
	at := nb.start + replyHeader
	copy(nb.b[at:], out)
	putBuffer(c.moved) // out may have been in it
	c.moved = nb
	return nb.b[at : at+len(out)]
}

// same reports whether a and b start at the same byte.
func same(a, b []byte) bool {
	return cap(a) > 0 && cap(b) > 0 && &a[:1][0] == &b[:1][0]
}

// segment returns the reply with the result res as a piece of output of its own.
// res lies in base behind room for the header, in what Reserve took, or where
// append put it. What does not become part of the segment is given back.
func (c *Call) segment(res []byte, base *buffer) segment {
	if base != nil && (len(res) == 0 || same(res, base.b[replyHeader:])) {
		putBuffer(c.moved)
		c.moved = nil
		putAccepted(base.b, c.XID, acceptSuccess, len(res))
		return segment{b: base.b[:replyHeader+len(res)], buf: base}
	}
	if c.moved == nil || !same(res, c.moved.b[c.moved.start+replyHeader:]) {
		out := c.reserve(nil, len(res)) // append outgrew the buffer
		copy(out[:len(res)], res)
	}
	putBuffer(base)
	nb := c.moved
	c.moved = nil
	b := nb.b[nb.start : nb.start+replyHeader+len(res)]
	putAccepted(b, c.XID, acceptSuccess, len(res))
	return segment{b: b, buf: nb}
}

// context returns what the handler's calls may be cut by.
func (c *Call) context() context.Context {
	if c.proc.Idempotent {
		return c.conn.ctx
	}
	return c.conn.s.ctx
}

// invoke runs the handler and turns a panic into SystemErr.
func (s *Server) invoke(c *Call, out []byte) (res []byte, v Verdict) {
	defer func() {
		if r := recover(); r != nil {
			s.logPanic(c, r, debug.Stack())
			c.noKeep = true
			res, v = nil, SystemErr
		}
	}()
	return c.proc.Handler(c.context(), c, out)
}

// announced returns the size of the result the procedure announces, 0 if it is
// small. A panic is taken for an announcement of nothing; the handler will see
// the same arguments and fail under invoke.
func (s *Server) announced(c *Call) (n int) {
	defer func() {
		if r := recover(); r != nil {
			s.logPanic(c, r, debug.Stack())
			n = 0
		}
	}()
	if n = c.proc.ReplySize(c.Args); n <= SmallReply {
		return 0
	}
	return min(n, s.cfg.MaxReply)
}

// emit makes b, which is what room returned and one reply behind it, the gathered
// replies.
func (c *conn) emit(b []byte) {
	c.outLen = len(b)
	c.outCalls++
	c.answered++
}

// find returns the version a call is for; if there is none it answers.
func (c *conn) find(h *header) *Version {
	progs := c.s.cfg.Programs
	for i := range progs {
		if progs[i].Prog != h.prog {
			continue
		}
		vs := progs[i].Versions
		for j := range vs {
			if vs[j].Vers == h.vers {
				return &vs[j]
			}
		}
		c.emit(appendAccepted(c.room(maxBareReply), h.xid, acceptProgMismatch, vs[0].Vers, vs[len(vs)-1].Vers))
		return nil
	}
	c.emit(appendAccepted(c.room(maxBareReply), h.xid, acceptProgUnavail))
	return nil
}

// dispatch serves one record. If own is not nil the record lies there, it belongs
// to dispatch, and charge bytes were counted for it. An error ends the connection.
//
// A header is judged in the order RPC version, program, version, credential,
// procedure: a client that asks for NFSv4 with a flavor we do not know must
// learn that there is no version 4.
func (c *conn) dispatch(rec []byte, own *buffer, charge int64) error {
	var h header
	if err := h.parse(rec); err != nil {
		putBuffer(own)
		c.give(charge)
		return err
	}
	call := &c.call
	if !c.prepare(call, &h) {
		putBuffer(own)
		c.give(charge)
		return nil
	}
	call.rec, call.recCharge = own, charge
	if call.proc.ReplySize != nil {
		if n := c.s.announced(call); n > 0 {
			call.outCharge = bufferSize(64 + replyHeader + n)
			if charge > 0 { // R5: it holds bytes already
				c.force(call.outCharge)
			} else if !c.admit(call.outCharge, 0, false) {
				return c.reason()
			}
		}
	}
	if call.proc.Cached {
		if run, err := c.remember(call); !run {
			putBuffer(call.rec)
			c.give(call.recCharge + call.outCharge)
			return err
		}
	}
	if call.proc.Inline {
		call.NoWait = true
		if c.inline(call) {
			return nil
		}
	}
	if c.turning(call) {
		c.turnAway(call)
		return nil
	}
	return c.park(call)
}

// prepare fills call from the header, or answers and returns false.
func (c *conn) prepare(call *Call, h *header) bool {
	if h.rpcvers != rpcVersion {
		c.emit(appendDenied(c.room(maxBareReply), h.xid, rejectRPCMismatch, rpcVersion, rpcVersion))
		return false
	}
	v := c.find(h)
	if v == nil {
		return false
	}
	cred, hash, stat := (*Cred)(nil), uint64(0), h.auth
	if stat == authOK {
		cred, hash, stat = c.creds.get(h)
	}
	if stat != authOK {
		c.emit(appendDenied(c.room(maxBareReply), h.xid, rejectAuthError, uint32(stat)))
		return false
	}
	if uint64(h.proc) >= uint64(len(v.Procs)) || v.Procs[h.proc].Handler == nil {
		c.emit(appendVerdict(c.room(maxBareReply), h.xid, ProcUnavail))
		return false
	}
	call.XID, call.Prog, call.Vers, call.Proc = h.xid, h.prog, h.vers, h.proc
	call.Client, call.Cred, call.Args, call.NoWait = c.peer.addr, cred, h.args, false
	call.callState = callState{conn: c, proc: &v.Procs[h.proc], credHash: hash}
	return true
}

// remember takes the call through the reply cache. It reports true if the call is
// to be run; otherwise it is answered, or will be, or the connection failed.
func (c *conn) remember(call *Call) (run bool, err error) {
	// The place is taken first, since whoever finishes the first run counts
	// a waiter off.
	if c.turning(call) { // it will have the place for a moment, or not at all
		c.mu.Lock()
		c.calls++
		c.mu.Unlock()
		c.countCalls(1)
	} else if !c.admit(0, 1, call.recCharge+call.outCharge > 0) {
		return false, c.reason()
	}
	key := cacheKey{
		addr: c.peer.addr.Addr(), xid: call.XID, prog: call.Prog, vers: call.Vers, proc: call.Proc,
		length: len(call.Args), cred: call.credHash ^ uint64(call.Cred.Flavor), sum: sumArgs(c.s.cache.seed, call.Args),
	}
	e, answer, reply, displaced := c.s.cache.begin(key, c)
	if displaced != nil {
		displaced.awaits(-1)
		displaced.callDone()
	}
	switch answer {
	case cacheRun:
		call.entry, call.slot = e, true
		return true, nil
	case cacheReplay:
		c.s.hits.Add(1)
		c.callDone()
		c.resend(reply)
	case cacheDrop:
		c.callDone()
	case cacheWait: // the place is counted off by settle, perhaps before this
		c.awaits(1)
	}
	return false, nil
}

// resend appends a reply of the cache to those gathered.
func (c *conn) resend(reply []byte) {
	if len(reply) > readSize {
		buf := getBuffer(len(reply))
		n := copy(buf.b, reply)
		charge := bufferSize(n)
		c.force(charge)
		c.push(segment{b: buf.b[:n], buf: buf, charge: charge})
	} else {
		c.emit(append(c.room(len(reply)), reply...))
		return
	}
	c.answered++
}

// settle ends the call's cache entry and sends the reply to whoever waits for it.
func (s *Server) settle(c *Call, reply []byte, v Verdict) {
	if c.entry == nil {
		return
	}
	waiter := s.cache.finish(c.entry, reply, v == Done && !c.noKeep)
	c.entry = nil
	if waiter == nil {
		return
	}
	waiter.awaits(-1)
	if len(reply) == 0 {
		waiter.callDone()
		return
	}
	buf := getBuffer(len(reply))
	n := copy(buf.b, reply)
	charge := bufferSize(n)
	waiter.force(charge)
	s.hits.Add(1)
	waiter.post(segment{b: buf.b[:n], buf: buf, charge: charge})
}

// inline runs the call on the reader and reports false if it must wait.
func (c *conn) inline(call *Call) bool {
	b := c.room(replyHeader + minRoom)
	at := len(b)
	out := c.out.b[at+replyHeader : at+replyHeader]
	res, v := c.s.invoke(call, out)
	if v == Again {
		putBuffer(call.moved)
		call.moved = nil
		return false
	}
	switch {
	case v != Done:
		putBuffer(call.moved)
		b = appendVerdict(b, call.XID, v)
		c.s.settle(call, b[at:], v)
		c.emit(b)
	case len(res) == 0 || same(res, out):
		putBuffer(call.moved)
		b = c.out.b[:at+replyHeader+len(res)]
		putAccepted(b[at:], call.XID, acceptSuccess, len(res))
		c.s.settle(call, b[at:], v)
		c.emit(b)
	default:
		seg := call.segment(res, nil)
		seg.charge = call.charged(seg)
		call.outCharge = 0
		c.s.settle(call, seg.b, v)
		c.answered++
		c.push(seg)
	}
	call.moved = nil
	putBuffer(call.rec)
	c.give(call.recCharge + call.outCharge)
	if call.slot {
		c.callDone()
	}
	return true
}

// charged returns the bytes to be counted for a reply until it is sent: what was
// reserved or what it takes, whichever is more.
func (c *Call) charged(seg segment) int64 {
	if size := int64(len(seg.buf.b)); size > c.outCharge {
		c.conn.force(size - c.outCharge)
		return size
	}
	return c.outCharge
}

// park hands the call to a worker.
func (c *conn) park(call *Call) error {
	n := len(call.Args)
	steal := call.rec == nil && n >= stealMin && c.rr.w-c.rr.r < n
	var args, out int64
	small := call.outCharge == 0
	if small {
		out = bufferSize(SmallReply)
	}
	if steal {
		args = bufferSize(readSize)
	} else if call.rec == nil && n > 0 {
		args = bufferSize(n)
	}
	slots := 1
	if call.slot {
		slots = 0
	}
	wait, holding := args+out, call.recCharge+call.outCharge > 0
	if holding { // R5
		c.force(wait)
		wait = 0
	}
	if !c.admit(wait, slots, holding) {
		c.abandon(call, args+out-wait)
		return c.reason()
	}
	pc := parked.Get().(*Call)
	*pc = *call
	pc.NoWait = false
	pc.slot = true
	pc.recCharge += args
	pc.outCharge += out
	switch {
	case steal:
		pc.rec = c.rr.steal() // Args stay where they are
	case call.rec == nil && n > 0:
		pc.rec = getBuffer(n)
		pc.Args = pc.rec.b[:copy(pc.rec.b, call.Args):n]
	}
	c.s.parked.Add(1)
	if small && c.caution.runsHere(c.others(), n >= stealMin) && c.s.pool.enter(c.cl) {
		return c.runHere(pc)
	}
	c.s.pool.submit(pc)
	return nil
}

// abandon drops a call of a connection that failed before a worker got it. Who waits
// for its reply on another connection will get none, and as on a connection no reply
// is ever lost its client would wait long: it is closed, so that he asks again.
func (c *conn) abandon(call *Call, forced int64) {
	if call.entry != nil {
		if waiter := c.s.cache.finish(call.entry, nil, false); waiter != nil {
			waiter.fail(errAbandoned)
			waiter.awaits(-1)
			waiter.callDone()
		}
	}
	if call.slot {
		c.callDone()
	}
	putBuffer(call.rec)
	c.give(call.recCharge + call.outCharge + forced)
}

// work runs a parked call; it is the pool's run.
func (s *Server) work(call *Call) {
	c := call.conn
	seg, _ := s.answer(call)
	c.reply(seg)
}

// reply posts the answer to a call that was not run by the reader, empty for none.
func (c *conn) reply(seg segment) {
	if seg.b != nil {
		c.s.served.Add(1)
		c.cl.answered.Add(1)
	}
	c.post(seg)
}

// answer runs a parked call and gives its reply, empty for none. waits: its handler called Waits.
func (s *Server) answer(call *Call) (seg segment, waits bool) {
	c := call.conn
	var (
		res []byte
		v   = Drop
	)
	base := getBuffer(SmallReply)
	c.begin(call)
	// Nobody reads the reply of a broken connection, and cutting an idempotent
	// call short before it starts is the shortest.
	if !call.proc.Idempotent || c.ctx.Err() == nil {
		res, v = s.invoke(call, base.b[replyHeader:replyHeader])
	}
	c.end(call)
	if v == Again {
		s.logAgain(call)
		v = SystemErr
	}
	if v == Done {
		seg = call.segment(res, base)
	} else {
		putBuffer(call.moved)
		if b := appendVerdict(base.b[:0], call.XID, v); len(b) > 0 {
			seg = segment{b: b, buf: base}
		} else {
			putBuffer(base)
		}
	}
	s.settle(call, seg.b, v)
	putBuffer(call.rec)
	c.give(call.recCharge)
	seg.charge = call.outCharge
	if seg.b != nil {
		seg.charge = call.charged(seg)
	}
	waits = call.waits
	*call = Call{}
	parked.Put(call)
	s.parked.Add(-1)
	return seg, waits
}
