package script

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"go.starlark.net/starlark"
)

// What a table takes: a key is at most maxKey bytes as encoded, a value at most maxKept bytes of text;
// tuples nest at most maxNesting deep.
const (
	maxKey     = 4096
	maxKept    = 64 << 10
	maxNesting = 8
)

// appendKey appends v, so that different values give different bytes and none is the beginning of another:
// a letter for the type, then the value, with its length where that varies. A
// tuple's encoding begins with its length and its first element's encoding.
func appendKey(b []byte, v starlark.Value, depth int) ([]byte, error) {
	switch v := v.(type) {
	case *node:
		return append(append(b, 'n'), v.ID[:]...), nil
	case starlark.String:
		return appendText(b, 's', string(v))
	case cred:
		return appendText(b, 'c', v.packed)
	case starlark.Bytes:
		return appendText(b, 'b', string(v))
	case starlark.Int:
		if i, ok := v.Int64(); ok {
			return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(i)), nil
		}
		if v.BigInt().BitLen() > 8*maxKey {
			return b, errLongKey
		}
		return appendText(b, 'I', v.String())
	case starlark.Float:
		return binary.BigEndian.AppendUint64(append(b, 'f'), math.Float64bits(float64(v))), nil
	case starlark.Bool:
		if v {
			return append(b, '1'), nil
		}
		return append(b, '0'), nil
	case starlark.NoneType:
		return append(b, 'z'), nil
	case status:
		return append(b, 'S', byte(v)), nil
	case starlark.Tuple:
		return appendTuple(b, v, depth)
	default:
		return b, fmt.Errorf("a %s cannot be a key: want None, a bool, number, string, bytes, node, cred, status or a tuple of them", v.Type())
	}
}

var errLongKey = fmt.Errorf("a key is longer than %d bytes", maxKey)

func appendText(b []byte, kind byte, s string) ([]byte, error) {
	if len(s) > maxKey {
		return b, errLongKey
	}
	return append(binary.AppendUvarint(append(b, kind), uint64(len(s))), s...), nil
}

func appendTuple(b []byte, t starlark.Tuple, depth int) ([]byte, error) {
	if depth >= maxNesting {
		return b, fmt.Errorf("a key nests tuples more than %d deep", maxNesting)
	}
	b = binary.AppendUvarint(append(b, 't'), uint64(len(t)))
	var err error
	for _, e := range t {
		if b, err = appendKey(b, e, depth+1); err != nil {
			return b, err
		}
		if len(b) > maxKey {
			return b, errLongKey
		}
	}
	return b, nil
}

// groupOf is the part of an encoded key that its group is known by: of a tuple of two or more the
// first element, of anything else all of it.
func groupOf(v starlark.Value, key []byte) ([]byte, error) {
	t, ok := v.(starlark.Tuple)
	if !ok || len(t) == 0 {
		return key, nil
	}
	var room [64]byte
	first, err := appendKey(room[:0], t[0], 1)
	if err != nil {
		return nil, err
	}
	head := 1 + uvarintLen(uint64(len(t)))
	return key[head : head+len(first)], nil
}

func uvarintLen(u uint64) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], u)
}

// keep is v as a table may keep it: shared by all threads, pointing into no call and into no larger string.
// size is about what it takes, in bytes.
func keep(v starlark.Value, depth int) (kept starlark.Value, size int, err error) {
	switch v := v.(type) {
	case starlark.NoneType, starlark.Bool, status:
		return v, 16, nil
	case starlark.Float:
		return v, 24, nil
	case starlark.Int:
		return keepInt(v)
	case starlark.String:
		s, err := keepText(string(v))
		return starlark.String(s), 32 + len(v), err
	case starlark.Bytes:
		s, err := keepText(string(v))
		return starlark.Bytes(s), 32 + len(v), err
	case cred:
		s, err := keepText(v.packed)
		return cred{s}, 32 + len(s), err
	case *node:
		return &node{v.Node}, 64, nil
	case attrs:
		a := *v.a
		return attrs{&a}, 192, nil
	case starlark.Tuple:
		return keepTuple(v, depth)
	default:
		return nil, 0, fmt.Errorf("a %s cannot be kept: want None, a bool, number, string, bytes, node, cred, status, attr or a tuple of them", v.Type())
	}
}

func keepInt(v starlark.Int) (starlark.Value, int, error) {
	if _, ok := v.Int64(); ok {
		return v, 24, nil
	}
	bits := v.BigInt().BitLen()
	if bits > 8*maxKept {
		return nil, 0, errLongValue
	}
	return v, 48 + bits/8, nil
}

var errLongValue = fmt.Errorf("a value is longer than %d bytes", maxKept)

func keepText(s string) (string, error) {
	if len(s) > maxKept {
		return "", errLongValue
	}
	return strings.Clone(s), nil
}

func keepTuple(t starlark.Tuple, depth int) (starlark.Value, int, error) {
	if depth >= maxNesting {
		return nil, 0, fmt.Errorf("a value nests tuples more than %d deep", maxNesting)
	}
	if len(t) > maxKept/16 {
		return nil, 0, errLongValue
	}
	kept, size := make(starlark.Tuple, len(t)), 48+16*len(t)
	for i, e := range t {
		v, n, err := keep(e, depth+1)
		if err != nil {
			return nil, 0, err
		}
		if kept[i], size = v, size+n; size > 2*maxKept {
			return nil, 0, errLongValue
		}
	}
	return kept, size, nil
}
