package gonfs_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"sheaf/nfsd/gonfs"
	"sheaf/vfs"
)

// Programs and procedures used here (RFC 1813).
const (
	progNFS, progMount = 100003, 100005

	procGetAttr, procSetAttr, procLookup, procAccess = 1, 2, 3, 4
	procRead, procWrite, procCreate, procMkdir       = 6, 7, 8, 9
	procSymlink, procMknod, procRemove, procRmdir    = 10, 11, 12, 13
	procLink, procReadDir, procCommit                = 15, 16, 21
)

const wait = 10 * time.Second // for what must happen

// x builds XDR.
type x []byte

func (b x) u32(v ...uint32) x {
	for _, n := range v {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}
func (b x) u64(v uint64) x { return binary.BigEndian.AppendUint64(b, v) }
func (b x) opaque(p string) x {
	b = append(b.u32(uint32(len(p))), p...)
	return append(b, make([]byte, -len(p)&3)...)
}

// reader takes XDR apart; a test that reads too far fails.
type reader struct {
	t *testing.T
	b []byte
}

func (r *reader) take(n int) []byte {
	r.t.Helper()
	if len(r.b) < n {
		r.t.Fatalf("the reply ends: %d bytes wanted, %d left", n, len(r.b))
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}
func (r *reader) u32() uint32 { r.t.Helper(); return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { r.t.Helper(); return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) opaque() string {
	r.t.Helper()
	n := int(r.u32())
	p := r.take((n + 3) &^ 3)
	return string(p[:n])
}

// attr is what the tests look at in fattr3.
type attr struct {
	mode         uint32
	size         uint64
	mtime, ctime uint64
}

// attrs reads post_op_attr.
func (r *reader) attrs() (a attr) {
	r.t.Helper()
	if r.u32() == 0 {
		return a
	}
	r.u32() // type
	a.mode = r.u32()
	r.take(12) // nlink, uid, gid
	a.size = r.u64()
	r.take(8 + 8 + 8 + 8 + 8) // used, rdev, fsid, fileid, atime
	a.mtime, a.ctime = r.u64(), r.u64()
	return a
}

// wcc skips wcc_data.
func (r *reader) wcc() {
	r.t.Helper()
	if r.u32() != 0 {
		r.take(24)
	}
	r.attrs()
}

// client is a connection to a server.
type client struct {
	t    *testing.T
	conn net.Conn
	xid  uint32
	cred x
}

// serve runs the stock engine over fs and gives its address.
func serve(t *testing.T, fs vfs.FS, o gonfs.Options) string {
	t.Helper()
	addr, shutdown := start(t, fs, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return addr
}

// start is serve for a test that ends the server itself.
func start(t *testing.T, fs vfs.FS, o gonfs.Options) (addr string, shutdown func(context.Context) error) {
	t.Helper()
	if o.Who == nil {
		o.Who = vfs.Superuser
	}
	s, err := gonfs.New(t.Context(), fs, o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return l.Addr().String(), func(ctx context.Context) error {
		err := s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		return err
	}
}

func dial(t *testing.T, addr string, uid uint32) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	sys := x{}.u32(0).opaque("test").u32(uid, uid, 0)
	return &client{t: t, conn: c, cred: x{}.u32(1).opaque(string(sys)).u32(0, 0)}
}

// record is a call with its record mark.
func (c *client) record(prog, vers, proc uint32, args x) []byte {
	c.xid++
	call := append(x{}.u32(c.xid, 0, 2, prog, vers, proc), c.cred...)
	call = append(call, args...)
	return append(x{}.u32(1<<31|uint32(len(call))), call...)
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// receive is the next reply, after its transaction id.
func (c *client) receive() (*reader, error) {
	var mark [4]byte
	if _, err := io.ReadFull(c.conn, mark[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(mark[:])&^(1<<31))
	if _, err := io.ReadFull(c.conn, b); err != nil {
		return nil, err
	}
	return &reader{c.t, b[4:]}, nil
}

// raw makes a call and gives its accept_stat with the rest.
func (c *client) raw(prog, vers, proc uint32, args x) (uint32, *reader) {
	c.t.Helper()
	c.send(c.record(prog, vers, proc, args))
	r, err := c.receive()
	if err != nil {
		c.t.Fatal(err)
	}
	r.take(16) // reply, accepted, verifier
	return r.u32(), r
}

// call makes an NFS call and gives its status with the rest.
func (c *client) call(proc uint32, args x) (uint32, *reader) {
	c.t.Helper()
	accept, r := c.raw(progNFS, 3, proc, args)
	if accept != 0 {
		c.t.Fatalf("procedure %d: accept_stat %d", proc, accept)
	}
	return r.u32(), r
}

// must is call for one that must succeed.
func (c *client) must(proc uint32, args x) *reader {
	c.t.Helper()
	status, r := c.call(proc, args)
	if status != 0 {
		c.t.Fatalf("procedure %d: status %d", proc, status)
	}
	return r
}

// mount gives the root's handle.
func (c *client) mount(path string) string {
	c.t.Helper()
	status, handle := c.tryMount(path)
	if status != 0 {
		c.t.Fatalf("mount %s: status %d", path, status)
	}
	return handle
}

func (c *client) tryMount(path string) (uint32, string) {
	c.t.Helper()
	accept, r := c.raw(progMount, 3, 1, x{}.opaque(path))
	if accept != 0 {
		c.t.Fatalf("mount %s: accept_stat %d", path, accept)
	}
	status := r.u32()
	if status != 0 {
		return status, ""
	}
	return status, r.opaque()
}

func (c *client) lookup(dir, name string) string {
	c.t.Helper()
	return c.must(procLookup, x{}.opaque(dir).opaque(name)).opaque()
}

func (c *client) getattr(handle string) attr {
	c.t.Helper()
	r := c.must(procGetAttr, x{}.opaque(handle))
	r.b = append(x{}.u32(1), r.b...)
	return r.attrs()
}

func (c *client) read(handle string) string {
	c.t.Helper()
	r := c.must(procRead, x{}.opaque(handle).u64(0).u32(100))
	r.attrs()
	r.take(8)
	return r.opaque()
}

// silent reports that no reply comes for a while. It is the one thing here that
// can only be seen by waiting.
func (c *client) silent() bool {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		c.t.Fatal(err)
	}
	_, err := c.receive()
	var ne net.Error
	quiet := errors.As(err, &ne) && ne.Timeout()
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		c.t.Fatal(err)
	}
	return quiet
}
