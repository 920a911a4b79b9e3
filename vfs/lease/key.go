package lease

import (
	"encoding/binary"
	"fmt"

	"sheaf/vfs"
)

// Mode says what else may go on while a lease is held.
type Mode uint8

// The modes.
const (
	Shared    Mode = iota + 1 // others may hold it shared
	Exclusive                 // nobody else holds it
)

// The kinds of keys in the order in which they are taken.
const (
	kindTree uint64 = iota
	kindName
	kindNode
)

// Key is what a lease is on. Comparable.
type Key struct{ kind, hi, lo, sub uint64 } // words, so that the map hashes it as plain memory

// Want is a key and the mode it is wanted in.
type Want struct {
	key  Key
	mode Mode
}

// Tree is the lease on the shape of the directory tree: moving a directory to
// another parent takes it exclusively, so that no two moves can build a loop.
func Tree(m Mode) Want { return Want{Key{kind: kindTree}, m} }

// Name is the lease on one name of a directory, given by its cookie or any other hash
// of it: two names with one hash only wait for each other.
func Name(dir vfs.NodeID, hash vfs.Cookie, m Mode) Want {
	w := Node(dir, m)
	w.key.kind, w.key.sub = kindName, uint64(hash)
	return w
}

// Node is the lease on an object.
func Node(id vfs.NodeID, m Mode) Want {
	return Want{Key{kindNode, binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:]), 0}, m}
}

// compare is negative, 0 or positive as a is taken before, with or after b.
func compare(a, b Key) int {
	for _, d := range [...][2]uint64{{a.kind, b.kind}, {a.hi, b.hi}, {a.lo, b.lo}, {a.sub, b.sub}} {
		if d[0] < d[1] {
			return -1
		} else if d[0] > d[1] {
			return 1
		}
	}
	return 0
}

// String is the key for logs and failing tests.
func (k Key) String() string {
	switch k.kind {
	case kindTree:
		return "tree"
	case kindName:
		return fmt.Sprintf("name %016x%016x/%x", k.hi, k.lo, k.sub)
	default:
		return fmt.Sprintf("node %016x%016x", k.hi, k.lo)
	}
}
