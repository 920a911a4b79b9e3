package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("rpc: server closed")

// Backoff of Accept when descriptors or memory ran out: the first wait and the
// longest.
const (
	acceptDelayFirst   = 5 * time.Millisecond
	acceptDelayLongest = time.Second
)

// workerIdle is how long an idle worker goroutine lives.
const workerIdle = 10 * time.Second

// Server serves RPC programs over TCP. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	log    *slog.Logger
	budget budget
	// arriving bounds the part of budget that large records under way have.
	arriving budget
	calls    budget // in flight, of all connections
	aside    aside
	pool     pool
	relief   relief
	cache    *replyCache
	ctx      context.Context // cancelled by Close
	cancel   context.CancelFunc
	clock    atomic.Int64 // nanoseconds since NewServer, set by the sweeper; never 0

	contended     atomic.Bool            // several clients call
	latest        atomic.Pointer[client] // whose reader had input last
	round         round
	crowded       atomic.Bool // see conn.crowded, of all connections
	abuse, panics limitedLog

	inline, served, hits, refused, aborted, turned, limited atomic.Uint64
	parked                                                  atomic.Int64

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	clients   clients
	closing   bool          // no new listeners or connections
	stopping  chan struct{} // closed with closing
	empty     chan struct{} // closed when closing and there are no connections
	sweeping  bool
}

// NewServer returns a Server. It fails if the configuration contradicts itself:
// a program twice or without versions, versions out of order, a negative limit.
func NewServer(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		log:       cfg.Logger,
		budget:    budget{limit: cfg.MaxBytes},
		arriving:  budget{limit: cfg.MaxBytes / 2},
		calls:     budget{limit: int64(cfg.MaxAllCalls)},
		clients:   clients{known: make(map[netip.Addr]*client)},
		aside:     aside{maxCalls: int64(cfg.MaxSlow), maxBytes: cfg.MaxBytes / 4},
		cache:     newReplyCache(cfg.ReplyCache),
		abuse:     limitedLog{limit: rate.NewLimiter(5, 50)},
		panics:    limitedLog{limit: rate.NewLimiter(1, 10)},
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
		stopping:  make(chan struct{}),
		empty:     make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.pool = pool{run: s.work, max: cfg.MaxWorkers, share: cfg.ClientWorkers}
	s.relief = relief{s: s, running: make(map[*conn]uint64)}
	s.clock.Store(1)
	return s, nil
}

// Serve accepts connections from l until Shutdown or Close, when it returns
// ErrServerClosed, or until Accept fails for good, when it returns that error.
// Running out of descriptors or memory is not for good: Accept is tried again
// after a pause. Serve may be called for several listeners. It closes l.
func (s *Server) Serve(l net.Listener) (err error) {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return errors.Join(ErrServerClosed, l.Close())
	}
	s.listeners[l] = struct{}{}
	if !s.sweeping {
		s.sweeping = true
		if err := s.round.open(); err != nil {
			s.log.Warn("rpc: no pipe to be had; clients share the processors less equally", "err", err)
		}
		go s.sweeper()
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		_, ours := s.listeners[l]
		delete(s.listeners, l)
		s.mu.Unlock()
		if ours { // otherwise Shutdown or Close has closed it
			err = errors.Join(err, l.Close())
		}
	}()
	var delay time.Duration
	for {
		nc, err := l.Accept()
		if err == nil {
			delay = 0
			s.start(nc)
			continue
		}
		select {
		case <-s.stopping:
			return ErrServerClosed
		default:
		}
		if !acceptAgain(err) {
			return fmt.Errorf("rpc: accept: %w", err)
		}
		delay = min(max(2*delay, acceptDelayFirst), acceptDelayLongest)
		if n, ok := s.abuse.allow(); ok {
			s.log.Warn("rpc: accept failed, trying again", "err", err, "delay", delay, "suppressed", n)
		}
		select {
		case <-s.stopping:
			return ErrServerClosed
		case <-time.After(delay):
		}
	}
}

// acceptAgain reports whether Accept may succeed later: descriptors or memory ran
// out, or the connection died before it was accepted (accept(2)).
func acceptAgain(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.EINTR, syscall.EAGAIN, syscall.EPROTO,
		syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EPERM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// start begins to serve a new connection, or closes it.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	closing := s.closing
	if !closing && s.roomFor(c.cl) {
		s.conns[c] = struct{}{}
		c.cl.conns[c] = struct{}{}
		s.mu.Unlock()
		go c.serve()
		return
	}
	has := len(c.cl.conns)
	s.unhold(c.cl)
	s.mu.Unlock()
	c.cancel()
	err := nc.Close()
	if !closing {
		s.refused.Add(1)
		c.cl.refused.Add(1)
		if n, ok := s.allow(c.cl, logRefused); ok {
			s.log.Warn("rpc: connection refused at the limit", "client", c.peer.addr, "limit", s.cfg.MaxConns,
				"client_has", has, "client_limit", s.cfg.ClientConns, "err", err, "suppressed", n)
		}
	}
}

// remove forgets a connection that has ended.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	delete(c.cl.conns, c)
	s.unhold(c.cl)
	if s.closing && len(s.conns) == 0 {
		s.finished()
	}
}

// finished ends what a server without connections still runs. mu is held.
func (s *Server) finished() {
	select {
	case <-s.empty:
	default:
		close(s.empty)
		s.pool.stop()
		s.cancel()
	}
}

// stop closes the listeners and makes the connections leave by end.
func (s *Server) stop(end func(*conn)) error {
	s.mu.Lock()
	var errs []error
	if !s.closing {
		s.closing = true
		close(s.stopping)
		for l := range s.listeners {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
		clear(s.listeners)
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	if len(conns) == 0 {
		s.finished()
	}
	s.mu.Unlock()
	for _, c := range conns {
		end(c)
	}
	return errors.Join(errs...)
}

// Shutdown stops accepting and reading, lets the calls in flight finish, sends
// their replies and closes the connections. Calls that were received in part, or
// not taken off the network yet, are not served; their client repeats them to
// whoever comes next. When ctx ends first, Shutdown does what Close does and
// returns ctx's error; handlers that ignore their context may then still run.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stop((*conn).drain)
	select {
	case <-s.empty:
		return err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), err, s.Close())
	}
}

// Close closes listeners and connections at once and cancels the contexts of all
// handlers. It does not wait for them.
func (s *Server) Close() error {
	err := s.stop(func(c *conn) { c.fail(errForced) })
	s.cancel()
	return err
}

// sweeper keeps the clock, enforces the deadlines and ends idle workers, until the
// server is closed and empty. Deadlines are off, early or late, by at most an eighth of
// the shortest of them and one second, SlowAfter by half of it.
func (s *Server) sweeper() {
	began := time.Now()
	every := min(s.cfg.IdleTimeout, s.cfg.RecordTimeout, s.cfg.WriteTimeout, s.cfg.EvictIdle) / 8
	every = min(every, s.cfg.SlowAfter/2)
	t := time.NewTicker(min(max(every, time.Millisecond), time.Second))
	defer t.Stop()
	var conns []*conn
	told := int64(0)
	for {
		select {
		case <-s.empty:
			s.round.close()
			return
		case <-t.C:
		}
		last := s.clock.Load()
		now := int64(time.Since(began)) + 1
		s.clock.Store(now)
		s.mu.Lock()
		for c := range s.conns {
			conns = append(conns, c)
		}
		s.findLively()
		s.mu.Unlock()
		pressed := s.budget.pressed() || s.arriving.pressed()
		for _, c := range conns {
			c.sweep(now, pressed || c.cl.pressed())
			c.lendTurn(last)
		}
		s.findCrowds(now, conns)
		clear(conns)
		conns = conns[:0]
		s.pool.trim(now, now-int64(workerIdle))
		if passed := time.Duration(now - told); passed >= time.Second {
			s.tellClients(passed)
			told = now
		}
	}
}

// findCrowds sets calls of the connections aside, and notes whom those crowd that stay.
func (s *Server) findCrowds(now int64, conns []*conn) {
	for _, c := range conns {
		c.cl.crowd = crowd{}
	}
	all := crowd{}
	for _, c := range conns {
		stay := c.setAside(now)
		c.cl.crowd.add(stay)
		all.add(stay)
	}
	for _, c := range conns {
		c.cl.crowded.Store(c.cl.crowd.over(int64(s.cfg.ClientCalls), s.cfg.ClientBytes))
	}
	s.crowded.Store(all.over(int64(s.cfg.MaxAllCalls), s.cfg.MaxBytes))
}

// Stats is a snapshot of a Server's counters.
type Stats struct {
	Conns       int    // connections open
	Clients     int    // who have them
	Calls       uint64 // calls answered since the start; lags while a connection has input
	Inline      uint64 // of these, answered without a worker
	InFlight    int64  // calls that wait for a worker or run on one
	Slow        int64  // of these, set aside
	TurnedAway  uint64 // calls answered by Proc.Busy
	BytesFlight int64  // bytes in flight
	Workers     int    // worker goroutines
	CacheHits   uint64 // retransmissions answered with the first run's reply
	Refused     uint64 // connections closed at MaxConns or ClientConns
	Limited     uint64 // times that reading waited for what a client or all have in flight
	Aborted     uint64 // connections closed for bad framing or a deadline
}

// Stats returns a snapshot of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns, clients := len(s.conns), len(s.clients.known)-s.clients.left.Len()
	s.mu.Unlock()
	slow, _ := s.aside.load()
	inline := s.inline.Load()
	return Stats{
		Conns:       conns,
		Clients:     clients,
		Calls:       inline + s.served.Load(),
		Inline:      inline,
		InFlight:    s.parked.Load(),
		Slow:        slow,
		TurnedAway:  s.turned.Load(),
		BytesFlight: s.budget.load(),
		Workers:     s.pool.size(),
		CacheHits:   s.hits.Load(),
		Refused:     s.refused.Load(),
		Limited:     s.limited.Load(),
		Aborted:     s.aborted.Load(),
	}
}

// limitedLog is a log that others can make us write to.
type limitedLog struct {
	limit   *rate.Limiter
	skipped atomic.Int64
}

// allow reports whether a line may be written, and how many were not since the
// last one.
func (l *limitedLog) allow() (suppressed int64, ok bool) {
	if !l.limit.Allow() {
		l.skipped.Add(1)
		return 0, false
	}
	return l.skipped.Swap(0), true
}

// logEnd logs the end of a connection: abuse at Warn, the rest at Debug.
func (s *Server) logEnd(c *conn, err, closeErr error) {
	switch {
	case errors.Is(err, errRecordSize), errors.Is(err, errFragments), errors.Is(err, errHeader),
		errors.Is(err, errNotCall), errors.Is(err, errRecordTimeout), errors.Is(err, errWriteTimeout),
		errors.Is(err, errSilent):
		s.aborted.Add(1)
		c.cl.shed.Add(1)
		if n, ok := s.allow(c.cl, logClosed); ok {
			s.log.Warn("rpc: connection closed", "client", c.peer.addr, "err", err, "suppressed", n)
		}
	case errors.Is(err, io.EOF), errors.Is(err, errDraining), errors.Is(err, errForced):
		if closeErr != nil {
			s.log.Debug("rpc: close failed", "client", c.peer.addr, "err", closeErr)
		}
	default:
		if errors.Is(err, errEvicted) {
			c.cl.shed.Add(1)
		}
		s.log.Debug("rpc: connection ended", "client", c.peer.addr, "err", err)
	}
}

// logPanic logs a panic in a handler.
func (s *Server) logPanic(c *Call, v any, stack []byte) {
	if n, ok := s.panics.allow(); ok {
		s.log.Error("rpc: handler panicked", "op", c.proc.Name, "client", c.Client, "xid", c.XID,
			"err", v, "stack", string(stack), "suppressed", n)
	}
}

// logAgain logs a handler that says Again to a call that may wait.
func (s *Server) logAgain(c *Call) {
	if n, ok := s.panics.allow(); ok {
		s.log.Error("rpc: handler says Again without NoWait", "op", c.proc.Name, "client", c.Client, "xid", c.XID, "suppressed", n)
	}
}
