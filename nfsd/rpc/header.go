package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"

	"sheaf/nfsd/xdr"
)

// Numbers of RFC 5531 §9.
const (
	msgCall  = 0
	msgReply = 1

	replyAccepted = 0
	replyDenied   = 1

	acceptSuccess      = 0
	acceptProgUnavail  = 1
	acceptProgMismatch = 2
	acceptProcUnavail  = 3
	acceptGarbageArgs  = 4
	acceptSystemErr    = 5

	rejectRPCMismatch = 0
	rejectAuthError   = 1

	authOK           authStat = 0
	authBadCred      authStat = 1
	authRejectedCred authStat = 2
	authBadVerf      authStat = 3
	authTooWeak      authStat = 5

	rpcVersion = 2
)

// authStat is why authentication failed (RFC 5531 §9, auth_stat).
type authStat uint32

// Limits of the call header.
const (
	maxAuthBody = 400 // bytes of a credential or verifier, RFC 5531 §8.2
	maxMachine  = 255 // bytes of the machine name, RFC 5531 appendix A
	maxGIDs     = 16  // supplementary groups, RFC 5531 appendix A
)

// header is a call's header, its opaque parts still encoded.
type header struct {
	xid, rpcvers, prog, vers, proc uint32
	credFlavor, verfFlavor         uint32
	cred, verf                     []byte
	auth                           authStat // what is wrong with the form of cred or verf
	args                           []byte
}

// parse decodes the header of a call (RFC 5531 §9). An error means that the bytes
// are no call at all, and nothing can be answered. If rpcvers is not 2, or auth is
// not authOK, the fields behind are not set.
func (h *header) parse(rec []byte) error {
	// Up to the credential's length everything has its fixed place.
	if len(rec) < 12 {
		return errHeader
	}
	h.xid = binary.BigEndian.Uint32(rec)
	if binary.BigEndian.Uint32(rec[4:]) != msgCall {
		return errNotCall
	}
	h.auth = authOK
	if h.rpcvers = binary.BigEndian.Uint32(rec[8:]); h.rpcvers != rpcVersion {
		return nil // what other versions put behind is not ours to judge
	}
	if len(rec) < 32 {
		return errHeader
	}
	h.prog = binary.BigEndian.Uint32(rec[12:])
	h.vers = binary.BigEndian.Uint32(rec[16:])
	h.proc = binary.BigEndian.Uint32(rec[20:])
	d := xdr.NewDecoder(rec[24:])
	h.credFlavor = d.Uint32()
	if h.cred = d.Opaque(maxAuthBody); errors.Is(d.Err(), xdr.ErrTooLong) {
		h.auth = authBadCred
		return nil
	}
	h.verfFlavor = d.Uint32()
	if h.verf = d.Opaque(maxAuthBody); errors.Is(d.Err(), xdr.ErrTooLong) {
		h.auth = authBadVerf
		return nil
	}
	if d.Err() != nil {
		return errHeader
	}
	h.args = d.Rest()
	return nil
}

// parseAuthSys decodes the body of an AUTH_SYS credential (RFC 5531 appendix A),
// nil if it is malformed or exceeds a limit.
func parseAuthSys(body []byte) *Cred {
	d := xdr.NewDecoder(body)
	d.Uint32() // stamp: any number, see credSlot
	machine := d.String(maxMachine)
	c := &Cred{Flavor: AuthSys, UID: d.Uint32(), GID: d.Uint32()}
	n := d.Count(maxGIDs, 4)
	if d.Err() != nil || d.Len() != 4*n {
		return nil
	}
	if n > 0 {
		c.GIDs = make([]uint32, n)
		for i := range c.GIDs {
			c.GIDs[i] = d.Uint32()
		}
	}
	c.Machine = string(machine)
	return c
}

// credSlot is a credential a connection has seen. Its key leaves out the stamp:
// older Linux clients put the time in it, and it means nothing to a server.
type credSlot struct {
	raw  []byte // the body behind the stamp
	cred *Cred
	hash uint64 // of raw, for the reply cache
}

// credCache remembers a connection's last credentials, most recent first, so
// that a body is parsed once and not with every call.
type credCache struct {
	slots [4]credSlot
	none  *Cred
	seed  maphash.Seed
}

// get returns the parsed credential of a call and a hash that is equal for equal
// credentials, or why it is refused.
func (cc *credCache) get(h *header) (*Cred, uint64, authStat) {
	switch h.credFlavor {
	case AuthSys:
	case AuthNone:
		if len(h.cred) != 0 {
			return nil, 0, authBadCred
		}
	case AuthShort:
		// We never hand out a short form. This answer makes the client send
		// the full credential again (RFC 5531 appendix A).
		return nil, 0, authRejectedCred
	default:
		return nil, 0, authBadCred
	}
	// Both flavors come with an empty verifier (RFC 5531 §10.1 and appendix A).
	if h.verfFlavor != AuthNone || len(h.verf) != 0 {
		return nil, 0, authBadVerf
	}
	if h.credFlavor == AuthNone {
		if cc.none == nil {
			cc.none = &Cred{Flavor: AuthNone}
		}
		return cc.none, 0, authOK
	}
	if len(h.cred) < 4 {
		return nil, 0, authBadCred
	}
	raw := h.cred[4:]
	if s := &cc.slots[0]; s.cred != nil && bytes.Equal(s.raw, raw) {
		return s.cred, s.hash, authOK
	}
	return cc.miss(h.cred)
}

// miss serves get when the credential is not the previous call's.
func (cc *credCache) miss(body []byte) (*Cred, uint64, authStat) {
	raw := body[4:]
	at := len(cc.slots) - 1
	slot := credSlot{}
	for i := range cc.slots {
		if s := cc.slots[i]; s.cred != nil && bytes.Equal(s.raw, raw) {
			at, slot = i, s
			break
		}
	}
	if slot.cred == nil {
		c := parseAuthSys(body)
		if c == nil {
			return nil, 0, authBadCred
		}
		slot = credSlot{raw: bytes.Clone(raw), cred: c, hash: maphash.Bytes(cc.seed, raw)}
	}
	copy(cc.slots[1:at+1], cc.slots[:at])
	cc.slots[0] = slot
	return slot.cred, slot.hash, authOK
}

// replyHeader is the size of a record mark and of the header of an accepted
// reply, in bytes. Every reply buffer keeps that much free before the result.
const replyHeader = 28

// putAccepted writes the record mark and the header of an accepted reply with n
// bytes behind it to b[:replyHeader]:
//
//	 0  record mark: last fragment, 24+n
//	 4  xid
//	 8  REPLY
//	12  MSG_ACCEPTED
//	16  verifier: AUTH_NONE, empty
//	24  accept_stat
func putAccepted(b []byte, xid, stat uint32, n int) {
	_ = b[replyHeader-1]
	binary.BigEndian.PutUint32(b, lastFragment|uint32(replyHeader-4+n))
	binary.BigEndian.PutUint32(b[4:], xid)
	binary.BigEndian.PutUint64(b[8:], msgReply<<32|replyAccepted)
	binary.BigEndian.PutUint64(b[16:], 0)
	binary.BigEndian.PutUint32(b[24:], stat)
}

// maxBareReply bounds the replies without a result, in bytes, record mark included.
const maxBareReply = replyHeader + 8

// appendAccepted appends a whole accepted reply; tail are the words behind
// accept_stat.
func appendAccepted(b []byte, xid, stat uint32, tail ...uint32) []byte {
	at := len(b)
	b = append(b, make([]byte, replyHeader)...)
	putAccepted(b[at:], xid, stat, 4*len(tail))
	for _, v := range tail {
		b = xdr.AppendUint32(b, v)
	}
	return b
}

// appendDenied appends a whole denied reply; tail are the words behind
// reject_stat.
func appendDenied(b []byte, xid, stat uint32, tail ...uint32) []byte {
	b = xdr.AppendUint32(b, lastFragment|uint32(16+4*len(tail)))
	b = xdr.AppendUint32(b, xid)
	b = xdr.AppendUint32(b, msgReply)
	b = xdr.AppendUint32(b, replyDenied)
	b = xdr.AppendUint32(b, stat)
	for _, v := range tail {
		b = xdr.AppendUint32(b, v)
	}
	return b
}

// appendVerdict appends the reply to a call that has no result.
func appendVerdict(b []byte, xid uint32, v Verdict) []byte {
	switch v {
	case GarbageArgs:
		return appendAccepted(b, xid, acceptGarbageArgs)
	case ProcUnavail:
		return appendAccepted(b, xid, acceptProcUnavail)
	case TooWeak:
		return appendDenied(b, xid, rejectAuthError, uint32(authTooWeak))
	case Drop:
		return b
	case SystemErr, Done, Again:
	}
	// Done has a result and does not come here; Again was turned into
	// SystemErr by whoever may not say it.
	return appendAccepted(b, xid, acceptSystemErr)
}
