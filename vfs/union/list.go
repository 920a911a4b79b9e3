package union

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/dchest/siphash"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// listRetries is how often a copy is listed again when its version moved meanwhile. A
// listing that others write into all the time is taken as it is: every name in it
// was there at some moment of it.
const listRetries = 2

// namesFresh reports whether the name table of d may be believed at the time now. Needs d.mu.
func (u *Union) namesFresh(d *node, now int64) bool {
	t := d.names
	if t == nil || u.opt.Lookups != LookupFull || !u.allKnown(d) {
		return false
	}
	return u.namesBelieved(d, t.asOf, now)
}

// entryFresh reports whether the name of e may be believed at the time now. Needs d.mu.
func (u *Union) entryFresh(d *node, e *entry, now int64) bool {
	if d.inDoubt(e.name) {
		return false
	}
	if u.namesFresh(d, now) {
		return true
	}
	if e.at <= d.doubts.all || u.opt.Lookups == LookupOff {
		return false
	}
	return u.believed(e.at, now) || e.whole && u.namesBelieved(d, e.at, now)
}

// absent reports whether name is known not to be in d at the time now. Needs d.mu.
func (u *Union) absent(d *node, name vfs.Name, now int64) bool {
	t := d.names
	if u.opt.Lookups == LookupOff || d.inDoubt(name) {
		return false
	}
	if t != nil && t.complete && u.opt.Lookups == LookupFull {
		return u.namesFresh(d, now) && t.byName[name] == nil
	}
	at, ok := u.absentSince(d, name)
	return ok && u.namesBelieved(d, at, now)
}

// prove makes the name table of d complete and fresh. Held says that the caller has
// a lease on d; without, none may be held.
func (u *Union) prove(ctx context.Context, d *node, held bool) error {
	if u.proved(d) {
		return nil
	}
	if !held {
		if _, err := u.checkCopies(ctx, d); err != nil {
			return err
		}
		l, err := u.acquire(ctx, lease.Node(d.id, lease.Shared))
		if err != nil {
			return err
		}
		defer l.Release()
	}
	select {
	case d.fill <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.fill }()
	if u.proved(d) {
		return nil
	}
	if err := u.settleDoubts(ctx, d); err != nil {
		return err
	}
	if u.proved(d) {
		return nil
	}
	return u.fillNames(ctx, d)
}

// proved reports whether d's table is complete and fresh, whatever Lookups says: a
// listing needs it always.
func (u *Union) proved(d *node) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return u.allKnown(d) && len(d.doubts.names) == 0 && u.namesBelieved(d, d.names.asOf, u.now())
}

// fillNames proves by versions that d's table still holds, or lists every copy. The
// caller holds a lease on d, and d.fill.
func (u *Union) fillNames(ctx context.Context, d *node) error {
	if err := u.closedDir(ctx, d.id); err != nil {
		return err
	}
	m := u.members()
	if unknown := u.doubtfulOf(d, m.all&^m.online); unknown != 0 {
		return u.refusal("list", unknown.first())
	}
	hs, err := u.dirsAt(ctx, d, m.online)
	if err != nil {
		return err
	}
	defer hs.release()
	if left := d.volumes() &^ m.online; hs.set() == 0 && left != 0 {
		return u.refusal("list", left.first())
	}
	if u.unsought(d) {
		return &moved{d.node(), -1}
	}
	return u.fillFrom(ctx, d, m, hs)
}

// unsought reports whether a copy of d was lost and nobody has looked since where d has copies: then those that are
// known do not tell what d holds. Who holds leases returns a moved.
func (u *Union) unsought(d *node) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d != u.root && d.copiesAt == 0 && len(d.places) > 0 && !d.gone && u.online()&^d.on() != 0
}

// fillFrom is fillNames by open copies.
func (u *Union) fillFrom(ctx context.Context, d *node, m *members, hs handles) error {
	u.cover(ctx, d, hs)
	since := u.now()
	d.mu.Lock()
	asOf := u.asOf(d, since)
	d.mu.Unlock()
	stats, err := u.statDirs(ctx, hs)
	if err != nil {
		return err
	}
	if lost := lostCopies(stats, hs.set()); lost != 0 {
		if err := u.loseCopies(d, lost, hs.identity); err != nil {
			return err
		}
		return &moved{d.node(), -1}
	}
	if u.stillProved(d, m, hs.set(), stats, asOf, since) {
		return nil
	}
	if ok, err := u.recallPaged(ctx, d, m, hs.set(), stats, asOf, since); ok || err != nil {
		return err
	}
	r, err := u.recallNames(d, m, hs.set(), stats)
	if err != nil {
		return err
	}
	if r.proved == hs.set() {
		ok, err := u.recallAll(d, m, hs.set(), stats, &r, asOf, since)
		if ok || err != nil {
			u.charge(0)
			return err
		}
		r = recalled{}
	}
	got, err := u.listRest(ctx, d, hs, stats, &r)
	if err != nil {
		return err
	}
	err = u.adoptListing(ctx, d, m, hs.set(), got, asOf, since, true)
	u.charge(0) // a long listing may be too much
	return err
}

// stillProved reports whether equal versions prove that the table is what the copies
// hold, and notes that it is fresh.
func (u *Union) stillProved(d *node, m *members, set volset, stats []volume.Stat, asOf, since int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.names
	if t != nil && t.paged {
		return u.stillPaged(d, m, set, stats, asOf, since)
	}
	if t == nil || !t.provable || d.on()&m.online != set || set&^u.knownOf(d) != 0 {
		return false
	}
	for i, v := range set.list() {
		c := d.copyOn(v)
		if u.vol(v).exclusive && t.complete {
			continue
		}
		if c.own || c.version != stats[i].Version() {
			return false
		}
	}
	t.complete, t.asOf = true, asOf
	u.stats.revalidated.Add(1)
	u.askedNames(d, asOf)
	u.provedRows(d)
	if !d.changing {
		u.accountRead(d, set, stats, since)
	}
	return true
}

// listing is one copy's names.
type listing struct {
	entries  []volume.Entry
	version  volume.Version
	provable bool
	st       volume.Stat
}

// listCopy lists a copy between two looks at its version.
func (u *Union) listCopy(ctx context.Context, d *node, h *dirHandle) (listing, error) {
	for try := 0; ; try++ {
		var l listing
		looked := time.Now()
		before, err := h.d.Stat(ctx)
		if err != nil {
			return l, h.lost(err)
		}
		u.stats.lists.Add(1)
		err = h.d.List(ctx, func(e volume.Entry) bool {
			if !u.hidden(d, e.Name) {
				l.entries = append(l.entries, e)
			}
			return true
		})
		if err != nil {
			return l, h.lost(err)
		}
		if l.st, err = h.d.Stat(ctx); err != nil {
			return l, h.lost(err)
		}
		if l.st.Nlink == 0 {
			return l, h.lost(vfs.Stale)
		}
		l.version = l.st.Version()
		same := before.Version() == l.version
		if same || try == listRetries {
			l.provable = same && u.quiet(h.vol, &before, looked)
			return l, nil
		}
	}
}

// quiet reports whether the version in st can be believed: the volume's are exact, or it was old enough at looked, before
// anything was listed. A listing takes its time on a busy host, and a name that is made while it is under way, in the tick
// of the change before, does not move the version.
func (u *Union) quiet(v int, st *volume.Stat, looked time.Time) bool {
	q := u.vol(v).can().Quiet
	if q == 0 {
		return true
	}
	last := st.Ctime
	if st.Mtime.Compare(last) > 0 {
		last = st.Mtime
	}
	return looked.Sub(last.Time()) > q
}

// adoptListing makes the table of d from what the copies listed. It is not complete if copies may have names that are away, and
// not known.
func (u *Union) adoptListing(ctx context.Context, d *node, m *members, set volset, got []listing, asOf, since int64, complete bool) error {
	stay := u.stay(d, m)
	raw, err := u.combine(ctx, d, set, got, stay)
	if err != nil {
		return err
	}
	fresh, err := u.assignCookies(ctx, d, raw)
	if err != nil {
		return err
	}
	u.keepRows(d, fresh)
	t := newNames()
	t.complete, t.asOf, t.provable = complete, asOf, complete
	t.known, t.since = set|stay.vols, since
	for _, e := range fresh {
		t.put(e)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on()&m.online != set || stay.vols&^u.knownOf(d) != 0 {
		return &moved{d.node(), -1}
	}
	stats := make([]volume.Stat, 0, set.count())
	for i := range d.copies {
		c := &d.copies[i]
		if !set.has(c.vol) {
			continue
		}
		l := &got[c.vol]
		c.version, c.own = l.version, false
		t.provable = t.provable && l.provable
		stats = append(stats, l.st)
	}
	t.unsure = set // unless nothing was doubted since it was begun
	old := d.names
	before := u.install(d, t)
	u.askedNames(d, asOf)
	u.listedRows(d, old, set, func(v int) bool { return got[v].provable })
	if !d.changing {
		u.accountRead(d, set, stats, since)
	}
	u.memory.Add(t.charge() - before)
	return nil
}

// combine merges the copies' listings by name; conflicts are settled. What was known of
// names that are the same still is kept.
func (u *Union) combine(ctx context.Context, d *node, set volset, got []listing, stay standing) ([]*entry, error) {
	total := len(stay.entries)
	for i := range got {
		total += len(got[i].entries)
	}
	all := make([]*entry, 0, total)
	if set.count() == 1 && stay.vols == 0 {
		v := set.first()
		for _, e := range got[v].entries {
			all = append(all, &entry{name: e.Name, phys: e.Name, vols: volset(0).with(v), ino: e.Ino, typ: e.Type})
		}
		u.keepKnown(d, all)
		return all, nil
	}
	byName := make(map[vfs.Name][]seenEntry, total)
	for _, v := range set.list() {
		for _, e := range got[v].entries {
			byName[e.Name] = append(byName[e.Name], seenEntry{v, e})
		}
	}
	for _, e := range stay.entries {
		for _, v := range e.vols.list() {
			byName[e.phys] = append(byName[e.phys], seenEntry{v, volume.Entry{Name: e.phys, Ino: e.ino, Type: e.typ}})
		}
	}
	for name, seen := range byName {
		es, err := u.arrange(ctx, d, name, seen, stay.vols)
		if err != nil {
			return nil, err
		}
		all = append(all, es...)
	}
	u.keepKnown(d, all)
	return u.uniqueNames(all), nil
}

// seenEntry is an entry of one copy's listing.
type seenEntry struct {
	vol int
	e   volume.Entry
}

// keepKnown gives entries the nodes that were known under their names, as hints: they
// are confirmed when they are looked at, because an inode number may come again.
func (u *Union) keepKnown(d *node, all []*entry) {
	const batch = 256 // entries for which d.mu is held at a time
	for i := 0; i < len(all); i += batch {
		d.mu.Lock()
		if d.names == nil {
			d.mu.Unlock()
			return
		}
		for _, e := range all[i:min(i+batch, len(all))] {
			o := d.names.byName[e.name]
			if o == nil {
				continue
			}
			e.cookie = o.cookie
			if o.phys == e.phys && o.vols.first() == e.vols.first() && (e.ino == 0 || o.ino == 0 || e.ino == o.ino) {
				e.node, e.at = o.node, o.at
				if e.typ == 0 {
					e.typ = o.typ
				}
			}
		}
		d.mu.Unlock()
	}
}

// cookieHash is the cookie that a name has unless another has it.
func (u *Union) cookieHash(name vfs.Name) vfs.Cookie {
	c := vfs.Cookie(siphash.Hash(u.cookieKey.k0, u.cookieKey.k1, []byte(name.String()))) & vfs.MaxCookie
	return max(c, vfs.FirstCookie)
}

// assignCookies gives every entry without one its cookie, and the list in cookie order.
func (u *Union) assignCookies(ctx context.Context, d *node, all []*entry) ([]*entry, error) {
	stored, err := u.storedCookies(d)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if c, ok := stored[e.name]; ok {
			e.cookie = c
		} else if e.cookie == 0 {
			e.cookie = u.hash(e.name)
		}
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].cookie != all[j].cookie {
			return all[i].cookie < all[j].cookie
		}
		return all[i].name.String() < all[j].name.String()
	})
	return all, u.separate(ctx, d, all)
}

// separate moves entries that share a cookie apart and remembers where they went.
func (u *Union) separate(ctx context.Context, d *node, all []*entry) error {
	clash := false
	for i := 1; i < len(all); i++ {
		clash = clash || all[i].cookie == all[i-1].cookie
	}
	if !clash {
		return nil
	}
	taken := make(map[vfs.Cookie]*entry, len(all))
	var late []*entry
	for _, e := range all {
		switch o := taken[e.cookie]; {
		case o == nil:
			taken[e.cookie] = e
		case !u.hadCookie(d, o) && u.hadCookie(d, e):
			taken[e.cookie], late = e, append(late, o)
		default:
			late = append(late, e)
		}
	}
	for _, e := range late {
		for taken[e.cookie] != nil {
			e.cookie = nextCookie(e.cookie)
		}
		taken[e.cookie] = e
		u.rememberCookie(ctx, d, e, true)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].cookie < all[j].cookie })
	return nil
}

// hadCookie reports whether e was listed with the cookie that it has: it keeps it, and a newcomer with the same hash does
// not take it.
func (u *Union) hadCookie(d *node, e *entry) bool {
	if e.cookie != u.hash(e.name) { // remembered
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names == nil {
		return false
	}
	o := d.names.byName[e.name]
	return o != nil && o.cookie == e.cookie
}

// nextCookie is the next one to try after a collision.
func nextCookie(c vfs.Cookie) vfs.Cookie {
	if c >= vfs.MaxCookie {
		return vfs.FirstCookie
	}
	return c + 1
}

// cookieFor is the cookie of a new name in the table of d. Needs d.mu.
func (u *Union) cookieFor(d *node, name vfs.Name) (c vfs.Cookie, moved bool) {
	c = u.hash(name)
	for d.names.order.taken(c) {
		c, moved = nextCookie(c), true
	}
	return c, moved
}

// storedCookies are the names of d whose cookies are not their hashes.
func (u *Union) storedCookies(d *node) (map[vfs.Name]vfs.Cookie, error) {
	if u.opt.Index == nil {
		return nil, nil
	}
	list, err := u.opt.Index.Collisions(d.id)
	if err != nil {
		u.log.Warn("collisions of a directory cannot be read; cookies are assigned anew", "op", "readdir", "node", d.id, "err", err)
		return nil, nil
	}
	if len(list) == 0 {
		return nil, nil
	}
	u.collided.Store(true)
	m := make(map[vfs.Name]vfs.Cookie, len(list))
	for _, c := range list {
		m[c.Name] = c.Cookie
	}
	return m, nil
}

// rememberCookie keeps the cookie of a name where that is not the name's hash, and else forgets
// what was kept when another had the hash.
func (u *Union) rememberCookie(ctx context.Context, d *node, e *entry, moved bool) {
	if u.opt.Index == nil || !moved && !u.collided.Load() {
		return
	}
	var err error
	if moved {
		u.collided.Store(true)
		err = u.opt.Index.PutCollision(ctx, d.id, meta.Collision{Name: e.name, Cookie: e.cookie})
	} else {
		err = u.opt.Index.DeleteCollision(ctx, d.id, e.name)
	}
	if err != nil && !errors.Is(err, meta.ErrPaused) {
		u.log.Warn("cookie cannot be remembered; it may change at a restart", "op", "readdir", "node", d.id, "name", e.name.String(), "err", err)
	}
}

// checkCopies makes sure that the set of d's copies is known as of a time within
// trust, and gives that time: a copy that another process made on a further volume
// brings names. The caller holds no lease.
func (u *Union) checkCopies(ctx context.Context, d *node) (int64, error) {
	return u.checkUp(ctx, d, 0, d.coveredAt())
}

// coveredAt is since when all copies of d that are watched one by one are: what is known of its names as of an earlier time is
// not kept up by watches, and would be proved anew at each question.
func (n *node) coveredAt() (at int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.copies {
		at = max(at, n.copies[i].covered)
	}
	return at
}

// checkUp is checkCopies for a directory depth levels above the one that was asked for. What was known of copies before the time
// least is believed for half of trust only, whatever is watched.
// What is known of parents may lead in a circle, when others moved directories: then d is to be looked for.
func (u *Union) checkUp(ctx context.Context, d *node, depth int, least int64) (int64, error) {
	now := u.now()
	d.mu.Lock()
	// What the index says of copies is a hint: it must have been seen once by ourselves.
	if m := u.members(); d == u.root || m.online&^d.on() == 0 || d.copiesAt > m.cameAt && (m.exempt || u.foreign(d.on()) == 0) {
		d.copiesAt = now
		d.mu.Unlock()
		return now, nil
	}
	if depth > scanDepth {
		v := d.on().first()
		d.mu.Unlock()
		return 0, &moved{d.node(), v}
	}
	if at := d.copiesAt; at > u.members().cameAt && at > d.doubts.all && (now-at < u.trust/2 || at >= least && now-at < u.watchTrust/2 && u.copiesWatched(d, at, now)) {
		d.mu.Unlock()
		return at, nil
	}
	if d.gone || len(d.places) == 0 {
		gone := d.gone
		d.mu.Unlock()
		if gone {
			return 0, vfs.Stale
		}
		return now, nil // reached by handle alone: its open copies are what there is
	}
	at := d.places[0]
	d.mu.Unlock()
	parent, err := u.resolve(ctx, at.dir)
	if err != nil {
		return 0, err
	}
	defer parent.put()
	asOf, err := u.checkUp(ctx, parent, depth+1, least)
	if err != nil {
		return 0, err
	}
	return u.lookForCopies(ctx, parent, d, at, min(asOf, now))
}

// asOf is as of when all names of d are known by who asked the copies that d has at the time at: no better than
// what is known of where copies are. Needs d.mu.
func (u *Union) asOf(d *node, at int64) int64 {
	if m := u.members(); d != u.root && m.online&^d.on() != 0 && m.cameAt != 0 && d.copiesAt <= m.cameAt {
		return min(at, d.copiesAt) // a volume came since
	}
	if d.copiesAt != 0 && u.online()&^d.on() != 0 && !u.exempt() {
		return min(at, d.copiesAt)
	}
	return at
}

// foreign are the volumes beside s, of those that are there, on which another process may make something.
func (u *Union) foreign(s volset) volset {
	var f volset
	m := u.members()
	for _, v := range m.vols {
		if m.foreign(s, v) {
			f = f.with(v.i)
		}
	}
	return f
}

// foreign reports whether v is none of s, is there, and another process may make something on it.
func (m *members) foreign(s volset, v *vol) bool {
	return !s.has(v.i) && !v.exclusive && m.online.has(v.i)
}

// copiesListed is since when the names of parent say that d has no copy but those that are known, if they do.
func (u *Union) copiesListed(parent, d *node, at place) (asOf int64, ok bool) {
	now := u.now()
	parent.mu.Lock()
	vols := volset(0)
	if u.namesFresh(parent, now) && !parent.inDoubt(at.name) {
		if e := parent.names.byName[at.name]; e != nil && e.phys == at.phys && (e.node.IsZero() || e.node == d.id) {
			vols, asOf = e.vols, parent.names.asOf
		}
	}
	told := u.copiesWatched(parent, asOf, now) && u.watched(parent, u.all(), asOf, now)
	parent.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	came := u.members().cameAt
	if d.copiesAt > came { // it was looked for by itself, which watches may have followed since
		return 0, false
	}
	if vols == 0 || vols != d.on() || asOf <= came || len(d.places) == 0 || d.places[0] != at || d.gone {
		return 0, false
	}
	d.copiesAt, d.upWatched = asOf, told
	return asOf, true
}

// lookForCopies asks the copies of parent where d has one.
func (u *Union) lookForCopies(ctx context.Context, parent, d *node, at place, asOf int64) (int64, error) {
	l, err := u.acquire(ctx, lease.Node(parent.id, lease.Shared), lease.Node(d.id, lease.Shared))
	if err != nil {
		return 0, err
	}
	defer l.Release()
	if at, ok := u.copiesListed(parent, d, at); ok {
		return at, nil
	}
	d.mu.Lock()
	rest := u.foreign(d.on())
	if d.copiesAt <= u.members().cameAt {
		rest = u.online() &^ d.on()
	}
	d.mu.Unlock()
	hs, err := u.dirsAt(ctx, parent, rest)
	if err != nil {
		return 0, err
	}
	defer hs.release()
	u.cover(ctx, parent, hs)
	var seen []sighting
	if hs.set() != 0 {
		if seen, err = u.lookAll(ctx, hs, at.phys); err != nil {
			return 0, err
		}
	}
	more := seen[:0]
	for _, s := range seen {
		if s.isDir() && (!s.known || s.node.ID == d.id) {
			more = append(more, s)
		}
	}
	d.mu.Lock()
	still, known := len(d.places) > 0 && d.places[0] == at && !d.gone, d.copiesAt
	d.mu.Unlock()
	if !still { // it was looked for where it is not any more
		return known, nil
	}
	if len(more) > 0 {
		u.learn(d, at, more, 0, 0)
		u.tell(vfs.Event{Kind: vfs.ForgetName, Node: d.id})
	}
	parent.mu.Lock()
	told := u.watched(parent, rest, asOf, u.now())
	parent.mu.Unlock()
	d.mu.Lock()
	d.copiesAt, d.upWatched = asOf, told
	d.mu.Unlock()
	return asOf, nil
}
