package vfs

import (
	"net/netip"
	"slices"
)

// Nobody is the uid and gid that squashed callers get by default (exports(5)).
const Nobody uint32 = 65534

// Who is the identity and circumstances of a call. Squashing is done before:
// uid 0 here is the superuser. A Who is read-only once it was given to an FS
// and may be shared between calls.
type Who struct {
	UID    uint32
	GID    uint32
	Groups []uint32   // supplementary groups; may hold GID too
	Client netip.Addr // the peer; invalid for calls of our own
	Export uint64     // id of the export used; 0: none
	Async  bool       // `async` of exports(5): changes may be answered before they are durable
	NoWait bool       // answer from memory or return Again
}

// Superuser is the caller of our own internal calls.
var Superuser = &Who{}

// IsRoot reports whether w may do everything.
func (w *Who) IsRoot() bool { return w.UID == 0 }

// In reports whether w is a member of group gid.
func (w *Who) In(gid uint32) bool {
	return w.GID == gid || slices.Contains(w.Groups, gid)
}
