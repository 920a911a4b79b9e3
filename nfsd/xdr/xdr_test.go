package xdr

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"testing/quick"

	"github.com/buildbarn/go-xdr/pkg/runtime"
)

// TestDecodeErrors: every method at the end of its input, at its limits, and after
// an error.
func TestDecodeErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		read func(*Decoder)
		want error
		left int
	}{
		{"uint32", []byte{0, 0, 0}, func(d *Decoder) { d.Uint32() }, ErrShort, 0},
		{"int32", nil, func(d *Decoder) { d.Int32() }, ErrShort, 0},
		{"uint64", make([]byte, 7), func(d *Decoder) { d.Uint64() }, ErrShort, 0},
		{"int64", make([]byte, 4), func(d *Decoder) { d.Int64() }, ErrShort, 0},
		{"bool", []byte{0, 0, 0, 2}, func(d *Decoder) { d.Bool() }, ErrBool, 0},
		{"bool high bit", []byte{0x80, 0, 0, 1}, func(d *Decoder) { d.Bool() }, ErrBool, 0},
		{"bool short", []byte{0}, func(d *Decoder) { d.Bool() }, ErrShort, 0},
		{"fixed", make([]byte, 7), func(d *Decoder) { d.Fixed(8) }, ErrShort, 0},
		{"fixed without padding", make([]byte, 5), func(d *Decoder) { d.Fixed(5) }, ErrShort, 0},
		{"fixed with part of the padding", make([]byte, 7), func(d *Decoder) { d.Fixed(5) }, ErrShort, 0},
		{"fixed with padding", make([]byte, 9), func(d *Decoder) { d.Fixed(5) }, nil, 1},
		{"fixed negative", make([]byte, 8), func(d *Decoder) { d.Fixed(-1) }, ErrShort, 0},
		{"fixed huge", make([]byte, 8), func(d *Decoder) { d.Fixed(math.MaxInt) }, ErrShort, 0},
		{"opaque 4 GiB", []byte{255, 255, 255, 255, 0}, func(d *Decoder) { d.Opaque(math.MaxUint32) }, ErrShort, 0},
		{"opaque 4 GiB limited", []byte{255, 255, 255, 255, 0}, func(d *Decoder) { d.Opaque(math.MaxUint32 - 1) }, ErrTooLong, 0},
		{"opaque above its limit", []byte{0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0}, func(d *Decoder) { d.Opaque(4) }, ErrTooLong, 0},
		{"opaque at its limit", []byte{0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0}, func(d *Decoder) { d.Opaque(5) }, nil, 0},
		{"opaque without length", []byte{0, 0}, func(d *Decoder) { d.Opaque(5) }, ErrShort, 0},
		{"string cut", []byte{0, 0, 0, 5, 1, 2, 3, 4, 5, 0}, func(d *Decoder) { d.String(5) }, ErrShort, 0},
		{"count above its limit", []byte{0, 0, 0, 5}, func(d *Decoder) { d.Count(4, 4) }, ErrTooLong, 0},
		{"count above the input", []byte{0, 0, 0, 2, 0, 0, 0, 0}, func(d *Decoder) { d.Count(4, 4) }, ErrShort, 0},
		{"count 4 G", []byte{255, 255, 255, 255, 0, 0, 0, 0}, func(d *Decoder) { d.Count(math.MaxUint32, math.MaxInt32) }, ErrShort, 0},
		{"count", []byte{0, 0, 0, 1, 0, 0, 0, 0}, func(d *Decoder) { d.Count(1, 4) }, nil, 4},
		{"the first error stays", make([]byte, 4), func(d *Decoder) { d.Uint32(); d.Uint32(); d.Opaque(0); d.Bool() }, ErrShort, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := NewDecoder(tc.in)
			tc.read(&d)
			if !errors.Is(d.Err(), tc.want) || d.Len() != tc.left || len(d.Rest()) != tc.left {
				t.Errorf("got %v, %d bytes left; want %v, %d", d.Err(), d.Len(), tc.want, tc.left)
			}
			if d.Err() == nil {
				return
			}
			if d.Uint32() != 0 || d.Uint64() != 0 || d.Bool() || d.Opaque(9) != nil || d.Fixed(0) != nil || d.Count(9, 1) != 0 {
				t.Error("a value after an error")
			}
			d.Reset([]byte{0, 0, 0, 7})
			if d.Uint32() != 7 || d.Err() != nil {
				t.Error("Reset does not forget the error")
			}
		})
	}
}

// TestPadding: its presence is checked, its value is not (X2).
func TestPadding(t *testing.T) {
	d := NewDecoder([]byte{0, 0, 0, 1, 'a', 1, 2, 3, 0, 0, 0, 1})
	if s := d.String(1); string(s) != "a" || cap(s) != 1 {
		t.Errorf("%q, capacity %d", s, cap(s))
	}
	if !d.Bool() || d.Err() != nil {
		t.Error(d.Err())
	}
}

// TestPut overwrites and leaves the rest.
func TestPut(t *testing.T) {
	b := make([]byte, 8)
	PutUint32(b, 4, 0x01020304)
	if !bytes.Equal(b, []byte{0, 0, 0, 0, 1, 2, 3, 4}) {
		t.Errorf("% x", b)
	}
}

// TestEncodeAsGoXDR: our bytes are those of the generated codecs' runtime, and
// both read them back.
func TestEncodeAsGoXDR(t *testing.T) {
	same := func(ours []byte, write func(*bytes.Buffer) error) bool {
		var theirs bytes.Buffer
		if err := write(&theirs); err != nil {
			t.Error(err)
		}
		return bytes.Equal(ours, theirs.Bytes())
	}
	f := func(u32 uint32, i32 int32, u64 uint64, i64 int64, yes bool, data []byte, text string) bool {
		b := AppendUint32(nil, u32)
		b = AppendInt32(b, i32)
		b = AppendUint64(b, u64)
		b = AppendInt64(b, i64)
		b = AppendBool(b, yes)
		b = AppendOpaque(b, data)
		if n := len(b); len(AppendOpaque(b, data))-n != OpaqueSize(len(data)) {
			return false
		}
		b = AppendFixed(b, data)
		b = AppendString(b, text)
		d := NewDecoder(b)
		if d.Uint32() != u32 || d.Int32() != i32 || d.Uint64() != u64 || d.Int64() != i64 || d.Bool() != yes ||
			!bytes.Equal(d.Opaque(1<<20), data) || !bytes.Equal(d.Fixed(len(data)), data) ||
			string(d.String(1<<20)) != text || d.Err() != nil || d.Len() != 0 {
			return false
		}
		return same(b, func(w *bytes.Buffer) error {
			var errs []error
			add := func(_ int64, err error) { errs = append(errs, err) }
			add(runtime.WriteUnsignedInt(w, u32))
			add(runtime.WriteInt(w, i32))
			add(runtime.WriteUnsignedHyper(w, u64))
			add(runtime.WriteHyper(w, i64))
			add(runtime.WriteBool(w, yes))
			add(runtime.WriteVariableLengthOpaque(w, math.MaxUint32, data))
			add(runtime.WriteFixedLengthOpaque(w, data))
			add(runtime.WriteVariableLengthOpaque(w, math.MaxUint32, []byte(text)))
			return errors.Join(errs...)
		})
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

// FuzzDecode decodes any bytes by any sequence of methods, beside go-xdr's
// runtime: the same values until one of them fails, and both fail at the same
// value, but for padding that is not zero, which only go-xdr refuses (X2).
func FuzzDecode(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6}, []byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3})
	f.Add([]byte{5, 4}, []byte{0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 1})
	f.Add([]byte{5}, []byte{0, 0, 0, 3, 'a', 'b', 'c', 1})
	f.Add([]byte{5}, []byte{255, 255, 255, 255})
	f.Add([]byte{0x36, 0x46}, []byte{1, 2, 3, 4, 5, 6, 7, 0})
	f.Add([]byte{4}, []byte{0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, ops, in []byte) {
		d := NewDecoder(in)
		r := bytes.NewReader(in)
		for _, op := range ops {
			limit := uint32(op >> 3)
			before := d.Rest()
			var err error
			ok := true
			switch op & 7 {
			case 0:
				var v uint32
				v, _, err = runtime.ReadUnsignedInt(r)
				ok = d.Uint32() == v || err != nil
			case 1:
				var v int32
				v, _, err = runtime.ReadInt(r)
				ok = d.Int32() == v || err != nil
			case 2:
				var v uint64
				v, _, err = runtime.ReadUnsignedHyper(r)
				ok = d.Uint64() == v || err != nil
			case 3:
				var v int64
				v, _, err = runtime.ReadHyper(r)
				ok = d.Int64() == v || err != nil
			case 4:
				var v bool
				v, _, err = runtime.ReadBool(r)
				ok = d.Bool() == v || err != nil
			case 5:
				var v []byte
				v, _, err = runtime.ReadVariableLengthOpaque(r, limit)
				ok = bytes.Equal(d.Opaque(limit), v) || err != nil
			case 6:
				v := make([]byte, limit)
				_, err = runtime.ReadFixedLengthOpaque(r, v)
				ok = bytes.Equal(d.Fixed(int(limit)), v) || err != nil
			case 7:
				n := d.Count(limit, 4)
				if d.Err() == nil && (uint32(n) > limit || 4*n > d.Len()) {
					t.Fatalf("count %d above %d, %d bytes left", n, limit, d.Len())
				}
				return // go-xdr has no such thing
			}
			if !ok {
				t.Fatalf("method %d on % x: different values", op&7, before)
			}
			if err != nil && d.Err() == nil && hasPadding(before[:len(before)-d.Len()]) {
				return
			}
			if (err == nil) != (d.Err() == nil) {
				t.Fatalf("method %d on % x: %v, go-xdr %v", op&7, before, d.Err(), err)
			}
			if err != nil {
				return
			}
			if d.Len() != r.Len() {
				t.Fatalf("method %d on % x: %d bytes left, go-xdr %d", op&7, before, d.Len(), r.Len())
			}
		}
	})
}

// hasPadding reports whether the encoded value may end in padding that is not
// zero.
func hasPadding(b []byte) bool {
	return len(b) >= 4 && (b[len(b)-1] != 0 || b[len(b)-2] != 0 || b[len(b)-3] != 0)
}

func BenchmarkDecode(b *testing.B) {
	in := AppendOpaque(nil, make([]byte, 32))
	in = AppendString(in, "a name of a file")
	in = AppendUint64(in, 7)
	in = AppendUint32(in, 7)
	in = AppendBool(in, true)
	b.ReportAllocs()
	for b.Loop() {
		var d Decoder
		d.Reset(in)
		d.Opaque(64)
		d.String(255)
		d.Uint64()
		d.Uint32()
		d.Bool()
		if d.Err() != nil {
			b.Fatal(d.Err())
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	buf := make([]byte, 0, 256)
	h := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		out := AppendOpaque(buf, h)
		for range 20 {
			out = AppendUint32(out, 7)
		}
		AppendBool(out, true)
	}
}
