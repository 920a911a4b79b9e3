package xdr

import (
	"encoding/binary"
	"errors"
)

// The errors a Decoder latches. They are sentinels without detail: at RPC level
// each of them becomes GARBAGE_ARGS, and building a better text would allocate
// for whoever sends garbage.
var (
	// ErrShort means that the input ended inside a value or its padding.
	ErrShort = errors.New("xdr: input ends inside a value")
	// ErrTooLong means that a declared length exceeds the caller's maximum.
	ErrTooLong = errors.New("xdr: declared length exceeds its limit")
	// ErrBool means that a boolean was neither 0 nor 1.
	ErrBool = errors.New("xdr: boolean is neither 0 nor 1")
)

// Decoder reads XDR values from a byte slice. The zero value has empty input.
// It never writes to the input and is not safe for concurrent use. Keep it on
// the stack: var d xdr.Decoder; d.Reset(b).
type Decoder struct {
	b   []byte // what is not consumed yet; nil after an error
	err error  // the first error
}

// NewDecoder returns a Decoder over b.
func NewDecoder(b []byte) Decoder { return Decoder{b: b} }

// Reset makes the Decoder read b from the start and forget its error.
func (d *Decoder) Reset(b []byte) { d.b, d.err = b, nil }

// Err returns the first error, nil if all values were decoded.
func (d *Decoder) Err() error { return d.err }

// Len returns how many bytes are not consumed yet; 0 after an error.
func (d *Decoder) Len() int { return len(d.b) }

// Rest returns what is not consumed yet without consuming it; nil after an error.
func (d *Decoder) Rest() []byte { return d.b }

// fail latches err unless an earlier error is latched. It empties the input,
// so that every later read takes its short path and needs no check of err.
//
//go:noinline
func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

// Uint32 decodes an unsigned integer (RFC 4506 §4.2) or an enumeration (§4.3).
func (d *Decoder) Uint32() uint32 {
	if len(d.b) < 4 {
		d.fail(ErrShort)
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

// Int32 decodes an integer (RFC 4506 §4.1).
func (d *Decoder) Int32() int32 { return int32(d.Uint32()) }

// Uint64 decodes an unsigned hyper integer (RFC 4506 §4.5).
func (d *Decoder) Uint64() uint64 {
	if len(d.b) < 8 {
		d.fail(ErrShort)
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

// Int64 decodes a hyper integer (RFC 4506 §4.5).
func (d *Decoder) Int64() int64 { return int64(d.Uint64()) }

// Bool decodes a boolean (RFC 4506 §4.4); see X1.
func (d *Decoder) Bool() bool {
	v := d.Uint32()
	if v > 1 {
		d.fail(ErrBool)
		return false
	}
	return v == 1
}

// Fixed decodes fixed-length opaque data of n bytes (RFC 4506 §4.9) and its
// padding. The result is a sub-slice of the input with no spare capacity; nil
// after an error. n comes from the protocol definition, never from the wire; a
// negative n is a mistake of the caller and is answered as ErrShort.
func (d *Decoder) Fixed(n int) []byte {
	// The subtraction cannot overflow, n+Pad(n) could.
	if n < 0 || n > len(d.b) || Pad(n) > len(d.b)-n {
		d.fail(ErrShort)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n+Pad(n):]
	return v
}

// Opaque decodes variable-length opaque data of at most limit bytes (RFC 4506
// §4.10) and its padding. The result is a sub-slice of the input with no spare
// capacity; nil after an error. A declared length above limit is ErrTooLong.
func (d *Decoder) Opaque(limit uint32) []byte {
	n := d.Uint32()
	if n > limit {
		d.fail(ErrTooLong)
		return nil
	}
	if uint64(n) > uint64(len(d.b)) { // before int(n): int may have 32 bits
		d.fail(ErrShort)
		return nil
	}
	return d.Fixed(int(n))
}

// String decodes a string of at most limit bytes (RFC 4506 §4.11). It is Opaque
// under another name: XDR does not say which characters the bytes stand for, and
// file names need not be UTF-8.
func (d *Decoder) String(limit uint32) []byte { return d.Opaque(limit) }

// Count decodes the element count of a variable-length array (RFC 4506 §4.13)
// of at most limit elements, each at least elemSize bytes long on the wire. A
// count that the remaining input cannot hold is ErrShort, so it is safe to
// allocate by the result. elemSize is at least 1.
func (d *Decoder) Count(limit uint32, elemSize int) int {
	n := d.Uint32()
	if n > limit {
		d.fail(ErrTooLong)
		return 0
	}
	if uint64(n)*uint64(elemSize) > uint64(len(d.b)) {
		d.fail(ErrShort)
		return 0
	}
	return int(n)
}
