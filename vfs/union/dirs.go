package union

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// dirHandle is an open directory of a volume, shared by all who use it.
type dirHandle struct {
	d     volume.Dir
	n     *node
	vol   int
	id    volume.Identity // of the copy; zero of a volume's root
	fixed bool            // a volume's root: never closed, and the same over all openings

	opening uint64 // State.Attached of the volume, at most, that it is open of

	refs   atomic.Int32 // from 0 only under n.mu
	hot    atomic.Bool
	doomed atomic.Bool // nobody can get it any more
	closed atomic.Bool
}

// release gives a reference back.
func (h *dirHandle) release() {
	if h.refs.Add(-1) == 0 && h.doomed.Load() {
		h.close()
	}
}

// close closes it once. A directory was only read through it, or synced: there is
// nothing an error could tell.
func (h *dirHandle) close() {
	if !h.fixed && h.closed.CompareAndSwap(false, true) {
		_ = h.d.Close()
	}
}

// lost makes the error of an operation in a copy that was removed behind our back, and so did nothing, one
// that lets again look for the copy: the directory may live on in others.
func (h *dirHandle) lost(err error) error {
	if vfs.StatusOf(err) == vfs.Stale {
		return &moved{h.n.node(), h.vol}
	}
	return err
}

// dirCache bounds the open directories that are not in use.
type dirCache struct {
	mu    sync.Mutex // before node.mu
	limit int
	ring  []*dirHandle
	hand  int
}

// add takes a new handle in and closes others beyond the limit.
func (c *dirCache) add(h *dirHandle) {
	c.mu.Lock()
	c.ring = append(c.ring, h)
	var out []*dirHandle
	for turns := 2 * len(c.ring); len(c.ring) > c.limit && turns > 0; turns-- {
		c.hand %= len(c.ring)
		h := c.ring[c.hand]
		if !h.doomed.Load() && (h.refs.Load() != 0 || h.hot.Swap(false) || !h.unlink()) {
			c.hand++
			continue
		}
		c.ring[c.hand] = c.ring[len(c.ring)-1]
		c.ring[len(c.ring)-1] = nil
		c.ring = c.ring[:len(c.ring)-1]
		out = append(out, h)
	}
	c.mu.Unlock()
	for _, h := range out {
		h.doomed.Store(true)
		if h.refs.Load() == 0 {
			h.close()
		}
	}
}

// unlink takes h from its node unless it is in use.
func (h *dirHandle) unlink() bool {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if h.refs.Load() != 0 {
		return false
	}
	if c := h.n.copyOn(h.vol); c != nil && c.dir == h {
		c.dir = nil
	}
	return true
}

// doom closes a handle that its node does not have any more, when its last user is done.
func (c *dirCache) doom(h *dirHandle) {
	h.doomed.Store(true)
	if h.refs.Load() == 0 {
		h.close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, o := range c.ring {
		if o == h {
			c.ring[i] = c.ring[len(c.ring)-1]
			c.ring[len(c.ring)-1] = nil
			c.ring = c.ring[:len(c.ring)-1]
			return
		}
	}
}

// cutOn takes out the handles that are open of another opening of volume v than that.
func (c *dirCache) cutOn(v int, opening uint64) (out []*dirHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.ring[:0]
	for _, h := range c.ring {
		if h.vol != v || h.opening == opening {
			kept = append(kept, h)
			continue
		}
		h.n.mu.Lock()
		if k := h.n.copyOn(v); k != nil && k.dir == h {
			k.dir = nil
		}
		h.n.mu.Unlock()
		out = append(out, h)
	}
	clear(c.ring[len(kept):])
	c.ring = kept
	return out
}

// closeAll closes every handle; nobody uses any.
func (c *dirCache) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.ring {
		h.close()
	}
	c.ring = nil
}

// errNoCopy says that a directory has no copy on a volume. A client sees it only if
// that changed during its call: it asks again.
var errNoCopy error = &vfs.Error{Status: vfs.Jukebox, Op: "open directory", Err: errors.New("it has no copy there")}

// moved says that a node is not where it was known to be, or not known at all. Whoever holds
// leases returns it; again looks for the node when they are released. A client sees it
// only if the node was moved again and again meanwhile.
type moved struct {
	node vfs.Node
	vol  int // where it was not found; below 0: it is not known where it was
}

// Error implements error.
func (m *moved) Error() string {
	return "node " + m.node.ID.String() + " is not where it was; it is searched for"
}

// Unwrap gives the status.
func (m *moved) Unwrap() error { return vfs.Jukebox }

// searches is how often one call looks for what moved behind our back.
const searches = 3

// searching marks the context of a search: it does not begin another.
type searching struct{}

// again calls f, which holds no lease before and after, until it does not stumble over an
// object that moved behind our back: that is looked for in between.
func (u *Union) again(ctx context.Context, f func(ctx context.Context) error) error {
	members := u.members()
	err := f(ctx)
	if err == nil || ctx.Value(searching{}) != nil {
		return err
	}
	for range searches { // nothing was begun, and with other members now it may be answered
		if now := u.members(); isAway(err) && now != members {
			members = now
			err = f(ctx)
		}
	}
	inner := context.WithValue(ctx, searching{}, true)
	for range 2 * searches {
		var m *moved
		if !errors.As(err, &m) {
			return err
		}
		n, rerr := u.resolve(inner, m.node)
		if rerr == nil && m.vol >= 0 {
			rerr = u.search(inner, n, m.vol)
		}
		if n != nil {
			defer n.put() // so that it still is in memory when f is called again
		}
		if rerr != nil && vfs.StatusOf(rerr) != vfs.Stale { // what went is for f to find out
			return rerr
		}
		err = f(ctx)
	}
	return err
}

// done is an error that came after something was changed: again must not try anew, and that a volume is away
// does not say that nothing was begun. A client that is told to come again (Jukebox) would find
// that its own change is in its way: so it is told that something failed.
func done(err error) error {
	if away, ok := errors.AsType[*volume.AwayError](err); ok {
		return &vfs.Error{Status: vfs.IO, Op: away.Op, Volume: away.Volume, Err: errors.New("it went away in the middle of a change: " + err.Error())}
	}
	if m, ok := errors.AsType[*moved](err); ok {
		return &vfs.Error{Status: vfs.IO, Op: "find what was changed", Object: m.node.ID.String(), Err: errors.New("it is not where it was")}
	}
	return err
}

// known is the node vn with a reference, from memory or the index.
func (u *Union) known(vn vfs.Node) (*node, error) {
	if n := u.table.get(vn.ID); n != nil {
		return n, nil
	}
	if u.scans.gone.has(vn.ID) {
		return nil, vfs.Stale
	}
	if n := u.fromIndex(vn); n != nil {
		return n, nil
	}
	return nil, &moved{vn, -1}
}

// dirAt is n's open copy on volume v; the caller releases it. errNoCopy if there is none,
// moved if it is not where it was.
func (u *Union) dirAt(ctx context.Context, n *node, v int) (*dirHandle, error) {
	return u.dirDown(ctx, n, v, 0)
}

// dirDown is dirAt for a directory that depth others are to be opened beneath. What is known of
// parents may lead in a circle, when others moved directories: then n is to be looked for.
func (u *Union) dirDown(ctx context.Context, n *node, v, depth int) (*dirHandle, error) {
	if depth > scanDepth {
		return nil, &moved{n.node(), v}
	}
	opening := u.vol(v).opening.Load()
	n.mu.Lock()
	c := n.copyOn(v)
	if n.gone || c == nil {
		gone := n.gone
		n.mu.Unlock()
		if gone {
			return nil, vfs.Stale
		}
		return nil, errNoCopy
	}
	if !u.online().has(v) {
		n.mu.Unlock()
		return nil, u.refusal("open directory", v)
	}
	if h := c.dir; h != nil {
		h.refs.Add(1)
		n.mu.Unlock()
		if !h.hot.Load() {
			h.hot.Store(true)
		}
		return h, nil
	}
	want := c.id
	var at place
	if len(n.places) > 0 {
		at = n.places[0]
	}
	n.mu.Unlock()
	if at.name.IsZero() {
		return nil, &moved{n.node(), v}
	}
	d, err := u.openBeneath(ctx, n, at, v, want, depth)
	if err != nil {
		return nil, err
	}
	return u.keepDir(n, v, want, d, opening)
}

// openBeneath opens the directory at a place and sees that it is the one wanted.
func (u *Union) openBeneath(ctx context.Context, n *node, at place, v int, want volume.Identity, depth int) (volume.Dir, error) {
	parent, err := u.known(at.dir)
	if vfs.StatusOf(err) == vfs.Stale { // the parent went, the child may have moved before
		return nil, &moved{n.node(), v}
	}
	if err != nil {
		return nil, err
	}
	defer parent.put()
	ph, err := u.dirDown(ctx, parent, v, depth+1)
	if errors.Is(err, errNoCopy) || vfs.StatusOf(err) == vfs.Stale {
		return nil, &moved{n.node(), v}
	}
	if err != nil {
		return nil, err
	}
	defer ph.release()
	d, err := ph.d.OpenDir(ctx, at.phys)
	switch vfs.StatusOf(err) {
	case vfs.OK:
	case vfs.NoEnt, vfs.NotDir, vfs.Stale:
		return nil, &moved{n.node(), v}
	default:
		return nil, err
	}
	_, id, err := d.Identify(ctx)
	if err == nil && id != want {
		err = &moved{n.node(), v}
	}
	if err != nil {
		_ = d.Close() // only opened
		return nil, err
	}
	return d, nil
}

// keepDir puts an open copy into the cache and gives a reference to it, or to one
// that another has put there meanwhile. opening is that of the volume as it was before it was opened.
func (u *Union) keepDir(n *node, v int, id volume.Identity, d volume.Dir, opening uint64) (*dirHandle, error) {
	h := &dirHandle{d: d, n: n, vol: v, id: id, opening: opening}
	h.refs.Store(1)
	h.hot.Store(true)
	n.mu.Lock()
	c := n.copyOn(v)
	switch {
	case n.gone || c == nil || c.id != id: // it changed while we were opening
		n.mu.Unlock()
		h.close()
		return nil, &moved{n.node(), v}
	case c.dir != nil:
		other := c.dir
		other.refs.Add(1)
		n.mu.Unlock()
		h.close()
		return other, nil
	}
	c.dir = h
	n.mu.Unlock()
	u.dirs.add(h)
	if u.vol(v).opening.Load() != opening { // it went, perhaps after what was open of it was dropped
		u.dropOpen(u.vol(v))
	}
	return h, nil
}

// dirsAt opens n's copies on all of s. Those of s that it has no copy on are left out.
func (u *Union) dirsAt(ctx context.Context, n *node, s volset) (handles, error) {
	return u.openInto(ctx, make(handles, MaxVolumes), n, s)
}

// dirsUpTo is dirsAt for who looks at the volumes of s only: there is no room for others.
func (u *Union) dirsUpTo(ctx context.Context, n *node, s volset) (handles, error) {
	return u.openInto(ctx, make(handles, s.top()), n, s)
}

func (u *Union) openInto(ctx context.Context, hs handles, n *node, s volset) (handles, error) {
	for _, v := range s.list() {
		h, err := u.dirAt(ctx, n, v)
		if errors.Is(err, errNoCopy) {
			continue
		}
		if err != nil {
			hs.release()
			return nil, err
		}
		hs[v] = h
	}
	return hs, nil
}

// handles are open copies of a directory by volume; nil where there is none.
type handles []*dirHandle

func (hs handles) set() volset {
	var s volset
	for v, h := range hs {
		if h != nil {
			s = s.with(v)
		}
	}
	return s
}

// identity is that of the open copy on volume v.
func (hs handles) identity(v int) volume.Identity { return hs[v].id }

func (hs handles) release() {
	for _, h := range hs {
		if h != nil {
			h.release()
		}
	}
}
