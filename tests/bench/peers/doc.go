// Package peers starts the servers that Sheaf is measured beside, as Debian ships them: NFS-Ganesha with its VFS back end
// over one directory, and mergerfs over several under a Ganesha of its own. What is not installed is an error by
// name, so that a benchmark may leave it out.
//
// Each is a process of its own on free ports of 127.0.0.1, version 3 over TCP alone, without locks and quotas. Beyond that all
// settings are the packages' own, but for what mergerfs' documentation asks of an exported mount ("Can mergerfs be exported over
// NFS?"): noforget, inodecalc=path-hash and nfsopenhack=all. Its files go to a branch by chance (category.create=rand), as
// otherwise all would go to the first: branches on one disk have the same room. It gives itself a
// higher priority than the others have (nice -10, its own default).
//
// Ganesha flushes data where NFS says so (FILE_SYNC, COMMIT), but no directory: what CREATE, REMOVE, RENAME and the like
// did may be lost at a power cut. It is to be compared with an async export of ours there, and data with a sync one.
//
// Ganesha 4 ends at its start where no rpcbind takes its registration. If none runs, one is started for that moment, in an
// empty network namespace: it is asked through its socket in /run, and listens nowhere else.
package peers
