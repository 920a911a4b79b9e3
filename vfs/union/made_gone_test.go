package union

import (
	"context"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
)

// TestMadeAndRemovedByAnother has another process remove a file before its creation is answered: the answer is of the
// file as it was made, which has a name.
func TestMadeAndRemovedByAnother(t *testing.T) {
	var armed atomic.Bool
	s := memShare(t, 1, nil)
	s.wrapped = func(v volume.Volume) volume.Volume {
		return hook.New(v, func(ctx context.Context, op volume.Op, next func() error) error {
			err := next()
			if op == volume.OpFSetAttr && armed.CompareAndSwap(true, false) {
				must(t, v.Root().Unlink(ctx, n("f")))
			}
			return err
		})
	}
	s.open(t)
	root := s.root(t)
	armed.Store(true)
	a, _, err := s.u.Make(t.Context(), who, root, n("f"), &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetSize, Size: 7}})
	must(t, err)
	if armed.Load() {
		t.Fatal("nothing was removed")
	}
	if a.Nlink != 1 || a.Size != 7 {
		t.Errorf("made as %+v", a)
	}
}
