package script

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"go.starlark.net/starlark"

	"sheaf/vfs"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// rights are the ACCESS_… constants.
var rights = map[string]vfs.AccessMask{
	"ACCESS_READ": vfs.AccessRead, "ACCESS_LOOKUP": vfs.AccessLookup, "ACCESS_MODIFY": vfs.AccessModify,
	"ACCESS_EXTEND": vfs.AccessExtend, "ACCESS_DELETE": vfs.AccessDelete, "ACCESS_EXECUTE": vfs.AccessExecute,
}

// predeclared is what a script finds beside Starlark's own.
func (s *Script) predeclared() starlark.StringDict {
	known := starlark.StringDict{
		"options":  newOptions(s.opts.Config),
		"table":    starlark.NewBuiltin("table", s.makeTable),
		"counter":  starlark.NewBuiltin("counter", s.makeCounter),
		"log":      starlark.NewBuiltin("log", s.log),
		"now":      starlark.NewBuiltin("now", now),
		"patterns": starlark.NewBuiltin("patterns", makePatterns),
		"fold":     starlark.NewBuiltin("fold", foldValue),
		"answer":   starlark.NewBuiltin("answer", makeAnswer),
	}
	for st, name := range statusNames {
		known[name] = status(st)
	}
	for name, m := range rights {
		known[name] = starlark.MakeInt(int(m))
	}
	maps.Copy(known, guarded)
	return known
}

// atLoad refuses what is for the top level of a script.
func atLoad(t *starlark.Thread, b *starlark.Builtin) error {
	if r, ok := t.Local(runnerKey).(*runner); !ok || !r.loading {
		return fmt.Errorf("%s can only be called while the script is loaded, at its top level", b.Name())
	}
	return nil
}

// makeTable is table(max=, ttl=).
func (s *Script) makeTable(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	entries := 100_000
	var ttl starlark.Value
	if err := errors.Join(atLoad(t, b), starlark.UnpackArgs(b.Name(), args, kwargs, "max?", &entries, "ttl??", &ttl)); err != nil {
		return nil, err
	}
	switch {
	case entries < 1 || entries > maxTableEntries:
		return nil, fmt.Errorf("table: max is %d, want 1 to %d", entries, maxTableEntries)
	case len(s.tables) >= maxTables:
		return nil, fmt.Errorf("table: a script can have %d", maxTables)
	}
	var life time.Duration
	if ttl != nil {
		var err error
		if life, err = duration(ttl); err != nil {
			return nil, fmt.Errorf("table: ttl: %w", err)
		}
	}
	tab := newTable(entries, s.opts.TableBytes, life)
	s.tables = append(s.tables, tab)
	return tab, nil
}

// counter is a number that a script counts up.
type counter struct {
	name, help string
	value      atomic.Uint64
	adder      *starlark.Builtin // made once, as a table's methods
}

// counterName is what metrics take as a name.
var counterName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// makeCounter is counter(name, help="").
func (s *Script) makeCounter(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	c := &counter{}
	if err := errors.Join(atLoad(t, b), starlark.UnpackArgs(b.Name(), args, kwargs, "name", &c.name, "help?", &c.help)); err != nil {
		return nil, err
	}
	switch {
	case !counterName.MatchString(c.name):
		return nil, fmt.Errorf("counter: %q is no name for one: want %v", c.name, counterName)
	case slices.ContainsFunc(s.counters, func(o *counter) bool { return o.name == c.name }):
		return nil, fmt.Errorf("counter: there is a %q already", c.name)
	case len(s.counters) >= maxCounters:
		return nil, fmt.Errorf("counter: a script can have %d", maxCounters)
	}
	c.adder = starlark.NewBuiltin("add", c.add)
	s.counters = append(s.counters, c)
	return c, nil
}

// add is add(n=1).
func (c *counter) add(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) == 0 && len(kwargs) == 0 {
		c.value.Add(1)
		return starlark.None, nil
	}
	var n uint64
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "n", &n); err != nil {
		return nil, err
	}
	c.value.Add(n)
	return starlark.None, nil
}

func (c *counter) String() string      { return fmt.Sprintf("counter(%s=%d)", c.name, c.value.Load()) }
func (*counter) Type() string          { return "counter" }
func (*counter) Freeze()               {}
func (*counter) Truth() starlark.Bool  { return true }
func (*counter) Hash() (uint32, error) { return 0, errUnhashable("counter") }

// Attr implements starlark.HasAttrs.
func (c *counter) Attr(name string) (starlark.Value, error) {
	switch name {
	case "add":
		return c.adder, nil
	case "value":
		return starlark.MakeUint64(c.value.Load()), nil
	default:
		return nil, nil
	}
}

// AttrNames implements starlark.HasAttrs.
func (*counter) AttrNames() []string { return []string{"add", "value"} }

// What one line of a log may hold.
const (
	maxLogText   = 4096 // bytes of a value, and of the message
	maxLogFields = 32
)

// cut is s, or its beginning.
func cut(s string) string {
	if len(s) > maxLogText {
		return s[:maxLogText] + "…"
	}
	return s
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// log is log(message, level="info", **fields).
func (s *Script) log(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var message string
	if err := starlark.UnpackPositionalArgs(b.Name(), args, nil, 1, &message); err != nil {
		return nil, err
	}
	level := slog.LevelInfo
	if len(kwargs) > maxLogFields {
		return nil, fmt.Errorf("log: more than %d fields", maxLogFields)
	}
	fields := make([]slog.Attr, 0, len(kwargs))
	for _, kv := range kwargs {
		key := string(kv[0].(starlark.String))
		if key == "level" {
			name, _ := starlark.AsString(kv[1])
			l, ok := logLevels[name]
			if !ok {
				return nil, fmt.Errorf("log: level is %v, want one of %s", kv[1], strings.Join(sortedKeys(logLevels), ", "))
			}
			level = l
			continue
		}
		a, err := logField(t, key, kv[1])
		if err != nil {
			return nil, err
		}
		fields = append(fields, a)
	}
	s.opts.Log.LogAttrs(context.Background(), level, cut(message), fields...) //nolint:sloglint // the message is the script's
	return starlark.None, nil
}

// logField is v as the field key.
func logField(t *starlark.Thread, key string, v starlark.Value) (slog.Attr, error) {
	switch v := v.(type) {
	case starlark.String:
		return slog.String(key, cut(string(v))), nil
	case starlark.Bool:
		return slog.Bool(key, bool(v)), nil
	case starlark.Int:
		if i, ok := v.Int64(); ok {
			return slog.Int64(key, i), nil
		}
		if u, ok := v.Uint64(); ok {
			return slog.Uint64(key, u), nil
		}
	case starlark.Float:
		return slog.Float64(key, float64(v)), nil
	case status:
		return slog.String(key, v.String()), nil
	}
	text, err := textOf(t, v)
	return slog.String(key, cut(text)), err
}

// now is now(): the time, in seconds since 1970.
func now(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	return seconds(vfs.TimeOf(time.Now())), nil
}

// patternSet is a list of shell patterns (path.Match).
type patternSet struct {
	list []string
	fold bool
}

// makePatterns is patterns(list, fold=False).
func makePatterns(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var list starlark.Iterable
	p := &patternSet{}
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "list", &list, "fold?", &p.fold); err != nil {
		return nil, err
	}
	for v := range starlark.Elements(list) {
		s, ok := starlark.AsString(v)
		if !ok {
			return nil, fmt.Errorf("patterns: %v is a %s, want string", v, v.Type())
		}
		if _, err := path.Match(s, ""); err != nil || s == "" || len(s) > 1024 {
			return nil, fmt.Errorf("patterns: %q is no pattern: want *, ?, [a-z] and \\ as a shell has them, at most 1024 bytes", s)
		}
		if p.fold {
			s = fold(s)
		}
		p.list = append(p.list, s)
	}
	return p, nil
}

func (p *patternSet) String() string       { return fmt.Sprintf("patterns(%q)", p.list) }
func (*patternSet) Type() string           { return "patterns" }
func (*patternSet) Freeze()                {}
func (p *patternSet) Truth() starlark.Bool { return len(p.list) > 0 }
func (*patternSet) Hash() (uint32, error)  { return 0, errUnhashable("patterns") }

// Attr implements starlark.HasAttrs.
func (p *patternSet) Attr(name string) (starlark.Value, error) {
	if name != "match" {
		return nil, nil
	}
	return starlark.NewBuiltin("match", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var s string
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &s); err != nil {
			return nil, err
		}
		return p.match(s), nil
	}), nil
}

// AttrNames implements starlark.HasAttrs.
func (*patternSet) AttrNames() []string { return []string{"match"} }

// match is the first pattern that matches all of s, None if none does.
func (p *patternSet) match(s string) starlark.Value {
	if p.fold {
		s = fold(s)
	}
	for _, pat := range p.list {
		if ok, _ := path.Match(pat, s); ok { // a pattern that is malformed was refused
			return starlark.String(pat)
		}
	}
	return starlark.None
}

func foldValue(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var s string
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "s", &s); err != nil {
		return nil, err
	}
	return starlark.String(fold(s)), nil
}

// fold is s so that strings which differ in case only are equal: each letter is the least of those that
// Unicode's simple folding takes for one. Bytes that are no UTF-8 stay.
func fold(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b.WriteByte(s[i])
		} else {
			b.WriteRune(foldRune(r))
		}
		i += n
	}
	return b.String()
}

func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		if r != 'k' && r != 's' { // these fold with the Kelvin sign and the long s
			return r
		}
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if 'A' <= least && least <= 'Z' {
		return least + 'a' - 'A'
	}
	return least
}

// event is news from below.
type event struct {
	e    vfs.Event
	node node
}

func newEvent(e vfs.Event) *event { return &event{e: e, node: node{vfs.Node{ID: e.Node}}} }

var eventFields = map[string]func(*event) starlark.Value{
	"kind": func(e *event) starlark.Value { return starlark.String(eventKinds[e.e.Kind]) },
	"node": func(e *event) starlark.Value {
		if e.e.Node.IsZero() {
			return starlark.None
		}
		return &e.node
	},
	"name": func(e *event) starlark.Value {
		if e.e.Name.IsZero() {
			return starlark.None
		}
		return starlark.String(e.e.Name.String())
	},
	"volume": func(e *event) starlark.Value { return starlark.String(e.e.Volume) },
}

func (e *event) String() string      { return "event(" + eventKinds[e.e.Kind] + ")" }
func (*event) Type() string          { return "event" }
func (*event) Freeze()               {}
func (*event) Truth() starlark.Bool  { return true }
func (*event) Hash() (uint32, error) { return 0, errUnhashable("event") }

// Attr implements starlark.HasAttrs.
func (e *event) Attr(name string) (starlark.Value, error) {
	if f := eventFields[name]; f != nil {
		return f(e), nil
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (*event) AttrNames() []string { return sortedKeys(eventFields) }
