package vfs

import "context"

// FS is a file system as NFSv3 sees it (RFC 1813 section 3). Every method is
// mandatory, safe for concurrent use, and may return attributes together with
// an error: a Change or Attr whose Node is not zero (HasAfter, HasBefore) is
// valid whatever the error is.
//
// Permission: a method checks w against the object under its own locks.
// Read and Write let the owner of a file through whatever its mode is, because
// an NFS client has checked at open (RFC 1813 section 4.4).
//
// Stability: unless w.Async is set, a method that changes names or attributes
// returns when the change is on stable storage.
//
// Statuses that any method may return: IO, Jukebox, Stale (the node is known to be
// gone), BadHandle, ServerFault, and Again if w.NoWait. Others are named below.
//
// Context: a method that has begun to change something finishes it; its
// context ends waiting, not work.
type FS interface {
	// Root is the attributes of the root directory. Its Node never changes.
	Root(ctx context.Context, w *Who) (Attr, error)

	// GetAttr is the attributes of n.
	GetAttr(ctx context.Context, w *Who, n Node) (Attr, error)

	// SetAttr changes attributes of n. With a guard that differs from n's ctime
	// nothing is changed and the error is NotSync. Several attributes change
	// together or not at all. Errors: Perm, Acces, Inval (size of what is no
	// regular file), IsDir (size of a directory), NotSupp (mode of a symbolic link),
	// FBig, NoSpc, ROFS, DQuot.
	SetAttr(ctx context.Context, w *Who, n Node, set *SetAttr, guard *Time) (Change, error)

	// Access is the subset of want that w has on n.
	Access(ctx context.Context, w *Who, n Node, want AccessMask) (AccessMask, Attr, error)

	// Lookup finds name in dir, and gives the attributes of both. Errors:
	// NoEnt (known to be absent), NotDir, Acces.
	Lookup(ctx context.Context, w *Who, dir Node, name Name) (obj, dirAttr Attr, err error)

	// Parents calls each with every known name of n until it returns false;
	// a directory has exactly one, the root none. It needs no permission.
	Parents(ctx context.Context, n Node, each func(dir Node, name Name) bool) error

	// ReadLink is the target of the symbolic link n. Errors: Inval, Acces.
	ReadLink(ctx context.Context, w *Who, n Node) (string, Attr, error)

	// Read fills buf from offset off; fewer bytes only at the end of the file,
	// which eof tells. Errors: IsDir, Inval (no regular file), Acces.
	Read(ctx context.Context, w *Who, n Node, buf []byte, off uint64) (count int, eof bool, a Attr, err error)

	// Write puts data at offset off, at least as safely as stable asks, and
	// clears set-id bits as write(2) does. Errors: as SetAttr of a size, IsDir.
	Write(ctx context.Context, w *Who, n Node, data []byte, off uint64, stable Stable) (Written, Change, error)

	// Commit brings the unstable writes in [off, off+count) to stable storage;
	// count 0 is to the end. It may do more than asked. Errors: IsDir, Inval, Acces.
	Commit(ctx context.Context, w *Who, n Node, off, count uint64) (Verifier, Change, error)

	// Make makes name in dir and gives the new object's attributes and dir's
	// change. Errors: Exist, NotDir, Acces, Perm (a device, by who is not the
	// superuser), NoSpc, DQuot, ROFS, BadType, Inval, NameTooLong (of a Target too).
	Make(ctx context.Context, w *Who, dir Node, name Name, how *How) (Attr, Change, error)

	// Link gives n one more name. Errors: Exist, NotDir, IsDir (n is a directory: Perm
	// on Linux's own file systems, IsDir here), MLink, XDev, NotSupp, Acces, Perm.
	Link(ctx context.Context, w *Who, n Node, dir Node, name Name) (Attr, Change, error)

	// Remove removes a name that is not a directory's. Errors: NoEnt, IsDir,
	// NotDir (dir), Acces, Perm (sticky), ROFS.
	Remove(ctx context.Context, w *Who, dir Node, name Name) (Change, error)

	// RemoveDir removes an empty directory. Errors: NoEnt, NotDir, NotEmpty,
	// Acces, Perm, ROFS.
	RemoveDir(ctx context.Context, w *Who, dir Node, name Name) (Change, error)

	// Rename moves from's name to to's, replacing atomically what is there.
	// Two names of one object: nothing happens. Errors: NoEnt, Exist, NotDir,
	// IsDir, NotEmpty, Inval (a directory into itself), Acces, Perm, NoSpc.
	Rename(ctx context.Context, w *Who, from Node, fromName Name, to Node, toName Name) (fromChange, toChange Change, err error)

	// ReadDir calls each with the entries of dir whose cookies are greater than
	// after, in the order of their cookies, until it returns false; eof says
	// that there are no more. An entry that is there during the whole of a
	// listing, in any number of calls, is given exactly once. With attrs,
	// entries carry attributes where they can be had. The attributes returned
	// are dir's. Errors: NotDir, Acces, BadCookie.
	ReadDir(ctx context.Context, w *Who, dir Node, after Cookie, attrs bool, each func(*DirEntry) bool) (a Attr, eof bool, err error)

	// Statfs is the room of the file system that n is in, with n's attributes.
	Statfs(ctx context.Context, w *Who, n Node) (Space, Attr, error)

	// Limits is what can be done at n, with n's attributes.
	Limits(ctx context.Context, w *Who, n Node) (Limits, Attr, error)

	// GetACL is the access control lists of n, with its attributes.
	GetACL(ctx context.Context, w *Who, n Node) (ACLs, Attr, error)

	// SetACL replaces the lists of n; an empty list removes it. The mode
	// follows the access list as acl(5) says. Errors: Perm, Inval, NotSupp, NoSpc.
	SetACL(ctx context.Context, w *Who, n Node, acl ACLs) (Attr, error)

	// Subscribe calls f with what changed without coming through this FS from
	// above, so that a layer which remembers can forget. f must not block and
	// must not call the FS. The result ends the subscription.
	Subscribe(f func(Event)) (cancel func())
}

// Event is news for layers that remember: forget what its fields name.
type Event struct {
	Kind   EventKind
	Node   NodeID // ForgetNode: this node; ForgetName: the directory
	Name   Name   // ForgetName; the zero Name means every name in the directory
	Volume string // ForgetVolume
}

// EventKind is the kind of an Event.
type EventKind uint8

// What may have to be forgotten.
const (
	ForgetNode EventKind = iota + 1
	ForgetName
	ForgetVolume
	ForgetAll // events were lost
)
