package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// caller is what one connection knows in a phase.
type caller struct {
	*site
	index  int // of the connection
	rnd    *rand.Rand
	units  int      // counted by the checks of procedures that count something else than calls
	stored []stored // files to be read back
}

// call is what a slot has in flight.
type call struct {
	name   string
	to     string
	object object
	off    int
	cookie uint64
	verf   [8]byte
	listed int // entries since the start of the listing
	seen   []bool
	step   int // of a chain of calls
}

// op is one kind of call.
type op struct {
	name string
	proc uint32
	big  bool // moves a megabyte: fewer in flight
	// next appends the arguments of a slot's next call; false: there is nothing left to do.
	next func(c *caller, s *call, b []byte) ([]byte, bool)
	// begun says of a slot that it is in the midst of something, which is brought to its end when the time is over; nil: never.
	begun func(s *call) bool
	// procOf is the procedure of a slot's next call; nil: proc.
	procOf func(s *call) uint32
	unit   string // what is counted instead of calls
	// check looks at the reply.
	check func(c *caller, s *call, r *reader) error
}

// ops are all there are, in the order in which they run: what RENAME and REMOVE
// need, CREATE has made.
func ops() []op {
	return []op{
		{name: "NULL", proc: procNull, next: func(_ *caller, _ *call, b []byte) ([]byte, bool) { return b, true }, check: checkNull},
		{name: "GETATTR", proc: procGetAttr, next: nextFile, check: checkGetAttr},
		{name: "ACCESS", proc: procAccess, next: nextAccess, check: checkAccess},
		{name: "LOOKUP hit", proc: procLookup, next: nextHit, check: checkHit},
		{name: "LOOKUP miss", proc: procLookup, next: nextMiss, check: checkMiss},
		{name: "LOOKUP miss again", proc: procLookup, next: nextSameMiss, check: checkMiss},
		readOp("READ 4K", 4<<10),
		readOp("READ 1M", payload),
		writeOp("WRITE 4K unstable", 4<<10, unstable),
		writeOp("WRITE 4K sync", 4<<10, fileSync),
		writeOp("WRITE 1M unstable", payload, unstable),
		writeOp("WRITE 1M sync", payload, fileSync),
		{name: "CREATE", proc: procCreate, next: nextCreate, check: checkCreate},
		{name: "RENAME", proc: procRename, next: nextRename, check: checkRename},
		{name: "REMOVE", proc: procRemove, next: nextRemove, check: checkRemove},
		{name: "READDIRPLUS", proc: procReadDirPlus, next: nextList, check: checkList, begun: func(s *call) bool { return s.cookie != 0 }},
	}
}

// chosen are the ops whose names begin with one of the words.
func chosen(words string) ([]op, error) {
	if words == "" {
		return ops(), nil
	}
	var some []op
	for _, o := range ops() {
		for w := range strings.SplitSeq(words, ",") {
			if strings.HasPrefix(o.name, w) {
				some = append(some, o)
				break
			}
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("no procedure begins with any of %q", words)
	}
	return some, nil
}

func checkNull(_ *caller, _ *call, r *reader) error {
	if len(r.b) > 0 {
		return fmt.Errorf("%d bytes of result", len(r.b))
	}
	return nil
}

func nextFile(c *caller, s *call, b []byte) ([]byte, bool) {
	s.object = c.files[c.rnd.IntN(len(c.files))]
	return appendOpaque(b, s.object.handle), true
}

func checkGetAttr(_ *caller, s *call, r *reader) error {
	if r.status(nfsOK) {
		return same(r.attr(), s.object)
	}
	return r.err
}

// same demands that a is the file o.
func same(a attr, o object) error {
	if a.kind != typeRegular || a.fileid != o.fileid {
		return fmt.Errorf("type %d, fileid %d; want %s with %d", a.kind, a.fileid, o.name, o.fileid)
	}
	return nil
}

func nextAccess(c *caller, s *call, b []byte) ([]byte, bool) {
	b, _ = nextFile(c, s, b)
	return be.AppendUint32(b, 0x3f), true
}

func checkAccess(_ *caller, s *call, r *reader) error {
	if !r.status(nfsOK) {
		return r.err
	}
	a, mask := r.postAttr(), r.u32()
	if mask&0x01 == 0 {
		return fmt.Errorf("rights %#x: the owner cannot read", mask)
	}
	if a.there {
		return same(a, s.object)
	}
	return nil
}

func nextHit(c *caller, s *call, b []byte) ([]byte, bool) {
	s.object = c.files[c.rnd.IntN(len(c.files))]
	return appendName(b, c.hits.handle, s.object.name), true
}

func checkHit(_ *caller, s *call, r *reader) error {
	if !r.status(nfsOK) {
		return r.err
	}
	handle, a := r.opaque(), r.postAttr()
	if !bytes.Equal(handle, s.object.handle) {
		return fmt.Errorf("%s has handle %x, had %x", s.object.name, handle, s.object.handle)
	}
	if a.there {
		return same(a, s.object)
	}
	return nil
}

func nextMiss(c *caller, _ *call, b []byte) ([]byte, bool) {
	return appendMiss(b, c.hits.handle, c.missed.Add(1)), true
}

// appendMiss appends a look-up of a name that nobody has asked for. It is put together by hand: the client shares the processors with the server.
func appendMiss(b, dir []byte, n uint64) []byte {
	const prefix, digits = "none-", 9
	const pad = -(len(prefix) + digits) & 3
	b = append(be.AppendUint32(appendOpaque(b, dir), uint32(len(prefix)+digits)), prefix...)
	b = append(b, "000000000\x00\x00\x00"[:digits+pad]...)
	for i := len(b) - pad - 1; n > 0; i, n = i-1, n/10 {
		b[i] = '0' + byte(n%10)
	}
	return b
}

func nextSameMiss(c *caller, _ *call, b []byte) ([]byte, bool) {
	return appendName(b, c.hits.handle, fmt.Sprintf("gone-%03d", c.rnd.IntN(200))), true
}

func checkMiss(_ *caller, _ *call, r *reader) error {
	r.status(nfsNoEnt)
	return r.err
}

func readOp(name string, n int) op {
	return op{
		name: name, proc: procRead, big: n == payload,
		next: func(c *caller, s *call, b []byte) ([]byte, bool) {
			s.off = c.rnd.IntN(bigSize/n) * n
			return readArgs(b, c.big.handle, s.off, n), true
		},
		check: func(_ *caller, s *call, r *reader) error { return checkRead(r, s.off, bigSize, data(0, s.off, n)) },
	}
}

func readArgs(b, handle []byte, off, n int) []byte {
	return be.AppendUint32(be.AppendUint64(appendOpaque(b, handle), uint64(off)), uint32(n))
}

// checkRead demands the bytes at an offset of a file that has so many.
func checkRead(r *reader, off, size int, want []byte) error {
	n := len(want)
	if !r.status(nfsOK) {
		return r.err
	}
	r.postAttr()
	count, eof, got := r.u32(), r.u32(), r.opaque()
	switch {
	case r.err != nil:
		return r.err
	case int(count) != n || len(got) != n:
		return fmt.Errorf("%d bytes with a count of %d, want %d", len(got), count, n)
	case !bytes.Equal(got, want):
		return fmt.Errorf("the data at %d is not what was written", off)
	case eof == 1 && off+n < size:
		return fmt.Errorf("end of file at %d of %d", off+n, size)
	}
	return nil
}

func writeOp(name string, n int, stable uint32) op {
	return op{
		name: name, proc: procWrite, big: n == payload,
		next: func(c *caller, s *call, b []byte) ([]byte, bool) {
			s.off = c.rnd.IntN(bigSize/n) * n
			return writeArgs(b, c.targets[c.index].handle, s.off, stable, data(c.variant, s.off, n)), true
		},
		check: func(c *caller, s *call, r *reader) error {
			for at := s.off / block; at < (s.off+n)/block; at++ {
				c.targets[c.index].blocks[at] = c.variant
			}
			return checkWritten(r, n, stable)
		},
	}
}

func writeArgs(b, handle []byte, off int, stable uint32, data []byte) []byte {
	b = be.AppendUint64(appendOpaque(b, handle), uint64(off))
	b = be.AppendUint32(be.AppendUint32(b, uint32(len(data))), stable)
	return appendOpaque(b, data)
}

func checkWritten(r *reader, n int, stable uint32) error {
	_, err := written(r, n, stable)
	return err
}

// written reads the reply of a WRITE, and gives its verifier.
func written(r *reader, n int, stable uint32) (verf [8]byte, err error) {
	if !r.status(nfsOK) {
		return verf, r.err
	}
	r.wcc()
	count, committed := r.u32(), r.u32()
	copy(verf[:], r.take(8))
	if r.err == nil && (int(count) != n || committed < stable) {
		return verf, fmt.Errorf("%d of %d bytes, committed %d, want %d", count, n, committed, stable)
	}
	return verf, r.err
}

func nextCreate(c *caller, s *call, b []byte) ([]byte, bool) {
	s.name = c.fresh("made")
	return sattr(be.AppendUint32(appendName(b, c.churn.handle, s.name), createGuarded), 0o644), true
}

func checkCreate(c *caller, s *call, r *reader) error {
	if !r.status(nfsOK) {
		return r.err
	}
	if r.u32() != 1 || len(r.opaque()) == 0 {
		return fmt.Errorf("no handle of %s", s.name)
	}
	c.push(&c.made, s.name)
	return r.err
}

func nextRename(c *caller, s *call, b []byte) ([]byte, bool) {
	var ok bool
	if s.name, ok = c.pop(&c.made); !ok && !c.echo {
		return b, false
	}
	s.to = c.fresh("moved")
	return appendName(appendName(b, c.churn.handle, s.name), c.churn.handle, s.to), true
}

func checkRename(c *caller, s *call, r *reader) error {
	if r.status(nfsOK) {
		c.push(&c.renamed, s.to)
	}
	return r.err
}

func nextRemove(c *caller, s *call, b []byte) ([]byte, bool) {
	var ok bool
	if s.name, ok = c.pop(&c.renamed, &c.made); !ok && !c.echo {
		return b, false
	}
	return appendName(b, c.churn.handle, s.name), true
}

func checkRemove(_ *caller, _ *call, r *reader) error {
	r.status(nfsOK)
	return r.err
}

// Sizes of a READDIRPLUS as the Linux client asks for them.
const (
	dirCount = 8 << 10
	maxCount = 32 << 10
)

func nextList(c *caller, s *call, b []byte) ([]byte, bool) {
	return listArgs(b, c.list.handle, s), true
}

// listArgs are the arguments of a READDIRPLUS for the next page.
func listArgs(b, dir []byte, s *call) []byte {
	b = be.AppendUint64(appendOpaque(b, dir), s.cookie)
	b = append(b, s.verf[:]...)
	return be.AppendUint32(be.AppendUint32(b, dirCount), maxCount)
}

// checkList demands that the pages of a listing together have every name once.
func checkList(c *caller, s *call, r *reader) error {
	if s.seen == nil {
		s.seen = make([]bool, c.listed)
	}
	entries, eof, err := s.page(r, func(name string, _ attr, _ []byte) error {
		n, err := strconv.Atoi(strings.TrimPrefix(name, "name-"))
		if err != nil || n < 0 || n >= len(s.seen) || s.seen[n] {
			return fmt.Errorf("entry %q of a listing is not one of %d names, or comes twice", name, len(s.seen))
		}
		s.seen[n] = true
		return nil
	})
	c.units += entries
	switch {
	case err != nil:
		return err
	case eof && s.listed != len(s.seen):
		return fmt.Errorf("a listing of %d names, want %d", s.listed, len(s.seen))
	case eof:
		s.rewind()
		clear(s.seen)
	}
	return nil
}

// page reads a page of a listing: it counts the names and moves the cookie on. each gets every entry but those of the directory itself
// and its parent, which are among entries.
func (s *call) page(r *reader, each func(name string, a attr, handle []byte) error) (entries int, eof bool, err error) {
	if !r.status(nfsOK) {
		return 0, false, r.err
	}
	r.postAttr()
	copy(s.verf[:], r.take(8))
	for r.u32() == 1 {
		r.u64()
		name := string(r.opaque())
		s.cookie = r.u64()
		a := r.postAttr()
		var handle []byte
		if r.u32() == 1 {
			handle = r.opaque()
		}
		entries++
		if name == "." || name == ".." || r.err != nil {
			continue
		}
		s.listed++
		if each != nil {
			if err := each(name, a, handle); err != nil {
				return entries, false, err
			}
		}
	}
	eof = r.u32() == 1
	if r.err == nil && !eof && entries == 0 {
		return 0, false, fmt.Errorf("an empty page that is not the last, after %d names", s.listed)
	}
	return entries, eof, r.err
}

// rewind begins the listing again.
func (s *call) rewind() { s.cookie, s.verf, s.listed = 0, [8]byte{}, 0 }
