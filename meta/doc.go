// Package meta is the index: what Sheaf knows of nodes, names and listings,
// so that it need not ask the volumes. All of it is derived from the volumes:
// it can be deleted at any time, and whoever uses a row verifies what it says
// where it is followed. It is the only package that knows Badger.
//
// # Layout
//
//	key                  value                                owner       invariant
//	'a' slot             a name that was not in a directory   name table  M1 alone: it is believed at
//	                     while that had certain versions                  its versions, or not at all
//	'c' dir name         the cookie a name has instead of     name table  M4 no two in a directory alike
//	                     the hash of it, which was taken
//	'd' dir volume       version at which a copy of the       name table  M5 known only at a version
//	                     directory was listed, when, and
//	                     how far its names are known
//	'e' dir cookie       an entry: name, child, volumes, type name table  M3 a name once in a directory
//	'm' "format"         version of all this                  meta        M6
//	'm' "open"           1 while a server has it open         meta
//	'm' "session"        counts the servers that had it open  meta
//	'm' "void"           the last session that was not closed meta
//	'm' "cut"            the last session that the host ended meta
//	'm' "boot"           which run of the host that was       meta
//	'm' "lost"           the last one whose end was not told  meta
//	'm' "under"          a sum of what listings depend on     union
//	'm' "id"             drawn when the index was made        meta
//	'm' "whole"          1 once everything was seen           union
//	'n' node             type, birth, where it lies, names    union       M2 a directory has one name, M7
//
// M1: every row decodes. Bytes are drawn in keys.go and records.go; [Store.Check]
// tests the invariants.
//
// # Writing
//
// One committer owns all writes: it folds what waits into one synced transaction (one
// goroutine that does so commits 73,000 small rows a second, where 32 that commit
// each for themselves reach 5,900). Writers do not wait for it, and readers see
// what is queued; less than a batch waits up to 20 ms for more. Rows reach the disk
// in the order of their calls: what a crash leaves is a prefix of what was
// written, and a call of up to a thousand rows is in it as a whole or not at all.
// A writer waits only when the queue is full.
//
// # What a listing is worth
//
// A listing is believed either because the directory has the version still at which its names were
// listed (Proof), or, where nobody can ask, since it was the last that was known (Complete). The first holds
// after any end of the process, as the rows of later changes are never stored without taking it away. The second
// holds if the session that wrote the row, and each one after it, closed the index. Where power goes, names and versions
// that were not flushed may be kept or lost each for itself, and the first does not hold either.
// But both do, after anything, if the row is Settled: then whoever changes the directory has that
// taken away on stable storage before. A session that could not
// write any more (a full disk, an error) takes away the file "standing", which voids all that is Settled.
// All this is about one index. Where the volumes were served with another meanwhile, the second does not hold, nor what is
// Settled: the owner finds that on the volumes, which it signs (Turn), and says it ([Store.Distrust]).
//
// # A full disk
//
// A fault in a mapped file kills the process, so free space is watched, each second and before
// each commit. Below the floor (512 MiB) nothing is put any more: a row that would have been
// replaced is deleted, so that no read finds what is no longer so, and the call returns
// [ErrPaused]. Below half of it nothing is written at all, and until there is room again the
// index answers that it knows nothing; what it held is then dropped, or at Close, if that
// comes first. What is left is a disk that somebody fills from above the floor to the last
// byte within one commit, or while Badger writes a table (each 16 MiB of rows).
//
// # Damage
//
// What Badger cannot open is renamed (see [Damaged]; one is kept, to be looked at) and a new index
// takes its place, unless it is locked, of a newer format, or on a disk that refuses. Badger ends the
// process at some damages and goes on without what is missing at others, so the MANIFEST and the
// tables are looked at before it; at what still ends the process, the third start in a row
// makes a new index.
//
// # Errors
//
// A row that does not decode is a [*CorruptError] that names it; callers take the row for
// absent and write it anew.
package meta
