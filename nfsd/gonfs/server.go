package gonfs

import (
	"context"
	"errors"
	"net"
	"sync"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
)

// Server is the stock server over a vfs.FS.
type Server struct {
	nfs    nfs.Server
	cancel context.CancelFunc

	mu     sync.Mutex
	listen map[net.Listener]struct{}
	conns  map[*conn]struct{}
	closed bool
	idle   chan struct{} // closed when closed is set and no connection is left
}

// quiet switches the library's log off, which goes to standard error whatever the
// process wants. Once: it is not guarded against its readers.
var quiet = sync.OnceFunc(func() { nfs.Log.SetLevel(nfs.PanicLevel) })

// New makes a Server for fs.
func New(ctx context.Context, fs vfs.FS, o Options) (*Server, error) {
	quiet()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h, err := newHandler(ctx, fs, o)
	if err != nil {
		cancel()
		return nil, err
	}
	return &Server{
		nfs: nfs.Server{Handler: h, Context: ctx}, cancel: cancel,
		listen: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, idle: make(chan struct{}),
	}, nil
}

// Serve accepts connections from l until Shutdown, nil then, or until Accept fails.
// It closes l.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.listen[l] = struct{}{}
	s.mu.Unlock()
	err := s.nfs.Serve(&listener{l, s})
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listen, l)
	if s.closed {
		return nil
	}
	return err
}

// Shutdown stops accepting and reading, and waits for the connections to end, each
// after the call it is at. When ctx ends first they are closed.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		for l := range s.listen {
			l.Close() // ends Serve, which reports its failures
		}
		for c := range s.conns {
			c.closeRead()
		}
		s.leave()
	}
	s.mu.Unlock()
	defer s.cancel()
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Conn.Close() // its reader learns of it
	}
	return ctx.Err()
}

// leave wants s.mu. It tells who waits for the last connection.
func (s *Server) leave() {
	if s.closed && len(s.conns) == 0 {
		close(s.idle)
	}
}

// listener remembers what it accepts.
type listener struct {
	net.Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, server: l.server}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	if l.server.closed {
		return nil, errors.Join(net.ErrClosed, nc.Close())
	}
	l.server.conns[c] = struct{}{}
	return c, nil
}

// conn is forgotten when it is closed. The library closes it at an end of file
// between two calls, and leaks it at any other (F18).
type conn struct {
	net.Conn
	server *Server
	once   sync.Once
}

// Read closes the connection when nothing more can be read.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.Close() // the reader gets err, which is why
	}
	return n, err
}

// closeRead ends reading: what was asked is still answered.
func (c *conn) closeRead() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.CloseRead() // a connection that is gone needs none
		return
	}
	c.Conn.Close()
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		delete(c.server.conns, c)
		c.server.leave()
	})
	return err
}
