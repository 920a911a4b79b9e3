package union

import (
	"context"
	"errors"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// The names of a large directory are not held in memory: they lie in their rows, and memory has those that are in use and those
// that changed since the rows were written. Its table is paged then. What must hold, G1 to G8:
//
//	G1  All names as of names.asOf are: of each name that memory has, or whose row is behind or being written, what memory says (there,
//	    or not); of any other what its row says.
//	G2  A table is paged only while the rows are followed (rowsHeld), no volume is away and none came since, and only if every row has its name's
//	    hash for a cookie and no name is a conflict's loser's. Then a name leads to its row. Where that ends the names are listed or
//	    recalled, as if nothing were known.
//	G3  It is not complete: whoever knows of complete tables only asks the volumes. Memory without a name is no proof of anything.
//	G4  The index is not read under the mu of a node. Who read a row believes it if no writing of rows of the directory ended
//	    meanwhile (rows.flown): then all that the row does not say is behind or being written still.
//	G5  Freshness is that of a listing: told by namesBelieved, proved again by equal versions where the rows have Proof.
//	G6  A name that memory does not have and whose row is not there is remembered as an absence, as of the table's time. It is told
//	    for as long as the table is (absentSince).
//	G7  What changes names waits while too many of them are behind, so that they never are so many that the rows must be given up.
//	G8  What is neither behind nor being written may be dropped from memory at any time.

// DefaultPaged is how many names a directory has at most for them to be held in memory, and about how many of a larger one are. Of that
// size, some 7 MB, are the directories that are listed at a look-up (listBytes), and somewhat larger ones.
const DefaultPaged = 32768

// errRowOdd says that rows do not allow a table to be paged.
var errRowOdd = errors.New("a row has another cookie or name than a paged table may have")

// pagedNow reports whether what is said of paged tables holds of d now. Needs d.mu.
func (u *Union) pagedNow(d *node) bool {
	t := d.names
	return t != nil && t.paged && d.rows.state == rowsHeld && u.pageable() && t.asOf > u.members().cameAt
}

// allKnown reports whether every name of d is known, in memory or in rows, as of names.asOf. Needs d.mu.
func (u *Union) allKnown(d *node) bool { return d.names != nil && d.names.complete || u.pagedNow(d) }

// pageable reports whether large directories can be paged now.
func (u *Union) pageable() bool { return u.keeps() && u.away() == 0 && !u.collided.Load() }

// pending reports whether memory alone knows of name, whose row is behind or being written. Needs the mu of the node.
func (r *rows) pending(name vfs.Name) bool {
	if _, ok := r.behind[name]; ok {
		return true
	}
	_, ok := r.flying[name]
	return ok
}

// pageOut lets the rows alone have the names of d that are not in use, if they are many and the rows have them all. Nobody may change
// them meanwhile, or be about to: where that cannot be had at once it is left for the next time.
func (u *Union) pageOut(d *node) {
	d.mu.Lock()
	due := u.pageOutDue(d)
	d.mu.Unlock()
	if !due {
		return
	}
	l, ok := u.leases.TryAcquire(lease.Node(d.id, lease.Shared))
	if !ok {
		u.pageOutLater(d)
		return
	}
	defer l.Release()
	select {
	case d.fill <- struct{}{}:
	default:
		u.pageOutLater(d)
		return
	}
	defer func() { <-d.fill }()
	d.rows.write.Lock()
	defer d.rows.write.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !u.pageOutDue(d) {
		return
	}
	old, t := d.names, newNames()
	t.paged, t.large, t.dirs, t.counted = true, true, old.dirs, true
	t.asOf, t.since, t.unsure = old.asOf, old.since, old.unsure
	charged := u.install(d, t)
	d.rows.mirrored, d.rows.stood = false, 0
	u.memory.Add(-charged)
	u.stats.paged.Add(1)
}

// pageOutLater lets it be tried again.
func (u *Union) pageOutLater(d *node) {
	d.mu.Lock()
	u.rowQueue.push(d)
	d.mu.Unlock()
}

// pageOutDue reports whether the names of d are many, all in memory, and all in the rows. Needs d.mu.
func (u *Union) pageOutDue(d *node) bool {
	t, r := d.names, d.rows
	return t != nil && t.complete && t.order.n > u.opt.paged && !t.losers && !d.gone && u.pageable() &&
		r.state == rowsHeld && r.mirrored && !r.whole && !r.writing && len(r.behind) == 0
}

// fetchName brings the row of a name into the table of d, or that it has none, if d is paged and memory does not know of it. The caller
// holds a lease on d.
func (u *Union) fetchName(d *node, name vfs.Name) {
	for tries := 0; ; tries++ {
		d.mu.Lock()
		t, r := d.names, d.rows
		if !u.pagedNow(d) || t.byName[name] != nil || r.pending(name) {
			d.mu.Unlock()
			return
		}
		flown, era := r.flown, r.era
		d.mu.Unlock()
		row, there, err := u.opt.Index.Entry(d.id, u.hash(name))
		if err == nil && !u.opt.Index.Holds(era) {
			err = meta.ErrPaused
		}
		if err == nil && there && (row.Name != name || !row.On.IsZero()) {
			err = errRowOdd
		}
		if u.fetched(d, t, flown, name, &row, there, err) || tries == searches {
			return
		}
	}
}

// fetched takes in what fetchName read; not ok: it is to be read again.
func (u *Union) fetched(d *node, t *names, flown uint64, name vfs.Name, row *meta.Entry, there bool, err error) (ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.names != t || t.byName[name] != nil || !u.pagedNow(d):
		return true
	case err != nil:
		u.unpage(d, err)
		return true
	case d.rows.flown != flown:
		return false
	case d.rows.pending(name):
		return true
	case !there:
		if !d.inDoubt(name) {
			u.miss(d, name, t.asOf)
		}
		return true
	}
	e := u.rowEntry(row, u.volumesOf(row.Volumes))
	if e.vols == 0 {
		return true // of volumes that are no members any more
	}
	t.admit(e)
	u.trimNames(d, e)
	u.memory.Add(t.charge())
	return true
}

// unpage ends that the rows tell of d's names. Needs d.mu.
func (u *Union) unpage(d *node, err error) {
	if d.names.paged {
		u.log.Debug("names of a large directory are looked at anew", "op", "read index", "node", d.id, "err", err)
		u.forgetNames(d)
	}
}

// trimNames drops names that are not behind from a paged table when there are too many, but not keep, which just came. Needs d.mu.
func (u *Union) trimNames(d *node, keep *entry) {
	t, r := d.names, d.rows
	if !t.paged || t.order.n <= u.opt.paged || t.order.n <= 2*(len(r.behind)+len(r.flying)) {
		return
	}
	for name, e := range t.byName { // any: the map's order is random
		if e != keep && !r.pending(name) {
			t.evict(e)
			if t.order.n <= u.opt.paged*3/4 {
				return
			}
		}
	}
}

// rowsLate reports whether so many rows of d, which is paged, are behind that a hint is not worth one more. Needs d.mu.
func (u *Union) rowsLate(d *node) bool { return d.names.paged && len(d.rows.behind) >= behindMax/2 }

// rowsKeepUp writes rows of d if it is paged and so many are behind that more would be too many (G7). The caller holds no mutex.
func (u *Union) rowsKeepUp(d *node) {
	d.mu.Lock()
	late := d.names != nil && u.rowsLate(d)
	d.mu.Unlock()
	if late {
		u.writeRows(d)
	}
}

// namesAfter gives f up to limit names of d after a cookie, in order, under d.mu; not ok: they are not all known. Fewer than limit are the
// last. Those that only the index has are not in the table. The caller holds a lease on d, and no mutex.
func (u *Union) namesAfter(d *node, after vfs.Cookie, limit int, f func(found []*entry)) (ok bool) {
	found := make([]*entry, 0, limit)
	for tries := 0; tries < searches; {
		d.mu.Lock()
		if !u.pagedNow(d) {
			if ok = len(found) == 0 && d.names != nil && d.names.complete; ok {
				f(d.names.order.after(after, found, limit))
			}
			d.mu.Unlock()
			return ok
		}
		t, flown, era := d.names, d.rows.flown, d.rows.era
		d.mu.Unlock()
		rows, more, err := u.opt.Index.Entries(d.id, after, limit-len(found))
		if err == nil && !u.opt.Index.Holds(era) {
			err = meta.ErrPaused
		}
		d.mu.Lock()
		switch {
		case d.names != t:
			d.mu.Unlock()
			return false
		case err == nil && (!u.pagedNow(d) || d.rows.flown != flown):
			d.mu.Unlock()
			tries++
			continue
		case err == nil:
			found, after, err = u.mergeRows(d, after, limit, found, rows, more)
			tries = 0
		}
		if ok = err == nil; !ok {
			u.unpage(d, err)
		}
		end := !ok || len(found) == limit || !more
		if end && ok {
			f(found)
		}
		d.mu.Unlock()
		if end {
			return ok
		}
	}
	return false
}

// mergeRows appends to found, up to limit, the names of d after a cookie: those of rows, but what memory says where it knows better; more
// says that rows follow. next is the cookie to go on after. Needs d.mu.
func (u *Union) mergeRows(d *node, after vfs.Cookie, limit int, found []*entry, rows []meta.Entry, more bool) (_ []*entry, next vfs.Cookie, err error) {
	last := vfs.MaxCookie
	if more {
		last = rows[len(rows)-1].Cookie
	}
	held := d.names.order.after(after, nil, limit-len(found))
	for len(found) < limit {
		switch {
		case len(held) > 0 && held[0].cookie <= last && (len(rows) == 0 || held[0].cookie <= rows[0].Cookie):
			e := held[0]
			held = held[1:]
			if len(rows) > 0 && rows[0].Cookie == e.cookie {
				if rows[0].Name != e.name {
					return nil, 0, errRowOdd
				}
				rows = rows[1:]
			}
			found, next = append(found, e), e.cookie
		case len(rows) > 0:
			row := &rows[0]
			rows = rows[1:]
			next = row.Cookie
			if !row.On.IsZero() {
				return nil, 0, errRowOdd
			}
			if vols := u.volumesOf(row.Volumes); vols != 0 && !d.rows.pending(row.Name) {
				found = append(found, u.rowEntry(row, vols))
			}
		default:
			return found, last, nil
		}
	}
	return found, next, nil
}

// admitUnknown brings those of found into the table of d, if that is paged, whose rows do not say which nodes they are: so that these are
// noted when they are looked at. Needs d.mu.
func (u *Union) admitUnknown(d *node, found []*entry) {
	t := d.names
	if !t.paged {
		return
	}
	var last *entry
	for _, e := range found {
		if last = e; e.node.IsZero() && t.byName[e.name] == nil && !d.rows.pending(e.name) {
			t.admit(e)
		}
	}
	u.trimNames(d, last)
	u.memory.Add(t.charge())
}

// volumesOf is a set of volumes as rows have it, without those that are no members.
func (u *Union) volumesOf(row meta.VolumeSet) (s volset) {
	for id := range row.All() {
		if v := u.volumeByID(volume.ID(id)); v != nil {
			s = s.with(v.i)
		}
	}
	return s
}

// rowEntry is the entry of a row, of volumes of those it says. What it says of the object is a hint.
func (u *Union) rowEntry(row *meta.Entry, vols volset) *entry {
	e := &entry{name: row.Name, phys: row.Name, cookie: row.Cookie, vols: vols, typ: row.Type, node: row.Child}
	if !row.On.IsZero() {
		e.phys = row.On
	}
	return e
}

// stillPaged reports whether equal versions prove what the paged table of d and its rows say, and notes that it is fresh. Needs d.mu.
func (u *Union) stillPaged(d *node, m *members, set volset, stats []volume.Stat, asOf, since int64) bool {
	if !u.pagedNow(d) || m.all != m.online || d.on() != set {
		return false
	}
	for i, v := range set.list() {
		if u.vol(v).exclusive {
			continue
		}
		if h := d.rows.heldOn(v); h == nil || !h.proof || h.version != stats[i].Version() {
			return false
		}
	}
	d.names.asOf = asOf
	u.stats.revalidated.Add(1)
	u.askedNames(d, asOf)
	u.provedRows(d)
	if !d.changing {
		u.accountRead(d, set, stats, since)
	}
	return true
}

// recallPaged makes the table of d paged if its rows are many, and proved for all its copies, which are those in set and said stats. Not
// ok: they are none of it. The caller holds a lease on d, and d.fill.
func (u *Union) recallPaged(ctx context.Context, d *node, m *members, set volset, stats []volume.Stat, asOf, since int64) (ok bool, err error) {
	if !u.pageable() || m.all != m.online || !u.lacksNames(d) {
		return false, nil
	}
	r := d.rows
	r.write.Lock()
	defer r.write.Unlock()
	if !u.rowsInStep(d) {
		return false, nil
	}
	d.mu.Lock()
	era, proved := r.era, r.state == rowsHeld
	for i, v := range set.list() {
		h := r.heldOn(v)
		proved = proved && h != nil && h.proof && h.version == stats[i].Version()
	}
	d.mu.Unlock()
	if !proved {
		return false, nil
	}
	dirs, counted, many := u.manyRows(ctx, d, era, set.count() > 1 || d == u.root)
	if !many {
		return false, nil
	}
	t := newNames()
	t.paged, t.large, t.dirs, t.counted, t.asOf, t.since = true, true, dirs, counted, asOf, since
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on()&m.online != set || r.state != rowsHeld {
		return false, &moved{d.node(), -1}
	}
	for i, v := range set.list() {
		c := d.copyOn(v)
		c.version, c.own = stats[i].Version(), false
	}
	carryPending(d, t)
	t.unsure, r.stood = set, 0 // unless nothing was doubted since it was begun; what was brought into memory is not there any more
	charged := u.install(d, t)
	u.memory.Add(t.charge() - charged)
	u.stats.revalidated.Add(1)
	u.stats.paged.Add(1)
	u.askedNames(d, asOf)
	u.provedRows(d)
	if m.all.count() > 1 && r.unsettled() {
		u.rowQueue.pushSettle(d)
	}
	if !d.changing {
		u.accountRead(d, set, stats, since)
	}
	return true, nil
}

// carryPending brings into t, which takes the place of d's table, the names that memory alone knows of: they were looked up since the
// rows were read (G1). What is behind and not in the table stays so: it is not there. None are being written. Needs d.mu.
func carryPending(d *node, t *names) {
	if d.names == nil {
		return
	}
	for name := range d.rows.behind {
		e := d.names.byName[name]
		if e != nil {
			t.admit(e)
		}
		if e == nil || e.typ == vfs.Directory {
			t.counted = false // the rows that were counted may have it, or not
		}
	}
}

// manyRows reports whether the rows of d are more than memory is to hold, and such that its table can be paged. All are looked at if the
// directories among them are to be counted, or there may be losers of conflicts. The caller holds rows.write.
func (u *Union) manyRows(ctx context.Context, d *node, era uint64, whole bool) (dirs int, counted, many bool) {
	if list, err := u.opt.Index.Collisions(d.id); err != nil || len(list) > 0 {
		return 0, false, false
	}
	n := 0
	for after, more := vfs.Cookie(0), true; more; {
		rows, m, err := u.opt.Index.Entries(d.id, after, recallPage)
		if err != nil || context.Cause(ctx) != nil {
			return 0, false, false // who recalls all of them finds out
		}
		for i := range rows {
			row := &rows[i]
			if !row.On.IsZero() || row.Cookie != u.hash(row.Name) {
				return 0, false, false
			}
			if row.Type == vfs.Directory {
				dirs++
			}
			after = row.Cookie
		}
		n += len(rows)
		more = m
		if !m {
			counted = true
		}
		if n > u.opt.paged && !whole {
			break
		}
	}
	return dirs, counted, n > u.opt.paged && u.opt.Index.Holds(era)
}

// keepRows gives entries, which are in the order of their cookies, the nodes that the rows of d have under their names, as keepKnown does
// by what is in memory: else all rows would have to be written anew.
func (u *Union) keepRows(d *node, all []*entry) {
	d.mu.Lock()
	large, era := d.names != nil && d.names.large && d.rows.state == rowsHeld, d.rows.era
	d.mu.Unlock()
	if !large {
		return
	}
	for after, more := vfs.Cookie(0), true; more && len(all) > 0; {
		rows, m, err := u.opt.Index.Entries(d.id, after, recallPage)
		if err != nil || !u.opt.Index.Holds(era) {
			return // hints only
		}
		for i := range rows {
			row := &rows[i]
			after = row.Cookie
			for len(all) > 0 && all[0].cookie < row.Cookie {
				all = all[1:]
			}
			if len(all) == 0 {
				return
			}
			if e := all[0]; e.node.IsZero() && e.cookie == row.Cookie && e.name == row.Name && e.phys == e.name && row.On.IsZero() && e.vols == u.volumesOf(row.Volumes) && (e.typ == 0 || e.typ == row.Type) {
				e.node, e.typ = row.Child, row.Type
			}
		}
		more = m
	}
}
