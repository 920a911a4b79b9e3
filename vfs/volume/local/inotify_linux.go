//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// inotifyMask is what is told of a covered directory.
const inotifyMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB |
	unix.IN_CLOSE_WRITE | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_ONLYDIR

const inotifyNames = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO

// watches is what all inotify watches of this process may take together: the kernel's limit is the user's.
var watches watchBudget

// watchBudget counts what is covered against half of fs.inotify.max_user_watches, so that the user's other
// programs keep the rest.
type watchBudget struct {
	mu   sync.Mutex
	used int
}

// take takes one; not ok: the limit is reached.
func (b *watchBudget) take(limit int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used >= limit {
		return false
	}
	b.used++
	return true
}

func (b *watchBudget) give(n int) {
	b.mu.Lock()
	b.used -= n
	b.mu.Unlock()
}

// watchLimit is half of what the kernel allows a user.
func watchLimit() (int, error) {
	const file = "/proc/sys/fs/inotify/max_user_watches"
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n / 2, nil
}

// inotify watches directories one by one; see inotify(7).
type inotify struct {
	*stream
	v     *Volume
	limit int // of watches of this process

	mu    sync.Mutex       // held for a system call that does not wait, so that an event finds its directory
	dirs  map[int32]uint64 // inode numbers by watch descriptor
	wds   map[uint64]int32
	ended bool
}

func (v *Volume) watchInotify(sink volume.WatchSink) (volume.Watch, error) {
	limit := v.watchMost
	if limit <= 0 {
		var err error
		if limit, err = watchLimit(); err != nil {
			return nil, err
		}
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &inotify{stream: newStream(fd, "inotify", sink), v: v, limit: limit, dirs: make(map[int32]uint64), wds: make(map[uint64]int32)}
	w.take, w.behind = w.tell, func() error { return nil } // the kernel bounds the queue
	if err := w.trial(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.start()
	return w, nil
}

// trial sees that a change in a covered directory is told.
func (w *inotify) trial() error {
	ok, err := w.Cover(context.Background(), w.v.private)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("the user's watches are used up, or %d are in use by this server", w.limit)
	}
	defer w.Uncover(w.v.privateKey.Ino)
	if w.v.caps.ReadOnly {
		return nil
	}
	if err := w.v.provoke(); err != nil {
		return err
	}
	return w.try(func(events []byte) (found bool, err error) {
		err = parseInotify(events, func(e inEvent) { found = found || e.mask&unix.IN_ATTRIB != 0 })
		return found, err
	})
}

// Kind implements volume.Watch.
func (w *inotify) Kind() string { return string(WatchInotify) }

// Whole is false: each directory takes a watch.
func (w *inotify) Whole() bool { return false }

// Covered implements volume.Watch.
func (w *inotify) Covered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.dirs)
}

// Cover adds a watch. A directory that the server may not read cannot be watched.
func (w *inotify) Cover(_ context.Context, d volume.Dir) (bool, error) {
	own, ok := d.(*dir)
	if !ok || own.v != w.v {
		return false, w.v.fault("watch", w.v.path, fmt.Errorf("a directory of type %T is not this volume's", d))
	}
	var st volume.Stat
	if err := w.v.statFd(own.fd, &st); err != nil {
		return false, own.fault("watch", "", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false, w.v.fault("watch", w.v.path, errClosed)
	}
	if _, there := w.wds[st.Key.Ino]; there {
		return true, nil
	}
	if !watches.take(w.limit) {
		return false, nil
	}
	wd, err := w.add(own)
	if err != nil {
		watches.give(1)
		if err == unix.ENOSPC { // the user's limit
			return false, nil
		}
		return false, own.fault("watch", "", err)
	}
	w.dirs[wd], w.wds[st.Key.Ino] = st.Key.Ino, wd
	return true, nil
}

func (w *inotify) add(d *dir) (wd int32, err error) {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		err = again(func() error {
			n, err := unix.InotifyAddWatch(int(fd), procPath(d.fd), inotifyMask)
			wd = int32(n)
			return err
		})
	})
	if cerr != nil {
		return 0, cerr
	}
	return wd, err
}

// Uncover removes a watch. What it still tells is nobody's.
func (w *inotify) Uncover(ino uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, ok := w.wds[ino]
	if !ok || w.ended {
		return
	}
	w.drop(wd)
	if raw, err := w.f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) // EINVAL: the directory has gone meanwhile
		})
	}
}

// drop forgets a watch descriptor and gives its directory. Needs w.mu.
func (w *inotify) drop(wd int32) (ino uint64, ok bool) {
	if ino, ok = w.dirs[wd]; ok {
		delete(w.dirs, wd)
		delete(w.wds, ino)
		watches.give(1)
	}
	return ino, ok
}

// Close implements volume.Watch.
func (w *inotify) Close() error {
	err := w.stream.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	watches.give(len(w.dirs))
	clear(w.dirs)
	clear(w.wds)
	w.ended = true
	return err
}

// tell hands events on.
func (w *inotify) tell(events []byte) error {
	return parseInotify(events, w.one)
}

func (w *inotify) one(e inEvent) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		w.sink.Lost(0, false, "the kernel's queue of events overflowed")
		return
	}
	w.mu.Lock()
	ino, ok := w.dirs[e.wd]
	if ok && e.mask&unix.IN_IGNORED != 0 {
		w.drop(e.wd)
	}
	w.mu.Unlock()
	switch {
	case !ok: // uncovered meanwhile
	case e.mask&unix.IN_IGNORED != 0:
		w.sink.Lost(ino, true, "the directory was removed, or its file system unmounted")
	case e.mask&(unix.IN_MOVE_SELF|unix.IN_DELETE_SELF) != 0 || len(e.name) == 0:
		w.sink.Changed(volume.News{Ino: ino, IsDir: true})
	default:
		n := volume.News{Dir: ino, AttrOnly: e.mask&inotifyNames == 0, IsDir: e.mask&unix.IN_ISDIR != 0}
		n.Name, _ = vfs.ParseName(string(e.name)) // what is no name is any
		w.sink.Changed(n)
	}
}

// inEvent is one event as the kernel tells it; name is good until the next read.
type inEvent struct {
	wd   int32
	mask uint32
	name []byte
}

// inotifyHead is the size of struct inotify_event before its name.
const inotifyHead = 16

var errInotify = errors.New("the kernel's events are not as inotify(7) says")

// parseInotify calls each with every event of b:
//
//	s32 wd, u32 mask, u32 cookie, u32 len, a name filled up with NULs to len bytes
func parseInotify(b []byte, each func(e inEvent)) error {
	ne := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < inotifyHead {
			return errInotify
		}
		size := ne.Uint32(b[12:])
		if uint64(size) > uint64(len(b)-inotifyHead) {
			return errInotify
		}
		e := inEvent{wd: int32(ne.Uint32(b)), mask: ne.Uint32(b[4:])}
		e.name, _, _ = bytes.Cut(b[inotifyHead:inotifyHead+size], []byte{0})
		each(e)
		b = b[inotifyHead+size:]
	}
	return nil
}
