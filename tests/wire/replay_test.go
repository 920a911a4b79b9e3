package wire

import (
	"bytes"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
)

// TestRetransmission sends every call that must not be run twice a second time, on
// the same connection and, as clients do, on a new one after the first was cut. The
// reply must be the first one, and the call must have been run once.
func TestRetransmission(t *testing.T) {
	for name, tt := range map[string]struct {
		proc nfs.NFSProcedure
		args func(c *client, dir []byte) args
	}{
		"SETATTR": {nfs.NFSProcedureSetAttr, func(c *client, dir []byte) args {
			f := c.lookup(dir, "f")
			ctime := c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr.ctime
			return fh(f).set(setMode(0o600)).guard(ctime)
		}},
		"WRITE": {nfs.NFSProcedureWrite, func(c *client, dir []byte) args {
			return writeArgs(c.lookup(dir, "f"), 2, vfs.FileSync, "xyz")
		}},
		"CREATE": {nfs.NFSProcedureCreate, func(_ *client, dir []byte) args {
			return fh(dir).str("new").u32(1).set(setMode(0o644))
		}},
		"MKDIR":   {nfs.NFSProcedureMkDir, func(_ *client, dir []byte) args { return fh(dir).str("new").set(setMode(0o755)) }},
		"SYMLINK": {nfs.NFSProcedureSymlink, func(_ *client, dir []byte) args { return fh(dir).str("new").set(settings{}).str("t") }},
		"MKNOD": {nfs.NFSProcedureMkNod, func(_ *client, dir []byte) args {
			return fh(dir).str("new").u32(uint32(vfs.FIFO)).set(settings{})
		}},
		"REMOVE": {nfs.NFSProcedureRemove, func(_ *client, dir []byte) args { return fh(dir).str("f") }},
		"RMDIR":  {nfs.NFSProcedureRmDir, func(_ *client, dir []byte) args { return fh(dir).str("d") }},
		"RENAME": {nfs.NFSProcedureRename, func(_ *client, dir []byte) args { return fh(dir).str("f").fh(dir).str("g") }},
		"LINK":   {nfs.NFSProcedureLink, func(c *client, dir []byte) args { return fh(c.lookup(dir, "f")).fh(dir).str("g") }},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			c := s.dial()
			root := c.root("/")
			c.put(root, "f", "data")
			c.mkdir(root, "d", 0o755)
			a := tt.args(c, root)
			record := c.record(4711, progNFS, 3, uint32(tt.proc), a)
			first := c.exchange(record)
			if r := decodeResult(t, tt.proc, first); r.status != nfs.NFSStatusOk {
				t.Fatalf("first: %d", r.status)
			}
			if again := c.exchange(record); !bytes.Equal(again, first) {
				t.Errorf("on the same connection:\n% x, first\n% x", again, first)
			}
			c.conn.Close()
			s.waitConns(t, 0)
			after := s.dial()
			if again := after.exchange(record); !bytes.Equal(again, first) {
				t.Errorf("on a new connection:\n% x, first\n% x", again, first)
			}
			// The same xid with other arguments is another call.
			if r := after.exchange(after.record(4711, progNFS, 3, uint32(nfs.NFSProcedureRemove), fh(root).str("none"))); bytes.Equal(r, first) {
				t.Error("another call got the reply")
			}
			if n := s.Stats().Procs[tt.proc]; n.Calls != after.setupCalls(tt.proc)+1 {
				t.Errorf("run %d times", n.Calls-after.setupCalls(tt.proc))
			}
		})
	}
}

// TestRefusalsAreNotKept: a call that was refused did nothing and may run again. Kept, the
// refusals of clients without any right would push the replies of others out.
func TestRefusalsAreNotKept(t *testing.T) {
	s := start(t, tree(t), nil, options(t, "/pub *(rw,insecure)\n/home *(ro,insecure)\n"))
	c := s.dial()
	pub, home := c.root("/pub"), c.root("/home")
	for name, tt := range map[string]struct {
		proc   nfs.NFSProcedure
		args   args
		status nfs.NFSStatus
	}{
		"no handle": {nfs.NFSProcedureRemove, fh(make([]byte, 60)).str("f"), nfs.NFSStatusBadHandle},
		"read-only": {nfs.NFSProcedureMkDir, fh(home).str("d").set(settings{}), nfs.NFSStatusROFS},
		"no name":   {nfs.NFSProcedureRmDir, fh(pub).str(""), nfs.NFSStatusAccess},
	} {
		record := c.record(4711, progNFS, 3, uint32(tt.proc), tt.args)
		for range 2 {
			if r := decodeResult(t, tt.proc, c.exchange(record)); r.status != tt.status {
				t.Errorf("%s: %d, want %d", name, r.status, tt.status)
			}
		}
	}
	if n := s.Stats().RPC.CacheHits; n != 0 {
		t.Errorf("%d refusals came from the reply cache", n)
	}
	record := c.record(4711, progNFS, 3, uint32(nfs.NFSProcedureRmDir), fh(pub).str("none"))
	c.exchange(record)
	c.exchange(record)
	if n := s.Stats().RPC.CacheHits; n != 1 {
		t.Errorf("%d hits, but the file system's own answer is kept", n)
	}
}

// setupCalls is how often the preparation of TestRetransmission calls proc.
func (c *client) setupCalls(proc nfs.NFSProcedure) uint64 {
	switch proc {
	case nfs.NFSProcedureWrite, nfs.NFSProcedureCreate, nfs.NFSProcedureMkDir, nfs.NFSProcedureRemove:
		return 1
	default:
		return 0
	}
}

// exchange sends a record and gives the result.
func (c *client) exchange(record []byte) []byte {
	c.tb.Helper()
	c.write(record)
	_, accept, b, err := c.readReply()
	if err != nil || accept != success {
		c.tb.Fatalf("accept_stat %d, %v", accept, err)
	}
	return b
}
