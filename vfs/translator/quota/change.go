package quota

import (
	"context"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// at is the object called name in dir; its Node is zero if there is none. An error is that it is not known.
func (b *book) at(ctx context.Context, p place) (vfs.Attr, error) {
	a, _, err := b.below.Lookup(ctx, vfs.Superuser, p.dir, p.name)
	if vfs.StatusOf(err) == vfs.NoEnt {
		return vfs.Attr{}, nil
	}
	return a, err
}

// Make implements vfs.FS.
func (l *layer) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	if w.NoWait {
		return vfs.Attr{}, vfs.Change{}, vfs.Again
	}
	b, p := l.book, place{dir, name}
	unlock, err := b.lock(ctx, p, p)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	defer unlock()
	switch old, err := b.at(ctx, p); {
	case err != nil:
		a, c, err := l.FS.Make(ctx, w, dir, name, how)
		b.uncounted(err)
		return a, c, err
	case !old.Node.IsZero():
		return l.remake(ctx, w, p, how, old.Node)
	}
	next := state{there: true, uid: w.UID, names: []place{p}}
	if w.IsRoot() && how.Set.Has(vfs.SetUID) {
		next.uid = how.Set.UID
	}
	h, err := b.reserve(ctx, w, &state{}, &next, usage{files: 1})
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	defer b.drop(h)
	b.making(p, h)
	if how.Type == vfs.Directory {
		defer b.mkdir()()
	}
	a, c, err := l.FS.Make(ctx, w, dir, name, how)
	switch {
	case err == nil:
		b.made(ctx, &a, p, h)
	case unclear(err):
		b.perhapsMade(ctx, p, h)
	}
	return a, c, err
}

// making says that p is being made, until h is released: in the step that counts it (C2).
func (b *book) making(p place, h *hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h.makes = p.key()
	b.pending[h.makes]++
}

// made counts a new object.
func (b *book) made(ctx context.Context, a *vfs.Attr, p place, h *hold) {
	b.mu.Lock()
	e := b.nodes[a.Node.ID]
	if e == nil {
		e = b.newEntry(a.Node)
		close(e.ready)
	} else {
		b.use(e)
		select {
		case <-e.ready:
		default:
			e.born = true
		}
	}
	b.mu.Unlock()
	defer b.end(e)
	b.settle(ctx, e, h, func(s state) state {
		switch {
		case s.dead:
			return s
		case s.there: // another call has come upon it
			s = s.seen(a)
			return s.with(p)
		}
		if s.ctime.Compare(a.Ctime) > 0 { // it was read by another call, which changes it
			s.there = true
			return s.with(p)
		}
		return stateOf(a, s.with(p).names)
	})
}

// perhapsMade counts an object if it was made though the call failed.
func (b *book) perhapsMade(ctx context.Context, p place, h *hold) {
	ctx = context.WithoutCancel(ctx)
	switch a, err := b.at(ctx, p); {
	case err != nil:
		b.missing()
	case !a.Node.IsZero():
		b.made(ctx, &a, p, h)
	}
}

// remake makes a name that is there: it may cut a file.
func (l *layer) remake(ctx context.Context, w *vfs.Who, p place, how *vfs.How, n vfs.Node) (vfs.Attr, vfs.Change, error) {
	b := l.book
	e, err := b.begin(ctx, n)
	if err != nil {
		a, c, err := l.FS.Make(ctx, w, p.dir, p.name, how)
		b.uncounted(err)
		return a, c, err
	}
	defer b.end(e)
	a, c, err := l.FS.Make(ctx, w, p.dir, p.name, how)
	switch {
	case err == nil && a.Node.ID != n.ID: // it was removed otherwise meanwhile
		b.made(ctx, &a, p, nil)
		b.doubt()
	case err == nil:
		b.settle(ctx, e, nil, func(s state) state { return s.seen(&a) })
	case unclear(err):
		if b.refresh(context.WithoutCancel(ctx), e) != nil {
			b.missing()
		}
	}
	return a, c, err
}

// Link implements vfs.FS.
func (l *layer) Link(ctx context.Context, w *vfs.Who, n, dir vfs.Node, name vfs.Name) (vfs.Attr, vfs.Change, error) {
	if w.NoWait {
		return vfs.Attr{}, vfs.Change{}, vfs.Again
	}
	b, p := l.book, place{dir, name}
	unlock, err := b.lock(ctx, p, p)
	if err != nil {
		return vfs.Attr{}, vfs.Change{}, err
	}
	defer unlock()
	old, err := b.at(ctx, p)
	var e *entry
	if err == nil {
		e, err = b.begin(ctx, n)
	}
	if err != nil {
		a, c, err := l.FS.Link(ctx, w, n, dir, name)
		b.uncounted(err)
		return a, c, err
	}
	defer b.end(e)
	var h *hold
	if s := b.stateOf(e); old.Node.IsZero() && !s.dir {
		next := s.with(p)
		if h, err = b.reserve(ctx, w, &s, &next, s.usage()); err != nil {
			return vfs.Attr{}, vfs.Change{}, err
		}
	}
	defer b.drop(h)
	a, c, err := l.FS.Link(ctx, w, n, dir, name)
	switch {
	case err == nil:
		b.settle(ctx, e, h, func(s state) state { s = s.seen(&a); return s.with(p) })
	case unclear(err):
		b.perhapsNamed(ctx, e, p, h)
	}
	return a, c, err
}

// perhapsNamed settles e, which may have got the name p though the call failed.
func (b *book) perhapsNamed(ctx context.Context, e *entry, p place, h *hold) {
	ctx = context.WithoutCancel(ctx)
	switch a, err := b.at(ctx, p); {
	case err != nil:
		b.missing()
	case a.Node.ID == e.node.ID:
		b.settle(ctx, e, h, func(s state) state { s = s.seen(&a); return s.with(p) })
	}
}

// Remove implements vfs.FS.
func (l *layer) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return l.remove(ctx, w, place{dir, name}, l.FS.Remove)
}

// RemoveDir implements vfs.FS.
func (l *layer) RemoveDir(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	return l.remove(ctx, w, place{dir, name}, l.FS.RemoveDir)
}

// remove removes a name by call.
func (l *layer) remove(ctx context.Context, w *vfs.Who, p place, call func(context.Context, *vfs.Who, vfs.Node, vfs.Name) (vfs.Change, error)) (vfs.Change, error) {
	if w.NoWait {
		return vfs.Change{}, vfs.Again
	}
	b := l.book
	unlock, err := b.lock(ctx, p, p)
	if err != nil {
		return vfs.Change{}, err
	}
	defer unlock()
	victim, err := b.victim(ctx, p)
	if err != nil || victim == nil {
		c, err := call(ctx, w, p.dir, p.name)
		b.uncounted(err)
		return c, err
	}
	defer b.end(victim)
	if b.stateOf(victim).dir {
		b.bury(victim.node.ID, p.dir)
	}
	c, err := call(ctx, w, p.dir, p.name)
	switch {
	case err == nil:
		b.unnamed(ctx, victim, p)
	case unclear(err):
		b.perhapsUnnamed(ctx, victim, p)
	}
	return c, err
}

// victim is the entry of what is called p, nil if there is nothing.
func (b *book) victim(ctx context.Context, p place) (*entry, error) {
	a, err := b.at(ctx, p)
	if err != nil || a.Node.IsZero() {
		return nil, err
	}
	return b.begin(ctx, a.Node)
}

// unnamed settles e, which has lost the name p.
func (b *book) unnamed(ctx context.Context, e *entry, p place) {
	ctx = context.WithoutCancel(ctx)
	b.mu.Lock()
	last := e.state.dir || e.state.nlink < 2 && e.refs == 1
	b.mu.Unlock()
	var a vfs.Attr
	if !last {
		var err error
		a, err = b.below.GetAttr(ctx, vfs.Superuser, e.node)
		switch vfs.StatusOf(err) {
		case vfs.OK:
		case vfs.Stale, vfs.NoEnt:
			last = true
		default:
			b.missing()
		}
	}
	b.settle(ctx, e, nil, func(s state) state {
		if last {
			return s.gone()
		}
		if !a.Node.IsZero() {
			s = s.seen(&a)
		}
		return s.without(p)
	})
}

// perhapsUnnamed settles e, which may have lost the name p though the call failed.
func (b *book) perhapsUnnamed(ctx context.Context, e *entry, p place) {
	switch a, err := b.at(context.WithoutCancel(ctx), p); {
	case err != nil:
		b.missing()
	case a.Node.ID != e.node.ID:
		b.unnamed(ctx, e, p)
	}
}

// Rename implements vfs.FS.
func (l *layer) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (fromChange, toChange vfs.Change, err error) {
	if w.NoWait {
		return fromChange, toChange, vfs.Again
	}
	b := l.book
	r := &renaming{l: l, who: w, from: place{from, fromName}, to: place{to, toName}}
	unlock, err := b.lock(ctx, r.from, r.to)
	if err != nil {
		return fromChange, toChange, err
	}
	defer unlock()
	if r.e, err = b.victim(ctx, r.from); err == nil && r.e != nil {
		defer b.end(r.e)
		if r.victim, err = b.victim(ctx, r.to); r.victim != nil {
			defer b.end(r.victim)
			if b.stateOf(r.victim).dir {
				b.bury(r.victim.node.ID, to)
			}
		}
	}
	if err != nil || r.e == nil {
		fromChange, toChange, err = l.FS.Rename(ctx, w, from, fromName, to, toName)
		b.uncounted(err)
		return fromChange, toChange, err
	}
	if s := b.stateOf(r.e); s.dir && from.ID != to.ID {
		return r.directory(ctx)
	}
	return r.call(ctx)
}

// renaming is a rename under way.
type renaming struct {
	l         *layer
	who       *vfs.Who
	from, to  place
	e, victim *entry // what is renamed, and what is called to, or nil
}

// call makes the rename of what is no directory, or is counted where it goes by the same tallies.
func (r *renaming) call(ctx context.Context) (fromChange, toChange vfs.Change, err error) {
	b := r.l.book
	s := b.stateOf(r.e)
	next := s.without(r.from).with(r.to)
	h, err := b.reserve(ctx, r.who, &s, &next, s.usage())
	if err != nil {
		return fromChange, toChange, err
	}
	defer b.drop(h)
	fromChange, toChange, err = r.l.FS.Rename(ctx, r.who, r.from.dir, r.from.name, r.to.dir, r.to.name)
	if r.done(ctx, err) {
		r.settle(ctx, h)
	}
	return fromChange, toChange, err
}

// done reports whether the name has moved.
func (r *renaming) done(ctx context.Context, err error) bool {
	b := r.l.book
	if r.victim != nil && r.victim.node.ID == r.e.node.ID {
		return false // two names of one object stay
	}
	if err == nil || !unclear(err) {
		return err == nil
	}
	a, err := b.at(context.WithoutCancel(ctx), r.to)
	if err != nil {
		b.missing()
	}
	return err == nil && a.Node.ID == r.e.node.ID
}

// settle counts what was renamed where it is now, and not what it replaced.
func (r *renaming) settle(ctx context.Context, h *hold) {
	b := r.l.book
	if r.victim != nil {
		b.unnamed(ctx, r.victim, r.to)
	}
	b.settle(ctx, r.e, h, func(s state) state { return s.without(r.from).with(r.to) })
}

// directory moves a directory to another, one at a time (C6).
func (r *renaming) directory(ctx context.Context) (fromChange, toChange vfs.Change, err error) {
	b := r.l.book
	select {
	case b.moves <- struct{}{}:
		defer func() { <-b.moves }()
	case <-ctx.Done():
		return fromChange, toChange, &vfs.Error{Status: vfs.Jukebox, Op: "rename", Object: r.from.name.String(), Err: ctx.Err()}
	}
	if !b.crosses(ctx, r.from.dir, r.to.dir) {
		return r.call(ctx)
	}
	inside := false // of itself: what is below refuses it
	err = translator.Ancestors(ctx, b.below, r.to.dir, func(n vfs.Node) bool {
		inside = n.ID == r.e.node.ID
		return !inside
	})
	if err != nil || inside {
		if err == nil {
			fromChange, toChange, err = r.l.FS.Rename(ctx, r.who, r.from.dir, r.from.name, r.to.dir, r.to.name)
			b.uncounted(err)
		}
		return fromChange, toChange, err
	}
	c, err := b.cross(ctx, r.who, r.e.node, r.from.dir, r.to.dir)
	if err != nil {
		return fromChange, toChange, err
	}
	moved := false
	defer func() { b.crossed(c, moved) }()
	fromChange, toChange, err = r.call(ctx)
	moved = r.done(ctx, err)
	return fromChange, toChange, err
}
