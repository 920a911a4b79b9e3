// Package negative is a layer that remembers which names do not exist: the negative-lookup cache of "Extending GlusterFS
// with Python" (Linux Journal, 2013) as an example of a layer, and of what such a layer must mind. The union below knows
// more about names than it can; it is for other file systems, for measurements, and to be read.
//
// What is remembered, and when it is believed:
//
//	N1  Only "does not exist" is remembered, no other failure. It is kept by directory and name, and a hit makes no
//	    call below.
//	N2  A change that may make a name (CREATE, MKDIR, MKNOD, SYMLINK: Make; LINK; RENAME's new name) forgets it
//	    before it goes down, and until it has come back nothing is answered or remembered about that name: nobody sees a
//	    file in a listing and is then told that it does not exist.
//	N3  A look-up that was below while something was forgotten near it remembers nothing: its answer may be older.
//	    "Near" is the same shard of the cache (epoch).
//	N4  What changes without coming through this layer is forgotten by the events of Subscribe: a name, a directory,
//	    everything.
//	N5  "Does not exist" is said only to callers who were told so below, of this directory, within the expiry: who may not
//	    search the directory must get ACCES. SETATTR and SETACL of a directory forget all of it.
//	N6  A directory that is removed, or replaced by a rename, is forgotten: then its handle is STALE. (If another
//	    directory takes its name at the same moment, NOENT may be said of the removed one until the expiry.)
//	N7  Everything expires, and its number is bounded; of each shard the older half goes when it is full.
//
// A hit gives no attributes of the directory: remembered ones could be older than what the client has seen.
package negative
