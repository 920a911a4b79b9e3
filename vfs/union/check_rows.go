package union

import (
	"context"
	"errors"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// checkRows is how many rows of the index are read at a time.
const checkRows = 1024

// index looks at the index: for itself, and whether what it says of nodes is so. Objects without a row are no fault.
func (c *check) index(ctx context.Context) error {
	s := c.u.opt.Index
	if s == nil {
		return nil
	}
	bad, err := s.Check(ctx, checkRows)
	for _, b := range bad {
		c.say(Finding{Kind: FindIndex, What: b.String(), Do: "sheaf rebuild"}, nil)
	}
	if errors.Is(err, meta.ErrPaused) {
		return nil // it says that it knows nothing
	}
	if err != nil {
		return err
	}
	for after := (vfs.NodeID{}); ; {
		rows, more, err := s.Nodes(after, checkRows)
		if err != nil {
			return err
		}
		for i := range rows {
			c.sum.Rows++
			if err := c.row(ctx, &rows[i]); err != nil {
				return err
			}
			after = rows[i].ID
		}
		if !more {
			return nil
		}
	}
}

// row looks whether the row of a node is so.
func (c *check) row(ctx context.Context, row *meta.Node) error {
	if err := c.progress(ctx); err != nil {
		return err
	}
	wrong, err := c.wrongRow(ctx, row)
	if wrong == "" || err != nil {
		return c.rowError(ctx, row, err)
	}
	f := Finding{Kind: FindRow, Note: true, Node: row.ID, Path: row.Places[0].Name.String(), Repair: "it is forgotten, and learned anew"}
	there, err := c.rowStill(ctx, row, &f)
	if there {
		c.tell(f)
	}
	return c.rowError(ctx, row, err)
}

// rowStill looks at it again, and mends it, while no call of ours changes the node.
func (c *check) rowStill(ctx context.Context, row *meta.Node, f *Finding) (bool, error) {
	l, err := c.u.leases.Acquire(ctx, lease.Node(row.ID, lease.Exclusive))
	if err != nil {
		return false, err
	}
	defer l.Release()
	now, ok, err := c.u.opt.Index.Node(row.ID)
	if err != nil || !ok {
		return false, nil // corrupt rows were found above
	}
	wrong, err := c.wrongRow(ctx, &now)
	if wrong == "" || err != nil {
		return false, err
	}
	f.What = "the index says of this node what is not so: " + wrong
	c.mend(f, func() error { return c.u.opt.Index.DeleteNode(ctx, row.ID) })
	return true, nil
}

// rowError is an error that came of looking at a row. Only the end of the Check is one of its own.
func (c *check) rowError(ctx context.Context, row *meta.Node, err error) error {
	if err == nil || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if m := (*moved)(nil); errors.As(err, &m) || errors.Is(err, errNoCopy) {
		return nil // a directory on the way is looked for when it is needed
	}
	if v := c.u.volumeByID(volume.ID(row.Copies[0].Volume)); v != nil { // else it was removed meanwhile
		c.unreadable(v, row.Places[0].Name.String(), err)
	}
	return nil
}

// wrongRow says what is not so of a row; empty: nothing, as far as can be seen.
func (c *check) wrongRow(ctx context.Context, row *meta.Node) (string, error) {
	if len(row.Copies) == 0 || len(row.Places) == 0 {
		return "", nil
	}
	for _, k := range row.Copies {
		v := c.u.volumeByID(volume.ID(k.Volume))
		if v == nil {
			return "it lies on a volume that is no member", nil
		}
		if !c.u.online().has(v.i) {
			continue
		}
		id := volume.Identity{Key: volume.Key{Ino: k.Identity.Ino, Birth: k.Identity.Birth}, Gen: k.Identity.Gen, Sub: k.Identity.Sub}
		for _, p := range row.Places {
			if wrong, err := c.wrongPlace(ctx, v, p, id); wrong != "" || err != nil {
				return wrong, err
			}
		}
	}
	return "", nil
}

// wrongPlace says why the object id of volume v is not at p.
func (c *check) wrongPlace(ctx context.Context, v *vol, p meta.Place, id volume.Identity) (string, error) {
	d, err := c.u.known(vfs.Node{ID: p.Dir})
	if vfs.StatusOf(err) == vfs.Stale {
		return "its directory is gone", nil
	}
	if err != nil {
		return "", err
	}
	defer d.put()
	h, err := c.u.dirAt(ctx, d, v.i)
	switch {
	case errors.Is(err, errNoCopy):
		return "its directory is not on volume " + v.name, nil
	case vfs.StatusOf(err) == vfs.Stale:
		return "its directory is gone", nil
	case err != nil:
		return "", err
	}
	defer h.release()
	_, is, err := h.d.IdentifyAt(ctx, c.physOf(d, p.Name, v.i))
	switch {
	case vfs.StatusOf(err) == vfs.NoEnt:
		return p.Name.String() + " is not on volume " + v.name, nil
	case err != nil:
		return "", err
	case is != id:
		return p.Name.String() + " on volume " + v.name + " is another object", nil
	}
	return "", nil
}

// physOf is what volume v calls name: the loser of a conflict has another name there.
func (c *check) physOf(d *node, name vfs.Name, v int) vfs.Name {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names != nil {
		if e := d.names.byName[name]; e != nil && e.vols.has(v) {
			return e.phys
		}
	}
	return name
}
