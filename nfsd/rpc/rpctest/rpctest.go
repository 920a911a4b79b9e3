// Package rpctest is a small ONC RPC client (RFC 5531, TCP) for tests and
// benchmarks. It trusts its server more than a real client should: replies are
// bounded, but their headers are taken as they come.
//
// Client sends calls and sorts replies by xid, any number outstanding. Header,
// AppendCall and AppendFragment build records byte by byte for those who want
// them malformed.
package rpctest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"sheaf/nfsd/xdr"
)

// MaxReply bounds a reply, in bytes.
const MaxReply = 4 << 20

// Auth is a credential or verifier, encoded. The zero value is AUTH_NONE.
type Auth struct {
	Flavor uint32
	Body   []byte
}

// Sys returns an AUTH_SYS credential (RFC 5531 appendix A). Limits are not
// checked.
func Sys(machine string, uid, gid uint32, gids ...uint32) Auth {
	b := xdr.AppendUint32(nil, 0) // stamp
	b = xdr.AppendString(b, machine)
	b = xdr.AppendUint32(b, uid)
	b = xdr.AppendUint32(b, gid)
	b = xdr.AppendUint32(b, uint32(len(gids)))
	for _, g := range gids {
		b = xdr.AppendUint32(b, g)
	}
	return Auth{Flavor: 1, Body: b}
}

// Header is a call's header. RPCVers 0 stands for 2, the only right value.
type Header struct {
	XID, RPCVers, Prog, Vers, Proc uint32
	Cred, Verf                     Auth
}

// AppendCall appends the message, without a record mark: header and arguments.
func AppendCall(b []byte, h Header, args []byte) []byte {
	b = xdr.AppendUint32(b, h.XID)
	b = xdr.AppendUint32(b, 0) // CALL
	if h.RPCVers == 0 {
		h.RPCVers = 2
	}
	b = xdr.AppendUint32(b, h.RPCVers)
	b = xdr.AppendUint32(b, h.Prog)
	b = xdr.AppendUint32(b, h.Vers)
	b = xdr.AppendUint32(b, h.Proc)
	b = xdr.AppendUint32(b, h.Cred.Flavor)
	b = xdr.AppendOpaque(b, h.Cred.Body)
	b = xdr.AppendUint32(b, h.Verf.Flavor)
	b = xdr.AppendOpaque(b, h.Verf.Body)
	return append(b, args...)
}

// AppendFragment appends a fragment (RFC 5531 §11) that holds data.
func AppendFragment(b, data []byte, last bool) []byte {
	mark := uint32(len(data))
	if last {
		mark |= 1 << 31
	}
	return append(xdr.AppendUint32(b, mark), data...)
}

// AppendRecord appends a whole record of one fragment: mark, header, arguments.
func AppendRecord(b []byte, h Header, args []byte) []byte {
	at := len(b)
	b = AppendCall(append(b, 0, 0, 0, 0), h, args)
	xdr.PutUint32(b, at, 1<<31|uint32(len(b)-at-4))
	return b
}

// ReadRecord reads a record of any number of fragments.
func ReadRecord(r io.Reader) ([]byte, error) {
	var rec []byte
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, err
		}
		m := binary.BigEndian.Uint32(mark[:])
		n := int(m & (1<<31 - 1))
		if n+len(rec) > MaxReply {
			return nil, fmt.Errorf("rpctest: reply above %d bytes", MaxReply)
		}
		at := len(rec)
		rec = append(rec, make([]byte, n)...)
		if _, err := io.ReadFull(r, rec[at:]); err != nil {
			return nil, err
		}
		if m>>31 != 0 {
			return rec, nil
		}
	}
}

// Accept statuses of a ReplyError (RFC 5531 §9, accept_stat).
const (
	ProgUnavail  = 1
	ProgMismatch = 2
	ProcUnavail  = 3
	GarbageArgs  = 4
	SystemErr    = 5
)

// ReplyError is a reply that is no result.
type ReplyError struct {
	// Denied: Stat is a reject_stat (0 RPC_MISMATCH, 1 AUTH_ERROR); otherwise
	// it is an accept_stat.
	Denied bool
	Stat   uint32
	// Low and High come with a mismatch of versions.
	Low, High uint32
	// Auth is the auth_stat of an AUTH_ERROR.
	Auth uint32
}

func (e *ReplyError) Error() string {
	kind := "accepted"
	if e.Denied {
		kind = "denied"
	}
	return fmt.Sprintf("rpc: %s, status %d (versions %d to %d, auth_stat %d)", kind, e.Stat, e.Low, e.High, e.Auth)
}

// ParseReply takes a reply message, without record mark, apart. result is what
// follows an accepted SUCCESS; err is a *ReplyError for all other replies.
func ParseReply(rec []byte) (xid uint32, result []byte, err error) {
	d := xdr.NewDecoder(rec)
	xid = d.Uint32()
	if typ := d.Uint32(); typ != 1 && d.Err() == nil {
		return xid, nil, fmt.Errorf("rpctest: message type %d is not REPLY", typ)
	}
	e := &ReplyError{Denied: d.Uint32() != 0}
	if e.Denied {
		if e.Stat = d.Uint32(); e.Stat == 0 {
			e.Low, e.High = d.Uint32(), d.Uint32()
		} else {
			e.Auth = d.Uint32()
		}
	} else {
		d.Uint32() // verifier
		d.Opaque(400)
		if e.Stat = d.Uint32(); e.Stat == ProgMismatch {
			e.Low, e.High = d.Uint32(), d.Uint32()
		}
	}
	if d.Err() != nil {
		return xid, nil, fmt.Errorf("rpctest: reply of %d bytes: %w", len(rec), d.Err())
	}
	if e.Denied || e.Stat != 0 {
		return xid, nil, e
	}
	return xid, d.Rest(), nil
}

// Client is a connection that carries calls. Its methods are safe for concurrent
// use. Fields are set before the first call.
type Client struct {
	// Prog and Vers are called by Call.
	Prog, Vers uint32
	// Cred is sent with Call.
	Cred Auth

	nc net.Conn

	wmu sync.Mutex // held while writing
	out []byte     // guarded by wmu

	mu      sync.Mutex
	xid     uint32
	pending map[uint32]chan<- reply
	err     error // why the connection ended
	done    chan struct{}
}

type reply struct {
	result []byte
	err    error
}

// Dial connects to a server.
func Dial(ctx context.Context, addr string, prog, vers uint32, cred Auth) (*Client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return NewClient(nc, prog, vers, cred), nil
}

// NewClient returns a Client on a connection, which it takes over.
func NewClient(nc net.Conn, prog, vers uint32, cred Auth) *Client {
	c := &Client{
		Prog: prog, Vers: vers, Cred: cred, nc: nc, xid: 1,
		pending: make(map[uint32]chan<- reply), done: make(chan struct{}),
	}
	go c.read()
	return c
}

// Conn returns the connection, for those who want to disturb it.
func (c *Client) Conn() net.Conn { return c.nc }

// read sorts replies until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	r := bufio.NewReaderSize(c.nc, 64<<10)
	for {
		rec, err := ReadRecord(r)
		if err != nil {
			c.mu.Lock()
			c.err = fmt.Errorf("rpctest: connection ended: %w", err)
			for xid, ch := range c.pending {
				delete(c.pending, xid)
				ch <- reply{err: c.err}
			}
			c.mu.Unlock()
			return
		}
		xid, result, err := ParseReply(rec)
		c.mu.Lock()
		ch := c.pending[xid]
		delete(c.pending, xid)
		c.mu.Unlock()
		if ch != nil {
			ch <- reply{result, err}
		}
	}
}

// Call calls a procedure and waits for its result. A reply that is none is a
// *ReplyError.
func (c *Client) Call(ctx context.Context, proc uint32, args []byte) ([]byte, error) {
	return c.Send(Header{XID: c.NextXID(), Prog: c.Prog, Vers: c.Vers, Proc: proc, Cred: c.Cred}, args)(ctx)
}

// NextXID returns a transaction id not used on this connection yet.
func (c *Client) NextXID() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.xid++
	return c.xid
}

// Send sends a call and returns a function that waits for its reply. At most one
// call per xid may be outstanding.
func (c *Client) Send(h Header, args []byte) func(context.Context) ([]byte, error) {
	ch := make(chan reply, 1)
	c.mu.Lock()
	err := c.err
	if _, dup := c.pending[h.XID]; dup {
		err = errors.New("rpctest: xid is outstanding")
	}
	if err == nil {
		c.pending[h.XID] = ch
	}
	c.mu.Unlock()
	if err == nil {
		c.wmu.Lock()
		c.out = AppendRecord(c.out[:0], h, args)
		_, err = c.nc.Write(c.out)
		c.wmu.Unlock()
		if err != nil {
			c.mu.Lock()
			delete(c.pending, h.XID)
			c.mu.Unlock()
		}
	}
	return func(ctx context.Context) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		select {
		case r := <-ch:
			return r.result, r.err
		case <-ctx.Done():
			c.mu.Lock()
			delete(c.pending, h.XID)
			c.mu.Unlock()
			return nil, ctx.Err()
		}
	}
}

// Close closes the connection. Calls outstanding fail.
func (c *Client) Close() error {
	err := c.nc.Close()
	<-c.done
	return err
}
