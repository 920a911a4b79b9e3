// Package quota is a layer that limits what directories and users take: bytes and files, each softly and hard.
//
// What is counted is what is stored: Used of a file (blocks, so holes cost nothing), and one file for each object,
// directories too, whose own bytes are not counted. A limited directory counts what lies beneath it, at any depth, a
// file with several names beneath it once; a user counts what he owns in the whole share, once. The limit belongs to the
// directory, not to its path: it goes with it over renames, until the configuration is read again.
//
// Counts are derived. A walk over the tree makes them, calls through the layer keep them, and a further walk replaces
// them from time to time. What is kept over a restart is a start for the first walk.
//
//	C1  Each object that a call changes has an entry, which says how the tallies have it now. A call that ends replaces
//	    that by what it found; of two calls on one object the attributes with the later ctime stand. So the tallies get
//	    the difference of what they had and what there is, in whatever order calls end.
//	C2  An entry is read below when no call changes its object, and kept while one does. A file that is being made
//	    counts from the end of the call that makes it, whoever sees it before.
//	C3  Names are changed by one call at a time through this layer, so what a removal or a rename hits is known.
//	C4  A call reserves what it may add before it goes down, and settles afterwards, in one step. Only the excess over
//	    the reservation can pass a hard limit: what the file system allocates beside the data.
//	C5  A walk takes directories one at a time. An object counts in it if one of its names lies in a directory that was
//	    taken, or in the one being read and was met. Each settling moves the walk's sums by that rule, so at
//	    the end they are what a look at one moment would have found.
//	C6  A directory that moves between limited directories takes along the sum of its tree, counted beforehand by a walk of its own.
//	    While it moves, what lies in it counts where it was.
//	C7  A walk that could not read something establishes nothing. Counts that no walk has established are lower bounds: what
//	    they refuse would be refused by the true ones.
//
// Locks: that of a name (names.go), then moves, then book.mu. Calls below are made without book.mu.
package quota
