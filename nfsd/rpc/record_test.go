package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"sheaf/nfsd/rpc/rpctest"
)

// feed runs the stream through a recordReader in pieces of at most the sizes that
// chunk returns, shrinking before each read when shrink says so, and returns
// copies of the records.
func feed(t *testing.T, stream []byte, limit int, chunk func() int, shrink func() bool) (recs [][]byte, err error) {
	t.Helper()
	rr := recordReader{limit: limit}
	defer rr.release()
	for {
		rec, own, n, err := rr.next()
		if err != nil {
			return recs, err
		}
		switch n {
		case gotRecord:
			recs = append(recs, bytes.Clone(rec))
			if own == nil && shrink() {
				old := rr.steal()
				if !bytes.Equal(rec, recs[len(recs)-1]) {
					t.Fatal("steal changed the record")
				}
				putBuffer(old)
			}
			putBuffer(own)
		case needBuffer:
			if w := rr.wants(); w > limit || w < rr.size() {
				t.Fatalf("wants %d bytes; limit %d, has %d", w, limit, rr.size())
			}
			rr.grow(getBuffer(rr.wants()))
		case needData:
			if len(stream) == 0 {
				return recs, nil
			}
			if shrink() {
				rr.shrink()
			}
			to := rr.target()
			if len(to) == 0 {
				t.Fatal("empty target")
			}
			k := copy(to[:min(len(to), max(chunk(), 1))], stream)
			stream = stream[k:]
			rr.filled(k)
		}
	}
}

// reference cuts records the plain way.
func reference(stream []byte, limit int) (recs [][]byte, err error) {
	var rec []byte
	frags := 0
	for len(stream) >= 4 {
		m := binary.BigEndian.Uint32(stream)
		n := int(m &^ lastFragment)
		if frags++; frags > maxFragments {
			return recs, errFragments
		}
		if n > limit-len(rec) {
			return recs, errRecordSize
		}
		stream = stream[4:]
		if n > len(stream) {
			break
		}
		rec = append(rec, stream[:n]...)
		stream = stream[n:]
		if m&lastFragment != 0 {
			recs = append(recs, bytes.Clone(rec))
			rec, frags = rec[:0], 0
		}
	}
	return recs, nil
}

func compareRecords(t *testing.T, stream []byte, limit int, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	most := 1 << rnd.IntN(19)
	if len(stream) > 64<<10 {
		most = max(most, 1024) // byte by byte would take minutes
	}
	got, err := feed(t, stream, limit, func() int { return rnd.IntN(most) + 1 }, func() bool { return rnd.IntN(4) == 0 })
	want, werr := reference(stream, limit)
	if !errors.Is(err, werr) || len(got) != len(want) {
		t.Fatalf("seed %d: %d records, %v; want %d, %v", seed, len(got), err, len(want), werr)
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("seed %d: record %d differs", seed, i)
		}
	}
}

// TestRecords compares the reader with the plain reference on random streams, sizes
// around those of the read buffer among them.
func TestRecords(t *testing.T) {
	sizes := []int{0, 1, 3, 4, 40, 1000, 1023, 1024, 4096, readSize - 8, readSize - 4, readSize - 3, readSize, readSize + 1, 200 << 10, 1 << 20}
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		limit := 1<<20 + 4096
		if seed%5 == 0 {
			limit = 100 << 10
		}
		var stream []byte
		for range rnd.IntN(6) + 1 {
			size := sizes[rnd.IntN(len(sizes))]
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rnd.Uint32())
			}
			for rnd.IntN(3) != 0 && len(data) > 0 {
				k := rnd.IntN(len(data) + 1)
				stream = rpctest.AppendFragment(stream, data[:k], false)
				data = data[k:]
			}
			stream = rpctest.AppendFragment(stream, data, true)
		}
		compareRecords(t, stream[:len(stream)-rnd.IntN(2)], limit, seed)
	}
}

// TestRecordLimits: lengths and fragments that must not be believed (R1, R3).
func TestRecordLimits(t *testing.T) {
	const limit = 1 << 20
	many := bytes.Repeat(rpctest.AppendFragment(nil, nil, false), maxFragments+1)
	small := bytes.Repeat(rpctest.AppendFragment(nil, make([]byte, 2048), false), limit/2048)
	for _, tc := range []struct {
		name   string
		stream []byte
		want   error
	}{
		{"2 GiB last", []byte{0xff, 0xff, 0xff, 0xff}, errRecordSize},
		{"2 GiB not last", []byte{0x7f, 0xff, 0xff, 0xff}, errRecordSize},
		{"one above", []byte{0x80, 0x10, 0x00, 0x01}, errRecordSize},
		{"at the limit", []byte{0x80, 0x10, 0x00, 0x00}, nil},
		{"empty fragments", many, errFragments},
		{"empty fragments, allowed number", many[:4*maxFragments], nil},
		{"fragments up to the limit", small, nil},
		{"fragments above the limit", append(small, 0, 0, 0, 1), errRecordSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if recs, err := feed(t, tc.stream, limit, func() int { return 4096 }, func() bool { return false }); !errors.Is(err, tc.want) || len(recs) != 0 {
				t.Errorf("%d records, %v; want %v", len(recs), err, tc.want)
			}
		})
	}
}

// TestRecordMemory: a large length alone takes no large buffer (R3).
func TestRecordMemory(t *testing.T) {
	rr := recordReader{limit: 1 << 20}
	defer rr.release()
	rr.target()
	rr.filled(copy(rr.target(), []byte{0x80, 0x10, 0, 0, 1, 2, 3}))
	if _, _, n, err := rr.next(); n != needData || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	rr.shrink()
	if len(rr.buf.b) != sizeClasses[0] {
		t.Errorf("seven bytes hold %d", len(rr.buf.b))
	}
	for {
		rr.filled(len(rr.target()))
		_, _, n, err := rr.next()
		if err != nil {
			t.Fatal(err)
		}
		if n == needBuffer {
			break
		}
	}
	if rr.size() < readSize/2 {
		t.Errorf("a buffer of its own is asked for after %d bytes", rr.size())
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte{0x80, 0, 0, 4, 1, 2, 3, 4}, uint64(1))
	f.Add([]byte{0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0x80, 0, 0, 1, 3}, uint64(2))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint64(3))
	f.Add(bytes.Repeat([]byte{0, 0, 0, 0}, 1100), uint64(4))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		compareRecords(t, stream, 1<<20, seed)
		compareRecords(t, stream, 64, seed)
	})
}

// FuzzDispatch hands a record to a server without a network: it must neither
// panic nor answer anything but one well-formed reply, or none and an error.
func FuzzDispatch(f *testing.F) {
	sys := rpctest.Sys("host", 1, 2, 3)
	for proc := range uint32(6) {
		f.Add(rpctest.AppendCall(nil, rpctest.Header{XID: 9, Prog: testProg, Vers: 3, Proc: proc, Cred: sys}, []byte("abcdefgh")))
	}
	f.Add(rpctest.AppendCall(nil, rpctest.Header{RPCVers: 1}, nil))
	f.Add(rpctest.AppendCall(nil, rpctest.Header{Prog: testProg, Vers: 4}, nil))
	f.Add(rpctest.AppendCall(nil, rpctest.Header{Prog: testProg, Vers: 3, Cred: rpctest.Auth{Flavor: 1, Body: make([]byte, 401)}}, nil))
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, rec []byte) {
		ps := testPrograms()
		for _, p := range ps {
			for i := range p.Versions {
				v := &p.Versions[i]
				v.Procs = v.Procs[:min(len(v.Procs), procAgain)] // what needs no worker
			}
		}
		s, err := NewServer(Config{Programs: ps})
		if err != nil {
			t.Fatal(err)
		}
		c := newConn(s, discard{})
		defer c.cancel()
		before := bytes.Clone(rec)
		if err = c.dispatch(rec, nil, 0); err != nil {
			if c.outLen != 0 {
				t.Fatalf("an answer and %v", err)
			}
			return
		}
		if !bytes.Equal(rec, before) {
			t.Fatal("the record was written to")
		}
		recs, err := reference(c.out.b[:c.outLen], 1<<20)
		if err != nil || len(recs) != 1 {
			t.Fatalf("%d replies, %v", len(recs), err)
		}
		xid, _, err := rpctest.ParseReply(recs[0])
		var re *rpctest.ReplyError
		if xid != binary.BigEndian.Uint32(rec) || err != nil && !errors.As(err, &re) {
			t.Fatalf("xid %d, %v", xid, err)
		}
	})
}
