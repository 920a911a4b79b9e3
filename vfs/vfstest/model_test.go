package vfstest

import (
	"bytes"
	"fmt"
	"testing"

	"sheaf/vfs"
)

// TestModelCrash loses what was not committed and nothing else.
func TestModelCrash(t *testing.T) {
	ctx, w := t.Context(), vfs.Superuser
	m := NewModel(ModelOptions{})
	root, _ := m.Root(ctx, w)
	a, _, err := m.Make(ctx, w, root.Node, vfs.MustName("f"), &vfs.How{Type: vfs.Regular})
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte, off uint64, s vfs.Stable) vfs.Verifier {
		t.Helper()
		wr, _, err := m.Write(ctx, w, a.Node, data, off, s)
		if err != nil || wr.Count != len(data) || wr.Stable < s {
			t.Fatalf("Write: %+v, %v", wr, err)
		}
		return wr.Verifier
	}
	stable := bytes.Repeat([]byte{1}, 10_000)
	before := write(stable, 0, vfs.FileSync)
	write(bytes.Repeat([]byte{2}, 5_000), 3_000, vfs.Unstable)
	write([]byte{3}, 1<<40, vfs.Unstable)
	m.Crash()
	buf := make([]byte, 20_000)
	n, eof, attr, err := m.Read(ctx, w, a.Node, buf, 0)
	if err != nil || !eof || !bytes.Equal(buf[:n], stable) || attr.Used != 3*pageSize {
		t.Fatalf("after the crash: %d bytes, eof %v, %+v, %v", n, eof, attr, err)
	}
	if after := write(nil, 0, vfs.Unstable); after == before {
		t.Error("the verifier is that of before the crash")
	}
	write([]byte{4}, 0, vfs.Unstable)
	if v, _, err := m.Commit(ctx, w, a.Node, 0, 0); err != nil || v == before {
		t.Fatalf("Commit: %v, %v", v, err)
	}
	m.Crash()
	if _, _, _, err := m.Read(ctx, w, a.Node, buf[:1], 0); err != nil || buf[0] != 4 {
		t.Errorf("committed byte: %d, %v", buf[0], err)
	}
}

// TestModelLimits meets every limit of ModelOptions.
func TestModelLimits(t *testing.T) {
	ctx, w := t.Context(), vfs.Superuser
	m := NewModel(ModelOptions{Capacity: 2 * pageSize, MaxFiles: 3, MaxFileSize: 1 << 20, LinkMax: 2})
	root, _ := m.Root(ctx, w)
	mk := func(name string) (vfs.Attr, error) {
		a, _, err := m.Make(ctx, w, root.Node, vfs.MustName(name), &vfs.How{Type: vfs.Regular})
		return a, err
	}
	want := func(what string, err error, s vfs.Status) {
		t.Helper()
		if vfs.StatusOf(err) != s {
			t.Errorf("%s: %v, want %v", what, err, s)
		}
	}
	a, err := mk("a")
	want("first file", err, vfs.OK)
	_, err = mk("b")
	want("second file", err, vfs.OK)
	_, err = mk("c")
	want("third file", err, vfs.NoSpc)
	_, _, err = m.Link(ctx, w, a.Node, root.Node, vfs.MustName("a2"))
	want("second link", err, vfs.OK)
	_, _, err = m.Link(ctx, w, a.Node, root.Node, vfs.MustName("a3"))
	want("third link", err, vfs.MLink)
	write := func(count int, off uint64) error {
		_, _, err := m.Write(ctx, w, a.Node, bytes.Repeat([]byte{1}, count), off, vfs.Unstable)
		return err
	}
	want("two pages", write(2*pageSize, 0), vfs.OK)
	want("a third", write(1, 2*pageSize), vfs.NoSpc)
	want("in place", write(1, 2*pageSize-1), vfs.OK)
	want("beyond the size limit", write(2, 1<<20-1), vfs.FBig)
	_, err = m.SetAttr(ctx, w, a.Node, &vfs.SetAttr{Mask: vfs.SetSize, Size: 1<<20 + 1}, nil)
	want("size beyond the limit", err, vfs.FBig)
	if s, _, err := m.Statfs(ctx, w, a.Node); err != nil || s.AvailBytes != 0 || s.AvailFiles != 0 {
		t.Errorf("full: %+v, %v", s, err)
	}
	_, err = m.SetAttr(ctx, w, a.Node, &vfs.SetAttr{Mask: vfs.SetSize}, nil)
	want("truncate", err, vfs.OK)
	want("two pages again", write(2*pageSize, 1<<19), vfs.OK)
}

// TestModelCookieCollisions lists a directory whose names nearly all collide.
func TestModelCookieCollisions(t *testing.T) {
	ctx, w := t.Context(), vfs.Superuser
	m := NewModel(ModelOptions{CookieBits: 4})
	root, _ := m.Root(ctx, w)
	cookies := map[string]vfs.Cookie{}
	list := func() map[string]vfs.Cookie {
		seen, last := map[string]vfs.Cookie{}, vfs.Cookie(0)
		_, eof, err := m.ReadDir(ctx, w, root.Node, 0, false, func(e *vfs.DirEntry) bool {
			if e.Cookie <= last || e.Cookie < vfs.FirstCookie {
				t.Fatalf("cookie %d after %d", e.Cookie, last)
			}
			last = e.Cookie
			seen[e.Name.String()] = e.Cookie
			return true
		})
		if err != nil || !eof {
			t.Fatal(eof, err)
		}
		return seen
	}
	for i := range 100 {
		name := vfs.MustName(fmt.Sprint(i))
		if _, _, err := m.Make(ctx, w, root.Node, name, &vfs.How{Type: vfs.Directory}); err != nil {
			t.Fatal(err)
		}
		if i%3 == 2 {
			gone := vfs.MustName(fmt.Sprint(i - 2))
			if _, err := m.RemoveDir(ctx, w, root.Node, gone); err != nil {
				t.Fatal(err)
			}
			delete(cookies, gone.String())
		}
		now := list()
		for n, c := range cookies {
			if now[n] != c {
				t.Fatalf("%s moved from %d to %d", n, c, now[n])
			}
		}
		cookies = now
	}
	if len(cookies) != 67 {
		t.Errorf("%d names left, want 67", len(cookies))
	}
}

// TestModelAnnounce gives news to those who have not cancelled.
func TestModelAnnounce(t *testing.T) {
	m := NewModel(ModelOptions{})
	var one, two []vfs.Event
	cancel := m.Subscribe(func(e vfs.Event) { one = append(one, e) })
	m.Subscribe(func(e vfs.Event) { two = append(two, e) })
	m.Announce(vfs.Event{Kind: vfs.ForgetAll})
	cancel()
	m.Announce(vfs.Event{Kind: vfs.ForgetVolume, Volume: "v"})
	if len(one) != 1 || len(two) != 2 || two[1].Volume != "v" {
		t.Errorf("heard %v and %v", one, two)
	}
}
