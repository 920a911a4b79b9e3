package volume

import (
	"context"
	"time"

	"sheaf/vfs"
)

// Watcher is a Volume that can tell of changes that were not made through it.
type Watcher interface {
	Volume
	// Watch begins to tell news to sink until ctx ends or the Watch is closed. Its error says why
	// this volume cannot be watched, for the operator; it is then looked at again in time.
	Watch(ctx context.Context, sink WatchSink) (Watch, error)
}

// Watch is a running watch.
type Watch interface {
	// Kind names how it watches: "fanotify" covers the whole volume, "inotify" the directories
	// that were covered one by one.
	Kind() string
	// Cover asks that changes of d's names be told from now on, and says whether they will be. What
	// changed before it returns may not be told: list d after it.
	Cover(ctx context.Context, d Dir) (bool, error)
	// Uncover ends what Cover began for the directory with that inode number.
	Uncover(ino uint64)
	Close() error
}

// WatchSink takes what a Watch tells. Its methods may be called from one goroutine of the Watch and
// do not wait. News says "look again" and never more: events are merged and lose their order.
type WatchSink interface {
	// Changed: the name in the directory with inode number dir may mean something else now, or be
	// gone or new. A zero name: any. own: this process did it.
	Changed(dir uint64, name vfs.Name, own bool)
	// Lost: news were lost, of the directory with that inode number, or with 0 of all. What is not
	// watched any more says so by dropped.
	Lost(dir uint64, dropped bool, why string)
	// Alive: all news of what happened before at were told. It comes at least once in a while
	// as long as the watch works.
	Alive(at time.Time)
}
