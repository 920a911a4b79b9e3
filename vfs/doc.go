// Package vfs is the contract between the protocols above and the union below:
// types, words and one interface, [FS]. It imports nothing of Sheaf.
//
// # Model
//
// A file system is a graph of nodes. A [Node] names an object (file, directory,
// symbolic link, device, fifo, socket) for as long as the object lives; no
// path, rename, restart or migration changes it. A directory maps a [Name] to
// a node; a node that is not a directory may have several names (hard links).
// Callers speak nodes and names, never paths, as RFC 1813 does.
//
// # Words
//
//	node    an object of the share
//	name    one component of a path, always valid
//	who     the identity and circumstances a call is made with
//	status  why a call failed, one of a closed set
//	change  attributes of an object before and after a call (wcc_data)
//	cookie  the place of a name in its directory, which never moves
//
// # Concurrency
//
// Every method of an FS may be called from any goroutine at any time. A method
// either has its whole effect or none, as far as any other call can tell, and
// attributes in a [Change] are those immediately before and after that effect.
// Data is the exception, as with read(2) on most file systems of Linux: a Read
// beside a Write to the same bytes may see part of it. Writes beside each other
// are whole.
//
// # Memory
//
// Buffers given to an FS are not kept after the call. Slices and strings in
// results are the caller's.
package vfs
