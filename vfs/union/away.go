package union

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// away are the members that cannot be used.
func (u *Union) away() volset {
	m := u.members()
	return m.all &^ m.online
}

// isAway reports whether err says that a volume is away: then nothing was begun.
func isAway(err error) bool {
	_, away := errors.AsType[*volume.AwayError](err)
	return away
}

// waitsFor reports whether err says that a volume is away, so that who waits for its coming is told of that. One that refuses
// calls because it has too many is there and does not come.
func (u *Union) waitsFor(err error) bool {
	away, ok := errors.AsType[*volume.AwayError](err)
	if !ok {
		return false
	}
	m := u.members()
	i := slices.IndexFunc(m.vols, func(v *vol) bool { return v.name == away.Volume })
	return i < 0 || !m.online.has(m.vols[i].i)
}

// knownOf are the volumes whose copies of d have all their names in d's table. Of those that are away what was known last stands; of one that
// is stalled, which may be back in a moment, only what watches let nobody change unseen. Needs d.mu.
func (u *Union) knownOf(d *node) volset {
	t := d.names
	if t == nil {
		return 0
	}
	if m := u.members(); t.since < m.openedAt {
		for _, v := range t.known.list() {
			if m.at[v].openedAt.Load() > t.since {
				t.known = t.known.minus(v)
			}
		}
		t.since = m.openedAt
	}
	away := u.away()
	if away == 0 {
		return t.known & d.on()
	}
	return t.known & d.on() &^ (t.unsure&away | u.unwatched(d, away))
}

// unwatched are those of the away volumes that are stalled and whose copy of d others may have changed unseen before. Needs d.mu.
func (u *Union) unwatched(d *node, away volset) (set volset) {
	for _, i := range away.list() {
		v := u.vol(i)
		if s := v.refused.Load(); s == nil || s.Health != volume.Stalled || v.exclusive {
			continue
		}
		if c := d.copyOn(i); c == nil || !v.watch.covers(c.covered, d.names.asOf) {
			set = set.with(i)
		}
	}
	return set
}

// uncertain is distrustName after a change of name in the copies on vols that failed with err; if
// their volume was away nothing was begun.
func (u *Union) uncertain(d *node, name vfs.Name, vols volset, err error) {
	if !isAway(err) {
		u.distrustName(d, name, vols)
	}
}

// refusal is what a call gets that needs the volume at position v, which is away.
func (u *Union) refusal(op string, v int) error {
	o := u.vol(v)
	e := &volume.AwayError{Op: op, Volume: o.name, State: volume.StateOf(o.v), Status: vfs.Jukebox}
	if s := o.refused.Load(); s != nil {
		e.State = *s
		if s.Health != volume.Stalled && time.Since(s.Since) >= u.opt.OfflineWait {
			e.Status = vfs.IO
		}
	}
	return e
}

// doubtful are the away volumes of which it is not known what names they have in the directory d: those
// whose copy was not listed, and those that may have a copy.
func (u *Union) doubtful(d *node) volset { return u.doubtfulOf(d, u.away()) }

// doubtfulOf is doubtful for who found the volumes away when he began to ask the others: one that came meanwhile was
// not asked.
func (u *Union) doubtfulOf(d *node, away volset) volset {
	if away == 0 {
		return 0
	}
	u.recallAway(d, away)
	d.mu.Lock()
	rest := away &^ u.knownOf(d)
	has := d.on()
	d.mu.Unlock()
	return rest&has | u.mayHave(d, rest&^has)
}

// mayHave are those of the away volumes s, which d has no copy on as far as memory knows, that
// may have one all the same. That they have none is told by the names that stand of its parent, or
// because that has no copy there either: the root has one everywhere.
func (u *Union) mayHave(d *node, s volset) (may volset) {
	d.refs.Add(1)
	for range scanDepth {
		if s == 0 || d == u.root {
			d.put()
			return may | s
		}
		d.mu.Lock()
		var at place
		if len(d.places) > 0 && !d.gone {
			at = d.places[0]
		}
		d.mu.Unlock()
		d.put()
		if at.name.IsZero() {
			return may | s
		}
		parent, err := u.known(at.dir)
		if err != nil { // it is looked for when it is needed; until then nothing is known
			return may | s
		}
		d = parent
		u.recallAway(d, s)
		d.mu.Lock()
		has, known := d.on()&s, u.knownOf(d)&s
		if d.names != nil {
			if e := d.names.byName[at.name]; e != nil {
				may |= e.vols & known
			}
		}
		d.mu.Unlock()
		may |= has &^ known
		s &^= has
	}
	d.put()
	return may | s
}

// whole is an error if a copy of the directory n is away, or may be, or if a volume came since it was looked where n has copies.
func (u *Union) whole(op string, n *node) error {
	if !n.isDir() {
		return nil
	}
	m := u.members()
	away := m.all &^ m.online
	n.mu.Lock()
	on, missing := n.on(), volset(0)
	if n != u.root && m.cameAt != 0 && n.copiesAt <= m.cameAt {
		missing = m.online &^ on
	}
	n.mu.Unlock()
	if away != 0 {
		missing |= on&away | u.mayHave(n, away&^on)
	}
	if missing != 0 {
		return u.refusal(op, missing.first())
	}
	return nil
}

// stands are those of the away volumes that have name in d by what is known of them, and whether they have directories
// there. Needs d.mu.
func (u *Union) stands(d *node, name vfs.Name, away volset) (vols volset, dirs bool) {
	if d.names == nil {
		return 0, false
	}
	e := d.names.byName[name]
	if e == nil {
		return 0, false
	}
	return e.vols & away, e.typ == vfs.Directory
}

// missing is what a look-up of name in d comes to when no copy has it that could be asked with the members m: NoEnt if
// the volumes that were away are known not to have it either, and d's copies on the others were known.
func (u *Union) missing(d *node, name vfs.Name, m *members) error {
	away := m.all &^ m.online
	if away != 0 {
		u.recallAway(d, away)
	}
	d.mu.Lock()
	has, _ := u.stands(d, name, away)
	if rest := m.online &^ d.on(); d != u.root && m.cameAt != 0 && d.copiesAt <= m.cameAt {
		has |= rest // one came since it was asked where d has copies
	}
	d.mu.Unlock()
	if has == 0 {
		has = u.doubtfulOf(d, away)
	}
	if has == 0 {
		return vfs.NoEnt
	}
	return u.refusal("look up", has.first())
}

// claimed is an error if name in d belongs to an object on a volume that is away, though others that were seen have it too:
// they are losers of a conflict, or came to the name while the volume was away.
func (u *Union) claimed(d *node, name vfs.Name, seen []sighting, away volset) error {
	if away == 0 || len(seen) == 0 {
		return nil
	}
	u.recallAway(d, away)
	d.mu.Lock()
	has, dirs := u.stands(d, name, away)
	if e := d.names; e != nil && has != 0 && e.byName[name].phys != name {
		has = 0 // under another name of its own
	}
	known := u.knownOf(d)
	d.mu.Unlock()
	if id, ok := u.pins.get(d.id, name); ok {
		if v := u.volumeByID(id); v != nil && away.has(v.i) && !known.has(v.i) {
			has, dirs = volset(0).with(v.i), false
		}
	}
	if has == 0 || dirs && allDirs(seen) {
		return nil
	}
	return u.refusal("look up", has.first())
}

// standing is what there is to go by of the copies of a directory that are away.
type standing struct {
	vols    volset  // those whose names are known
	entries []entry // their names; vols of each are of these only
}

// stayBatch is for how many entries a directory's mutex is held at a time.
const stayBatch = 256

// stay takes the names of d's copies that are away by m, and known, out of its table.
func (u *Union) stay(d *node, m *members) (s standing) {
	away := m.all &^ m.online
	if away == 0 {
		return s
	}
	var page [stayBatch]*entry
	for after := vfs.Cookie(0); ; {
		d.mu.Lock()
		s.vols = u.knownOf(d) & away
		if s.vols == 0 {
			d.mu.Unlock()
			return standing{}
		}
		got := d.names.order.after(after, page[:0], stayBatch)
		for _, e := range got {
			if on := e.vols & s.vols; on != 0 {
				k := *e
				k.vols = on
				s.entries = append(s.entries, k)
			}
			after = e.cookie
		}
		d.mu.Unlock()
		if len(got) < stayBatch {
			return s
		}
	}
}

// How long a call waits for a lease: a changing call that hangs on its volume keeps its leases until
// its outcome is known, which no deadline ends. So who waits for them is told to come again, sooner
// while it is known that a volume does not answer. What takes that long and does not hang is a listing of
// millions, or a disk that wakes up.
const (
	leasePatience     = 30 * time.Second
	leasePatienceSlow = time.Second
)

// errHeld is why a lease could not be had in time.
var errHeld = errors.New("another call that needs it has not ended yet")

// acquire takes leases, as lease.Table.Acquire does, and waits so long at most.
func (u *Union) acquire(ctx context.Context, wants ...lease.Want) (lease.Held, error) {
	if l, ok := u.leases.TryAcquire(wants...); ok {
		return l, nil
	}
	if ctx.Value(unhurried{}) != nil {
		return u.leases.Acquire(ctx, wants...)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var t *time.Timer
	t = time.AfterFunc(leasePatience, func() {
		if u.hangs() || time.Since(began) >= leasePatience {
			cancel(errHeld)
			return
		}
		t.Reset(leasePatienceSlow)
	})
	t.Reset(leasePatienceSlow) // not before t is set
	defer t.Stop()
	return u.leases.Acquire(ctx, wants...)
}

// hangs reports whether a volume is known not to answer, or seems to.
func (u *Union) hangs() bool {
	for _, v := range u.members().vols {
		if s := v.refused.Load(); s != nil && s.Health != volume.Away || v.stalled() >= stalledHangs {
			return true
		}
	}
	return false
}

// A volume from which nothing comes back for stalledAvoid gets no new objects while there are others: whoever makes one there
// may have to wait until it is known to hang. After stalledHangs who waits for another's call of it is told to come again:
// disks that wake up take that long, too.
const (
	stalledAvoid = 500 * time.Millisecond
	stalledHangs = 3 * time.Second
)

// stalledError tells who would have to wait for a volume that seems to hang to come again.
func (u *Union) stalledError(op string, v int, since time.Duration) error {
	return &vfs.Error{Status: vfs.Jukebox, Op: op, Volume: u.vol(v).name, Err: fmt.Errorf("no call has come back from it for %v", since)}
}

// stalled is for how long nothing has come back from v.
func (v *vol) stalled() time.Duration { return volume.StalledOf(v.v) }
