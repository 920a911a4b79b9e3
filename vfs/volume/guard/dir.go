package guard

import (
	"context"
	"errors"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Which Dir a dir is.
const (
	ownDir = iota // one that was opened or made
	rootDir
	privateDir
)

// dir is an open directory: of one opening, or the volume's own of whichever there is.
type dir struct {
	g     *Volume
	which int
	held  *held // of an ownDir
	d     volume.Dir
}

// at is the call op on d as things stand, and the directory of the opening to make it on, which is
// valid once the call has entered.
func (d *dir) at(op volume.Op) (call, volume.Dir) {
	gt := d.g.gate.Load()
	c := call{g: d.g, op: op, gt: gt, o: gt.o, h: d.held}
	switch {
	case d.which == ownDir:
		c.o = d.held.o
		return c, d.d
	case gt.o == nil:
		return c, nil
	case d.which == rootDir:
		return c, gt.o.root
	default:
		return c, gt.o.private
	}
}

func (g *Volume) hold(o *opening, inner interface{ Close() error }) *held {
	return &held{g: g, o: o, inner: inner}
}

func (d *dir) wrapDir(o *opening, inner volume.Dir) *dir {
	return &dir{g: d.g, held: d.g.hold(o, inner), d: inner}
}

func (d *dir) wrapFile(o *opening, inner volume.File) *file {
	return &file{g: d.g, held: d.g.hold(o, inner), f: inner}
}

// mayOpen refuses what would add to a heap of what cannot be closed.
func (c *call) mayOpen() error {
	if c.o != nil && c.o.pending.Load() >= ClosingMax {
		return c.busy(&c.o.kinds[kindOf(c.op)], int(c.o.pending.Load()))
	}
	return nil
}

type identified struct {
	st volume.Stat
	id volume.Identity
}

// Stat is made by a worker, unless it never waits.
func (d *dir) Stat(ctx context.Context) (volume.Stat, error) {
	c, in := d.at(volume.OpStat)
	if c.o != nil && c.o.statNow {
		return statNow(ctx, &c, in)
	}
	return look(ctx, c, func(ctx context.Context) (volume.Stat, error) { return in.Stat(ctx) }, nil)
}

// stater is a Dir or a File.
type stater interface {
	Stat(ctx context.Context) (volume.Stat, error)
}

func statNow(ctx context.Context, c *call, in stater) (volume.Stat, error) {
	if err := c.now(); err != nil {
		return volume.Stat{}, err
	}
	st, err := in.Stat(ctx)
	c.leaveNow(err)
	return st, err
}

// Identify is made by a worker.
func (d *dir) Identify(ctx context.Context) (volume.Stat, volume.Identity, error) {
	c, in := d.at(volume.OpIdentify)
	i, err := look(ctx, c, func(ctx context.Context) (i identified, err error) {
		i.st, i.id, err = in.Identify(ctx)
		return i, err
	}, nil)
	return i.st, i.id, err
}

// StatAt is made by a worker.
func (d *dir) StatAt(ctx context.Context, name vfs.Name) (volume.Stat, error) {
	c, in := d.at(volume.OpStatAt)
	return look(ctx, c, func(ctx context.Context) (volume.Stat, error) { return in.StatAt(ctx, name) }, nil)
}

// IdentifyAt is made by a worker.
func (d *dir) IdentifyAt(ctx context.Context, name vfs.Name) (volume.Stat, volume.Identity, error) {
	c, in := d.at(volume.OpIdentifyAt)
	i, err := look(ctx, c, func(ctx context.Context) (i identified, err error) {
		i.st, i.id, err = in.IdentifyAt(ctx, name)
		return i, err
	}, nil)
	return i.st, i.id, err
}

// OpenDir is made by a worker.
func (d *dir) OpenDir(ctx context.Context, name vfs.Name) (volume.Dir, error) {
	c, in := d.at(volume.OpOpenDir)
	if err := c.mayOpen(); err != nil {
		return nil, err
	}
	sub, err := look(ctx, c, func(ctx context.Context) (volume.Dir, error) { return in.OpenDir(ctx, name) },
		func(late volume.Dir) { c.o.reap(late) })
	if err != nil {
		return nil, err
	}
	return d.wrapDir(c.o, sub), nil
}

// Open is made by a worker.
func (d *dir) Open(ctx context.Context, name vfs.Name, flags volume.Flag) (volume.File, error) {
	c, in := d.at(volume.OpOpen)
	if err := c.mayOpen(); err != nil {
		return nil, err
	}
	f, err := look(ctx, c, func(ctx context.Context) (volume.File, error) { return in.Open(ctx, name, flags) },
		func(late volume.File) { c.o.reap(late) })
	if err != nil {
		return nil, err
	}
	return d.wrapFile(c.o, f), nil
}

// ReadLink is made by a worker.
func (d *dir) ReadLink(ctx context.Context, name vfs.Name) (string, error) {
	c, in := d.at(volume.OpReadLink)
	return look(ctx, c, func(ctx context.Context) (string, error) { return in.ReadLink(ctx, name) }, nil)
}

// ACLs is made by a worker.
func (d *dir) ACLs(ctx context.Context) (vfs.ACLs, error) {
	c, in := d.at(volume.OpACLs)
	return look(ctx, c, func(ctx context.Context) (vfs.ACLs, error) { return in.ACLs(ctx) }, nil)
}

// ACLsAt is made by a worker.
func (d *dir) ACLsAt(ctx context.Context, name vfs.Name) (vfs.ACLs, error) {
	c, in := d.at(volume.OpACLsAt)
	return look(ctx, c, func(ctx context.Context) (vfs.ACLs, error) { return in.ACLsAt(ctx, name) }, nil)
}

// Mark is made by a worker.
func (d *dir) Mark(ctx context.Context) ([]byte, error) {
	c, in := d.at(volume.OpMark)
	return look(ctx, c, func(ctx context.Context) ([]byte, error) { return in.Mark(ctx) }, nil)
}

// MarkAt is made by a worker.
func (d *dir) MarkAt(ctx context.Context, name vfs.Name) ([]byte, error) {
	c, in := d.at(volume.OpMarkAt)
	return look(ctx, c, func(ctx context.Context) ([]byte, error) { return in.MarkAt(ctx, name) }, nil)
}

// Create is waited for.
func (d *dir) Create(ctx context.Context, name vfs.Name, n *volume.New) (volume.File, volume.Stat, volume.Identity, error) {
	c, in := d.at(volume.OpCreate)
	s, err := c.enterOpening(ctx)
	if err != nil {
		return nil, volume.Stat{}, volume.Identity{}, err
	}
	f, st, id, err := in.Create(ctx, name, n)
	if err = c.exit(s, err); err != nil {
		return nil, st, id, err
	}
	return d.wrapFile(c.o, f), st, id, nil
}

// Mkdir is waited for.
func (d *dir) Mkdir(ctx context.Context, name vfs.Name, n *volume.New) (volume.Dir, volume.Stat, volume.Identity, error) {
	c, in := d.at(volume.OpMkdir)
	s, err := c.enterOpening(ctx)
	if err != nil {
		return nil, volume.Stat{}, volume.Identity{}, err
	}
	sub, st, id, err := in.Mkdir(ctx, name, n)
	if err = c.exit(s, err); err != nil {
		return nil, st, id, err
	}
	return d.wrapDir(c.o, sub), st, id, nil
}

func (c *call) enterOpening(ctx context.Context) (*slot, error) {
	if err := c.mayOpen(); err != nil {
		return nil, err
	}
	return c.enter(ctx)
}

// Symlink is waited for.
func (d *dir) Symlink(ctx context.Context, name vfs.Name, target string, n *volume.New) (volume.Stat, volume.Identity, error) {
	c, in := d.at(volume.OpSymlink)
	s, err := c.enter(ctx)
	if err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	st, id, err := in.Symlink(ctx, name, target, n)
	return st, id, c.exit(s, err)
}

// Mknod is waited for.
func (d *dir) Mknod(ctx context.Context, name vfs.Name, t vfs.Type, major, minor uint32, n *volume.New) (volume.Stat, volume.Identity, error) {
	c, in := d.at(volume.OpMknod)
	s, err := c.enter(ctx)
	if err != nil {
		return volume.Stat{}, volume.Identity{}, err
	}
	st, id, err := in.Mknod(ctx, name, t, major, minor, n)
	return st, id, c.exit(s, err)
}

// other is the second directory of a call on the same opening.
func (c *call) other(d volume.Dir) (volume.Dir, error) {
	o, ok := d.(*dir)
	switch {
	case !ok || o.g != c.g:
		return nil, &vfs.Error{Status: vfs.XDev, Op: c.op.String(), Volume: c.g.o.Name, Err: errors.New("the other directory is of another volume")}
	case o.which == rootDir:
		return c.o.root, nil
	case o.which == privateDir:
		return c.o.private, nil
	case o.held.o != c.o:
		two := *c
		two.o = o.held.o
		return nil, two.refuse(c.gt)
	default:
		return o.d, nil
	}
}

// Link is waited for.
func (d *dir) Link(ctx context.Context, from volume.Dir, fromName vfs.Name, want volume.Key, name vfs.Name) error {
	c, in := d.at(volume.OpLink)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	src, err := c.other(from)
	if err == nil {
		err = in.Link(ctx, src, fromName, want, name)
	}
	return c.exit(s, err)
}

// Rename is waited for.
func (d *dir) Rename(ctx context.Context, fromName vfs.Name, to volume.Dir, toName vfs.Name, noReplace bool) error {
	c, in := d.at(volume.OpRename)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	dst, err := c.other(to)
	if err == nil {
		err = in.Rename(ctx, fromName, dst, toName, noReplace)
	}
	return c.exit(s, err)
}

// Unlink is waited for.
func (d *dir) Unlink(ctx context.Context, name vfs.Name) error {
	c, in := d.at(volume.OpUnlink)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.Unlink(ctx, name))
}

// Rmdir is waited for.
func (d *dir) Rmdir(ctx context.Context, name vfs.Name) error {
	c, in := d.at(volume.OpRmdir)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.Rmdir(ctx, name))
}

// SetAttr is waited for.
func (d *dir) SetAttr(ctx context.Context, set *vfs.SetAttr) error {
	c, in := d.at(volume.OpSetAttr)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.SetAttr(ctx, set))
}

// SetAttrAt is waited for.
func (d *dir) SetAttrAt(ctx context.Context, name vfs.Name, want volume.Key, set *vfs.SetAttr) error {
	c, in := d.at(volume.OpSetAttrAt)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.SetAttrAt(ctx, name, want, set))
}

// SetACLs is waited for.
func (d *dir) SetACLs(ctx context.Context, a vfs.ACLs) error {
	c, in := d.at(volume.OpSetACLs)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.SetACLs(ctx, a))
}

// SetACLsAt is waited for.
func (d *dir) SetACLsAt(ctx context.Context, name vfs.Name, want volume.Key, a vfs.ACLs) error {
	c, in := d.at(volume.OpSetACLsAt)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.SetACLsAt(ctx, name, want, a))
}

// SetMark is waited for.
func (d *dir) SetMark(ctx context.Context, mark []byte) error {
	c, in := d.at(volume.OpSetMark)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.SetMark(ctx, mark))
}

// SetMarkAt is waited for.
func (d *dir) SetMarkAt(ctx context.Context, name vfs.Name, want volume.Key, mark []byte) error {
	c, in := d.at(volume.OpSetMarkAt)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.SetMarkAt(ctx, name, want, mark))
}

// Sync is waited for.
func (d *dir) Sync(ctx context.Context) error {
	c, in := d.at(volume.OpSyncDir)
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, in.Sync(ctx))
}

// Close closes the directory in the background. The volume's own two stay open.
func (d *dir) Close() error { return d.held.close() }
