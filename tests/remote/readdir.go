package remote

import (
	"context"
	"errors"

	"sheaf/vfs"
)

// page is a reply to READDIR or READDIRPLUS.
type page struct {
	dir     vfs.Attr
	entries []vfs.DirEntry // without "." and ".."
	last    vfs.Cookie     // of the last entry, dots too
	dots    int
	eof     bool
}

// ReadDir implements vfs.FS: READDIRPLUS with attrs, READDIR without, of
// Options.DirSize. TOOSMALL is asked again with twice that.
func (c *Client) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (first vfs.Attr, eof bool, err error) {
	size := c.opt.DirSize
	for seen := false; ; {
		p, err := c.page(ctx, w, dir, after, attrs, size)
		if !seen {
			first, seen = p.dir, true
		}
		if vfs.StatusOf(err) == vfs.TooSmall && size < c.opt.DirSize+maxEntry {
			size, seen = 2*size, false
			continue
		}
		if err != nil {
			return first, false, err
		}
		for i := range p.entries {
			if err := c.complete(ctx, w, dir, &p.entries[i]); err != nil {
				return first, false, err
			}
			if !each(&p.entries[i]) {
				return first, false, nil
			}
		}
		if p.eof {
			return first, true, nil
		}
		if len(p.entries)+p.dots == 0 {
			return first, false, c.violation("READDIR", errors.New("a page without entries that is not the last"))
		}
		after = p.last
	}
}

// maxEntry is more than the longest entry takes: a name, a handle, attributes.
const maxEntry = 1024

// complete finds the node of an entry of a server whose fileids say nothing.
func (c *Client) complete(ctx context.Context, w *vfs.Who, dir vfs.Node, e *vfs.DirEntry) error {
	if !c.opt.Stock || !e.Node.IsZero() {
		return nil
	}
	a, _, err := c.Lookup(ctx, w, dir, e.Name)
	if vfs.StatusOf(err) == vfs.NoEnt { // removed since: it keeps no node
		return nil
	}
	e.Node = a.Node
	return err
}

// page is one READDIR or READDIRPLUS.
func (c *Client) page(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, plus bool, size uint32) (p page, err error) {
	fh, err := c.handle(ctx, w, dir)
	if err != nil {
		return p, err
	}
	proc := uint32(procReadDir)
	a := args{}.handle(fh).u64(uint64(after)).verifier(c.nodes.verifier(dir))
	if plus {
		proc = procReadDirPlus
		a = a.u32(size) // dircount
	}
	r, err := c.call(ctx, w, proc, a.u32(size))
	if err != nil {
		return p, err
	}
	if length := r.Len() + 4; r.ok() && uint32(length) > size && !c.opt.Stock {
		r.violate("a page of %d bytes, asked for at most %d", length, size)
	}
	if p.dir = r.postOp(dir); !r.ok() {
		return p, r.end()
	}
	var v vfs.Verifier
	copy(v[:], r.Fixed(verifierLen))
	c.nodes.setVerifier(dir, v)
	for p.last = after; r.Bool(); {
		r.entry(&p, dir, plus, after)
	}
	p.eof = r.Bool()
	return p, r.end()
}

// entry reads an entry3, or an entryplus3.
func (r *reply) entry(p *page, dir vfs.Node, plus bool, after vfs.Cookie) {
	fileid, name, cookie := r.Uint64(), string(r.String(vfs.NameMax)), vfs.Cookie(r.Uint64())
	e := vfs.DirEntry{Cookie: cookie}
	var attrID uint64
	var fh []byte
	if plus {
		if e.HasAttr = r.Bool(); e.HasAttr {
			e.Attr, attrID = r.attr()
		}
		if r.Bool() {
			fh = r.handle()
		}
	}
	if r.Err() != nil || r.bad != nil {
		return
	}
	p.last = cookie
	if name == "." || name == ".." {
		p.dots++
		if !r.c.opt.Stock && (after != 0 && name == "." || name == "." && fileid != dir.ID.FileID()) {
			r.violate("%q of fileid %x after cookie %d of directory %x", name, fileid, after, dir.ID.FileID())
		}
		return
	}
	var err error
	if e.Name, err = vfs.ParseName(name); err != nil {
		r.violate("the name %q: %w", name, err)
		return
	}
	if r.identify(&e, dir, fileid, attrID, fh) {
		p.entries = append(p.entries, e)
	}
}

// identify finds the node of an entry.
func (r *reply) identify(e *vfs.DirEntry, dir vfs.Node, fileid, attrID uint64, fh []byte) bool {
	stock := r.c.opt.Stock
	switch {
	case fileid == 0 && !stock:
		r.violate("%q has fileid 0", e.Name)
		return false
	case e.HasAttr && attrID != fileid && !stock:
		r.violate("%q has fileid %x and the attributes of %x", e.Name, fileid, attrID)
		return false
	case len(fh) > 0:
		a := r.learn(e.Attr, fileid, fh)
		if r.bad != nil {
			return false
		}
		if e.Node = a.Node; e.HasAttr {
			e.Attr = a
		}
	case !stock:
		e.Node = nodeOf(fileid)
		r.c.nodes.listed(e.Node, dir, e.Name)
		if e.HasAttr {
			e.Attr.Node = e.Node
			r.c.nodes.typed(e.Node, e.Attr.Type)
		}
	default:
		e.HasAttr = false // attributes of nobody
	}
	return true
}

// Parents implements vfs.FS by a walk through the whole share.
func (c *Client) Parents(ctx context.Context, n vfs.Node, each func(dir vfs.Node, name vfs.Name) bool) error {
	if _, err := c.GetAttr(ctx, vfs.Superuser, n); err != nil {
		return err
	}
	type place struct {
		dir  vfs.Node
		name vfs.Name
	}
	var found []place
	seen := map[vfs.NodeID]bool{c.root.ID: true}
	for todo := []vfs.Node{c.root}; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		_, _, err := c.ReadDir(ctx, vfs.Superuser, dir, 0, true, func(e *vfs.DirEntry) bool {
			if e.Node.ID == n.ID {
				found = append(found, place{dir, e.Name})
			}
			if e.HasAttr && e.Attr.Type == vfs.Directory && !seen[e.Node.ID] {
				seen[e.Node.ID] = true
				todo = append(todo, e.Node)
			}
			return true
		})
		if err != nil && vfs.StatusOf(err) != vfs.Stale { // removed during the walk
			return err
		}
	}
	for _, p := range found {
		if !each(p.dir, p.name) {
			break
		}
	}
	return nil
}
