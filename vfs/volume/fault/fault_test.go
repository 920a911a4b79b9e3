package fault

import (
	"errors"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
	"sheaf/vfs/volume/volumetest"
)

func TestSuite(t *testing.T) {
	volumetest.Suite(t, func(*testing.T) volume.Volume { return New(volumetest.NewMem(volumetest.Options{}), 1) })
}

func TestRules(t *testing.T) {
	ctx, a, b := t.Context(), vfs.MustName("a"), vfs.MustName("b")
	m := volumetest.NewMem(volumetest.Options{Name: "disk"})
	v := New(m, 1)
	v.Set(Rule{Pick: hook.Pick{Ops: []volume.Op{volume.OpCreate}, Count: 1}, Status: vfs.NoSpc},
		Rule{Pick: hook.Pick{Ops: []volume.Op{volume.OpCreate}, Count: 1}, After: true})
	how := &volume.New{Mode: 0o600}
	_, _, _, err := v.Root().Create(ctx, a, how)
	if vfs.StatusOf(err) != vfs.NoSpc || !errors.Is(err, ErrInjected) || err.Error() != `create on volume "disk": made to fail by a rule` {
		t.Error(err)
	}
	if _, _, _, err = v.Root().Create(ctx, b, how); vfs.StatusOf(err) != vfs.IO {
		t.Error(err)
	}
	f, _, _, err := v.Root().Create(ctx, a, how)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Root().StatAt(ctx, b); err != nil {
		t.Errorf("b was made before its making failed: %v", err)
	}
	if n := m.Handles(); n != 1 || v.Injected() != 2 {
		t.Errorf("%d open, %d faults", n, v.Injected())
	}

	if err := v.Present(); err != nil {
		t.Error(err)
	}
	v.PullOut()
	if err := v.Present(); !errors.Is(err, volume.ErrGone) {
		t.Error(err)
	}
	if _, err := f.WriteAt(ctx, []byte("x"), 0); vfs.StatusOf(err) != vfs.NXIO {
		t.Error(err)
	}
	if err := f.Close(); err != nil || m.Handles() != 0 {
		t.Errorf("%v, %d open", err, m.Handles())
	}
	v.PutBack()
	v.Set()
	if err := v.Root().Unlink(ctx, a); err != nil {
		t.Error(err)
	}
}
