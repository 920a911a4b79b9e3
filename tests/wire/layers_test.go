package wire

import (
	"context"
	"fmt"
	"sync"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// bare gives no attributes where the protocol makes them optional.
type bare struct{ vfs.FS }

func (b bare) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (int, bool, vfs.Attr, error) {
	count, eof, _, err := b.FS.Read(ctx, w, n, buf, off)
	return count, eof, vfs.Attr{}, err
}

func (b bare) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	_, eof, err := b.FS.ReadDir(ctx, w, dir, after, attrs, each)
	return vfs.Attr{}, eof, err
}

func (b bare) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	wr, _, err := b.FS.Write(ctx, w, n, data, off, stable)
	return wr, vfs.Change{}, err
}

// TestMissingAttributes: what follows them in a reply moves up.
func TestMissingAttributes(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	c := start(t, m, bare{m}, options(t, everybody)).dial()
	root := c.root("/")
	f := c.put(root, "f", "0123456789")
	if r := c.ok(nfs.NFSProcedureRead, fh(f).u64(2).u32(5)); r.attr != nil || string(r.data) != "23456" {
		t.Errorf("READ: %q", r.data)
	}
	r := c.ok(nfs.NFSProcedureReadDirPlus, plusArgs(root, 0, 4096, 4096))
	if r.dir != nil || len(r.entries) != 3 || r.entries[2].name != "f" {
		t.Errorf("READDIRPLUS: %+v", r.entries)
	}
	if r := c.ok(nfs.NFSProcedureWrite, writeArgs(f, 0, vfs.FileSync, "x")); r.wcc.pre || r.wcc.post != nil || r.count != 1 {
		t.Errorf("WRITE: %+v", r)
	}
}

// slow is a layer that always has to wait, as a disk does: every call that is
// asked not to is run again by a worker.
type slow struct{ vfs.FS }

func (s slow) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	if w.NoWait {
		return vfs.Attr{}, vfs.Again
	}
	return s.FS.GetAttr(ctx, w, n)
}

func (s slow) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (int, bool, vfs.Attr, error) {
	if w.NoWait {
		clear(buf) // what it leaves behind must not reach the reply
		return len(buf), true, vfs.Attr{}, vfs.Again
	}
	return s.FS.Read(ctx, w, n, buf, off)
}

func (s slow) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	a, eof, err := s.FS.ReadDir(ctx, w, dir, after, attrs, each)
	if w.NoWait { // in the middle of a page
		return vfs.Attr{}, false, vfs.Again
	}
	return a, eof, err
}

func TestCallsThatMustWait(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	s := start(t, m, slow{m}, options(t, everybody))
	c := s.dial()
	root := c.root("/")
	f := c.put(root, "f", "0123456789")
	if c.get(f) != "0123456789" {
		t.Error("READ")
	}
	if names, _ := c.names(root, true, 4096); len(names) != 3 {
		t.Errorf("%q", names)
	}
	if a := c.ok(nfs.NFSProcedureGetAttr, fh(f)).attr; a.size != 10 {
		t.Errorf("%+v", a)
	}
	if st := s.Stats(); st.Procs[nfs.NFSProcedureRead].Calls != 1 {
		t.Errorf("%d READs counted, 1 was answered", st.Procs[nfs.NFSProcedureRead].Calls)
	}
}

// TestManyClients lets clients work side by side while the exports are loaded
// again and again; the race detector looks on.
func TestManyClients(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})
	s := start(t, m, nil, options(t, everybody))
	var wg sync.WaitGroup
	for i := range 6 {
		c := s.dial().as(uint32(1000+i), 1000)
		wg.Go(func() {
			root := c.root("/")
			for j := range 30 {
				name := fmt.Sprintf("%d-%d", i, j)
				f := c.put(root, name, name)
				if got := c.get(f); got != name {
					t.Errorf("%s reads %q", name, got)
				}
				c.ok(nfs.NFSProcedureRename, fh(root).str(name).fh(root).str(name+"x"))
				c.names(root, j%2 == 0, 2048)
				c.ok(nfs.NFSProcedureRemove, fh(root).str(name+"x"))
			}
		})
	}
	texts := []string{everybody, "/ 127.0.0.0/8(rw,insecure) *(ro)\n", "/ *(ro) 127.0.0.1(rw,insecure)\n"}
	for i := range 60 {
		if err := s.Reload(t.Context(), options(t, texts[i%len(texts)]).Exports); err != nil {
			t.Error(err)
		}
		s.Stats()
	}
	wg.Wait()
	if names, _ := s.dial().as(1000, 1000).names(s.dial().root("/"), false, 4096); len(names) != 2 {
		t.Errorf("left over: %q", names)
	}
}
