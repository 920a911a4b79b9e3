package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"net"
	"runtime"
	"testing"
	"time"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// waitConns waits until the server has n connections.
func (s *server) waitConns(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(limit); s.Stats().RPC.Conns != n; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d connections, waited for %d", s.Stats().RPC.Conns, n)
		}
	}
}

// everyCall has arguments for every procedure on one handle, right in form.
func everyCall(h []byte) map[nfs.NFSProcedure]args {
	return map[nfs.NFSProcedure]args{
		nfs.NFSProcedureGetAttr:     fh(h),
		nfs.NFSProcedureSetAttr:     fh(h).set(setMode(0o600)).noGuard(),
		nfs.NFSProcedureLookup:      fh(h).str("f"),
		nfs.NFSProcedureAccess:      fh(h).u32(uint32(vfs.AccessAll)),
		nfs.NFSProcedureReadlink:    fh(h),
		nfs.NFSProcedureRead:        fh(h).u64(0).u32(4096),
		nfs.NFSProcedureWrite:       writeArgs(h, 0, vfs.FileSync, "data"),
		nfs.NFSProcedureCreate:      fh(h).str("n").u32(0).set(setMode(0o600)),
		nfs.NFSProcedureMkDir:       fh(h).str("n").set(setMode(0o600)),
		nfs.NFSProcedureSymlink:     fh(h).str("n").set(settings{}).str("t"),
		nfs.NFSProcedureMkNod:       fh(h).str("n").u32(uint32(vfs.FIFO)).set(settings{}),
		nfs.NFSProcedureRemove:      fh(h).str("f"),
		nfs.NFSProcedureRmDir:       fh(h).str("f"),
		nfs.NFSProcedureRename:      fh(h).str("f").fh(h).str("n"),
		nfs.NFSProcedureLink:        fh(h).fh(h).str("n"),
		nfs.NFSProcedureReadDir:     dirArgs(h, 0, 4096),
		nfs.NFSProcedureReadDirPlus: plusArgs(h, 0, 4096, 4096),
		nfs.NFSProcedureFSStat:      fh(h),
		nfs.NFSProcedureFSInfo:      fh(h),
		nfs.NFSProcedurePathConf:    fh(h),
		nfs.NFSProcedureCommit:      fh(h).u64(0).u32(0),
	}
}

// TestForgedHandles flips every bit of a handle, and cuts it everywhere.
func TestForgedHandles(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	for bit := range len(root) * 8 {
		h := bytes.Clone(root)
		h[bit/8] ^= 1 << (bit % 8)
		c.want(nfs.NFSStatusBadHandle, nfs.NFSProcedureGetAttr, fh(h))
	}
	for n := range len(root) {
		c.want(nfs.NFSStatusBadHandle, nfs.NFSProcedureGetAttr, fh(root[:n]))
	}
	h := bytes.Clone(root)
	h[20] ^= 1
	for proc, a := range everyCall(h) {
		c.want(nfs.NFSStatusBadHandle, proc, a)
	}
}

// TestStaleHandles calls everything on what is gone.
func TestStaleHandles(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	d := c.mkdir(root, "d", 0o777)
	c.ok(nfs.NFSProcedureRmDir, fh(root).str("d"))
	f := c.put(root, "f", "data")
	c.ok(nfs.NFSProcedureRemove, fh(root).str("f"))
	for _, h := range [][]byte{d, f} {
		for proc, a := range everyCall(h) {
			c.want(nfs.NFSStatusStale, proc, a)
		}
	}
	live := c.put(root, "live", "")
	c.want(nfs.NFSStatusStale, nfs.NFSProcedureRename, fh(root).str("live").fh(d).str("n"))
	c.want(nfs.NFSStatusStale, nfs.NFSProcedureRename, fh(d).str("live").fh(root).str("n"))
	c.want(nfs.NFSStatusStale, nfs.NFSProcedureLink, fh(live).fh(d).str("n"))
	c.want(nfs.NFSStatusStale, nfs.NFSProcedureLink, fh(f).fh(root).str("n"))
}

// TestTruncatedArguments cuts the arguments of every procedure at every byte.
func TestTruncatedArguments(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	for proc, a := range everyCall(root) {
		for n := range len(a) {
			if accept, _ := c.call(progNFS, 3, uint32(proc), a[:n]); accept != garbageArgs {
				t.Fatalf("%v with %d of %d bytes: accept_stat %d, want GARBAGE_ARGS", proc, n, len(a), accept)
			}
		}
	}
	for n := range 4 {
		if accept, _ := c.call(progMount, 3, uint32(nfs.MountProcMount), make([]byte, n)); accept != garbageArgs {
			t.Errorf("MNT with %d bytes: accept_stat %d", n, accept)
		}
	}
	if accept, _ := c.call(progNFS, 3, 22, nil); accept != procUnavail {
		t.Errorf("procedure 22: accept_stat %d", accept)
	}
}

// TestHugeLengths puts 4 GiB into every length of every procedure's arguments, as
// far as what the words mean can be guessed: into every word. Nothing of that size
// may be allocated, and the connection must live.
func TestHugeLengths(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	c.mkdir(root, "f", 0o755)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, v := range []uint32{math.MaxUint32, math.MaxUint32 - 3, 1 << 31, math.MaxInt32} {
		for proc, a := range everyCall(root) {
			for at := 0; at+4 <= len(a); at += 4 {
				b := bytes.Clone(a)
				binary.BigEndian.PutUint32(b[at:], v)
				accept, res := c.call(progNFS, 3, uint32(proc), b)
				if accept != garbageArgs && accept != success {
					t.Fatalf("%v word %d: accept_stat %d", proc, at/4, accept)
				}
				if accept == success {
					decodeResult(t, proc, res)
				}
			}
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
		t.Errorf("%d MiB allocated", grown>>20)
	}
	c.ok(nfs.NFSProcedureGetAttr, fh(root))
}

// TestListsDoNotGrow: counts of 4 GiB are cut to what the server chose.
func TestListsDoNotGrow(t *testing.T) {
	c := serve(t).dial()
	root := c.root("/")
	for i := range 2000 {
		c.create(root, string(bytes.Repeat([]byte{'a' + byte(i%26)}, 200))+string(xdr.AppendUint32(nil, uint32(i|0x41414141))), 0)
	}
	for _, a := range []args{dirArgs(root, 0, math.MaxUint32)} {
		if r := c.ok(nfs.NFSProcedureReadDir, a); len(r.raw) > 64<<10 || len(r.raw) < 60<<10 {
			t.Errorf("%d bytes", len(r.raw))
		}
	}
	if r := c.ok(nfs.NFSProcedureReadDirPlus, plusArgs(root, 0, math.MaxUint32, math.MaxUint32)); len(r.raw) > 64<<10 {
		t.Errorf("%d bytes", len(r.raw))
	}
}

// TestMountListIsBounded mounts from more clients than the list holds.
func TestMountListIsBounded(t *testing.T) {
	o := options(t, everybody)
	o.MaxMounts = 3
	s := start(t, tree(t), nil, o)
	c := s.dial()
	for _, dir := range []string{"/", "/pub", "/home", "/home/own", "/pub/"} {
		c.root(dir)
	}
	got := s.Stats().Mounts
	if len(got) != 3 || got[0].Dir != "/home" || got[2].Dir != "/pub/" {
		t.Errorf("%+v", got)
	}
}

// TestIdleConnections opens many connections that say nothing, among them half a
// record; the server must answer others, and be rid of them afterwards.
func TestIdleConnections(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	var idle []net.Conn
	for i := range 300 {
		conn, err := net.DialTimeout("tcp", s.addr, limit)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if _, err := conn.Write([]byte{0x80, 0, 1, 0, 1, 2, 3}); err != nil {
				t.Fatal(err)
			}
		}
		idle = append(idle, conn)
	}
	c.ok(nfs.NFSProcedureGetAttr, fh(root))
	for _, conn := range idle {
		conn.Close()
	}
	s.waitConns(t, 1)
}
