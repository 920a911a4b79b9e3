package translator

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"sheaf/vfs"
)

// stub answers everything with nothing, and allocates nothing.
func stub() vfs.FS {
	return Around(nil, func(context.Context, *Call, Next) error { return nil })
}

// TestAllocations: a layer allocates nothing, whatever the verb.
func TestAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector makes sync.Pool lose what it is given")
	}
	fs := Around(stub(), through)
	ctx, w, n, name := t.Context(), vfs.Superuser, vfs.Node{}, vfs.MustName("n")
	set, how, buf := &vfs.SetAttr{}, &vfs.How{}, make([]byte, 8)
	parent, entry := func(vfs.Node, vfs.Name) bool { return true }, func(*vfs.DirEntry) bool { return true }
	calls := map[Verb]func(){
		Root:      func() { _, _ = fs.Root(ctx, w) },
		GetAttr:   func() { _, _ = fs.GetAttr(ctx, w, n) },
		SetAttr:   func() { _, _ = fs.SetAttr(ctx, w, n, set, nil) },
		Access:    func() { _, _, _ = fs.Access(ctx, w, n, vfs.AccessAll) },
		Lookup:    func() { _, _, _ = fs.Lookup(ctx, w, n, name) },
		Parents:   func() { _ = fs.Parents(ctx, n, parent) },
		ReadLink:  func() { _, _, _ = fs.ReadLink(ctx, w, n) },
		Read:      func() { _, _, _, _ = fs.Read(ctx, w, n, buf, 0) },
		Write:     func() { _, _, _ = fs.Write(ctx, w, n, buf, 0, vfs.FileSync) },
		Commit:    func() { _, _, _ = fs.Commit(ctx, w, n, 0, 0) },
		Make:      func() { _, _, _ = fs.Make(ctx, w, n, name, how) },
		Link:      func() { _, _, _ = fs.Link(ctx, w, n, n, name) },
		Remove:    func() { _, _ = fs.Remove(ctx, w, n, name) },
		RemoveDir: func() { _, _ = fs.RemoveDir(ctx, w, n, name) },
		Rename:    func() { _, _, _ = fs.Rename(ctx, w, n, name, n, name) },
		ReadDir:   func() { _, _, _ = fs.ReadDir(ctx, w, n, 0, false, entry) },
		Statfs:    func() { _, _, _ = fs.Statfs(ctx, w, n) },
		Limits:    func() { _, _, _ = fs.Limits(ctx, w, n) },
		GetACL:    func() { _, _, _ = fs.GetACL(ctx, w, n) },
		SetACL:    func() { _, _ = fs.SetACL(ctx, w, n, vfs.ACLs{}) },
	}
	for _, v := range Verbs() {
		// The collector may empty the pool in between: less than one in a thousand is none.
		if got := testing.AllocsPerRun(1000, calls[v]); got > 0 {
			t.Errorf("%v allocates %v times a call", v, got)
		}
	}
}

// BenchmarkAround is what layers with a hook that does nothing add to a call: compare the numbers of layers.
func BenchmarkAround(b *testing.B) {
	for _, layers := range []int{0, 1, 4} {
		fs := vfs.FS(new(null))
		for range layers {
			fs = Around(fs, through)
		}
		b.Run(fmt.Sprintf("getattr/layers=%d", layers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = fs.GetAttr(b.Context(), vfs.Superuser, vfs.Node{})
			}
		})
		b.Run(fmt.Sprintf("lookup/layers=%d", layers), func(b *testing.B) {
			b.ReportAllocs()
			name := vfs.MustName("name")
			for b.Loop() {
				_, _, _ = fs.Lookup(b.Context(), vfs.Superuser, vfs.Node{}, name)
			}
		})
	}
	b.Logf("a Call has %d bytes", reflect.TypeFor[Call]().Size())
}

// null answers two verbs with nothing.
type null struct{ vfs.FS }

func (*null) GetAttr(context.Context, *vfs.Who, vfs.Node) (a vfs.Attr, err error) { return }

func (*null) Lookup(context.Context, *vfs.Who, vfs.Node, vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	return
}
