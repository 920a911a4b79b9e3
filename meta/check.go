package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"sheaf/vfs"
)

// Violation is a broken invariant of the index.
type Violation struct {
	Invariant string // "M1" … as below
	Row       string
	Err       error
}

// String is the violation in one line.
func (v Violation) String() string { return v.Invariant + ": " + v.Row + ": " + v.Err.Error() }

// Check reads the whole index and tests it against itself:
//
//	M1  every key is of a known kind and every value decodes
//	M2  a directory has at most one name, and nothing is a name in itself
//	M3  a name is once in a directory
//	M4  two collisions of a directory have two cookies, and an entry that
//	    has such a cookie has its name
//	M5  a copy whose names are known says at which version, and is settled only if it is complete
//	M6  the format is the one this program writes
//	M7  entry and node agree on the type, where both know it
//
// It ends after limit violations. Writes go on meanwhile, and are not looked at; Close waits
// for it.
func (s *Store) Check(ctx context.Context, limit int) ([]Violation, error) {
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}
	done, err := s.use()
	if err != nil {
		return nil, err
	}
	defer done()
	if s.blind() {
		return nil, ErrPaused
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	c := checker{txn: txn, limit: limit}
	for it.Rewind(); it.Valid() && len(c.found) < limit; it.Next() {
		if err := context.Cause(ctx); err != nil {
			return c.found, err
		}
		key := it.Item().KeyCopy(nil)
		if err := it.Item().Value(func(v []byte) error { return c.row(key, v) }); err != nil {
			return c.found, s.readError(key, err)
		}
	}
	if !c.format && len(c.found) < limit {
		c.say("M6", []byte("format"), errors.New("is missing"))
	}
	return c.found, nil
}

// checker goes through the rows in their order.
type checker struct {
	txn    *badger.Txn
	found  []Violation
	limit  int
	group  group // of the row before
	names  map[vfs.Name]bool
	used   map[vfs.Cookie]bool // by collisions
	format bool
}

func (c *checker) say(invariant string, key []byte, err error) {
	c.found = append(c.found, Violation{invariant, rowName(key), err})
}

// row checks one row; its error is one of reading.
func (c *checker) row(key, value []byte) error {
	if len(key) > 0 && key[0] == kindMeta {
		c.meta(key, value)
		return nil
	}
	if _, err := parseKey(key); err != nil {
		c.say("M1", key, err)
		return nil
	}
	if g := group(key); g != c.group {
		c.group = g
		c.names, c.used = make(map[vfs.Name]bool), make(map[vfs.Cookie]bool)
	}
	switch key[0] {
	case kindAbsence:
		if _, err := decodeAbsence(key, value); err != nil {
			c.say("M1", key, err)
		}
	case kindNode:
		c.node(key, value)
	case kindCopy:
		c.dirCopy(key, value)
	case kindEntry:
		return c.entry(key, value)
	case kindCollision:
		return c.collision(key, value)
	}
	return nil
}

func (c *checker) meta(key, value []byte) {
	d := open(key, value)
	if bytes.Equal(key, keyID) {
		d.id()
		if err := d.close(); err != nil {
			c.say("M1", key, err)
		}
		return
	}
	n := d.u32()
	if err := d.close(); err != nil {
		c.say("M1", key, err)
	}
	switch string(key) {
	case string(keyOpen), string(keySession), string(keyVoid), string(keyCut), string(keyBoot), string(keyLost), string(keyUnder), string(keyWhole):
	case string(keyFormat):
		c.format = true
		if n != Format {
			c.say("M6", key, fmt.Errorf("is %d and not %d", n, Format))
		}
	default:
		c.say("M1", key, errors.New("it is none of this format"))
	}
}

func (c *checker) node(key, value []byte) {
	n, err := decodeNode(key, value)
	if err != nil {
		c.say("M1", key, err)
	} else if err := n.check(); err != nil {
		c.say("M2", key, err)
	}
}

func (c *checker) dirCopy(key, value []byte) {
	d, err := decodeCopy(key, value)
	if err != nil {
		c.say("M1", key, err)
	} else if err := d.check(); err != nil {
		c.say("M5", key, err)
	}
}

func (c *checker) entry(key, value []byte) error {
	e, err := decodeEntry(key, value)
	if err != nil {
		c.say("M1", key, err)
		return nil
	}
	if c.names[e.Name] {
		c.say("M3", key, fmt.Errorf("%q has another entry", e.Name))
	}
	c.names[e.Name] = true
	n, ok, err := peek(c.txn, nodeKey(e.Child), decodeNode)
	if ok && e.Type != 0 && n.Type != e.Type {
		c.say("M7", key, fmt.Errorf("type %d, but %d of node %s", e.Type, n.Type, n.ID))
	}
	return err
}

func (c *checker) collision(key, value []byte) error {
	x, err := decodeCollision(key, value)
	if err != nil {
		c.say("M1", key, err)
		return nil
	}
	if c.used[x.Cookie] {
		c.say("M4", key, fmt.Errorf("another name has cookie %d", x.Cookie))
	}
	c.used[x.Cookie] = true
	e, ok, err := peek(c.txn, entryKey(vfs.NodeID(key[1:17]), x.Cookie), decodeEntry)
	if ok && e.Name != x.Name {
		c.say("M4", key, fmt.Errorf("the entry with cookie %d is %q", x.Cookie, e.Name))
	}
	return err
}

// peek reads another row; one that does not decode is found on its own.
func peek[T any](txn *badger.Txn, key []byte, decode func(key, value []byte) (T, error)) (v T, ok bool, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	err = item.Value(func(b []byte) error {
		var bad error
		v, bad = decode(key, b)
		ok = bad == nil
		return nil
	})
	return v, ok, err
}

// check is what M2 and the encoding demand of a node.
func (n *Node) check() error {
	if n.ID.IsZero() || n.Type == 0 || n.Type > vfs.FIFO {
		return fmt.Errorf("no node of type %d", n.Type)
	}
	if n.Type == vfs.Directory && len(n.Places) > 1 {
		return fmt.Errorf("a directory with %d names", len(n.Places))
	}
	for _, p := range n.Places {
		if p.Name.IsZero() {
			return errNoName
		}
		if p.Dir == n.ID {
			return fmt.Errorf("%q is a name in itself", p.Name)
		}
	}
	return nil
}

// check is M5.
func (d *DirCopy) check() error {
	if (d.Complete || d.Proof) && d.Version == (Version{}) {
		return errors.New("its names are known without a version")
	}
	if d.Settled && !d.Complete {
		return errors.New("settled and not complete")
	}
	return nil
}
