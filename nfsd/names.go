package nfsd

import (
	"hash/maphash"
	"sync/atomic"

	"sheaf/vfs"
)

// nameSlots is how many names of calls are kept so that the next call with the
// name need not make it again: at most 4096 × (vfs.NameMax + 48) bytes, 1.2 MB.
const nameSlots = 4096

// names makes vfs.Names of bytes on the wire. A name outlives the call's buffer
// (the file system may keep it), so its bytes are copied; clients ask for the
// same few names over and over, and those are found here without an allocation.
type names struct {
	seed  maphash.Seed
	slots [nameSlots]atomic.Pointer[vfs.Name]
}

func newNames() *names { return &names{seed: maphash.MakeSeed()} }

// parse is vfs.ParseName of b, with RFC 1813 section 3.2 where that differs: a
// name that cannot be (empty, with a NUL or a slash) is ACCES in every procedure.
func (ns *names) parse(b []byte) (vfs.Name, error) {
	if len(b) > vfs.NameMax {
		return vfs.Name{}, vfs.NameTooLong
	}
	slot := &ns.slots[maphash.Bytes(ns.seed, b)%nameSlots]
	if p := slot.Load(); p != nil && p.String() == string(b) {
		return *p, nil
	}
	n, err := vfs.ParseName(string(b))
	if vfs.StatusOf(err) == vfs.Inval {
		err = vfs.Acces
	}
	if err == nil {
		slot.Store(&n)
	}
	return n, err
}
