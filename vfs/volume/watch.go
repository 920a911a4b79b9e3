package volume

import (
	"context"
	"errors"
	"time"

	"sheaf/vfs"
)

// Watcher is a Volume that can tell of changes that were not made through it. A decorator that
// wraps Dirs is a Watcher itself, by StartWatch of what it wraps, and unwraps what Cover is given.
type Watcher interface {
	Volume
	// Watch begins to tell news to sink until the Watch is closed, or ends by itself, which Lost(0,
	// true) says. ctx is for beginning only. The error says why this volume cannot be watched, for
	// the operator; it is then looked at again in time.
	Watch(ctx context.Context, sink WatchSink) (Watch, error)
}

// ErrNoNews is in the error of StartWatch for a volume that is no Watcher, and never will be.
var ErrNoNews = errors.New("volumes of this kind tell no news")

// StartWatch is v.Watch; NotSupp, with ErrNoNews, if v is no Watcher.
func StartWatch(ctx context.Context, v Volume, sink WatchSink) (Watch, error) {
	if w, ok := v.(Watcher); ok {
		return w.Watch(ctx, sink)
	}
	return nil, &vfs.Error{Status: vfs.NotSupp, Op: "watch", Object: "/", Volume: v.Name(), Err: ErrNoNews}
}

// Watch is a running watch.
type Watch interface {
	// Kind names how it watches: "fanotify" covers the whole volume, "inotify" the directories
	// that were covered one by one.
	Kind() string
	// Whole: the whole volume is covered; Cover and Uncover have nothing to do.
	Whole() bool
	// Covered is how many directories are covered one by one.
	Covered() int
	// Cover asks that changes of d's names be told from now on, and says whether they will be; false
	// without an error: a limit is reached. What changed before it returns may not be told: list d
	// after it. It may be called again for the same directory.
	Cover(ctx context.Context, d Dir) (bool, error)
	// Uncover ends what Cover began for the directory with that inode number.
	Uncover(ino uint64)
	// Close ends the watch. After it the sink is not called any more; it must not be called by
	// the sink.
	Close() error
}

// News says "look again" and never more: events are merged and lose their order.
type News struct {
	// Dir is the inode number of a directory and Name a name in it that may mean something else
	// now, be gone or new; the zero Name: any. Dir is 0 where no name changed.
	Dir  uint64
	Name vfs.Name
	// Ino is the inode number of an object whose attributes may have changed; 0: it is not known.
	Ino uint64
	// AttrOnly: Name means what it meant, only attributes of what has it may have changed.
	AttrOnly bool
	// IsDir: the object is a directory.
	IsDir bool
	// Own: this process did it, and nobody else. Where that cannot be known it is false. Such news
	// may say nothing else, and stand for several.
	Own bool
	// Times is how many news these stand for; 0: one.
	Times int
}

// AliveEvery is how often a Watch that works says Alive, at least.
const AliveEvery = 250 * time.Millisecond

// WatchSink takes what a Watch tells. Its methods are called by one goroutine of the Watch at a
// time and do not wait.
type WatchSink interface {
	Changed(n News)
	// Lost: news were lost, of the directory with that inode number, or with 0 of all. What is not
	// watched any more says so by dropped; with 0 that is the end of the Watch, which is still to
	// be closed.
	Lost(dir uint64, dropped bool, why string)
	// Alive: all news of what happened before at were told. It comes every AliveEvery as long
	// as the watch works and is not behind.
	Alive(at time.Time)
}
