package hook

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

func TestSuite(t *testing.T) {
	volumetest.Suite(t, func(*testing.T) volume.Volume {
		return New(volumetest.NewMem(volumetest.Options{}), func(_ context.Context, _ volume.Op, next func() error) error { return next() })
	})
}

var errHook = &vfs.Error{Status: vfs.IO, Op: "hook", Err: errors.New("says the hook")}

// calls is one call of every operation, in the order of volume.Ops; file is "f" open, with content.
func calls(ctx context.Context, v volume.Volume, f volume.File) map[volume.Op]func() error {
	root, key := v.Root(), volume.Key{}
	n := func(s string) vfs.Name { return vfs.MustName(s) }
	how := &volume.New{Mode: 0o700}
	set := &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700}
	if st, err := root.StatAt(ctx, n("f")); err == nil {
		key = st.Key
	}
	closing := func(c interface{ Close() error }, err error) error {
		if err != nil {
			return err
		}
		return c.Close()
	}
	return map[volume.Op]func() error{
		volume.OpStat:       func() error { _, err := root.Stat(ctx); return err },
		volume.OpIdentify:   func() error { _, _, err := root.Identify(ctx); return err },
		volume.OpStatAt:     func() error { _, err := root.StatAt(ctx, n("f")); return err },
		volume.OpIdentifyAt: func() error { _, _, err := root.IdentifyAt(ctx, n("f")); return err },
		volume.OpList:       func() error { return root.List(ctx, func(volume.Entry) bool { return true }) },
		volume.OpOpenDir:    func() error { d, err := root.OpenDir(ctx, n("d")); return closing(d, err) },
		volume.OpOpen:       func() error { f, err := root.Open(ctx, n("f"), volume.Read); return closing(f, err) },
		volume.OpReadLink:   func() error { _, err := root.ReadLink(ctx, n("l")); return err },
		volume.OpACLs:       func() error { _, err := root.ACLs(ctx); return err },
		volume.OpACLsAt:     func() error { _, err := root.ACLsAt(ctx, n("f")); return err },
		volume.OpMark:       func() error { _, err := root.Mark(ctx); return err },
		volume.OpMarkAt:     func() error { _, err := root.MarkAt(ctx, n("f")); return err },
		volume.OpFStat:      func() error { _, err := f.Stat(ctx); return err },
		volume.OpReadAt:     func() error { _, err := f.ReadAt(ctx, make([]byte, 1), 0); return err },
		volume.OpReadNow:    func() error { _, err := f.ReadNow(make([]byte, 1), 0); return err },
		volume.OpSpace:      func() error { _, err := v.Space(ctx); return err },
		volume.OpLocate:     func() error { _, err := v.Locate(ctx, key.Ino, 0); return err },
		volume.OpCreate:     func() error { f, _, _, err := root.Create(ctx, n("new"), how); return closing(f, err) },
		volume.OpMkdir:      func() error { d, _, _, err := root.Mkdir(ctx, n("newdir"), how); return closing(d, err) },
		volume.OpSymlink:    func() error { _, _, err := root.Symlink(ctx, n("newlink"), "x", how); return err },
		volume.OpMknod:      func() error { _, _, err := root.Mknod(ctx, n("newfifo"), vfs.FIFO, 0, 0, how); return err },
		volume.OpLink:       func() error { return root.Link(ctx, root, n("f"), key, n("hard")) },
		volume.OpRename:     func() error { return root.Rename(ctx, n("hard"), root, n("harder"), false) },
		volume.OpUnlink:     func() error { return root.Unlink(ctx, n("harder")) },
		volume.OpRmdir:      func() error { return root.Rmdir(ctx, n("newdir")) },
		volume.OpSetAttr:    func() error { return root.SetAttr(ctx, set) },
		volume.OpSetAttrAt:  func() error { return root.SetAttrAt(ctx, n("f"), key, set) },
		volume.OpSetACLs:    func() error { return root.SetACLs(ctx, vfs.ACLs{}) },
		volume.OpSetACLsAt:  func() error { return root.SetACLsAt(ctx, n("f"), key, vfs.ACLs{}) },
		volume.OpSetMark:    func() error { return root.SetMark(ctx, []byte("mark")) },
		volume.OpSetMarkAt:  func() error { return root.SetMarkAt(ctx, n("f"), key, []byte("mark")) },
		volume.OpWriteAt:    func() error { _, err := f.WriteAt(ctx, []byte("x"), 0); return err },
		volume.OpFSetAttr:   func() error { return f.SetAttr(ctx, set) },
		volume.OpSetMarker:  func() error { return v.SetMarker(ctx, v.Marker()) },
		volume.OpSyncDir:    func() error { return root.Sync(ctx) },
		volume.OpSyncFile:   func() error { return f.Sync(ctx, false) },
		volume.OpSyncAll:    func() error { return v.SyncAll(ctx) },
	}
}

// TestEveryOperation: each goes through the hook under its own name, once; the hook's error is the
// call's, whether the operation was made or not, and nothing stays open.
func TestEveryOperation(t *testing.T) {
	ctx := t.Context()
	m := volumetest.NewMem(volumetest.Options{Weak: true})
	var mu sync.Mutex
	var seen []volume.Op
	var before, after bool
	v := New(m, func(_ context.Context, op volume.Op, next func() error) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, op)
		if op == volume.OpClose {
			return nil // it is made all the same
		}
		if before {
			return errHook
		}
		err := next()
		if after && err == nil {
			err = errHook
		}
		return err
	})
	root := v.Root()
	f, _, _, err := root.Create(ctx, vfs.MustName("f"), &volume.New{Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	d, _, _, err := root.Mkdir(ctx, vfs.MustName("d"), &volume.New{Mode: 0o700})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := root.Symlink(ctx, vfs.MustName("l"), "x", &volume.New{}); err != nil {
		t.Fatal(err)
	}
	all := calls(ctx, v, f)
	for _, op := range volume.Ops() {
		call := all[op]
		if op == volume.OpClose {
			continue
		}
		if call == nil {
			t.Errorf("%s has no call here", op)
			continue
		}
		before, after, seen = true, false, nil
		if err := call(); !errors.Is(err, errHook) || !slices.Equal(seen, []volume.Op{op}) {
			t.Errorf("%s refused by the hook: %v, seen %v", op, err, seen)
		}
		before, after, seen = false, false, nil
		if err := call(); err != nil || seen[0] != op {
			t.Errorf("%s: %v, seen %v", op, err, seen)
		}
	}
	after = true
	for _, op := range []volume.Op{volume.OpOpen, volume.OpOpenDir} {
		if err := all[op](); !errors.Is(err, errHook) {
			t.Errorf("%s: %v", op, err)
		}
	}
	after = false
	if err := errors.Join(f.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if n := m.Handles(); n != 0 {
		t.Errorf("%d are open", n)
	}
}

// TestPicker: which operations are taken, in what order, and the same ones for a seed.
func TestPicker(t *testing.T) {
	p := NewPicker(7)
	p.Set([]Pick{{Ops: []volume.Op{volume.OpStat}, Skip: 1, Count: 2}, {Ops: []volume.Op{volume.OpList}}})
	var got []int
	for range 5 {
		got = append(got, p.Pick(volume.OpStat), p.Pick(volume.OpList), p.Pick(volume.OpOpen))
	}
	want := []int{-1, 1, -1, 0, 1, -1, 0, 1, -1, -1, 1, -1, -1, 1, -1}
	if !slices.Equal(got, want) || p.Picked() != 7 {
		t.Errorf("%v, want %v; %d", got, want, p.Picked())
	}
	chances := func(seed uint64) (all []int, n int) {
		p := NewPicker(seed)
		p.Set([]Pick{{Chance: 0.25}})
		for range 1000 {
			all = append(all, p.Pick(volume.OpStat))
		}
		if p.Pick(volume.OpClose) != -1 || p.Seed() != seed {
			t.Error("Close was picked")
		}
		return all, int(p.Picked())
	}
	a, n := chances(1)
	b, _ := chances(1)
	if !slices.Equal(a, b) || n < 180 || n > 320 {
		t.Errorf("%d of 1000, or another sequence for one seed", n)
	}
	if c, _ := chances(2); slices.Equal(a, c) {
		t.Error("the seed changes nothing")
	}
}
