package fault

import (
	"context"
	"errors"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
)

// Errors that are in every error made here.
var (
	ErrInjected = errors.New("made to fail by a rule")
	ErrPulled   = errors.New("made to fail: the volume was pulled out")
)

// Rule says which operations fail, and how.
type Rule struct {
	hook.Pick
	Status vfs.Status // what they fail with; OK is vfs.IO
	// After: the operation is made before it fails, as when a disk goes between the change and
	// its word of it. What it opened is closed.
	After bool
}

// Volume is a volume with faults.
type Volume struct {
	*hook.Volume
	name   string
	rules  *hook.Rules[Rule]
	pulled atomic.Bool
}

// New decorates v, without a rule yet.
func New(v volume.Volume, seed uint64) *Volume {
	f := &Volume{name: v.Name(), rules: hook.NewRules(seed, func(r *Rule) hook.Pick { return r.Pick })}
	f.Volume = hook.New(v, f.around)
	return f
}

// Set replaces all rules; of several that fit the first counts. None: nothing fails.
func (f *Volume) Set(rules ...Rule) { f.rules.Set(rules) }

// PullOut makes everything fail with NXIO from now on, what is open too; closing works.
func (f *Volume) PullOut() { f.pulled.Store(true) }

// PutBack takes PullOut back: for those who opened it anew, or for a loose cable.
func (f *Volume) PutBack() { f.pulled.Store(false) }

// Present is volume.ErrGone while it is pulled out, for guard.Options.
func (f *Volume) Present() error {
	if f.pulled.Load() {
		return f.fail(volume.OpProbe, vfs.NXIO, errors.Join(volume.ErrGone, ErrPulled))
	}
	return nil
}

// Injected is how many operations failed by rules.
func (f *Volume) Injected() uint64 { return f.rules.Applied() }

func (f *Volume) fail(op volume.Op, s vfs.Status, cause error) error {
	return &vfs.Error{Status: s, Op: op.String(), Volume: f.name, Err: cause}
}

// around is the hook.
func (f *Volume) around(_ context.Context, op volume.Op, next func() error) error {
	if op != volume.OpClose && f.pulled.Load() {
		return f.fail(op, vfs.NXIO, ErrPulled)
	}
	rule, ok := f.rules.For(op)
	if !ok {
		return next()
	}
	if rule.After {
		if err := next(); err != nil {
			return err
		}
	}
	status := rule.Status
	if status == vfs.OK {
		status = vfs.IO
	}
	return f.fail(op, status, ErrInjected)
}
