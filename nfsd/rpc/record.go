package rpc

import (
	"encoding/binary"
	"errors"
)

// Bad framing. Each of these closes the connection: what follows on the stream
// cannot be told apart any more, or is not meant for us.
var (
	errRecordSize = errors.New("record longer than MaxRecord")
	errFragments  = errors.New("record in too many fragments")
	errHeader     = errors.New("record too short for a call header")
	errNotCall    = errors.New("message is not a call")
)

// maxFragments bounds the fragments of one record, empty ones included. libtirpc
// cuts its records into pieces of 4,000 bytes and more, 1 MiB into some 270;
// everybody else sends one.
const maxFragments = 1024

// lastFragment is the bit of the record mark that ends a record (RFC 5531 §11).
const lastFragment = 1 << 31

// need is what a recordReader asks for.
type need uint8

const (
	gotRecord  need = iota // a record is complete
	needData               // read into target
	needBuffer             // the record outgrew the read buffer: grow
)

// recordReader cuts a byte stream into records (RFC 5531 §11). It does no I/O:
// the caller asks next, reads into target, says filled. Records that fit lie in
// the read buffer; larger ones get a buffer of their own, but only once the read
// buffer is full of them, so that a few bytes with a large length take no memory
// worth having.
type recordReader struct {
	limit int // MaxRecord

	buf  *buffer // read buffer; nil, or one of 1 KiB, while the connection waits
	r, w int     // buf.b[r:w] is not parsed yet

	// The record under way; frags == 0 between records.
	frags      int
	inFrag     bool // between a fragment's mark and its end
	last       bool // the fragment is the record's last
	left       int  // bytes of the fragment not taken yet
	start, end int  // big == nil: the record so far is buf.b[start:end], end <= r
	big        *buffer
	have       int // big != nil: the record so far is big.b[:have]
}

// next returns a record, or says what it needs. The record is valid until the
// next call of target; if own is not nil it lies there and belongs to the caller.
// need is meaningless with an error.
func (rr *recordReader) next() (rec []byte, own *buffer, n need, err error) {
	for {
		if !rr.inFrag {
			if rr.w-rr.r < 4 {
				if rr.frags > 0 && rr.big == nil && rr.size()+4 > len(rr.buf.b) {
					return nil, nil, needBuffer, nil // no room for the next mark
				}
				return nil, nil, needData, nil
			}
			mark := binary.BigEndian.Uint32(rr.buf.b[rr.r:])
			size := int(mark &^ lastFragment) // at most 2^31-1: fits an int of 32 bits
			rr.r += 4
			if rr.frags == 0 {
				rr.start, rr.end = rr.r, rr.r
				// The usual case: one fragment, completely here.
				if mark&lastFragment != 0 && size <= rr.w-rr.r && size <= rr.limit {
					rec = rr.buf.b[rr.r : rr.r+size : rr.r+size]
					rr.r += size
					return rec, nil, gotRecord, nil
				}
			}
			rr.frags++
			if rr.frags > maxFragments {
				return nil, nil, 0, errFragments
			}
			if size > rr.limit-rr.size() {
				return nil, nil, 0, errRecordSize
			}
			rr.inFrag, rr.last, rr.left = true, mark&lastFragment != 0, size
		}
		rr.consume()
		if rr.left > 0 {
			if rr.big == nil && rr.end-rr.start == len(rr.buf.b) {
				return nil, nil, needBuffer, nil
			}
			return nil, nil, needData, nil
		}
		rr.inFrag = false
		if rr.last {
			if own = rr.big; own != nil {
				rec = own.b[:rr.have:rr.have]
			} else {
				rec = rr.buf.b[rr.start:rr.end:rr.end]
			}
			rr.frags, rr.big, rr.have = 0, nil, 0
			return rec, own, gotRecord, nil
		}
	}
}

// size returns how many bytes of the record under way are there.
func (rr *recordReader) size() int {
	if rr.big != nil {
		return rr.have
	}
	return rr.end - rr.start
}

// consume moves what is buffered of the fragment to the record.
func (rr *recordReader) consume() {
	n := min(rr.left, rr.w-rr.r)
	if n == 0 {
		return
	}
	part := rr.buf.b[rr.r : rr.r+n]
	if rr.big != nil {
		rr.have += copy(rr.big.b[rr.have:], part)
	} else {
		if rr.end != rr.r { // not the first fragment: close the gap of its mark
			copy(rr.buf.b[rr.end:], part)
		}
		rr.end += n
	}
	rr.r += n
	rr.left -= n
}

// wants returns the size of the buffer needBuffer asks for: the record's, if its
// last fragment has begun, the limit otherwise.
func (rr *recordReader) wants() int {
	if rr.last {
		return rr.size() + rr.left
	}
	return rr.limit
}

// grow continues the record under way in b, of at least wants bytes.
func (rr *recordReader) grow(b *buffer) {
	rr.have = copy(b.b, rr.buf.b[rr.start:rr.end])
	rr.big = b
	rr.start, rr.end = 0, 0
}

// direct reports whether the stream's next bytes go straight to big.
func (rr *recordReader) direct() bool { return rr.big != nil && rr.left > 0 }

// target returns where to read the stream's next bytes, never empty. Records
// that next returned without a buffer of their own are gone afterwards.
func (rr *recordReader) target() []byte {
	if rr.direct() {
		return rr.big.b[rr.have : rr.have+rr.left]
	}
	if rr.buf == nil || len(rr.buf.b) < readSize {
		rr.move(getBuffer(readSize))
	} else if free := len(rr.buf.b) - rr.w; rr.r == rr.w && rr.size() == 0 || free < rr.left || free < 4096 {
		rr.move(rr.buf)
	}
	return rr.buf.b[rr.w:]
}

// filled says that n bytes were read into target.
func (rr *recordReader) filled(n int) {
	if rr.direct() {
		rr.have += n
		rr.left -= n
	} else {
		rr.w += n
	}
}

// move brings what is unfinished to the front of b, which may be the read buffer
// itself, and makes b the read buffer.
func (rr *recordReader) move(b *buffer) {
	n := 0
	if rr.frags > 0 && rr.big == nil {
		n = copy(b.b, rr.buf.b[rr.start:rr.end])
	}
	rr.start, rr.end = 0, n
	if rr.buf != nil {
		rr.w = n + copy(b.b[n:], rr.buf.b[rr.r:rr.w])
	} else {
		rr.w = n
	}
	rr.r = n
	if rr.buf != b {
		putBuffer(rr.buf)
		rr.buf = b
	}
}

// partial reports whether part of a record is there.
func (rr *recordReader) partial() bool { return rr.frags > 0 || rr.w > rr.r }

// arrived returns how much of a large record under way is there, in eighths; all of
// one that holds no buffer of its own.
func (rr *recordReader) arrived() int64 {
	if rr.big == nil {
		return 8
	}
	return int64(8 * rr.have / len(rr.big.b))
}

// shrink gives back what a waiting connection does not need: the read buffer if
// nothing is in it, most of it if little is.
func (rr *recordReader) shrink() {
	if rr.buf == nil {
		return
	}
	if rr.w == rr.r && (rr.frags == 0 || rr.big != nil) {
		putBuffer(rr.buf)
		rr.buf, rr.r, rr.w, rr.start, rr.end = nil, 0, 0, 0, 0
		return
	}
	small := sizeClasses[0]
	held := rr.w - rr.r
	if rr.big == nil {
		held += rr.size()
	}
	if len(rr.buf.b) > small && held < small {
		rr.move(getBuffer(small))
	}
}

// steal hands the read buffer, and with it the record next returned last, to the
// caller. What follows the record is copied to a new one.
func (rr *recordReader) steal() *buffer {
	old := rr.buf
	b := getBuffer(readSize)
	rr.w = copy(b.b, old.b[rr.r:rr.w])
	rr.buf, rr.r, rr.start, rr.end = b, 0, 0, 0
	return old
}

// release gives all buffers back.
func (rr *recordReader) release() {
	putBuffer(rr.buf)
	putBuffer(rr.big)
	*rr = recordReader{limit: rr.limit}
}
