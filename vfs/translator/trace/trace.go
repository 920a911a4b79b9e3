// Package trace is a layer that writes calls to the log: arguments, result and time.
//
// Which calls is said by filters; a call must pass all that are given:
//
//	verbs    only these
//	clients  only of these addresses and networks
//	uids     only of these users (after squashing)
//	path     only on this object and what lies below it; a path in the share, which is looked up anew every second
//	errors   only those that fail; "true", or a list of statuses
//	slower   only those that took at least so long
//	sample   this part of what passes all else, from 0 to 1
//
// A line has verb, node, name and the verb's other arguments, client, uid, export, took, and the result: status and
// what the verb gives. Data is never written. At most per-second lines come in a second, further ones are counted,
// and how many they were stands in the next line (skipped).
//
// path costs: a call that it is asked of goes to a worker, since finding out where an object lies may wait for a volume.
package trace

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// Bounds and defaults of the options.
const (
	DefaultPerSecond = 1000
	MaxPerSecond     = 1_000_000
)

// Kind is the kind "trace".
var Kind = translator.Kind{
	Name: "trace",
	Help: "Writes calls to the log, with arguments, result and time. Filters: verbs, clients, uids, path, errors, slower, sample. level: of the lines, info. per-second: lines at most, 1000.",
	New: func(o *translator.Options) translator.Build {
		f := newFilter(o)
		var level slog.Level
		if err := level.UnmarshalText([]byte(o.Choice("level", "info", "debug", "info", "warn", "error"))); err != nil {
			o.Fail("level", "%v", err)
		}
		limit := o.Int("per-second", DefaultPerSecond, 1, MaxPerSecond)
		return func(_ context.Context, env translator.Env) (translator.Layer, error) {
			l := &layer{filter: f, level: level, log: env.Log, limit: limit, inside: &inside{path: f.path}}
			return translator.Layer{FS: translator.Around(env.Below, l.hook), Counts: l.counts}, nil
		}
	},
}

// filter is which calls are written.
type filter struct {
	verbs      [translator.NumVerbs]bool
	someVerbs  bool
	clients    []netip.Prefix
	uids       map[uint32]bool
	path       []vfs.Name
	hasPath    bool
	failed     bool // only these
	statuses   map[vfs.Status]bool
	slower     time.Duration
	sample     float64
	allClients bool
}

func newFilter(o *translator.Options) filter {
	var f filter
	f.verbs, f.someVerbs = o.Verbs("verbs")
	f.clients, f.allClients = o.Prefixes("clients"), !o.Has("clients")
	f.uids = o.IDs("uids")
	if f.hasPath = o.Has("path"); f.hasPath {
		var err error
		if f.path, err = translator.ParsePath(o.Text("path", "/")); err != nil {
			o.Fail("path", "%v", err)
		}
	}
	f.slower = o.Duration("slower", 0, 0, time.Hour)
	f.sample = o.Float("sample", 1, 0, 1)
	f.readErrors(o)
	return f
}

// readErrors reads the option errors: a bool, or a list of statuses.
func (f *filter) readErrors(o *translator.Options) {
	if o.Is("errors", true) || o.Is("errors", false) {
		f.failed = o.Bool("errors", false)
		return
	}
	for _, s := range o.Texts("errors") {
		st, err := vfs.ParseStatus(s)
		if err != nil {
			o.Fail("errors", "%v", err)
			continue
		}
		if f.statuses == nil {
			f.statuses = make(map[vfs.Status]bool)
		}
		f.statuses[st] = true
		f.failed = true
	}
}

// before decides by what is known before the call.
func (f *filter) before(c *translator.Call) bool {
	return (!f.someVerbs || f.verbs[c.Verb]) &&
		(f.allClients || translator.Contain(f.clients, c.Who.Client)) &&
		(f.uids == nil || f.uids[c.Who.UID])
}

// after decides by how it went.
func (f *filter) after(err error, took time.Duration) bool {
	if f.failed && (err == nil || f.statuses != nil && !f.statuses[vfs.StatusOf(err)]) {
		return false
	}
	return took >= f.slower && (f.sample >= 1 || rand.Float64() < f.sample)
}

// layer is an instance.
type layer struct {
	filter filter
	level  slog.Level
	log    *slog.Logger
	inside *inside

	limit   int64
	second  atomic.Int64 // that written is of
	written atomic.Int64
	skipped atomic.Int64 // lines, since the last one
	lines   atomic.Uint64
	lost    atomic.Uint64
}

// hook writes a call.
func (l *layer) hook(ctx context.Context, c *translator.Call, next translator.Next) error {
	if !l.filter.before(c) || !l.log.Enabled(ctx, l.level) {
		return next(ctx, c)
	}
	if l.filter.hasPath {
		if c.Who.NoWait {
			return vfs.Again
		}
		// Before the call: a name that it removes leads nowhere afterwards.
		if !l.inside.has(ctx, c) {
			return next(ctx, c)
		}
	}
	args := arguments(c) // before the call: what is below may change them
	began := time.Now()
	err := next(ctx, c)
	if took := time.Since(began); translator.Done(err) && l.filter.after(err, took) {
		l.write(ctx, c, args, took, err)
	}
	return err
}

// write writes a line, if there is room for it.
func (l *layer) write(ctx context.Context, c *translator.Call, args asked, took time.Duration, err error) {
	if !l.turn(time.Now().Unix()) {
		l.skipped.Add(1)
		l.lost.Add(1)
		return
	}
	l.lines.Add(1)
	line := make([]slog.Attr, 0, 24)
	line = args.line(line)
	line = append(line, slog.Duration("took", took), slog.String("status", vfs.StatusOf(err).Name()))
	if err != nil {
		line = append(line, slog.String("err", err.Error()))
	}
	line = results(line, c, err)
	if n := l.skipped.Swap(0); n > 0 {
		line = append(line, slog.Int64("skipped", n))
	}
	l.log.LogAttrs(ctx, l.level, "call", line...)
}

// turn reports whether one more line may be written in this second.
func (l *layer) turn(now int64) bool {
	if was := l.second.Load(); was != now && l.second.CompareAndSwap(was, now) {
		l.written.Store(0)
	}
	return l.written.Add(1) <= l.limit
}

func (l *layer) counts() []translator.Count {
	return []translator.Count{
		{Name: "lines_total", Help: "Calls that were written to the log.", Value: float64(l.lines.Load())},
		{Name: "skipped_total", Help: "Calls that were not, since there were too many in a second.", Value: float64(l.lost.Load())},
	}
}
