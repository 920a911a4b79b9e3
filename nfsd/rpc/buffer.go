package rpc

import "sync"

// buffer is a pooled piece of memory. Whoever holds the pointer owns the bytes.
type buffer struct {
	b     []byte // always the whole buffer
	class int8   // index into sizeClasses, -1 if it is not pooled
	start int    // in a reply buffer: where the record mark goes
}

// sizeClasses are the pooled sizes, in bytes. From 40 KiB on they are a power of
// two and 8 KiB, so that a payload of a round size and its header fit.
var sizeClasses = [...]int{
	1 << 10, 4 << 10, 8 << 10, 16 << 10,
	40 << 10, 72 << 10, 136 << 10, 264 << 10, 520 << 10, 1032 << 10,
}

// readSize is the size of a connection's read buffer and of the buffer its
// inline replies gather in: a READ or WRITE of 64 KiB fits with its header.
const readSize = 72 << 10

var pools [len(sizeClasses)]sync.Pool

// classOf returns the smallest class of at least n bytes, -1 if none is.
func classOf(n int) int {
	for i, size := range sizeClasses {
		if n <= size {
			return i
		}
	}
	return -1
}

// bufferSize returns how many bytes getBuffer(n) really takes.
func bufferSize(n int) int64 {
	if i := classOf(n); i >= 0 {
		return int64(sizeClasses[i])
	}
	return int64(n)
}

// getBuffer returns a buffer of at least n bytes with any content.
func getBuffer(n int) *buffer {
	i := classOf(n)
	if i < 0 {
		return &buffer{b: make([]byte, n), class: -1}
	}
	if v := pools[i].Get(); v != nil {
		return v.(*buffer)
	}
	return &buffer{b: make([]byte, sizeClasses[i]), class: int8(i)}
}

// putBuffer gives the buffer back; nil is allowed.
func putBuffer(b *buffer) {
	if b == nil || b.class < 0 {
		return
	}
	b.start = 0
	pools[b.class].Put(b)
}
