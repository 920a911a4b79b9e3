package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd"
	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

const (
	progNFS   = 100003
	progMount = 100005

	everybody = "/ *(rw,no_root_squash,insecure)\n"
)

// limit is how long any one exchange may take before a test gives up.
const limit = 20 * time.Second

// server is an nfsd.Server over a Model, on the loopback.
type server struct {
	*nfsd.Server
	tb    testing.TB
	model *vfstest.Model
	addr  string

	served []chan error // what each Serve returned
}

// options are those of a test's server: everything is the same at every run.
func options(tb testing.TB, exports string) nfsd.Options {
	tb.Helper()
	x, err := nfsd.ParseExports(tb.Context(), exports, nil)
	if err != nil {
		tb.Fatal(err)
	}
	o := nfsd.Options{Exports: x, FSID: 0x5ea1f, Logger: slog.New(slog.DiscardHandler)}
	copy(o.HandleKey[:], "the key of tests, thirty-two byte")
	return o
}

// start serves fs, or the Model itself if it is nil, until the test ends.
func start(tb testing.TB, m *vfstest.Model, fs vfs.FS, o nfsd.Options) *server {
	tb.Helper()
	if fs == nil {
		fs = m
	}
	srv, err := nfsd.New(tb.Context(), fs, o)
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{Server: srv, tb: tb, model: m}
	s.addr = s.listen(netip.AddrPort{})
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		for _, done := range s.served {
			if err := <-done; !errors.Is(err, rpc.ErrServerClosed) {
				tb.Errorf("serve: %v", err)
			}
		}
	})
	return s
}

// serve is start with a new Model exported to everybody.
func serve(tb testing.TB) *server {
	tb.Helper()
	return start(tb, vfstest.NewModel(vfstest.ModelOptions{}), nil, options(tb, everybody))
}

// listen opens one more port. With from, everybody who connects there seems to
// come from that address.
func (s *server) listen(from netip.AddrPort) string {
	s.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.tb.Fatal(err)
	}
	addr := l.Addr().String()
	if from.IsValid() {
		l = &elsewhere{l, net.TCPAddrFromAddrPort(from)}
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	s.served = append(s.served, done)
	return addr
}

// elsewhere makes connections seem to come from another address.
type elsewhere struct {
	net.Listener
	addr net.Addr
}

func (l *elsewhere) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &movedConn{c, l.addr}, nil
}

type movedConn struct {
	net.Conn
	addr net.Addr
}

func (c *movedConn) RemoteAddr() net.Addr { return c.addr }

// client speaks RPC on one connection. It is for one goroutine.
type client struct {
	tb   testing.TB
	conn net.Conn
	r    *bufio.Reader
	xid  uint32
	cred []byte
}

// dial connects as the superuser.
func (s *server) dial() *client {
	s.tb.Helper()
	return dial(s.tb, s.addr)
}

// dialFrom connects and seems to come from address a.
func (s *server) dialFrom(a string) *client {
	s.tb.Helper()
	return dial(s.tb, s.listen(netip.MustParseAddrPort(a)))
}

func dial(tb testing.TB, addr string) *client {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	c := &client{tb: tb, conn: conn, r: bufio.NewReader(conn), xid: 1000}
	return c.as(0, 0)
}

// as makes the next calls with an AUTH_SYS credential.
func (c *client) as(uid, gid uint32, groups ...uint32) *client {
	b := xdr.AppendUint32(nil, 1) // stamp
	b = xdr.AppendString(b, "tester")
	b = xdr.AppendUint32(b, uid)
	b = xdr.AppendUint32(b, gid)
	b = xdr.AppendUint32(b, uint32(len(groups)))
	for _, g := range groups {
		b = xdr.AppendUint32(b, g)
	}
	c.cred = xdr.AppendOpaque(xdr.AppendUint32(nil, rpc.AuthSys), b)
	return c
}

// asNobody makes the next calls with AUTH_NONE.
func (c *client) asNobody() *client {
	c.cred = xdr.AppendOpaque(xdr.AppendUint32(nil, rpc.AuthNone), nil)
	return c
}

// record is a call as it is sent, with its record mark.
func (c *client) record(xid, prog, vers, proc uint32, args []byte) []byte {
	b := make([]byte, 4, 128+len(args))
	for _, v := range []uint32{xid, 0, 2, prog, vers, proc} {
		b = xdr.AppendUint32(b, v)
	}
	b = append(b, c.cred...)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // verifier: AUTH_NONE
	b = append(b, args...)
	binary.BigEndian.PutUint32(b, 1<<31|uint32(len(b)-4))
	return b
}

// write sends bytes as they are.
func (c *client) write(b []byte) {
	c.tb.Helper()
	if err := c.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		c.tb.Fatal(err)
	}
	if _, err := c.conn.Write(b); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

// readReply reads one reply: its xid, accept_stat and result.
func (c *client) readReply() (xid, accept uint32, result []byte, err error) {
	var mark [4]byte
	if _, err = io.ReadFull(c.r, mark[:]); err != nil {
		return 0, 0, nil, err
	}
	m := binary.BigEndian.Uint32(mark[:])
	if m>>31 == 0 {
		return 0, 0, nil, errors.New("a reply in several fragments")
	}
	b := make([]byte, m&(1<<31-1))
	if _, err = io.ReadFull(c.r, b); err != nil {
		return 0, 0, nil, err
	}
	d := xdr.NewDecoder(b)
	xid = d.Uint32()
	if typ, stat := d.Uint32(), d.Uint32(); typ != 1 || stat != 0 {
		return xid, 0, nil, fmt.Errorf("reply of type %d is denied (%d): % x", typ, stat, d.Rest())
	}
	d.Uint32() // verifier
	d.Opaque(400)
	accept = d.Uint32()
	return xid, accept, d.Rest(), d.Err()
}

// The values of accept_stat (RFC 5531 section 9).
const (
	success     = 0
	procUnavail = 3
	garbageArgs = 4
)

// call makes a call and gives its accept_stat and result.
func (c *client) call(prog, vers, proc uint32, args []byte) (accept uint32, result []byte) {
	c.tb.Helper()
	c.xid++
	c.write(c.record(c.xid, prog, vers, proc, args))
	xid, accept, result, err := c.readReply()
	if err != nil {
		c.tb.Fatalf("program %d procedure %d: %v", prog, proc, err)
	}
	if xid != c.xid {
		c.tb.Fatalf("reply to %d, asked %d", xid, c.xid)
	}
	return accept, result
}

// do calls a procedure of NFS version 3 and decodes the result, which must be one.
func (c *client) do(proc nfs.NFSProcedure, args args) *result {
	c.tb.Helper()
	accept, b := c.call(progNFS, 3, uint32(proc), args)
	if accept != success {
		c.tb.Fatalf("%v: accept_stat %d", proc, accept)
	}
	r := decodeResult(c.tb, proc, b)
	checkOracle(c.tb, proc, r)
	return r
}

// ok is do of a call that must succeed.
func (c *client) ok(proc nfs.NFSProcedure, args args) *result {
	c.tb.Helper()
	return c.want(nfs.NFSStatusOk, proc, args)
}

// want is do of a call that must have this status.
func (c *client) want(status nfs.NFSStatus, proc nfs.NFSProcedure, args args) *result {
	c.tb.Helper()
	r := c.do(proc, args)
	if r.status != status {
		c.tb.Fatalf("%v: status %d (%v), want %d (%v)", proc, r.status, r.status, status, status)
	}
	return r
}

// mnt asks MOUNT for the handle of a directory.
func (c *client) mnt(dir string) (nfs.MountStatus, []byte) {
	c.tb.Helper()
	accept, b := c.call(progMount, 3, uint32(nfs.MountProcMount), xdr.AppendString(nil, dir))
	if accept != success {
		c.tb.Fatalf("MNT %q: accept_stat %d", dir, accept)
	}
	d := xdr.NewDecoder(b)
	status := nfs.MountStatus(d.Uint32())
	if status != nfs.MountStatusOk {
		return status, nil
	}
	fh := d.Opaque(64)
	if n, flavor := d.Uint32(), d.Uint32(); n != 1 || flavor != rpc.AuthSys || d.Err() != nil || d.Len() != 0 {
		c.tb.Fatalf("MNT %q: %d flavors, first %d, %d bytes left: %v", dir, n, flavor, d.Len(), d.Err())
	}
	return status, fh
}

// root is the handle of the export dir.
func (c *client) root(dir string) []byte {
	c.tb.Helper()
	status, fh := c.mnt(dir)
	if status != nfs.MountStatusOk {
		c.tb.Fatalf("MNT %q: %d", dir, status)
	}
	return fh
}

// lookup is the handle of a name that must be there.
func (c *client) lookup(dir []byte, name string) []byte {
	c.tb.Helper()
	return c.ok(nfs.NFSProcedureLookup, fh(dir).str(name)).fh
}

// create makes a file with a mode.
func (c *client) create(dir []byte, name string, mode uint32) []byte {
	c.tb.Helper()
	return c.ok(nfs.NFSProcedureCreate, fh(dir).str(name).u32(1).set(setMode(mode))).fh
}

// mkdir makes a directory with a mode.
func (c *client) mkdir(dir []byte, name string, mode uint32) []byte {
	c.tb.Helper()
	return c.ok(nfs.NFSProcedureMkDir, fh(dir).str(name).set(setMode(mode))).fh
}

// put makes a file with data.
func (c *client) put(dir []byte, name, data string) []byte {
	c.tb.Helper()
	f := c.create(dir, name, 0o644)
	c.ok(nfs.NFSProcedureWrite, writeArgs(f, 0, vfs.FileSync, data))
	return f
}

// get reads a file of at most 1 MiB.
func (c *client) get(f []byte) string {
	c.tb.Helper()
	return string(c.ok(nfs.NFSProcedureRead, fh(f).u64(0).u32(1<<20)).data)
}
