//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/vfs/volume"
)

// How news are read.
const (
	// watchBuffer is the room for events of one read, in bytes (some 3,000).
	watchBuffer = 256 << 10
	// watchEventMax is more than an event can take, in bytes: a read that left as much room
	// has taken all there was.
	watchEventMax = 2 << 10
	// watchRest is the pause after a read. What comes meanwhile is merged by the host and read at
	// once, so that a busy server is not woken for each of its own changes.
	watchRest = 2 * time.Millisecond
	// watchTrial is how long the event that is provoked for a trial may take.
	watchTrial = 5 * time.Second
)

// Watch tells the news of v by the best means there is: see WatchMode.
func (v *Volume) Watch(_ context.Context, sink volume.WatchSink) (volume.Watch, error) {
	if v.watch == WatchOff {
		return nil, v.unwatched(errWatchOff, "")
	}
	switch v.host.magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
	default: // others change files without the host's knowledge, or hide which (measured: overlayfs, FUSE)
		return nil, v.unwatched(fmt.Errorf("file systems of type %#x may change without news", v.host.magic), "")
	}
	var why []error
	if v.watch != WatchInotify {
		w, err := v.watchFanotify(sink)
		if err == nil {
			return w, nil
		}
		why = append(why, fmt.Errorf("fanotify: %w", err))
	}
	if v.watch != WatchFanotify {
		w, err := v.watchInotify(sink)
		if err == nil {
			return w, nil
		}
		why = append(why, fmt.Errorf("inotify: %w", err))
	}
	return nil, v.unwatched(errors.Join(why...), "run the server as root for fanotify, or raise fs.inotify.max_user_instances and max_user_watches")
}

// stream reads events from a descriptor of the host's and hands them on.
type stream struct {
	f    *os.File
	buf  []byte
	sink volume.WatchSink
	// take takes the events of a read. Its error ends the stream.
	take func(events []byte) error
	// behind is called after a read that did not take all; its error ends the stream.
	behind func() error

	stop chan struct{}
	once sync.Once
	done sync.WaitGroup
}

func newStream(fd int, name string, sink volume.WatchSink) *stream {
	return &stream{f: os.NewFile(uintptr(fd), name), buf: make([]byte, watchBuffer), sink: sink, stop: make(chan struct{})}
}

// start reads until the stream is closed or cannot go on.
func (s *stream) start() {
	s.done.Go(func() {
		if err := s.run(); err != nil {
			s.sink.Lost(0, true, err.Error())
		}
	})
}

// run is nil when the stream was closed.
func (s *stream) run() error {
	for {
		n, at, err := s.read(time.Now().Add(volume.AliveEvery), s.sink.Alive)
		switch {
		case err != nil && s.closed():
			return nil
		case err != nil:
			return err
		case n == 0:
			continue
		}
		if err := s.take(s.buf[:n]); err != nil {
			return err
		}
		if len(s.buf)-n < watchEventMax {
			if err := s.behind(); err != nil {
				return err
			}
			continue
		}
		s.sink.Alive(at)
		select {
		case <-s.stop:
			return nil
		case <-time.After(watchRest):
		}
	}
}

func (s *stream) closed() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// read waits for events until the deadline; none: 0 and no error. At is when it was
// asked for them; empty is called whenever there are none, with the time of asking.
func (s *stream) read(deadline time.Time, empty func(time.Time)) (n int, at time.Time, err error) {
	if err := s.f.SetReadDeadline(deadline); err != nil {
		return 0, at, err
	}
	raw, err := s.f.SyscallConn()
	if err != nil {
		return 0, at, err
	}
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		rerr = again(func() (err error) {
			at = time.Now()
			n, err = unix.Read(int(fd), s.buf)
			return err
		})
		if rerr == unix.EAGAIN {
			n, rerr = 0, nil
			empty(at)
			return false
		}
		return true
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, at, nil
	}
	return n, at, errors.Join(err, rerr)
}

// try reads until found says that it saw what the trial provoked.
func (s *stream) try(found func(events []byte) (bool, error)) error {
	for limit := time.Now().Add(watchTrial); time.Now().Before(limit); {
		n, _, err := s.read(limit, func(time.Time) {})
		if err != nil {
			return err
		}
		ok, err := found(s.buf[:n])
		if ok || err != nil {
			return err
		}
	}
	return errors.New("a change made for trial was not told")
}

// provoke changes the private directory's attributes to what they are: that needs no room, and is
// shown to nobody.
func (v *Volume) provoke() error {
	return again(func() error { return unix.Fchmod(v.private.fd, 0o700) })
}

// Close ends the stream; the sink is not called any more.
func (s *stream) Close() error {
	var err error
	s.once.Do(func() {
		close(s.stop)
		err = s.f.Close()
	})
	s.done.Wait()
	return err
}
