package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Defaults and limits.
const (
	// Deadline is how long a call of the host may take, unless Options say so.
	Deadline = 30 * time.Second
	// FlushDeadlines is how many deadlines a flush has: the dirty pages of a host with
	// much memory keep a hard disk busy for minutes, and nothing is wrong with it.
	FlushDeadlines = 10
	// OfflineWait is how long AwayError says Jukebox, unless Options say so.
	OfflineWait = 10 * time.Second
	// ProbeEvery is how often a volume is looked at, unless Options say so.
	ProbeEvery = time.Second
	// Workers is how many calls of each kind (read-only, changing) are with the host at a time,
	// unless Options say so.
	Workers = 64
	// Waiting is how many more calls of each kind wait for their turn, unless Options say so.
	Waiting = 256
	// Flushes is how many callers wait for a flush. The decorator that shares flushes
	// bounds how many of these are with the host.
	Flushes = 1024
	// StuckPart of the deadline is how old the oldest call of a kind is when no further ones of
	// its kind wait for a turn. If none has come back for as long, those that wait already are answered too; and while
	// that is so of flushes, and as many as Workers are under way, no further changes begin.
	StuckPart = 30
	// StallShare of the deadline is how old a look or change is when the volume counts as Stalled if a probe does not pass either,
	// unless Options say so. A volume with so short a deadline that this were less than StallLeast is Slow before.
	StallShare = 10
	StallLeast = time.Second
	// suspectPart of stallParts of it have passed when it is probed; the probe has the rest.
	suspectPart, stallParts = 2, 3
	// BadMax is how many calls in a row fail as hardware does until the volume is probed.
	BadMax = 3
	// ProbesMax is how many probes hang at a time: a new one is made when one has not come back
	// for a deadline, for twice, four times as long.
	ProbesMax = 8
	// HungMax is how many calls may still hang in former openings when the volume is
	// opened anew: each keeps a thread of the host.
	HungMax = 512
	// ClosingMax is how many Dirs and Files wait to be closed when no more are opened.
	ClosingMax = 8192
	// CloseWait is how long Close waits for calls that are under way, and for what they opened to be
	// closed: on a busy host that took more than a second. Less than what cmd/sheaf/share gives all volumes together.
	CloseWait = 4 * time.Second
	// tickParts of the deadline is how late it is noticed that a call exceeded it, at most.
	tickParts = 16
	// probeTicks of ProbeEvery is how late it is noticed that nothing comes back, at most.
	probeTicks = 4
)

// Options say what is guarded, and how. Zero values are the defaults.
type Options struct {
	Name   string        // the operator's
	ID     volume.ID     // an opening with another one is refused
	Marker volume.Marker // what the share knows of it until it is first opened

	// Open opens the volume. It is called again and again while the volume is away, and not twice at a time unless it hangs.
	Open func(ctx context.Context) (volume.Volume, error)
	// Present says whether what Open gave is still there: volume.ErrGone if not. Other errors
	// decide nothing. Nil: it always is.
	Present func(ctx context.Context, v volume.Volume) error
	// First is an opening to begin with. Nil: the volume is Away until it was opened.
	First volume.Volume

	Deadline    time.Duration
	StallAfter  time.Duration // how old a call is when the volume is Stalled if a probe does not pass either; below 0: it never is
	OfflineWait time.Duration
	ProbeEvery  time.Duration
	Workers     int
	Waiting     int
	Log         *slog.Logger // nil: nothing is logged
}

func (o *Options) complete() {
	for _, d := range []struct {
		field   *time.Duration
		value   time.Duration
		minimum time.Duration
	}{{&o.Deadline, Deadline, tickParts * time.Millisecond}, {&o.OfflineWait, OfflineWait, 0}, {&o.ProbeEvery, ProbeEvery, time.Millisecond}} {
		if *d.field == 0 {
			*d.field = d.value
		}
		*d.field = max(*d.field, d.minimum)
	}
	if o.StallAfter == 0 {
		if o.StallAfter = o.Deadline / StallShare; o.StallAfter < StallLeast {
			o.StallAfter = -1
		}
	}
	if o.Workers == 0 {
		o.Workers = Workers
	}
	if o.Waiting == 0 {
		o.Waiting = Waiting
	}
	if o.Present == nil {
		o.Present = func(context.Context, volume.Volume) error { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Volume is a guarded volume. It implements volume.Comer and volume.Watcher.
type Volume struct {
	o             Options
	tick          time.Duration // how often run looks
	stallAfter    int64         // ticks; 0: never
	root, private *dir

	gate    atomic.Pointer[gate] // never nil; changed under mu
	now     atomic.Int64         // ticks, from 1
	refused atomic.Uint64        // calls
	hung    atomic.Int64         // calls past their deadline, as of the last tick
	kick    chan struct{}        // a probe is wanted now
	ctx     context.Context      //nolint:containedctx // of Open, Present and watches: ends with the volume
	cancel  context.CancelFunc
	news    news

	mu      sync.Mutex // guards what follows; held for memory only
	closed  bool
	current *opening              // nil while Away
	past    map[*opening]struct{} // ended, with calls still in them
	caps    volume.Caps
	marker  volume.Marker
	probes  []*probe // under way, the newest last
	// stalling is the gate that stall is about to take the place of: all are being told that it is Stalled. Nil: none, or it answered meanwhile.
	stalling *gate
}

// gate is what stands between callers and the host during one State.
type gate struct {
	state volume.State
	o     *opening      // nil: shut
	over  chan struct{} // closed when another takes its place
}

// New guards a volume. It waits for nothing: without Options.First the volume is opened in the
// background, and by Attach.
func New(o Options) *Volume {
	o.complete()
	g := &Volume{o: o, tick: max(min(o.Deadline/tickParts, o.ProbeEvery/probeTicks), time.Millisecond), kick: make(chan struct{}, 1), past: map[*opening]struct{}{}, marker: o.Marker}
	if o.StallAfter > 0 {
		g.stallAfter = int64((o.StallAfter + g.tick - 1) / g.tick) // a call of more ticks than that is older
	}
	g.root, g.private = &dir{g: g, which: rootDir}, &dir{g: g, which: privateDir}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.news.init()
	g.now.Store(1)
	state := volume.State{Health: volume.Away, Reason: "it was not opened yet", Since: time.Now()}
	if o.First != nil {
		g.current = newOpening(g, o.First, 1)
		state = volume.State{Health: volume.Online, Since: time.Now(), Attached: 1}
		g.caps, g.marker = o.First.Caps(), o.First.Marker()
	}
	g.gate.Store(&gate{state: state, o: g.current, over: make(chan struct{})})
	if o.First == nil {
		g.wake()
	}
	go g.run()
	return g
}

// ID is the volume's own.
func (g *Volume) ID() volume.ID { return g.o.ID }

// Name is the operator's.
func (g *Volume) Name() string { return g.o.Name }

// Caps are those of the last opening; zero if there was none.
func (g *Volume) Caps() volume.Caps {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.caps
}

// Marker is what the last opening said, or Options.Marker.
func (g *Volume) Marker() volume.Marker {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.marker
}

// Root is the volume's directory, over all openings.
func (g *Volume) Root() volume.Dir { return g.root }

// Private is volume.PrivateName, over all openings.
func (g *Volume) Private() volume.Dir { return g.private }

// State is the volume's health now.
func (g *Volume) State() volume.State { return g.gate.Load().state }

// Notify implements volume.Comer. That a volume went is told to all before it can be used
// again; that it came, after it can be used.
func (g *Volume) Notify(f func(volume.State)) (cancel func()) { return g.news.subscribe(f) }

// Stalled is for how long calls of a kind have been with the host and none has come back, as of the last tick.
func (g *Volume) Stalled() time.Duration {
	o := g.gate.Load().o
	if o == nil {
		return 0
	}
	still := int64(0)
	for i := range o.kinds {
		still = max(still, o.kinds[i].still.Load())
	}
	return time.Duration(still) * g.tick
}

// Stats is how busy a volume is.
type Stats struct {
	InFlight int    // calls that are with the host
	Waiting  int    // calls that wait for their turn
	Hung     int    // of InFlight and of former openings': past their deadline
	Refused  uint64 // calls, since the start
}

// Stats are now's, but for Hung, which is a tick old at most.
func (g *Volume) Stats() Stats {
	s := Stats{Refused: g.refused.Load(), Hung: int(g.hung.Load())}
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.current; o != nil {
		for i := range o.kinds {
			k := &o.kinds[i]
			s.InFlight += len(k.slots) - len(k.free)
			s.Waiting += int(k.waiting.Load())
		}
	}
	return s
}

// Space is asked of the host.
func (g *Volume) Space(ctx context.Context) (volume.Space, error) {
	gt := g.gate.Load()
	return look(ctx, call{g: g, op: volume.OpSpace, gt: gt, o: gt.o}, func(ctx context.Context) (volume.Space, error) { return gt.o.vol.Space(ctx) }, nil)
}

// Locate is asked of the host.
func (g *Volume) Locate(ctx context.Context, ino uint64, gen uint32) ([]vfs.Name, error) {
	gt := g.gate.Load()
	return look(ctx, call{g: g, op: volume.OpLocate, gt: gt, o: gt.o}, func(ctx context.Context) ([]vfs.Name, error) { return gt.o.vol.Locate(ctx, ino, gen) }, nil)
}

// SyncAll is waited for.
func (g *Volume) SyncAll(ctx context.Context) error {
	gt := g.gate.Load()
	c := call{g: g, op: volume.OpSyncAll, gt: gt, o: gt.o}
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	return c.exit(s, gt.o.vol.SyncAll(ctx))
}

// SetMarker is waited for.
func (g *Volume) SetMarker(ctx context.Context, m volume.Marker) error {
	gt := g.gate.Load()
	c := call{g: g, op: volume.OpSetMarker, gt: gt, o: gt.o}
	s, err := c.enter(ctx)
	if err != nil {
		return err
	}
	if err = gt.o.vol.SetMarker(ctx, m); err == nil {
		m = gt.o.vol.Marker()
		g.mu.Lock()
		g.marker = m
		g.mu.Unlock()
	}
	return c.exit(s, err)
}

// Attach opens the volume now if it is Away, and says why not. ctx ends waiting for it.
func (g *Volume) Attach(ctx context.Context) error {
	p := g.startProbe(true)
	if p == nil {
		return g.refusal("it is closed, or too many attempts hang", nil)
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close refuses all further calls and closes what is open, after calls under way have
// ended. It waits for them for CloseWait; then it returns an error, and what
// is left is closed, and the volume's lock given up, when they end.
func (g *Volume) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return &vfs.Error{Status: vfs.ServerFault, Op: "close volume", Volume: g.o.Name, Err: errors.New("closed twice")}
	}
	g.closed = true
	g.cancel()
	o := g.current
	g.shut(volume.State{Health: volume.Away, Reason: "it was closed", Since: time.Now(), Attached: g.gate.Load().state.Attached}, nil)
	all := []*opening{}
	for p := range g.past {
		all = append(all, p)
	}
	g.mu.Unlock()
	wait := time.NewTimer(CloseWait)
	defer wait.Stop()
	for _, p := range all {
		select {
		case <-p.finished:
		case <-wait.C:
			return &vfs.Error{
				Status: vfs.Jukebox, Op: "close volume", Volume: g.o.Name,
				Err: fmt.Errorf("%d calls hang in it", g.inside(all)), Do: "its lock is given up when they come back or the process ends",
			}
		}
	}
	g.news.wait()
	if o != nil {
		return o.closeErr
	}
	return nil
}

// inside counts the calls in openings that have ended.
func (g *Volume) inside(all []*opening) (n int64) {
	for _, p := range all {
		n += max(0, p.calls.Load()+endedBias)
	}
	return n
}
