package gonfs_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"sheaf/nfsd/gonfs"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// Each test here shows a fault of the library, by its number in doc.go. One that
// fails says that the library got better, or that the fault was never there: then
// its line goes.

// spy is an FS that counts, and can hold up reads.
type spy struct {
	*vfstest.Model
	commits, safe atomic.Int32
	callers       chan uint32
	hold          chan struct{} // GetAttr of held waits until it is closed
	held          atomic.Pointer[vfs.NodeID]
	entered       chan struct{}
}

func newSpy() *spy {
	return &spy{
		Model:   vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777}),
		callers: make(chan uint32, 100), hold: make(chan struct{}), entered: make(chan struct{}, 1),
	}
}

func (s *spy) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (int, bool, vfs.Attr, error) {
	if id := s.held.Load(); id != nil && *id == n.ID {
		s.entered <- struct{}{}
		<-s.hold
	}
	return s.Model.Read(ctx, w, n, buf, off)
}

func (s *spy) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	if stable != vfs.Unstable {
		s.safe.Add(1)
	}
	return s.Model.Write(ctx, w, n, data, off, stable)
}

func (s *spy) Commit(ctx context.Context, w *vfs.Who, n vfs.Node, off, count uint64) (vfs.Verifier, vfs.Change, error) {
	s.commits.Add(1)
	return s.Model.Commit(ctx, w, n, off, count)
}

func (s *spy) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	s.callers <- w.UID
	return s.Model.Make(ctx, w, dir, name, how)
}

// put makes an object as the superuser, beneath the server.
func (s *spy) put(t *testing.T, dir vfs.Node, name string, how vfs.How, data string) vfs.Node {
	t.Helper()
	how.Set.Mask |= vfs.SetMode
	if how.Set.Mode == 0 {
		how.Set.Mode = 0o644
	}
	a, _, err := s.Model.Make(t.Context(), vfs.Superuser, dir, vfs.MustName(name), &how)
	if err == nil && data != "" {
		_, _, err = s.Model.Write(t.Context(), vfs.Superuser, a.Node, []byte(data), 0, vfs.FileSync)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.Node
}

func (s *spy) root(t *testing.T) vfs.Node {
	t.Helper()
	a, err := s.Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	return a.Node
}

// stage is a spy with a file of some bytes, its server, and a client with the root's handle.
func stage(t *testing.T) (s *spy, c *client, root, file string) {
	t.Helper()
	s = newSpy()
	s.put(t, s.root(t), "file", vfs.How{Type: vfs.Regular}, "12345678")
	c = dial(t, serve(t, s, gonfs.Options{}), 1000)
	root = c.mount("/")
	return s, c, root, c.lookup(root, "file")
}

var noAttrs = x{}.u32(0, 0, 0, 0, 0, 0) // sattr3 that sets nothing

func TestF1OneRequestAtATime(t *testing.T) {
	s, c, root, file := stage(t)
	a, _, err := s.Lookup(t.Context(), vfs.Superuser, s.root(t), vfs.MustName("file"))
	if err != nil {
		t.Fatal(err)
	}
	s.held.Store(&a.Node.ID)
	c.send(c.record(progNFS, 3, procRead, x{}.opaque(file).u64(0).u32(8)))
	<-s.entered
	c.send(c.record(progNFS, 3, procGetAttr, x{}.opaque(root)))
	if !c.silent() {
		t.Error("a call overtakes a slow one on its connection")
	}
	close(s.hold)
	for range 2 {
		if _, err := c.receive(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestF2CredentialsAreIgnored(t *testing.T) {
	s := newSpy()
	addr := serve(t, s, gonfs.Options{Who: &vfs.Who{UID: 42}})
	for _, uid := range []uint32{1, 2} {
		c := dial(t, addr, uid)
		root := c.mount("/")
		c.must(procCreate, append(x{}.opaque(root).opaque(strings.Repeat("f", int(uid))).u32(0), noAttrs...))
		if got := <-s.callers; got != 42 {
			t.Errorf("uid %d acts as %d: credentials do reach the file system", uid, got)
		}
	}
}

func TestF3WriteIsAlwaysStable(t *testing.T) {
	s, c, _, file := stage(t)
	r := c.must(procWrite, x{}.opaque(file).u64(0).u32(4, uint32(vfs.Unstable)).opaque("data"))
	r.wcc()
	r.u32() // count
	if stable := vfs.Stable(r.u32()); stable != vfs.FileSync {
		t.Errorf("a write that may be lost is answered with %d", stable)
	}
	if s.safe.Load() != 1 {
		t.Error("the reply says stable, and the write beneath was not")
	}
}

func TestF4CommitDoesNothing(t *testing.T) {
	s, c, _, file := stage(t)
	c.must(procCommit, x{}.opaque(file).u64(0).u32(0))
	if n := s.commits.Load(); n != 0 {
		t.Errorf("COMMIT reaches the file system, %d times", n)
	}
}

func TestF5ExclusiveIsRefused(t *testing.T) {
	_, c, root, _ := stage(t)
	status, _ := c.call(procCreate, x{}.opaque(root).opaque("new").u32(2).u64(7))
	if status != 10004 {
		t.Errorf("status %d, want NFS3ERR_NOTSUPP", status)
	}
}

func TestF6UncheckedEmpties(t *testing.T) {
	_, c, root, file := stage(t)
	c.must(procCreate, append(x{}.opaque(root).opaque("file").u32(0), noAttrs...))
	if size := c.getattr(file).size; size != 0 {
		t.Errorf("the file keeps %d bytes", size)
	}
}

func TestF7LinkIsNotDecoded(t *testing.T) {
	_, c, root, file := stage(t)
	c.send(c.record(progNFS, 3, procLink, x{}.opaque(file).opaque(root).opaque("link")))
	r, err := c.receive()
	if err != nil {
		t.Fatal(err)
	}
	r.take(16)
	if accept := r.u32(); accept == 0 && r.u32() == 0 {
		t.Error("LINK works")
	}
}

func TestF8NamesLeaveTheirDirectory(t *testing.T) {
	s, c, root, _ := stage(t)
	dir := s.put(t, s.root(t), "dir", vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mode: 0o755}}, "")
	s.put(t, dir, "inside", vfs.How{Type: vfs.Regular}, "")
	if status, _ := c.call(procLookup, x{}.opaque(c.lookup(root, "dir")).opaque("../file")); status != 0 {
		t.Errorf("status %d: a name that leads out of its directory is refused", status)
	}
	if status, _ := c.call(procLookup, x{}.opaque(root).opaque("../../etc")); status == 0 {
		t.Error("a name leads out of the share")
	}
}

func TestF9ReadFollowsLinks(t *testing.T) {
	s, c, root, _ := stage(t)
	s.put(t, s.root(t), "link", vfs.How{Type: vfs.Symlink, Target: "file"}, "")
	if got := c.read(c.lookup(root, "link")); got != "12345678" {
		t.Errorf("READ of a link gives %q", got)
	}
}

func TestF10LengthsAreAllocatedUnchecked(t *testing.T) {
	_, c, _, _ := stage(t)
	const claimed = 256 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.send(c.record(progNFS, 3, procGetAttr, x{}.u32(claimed)))
	if _, err := c.receive(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got < claimed {
		t.Errorf("a call of 100 bytes that claims %d makes the server allocate %d", claimed, got)
	}
}

func TestF11HandlesAcrossBufferBoundaries(t *testing.T) {
	_, c, root, _ := stage(t)
	// One write of many calls: the handles in it fall on every place of the 4 KiB
	// buffer that their alignment allows.
	const calls = 1200
	var all []byte
	for range calls {
		all = append(all, c.record(progNFS, 3, procGetAttr, x{}.opaque(root))...)
	}
	c.send(all)
	bad := 0
	for range calls {
		r, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		r.take(16)
		if accept := r.u32(); accept != 0 || r.u32() != 0 {
			bad++
		}
	}
	if bad == 0 {
		t.Error("every handle is read as a whole")
	}
}

func TestF12CookiesArePositions(t *testing.T) {
	s, c, root, _ := stage(t)
	for name := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		s.put(t, s.root(t), name, vfs.How{Type: vfs.Regular}, "")
	}
	r := c.must(procReadDir, x{}.opaque(root).u64(0).u64(0).u32(1024))
	r.attrs()
	r.u64() // the verifier, which another server does not have
	var cookie uint64
	for r.u32() != 0 {
		r.u64()
		r.opaque()
		cookie = r.u64()
	}
	if status, _ := c.call(procReadDir, x{}.opaque(root).u64(cookie).u64(0x1234).u32(1024)); status != 10003 {
		t.Errorf("status %d, want NFS3ERR_BAD_COOKIE for a listing that is not kept", status)
	}
}

func TestF13VersionsAreNotChecked(t *testing.T) {
	_, c, root, _ := stage(t)
	if accept, _ := c.raw(progNFS, 4, procGetAttr, x{}.opaque(root)); accept != 0 {
		t.Errorf("version 4 is answered with accept_stat %d", accept)
	}
	if accept, _ := c.raw(100099, 1, 0, nil); accept == 1 {
		t.Error("an unknown program is answered with PROG_UNAVAIL")
	}
}

func TestF14AccessEchoes(t *testing.T) {
	s := newSpy()
	s.put(t, s.root(t), "secret", vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mode: 0o600}}, "")
	c := dial(t, serve(t, s, gonfs.Options{Who: &vfs.Who{UID: 1000, GID: 1000}}), 1000)
	r := c.must(procAccess, x{}.opaque(c.lookup(c.mount("/"), "secret")).u32(uint32(vfs.AccessAll)))
	r.attrs()
	if got := vfs.AccessMask(r.u32()); got != vfs.AccessAll {
		t.Errorf("ACCESS of another's 0600 file is %#x", got)
	}
}

func TestF15SetIDBitsAreLost(t *testing.T) {
	_, c, _, file := stage(t)
	c.must(procSetAttr, x{}.opaque(file).u32(1, 0o4755, 0, 0, 0, 0, 0, 0))
	if mode := c.getattr(file).mode & vfs.ModeMask; mode != 0o755 {
		t.Errorf("mode %o", mode)
	}
}

func TestF16MknodOfACharacterDeviceMakesNothing(t *testing.T) {
	_, c, root, _ := stage(t)
	args := append(x{}.opaque(root).opaque("null").u32(4), noAttrs...)
	c.must(procMknod, args.u32(1, 3))
	if status, _ := c.call(procLookup, x{}.opaque(root).opaque("null")); status == 0 {
		t.Error("the device is there")
	}
}

func TestF17CtimeIsMtime(t *testing.T) {
	_, c, _, file := stage(t)
	before := c.getattr(file)
	c.must(procSetAttr, x{}.opaque(file).u32(1, 0o600, 0, 0, 0, 0, 0, 0))
	after := c.getattr(file)
	if after.mode&vfs.ModePerm != 0o600 || after.ctime != before.ctime {
		t.Errorf("mode %o, ctime %x after %x: a change of mode shows", after.mode, after.ctime, before.ctime)
	}
}

func TestF18BadFramingIsNotClosed(t *testing.T) {
	addr, shutdown := start(t, newSpy(), gonfs.Options{})
	c := dial(t, addr, 1)
	c.send(x{}.u32(1<<31|64, 1, 1)) // a reply where a call belongs
	if !c.silent() {
		t.Error("the connection is answered or closed")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := shutdown(done); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown finds the connection closed: %v", err)
	}
}

func TestF19RemoveAndRmdirAreOne(t *testing.T) {
	s, c, root, _ := stage(t)
	s.put(t, s.root(t), "dir", vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mode: 0o755}}, "")
	c.must(procRemove, x{}.opaque(root).opaque("dir"))
	c.must(procRmdir, x{}.opaque(root).opaque("file"))
	for _, name := range []string{"dir", "file"} {
		if status, _ := c.call(procLookup, x{}.opaque(root).opaque(name)); status != 2 {
			t.Errorf("look-up of %s, removed by the call that is not for it: status %d", name, status)
		}
	}
}

func TestF20NamesOfDanglingLinksAreFree(t *testing.T) {
	s, c, root, _ := stage(t)
	for _, m := range []struct {
		link, target string
		proc         uint32
		args         x
	}{
		{"link1", "made", procCreate, append(x{}.u32(1), noAttrs...)}, // GUARDED
		{"link2", "made too", procMkdir, noAttrs},
	} {
		s.put(t, s.root(t), m.link, vfs.How{Type: vfs.Symlink, Target: m.target}, "")
		status, _ := c.call(m.proc, append(x{}.opaque(root).opaque(m.link), m.args...))
		if status != 0 {
			t.Errorf("procedure %d over a link: status %d: it is seen", m.proc, status)
		}
		c.lookup(root, m.target) // which the call did not name
	}
}

func TestF21ModesOfLinksAreTheirTargets(t *testing.T) {
	_, c, root, file := stage(t)
	dressed := x{}.u32(1, 0o700, 0, 0, 0, 0, 0)
	status, _ := c.call(procSymlink, append(x{}.opaque(root).opaque("dangling"), dressed...).opaque("nowhere"))
	if status != 5 {
		t.Errorf("status %d, want NFS3ERR_IO", status)
	}
	c.lookup(root, "dangling") // it was made all the same
	c.must(procSymlink, append(x{}.opaque(root).opaque("link"), dressed...).opaque("file"))
	if mode := c.getattr(file).mode & vfs.ModeMask; mode != 0o700 {
		t.Errorf("the target's mode is %o: it is left alone", mode)
	}
}
