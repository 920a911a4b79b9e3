package union

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Of a directory that is not completely known, because it is too large or too slow to list, single names are remembered that are not
// there. A wrong absence is a file that is lost to its reader. What must hold, A1 to A8:
//
//	A1  Only NoEnt of every copy is remembered, as of a time before the first was asked. It is told as long as a listing of that
//	    time were (namesBelieved), and not while the name is in doubt.
//	A2  Who makes a name takes its absence away, under the mutex of the directory's node and before anybody can be told of the
//	    name (upsert). What is entered from elsewhere does so, too.
//	A3  An absence is of a generation of its directory's. When not all is as it was thought to be (forgetNames, install), a new one
//	    begins: all absences of the last are void at once.
//	A4  A node that memory forgot gets no news. It comes back with a new generation.
//	A5  Equal versions prove absences like listings: those that were asked for after all copies had the versions (sum), while these
//	    could be believed (quiet), hold for as long as all copies have them, at the times when all were asked. A further
//	    copy that may be there counts as for a listing (asOf).
//	A6  A row says by which versions it is proved, and is believed only when this process saw all copies at these. No row is written
//	    while a volume is away.
//	A7  The names that losers of conflicts have are not remembered: they come and go with what is known of others.
//	A8  Absences are bounded, in memory and in the index. What goes for a new one is only a question more.

// DefaultAbsences is Options.Absences where nothing is said.
const DefaultAbsences = 1_000_000

const (
	// absenceBytes is about what an absence takes in memory: a key and a value of 16 bytes each, and their part of a map that
	// is three quarters full on average.
	absenceBytes = 48
	// absencePart is which part of Options.Memory absences take at most: one of absencePart.
	absencePart = 4
	// absencesBehind bounds the names that wait to be written.
	absencesBehind = 1 << 16
	// absenceShards is how many locks the table is cut into.
	absenceShards = 64
)

// absenceTable remembers names that are not there, of all directories: 128 bits of each, keyed, so that nobody can make a name
// that looks like another's.
type absenceTable struct {
	key    sipKey
	limit  int           // of a shard
	gens   atomic.Uint64 // generations that were begun
	bytes  *atomic.Int64 // Union.memory
	lost   atomic.Int64  // that went for others
	behind atomic.Int64  // names in absents.behind
	rows   atomic.Int64  // in the index, when they were pruned last
	shards [absenceShards]absenceShard
}

type absenceShard struct {
	mu sync.Mutex
	m  map[absenceKey]absence
	_  [40]byte // keeps neighbours off this shard's cache line
}

type absenceKey [2]uint64

// absence is when a name was asked for, and by which versions that is proved (absents.still); 0: by none.
type absence struct {
	at    int64
	still uint64
}

// init makes the table for limit absences and memory bytes in all.
func (a *absenceTable) init(key sipKey, limit int, memory int64, bytes *atomic.Int64) {
	a.key, a.bytes = key, bytes
	a.limit = max(1, int(min(int64(limit), memory/absencePart/absenceBytes))/absenceShards)
	for i := range a.shards {
		a.shards[i].m = make(map[absenceKey]absence)
	}
}

// keyOf is the key of a name in a generation.
func (a *absenceTable) keyOf(gen uint64, name vfs.Name) absenceKey {
	var room [8 + vfs.NameMax]byte
	b := binary.LittleEndian.AppendUint64(room[:0], gen)
	b = append(b, name.String()...)
	h, l := siphash.Hash128(a.key.k0, a.key.k1, b)
	return absenceKey{h, l}
}

func (a *absenceTable) shard(k absenceKey) *absenceShard { return &a.shards[k[0]%absenceShards] }

func (a *absenceTable) get(k absenceKey) (absence, bool) {
	s := a.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.m[k]
	return e, ok
}

// put remembers an absence, and gives what was remembered. Where there is no room another one goes.
func (a *absenceTable) put(k absenceKey, e absence) (was absence) {
	s := a.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	was, there := s.m[k]
	if !there {
		if len(s.m) < a.limit {
			a.bytes.Add(absenceBytes)
		} else {
			for old := range s.m { // any: the map's order is random
				delete(s.m, old)
				a.lost.Add(1)
				break
			}
		}
	}
	s.m[k] = e
	return was
}

func (a *absenceTable) remove(k absenceKey) {
	s := a.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.m[k]; there {
		delete(s.m, k)
		a.bytes.Add(-absenceBytes)
	}
}

// count is how many there are.
func (a *absenceTable) count() (n int) {
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		n += len(s.m)
		s.mu.Unlock()
	}
	return n
}

// expire forgets what was asked for before a time and is not proved by versions since: nobody is told that any more.
func (a *absenceTable) expire(before int64) {
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		for k, e := range s.m {
			if e.at < before {
				delete(s.m, k)
				a.bytes.Add(-absenceBytes)
			}
		}
		s.mu.Unlock()
	}
}

// absents is what the absences of a directory rest on. Guarded by the mu of its node.
type absents struct {
	gen    uint64       // of those that count; 0: there are none
	sum    uint64       // of the versions that all copies had when they were last asked
	still  uint64       // counts changes of sum; 0: the versions prove nothing
	from   int64        // what was asked for since, and before proved, is proved by sum
	proved int64        // when all copies were last seen to have the versions
	tried  int64        // when all copies were last asked for them
	behind []absentName // asked for since from; written if the versions are these still when all copies are asked after that
}

// absentName is a name and when its absence was noted.
type absentName struct {
	name  vfs.Name
	noted int64
}

// renewAbsents makes all absences of d void (A3). Needs d.mu.
func (u *Union) renewAbsents(d *node) {
	u.unproveAbsents(d)
	d.absents.gen = 0
}

// unproveAbsents ends the proof by versions: they are others, or nobody knows. Needs d.mu.
func (u *Union) unproveAbsents(d *node) {
	o := &d.absents
	u.absences.behind.Add(-int64(len(o.behind)))
	o.sum, o.still, o.behind = 0, 0, nil
}

// absentSince is as of when name is known not to be in d. Needs d.mu.
func (u *Union) absentSince(d *node, name vfs.Name) (at int64, ok bool) {
	o := &d.absents
	if o.gen == 0 {
		return 0, false
	}
	e, ok := u.absences.get(u.absences.keyOf(o.gen, name))
	if ok && e.still != 0 && e.still == o.still {
		e.at = max(e.at, o.proved)
	}
	if ok && u.pagedNow(d) { // those of this generation were noted since it is
		e.at = max(e.at, d.names.asOf)
	}
	return e.at, ok
}

// miss remembers that name is absent from d, which was asked at the time at. A complete directory says so without, where
// that is believed: with LookupFull. Needs d.mu.
func (u *Union) miss(d *node, name vfs.Name, at int64) {
	if m := u.opt.Lookups; m == LookupOff || m == LookupFull && d.names != nil && d.names.complete || loserLike(name) {
		return
	}
	o := &d.absents
	if o.gen == 0 {
		o.gen = u.absences.gens.Add(1)
	}
	e := absence{at: u.asOf(d, at)}
	if o.still != 0 && at >= o.from {
		e.still = o.still
	}
	was := u.absences.put(u.absences.keyOf(o.gen, name), e)
	if e.still == 0 || was.still == e.still || !u.keeps() || d.names != nil && d.names.paged {
		return
	}
	if u.absences.behind.Add(1) > absencesBehind {
		u.absences.behind.Add(-1)
		return
	}
	o.behind = append(o.behind, absentName{name, u.now()})
}

// unmiss forgets that name was absent from d (A2). Needs d.mu.
func (u *Union) unmiss(d *node, name vfs.Name) {
	if gen := d.absents.gen; gen != 0 {
		u.absences.remove(u.absences.keyOf(gen, name))
	}
}

// loserLike reports whether a conflict's loser may be called so.
func loserLike(name vfs.Name) bool { return strings.Contains(name.String(), conflictInfix) }

// proveAbsents takes down which versions the copies of d in set had when they were asked, at the time at: absences that were
// asked for while they had them are as of then (A5).
func (u *Union) proveAbsents(d *node, set volset, stats []volume.Stat, at int64) {
	d.mu.Lock()
	names, sum := u.provedAbsents(d, set, stats, at)
	d.mu.Unlock()
	u.writeAbsences(d.id, names, sum)
	u.absences.behind.Add(-int64(len(names)))
}

// provedAbsents is proveAbsents in memory; it gives the names whose absence is proved now and not written. Needs d.mu.
func (u *Union) provedAbsents(d *node, set volset, stats []volume.Stat, at int64) (names []absentName, sum uint64) {
	m := u.members()
	o := &d.absents
	o.tried = at
	if u.opt.Lookups == LookupOff || d.changing || d.on() != set || m.all != m.online || u.allKnown(d) && u.opt.Lookups == LookupFull {
		u.unproveAbsents(d)
		return nil, 0
	}
	sum, ok := u.sumVersions(set, stats, time.Now().Add(-time.Duration(u.now()-at)))
	if !ok || sum != o.sum {
		u.unproveAbsents(d)
	}
	if !ok {
		return nil, 0
	}
	if o.still == 0 {
		o.sum, o.still, o.from = sum, u.absences.gens.Add(1), u.now()
	} else if at > o.proved {
		u.stats.revalidated.Add(1)
		n := 0
		for n < len(o.behind) && o.behind[n].noted < at {
			n++
		}
		names, o.behind = o.behind[:n:n], o.behind[n:]
	}
	o.proved = u.asOf(d, at)
	return names, sum
}

// slotOf is the hash by which the index finds an absence.
func (u *Union) slotOf(dir vfs.NodeID, name vfs.Name) uint64 {
	var room [len(dir) + vfs.NameMax]byte
	return siphash.Hash(u.absences.key.k0, u.absences.key.k1, append(append(room[:0], dir[:]...), name.String()...))
}

// writeAbsences gives absences to the index, as far as it has room in its queue: nobody waits for them.
func (u *Union) writeAbsences(dir vfs.NodeID, names []absentName, proof uint64) {
	for i := range names {
		name := names[i].name
		a := meta.Absence{Dir: dir, Name: name, Proof: proof, Asked: vfs.TimeOf(time.Now())}
		if ok, err := u.opt.Index.PutAbsence(u.rowQueue.ctx, &a, u.slotOf(dir, name)); !ok || err != nil {
			u.rowError(err, dir)
			return
		}
	}
}

// recallAbsence is whether the index says that name was absent from d while all copies had the versions that they have, which this
// process saw within what may be told. It is remembered then. The caller holds a lease on d.
func (u *Union) recallAbsence(d *node, name vfs.Name) bool {
	if !u.keeps() || u.away() != 0 || loserLike(name) || u.unsought(d) {
		return false
	}
	d.mu.Lock()
	o := d.absents
	ask := o.still != 0 && u.opt.Lookups != LookupOff && !d.inDoubt(name) && u.namesBelieved(d, o.proved, u.now())
	d.mu.Unlock()
	if !ask {
		return false
	}
	a, ok, err := u.opt.Index.Absence(d.id, name, u.slotOf(d.id, name))
	if err != nil || !ok || a.Proof != o.sum {
		return false // a row that does not decode is written anew when the volumes have answered
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.absents.still != o.still || d.absents.gen != o.gen || d.inDoubt(name) || d.entryOf(name) != nil || d.gone {
		return false // something came between
	}
	if d.absents.gen == 0 {
		d.absents.gen = u.absences.gens.Add(1)
	}
	u.absences.put(u.absences.keyOf(d.absents.gen, name), absence{d.absents.proved, o.still})
	return u.absent(d, name, u.now())
}

// Pruning of absences.
const (
	// absenceKeep is how long a name is remembered that nobody asked the volumes for again.
	absenceKeep = 24 * time.Hour
	// pruneEvery is how often those that are older are taken away.
	pruneEvery = time.Hour
)

// pruneAbsences takes old absences away, from time to time.
func (u *Union) pruneAbsences(ctx context.Context) {
	t := time.NewTimer(u.opt.scanDelay) // as the walk: clients come first
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		u.absences.expire(u.now() - int64(absenceKeep))
		u.pruneRows(ctx, nil)
		t.Reset(pruneEvery)
	}
}

// pruneRows takes absences away that are old, or that drop wants to be gone.
func (u *Union) pruneRows(ctx context.Context, drop func(*meta.Absence) bool) {
	if !u.keeps() {
		return
	}
	kept, err := u.opt.Index.PruneAbsences(ctx, time.Now().Add(-absenceKeep), drop)
	if err != nil {
		u.log.Warn("rows of absent names cannot be pruned", "op", "prune", "err", err)
		return
	}
	u.absences.rows.Store(int64(kept))
}

// beginProof asks the copies of d for their versions before they are asked for a name, if nobody did within trust: the absence of the
// name, and all that follow, can be proved by these then. The caller holds a lease on d.
func (u *Union) beginProof(ctx context.Context, d *node, hs handles) {
	now := u.now()
	d.mu.Lock()
	o := &d.absents
	needed := o.still == 0 && (o.tried == 0 || now-o.tried > u.trust) && (u.opt.Lookups == LookupNames || u.opt.Lookups == LookupFull && !u.allKnown(d))
	d.mu.Unlock()
	if !needed {
		return
	}
	if stats, err := u.statDirs(ctx, hs); err == nil && lostCopies(stats, hs.set()) == 0 { // else who asks for the name finds out
		u.proveAbsents(d, hs.set(), stats, now)
	}
}

// sumVersions is one number for the versions of copies, which were asked for after looked, never 0; not ok: others may have hidden a
// change in one of them.
func (u *Union) sumVersions(set volset, stats []volume.Stat, looked time.Time) (sum uint64, ok bool) {
	b := make([]byte, 0, 8*64)
	for i, v := range set.list() {
		st := &stats[i]
		if !u.quiet(v, st, looked) {
			return 0, false
		}
		id, version := u.vol(v).id, st.Version()
		b = append(b, id[:]...)
		b = binary.LittleEndian.AppendUint64(b, version.Ino)
		for _, t := range []vfs.Time{version.Ctime, version.Mtime} {
			b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, uint64(t.Sec)), t.Nsec)
		}
	}
	return siphash.Hash(u.absences.key.k0, u.absences.key.k1, b) | 1, true
}
