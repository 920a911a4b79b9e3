package union

import (
	"context"
	"errors"
	"hash/crc32"
	"strings"
	"time"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// recallPage is how many rows are read at a time.
const recallPage = 1024

// recalled is what the rows of a directory say, and of which of its copies that is proved.
type recalled struct {
	entries []*entry
	proved  volset
}

// recallNames reads the rows of d if its names are not in memory and the rows of some of the copies in set, which said stats, are
// proved by their versions. The caller holds a lease on d, and d.fill.
func (u *Union) recallNames(d *node, m *members, set volset, stats []volume.Stat) (r recalled, err error) {
	if !u.keeps() || !u.lacksNames(d) {
		return r, nil
	}
	rows := d.rows
	rows.write.Lock()
	defer rows.write.Unlock()
	if !u.rowsInStep(d) {
		return r, nil
	}
	d.mu.Lock()
	era := rows.era
	for i, v := range set.list() {
		if h := rows.heldOn(v); rows.state == rowsHeld && h != nil && h.proof && h.version == stats[i].Version() {
			r.proved = r.proved.with(v)
		}
	}
	stay := u.knownOf(d) & m.all &^ m.online
	d.mu.Unlock()
	if r.proved == 0 {
		return r, nil
	}
	if r.entries, err = u.readRows(d, r.proved|stay, era); err != nil {
		u.rowsFailed(d, err)
		return recalled{}, nil
	}
	u.stats.recalls.Add(1)
	return r, nil
}

// rowsInStep reads what the index says of the copies of d, or writes what is behind; not ok: nothing is there to be read.
// The caller holds rows.write.
func (u *Union) rowsInStep(d *node) bool {
	u.readCopyRows(d)
	for again := true; again; {
		var err error
		if again, err = u.writeSome(d); err != nil {
			u.rowsFailed(d, err)
			return false
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rows.state == rowsHeld
}

// listedSince reports whether what h says was seen, or proved, after its volume was opened, if that came back while
// this program ran: another host may have changed it meanwhile.
func (u *Union) listedSince(h *heldCopy) bool {
	at := u.vol(h.vol).openedAt.Load()
	return at <= u.servedAt || h.listed.Compare(vfs.TimeOf(u.start.Add(time.Duration(at)))) > 0
}

// recallAway brings into memory what the index says of names of d on volumes that are away, if that was not done since they went.
// It is what there is to go by. The caller holds no mutex.
func (u *Union) recallAway(d *node, away volset) {
	if away == 0 || !u.keeps() {
		return
	}
	opened := u.members().openedAt
	d.mu.Lock()
	r := d.rows
	if r.stoodAt != opened {
		r.stood, r.stoodAt = 0, opened
	}
	done := away&^r.stood == 0 || r.mirrored || r.state == rowsBare || d.gone
	d.mu.Unlock()
	if done {
		return
	}
	r.write.Lock()
	defer r.write.Unlock()
	if u.rowsInStep(d) {
		u.recallCopies(d, away)
		u.recallStanding(d, away)
	}
	d.mu.Lock()
	r.stood |= away
	d.mu.Unlock()
}

// recallCopies adds the copies of d on volumes that are away to those that were seen, as the index knows them.
func (u *Union) recallCopies(d *node, away volset) {
	if d == u.root {
		return
	}
	row, ok, err := u.opt.Index.Node(d.id)
	if err != nil || !ok {
		return // corrupt rows are told by whoever resolves the node
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range row.Copies {
		v := u.volumeByID(volume.ID(c.Volume))
		if v == nil || !away.has(v.i) || d.copyOn(v.i) != nil || d.rows.heldOn(v.i) == nil {
			continue
		}
		id := volume.Identity{Key: volume.Key{Ino: c.Identity.Ino, Birth: c.Identity.Birth}, Gen: c.Identity.Gen, Sub: c.Identity.Sub}
		d.copies = append(d.copies, copyOf{vol: v.i, id: id})
		d.sortCopies()
	}
}

// recallStanding adds their names to d's table. The caller holds rows.write.
func (u *Union) recallStanding(d *node, away volset) {
	d.mu.Lock()
	r, era := d.rows, d.rows.era
	stand := volset(0)
	for i := range r.held {
		if h := &r.held[i]; h.complete && away.has(h.vol) && d.copyOn(h.vol) != nil && u.listedSince(h) {
			stand = stand.with(h.vol)
		}
	}
	d.mu.Unlock()
	if stand == 0 {
		return
	}
	entries, err := u.readRows(d, stand, era)
	if err != nil {
		u.rowsFailed(d, err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names == nil {
		d.names = newNames()
		d.names.since = u.now()
	}
	t := d.names
	t.paged = false
	for _, e := range entries {
		if old := t.byName[e.name]; old != nil {
			old.vols |= e.vols
			continue
		}
		if t.order.taken(e.cookie) {
			e.cookie, _ = u.cookieFor(d, e.name)
		}
		t.put(e)
		u.unmiss(d, e.name)
	}
	t.known |= stand
	u.memory.Add(t.charge())
	u.stats.recalls.Add(1)
}

// underHide makes the index forget the names of the root if they were listed under other patterns of Options.Hide (N10).
func (u *Union) underHide() error {
	sum := crc32.ChecksumIEEE([]byte(strings.Join(u.opt.Hide, "\x00")))
	same, err := u.opt.Index.Under(sum)
	if same && err == nil {
		return nil
	}
	return errors.Join(err, u.opt.Index.ForgetDir(u.rowQueue.ctx, u.root.id))
}

// lacksNames reports whether the names of d are not in memory, and the index may have them.
func (u *Union) lacksNames(d *node) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rows
	return !r.mirrored && !r.whole && (r.state == rowsUnread || r.state == rowsHeld)
}

// readRows reads the names of d on the volumes of set, which the index holds since era.
func (u *Union) readRows(d *node, set volset, era uint64) ([]*entry, error) {
	var all []*entry
	sets := make(map[meta.VolumeSet]volset)
	for after, more := vfs.Cookie(0), true; more; {
		rows, m, err := u.opt.Index.Entries(d.id, after, recallPage)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			row := &rows[i]
			after = row.Cookie
			vols, ok := sets[row.Volumes]
			if !ok {
				vols = u.volumesOf(row.Volumes)
				sets[row.Volumes] = vols
			}
			if vols &= set; vols == 0 || u.hidden(d, row.Name) {
				continue
			}
			all = append(all, u.rowEntry(row, vols))
		}
		more = m
	}
	if !u.opt.Index.Holds(era) {
		return nil, meta.ErrPaused
	}
	return all, nil
}

// recallAll makes the table of d from rows that are proved for all its copies. Not ok: they are none. The caller holds
// a lease on d, and d.fill.
func (u *Union) recallAll(d *node, m *members, set volset, stats []volume.Stat, r *recalled, asOf, since int64) (ok bool, err error) {
	t := newNames()
	t.complete, t.asOf, t.provable, t.since = true, asOf, true, since
	for _, e := range r.entries {
		if t.byName[e.name] != nil {
			u.rowsFailed(d, &vfs.Error{Status: vfs.IO, Op: "read index", Object: d.id.String(), Err: errors.New("a name has two rows: " + e.name.String())})
			return false, nil
		}
		t.put(e)
		if e.cookie != u.hash(e.name) {
			u.collided.Store(true)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t.known = set | u.knownOf(d)&m.all&^m.online
	if d.on()&m.online != set || d.rows.state != rowsHeld {
		return false, &moved{d.node(), -1}
	}
	for i, v := range set.list() {
		c := d.copyOn(v)
		c.version, c.own = stats[i].Version(), false
	}
	t.unsure = set // unless nothing was doubted since it was begun
	before := u.install(d, t)
	u.stats.revalidated.Add(1)
	d.rows.mirrored = true
	u.askedNames(d, asOf)
	u.provedRows(d)
	if u.members().all.count() > 1 && d.rows.unsettled() {
		u.rowQueue.pushSettle(d)
	}
	if !d.changing {
		u.accountRead(d, set, stats, since)
	}
	u.memory.Add(t.charge() - before)
	return true, nil
}

// install puts t in the place of d's table and gives what of that is accounted for. Needs d.mu.
func (u *Union) install(d *node, t *names) (charged int64) {
	if d.names != nil {
		charged = d.names.charged
		t.round = d.names.round
	}
	t.round++
	u.renewAbsents(d)
	d.names = t
	return charged
}

// listingOf is what a copy would list by rows that are proved.
func (r *recalled) listingOf(v int, st *volume.Stat) listing {
	l := listing{version: st.Version(), provable: true, st: *st}
	for _, e := range r.entries {
		if e.vols.has(v) {
			l.entries = append(l.entries, volume.Entry{Name: e.phys, Type: e.typ})
		}
	}
	return l
}

// listRest lists the copies of d that rows do not prove, and gives them all.
func (u *Union) listRest(ctx context.Context, d *node, hs handles, stats []volume.Stat, r *recalled) ([]listing, error) {
	got := make([]listing, len(hs))
	for i, v := range hs.set().list() {
		if r.proved.has(v) {
			got[v] = r.listingOf(v, &stats[i])
		}
	}
	err := each(hs.set()&^r.proved, func(v int) error {
		var err error
		got[v], err = u.listCopy(ctx, d, hs[v])
		return err
	})
	return got, err
}

// proveBy proves the names of n by what its copies in set said when they were asked for its attributes at the time at: names that
// memory or the index has cost no stat of their own. The caller holds a lease on n.
func (u *Union) proveBy(n *node, set volset, stats []volume.Stat, at int64) {
	defer u.proveAbsents(n, set, stats, at)
	if u.opt.Lookups != LookupFull || u.doubtful(n) != 0 {
		return
	}
	select {
	case n.fill <- struct{}{}:
	default:
		return // somebody sees to it
	}
	defer func() { <-n.fill }()
	m := u.members()
	n.mu.Lock()
	seen := n == u.root || m.online&^n.on() == 0 || n.copiesAt > m.cameAt // where its copies are
	skip := n.changing || !seen
	asOf, large := at, n.attr.Size > listBytes
	if m.online&^n.on() != 0 && n != u.root && !m.exempt {
		asOf = min(asOf, n.copiesAt)
	}
	n.mu.Unlock()
	if skip || u.stillProved(n, m, set, stats, asOf, at) || large {
		return
	}
	r, err := u.recallNames(n, m, set, stats)
	if err == nil && r.proved == set {
		_, err = u.recallAll(n, m, set, stats, &r, asOf, at)
		u.charge(0)
	}
	if err != nil { // other copies than those that were asked: who needs the names finds out
		u.log.Debug("names of a directory cannot be proved by its attributes", "op", "stat", "node", n.id, "err", err)
	}
}
