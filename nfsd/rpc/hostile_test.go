package rpc

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/nfsd/xdr"
)

// TestRetransmissionAfterEndOfStream: a client that closed its end cannot call on
// that connection any more, so what it asks again on another, from whatever port,
// is a retransmission (R9), although the first run keeps the old one open.
func TestRetransmissionAfterEndOfStream(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs()})
	a := dialRaw(t, addr)
	send(t, a, record(1, procGateC, nil))
	wait(t, w.entered)
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server to read the end", func() bool { return s.onlyConn().peer.gone() })
	b := dialRaw(t, addr)
	send(t, b, slices.Concat(record(1, procGateC, nil), record(2, procEcho, nil)))
	if xid, _ := receive(t, b); xid != 2 {
		t.Fatalf("answered %d", xid)
	}
	close(w.gates)
	for _, nc := range []net.Conn{a, b} {
		if xid, res := receive(t, nc); xid != 1 || binary.BigEndian.Uint32(res) != 1 {
			t.Errorf("answered %d with run % x", xid, res)
		}
	}
	if n := w.runs.Load(); n != 1 {
		t.Errorf("ran %d times", n)
	}
}

// TestRetransmissionPastABlockedReader: the client left while the reader of its
// connection waited for room and could not see that. What it asks again from another
// port is a retransmission all the same.
func TestRetransmissionPastABlockedReader(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "freebsd" {
		t.Skip("nothing tells here that a client has left with bytes unread")
	}
	for name, leave := range map[string]func(*net.TCPConn) error{
		"closed": (*net.TCPConn).Close,
		"reset":  func(nc *net.TCPConn) error { return errors.Join(nc.SetLinger(0), nc.Close()) },
	} {
		w := newWorld()
		s, addr := startServer(t, Config{Programs: w.programs(), MaxCalls: 1})
		a := dialRaw(t, addr)
		send(t, a, record(1, procGateC, nil))
		wait(t, w.entered)
		send(t, a, slices.Concat(record(2, procWorker, nil), record(3, procWorker, nil)))
		if err := leave(a); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the kernel to know", func() bool { return s.onlyConn().peer.gone() })
		b := dialRaw(t, addr)
		send(t, b, record(1, procGateC, nil))
		eventually(t, "the retransmission to wait", func() bool {
			s.cache.mu.Lock()
			defer s.cache.mu.Unlock()
			for _, e := range s.cache.calls {
				return e.waiter != nil || e.chain != nil
			}
			return false
		})
		close(w.gates)
		if xid, res := receive(t, b); xid != 1 || binary.BigEndian.Uint32(res) != 1 || w.runs.Load() != 1 {
			t.Errorf("%s: answered %d with run % x of %d", name, xid, res, w.runs.Load())
		}
	}
}

// onlyConn is one of the connections.
func (s *Server) onlyConn() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		return c
	}
	return nil
}

// TestHalfRecordsMakeRoom: at MaxConns a connection that began a record and says no
// more is worth no more than an idle one.
func TestHalfRecordsMakeRoom(t *testing.T) {
	const n = 8
	_, addr := startServer(t, Config{Programs: testPrograms(), MaxConns: n, EvictIdle: 100 * time.Millisecond})
	for range n {
		nc := dialRaw(t, addr)
		send(t, nc, record(1, procEcho, nil))
		receive(t, nc)
		send(t, nc, record(2, procEcho, nil)[:9])
	}
	eventually(t, "a place to be made", func() bool {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write(record(3, procEcho, nil)); err != nil {
			return false
		}
		_, err = rpctest.ReadRecord(nc)
		return err == nil
	})
}

// TestHalfRecordsDoNotStarve: connections that begin large records and leave them so
// take half of the bytes in flight, and under that pressure are given less time.
func TestHalfRecordsDoNotStarve(t *testing.T) {
	const limit = 8 << 20
	s, addr := startServer(t, Config{Programs: testPrograms(), MaxBytes: limit, ClientBytes: 2 * limit, RecordTimeout: 2 * time.Second})
	half := record(1, procSize, make([]byte, 1<<20))[:100<<10]
	for range 16 {
		send(t, dialRaw(t, addr), half)
	}
	eventually(t, "their part to be taken", s.arriving.pressed)
	if n := s.Stats().BytesFlight; n > limit/2 {
		t.Errorf("records that have not arrived hold %d bytes", n)
	}
	c := dial(t, addr)
	for range 3 { // small calls that must wait, and large replies
		if _, err := c.Call(t.Context(), procWorker, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Call(t.Context(), procRead, xdr.AppendUint32(nil, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if !s.arriving.pressed() {
		t.Error("the calls waited until the half records were gone")
	}
	// A large record waits for its turn, for as long as they have.
	if _, err := c.Call(t.Context(), procSize, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Aborted; n == 0 {
		t.Error("nobody was cut")
	}
}

// TestSlowRecordsUnderPressure: who sends a record slowly and steadily is not cut with
// those who have stopped.
func TestSlowRecordsUnderPressure(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms(), MaxBytes: 8 << 20, ClientBytes: 16 << 20, RecordTimeout: 64 * time.Second})
	slow := dialRaw(t, addr)
	call := record(1, procSize, make([]byte, 1<<20))
	const parts = 32
	send(t, slow, call[:len(call)/parts*4])
	for range 6 {
		send(t, dialRaw(t, addr), call[:100<<10])
	}
	eventually(t, "pressure", s.arriving.pressed)
	for i := 4; i < parts; i++ { // an eighth takes 160 ms, and may take 1 s
		time.Sleep(40 * time.Millisecond)
		end := len(call) / parts * (i + 1)
		if i == parts-1 {
			end = len(call)
		}
		send(t, slow, call[len(call)/parts*i:end])
	}
	if xid, _ := receive(t, slow); xid != 1 {
		t.Errorf("answered %d", xid)
	}
	eventually(t, "the others to be cut", func() bool { return s.Stats().Aborted > 0 })
}

// TestGreedyClientsDoNotStarve: clients that ask for all the bytes in flight and take no
// reply have an eighth of WriteTimeout once somebody else waits.
func TestGreedyClientsDoNotStarve(t *testing.T) {
	s, addr := startServer(t, Config{
		Programs: testPrograms(), MaxConnBytes: 4 << 20, MaxBytes: 6 << 20, ClientBytes: 12 << 20, WriteTimeout: 8 * time.Second,
	})
	var calls []byte
	for i := range uint32(64) {
		calls = append(calls, record(i, procWRead, xdr.AppendUint32(nil, 1<<20))...)
	}
	for range 2 {
		nc := dialRaw(t, addr)
		if err := nc.SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		send(t, nc, calls)
	}
	eventually(t, "the bytes to be taken", s.budget.pressed)
	c := dial(t, addr)
	began := time.Now()
	if _, err := c.Call(t.Context(), procWRead, xdr.AppendUint32(nil, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 6*time.Second {
		t.Errorf("waited for %v", d)
	}
}

// TestAbandonedFirstRun: a call whose connection fails while it waits for bytes never
// runs. A retransmission that waits for its reply would wait for ever.
func TestAbandonedFirstRun(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), MaxBytes: 64 << 10})
	holder := dial(t, addr)
	held := holder.Send(rpctest.Header{XID: 1, Prog: testProg, Vers: 3, Proc: procGate}, make([]byte, 60<<10))
	wait(t, w.entered)
	call := record(7, procCount, []byte("once"))
	pipe := func() net.Conn { // has no address, so any two are one client with one port
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close() })
		s.start(server)
		send(t, client, call)
		return client
	}
	pipe()
	var first *conn
	eventually(t, "the call to wait for bytes", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			if c.nc.RemoteAddr().Network() == "pipe" {
				first = c
			}
		}
		return s.budget.pressed()
	})
	second := pipe()
	eventually(t, "the retransmission to wait", func() bool {
		s.cache.mu.Lock()
		defer s.cache.mu.Unlock()
		for _, e := range s.cache.calls {
			return e.waiter != nil
		}
		return false
	})
	closed := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, second)
		closed <- err
	}()
	first.fail(errWriteTimeout)
	if err := wait(t, closed); err != nil {
		t.Error(err)
	}
	close(w.gates)
	if _, err := held(t.Context()); err != nil {
		t.Error(err)
	}
	if xid, res := receive(t, pipe()); xid != 7 || binary.BigEndian.Uint32(res) != 1 {
		t.Errorf("answered %d: run % x", xid, res)
	}
}

// TestShutdownBesideSlowReaders: who takes his replies slowly, if at all, does not hold up
// Shutdown for as long as he likes.
func TestShutdownBesideSlowReaders(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms(), WriteTimeout: 8 * time.Second})
	var calls []byte
	for i := range uint32(64) {
		calls = append(calls, record(i, procWRead, xdr.AppendUint32(nil, 1<<20))...)
	}
	for range 2 {
		nc := dialRaw(t, addr)
		send(t, nc, calls)
		go func() { // a piece of 1 MiB takes it 400 ms, of the 1 s it has, and all of them 12 s
			b := make([]byte, 128<<10)
			for {
				if _, err := io.ReadFull(nc, b); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
	eventually(t, "replies to be queued", func() bool { return s.Stats().BytesFlight > 40<<20 })
	began := time.Now()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 6*time.Second {
		t.Errorf("it took %v", d)
	}
}
