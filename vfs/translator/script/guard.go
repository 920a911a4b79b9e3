package script

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// The interpreter counts steps, not bytes, and one step may build a gigabyte: "x" * 1000000000. So, when a script is
// loaded, what can make a value much larger than what it is made of (operators, methods, conversions) is
// replaced by a function that first charges the size of the result to the run's memory. What is left costs a
// bounded number of bytes for each step.
//
// The names of these functions begin with a star, so that no script can say them.
const (
	guardMethod = "*method"
	guardGrow   = "*grow"
	guardSlice  = "*slice"
)

// guardedOps are the operators that charge, by what their functions are called.
var guardedOps = map[syntax.Token]string{ //nolint:exhaustive // the others build nothing large
	syntax.PLUS: "*add", syntax.STAR: "*multiply", syntax.PERCENT: "*format", syntax.LTLT: "*shift", syntax.PIPE: "*union", syntax.CIRCUMFLEX: "*difference",
	syntax.MINUS: "*subtract", syntax.AMP: "*intersection", // of sets
}

// plainOps are the operators of augmented assignments.
var plainOps = map[syntax.Token]syntax.Token{ //nolint:exhaustive // the others build nothing large
	syntax.PLUS_EQ: syntax.PLUS, syntax.STAR_EQ: syntax.STAR, syntax.PERCENT_EQ: syntax.PERCENT,
	syntax.LTLT_EQ: syntax.LTLT, syntax.PIPE_EQ: syntax.PIPE, syntax.CIRCUMFLEX_EQ: syntax.CIRCUMFLEX,
	syntax.MINUS_EQ: syntax.MINUS, syntax.AMP_EQ: syntax.AMP,
}

// guardedMethods are the methods of Starlark's own types that charge, with what they may build.
var guardedMethods = map[string]func(recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple, limit int64) int64{
	"join": joinSize, "replace": replaceSize, "format": formatSize,
	"extend": argsSize, "update": argsSize, "union": bothSize, "intersection": bothSize, "difference": bothSize, "symmetric_difference": bothSize,
	"split": linearSize, "rsplit": linearSize, "splitlines": linearSize, "upper": linearSize, "lower": linearSize,
	"title": linearSize, "capitalize": linearSize, "keys": linearSize, "values": linearSize, "items": linearSize,
	"data":  nil, // of our own calls and results
	"elems": linearSize, "codepoints": linearSize, "elem_ords": linearSize, "codepoint_ords": linearSize,
}

// guardedCalls are the functions of Starlark that charge: those that copy what they are given by its
// length, and those that make it text.
var guardedCalls = map[string]func(v starlark.Value, limit int64) int64{
	"list": copySize, "tuple": copySize, "sorted": copySize, "reversed": copySize, "enumerate": copySize, "zip": copySize,
	"dict": copySize, "set": copySize, "bytes": copySize, "int": copySize,
	"str": textSize, "repr": textSize, "print": textSize, "fail": textSize,
}

// walks are the functions of Starlark that look at all of what they are given and build nothing: the interpreter counts one step.
var walks = []string{"all", "any", "max", "min"}

// maxRange is how many numbers range(…) may give.
const maxRange = 1_000_000

// guarded are these functions, for the scripts' names.
var guarded = func() starlark.StringDict {
	all := starlark.StringDict{
		guardMethod: starlark.NewBuiltin("attribute", callMethod),
		"getattr":   starlark.NewBuiltin("getattr", callGetattr),
		guardGrow:   starlark.NewBuiltin("+=", grow),
		guardSlice:  starlark.NewBuiltin("slice", grow),
		"range":     starlark.NewBuiltin("range", callRange),
	}
	for op, name := range guardedOps {
		all[name] = starlark.NewBuiltin(op.String(), func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if err := charge(t, func(limit int64) int64 { return opSize(op, args[0], args[1], limit) }); err != nil {
				return nil, err
			}
			return starlark.Binary(op, args[0], args[1])
		})
	}
	for _, name := range walks {
		all[name] = countWalk(name, starlark.Universe[name].(*starlark.Builtin))
	}
	for name, size := range guardedCalls {
		all[name] = guardCall(name, starlark.Universe[name].(*starlark.Builtin), size)
	}
	return all
}()

// errMemory ends the messages of charge.
var errMemory = errors.New("(memory)")

// charge takes what size says from the memory of the run, and is an error if that is not enough. size may stop at its
// limit.
func charge(t *starlark.Thread, size func(limit int64) int64) error {
	r := t.Local(runnerKey).(*runner)
	n := size(r.memory)
	if n > r.memory {
		return fmt.Errorf("more than %d bytes would be built in one run %w", r.script.opts.Memory, errMemory)
	}
	r.memory -= n
	return nil
}

func guardCall(name string, original *starlark.Builtin, size func(starlark.Value, int64) int64) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		err := charge(t, func(limit int64) (n int64) {
			for _, a := range args {
				if n += size(a, limit-n); n > limit {
					break
				}
			}
			return n
		})
		if err != nil {
			return nil, err
		}
		return original.CallInternal(t, args, kwargs)
	})
}

// countWalk counts a step for each element.
func countWalk(name string, original *starlark.Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		for _, a := range args {
			t.Steps += uint64(max(starlark.Len(a), 0))
		}
		return original.CallInternal(t, args, kwargs)
	})
}

// textOf is v as text, charged.
func textOf(t *starlark.Thread, v starlark.Value) (string, error) {
	if err := charge(t, func(limit int64) int64 { return textSize(v, limit) }); err != nil {
		return "", err
	}
	return v.String(), nil
}

// grow charges what is added to something, or what a slice may copy, and gives it back.
func grow(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	return args[0], charge(t, func(limit int64) int64 { return copySize(args[0], limit) })
}

func callRange(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := starlark.Universe["range"].(*starlark.Builtin).CallInternal(t, args, kwargs)
	if err == nil && starlark.Len(v) > maxRange {
		return nil, fmt.Errorf("range: of more than %d numbers", maxRange)
	}
	return v, err
}

func callGetattr(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) >= 2 {
		if name, ok := args[1].(starlark.String); ok && isGuarded(string(name)) {
			if v, err := callMethod(t, b, args[:2], nil); err == nil || len(args) == 2 || errors.Is(err, errMemory) {
				return v, err
			}
		}
	}
	return starlark.Universe["getattr"].(*starlark.Builtin).CallInternal(t, args, kwargs)
}

func isGuarded(name string) bool {
	_, ok := guardedMethods[name]
	return ok
}

// callMethod is x.name for a name of guardedMethods.
func callMethod(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	x, name := args[0], string(args[1].(starlark.String))
	has, ok := x.(starlark.HasAttrs)
	if !ok {
		return nil, fmt.Errorf("%s has no .%s field or method", x.Type(), name)
	}
	v, err := has.Attr(name)
	if err != nil || v == nil {
		return nil, orErr(err, fmt.Errorf("%s has no .%s field or method", x.Type(), name))
	}
	original, ok := v.(*starlark.Builtin)
	if !ok || original.Receiver() == nil { // one of our own values
		return v, charge(t, func(limit int64) int64 { return copySize(v, limit) })
	}
	size := guardedMethods[name]
	return starlark.NewBuiltin(name, func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if err := charge(t, func(limit int64) int64 { return size(x, args, kwargs, limit) }); err != nil {
			return nil, err
		}
		return original.CallInternal(t, args, kwargs)
	}), nil
}

func orErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// elementSize is about what one element of a list takes, in bytes, with what it may need around it.
const elementSize = 32

// copySize is what a copy of v takes.
func copySize(v starlark.Value, limit int64) int64 {
	switch v := v.(type) {
	case starlark.String:
		return int64(len(v))
	case starlark.Bytes:
		return int64(len(v))
	case starlark.Int:
		return intSize(v, limit)
	default:
		if n := starlark.Len(v); n > 0 {
			return elementSize * int64(n)
		}
		return 0
	}
}

// maxInt is how large an integer may get, in bytes: multiplying large ones takes long.
const maxInt = 1024

func intSize(i starlark.Int, limit int64) int64 {
	if _, ok := i.Int64(); ok {
		return 0
	}
	n := int64(i.BigInt().BitLen() / 8)
	if n > maxInt {
		return limit + 1
	}
	return n
}

// opSize is what x op y takes.
func opSize(op syntax.Token, x, y starlark.Value, limit int64) int64 {
	switch op {
	case syntax.STAR:
		if n, ok := y.(starlark.Int); ok {
			return timesSize(x, n, limit)
		}
		if n, ok := x.(starlark.Int); ok {
			return timesSize(y, n, limit)
		}
		return 0
	case syntax.PERCENT:
		if f, ok := x.(starlark.String); ok {
			return percentSize(string(f), y, limit)
		}
		return copySize(x, limit)
	case syntax.LTLT:
		return copySize(x, limit) + 64 // at most 511 bits at once
	default:
		return copySize(x, limit) + copySize(y, limit)
	}
}

// timesSize is what x * n takes.
func timesSize(x starlark.Value, n starlark.Int, limit int64) int64 {
	if i, ok := x.(starlark.Int); ok {
		size := intSize(i, limit) + intSize(n, limit)
		if size > maxInt {
			return limit + 1
		}
		return size
	}
	size := copySize(x, limit)
	times, ok := n.Int64()
	switch {
	case size == 0 || n.Sign() <= 0:
		return 0
	case !ok || times > limit/size:
		return limit + 1
	}
	return size * times
}

// percentSize is what f % args takes at most: each element of a tuple is used once, those of a dict
// as often as they are named.
func percentSize(f string, args starlark.Value, limit int64) int64 {
	size := textSize(args, limit)
	if _, ok := args.(starlark.IterableMapping); ok {
		size = times(size, int64(strings.Count(f, "%")), limit)
	}
	return int64(len(f)) + size
}

func times(size, n, limit int64) int64 {
	if size > 0 && n > limit/size {
		return limit + 1
	}
	return size * n
}

// maxTextDepth is how deep what is made text may nest.
const maxTextDepth = 64

// textSize is what v as text takes at most. It stops at limit, so that what refers to one thing many times
// costs no more time than the text would take.
func textSize(v starlark.Value, limit int64) int64 { return nestedSize(v, limit, 0) }

func nestedSize(v starlark.Value, limit int64, depth int) int64 {
	switch v := v.(type) {
	case starlark.String:
		return 4*int64(len(v)) + 2 // a byte may need \xNN
	case starlark.Bytes:
		return 4*int64(len(v)) + 3
	case starlark.Int:
		return 24 + 3*intSize(v, limit)
	case *starlark.List, starlark.Tuple, *starlark.Set, *starlark.Dict:
		if depth > maxTextDepth {
			return limit + 1
		}
	default:
		return 256
	}
	n := int64(2)
	add := func(e starlark.Value) bool {
		n += 16 + nestedSize(e, limit-n, depth+1) // with a comma, and for the time
		return n <= limit
	}
	if d, ok := v.(*starlark.Dict); ok {
		for k, e := range d.Entries() {
			if !add(k) || !add(e) {
				break
			}
		}
		return n
	}
	for e := range starlark.Elements(v.(starlark.Iterable)) {
		if !add(e) {
			break
		}
	}
	return n
}

func linearSize(recv starlark.Value, _ starlark.Tuple, _ []starlark.Tuple, _ int64) int64 {
	return elementSize * int64(max(starlark.Len(recv), 0))
}

func argsSize(_ starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple, limit int64) int64 {
	n := elementSize * int64(len(kwargs))
	for _, a := range args {
		n += copySize(a, limit)
	}
	return n
}

func bothSize(recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple, limit int64) int64 {
	return copySize(recv, limit) + argsSize(recv, args, kwargs, limit)
}

func joinSize(recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple, limit int64) int64 {
	sep, _ := starlark.AsString(recv)
	n := int64(0)
	if len(args) == 1 {
		if it, ok := args[0].(starlark.Iterable); ok {
			for e := range starlark.Elements(it) {
				s, _ := starlark.AsString(e)
				if n += int64(len(s) + len(sep)); n > limit {
					break
				}
			}
		}
	}
	return n
}

func replaceSize(recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple, limit int64) int64 {
	s, _ := starlark.AsString(recv)
	if len(args) < 2 {
		return int64(len(s)) // it is an error
	}
	from, _ := starlark.AsString(args[0])
	to, _ := starlark.AsString(args[1])
	return int64(len(s)) + times(int64(len(to)), int64(strings.Count(s, from)), limit)
}

func formatSize(recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple, limit int64) int64 {
	f, _ := starlark.AsString(recv)
	size := textSize(args, limit)
	for _, kv := range kwargs {
		size += textSize(kv[1], limit)
	}
	return int64(len(f)) + times(size, int64(strings.Count(f, "{")), limit)
}
