package union

import (
	"errors"
	"iter"

	"sheaf/meta"
	"sheaf/vfs"
)

// bareMax is how many names a directory without rows may have for them to be written at once, in one transaction.
const bareMax = 256

// errRowsMoved says that a listing changed while it was written.
var errRowsMoved = errors.New("it was listed anew meanwhile")

// writeRows writes what is behind of the rows of d.
func (u *Union) writeRows(d *node) {
	r := d.rows
	r.write.Lock()
	defer r.write.Unlock()
	d.mu.Lock()
	r.queued = false
	d.mu.Unlock()
	for again := true; again; {
		var err error
		if again, err = u.writeSome(d); err != nil {
			u.rowsFailed(d, err)
			return
		}
	}
}

// writeSome is a part of it; again: more is behind. The caller holds rows.write.
func (u *Union) writeSome(d *node) (again bool, err error) {
	d.mu.Lock()
	r := d.rows
	switch {
	case d.gone:
		d.mu.Unlock()
		return false, u.deleteRows(d)
	case r.whole && d.names != nil && r.state == rowsBare && d.names.order.n <= bareMax:
		era, change := u.wholeChange(d)
		d.mu.Unlock()
		return false, u.opt.Index.ChangeDir(u.rowQueue.ctx, d.id, era, change)
	case r.whole && d.names != nil:
		r.whole, r.stale, r.behind, r.writing, r.state = false, false, nil, true, rowsNone
		era, t := u.opt.Index.Era(), d.names
		d.mu.Unlock()
		return u.replaceRows(d, t, era)
	case r.whole:
		r.whole = false
		r.forgetAll()
		d.mu.Unlock()
		return true, nil
	case r.state == rowsHeld && (r.stale || len(r.behind) > 0):
		return u.followRows(d)
	case r.stale:
		r.stale, r.behind, r.held = false, nil, nil
		d.mu.Unlock()
		return false, u.opt.Index.ForgetDir(u.rowQueue.ctx, d.id)
	}
	d.mu.Unlock()
	return false, nil
}

// deleteRows takes away what the index has of a directory that is gone.
func (u *Union) deleteRows(d *node) error {
	d.mu.Lock()
	r := d.rows
	none := r.state == rowsBare && !u.collided.Load()
	r.state, r.held, r.behind, r.whole, r.stale = rowsBare, nil, nil, false, false
	d.mu.Unlock()
	if none {
		return nil
	}
	return u.opt.Index.DeleteDir(u.rowQueue.ctx, d.id)
}

// wholeChange is all of a directory that has no rows, in one change. Needs d.mu.
func (u *Union) wholeChange(d *node) (era uint64, c *meta.DirChange) {
	r := d.rows
	r.whole, r.stale, r.behind, r.state = false, false, nil, rowsHeld
	r.era = u.opt.Index.Era()
	c = &meta.DirChange{Copies: u.heldRows(d)}
	for _, e := range d.names.order.after(0, nil, bareMax) {
		c.Put = append(c.Put, u.entryRow(e))
	}
	return r.era, c
}

// replaceRows writes all of d from its table t. What changes meanwhile is behind again.
func (u *Union) replaceRows(d *node, t *names, era uint64) (again bool, err error) {
	r := d.rows
	moved := false
	err = u.opt.Index.ReplaceDir(u.rowQueue.ctx, d.id, u.tableRows(d, t, &moved), func() ([]meta.DirCopy, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if moved || r.whole || d.gone {
			return nil, errRowsMoved
		}
		r.writing, r.state, r.era = false, rowsHeld, era
		if again = len(r.behind) > 0; again {
			return nil, nil
		}
		return u.heldRows(d), nil
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	r.writing = false
	if errors.Is(err, errRowsMoved) {
		r.whole = r.whole || d.names != nil && r.mirrored
		return true, nil
	}
	return again, err
}

// tableRows are the rows of t in the order of cookies; moved is set if it is not the table of d any more.
func (u *Union) tableRows(d *node, t *names, moved *bool) iter.Seq[meta.Entry] {
	return func(yield func(meta.Entry) bool) {
		var room [bareMax]*entry
		rows := make([]meta.Entry, 0, bareMax)
		for after, more := vfs.Cookie(0), true; more; {
			d.mu.Lock()
			if *moved = d.names != t; *moved {
				d.mu.Unlock()
				return
			}
			page := t.order.after(after, room[:0], bareMax)
			rows = rows[:0]
			for _, e := range page {
				rows = append(rows, u.entryRow(e))
			}
			d.mu.Unlock()
			for i := range rows {
				if !yield(rows[i]) {
					return
				}
				after = rows[i].Cookie
			}
			more = len(rows) == bareMax
		}
	}
}

// entryRow is the row of an entry. Needs the mu of its directory.
func (u *Union) entryRow(e *entry) meta.Entry {
	row := meta.Entry{Cookie: e.cookie, Name: e.name, Child: e.node, Volumes: u.setRow(e.vols), Type: e.typ}
	if e.phys != e.name {
		row.On = e.phys
	}
	return row
}

// setRow is a set of volumes as rows have it.
func (u *Union) setRow(s volset) meta.VolumeSet {
	if row, ok := u.setRows.Load(s); ok {
		return row.(meta.VolumeSet) //nolint:forcetypeassert // nothing else is stored
	}
	var ids []meta.VolumeID
	for _, v := range s.list() {
		ids = append(ids, meta.VolumeID(u.vol(v).id))
	}
	row := meta.SetOf(ids...)
	u.setRows.Store(s, row)
	return row
}

// followRows writes the names of d that are behind, as many as one transaction takes. The caller holds rows.write, and
// d.mu, which is given up.
func (u *Union) followRows(d *node) (again bool, err error) {
	r := d.rows
	era, change := r.era, u.heldChange(d)
	mirrored, wasOf := r.mirrored, make(map[vfs.Name]vfs.Cookie)
	limit := (meta.ChangeMax - len(change.Copies)) / 2 // a name takes two rows at most
	for name, was := range r.behind {
		if len(wasOf) == limit {
			break
		}
		wasOf[name] = was
		delete(r.behind, name)
		var e *entry
		if d.names != nil {
			e = d.names.byName[name]
		}
		switch {
		case e != nil:
			change.Put = append(change.Put, u.entryRow(e))
			if was != 0 && was != e.cookie {
				change.Drop = append(change.Drop, was)
			}
		case was != 0:
			change.Drop = append(change.Drop, was)
		case !mirrored:
			change.Drop = append(change.Drop, u.hash(name)) // see sureCookies
		}
	}
	r.stale, r.flying = false, wasOf
	if again = len(r.behind) > 0; again { // a part of it proves nothing, and does not stand
		claimNothing(&change)
		r.stale = true
	}
	d.mu.Unlock()
	if !mirrored && !u.sureCookies(d, &change, wasOf) {
		d.mu.Lock()
		r.forgetAll()
		r.landed()
		d.mu.Unlock()
		return true, nil
	}
	if err := u.opt.Index.ChangeDir(u.rowQueue.ctx, d.id, era, &change); err != nil {
		return false, err // they are flying until the caller has noted that nothing is known
	}
	d.mu.Lock()
	r.landed()
	d.mu.Unlock()
	return again, nil
}

// sureCookies reports whether the rows with the cookies of a change to a directory whose names are not in memory are those of
// the same names, or not there (N5).
func (u *Union) sureCookies(d *node, change *meta.DirChange, names map[vfs.Name]vfs.Cookie) bool {
	same := func(c vfs.Cookie, is func(vfs.Name) bool) bool {
		e, there, err := u.opt.Index.Entry(d.id, c)
		return err == nil && (!there || is(e.Name))
	}
	for name := range names {
		if _, other, err := u.opt.Index.Collision(d.id, name); other || err != nil {
			return false
		}
	}
	for i := range change.Put {
		p := &change.Put[i]
		if p.Cookie != u.hash(p.Name) || !same(p.Cookie, func(n vfs.Name) bool { return n == p.Name }) {
			return false
		}
	}
	for _, c := range change.Drop {
		if !same(c, func(n vfs.Name) bool { _, ok := names[n]; return ok }) {
			return false
		}
	}
	return true
}

// heldChange is a change that says anew what is known of the copies of d. Needs d.mu.
func (u *Union) heldChange(d *node) meta.DirChange {
	return meta.DirChange{Copies: u.heldRows(d)}
}
