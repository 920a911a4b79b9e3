package readonly

import (
	"log/slog"
	"net/netip"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

// over is the layer over m.
func over(t *testing.T, m vfs.FS, options map[string]any) *translator.Stack {
	t.Helper()
	s := translator.NewStack(m, []translator.Kind{Kind}, slog.New(slog.DiscardHandler))
	if err := s.Load(t.Context(), []translator.Spec{{Kind: "readonly", Options: options}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTransparent: for clients that it is not about, the layer is not there.
func TestTransparent(t *testing.T) {
	vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
		return over(t, vfstest.NewModel(vfstest.ModelOptions{}), map[string]any{"clients": []any{"192.0.2.1"}})
	})
}

// TestReadOnly makes every call that changes something, and looks that nothing did.
func TestReadOnly(t *testing.T) {
	ctx, w, m := t.Context(), &vfs.Who{Client: netip.MustParseAddr("192.0.2.1")}, vfstest.NewModel(vfstest.ModelOptions{})
	root, err := m.Root(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	dir, name, other := root.Node, vfs.MustName("f"), vfs.MustName("g")
	a, _, err := m.Make(ctx, w, dir, name, &vfs.How{Type: vfs.Regular})
	if err != nil {
		t.Fatal(err)
	}
	if root, err = m.Root(ctx, w); err != nil {
		t.Fatal(err)
	}
	for _, options := range []map[string]any{nil, {"clients": []any{"192.0.2.0/24"}}} {
		fs := over(t, m, options)
		calls := map[translator.Verb]func() error{
			translator.SetAttr: func() error { _, err := fs.SetAttr(ctx, w, a.Node, &vfs.SetAttr{Mask: vfs.SetMode}, nil); return err },
			translator.Write: func() error {
				_, _, err := fs.Write(ctx, w, a.Node, []byte("x"), 0, vfs.FileSync)
				return err
			},
			translator.Make:      func() error { _, _, err := fs.Make(ctx, w, dir, other, &vfs.How{Type: vfs.Regular}); return err },
			translator.Link:      func() error { _, _, err := fs.Link(ctx, w, a.Node, dir, other); return err },
			translator.Remove:    func() error { _, err := fs.Remove(ctx, w, dir, name); return err },
			translator.RemoveDir: func() error { _, err := fs.RemoveDir(ctx, w, dir, name); return err },
			translator.Rename:    func() error { _, _, err := fs.Rename(ctx, w, dir, name, dir, other); return err },
			translator.SetACL:    func() error { _, err := fs.SetACL(ctx, w, a.Node, vfs.ACLs{}); return err },
		}
		for _, v := range translator.Verbs() {
			call := calls[v]
			if (call != nil) != v.Changes() {
				t.Fatalf("%v changes or not, and the test has it otherwise", v)
			}
			if call == nil {
				continue
			}
			if err := call(); vfs.StatusOf(err) != vfs.ROFS {
				t.Errorf("%v: %v", v, err)
			}
		}
		if got, _, err := fs.Access(ctx, w, dir, vfs.AccessAll); err != nil || got != vfs.AccessRead|vfs.AccessLookup|vfs.AccessExecute&got {
			t.Errorf("Access grants %b, %v", got, err)
		}
		if now, err := fs.Root(ctx, w); err != nil || now != root {
			t.Errorf("the root was changed: %v, %v", now, err)
		}
		if now, err := fs.GetAttr(ctx, w, a.Node); err != nil || now != a {
			t.Errorf("the file was changed: %v, %v", now, err)
		}
		if _, _, _, err := fs.Read(ctx, w, a.Node, make([]byte, 1), 0); err != nil {
			t.Errorf("Read: %v", err)
		}
	}
}

// TestBadOptions are refused.
func TestBadOptions(t *testing.T) {
	for _, options := range []map[string]any{{"clients": "x"}, {"client": "192.0.2.1"}, {"clients": []any{}}} {
		if err := translator.Check([]translator.Kind{Kind}, []translator.Spec{{Kind: "readonly", Options: options}}); err == nil {
			t.Errorf("%v is taken", options)
		}
	}
}
