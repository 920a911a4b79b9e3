package vfs

import (
	"encoding/binary"
	"encoding/hex"
)

// NodeID identifies an object of the share for its whole life and is never
// used again. The zero NodeID is no object.
type NodeID [16]byte

// FileID is the fileid of NFS and the inode number a client sees. No living
// node has 0, and no two living nodes have the same.
func (id NodeID) FileID() uint64 { return binary.BigEndian.Uint64(id[:8]) }

// IsZero reports whether id is the zero NodeID.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// String is id in hexadecimal.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// Birth says where an object was first found. It is a hint that travels in
// handles, so that a node no index knows can be asked for at its birthplace.
// Its fields mean something only to the file system that made it, which must
// not trust them more than it trusts the handle's MAC.
type Birth struct {
	Volume uint64 // which volume; 0: no hint
	Ino    uint64 // inode number there
	Gen    uint32 // generation of the inode number
	Sub    uint32 // sub-file-system (btrfs subvolume), folded to 32 bits
}

// Node is what calls name an object by. Two Nodes are the same object if and
// only if their IDs are equal.
type Node struct {
	ID    NodeID
	Birth Birth
}

// IsZero reports whether n is no object.
func (n Node) IsZero() bool { return n.ID.IsZero() }

// Cookie is the place of a name in its directory: an entry keeps its cookie
// for as long as it is there, whatever happens around it. Cookies increase in
// listing order; 0 is before the first entry, and 1 and 2 are kept for "." and
// "..", which an FS never lists.
type Cookie uint64

// FirstCookie is the lowest cookie of an entry.
const FirstCookie Cookie = 3

// MaxCookie is the highest: clients with signed offsets must be able to hold it.
const MaxCookie Cookie = 1<<63 - 1
