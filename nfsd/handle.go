package nfsd

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/dchest/siphash"

	"sheaf/vfs"
)

// File handles. All integers are big-endian.
//
//	offset  bytes  field
//	     0      1  layout version, handleVersion
//	     1      3  zero
//	     4      8  export id: exportID of the exported directory's NodeID
//	    12     16  NodeID
//	    28      8  birth: volume
//	    36      8  birth: inode number
//	    44      4  birth: generation
//	    48      4  birth: sub-file-system
//	    52      8  MAC: SipHash-2-4 over bytes 0…51
//	    60
//
// A handle depends on nothing that a restart, a remount of a volume, a rename, a
// migration or a change of the exports' order could change: the export id comes
// from the exported directory's identity, the MAC key from the share. NodeID and
// birth are integers of the share, not positions or pointers. It stops working
// when the object goes (STALE), when its export is taken away (STALE, see
// Server.resolve) and when the share's key is replaced (BADHANDLE).
//
// The birth is a hint that only the file system below reads; it is under the MAC,
// so that nobody can make the server open an inode of his choice. 64 bits of MAC
// are enough because every guess costs a call: at 100,000 calls a second a forged
// handle is found after three million years on average.
//
// 60 bytes rather than the 64 allowed (NFS3_FHSIZE, RFC 1813 section 2.4): the
// next layout has room for a field.
const (
	handleVersion = 1
	handleLen     = 60

	handleExport = 4
	handleNode   = 12
	handleVolume = 28
	handleIno    = 36
	handleGen    = 44
	handleSub    = 48
	handleMAC    = 52
)

// fhMax is the longest handle the protocol allows, in bytes (NFS3_FHSIZE).
const fhMax = 64

// handle is a parsed file handle.
type handle struct {
	export uint64
	node   vfs.Node
}

// handleKey makes and checks handles.
type handleKey struct{ k0, k1 uint64 }

// newHandleKey derives the MAC key from the share's secret, so that the secret
// serves other purposes under other labels.
func newHandleKey(secret [32]byte) handleKey {
	sum := sha256.Sum256(append([]byte("sheaf file handle 1\x00"), secret[:]...))
	return handleKey{binary.BigEndian.Uint64(sum[0:]), binary.BigEndian.Uint64(sum[8:])}
}

// append appends the handle's bytes, without the count that XDR puts before them.
func (k handleKey) append(out []byte, export uint64, n vfs.Node) []byte {
	var b [handleLen]byte
	b[0] = handleVersion
	binary.BigEndian.PutUint64(b[handleExport:], export)
	copy(b[handleNode:], n.ID[:])
	binary.BigEndian.PutUint64(b[handleVolume:], n.Birth.Volume)
	binary.BigEndian.PutUint64(b[handleIno:], n.Birth.Ino)
	binary.BigEndian.PutUint32(b[handleGen:], n.Birth.Gen)
	binary.BigEndian.PutUint32(b[handleSub:], n.Birth.Sub)
	binary.BigEndian.PutUint64(b[handleMAC:], siphash.Hash(k.k0, k.k1, b[:handleMAC]))
	return append(out, b[:]...)
}

// parse checks b and takes it apart; false means BADHANDLE. The zero node is no
// object and no handle is made for it.
func (k handleKey) parse(b []byte) (handle, bool) {
	if len(b) != handleLen || b[0] != handleVersion ||
		binary.BigEndian.Uint64(b[handleMAC:]) != siphash.Hash(k.k0, k.k1, b[:handleMAC]) {
		return handle{}, false
	}
	h := handle{
		export: binary.BigEndian.Uint64(b[handleExport:]),
		node: vfs.Node{
			ID: vfs.NodeID(b[handleNode:handleVolume]),
			Birth: vfs.Birth{
				Volume: binary.BigEndian.Uint64(b[handleVolume:]),
				Ino:    binary.BigEndian.Uint64(b[handleIno:]),
				Gen:    binary.BigEndian.Uint32(b[handleGen:]),
				Sub:    binary.BigEndian.Uint32(b[handleSub:]),
			},
		},
	}
	return h, !h.node.IsZero()
}

// exportID is the id in handles of the export of directory n: never 0, which is
// no export. It is a keyed hash, so that no object made by a user can be given
// the id of an export.
func (k handleKey) exportID(n vfs.NodeID) uint64 {
	var b [24]byte
	copy(b[:], "export\x00\x01")
	copy(b[8:], n[:])
	return max(1, siphash.Hash(k.k0, k.k1, b[:]))
}
