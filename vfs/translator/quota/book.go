package quota

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// book has the tallies, and what is needed to keep them.
type book struct {
	below    vfs.FS
	log      *slog.Logger
	grace    time.Duration
	everyone *limits // of users that have none of their own; nil: not counted

	moves      chan struct{}   // has room for one: who could send moves a directory to another (C6)
	life       context.Context // ends with the layer
	background sync.WaitGroup
	wake       chan struct{} // a walk is wanted, or may be

	mu      sync.Mutex // guards what follows, and the fields of tallies and entries
	limited []*tally   // of directories, as configured
	dirs    map[vfs.NodeID][]*tally
	users   map[uint32]*tally
	nodes   map[vfs.NodeID]*entry
	active  map[*entry]struct{} // those that calls are about
	mkdirs  mkdirs
	idle    *list.List // entries that no call is about, the longest so first
	locks   map[key]*nameLock
	pending map[key]int // names that are being made
	walks   []*walk
	covers  map[vfs.NodeID][]*tally    // of directories: which tallies of directories count what lies in them
	shape   uint64                     // times that covers were dropped
	moved   map[vfs.NodeID][]*tally    // directories that move: the tallies above them until they have
	news    chan vfs.NodeID            // objects that changed otherwise
	wanted  bool                       // a walk is
	unfound int                        // directories with limits that there are not
	walked  bool                       // a walk has established all tallies
	graves  [2]map[vfs.NodeID]vfs.Node // directories that were removed, and where they were: young and old
	doubted bool                       // something changed that did not come through here
	refused uint64
	missed  uint64 // changes whose effect is not known
}

func newBook(life context.Context, below vfs.FS, log *slog.Logger) *book {
	return &book{
		below: below, log: log, life: life, moves: make(chan struct{}, 1), wake: make(chan struct{}, 1), news: make(chan vfs.NodeID, newsMax),
		dirs: map[vfs.NodeID][]*tally{}, users: map[uint32]*tally{}, nodes: map[vfs.NodeID]*entry{}, active: map[*entry]struct{}{}, mkdirs: mkdirs{under: map[uint64]bool{}}, idle: list.New(),
		locks: map[key]*nameLock{}, pending: map[key]int{}, covers: map[vfs.NodeID][]*tally{}, moved: map[vfs.NodeID][]*tally{},
		graves: [2]map[vfs.NodeID]vfs.Node{{}, {}},
	}
}

// mkdirs are the calls that make directories.
type mkdirs struct {
	begun uint64          // how many
	under map[uint64]bool // those that have not ended, by number
}

// since reports whether one of the first n has not ended.
func (m *mkdirs) since(n uint64) bool {
	for i := range m.under {
		if i <= n {
			return true
		}
	}
	return false
}

// mkdir says that a directory is being made, until the result is called.
func (b *book) mkdir() (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mkdirs.begun++
	n := b.mkdirs.begun
	b.mkdirs.under[n] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.mkdirs.under, n)
	}
}

// doubt notes that counts may be wrong by a change that is not known.
func (b *book) doubt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubted = true
}

// missing notes that a call had an effect that could not be counted.
func (b *book) missing() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubted = true
	b.missed++
}

// usersMax is how many users are counted. Of further ones nothing is limited.
const usersMax = 65536

// user is the tally of uid, or nil. Needs mu.
func (b *book) user(uid uint32) *tally {
	t := b.users[uid]
	if t == nil && b.everyone != nil && uid != 0 && len(b.users) < usersMax {
		t = &tally{user: true, uid: uid, limits: *b.everyone, known: b.walked}
		b.users[uid] = t
	}
	return t
}

// coversMax bounds book.covers.
const coversMax = 65536

// reshape drops covers: directories have moved, or may have. Needs mu.
func (b *book) reshape() {
	clear(b.covers)
	b.shape++
}

// gravesMax is how many directories that were removed are remembered, in each of two halves.
const gravesMax = 4096

// bury notes where a directory lies that may now be removed: a call that took something out of it may settle after that.
func (b *book) bury(dir vfs.NodeID, in vfs.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.graves[0]) >= gravesMax {
		b.graves[1], b.graves[0] = b.graves[0], map[vfs.NodeID]vfs.Node{}
	}
	b.graves[0][dir] = in
}

// above is the directory that dir lies in, or lay in when it was removed; zero for the root.
func (b *book) above(ctx context.Context, dir vfs.Node) (up vfs.Node, err error) {
	err = b.below.Parents(ctx, dir, func(in vfs.Node, _ vfs.Name) bool {
		up = in
		return false
	})
	if err == nil && up.IsZero() {
		var root vfs.Attr
		if root, err = b.below.Root(ctx, vfs.Superuser); err == nil && root.Node.ID != dir.ID {
			err = vfs.Stale
		}
	}
	if err == nil {
		return up, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, half := range b.graves {
		if in, ok := half[dir.ID]; ok {
			return in, nil
		}
	}
	return vfs.Node{}, err
}

// cover finds and keeps the tallies of directories that count what lies in dir.
func (b *book) cover(ctx context.Context, dir vfs.Node) error {
	b.mu.Lock()
	shape := b.shape
	b.mu.Unlock()
	var found []*tally
	depth := 0
	for n := dir; !n.IsZero(); depth++ {
		if depth > translator.DepthMax {
			return translator.ErrTooDeep
		}
		b.mu.Lock()
		found = append(found, b.dirs[n.ID]...)
		above, moves := b.moved[n.ID]
		b.mu.Unlock()
		if moves {
			found = append(found, above...)
			break
		}
		var err error
		if n, err = b.above(ctx, n); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if shape != b.shape {
		return nil
	}
	if len(b.covers) >= coversMax {
		clear(b.covers)
	}
	b.covers[dir.ID] = found
	return nil
}

// coverTries is how often it is looked where directories lie, while they are moved about.
const coverTries = 100

// locked calls f with mu held, when book.covers has the directories of all places. What cannot be found has none:
// a limit that is then not kept is told by book.missed.
func (b *book) locked(ctx context.Context, f func(), places ...[]place) {
	for range coverTries {
		b.mu.Lock()
		dir, all := b.uncovered(places)
		if all {
			f()
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		if err := b.cover(ctx, dir); err != nil {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubted = true
	b.missed++
	f()
}

// inHands are the names of what calls are about that has one in dir. Needs mu.
func (b *book) inHands(dir vfs.Node) (all [][]place) {
	for e := range b.active {
		if slices.ContainsFunc(e.state.names, func(p place) bool { return p.dir.ID == dir.ID }) {
			all = append(all, e.state.names)
		}
	}
	return all
}

// uncovered is a directory that covers lacks, or all is true. Needs mu.
func (b *book) uncovered(places [][]place) (dir vfs.Node, all bool) {
	if len(b.limited) == 0 && len(b.dirs) == 0 {
		return vfs.Node{}, true
	}
	for _, list := range places {
		for _, p := range list {
			if _, ok := b.covers[p.dir.ID]; !ok {
				return p.dir, false
			}
		}
	}
	return vfs.Node{}, true
}

// tallies are those that count s. Needs mu, and covers.
func (b *book) tallies(s *state) []*tally {
	if !s.there {
		return nil
	}
	var all []*tally
	for _, p := range s.names {
		for _, t := range b.covers[p.dir.ID] {
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
	}
	if t := b.user(s.uid); t != nil {
		all = append(all, t)
	}
	return all
}

// settle replaces how the tallies have e by what change makes of it, and releases h, which may be nil. change may be called
// several times.
func (b *book) settle(ctx context.Context, e *entry, h *hold, change func(state) state) {
	ctx = context.WithoutCancel(ctx) // what was done is counted, whoever still waits
	b.mu.Lock()
	was := e.state
	b.mu.Unlock()
	for range coverTries {
		next, done := change(was), false
		b.locked(ctx, func() {
			if done = sameState(&e.state, &was); !done {
				was = e.state
				return
			}
			b.replace(e, next)
			b.release(h)
		}, was.names, next.names)
		if done {
			return
		}
	}
	b.locked(ctx, func() { // others settle as fast: in their midst
		b.replace(e, change(e.state))
		b.release(h)
	})
}

func sameState(s, t *state) bool {
	return s.there == t.there && s.dead == t.dead && s.uid == t.uid && s.bytes == t.bytes && s.ctime == t.ctime && s.nlink == t.nlink &&
		slices.EqualFunc(s.names, t.names, func(p, q place) bool { return p.key() == q.key() })
}

// replace makes next e's state, in tallies and walks. Needs mu, and covers.
func (b *book) replace(e *entry, next state) {
	old := e.state
	before, after := b.tallies(&old), b.tallies(&next)
	for _, t := range before {
		t.now.sub(old.usage())
	}
	for _, t := range after {
		t.now.add(next.usage())
	}
	for _, w := range b.walks {
		w.replaced(b, e.node, &old, &next, before, after)
	}
	e.state = next
	next.markLinked(after)
	if next.dir && b.unfound > 0 {
		b.stir() // it may be one of them, or lie above
	}
	b.watch(before)
	b.watch(after)
}

// watch looks whether soft limits are exceeded. Needs mu.
func (b *book) watch(all []*tally) {
	for _, t := range all {
		if t.watch(b.value(t), time.Now()) {
			b.log.Warn("soft limit exceeded", "of", t.String(), "bytes", b.value(t).bytes, "files", b.value(t).files, "grace", vfs.FormatDuration(b.grace))
		}
	}
}

// value is what is known of what t takes (C7). Needs mu.
func (b *book) value(t *tally) usage {
	v := t.now
	if !t.known {
		for _, w := range b.walks {
			if sum := w.sums[t]; sum != nil {
				v = usage{max(v.bytes, sum.bytes), max(v.files, sum.files)}
			}
		}
	}
	return usage{max(v.bytes, 0), max(v.files, 0)}
}

// hold is a reservation (C4).
type hold struct {
	tallies []*tally
	more    usage
	makes   key // what is being made, or zero
}

// release gives h back. Needs mu.
func (b *book) release(h *hold) {
	if h == nil {
		return
	}
	for _, t := range h.tallies {
		t.held.sub(h.more)
	}
	h.tallies = nil
	if !h.makes.name.IsZero() {
		if b.pending[h.makes]--; b.pending[h.makes] == 0 {
			delete(b.pending, h.makes)
		}
		h.makes = key{}
	}
}

// drop gives h back that was not settled.
func (b *book) drop(h *hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.release(h)
}

// reserve takes more of all tallies that will count next, and do not count old. The error is DQuot. Limits of users
// do not bind the superuser.
func (b *book) reserve(ctx context.Context, w *vfs.Who, old, next *state, more usage) (h *hold, err error) {
	if more.bytes <= 0 && more.files <= 0 {
		return nil, nil
	}
	b.locked(ctx, func() {
		h = &hold{more: more}
		has := b.tallies(old)
		for _, t := range b.tallies(next) {
			if slices.Contains(has, t) {
				continue
			}
			if err = b.room(w, t, more); err != nil {
				return
			}
			h.tallies = append(h.tallies, t)
		}
		for _, t := range h.tallies {
			t.held.add(more)
		}
	}, old.names, next.names)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// room is DQuot if t has no room. Needs mu.
func (b *book) room(w *vfs.Who, t *tally, more usage) error {
	if t.user && w.IsRoot() {
		return nil
	}
	have := b.value(t)
	have.add(t.held)
	why := t.refuses(have, more, b.grace, time.Now())
	if why == "" {
		return nil
	}
	t.refused++
	b.refused++
	return &vfs.Error{Status: vfs.DQuot, Op: "reserve", Object: t.String(), Err: errors.New(why)}
}
