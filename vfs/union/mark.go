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
//	102    12   stamp: ctime of the copy before the mark was written, as seconds[8] nanoseconds[4]
//	114    12   mtime of the copy at that time
//	126    4    its mode
//	130    4    its owner
//	134    4    its group
//	138    16   SipHash-128 of the above under the share's mark key
//
// Integers are big-endian. Writing a mark moves the ctime of a directory, and making a copy
// beneath it both times; neither is a change to a client. As long as mtime, mode, owner and
// group are those of the stamp, the copy counts as last changed at the stamp's ctime. Bit
// 1 of the flags says that there is a stamp.
type mark struct {
	home      bool
	node      vfs.Node
	epoch     uint64
	attrEpoch uint64
	stamp     stamp
}

// stamp is when a copy really changed last, and how it looked since. The zero stamp is none.
type stamp struct {
	ctime, mtime   vfs.Time
	mode, uid, gid uint32
}

// holds reports whether s still says when the copy changed last.
func (s *stamp) holds(st *volume.Stat) bool {
	return *s != stamp{} && s.mtime == st.Mtime && s.mode == st.Mode && s.uid == st.UID && s.gid == st.GID
}

const (
	markFormat = 1
	markHome   = 1
	markStamp  = 2
	markBody   = 138
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
	if m.stamp != (stamp{}) {
		flags |= markStamp
	}
	b = append(b, markFormat, flags)
	b = append(b, m.node.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, m.node.Birth.Volume)
	b = binary.BigEndian.AppendUint64(b, m.node.Birth.Ino)
	b = binary.BigEndian.AppendUint32(b, m.node.Birth.Gen)
	b = binary.BigEndian.AppendUint32(b, m.node.Birth.Sub)
	b = append(b, on[:]...)
	b = binary.BigEndian.AppendUint64(b, id.Ino)
	b = binary.BigEndian.AppendUint64(b, uint64(id.Birth))
	b = binary.BigEndian.AppendUint32(b, id.Gen)
	b = binary.BigEndian.AppendUint64(b, id.Sub)
	b = binary.BigEndian.AppendUint64(b, m.epoch)
	b = binary.BigEndian.AppendUint64(b, m.attrEpoch)
	b = appendTime(appendTime(b, m.stamp.ctime), m.stamp.mtime)
	b = binary.BigEndian.AppendUint32(b, m.stamp.mode)
	b = binary.BigEndian.AppendUint32(b, m.stamp.uid)
	b = binary.BigEndian.AppendUint32(b, m.stamp.gid)
	hi, lo := siphash.Hash128(k.k0, k.k1, b)
	b = binary.BigEndian.AppendUint64(b, hi)
	return binary.BigEndian.AppendUint64(b, lo)
}

func appendTime(b []byte, t vfs.Time) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(t.Sec)), t.Nsec)
}

func decodeTime(b []byte) vfs.Time {
	return vfs.Time{Sec: int64(binary.BigEndian.Uint64(b)), Nsec: binary.BigEndian.Uint32(b[8:])}
}

// markVerdict is what is to be thought of a mark.
type markVerdict uint8

const (
	markNone    markVerdict = iota // there is none
	markForeign                    // this share did not write it, or it is damaged
	markCopied                     // it was written for another inode, or another volume
	markBelieved
)

// decodeMark reads b as found beside the inode id on the volume on; false if
// it cannot be believed.
func decodeMark(k sipKey, b []byte, on volume.ID, id *volume.Identity) (mark, bool) {
	m, verdict := judgeMark(k, b, on, id)
	return m, verdict == markBelieved
}

// judgeMark reads b as found beside the inode id on the volume on.
func judgeMark(k sipKey, b []byte, on volume.ID, id *volume.Identity) (mark, markVerdict) {
	if len(b) == 0 {
		return mark{}, markNone
	}
	if len(b) != markLen || b[0] != markFormat {
		return mark{}, markForeign
	}
	be := binary.BigEndian
	hi, lo := siphash.Hash128(k.k0, k.k1, b[:markBody])
	if be.Uint64(b[markBody:]) != hi || be.Uint64(b[markBody+8:]) != lo || [16]byte(b[2:18]) == [16]byte{} {
		return mark{}, markForeign
	}
	if volume.ID(b[42:58]) != on || be.Uint64(b[58:]) != id.Ino || be.Uint64(b[66:]) != uint64(id.Birth) ||
		be.Uint32(b[74:]) != id.Gen || be.Uint64(b[78:]) != id.Sub {
		return mark{}, markCopied
	}
	m := mark{home: b[1]&markHome != 0, epoch: be.Uint64(b[86:]), attrEpoch: be.Uint64(b[94:])}
	m.node.ID = vfs.NodeID(b[2:18])
	m.node.Birth = vfs.Birth{Volume: be.Uint64(b[18:]), Ino: be.Uint64(b[26:]), Gen: be.Uint32(b[34:]), Sub: be.Uint32(b[38:])}
	if b[1]&markStamp != 0 {
		m.stamp = stamp{decodeTime(b[102:]), decodeTime(b[114:]), be.Uint32(b[126:]), be.Uint32(b[130:]), be.Uint32(b[134:])}
	}
	return m, markBelieved
}
