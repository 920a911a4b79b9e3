// Package group is a decorator of a volume.Volume that lets concurrent flushes
// of one object share.
//
// Of each directory one flush runs at a time. Who asks for one meanwhile shares
// the next with all others who do: the running one may have begun before their
// changes, the next has not. So n callers cost two flushes at most, and a caller
// waits for the rest of one and for one whole. An error goes to everybody who shared
// the flush. btrfs gains five-fold by this; ext4 and xfs merge flushes in
// their journals themselves and lose nothing (measured, 32 threads).
//
// Directories are told apart by their volume.Key, so that it does not matter which
// of several open Dirs of one directory is used: objects that are open at the same
// time never have equal keys, since an open object keeps its inode number. Files
// share per open File only: the host reports an error of write-back once per
// descriptor, and a flush through another could take it for itself.
//
// No more than FlushMax flushes are in flight per volume; while one waits for
// its turn, more callers can join it.
//
// # Contexts
//
// A caller whose context ends stops waiting. Only while its own descriptor is being
// flushed does it stay, so that it may close it when Sync returned.
package group
