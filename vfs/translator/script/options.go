package script

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"go.starlark.net/starlark"
)

// options is what the configuration gives a script. Asking says which options there are, so that
// others can be refused once the script is loaded.
type options struct {
	given map[string]any
	asked map[string]bool
	get   *starlark.Builtin
}

func newOptions(given map[string]any) *options {
	o := &options{given: given, asked: map[string]bool{}}
	o.get = starlark.NewBuiltin("get", o.ask)
	return o
}

func (o *options) String() string      { return "options" }
func (*options) Type() string          { return "options" }
func (*options) Freeze()               {}
func (*options) Truth() starlark.Bool  { return true }
func (*options) Hash() (uint32, error) { return 0, errUnhashable("options") }

// Attr implements starlark.HasAttrs.
func (o *options) Attr(name string) (starlark.Value, error) {
	if name == "get" {
		return o.get, nil
	}
	return nil, fmt.Errorf("options has no .%s; ask with options.get(%q, default)", name, name)
}

// AttrNames implements starlark.HasAttrs.
func (*options) AttrNames() []string { return []string{"get"} }

// ask is get(name, default=None): what is given must have the default's type, but that an integer does for
// a float, and a float that is one for an integer.
func (o *options) ask(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var def starlark.Value = starlark.None
	if err := errors.Join(atLoad(t, b), starlark.UnpackArgs(b.Name(), args, kwargs, "name", &name, "default?", &def)); err != nil {
		return nil, err
	}
	o.asked[name] = true
	x, ok := o.given[name]
	if !ok {
		return def, nil
	}
	v, err := configured(x, 0)
	if err != nil {
		return nil, fmt.Errorf("option %s: %w", name, err)
	}
	_, number := def.(starlark.Float)
	if i, ok := v.(starlark.Int); ok && number {
		return starlark.Float(i.Float()), nil
	}
	_, whole := def.(starlark.Int)
	if f, ok := v.(starlark.Float); ok && whole && f == starlark.Float(math.Trunc(float64(f))) && math.Abs(float64(f)) < 1<<53 {
		return starlark.MakeInt64(int64(f)), nil // from JSON, which has no integers
	}
	if def != starlark.None && v.Type() != def.Type() {
		return nil, fmt.Errorf("option %s is a %s, want %s", name, v.Type(), def.Type())
	}
	return v, nil
}

// configured is a value of the configuration as a script's.
func configured(x any, depth int) (starlark.Value, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("nests more than %d deep", maxNesting)
	}
	switch x := x.(type) {
	case nil:
		return starlark.None, nil
	case bool:
		return starlark.Bool(x), nil
	case string:
		return starlark.String(x), nil
	case int:
		return starlark.MakeInt(x), nil
	case int64:
		return starlark.MakeInt64(x), nil
	case uint64:
		return starlark.MakeUint64(x), nil
	case float64:
		return starlark.Float(x), nil
	case []string:
		l := starlark.NewList(nil)
		for _, e := range x {
			_ = l.Append(starlark.String(e)) // a new list takes everything
		}
		return l, nil
	case []any:
		return configuredList(x, depth)
	case map[string]any:
		return configuredDict(x, depth)
	default:
		return nil, fmt.Errorf("a script cannot have a %T", x)
	}
}

func configuredList(x []any, depth int) (starlark.Value, error) {
	elems := make([]starlark.Value, len(x))
	for i, e := range x {
		v, err := configured(e, depth+1)
		if err != nil {
			return nil, err
		}
		elems[i] = v
	}
	return starlark.NewList(elems), nil
}

func configuredDict(x map[string]any, depth int) (starlark.Value, error) {
	d := starlark.NewDict(len(x))
	for _, k := range sortedKeys(x) {
		v, err := configured(x[k], depth+1)
		if err != nil {
			return nil, err
		}
		if err := d.SetKey(starlark.String(k), v); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// unknown refuses options that the script did not ask for.
func (o *Options) unknown(asked *options) error {
	for _, name := range sortedKeys(o.Config) {
		if asked.asked[name] {
			continue
		}
		if len(asked.asked) == 0 {
			return fmt.Errorf("option %s is not known: the script has no options", name)
		}
		return fmt.Errorf("option %s is not known: the script has %s", name, strings.Join(sortedKeys(asked.asked), ", "))
	}
	return nil
}
