package union

import (
	"encoding/binary"

	"github.com/dchest/siphash"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// A mark is an id written beside an object, with the birth facts of the inode it
// sits on: one that does not fit its inode was copied there (cp -a) and is not believed.
//
//	offset size
//	0      1    format, 1
//	1      1    flags: bit 0 this is the home copy
//	2      16   NodeID
//	18     8    Birth.Volume
//	26     8    Birth.Ino
//	34     4    Birth.Gen
//	38     4    Birth.Sub
//	42     16   id of the volume it sits on
//	58     8    inode number it sits on
//	66     8    birth time of that inode, nanoseconds
//	74     4    generation of that inode
//	78     8    sub-file-system of that inode
//	86     8    epoch: of two objects with one NodeID the higher lives
//	94     8    attribute epoch: of a directory's copies the highest has the right attributes
//	102    16   SipHash-128 of the above under the share's mark key
//
// Integers are big-endian.
type mark struct {
	home      bool
	node      vfs.Node
	epoch     uint64
	attrEpoch uint64
}

const (
	markFormat = 1
	markHome   = 1
	markBody   = 102
	markLen    = markBody + 16
)

// sipKey is a key of SipHash.
type sipKey struct{ k0, k1 uint64 }

// encode is the mark's bytes for the inode id on the volume on.
func (m *mark) encode(k sipKey, on volume.ID, id *volume.Identity) []byte {
	b := make([]byte, 0, markLen)
	flags := byte(0)
	if m.home {
		flags = markHome
	}
	b = append(b, markFormat, flags)
	b = append(b, m.node.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, m.node.Birth.Volume)
	b = binary.BigEndian.AppendUint64(b, m.node.Birth.Ino)
	b = binary.BigEndian.AppendUint32(b, m.node.Birth.Gen)
	b = binary.BigEndian.AppendUint32(b, m.node.Birth.Sub)
	b = append(b, on[:]...)
	b = binary.BigEndian.AppendUint64(b, id.Ino)
	b = binary.BigEndian.AppendUint64(b, uint64(id.Key.Birth))
	b = binary.BigEndian.AppendUint32(b, id.Gen)
	b = binary.BigEndian.AppendUint64(b, id.Sub)
	b = binary.BigEndian.AppendUint64(b, m.epoch)
	b = binary.BigEndian.AppendUint64(b, m.attrEpoch)
	hi, lo := siphash.Hash128(k.k0, k.k1, b)
	b = binary.BigEndian.AppendUint64(b, hi)
	return binary.BigEndian.AppendUint64(b, lo)
}

// decodeMark reads b as found beside the inode id on the volume on; false if
// it cannot be believed.
func decodeMark(k sipKey, b []byte, on volume.ID, id *volume.Identity) (mark, bool) {
	if len(b) != markLen || b[0] != markFormat {
		return mark{}, false
	}
	be := binary.BigEndian
	hi, lo := siphash.Hash128(k.k0, k.k1, b[:markBody])
	if be.Uint64(b[markBody:]) != hi || be.Uint64(b[markBody+8:]) != lo {
		return mark{}, false
	}
	if volume.ID(b[42:58]) != on || be.Uint64(b[58:]) != id.Ino || be.Uint64(b[66:]) != uint64(id.Key.Birth) ||
		be.Uint32(b[74:]) != id.Gen || be.Uint64(b[78:]) != id.Sub {
		return mark{}, false
	}
	m := mark{home: b[1]&markHome != 0, epoch: be.Uint64(b[86:]), attrEpoch: be.Uint64(b[94:])}
	m.node.ID = vfs.NodeID(b[2:18])
	m.node.Birth = vfs.Birth{Volume: be.Uint64(b[18:]), Ino: be.Uint64(b[26:]), Gen: be.Uint32(b[34:]), Sub: be.Uint32(b[38:])}
	return m, !m.node.ID.IsZero()
}
