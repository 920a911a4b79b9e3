package meta

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"sheaf/vfs"
)

// page is how many rows a bulk write or an internal scan handles at a time.
const page = 1024

// Node is the row of a node, if there is one.
func (s *Store) Node(id vfs.NodeID) (Node, bool, error) {
	return get(s, nodeKey(id), decodeNode)
}

// PutNode writes the row of a node. Of more than MaxPlaces names and MaxCopies
// copies the first are kept.
func (s *Store) PutNode(ctx context.Context, n *Node) error {
	if err := n.check(); err != nil {
		return invalid("node "+n.ID.String(), err)
	}
	k := nodeKey(n.ID)
	return s.write(ctx, op{k, encodeNode(k, n)})
}

// DeleteNode removes the row of a node.
func (s *Store) DeleteNode(ctx context.Context, id vfs.NodeID) error {
	return s.write(ctx, op{key: nodeKey(id)})
}

// Collision is the cookie of a name that could not have its hash, if it is one.
func (s *Store) Collision(dir vfs.NodeID, name vfs.Name) (vfs.Cookie, bool, error) {
	c, ok, err := get(s, collisionKey(dir, name), decodeCollision)
	return c.Cookie, ok, err
}

// Collisions are all those of a directory.
func (s *Store) Collisions(dir vfs.NodeID) ([]Collision, error) {
	return all(s, groupOf(kindCollision, dir), decodeCollision)
}

// PutCollision remembers the cookie of a name.
func (s *Store) PutCollision(ctx context.Context, dir vfs.NodeID, c Collision) error {
	if err := checkCookie(c.Cookie); err != nil {
		return invalid(c.Name.String(), err)
	}
	if c.Name.IsZero() {
		return invalid("cookie", errNoName)
	}
	k := collisionKey(dir, c.Name)
	return s.write(ctx, op{k, encodeCollision(k, c.Cookie)})
}

// DeleteCollision forgets the cookie of a name.
func (s *Store) DeleteCollision(ctx context.Context, dir vfs.NodeID, name vfs.Name) error {
	return s.write(ctx, op{key: collisionKey(dir, name)})
}

// Entry is the entry of a directory that has cookie c.
func (s *Store) Entry(dir vfs.NodeID, c vfs.Cookie) (Entry, bool, error) {
	return get(s, entryKey(dir, c), decodeEntry)
}

// Entries are the first limit entries of a directory whose cookies are greater than
// after; more says that others follow. A corrupt row among them is an error: a listing
// is never silently shorter.
func (s *Store) Entries(dir vfs.NodeID, after vfs.Cookie, limit int) (entries []Entry, more bool, err error) {
	if after >= vfs.MaxCookie || limit <= 0 {
		return nil, after < vfs.MaxCookie, nil
	}
	g := groupOf(kindEntry, dir)
	raw, more, err := s.scan(g, entryKey(dir, after+1), limit)
	if err != nil {
		return nil, false, err
	}
	entries, err = decodeAll(raw, decodeEntry)
	return entries, more, err
}

// PutEntry writes an entry of a directory.
func (s *Store) PutEntry(ctx context.Context, dir vfs.NodeID, e *Entry) error {
	o, err := entryOp(dir, e)
	if err != nil {
		return err
	}
	return s.write(ctx, o)
}

// DeleteEntry removes an entry of a directory.
func (s *Store) DeleteEntry(ctx context.Context, dir vfs.NodeID, c vfs.Cookie) error {
	return s.write(ctx, op{key: entryKey(dir, c)})
}

// Copies is what is known of the copies of a directory.
func (s *Store) Copies(dir vfs.NodeID) ([]DirCopy, error) {
	return all(s, groupOf(kindCopy, dir), decodeCopy)
}

// PutCopy writes what is known of a copy.
func (s *Store) PutCopy(ctx context.Context, dir vfs.NodeID, c *DirCopy) error {
	o, err := copyOp(dir, c)
	if err != nil {
		return err
	}
	return s.write(ctx, o)
}

// DeleteCopy forgets a copy.
func (s *Store) DeleteCopy(ctx context.Context, dir vfs.NodeID, v VolumeID) error {
	return s.write(ctx, op{key: copyKey(dir, v)})
}

// ReplaceDir makes entries, which come in the order of their cookies, the only
// ones of a directory and copies all that is known of its copies. Rows that are
// there already cost nothing. What the directory's copies say goes first and comes last:
// at no moment, and after no crash, does a complete copy stand beside a part
// of its entries. The caller sees to it that nothing else writes to this
// directory meanwhile.
func (s *Store) ReplaceDir(ctx context.Context, dir vfs.NodeID, entries iter.Seq[Entry], copies []DirCopy) error {
	resets := s.space.resets.Load()
	if err := s.deleteGroup(ctx, groupOf(kindCopy, dir)); err != nil {
		return err
	}
	if s.paused() {
		return ErrPaused
	}
	m := merge{s: s, group: groupOf(kindEntry, dir)}
	last := vfs.Cookie(0)
	for e := range entries {
		if e.Cookie <= last {
			return invalid(e.Name.String(), fmt.Errorf("cookie %d after %d", e.Cookie, last))
		}
		last = e.Cookie
		o, err := entryOp(dir, &e)
		if err != nil {
			return err
		}
		if err := m.put(ctx, o); err != nil {
			return err
		}
	}
	if err := m.finish(ctx); err != nil {
		return err
	}
	ops := make([]op, 0, len(copies))
	for i := range copies {
		o, err := copyOp(dir, &copies[i])
		if err != nil {
			return err
		}
		ops = append(ops, o)
	}
	if s.space.resets.Load() != resets {
		return ErrPaused // the first entries are gone again
	}
	return s.write(ctx, ops...)
}

// DeleteDir forgets copies, entries and collisions of a directory; its node row stays.
func (s *Store) DeleteDir(ctx context.Context, dir vfs.NodeID) error {
	for _, kind := range []byte{kindCopy, kindEntry, kindCollision} {
		if err := s.deleteGroup(ctx, groupOf(kind, dir)); err != nil {
			return err
		}
	}
	return nil
}

// deleteGroup deletes all rows of a group.
func (s *Store) deleteGroup(ctx context.Context, g group) error {
	m := merge{s: s, group: g}
	return m.finish(ctx)
}

// merge turns the rows of a group into others that come in the order of their keys.
type merge struct {
	s     *Store
	group group
	old   []op   // rows not yet passed
	from  []byte // where the next page of old begins; nil: at the start
	end   bool   // there is no next page
	out   []op   // changes not yet queued
}

// put passes all old rows up to o, and writes o unless it is there.
func (m *merge) put(ctx context.Context, o op) error {
	for {
		if err := m.fill(); err != nil {
			return err
		}
		if len(m.old) == 0 {
			return m.emit(ctx, o)
		}
		old := m.old[0]
		switch c := bytes.Compare(old.key, o.key); {
		case c > 0:
			return m.emit(ctx, o)
		case c == 0:
			m.old = m.old[1:]
			if bytes.Equal(old.value, o.value) {
				return nil
			}
			return m.emit(ctx, o)
		}
		m.old = m.old[1:]
		if err := m.emit(ctx, op{key: old.key}); err != nil {
			return err
		}
	}
}

// finish deletes the old rows that are left and queues everything.
func (m *merge) finish(ctx context.Context) error {
	for {
		if err := m.fill(); err != nil {
			return err
		}
		if len(m.old) == 0 {
			return m.s.write(ctx, m.out...)
		}
		for _, old := range m.old {
			if err := m.emit(ctx, op{key: old.key}); err != nil {
				return err
			}
		}
		m.old = nil
	}
}

// fill reads the next page of old rows when the last one is used up.
func (m *merge) fill() error {
	if len(m.old) > 0 || m.end {
		return nil
	}
	if m.from == nil {
		m.from = m.group[:]
	}
	raw, more, err := m.s.scan(m.group, m.from, page)
	if err != nil {
		return err
	}
	m.old, m.end = raw, !more
	if more {
		m.from = append(bytes.Clone(raw[len(raw)-1].key), 0)
	}
	return nil
}

func (m *merge) emit(ctx context.Context, o op) error {
	m.out = append(m.out, o)
	if len(m.out) < page {
		return nil
	}
	out := m.out
	m.out = make([]op, 0, page)
	return m.s.write(ctx, out...)
}

func entryOp(dir vfs.NodeID, e *Entry) (op, error) {
	if err := checkCookie(e.Cookie); err != nil {
		return op{}, invalid(e.Name.String(), err)
	}
	if e.Name.IsZero() {
		return op{}, invalid("entry", errNoName)
	}
	if e.Type > vfs.FIFO {
		return op{}, invalid(e.Name.String(), fmt.Errorf("type %d", e.Type))
	}
	k := entryKey(dir, e.Cookie)
	return op{k, encodeEntry(k, e)}, nil
}

func copyOp(dir vfs.NodeID, c *DirCopy) (op, error) {
	k := copyKey(dir, c.Volume)
	if err := c.check(); err != nil {
		return op{}, invalid(rowName(k), err)
	}
	return op{k, encodeCopy(k, c)}, nil
}
