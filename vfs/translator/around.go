package translator

import (
	"context"
	"fmt"
	"sync"

	"sheaf/vfs"
)

// Around is below with hook in place of every verb. It allocates nothing per call. Subscriptions pass
// through: a layer that has news of its own wraps the result and overrides Subscribe.
func Around(below vfs.FS, hook Hook) vfs.FS {
	l := &layer{below: below, hook: hook}
	l.next = l.call
	return l
}

// layer is an FS with a hook.
type layer struct {
	below vfs.FS
	hook  Hook
	next  Next // l.call, made once
}

var calls = sync.Pool{New: func() any { return new(Call) }}

// begin is a Call for one call of l. Its fields but these are zero.
func (l *layer) begin(v Verb, w *vfs.Who, n vfs.Node) *Call {
	c := calls.Get().(*Call)
	c.Verb, c.Below, c.Who, c.Node = v, l.below, w, n
	return c
}

// end gives c back. It is not deferred: a Call that a panic went through is left to the collector.
func end(c *Call) {
	*c = Call{}
	calls.Put(c)
}

// call makes c on the FS below: the one place where all verbs are spelled out.
func (l *layer) call(ctx context.Context, c *Call) (err error) {
	switch fs := l.below; c.Verb {
	case Root:
		c.Attr, err = fs.Root(ctx, c.Who)
	case GetAttr:
		c.Attr, err = fs.GetAttr(ctx, c.Who, c.Node)
	case SetAttr:
		c.Change, err = fs.SetAttr(ctx, c.Who, c.Node, c.Set, c.Guard)
	case Access:
		c.Granted, c.Attr, err = fs.Access(ctx, c.Who, c.Node, c.Want)
	case Lookup:
		c.Attr, c.DirAttr, err = fs.Lookup(ctx, c.Who, c.Node, c.Name)
	case Parents:
		err = fs.Parents(ctx, c.Node, c.EachParent)
	case ReadLink:
		c.Target, c.Attr, err = fs.ReadLink(ctx, c.Who, c.Node)
	case Read:
		c.Count, c.EOF, c.Attr, err = fs.Read(ctx, c.Who, c.Node, c.Data, c.Offset)
	case Write:
		c.Written, c.Change, err = fs.Write(ctx, c.Who, c.Node, c.Data, c.Offset, c.Stable)
	case Commit:
		c.Verifier, c.Change, err = fs.Commit(ctx, c.Who, c.Node, c.Offset, c.Length)
	case Make:
		c.Attr, c.Change, err = fs.Make(ctx, c.Who, c.Node, c.Name, c.How)
	case Link:
		c.Attr, c.Change, err = fs.Link(ctx, c.Who, c.Node, c.ToDir, c.ToName)
	case Remove:
		c.Change, err = fs.Remove(ctx, c.Who, c.Node, c.Name)
	case RemoveDir:
		c.Change, err = fs.RemoveDir(ctx, c.Who, c.Node, c.Name)
	case Rename:
		c.Change, c.ToChange, err = fs.Rename(ctx, c.Who, c.Node, c.Name, c.ToDir, c.ToName)
	case ReadDir:
		c.Attr, c.EOF, err = fs.ReadDir(ctx, c.Who, c.Node, c.After, c.WithAttrs, c.Each)
	case Statfs:
		c.Space, c.Attr, err = fs.Statfs(ctx, c.Who, c.Node)
	case Limits:
		c.Limits, c.Attr, err = fs.Limits(ctx, c.Who, c.Node)
	case GetACL:
		c.ACLs, c.Attr, err = fs.GetACL(ctx, c.Who, c.Node)
	case SetACL:
		c.Attr, err = fs.SetACL(ctx, c.Who, c.Node, c.ACLs)
	default:
		err = &vfs.Error{Status: vfs.ServerFault, Op: "translate", Err: fmt.Errorf("a hook asked for %v", c.Verb)}
	}
	return err
}

// Root implements vfs.FS.
func (l *layer) Root(ctx context.Context, w *vfs.Who) (vfs.Attr, error) {
	c := l.begin(Root, w, vfs.Node{})
	err := l.hook(ctx, c, l.next)
	a := c.Attr
	end(c)
	return a, err
}

// GetAttr implements vfs.FS.
func (l *layer) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	c := l.begin(GetAttr, w, n)
	err := l.hook(ctx, c, l.next)
	a := c.Attr
	end(c)
	return a, err
}

// SetAttr implements vfs.FS.
func (l *layer) SetAttr(ctx context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (vfs.Change, error) {
	c := l.begin(SetAttr, w, n)
	c.Set, c.Guard = set, guard
	return l.changed(ctx, c)
}

// changed makes c, and gives it back.
func (l *layer) changed(ctx context.Context, c *Call) (vfs.Change, error) {
	err := l.hook(ctx, c, l.next)
	change := c.Change
	end(c)
	return change, err
}

// Access implements vfs.FS.
func (l *layer) Access(ctx context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	c := l.begin(Access, w, n)
	c.Want = want
	err := l.hook(ctx, c, l.next)
	granted, a := c.Granted, c.Attr
	end(c)
	return granted, a, err
}

// Lookup implements vfs.FS.
func (l *layer) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	c := l.begin(Lookup, w, dir)
	c.Name = name
	err = l.hook(ctx, c, l.next)
	obj, dirAttr = c.Attr, c.DirAttr
	end(c)
	return obj, dirAttr, err
}

// Parents implements vfs.FS.
func (l *layer) Parents(ctx context.Context, n vfs.Node, each func(dir vfs.Node, name vfs.Name) bool) error {
	c := l.begin(Parents, vfs.Superuser, n)
	c.EachParent = each
	err := l.hook(ctx, c, l.next)
	end(c)
	return err
}

// ReadLink implements vfs.FS.
func (l *layer) ReadLink(ctx context.Context, w *vfs.Who, n vfs.Node) (string, vfs.Attr, error) {
	c := l.begin(ReadLink, w, n)
	err := l.hook(ctx, c, l.next)
	target, a := c.Target, c.Attr
	end(c)
	return target, a, err
}

// Read implements vfs.FS.
func (l *layer) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (count int, eof bool, a vfs.Attr, err error) {
	c := l.begin(Read, w, n)
	c.Data, c.Offset = buf, off
	err = l.hook(ctx, c, l.next)
	count, eof, a = c.Count, c.EOF, c.Attr
	end(c)
	return count, eof, a, err
}

// Write implements vfs.FS.
func (l *layer) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	c := l.begin(Write, w, n)
	c.Data, c.Offset, c.Stable = data, off, stable
	err := l.hook(ctx, c, l.next)
	written, change := c.Written, c.Change
	end(c)
	return written, change, err
}

// Commit implements vfs.FS.
func (l *layer) Commit(ctx context.Context, w *vfs.Who, n vfs.Node, off, count uint64) (vfs.Verifier, vfs.Change, error) {
	c := l.begin(Commit, w, n)
	c.Offset, c.Length = off, count
	err := l.hook(ctx, c, l.next)
	verifier, change := c.Verifier, c.Change
	end(c)
	return verifier, change, err
}

// Make implements vfs.FS.
func (l *layer) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	c := l.begin(Make, w, dir)
	c.Name, c.How = name, how
	return l.named(ctx, c)
}

// Link implements vfs.FS.
func (l *layer) Link(ctx context.Context, w *vfs.Who, n, dir vfs.Node, name vfs.Name) (vfs.Attr, vfs.Change, error) {
	c := l.begin(Link, w, n)
	c.ToDir, c.ToName = dir, name
	return l.named(ctx, c)
}

// named makes c, and gives it back.
func (l *layer) named(ctx context.Context, c *Call) (vfs.Attr, vfs.Change, error) {
	err := l.hook(ctx, c, l.next)
	a, change := c.Attr, c.Change
	end(c)
	return a, change, err
}

// Remove implements vfs.FS.
func (l *layer) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	c := l.begin(Remove, w, dir)
	c.Name = name
	return l.changed(ctx, c)
}

// RemoveDir implements vfs.FS.
func (l *layer) RemoveDir(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	c := l.begin(RemoveDir, w, dir)
	c.Name = name
	return l.changed(ctx, c)
}

// Rename implements vfs.FS.
func (l *layer) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (fromChange, toChange vfs.Change, err error) {
	c := l.begin(Rename, w, from)
	c.Name, c.ToDir, c.ToName = fromName, to, toName
	err = l.hook(ctx, c, l.next)
	fromChange, toChange = c.Change, c.ToChange
	end(c)
	return fromChange, toChange, err
}

// ReadDir implements vfs.FS.
func (l *layer) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (a vfs.Attr, eof bool, err error) {
	c := l.begin(ReadDir, w, dir)
	c.After, c.WithAttrs, c.Each = after, attrs, each
	err = l.hook(ctx, c, l.next)
	a, eof = c.Attr, c.EOF
	end(c)
	return a, eof, err
}

// Statfs implements vfs.FS.
func (l *layer) Statfs(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Space, vfs.Attr, error) {
	c := l.begin(Statfs, w, n)
	err := l.hook(ctx, c, l.next)
	space, a := c.Space, c.Attr
	end(c)
	return space, a, err
}

// Limits implements vfs.FS.
func (l *layer) Limits(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Limits, vfs.Attr, error) {
	c := l.begin(Limits, w, n)
	err := l.hook(ctx, c, l.next)
	limits, a := c.Limits, c.Attr
	end(c)
	return limits, a, err
}

// GetACL implements vfs.FS.
func (l *layer) GetACL(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.ACLs, vfs.Attr, error) {
	c := l.begin(GetACL, w, n)
	err := l.hook(ctx, c, l.next)
	acls, a := c.ACLs, c.Attr
	end(c)
	return acls, a, err
}

// SetACL implements vfs.FS.
func (l *layer) SetACL(ctx context.Context, w *vfs.Who, n vfs.Node, acls vfs.ACLs) (vfs.Attr, error) {
	c := l.begin(SetACL, w, n)
	c.ACLs = acls
	err := l.hook(ctx, c, l.next)
	a := c.Attr
	end(c)
	return a, err
}

// Subscribe implements vfs.FS.
func (l *layer) Subscribe(f func(vfs.Event)) (cancel func()) { return l.below.Subscribe(f) }
