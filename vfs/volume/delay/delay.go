package delay

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
)

// Rule says which operations take longer, and by how much.
type Rule struct {
	hook.Pick
	Min, Max time.Duration // uniform between them; Max may be zero: then it is Min
}

// Volume is a volume with delays.
type Volume struct {
	*hook.Volume
	rules   *hook.Rules[Rule]
	hanging atomic.Int64 // operations

	mu    sync.RWMutex // guards the rest
	rand  *rand.Rand
	hangs []*hang
}

// hang is what Hang began.
type hang struct {
	ops  []volume.Op
	over chan struct{}
}

// New decorates v, without a rule yet.
func New(v volume.Volume, seed uint64) *Volume {
	d := &Volume{rules: hook.NewRules(seed, func(r *Rule) hook.Pick { return r.Pick }), rand: rand.New(rand.NewPCG(seed, 1))}
	d.Volume = hook.New(v, d.around)
	return d
}

// Caps are the volume's, but for what may wait now.
func (d *Volume) Caps() volume.Caps {
	c := d.Volume.Caps()
	c.StatNow = false
	return c
}

// Set replaces all rules; of several that fit the first counts. None: nothing is delayed. What
// waits goes on waiting.
func (d *Volume) Set(rules ...Rule) { d.rules.Set(rules) }

// Hang makes operations hang, all but Close if none is named, until release is called; it may be
// called again.
func (d *Volume) Hang(ops ...volume.Op) (release func()) {
	h := &hang{ops: slices.Clone(ops), over: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hangs = append(d.hangs, h)
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hangs = slices.DeleteFunc(d.hangs, func(o *hang) bool { return o == h })
		close(h.over)
	})
}

// Hanging is how many operations hang now.
func (d *Volume) Hanging() int { return int(d.hanging.Load()) }

// Delayed is how many operations were delayed by rules.
func (d *Volume) Delayed() uint64 { return d.rules.Applied() }

// around is the hook.
func (d *Volume) around(_ context.Context, op volume.Op, next func() error) error {
	for over := d.hangsNow(op); over != nil; over = d.hangsNow(op) {
		if op == volume.OpReadNow {
			return vfs.Again
		}
		d.hanging.Add(1)
		<-over
		d.hanging.Add(-1)
	}
	if wait := d.wait(op); wait > 0 {
		if op == volume.OpReadNow {
			return vfs.Again
		}
		time.Sleep(wait)
	}
	return next()
}

// hangsNow is closed when op need not hang any more; nil if it need not.
func (d *Volume) hangsNow(op volume.Op) chan struct{} {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, h := range d.hangs {
		if slices.Contains(h.ops, op) || len(h.ops) == 0 && op != volume.OpClose {
			return h.over
		}
	}
	return nil
}

// wait is how long op is delayed.
func (d *Volume) wait(op volume.Op) time.Duration {
	r, ok := d.rules.For(op)
	if !ok || r.Max <= r.Min {
		return r.Min
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return r.Min + time.Duration(d.rand.Int64N(int64(r.Max-r.Min)+1))
}
