package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	e2e "sheaf/tests/e2e/server"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.RemoveBinary()
	os.Exit(code)
}

// startBinary runs `sheaf serve` over new directories.
func startBinary(t *testing.T, volumes int) *e2e.Server {
	t.Helper()
	var o e2e.Options
	for i := range volumes {
		o.Volumes = append(o.Volumes, e2e.Volume{Name: fmt.Sprintf("v%d", i), Dir: t.TempDir()})
	}
	return e2e.Start(t, o)
}

// dialBinary connects to it.
func dialBinary(s *e2e.Server) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
	}
}

// binaryCan is what a server of this user can do: an ordinary one acts as itself.
func binaryCan() vfstest.Options {
	o := vfstest.Options{NoACLs: true}
	if os.Getuid() != 0 {
		o.As, o.NoDevices = &vfs.Who{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}, true
	}
	return o
}

// TestBinaryProgram runs random programs on the real server, which is killed where
// they say restart. What was written and not committed is still in the kernel's
// cache then, so it stays, while the verifier must change.
func TestBinaryProgram(t *testing.T) {
	for _, volumes := range []int{1, 3} {
		t.Run(fmt.Sprint(volumes, " volumes"), func(t *testing.T) {
			fewer(t, 25)
			rapid.Check(t, func(rt *rapid.T) {
				s := startBinary(t, volumes)
				defer s.Stop()
				c, done := mount(rt, Options{Dial: dialBinary(s), Conns: 2})
				defer done()
				vfstest.RunProgram(rt, c, vfstest.ProgramOptions{
					Options: binaryCan(), Steps: 60,
					Restart: func(*rapid.T) vfs.FS {
						s.Kill()
						s.Restart()
						return c
					},
					OtherFailure: otherFailure,
				})
			})
		})
	}
}

const (
	hands = 6  // goroutines of TestBinaryKill
	deeds = 60 // of each
	kills = 4
)

// TestBinaryKill kills the server while many calls are under way and starts it again.
// The client repeats what had no reply; whatever had one must be there in the end.
func TestBinaryKill(t *testing.T) {
	s := startBinary(t, 3)
	c, done := mount(t, Options{Dial: dialBinary(s), Conns: hands})
	defer done()
	w := vfs.Superuser
	if as := binaryCan().As; as != nil {
		w = as
	}
	root, err := c.Root(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*hand, hands)
	for i := range all {
		a, _, err := c.Make(t.Context(), w, root.Node, vfs.MustName(fmt.Sprintf("hand %d", i)), &vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = &hand{c: c, w: w, dir: a.Node, has: map[string]kept{}, nth: i}
	}
	next := make(chan struct{}, hands*deeds)
	var wg sync.WaitGroup
	for _, h := range all {
		wg.Go(func() {
			for i := range deeds {
				if h.err = h.deed(context.Background(), i); h.err != nil {
					h.err = fmt.Errorf("hand %d, deed %d: %w", h.nth, i, h.err)
					break
				}
				next <- struct{}{}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for range kills {
		for range hands * deeds / (kills + 1) { // one part of the work later
			select {
			case <-next:
			case <-finished:
			}
		}
		s.Kill()
		s.Restart()
	}
	<-finished
	for _, h := range all {
		if h.err != nil {
			t.Error(h.err)
		}
		if err := h.verify(t.Context()); err != nil {
			t.Errorf("hand %d, %d connections made again: %v", h.nth, c.Redials(), err)
		}
	}
	if c.Redials() < kills {
		t.Errorf("%d connections were made again, want at least %d", c.Redials(), kills)
	}
}

// hand works in a directory of its own and remembers what was acknowledged.
type hand struct {
	c   *Client
	w   *vfs.Who
	dir vfs.Node
	nth int
	has map[string]kept
	err error
}

// kept is a file that was acknowledged.
type kept struct {
	node vfs.Node
	data string
}

// deed makes a file and writes it stably; every third renames one, every fifth may
// remove one. Calls may be repeated by the client without its knowing whether they
// happened: EXCLUSIVE creation and WRITE mean the same twice, a RENAME or REMOVE that
// finds nothing has happened before.
func (h *hand) deed(ctx context.Context, i int) error {
	name := fmt.Sprintf("file %d", i)
	how := vfs.How{Type: vfs.Regular, Exists: vfs.Exclusive}
	binary.BigEndian.PutUint64(how.Verifier[:], uint64(h.nth+1)<<32|uint64(i+1))
	a, err := h.create(ctx, vfs.MustName(name), &how)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	// As every client does: EXCLUSIVE gives no mode (RFC 1813 section 3.3.8), and without one a server that is
	// not root's could not open the file again after the kill.
	if _, err := h.c.SetAttr(ctx, h.w, a.Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o644}, nil); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	data := fmt.Sprintf("written by %d at %d", h.nth, i)
	written, _, err := h.c.Write(ctx, h.w, a.Node, []byte(data), uint64(i), vfs.FileSync)
	if err != nil || written.Count != len(data) {
		return fmt.Errorf("write: %d bytes: %w", written.Count, err)
	}
	h.has[name] = kept{a.Node, string(make([]byte, i)) + data}
	if i%3 == 2 {
		to := fmt.Sprintf("moved %d", i)
		redials := h.c.Redials()
		_, _, err := h.c.Rename(ctx, h.w, h.dir, vfs.MustName(name), h.dir, vfs.MustName(to))
		if err = h.done(redials, err); err != nil {
			return fmt.Errorf("rename: %w", err)
		}
		h.has[to] = h.has[name]
		delete(h.has, name)
	}
	old := fmt.Sprintf("file %d", i-4)
	if _, ok := h.has[old]; ok && i%5 == 4 {
		redials := h.c.Redials()
		_, err := h.c.Remove(ctx, h.w, h.dir, vfs.MustName(old))
		if err = h.done(redials, err); err != nil {
			return fmt.Errorf("remove: %w", err)
		}
		delete(h.has, old)
	}
	return nil
}

// done is err of a RENAME or REMOVE. If connections were made again since, NoEnt says that it
// had happened.
func (h *hand) done(redials uint64, err error) error {
	if vfs.StatusOf(err) == vfs.NoEnt && h.c.Redials() > redials {
		return nil
	}
	return err
}

// create makes a file. A host's file system makes it in one step and keeps the verifier in
// another; a kill between them leaves an empty file that the repeated call finds
// taken. Only that is removed, and made again.
func (h *hand) create(ctx context.Context, name vfs.Name, how *vfs.How) (vfs.Attr, error) {
	redials := h.c.Redials()
	a, _, err := h.c.Make(ctx, h.w, h.dir, name, how)
	if vfs.StatusOf(err) != vfs.Exist || h.c.Redials() == redials {
		return a, err
	}
	left, _, lookErr := h.c.Lookup(ctx, h.w, h.dir, name)
	if lookErr != nil || left.Size != 0 {
		return a, errors.Join(fmt.Errorf("%w; there is %+v", err, left), lookErr)
	}
	if _, err := h.c.Remove(ctx, h.w, h.dir, name); err != nil {
		return a, err
	}
	a, _, err = h.c.Make(ctx, h.w, h.dir, name, how)
	return a, err
}

// verify compares the directory with what was acknowledged.
func (h *hand) verify(ctx context.Context) error {
	var names []string
	if _, _, err := h.c.ReadDir(ctx, h.w, h.dir, 0, true, func(e *vfs.DirEntry) bool {
		names = append(names, e.Name.String())
		return true
	}); err != nil {
		return err
	}
	var want []string
	for name := range h.has {
		want = append(want, name)
	}
	slices.Sort(names)
	if slices.Sort(want); !slices.Equal(names, want) {
		without := func(a, b []string) []string {
			return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
		}
		return fmt.Errorf("holds %q too much and lacks %q", without(names, want), without(want, names))
	}
	for name, k := range h.has {
		a, _, err := h.c.Lookup(ctx, h.w, h.dir, vfs.MustName(name))
		if err != nil || a.Node.ID != k.node.ID {
			return fmt.Errorf("%q is %v, want %v: %w", name, a.Node.ID, k.node.ID, err)
		}
		buf := make([]byte, len(k.data)+1)
		n, eof, _, err := h.c.Read(ctx, h.w, k.node, buf, 0)
		if err != nil || !eof || string(buf[:n]) != k.data {
			return fmt.Errorf("%q holds %q, want %q: %w", name, buf[:n], k.data, err)
		}
	}
	return nil
}
