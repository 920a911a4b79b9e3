package quota

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"sheaf/vfs"
)

// walk makes counts from the tree (C5). Its fields are guarded by book.mu, but those of the goroutine that walks.
type walk struct {
	sums    map[*tally]*usage
	scope   map[*tally]bool     // what lies in these is read; nil: the whole share
	passes  uint64              // the directories are taken in so many turns, by id, so that taken stays small
	pass    uint64              // the turn
	taken   map[uint64]bool     // directories of this turn that were taken, by their ids' first half
	open    vfs.NodeID          // the directory that is being read
	met     map[vfs.NodeID]bool // objects met in it
	touched map[vfs.NodeID]bool // objects settled since a page was asked for
	again   bool                // a directory was moved between tallies: from the start
	dirs    int                 // seen in this turn
	objects int

	stack      []vfs.Node // still to be looked at; guarded by book.mu: what is made or moved is added
	upTo       uint64     // directories that are being made, begun up to this number, may lie where it has been read
	incomplete error      // of the walking goroutine
	rest       func(context.Context, time.Duration)
}

// Bounds of a walk. They are variables for tests.
var (
	// takenMax is how many directories a walk remembers, some 20 bytes each. A tree with more of them is read in several turns.
	takenMax = 2_000_000
	// pageMax is how many entries are taken at once.
	pageMax = 256
)

func newWalk(rest func(context.Context, time.Duration)) *walk {
	return &walk{sums: map[*tally]*usage{}, passes: 1, taken: map[uint64]bool{}, touched: map[vfs.NodeID]bool{}, rest: rest}
}

// half is id, which is a hash, in short.
func half(id vfs.NodeID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

// turn is the pass in which a directory is taken.
func (w *walk) turn(dir vfs.NodeID) uint64 { return binary.BigEndian.Uint64(dir[8:]) % w.passes }

// wasTaken reports whether all that lies in dir counts.
func (w *walk) wasTaken(dir vfs.NodeID) bool {
	turn := w.turn(dir)
	return turn < w.pass || turn == w.pass && w.taken[half(dir)]
}

// counts reports whether an object counts by its name in dir.
func (w *walk) counts(id vfs.NodeID, dir vfs.NodeID) bool {
	return w.wasTaken(dir) || w.open == dir && w.met[id]
}

// has reports whether an object with these names is in w's sum of t.
func (w *walk) has(b *book, t *tally, id vfs.NodeID, s *state) bool {
	return slices.ContainsFunc(s.names, func(p place) bool {
		return w.counts(id, p.dir.ID) && (t.user || slices.Contains(b.covers[p.dir.ID], t))
	})
}

// within reports whether w reads what these tallies count.
func (w *walk) within(all []*tally) bool {
	return w.scope == nil || slices.ContainsFunc(all, func(t *tally) bool { return w.scope[t] })
}

// sum is w's sum of t.
func (w *walk) sum(t *tally) *usage {
	u := w.sums[t]
	if u == nil {
		u = new(usage)
		w.sums[t] = u
	}
	return u
}

// replaced moves the sums as an object's state is replaced. before and after are the tallies of the two. Needs b.mu.
func (w *walk) replaced(b *book, n vfs.Node, old, next *state, before, after []*tally) {
	id := n.ID
	for _, t := range before {
		if w.has(b, t, id, old) {
			w.sum(t).sub(old.usage())
		}
	}
	for _, p := range next.names {
		if slices.ContainsFunc(old.names, func(q place) bool { return q.key() == p.key() }) && old.there {
			continue
		}
		if p.dir.ID == w.open { // it is counted now; the reading may be past its place
			w.met[id] = true
		}
		if next.dir && w.pass < w.passes && w.within(after) { // where it lies now may have been read
			w.stack = append(w.stack, n)
		}
	}
	for _, t := range after {
		if w.has(b, t, id, next) {
			w.sum(t).add(next.usage())
		}
	}
	if !w.open.IsZero() {
		w.touched[id] = true
	}
}

// errAgain ends a try to walk, which begins anew.
var errAgain = errors.New("directories were moved between limited ones")

// run walks through what lies in roots, and calls end with mu held when w is done. Its error says why the
// sums are not the whole.
func (b *book) run(ctx context.Context, w *walk, roots []vfs.Node, end func(error)) {
	b.mu.Lock()
	b.walks = append(b.walks, w)
	b.mu.Unlock()
	for {
		w.incomplete = nil
		err := b.turns(ctx, w, roots)
		b.mu.Lock()
		if again := errors.Is(err, errAgain) || err == nil && w.again; !again {
			end(cmp.Or(err, w.incomplete))
			b.walks = slices.DeleteFunc(b.walks, func(v *walk) bool { return v == w })
			b.mu.Unlock()
			return
		}
		if len(w.taken) > takenMax {
			w.passes *= 2
		}
		b.restart(w)
		b.mu.Unlock()
	}
}

// restart makes w a walk that has seen nothing. Needs mu.
func (b *book) restart(w *walk) {
	clear(w.sums)
	clear(w.taken)
	w.pass, w.again, w.dirs, w.objects, w.stack = 0, false, 0, 0, nil
}

// turns makes all turns.
func (b *book) turns(ctx context.Context, w *walk, roots []vfs.Node) error {
	for {
		b.mu.Lock()
		w.stack = append(w.stack, roots...)
		b.mu.Unlock()
		for {
			dir, err := b.pop(ctx, w)
			if err != nil {
				return err
			}
			if dir.IsZero() {
				break
			}
			if err := b.take(ctx, w, dir); err != nil {
				return err
			}
		}
		if w.pass == w.passes { // only this goroutine changes them
			return nil
		}
	}
}

// pop is the next directory. If there is none it is zero, and the turn is over.
func (b *book) pop(ctx context.Context, w *walk) (dir vfs.Node, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return dir, err
		}
		dir, wait, err := b.tryPop(w)
		if !wait {
			return dir, err
		}
		pause(ctx, popPause)
	}
}

// popPause is between looks whether directories that are being made have been.
const popPause = time.Millisecond

// tryPop is pop, or says to wait: for directories that are made, and may have got something before that has been counted.
func (b *book) tryPop(w *walk) (dir vfs.Node, wait bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.again || len(w.taken) > takenMax {
		return dir, false, errAgain
	}
	for len(w.stack) > 0 {
		dir = w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		if w.turn(dir.ID) != w.pass || !w.wasTaken(dir.ID) {
			return dir, false, nil
		}
	}
	if b.mkdirs.since(w.upTo) {
		return vfs.Node{}, true, nil
	}
	w.pass++ // at once: what is made from now on lies where all is taken
	w.dirs = 0
	clear(w.taken)
	return vfs.Node{}, false, nil
}

// take reads dir: what lies in it counts, if it is its turn, and directories in it are looked at later.
func (b *book) take(ctx context.Context, w *walk, dir vfs.Node) error {
	count := w.turn(dir.ID) == w.pass
	b.mu.Lock()
	if count {
		w.open, w.met = dir.ID, map[vfs.NodeID]bool{}
	}
	w.dirs++
	b.mu.Unlock()
	err := b.pages(ctx, w, dir, count)
	switch st := vfs.StatusOf(err); {
	case err == nil, st == vfs.Stale, st == vfs.NoEnt: // of one that is gone nothing is left to count
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		w.incomplete = err
	}
	names := [][]place{{{dir: dir}}}
	for try, done := 1, false; !done; try++ {
		b.locked(ctx, func() {
			held := b.inHands(dir)
			_, done = b.uncovered(held)
			if !done && try == coverTries {
				done, b.doubted = true, true
			}
			if names = append(names[:1], held...); done {
				b.taken(w, dir, count)
			}
		}, names...)
	}
	return nil
}

// taken ends the reading of dir. Needs mu, and covers.
func (b *book) taken(w *walk, dir vfs.Node, count bool) {
	b.inFlight(w, dir, count)
	if count {
		w.taken[half(dir.ID)] = true
	}
	w.open, w.met = vfs.NodeID{}, nil
	w.upTo = b.mkdirs.begun
	clear(w.touched)
}

// inFlight counts what the reading of dir may have missed: calls that are not settled have taken it out of there. They settle it as
// though it still were. Needs mu.
func (b *book) inFlight(w *walk, dir vfs.Node, count bool) {
	for e := range b.active {
		s := &e.state
		if !s.there || !slices.ContainsFunc(s.names, func(p place) bool { return p.dir.ID == dir.ID }) {
			continue
		}
		if s.dir {
			w.stack = append(w.stack, e.node)
		}
		if count {
			b.count(w, e)
		}
	}
}

// count adds e, which has a name in the directory that is being read. Needs mu, and covers.
func (b *book) count(w *walk, e *entry) {
	s := &e.state
	if w.met[e.node.ID] {
		return
	}
	all := b.tallies(s)
	s.markLinked(all)
	had := make([]bool, len(all))
	for i, t := range all {
		had[i] = w.has(b, t, e.node.ID, s)
	}
	w.met[e.node.ID] = true
	for i, t := range all {
		if !had[i] && w.has(b, t, e.node.ID, s) {
			w.sum(t).add(s.usage())
		}
	}
}

// pages reads dir page by page.
func (b *book) pages(ctx context.Context, w *walk, dir vfs.Node, count bool) error {
	page := make([]vfs.DirEntry, 0, pageMax)
	for after := vfs.Cookie(0); ; {
		began := time.Now()
		b.mu.Lock()
		clear(w.touched)
		b.mu.Unlock()
		page = page[:0]
		_, eof, err := b.below.ReadDir(ctx, vfs.Superuser, dir, after, true, func(e *vfs.DirEntry) bool {
			page = append(page, *e)
			return len(page) < pageMax
		})
		if err != nil {
			return err
		}
		if len(page) > 0 {
			after = page[len(page)-1].Cookie
		}
		if err := b.page(ctx, w, dir, page, count); err != nil {
			return err
		}
		w.rest(ctx, time.Since(began))
		if eof || len(page) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// page counts the entries of one page.
func (b *book) page(ctx context.Context, w *walk, dir vfs.Node, page []vfs.DirEntry, count bool) error {
	var slow []*vfs.DirEntry
	b.locked(ctx, func() {
		slow = slow[:0]
		for i := range page {
			e := &page[i]
			if !e.HasAttr {
				w.incomplete = &vfs.Error{Status: vfs.IO, Op: "count", Object: e.Name.String(), Err: errors.New("it is on a volume that is away")}
				continue
			}
			if e.Attr.Type == vfs.Directory {
				w.stack = append(w.stack, e.Node)
			}
			if !count || w.met[e.Node.ID] || b.pending[key{dir.ID, e.Name}] > 0 {
				continue
			}
			w.objects++
			many := e.Attr.Type != vfs.Directory && e.Attr.Nlink > 1
			if many || w.touched[e.Node.ID] || b.nodes[e.Node.ID] != nil {
				slow = append(slow, e)
				continue
			}
			w.met[e.Node.ID] = true
			s := stateOf(&e.Attr, []place{{dir, e.Name}})
			for _, t := range b.tallies(&s) {
				w.sum(t).add(s.usage())
			}
		}
	}, []place{{dir: dir}})
	for _, e := range slow {
		if err := b.meet(ctx, w, dir, e.Node); err != nil {
			return err
		}
	}
	return nil
}

// meet counts an object that calls change, or that has several names.
func (b *book) meet(ctx context.Context, w *walk, dir, n vfs.Node) error {
	e, err := b.begin(ctx, n)
	if err == nil {
		defer b.end(e)
		err = b.refresh(ctx, e)
	}
	if st := vfs.StatusOf(err); st == vfs.Stale || st == vfs.NoEnt {
		return nil
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	names := e.state.names
	b.mu.Unlock()
	b.locked(ctx, func() {
		s := &e.state
		here := slices.ContainsFunc(s.names, func(p place) bool { return p.dir.ID == dir.ID })
		if s.there && here { // else who makes or moves it counts it
			b.count(w, e)
		}
	}, names)
	return nil
}

// refresh settles e as it is now: its attributes may have changed otherwise.
func (b *book) refresh(ctx context.Context, e *entry) error {
	a, err := b.below.GetAttr(ctx, vfs.Superuser, e.node)
	if err == nil {
		b.settle(ctx, e, nil, func(s state) state {
			if !s.there {
				return s // who makes it settles it
			}
			return s.seen(&a)
		})
	}
	return err
}
