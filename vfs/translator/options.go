package translator

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sheaf/vfs"
)

// Options are what the configuration says to one layer: values by key, of the types that YAML and JSON have (string,
// bool, int and the like, float64, []any, map[string]any). Each is read by the method for its type. A mistake does not
// end the reading: the methods give the default then, and all mistakes come out together, those of keys
// that nobody read with them.
type Options struct {
	place   string // in front of mistakes
	values  map[string]any
	read    map[string]bool
	known   []string // in the order they were asked for
	errs    *[]error
	depends *[]string
}

// ReadOptions are values to be read strictly by others than layers.
func ReadOptions(values map[string]any) *Options { return newOptions("", values) }

func newOptions(place string, values map[string]any) *Options {
	return &Options{place: place, values: values, read: map[string]bool{}, errs: new([]error), depends: new([]string)}
}

// Fail says what is wrong with the value of key.
func (o *Options) Fail(key, format string, args ...any) {
	*o.errs = append(*o.errs, fmt.Errorf("%s%s: %s", o.place, key, fmt.Sprintf(format, args...)))
}

// Depends says that the layer rests on what is not in its options, such as the content of a file: an instance is kept
// over a reload only if its options and all that it depends on are the same.
func (o *Options) Depends(content string) { *o.depends = append(*o.depends, content) }

// Has reports whether key is given.
func (o *Options) Has(key string) bool {
	v, ok := o.get(key)
	return ok && v != nil
}

func (o *Options) get(key string) (any, bool) {
	if !o.read[key] {
		o.read[key] = true
		o.known = append(o.known, key)
	}
	v, ok := o.values[key]
	return v, ok
}

// value is key's value if it is a T, or def.
func value[T any](o *Options, key string, def T, want string) T {
	v, ok := o.get(key)
	if !ok {
		return def
	}
	if t, ok := v.(T); ok {
		return t
	}
	o.Fail(key, "%v is not %s", show(v), want)
	return def
}

// show is a value as a message has it.
func show(v any) any {
	if v == nil {
		return "nothing"
	}
	return v
}

// Text is a text.
func (o *Options) Text(key, def string) string { return value(o, key, def, "a text") }

// Need is a text that must be given and not empty.
func (o *Options) Need(key string) string {
	if !o.Has(key) {
		o.Fail(key, "is not given")
		return ""
	}
	s := o.Text(key, "")
	if s == "" {
		o.Fail(key, "is empty")
	}
	return s
}

// Choice is one of the choices.
func (o *Options) Choice(key, def string, choices ...string) string {
	s := o.Text(key, def)
	if !slices.Contains(choices, s) {
		o.Fail(key, "%q is not one of %s", s, strings.Join(choices, ", "))
		return def
	}
	return s
}

// Bool is true or false.
func (o *Options) Bool(key string, def bool) bool { return value(o, key, def, "true or false") }

// Is reports whether key is given and has that value, a text, a bool or a float.
func (o *Options) Is(key string, v any) bool {
	have, ok := o.get(key)
	switch have.(type) {
	case string, bool, float64:
		return ok && have == v
	default:
		return false
	}
}

// Float is a number from least to most.
func (o *Options) Float(key string, def, least, most float64) float64 {
	v, ok := o.get(key)
	if !ok {
		return def
	}
	f, ok := v.(float64)
	if i, isInt := integer(v); isInt {
		f, ok = float64(i), true
	}
	if !ok || math.IsNaN(f) {
		o.Fail(key, "%v is not a number", show(v))
		return def
	}
	if f < least || f > most {
		o.Fail(key, "%v is not between %v and %v", f, least, most)
		return def
	}
	return f
}

// integer is v as a whole number. A configuration that was read as JSON has floats only.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	}
	return 0, false
}

// Int is a whole number from least to most.
func (o *Options) Int(key string, def, least, most int64) int64 {
	v, ok := o.get(key)
	if !ok {
		return def
	}
	n, ok := integer(v)
	if !ok {
		o.Fail(key, "%v is not a whole number", show(v))
		return def
	}
	return within(o, key, n, def, least, most, func(n int64) string { return fmt.Sprint(n) })
}

// Bytes is a size, written as vfs.ParseBytes reads it or as a number, from least to most.
func (o *Options) Bytes(key string, def, least, most int64) int64 {
	v, ok := o.get(key)
	if !ok {
		return def
	}
	n, ok := integer(v)
	if s, isText := v.(string); isText {
		var err error
		if n, err = vfs.ParseBytes(s); err != nil {
			o.Fail(key, "%v", err)
			return def
		}
		ok = true
	}
	if !ok {
		o.Fail(key, "%v is not a size", show(v))
		return def
	}
	return within(o, key, n, def, least, most, vfs.FormatBytes)
}

// Duration is a time, written like 90s, 1m30s or 250ms, from least to most.
func (o *Options) Duration(key string, def, least, most time.Duration) time.Duration {
	v, ok := o.get(key)
	if !ok {
		return def
	}
	s, isText := v.(string)
	d, err := time.ParseDuration(s)
	if !isText || err != nil {
		o.Fail(key, "%v is no duration; write it like 90s, 1m30s or 250ms", show(v))
		return def
	}
	return within(o, key, d, def, least, most, vfs.FormatDuration)
}

func within[T int64 | time.Duration](o *Options, key string, n, def, least, most T, text func(T) string) T {
	if n < least || n > most {
		o.Fail(key, "%s is not between %s and %s", text(n), text(least), text(most))
		return def
	}
	return n
}

// Texts is a list of texts; one text is a list of it.
func (o *Options) Texts(key string) []string {
	v, ok := o.get(key)
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, ok := v.([]any)
	if !ok {
		o.Fail(key, "%v is not a list of texts", show(v))
		return nil
	}
	all := make([]string, 0, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			o.Fail(key, "entry %d: %v is not a text", i+1, show(e))
			continue
		}
		all = append(all, s)
	}
	return all
}

// Verbs is a set of verbs by their names, and whether it was given.
func (o *Options) Verbs(key string) (set [NumVerbs]bool, given bool) {
	for _, s := range o.Texts(key) {
		v, err := ParseVerb(s)
		if err != nil {
			o.Fail(key, "%v", err)
			continue
		}
		set[v] = true
	}
	return set, o.Has(key)
}

// List is a list of Options. The keys of an entry that nobody reads are mistakes too, found when [Options.End] is
// called on it.
func (o *Options) List(key string) []*Options {
	v, ok := o.get(key)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		o.Fail(key, "%v is not a list", show(v))
		return nil
	}
	all := make([]*Options, 0, len(list))
	for i, e := range list {
		values, ok := e.(map[string]any)
		if !ok {
			o.Fail(key, "entry %d: %v has no keys", i+1, show(e))
			continue
		}
		all = append(all, &Options{
			place: fmt.Sprintf("%s%s entry %d: ", o.place, key, i+1), values: values,
			read: map[string]bool{}, errs: o.errs, depends: o.depends,
		})
	}
	return all
}

// Map is a value with keys of its own, as the configuration has it; nil if it is not given. It must not be changed.
func (o *Options) Map(key string) map[string]any {
	return value(o, key, map[string]any(nil), "a set of keys and values")
}

// End looks for keys that nobody read. It is called for those of a layer by who made them.
func (o *Options) End() {
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		if o.read[key] {
			continue
		}
		if len(o.known) == 0 {
			o.Fail(key, "there is no such option, and no other")
			continue
		}
		o.Fail(key, "there is no such option; the options are %s", strings.Join(o.known, ", "))
	}
}

// Err is all mistakes.
func (o *Options) Err() error { return errors.Join(*o.errs...) }
