package guard

import (
	"context"
	"sync"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// file is an open file of one opening.
type file struct {
	g    *Volume
	held *held
	f    volume.File
}

func (f *file) at(op volume.Op) call {
	return call{g: f.g, op: op, gt: f.g.gate.Load(), o: f.held.o, h: f.held}
}

// Stat is made by a worker, unless it never waits.
func (f *file) Stat(ctx context.Context) (volume.Stat, error) {
	c := f.at(volume.OpFStat)
	if c.o.statNow {
		return statNow(ctx, &c, f.f)
	}
	return look(ctx, c, func(ctx context.Context) (volume.Stat, error) { return f.f.Stat(ctx) }, nil)
}

// buffers are for reads whose caller may leave while the host still writes into them.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

type piece struct {
	buf *[]byte
	n   int
}

// ReadAt reads what the host has in memory at once, straight into buf. For the rest a worker reads into a
// buffer of its own, since buf is its owner's again when he was answered.
func (f *file) ReadAt(ctx context.Context, buf []byte, off int64) (int, error) {
	if n, err := f.ReadNow(buf, off); err == nil {
		return n, nil
	}
	size := len(buf)
	p, err := look(ctx, f.at(volume.OpReadAt), func(ctx context.Context) (p piece, err error) {
		p.buf = buffers.Get().(*[]byte)
		if cap(*p.buf) < size {
			*p.buf = make([]byte, size)
		}
		p.n, err = f.f.ReadAt(ctx, (*p.buf)[:size], off)
		return p, err
	}, func(late piece) { buffers.Put(late.buf) })
	if p.buf == nil {
		return 0, err
	}
	n := copy(buf, (*p.buf)[:p.n])
	buffers.Put(p.buf)
	return n, err
}

// ReadNow is made at once: by its contract it never waits. While nothing comes back from the volume it is not made, since not
// every host keeps that (vfs/volume/local).
func (f *file) ReadNow(buf []byte, off int64) (int, error) {
	c := f.at(volume.OpReadNow)
	if c.o.kinds[reads].still.Load() > 1 {
		return 0, vfs.Again
	}
	if err := c.now(); err != nil {
		return 0, err
	}
	n, err := f.f.ReadNow(buf, off)
	c.leaveNow(err)
	return n, err
}

// WriteAt is waited for.
func (f *file) WriteAt(ctx context.Context, buf []byte, off int64) (int, error) {
	c := f.at(volume.OpWriteAt)
	s, err := c.enter(ctx)
	if err != nil {
		return 0, err
	}
	n, err := f.f.WriteAt(ctx, buf, off)
	return n, c.exit(s, err)
}

// SetAttr is waited for.
func (f *file) SetAttr(ctx context.Context, set *vfs.SetAttr) error {
	c := f.at(volume.OpFSetAttr)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, f.f.SetAttr(ctx, set))
}

// Sync is waited for.
func (f *file) Sync(ctx context.Context, dataOnly bool) error {
	c := f.at(volume.OpSyncFile)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, f.f.Sync(ctx, dataOnly))
}

// Close closes the file in the background: what must not be lost was synced before, and an error
// is logged.
func (f *file) Close() error { return f.held.close() }
