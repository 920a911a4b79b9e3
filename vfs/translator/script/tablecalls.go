package script

import (
	"errors"
	"fmt"
	"math"
	"time"

	"go.starlark.net/starlark"
)

// tableMethod is a method of tables, for a script.
type tableMethod func(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

var tableMethods = map[string]tableMethod{
	"get": tableGet, "set": tableSet, "setdefault": tableSetDefault, "incr": tableIncr,
	"delete": tableDelete, "pop": tablePop, "delete_group": tableDeleteGroup,
	"token": tableToken, "hold": tableHold, "hold_group": tableHoldGroup,
	"len": tableLen, "prune": tablePrune, "clear": tableClear,
}

func (t *table) bind() map[string]*starlark.Builtin {
	bound := make(map[string]*starlark.Builtin, len(tableMethods))
	for name, m := range tableMethods {
		bound[name] = starlark.NewBuiltin(name, func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return m(t, b, args, kwargs)
		})
	}
	return bound
}

// Attr implements starlark.HasAttrs.
func (t *table) Attr(name string) (starlark.Value, error) {
	if m := t.methods[name]; m != nil {
		return m, nil
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (t *table) AttrNames() []string { return sortedKeys(t.methods) }

// orNone is v, None for nil.
func orNone(v starlark.Value) starlark.Value {
	if v == nil {
		return starlark.None
	}
	return v
}

// keyAnd takes a key and one optional argument; the way without keywords allocates nothing.
func keyAnd(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple, second string) (key, other starlark.Value, err error) {
	if len(kwargs) == 0 && (len(args) == 1 || len(args) == 2) {
		if len(args) == 2 {
			other = args[1]
		}
		return args[0], other, nil
	}
	var k, o starlark.Value
	err = starlark.UnpackArgs(b.Name(), args, kwargs, "key", &k, second+"?", &o)
	return k, o, err
}

func onlyKey(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (key starlark.Value, err error) {
	err = starlark.UnpackArgs(b.Name(), args, kwargs, "key", &key)
	return key, err
}

func tableGet(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	key, other, err := keyAnd(b, args, kwargs, "default")
	if err != nil {
		return nil, err
	}
	var room [128]byte
	p, err := t.find(room[:0], key)
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	if v := t.get(&p); v != nil {
		return v, nil
	}
	return orNone(other), nil
}

// tableSet is set(key, value, ttl=, since=).
func tableSet(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var key, value, ttl, since starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "key", &key, "value", &value, "ttl?", &ttl, "since?", &since); err != nil {
		return nil, err
	}
	var only proviso
	if since != nil {
		if since == starlark.None {
			return nil, errors.New("set: since is None, want what token gave")
		}
		i, ok := since.(starlark.Int)
		if only.token, ok = asInt64(i, ok); !ok {
			return nil, fmt.Errorf("set: since is a %s, want what token gave", since.Type())
		}
		only.since = true
	}
	_, kept, err := t.put(b, key, value, ttl, only)
	return starlark.Bool(kept), err
}

func asInt64(i starlark.Int, ok bool) (int64, bool) {
	if !ok {
		return 0, false
	}
	return i.Int64()
}

// put is what the methods that keep something have in common.
func (t *table) put(b *starlark.Builtin, key, value, ttl starlark.Value, only proviso) (starlark.Value, bool, error) {
	var room [128]byte
	p, err := t.find(room[:0], key)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", b.Name(), err)
	}
	kept, size, err := keep(value, 0)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", b.Name(), err)
	}
	life := t.ttl
	if ttl != nil && ttl != starlark.None {
		if life, err = duration(ttl); err != nil {
			return nil, false, fmt.Errorf("%s: ttl: %w", b.Name(), err)
		}
	}
	return t.set(&p, kept, size, life, only)
}

// maxTTL is the longest time that a table can be told to keep something.
const maxTTL = 10 * 365 * 24 * time.Hour

// duration is a positive number of seconds.
func duration(v starlark.Value) (time.Duration, error) {
	f, ok := starlark.AsFloat(v)
	if !ok {
		return 0, fmt.Errorf("is a %s, want a number of seconds", v.Type())
	}
	if math.IsNaN(f) || f <= 0 || f > maxTTL.Seconds() {
		return 0, fmt.Errorf("is %v, want a number of seconds above 0 and at most %.0f", f, maxTTL.Seconds())
	}
	return max(time.Duration(f*float64(time.Second)), 1), nil
}

func tableSetDefault(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var key, value, ttl starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "key", &key, "value", &value, "ttl?", &ttl); err != nil {
		return nil, err
	}
	v, _, err := t.put(b, key, value, ttl, proviso{noOther: true})
	return v, err
}

func tableIncr(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	key, by, err := keyAnd(b, args, kwargs, "by")
	if err != nil {
		return nil, err
	}
	if by == nil {
		by = starlark.MakeInt(1)
	}
	i, ok := by.(starlark.Int)
	if _, ok = asInt64(i, ok); !ok {
		return nil, fmt.Errorf("incr: by is a %s, want an integer of 64 bits", by.Type())
	}
	v, _, err := t.put(b, key, by, nil, proviso{addition: true})
	return v, err
}

func tableDelete(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := t.pop(b, args, kwargs)
	return starlark.Bool(v != nil), err
}

func tablePop(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := t.pop(b, args, kwargs)
	return orNone(v), err
}

func (t *table) pop(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	key, err := onlyKey(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	var room [128]byte
	p, err := t.find(room[:0], key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	return t.forget(&p), nil
}

// group is the place of the group that v is the first element of.
func (t *table) group(b *starlark.Builtin, room []byte, v starlark.Value) (place, error) {
	key, err := appendKey(room, v, 1)
	if err != nil {
		return place{}, fmt.Errorf("%s: %w", b.Name(), err)
	}
	return t.place(key, key), nil
}

func tableDeleteGroup(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var first starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "first", &first); err != nil {
		return nil, err
	}
	var room [128]byte
	p, err := t.group(b, room[:0], first)
	if err != nil {
		return nil, err
	}
	return starlark.MakeInt(t.forgetGroup(&p)), nil
}

func tableToken(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	key, err := onlyKey(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	var room [128]byte
	p, err := t.find(room[:0], key)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return starlark.MakeInt64(t.token(&p)), nil
}

// tableHold is hold(call, key).
func tableHold(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var c *call
	var key starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "call", &c, "key", &key); err != nil {
		return nil, err
	}
	p, err := t.find(nil, key)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	return starlark.None, c.keepHeld(func() func() { return t.hold(p, false) })
}

// tableHoldGroup is hold_group(call, first).
func tableHoldGroup(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var c *call
	var first starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "call", &c, "first", &first); err != nil {
		return nil, err
	}
	p, err := t.group(b, nil, first)
	if err != nil {
		return nil, err
	}
	return starlark.None, c.keepHeld(func() func() { return t.hold(p, true) })
}

func tableLen(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	return starlark.MakeInt64(t.count.Load()), starlark.UnpackArgs(b.Name(), args, kwargs)
}

func tablePrune(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	return starlark.MakeInt(t.prune()), nil
}

func tableClear(t *table, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	t.clear()
	return starlark.None, nil
}
