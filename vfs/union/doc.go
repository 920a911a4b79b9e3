// Package union makes many volumes one vfs.FS.
//
// # Words
//
//	node       an object of the share in memory; its id outlives it
//	copy       where a node lies on one volume; a directory has one on each volume that
//	           holds something of it, everything else exactly one
//	home       the copy of a directory whose mode, owner and ACLs are the directory's
//	place      a name of a node: directory, name, and what its volume calls it
//	sighting   an object as seen under a name in one copy of a directory
//	entry      what is known of one name of a directory; names is the table of them
//	mark       a node's id written beside a copy, see mark.go for its bytes
//	stamp      in a mark: when the copy really changed last
//	loser      an object whose name another volume's object has; it is shown as
//	           NAME.conflict-VOLUME
//	moved      the error of whoever stumbles over an object that is not where it was
//
// # What is remembered where
//
//	memory          nodes, their attributes, name tables (of large directories the names in use, see
//	                paged.go), open files and directories: bounded by Options.Memory, OpenFiles, OpenDirs; dropped at will
//	index (meta)    a row for each node seen (copies, places), cookies that are not the
//	                hash of their name: hints, believed only after comparing identities
//	marks           beside each copy of a directory that is on several volumes
//	.sheaf/         conflicts (pins), displaced (objects set aside by a rename), intents
//	                (directories being renamed on several volumes)
//
// The volumes alone suffice: a node is found by the index, else at its birthplace by
// Volume.Locate, else by walking the volumes (scan.go). Stale is told only when
// Locate says the inode is gone or every volume was walked to the end, and no name moved
// meanwhile; it is remembered, because ids never come again.
//
// # Identity under attack
//
// An id is of an inode, by facts that a volume never gives twice, or it is written beside one in a mark that says
// which inode it was written for. So:
//
//	a mark that was copied       is not believed: the copy has the id of its own birth
//	a restored backup            what the program replaced is another object, its handles are Stale; what it left in its
//	                             place is what it was
//	a copy of one directory that loses the others' mark and is a directory of its own (ownID); handles follow the home
//	was moved away               copy
//	a volume that was copied     decision 6
//	a volume without generations gets fresh ids, written beside, for what has an identity of an object that is known to
//	                             be gone (spent); what another process replaces within one tick of the clock cannot be told
//	                             apart: the volume counts as weak
//	two objects, one fileid      the second gets a fresh id (freshID)
//	several objects, one name    a conflict: the first has the name and keeps it (pins), also while its volume is away;
//	                             what the share shows of the others is found by its pin then (askLoser)
//
// Check (check.go) looks for all that is not so.
//
// # Freshness
//
// Attributes are told from memory for Options.Trust after the volume was asked, a name
// table for as long after it was proved: every copy listed, between two equal versions
// for a later proof by version alone, and the set of copies known as of that time
// (another process may make one on a further volume; that costs a look into the
// parent). A change of ours updates the table, but versions seen after it prove
// nothing: the copy is own until it is listed again. An exclusive volume does not age.
//
// Where a watch tells what other processes change (watch.go), names are told from memory for
// Options.Watched: if the directory was covered before it was asked, no news were lost since,
// and the watch said within trust that it is not behind. News are doubts (doubt.go): a name, or
// an object's attributes, are asked for again, whatever came of questions that were put before the
// news. Our own changes are no news where the watch knows whose they are. The set of copies
// rests on watches if those of the parent do, up to the root, and no other process made a directory since.
// Attributes are never older than trust, watched or not: not every write is told.
// Anything but NoEnt from any copy is the answer of the whole.
//
// Lookup in a directory that is not known lists it if it is of moderate size, else asks all copies
// for the name at once (lookup.go has the bounds). What was absent then is remembered by name (absence.go has the invariants,
// A1 to A8), of all directories together in a bounded table: told as long as a listing of that time, proved again for all names of
// a directory by equal versions at what its attributes cost anyway, and over a restart by rows that say by which versions. A directory
// that is completely known needs none. DropCache forgets all this.
//
// # Logical times
//
// ctime moves strictly at every real change, mtime with names and data. Making a copy,
// or writing a mark, moves the ctime of an inode without being a change: memory
// accounts for it (account, settled), and over a restart the stamp does, which counts for as
// long as mtime, mode and owner of the copy are what it says. Where a
// change leaves these alone (chmod to the same mode, rename) the stamp goes first.
// A directory's nlink is counted from its names.
//
// # Volumes that go and come
//
// A call takes the members as they are at its moment (members, a snapshot): who is online is asked, who is away is
// not. What came after the snapshot was not asked, so nothing is concluded about it: cameAt makes old what was
// known before a volume came, openedAt the names of its copies.
//
//	going     Comer.Notify (comings.go): calls are refused with AwayError; the verifier changes if writes are
//	          uncommitted, or the opening ended; what is open of that is dropped
//	stalled   as going, for who looks: it may be back in a moment (volume.Stalled). Nothing counts as lost; of its copies only what watches
//	          cover stands (unwatched); who needs it is told to come again, never IO
//	coming    admission: pins, records of what was cut off, the root; only then it is used.
//	          Stalled or Slow to Online is the same opening and needs none
//	known     names.known: the copies whose names stand in the table, and stand while their volume is away
//	doubtful  the away volumes of which it is not known what they have in a directory; that one has no copy is
//	          told by the parent's standing names, or because that has none there (away.go)
//	closed    a directory that a record (pending.go) is about: nobody looks into it until it is finished
//
// NoEnt needs that nobody is doubtful and no standing name is in the way; a listing that nobody is doubtful; Stale that every
// volume was searched. An object that is away, and a directory without a copy that is there, is refused;
// so are RENAME and RMDIR of a directory of which a copy is away or may be. Changes of a directory's attributes proceed and raise
// the attribute epoch in the marks of the copies that are there (level.go): the one that missed them does not tell its own any
// more, and is brought up when it is seen. An *AwayError says that nothing was begun; done hides it where something was.
// A lease is waited for as long as leasePatience, less while a volume does not answer. A volume from which nothing comes
// back (volume.Comer.Stalled) gets no new objects, and who has yet to begin to wait for it is told to come again (away.go).
//
// # Locks
//
// In this order; nobody takes one that stands before what it holds:
//
//  0. pending.turn: who finishes what was cut off
//  1. leases (vfs/lease), in one Acquire per operation: the directories and objects
//     concerned, Exclusive to change, Shared to list, look up or stat; the tree besides
//     when a directory changes parents. Held during I/O on these objects' volumes, never
//     during the flush. Whoever holds leases does not search for what moved: it returns
//     moved, and again looks for the node when the leases are released.
//  2. node.fill of a directory: who lists it
//  3. openFile.syncing: one flush of a file at a time
//  4. vol.mu, then roster.mu, pending.mu, dirCache.mu, fileTable.mu, scanner.mu, pins.mu, tableShard.mu, spaces.mu
//  5. node.mu; of two directories, that with the lower id first
//  6. keyShard.mu, absenceShard.mu, goneSet.mu, leads.mu, chance.mu, subscribers.mu
//
// From 4 on they are held for memory only. Attributes that were asked for without the
// object's lease are kept only if no change of ours was under way or has ended since
// (node.changing, changedAt).
//
// # Rename
//
// Everything is checked under the leases: both names are confirmed on their volumes.
//
//	R1  losers of a conflict about a name that becomes free get their names for good
//	R2  the target directory gets copies where the object lies (before the leases, S1)
//	R3  an object that is replaced and lies elsewhere is set aside: a record in
//	    .sheaf/displaced, then the object beside it, synced
//	R3' a directory with copies: an intent in .sheaf/intents of the home copy's volume,
//	    synced
//	R4  the rename of the object, or of the home copy: this decides
//	R5  the other copies follow, what is left of a replaced directory is removed, all synced
//	R6  what was set aside is deleted with its record, the intent removed, synced
//
// A crash before R4 leaves the old state: Open puts back what was set aside, and
// drops the intent. After R4 Open finishes R5 and R6. An error in R5 takes R4 back; where
// that fails too the intent stays.
//
// # Copies on demand
//
//	S1  the other copies of the directory are marked with its id, synced
//	S2  the directory is made, with owner, mode, ACLs and times
//	S3  it is marked, stamped and synced
//	S4  its parent's copy gets its mtime back and a stamp, and is synced; only then it
//	    is a copy to others
//
// The parents come first, each under its own leases. A crash after S2 leaves an unmarked
// directory under a marked one's name: one at the next sight, by the mark.
//
// # Removal of a directory
//
// Under the exclusive lease all copies are seen to be empty, then all but the home
// copy go, then that: until the last is gone the directory is there, and empty.
//
// # Writes
//
// A write and the stats around it are made under the file's exclusive lease, the flush
// after it. A flush that fails changes the verifier before anybody learns of it. A file
// with uncommitted writes is flushed before its descriptor goes, while COMMIT still
// finds it. COMMIT reads its verifier after the flush, WRITE before the data goes to the
// host: a flush for another call that fails in between may drop the data, and so must make
// the two differ. For the same reason a call that promises stable storage gets IO when any
// flush of its file failed since its change, though its own flush then succeeds.
package union
