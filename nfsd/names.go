package nfsd

import (
	"hash/maphash"
	"sync/atomic"

	"sheaf/vfs"
)

// nameSlots is how many names of calls are kept so that the next call with the
// name need not make it again: at most 4096 × (vfs.NameMax + 56) bytes, 1.3 MB.
const nameSlots = 4096

// names makes vfs.Names of bytes on the wire. A name outlives the call's buffer
// (the file system may keep it), so its bytes are copied; clients ask for the
// same few names over and over, and those are found here without an allocation. A
// name is kept from its second call on: one that nobody asks for again, as the
// misses of a search path are, would only push out others.
type names struct {
	seed  maphash.Seed
	slots [nameSlots]nameSlot
}

// nameSlot holds one name. Who reads it may see the hash of one call and the name of another: the
// name is compared.
type nameSlot struct {
	last atomic.Uint64 // hash of the name that was asked for last
	name atomic.Pointer[vfs.Name]
}

func newNames() *names { return &names{seed: maphash.MakeSeed()} }

// parse is vfs.ParseName of b, with RFC 1813 section 3.2 where that differs: a
// name that cannot be (empty, with a NUL or a slash) is ACCES in every procedure.
func (ns *names) parse(b []byte) (vfs.Name, error) {
	if len(b) > vfs.NameMax {
		return vfs.Name{}, vfs.NameTooLong
	}
	h := maphash.Bytes(ns.seed, b)
	slot := &ns.slots[h%nameSlots]
	again := slot.last.Load() == h
	if again {
		if p := slot.name.Load(); p != nil && p.String() == string(b) {
			return *p, nil
		}
	} else {
		slot.last.Store(h)
	}
	n, err := vfs.ParseName(string(b))
	if vfs.StatusOf(err) == vfs.Inval {
		err = vfs.Acces
	}
	if again && err == nil {
		kept := n // or n would be on the heap in any case
		slot.name.Store(&kept)
	}
	return n, err
}
