//go:build darwin || freebsd

package local

import (
	"context"
	"errors"

	"sheaf/vfs/volume"
)

// Watch is refused: kqueue(2) tells of an open directory that it changed but not of the names in it,
// which its version tells as well.
func (v *Volume) Watch(context.Context, volume.WatchSink) (volume.Watch, error) {
	if v.watch == WatchOff {
		return nil, v.unwatched(errWatchOff, "")
	}
	return nil, v.unwatched(errors.New("this system tells nobody which names change"), "")
}
