package meta

import (
	"encoding/binary"
	"fmt"

	"sheaf/vfs"
)

// Every key of the index, in the order of the database:
//
//	'a' zero[8] slot[8]                  a name that is not there           absence
//	'c' dir[16] name[1…255]      a cookie that is not its name's hash  collision
//	'd' dir[16] volume[16]       what is known of a directory's copy   copy
//	'e' dir[16] cookie[8]        an entry of a directory               entry
//	'm' word                     of the index itself                   format.go
//	'n' node[16]                 a node                                node
//
// Numbers are big-endian, so that entries lie in the order of their cookies.
// A key that is scanned begins with its kind and its directory: 17 bytes, the group.
const (
	kindAbsence   byte = 'a'
	kindCollision byte = 'c'
	kindCopy      byte = 'd'
	kindEntry     byte = 'e'
	kindMeta      byte = 'm'
	kindNode      byte = 'n'
)

// group is what the keys of one kind and one directory have in common.
type group [17]byte

func groupOf(kind byte, id vfs.NodeID) (g group) {
	g[0] = kind
	copy(g[1:], id[:])
	return g
}

func nodeKey(id vfs.NodeID) []byte {
	g := groupOf(kindNode, id)
	return g[:]
}

func entryKey(dir vfs.NodeID, c vfs.Cookie) []byte {
	g := groupOf(kindEntry, dir)
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(g)+8), g[:]...), uint64(c))
}

func copyKey(dir vfs.NodeID, v VolumeID) []byte {
	g := groupOf(kindCopy, dir)
	return append(append(make([]byte, 0, len(g)+len(v)), g[:]...), v[:]...)
}

func collisionKey(dir vfs.NodeID, n vfs.Name) []byte {
	g := groupOf(kindCollision, dir)
	s := n.String()
	return append(append(make([]byte, 0, len(g)+len(s)), g[:]...), s...)
}

// row is a key taken apart.
type row struct {
	kind   byte
	node   vfs.NodeID // the node, or the directory
	cookie vfs.Cookie // of an entry
	volume VolumeID   // of a copy
	name   vfs.Name   // of a collision
}

// parseKey takes a key apart and refuses what no function above makes.
func parseKey(key []byte) (row, error) {
	var r row
	if len(key) < len(group{}) {
		return r, fmt.Errorf("key of %d bytes is too short", len(key))
	}
	r.kind = key[0]
	copy(r.node[:], key[1:])
	rest := key[len(group{}):]
	switch {
	case r.kind == kindAbsence && len(rest) == 0:
		if binary.BigEndian.Uint64(r.node[:8]) != 0 {
			return r, errBadSlot
		}
		return r, nil
	case r.kind == kindNode && len(rest) == 0:
		return r, nil
	case r.kind == kindCopy && len(rest) == len(r.volume):
		copy(r.volume[:], rest)
		return r, nil
	case r.kind == kindEntry && len(rest) == 8:
		r.cookie = vfs.Cookie(binary.BigEndian.Uint64(rest))
		return r, checkCookie(r.cookie)
	case r.kind == kindCollision:
		var err error
		r.name, err = vfs.ParseName(string(rest))
		return r, err
	}
	return r, fmt.Errorf("key of kind %q has %d bytes", r.kind, len(key))
}

// rowName says in words which row a key names, for errors.
func rowName(key []byte) string {
	r, err := parseKey(key)
	if err != nil {
		return fmt.Sprintf("row %q", key)
	}
	switch r.kind {
	case kindAbsence:
		return fmt.Sprintf("absence %d", binary.BigEndian.Uint64(r.node[8:]))
	case kindNode:
		return "node " + r.node.String()
	case kindEntry:
		return fmt.Sprintf("entry %d of directory %s", r.cookie, r.node)
	case kindCopy:
		return fmt.Sprintf("copy of directory %s on volume %x", r.node, r.volume)
	default:
		return fmt.Sprintf("cookie of %q in directory %s", r.name, r.node)
	}
}

func checkCookie(c vfs.Cookie) error {
	if c < vfs.FirstCookie || c > vfs.MaxCookie {
		return fmt.Errorf("cookie %d is none of an entry", c)
	}
	return nil
}
