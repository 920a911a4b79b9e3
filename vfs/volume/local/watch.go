//go:build linux || darwin || freebsd

package local

import (
	"errors"
	"fmt"

	"sheaf/vfs"
)

// WatchMode says how a volume is watched for changes that are not the server's.
type WatchMode string

// The modes. Auto takes the first that works, in this order.
const (
	WatchAuto     WatchMode = "auto"
	WatchFanotify WatchMode = "fanotify" // of Linux, the whole file system; wants privileges
	WatchInotify  WatchMode = "inotify"  // of Linux, the directories that are in memory
	WatchOff      WatchMode = "off"
)

// ParseWatchMode reads a setting; the empty one is WatchAuto.
func ParseWatchMode(s string) (WatchMode, error) {
	switch m := WatchMode(s); m {
	case "":
		return WatchAuto, nil
	case WatchAuto, WatchFanotify, WatchInotify, WatchOff:
		return m, nil
	default:
		return "", fmt.Errorf("watch %q: want %s, %s, %s or %s", s, WatchAuto, WatchFanotify, WatchInotify, WatchOff)
	}
}

// WatchBy says how v is watched, from the next Watch on, and by inotify how many directories of all volumes
// of the process together; 0: half of fs.inotify.max_user_watches. Until it is called, WatchAuto and 0.
func (v *Volume) WatchBy(m WatchMode, directories int) { v.watch, v.watchMost = m, directories }

var errWatchOff = errors.New("it is not to be watched by its configuration")

// unwatched says why v cannot be watched.
func (v *Volume) unwatched(err error, do string) error {
	return &vfs.Error{Status: vfs.NotSupp, Op: "watch", Object: v.path, Volume: v.name, Err: err, Do: do}
}
