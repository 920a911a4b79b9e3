// Package volume is the contract between the union and what keeps its files:
// one directory of one file system, reached by names beneath open directories.
//
// # Model
//
// A [Volume] gives its root as an open [Dir]. Every operation takes an open
// directory and a vfs.Name, never a path, so that a directory which is renamed
// or replaced meanwhile cannot lead the operation astray. Nothing outside the
// volume's root can be reached by any name, symbolic link, mount point or race;
// what is mounted inside a volume is not entered (XDev).
//
// No type of a host system call crosses the interface, so that object stores,
// bundles and coded sets can stand behind it.
//
// Everything that is Sheaf's own on a volume lies under the directory
// [PrivateName] at its root. A Dir never lists it, finds it or makes it; only
// [Volume.Private] gives it.
//
// # Identity
//
// [Key] is what a cheap stat tells of an object: inode number and birth time. It may
// come again for another object within [KeyQuiet] of the birth time, and never
// later. [Identity] adds the generation and never comes again.
//
// # Durability: after which call what survives a power cut
//
//	File.Sync            the file's data and attributes; with dataOnly only the
//	                     data and what is needed to read it
//	Dir.Sync             every name made, removed or renamed in that directory before
//	                     the call, the attributes at birth of what was made, and the
//	                     directory's own attributes and marks
//	Volume.SyncAll       everything on the volume
//	anything else        nothing
//
// A rename between directories wants both synced. New data wants File.Sync as
// well as the Dir.Sync that keeps its name. (spikes: ext4, xfs and btrfs.)
//
// # Concurrency and ownership
//
// All methods may be called from any goroutine at any time, but Close waits for nothing:
// the owner of a Dir or File closes it after the last use. A context ends
// waiting; an operation that changes something and has begun is finished.
//
// # Errors
//
// Every error carries a vfs.Status (see vfs.StatusOf) and says operation,
// object, volume and cause. NoEnt is returned only for a true "does not exist"
// (ENOENT of the last component beneath an open directory that still exists);
// an operation in a Dir that was itself removed is Stale.
package volume
