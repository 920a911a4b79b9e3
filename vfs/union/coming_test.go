package union

import (
	"context"
	"errors"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
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

// TestFlushOfAnotherVolumeHangs lets the flush of a file hang that has to give its place to one of another volume: who opens that
// does not wait for it.
func TestFlushOfAnotherVolumeHangs(t *testing.T) {
	ctx := context.Background()
	x := newAwayTree(t)
	x.onVolume(t, 0)
	also := x.mk(t, x.known, "also", vfs.Regular).Node
	x.opt.OpenFiles = 1
	x.reopen(t)
	w, _, err := x.u.Write(ctx, who, x.there, []byte("data"), 0, vfs.Unstable)
	if err != nil {
		t.Fatal(err)
	}
	release := x.p[1].delay.Hang(volume.OpSyncFile)
	defer release()
	did := make(chan error, 1)
	go func() {
		var err error
		for range 3 {
			for _, f := range []vfs.Node{x.here, also} {
				_, _, werr := x.u.Write(ctx, who, f, []byte("data"), 0, vfs.FileSync)
				err = errors.Join(err, werr)
			}
		}
		did <- err
	}()
	eventually(t, "writes to the other volume are done", func() bool { return len(did) == 1 })
	if err := <-did; err != nil {
		t.Error(err)
	}
	eventually(t, "the flush hangs", func() bool { return x.p[1].delay.Hanging() == 1 })
	release()
	if v, _, err := x.u.Commit(ctx, who, x.there, 0, 0); err != nil || v != w.Verifier {
		t.Errorf("COMMIT of what was flushed late: %v", err)
	}
	eventually(t, "no more files are open than may be", func() bool {
		_, _, err := x.u.Write(ctx, who, x.here, []byte("data"), 0, vfs.FileSync)
		return err == nil && x.u.Stats().OpenFiles <= 2
	})
}

// TestGoesBeforeTheChange lets the volume of a directory's home copy go after it was seen that none is away, and before
// the directory's mode is changed: that counts all the same when the volume is back.
func TestGoesBeforeTheChange(t *testing.T) {
	ctx := context.Background()
	x := newAwayTree(t)
	release := x.p[1].delay.Hang(volume.OpSetMark)
	defer release()
	did := make(chan error, 1)
	go func() {
		_, err := x.u.SetAttr(ctx, who, x.both, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700}, nil)
		did <- err
	}()
	eventually(t, "a copy is prepared", func() bool { return x.p[1].delay.Hanging() == 1 })
	x.pull(t, 0)
	release()
	if err := <-did; err != nil {
		t.Fatal(err)
	}
	x.put(t, 0)
	eventually(t, "all is leveled", x.leveled)
	if a, err := x.u.GetAttr(ctx, who, x.both); err != nil || a.Mode != 0o700 {
		t.Errorf("mode %o, %v", a.Mode, err)
	}
}

// TestEmptyWithoutACopy asks whether a directory is empty when the volume that has its only name went after it was seen to
// be there.
func TestEmptyWithoutACopy(t *testing.T) {
	x := newAwayTree(t)
	x.pull(t, 1)
	d := x.u.table.get(x.both.ID)
	defer d.put()
	if err := x.u.empty(context.Background(), d); !isRefusal(err) {
		t.Errorf("%v, want that a volume is away", err)
	}
	x.put(t, 1)
	if err := x.u.empty(context.Background(), d); vfs.StatusOf(err) != vfs.NotEmpty {
		t.Error(err)
	}
}
