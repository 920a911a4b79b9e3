// Package nfsd serves a vfs.FS by NFS version 3 (RFC 1813) and MOUNT, on one
// TCP port.
//
// # Life of a request
//
//	nfsd/rpc      TCP bytes → record → call header and credential → program,
//	              version, procedure (procs.go has the table) → reply cache, for
//	              what must not be run twice
//	xdr.Decoder   arguments; what does not decode is GARBAGE_ARGS, before
//	              anything else is looked at
//	Server.resolve (table.go)
//	              handle → MAC → export → is this client admitted → who is the
//	              caller after squashing (who.go; remembered per credential)
//	names.parse   bytes → vfs.Name
//	vfs.FS        first with Who.NoWait, on the goroutine that reads the
//	              connection; if that says Again, once more on a worker.
//	              What changes something goes to a worker at once
//	status.go     vfs.Status → nfsstat3 that the procedure may answer
//	attr.go       attributes, wcc_data and handles → the reply's buffer
//
// A procedure's function is named after it and stands in the file of its family:
// getattr.go, lookup.go, data.go, make.go, remove.go, readdir.go, fsinfo.go. Each
// decodes all its arguments first. GETATTR, ACCESS, LOOKUP and READ allocate nothing.
//
// # Exports
//
// An export is found at MNT by the longest path that the directory asked for is or
// lies beneath, and by the export's id in the handle afterwards. Of several rules for
// one client the most specific counts: host, longer prefix, "*". A handle is bound
// to its export, not to the path: an object that is renamed out of the exported
// directory is still reached by the handles that clients hold, and a directory
// exported with other options inside an export is no wall for clients of the outer one
// (as with knfsd and no_subtree_check: export what must be apart from apart shares).
// But no client gets above its export by "..", whatever was renamed.
//
// A path of the exports is looked up at load and at every MNT. When another directory
// takes its place, that is what is mounted from then on; who has the old one mounted
// keeps it until the exports are loaded again.
//
// After a reload a client that lost its right gets ACCES, a handle of an export that
// is gone STALE, and both work again when the rule is back. knfsd answers the same
// for an export that is gone; a client whose port is not secure gets ACCES here and PERM
// there, and a client without any right it denies at the level
// of RPC (AUTH_BADCRED), which Linux reports as EACCES too.
//
// # Locks
//
// Server.tableMu is held while another table of exports is made, over calls to
// the FS; calls that need only the current table do not take it. logLimit.mu and
// those of mount3 are leaves.
//
// # Quirks
//
// What clients do, what the RFC says, what we do. Each has a test of its number in
// tests/wire.
//
//	Q1   Linux mount(8) without vers= asks for NFS version 4 first. PROG_MISMATCH with 3
//	     to 3 (RFC 5531 section 9) makes it fall back at once.
//	Q2   Old umount(8) and showmount(8) speak MOUNT version 1 or 2. NULL, DUMP, UMNT,
//	     UMNTALL and EXPORT are the same there and answered; MNT, whose handles have 32
//	     bytes (RFC 1094 appendix A), is PROC_UNAVAIL.
//	Q3   After an EXCLUSIVE CREATE clients send SETATTR with times, because the verifier
//	     may live in them (RFC 1813 section 3.3.8; Linux, FreeBSD: to the server's time).
//	     Before that a repeated CREATE with the same verifier finds the file, after it
//	     EXIST.
//	Q4   FreeBSD and macOS look up "..", Solaris "." (section 3.2, points 2 and 3).
//	     Answered; at the root of the export ".." is the root itself.
//	Q5   Names that cannot be: "", with a slash, with a NUL. ACCES in every procedure
//	     (section 3.2, points 1 and 5); knfsd says GARBAGE_ARGS, which Linux reports as
//	     EIO. Longer than 255 bytes: NAMETOOLONG. "." and ".." where they make no sense:
//	     EXIST when making, ACCES for REMOVE, INVAL and EXIST for RMDIR (section
//	     3.3.13), INVAL for RENAME.
//	Q6   Names are bytes: Linux and the BSDs send whatever the user typed, in any
//	     encoding or none. They pass unchanged.
//	Q7   Offsets beyond 2^63-1, which no client can mean: READ is at the end of the
//	     file, as knfsd; WRITE and SETATTR of such a size are FBIG, COMMIT INVAL.
//	Q8   WRITE says its length twice (section 3.3.7). Where count differs from the data:
//	     GARBAGE_ARGS, as knfsd, and nothing is written.
//	Q9   WRITE of no bytes succeeds and gives a verifier; nothing changes, not even
//	     mtime (section 3.3.7: count 0).
//	Q10  The cookie verifier is constant and none is refused: clients come back with
//	     the 0 they began with, or with another server's after fail-over.
//	Q11  dircount of READDIRPLUS is a hint (section 3.3.17): macOS sends maxcount again,
//	     others 0 or more than maxcount. A page ends when the names exceed it, but has at
//	     least one entry if maxcount has room for one; else TOOSMALL. 0 is no hint: a page
//	     of one entry would make 200,000 calls of a listing that takes 600 otherwise.
//	Q12  Users mount "/dir/", "//dir" and "/dir/." (mount(8) passes them on). They are the
//	     directory; a path with ".." or without a leading slash is MNT3ERR_INVAL. The list
//	     of mounts has the path as written, so UMNT finds it.
//	Q13  Times with a billion nanoseconds or more: INVAL (the RFC is silent; utimensat(2)).
//	Q14  nfstime3 is unsigned 32 bits: a time before 1970 or after 2106 is told as the
//	     nearest that there is. knfsd cuts to 32 bits, which makes files of 1969 young.
//	Q15  ACCESS of an export that is read-only never grants MODIFY, EXTEND and DELETE, so
//	     that clients fail at open(2); the procedures say ROFS. Rights with no name yet are
//	     not granted.
//	Q16  A client checks permission at open(2), then reads or writes with the file's mode
//	     changed since (section 4.4). The owner may, whatever the mode is.
//	Q17  Some clients call FSINFO and GETATTR of the root with AUTH_NONE while mounting
//	     (RFC 2623 section 2.3.2). AUTH_NONE acts as the anonymous user everywhere.
//	Q18  JUKEBOX is not kept in the reply cache: Linux asks again with a new xid, others
//	     with the same one.
//	Q19  An entry whose object is not known (its volume is away) is listed without
//	     attributes and handle, with a fileid that is not 0: BSD clients skip those.
//	Q20  CREATE UNCHECKED of an existing file sets its size if told to and leaves the
//	     rest alone (section 3.3.8; open(2) with O_CREAT), and is EXIST for what is no
//	     regular file.
//	Q21  SETATTR that sets nothing succeeds and changes nothing (macOS, after Q3).
//	Q22  A handle of another length than ours, up to 64 bytes, is BADHANDLE: another
//	     server's. Longer is no nfs_fh3: GARBAGE_ARGS.
//	Q23  Bytes after the arguments are ignored (nfsd/xdr, X4).
//	Q24  uid and gid 2^32-1 mean "leave alone" to chown(2) and cannot be set: INVAL. A
//	     caller who claims one is the anonymous user, as with knfsd, whatever the export.
//	Q25  RENAME and LINK between two exports are XDEV, even where the directories are
//	     of one file system: else a client could carry the identity that one export
//	     gives it into the other. knfsd does the same.
package nfsd
