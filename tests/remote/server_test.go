package remote

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"sheaf/nfsd"
	"sheaf/nfsd/rpc"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// limit is how long anything may take before a test gives up.
const limit = 30 * time.Second

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// server is nfsd over a file system on the loopback. It can be stopped and started
// again, over the same file system or another, at an address of its own choice.
type server struct {
	t   failer
	opt nfsd.Options

	mu   sync.Mutex
	addr string // "": it does not run

	nfsd *nfsd.Server
	done chan error
}

// serve starts a server over fs that ends with the test.
func serve(tb testing.TB, fs vfs.FS) *server {
	tb.Helper()
	s := newServer(tb, fs)
	tb.Cleanup(s.stop)
	return s
}

// newServer starts a server over fs; stop ends it.
func newServer(t failer, fs vfs.FS) *server {
	t.Helper()
	x, err := nfsd.ParseExports(context.Background(), "/ *(rw,no_root_squash,insecure)\n", nil)
	if err != nil {
		t.Fatalf("exports: %v", err)
	}
	s := &server{t: t, opt: nfsd.Options{Exports: x, FSID: 0x5ea1f, Logger: slog.New(slog.DiscardHandler)}}
	copy(s.opt.HandleKey[:], "the key of tests, thirty-two byte")
	s.start(fs)
	return s
}

// start serves fs.
func (s *server) start(fs vfs.FS) {
	s.t.Helper()
	var err error
	if s.nfsd, err = nfsd.New(context.Background(), fs, s.opt); err != nil {
		s.t.Fatalf("nfsd: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatalf("listen: %v", err)
	}
	s.done = make(chan error, 1)
	go func(srv *nfsd.Server, done chan<- error) { done <- srv.Serve(l) }(s.nfsd, s.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = l.Addr().String()
}

// stop ends the server in good order. It may be called again.
func (s *server) stop() {
	s.t.Helper()
	s.mu.Lock()
	running := s.addr != ""
	s.addr = ""
	s.mu.Unlock()
	if !running {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.nfsd.Shutdown(ctx); err != nil {
		s.t.Errorf("shutdown: %v", err)
	}
	if err := <-s.done; !errors.Is(err, rpc.ErrServerClosed) {
		s.t.Errorf("serve: %v", err)
	}
}

var errDown = errors.New("the server does not run")

// dial connects to where the server is now.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	s.mu.Lock()
	addr := s.addr
	s.mu.Unlock()
	if addr == "" {
		return nil, errDown
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// mount is a Client of the server that ends with the test, which fails for its
// violations.
func (s *server) mount(tb testing.TB, o Options) *Client {
	tb.Helper()
	c, done := s.client(tb, o)
	tb.Cleanup(done)
	return c
}

// client is a Client of the server, and what to do at its end.
func (s *server) client(t failer, o Options) (c *Client, done func()) {
	t.Helper()
	o.Dial = s.dial
	return mount(t, o)
}

func mount(t failer, o Options) (c *Client, done func()) {
	t.Helper()
	c, err := Mount(context.Background(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c, func() {
		t.Helper()
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("close: %v", err)
		}
		for _, err := range c.Violations() {
			t.Errorf("violation: %v", err)
		}
	}
}

// model is a Model for a server.
func model() *vfstest.Model { return vfstest.NewModel(vfstest.ModelOptions{}) }
