package meta

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"sheaf/vfs"
)

// page is how many rows a bulk write or an internal scan handles at a time.
const page = 1024

// Node is the row of a node, if there is one.
func (s *Store) Node(id vfs.NodeID) (Node, bool, error) {
	return get(s, nodeKey(id), decodeNode)
}

// Nodes are the first limit rows of nodes after an id, in the order of ids; more says that others follow. Rows that do not
// decode are left out (Check names them), as is what is still queued (see Flush).
func (s *Store) Nodes(after vfs.NodeID, limit int) (rows []Node, more bool, err error) {
	done, err := s.use()
	if err != nil {
		return nil, false, err
	}
	defer done()
	if s.blind() {
		return nil, false, nil
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kindNode}})
	defer it.Close()
	for it.Seek(append(nodeKey(after), 0)); it.Valid(); it.Next() {
		if len(rows) == limit {
			return rows, true, nil
		}
		key := it.Item().KeyCopy(nil)
		err := it.Item().Value(func(v []byte) error {
			if n, err := decodeNode(key, v); err == nil {
				rows = append(rows, n)
			}
			return nil
		})
		if err != nil {
			return nil, false, s.readError(key, err)
		}
	}
	return rows, false, nil
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

// Copies is what is known of the copies of a directory, as far as it can be believed.
func (s *Store) Copies(dir vfs.NodeID) ([]DirCopy, error) {
	stored, err := all(s, groupOf(kindCopy, dir), decodeCopy)
	if err != nil {
		return nil, err
	}
	copies := make([]DirCopy, len(stored))
	for i := range stored {
		copies[i] = s.believed(&stored[i])
	}
	return copies, nil
}

// believed is c without what the end of the session that wrote it, or of a later one, has voided.
func (s *Store) believed(c *storedCopy) DirCopy {
	d := c.DirCopy
	if c.session <= s.lost.Load() || c.session <= s.void && !d.Settled {
		d.Complete, d.Settled = false, false
	}
	if c.session <= s.cut && !d.Settled {
		d.Proof = false
	}
	return d
}

// DirChange is what changes in the rows of a directory, all at once.
type DirChange struct {
	Copies []DirCopy  // all copies of which something is known, as of now
	Forget []VolumeID // copies of which nothing is known any more
	Put    []Entry
	Drop   []vfs.Cookie
}

// ChangeMax is the most rows of a DirChange.
const ChangeMax = page

// Era changes whenever the index loses what it held. What is written after it was asked builds on what was
// read.
func (s *Store) Era() uint64 {
	s.q.mu.RLock()
	defer s.q.mu.RUnlock()
	return s.q.era
}

// Holds reports whether what was read since Era said era is all that there is: the index has lost nothing since, and can be read. One that
// lost writes finds nothing, without an error.
func (s *Store) Holds(era uint64) bool { return !s.blind() && s.Era() == era }

// ChangeDir makes a change of at most ChangeMax rows, if era still is the index's: ErrPaused if it is not. An
// index that takes no rows forgets the copies in c instead: after an error other than that of ctx nothing is
// known of them. It does not wait for the disk.
func (s *Store) ChangeDir(ctx context.Context, dir vfs.NodeID, era uint64, c *DirChange) error {
	if n := len(c.Copies) + len(c.Forget) + len(c.Put) + len(c.Drop); n > ChangeMax {
		return invalid("directory "+dir.String(), fmt.Errorf("a change of %d rows", n))
	}
	ops, err := s.copyOps(dir, c.Copies)
	if err != nil {
		return err
	}
	for _, v := range c.Forget {
		ops = append(ops, op{key: copyKey(dir, v)})
	}
	for _, cookie := range c.Drop {
		ops = append(ops, op{key: entryKey(dir, cookie)})
	}
	for i := range c.Put {
		o, err := entryOp(dir, &c.Put[i])
		if err != nil {
			return err
		}
		ops = append(ops, o)
	}
	return s.writeIn(ctx, era, ops)
}

// ReplaceDir makes entries, which come in the order of their cookies, the only
// ones of a directory, and then what copies returns all that is known of its copies; its error ends it. Rows that are
// there already cost nothing. What the directory's copies say goes first and comes last:
// at no moment, and after no crash, does a complete copy stand beside a part
// of its entries. The caller sees to it that nothing else writes to this
// directory meanwhile. After an error nothing is known of its copies.
func (s *Store) ReplaceDir(ctx context.Context, dir vfs.NodeID, entries iter.Seq[Entry], copies func() ([]DirCopy, error)) error {
	era := s.Era()
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
	known, err := copies()
	if err != nil {
		return err
	}
	ops, err := s.copyOps(dir, known)
	if err != nil {
		return err
	}
	return s.writeIn(ctx, era, ops) // in another era the first entries are gone again
}

// ForgetDir forgets what is known of a directory's copies.
func (s *Store) ForgetDir(ctx context.Context, dir vfs.NodeID) error {
	return s.deleteGroup(ctx, groupOf(kindCopy, dir))
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
	if err := e.Volumes.check(); err != nil {
		return op{}, invalid(e.Name.String(), err)
	}
	k := entryKey(dir, e.Cookie)
	return op{k, encodeEntry(k, e)}, nil
}

func (s *Store) copyOps(dir vfs.NodeID, copies []DirCopy) ([]op, error) {
	ops := make([]op, 0, len(copies))
	for i := range copies {
		k := copyKey(dir, copies[i].Volume)
		if err := copies[i].check(); err != nil {
			return nil, invalid(rowName(k), err)
		}
		ops = append(ops, op{k, encodeCopy(k, &storedCopy{copies[i], s.session.Load()})})
	}
	return ops, nil
}
