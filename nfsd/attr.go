package nfsd

import (
	"encoding/binary"
	"math"

	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// Sizes of encoded structures, in bytes (RFC 1813 section 2.5 and 2.6).
const (
	attrLen   = 84          // fattr3
	postOpLen = 4 + attrLen // post_op_attr that is there
	preLen    = 24          // wcc_attr
	wccMax    = 4 + preLen + postOpLen
	postFHLen = 4 + 4 + handleLen // post_op_fh3 that is there
)

// maxOffset is the largest offset a file may have; above it a signed 64-bit
// offset, which all clients and hosts use, overflows.
const maxOffset = math.MaxInt64

// nanos is how many nanoseconds a second has.
const nanos = 1_000_000_000

// appendAttr appends a as fattr3. It is the only place where attributes are
// encoded.
func (s *Server) appendAttr(out []byte, a *vfs.Attr) []byte {
	var b [attrLen]byte
	be := binary.BigEndian
	be.PutUint32(b[0:], uint32(a.Type))
	be.PutUint32(b[4:], a.Mode&vfs.ModeMask)
	be.PutUint32(b[8:], a.Nlink)
	be.PutUint32(b[12:], a.UID)
	be.PutUint32(b[16:], a.GID)
	be.PutUint64(b[20:], a.Size)
	be.PutUint64(b[28:], a.Used)
	if a.Type == vfs.Block || a.Type == vfs.Char { // else its meaning is undefined; zero
		be.PutUint32(b[36:], a.Major)
		be.PutUint32(b[40:], a.Minor)
	}
	be.PutUint64(b[44:], s.fsid)
	be.PutUint64(b[52:], a.Node.ID.FileID())
	putTime(b[60:], a.Atime)
	putTime(b[68:], a.Mtime)
	putTime(b[76:], a.Ctime)
	return append(out, b[:]...)
}

// putTime writes t as nfstime3. Its seconds are unsigned 32 bits: what lies
// before 1970 or after 2106 becomes the nearest that can be said (Q14), where a
// cut to 32 bits would make an old file young.
func putTime(b []byte, t vfs.Time) {
	switch {
	case t.Sec < 0:
		t = vfs.Time{}
	case t.Sec > math.MaxUint32:
		t = vfs.Time{Sec: math.MaxUint32, Nsec: nanos - 1}
	}
	binary.BigEndian.PutUint32(b, uint32(t.Sec))
	binary.BigEndian.PutUint32(b[4:], t.Nsec)
}

// appendPostOp appends a as post_op_attr; a of no node is missing.
func (s *Server) appendPostOp(out []byte, a *vfs.Attr) []byte {
	if a.Node.IsZero() {
		return xdr.AppendBool(out, false)
	}
	return s.appendAttr(xdr.AppendBool(out, true), a)
}

// appendChange appends ch as wcc_data.
func (s *Server) appendChange(out []byte, ch *vfs.Change) []byte {
	out = xdr.AppendBool(out, ch.HasBefore)
	if ch.HasBefore {
		var b [preLen]byte
		binary.BigEndian.PutUint64(b[0:], ch.Before.Size)
		putTime(b[8:], ch.Before.Mtime)
		putTime(b[16:], ch.Before.Ctime)
		out = append(out, b[:]...)
	}
	if !ch.HasAfter {
		return xdr.AppendBool(out, false)
	}
	return s.appendAttr(xdr.AppendBool(out, true), &ch.After)
}

// appendHandle appends the handle of n below export x as nfs_fh3.
func (s *Server) appendHandle(out []byte, x uint64, n vfs.Node) []byte {
	return s.key.append(xdr.AppendUint32(out, handleLen), x, n)
}

// appendPostFH appends the handle of n as post_op_fh3.
func (s *Server) appendPostFH(out []byte, x uint64, n vfs.Node) []byte {
	return s.appendHandle(xdr.AppendBool(out, true), x, n)
}

// The values of time_how (RFC 1813 section 2.6).
const (
	dontChange = iota
	setToServerTime
	setToClientTime
)

// noID is the uid and gid that chown(2) takes for "leave it alone"; as a value
// to set it is invalid.
const noID = math.MaxUint32

// decodeSet decodes a sattr3. ok is false if the bytes are none. The status says
// that a value is not valid (Inval, FBig); the caller still decodes what follows.
func decodeSet(d *xdr.Decoder, set *vfs.SetAttr) (st vfs.Status, ok bool) {
	if d.Bool() {
		set.Mask |= vfs.SetMode
		set.Mode = d.Uint32() & vfs.ModeMask
	}
	if d.Bool() {
		set.Mask |= vfs.SetUID
		set.UID = d.Uint32()
	}
	if d.Bool() {
		set.Mask |= vfs.SetGID
		set.GID = d.Uint32()
	}
	if d.Bool() {
		set.Mask |= vfs.SetSize
		set.Size = d.Uint64()
	}
	var aok, mok bool
	set.Atime, aok = decodeSetTime(d, &set.Mask, vfs.SetAtime, vfs.SetAtimeNow)
	set.Mtime, mok = decodeSetTime(d, &set.Mask, vfs.SetMtime, vfs.SetMtimeNow)
	if d.Err() != nil || !aok || !mok {
		return vfs.OK, false
	}
	switch {
	case set.Has(vfs.SetUID) && set.UID == noID, set.Has(vfs.SetGID) && set.GID == noID:
		return vfs.Inval, true
	case set.Atime.Nsec >= nanos, set.Mtime.Nsec >= nanos: // Q13
		return vfs.Inval, true
	case set.Size > maxOffset:
		return vfs.FBig, true
	}
	return vfs.OK, true
}

// decodeSetTime decodes a set_atime or set_mtime.
func decodeSetTime(d *xdr.Decoder, mask *vfs.SetMask, client, server vfs.SetMask) (vfs.Time, bool) {
	switch d.Uint32() {
	case dontChange:
	case setToServerTime:
		*mask |= server
	case setToClientTime:
		*mask |= client
		return decodeTime(d), true
	default:
		return vfs.Time{}, false
	}
	return vfs.Time{}, true
}

// decodeTime decodes an nfstime3.
func decodeTime(d *xdr.Decoder) vfs.Time {
	return vfs.Time{Sec: int64(d.Uint32()), Nsec: d.Uint32()}
}
