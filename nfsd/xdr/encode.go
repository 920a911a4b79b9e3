package xdr

import "encoding/binary"

// zeros is the source of padding.
var zeros [3]byte

// Pad returns how many padding bytes follow n bytes of opaque data: 0 to 3.
func Pad(n int) int { return -n & 3 }

// OpaqueSize returns the encoded size of variable-length opaque data of n bytes:
// its count, the data and the padding.
func OpaqueSize(n int) int { return 4 + n + Pad(n) }

// AppendUint32 appends an unsigned integer (RFC 4506 §4.2) or an enumeration.
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendInt32 appends an integer (RFC 4506 §4.1).
func AppendInt32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }

// AppendUint64 appends an unsigned hyper integer (RFC 4506 §4.5).
func AppendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendInt64 appends a hyper integer (RFC 4506 §4.5).
func AppendInt64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

// AppendBool appends a boolean (RFC 4506 §4.4).
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 0, 0, 0, 1)
	}
	return append(b, 0, 0, 0, 0)
}

// AppendPad appends the padding that follows n bytes of opaque data.
func AppendPad(b []byte, n int) []byte { return append(b, zeros[:Pad(n)]...) }

// AppendFixed appends fixed-length opaque data (RFC 4506 §4.9) and its padding.
func AppendFixed(b, v []byte) []byte { return AppendPad(append(b, v...), len(v)) }

// AppendOpaque appends variable-length opaque data (RFC 4506 §4.10): count, data,
// padding. len(v) is below 2^32; the protocol's own limit is the caller's to keep.
func AppendOpaque(b, v []byte) []byte {
	return AppendFixed(AppendUint32(b, uint32(len(v))), v)
}

// AppendString appends a string (RFC 4506 §4.11), encoded as AppendOpaque does.
func AppendString(b []byte, v string) []byte {
	b = AppendUint32(b, uint32(len(v)))
	return AppendPad(append(b, v...), len(v))
}

// PutUint32 overwrites the four bytes at b[off:] with v. It is for values that
// are known only after what follows them was appended: counts, eof flags, sizes.
// It panics if b is shorter than off+4.
func PutUint32(b []byte, off int, v uint32) { binary.BigEndian.PutUint32(b[off:], v) }
