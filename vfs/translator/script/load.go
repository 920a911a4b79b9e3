package script

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"sheaf/vfs"
)

// dialect is what of Starlark's options scripts have: sets, and if and for at the top. There is no while and no
// recursion, so that every script ends, and no load: a script is one file.
var dialect = &syntax.FileOptions{Set: true, TopLevelControl: true}

// load parses the script, runs its top level and takes its functions.
func (s *Script) load() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while loading: %v", p)
		}
	}()
	text, err := s.opts.source()
	if err != nil {
		return err
	}
	f, err := dialect.Parse(s.file, text, 0)
	if err != nil {
		return err
	}
	if err := refuseLoad(f); err != nil {
		return err
	}
	if err := guard(f); err != nil {
		return err
	}
	known := s.predeclared()
	prog, err := starlark.FileProgram(f, known.Has)
	if err != nil {
		return err
	}
	globals, err := s.top(prog, known)
	if err != nil {
		return err
	}
	if err := s.take(globals, f); err != nil {
		return err
	}
	return s.opts.unknown(known["options"].(*options))
}

func refuseLoad(f *syntax.File) (err error) {
	for _, st := range f.Stmts {
		syntax.Walk(st, func(n syntax.Node) bool {
			if l, ok := n.(*syntax.LoadStmt); ok && err == nil {
				err = fmt.Errorf("%v: load: a script is one file and can load no other", l.Load)
			}
			return err == nil
		})
	}
	return err
}

// top runs the top level, where tables and counters are made, within the limits of loading.
func (s *Script) top(prog *starlark.Program, known starlark.StringDict) (starlark.StringDict, error) {
	r := newRunner(s)
	r.limit, r.memory, r.loading = max(loadSteps, loadTimes*s.opts.MaxSteps), s.opts.Memory, true
	r.began = time.Now().Add((loadDeadlines - 1) * s.opts.Deadline)
	r.thread.SetMaxExecutionSteps(stepsAtOnce)
	globals, err := prog.Init(r.thread, known)
	if err != nil {
		if ee, ok := errors.AsType[*starlark.EvalError](err); ok {
			return nil, errors.New(ee.Backtrace())
		}
		return nil, err
	}
	globals.Freeze()
	return globals, nil
}

// take finds the functions that are called, and names the tables.
func (s *Script) take(globals starlark.StringDict, f *syntax.File) error {
	c := checker{defs: defsOf(f)}
	for _, name := range globals.Keys() {
		v := globals[name]
		if t, ok := v.(*table); ok {
			t.name = name
		}
		h, isHook := hookNames[name]
		if !isHook {
			if fn, ok := v.(*starlark.Function); ok && !strings.HasPrefix(name, "_") {
				if err := misspelt(name, fn); err != nil {
					return err
				}
			}
			continue
		}
		fn, ok := v.(*starlark.Function)
		if !ok {
			return fmt.Errorf("%s: %s is a %s, want a function: the server calls what has this name", s.file, name, v.Type())
		}
		if err := h.checkArity(name, fn); err != nil {
			return err
		}
		c.use(name, h, fn)
		s.install(h, fn)
		s.defined = append(s.defined, name)
	}
	for i, t := range s.tables {
		if t.name == "" {
			t.name = fmt.Sprintf("table%d", i+1)
		}
	}
	return c.check()
}

func (s *Script) install(h hook, fn *starlark.Function) {
	switch h.kind {
	case hookDown:
		s.hooks[h.verb].down = fn
	case hookUp:
		s.hooks[h.verb].up = fn
	case hookEntry:
		s.entry = fn
		s.hooks[vReadDir].entries = true
	case hookForget:
		s.forget = fn
	}
}

// hookKind is when a function is called.
type hookKind uint8

const (
	hookDown   hookKind = iota // VERB(call), before the call is made below
	hookUp                     // VERB_done(call, result), after
	hookEntry                  // readdir_entry(call, entry), for each entry of a listing
	hookForget                 // forget(event), with news from below
)

type hook struct {
	kind hookKind
	verb verb
}

// hookNames are all functions that the server calls.
var hookNames = func() map[string]hook {
	all := map[string]hook{"readdir_entry": {hookEntry, vReadDir}, "forget": {hookForget, noVerb}}
	for v := noVerb + 1; v < numVerbs; v++ {
		all[v.String()] = hook{hookDown, v}
		all[v.String()+"_done"] = hook{hookUp, v}
	}
	return all
}()

// params are what the functions of a kind are given.
var params = [...]string{hookDown: "call", hookUp: "call, result", hookEntry: "call, entry", hookForget: "event"}

func (h hook) checkArity(name string, fn *starlark.Function) error {
	want := strings.Count(params[h.kind], ",") + 1
	if fn.NumParams() == want && !fn.HasVarargs() && !fn.HasKwargs() && fn.NumKwonlyParams() == 0 {
		return nil
	}
	return fmt.Errorf("%v: %s must take exactly (%s)", fn.Position(), name, params[h.kind])
}

// otherNames are what other systems call the verbs.
var otherNames = map[string]string{
	"unlink": "remove", "delete": "remove", "removedir": "rmdir", "statfs": "fsstat", "statvfs": "fsstat",
	"limits": "fsinfo", "pathconf": "fsinfo", "stat": "getattr", "chmod": "setattr", "chown": "setattr",
	"truncate": "setattr", "utimes": "setattr", "readdirplus": "readdir", "getdents": "readdir",
	"make": "create, mkdir, symlink or mknod", "makedir": "mkdir", "fsync": "commit", "flush": "commit",
	"event": "forget", "invalidate": "forget",
}

// misspelt is an error if name looks as if a verb's function were meant.
func misspelt(name string, fn *starlark.Function) error {
	plain, done := strings.CutSuffix(name, "_done")
	meant := otherNames[plain]
	if meant != "" && done {
		meant += "_done"
	}
	if meant == "" {
		meant = nearest(name)
	}
	if meant == "" && done {
		return fmt.Errorf("%v: %s is no function that the server calls: there is no verb %s (a name that begins with _ is a function of your own)", fn.Position(), name, plain)
	}
	if meant == "" {
		return nil
	}
	return fmt.Errorf("%v: %s is no function that the server calls; did you mean %s? (a name that begins with _ is a function of your own)", fn.Position(), name, meant)
}

// nearest is the name of a function that the server calls which name differs from by little: by
// case and underscores, or by one letter more, less, other or exchanged, two in long names.
func nearest(name string) string {
	squeeze := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "") }
	n := squeeze(name)
	for _, want := range sortedKeys(hookNames) {
		w := squeeze(want)
		allowed := 1
		if len(w) >= 8 {
			allowed = 2
		}
		if distance(n, w, allowed) <= allowed {
			return want
		}
	}
	return ""
}

// distance is the number of letters to insert, delete, replace or exchange with the next, to come from a to b;
// limit+1 if it is more than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return min(one[len(b)], limit+1)
}

// eventKinds are the values of event.kind.
var eventKinds = map[vfs.EventKind]string{
	vfs.ForgetNode: "node", vfs.ForgetName: "name", vfs.ForgetVolume: "volume", vfs.ForgetAll: "all",
}
