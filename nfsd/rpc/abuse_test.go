package rpc

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"sheaf/nfsd/xdr"
	needs "sheaf/tests/need"
)

// flood writes calls to n connections of a client as fast as they are taken, and reads what comes, until the end of the test.
func flood(t *testing.T, addr string, client, n int, call func(xid uint32) []byte) {
	t.Helper()
	var done sync.WaitGroup
	var conns []net.Conn
	for i := range uint32(n) {
		nc := dialFrom(t, addr, client)
		conns = append(conns, nc)
		done.Go(func() {
			for xid := i << 20; ; {
				var calls []byte
				for range 64 {
					xid++
					calls = append(calls, call(xid)...)
				}
				if _, err := nc.Write(calls); err != nil {
					return
				}
			}
		})
		done.Go(func() { _, _ = io.Copy(io.Discard, nc) }) // until it is closed
	}
	t.Cleanup(func() {
		for _, nc := range conns {
			nc.Close()
		}
		done.Wait()
	})
}

// TestFlood: beside a client that floods over many connections, with calls answered where they are read, by workers, and with
// large replies, all others have their calls answered, and what is in flight stays within its bounds.
func TestFlood(t *testing.T) {
	for name, call := range map[string]func(xid uint32) []byte{
		"inline": func(xid uint32) []byte { return record(xid, procEcho, make([]byte, 64)) },
		"worker": func(xid uint32) []byte { return record(xid, procWorker, make([]byte, 64)) },
		"cached": func(xid uint32) []byte { return record(xid, procCount, make([]byte, 64)) },
		"reads":  func(xid uint32) []byte { return record(xid, procRead, xdr.AppendUint32(nil, 64<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			const maxBytes = 16 << 20
			s, addr := startServer(t, Config{Programs: testPrograms(), MaxBytes: maxBytes})
			flood(t, addr, 16, 16, call)
			var wg sync.WaitGroup
			for client := 1; client < 16; client++ {
				nc := dialFrom(t, addr, client)
				wg.Go(func() {
					for i := range uint32(5) {
						// Two of a kind and one that a worker answers, in flight together.
						if _, err := nc.Write(slices.Concat(record(3*i, procEcho, nil), record(3*i+1, procEcho, nil), record(3*i+2, procWorker, nil))); err != nil {
							t.Errorf("client %d, round %d: %v", client, i, err)
							return
						}
						if _, err := io.ReadFull(nc, make([]byte, 3*replyHeader)); err != nil {
							t.Errorf("client %d, round %d: %v", client, i, err)
							return
						}
					}
				})
			}
			// Excess: one call for each connection (R5).
			wg.Go(func() {
				for range 50 {
					if n := s.Stats().BytesFlight; n > maxBytes+64*readSize {
						t.Errorf("%d bytes in flight", n)
					}
					time.Sleep(time.Millisecond)
				}
			})
			wg.Wait()
			if !s.contended.Load() {
				t.Error("nobody has noticed that several clients call")
			}
		})
	}
}

// TestTurns: readers of one client are let in one by one, more of them when nobody else has input, and one that does not come back
// is no hindrance for long.
func TestTurns(t *testing.T) {
	s, err := NewServer(Config{Programs: testPrograms()})
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*conn, 3)
	for i := range conns {
		client, server := net.Pipe()
		defer client.Close()
		conns[i] = newConn(s, server)
		defer conns[i].fail(errForced)
	}
	r := &conns[0].cl.readers
	queued := func(n int) func() bool {
		return func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.queue) == n && r.n == 1 }
	}
	let := make(chan *conn)
	for i, c := range conns {
		go func() {
			if c.takeTurn() {
				let <- c
			}
		}()
		eventually(t, "it to wait", queued(i))
	}
	first := wait(t, let)
	conns[0].lendTurn(0) // it has begun later than that
	if !queued(2)() {
		t.Error("a turn was lent that has just begun")
	}
	first.lendTurn(1 << 62)
	second := wait(t, let)
	first.endTurn() // it counts no more
	if first != conns[0] || second != conns[1] || !queued(1)() {
		t.Error("the next one is not at work alone")
	}
	second.endTurn()
	third := wait(t, let)
	r.found(false)
	if runtime.GOMAXPROCS(0) > 1 {
		r.found(false)
		if !first.takeTurn() { // beside the third
			t.Error("not let in")
		}
		first.endTurn()
	}
	r.found(true)
	third.endTurn()
	if r.n != 0 || r.limit != 1 {
		t.Errorf("%d are at work, of %d", r.n, r.limit)
	}
}

// TestTurnOfTheDead: a connection that fails while it waits for its turn takes nobody else's.
func TestTurnOfTheDead(t *testing.T) {
	s, err := NewServer(Config{Programs: testPrograms()})
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*conn, 2)
	for i := range conns {
		client, server := net.Pipe()
		defer client.Close()
		conns[i] = newConn(s, server)
		defer conns[i].fail(errForced)
	}
	r := &conns[0].cl.readers
	for range 100 {
		if !conns[0].takeTurn() {
			t.Fatal("not let in")
		}
		let := make(chan bool)
		go func() { let <- conns[1].takeTurn() }()
		eventually(t, "the other to wait", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.queue) == 1 })
		if rand.IntN(2) == 0 {
			go conns[0].endTurn()
			if !wait(t, let) {
				t.Fatal("not let in after the other")
			}
			conns[1].endTurn()
			eventually(t, "nobody to be at work", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.n == 0 })
			continue
		}
		go conns[1].fail(errForced)
		conns[0].endTurn() // perhaps to the one that fails
		wait(t, let)
		conns[1].endTurn()
		r.mu.Lock()
		if r.n != 0 || len(r.queue) != 0 {
			t.Errorf("%d are at work, and %d wait", r.n, len(r.queue))
		}
		r.mu.Unlock()
		_, server := net.Pipe()
		conns[1] = newConn(s, server)
	}
}

// TestCrowdOfConnections: thousands of connections, of a few clients, are served, and cost what is said of idle ones; garbage on all
// of them, replies that nobody reads, and their ends leave nothing.
func TestCrowdOfConnections(t *testing.T) {
	all := needs.Number(t, "SHEAF_ABUSE_CONNS", 600)
	needs.Files(t, uint64(2*all+200))
	s, addr := startServer(t, Config{
		Programs: testPrograms(), MaxConns: all, Logger: slog.New(slog.DiscardHandler), WriteTimeout: time.Second, MaxBytes: 32 << 20,
	})
	before := heap()
	conns := make([]*net.TCPConn, all)
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < all; i += 8 {
				conns[i] = dialFrom(t, addr, i%16+1)
				if !echoes(conns[i]) {
					t.Errorf("connection %d is not served", i)
				}
			}
		})
	}
	wg.Wait()
	if n := s.Stats().Conns; n != all || t.Failed() {
		t.Fatalf("%d connections", n)
	}
	eventually(t, "their buffers to be given back", func() bool {
		return (heap()-before)/int64(all) < 32<<10 // with the client's end of each
	})
	// A third does not read its replies, one sends garbage, and one goes on.
	greedy := slices.Concat(record(1, procRead, xdr.AppendUint32(nil, 1<<20)), record(2, procWRead, xdr.AppendUint32(nil, 1<<20)))
	greedy = bytes.Repeat(greedy, 8)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i, nc := range conns {
		switch i % 3 {
		case 0:
			send(t, nc, greedy)
		case 1:
			junk := binary.BigEndian.AppendUint32(nil, rnd.Uint32())
			for range rnd.IntN(100) {
				junk = append(junk, byte(rnd.Uint32()))
			}
			if _, err := nc.Write(junk); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, nc := range conns {
		if i%3 == 2 && !echoes(nc) {
			t.Fatalf("connection %d is not served any more", i)
		}
	}
	eventually(t, "those that read nothing to be closed", func() bool {
		return s.Stats().Aborted >= uint64(all/3)
	})
	for _, nc := range conns {
		nc.Close()
	}
	eventually(t, "all to be gone", func() bool { st := s.Stats(); return st.Conns == 0 && st.BytesFlight == 0 })
	eventually(t, "their memory to be given back", func() bool { return heap()-before < 16<<20 })
}

// heap is what is in use of it.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
