// Package volumetest holds what every volume.Volume is measured by: [Suite], which
// they all pass, and [Mem], a volume in memory that forgets at a power cut what was
// not synced.
//
// # What a power cut leaves of Mem
//
// Everything that volume/doc.go calls durable, and of the rest an arbitrary
// part, drawn by a seed:
//
//   - Each change of names (make, link, rename, remove) is atomic. It is kept if each
//     directory it touches was synced after it; else it may be kept or lost,
//     whatever became of other names. One thing is not drawn: a change is never kept
//     without the earlier changes of the same name or the same object, and the
//     rename of a directory never without those of what it was moved into. No file
//     system loses these apart, and a tree could not come of it.
//   - Each written page of 4 KiB, the size, the attributes, the ACLs and the mark of an
//     object are each kept or as they were when last synced (or at birth),
//     independently.
//   - What no kept name leads to is gone, and so is what had no name.
package volumetest
