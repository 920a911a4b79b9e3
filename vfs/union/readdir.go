package union

import (
	"context"
	"errors"
	"sync"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
)

// readPage is how many entries ReadDir takes from memory, and looks at, at a time.
const readPage = 64

// readWorkers is how many entries of a page are looked at at once: on a disk that is
// cold each costs a seek.
const readWorkers = 8

// ReadDir implements vfs.FS. The attributes are those before the first entry was read.
func (u *Union) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (a vfs.Attr, eof bool, err error) {
	if w.NoWait {
		return a, false, vfs.Again
	}
	d, err := u.enter(ctx, w, dir)
	if err != nil {
		return a, false, err
	}
	defer d.put()
	a, acl, err := u.rightsOf(ctx, w, d)
	if err != nil {
		return a, false, err
	}
	if !d.isDir() {
		return a, false, vfs.NotDir
	}
	if err := perm.List(w, &a, acl); err != nil {
		return a, false, err
	}
	attrs = attrs && perm.Search(w, &a, acl) == nil // stat(2) would not tell either
	for {
		var page []vfs.DirEntry
		err := u.again(ctx, func(ctx context.Context) (err error) {
			page, err = u.readPage(ctx, d, after, attrs)
			return err
		})
		if err != nil {
			return a, false, err
		}
		for i := range page {
			if !each(&page[i]) {
				return a, false, nil
			}
			after = page[i].Cookie
		}
		if len(page) < readPage {
			return a, true, nil
		}
	}
}

// readPage is the next entries of d after a cookie.
func (u *Union) readPage(ctx context.Context, d *node, after vfs.Cookie, attrs bool) ([]vfs.DirEntry, error) {
	for range searches {
		if err := u.prove(ctx, d, false); err != nil {
			return nil, err
		}
		if after >= vfs.MaxCookie {
			return nil, nil
		}
		l, err := u.acquire(ctx, lease.Node(d.id, lease.Shared))
		if err != nil {
			return nil, err
		}
		page, bare, ok, err := u.readHeld(ctx, d, after, attrs)
		l.Release()
		if ok || err != nil {
			u.markListed(ctx, bare)
			return page, err
		}
	}
	return nil, &vfs.Error{Status: vfs.Jukebox, Op: "readdir", Object: d.id.String()}
}

// pageEntry is an entry taken out of the table, with what is to be looked at.
type pageEntry struct {
	at   place
	vols volset
	out  vfs.DirEntry
	look bool
	dir  bool // it may be a directory
	away bool // no volume that has it is there: listed by its name alone
	gone bool
	bare bool // a directory on several volumes, one of whose copies lacks its mark
	err  error
}

// readHeld is readPage under the lease on d; not ok: the table was dropped meanwhile. bare are directories
// that are to be marked before others learn their ids.
func (u *Union) readHeld(ctx context.Context, d *node, after vfs.Cookie, attrs bool) (out []vfs.DirEntry, bare []vfs.NodeID, ok bool, err error) {
	var page []pageEntry
	known := u.namesAfter(d, after, readPage, func(found []*entry) {
		if ok = d.names.asOf > u.members().cameAt; !ok { // a volume came meanwhile
			return
		}
		page = u.takeOut(d, found, func(e *entry) bool { return e.node.IsZero() || e.seen != d.names.round })
	})
	if !known || !ok {
		if d.isGone() {
			return nil, nil, false, vfs.Stale
		}
		return nil, nil, false, nil
	}
	if err := u.describe(ctx, d, page, attrs); err != nil {
		return nil, nil, false, err
	}
	out = make([]vfs.DirEntry, 0, len(page))
	some := false
	for i := range page {
		if page[i].gone {
			some = true
			continue
		}
		out = append(out, page[i].out)
		if page[i].bare {
			bare = append(bare, page[i].out.Node.ID)
		}
	}
	if some { // removed by another process since it was listed: list again
		u.distrust(d)
		return nil, nil, false, nil
	}
	return out, bare, true, nil
}

// takeOut is a page of these entries of d; look says which of them are to be looked at if they are not away. Needs d.mu.
func (u *Union) takeOut(d *node, found []*entry, look func(*entry) bool) []pageEntry {
	online := u.online()
	page := make([]pageEntry, len(found))
	for i, e := range found {
		p := &page[i]
		p.at, p.vols = place{d.node(), e.name, e.phys}, e.vols
		p.out = vfs.DirEntry{Name: e.name, Cookie: e.cookie}
		p.away = e.vols&online == 0
		p.dir = e.typ == vfs.Directory || e.typ == 0
		p.look = !p.away && look(e)
		if !p.look {
			p.out.Node.ID = e.node
		}
	}
	return page
}

// markListed is markLater for directories that were listed, some at once: each costs flushes. The caller
// holds no lease.
func (u *Union) markListed(ctx context.Context, ids []vfs.NodeID) {
	next := make(chan vfs.NodeID, len(ids))
	for _, id := range ids {
		next <- id
	}
	close(next)
	var wg sync.WaitGroup
	for range min(readWorkers, len(ids)) {
		wg.Go(func() {
			for id := range next {
				if n := u.table.get(id); n != nil {
					u.markLater(ctx, n)
					n.put()
				}
			}
		})
	}
	wg.Wait()
}

// describe finds nodes and attributes of a page. An entry that cannot be looked at
// is listed all the same; only what must be looked for first is an error.
func (u *Union) describe(ctx context.Context, d *node, page []pageEntry, attrs bool) error {
	var todo []*pageEntry
	for i := range page {
		p := &page[i]
		if !u.remember(p, attrs) {
			todo = append(todo, p)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	next := make(chan *pageEntry, len(todo))
	for _, p := range todo {
		next <- p
	}
	close(next)
	var wg sync.WaitGroup
	for range min(readWorkers, (len(todo)+readWorkers-1)/readWorkers) {
		wg.Go(func() {
			for p := range next {
				p.err = u.lookEntry(ctx, d, p, attrs)
			}
		})
	}
	wg.Wait()
	for _, p := range todo {
		if m := (*moved)(nil); errors.As(p.err, &m) {
			return p.err
		}
	}
	return nil
}

// remember describes an entry from memory, if that is fresh.
func (u *Union) remember(p *pageEntry, attrs bool) bool {
	if p.look {
		return false
	}
	if p.out.Node.ID.IsZero() {
		return true
	}
	n := u.table.get(p.out.Node.ID)
	if n == nil {
		return !attrs || p.away
	}
	defer n.put()
	p.out.Node = n.node()
	if !attrs || p.away {
		return true
	}
	a, ok, err := u.peek(n)
	if ok && err == nil {
		p.out.Attr, p.out.HasAttr = a, true
	}
	return p.out.HasAttr
}

// lookEntry looks at an entry on its volumes.
func (u *Union) lookEntry(ctx context.Context, d *node, p *pageEntry, attrs bool) error {
	n, err := u.lookAt(ctx, d, p.at, p.vols)
	if n == nil {
		p.gone = err == nil
		return err
	}
	defer n.put()
	p.out.Node, p.bare = n.node(), n.unmarked(u.online())
	if !attrs {
		return nil
	}
	a, ok, err := u.peek(n)
	if !ok && err == nil {
		a, err = u.attrsNoWait(ctx, n)
		ok = err == nil
	}
	if ok {
		p.out.Attr, p.out.HasAttr = a, true
	}
	return err
}
