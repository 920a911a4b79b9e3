package quota

import (
	"container/list"
	"context"
	"slices"

	"sheaf/vfs"
)

// entry is an object that calls change, or did lately (C1).
type entry struct {
	node  vfs.Node
	ready chan struct{} // closed when it was read below

	// Guarded by book.mu, and not to be looked at before ready.
	state state
	err   error         // why it could not be read
	refs  int           // calls that are about it; 0: it may go
	born  bool          // it was made while it was being read: made has set state
	idle  *list.Element // in book.idle if refs is 0
}

// state is how the tallies have an object. Its names are not changed in place.
type state struct {
	there bool // they count it
	dead  bool // it has no name and gets none any more
	root  bool // of the share: not counted
	dir   bool
	uid   uint32
	nlink uint32
	bytes int64
	size  uint64
	ctime vfs.Time
	names []place
}

// stateOf is an object with these names.
func stateOf(a *vfs.Attr, names []place) state {
	s := state{there: true, dir: a.Type == vfs.Directory, uid: a.UID, nlink: a.Nlink, ctime: a.Ctime, names: names}
	if !s.dir {
		s.bytes, s.size = int64(min(a.Used, 1<<62)), a.Size
	}
	return s
}

// usage is what the tallies have for it.
func (s *state) usage() usage {
	if !s.there {
		return usage{}
	}
	return usage{s.bytes, 1}
}

// markLinked notes in its tallies that it has several names. Needs book.mu.
func (s *state) markLinked(all []*tally) {
	if s.dir || s.nlink < 2 {
		return
	}
	for _, t := range all {
		t.linked = true
	}
}

// seen is s with attributes that a call has given.
func (s state) seen(a *vfs.Attr) state {
	if s.dead || s.root || s.there && a.Ctime.Compare(s.ctime) < 0 {
		return s
	}
	return stateOf(a, s.names)
}

// with is s with one name more.
func (s state) with(p place) state {
	if !slices.ContainsFunc(s.names, func(q place) bool { return q.key() == p.key() }) {
		s.names = append(slices.Clip(s.names), p)
	}
	return s
}

// without is s with one name less.
func (s state) without(p place) state {
	s.names = slices.DeleteFunc(slices.Clone(s.names), func(q place) bool { return q.key() == p.key() })
	return s
}

// gone is s without names.
func (s state) gone() state { return state{dead: true, ctime: s.ctime} }

// idleMax is how many objects are remembered that no call is about: a file that is written again and again is read once.
const idleMax = 16384

// begin is the entry of n. It is the caller's until end. Errors are those of reading n's attributes and names below.
func (b *book) begin(ctx context.Context, n vfs.Node) (*entry, error) {
	b.mu.Lock()
	e := b.nodes[n.ID]
	if e == nil {
		e = b.newEntry(n)
		b.mu.Unlock()
		b.read(ctx, e)
	} else {
		b.use(e)
		b.mu.Unlock()
		select {
		case <-e.ready:
		case <-ctx.Done():
			b.end(e)
			return nil, &vfs.Error{Status: vfs.Jukebox, Op: "count", Object: n.ID.String(), Err: ctx.Err()}
		}
	}
	if e.err != nil { // it does not change after ready
		b.end(e)
		return nil, e.err
	}
	return e, nil
}

// newEntry is an entry that is still to be read. Needs mu.
func (b *book) newEntry(n vfs.Node) *entry {
	e := &entry{node: n, ready: make(chan struct{}), refs: 1}
	b.nodes[n.ID] = e
	b.active[e] = struct{}{}
	return e
}

// use takes e for one call more. Needs mu.
func (b *book) use(e *entry) {
	if e.idle != nil {
		b.idle.Remove(e.idle)
		e.idle = nil
		b.active[e] = struct{}{}
	}
	e.refs++
}

// end gives e back.
func (b *book) end(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.refs--; e.refs > 0 {
		return
	}
	delete(b.active, e)
	if e.err != nil || e.state.dead {
		delete(b.nodes, e.node.ID)
		return
	}
	e.idle = b.idle.PushBack(e)
	if b.idle.Len() > idleMax {
		b.evict(b.idle.Front().Value.(*entry))
	}
}

// evict forgets an entry that no call is about. Needs mu.
func (b *book) evict(e *entry) {
	b.idle.Remove(e.idle)
	delete(b.nodes, e.node.ID)
}

// read fills e. A panic below leaves it failed.
func (b *book) read(ctx context.Context, e *entry) {
	var s state
	err := error(vfs.ServerFault)
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !e.born {
			e.state, e.err = s, err
			for _, p := range s.names {
				s.there = s.there && b.pending[p.key()] == 0 // C2
			}
			e.state.there = s.there
		}
		close(e.ready)
	}()
	s, err = b.look(ctx, e.node)
}

// look is n as it is below.
func (b *book) look(ctx context.Context, n vfs.Node) (state, error) {
	a, err := b.below.GetAttr(ctx, vfs.Superuser, n)
	if err != nil {
		return state{}, err
	}
	var names []place
	err = b.below.Parents(ctx, n, func(dir vfs.Node, name vfs.Name) bool {
		names = append(names, place{dir, name})
		return true
	})
	if err != nil {
		return state{}, err
	}
	s := stateOf(&a, names)
	if len(names) == 0 && s.dir {
		return state{root: true}, nil
	}
	if !s.dir && len(names) < int(a.Nlink) {
		b.doubt() // it may lie in directories that are not known
	}
	return s, nil
}
