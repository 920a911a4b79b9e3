package quota

import (
	"context"

	"sheaf/vfs"
)

// layer overrides the verbs that it is about. The others are the FS's below.
type layer struct {
	vfs.FS
	book *book
}

// block is what file systems allocate at a time, as far as a reservation goes.
const block = 4096

// growth is how much a write may add to what a file takes.
func growth(s *state, off, count uint64) int64 {
	if count == 0 || s.dir {
		return 0
	}
	end := (off + count + block - 1) / block * block
	begin := off / block * block
	if dense := uint64(s.bytes) >= s.size; dense && begin < s.size { // no holes: what is there is there
		begin = min(max(begin, uint64(s.bytes)/block*block), end)
	}
	return int64(end - begin)
}

// Write implements vfs.FS.
func (l *layer) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	if w.NoWait {
		return vfs.Written{}, vfs.Change{}, vfs.Again
	}
	b := l.book
	e, err := b.begin(ctx, n)
	if err != nil {
		written, c, err := l.FS.Write(ctx, w, n, data, off, stable)
		b.uncounted(err)
		return written, c, err
	}
	defer b.end(e)
	s := b.stateOf(e)
	h, err := b.reserve(ctx, w, &state{}, &s, usage{bytes: growth(&s, off, uint64(len(data)))})
	if err != nil {
		return vfs.Written{}, vfs.Change{}, err
	}
	defer b.drop(h)
	written, c, err := l.FS.Write(ctx, w, n, data, off, stable)
	b.changed(ctx, e, h, &c, err)
	return written, c, err
}

// stateOf is e's state now.
func (b *book) stateOf(e *entry) state {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.state
}

// uncounted notes the outcome of a call whose object could not be read before.
func (b *book) uncounted(err error) {
	if err == nil {
		b.missing()
	}
}

// unclear reports whether a call that failed so may have had an effect.
func unclear(err error) bool {
	switch vfs.StatusOf(err) {
	case vfs.IO, vfs.Jukebox, vfs.ServerFault, vfs.NoSpc, vfs.DQuot:
		return true
	default:
		return false
	}
}

// changed settles e after a call that changed its data or attributes.
func (b *book) changed(ctx context.Context, e *entry, h *hold, c *vfs.Change, err error) {
	switch {
	case c.HasAfter && c.After.Node.ID == e.node.ID:
		b.settle(ctx, e, h, func(s state) state { return s.seen(&c.After) })
	case err == nil || unclear(err):
		if b.refresh(context.WithoutCancel(ctx), e) != nil {
			b.missing()
		}
	}
}

// SetAttr implements vfs.FS.
func (l *layer) SetAttr(ctx context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (vfs.Change, error) {
	if w.NoWait {
		return vfs.Change{}, vfs.Again
	}
	if !set.Has(vfs.SetUID | vfs.SetSize) {
		return l.FS.SetAttr(ctx, w, n, set, guard)
	}
	b := l.book
	e, err := b.begin(ctx, n)
	if err != nil {
		c, err := l.FS.SetAttr(ctx, w, n, set, guard)
		b.uncounted(err)
		return c, err
	}
	defer b.end(e)
	var h *hold
	if s := b.stateOf(e); set.Has(vfs.SetUID) && s.there && s.uid != set.UID {
		next := s
		next.uid = set.UID
		if h, err = b.reserve(ctx, w, &s, &next, s.usage()); err != nil {
			return vfs.Change{}, err
		}
	}
	defer b.drop(h)
	c, err := l.FS.SetAttr(ctx, w, n, set, guard)
	b.changed(ctx, e, h, &c, err)
	return c, err
}

// Commit implements vfs.FS. What was written may only now have its place.
func (l *layer) Commit(ctx context.Context, w *vfs.Who, n vfs.Node, off, count uint64) (vfs.Verifier, vfs.Change, error) {
	if w.NoWait {
		return vfs.Verifier{}, vfs.Change{}, vfs.Again
	}
	v, c, err := l.FS.Commit(ctx, w, n, off, count)
	if c.HasAfter {
		l.book.noticed(ctx, &c.After)
	}
	return v, c, err
}

// SetACL implements vfs.FS. Lists may take room of their own.
func (l *layer) SetACL(ctx context.Context, w *vfs.Who, n vfs.Node, acl vfs.ACLs) (vfs.Attr, error) {
	if w.NoWait {
		return vfs.Attr{}, vfs.Again
	}
	a, err := l.FS.SetACL(ctx, w, n, acl)
	if err == nil {
		l.book.noticed(ctx, &a)
	}
	return a, err
}

// noticed settles an object that is known anyhow.
func (b *book) noticed(ctx context.Context, a *vfs.Attr) {
	b.mu.Lock()
	e := b.nodes[a.Node.ID]
	if e == nil || e.state.bytes == int64(a.Used) {
		b.mu.Unlock()
		return
	}
	b.use(e)
	b.mu.Unlock()
	defer b.end(e)
	<-e.ready
	b.settle(ctx, e, nil, func(s state) state {
		if !s.there {
			return s
		}
		return s.seen(a)
	})
}

// Statfs implements vfs.FS. Within limited directories the room is what their limits leave.
func (l *layer) Statfs(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Space, vfs.Attr, error) {
	sp, a, err := l.FS.Statfs(ctx, w, n)
	if err != nil || len(l.book.limited) == 0 {
		return sp, a, err
	}
	places := []place{{dir: n}}
	if a.Type != vfs.Directory {
		if w.NoWait {
			return sp, a, vfs.Again
		}
		places = nil
		if err := l.Parents(ctx, n, func(dir vfs.Node, _ vfs.Name) bool {
			places = append(places, place{dir: dir})
			return true
		}); err != nil {
			return sp, a, err
		}
	}
	b := l.book
	if w.NoWait {
		b.mu.Lock()
		_, all := b.uncovered([][]place{places})
		b.mu.Unlock()
		if !all {
			return sp, a, vfs.Again
		}
	}
	b.locked(ctx, func() {
		for _, p := range places {
			for _, t := range b.covers[p.dir.ID] {
				v := b.value(t)
				t.limits.bytes.leave(v.bytes, &sp.TotalBytes, &sp.FreeBytes, &sp.AvailBytes)
				t.limits.files.leave(v.files, &sp.TotalFiles, &sp.FreeFiles, &sp.AvailFiles)
			}
		}
	}, places)
	return sp, a, nil
}

// leave makes a file system's numbers those within the limit. The soft one counts where there is no hard one.
func (b bound) leave(have int64, total, free, avail *uint64) {
	limit := b.hard
	if limit == 0 {
		limit = b.soft
	}
	if limit == 0 {
		return
	}
	*total = min(*total, uint64(limit))
	rest := uint64(max(limit-have, 0))
	*free, *avail = min(*free, rest), min(*avail, rest)
}
