package rpc

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/nfsd/rpc/rpctest"
)

func count(t *testing.T, nc net.Conn, xid, proc uint32, args []byte) uint32 {
	t.Helper()
	send(t, nc, record(xid, proc, args))
	got, res := receive(t, nc)
	if got != xid || len(res) != 4 {
		t.Fatalf("answered %d with %d bytes", got, len(res))
	}
	return binary.BigEndian.Uint32(res)
}

// TestCache: what is a retransmission and what is not (R9).
func TestCache(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs()})
	a := dialRaw(t, addr)
	if n := count(t, a, 1, procCount, []byte("abcd")); n != 1 {
		t.Fatalf("first run: %d", n)
	}
	if n := count(t, a, 1, procCount, []byte("abcd")); n != 1 {
		t.Errorf("retransmission ran again: %d", n)
	}
	if n := count(t, a, 2, procCount, []byte("abcd")); n != 2 {
		t.Errorf("other xid: %d", n)
	}
	if n := count(t, a, 1, procCount, []byte("abce")); n != 3 {
		t.Errorf("other arguments: %d", n)
	}
	send(t, a, rpctest.AppendRecord(nil, rpctest.Header{XID: 1, Prog: testProg, Vers: 3, Proc: procCount, Cred: rpctest.Sys("host", 1, 100)}, []byte("abcd")))
	if _, res := receive(t, a); binary.BigEndian.Uint32(res) != 4 {
		t.Errorf("other credential: %d", binary.BigEndian.Uint32(res))
	}
	// Another port: another client as long as the first is connected.
	b := dialRaw(t, addr)
	if n := count(t, b, 1, procCount, []byte("abcd")); n != 5 {
		t.Errorf("other port, first connection alive: %d", n)
	}
	a.Close()
	eventually(t, "the first connection to go", func() bool { return s.Stats().Conns == 1 })
	c := dialRaw(t, addr)
	if n := count(t, c, 2, procCount, []byte("abcd")); n != 2 {
		t.Errorf("other port, first connection gone: %d", n)
	}
	if s.Stats().CacheHits != 2 {
		t.Errorf("%d hits", s.Stats().CacheHits)
	}
	w.noKeep.Store(true)
	if n, m := count(t, c, 9, procCount, nil), count(t, c, 9, procCount, nil); n == m {
		t.Error("a reply marked NoKeep was kept")
	}
	// Long arguments differ at either end.
	w.noKeep.Store(false)
	long := make([]byte, 100<<10)
	first := count(t, c, 10, procCount, long)
	long[len(long)-1] = 1
	if n := count(t, c, 10, procCount, long); n == first {
		t.Error("long arguments that differ in their last byte are taken for equal")
	}
	if n := count(t, c, 10, procCount, long); n != first+1 {
		t.Error("long arguments that are equal ran again")
	}
}

// TestCacheInProgress: a retransmission that meets the first run.
func TestCacheInProgress(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs()})
	a := dialRaw(t, addr)
	send(t, a, record(1, procGateC, nil))
	wait(t, w.entered)
	send(t, a, record(1, procGateC, nil)) // same connection: dropped
	send(t, a, record(2, procEcho, nil))
	if xid, _ := receive(t, a); xid != 2 {
		t.Fatalf("answered %d", xid)
	}
	if err := a.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	a.Close()
	eventually(t, "the server to notice", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			return c.peer.gone()
		}
		return false
	})
	// The client comes back twice: the newest connection gets the reply.
	b, c := dialRaw(t, addr), dialRaw(t, addr)
	send(t, b, record(1, procGateC, nil))
	send(t, b, record(3, procEcho, nil))
	receive(t, b)
	send(t, c, record(1, procGateC, nil))
	send(t, c, record(4, procEcho, nil))
	receive(t, c)
	close(w.gates)
	xid, res := receive(t, c)
	if n := binary.BigEndian.Uint32(res); xid != 1 || n != 1 || w.runs.Load() != 1 {
		t.Errorf("answered %d: run %d of %d", xid, n, w.runs.Load())
	}
	send(t, b, record(5, procEcho, nil))
	if xid, _ := receive(t, b); xid != 5 {
		t.Errorf("the older connection was answered %d too", xid)
	}
	if n := count(t, c, 1, procGateC, nil); n != 1 {
		t.Errorf("ran again after the end: %d", n)
	}
}

// TestCacheBound: the cache keeps to its limit and forgets the oldest first.
func TestCacheBound(t *testing.T) {
	rc := newReplyCache(100 * (entryCost + 100))
	c := &conn{peer: &peer{}, cl: new(client)}
	run := func(xid uint32, size int) cacheAnswer {
		e, answer, _, _ := rc.begin(cacheKey{xid: xid}, c)
		if answer == cacheRun {
			rc.finish(e, make([]byte, size), true)
		}
		return answer
	}
	for xid := range uint32(1000) {
		run(xid, 100)
		if rc.used > rc.limit {
			t.Fatalf("%d bytes used", rc.used)
		}
	}
	for xid := uint32(900); xid < 1000; xid++ {
		if run(xid, 100) != cacheReplay {
			t.Errorf("%d of the newest hundred was forgotten", xid)
		}
	}
	if run(899, 100) != cacheRun {
		t.Error("an old reply is still there")
	}
	run(5000, int(rc.limit)/16+1)
	if run(5000, 0) != cacheRun {
		t.Error("a large reply was kept")
	}
	// Entries of one key from several live connections.
	var es []*cacheEntry
	for port := range 3 {
		other := &conn{peer: &peer{addr: addrPort(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port + 1})}, cl: c.cl}
		other.peer.conn.Store(other)
		e, answer, _, _ := rc.begin(cacheKey{xid: 7000}, other)
		if answer != cacheRun {
			t.Fatalf("port %d: %d", port, answer)
		}
		es = append(es, e)
	}
	for _, i := range []int{1, 2, 0} {
		rc.finish(es[i], nil, false)
	}
	if rc.calls[cacheKey{xid: 7000}] != nil {
		t.Error("forgotten entries are still linked")
	}
	for len(rc.calls) > 0 {
		rc.forget(c.cl.kept.ring.next)
	}
	if rc.used != 0 {
		t.Errorf("%d bytes used by nothing", rc.used)
	}
}

// TestBudget: order of waiters, and one call above the limit.
func TestBudget(t *testing.T) {
	b := budget{limit: 10}
	if !b.tryTake(100) || b.tryTake(1) {
		t.Fatal("one call is always admitted, and only one")
	}
	stop := make(chan struct{})
	got := make(chan bool, 3)
	queued := func(n int) func() bool {
		return func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.queue) == n }
	}
	go func() { got <- b.take(8, holder{new(atomic.Int64), new(atomic.Int64)}, stop) }()
	eventually(t, "a waiter", queued(1))
	go func() { got <- b.take(3, holder{new(atomic.Int64), new(atomic.Int64)}, nil) }()
	eventually(t, "a second waiter", queued(2))
	if b.tryTake(1) {
		t.Error("overtaken")
	}
	close(stop)
	if wait(t, got) {
		t.Error("stopped waiter got its bytes")
	}
	b.give(100)
	if !wait(t, got) || b.load() != 3 {
		t.Errorf("%d taken", b.load())
	}
	b.give(3)
}

// TestBudgetTurns: whose client holds least is served first, and of one client whose connection does, whoever came first.
func TestBudgetTurns(t *testing.T) {
	b := budget{limit: 10}
	if !b.tryTake(10) {
		t.Fatal("nothing taken, and nothing to be had")
	}
	order := make(chan int64, 4)
	for i, held := range [][2]int64{{40, 2}, {20, 9}, {30, 1}, {20, 8}} {
		h := holder{new(atomic.Int64), new(atomic.Int64)}
		h.client.Store(held[0])
		h.conn.Store(held[1])
		go func() {
			b.take(10, h, nil)
			order <- held[0] + int64(i)
		}()
		eventually(t, "a waiter", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.queue) == i+1 })
	}
	for _, want := range []int64{23, 21, 32, 40} {
		b.give(10)
		if got := wait(t, order); got != want {
			t.Errorf("served %d, want %d", got, want)
		}
	}
	b.give(10)
	if b.load() != 0 || b.pressed() {
		t.Errorf("%d bytes taken by nobody", b.load())
	}
}

// TestPoolTrim: idle goroutines end.
func TestPoolTrim(t *testing.T) {
	ran := make(chan struct{}, 8)
	gate := make(chan struct{})
	p := pool{max: 8, share: 8, run: func(*Call) { ran <- struct{}{}; <-gate }}
	c := &conn{cl: new(client)}
	for range 20 {
		p.submit(&Call{callState: callState{conn: c}})
	}
	for range 8 {
		wait(t, ran)
	}
	if p.size() != 8 {
		t.Errorf("%d goroutines", p.size())
	}
	close(gate)
	for range 12 {
		wait(t, ran)
	}
	eventually(t, "idle goroutines", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.idle) == 8 })
	p.trim(5, 0)
	if p.trim(6, 5); p.size() != 8 {
		t.Error("ended too early")
	}
	if p.trim(7, 6); p.size() != 0 {
		t.Errorf("%d goroutines left", p.size())
	}
	p.stop()
	time.Sleep(time.Millisecond)
}
