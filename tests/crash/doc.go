// Package crash tests the real command where it ends in the middle of its work: killed at random moments, and cut
// off with the host, on real file systems. Clients of the wire (tests/remote) make calls all the while, keep their
// handles over everything, and know what was acknowledged.
//
// After a kill nothing may be missing: what had no reply is asked again. After a power cut the share must be what it was at
// some moment between the last reply before the cut and the last call: for each client, who makes one call after
// the other, the state behind one of his calls.
//
// A power cut is a copy of the image that holds the file system of the volumes, taken by FICLONE(2const) while the
// server writes: at one moment all that the device was given by then, which is what a disk that keeps its promises has at
// least. The image lies on xfs, which can clone, and on it any file system on a loop device. What the host had not
// given to the device is lost, as it is when the power goes.
//
// The tests with images need root, loop devices and mkfs; elsewhere they are skipped with a reason (package
// need). SHEAF_CRASH_KILLS is how many kills there are (default 12), SHEAF_CRASH_CUTS how many power cuts of each
// file system (default 4), SHEAF_CRASH_SEED the seed of all chance (default: drawn, and printed). The kernel's own
// client is killed under in tests/e2e.
package crash
