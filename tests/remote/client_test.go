package remote

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/vfs"
)

// busy says JUKEBOX to the first calls of Access.
type busy struct {
	vfs.FS
	left atomic.Int64
}

func (b *busy) Access(ctx context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	if b.left.Add(-1) >= 0 {
		return 0, vfs.Attr{}, vfs.Jukebox
	}
	return b.FS.Access(ctx, w, n, want)
}

// TestJukebox: a call is repeated until its state ends, or patience does.
func TestJukebox(t *testing.T) {
	fs := &busy{FS: model()}
	s := serve(t, fs)
	c := s.mount(t, Options{Patience: time.Second})
	fs.left.Store(3)
	if _, _, err := s.mount(t, Options{With: c}).Access(t.Context(), vfs.Superuser, c.root, vfs.AccessAll); err != nil {
		t.Errorf("a state that ends: %v", err)
	}
	fs.left.Store(1 << 30)
	if _, _, err := c.Access(t.Context(), vfs.Superuser, c.root, vfs.AccessAll); vfs.StatusOf(err) != vfs.Jukebox {
		t.Errorf("a state that does not end: %v", err)
	}
	if got, asked := c.Jukeboxes(), uint64(1<<30-fs.left.Load()); got < 2 || got != asked {
		t.Errorf("counted %d, the server was asked %d times", got, asked)
	}
}

// TestNoServer: a call fails when patience ends.
func TestNoServer(t *testing.T) {
	s := newServer(t, model())
	c, done := s.client(t, Options{Patience: time.Second})
	defer done()
	s.stop()
	if _, err := c.Root(t.Context(), vfs.Superuser); vfs.StatusOf(err) != vfs.IO || !strings.Contains(err.Error(), errDown.Error()) {
		t.Errorf("no server: %v", err)
	}
	if len(c.Violations()) > 0 {
		t.Errorf("violations: %v", c.Violations())
	}
}

// liar breaks one promise.
type liar struct {
	vfs.FS
	lie string
}

func (l *liar) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	a, err := l.FS.GetAttr(ctx, w, n)
	switch {
	case err != nil || a.Type == vfs.Directory:
	case l.lie == "another object's attributes":
		return l.Root(ctx, w)
	case l.lie == "no links":
		a.Nlink = 0
	case l.lie == "no type":
		a.Type = 9
	case l.lie == "too many nanoseconds":
		a.Mtime.Nsec = nanos
	}
	return a, err
}

func (l *liar) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	if obj, dirAttr, err = l.FS.Lookup(ctx, w, dir, name); l.lie == "two handles" {
		obj.Node.Birth.Gen++
	}
	return obj, dirAttr, err
}

func (l *liar) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (int, bool, vfs.Attr, error) {
	got, eof, a, err := l.FS.Read(ctx, w, n, buf, off)
	if l.lie == "neither data nor the end" {
		got, eof = 0, false
	}
	return got, eof, a, err
}

func (l *liar) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	out, c, err := l.FS.Write(ctx, w, n, data, off, stable)
	switch l.lie {
	case "nothing written":
		out.Count = 0
	case "less stable than asked":
		out.Stable = vfs.Unstable
	}
	return out, c, err
}

func (l *liar) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	if l.lie == "an endless empty listing" && after > 2 {
		a, err := l.FS.GetAttr(ctx, w, dir)
		return a, false, err
	}
	return l.FS.ReadDir(ctx, w, dir, after, attrs, func(e *vfs.DirEntry) bool {
		lie := *e
		if l.lie == "an entry with another's attributes" && lie.HasAttr {
			lie.Attr.Node.ID[0] ^= 1
		}
		return each(&lie)
	})
}

// TestViolations: what a server sends against the protocol is noticed, and an honest
// server is not blamed.
func TestViolations(t *testing.T) {
	for lie, want := range map[string]string{
		"":                                   "",
		"another object's attributes":        "asked for those of",
		"no links":                           "no links",
		"no type":                            "type 9",
		"too many nanoseconds":               "1000000000 nanoseconds",
		"two handles":                        "has the handle",
		"neither data nor the end":           "no bytes of 5, and not the end",
		"nothing written":                    "0 bytes written of 4",
		"less stable than asked":             "asked for stable_how 2, got 0",
		"an endless empty listing":           "a page without entries",
		"an entry with another's attributes": "and the attributes of",
	} {
		t.Run(lie, func(t *testing.T) {
			s := serve(t, &liar{model(), lie})
			c, err := Mount(t.Context(), Options{Dial: s.dial, DirSize: 512})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			tour(t.Context(), c)
			var all string
			for _, err := range c.Violations() {
				all += err.Error() + "\n"
			}
			if !strings.Contains(all, want) || want == "" && all != "" {
				t.Errorf("violations: %q, want %q", all, want)
			}
		})
	}
}

// tour makes a call of each kind and does not care how it ends.
func tour(ctx context.Context, c *Client) {
	w, dir := vfs.Superuser, c.root
	for _, s := range []string{"a", "b", "c", "d"} {
		_, _, _ = c.Make(ctx, w, dir, vfs.MustName(s), &vfs.How{Type: vfs.Regular})
	}
	a, _, err := c.Lookup(ctx, w, dir, vfs.MustName("a"))
	if err != nil {
		return
	}
	_, _ = c.GetAttr(ctx, w, a.Node)
	_, _, _ = c.Write(ctx, w, a.Node, []byte("data"), 0, vfs.FileSync)
	_, _, _, _ = c.Read(ctx, w, a.Node, make([]byte, 5), 0)
	_, _, _ = c.ReadDir(ctx, w, dir, 0, true, func(*vfs.DirEntry) bool { return true })
}
