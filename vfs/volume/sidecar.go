package volume

import (
	"encoding/binary"
	"encoding/hex"
)

// Where a mark cannot lie beside its object it lies in a file of its own,
//
//	PrivateName/SidecarDir/XX/IDENTITY
//
// named by the object's identity: inode number, generation, birth time and sub-file-system as 8, 4, 8 and 8
// big-endian bytes in hexadecimal, XX the last two digits of the inode number.

// SidecarDir is the directory of sidecars in PrivateName.
const SidecarDir = "marks"

const sidecarBytes = 28

// SidecarName is where the mark of the object id lies: the directory in SidecarDir, and the file in it.
func SidecarName(id Identity) (bucket, name string) {
	var b [sidecarBytes]byte
	binary.BigEndian.PutUint64(b[0:], id.Ino)
	binary.BigEndian.PutUint32(b[8:], id.Gen)
	binary.BigEndian.PutUint64(b[12:], uint64(id.Birth))
	binary.BigEndian.PutUint64(b[20:], id.Sub)
	return hex.EncodeToString(b[7:8]), hex.EncodeToString(b[:])
}

// ParseSidecarName is the object whose mark lies in the file called name, if it is a sidecar's name.
func ParseSidecarName(name string) (Identity, bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != sidecarBytes || hex.EncodeToString(b) != name {
		return Identity{}, false
	}
	return Identity{
		Key: Key{Ino: binary.BigEndian.Uint64(b), Birth: int64(binary.BigEndian.Uint64(b[12:]))},
		Gen: binary.BigEndian.Uint32(b[8:]), Sub: binary.BigEndian.Uint64(b[20:]),
	}, true
}
