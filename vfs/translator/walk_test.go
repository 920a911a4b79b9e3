package translator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// TestWalk follows paths down and up again.
func TestWalk(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	root, err := m.Root(t.Context(), vfs.Superuser)
	must(t, err)
	at, chain := root.Node, []vfs.Node{root.Node}
	for _, s := range []string{"a", "b", "c"} {
		a, _, err := m.Make(t.Context(), vfs.Superuser, at, vfs.MustName(s), &vfs.How{Type: vfs.Directory})
		must(t, err)
		at, chain = a.Node, append(chain, a.Node)
	}
	for i, path := range []string{"/", "//a/.", "/a/b", "/a/b/c/"} {
		names, err := ParsePath(path)
		must(t, err)
		got, err := Walk(t.Context(), m, names)
		if err != nil || got.Node != chain[i] {
			t.Errorf("%s is %v, %v", path, got.Node, err)
		}
	}
	names, err := ParsePath("/a/x/c")
	must(t, err)
	if _, err := Walk(t.Context(), m, names); !errors.Is(err, vfs.NoEnt) {
		t.Errorf("a path that is not there: %v", err)
	}
	for _, path := range []string{"", "a", "/a/../b", "/" + strings.Repeat("a/", PathMax), "/" + strings.Repeat("a", 256)} {
		if _, err := ParsePath(path); err == nil {
			t.Errorf("%.20q is a path", path)
		}
	}
	var up []vfs.Node
	must(t, Ancestors(t.Context(), m, at, func(n vfs.Node) bool { up = append(up, n); return true }))
	if fmt.Sprint(up) != fmt.Sprint([]vfs.Node{chain[3], chain[2], chain[1], chain[0]}) {
		t.Errorf("above c lie %v", up)
	}
	up = nil
	must(t, Ancestors(t.Context(), m, at, func(n vfs.Node) bool { up = append(up, n); return n != chain[2] }))
	if len(up) != 2 {
		t.Errorf("it went on to %v", up)
	}
	if err := Ancestors(t.Context(), &ring{}, at, func(vfs.Node) bool { return true }); !errors.Is(err, ErrTooDeep) {
		t.Errorf("without an end: %v", err)
	}
}

// ring is an FS whose every directory lies in itself.
type ring struct{ null }

func (*ring) Parents(_ context.Context, n vfs.Node, each func(vfs.Node, vfs.Name) bool) error {
	each(n, vfs.MustName("x"))
	return nil
}

// TestPrefixesAndIDs reads lists of clients and users.
func TestPrefixesAndIDs(t *testing.T) {
	o := newOptions("", map[string]any{"c": []any{"192.0.2.7", "2001:db8::1/32", "::ffff:198.51.100.1", "fe80::/10"}, "u": []any{0, 7}, "one": 5, "bad": []any{"x", "1.2.3.4/40"}, "worse": []any{-1, "x", 1 << 33}})
	all := o.Prefixes("c")
	for a, want := range map[string]bool{"192.0.2.7": true, "::ffff:192.0.2.7": true, "192.0.2.8": false, "2001:db8:5::": true, "fe80::1%eth0": true, "198.51.100.1": true} {
		if Contain(all, netip.MustParseAddr(a)) != want {
			t.Errorf("%s: not %v", a, want)
		}
	}
	if Contain(all, netip.Addr{}) {
		t.Error("a call of our own is a client's")
	}
	if u := o.IDs("u"); len(u) != 2 || !u[0] || !u[7] || !o.IDs("one")[5] || o.IDs("none") != nil {
		t.Errorf("ids %v", u)
	}
	if o.Err() != nil {
		t.Error(o.Err())
	}
	o.Prefixes("bad")
	o.IDs("worse")
	if n := len(*o.errs); n != 5 {
		t.Errorf("%d mistakes, want 5: %v", n, o.Err())
	}
}
