package script

import (
	"context"
	"testing"

	"sheaf/vfs"
)

// still is a file system that answers at once, so that only the layer above is measured.
type still struct{ vfs.FS }

func (still) GetAttr(_ context.Context, _ *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	return vfs.Attr{Node: n, Type: vfs.Regular}, nil
}

func (still) Lookup(_ context.Context, _ *vfs.Who, dir vfs.Node, _ vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	return vfs.Attr{}, vfs.Attr{Node: dir, Type: vfs.Directory}, vfs.NoEnt
}

func (still) Subscribe(func(vfs.Event)) func() { return func() {} }

// BenchmarkGetAttr is what a script costs a call: compare with below, which has none.
func BenchmarkGetAttr(b *testing.B) {
	for _, c := range []struct{ name, source string }{
		{"below", ""},
		{"other", "def lookup(call):\n  pass\n"}, // a verb that the script does not define
		{"returns", "def getattr(call):\n  pass\n"},
		{"counts", "n = counter('n')\ndef getattr(call):\n  n.add()\n"},
		{"counts_done", "n = counter('n')\ndef getattr_done(call, result):\n  if result.ok:\n    n.add()\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := Load(Options{Source: []byte(c.source)})
			if err != nil {
				b.Fatal(err)
			}
			fs, _ := s.Over(still{})
			ctx, n := b.Context(), vfs.Node{ID: vfs.NodeID{1}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := fs.GetAttr(ctx, root, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLookup is a look-up that a table answers.
func BenchmarkLookup(b *testing.B) {
	for _, c := range []struct{ name, source string }{
		{"one_table", "t = table()\ndef lookup(call):\n  if t.get((call.dir, call.name)):\n    return NOENT\ndef lookup_done(call, result):\n  t.set((call.dir, call.name), True)\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := Load(Options{Source: []byte(c.source)})
			if err != nil {
				b.Fatal(err)
			}
			fs, _ := s.Over(still{})
			ctx, n, name := b.Context(), vfs.Node{ID: vfs.NodeID{1}}, vfs.MustName("name")
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := fs.Lookup(ctx, root, n, name); vfs.StatusOf(err) != vfs.NoEnt {
					b.Fatal(err)
				}
			}
		})
	}
}
