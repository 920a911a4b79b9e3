package gonfs

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/dchest/siphash"

	"sheaf/vfs"
)

// A handle, big-endian:
//
//	0   4   handleVersion
//	4   16  node id
//	20  8   birth: volume
//	28  8   birth: inode number
//	36  4   birth: generation
//	40  4   birth: sub-file-system
//	44  8   SipHash-2-4 of all that, under Options.Key
const (
	handleVersion = 0x676f6e31 // "gon1"
	handleSize    = 52
	macAt         = 44
)

// key is what handles are signed with.
type key struct{ k0, k1 uint64 }

// newKey derives the MAC key from the share's secret, under a label of its own: a
// handle of the native server is none here.
func newKey(secret [32]byte) key {
	sum := sha256.Sum256(append([]byte("sheaf stock file handle 1\x00"), secret[:]...))
	return key{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
}

func (k key) encode(n vfs.Node) []byte {
	b := make([]byte, 0, handleSize)
	b = binary.BigEndian.AppendUint32(b, handleVersion)
	b = append(b, n.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, n.Birth.Volume)
	b = binary.BigEndian.AppendUint64(b, n.Birth.Ino)
	b = binary.BigEndian.AppendUint32(b, n.Birth.Gen)
	b = binary.BigEndian.AppendUint32(b, n.Birth.Sub)
	return binary.BigEndian.AppendUint64(b, siphash.Hash(k.k0, k.k1, b))
}

func (k key) decode(b []byte) (vfs.Node, error) {
	var n vfs.Node
	if len(b) != handleSize || binary.BigEndian.Uint32(b) != handleVersion ||
		binary.BigEndian.Uint64(b[macAt:]) != siphash.Hash(k.k0, k.k1, b[:macAt]) {
		return n, vfs.BadHandle
	}
	copy(n.ID[:], b[4:])
	n.Birth = vfs.Birth{
		Volume: binary.BigEndian.Uint64(b[20:]),
		Ino:    binary.BigEndian.Uint64(b[28:]),
		Gen:    binary.BigEndian.Uint32(b[36:]),
		Sub:    binary.BigEndian.Uint32(b[40:]),
	}
	return n, nil
}
