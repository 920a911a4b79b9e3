package rpc

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// dialFrom returns a bare connection of the n-th client, which has an address of its own.
func dialFrom(tb testing.TB, addr string, n int) *net.TCPConn {
	tb.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(n))}}
	nc, err := d.DialContext(tb.Context(), "tcp", addr)
	if err != nil && runtime.GOOS != "linux" {
		tb.Skipf("this host has one loopback address: %v", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	return nc.(*net.TCPConn)
}

// clientNamed is the snapshot of the n-th client of dialFrom.
func clientNamed(s *Server, n int) (st ClientStats) {
	for _, c := range s.Clients() {
		if c.Addr == netip.AddrFrom4([4]byte{127, 0, 1, byte(n)}) {
			st = c
		}
	}
	return st
}

// echoes reports whether the connection is served.
func echoes(nc net.Conn) bool {
	if nc.SetDeadline(time.Now().Add(30*time.Second)) != nil {
		return false
	}
	if _, err := nc.Write(record(77, procEcho, nil)); err != nil {
		return false
	}
	_, err := io.ReadFull(nc, make([]byte, replyHeader))
	return err == nil
}

func TestClientAddr(t *testing.T) {
	for of, want := range map[string]string{
		"10.1.2.3":                         "10.1.2.3",
		"2001:db8:1:2:3:4:5:6":             "2001:db8:1:2::",
		"2001:db8:1:2:ffff:ffff:ffff:ffff": "2001:db8:1:2::",
		"2001:db8:1:3::1":                  "2001:db8:1:3::",
		"fe80::1%eth0":                     "fe80::",
		"::1":                              "::",
	} {
		if got := ClientAddr(netip.MustParseAddr(of)); got.String() != want {
			t.Errorf("%s: %s, want %s", of, got, want)
		}
	}
	if ClientAddr(netip.Addr{}).IsValid() {
		t.Error("who has no address has one")
	}
}

// TestClientConns: a client has so many connections, whatever others have; one above is closed at once.
func TestClientConns(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms(), ClientConns: 2})
	for range 2 {
		if !echoes(dialFrom(t, addr, 1)) {
			t.Fatal("refused below the limit")
		}
	}
	if echoes(dialFrom(t, addr, 1)) {
		t.Error("a third connection is served")
	}
	if !echoes(dialFrom(t, addr, 2)) {
		t.Error("another client is refused")
	}
	if one, two := clientNamed(s, 1), clientNamed(s, 2); one.Conns != 2 || one.Refused != 1 || two.Conns != 1 || two.Refused != 0 {
		t.Errorf("%+v\n%+v", one, two)
	}
	if st := s.Stats(); st.Conns != 3 || st.Clients != 2 {
		t.Errorf("%d connections of %d clients", st.Conns, st.Clients)
	}
}

// TestMostGivesWay: at MaxConns who has most makes room for who has fewer, also with connections in use, until all have as many;
// never the other way round.
func TestMostGivesWay(t *testing.T) {
	const all = 8
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), MaxConns: all})
	for range all {
		nc := dialFrom(t, addr, 1)
		send(t, nc, record(1, procGate, nil)) // busy, all of them
		wait(t, w.entered)
	}
	for i := range 3 {
		if !echoes(dialFrom(t, addr, 2)) {
			t.Fatalf("connection %d of the second client is refused", i)
		}
		if echoes(dialFrom(t, addr, 1)) {
			t.Fatal("a connection too many of the first client is served")
		}
	}
	if one, two := clientNamed(s, 1), clientNamed(s, 2); two.Conns != 3 || two.Shed != 0 || one.Refused != 3 {
		t.Errorf("%+v\n%+v", one, two)
	}
	close(w.gates)
	eventually(t, "room to be made", func() bool { one := clientNamed(s, 1); return one.Conns == all-3 && one.Shed == 3 })
}

// TestClientCalls: calls of one client, on however many connections, are so many; others have theirs.
func TestClientCalls(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), ClientCalls: 6, MaxAllCalls: 8})
	flood := func(client, conns int) (all []net.Conn) {
		for range conns {
			nc := dialFrom(t, addr, client)
			for i := range uint32(4) {
				send(t, nc, record(i, procGate, nil))
			}
			all = append(all, nc)
		}
		return all
	}
	one := flood(1, 3)
	for range 6 {
		wait(t, w.entered)
	}
	eventually(t, "reading to wait", func() bool { return clientNamed(s, 1).Limited > 0 })
	two := flood(2, 1)
	for range 2 { // as many as all have left
		wait(t, w.entered)
	}
	eventually(t, "reading to wait", func() bool { return clientNamed(s, 2).Limited > 0 })
	if a, b := clientNamed(s, 1), clientNamed(s, 2); a.InFlight != 6 || b.InFlight > 3 || s.Stats().InFlight != 8 {
		t.Errorf("%+v\n%+v", a, b)
	}
	close(w.gates)
	for _, nc := range append(one, two...) {
		for range 4 {
			receive(t, nc)
		}
	}
	for i := 1; i <= 2; i++ {
		eventually(t, "nothing to be in flight", func() bool { c := clientNamed(s, i); return c.InFlight == 0 && c.Bytes == 0 })
	}
	if n := s.calls.load(); n != 0 {
		t.Errorf("%d calls in flight", n)
	}
}

// TestClientBytes: what one client has in flight is bounded, over all its connections, and others are served.
func TestClientBytes(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), ClientBytes: 1 << 20})
	var all []net.Conn
	for range 4 {
		nc := dialFrom(t, addr, 1)
		for i := range uint32(8) {
			send(t, nc, record(i, procGate, make([]byte, 60<<10)))
		}
		all = append(all, nc)
	}
	eventually(t, "reading to wait", func() bool { return clientNamed(s, 1).Limited >= 3 })
	if n := w.peak.Load(); n > 1<<20 {
		t.Errorf("handlers held %d bytes", n)
	}
	other := dialFrom(t, addr, 2)
	send(t, other, record(1, procGate, make([]byte, 60<<10)))
	eventually(t, "the other's call to run", func() bool { return clientNamed(s, 2).InFlight == 1 })
	close(w.gates)
	receive(t, other)
	for _, nc := range all {
		for range 8 {
			receive(t, nc)
		}
	}
	if n := w.peak.Load(); n > 1<<20+60<<10 {
		t.Errorf("handlers held %d bytes", n)
	}
}

// TestWorkersByTurns: a client with many calls on many connections has ClientWorkers, and its part of them when another comes.
func TestWorkersByTurns(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), ClientWorkers: 4})
	var all []net.Conn
	for range 8 {
		nc := dialFrom(t, addr, 1)
		for i := range uint32(4) {
			send(t, nc, record(100+i, procGate, nil))
		}
		all = append(all, nc)
	}
	for range 4 {
		wait(t, w.entered)
	}
	eventually(t, "the others to wait", func() bool { return clientNamed(s, 1).Waiting == 28 })
	two := dialFrom(t, addr, 2)
	for i := range uint32(4) {
		send(t, two, record(i, procGate, nil))
	}
	for range 2 { // its part, at once
		if xid := wait(t, w.entered); xid >= 100 {
			t.Fatal("a call above its client's part was begun")
		}
	}
	eventually(t, "its others to wait", func() bool { return clientNamed(s, 2).Waiting == 2 })
	// The first client is above its part until two of its calls have ended; then it is one and one. By arrival,
	// the second client's would be begun after all 28.
	w.gates <- struct{}{}
	w.gates <- struct{}{}
	for one, two := 0, 0; two < 2; {
		w.gates <- struct{}{}
		if wait(t, w.entered) < 100 {
			two++
		} else if one++; one > 20 {
			t.Fatalf("%d of the second client's calls were begun, and %d of the first's", two, one)
		}
	}
	close(w.gates)
	for range 4 {
		receive(t, two)
	}
	for _, nc := range all {
		for range 4 {
			receive(t, nc)
		}
	}
	eventually(t, "nobody to have calls", func() bool {
		s.pool.mu.Lock()
		defer s.pool.mu.Unlock()
		return s.pool.active == 0 && s.pool.queued == 0
	})
}

// TestAsideByClient: one client does not take all the places for calls that hang.
func TestAsideByClient(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), MaxSlow: 8, SlowAfter: 20 * time.Millisecond})
	hang := func(client, calls int) net.Conn {
		nc := dialFrom(t, addr, client)
		for i := range calls {
			send(t, nc, record(uint32(i), procGate, nil))
			wait(t, w.entered)
		}
		return nc
	}
	one := hang(1, 20)
	eventually(t, "half of the places to be taken", func() bool { return clientNamed(s, 1).Slow == 4 })
	two := hang(2, 5)
	eventually(t, "the other to have some", func() bool { return clientNamed(s, 2).Slow == 2 })
	if n := clientNamed(s, 1).Slow; n != 4 {
		t.Errorf("the first has %d", n)
	}
	close(w.gates)
	for range 20 {
		receive(t, one)
	}
	for range 5 {
		receive(t, two)
	}
	eventually(t, "nothing to be aside", func() bool { return clientNamed(s, 1).Slow+clientNamed(s, 2).Slow == 0 })
}

// TestReplyCacheByClient: who floods the reply cache drives out its own replies.
func TestReplyCacheByClient(t *testing.T) {
	rc := newReplyCache(100 * (entryCost + 100))
	conns := make([]*conn, 4)
	for i := range conns {
		conns[i] = &conn{peer: &peer{}, cl: new(client)}
	}
	run := func(of int, xid uint32) cacheAnswer {
		e, answer, _, _ := rc.begin(cacheKey{xid: xid, prog: uint32(of)}, conns[of])
		if answer == cacheRun {
			rc.finish(e, make([]byte, 100), true)
		}
		return answer
	}
	for of := range conns[:3] {
		for xid := range uint32(20) {
			run(of, xid)
		}
	}
	for xid := range uint32(10000) {
		run(3, xid)
		if rc.used > rc.limit {
			t.Fatalf("%d bytes used", rc.used)
		}
	}
	for of := range conns[:3] {
		for xid := range uint32(20) {
			if run(of, xid) != cacheReplay {
				t.Fatalf("reply %d of client %d was driven out", xid, of)
			}
		}
	}
	for xid := uint32(9970); xid < 10000; xid++ {
		if run(3, xid) != cacheReplay {
			t.Errorf("the flood's own %d is gone", xid)
		}
	}
	// Whoever has most gives way, in turn, until nothing is left.
	for want := len(conns); len(rc.have) > 0; {
		rc.forget(rc.most.kept.ring.next)
		if len(rc.have) < want {
			want--
		}
		if want != len(rc.have) || (rc.most == nil) != (want == 0) {
			t.Fatalf("%d clients have replies, want %d", len(rc.have), want)
		}
	}
	if rc.used != 0 || rc.kept != 0 || len(rc.calls) != 0 {
		t.Errorf("%d bytes used by nothing", rc.used)
	}
}

// TestSilent: who connects and never calls is closed after RecordTimeout; one who called stays until IdleTimeout.
func TestSilent(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms(), RecordTimeout: 100 * time.Millisecond, IdleTimeout: time.Hour})
	spoke := dialFrom(t, addr, 1)
	if !echoes(spoke) {
		t.Fatal("not served")
	}
	expectClosed(t, dialFrom(t, addr, 2))
	eventually(t, "it to be counted", func() bool { return clientNamed(s, 2).Shed == 1 })
	if !echoes(spoke) {
		t.Error("the other was closed, too")
	}
}

// TestLogByClient: a flood of what is logged fills the log with a few lines, which say how many there were, and others'
// lines are among them.
func TestLogByClient(t *testing.T) {
	log := &syncBuffer{}
	s, addr := startServer(t, Config{Programs: testPrograms(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	garbage := binary.BigEndian.AppendUint32(nil, 1<<31|0x7fffffff)
	const flood = 100
	for i := range flood {
		nc := dialFrom(t, addr, 1)
		if _, err := nc.Write(garbage); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it to be closed", func() bool { return clientNamed(s, 1).Shed == uint64(i+1) })
	}
	send(t, dialFrom(t, addr, 2), garbage)
	eventually(t, "the other's line", func() bool { return strings.Contains(log.String(), "client=127.0.1.2") })
	lines := func() (n, suppressed int) {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "127.0.1.1") {
				n++
				_, after, _ := strings.Cut(line, "suppressed=")
				var k int
				if _, err := fmt.Sscan(after, &k); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				suppressed += k
			}
		}
		return n, suppressed
	}
	if n, _ := lines(); n < 1 || n > flood/4 {
		t.Errorf("%d lines for %d connections", n, flood)
	}
	s.mu.Lock()
	cl := s.clients.known[netip.MustParseAddr("127.0.1.1")]
	s.mu.Unlock()
	cl.logs[logClosed].limit.SetBurst(1000) // time has passed
	cl.logs[logClosed].limit.SetLimit(1000)
	eventually(t, "all to be told of", func() bool { n, suppressed := lines(); return n+suppressed > flood })
}

// TestForgottenClients: clients that left are kept for people to see, and not for ever.
func TestForgottenClients(t *testing.T) {
	s, err := NewServer(Config{Programs: testPrograms()})
	if err != nil {
		t.Fatal(err)
	}
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	stays := s.hold(addr(0))
	for i := 1; i < 3*maxLeft; i++ {
		cl := s.hold(addr(i))
		s.mu.Lock()
		s.unhold(cl)
		s.mu.Unlock()
	}
	if n := len(s.Clients()); n != maxLeft+1 || s.Stats().Clients != 1 {
		t.Errorf("%d clients are known, and %d have connections", n, s.Stats().Clients)
	}
	last := addr(3*maxLeft - 1)
	if s.clients.known[last] == nil || s.hold(addr(0)) != stays {
		t.Error("another than the oldest was forgotten")
	}
}
