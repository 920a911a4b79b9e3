package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Why a connection ends, besides errors of the network and of framing.
var (
	errDraining      = errors.New("server is shutting down")
	errRelieved      = errors.New("another goroutine reads the connection")
	errForced        = errors.New("server closed")
	errEvicted       = errors.New("idle connection closed to make room at MaxConns")
	errSilent        = errors.New("no call came within RecordTimeout")
	errIdle          = errors.New("idle for longer than IdleTimeout")
	errRecordTimeout = errors.New("record not complete within RecordTimeout")
	errAbandoned     = errors.New("the call that a retransmission waited for was never run")
	errWriteTimeout  = errors.New("client does not take its replies within WriteTimeout")
)

const (
	// flushBytes is how many bytes of inline replies gather before they are
	// sent although more calls wait: about what one READ of 64 KiB is.
	flushBytes = 64 << 10
	// flushCalls bounds the same by the number of replies, so that a client
	// with a deep window gets work while we do ours.
	flushCalls = 64
	// minRoom is the least room, in bytes, an inline handler finds in out:
	// enough for a reply with attributes of two objects.
	minRoom = 1024
	// stealMin is the size of arguments, in bytes, from which a call that is
	// parked takes the read buffer instead of a copy.
	stealMin = 8 << 10
	// maxLoose bounds the read-side reply buffers that are queued but not sent.
	maxLoose = 2
	// pressedShare divides RecordTimeout and WriteTimeout while others wait for bytes
	// in flight: 7.5 s for 1 MiB is enough for a line of 1.2 Mbit/s. Of a large
	// record each eighth must come in an eighth of that, so that who sends none is
	// gone within a second.
	pressedShare = 8
	// lingerTime is how long a connection that ends by Shutdown waits for the
	// client's end: closing with unread calls would reset the connection, and
	// the reset can overtake the replies.
	lingerTime = time.Second
)

// pastTime as a deadline wakes whoever reads or writes.
var pastTime = time.Unix(1, 0)

// conn is one connection. See doc.go for its life.
type conn struct {
	s      *Server
	nc     net.Conn
	raw    syscall.RawConn // nil: nc has no descriptor, read by nc.Read
	peer   *peer
	cl     *client
	ctx    context.Context // cancelled by fail
	cancel context.CancelFunc

	// The reader goroutine's own.
	rr        recordReader
	bigCharge int64 // bytes charged for rr.big, also against the server's arriving
	creds     credCache
	call      Call    // the call that runs inline
	out       *buffer // inline replies not queued yet, nil if there are none
	outLen    int
	outCalls  int
	pushed    int    // bytes of inline replies that push queued and nobody was told to send
	answered  uint64 // inline calls since the last publication
	got       uint64 // bytes received since then
	spoken    bool   // a record has come
	caution   caution
	turn      myTurn
	armed     bool  // readSince is set
	waiting   bool  // in read: beforeWait has run
	readN     int   // result of tryRead
	readErr   error // result of tryRead
	tryReadFn func(uintptr) bool

	output

	// Guarded by the pool's mutex.
	queueHead, queueTail *Call // parked calls without a goroutine
	nextReady            *conn

	// Times on the server's coarse clock, 0 for "not now". The sweeper reads
	// them: arming a timer for each read and write would cost more than the
	// call.
	idleSince  atomic.Int64 // waits for a record's first byte
	readSince  atomic.Int64 // waits for the rest of a record
	arrived    atomic.Int64 // with readSince: how much of the record is there, in eighths
	writeSince atomic.Int64 // waits for the client to take a piece of output
	lastCall   atomic.Int64 // end of the last parked call

	silent     atomic.Bool  // no record has come yet
	drainSince atomic.Int64 // time on the same clock at which Shutdown began
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, peer: &peer{addr: addrPort(nc.RemoteAddr())}}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.peer.conn.Store(c)
	c.cl = s.hold(c.peer.addr.Addr())
	c.rr.limit = s.cfg.MaxRecord
	c.creds.seed = s.cache.seed
	c.init()
	c.idleSince.Store(s.clock.Load())
	c.silent.Store(true)
	if sc, ok := nc.(syscall.Conn); ok && rawReads {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.tryReadFn = c.tryRead
		}
	}
	return c
}

// addrPort returns a TCP peer's address, the zero AddrPort for other networks.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// serve is the life of the connection, run by the reader goroutine; also what is left of it, by one that relieves another.
func (c *conn) serve() {
	err := c.loop()
	if errors.Is(err, errRelieved) {
		return
	}
	c.endTurn()
	// No more calls come from here: what the client asks on another connection, from
	// whatever port, may be a retransmission of what still runs (R9).
	c.peer.conn.Store(nil)
	if errors.Is(err, io.EOF) || errors.Is(err, errDraining) {
		c.flush()
		c.drained()
		if errors.Is(err, errDraining) {
			c.linger()
		}
	}
	c.fail(err)
	err = c.reason()
	// The reader is the only one that closes: Close waits for a read in
	// progress, and others may hold it up.
	cerr := c.nc.Close()
	c.rr.release()
	if c.bigCharge > 0 {
		c.hasArrived(c.bigCharge)
		c.give(c.bigCharge)
	}
	putBuffer(c.out)
	c.out = nil
	c.publish()
	c.s.logEnd(c, err, cerr)
	c.ended() // R7: calls outlive the socket, the connection outlives its calls
	c.s.remove(c)
}

// loop reads and dispatches until the stream ends. It returns io.EOF at its
// orderly end, errDraining when Shutdown wants no more calls.
func (c *conn) loop() error {
	for {
		rec, own, n, err := c.rr.next()
		if err != nil {
			return err
		}
		switch n {
		case gotRecord:
			if c.armed {
				c.armed = false
				c.readSince.Store(0)
			}
			if !c.spoken {
				c.spoken = true
				c.silent.Store(false)
			}
			if !c.turn.has && c.s.contended.Load() && !c.takeTurn() {
				return c.reason()
			}
			charge := int64(0)
			if own != nil {
				charge, c.bigCharge = c.bigCharge, 0
				c.hasArrived(charge)
			}
			if err := c.dispatch(rec, own, charge); err != nil {
				return err
			}
			full := c.outLen+c.pushed >= flushBytes || c.outCalls >= flushCalls
			if full {
				c.publish()
				c.flush()
			}
			if c.turn.has {
				c.called(full)
			}
		case needData:
			if err := c.read(); err != nil {
				return err
			}
		case needBuffer:
			c.armed = false // the wait for memory is not the client's fault
			c.readSince.Store(0)
			size := c.rr.wants()
			charge := bufferSize(size)
			if !c.admitRecord(charge) {
				return c.reason()
			}
			c.bigCharge = charge
			c.rr.grow(getBuffer(size))
		}
	}
}

// read adds to the record reader's input. Before it waits it sends what is
// gathered and gives memory back.
func (c *conn) read() error {
	c.readN, c.readErr = 0, nil
	if c.raw != nil {
		err := c.raw.Read(c.tryReadFn)
		if c.readErr == nil {
			c.readErr = err
		}
	} else {
		c.beforeWait()
		c.readN, c.readErr = c.nc.Read(c.rr.target())
	}
	if c.waiting {
		c.waiting = false
		c.idleSince.Store(0)
		c.hadInput()
	}
	if c.readN > 0 {
		c.got += uint64(c.readN)
		c.rr.filled(c.readN)
		return nil
	}
	if errors.Is(c.readErr, os.ErrDeadlineExceeded) && c.drainSince.Load() != 0 && c.reason() == nil {
		return errDraining
	}
	if c.readErr == nil {
		return io.ErrNoProgress
	}
	return c.readErr
}

// tryRead is one attempt of raw.Read: false means to wait until there is input.
// The flush happens here, after the first attempt has found nothing, and not
// before it: no reply waits longer than for a read that does not wait, and the
// system calls stay as few as those of a plain net.Conn.
func (c *conn) tryRead(fd uintptr) bool {
	n, again, err := readFD(fd, c.rr.target())
	c.caution.looked(!again)
	if again {
		if !c.waiting {
			c.beforeWait()
		} else {
			c.rr.shrink()
		}
		return false // if the flush failed, the deadline ends the wait
	}
	if c.readN, c.readErr = n, err; n == 0 && err == nil {
		c.readErr = io.EOF
	}
	return true
}

// beforeWait prepares for a long time without input.
func (c *conn) beforeWait() {
	c.waiting = true
	c.publish()
	c.flush()
	c.endTurn()
	now := c.s.clock.Load()
	if !c.rr.partial() {
		c.idleSince.Store(now)
	} else {
		c.arrived.Store(c.rr.arrived())
		if !c.armed {
			c.armed = true
			c.readSince.Store(now)
		}
	}
	c.rr.shrink()
	c.call = Call{} // its Args would keep a read buffer alive
}

// publish adds the reader's counts to the server's and the client's.
func (c *conn) publish() {
	if c.got > 0 {
		c.cl.in.Add(c.got)
		c.got = 0
	}
	if c.call.proc != nil {
		c.cl.last.Store(c.call.proc)
		c.cl.lastAt.Store(c.s.clock.Load())
	}
	if c.answered > 0 {
		c.s.inline.Add(c.answered)
		c.cl.answered.Add(c.answered)
		c.answered = 0
	}
}

// drain makes the reader stop at the next wait for input.
func (c *conn) drain() {
	c.drainSince.Store(c.s.clock.Load())
	if err := c.nc.SetReadDeadline(pastTime); err != nil {
		c.fail(err)
	}
}

// linger tells the client that no more replies come and waits a moment for it to
// leave.
func (c *conn) linger() {
	cw, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || c.reason() != nil || cw.CloseWrite() != nil {
		return // not TCP, or the connection is broken already
	}
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	var junk [512]byte
	for {
		if _, err := c.nc.Read(junk[:]); err != nil {
			return // the client's end, or enough waited
		}
	}
}

// sweep closes the connection if it is over a deadline. It is called by the
// sweeper with the time of the clock. pressed says that others wait for bytes in
// flight: who holds some has pressedShare of the time then. After Shutdown a client has
// as much to take all that is left for it, or it could make the server end by force.
func (c *conn) sweep(now int64, pressed bool) {
	c.setAside(now)
	write, read := c.s.cfg.WriteTimeout, c.s.cfg.RecordTimeout
	if pressed && c.used.Load() > 0 {
		write /= pressedShare
		read = read / pressedShare / 8 * time.Duration(max(1, c.arrived.Load()))
	}
	over := func(t *atomic.Int64, limit time.Duration) bool {
		since := t.Load()
		return since != 0 && now-since > int64(limit)
	}
	switch {
	case over(&c.writeSince, write):
		c.fail(errWriteTimeout)
	case over(&c.drainSince, c.s.cfg.WriteTimeout/pressedShare) && !c.running():
		c.fail(errWriteTimeout)
	case over(&c.readSince, read):
		c.fail(errRecordTimeout)
	case c.silent.Load() && c.idleFor(now) > c.s.cfg.RecordTimeout:
		c.fail(errSilent)
	case c.idleFor(now) > c.s.cfg.IdleTimeout:
		c.fail(errIdle)
	}
}

// stalledFor returns how long the connection has waited for its client to do
// anything: to call, to end a record, to take replies.
func (c *conn) stalledFor(now int64) time.Duration {
	if since := c.writeSince.Load(); since != 0 {
		return time.Duration(now - since)
	}
	if since := c.readSince.Load(); since != 0 && !c.busy() {
		return time.Duration(now - since)
	}
	return c.idleFor(now)
}

// idleFor returns how long the connection has had nothing to do, 0 if it has.
func (c *conn) idleFor(now int64) time.Duration {
	since := c.idleSince.Load()
	if since == 0 || c.busy() {
		return 0
	}
	return time.Duration(now - max(since, c.lastCall.Load()))
}
