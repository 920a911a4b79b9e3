package remote

import (
	"context"

	"sheaf/vfs"
)

// Lookup implements vfs.FS by LOOKUP.
func (c *Client) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	fh, err := c.handle(ctx, w, dir)
	if err != nil {
		return obj, dirAttr, err
	}
	r, err := c.call(ctx, w, procLookup, args{}.handle(fh).name(name))
	if err != nil {
		return obj, dirAttr, err
	}
	if !r.ok() {
		return obj, r.postOp(dir), r.end()
	}
	found := r.handle()
	obj, has := r.object(found)
	dirAttr = r.postOp(dir)
	if err = r.end(); err == nil && !has {
		obj, err = c.meet(ctx, w, found)
	}
	return obj, dirAttr, err
}

// Make implements vfs.FS by CREATE, MKDIR, SYMLINK or MKNOD.
func (c *Client) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	fh, err := c.handle(ctx, w, dir)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	proc, a := makeArgs(args{}.handle(fh).name(name), how)
	r, err := c.call(ctx, w, proc, a)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	var made []byte
	var obj vfs.Attr
	var has bool
	if r.ok() {
		if r.Bool() {
			made = r.handle()
			obj, has = r.object(made)
		} else if r.Bool() { // attributes without a handle are of no use
			r.attr()
		}
	}
	change := r.change(dir)
	r.status = restore(proc, r.status, c.nodes.typeOf(dir), how)
	if err = r.end(); err != nil {
		return vfs.Attr{}, change, err
	}
	switch {
	case made == nil:
		obj, _, err = c.Lookup(ctx, w, dir, name)
	case !has:
		obj, err = c.meet(ctx, w, made)
	}
	if err == nil && how.Type == vfs.Regular && how.Exists == vfs.Exclusive {
		obj, err = c.dress(ctx, w, obj, &change, &how.Set)
	}
	return obj, change, err
}

// makeArgs are the procedure that makes such an object, and its arguments after
// the directory and the name.
func makeArgs(a args, how *vfs.How) (uint32, args) {
	set := how.Set
	if how.Type != vfs.Regular {
		set.Mask &^= vfs.SetSize
	}
	switch how.Type {
	case vfs.Regular:
		if a = a.u32(uint32(how.Exists)); how.Exists == vfs.Exclusive {
			return procCreate, a.verifier(how.Verifier)
		}
		return procCreate, a.set(&set)
	case vfs.Directory:
		return procMkDir, a.set(&set)
	case vfs.Symlink:
		return procSymlink, a.set(&set).str(how.Target)
	default:
	}
	a = a.u32(uint32(how.Type))
	if how.Type <= vfs.FIFO && how.Type > 0 { // mknoddata3 is void for others
		a = a.set(&set)
	}
	if how.Type == vfs.Block || how.Type == vfs.Char {
		a = a.u32(how.Major).u32(how.Minor)
	}
	return procMkNod, a
}

// dress gives a file that was made EXCLUSIVE the mode and, by the superuser, the
// owner that the creation could not say. A directory that did not change shows that the
// file had been there.
func (c *Client) dress(ctx context.Context, w *vfs.Who, obj vfs.Attr, dir *vfs.Change, set *vfs.SetAttr) (vfs.Attr, error) {
	late := *set
	late.Mask &= vfs.SetMode | vfs.SetUID | vfs.SetGID
	if !w.IsRoot() {
		late.Mask &= vfs.SetMode
	}
	if late.Mask == 0 || dir.HasBefore && dir.HasAfter && dir.Before == dir.After.Pre() {
		return obj, nil
	}
	ch, err := c.SetAttr(ctx, w, obj.Node, &late, nil)
	switch {
	case vfs.StatusOf(err) == vfs.Stale: // made, and removed since by another
		return obj, nil
	case err != nil || !ch.HasAfter:
		return obj, err
	}
	return ch.After, nil
}

// Link implements vfs.FS by LINK.
func (c *Client) Link(ctx context.Context, w *vfs.Who, n, dir vfs.Node, name vfs.Name) (vfs.Attr, vfs.Change, error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	dirFH, err := c.handle(ctx, w, dir)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	r, err := c.call(ctx, w, procLink, args{}.handle(fh).handle(dirFH).name(name))
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	a := r.postOp(n)
	change := r.change(dir)
	r.status = restore(procLink, r.status, c.nodes.typeOf(n), nil)
	return a, change, r.end()
}

// Remove implements vfs.FS by REMOVE.
func (c *Client) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return c.unlink(ctx, w, procRemove, dir, name)
}

// RemoveDir implements vfs.FS by RMDIR.
func (c *Client) RemoveDir(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return c.unlink(ctx, w, procRmDir, dir, name)
}

func (c *Client) unlink(ctx context.Context, w *vfs.Who, proc uint32, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	fh, err := c.handle(ctx, w, dir)
	if err != nil {
		return vfs.Change{}, err
	}
	r, err := c.call(ctx, w, proc, args{}.handle(fh).name(name))
	if err != nil {
		return vfs.Change{}, err
	}
	return r.change(dir), r.end()
}

// Rename implements vfs.FS by RENAME.
func (c *Client) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (fromChange, toChange vfs.Change, err error) {
	fromFH, err := c.handle(ctx, w, from)
	if err != nil {
		return fromChange, toChange, err
	}
	toFH, err := c.handle(ctx, w, to)
	if err != nil {
		return fromChange, toChange, err
	}
	r, err := c.call(ctx, w, procRename, args{}.handle(fromFH).name(fromName).handle(toFH).name(toName))
	if err != nil {
		return fromChange, toChange, err
	}
	fromChange = r.change(from)
	return fromChange, r.change(to), r.end()
}
