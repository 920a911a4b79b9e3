package gonfs_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"sheaf/nfsd/gonfs"
	"sheaf/vfs"
)

// TestHandlesSurvive: a handle is the node's, not the path's, and the same from
// server to server.
func TestHandlesSurvive(t *testing.T) {
	s, c, root, file := stage(t)
	dir := s.put(t, s.root(t), "dir", vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mode: 0o755}}, "")
	if _, _, err := s.Rename(t.Context(), vfs.Superuser, s.root(t), vfs.MustName("file"), dir, vfs.MustName("moved")); err != nil {
		t.Fatal(err)
	}
	if got := c.read(file); got != "12345678" {
		t.Errorf("after a rename the handle reads %q", got)
	}
	other := dial(t, serve(t, s, gonfs.Options{}), 1000)
	if got := other.read(file); got != "12345678" {
		t.Errorf("another server reads %q", got)
	}
	if again := other.mount("/"); again != root {
		t.Error("the root has another handle on another server")
	}
	if _, err := s.Remove(t.Context(), vfs.Superuser, dir, vfs.MustName("moved")); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.call(procGetAttr, x{}.opaque(file)); status != 70 {
		t.Errorf("a removed file has status %d, want NFS3ERR_STALE", status)
	}
}

// TestHandlesAreNotForged flips each bit of a handle, cuts it and lengthens it.
func TestHandlesAreNotForged(t *testing.T) {
	_, c, root, _ := stage(t)
	for bit := range len(root) * 8 {
		b := []byte(root)
		b[bit/8] ^= 1 << (bit % 8)
		if status, _ := c.call(procGetAttr, x{}.opaque(string(b))); status == 0 {
			t.Fatalf("bit %d makes no difference", bit)
		}
	}
	for _, h := range []string{root[:len(root)-4], root + "\x00\x00\x00\x00"} {
		if status, _ := c.call(procGetAttr, x{}.opaque(h)); status == 0 {
			t.Errorf("a handle of %d bytes is taken", len(h))
		}
	}
	other := dial(t, serve(t, newSpy(), gonfs.Options{Key: [32]byte{31: 1}}), 1)
	if status, _ := other.call(procGetAttr, x{}.opaque(root)); status == 0 {
		t.Error("a handle of another key is taken")
	}
}

// TestMountAsks: exports are the caller's business, and paths arrive clean.
func TestMountAsks(t *testing.T) {
	s := newSpy()
	s.put(t, s.root(t), "pub", vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mode: 0o755}}, "")
	s.put(t, s.root(t), "file", vfs.How{Type: vfs.Regular}, "")
	var asked []string
	addr := serve(t, s, gonfs.Options{Mount: func(client netip.Addr, path string) error {
		asked = append(asked, client.String()+" "+path)
		if path == "/secret" {
			return vfs.Acces
		}
		return nil
	}})
	c := dial(t, addr, 1)
	for _, m := range []struct {
		path   string
		status uint32
	}{{"/", 0}, {"pub/../pub/", 0}, {"/../secret", 13}, {"/none", 2}, {"/file", 20}} {
		if status, _ := c.tryMount(m.path); status != m.status {
			t.Errorf("mount of %s: status %d, want %d", m.path, status, m.status)
		}
	}
	want := []string{"127.0.0.1 /", "127.0.0.1 /pub", "127.0.0.1 /secret", "127.0.0.1 /none", "127.0.0.1 /file"}
	for i := range want {
		if asked[i] != want[i] {
			t.Errorf("asked for %q, want %q", asked[i], want[i])
		}
	}
	if h := c.mount("/pub"); h != c.lookup(c.mount("/"), "pub") {
		t.Error("a mounted directory has another handle than the one that is looked up")
	}
}

// TestDirectoryListsWhole pages through a directory that needs several replies.
func TestDirectoryListsWhole(t *testing.T) {
	s, c, root, _ := stage(t)
	want := map[string]bool{"file": true, ".": true, "..": true}
	for i := range 50 {
		name := string([]byte{'a' + byte(i/10), '0' + byte(i%10)})
		s.put(t, s.root(t), name, vfs.How{Type: vfs.Regular}, "")
		want[name] = true
	}
	var cookie, verifier uint64
	for eof := false; !eof; {
		r := c.must(procReadDir, x{}.opaque(root).u64(cookie).u64(verifier).u32(4096))
		r.attrs()
		verifier = r.u64()
		for r.u32() != 0 {
			r.u64()
			name := r.opaque()
			if cookie = r.u64(); !want[name] {
				t.Errorf("%q comes twice, or is none of ours", name)
			}
			delete(want, name)
		}
		eof = r.u32() != 0
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

// TestShutdownCutsWhatStalls: when time is up the connection is closed, and no new
// one is taken.
func TestShutdownCutsWhatStalls(t *testing.T) {
	s := newSpy()
	n := s.put(t, s.root(t), "file", vfs.How{Type: vfs.Regular}, "12345678")
	addr, shutdown := start(t, s, gonfs.Options{})
	c := dial(t, addr, 0)
	file := c.lookup(c.mount("/"), "file")
	s.held.Store(&n.ID)
	c.send(c.record(progNFS, 3, procRead, x{}.opaque(file).u64(0).u32(8)))
	<-s.entered
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := shutdown(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown with a call under way: %v", err)
	}
	close(s.hold)
	if _, err := c.receive(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection that stalled: %v, want it closed", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a connection is still accepted")
	}
}
