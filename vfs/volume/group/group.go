package group

import (
	"context"
	"sync"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Volume is a volume whose flushes are shared.
type Volume struct {
	volume.Volume
	flusher       *flusher
	root, private *dir
}

// New decorates v. Dirs and Files of the result must not be mixed with v's own.
func New(v volume.Volume) *Volume { return Counted(v, &Counter{}) }

// Counted is New with a counter that others may have counted with before.
func Counted(v volume.Volume, c *Counter) *Volume {
	g := &Volume{Volume: v, flusher: newFlusher(c)}
	g.root, g.private = g.wrap(v.Root()), g.wrap(v.Private())
	return g
}

// Counter counts flushes: of directories, files and whole volumes.
type Counter struct{ asked, made atomic.Uint64 }

// Asked is how many flushes callers have asked for.
func (c *Counter) Asked() uint64 { return c.asked.Load() }

// Made is how many of them the host was asked for: each for all who shared it.
func (c *Counter) Made() uint64 { return c.made.Load() }

// Root is the volume's directory.
func (g *Volume) Root() volume.Dir { return g.root }

// Private is volume.PrivateName.
func (g *Volume) Private() volume.Dir { return g.private }

// Watch watches the decorated volume, if that can be.
func (g *Volume) Watch(ctx context.Context, sink volume.WatchSink) (volume.Watch, error) {
	w, err := volume.StartWatch(ctx, g.Volume, sink)
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

// allKey is SyncAll's.
type allKey struct{}

// SyncAll shares as the others do.
func (g *Volume) SyncAll(ctx context.Context) error {
	return g.flusher.do(ctx, allKey{}, true, func(ctx context.Context, _ bool) error { return g.Volume.SyncAll(ctx) })
}

// dir is an open directory.
type dir struct {
	volume.Dir
	g *Volume

	mu  sync.Mutex // guards key
	key volume.Key // zero until it is first asked for; it never changes
}

func (g *Volume) wrap(d volume.Dir) *dir { return &dir{Dir: d, g: g} }

// unwrap is the decorated volume's Dir; what is not ours it refuses itself.
func unwrap(d volume.Dir) volume.Dir {
	if w, ok := d.(*dir); ok {
		return w.Dir
	}
	return d
}

// OpenDir decorates what it opens.
func (d *dir) OpenDir(ctx context.Context, name vfs.Name) (volume.Dir, error) {
	sub, err := d.Dir.OpenDir(ctx, name)
	if err != nil {
		return nil, err
	}
	return d.g.wrap(sub), nil
}

// Open decorates what it opens.
func (d *dir) Open(ctx context.Context, name vfs.Name, flags volume.Flag) (volume.File, error) {
	f, err := d.Dir.Open(ctx, name, flags)
	if err != nil {
		return nil, err
	}
	return &file{File: f, g: d.g}, nil
}

// Create decorates what it makes.
func (d *dir) Create(ctx context.Context, name vfs.Name, n *volume.New) (volume.File, volume.Stat, volume.Identity, error) {
	f, st, id, err := d.Dir.Create(ctx, name, n)
	if err != nil {
		return nil, st, id, err
	}
	return &file{File: f, g: d.g}, st, id, nil
}

// Mkdir decorates what it makes.
func (d *dir) Mkdir(ctx context.Context, name vfs.Name, n *volume.New) (volume.Dir, volume.Stat, volume.Identity, error) {
	sub, st, id, err := d.Dir.Mkdir(ctx, name, n)
	if err != nil {
		return nil, st, id, err
	}
	return d.g.wrap(sub), st, id, nil
}

// Link passes the decorated volume's own directory on.
func (d *dir) Link(ctx context.Context, from volume.Dir, fromName vfs.Name, want volume.Key, name vfs.Name) error {
	return d.Dir.Link(ctx, unwrap(from), fromName, want, name)
}

// Rename passes the decorated volume's own directory on.
func (d *dir) Rename(ctx context.Context, fromName vfs.Name, to volume.Dir, toName vfs.Name, noReplace bool) error {
	return d.Dir.Rename(ctx, fromName, unwrap(to), toName, noReplace)
}

// Sync shares with every Dir of the same directory.
func (d *dir) Sync(ctx context.Context) error {
	key, err := d.ownKey(ctx)
	if err != nil {
		return err
	}
	inner := d.Dir
	return d.g.flusher.do(ctx, key, true, func(ctx context.Context, _ bool) error { return inner.Sync(ctx) })
}

func (d *dir) ownKey(ctx context.Context) (volume.Key, error) {
	d.mu.Lock()
	key := d.key
	d.mu.Unlock()
	if key != (volume.Key{}) {
		return key, nil
	}
	st, err := d.Stat(ctx)
	if err != nil {
		return volume.Key{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.key = st.Key
	return st.Key, nil
}

// file is an open file.
type file struct {
	volume.File
	g *Volume
}

// Sync shares with those who use the same File. One who wants the data only may be
// given more.
func (f *file) Sync(ctx context.Context, dataOnly bool) error {
	return f.g.flusher.do(ctx, f, !dataOnly, func(ctx context.Context, full bool) error { return f.File.Sync(ctx, !full) })
}
