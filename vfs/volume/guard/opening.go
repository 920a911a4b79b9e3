package guard

import (
	"io"
	"sync"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// The kinds of calls, each with turns of its own: flushes wait long and change calls are not
// to keep look-ups waiting.
const (
	reads = iota
	changes
	flushes
	kinds
)

func kindOf(op volume.Op) int {
	switch {
	case op.Changes():
		return changes
	case op.Flushes():
		return flushes
	default:
		return reads
	}
}

// opening is one opening of the volume, from attach to end.
type opening struct {
	g             *Volume
	n             uint64 // State.Attached
	vol           volume.Volume
	root, private volume.Dir
	statNow       bool // see volume.Caps

	kinds [kinds]kind
	jobs  chan job     // to idle workers; closed by finish
	idle  atomic.Int32 // workers that wait at jobs
	bad   atomic.Int32 // calls in a row that failed as hardware does

	calls    atomic.Int64  // in it; endedBias less once it has ended
	finish   sync.Once     // when it has ended and nobody is in it
	finished chan struct{} // then; all is closed
	closeErr error         // of vol; valid once finished is closed
	ended    atomic.Pointer[volume.State]

	closing atomic.Int64 // tick at which the reaper's Close began; 0: none
	pending atomic.Int32 // to be closed
	reaper  struct {
		sync.Mutex
		queue   []io.Closer
		running bool
	}
	late bool // the watch has seen that closing is

	proved     atomic.Int64 // tick at which it was last known to answer after calls had not come back: those begun before say nothing more
	unanswered int64        // age in ticks of the oldest call that says something, as of the last tick; of the watch

	watches watches
}

// endedBias is taken from opening.calls and held.uses when no more may come.
const endedBias = 1 << 40

// kind is one kind of calls of an opening.
type kind struct {
	limit   int64 // ticks that a call has
	slots   []slot
	free    chan *slot
	waiting atomic.Int32
	stuck   atomic.Bool  // the oldest call is so old that nobody should queue behind it
	jammed  atomic.Bool  // and none has come back since
	still   atomic.Int64 // ticks for which calls are with the host and none has come back

	kick    atomic.Pointer[chan struct{}] // closed when it jams
	ended   uint64                        // calls that came back, as of the last tick
	movedAt int64                         // tick at which that was less
}

func newOpening(g *Volume, v volume.Volume, n uint64) *opening {
	o := &opening{g: g, n: n, vol: v, root: v.Root(), private: v.Private(), statNow: v.Caps().StatNow, jobs: make(chan job), finished: make(chan struct{})}
	deadline := int64((g.o.Deadline+g.tick-1)/g.tick) + 1 // the first tick may come at once
	o.kinds[reads].init(g.o.Workers, deadline)
	o.kinds[changes].init(g.o.Workers, deadline)
	o.kinds[flushes].init(Flushes, deadline*FlushDeadlines)
	return o
}

func (k *kind) init(n int, limit int64) {
	k.limit, k.slots, k.free = limit, make([]slot, n), make(chan *slot, n)
	for i := range k.slots {
		s := &k.slots[i]
		s.k = k
		s.renew()
		k.free <- s
	}
	k.newKick()
}

func (k *kind) newKick() (old *chan struct{}) {
	c := make(chan struct{})
	return k.kick.Swap(&c)
}

// leave is the end of a call, or of an attempt at one.
func (o *opening) leave() {
	if o.calls.Add(-1) == -endedBias {
		o.finish.Do(o.close)
	}
}

// end lets nobody in any more. Needs g.mu.
func (o *opening) end(state volume.State) {
	o.ended.Store(&state)
	o.g.past[o] = struct{}{}
	if o.calls.Add(-endedBias) == -endedBias {
		o.finish.Do(o.close)
	}
}

// close closes the volume after what waits to be closed.
func (o *opening) close() {
	close(o.jobs)
	o.reap(closer(func() error {
		err := o.vol.Close()
		o.closeErr = err
		o.g.mu.Lock()
		delete(o.g.past, o)
		o.g.mu.Unlock()
		close(o.finished)
		return err
	}))
}

type closer func() error

func (c closer) Close() error { return c() }

// reap closes c in the background: closing can wait for the host, and who closes may be a
// call that has nothing to do with this volume.
func (o *opening) reap(c io.Closer) {
	o.pending.Add(1)
	o.reaper.Lock()
	defer o.reaper.Unlock()
	o.reaper.queue = append(o.reaper.queue, c)
	if !o.reaper.running {
		o.reaper.running = true
		go o.reapAll()
	}
}

func (o *opening) reapAll() {
	for {
		o.reaper.Lock()
		if len(o.reaper.queue) == 0 {
			o.reaper.running, o.reaper.queue = false, nil
			o.reaper.Unlock()
			return
		}
		c := o.reaper.queue[0]
		o.reaper.queue = o.reaper.queue[1:]
		o.reaper.Unlock()
		o.closing.Store(o.g.now.Load())
		if err := c.Close(); err != nil {
			o.g.o.Log.Warn("cannot be closed", "op", "close", "volume", o.g.o.Name, "err", err)
		}
		o.closing.Store(0)
		o.pending.Add(-1)
	}
}

// note counts failures as of hardware in a row, and asks for a probe.
func (o *opening) note(err error) {
	if err == nil {
		if o.bad.Load() != 0 {
			o.bad.Store(0)
		}
		return
	}
	switch vfs.StatusOf(err) {
	case vfs.IO, vfs.NXIO, vfs.NoDev:
		if o.bad.Add(1) >= BadMax {
			o.g.wake()
		}
	default:
		o.bad.Store(0)
	}
}
