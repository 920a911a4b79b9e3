package union

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// writingFS is the union of a share, and writes rows before every second change or listing, as time would.
type writingFS struct {
	vfs.FS
	s *shareT
	n int
}

func (f *writingFS) write() {
	if f.n++; f.n%2 == 0 {
		f.s.writeNow()
	}
}

// Make implements vfs.FS.
func (f *writingFS) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	f.write()
	return f.FS.Make(ctx, w, dir, name, how)
}

// Lookup implements vfs.FS.
func (f *writingFS) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	f.write()
	return f.FS.Lookup(ctx, w, dir, name)
}

// ReadDir implements vfs.FS.
func (f *writingFS) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	f.write()
	return f.FS.ReadDir(ctx, w, dir, after, attrs, each)
}

// Remove implements vfs.FS.
func (f *writingFS) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	f.write()
	return f.FS.Remove(ctx, w, dir, name)
}

// Rename implements vfs.FS.
func (f *writingFS) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (vfs.Change, vfs.Change, error) {
	f.write()
	return f.FS.Rename(ctx, w, from, fromName, to, toName)
}

// TestProgramPaged runs programs whose directories of two or three names are large already: their names lie in the index. The server is
// sometimes killed.
func TestProgramPaged(t *testing.T) {
	fewer(t, 12)
	var paged atomic.Int64
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, n, nil)
				s.newIndex(rt)
				s.opt.rowsDelay, s.opt.settleDelay = time.Hour, time.Hour
				s.opt.paged = rapid.IntRange(1, 2).Draw(rt, "paged")
				open := func() vfs.FS { return &writingFS{s.open(rt), s, 0} }
				restart := func(rt *rapid.T) vfs.FS {
					paged.Add(s.u.stats.paged.Load())
					s.end(rt, ending(rapid.IntRange(0, int(loses)).Draw(rt, "end")), 0)
					s.believe(rt, false)
					return open()
				}
				vfstest.RunProgram(rt, open(), vfstest.ProgramOptions{Restart: restart, Steps: 60})
				paged.Add(s.u.stats.paged.Load())
				s.wantClean(rt)
				s.close(rt)
			})
		})
	}
	t.Logf("left to the index %d times", paged.Load())
	if !testing.Short() && paged.Load() == 0 { // with -short rapid makes one check of eight
		t.Error("no directory's names were ever left to the index")
	}
}
