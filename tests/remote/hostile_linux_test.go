package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/tests/need"
	"sheaf/vfs"
)

// What follows is hostile on both sides of a whole server over directories of the host:
// bytes from the network, and changes of the volumes behind its back. The rooms test each
// alone; here they meet, and nothing may be left of it.

// self is who works on the host as this process.
func self() *vfs.Who { return &vfs.Who{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())} }

// besieged is a server over three directories, with an honest client.
type besieged struct {
	*share
	c    *Client
	root vfs.Node
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	s := serveShare(t, kind{volumes: 3, local: true})
	c := s.mount(t, Options{Patience: limit})
	return &besieged{s, c, c.root}
}

// honest does a little of everything, as a client that means well.
func (b *besieged) honest(t *testing.T) {
	t.Helper()
	ctx, w, name := t.Context(), self(), vfs.MustName("honest")
	a, _, err := b.c.Make(ctx, w, b.root, name, &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}})
	if err == nil {
		_, _, err = b.c.Write(ctx, w, a.Node, []byte("data"), 0, vfs.FileSync)
	}
	var n int
	buf := make([]byte, 10)
	if err == nil {
		n, _, _, err = b.c.Read(ctx, w, a.Node, buf, 0)
	}
	if err == nil {
		_, err = b.c.Remove(ctx, w, b.root, name)
	}
	if err != nil || string(buf[:n]) != "data" {
		t.Fatalf("an honest client reads %q, %v", buf[:n], err)
	}
}

// conversation is what a client might send, in whole records, with good handles.
func (b *besieged) conversation(t *testing.T) [][]byte {
	t.Helper()
	ctx, w := t.Context(), self()
	a, _, err := b.c.Make(ctx, w, b.root, vfs.MustName("f"), &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}})
	if err == nil {
		_, _, err = b.c.Write(ctx, w, a.Node, make([]byte, 1<<20), 0, vfs.FileSync)
	}
	if err != nil {
		t.Fatal(err)
	}
	fh, err := b.c.handle(ctx, w, a.Node)
	if err != nil {
		t.Fatal(err)
	}
	top, err := b.c.handle(ctx, w, b.root)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for i, call := range []struct {
		prog, proc uint32
		args       args
	}{
		{progMount, procMount, args{}.str("/")},
		{progNFS, procRead, args{}.handle(fh).u64(0).u32(1 << 20)}, // the one of the client that does not read
		{progNFS, procGetAttr, args{}.handle(top)},
		{progNFS, procLookup, args{}.handle(top).str("f")},
		{progNFS, procReadDirPlus, args{}.handle(top).u64(0).u64(0).u32(4096).u32(8192)},
		{progNFS, procWrite, args{}.handle(fh).u64(5).u32(4).u32(0).data([]byte("data"))},
		{progNFS, procCreate, args{}.handle(top).str("g").u32(0).u32(0).u32(0).u32(0).u32(0).u32(0).u32(0)},
		{progNFS, procRename, args{}.handle(top).str("g").handle(top).str("h")},
		{progNFS, procRemove, args{}.handle(top).str("h")},
		{progNFS, procCommit, args{}.handle(fh).u64(0).u32(0)},
	} {
		h := rpctest.Header{XID: uint32(i), Prog: call.prog, Vers: version, Proc: call.proc, Cred: credOf(w)}
		all = append(all, rpctest.AppendRecord(nil, h, call.args))
	}
	return all
}

// attack opens a connection, sends b and closes it once the server closed it, or at once.
func (b *besieged) attack(t *testing.T, data []byte, stay bool) {
	t.Helper()
	nc, err := b.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	_, err = nc.Write(data) // the server may close it before all is sent
	if err == nil && stay {
		_, err = io.Copy(io.Discard, nc)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%.40x…: the server takes it and does not close the connection", data)
	}
}

// siege is one round of all attacks, the same for the same seed.
func (b *besieged) siege(t *testing.T, talk [][]byte, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 2))
	whole := func() (all []byte) {
		for range 5 {
			all = append(all, talk[rnd.IntN(len(talk))]...)
		}
		return all
	}
	for range 60 { // random bytes, and mutated ones
		noise := make([]byte, rnd.IntN(3000)+1)
		for i := range noise {
			noise[i] = byte(rnd.Uint32())
		}
		b.attack(t, noise, false)
		flipped := whole()
		for range 1 + rnd.IntN(6) {
			flipped[rnd.IntN(len(flipped))] ^= 1 << rnd.IntN(8)
		}
		b.attack(t, flipped, false)
		b.attack(t, flipped[:rnd.IntN(len(flipped))], false)
	}
	for _, mark := range []uint32{math.MaxUint32, 1<<31 | 1<<30, math.MaxInt32} { // 4, 3 and 2 GiB
		b.attack(t, binary.BigEndian.AppendUint32(nil, mark), true)
	}
	for at := 4; at+4 <= len(talk[4]); at += 4 { // 4 GiB in each word of a call
		huge := append([]byte(nil), talk[4]...)
		binary.BigEndian.PutUint32(huge[at:], math.MaxUint32)
		b.attack(t, huge, false)
	}
	b.attack(t, make([]byte, 4<<20), true)                                  // fragments of no bytes, none the last
	b.attack(t, []byte(strings.Repeat("\x00\x00\x00\x01x", 4<<20/5)), true) // and of one
}

// notReading asks for 64 MiB and takes none of it.
func (b *besieged) notReading(t *testing.T, read []byte) net.Conn {
	t.Helper()
	nc, err := b.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	var calls []byte
	for range 64 {
		calls = append(calls, read...)
	}
	if _, err := nc.Write(calls); err != nil {
		t.Fatal(err)
	}
	return nc
}

// held is what the process holds.
type held struct {
	goroutines, descriptors int
	heap                    uint64
}

func holds(t *testing.T) held {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return held{runtime.NumGoroutine(), len(entries), m.HeapInuse}
}

// TestSiege repeats the same attacks, and wants an honest client served meanwhile, and after
// each round no more goroutines, descriptors and memory in use than after the first.
func TestSiege(t *testing.T) {
	b := besiege(t)
	talk := b.conversation(t)
	// after waits until what is held satisfies ok: goroutines that have ended may not have
	// gone yet, and workers go some time after their work. What leaks stays.
	after := func(ok func(held) bool) (now held, settled bool) {
		t.Helper()
		for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if st := b.nfsd.Stats().RPC; st.Conns != 1 || st.BytesFlight != 0 || st.InFlight != 0 {
				continue
			}
			if now = holds(t); ok(now) {
				return now, true
			}
		}
		return now, false
	}
	var first held
	for round := range 4 {
		lazy := b.notReading(t, talk[1])
		b.siege(t, talk, 1)
		b.honest(t)
		lazy.Close()
		now, settled := after(func(now held) bool {
			return round == 0 || now.goroutines <= first.goroutines+20 &&
				now.descriptors <= first.descriptors+10 && now.heap <= first.heap+32<<20
		})
		if !settled {
			t.Fatalf("round %d is over, there is %+v and in use %+v, after the first it was %+v",
				round+1, b.nfsd.Stats().RPC, now, first)
		}
		if round == 0 {
			first = now
		}
	}
}

// TestCrowdOfIdlers: twice as many idle connections as are allowed keep nobody out who
// was in, and are gone when they are closed.
func TestCrowdOfIdlers(t *testing.T) {
	const n = 2000
	need.Files(t, 2*n+500)
	b := besiege(t)
	b.honest(t)
	before := holds(t)
	conns := make([]net.Conn, n)
	for i := range conns {
		nc, err := b.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = nc
	}
	b.honest(t)
	if st := b.nfsd.Stats().RPC; st.Conns > 1000 {
		t.Errorf("%d connections are open", st.Conns)
	}
	for _, nc := range conns {
		nc.Close()
	}
	for end := time.Now().Add(limit); ; runtime.Gosched() {
		now := holds(t)
		if b.nfsd.Stats().RPC.Conns == 1 && now.descriptors <= before.descriptors && now.goroutines <= before.goroutines {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are open; in use is %+v, before it was %+v", b.nfsd.Stats().RPC.Conns, now, before)
		}
	}
	b.honest(t)
}

// found waits until the server sees what was made behind its back, which it may within a
// second or so not have to (trust).
func (b *besieged) found(t *testing.T, name string) vfs.Attr {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		a, _, err := b.c.Lookup(t.Context(), self(), b.root, vfs.MustName(name))
		if err == nil {
			return a
		}
		if vfs.StatusOf(err) != vfs.NoEnt || time.Now().After(end) {
			t.Fatalf("look-up of %q: %v", name, err)
		}
	}
}

// outside is what lies beside the volumes and must stay as it is.
type outside struct{ dir string }

func newOutside(t *testing.T) outside {
	t.Helper()
	o := outside{t.TempDir()}
	if err := os.WriteFile(filepath.Join(o.dir, "file"), []byte("secret"), 0o640); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o outside) untouched(t *testing.T) {
	t.Helper()
	path := filepath.Join(o.dir, "file")
	data, err := os.ReadFile(path)
	info, err2 := os.Lstat(path)
	entries, err3 := os.ReadDir(o.dir)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	if string(data) != "secret" || info.Mode() != 0o640 || len(entries) != 1 {
		t.Errorf("outside there is now %q, %v, %v", data, info, entries)
	}
}

// abuse does to the object at name, and beneath it, whatever a client can do. It gives what
// was read.
func (b *besieged) abuse(ctx context.Context, name string) (read []string) {
	w, n := self(), vfs.MustName(name)
	file, fresh := vfs.MustName("file"), vfs.MustName("fresh")
	a, _, err := b.c.Lookup(ctx, w, b.root, n)
	if err != nil {
		return nil
	}
	buf := make([]byte, 100)
	if k, _, _, err := b.c.Read(ctx, w, a.Node, buf, 0); err == nil {
		read = append(read, string(buf[:k]))
	}
	// What succeeds here and what does not is another test's; where it lands is this one's.
	_, _, _ = b.c.Write(ctx, w, a.Node, []byte("taken"), 0, vfs.FileSync)
	_, _ = b.c.SetAttr(ctx, w, a.Node, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtime, Mode: 0o755, Mtime: vfs.Time{Sec: 1}}, nil)
	_, _, _ = b.c.Make(ctx, w, a.Node, fresh, &vfs.How{Type: vfs.Regular})
	_, _, _ = b.c.Make(ctx, w, b.root, n, &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetSize}}) // UNCHECKED
	_, _, _ = b.c.Rename(ctx, w, a.Node, file, a.Node, fresh)
	_, _ = b.c.Remove(ctx, w, a.Node, fresh)
	if f, _, err := b.c.Lookup(ctx, w, a.Node, file); err == nil {
		if k, _, _, err := b.c.Read(ctx, w, f.Node, buf, 0); err == nil {
			read = append(read, string(buf[:k]))
		}
		_, _, _ = b.c.Write(ctx, w, f.Node, []byte("taken"), 0, vfs.FileSync)
		_, _ = b.c.SetAttr(ctx, w, f.Node, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetSize, Mode: 0o600}, nil)
	}
	_, _ = b.c.Remove(ctx, w, a.Node, file)
	return read
}

// TestLinksOutOfVolume: symbolic links to a file and a directory outside are links, and
// lead no call there.
func TestLinksOutOfVolume(t *testing.T) {
	b, o := besiege(t), newOutside(t)
	for name, target := range map[string]string{
		"file": filepath.Join(o.dir, "file"), "dir": o.dir, "up": "../../../../../../../../../../" + o.dir,
	} {
		if err := os.Symlink(target, filepath.Join(b.dirs[0], name)); err != nil {
			t.Fatal(err)
		}
		a := b.found(t, name)
		if a.Type != vfs.Symlink {
			t.Fatalf("%s is of type %v", name, a.Type)
		}
		if got, _, err := b.c.ReadLink(t.Context(), self(), a.Node); err != nil || got != target {
			t.Errorf("%s leads to %q, %v", name, got, err)
		}
		if read := b.abuse(t.Context(), name); len(read) > 0 {
			t.Errorf("by %s can be read: %q", name, read)
		}
	}
	o.untouched(t)
}

// TestSwappedDuringCalls exchanges a directory, and a file, for links out of the volume
// while a client uses them. Nothing outside is read or changed, however a call falls.
func TestSwappedDuringCalls(t *testing.T) {
	b, o := besiege(t), newOutside(t)
	vol, err := os.OpenRoot(b.dirs[0]) // so that the test itself is not led astray
	if err != nil {
		t.Fatal(err)
	}
	defer vol.Close()
	if err := errors.Join(vol.Mkdir("d", 0o755), vol.WriteFile("f", nil, 0o600),
		vol.Symlink(o.dir, "other d"), vol.Symlink(filepath.Join(o.dir, "file"), "other f")); err != nil {
		t.Fatal(err)
	}
	b.found(t, "d")
	b.found(t, "f")
	stop := make(chan struct{})
	var others sync.WaitGroup
	for _, name := range []string{"d", "f"} {
		others.Go(func() {
			path, link := filepath.Join(b.dirs[0], name), filepath.Join(b.dirs[0], "other "+name)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
					t.Errorf("exchange %s: %v", name, err)
					return
				}
			}
		})
	}
	inside := 0
	for range 300 {
		for _, name := range []string{"d", "f"} {
			_ = vol.WriteFile("d/file", []byte("inside"), 0o600) // not while d is the link
			_ = vol.WriteFile("f", []byte("inside"), 0o600)
			for _, got := range b.abuse(t.Context(), name) {
				if got == "secret" {
					t.Errorf("by %s can be read what lies outside", name)
				}
				inside++
			}
		}
	}
	close(stop)
	others.Wait()
	o.untouched(t)
	if inside == 0 {
		t.Error("nothing was ever read inside: there was no race")
	}
	b.honest(t)
}

// TestNamesThatAreNoText: what lies on the volume under any bytes is listed, found, read
// and renamed under them.
func TestNamesThatAreNoText(t *testing.T) {
	b := besiege(t)
	ctx, w := t.Context(), self()
	names := []string{"\xff\xfe", "\xc3", "a\nb\x01\x7f", " ", "\xed\xa0\x80", strings.Repeat("\x80", 255)}
	for i, name := range names {
		if err := os.WriteFile(filepath.Join(b.dirs[i%3], name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		b.found(t, name)
	}
	listed := map[string]bool{}
	if _, _, err := b.c.ReadDir(ctx, w, b.root, 0, true, func(e *vfs.DirEntry) bool {
		listed[e.Name.String()] = true
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if !listed[name] {
			t.Errorf("%q is not listed", name)
		}
		a, _, err := b.c.Lookup(ctx, w, b.root, vfs.MustName(name))
		if err != nil {
			t.Fatalf("look-up of %q: %v", name, err)
		}
		buf := make([]byte, 300)
		if n, _, _, err := b.c.Read(ctx, w, a.Node, buf, 0); err != nil || string(buf[:n]) != name {
			t.Errorf("%q holds %q, %v", name, buf[:n], err)
		}
		to := "\xfe" + string(rune('0'+i))
		if _, _, err := b.c.Rename(ctx, w, b.root, vfs.MustName(name), b.root, vfs.MustName(to)); err != nil {
			t.Errorf("rename of %q: %v", name, err)
		}
		if _, err := os.Lstat(filepath.Join(b.dirs[i%3], to)); err != nil {
			t.Errorf("on the volume: %v", err)
		}
	}
}

// TestShrinkingWhileRead cuts a file and lets it grow again, behind the server's back, while it
// is read: each READ is answered with what was there.
func TestShrinkingWhileRead(t *testing.T) {
	b := besiege(t)
	ctx, w := t.Context(), self()
	path := filepath.Join(b.dirs[0], "f")
	if err := os.WriteFile(path, []byte(strings.Repeat("a", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	a := b.found(t, "f")
	stop := make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(os.Truncate(path, 100), os.Truncate(path, 1<<20)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	args := func(off uint64) args {
		fh, err := b.c.handle(ctx, w, a.Node)
		if err != nil {
			t.Fatal(err)
		}
		return args{}.handle(fh).u64(off).u32(1 << 20)
	}
	for i := range 200 {
		// Not by Read, which would go on asking for the rest.
		r, err := b.c.call(ctx, w, procRead, args(uint64(i%2)*50))
		if err != nil || r.status != vfs.OK {
			t.Fatalf("read %d: %v, %v", i, r, err)
		}
	}
	close(stop)
	other.Wait()
	b.honest(t)
	if n := b.nfsd.Stats().RPC.Aborted; n != 0 {
		t.Errorf("%d connections were closed", n)
	}
}

// TestOffsetsBeyondTheEnd of what a file can have, over a real file system.
func TestOffsetsBeyondTheEnd(t *testing.T) {
	b := besiege(t)
	ctx, w := t.Context(), self()
	a, _, err := b.c.Make(ctx, w, b.root, vfs.MustName("f"), &vfs.How{Type: vfs.Regular})
	if err == nil {
		_, _, err = b.c.Write(ctx, w, a.Node, []byte("data"), 0, vfs.Unstable)
	}
	if err != nil {
		t.Fatal(err)
	}
	fh, err := b.c.handle(ctx, w, a.Node)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []uint64{math.MaxInt64 - 1, math.MaxInt64, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
		if n, eof, _, err := b.c.Read(ctx, w, a.Node, make([]byte, 100), off); n != 0 || !eof || err != nil {
			t.Errorf("READ at %#x: %d bytes, eof %v, %v", off, n, eof, err)
		}
		if _, _, err := b.c.Write(ctx, w, a.Node, []byte("xx"), off, vfs.FileSync); vfs.StatusOf(err) != vfs.FBig {
			t.Errorf("WRITE at %#x: %v", off, err)
		}
		if _, err := b.c.SetAttr(ctx, w, a.Node, &vfs.SetAttr{Mask: vfs.SetSize, Size: off}, nil); vfs.StatusOf(err) != vfs.FBig && off > math.MaxInt64 {
			t.Errorf("a size of %#x: %v", off, err)
		}
		// Not by Commit, which knows better than to send that.
		if r, err := b.c.call(ctx, w, procCommit, args{}.handle(fh).u64(off).u32(1)); err != nil || r.status != vfs.Inval && off > math.MaxInt64 {
			t.Errorf("COMMIT at %#x: %+v, %v", off, r, err)
		}
	}
	if _, err := b.c.SetAttr(ctx, w, a.Node, &vfs.SetAttr{Mask: vfs.SetSize, Size: 4}, nil); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, _, _, err := b.c.Read(ctx, w, a.Node, buf, 0); err != nil || string(buf[:n]) != "data" {
		t.Errorf("afterwards it holds %q, %v", buf[:n], err)
	}
}
