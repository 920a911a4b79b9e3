package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/nfsd/xdr"
	needs "sheaf/tests/need"
)

func record(xid, proc uint32, args []byte) []byte {
	return rpctest.AppendRecord(nil, rpctest.Header{
		XID: xid, Prog: testProg, Vers: 3, Proc: proc, Cred: rpctest.Sys("host", 1000, 100, 4, 24),
	}, args)
}

func send(t *testing.T, nc net.Conn, b []byte) {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
}

// receive reads one reply and returns its xid and result.
func receive(t *testing.T, nc net.Conn) (uint32, []byte) {
	t.Helper()
	if err := nc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	rec, err := rpctest.ReadRecord(nc)
	if err != nil {
		t.Fatal(err)
	}
	xid, res, err := rpctest.ParseReply(rec)
	if err != nil {
		t.Fatal(err)
	}
	return xid, res
}

// expectClosed reads until the server closes the connection.
func expectClosed(t *testing.T, nc net.Conn) {
	t.Helper()
	if err := nc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, nc)
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil
	}
	if err != nil {
		t.Errorf("the connection stayed open: %v", err)
	}
}

func wait[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// TestSizes sends arguments and results of sizes around every boundary, through
// each path, many outstanding.
func TestSizes(t *testing.T) {
	_, addr := startServer(t, Config{Programs: testPrograms()})
	c := dial(t, addr)
	sizes := []int{0, 4, 100, 995, 1000, 1024, SmallReply - 28, SmallReply, SmallReply + 4, stealMin - 4, stealMin, 16 << 10, 40 << 10, 64 << 10, readSize - 200, readSize, readSize + 4, 128 << 10, 300 << 10, 1 << 20}
	var wg sync.WaitGroup
	for _, n := range sizes {
		for _, proc := range []uint32{procEcho, procAgain, procWorker} {
			wg.Go(func() {
				args := make([]byte, n)
				for i := range args {
					args[i] = byte(i*7 + n + int(proc))
				}
				if got, err := c.Call(t.Context(), proc, args); err != nil || !bytes.Equal(got, args) {
					t.Errorf("procedure %d, %d bytes: %d bytes back, %v", proc, n, len(got), err)
				}
			})
		}
		for _, proc := range []uint32{procRead, procWRead} {
			wg.Go(func() {
				got, err := c.Call(t.Context(), proc, xdr.AppendUint32(nil, uint32(n)))
				if err != nil || len(got) != n+4 || binary.BigEndian.Uint32(got) != uint32(n) {
					t.Errorf("procedure %d, %d bytes: %d bytes back, %v", proc, n, len(got), err)
				}
			})
		}
		for _, proc := range []uint32{procGrow, procIGrow} {
			wg.Go(func() {
				n := n &^ 3
				got, err := c.Call(t.Context(), proc, xdr.AppendUint32(nil, uint32(n)))
				if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(n)}, n)) {
					t.Errorf("procedure %d, %d bytes: %d bytes back, %v", proc, n, len(got), err)
				}
			})
		}
	}
	wg.Wait()
}

// TestMixedSizes: small and large inline replies alternate in one write. A large one is queued behind the
// gathered small ones without being sent, so the reader itself must send when it may gather no more.
func TestMixedSizes(t *testing.T) {
	_, addr := startServer(t, Config{Programs: testPrograms()})
	nc := dialRaw(t, addr)
	var batch []byte
	const pairs = 4 * maxLoose
	for i := range uint32(pairs) {
		batch = append(batch, record(2*i, procEcho, []byte("tiny"))...)
		batch = append(batch, record(2*i+1, procRead, xdr.AppendUint32(nil, 128<<10))...)
	}
	send(t, nc, batch)
	for i := range uint32(2 * pairs) {
		if xid, _ := receive(t, nc); xid != i {
			t.Fatalf("answer %d is of call %d", i, xid)
		}
	}
}

// TestPipe serves a connection that is no socket.
func TestPipe(t *testing.T) {
	s, err := NewServer(Config{Programs: testPrograms()})
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	s.start(server)
	c := rpctest.NewClient(client, testProg, 3, rpctest.Auth{})
	for _, proc := range []uint32{procEcho, procAgain, procWorker} {
		args := bytes.Repeat([]byte("data"), 50_000)
		if got, err := c.Call(t.Context(), proc, args); err != nil || !bytes.Equal(got, args) {
			t.Errorf("procedure %d: %v", proc, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOutOfOrder: a parked call holds up neither inline nor other parked calls (R2).
func TestOutOfOrder(t *testing.T) {
	w := newWorld()
	_, addr := startServer(t, Config{Programs: w.programs()})
	nc := dialRaw(t, addr)
	send(t, nc, slices.Concat(record(1, procGate, nil), record(2, procEcho, nil), record(3, procWorker, nil)))
	first, _ := receive(t, nc)
	second, _ := receive(t, nc)
	if got := []uint32{min(first, second), max(first, second)}; !slices.Equal(got, []uint32{2, 3}) {
		t.Errorf("answered %v while call 1 waits", got)
	}
	close(w.gates)
	if xid, _ := receive(t, nc); xid != 1 {
		t.Errorf("answered %d", xid)
	}
}

// TestStarvation: one connection fills the pool; another's parked calls still get
// their turn as soon as one worker is free, and inline calls at once.
func TestStarvation(t *testing.T) {
	w := newWorld()
	_, addr := startServer(t, Config{Programs: w.programs(), MaxWorkers: 2})
	busy, other := dialRaw(t, addr), dial(t, addr)
	for i := range uint32(100) {
		send(t, busy, record(i, procGate, nil))
	}
	wait(t, w.entered)
	wait(t, w.entered)
	if _, err := other.Call(t.Context(), procEcho, nil); err != nil {
		t.Fatal(err)
	}
	done := other.Send(rpctest.Header{XID: 9999, Prog: testProg, Vers: 3, Proc: procWorker}, nil)
	time.Sleep(10 * time.Millisecond) // let it be queued behind the others
	w.gates <- struct{}{}
	w.gates <- struct{}{}
	w.gates <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := done(ctx); err != nil {
		t.Errorf("starved: %v", err)
	}
	close(w.gates)
}

// TestCallsInFlight: at MaxCalls the connection is not read (R5).
func TestCallsInFlight(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), MaxCalls: 8})
	nc := dialRaw(t, addr)
	for i := range uint32(20) {
		send(t, nc, record(i, procGate, nil))
	}
	for range 8 {
		wait(t, w.entered)
	}
	time.Sleep(20 * time.Millisecond)
	if n := s.Stats().InFlight; n != 8 || len(w.entered) != 0 {
		t.Errorf("%d calls in flight", n)
	}
	close(w.gates)
	for range 20 {
		receive(t, nc)
	}
}

// TestBytesInFlight: large calls of several connections stay within both bounds,
// and all of them are served in the end.
func TestBytesInFlight(t *testing.T) {
	w := newWorld()
	cfg := Config{Programs: w.programs(), MaxConnBytes: 3 << 20, MaxBytes: 5 << 20}
	s, addr := startServer(t, cfg)
	const conns, calls, size = 4, 6, 1 << 20
	var wg sync.WaitGroup
	for range conns {
		nc := dialRaw(t, addr)
		wg.Go(func() {
			for i := range uint32(calls) {
				if _, err := nc.Write(record(i, procGate, make([]byte, size))); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range calls {
				if _, err := rpctest.ReadRecord(nc); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range conns * calls {
		wait(t, w.entered)
		w.gates <- struct{}{}
		// A late reply is counted without waiting: one per connection.
		if n := s.Stats().BytesFlight; n > cfg.MaxBytes+conns*(2<<20) {
			t.Errorf("%d bytes in flight", n)
		}
	}
	wg.Wait()
	if peak := w.peak.Load(); peak > cfg.MaxBytes {
		t.Errorf("handlers held %d bytes of arguments at once", peak)
	}
}

// TestReadBytesInFlight: replies count from before they run until they are sent.
func TestReadBytesInFlight(t *testing.T) {
	cfg := Config{Programs: testPrograms(), MaxConnBytes: 4 << 20, MaxBytes: 8 << 20}
	s, addr := startServer(t, cfg)
	c := dial(t, addr)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if _, err := c.Call(t.Context(), procRead+uint32(i%2)*(procWRead-procRead), xdr.AppendUint32(nil, 1<<20)); err != nil {
				t.Error(err)
			}
			if n := s.Stats().BytesFlight; n > 5<<20 {
				t.Errorf("%d bytes in flight", n)
			}
		})
	}
	wg.Wait()
}

// TestHalfClosed: a client that shuts its side down gets all its replies (R8).
func TestHalfClosed(t *testing.T) {
	w := newWorld()
	_, addr := startServer(t, Config{Programs: w.programs()})
	nc := dialRaw(t, addr)
	send(t, nc, slices.Concat(record(1, procGate, nil), record(2, procEcho, nil), record(3, procGate, nil)[:20]))
	if err := nc.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if xid, _ := receive(t, nc); xid != 2 {
		t.Errorf("answered %d", xid)
	}
	wait(t, w.entered)
	close(w.gates)
	if xid, _ := receive(t, nc); xid != 1 {
		t.Errorf("answered %d", xid)
	}
	expectClosed(t, nc)
}

// TestContexts: an idempotent call is cut when its connection breaks, another is
// not (R10).
func TestContexts(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs()})
	nc := dialRaw(t, addr)
	send(t, nc, slices.Concat(record(1, procCtx, nil), record(2, procGateC, nil)))
	wait(t, w.entered)
	wait(t, w.entered)
	if err := nc.SetLinger(0); err != nil { // a reset, not an orderly end
		t.Fatal(err)
	}
	if err := nc.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, w.ctxErr); !errors.Is(err, context.Canceled) {
		t.Errorf("idempotent call: %v", err)
	}
	if n := s.Stats().Conns; n != 1 {
		t.Errorf("%d connections while a call runs, want 1 (R7)", n)
	}
	close(w.gates)
	eventually(t, "the call to end", func() bool { return w.runs.Load() == 1 })
}

// TestShutdown finishes what is in flight, sends it and closes.
func TestShutdown(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs()})
	nc, idle := dialRaw(t, addr), dialRaw(t, addr)
	send(t, idle, record(5, procEcho, nil))
	receive(t, idle)
	send(t, nc, record(1, procGate, make([]byte, 200<<10)))
	wait(t, w.entered)
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	expectClosed(t, idle)
	eventually(t, "the other to be read no more", func() bool {
		c := s.onlyConn()
		return s.Stats().Conns == 1 && c.peer.conn.Load() == nil
	})
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("still accepting")
	}
	send(t, nc, record(2, procEcho, nil)) // too late
	close(w.gates)
	if xid, res := receive(t, nc); xid != 1 || len(res) != 200<<10 {
		t.Errorf("answered %d with %d bytes", xid, len(res))
	}
	if _, err := rpctest.ReadRecord(nc); !errors.Is(err, io.EOF) {
		t.Errorf("after the last reply: %v", err)
	}
	nc.Close()
	if err := wait(t, done); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestShutdownExpires: what does not end is cut.
func TestShutdownExpires(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs()})
	nc := dialRaw(t, addr)
	send(t, nc, record(1, procCtx, nil))
	wait(t, w.entered)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if err := wait(t, w.ctxErr); !errors.Is(err, context.Canceled) {
		t.Errorf("handler: %v", err)
	}
	expectClosed(t, nc)
}

// TestPanic: a panic ends its call only (R11) and is logged with its stack.
func TestPanic(t *testing.T) {
	var log syncBuffer
	_, addr := startServer(t, Config{Programs: testPrograms(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := dial(t, addr)
	for _, proc := range []uint32{procPanic, procWPanic} {
		_, err := c.Call(t.Context(), proc, nil)
		var re *rpctest.ReplyError
		if !errors.As(err, &re) || re.Denied || re.Stat != rpctest.SystemErr {
			t.Errorf("procedure %d: %v", proc, err)
		}
	}
	if _, err := c.Call(t.Context(), procEcho, nil); err != nil {
		t.Error(err)
	}
	if s := log.String(); strings.Count(s, "handler panicked") != 2 || !strings.Contains(s, "helpers_test.go") {
		t.Errorf("log: %s", s)
	}
}

// TestDrop: no reply, and the connection goes on.
func TestDrop(t *testing.T) {
	_, addr := startServer(t, Config{Programs: testPrograms()})
	nc := dialRaw(t, addr)
	send(t, nc, record(1, procVerdict, []byte{0, 0, 0, byte(Drop)}))
	send(t, nc, record(2, procWorker, nil))
	if xid, _ := receive(t, nc); xid != 2 {
		t.Errorf("answered %d", xid)
	}
}

// TestBadFraming: each closes the connection, is logged, and harms nobody else (R1).
func TestBadFraming(t *testing.T) {
	var log syncBuffer
	s, addr := startServer(t, Config{Programs: testPrograms(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	other := dial(t, addr)
	call := rpctest.AppendCall(nil, rpctest.Header{XID: 1, Prog: testProg, Vers: 3, Cred: rpctest.Sys("h", 0, 0)}, nil)
	asReply := bytes.Clone(call)
	xdr.PutUint32(asReply, 4, 1)
	tests := map[string][]byte{
		"4 GiB":           {0xff, 0xff, 0xff, 0xff},
		"4 GiB, not last": {0x7f, 0xff, 0xff, 0xff},
		"empty record":    {0x80, 0, 0, 0},
		"short record":    rpctest.AppendFragment(nil, call[:8], true),
		"a reply":         rpctest.AppendFragment(nil, asReply, true),
		"endless empty":   bytes.Repeat([]byte{0, 0, 0, 0}, maxFragments+1),
		"endless":         bytes.Repeat(rpctest.AppendFragment(nil, make([]byte, 4000), false), 300),
		"large cred":      rpctest.AppendFragment(nil, slices.Concat(call[:28], []byte{0, 0, 1, 0x90, 0}), true),
	}
	for i := 12; i < len(call); i += 4 {
		tests["cut at "+string(rune('0'+i/4))] = rpctest.AppendFragment(nil, call[:i], true)
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			nc := dialRaw(t, addr)
			_, _ = nc.Write(b) // may be reset before all is written
			expectClosed(t, nc)
		})
	}
	if _, err := other.Call(t.Context(), procEcho, nil); err != nil {
		t.Error(err)
	}
	eventually(t, "all of them to be counted", func() bool { return int(s.Stats().Aborted) == len(tests) })
	if n := strings.Count(log.String(), "connection closed"); n == 0 || n > 12 {
		t.Errorf("%d lines logged for %d abuses", n, len(tests))
	}
}

// TestHostile: random and mutated bytes leave the server as it was.
func TestHostile(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms()})
	other := dial(t, addr)
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var b []byte
		for i := range uint32(rnd.IntN(5) + 1) {
			proc := []uint32{procEcho, procAgain, procWorker, procRead, procCount, procGarbage, procPanic}[rnd.IntN(7)]
			b = append(b, record(i, proc, make([]byte, rnd.IntN(300)))...)
		}
		if seed%4 == 0 {
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
		}
		for range rnd.IntN(6) {
			b[rnd.IntN(len(b))] = byte(rnd.Uint32())
		}
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, nc) }() // replies are not the point
		_, _ = nc.Write(b[:rnd.IntN(len(b)+1)])        // may be reset before all is written
		if rnd.IntN(2) == 0 {
			_ = nc.(*net.TCPConn).SetLinger(0) // fails if it was reset already
		}
		nc.Close()
	}
	if _, err := other.Call(t.Context(), procEcho, nil); err != nil {
		t.Error(err)
	}
	eventually(t, "hostile connections to end", func() bool { return s.Stats().Conns == 1 && s.Stats().BytesFlight == 0 })
}

// TestSlowReader: a client that never reads holds a bounded amount of memory, and
// that until WriteTimeout; others are served (R6).
func TestSlowReader(t *testing.T) {
	cfg := Config{Programs: testPrograms(), MaxConnBytes: 4 << 20, WriteTimeout: 300 * time.Millisecond}
	for _, proc := range []uint32{procRead, procWRead, procEcho} {
		s, addr := startServer(t, cfg)
		nc, other := dialRaw(t, addr), dial(t, addr)
		if err := nc.SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			args := xdr.AppendUint32(nil, 1<<20)
			if proc == procEcho {
				args = make([]byte, 32<<10)
			}
			for i := uint32(0); ; i++ {
				if _, err := nc.Write(record(i, proc, args)); err != nil {
					return
				}
			}
		}()
		var peak int64
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
			if _, err := other.Call(t.Context(), procWorker, nil); err != nil {
				t.Fatal(err)
			}
			peak = max(peak, s.Stats().BytesFlight)
		}
		if peak > 6<<20 {
			t.Errorf("%d bytes in flight for a client that does not read", peak)
		}
		eventually(t, "the slow reader to be closed", func() bool { return s.Stats().Conns == 1 })
		<-stop
		if s.Stats().Aborted != 1 {
			t.Error("not counted")
		}
	}
}

// TestRecordTimeout: a record that does not end closes the connection, however
// steadily it dribbles; an idle one stays until IdleTimeout.
func TestRecordTimeout(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms(), RecordTimeout: 200 * time.Millisecond, IdleTimeout: time.Second})
	idle, slow := dialRaw(t, addr), dialRaw(t, addr)
	began := time.Now()
	send(t, idle, record(1, procEcho, nil))
	receive(t, idle)
	for i := range record(1, procEcho, make([]byte, 100)) {
		if _, err := slow.Write([]byte{record(1, procEcho, make([]byte, 100))[i]}); err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	expectClosed(t, slow)
	if n := s.Stats().Conns; n != 1 {
		t.Errorf("%d connections, want the idle one", n)
	}
	expectClosed(t, idle)
	if d := time.Since(began); d < 900*time.Millisecond { // the clock is coarse: 25 ms here
		t.Errorf("idle connection closed after %v", d)
	}
}

// TestMaxConns: above the limit a connection is refused while the others are in
// use, and takes an idle one's place later.
func TestMaxConns(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms(), MaxConns: 2, EvictIdle: 200 * time.Millisecond})
	a, b := dialRaw(t, addr), dialRaw(t, addr)
	for _, nc := range []net.Conn{a, b} {
		send(t, nc, record(1, procEcho, nil))
		receive(t, nc)
	}
	expectClosed(t, dialRaw(t, addr))
	for end := time.Now().Add(30 * time.Second); s.Stats().Refused != 1; time.Sleep(time.Millisecond) { // it is closed first
		if time.Now().After(end) {
			t.Fatal("not counted")
		}
	}
	time.Sleep(400 * time.Millisecond)
	send(t, b, record(2, procEcho, nil))
	receive(t, b)
	c := dialRaw(t, addr)
	send(t, c, record(3, procEcho, nil))
	receive(t, c)
	expectClosed(t, a)
	send(t, b, record(4, procEcho, nil))
	receive(t, b)
}

// TestIdleConnections: 2,000 idle connections cost a goroutine and a few KiB each,
// and nothing when they are gone.
func TestIdleConnections(t *testing.T) {
	const n = 2000
	needs.Files(t, 2*n+100)
	s, addr := startServer(t, Config{Programs: testPrograms(), MaxConns: n})
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dialRaw(t, addr)
		send(t, conns[i], record(1, procEcho, make([]byte, 100)))
		receive(t, conns[i])
		if i%2 == 0 { // every other one in the middle of a record
			send(t, conns[i], record(1, procEcho, nil)[:10])
		}
	}
	eventually(t, "the connections to be idle", func() bool { return s.Stats().Conns == n })
	each := (heap() - before) / n
	t.Logf("%d bytes for each idle connection, client side included", each)
	if each > 20<<10 {
		t.Errorf("%d bytes for each idle connection", each)
	}
	if g := runtime.NumGoroutine() - goroutines; g > n+10 {
		t.Errorf("%d goroutines for %d connections", g, n)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "the connections to go", func() bool { return s.Stats().Conns == 0 && runtime.NumGoroutine() <= goroutines })
}

// failListener fails Accept as often as told.
type failListener struct {
	net.Listener
	errs chan error
}

func (l *failListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

// TestAccept: running out of descriptors is waited out, other errors end Serve.
func TestAccept(t *testing.T) {
	s, err := NewServer(Config{Programs: testPrograms()})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &failListener{inner, make(chan error, 5)}
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED} {
		l.errs <- &net.OpError{Op: "accept", Err: e}
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := dial(t, inner.Addr().String())
	if _, err := c.Call(t.Context(), procEcho, nil); err != nil {
		t.Fatal(err)
	}
	l.errs <- errors.New("listener on fire")
	dialRaw(t, inner.Addr().String()).Close() // ends the Accept in progress
	if err := wait(t, served); err == nil || !strings.Contains(err.Error(), "on fire") {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Serve(inner); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after Close: %v", err)
	}
}

// TestConfig: contradictions are refused, defaults filled in.
func TestConfig(t *testing.T) {
	one := func(vs ...uint32) *Program {
		p := &Program{Prog: 1}
		for _, v := range vs {
			p.Versions = append(p.Versions, Version{Vers: v})
		}
		return p
	}
	for name, cfg := range map[string]Config{
		"negative limit":    {MaxConns: -1},
		"negative time":     {IdleTimeout: -1},
		"huge record":       {MaxRecord: maxRecordLimit + 1},
		"program twice":     {Programs: []*Program{one(1), one(2)}},
		"no version":        {Programs: []*Program{one()}},
		"versions disorder": {Programs: []*Program{one(3, 1)}},
	} {
		if _, err := NewServer(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s, err := NewServer(Config{})
	if err != nil || s.cfg.MaxRecord != 1<<20+4096 || s.cfg.MaxConns != 1000 || s.cfg.ReplyCache != 16<<20 {
		t.Errorf("%+v, %v", s.cfg, err)
	}
}

// discard is a net.Conn that takes everything and has no input.
type discard struct{ net.Conn }

func (discard) RemoteAddr() net.Addr        { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 700} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) SetDeadline(time.Time) error { return nil }
func (discard) Read([]byte) (int, error)    { return 0, io.EOF }
func (discard) Close() error                { return nil }
