// Package fault is a decorator of a volume.Volume whose operations fail by rules, which can be changed
// while it is in use: a disk with bad spots, one that fails now and then, one that was pulled
// out. It is for tests, and for trying out what a share does then.
//
//	v := fault.New(disk, seed)
//	v.Set(fault.Rule{Pick: hook.Pick{Ops: []volume.Op{volume.OpSyncFile}, Chance: 0.01}, Status: vfs.IO})
//	v.PullOut()
//	v.PutBack()
//
// Without rules it is transparent.
package fault
