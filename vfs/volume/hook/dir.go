package hook

import (
	"context"
	"errors"
	"io"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// dir is an open directory.
type dir struct {
	h *Volume
	volume.Dir
	fixed bool // one of the volume's own two
}

// opened makes an operation that opens something, and closes it if it is to have failed.
func opened[T io.Closer](ctx context.Context, h *Volume, op volume.Op, f func() (T, error)) (v T, err error) {
	open := false
	err = h.f(ctx, op, func() (err error) {
		v, err = f()
		open = err == nil
		return err
	})
	if err != nil && open {
		err = errors.Join(err, v.Close())
	}
	return v, err
}

func (d *dir) asDir(sub volume.Dir, err error) (volume.Dir, error) {
	if err != nil {
		return nil, err
	}
	return &dir{d.h, sub, false}, nil
}

func (d *dir) asFile(f volume.File, err error) (volume.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{d.h, f}, nil
}

// Stat implements volume.Dir.
func (d *dir) Stat(ctx context.Context) (volume.Stat, error) {
	return value(ctx, d.h, volume.OpStat, func() (volume.Stat, error) { return d.Dir.Stat(ctx) })
}

// Identify implements volume.Dir.
func (d *dir) Identify(ctx context.Context) (st volume.Stat, id volume.Identity, err error) {
	err = d.h.f(ctx, volume.OpIdentify, func() (err error) {
		st, id, err = d.Dir.Identify(ctx)
		return err
	})
	return st, id, err
}

// StatAt implements volume.Dir.
func (d *dir) StatAt(ctx context.Context, name vfs.Name) (volume.Stat, error) {
	return value(ctx, d.h, volume.OpStatAt, func() (volume.Stat, error) { return d.Dir.StatAt(ctx, name) })
}

// IdentifyAt implements volume.Dir.
func (d *dir) IdentifyAt(ctx context.Context, name vfs.Name) (st volume.Stat, id volume.Identity, err error) {
	err = d.h.f(ctx, volume.OpIdentifyAt, func() (err error) {
		st, id, err = d.Dir.IdentifyAt(ctx, name)
		return err
	})
	return st, id, err
}

// List implements volume.Dir.
func (d *dir) List(ctx context.Context, each func(volume.Entry) bool) error {
	return d.h.f(ctx, volume.OpList, func() error { return d.Dir.List(ctx, each) })
}

// OpenDir implements volume.Dir.
func (d *dir) OpenDir(ctx context.Context, name vfs.Name) (volume.Dir, error) {
	return d.asDir(opened(ctx, d.h, volume.OpOpenDir, func() (volume.Dir, error) { return d.Dir.OpenDir(ctx, name) }))
}

// Open implements volume.Dir.
func (d *dir) Open(ctx context.Context, name vfs.Name, flags volume.Flag) (volume.File, error) {
	return d.asFile(opened(ctx, d.h, volume.OpOpen, func() (volume.File, error) { return d.Dir.Open(ctx, name, flags) }))
}

// Create implements volume.Dir.
func (d *dir) Create(ctx context.Context, name vfs.Name, n *volume.New) (_ volume.File, st volume.Stat, id volume.Identity, _ error) {
	f, err := d.asFile(opened(ctx, d.h, volume.OpCreate, func() (f volume.File, err error) {
		f, st, id, err = d.Dir.Create(ctx, name, n)
		return f, err
	}))
	return f, st, id, err
}

// Mkdir implements volume.Dir.
func (d *dir) Mkdir(ctx context.Context, name vfs.Name, n *volume.New) (_ volume.Dir, st volume.Stat, id volume.Identity, _ error) {
	sub, err := d.asDir(opened(ctx, d.h, volume.OpMkdir, func() (sub volume.Dir, err error) {
		sub, st, id, err = d.Dir.Mkdir(ctx, name, n)
		return sub, err
	}))
	return sub, st, id, err
}

// Symlink implements volume.Dir.
func (d *dir) Symlink(ctx context.Context, name vfs.Name, target string, n *volume.New) (st volume.Stat, id volume.Identity, err error) {
	err = d.h.f(ctx, volume.OpSymlink, func() (err error) {
		st, id, err = d.Dir.Symlink(ctx, name, target, n)
		return err
	})
	return st, id, err
}

// Mknod implements volume.Dir.
func (d *dir) Mknod(ctx context.Context, name vfs.Name, t vfs.Type, major, minor uint32, n *volume.New) (st volume.Stat, id volume.Identity, err error) {
	err = d.h.f(ctx, volume.OpMknod, func() (err error) {
		st, id, err = d.Dir.Mknod(ctx, name, t, major, minor, n)
		return err
	})
	return st, id, err
}

// Link implements volume.Dir.
func (d *dir) Link(ctx context.Context, from volume.Dir, fromName vfs.Name, want volume.Key, name vfs.Name) error {
	return d.h.f(ctx, volume.OpLink, func() error { return d.Dir.Link(ctx, unwrap(from), fromName, want, name) })
}

// Rename implements volume.Dir.
func (d *dir) Rename(ctx context.Context, fromName vfs.Name, to volume.Dir, toName vfs.Name, noReplace bool) error {
	return d.h.f(ctx, volume.OpRename, func() error { return d.Dir.Rename(ctx, fromName, unwrap(to), toName, noReplace) })
}

// Unlink implements volume.Dir.
func (d *dir) Unlink(ctx context.Context, name vfs.Name) error {
	return d.h.f(ctx, volume.OpUnlink, func() error { return d.Dir.Unlink(ctx, name) })
}

// Rmdir implements volume.Dir.
func (d *dir) Rmdir(ctx context.Context, name vfs.Name) error {
	return d.h.f(ctx, volume.OpRmdir, func() error { return d.Dir.Rmdir(ctx, name) })
}

// ReadLink implements volume.Dir.
func (d *dir) ReadLink(ctx context.Context, name vfs.Name) (string, error) {
	return value(ctx, d.h, volume.OpReadLink, func() (string, error) { return d.Dir.ReadLink(ctx, name) })
}

// SetAttr implements volume.Dir.
func (d *dir) SetAttr(ctx context.Context, set *vfs.SetAttr) error {
	return d.h.f(ctx, volume.OpSetAttr, func() error { return d.Dir.SetAttr(ctx, set) })
}

// SetAttrAt implements volume.Dir.
func (d *dir) SetAttrAt(ctx context.Context, name vfs.Name, want volume.Key, set *vfs.SetAttr) error {
	return d.h.f(ctx, volume.OpSetAttrAt, func() error { return d.Dir.SetAttrAt(ctx, name, want, set) })
}

// ACLs implements volume.Dir.
func (d *dir) ACLs(ctx context.Context) (vfs.ACLs, error) {
	return value(ctx, d.h, volume.OpACLs, func() (vfs.ACLs, error) { return d.Dir.ACLs(ctx) })
}

// ACLsAt implements volume.Dir.
func (d *dir) ACLsAt(ctx context.Context, name vfs.Name) (vfs.ACLs, error) {
	return value(ctx, d.h, volume.OpACLsAt, func() (vfs.ACLs, error) { return d.Dir.ACLsAt(ctx, name) })
}

// SetACLs implements volume.Dir.
func (d *dir) SetACLs(ctx context.Context, a vfs.ACLs) error {
	return d.h.f(ctx, volume.OpSetACLs, func() error { return d.Dir.SetACLs(ctx, a) })
}

// SetACLsAt implements volume.Dir.
func (d *dir) SetACLsAt(ctx context.Context, name vfs.Name, want volume.Key, a vfs.ACLs) error {
	return d.h.f(ctx, volume.OpSetACLsAt, func() error { return d.Dir.SetACLsAt(ctx, name, want, a) })
}

// Mark implements volume.Dir.
func (d *dir) Mark(ctx context.Context) ([]byte, error) {
	return value(ctx, d.h, volume.OpMark, func() ([]byte, error) { return d.Dir.Mark(ctx) })
}

// SetMark implements volume.Dir.
func (d *dir) SetMark(ctx context.Context, mark []byte) error {
	return d.h.f(ctx, volume.OpSetMark, func() error { return d.Dir.SetMark(ctx, mark) })
}

// MarkAt implements volume.Dir.
func (d *dir) MarkAt(ctx context.Context, name vfs.Name) ([]byte, error) {
	return value(ctx, d.h, volume.OpMarkAt, func() ([]byte, error) { return d.Dir.MarkAt(ctx, name) })
}

// SetMarkAt implements volume.Dir.
func (d *dir) SetMarkAt(ctx context.Context, name vfs.Name, want volume.Key, mark []byte) error {
	return d.h.f(ctx, volume.OpSetMarkAt, func() error { return d.Dir.SetMarkAt(ctx, name, want, mark) })
}

// Sync implements volume.Dir.
func (d *dir) Sync(ctx context.Context) error {
	return d.h.f(ctx, volume.OpSyncDir, func() error { return d.Dir.Sync(ctx) })
}

// Close implements volume.Dir.
func (d *dir) Close() error {
	if d.fixed {
		return d.Dir.Close()
	}
	return d.h.closed(d.Dir.Close)
}
