package local

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/vfs/volume"
)

// fanouts are the fanotify watches of this process, by the device of their file system: volumes that lie on one
// share one. Each watch of a file system costs everybody who changes something there, and its reader
// (measured, eight volumes on one tmpfs: half of a REMOVE's CPU).
var fanouts struct {
	mu sync.Mutex // before fanout.mu
	m  map[uint64]*fanout
}

// fanout hands the news of one watch to the volumes that share it. It is the sink of its stream.
type fanout struct {
	dev uint64
	w   *fanotify

	mu      sync.Mutex // held while members are told; guards what follows
	members []*fanMember
}

// fanMember is a volume's part in a fanout, and its volume.Watch.
type fanMember struct {
	*fanotify
	out  *fanout
	sink volume.WatchSink
	ino  uint64 // of the directory that is changed for trial
	once sync.Once

	tried chan struct{} // closed when the trial is over
	live  bool          // it was told; guarded by out.mu
	why   error         // it never will be; set before tried is closed
}

// joinFanout is v's part in the watch of its file system, which is begun if there is none.
func (v *Volume) joinFanout(sink volume.WatchSink) (*fanMember, error) {
	fanouts.mu.Lock()
	defer fanouts.mu.Unlock()
	out, begun := fanouts.m[v.host.dev], false
	if out == nil {
		fd, err := fanotifyInit(unix.FAN_UNLIMITED_QUEUE)
		if err != nil {
			return nil, err
		}
		out, begun = &fanout{dev: v.host.dev}, true
		out.w = &fanotify{stream: newStream(fd, "fanotify", out), magic: v.host.magic, sub: v.host.sub, pid: int32(os.Getpid()), limit: fanotifyQueueMax}
		out.w.take, out.w.behind, out.w.inFull = out.w.tell, out.w.checkQueue, out.trying
	}
	if err := out.mark(v); err != nil { // again for each: another file system may have got the device's number
		if begun {
			err = errors.Join(err, out.w.Close())
		}
		return nil, err
	}
	m := &fanMember{fanotify: out.w, out: out, sink: sink, ino: v.privateKey.Ino, tried: make(chan struct{})}
	if v.caps.ReadOnly { // nothing can be provoked
		m.live = true
		close(m.tried)
	}
	out.mu.Lock()
	out.members = append(out.members, m)
	out.mu.Unlock()
	if begun {
		if fanouts.m == nil {
			fanouts.m = make(map[uint64]*fanout)
		}
		fanouts.m[out.dev] = out
		out.w.start()
	}
	return m, nil
}

// mark has the file system of v watched.
func (o *fanout) mark(v *Volume) error {
	raw, err := o.w.f.SyscallConn()
	if err != nil {
		return err
	}
	var merr error
	err = raw.Control(func(fd uintptr) {
		merr = again(func() error {
			return unix.FanotifyMark(int(fd), unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, fanotifyMask, v.root.fd, "")
		})
	})
	if merr != nil {
		return merr
	}
	return err
}

// try sees that what v does is told, by handles that can be read, and as our own.
func (m *fanMember) try(v *Volume) error {
	if !v.caps.ReadOnly {
		if err := v.provoke(); err != nil {
			return err
		}
	}
	select {
	case <-m.tried:
		return m.why
	case <-time.After(watchTrial):
		return errors.New("a change made for trial was not told")
	}
}

// trying reports whether a member waits for the change that it made for trial.
func (o *fanout) trying() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.members, func(m *fanMember) bool { return !m.live && m.why == nil })
}

// Changed implements volume.WatchSink.
func (o *fanout) Changed(n volume.News) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.members {
		switch {
		case m.live:
			m.sink.Changed(n)
		case m.why == nil && n.Own && n.Ino == m.ino:
			m.live = true
			close(m.tried)
		}
	}
}

// Lost implements volume.WatchSink.
func (o *fanout) Lost(dir uint64, dropped bool, why string) {
	over := dropped && dir == 0
	if over { // who wants to watch from now on begins anew
		fanouts.mu.Lock()
		if fanouts.m[o.dev] == o {
			delete(fanouts.m, o.dev)
		}
		fanouts.mu.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.members {
		switch {
		case m.live:
			m.sink.Lost(dir, dropped, why)
		case over && m.why == nil:
			m.why = fmt.Errorf("the watch of the file system ended: %s", why)
			close(m.tried)
		}
	}
}

// Alive implements volume.WatchSink.
func (o *fanout) Alive(at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.members {
		if m.live {
			m.sink.Alive(at)
		}
	}
}

// Close implements volume.Watch. The last of those who share the watch ends it.
func (m *fanMember) Close() (err error) {
	m.once.Do(func() {
		o := m.out
		fanouts.mu.Lock()
		o.mu.Lock()
		o.members = slices.DeleteFunc(o.members, func(k *fanMember) bool { return k == m })
		last := len(o.members) == 0
		if last && fanouts.m[o.dev] == o {
			delete(fanouts.m, o.dev)
		}
		o.mu.Unlock()
		fanouts.mu.Unlock()
		if last {
			err = o.w.Close()
		}
	})
	return err
}
