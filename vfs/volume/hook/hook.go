package hook

import (
	"context"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Func is called for every operation, from any goroutine. next makes it, and must be called once at
// most; whoever does not call it, or returns an error in spite of what next did, is believed:
// what was opened is closed again. volume.OpReadNow must not wait: vfs.Again says that it would
// have to. volume.OpClose is made in any case.
type Func func(ctx context.Context, op volume.Op, next func() error) error

// Volume is a volume with a Func around its operations.
type Volume struct {
	volume.Volume
	f             Func
	root, private *dir
}

// New decorates v. Dirs and Files of the result must not be mixed with v's own. Close of the Volume itself is
// not an operation.
func New(v volume.Volume, f Func) *Volume {
	h := &Volume{Volume: v, f: f}
	h.root, h.private = &dir{h, v.Root(), true}, &dir{h, v.Private(), true}
	return h
}

// Root is the volume's directory.
func (h *Volume) Root() volume.Dir { return h.root }

// Private is volume.PrivateName.
func (h *Volume) Private() volume.Dir { return h.private }

// value makes an operation with a result.
func value[T any](ctx context.Context, h *Volume, op volume.Op, f func() (T, error)) (T, error) {
	var v, none T
	err := h.f(ctx, op, func() (err error) {
		v, err = f()
		return err
	})
	if err != nil {
		return none, err
	}
	return v, nil
}

// Space implements volume.Volume.
func (h *Volume) Space(ctx context.Context) (volume.Space, error) {
	return value(ctx, h, volume.OpSpace, func() (volume.Space, error) { return h.Volume.Space(ctx) })
}

// SyncAll implements volume.Volume.
func (h *Volume) SyncAll(ctx context.Context) error {
	return h.f(ctx, volume.OpSyncAll, func() error { return h.Volume.SyncAll(ctx) })
}

// Locate implements volume.Volume.
func (h *Volume) Locate(ctx context.Context, ino uint64, gen uint32) ([]vfs.Name, error) {
	return value(ctx, h, volume.OpLocate, func() ([]vfs.Name, error) { return h.Volume.Locate(ctx, ino, gen) })
}

// SetMarker implements volume.Volume.
func (h *Volume) SetMarker(ctx context.Context, m volume.Marker) error {
	return h.f(ctx, volume.OpSetMarker, func() error { return h.Volume.SetMarker(ctx, m) })
}

// Watch implements volume.Watcher. It is no operation: what the host tells is not asked for.
func (h *Volume) Watch(ctx context.Context, sink volume.WatchSink) (volume.Watch, error) {
	w, err := volume.StartWatch(ctx, h.Volume, sink)
	if err != nil {
		return nil, err
	}
	return watch{w}, nil
}

// watch is given the decorated volume's own directories.
type watch struct{ volume.Watch }

// Cover implements volume.Watch.
func (w watch) Cover(ctx context.Context, d volume.Dir) (bool, error) {
	return w.Watch.Cover(ctx, unwrap(d))
}

// unwrap is the decorated volume's Dir; what is not ours it refuses itself.
func unwrap(d volume.Dir) volume.Dir {
	if w, ok := d.(*dir); ok {
		return w.Dir
	}
	return d
}

// closed makes a Close.
func (h *Volume) closed(f func() error) error {
	done := false
	once := func() error {
		done = true
		return f()
	}
	err := h.f(context.Background(), volume.OpClose, once)
	if !done {
		if cerr := once(); err == nil {
			err = cerr
		}
	}
	return err
}

// file is an open file.
type file struct {
	h *Volume
	f volume.File
}

// Stat implements volume.File.
func (f *file) Stat(ctx context.Context) (volume.Stat, error) {
	return value(ctx, f.h, volume.OpFStat, func() (volume.Stat, error) { return f.f.Stat(ctx) })
}

// ReadAt implements volume.File.
func (f *file) ReadAt(ctx context.Context, buf []byte, off int64) (int, error) {
	return value(ctx, f.h, volume.OpReadAt, func() (int, error) { return f.f.ReadAt(ctx, buf, off) })
}

// ReadNow implements volume.File.
func (f *file) ReadNow(buf []byte, off int64) (int, error) {
	return value(context.Background(), f.h, volume.OpReadNow, func() (int, error) { return f.f.ReadNow(buf, off) })
}

// WriteAt implements volume.File. Its count is what was written, whatever the Func says.
func (f *file) WriteAt(ctx context.Context, buf []byte, off int64) (n int, err error) {
	err = f.h.f(ctx, volume.OpWriteAt, func() (err error) {
		n, err = f.f.WriteAt(ctx, buf, off)
		return err
	})
	return n, err
}

// SetAttr implements volume.File.
func (f *file) SetAttr(ctx context.Context, set *vfs.SetAttr) error {
	return f.h.f(ctx, volume.OpFSetAttr, func() error { return f.f.SetAttr(ctx, set) })
}

// Sync implements volume.File.
func (f *file) Sync(ctx context.Context, dataOnly bool) error {
	return f.h.f(ctx, volume.OpSyncFile, func() error { return f.f.Sync(ctx, dataOnly) })
}

// Close implements volume.File.
func (f *file) Close() error { return f.h.closed(f.f.Close) }
