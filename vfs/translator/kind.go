package translator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"sheaf/vfs"
)

// Kind is a kind of layer.
type Kind struct {
	Name string
	Help string // what it does, in a sentence or two
	// New reads the options of one instance. It may look at files that they name, and changes nothing. Mistakes
	// gather in o, and Build is not used then.
	New func(o *Options) Build
}

// Build makes an instance: state, goroutines and all. It must not wait for what a volume does. An error refuses the whole stack.
type Build func(ctx context.Context, env Env) (Layer, error)

// Env is what an instance is given.
type Env struct {
	Name  string       // of the instance
	Below vfs.FS       // what it is a layer over
	Log   *slog.Logger // has the instance's name
}

// Layer is an instance of a Kind. What a kind does not need is nil, but for FS.
type Layer struct {
	FS vfs.FS
	// Close ends what Build began. No call is on FS any more, and none comes.
	Close func()
	// Forget drops all that it knows of what is below: a change was made that came before it did, and so by the layers it
	// replaced. Of what changes from then on it hears by its calls and by Subscribe. Nil: it knows nothing.
	Forget func()
	// Counts are its counters and gauges now. It is called at any time until Close is.
	Counts func() []Count
	// Lines are what `sheaf status` says of it now, the most important first. It is called as Counts is.
	Lines func() []string
}

// Count is one counter of a layer, or a gauge. Name is in the manner of Prometheus without prefix ("hits_total"). The
// number of different Labels must be bounded.
type Count struct {
	Name   string
	Help   string
	Gauge  bool // it may go down
	Labels map[string]string
	Value  float64
}

// Spec is an entry of the configuration's list.
type Spec struct {
	Kind    string
	Name    string         // of the instance, different from every other's; empty: Kind
	Options map[string]any // for what values are, see Options
}

// ParseSpec makes a Spec of an entry: what is not kind and name is an option.
func ParseSpec(entry map[string]any) (Spec, error) {
	s := Spec{Options: maps.Clone(entry)}
	var ok bool
	if s.Kind, ok = entry["kind"].(string); !ok || s.Kind == "" {
		return Spec{}, errors.New("want a kind, as a text")
	}
	if v, given := entry["name"]; given {
		if s.Name, ok = v.(string); !ok || !validName(s.Name) {
			return Spec{}, fmt.Errorf("the name %v: want a text of 1 to %d letters, digits, - and _", v, NameMax)
		}
	}
	delete(s.Options, "kind")
	delete(s.Options, "name")
	return s, nil
}

// NameMax is the longest name of an instance, in bytes. Metrics and logs carry it.
const NameMax = 64

func validName(s string) bool {
	return s != "" && len(s) <= NameMax && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// Instance is the name of the instance.
func (s *Spec) Instance() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Kind
}

// String is the entry as JSON, which is YAML too: kind and name first, then the options by key.
func (s *Spec) String() string {
	var b strings.Builder
	put := func(key string, v any) {
		text, err := json.Marshal(v)
		if err != nil { // what YAML has and JSON has not: an infinity, say
			text = fmt.Appendf(nil, "%q", fmt.Sprint(v))
		}
		sep := ", "
		if b.Len() == 0 {
			sep = "{"
		}
		fmt.Fprintf(&b, "%s%s: %s", sep, plain(key), text)
	}
	put("kind", s.Kind)
	if s.Name != "" {
		put("name", s.Name)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Options)) {
		put(k, s.Options[k])
	}
	return b.String() + "}"
}

// plain is a key as YAML can have it without quotes, or with them.
func plain(key string) string {
	if validName(key) {
		return key
	}
	return fmt.Sprintf("%q", key)
}

// SpecError is a mistake in one entry of a list of Specs.
type SpecError struct {
	Entry int // from 0
	Spec  Spec
	Err   error
}

// Error names the entry as the operator counts.
func (e *SpecError) Error() string {
	return fmt.Sprintf("entry %d (%s): %v", e.Entry+1, e.Spec.Instance(), e.Err)
}

// Unwrap is the mistake.
func (e *SpecError) Unwrap() error { return e.Err }

// plan is a Spec that was understood.
type plan struct {
	spec  Spec
	build Build
	same  string // equal if an instance of another plan does as well
}

// Check finds every mistake in specs that can be seen without building anything. The error joins a SpecError for each.
func Check(kinds []Kind, specs []Spec) error {
	_, err := plans(kinds, specs)
	return err
}

// MaxLayers is how many layers a stack has at most: each adds to every call.
const MaxLayers = 32

func plans(kinds []Kind, specs []Spec) ([]plan, error) {
	if len(specs) > MaxLayers {
		return nil, fmt.Errorf("%d layers are given; a stack has at most %d", len(specs), MaxLayers)
	}
	var errs []error
	all := make([]plan, 0, len(specs))
	names := map[string]bool{}
	for i, s := range specs {
		p, mistakes := planOf(kinds, s)
		if names[s.Instance()] {
			mistakes = append(mistakes, errors.New("another layer has that name; give each a name of its own"))
		}
		names[s.Instance()] = true
		for _, err := range mistakes {
			errs = append(errs, &SpecError{i, s, err})
		}
		all = append(all, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// planOf reads one Spec.
func planOf(kinds []Kind, s Spec) (plan, []error) {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == s.Kind })
	if i < 0 {
		names := make([]string, len(kinds))
		for j := range kinds {
			names[j] = kinds[j].Name
		}
		return plan{}, []error{fmt.Errorf("there is no kind %q; the kinds are %s", s.Kind, strings.Join(names, ", "))}
	}
	o := newOptions("", s.Options)
	build := kinds[i].New(o)
	o.End()
	return plan{s, build, s.Instance() + "\x00" + s.String() + "\x00" + strings.Join(*o.depends, "\x00")}, *o.errs
}
