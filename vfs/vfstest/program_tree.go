package vfstest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"sheaf/vfs"
)

// listing is a listing in progress, of the file system under test.
type listing struct {
	dir    *pair
	after  vfs.Cookie
	stayed map[vfs.Name]vfs.NodeID // what has been there since it began, by the Model
	times  map[vfs.Name]int        // how often each was listed
}

// entriesOf are the names in n, by the Model.
func (p *program) entriesOf(n *pair) map[vfs.Name]vfs.NodeID {
	all := map[vfs.Name]vfs.NodeID{}
	if o := p.model.objects[n.model.ID]; o != nil && o.dir != nil {
		for s, e := range o.dir.byName {
			all[s] = e.obj.attr.Node.ID
		}
	}
	return all
}

// forget takes out of l what is not there any more, or not the same.
func (l *listing) forget(p *program) {
	now := p.entriesOf(l.dir)
	maps.DeleteFunc(l.stayed, func(s vfs.Name, id vfs.NodeID) bool { return now[s] != id })
}

// runList begins a listing, or goes on with one, by a page.
func runList(p *program, s *step) {
	var l *listing
	if s.fresh || len(p.listings) == 0 {
		l = &listing{dir: p.dir(s.node), times: map[vfs.Name]int{}}
		l.stayed = p.entriesOf(l.dir)
		if p.listings = append(p.listings, l); len(p.listings) > 4 {
			p.listings = p.listings[1:]
		}
	} else {
		l = p.listings[s.node.i%len(p.listings)]
	}
	w := p.who(s)
	p.say("uid %d lists %d of #%d after %d", w.UID, s.count, l.dir.index, l.after)
	_, _, wantErr := p.model.ReadDir(p.ctx, w, l.dir.model, 0, false, func(*vfs.DirEntry) bool { return false })
	got, a, eof, err := p.page(w, l, s.count)
	if !p.same(err, wantErr) {
		return
	}
	p.tell(l.dir, a)
	for _, e := range got {
		p.checkEntry(l, e)
	}
	if !eof {
		return
	}
	for s := range l.stayed {
		if l.times[s] != 1 {
			p.fail("%q was in #%d during the whole listing and was listed %d times", s, l.dir.index, l.times[s])
		}
	}
	p.listings = slices.DeleteFunc(p.listings, func(x *listing) bool { return x == l })
}

// page is the next count entries of l.
func (p *program) page(w *vfs.Who, l *listing, count int) (page []vfs.DirEntry, a vfs.Attr, eof bool, err error) {
	a, eof, err = p.under.ReadDir(p.ctx, w, l.dir.under, l.after, count%2 == 0, func(e *vfs.DirEntry) bool {
		if e.Cookie <= l.after || e.Cookie < vfs.FirstCookie || e.Cookie > vfs.MaxCookie {
			p.fail("cookie %d after %d", e.Cookie, l.after)
		}
		l.after = e.Cookie
		page = append(page, *e)
		return len(page) < count
	})
	return page, a, eof, err
}

// checkEntry holds an entry of l to what the Model has.
func (p *program) checkEntry(l *listing, e vfs.DirEntry) {
	id, ok := p.entriesOf(l.dir)[e.Name]
	if !ok {
		p.fail("#%d lists %q, which it has not", l.dir.index, e.Name)
	}
	n := p.byModel[id]
	if n == nil || n.under.ID != e.Node.ID {
		p.fail("#%d lists %q as %v", l.dir.index, e.Name, e.Node.ID)
	}
	if e.HasAttr {
		p.tell(n, e.Attr)
	}
	if l.times[e.Name]++; l.times[e.Name] > 1 && l.stayed[e.Name] == id {
		p.fail("#%d lists %q twice", l.dir.index, e.Name)
	}
}

// compareTrees compares all names, links, data and lists, and asks for all that is gone.
func (p *program) compareTrees() {
	p.t.Helper()
	p.say("compare everything")
	p.finished = true
	for _, n := range p.nodes {
		if !p.alive(n) {
			if _, err := p.under.GetAttr(p.ctx, p.whos[0], n.under); vfs.StatusOf(err) != vfs.Stale {
				p.fail("#%d is gone; GetAttr: %v", n.index, err)
			}
			continue
		}
		switch n.attr.Type {
		case vfs.Directory:
			p.compareDir(n)
		case vfs.Regular:
			p.compareData(n)
		case vfs.Symlink:
			got, _, err := p.under.ReadLink(p.ctx, p.whos[0], n.under)
			if want := p.model.objects[n.model.ID].target; err != nil || got != want {
				p.fail("#%d links to %q (%v), want %q", n.index, got, err, want)
			}
		default:
		}
		p.compareACLs(n)
	}
	for _, n := range p.nodes { // by now every directory was listed, and so every name is known
		if p.alive(n) {
			p.compareParents(n)
		}
	}
}

func (p *program) compareDir(n *pair) {
	p.t.Helper()
	w, l := p.whos[0], &listing{dir: n, times: map[vfs.Name]int{}, stayed: p.entriesOf(n)}
	if p.opts.As != nil && n.attr.Mode&0o500 != 0o500 {
		return // the only caller may not list what it closed to itself
	}
	got, _, eof, err := p.page(w, l, 1<<20)
	p.must(err, fmt.Sprintf("ReadDir of #%d", n.index))
	for _, e := range got {
		p.checkEntry(l, e)
	}
	if !eof || len(got) != len(l.stayed) {
		p.fail("#%d lists %d entries (eof %v), want %d", n.index, len(got), eof, len(l.stayed))
	}
	for s, id := range l.stayed {
		a, _, err := p.under.Lookup(p.ctx, w, n.under, s)
		if err != nil || a.Node.ID != p.byModel[id].under.ID {
			p.fail("#%d has %q as %v (%v), want #%d", n.index, s, a.Node.ID, err, p.byModel[id].index)
		}
	}
}

// compareData reads the beginning, the end, and wherever the Model keeps a page.
func (p *program) compareData(n *pair) {
	p.t.Helper()
	d := p.model.objects[n.model.ID].data
	offs := []uint64{0, n.want.Size - min(n.want.Size, pageSize)}
	for i := range d.pages {
		offs = append(offs, i*pageSize)
	}
	for _, off := range offs {
		p.compareRead(n, p.whos[0], off, 2*pageSize)
	}
}

func (p *program) compareRead(n *pair, w *vfs.Who, off uint64, count int) bool {
	p.t.Helper()
	buf, want := make([]byte, count), make([]byte, count)
	got, eof, a, err := p.under.Read(p.ctx, w, n.under, buf, off)
	m, wantEOF, _, wantErr := p.model.Read(p.ctx, w, n.model, want, off)
	if !p.same(err, wantErr) {
		return false
	}
	p.tell(n, a)
	if got != m || eof != wantEOF || !bytes.Equal(buf[:got], want[:m]) {
		p.fail("#%d holds at %d: %d bytes (eof %v) %.40q, want %d (eof %v) %.40q", n.index, off, got, eof, buf[:got], m, wantEOF, want[:m])
	}
	return true
}

func (p *program) compareParents(n *pair) {
	p.t.Helper()
	got, want := map[place]int{}, map[place]int{}
	p.must(p.under.Parents(p.ctx, n.under, func(dir vfs.Node, s vfs.Name) bool { got[place{dir.ID, s}]++; return true }), "Parents")
	p.must(p.model.Parents(p.ctx, n.model, func(dir vfs.Node, s vfs.Name) bool {
		want[place{p.byModel[dir.ID].under.ID, s}]++
		return true
	}), "Parents of the Model")
	if !maps.Equal(got, want) {
		p.fail("#%d has the names %v, want %v", n.index, got, want)
	}
}

func (p *program) compareACLs(n *pair) {
	p.t.Helper()
	got, _, err := p.under.GetACL(p.ctx, p.whos[0], n.under)
	p.must(err, "GetACL")
	want, _, err := p.model.GetACL(p.ctx, p.whos[0], n.model)
	p.must(err, "GetACL of the Model")
	if !slices.Equal(got.Access, want.Access) || !slices.Equal(got.Default, want.Default) {
		p.fail("#%d has the lists %v, want %v", n.index, got, want)
	}
}
