// Package gonfs serves a vfs.FS by the stock server of
// github.com/willscott/go-nfs (v0.0.4), by implementing its Handler over
// vfs/billyfs. It is the baseline of benchmarks and an oracle of differential
// tests; `sheaf serve --engine go-nfs` runs it. It is not for production.
//
// # What is ours
//
// Handles hold the node and a MAC, not a path or a number of a table: they
// survive renames and restarts, and cannot be forged. A listing is kept under its
// verifier ([maxListings] of them), as the library's own helper does, since
// its cookies mean nothing without.
//
// # Known faults of the library
//
// Each has the test of its number, which passes while the fault is there.
//
//	F1   One request at a time per connection: a slow one holds up all behind it.
//	F2   Credentials never reach the file system: everybody acts as Options.Who.
//	     Exports are checked at MOUNT only; whoever has a handle may use it.
//	F3   WRITE answers FILE_SYNC whatever was asked, and does not say below what
//	     was: every write is made stable here, so that nothing acknowledged is lost.
//	F4   COMMIT does nothing.
//	F5   CREATE with EXCLUSIVE is refused (NOTSUPP); clients fall back to GUARDED.
//	F6   CREATE with UNCHECKED empties an existing file, whatever the call says of
//	     its size.
//	F7   LINK decodes the arguments of SYMLINK: hard links cannot be made.
//	F8   A name of several components with ".." is taken: LOOKUP leaves its
//	     directory. It cannot leave the export, which is billyfs's work.
//	F9   READ of a symbolic link's handle reads what the link points at.
//	F10  A length on the wire is allocated before it is compared with the call's: a
//	     hundred bytes make the server allocate gigabytes.
//	F11  A handle that straddles a boundary of the 4 KiB read buffer is read in
//	     part, and STALE.
//	F12  Cookies are positions in a snapshot: with another verifier, after a restart or
//	     when the listing was dropped, BAD_COOKIE or skipped and repeated entries.
//	F13  Versions of programs are not checked: NFS version 4 is answered as version 3, an
//	     unknown program with PROC_UNAVAIL (3), and that with accept_stat 2.
//	F14  ACCESS echoes the question.
//	F15  Set-id and sticky bits are lost in SETATTR and CREATE.
//	F16  MKNOD of a character device is answered OK and makes nothing.
//	F17  atime and ctime are mtime: a change of mode or owner does not show in ctime.
//	F18  A connection whose framing is bad is neither answered nor closed.
//	F19  REMOVE and RMDIR are one: REMOVE deletes empty directories, RMDIR files.
//	F20  Whether a name is free is asked by a Stat, which follows symbolic links: over one
//	     that points at nothing, GUARDED CREATE and MKDIR succeed, at its target.
//	F21  SYMLINK with a mode sets it by a chmod that follows the link: answered IO when
//	     it points at nothing, after the link was made; else the target's mode changes.
//
// A panic in it ends the process: its goroutines cannot be guarded from outside.
package gonfs
