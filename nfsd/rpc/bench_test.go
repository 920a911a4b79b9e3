package rpc

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/nfsd/xdr"
)

// cpuTime returns the CPU time of this process.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// benchCalls drives the server with batches of 32 calls over loopback. Client and
// server are one process: cpu-ns/op is the cost of both, and the client is as lean
// as can be, one write and a few reads per batch.
func benchCalls(b *testing.B, proc uint32, args []byte, result int) {
	b.Helper()
	s, addr := startServer(b, Config{Programs: testPrograms()})
	_ = s
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	const window = 32
	var req []byte
	for i := range uint32(window) {
		req = rpctest.AppendRecord(req, rpctest.Header{
			XID: i, Prog: testProg, Vers: 3, Proc: proc,
			Cred: rpctest.Sys("bench", 1000, 1000, 4, 24, 27),
		}, args)
	}
	in := make([]byte, window*(replyHeader+result))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	for n := 0; n < b.N; n += window {
		if _, err := nc.Write(req); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(nc, in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
}

func BenchmarkInline(b *testing.B) { benchCalls(b, procEcho, make([]byte, 36), 36) }
func BenchmarkAgain(b *testing.B)  { benchCalls(b, procAgain, make([]byte, 36), 36) }
func BenchmarkWorker(b *testing.B) { benchCalls(b, procWorker, make([]byte, 36), 36) }
func BenchmarkRead4K(b *testing.B) { benchCalls(b, procRead, xdr.AppendUint32(nil, 4<<10), 4+4<<10) }

func BenchmarkRead64K(b *testing.B)  { benchCalls(b, procRead, xdr.AppendUint32(nil, 64<<10), 4+64<<10) }
func BenchmarkWrite64K(b *testing.B) { benchCalls(b, procSize, make([]byte, 64<<10), 4) }
func BenchmarkWrite1M(b *testing.B)  { benchCalls(b, procSize, make([]byte, 1<<20), 4) }

// BenchmarkDispatch is the server's own cost of an inline call, without a network.
func BenchmarkDispatch(b *testing.B) {
	s, err := NewServer(Config{Programs: testPrograms()})
	if err != nil {
		b.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	c := newConn(s, server)
	defer c.cancel()
	rec := rpctest.AppendCall(nil, rpctest.Header{
		XID: 7, Prog: testProg, Vers: 3, Proc: procEcho,
		Cred: rpctest.Sys("bench", 1000, 1000, 4, 24, 27),
	}, make([]byte, 36))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.dispatch(rec, nil, 0); err != nil {
			b.Fatal(err)
		}
		c.outLen = 0
	}
}

func BenchmarkClient(b *testing.B) {
	_, addr := startServer(b, Config{Programs: testPrograms()})
	c, err := rpctest.Dial(context.Background(), addr, testProg, 3, rpctest.Sys("bench", 0, 0))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Call(context.Background(), procEcho, []byte("abcd")); err != nil {
			b.Fatal(err)
		}
	}
}
