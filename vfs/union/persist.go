package union

import (
	"context"
	"errors"
	"sync"
	"time"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// The index keeps the names of directories, so that after a restart, or when memory had no room for
// them, they need not be listed: rows of entries, and of each copy how far they can be believed (meta.DirCopy).
// Wrong rows are worse than none. What must hold, N1 to N13:
//
//	N1   Rows are written by nobody but writeRows and revoke, one at a time for a directory (rows.write), each
//	     as of one moment under the mu of its node.
//	N2   Proof stands in the rows only if the entries are the names at that version. The change of a row and the end of
//	     the Proof are one transaction: a volume that a power cut takes back to the version finds the names
//	     of the version, or no Proof.
//	N3   Complete is believed where nobody can ask: of a volume that is away. It is names.known. A call that changes names announces it
//	     (beginNames) before the volume is called. If it does not say afterwards what it has changed, the
//	     copy is not Complete any more, until it is proved or listed.
//	N4   Settled is set when all is quiet: nothing announced, rows written, the copies flushed. Whoever announces a
//	     change takes it away on stable storage first: after a crash no copy is Settled that was changed since.
//	N5   Of a directory whose names are not in memory the same holds: a change reads what the index says of
//	     it, and is followed by cookie; what cannot be followed so (a cookie that another name has) is forgotten.
//	N6   An index that takes no rows forgets the copies (meta.Store.ChangeDir); one that lost what it had is of another
//	     era, and what builds on rows of an earlier era is not written.
//	N7   A directory with rows that are behind is in the queue, and with a reference: it is not forgotten by memory.
//	N8   Rows are of a node, versions of an inode: renaming or swapping directories, or putting another in the place
//	     of a copy, changes nothing or makes the version another. A copy without a row is listed; a row of a
//	     volume that the node does not lie on, or is no member, is passed over.
//	N9   A name that is found or missed behind our back ends Proof, as it is another version's. The loser of a
//	     conflict is kept under both its names; when any copy must be listed all conflicts are arranged anew.
//	N10  Rows do not depend on Options.Lookups. Other patterns of Options.Hide than before void those of the root.
//	N11  A directory that is gone has no rows.
//	N12  Whoever reads rows holds a lease on the directory, and sees that the era is the same after the last as
//	     before the first.
//	N13  Nobody else has changed the volumes since, by what is written on them (turn.go).

// Delays and bounds of writing rows.
const (
	// rowsDelay is how long rows are behind at least: what is made and removed again costs none.
	rowsDelay = 500 * time.Millisecond
	// settleDelay is how long the names of a directory rest before its copies are Settled. Long enough that a
	// directory in use is announced to be so once, as that waits for the disk of the index.
	settleDelay = 3 * time.Second
	// behindMax is how many names of one directory may be behind; with more it is written as a whole.
	behindMax = 4096
	// rowsQueueMax is how many directories may be behind, before who changes names waits.
	rowsQueueMax = 16384
	// settleMax is how many directories wait to be settled; more are not.
	settleMax = 65536
)

// rowsState is what is known of the rows of a directory.
type rowsState uint8

const (
	rowsUnread rowsState = iota // nothing
	rowsBare                    // there are none at all
	rowsNone                    // none of copies; entries may be there
	rowsHeld                    // they are followed
)

// heldCopy is what the rows say of a copy, or will when they are not behind.
type heldCopy struct {
	vol      int
	version  volume.Version
	listed   vfs.Time
	proof    bool
	complete bool
	settled  bool
}

// rows is how the index stands to the names of a directory. All but write is guarded by the mu of its node.
type rows struct {
	write sync.Mutex // held while a change is put together and queued; before the mu of a node

	state    rowsState
	era      uint64                  // of the index that holds them
	held     []heldCopy              // by volume
	mirrored bool                    // the name table has the names that the rows have, but for those behind
	whole    bool                    // all are behind
	writing  bool                    // being written as a whole
	behind   map[vfs.Name]vfs.Cookie // names whose rows are, and the cookie they had; 0: not known
	flying   map[vfs.Name]vfs.Cookie // those whose rows are being written, as in behind
	flown    uint64                  // counts writings of flying that ended
	stale    bool                    // rows of copies are behind

	open     volset // copies whose names are being changed
	unsynced volset // copies whose changes were not seen to be flushed
	touched  int64  // when a change was announced last
	stood    volset // volumes that are away, of which it was looked what stands here,
	stoodAt  int64  // when this was the time of the last opening of a volume
	queued   bool   // to be written
	settling bool   // to be settled
}

// heldOn is what the rows say of the copy on volume v, or nil. Needs the mu of the node.
func (r *rows) heldOn(v int) *heldCopy {
	for i := range r.held {
		if r.held[i].vol == v {
			return &r.held[i]
		}
	}
	return nil
}

// hold replaces what the rows say of a copy. Needs the mu of the node.
func (r *rows) hold(h heldCopy) {
	if old := r.heldOn(h.vol); old != nil {
		*old = h
		return
	}
	i := 0
	for i < len(r.held) && r.held[i].vol < h.vol {
		i++
	}
	r.held = append(r.held, heldCopy{})
	copy(r.held[i+1:], r.held[i:])
	r.held[i] = h
}

// keeps reports whether names are kept at all.
func (u *Union) keeps() bool { return u.opt.Index != nil }

// rowBehind notes that the row of a name of d is behind; was is the cookie it had, 0 if that is not known.
// Needs d.mu; the caller has a reference to d.
func (u *Union) rowBehind(d *node, name vfs.Name, was vfs.Cookie) {
	r := d.rows
	if r.state != rowsHeld && !r.writing || r.whole {
		return
	}
	if old, ok := r.behind[name]; ok && old != 0 {
		return
	}
	if r.behind == nil {
		r.behind = make(map[vfs.Name]vfs.Cookie)
	}
	r.behind[name] = was
	if len(r.behind) > behindMax {
		if r.mirrored {
			r.whole = true
		} else {
			r.forgetAll()
		}
		r.behind = nil
	}
	u.rowQueue.push(d)
}

// landed notes that the names that were being written are not any more. Needs the mu of the node.
func (r *rows) landed() { r.flying, r.flown = nil, r.flown+1 }

// forgetAll makes the index forget what it says of the copies. Needs the mu of the node.
func (r *rows) forgetAll() {
	r.state, r.stale = rowsNone, true
}

// copiesBehind notes that what the rows say of copies is. Needs d.mu; the caller has a reference to d.
func (u *Union) copiesBehind(d *node) {
	if r := d.rows; r.state == rowsHeld && !r.whole {
		r.stale = true
		u.rowQueue.push(d)
	}
}

// unproved ends Proof of the copies in vols: their names are another version's (N2, N9). Needs d.mu.
func (u *Union) unproved(d *node, vols volset) {
	some := false
	for i := range d.rows.held {
		if h := &d.rows.held[i]; vols.has(h.vol) && h.proof {
			h.proof, some = false, true
		}
	}
	if some {
		u.copiesBehind(d)
	}
}

// listedRows notes that the copies of d in set were listed, or proved to be as the rows say: d.names is that. Needs d.mu;
// the caller has a reference to d. old is the table before.
func (u *Union) listedRows(d *node, old *names, set volset, provable func(v int) bool) {
	r := d.rows
	if !u.keeps() {
		return
	}
	was := r.held
	r.held = nil
	now := vfs.TimeOf(time.Now())
	for i := range d.copies {
		c := &d.copies[i]
		if !set.has(c.vol) {
			continue
		}
		h := heldCopy{vol: c.vol, version: c.version, listed: now, proof: provable(c.vol), complete: true}
		for _, o := range was { // nobody has announced a change: what is Settled is so with other names, too
			if o.vol == c.vol {
				h.settled = o.settled
			}
		}
		r.hold(h)
	}
	for _, o := range was {
		if !set.has(o.vol) && o.complete {
			r.hold(o)
		}
	}
	r.open = 0
	mirrored := r.mirrored && old != nil && r.state == rowsHeld && !r.writing
	r.mirrored = true
	if !mirrored || r.whole || !u.listDifference(d, old) {
		r.whole, r.behind = true, nil
	}
	r.stale = true
	u.rowQueue.push(d)
}

// listDifference notes the names that differ between old and the table of d; not ok: there are too many. Needs d.mu.
func (u *Union) listDifference(d *node, old *names) (ok bool) {
	r := d.rows
	note := func(name vfs.Name, was vfs.Cookie) bool {
		if o, there := r.behind[name]; there && o != 0 {
			return true
		}
		if r.behind == nil {
			r.behind = make(map[vfs.Name]vfs.Cookie)
		}
		r.behind[name] = was
		return len(r.behind) <= behindMax
	}
	for name, e := range d.names.byName {
		o := old.byName[name]
		if o != nil && o.sameRow(e) {
			continue
		}
		was := vfs.Cookie(0)
		if o != nil {
			was = o.cookie
		}
		if !note(name, was) {
			return false
		}
	}
	for name, o := range old.byName {
		if d.names.byName[name] == nil && !note(name, o.cookie) {
			return false
		}
	}
	return true
}

// sameRow reports whether o has the row of e.
func (e *entry) sameRow(o *entry) bool {
	return e.cookie == o.cookie && e.phys == o.phys && e.vols == o.vols && e.typ == o.typ && e.node == o.node
}

// bornRows notes that d, which was just made on volume v and is empty, has no rows. Needs d.mu; the caller has a
// reference to d.
func (u *Union) bornRows(d *node, v int, version volume.Version) {
	if r := d.rows; u.keeps() && r.state == rowsUnread {
		r.state, r.mirrored, r.whole = rowsBare, true, true
		r.hold(heldCopy{vol: v, version: version, listed: vfs.TimeOf(time.Now()), complete: true})
		u.rowQueue.push(d)
	}
}

// emptyCopy notes that d got a copy on v that is empty. Needs d.mu; the caller has a reference to d.
func (u *Union) emptyCopy(d *node, v int, version volume.Version) {
	if d.rows.state == rowsHeld || d.rows.whole {
		d.rows.hold(heldCopy{vol: v, version: version, listed: vfs.TimeOf(time.Now()), complete: true})
		u.copiesBehind(d)
	}
}

// beginNames announces that names of the copies of d on vols change (N3, N4). The caller holds the exclusive lease on d, and
// calls end.
func (u *Union) beginNames(ctx context.Context, d *node, vols volset) {
	u.begin(d)
	if !u.keeps() {
		return
	}
	u.rowQueue.room(ctx)
	u.rowsKeepUp(d)
	d.mu.Lock()
	r := d.rows
	r.open |= vols
	r.touched = u.now()
	unread, settled := r.state == rowsUnread, r.anySettled(vols)
	d.mu.Unlock()
	if unread || settled {
		u.revoke(ctx, d, vols)
	}
}

// anySettled reports whether the rows say so of a copy on vols. Needs the mu of the node.
func (r *rows) anySettled(vols volset) bool {
	for i := range r.held {
		if h := &r.held[i]; h.settled && vols.has(h.vol) {
			return true
		}
	}
	return false
}

// revoke takes Settled from the copies of d on vols, on stable storage. If the index cannot say so, it voids
// by itself whatever is Settled (meta's doc.go).
func (u *Union) revoke(ctx context.Context, d *node, vols volset) {
	r := d.rows
	r.write.Lock()
	u.readCopyRows(d)
	d.mu.Lock()
	if !r.anySettled(vols) {
		d.mu.Unlock()
		r.write.Unlock()
		return
	}
	for i := range r.held {
		if h := &r.held[i]; vols.has(h.vol) {
			h.settled, h.proof = false, false
		}
	}
	era, change := r.era, &meta.DirChange{Copies: u.heldRows(d)}
	if r.whole || len(r.behind) > 0 { // what memory knows of the copies is of other names
		claimNothing(change)
		u.copiesBehind(d)
	}
	d.mu.Unlock()
	err := u.opt.Index.ChangeDir(u.rowQueue.ctx, d.id, era, change)
	r.write.Unlock()
	u.stats.revoked.Add(1)
	if err == nil || errors.Is(err, meta.ErrPaused) {
		err = u.opt.Index.Flush(context.WithoutCancel(ctx))
	}
	u.rowsFailed(d, err)
}

// readCopyRows reads what the index says of the copies of d, if that was not done. The caller holds rows.write.
func (u *Union) readCopyRows(d *node) {
	r := d.rows
	d.mu.Lock()
	unread := r.state == rowsUnread
	d.mu.Unlock()
	if !unread {
		return
	}
	era := u.opt.Index.Era()
	copies, err := u.opt.Index.Copies(d.id)
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.state != rowsUnread {
		return
	}
	r.state, r.era = rowsNone, era
	if err != nil {
		u.rowError(err, d.id)
		r.stale = true // whatever they say
		u.rowQueue.push(d)
		return
	}
	for i := range copies {
		c := &copies[i]
		v := u.volumeByID(volume.ID(c.Volume))
		if v == nil || !c.Proof && !c.Complete {
			continue
		}
		r.state = rowsHeld
		r.hold(heldCopy{v.i, volume.Version{Ino: c.Version.Ino, Ctime: c.Version.Ctime, Mtime: c.Version.Mtime}, c.Listed, c.Proof, c.Complete, c.Settled})
	}
}

// heldRows are the rows of the copies of d. Needs d.mu.
func (u *Union) heldRows(d *node) []meta.DirCopy {
	out := make([]meta.DirCopy, 0, len(d.rows.held))
	unknown := volset(0)
	if d.rows.mirrored {
		unknown = d.on() &^ u.knownOf(d)
	}
	for i := range d.rows.held {
		h := &d.rows.held[i]
		complete := h.complete && !unknown.has(h.vol) && u.listedSince(h)
		out = append(out, meta.DirCopy{
			Volume:  meta.VolumeID(u.vol(h.vol).id),
			Version: meta.Version{Ino: h.version.Ino, Ctime: h.version.Ctime, Mtime: h.version.Mtime},
			Listed:  h.listed, Proof: h.proof, Complete: complete, Settled: complete && h.settled,
		})
	}
	return out
}

// claimNothing makes a change say of the copies that their names are not known.
func claimNothing(c *meta.DirChange) {
	for i := range c.Copies {
		k := &c.Copies[i]
		k.Proof, k.Complete, k.Settled = false, false, false
	}
}

// namesChanged notes what a change of ours that was announced has done to the copies of n on vols. Needs n.mu; the caller
// has a reference to n.
func (u *Union) namesChanged(n *node, vols volset) {
	r := n.rows
	r.open &^= vols
	r.unsynced |= vols
	r.touched = u.now()
	u.unproved(n, vols)
}

// endNames ends what beginNames began: of copies that may have been changed, nobody says how, nothing is known (N3).
// Needs n.mu; the caller has a reference to n.
func (u *Union) endNames(n *node) {
	r := n.rows
	if r.open == 0 {
		return
	}
	for i := range r.held {
		if h := &r.held[i]; r.open.has(h.vol) {
			h.complete, h.settled = false, false
		}
	}
	r.unsynced |= r.open
	r.open = 0
	u.copiesBehind(n)
}

// rowsFailed notes that the index did not take rows of d: nothing is known of its copies there (N6).
func (u *Union) rowsFailed(d *node, err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	r := d.rows
	r.state, r.held, r.behind, r.whole, r.stale = rowsNone, nil, nil, false, false
	r.landed()
	d.mu.Unlock()
	u.rowError(err, d.id)
}

// provedRows notes that every copy of d was seen to be as the table says: what a call that failed may have changed, it
// has not (N3). Needs d.mu; the caller has a reference to d.
func (u *Union) provedRows(d *node) {
	r := d.rows
	if r.state != rowsHeld || !r.mirrored && !u.pagedNow(d) || r.open != 0 {
		return
	}
	for i := range d.copies {
		c := &d.copies[i]
		if h := r.heldOn(c.vol); h != nil && u.online().has(c.vol) && (!h.complete || !u.listedSince(h)) {
			h.complete, h.listed = true, vfs.TimeOf(time.Now())
			u.copiesBehind(d)
		}
	}
}

// foundChanged notes that names of d are others than those that were listed (N9). Needs d.mu; the caller has a
// reference to d.
func (u *Union) foundChanged(d *node) {
	if d.rows.mirrored {
		d.names.provable = false
	}
	for i := range d.rows.held {
		u.unproved(d, volset(0).with(d.rows.held[i].vol))
	}
}
