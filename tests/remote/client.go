package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// Options configure a Client.
type Options struct {
	// Dial connects to the server, at the start and after a connection ended.
	Dial func(context.Context) (net.Conn, error)
	// Path is the directory to mount. Default "/".
	Path string
	// Conns is the number of connections; calls take turns on them. Default 1.
	Conns int
	// ReadSize, WriteSize and DirSize bound one READ, WRITE, READDIR and READDIRPLUS,
	// in bytes. Default and maximum: what FSINFO says (rtmax, wtmax, dtpref).
	ReadSize, WriteSize, DirSize uint32
	// Patience is how long a call goes on asking while the server cannot be reached or
	// says JUKEBOX. Default 30 s.
	Patience time.Duration
	// With is another Client of the same server, whose handles this one knows: what
	// it is told must agree with them.
	With *Client
	// Stock is for go-nfs, whose fileids are hashes of paths and whose attributes
	// are not always whole: nodes are made of handles, and what it is known to say
	// wrong is no violation.
	Stock bool
}

const (
	defaultPatience = 30 * time.Second
	firstPause      = time.Millisecond // between two attempts; doubles
	lastPause       = 200 * time.Millisecond
	maxViolations   = 20 // kept
)

// Client is an NFS version 3 client as a vfs.FS. Its methods are safe for
// concurrent use.
type Client struct {
	opt   Options
	nodes *nodes
	links []*link
	next  atomic.Uint32 // the link that takes the next call
	xid   atomic.Uint32
	root  vfs.Node

	fsid    atomic.Pointer[uint64]
	jukebox atomic.Uint64
	redials atomic.Uint64

	mu         sync.Mutex
	violations []error
}

var _ vfs.FS = (*Client)(nil)

// Mount connects, asks MOUNT for the handle of Options.Path and FSINFO for the
// sizes. Close ends it.
func Mount(ctx context.Context, o Options) (*Client, error) {
	if o.Path == "" {
		o.Path = "/"
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	c := &Client{opt: o}
	if o.With != nil {
		c.nodes = o.With.nodes
	} else {
		c.nodes = newNodes(o.Stock)
	}
	// A server remembers the xids of a client's earlier connections.
	c.xid.Store(rand.Uint32())
	for range max(o.Conns, 1) {
		c.links = append(c.links, &link{})
	}
	if err := c.mount(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("remote: mount %q: %w", o.Path, err), c.Close())
	}
	return c, nil
}

func (c *Client) mount(ctx context.Context) error {
	res, err := c.send(ctx, rpctest.Header{Prog: progMount, Vers: version, Proc: procMount, Cred: credOf(vfs.Superuser)}, args{}.str(c.opt.Path))
	if err != nil {
		return err
	}
	d := xdr.NewDecoder(res)
	if st := d.Uint32(); st != 0 || d.Err() != nil {
		if s, ok := mountStatuses[st]; ok && s != vfs.OK {
			return s
		}
		return c.violation("MNT", fmt.Errorf("mountstat3 %d, %w", st, d.Err()))
	}
	fh := append([]byte(nil), d.Opaque(handleMax)...)
	for range d.Count(64, 4) {
		d.Uint32()
	}
	if d.Err() != nil || d.Len() != 0 || len(fh) == 0 {
		return c.violation("MNT", fmt.Errorf("a handle of %d bytes and %d bytes too many, %w", len(fh), d.Len(), d.Err()))
	}
	a, err := c.meet(ctx, vfs.Superuser, fh)
	if err != nil {
		return err
	}
	c.root = a.Node
	return c.size(ctx)
}

// size takes from FSINFO what Options leave open.
func (c *Client) size(ctx context.Context) error {
	info, err := c.fsInfo(ctx, vfs.Superuser, c.root)
	if err != nil {
		return err
	}
	for _, s := range []struct {
		size *uint32
		most uint32
	}{{&c.opt.ReadSize, info.readMax}, {&c.opt.WriteSize, info.writeMax}, {&c.opt.DirSize, info.dirPref}} {
		if *s.size == 0 || *s.size > s.most {
			*s.size = s.most
		}
		if *s.size == 0 {
			return c.violation("FSINFO", errors.New("a size of 0"))
		}
	}
	return nil
}

// Close ends the connections. Calls under way fail.
func (c *Client) Close() error {
	var errs []error
	for _, l := range c.links {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// Violations is what the server sent against the protocol, the first 20 of it.
func (c *Client) Violations() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.violations)
}

// violation notes one.
func (c *Client) violation(what string, err error) error {
	err = &vfs.Error{Status: vfs.ServerFault, Op: what, Err: fmt.Errorf("against the protocol: %w", err)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.violations) < maxViolations {
		c.violations = append(c.violations, err)
	}
	return err
}

// Jukeboxes counts how often the server said JUKEBOX.
func (c *Client) Jukeboxes() uint64 { return c.jukebox.Load() }

// Redials counts the connections that were made again.
func (c *Client) Redials() uint64 { return c.redials.Load() }

// sameFSID reports whether id is the fsid of all replies so far, and which that is.
func (c *Client) sameFSID(id uint64) (old uint64, same bool) {
	if c.fsid.CompareAndSwap(nil, &id) {
		return id, true
	}
	old = *c.fsid.Load()
	return old, old == id
}

// handle is the handle of n.
func (c *Client) handle(ctx context.Context, w *vfs.Who, n vfs.Node) ([]byte, error) {
	k, ok := c.nodes.get(n)
	if !ok {
		return nil, vfs.Stale
	}
	if k.fh == nil && !k.dir.IsZero() { // from a listing without handles
		a, _, err := c.Lookup(ctx, w, k.dir, k.name)
		if err != nil || a.Node.ID != n.ID {
			return nil, vfs.Stale
		}
		k, _ = c.nodes.get(n)
	}
	if k.fh == nil {
		return nil, vfs.Stale
	}
	return k.fh, nil
}

// call makes a call of NFS for w and gives its result, with the status read.
func (c *Client) call(ctx context.Context, w *vfs.Who, proc uint32, a args) (*reply, error) {
	h := rpctest.Header{Prog: progNFS, Vers: version, Proc: proc, Cred: credOf(w)}
	until := time.Now().Add(c.opt.Patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		res, err := c.send(ctx, h, a)
		if err != nil {
			return nil, err
		}
		r := &reply{Decoder: xdr.NewDecoder(res), c: c, proc: proc}
		st := r.Uint32()
		if st == statJukebox {
			c.jukebox.Add(1)
			if time.Now().Before(until) && ctx.Err() == nil {
				time.Sleep(pause)
				continue
			}
		}
		var ok bool
		if r.status, ok = statuses[st]; !ok {
			r.violate("nfsstat3 %d", st)
			return nil, r.bad
		}
		return r, nil
	}
}

// credOf is AUTH_SYS for w.
func credOf(w *vfs.Who) rpctest.Auth { return rpctest.Sys("remote", w.UID, w.GID, w.Groups...) }

// send makes a call and waits for its result, on another connection if one ends.
func (c *Client) send(ctx context.Context, h rpctest.Header, a args) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.XID = c.xid.Add(1)
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opt.Patience)
	defer cancel()
	l := c.links[int(c.next.Add(1))%len(c.links)]
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		res, err := l.try(patient, c, h, a)
		var refused *rpctest.ReplyError
		switch {
		case err == nil:
			return res, nil
		case errors.As(err, &refused) && !refused.Denied && refused.Stat == rpctest.GarbageArgs:
			return nil, &vfs.Error{Status: vfs.Inval, Op: "call", Err: err}
		case errors.As(err, &refused):
			return nil, &vfs.Error{Status: vfs.ServerFault, Op: "call", Err: err}
		}
		select {
		case <-patient.Done():
			return nil, &vfs.Error{Status: vfs.IO, Op: "call", Err: err, Do: "see whether the server runs"}
		case <-time.After(pause):
		}
	}
}

// link is a connection, made when it is needed.
type link struct {
	mu     sync.Mutex
	rpc    *rpctest.Client // nil: none
	dialed bool            // there was one before
	closed bool
}

// try makes the call once.
func (l *link) try(ctx context.Context, c *Client, h rpctest.Header, a args) ([]byte, error) {
	conn, err := l.get(ctx, c)
	if err != nil {
		return nil, err
	}
	res, err := conn.Send(h, a)(ctx)
	var refused *rpctest.ReplyError
	if err != nil && !errors.As(err, &refused) && ctx.Err() == nil {
		l.drop(conn)
	}
	return res, err
}

// ending closes a connection as soon as the server ended it, called or not: a
// server that shuts down waits for that a while.
type ending struct{ net.Conn }

func (e ending) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if err != nil {
		e.Close() // the reader gets err, which is why
	}
	return n, err
}

func (l *link) get(ctx context.Context, c *Client) (*rpctest.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, net.ErrClosed
	}
	if l.rpc != nil {
		return l.rpc, nil
	}
	nc, err := c.opt.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if l.dialed {
		c.redials.Add(1)
	}
	l.rpc, l.dialed = rpctest.NewClient(ending{nc}, progNFS, version, rpctest.Auth{}), true
	return l.rpc, nil
}

// drop forgets conn, which has ended.
func (l *link) drop(conn *rpctest.Client) {
	l.mu.Lock()
	if l.rpc == conn {
		l.rpc = nil
	}
	l.mu.Unlock()
	conn.Close() // closed already, by ending
}

func (l *link) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.rpc == nil {
		return nil
	}
	return l.rpc.Close()
}
