// Package placement decides which volume takes a new object. It is pure: no
// I/O, no clock, no locks; figures and chance are passed in, so that the same
// question always gets the same answer and every answer can be explained.
//
// # Eligible
//
// A volume is eligible if it is writable, healthy, has at least
// [Limits.MinFiles] free inodes, and room: free(v) ≥ 1 + expected size, where
//
//	free(v) = avail(v) − reserved(v) − Limits.MinFree        (bytes, not below 0)
//
// avail is what statfs(2) lets the server use, reserved what was promised to
// files that are still being written; the caller keeps count. If no volume is eligible the
// answer is a [RefusedError] that names the reason for each: NoSpc if room was
// wanting anywhere, ROFS if all are read-only, IO otherwise. Headroom gives
// way before a client sees NoSpc: if no volume is eligible for want of bytes,
// they are asked once more without MinFree and without what is reserved.
//
// # Policies
//
//	balanced     draws two eligible volumes with probability proportional to
//	             free(v) and takes the one with the lower
//	                 score(v) = used %(v) + penalty(v)
//	                 used %   = 100 × (1 − (avail − reserved) / total)
//	                 penalty  = min(MaxPenalty, PointsPerMs × latency in ms × (in flight + 1))
//	             unless the volume of the directory's last file (of the directory,
//	             while it has none and lies on one) is eligible and its
//	             score is at most Affinity points higher. Tie: the first drawn. One eligible
//	             volume: that one.
//	first-found  the first eligible volume in the operator's order.
//
// Two draws instead of the minimum keep a burst that is decided by one old
// snapshot from landing on one disk; weighting the draw by free space lets
// disks of different size fill at the same rate. In simulation (8 volumes of 1–12
// TB, heavy-tailed sizes) balanced ends within a few points of used %; a draw
// by free space alone ended 10–34 points apart.
package placement
