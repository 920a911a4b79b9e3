// Package delay is a decorator of a volume.Volume whose operations take longer by rules, or hang until
// they are released; both can be changed while it is in use. It is for tests, and for
// trying out what a share does with a slow or a dead disk.
//
//	v := delay.New(disk, seed)
//	v.Set(delay.Rule{Pick: hook.Pick{Chance: 0.1}, Min: 5 * time.Millisecond, Max: 20 * time.Millisecond})
//	release := v.Hang(volume.OpStatAt)
//	release()
//
// The delay comes before the operation, and no context ends it, just as none ends a call of
// the host. File.ReadNow never waits: it answers Again where it would have to. Without
// rules the decorator is transparent.
package delay
