package vfstest

import (
	"cmp"
	"context"
	"slices"

	"github.com/dchest/siphash"

	"sheaf/vfs"
	"sheaf/vfs/perm"
)

// dirSize is the size that a Model gives directories, in bytes.
const dirSize = 4096

// directory are the names in a directory.
type directory struct {
	byName map[vfs.Name]*entry
	order  []*entry // by cookie
}

type entry struct {
	name   vfs.Name
	cookie vfs.Cookie
	obj    *object
}

// add gives o the name name in d, which is free.
func (m *Model) add(d *object, name vfs.Name, o *object) {
	e := &entry{name: name, cookie: m.cookie(d.dir, name), obj: o}
	d.dir.byName[name] = e
	i, _ := d.dir.find(e.cookie)
	d.dir.order = slices.Insert(d.dir.order, i, e)
	m.linked(e, d)
}

// replace gives o the name of e in d instead of what has it; the cookie stays.
func (m *Model) replace(d *object, e *entry, o *object) {
	m.unlinked(e, d)
	e.obj = o
	m.linked(e, d)
}

// remove takes the entry e out of d.
func (m *Model) remove(d *object, e *entry) {
	m.unlinked(e, d)
	delete(d.dir.byName, e.name)
	i, _ := d.dir.find(e.cookie)
	d.dir.order = slices.Delete(d.dir.order, i, i+1)
}

func (m *Model) linked(e *entry, d *object) {
	e.obj.names[link{d, e.name}] = struct{}{}
	if e.obj.dir != nil {
		d.attr.Nlink++ // its ".."
	} else {
		e.obj.attr.Nlink++
	}
}

func (m *Model) unlinked(e *entry, d *object) {
	delete(e.obj.names, link{d, e.name})
	if e.obj.dir != nil {
		d.attr.Nlink--
	} else {
		e.obj.attr.Nlink--
	}
}

// drop ends the life of o if it has no name.
func (m *Model) drop(o *object) {
	if len(o.names) > 0 {
		return
	}
	if o.data != nil {
		m.pages -= uint64(len(o.data.pages))
	}
	delete(m.objects, o.attr.Node.ID)
}

// cookie is a free cookie for name in d: a hash, and the next free one if taken.
func (m *Model) cookie(d *directory, name vfs.Name) vfs.Cookie {
	c := vfs.Cookie(siphash.Hash(m.opts.Seed, ^m.opts.Seed, []byte(name.String())) & (1<<m.opts.CookieBits - 1))
	for {
		c = max(c, vfs.FirstCookie)
		if _, taken := d.find(c); !taken {
			return c
		}
		if c++; c > vfs.MaxCookie {
			c = vfs.FirstCookie
		}
	}
}

// find is the place of cookie c in d's order, and whether it is taken.
func (d *directory) find(c vfs.Cookie) (int, bool) {
	return slices.BinarySearchFunc(d.order, c, func(e *entry, c vfs.Cookie) int { return cmp.Compare(e.cookie, c) })
}

// ReadDir implements vfs.FS. The attributes returned are those before the first
// entry was read: a caller that keeps the listing under them finds out about
// changes during it.
func (m *Model) ReadDir(_ context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	const chunk = 64 // entries taken under the lock at a time; each is called without it
	page, first, err := m.entries(w, dir, after, attrs, chunk)
	if err != nil {
		return first, false, err
	}
	for {
		for i := range page {
			if !each(&page[i]) {
				return first, false, nil
			}
		}
		if len(page) < chunk {
			return first, true, nil
		}
		if page, _, err = m.entries(w, dir, page[chunk-1].Cookie, attrs, chunk); err != nil {
			return first, false, err
		}
	}
}

// entries are up to limit entries of dir after a cookie, and dir's attributes.
func (m *Model) entries(w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, limit int) ([]vfs.DirEntry, vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.directory(dir)
	if d == nil {
		return nil, vfs.Attr{}, err
	}
	if err == nil {
		err = perm.List(w, &d.attr, d.acls.Access)
	}
	if err != nil {
		return nil, d.attr, err
	}
	attrs = attrs && search(w, d) == nil // stat(2) would not tell either
	i, _ := d.dir.find(after + 1)
	rest := d.dir.order[i:]
	rest = rest[:min(len(rest), limit)]
	out := make([]vfs.DirEntry, len(rest))
	for i, e := range rest {
		out[i] = vfs.DirEntry{Name: e.name, Cookie: e.cookie, Node: e.obj.attr.Node}
		if attrs {
			out[i].Attr, out[i].HasAttr = e.obj.attr, true
		}
	}
	return out, d.attr, nil
}
