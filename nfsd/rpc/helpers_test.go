package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/nfsd/xdr"
)

// The test program: version 3 of testProg, and versions 1 and 3 of testProg+1.
const (
	testProg = 100003

	procNull    = 0  // inline
	procEcho    = 1  // inline, returns its arguments
	procAgain   = 2  // inline says Again, the worker returns the arguments
	procWorker  = 3  // worker, returns its arguments
	procRead    = 4  // returns count bytes behind the count; inline, reserved
	procSize    = 5  // inline, returns the length of its arguments
	procPanic   = 6  // panics inline
	procGarbage = 7  // GarbageArgs
	procMissing = 8  // no handler
	procGate    = 9  // worker, waits for gates
	procCount   = 10 // cached worker, returns how often it ran
	procVerdict = 11 // worker, says the verdict in its arguments
	procWPanic  = 12 // panics in a worker
	procGrow    = 13 // worker, appends count bytes without Reserve
	procCred    = 14 // inline, describes the credential
	procCtx     = 15 // worker, idempotent, waits for its context
	procWRead   = 16 // procRead on a worker
	procGateC   = 17 // cached worker, waits for gates, returns how often it ran
	procIGrow   = 18 // procGrow inline
	procBusy    = 19 // procGateC that says it is busy where it is turned away
)

// world is what test handlers share.
type world struct {
	gates   chan struct{} // procGate waits for a value
	entered chan uint32   // procGate, procCtx: the xid of a call that runs
	runs    atomic.Uint32
	noKeep  atomic.Bool
	ctxErr  chan error
	held    atomic.Int64 // bytes that handlers hold now
	peak    atomic.Int64
}

func newWorld() *world {
	return &world{gates: make(chan struct{}), entered: make(chan uint32, 4096), ctxErr: make(chan error, 16)}
}

func echo(_ context.Context, c *Call, out []byte) ([]byte, Verdict) {
	return append(out, c.Args...), Done
}

// fill is the payload of procRead.
func fill(c *Call, out []byte) ([]byte, Verdict) {
	d := xdr.NewDecoder(c.Args)
	n := int(d.Uint32())
	if d.Err() != nil || n > 1<<20 {
		return nil, GarbageArgs
	}
	out = xdr.AppendUint32(out, uint32(n))
	out = c.Reserve(out, n)
	out = out[:len(out)+n]
	return out, Done
}

func readSizeOf(args []byte) int {
	d := xdr.NewDecoder(args)
	return 4 + int(d.Uint32())
}

func (w *world) programs() []*Program {
	procs := make([]Proc, 20)
	procs[procNull] = Proc{
		Name: "NULL", Inline: true, Idempotent: true,
		Handler: func(_ context.Context, _ *Call, out []byte) ([]byte, Verdict) { return out, Done },
	}
	procs[procEcho] = Proc{Name: "ECHO", Inline: true, Idempotent: true, Handler: echo}
	procs[procAgain] = Proc{Name: "AGAIN", Inline: true, Handler: func(ctx context.Context, c *Call, out []byte) ([]byte, Verdict) {
		if c.NoWait {
			return append(c.Reserve(out, 100<<10), "left behind"...), Again
		}
		return echo(ctx, c, out)
	}}
	procs[procWorker] = Proc{Name: "WORKER", Handler: echo}
	procs[procRead] = Proc{
		Name: "READ", Inline: true, Idempotent: true, ReplySize: readSizeOf,
		Handler: func(_ context.Context, c *Call, out []byte) ([]byte, Verdict) { return fill(c, out) },
	}
	procs[procWRead] = procs[procRead]
	procs[procWRead].Inline = false
	procs[procSize] = Proc{Name: "SIZE", Inline: true, Handler: func(_ context.Context, c *Call, out []byte) ([]byte, Verdict) {
		return xdr.AppendUint32(out, uint32(len(c.Args))), Done
	}}
	procs[procPanic] = Proc{Name: "PANIC", Inline: true, Handler: func(context.Context, *Call, []byte) ([]byte, Verdict) { panic("inline") }}
	procs[procWPanic] = Proc{Name: "WPANIC", Handler: func(context.Context, *Call, []byte) ([]byte, Verdict) { panic("worker") }}
	procs[procGarbage] = Proc{Name: "GARBAGE", Inline: true, Handler: func(_ context.Context, _ *Call, out []byte) ([]byte, Verdict) {
		return append(out, "half a result"...), GarbageArgs
	}}
	procs[procGate] = Proc{Name: "GATE", Handler: func(ctx context.Context, c *Call, out []byte) ([]byte, Verdict) {
		n := w.held.Add(int64(len(c.Args)))
		for {
			if p := w.peak.Load(); n <= p || w.peak.CompareAndSwap(p, n) {
				break
			}
		}
		w.entered <- c.XID
		<-w.gates
		w.held.Add(-int64(len(c.Args)))
		return echo(ctx, c, out)
	}}
	count := func(_ context.Context, c *Call, out []byte) ([]byte, Verdict) {
		if w.noKeep.Load() {
			c.NoKeep()
		}
		return xdr.AppendUint32(out, w.runs.Add(1)), Done
	}
	procs[procCount] = Proc{Name: "COUNT", Cached: true, Handler: count}
	procs[procGateC] = Proc{Name: "GATEC", Cached: true, Handler: func(ctx context.Context, c *Call, out []byte) ([]byte, Verdict) {
		w.entered <- c.XID
		<-w.gates
		return count(ctx, c, out)
	}}
	procs[procBusy] = procs[procGateC]
	procs[procBusy].Busy = func(_ *Call, out []byte) []byte { return append(out, busyText...) }
	procs[procVerdict] = Proc{Name: "VERDICT", Handler: func(_ context.Context, c *Call, out []byte) ([]byte, Verdict) {
		return append(out, 1, 2, 3, 4), Verdict(c.Args[3])
	}}
	grow := func(_ context.Context, c *Call, out []byte) ([]byte, Verdict) {
		d := xdr.NewDecoder(c.Args)
		n := d.Uint32()
		for range n {
			out = append(out, byte(n))
		}
		return out, Done
	}
	procs[procGrow] = Proc{Name: "GROW", Handler: grow}
	procs[procIGrow] = Proc{Name: "IGROW", Inline: true, Handler: grow}
	procs[procCred] = Proc{Name: "CRED", Inline: true, Handler: func(_ context.Context, c *Call, out []byte) ([]byte, Verdict) {
		return fmt.Appendf(out, "%d %d %d %v %q %v", c.Cred.Flavor, c.Cred.UID, c.Cred.GID, c.Cred.GIDs, c.Cred.Machine, c.Client.IsValid()), Done
	}}
	procs[procCtx] = Proc{Name: "CTX", Idempotent: true, Handler: func(ctx context.Context, c *Call, _ []byte) ([]byte, Verdict) {
		w.entered <- c.XID
		<-ctx.Done()
		w.ctxErr <- ctx.Err()
		return nil, SystemErr
	}}
	return []*Program{
		{Prog: testProg, Name: "test", Versions: []Version{{Vers: 3, Procs: procs}}},
		{Prog: testProg + 1, Name: "two", Versions: []Version{{Vers: 1, Procs: procs[:1]}, {Vers: 3, Procs: procs}}},
	}
}

func testPrograms() []*Program { return newWorld().programs() }

// syncBuffer is a log for tests.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// startServer serves on loopback until the test ends, and checks then that
// nothing is left: no bytes in flight, no calls, no goroutines.
func startServer(tb testing.TB, cfg Config) (*Server, string) {
	tb.Helper()
	before := runtime.NumGoroutine()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.SlowAfter == 0 {
		cfg.SlowAfter = time.Hour // bounds are bounds, however slow the machine is
	}
	s, err := NewServer(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Errorf("Shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			tb.Errorf("Serve: %v", err)
		}
		eventually(tb, "the server to leave nothing", func() bool {
			st := s.Stats()
			return st.Conns == 0 && st.InFlight == 0 && st.BytesFlight == 0 && s.arriving.load() == 0 && st.Workers == 0 &&
				runtime.NumGoroutine() <= before
		})
	})
	return s, l.Addr().String()
}

const busyText = "busy"

// eventually waits for ok.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			tb.Fatalf("waited in vain for %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}

// dial returns a client of the test program.
func dial(tb testing.TB, addr string) *rpctest.Client {
	tb.Helper()
	c, err := rpctest.Dial(tb.Context(), addr, testProg, 3, rpctest.Sys("host", 1000, 100, 4, 24))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// dialRaw returns a bare connection.
func dialRaw(tb testing.TB, addr string) *net.TCPConn {
	tb.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	return nc.(*net.TCPConn)
}
