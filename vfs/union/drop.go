package union

import (
	"context"

	"sheaf/meta"
	"sheaf/vfs"
)

// Dropped is what DropCache forgot.
type Dropped struct {
	Directories int64 // whose names and attributes were forgotten
	Objects     int64 // others that memory knew, whose attributes were
}

// DropCache forgets what memory and the index know of vn's attributes and, of a directory, of its names; with below also of all
// that is in it, as far as that is known. It is asked for on the volumes when it is needed. What is known of volumes that are away
// stays, because nobody can be asked for it. Errors: Stale, and what finding vn gives.
func (u *Union) DropCache(ctx context.Context, vn vfs.Node, below bool) (Dropped, error) {
	n, err := u.resolve(ctx, vn)
	if err != nil {
		return Dropped{}, err
	}
	n.put()
	r := &dropping{u: u, seen: map[vfs.NodeID]bool{vn.ID: true}, todo: []vfs.NodeID{vn.ID}}
	for len(r.todo) > 0 {
		if err := context.Cause(ctx); err != nil {
			return r.done, err
		}
		last := len(r.todo) - 1
		id := r.todo[last]
		r.todo = r.todo[:last]
		if err := r.drop(id, below); err != nil {
			return r.done, err
		}
	}
	u.pruneRows(ctx, func(a *meta.Absence) bool { return r.seen[a.Dir] })
	u.walkSoon("what was known was dropped")
	return r.done, nil
}

// dropping is one DropCache under way. It remembers the directories it met, 16 bytes each.
type dropping struct {
	u    *Union
	seen map[vfs.NodeID]bool
	todo []vfs.NodeID
	done Dropped
}

// drop forgets one node, and puts what is in it on the list.
func (r *dropping) drop(id vfs.NodeID, below bool) error {
	n := r.u.table.get(id)
	if n == nil {
		n = r.u.fromIndex(vfs.Node{ID: id})
	}
	if n == nil {
		return nil // nothing is known of it
	}
	defer n.put()
	if !n.isDir() {
		r.u.dropAttr(n)
		r.done.Objects++
		return nil
	}
	if below {
		if err := r.children(n); err != nil {
			return err
		}
	}
	r.u.dropNames(n)
	r.u.dropAttr(n)
	r.done.Directories++
	return nil
}

// children puts what is in d on the list: directories, and what else memory knows.
func (r *dropping) children(d *node) error {
	u := r.u
	for after, more := vfs.Cookie(0), true; more; {
		d.mu.Lock()
		var page []*entry
		if d.names != nil {
			page = d.names.order.after(after, nil, recallPage)
		}
		for _, e := range page {
			r.child(e.node, e.typ)
			after = e.cookie
		}
		d.mu.Unlock()
		more = len(page) == recallPage
	}
	if !u.keeps() {
		return nil
	}
	for after, more := vfs.Cookie(0), true; more; {
		rows, m, err := u.opt.Index.Entries(d.id, after, recallPage)
		if err != nil {
			return err
		}
		for i := range rows {
			r.child(rows[i].Child, rows[i].Type)
			after = rows[i].Cookie
		}
		more = m
	}
	return nil
}

// child puts an object on the list if anything may be known of it.
func (r *dropping) child(id vfs.NodeID, typ vfs.Type) {
	if id.IsZero() || r.seen[id] {
		return
	}
	if typ != vfs.Directory {
		if n := r.u.table.get(id); n != nil {
			n.put()
			r.seen[id] = true
			r.todo = append(r.todo, id)
		}
		return
	}
	r.seen[id] = true
	r.todo = append(r.todo, id)
}

// dropAttr makes n's attributes be asked for again.
func (u *Union) dropAttr(n *node) {
	n.mu.Lock()
	n.attrAt, n.acls = 0, nil
	n.doubts.attrs = u.now()
	n.mu.Unlock()
	u.tell(vfs.Event{Kind: vfs.ForgetNode, Node: n.id})
}

// dropNames makes all names of d be asked for again. The caller has a reference to d.
func (u *Union) dropNames(d *node) {
	if u.keeps() {
		u.disbelieve(d)
	}
	d.mu.Lock()
	d.doubts.all = u.now()
	u.noDoubts(d)
	if d.names != nil {
		d.names.provable = false
	}
	u.forgetNames(d)
	d.mu.Unlock()
	u.tell(vfs.Event{Kind: vfs.ForgetName, Node: d.id})
}
