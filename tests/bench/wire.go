package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Program, version and procedure numbers (RFC 1813). This client shares no code with the server it
// measures, so that it cannot share its mistakes.
const (
	progNFS   = 100003
	progMount = 100005
	version3  = 3

	procNull        = 0
	procGetAttr     = 1
	procLookup      = 3
	procAccess      = 4
	procRead        = 6
	procWrite       = 7
	procCreate      = 8
	procMkdir       = 9
	procRemove      = 12
	procRename      = 14
	procReadDirPlus = 17
	procCommit      = 21

	procMnt = 1
)

// Statuses and constants the checks name.
const (
	nfsOK    = 0
	nfsNoEnt = 2

	typeRegular   = 1
	typeDirectory = 2

	createGuarded = 1
	unstable      = 0
	fileSync      = 2
)

var be = binary.BigEndian

// recordMax bounds a reply, in bytes: the largest READ and its headers.
const recordMax = 1<<20 + 64<<10

// header is what precedes the arguments: AUTH_SYS as this process's user.
func header(b []byte, xid, prog, proc uint32) []byte {
	for _, v := range []uint32{
		0, xid, 0, 2, prog, version3, proc,
		1, 28, 0, 5, // AUTH_SYS, its length, stamp, length of the machine's name
	} {
		b = be.AppendUint32(b, v)
	}
	b = append(b, "bench\x00\x00\x00"...)
	for _, v := range []uint32{uint32(os.Getuid()), uint32(os.Getgid()), 0, 0, 0} { // no groups; AUTH_NONE verifier
		b = be.AppendUint32(b, v)
	}
	return b
}

// seal fills in the record mark of the call that begins at b[at:].
func seal(b []byte, at int) { be.PutUint32(b[at:], 1<<31|uint32(len(b)-at-4)) }

func appendOpaque(b, v []byte) []byte {
	b = append(be.AppendUint32(b, uint32(len(v))), v...)
	return append(b, make([]byte, -len(v)&3)...)
}

func appendName(b, dir []byte, name string) []byte {
	return appendOpaque(appendOpaque(b, dir), []byte(name))
}

// sattr appends attributes that set the mode alone.
func sattr(b []byte, mode uint32) []byte {
	for _, v := range []uint32{1, mode, 0, 0, 0, 0, 0} {
		b = be.AppendUint32(b, v)
	}
	return b
}

// reader takes a reply apart; after the first mistake everything is zero.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("reply is too short")

func (r *reader) take(n int) []byte {
	if r.err == nil && (n < 0 || len(r.b) < n) {
		r.err = errShort
	}
	if r.err != nil {
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return be.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return be.Uint64(v)
	}
	return 0
}

func (r *reader) opaque() []byte {
	n := int(r.u32())
	v := r.take(n)
	r.take(-n & 3)
	return v
}

// accepted reads the header of a reply that was run with success.
func (r *reader) accepted() {
	if t, s := r.u32(), r.u32(); r.err == nil && (t != 1 || s != 0) {
		r.err = fmt.Errorf("reply type %d, status %d", t, s)
	}
	r.u32()
	r.opaque()
	if s := r.u32(); r.err == nil && s != 0 {
		r.err = fmt.Errorf("accept status %d", s)
	}
}

// attr is what checks look at of fattr3.
type attr struct {
	there  bool
	kind   uint32
	size   uint64
	fileid uint64
}

func (r *reader) attr() attr {
	b := r.take(84)
	if b == nil {
		return attr{}
	}
	return attr{true, be.Uint32(b), be.Uint64(b[20:]), be.Uint64(b[52:])}
}

func (r *reader) postAttr() attr {
	if r.u32() == 0 {
		return attr{}
	}
	return r.attr()
}

func (r *reader) wcc() {
	if r.u32() != 0 {
		r.take(24)
	}
	r.postAttr()
}

// status reads the procedure's own status and demands that it is want.
func (r *reader) status(want uint32) bool {
	s := r.u32()
	if r.err == nil && s != want {
		r.err = fmt.Errorf("NFS status %d, want %d", s, want)
	}
	return r.err == nil
}
