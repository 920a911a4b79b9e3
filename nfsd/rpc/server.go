package rpc

import (
	"context"
	"errors"
	"net"
)

type callState struct{ noKeep bool }

func (c *Call) reserve(out []byte, n int) []byte { panic("unfinished") }

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("rpc: server closed")

// Server serves RPC programs over TCP. Its methods are safe for concurrent use.
type Server struct{ cfg Config }

// NewServer returns a Server. It fails if the configuration contradicts itself:
// versions out of order, a program twice, a negative limit.
func NewServer(cfg Config) (*Server, error) { return &Server{cfg: cfg}, nil }

// Serve accepts connections from l until Shutdown or Close, or until Accept fails
// for good, and returns why, never nil. It may be called for several listeners.
// It closes l.
func (s *Server) Serve(l net.Listener) error { return ErrServerClosed }

// Shutdown stops accepting and reading, lets the calls in flight finish, sends
// their replies and closes the connections. When ctx ends first it does what
// Close does and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error { return nil }

// Close closes listeners and connections at once and cancels the contexts of all
// handlers. It does not wait for them.
func (s *Server) Close() error { return nil }

// Stats is a snapshot of a Server's counters.
type Stats struct {
	Conns       int    // connections open
	Calls       uint64 // calls answered since the start
	Inline      uint64 // of these, answered without a worker
	InFlight    int64  // calls that wait for a worker or run on one
	BytesFlight int64  // bytes in flight
	Workers     int    // worker goroutines
	CacheHits   uint64 // retransmissions answered from the reply cache
	Refused     uint64 // connections closed at MaxConns
	Aborted     uint64 // connections closed for bad framing or a deadline
}

// Stats returns a snapshot of the counters.
func (s *Server) Stats() Stats { return Stats{} }
