package union

import (
	"context"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/lease"
)

// TestComesBeforeTheLease lets a volume come between the look for a directory's copies and the lease of the call that changes
// its name: the copy on it was not asked for, and is part of the directory all the same.
func TestComesBeforeTheLease(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name string
		call func(x *awayTree, d vfs.Node) error
		want vfs.Status
		path string // where the file on the volume that came is afterwards
	}{
		{"rmdir", func(x *awayTree, d vfs.Node) error { return second(x.u.RemoveDir(ctx, who, d, n("dir"))) }, vfs.NotEmpty, "p/dir/f"},
		{"rename", func(x *awayTree, d vfs.Node) error {
			return third(x.u.Rename(ctx, who, d, n("dir"), d, n("other")))
		}, vfs.OK, "p/other/f"},
		{"rename over it", func(x *awayTree, d vfs.Node) error {
			return third(x.u.Rename(ctx, who, d, n("other"), d, n("dir")))
		}, vfs.NotEmpty, "p/dir/f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newAwayTree(t)
			x.onVolume(t, 0)
			p := x.mk(t, x.root, "p", vfs.Directory)
			dir := x.mk(t, p.Node, "dir", vfs.Directory)
			x.mk(t, p.Node, "other", vfs.Directory)
			x.onVolume(t, 1)
			x.mk(t, dir.Node, "f", vfs.Regular)
			x.reopen(t, 1) // without what the index knew
			x.anywhere(t)
			x.path(t, "p/dir")
			l, err := x.u.leases.Acquire(ctx, lease.Node(dir.Node.ID, lease.Shared))
			if err != nil {
				t.Fatal(err)
			}
			did := make(chan error, 1)
			go func() { did <- c.call(x, p.Node) }()
			eventually(t, "the call waits for its lease", func() bool {
				other, ok := x.u.leases.TryAcquire(lease.Node(dir.Node.ID, lease.Shared))
				if ok {
					other.Release()
				}
				return !ok
			})
			x.put(t, 1)
			l.Release()
			if err := <-did; vfs.StatusOf(err) != c.want {
				t.Errorf("%v, want %v", err, c.want)
			}
			x.u.opt.Trust = 1
			if a := x.path(t, c.path); a.Node.ID.IsZero() {
				t.Error("no id")
			}
			if got, err := x.u.GetAttr(ctx, who, dir.Node); err != nil || got.Type != vfs.Directory {
				t.Errorf("the directory's handle: %v", err)
			}
		})
	}
}
