// Package vfstest holds what every vfs.FS is measured with.
//
//	Model    a complete file system in memory, the reference
//	Suite    conformance: one subtest per promise of vfs.FS
//	Program  random programs run on an FS and a Model in lockstep
//	History  concurrent operations recorded, and checked afterwards
//
// # The order of checks
//
// Where several things are wrong at once, the status is the one that a local
// Linux kernel finds first; RFC 1813 leaves the order open. It is written down
// here once, Model follows it, and Suite and Program hold others to it.
//
//	all         Stale of each node, in the order of the arguments
//	SetAttr     NotSync; Inval (a time); NotSupp (mode of a symbolic link); IsDir, Inval
//	            (size of no file); Acces (size, times to now); Perm; FBig; NoSpc
//	Lookup      NotDir; Acces (search); NoEnt
//	Read        IsDir, Inval; Acces
//	Write       IsDir, Inval; Acces; FBig; NoSpc
//	Commit      IsDir, Inval; Acces
//	Make        NotDir; the arguments (BadType, Inval, NameTooLong, FBig);
//	            Acces (search); Exist, or what setting the size of the existing
//	            file meets; Acces (write); Perm (devices); NoSpc
//	Link        NotDir; Acces (search); Exist; Acces (write); IsDir; NotSupp; MLink; NoSpc
//	Remove      NotDir (dir); Acces (search); NoEnt; Acces (write); Perm (sticky); IsDir
//	RemoveDir   NotDir (dir); Acces (search); NoEnt; Acces (write); Perm (sticky);
//	            NotDir; NotEmpty
//	Rename      NotDir, Acces (search) of from; the same of to; NoEnt; nothing to do (one
//	            object); Inval (into itself); NotEmpty (onto an ancestor of itself);
//	            Acces (write), Perm (sticky) of from; the same of to, NotDir, IsDir;
//	            Acces (write of a directory that changes parents); NotEmpty; NoSpc
//	ReadDir     NotDir; Acces; BadCookie
//	SetACL      NotSupp; Inval; Perm; NoSpc
//
// (fs/namei.c: link_path_walk, filename_create, may_create, may_delete,
// do_renameat2, vfs_rename, vfs_link; fs/attr.c: setattr_prepare. Deviations: a
// removed directory is Stale, not NoEnt; Link of a directory is IsDir, not Perm.)
//
// # What a change is
//
// ctime moves on, strictly, with every successful call that sets, writes or
// (un)links something, whether or not values differ: SetAttr with any attribute, Write of at
// least one byte, SetACL; Make, Link, Remove, RemoveDir and Rename for the
// directories, for the object linked, renamed or unlinked. SetAttr with none, Write of nothing, Commit,
// Make that finds the file there (Unchecked without a size, Exclusive again), Rename
// of two names of one object, and every failure change nothing. mtime moves with
// the ctime when data, a size or names change, unless the same call sets it.
//
// # Choices of the Model that others need not share
//
// Read leaves atime alone. A Write that does not fit writes nothing. A FileSync or
// DataSync write and a Commit flush the whole file; a truncation does too. Directories have
// no limit of links. Sizes of directories are constant. An entry's attributes
// are withheld by ReadDir from who may not search the directory.
//
// # Exclusive creation
//
// The verifier is kept in the seconds of mtime and atime, see
// perm.ExclusiveTimes; another creation with the same verifier succeeds as long as
// they stand and the file is empty.
package vfstest
