package rpc

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// client is who has the connections from one address. Of IPv6 it is the network of 64 bits that the address is
// in: a host chooses the rest as it likes (RFC 4291 §2.5.4, RFC 8981), and would be as many clients as it wants. No address is
// exempt, loopback neither. Listeners without addresses have one client.
type client struct {
	addr netip.Addr

	// What its connections have or wait for, beside what each of them and the server may have.
	calls    budget // in flight, without those set aside
	bytes    budget // in flight, without those set aside
	arriving budget // of these, of large records under way

	// Guarded by Server.mu.
	conns map[*conn]struct{}
	held  int           // connections, with those that are just made
	left  *list.Element // in clients.left, nil while held
	vain  int64         // clock when no connection could make room for it
	was   uint64        // answered at the beginning of the second that rate is of
	rate  float64       // calls a second

	readers readers // at work
	heard   uint64  // answered, when it was last looked at; the sweeper's own, as the next
	lively  int     // ticks for which it counts as one who calls

	queue             turn      // guarded by pool.mu
	kept              keptCalls // guarded by replyCache.mu
	aside, asideBytes int64     // set aside; guarded by aside.mu

	crowd   crowd       // the sweeper's own
	crowded atomic.Bool // see conn.crowded, of all its connections

	answered, in, out              atomic.Uint64 // calls, and bytes in both directions
	refused, shed, limited, turned atomic.Uint64 // see ClientStats
	last                           atomic.Pointer[Proc]
	lastAt                         atomic.Int64 // clock

	logs [logKinds]limitedLog
}

// What is logged about a client, each kind with a limit of its own.
const (
	logRefused = iota // its connections are refused
	logClosed         // its connections are closed for what it does
	logKinds
)

// A client is logged clientLogBurst times at once, and then once in clientLogEvery, of each kind.
const (
	clientLogBurst = 3
	clientLogEvery = 10 * time.Second
)

// maxLeft bounds the clients without connections that are remembered, for people to see: about 1 KiB each.
const maxLeft = 1024

// clients are all that are known. Guarded by Server.mu.
type clients struct {
	known map[netip.Addr]*client
	left  list.List // those without connections, of whom the first left first
}

// ClientAddr is what tells clients apart by their addresses: an IPv4 address, or the first of an IPv6 network of 64 bits.
func ClientAddr(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		panic("rpc: an IPv6 address has no network of 64 bits: " + err.Error())
	}
	return p.Addr()
}

// hold returns the client with the address, with a connection more.
func (s *Server) hold(addr netip.Addr) *client {
	key := ClientAddr(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	cl := s.clients.known[key]
	if cl == nil {
		cl = s.newClient(key)
		s.clients.known[key] = cl
	}
	if cl.left != nil {
		s.clients.left.Remove(cl.left)
		cl.left = nil
	}
	cl.held++
	return cl
}

func (s *Server) newClient(addr netip.Addr) *client {
	cl := &client{
		addr:     addr,
		calls:    budget{limit: int64(s.cfg.ClientCalls)},
		bytes:    budget{limit: s.cfg.ClientBytes},
		arriving: budget{limit: s.cfg.ClientBytes / 2},
		conns:    make(map[*conn]struct{}),
	}
	for i := range cl.logs {
		cl.logs[i].limit = rate.NewLimiter(rate.Every(clientLogEvery), clientLogBurst)
	}
	cl.lastAt.Store(s.clock.Load())
	return cl
}

// unhold counts a connection of the client off. mu is held.
func (s *Server) unhold(cl *client) {
	if cl.held--; cl.held > 0 {
		return
	}
	cl.rate = 0
	cl.left = s.clients.left.PushBack(cl)
	if s.clients.left.Len() > maxLeft {
		oldest := s.clients.left.Remove(s.clients.left.Front()).(*client)
		delete(s.clients.known, oldest.addr)
	}
}

// roomFor reports whether the client may have a further connection, and makes room for it at MaxConns if it can. mu is held.
func (s *Server) roomFor(cl *client) bool {
	switch {
	case len(cl.conns) >= s.cfg.ClientConns:
		return s.evict(cl, cl)
	case len(s.conns) < s.cfg.MaxConns:
		return true
	default:
		return s.evict(cl, nil)
	}
}

// evict closes a connection to make room for one of cl: of the client who has most, if that is still as many as cl
// has then, the one that has done nothing for longest; else the one that has done nothing for longest of all whose clients have
// no fewer than cl, if that is EvictIdle: said nothing, begun a record, left replies. It leaves by itself; until then there is one
// too many. With of only that client's connections may go, and those only that have done nothing. mu is held.
func (s *Server) evict(cl, of *client) bool {
	now := s.clock.Load()
	if cl.vain == now || len(s.conns) > s.cfg.MaxConns+evictSlack || len(cl.conns) > s.cfg.ClientConns+evictSlack {
		return false // what was looked for in vain at this time of the clock is not there: a flood does not make us look for each
	}
	oldest, longest := (*conn)(nil), s.cfg.EvictIdle
	look := func(of *client) {
		for c := range of.conns {
			if d := c.stalledFor(now); d >= longest && c.reason() == nil {
				oldest, longest = c, d
			}
		}
	}
	most := s.most()
	switch {
	case of != nil:
		look(of)
	case len(most.conns) > len(cl.conns)+1:
		longest = 0
		look(most)
	default:
		for _, other := range s.clients.known {
			if len(other.conns) >= max(1, len(cl.conns)) {
				look(other)
			}
		}
	}
	if oldest == nil {
		cl.vain = now
		return false
	}
	oldest.fail(errEvicted)
	return true
}

// evictSlack bounds the connections above MaxConns, and above ClientConns, that were evicted but have not left yet.
const evictSlack = 16

// most is the client that has most connections. mu is held, and there are some.
func (s *Server) most() *client {
	var most *client
	for _, cl := range s.clients.known {
		if most == nil || len(cl.conns) > len(most.conns) {
			most = cl
		}
	}
	return most
}

// ClientStats is a snapshot of one client: what it has now, and what it did since it came. One that has had no connection for
// long is forgotten.
type ClientStats struct {
	Addr     netip.Addr    // of IPv6 the first of the network of 64 bits; the zero Addr on listeners without addresses
	Conns    int           // connections open
	Calls    uint64        // calls answered
	Rate     float64       // calls answered in the last second
	In, Out  uint64        // bytes received and sent
	InFlight int64         // calls with workers or waiting for one, and replies awaited
	Waiting  int           // of these, calls that wait for a worker
	Slow     int64         // calls set aside, which are not among these
	Bytes    int64         // bytes in flight
	Refused  uint64        // connections closed at a limit, as they came
	Shed     uint64        // connections closed for bad framing or a deadline, or to make room
	Limited  uint64        // times that reading waited for what the client or all clients have in flight
	Turned   uint64        // calls answered by Proc.Busy
	LastProc string        // the last call's procedure, about; empty: none
	Idle     time.Duration // since the last call
}

// Clients returns a snapshot of all clients that are known, those with most calls first.
func (s *Server) Clients() []ClientStats {
	s.mu.Lock()
	all := make([]ClientStats, 0, len(s.clients.known))
	for _, cl := range s.clients.known {
		all = append(all, s.clientStats(cl))
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b ClientStats) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Calls, a.Calls), a.Addr.Compare(b.Addr))
	})
	return all
}

// clientStats is the snapshot of one. mu is held.
func (s *Server) clientStats(cl *client) ClientStats {
	st := ClientStats{
		Addr: cl.addr, Conns: len(cl.conns), Calls: cl.answered.Load(), Rate: cl.rate,
		In: cl.in.Load(), Out: cl.out.Load(), InFlight: cl.calls.load(), Bytes: cl.bytes.load(),
		Waiting: s.pool.waiting(cl), Slow: s.aside.of(cl),
		Refused: cl.refused.Load(), Shed: cl.shed.Load(), Limited: cl.limited.Load(), Turned: cl.turned.Load(),
		Idle: time.Duration(s.clock.Load() - cl.lastAt.Load()),
	}
	if p := cl.last.Load(); p != nil {
		st.LastProc = p.Name
	}
	return st
}

// pressed reports whether any of the client's connections waits for bytes that others of them have.
func (cl *client) pressed() bool { return cl.bytes.pressed() || cl.arriving.pressed() }

// tellClients does once a second what is to be done for all clients: how many calls it were, and how
// many lines about them were not logged.
func (s *Server) tellClients(passed time.Duration) {
	s.mu.Lock()
	var quiet []*client
	for _, cl := range s.clients.known {
		n := cl.answered.Load()
		cl.rate, cl.was = float64(n-cl.was)/passed.Seconds(), n
		for k := range cl.logs {
			if cl.logs[k].skipped.Load() > 0 {
				quiet = append(quiet, cl)
				break
			}
		}
	}
	s.mu.Unlock()
	for _, cl := range quiet {
		for k, what := range [logKinds]string{"connections refused", "connections closed"} {
			if cl.logs[k].skipped.Load() == 0 {
				continue
			}
			if n, ok := s.allow(cl, k); ok {
				s.log.Warn("rpc: more of the same", "client", cl.addr, "what", what, "suppressed", n)
			}
		}
	}
}

// allow reports whether a line of the kind may be logged about the client, and how many were not since the last one
// that was: for a client and for a client, and for all, there are so many.
func (s *Server) allow(cl *client, kind int) (suppressed int64, ok bool) {
	l := &cl.logs[kind]
	if !l.limit.Allow() || !s.abuse.limit.Allow() {
		l.skipped.Add(1)
		return 0, false
	}
	return l.skipped.Swap(0), true
}
