package script

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"go.starlark.net/starlark"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// stepsAtOnce is after how many steps the clock is looked at: some 30 µs.
const stepsAtOnce = 1024

// runner runs functions of a script, one at a time: a thread and the room for what one call needs.
type runner struct {
	script  *Script
	thread  *starlark.Thread
	limit   uint64 // steps of the function that runs
	began   time.Time
	memory  int64 // bytes that the function may still build; see guard.go
	call    call
	result  result
	args    [2]starlark.Value
	loading bool
	broken  bool // an error or a panic went through it: it is not used again
}

// runnerKey is what a thread knows its runner by.
const runnerKey = "runner"

func newRunner(s *Script) *runner {
	r := &runner{script: s, thread: &starlark.Thread{Name: s.opts.Name}}
	r.thread.Print = func(t *starlark.Thread, msg string) {
		s.opts.Log.Debug("script prints", "at", t.CallFrame(1).Pos.String(), "text", cut(msg))
	}
	r.thread.OnMaxSteps = r.check
	r.thread.SetLocal(runnerKey, r)
	return r
}

// check is called every few steps: it ends a function that exceeds its limits.
func (r *runner) check(t *starlark.Thread) {
	switch {
	case t.Steps >= r.limit:
		t.Cancel(fmt.Sprintf("it took more than %d steps (max-steps)", r.limit))
	case !time.Now().Before(r.deadline()):
		t.Cancel(fmt.Sprintf("it took longer than %v (deadline)", r.script.opts.Deadline))
	default:
		t.SetMaxExecutionSteps(min(t.Steps+stepsAtOnce, r.limit))
	}
}

// deadline is when the function that runs must have ended. The clock starts when it is first asked for, so that
// a short function does not pay for it: after stepsAtOnce, or before something is asked below.
func (r *runner) deadline() time.Time {
	if r.began.IsZero() {
		r.began = time.Now()
	}
	return r.began.Add(r.script.opts.Deadline)
}

// run calls f with the limits of a call. Whatever goes wrong, a panic too, is a *failure.
func (r *runner) run(f *starlark.Function, limit uint64, args starlark.Tuple) (v starlark.Value, err error) {
	r.limit, r.began, r.memory = limit, time.Time{}, r.script.opts.Memory
	r.thread.Steps = 0
	r.thread.SetMaxExecutionSteps(min(stepsAtOnce, limit))
	defer func() {
		if p := recover(); p != nil {
			r.broken = true
			err = &failure{script: r.script.opts.Name, function: f.Name(), at: f.Position().String(), err: fmt.Errorf("panic: %v", p), trace: string(debug.Stack())}
		}
	}()
	if v, err = starlark.Call(r.thread, f, args, nil); err != nil {
		r.broken = true
		return nil, r.script.failed(f, err)
	}
	return v, nil
}

// failure is an error of a script. It is logged where it happens, with a limit on how often, so nobody above does
// it again (vfs.Announced).
type failure struct {
	script, function string
	at               string // file:line:column
	err              error
	trace            string
}

func (f *failure) Error() string {
	// What the interpreter says may quote a value of the script.
	return fmt.Sprintf("script %q: %s: %s: %s", f.script, f.at, f.function, cut(f.err.Error()))
}
func (f *failure) Unwrap() error { return f.err }

// Announced implements the convention of vfs.Announced.
func (f *failure) Announced() bool { return true }

// failed is what the interpreter says of f.
func (s *Script) failed(f *starlark.Function, err error) *failure {
	out := &failure{script: s.opts.Name, function: f.Name(), at: f.Position().String(), err: err}
	if ee, ok := errors.AsType[*starlark.EvalError](err); ok {
		out.trace = ee.Backtrace()
		for _, fr := range slices.Backward(ee.CallStack) {
			if p := fr.Pos; p.IsValid() && p.Filename() == s.file {
				out.at = p.String()
				break
			}
		}
	}
	return out
}

// hook is the script as a translator.Hook.
func (s *Script) hook(ctx context.Context, c *translator.Call, next translator.Next) error {
	v := verbOf(c)
	h := &s.hooks[v]
	switch {
	case !h.any():
		return next(ctx, c)
	case c.Who.NoWait:
		return vfs.Again // a script may take long: it runs on a worker
	}
	r := s.runners.Get().(*runner)
	r.call.begin(c, v)
	defer r.done()
	r.call.ctx = ctx //nolint:fatcontext // of this call alone: done clears it
	if h.down != nil {
		if answered, err := r.down(h.down, c); answered {
			return err
		}
	}
	r.call.changing = false
	if v == vReadDir && s.entry != nil {
		return r.readDir(ctx, c, next, h)
	}
	err := next(ctx, c)
	if h.up == nil || !translator.Done(err) {
		return err
	}
	return r.up(h.up, c, err)
}

// done ends the call, and keeps r for another.
func (r *runner) done() {
	r.call.end()
	r.result, r.args = result{}, [2]starlark.Value{}
	if !r.broken {
		r.script.runners.Put(r)
	}
}

// down runs f before c is made below. answered says that it is not to be made.
func (r *runner) down(f *starlark.Function, c *translator.Call) (answered bool, err error) {
	r.script.calls[down].Add(1)
	r.args[0] = &r.call
	name, toName, set, how := c.Name, c.ToName, c.Set, c.How
	v, err := r.run(f, r.script.opts.MaxSteps, r.args[:1])
	if err == nil {
		var wrong error
		if answered, err, wrong = give(c, r.call.v, v, false, nil); wrong == nil {
			if answered && err != nil {
				r.script.calls[refusals].Add(1)
			}
			return answered, err
		}
		err = r.wrong(f, wrong)
	}
	c.Name, c.ToName, c.Set, c.How = name, toName, set, how
	return r.script.fault(err)
}

// up runs f on what came back from below.
func (r *runner) up(f *starlark.Function, c *translator.Call, made error) error {
	r.script.calls[up].Add(1)
	r.result = result{c: c, v: r.call.v, err: made}
	r.args[0], r.args[1] = &r.call, &r.result
	v, err := r.run(f, r.script.opts.MaxSteps, r.args[:2])
	if err == nil {
		answered, err, wrong := give(c, r.call.v, v, true, made)
		switch {
		case wrong != nil:
			_, err = r.script.fault(r.wrong(f, wrong))
			return orMade(err, made)
		case answered:
			return err
		}
		return made
	}
	_, err = r.script.fault(err)
	return orMade(err, made)
}

func orMade(err, made error) error {
	if err != nil {
		return err
	}
	return made
}

// wrong is the error of a function that returned what it must not.
func (r *runner) wrong(f *starlark.Function, err error) *failure {
	return &failure{script: r.script.opts.Name, function: f.Name(), at: f.Position().String(), err: err}
}

// listingSteps is how many times max-steps one listing may take for all its entries.
const listingSteps = 10

// readDir makes a listing below and shows each entry to readdir_entry. The file system below may hold
// locks meanwhile, so that function can ask nothing below.
func (r *runner) readDir(ctx context.Context, c *translator.Call, next translator.Next, h *hooks) error {
	each, s := c.Each, r.script
	var failed error
	var e dirEntry
	left := listingSteps * s.opts.MaxSteps
	r.call.noBelow = true
	c.Each = func(de *vfs.DirEntry) bool {
		e = dirEntry{name: de.Name.String(), cookie: de.Cookie, node: de.Node}
		if de.HasAttr {
			e.attr = &de.Attr
		}
		r.args[0], r.args[1] = &r.call, &e
		v, err := r.run(s.entry, min(s.opts.MaxSteps, left), r.args[:2])
		left -= min(left, r.thread.Steps)
		keep, ok := v.(starlark.Bool)
		if err == nil && v != starlark.None && !ok {
			err = r.wrong(s.entry, fmt.Errorf("returned a %s, want True to show the entry, False to hide it, or None", v.Type()))
		}
		if err != nil {
			if _, failed = s.fault(err); failed != nil {
				return false
			}
			r.thread.Uncancel()
		} else if ok && !bool(keep) {
			return true
		}
		return each(de)
	}
	err := next(ctx, c)
	r.call.noBelow = false
	switch {
	case failed != nil:
		return failed
	case h.up == nil || !translator.Done(err):
		return err
	}
	return r.up(h.up, c, err)
}

// fault counts and logs err, and gives the answer that goes with it: JUKEBOX if the file system below was too slow,
// else that nothing was said, with on-error "pass", or SERVERFAULT.
func (s *Script) fault(err error) (answered bool, answer error) {
	s.calls[faults].Add(1)
	s.report(err)
	switch {
	case errors.Is(err, errLate):
		return true, vfs.Jukebox
	case s.opts.Pass:
		return false, nil
	}
	return true, &vfs.Error{Status: vfs.ServerFault, Op: "run", Object: s.opts.Name, Err: err, Do: "correct the script, or set on-error: pass"}
}

// report logs err, with a limit on how often.
func (s *Script) report(err error) {
	if !s.reports.Allow() {
		s.unreported.Add(1)
		return
	}
	args := []any{"err", err}
	if f, ok := errors.AsType[*failure](err); ok && f.trace != "" {
		args = append(args, "trace", cut(f.trace))
	}
	if n := s.unreported.Swap(0); n > 0 {
		args = append(args, "unreported", n)
	}
	s.opts.Log.Error("script failed", args...)
}

// events is called with news from below.
func (s *Script) event(e vfs.Event) {
	if s.forget == nil {
		return
	}
	r := s.runners.Get().(*runner)
	defer r.done()
	r.args[0] = newEvent(e)
	v, err := r.run(s.forget, s.opts.EventSteps, r.args[:1])
	if err == nil && v != starlark.None {
		err = r.wrong(s.forget, fmt.Errorf("returned a %s, want None", v.Type()))
	}
	if err == nil {
		return
	}
	// What should have been forgotten is not known, so all is.
	s.calls[faults].Add(1)
	s.report(err)
	for _, t := range s.tables {
		t.clear()
	}
}
