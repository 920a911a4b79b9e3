// Package disk is a disk that can be made to hang, for tests and measurements: ext4 on a loop device, whose image lies on an
// xfs of its own that is frozen (fsfreeze(8)). What the host has in memory is still answered, as by a real disk; what
// is written, flushed, or read anew waits. It needs root, loop devices, fsfreeze, mkfs.ext4 and mkfs.xfs; device-mapper, which could suspend a
// device, is not everywhere.
package disk
