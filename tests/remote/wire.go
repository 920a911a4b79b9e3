package remote

import (
	"fmt"
	"math"

	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// nanos is how many nanoseconds a second has.
const nanos = 1_000_000_000

// args are the arguments of a call under construction.
type args []byte

func (a args) handle(fh []byte) args         { return xdr.AppendOpaque(a, fh) }
func (a args) name(n vfs.Name) args          { return xdr.AppendString(a, n.String()) }
func (a args) str(s string) args             { return xdr.AppendString(a, s) }
func (a args) u32(v uint32) args             { return xdr.AppendUint32(a, v) }
func (a args) u64(v uint64) args             { return xdr.AppendUint64(a, v) }
func (a args) verifier(v vfs.Verifier) args  { return append(a, v[:]...) }
func (a args) data(b []byte) args            { return xdr.AppendOpaque(a, b) }
func (a args) flag(yes bool) args            { return xdr.AppendBool(a, yes) }
func (a args) optional(yes bool, v any) args { return a.flag(yes).when(yes, v) }

// when appends v, a uint32 or a uint64, if yes.
func (a args) when(yes bool, v any) args {
	if !yes {
		return a
	}
	switch v := v.(type) {
	case uint32:
		return a.u32(v)
	case uint64:
		return a.u64(v)
	}
	panic(fmt.Sprintf("remote: %T cannot be encoded", v))
}

// time appends an nfstime3, whose seconds are 32 bits without a sign.
func (a args) time(t vfs.Time) args {
	switch {
	case t.Sec < 0:
		t = vfs.Time{}
	case t.Sec > math.MaxUint32:
		t = vfs.Time{Sec: math.MaxUint32, Nsec: nanos - 1}
	}
	return a.u32(uint32(t.Sec)).u32(t.Nsec)
}

// set appends a sattr3.
func (a args) set(s *vfs.SetAttr) args {
	a = a.optional(s.Has(vfs.SetMode), s.Mode)
	a = a.optional(s.Has(vfs.SetUID), s.UID)
	a = a.optional(s.Has(vfs.SetGID), s.GID)
	a = a.optional(s.Has(vfs.SetSize), s.Size)
	a = a.setTime(s.Has(vfs.SetAtime), s.Has(vfs.SetAtimeNow), s.Atime)
	return a.setTime(s.Has(vfs.SetMtime), s.Has(vfs.SetMtimeNow), s.Mtime)
}

// setTime appends a set_atime or set_mtime: DONT_CHANGE, SET_TO_SERVER_TIME or
// SET_TO_CLIENT_TIME.
func (a args) setTime(given, now bool, t vfs.Time) args {
	switch {
	case now:
		return a.u32(1)
	case given:
		return a.u32(2).time(t)
	}
	return a.u32(0)
}

// reply is the result of a call, read from its beginning.
type reply struct {
	xdr.Decoder
	c      *Client
	proc   uint32
	status vfs.Status
	bad    error // the first violation
}

// violate notes what is wrong with the reply.
func (r *reply) violate(format string, a ...any) {
	if r.bad == nil {
		r.bad = r.c.violation(procNames[r.proc], fmt.Errorf(format, a...))
	}
}

// end is called after the last field: the error of the reply's status, or what is
// wrong with the reply.
func (r *reply) end() error {
	if err := r.Err(); err != nil {
		r.violate("the result ends early: %w", err)
	} else if n := r.Len(); n > 0 {
		r.violate("%d bytes follow the result", n)
	}
	if r.bad != nil {
		return r.bad
	}
	if r.status == vfs.OK {
		return nil
	}
	return r.status
}

// ok reports whether the call succeeded.
func (r *reply) ok() bool { return r.status == vfs.OK }

// handle reads an nfs_fh3.
func (r *reply) handle() []byte {
	fh := r.Opaque(handleMax)
	if len(fh) == 0 && r.Err() == nil {
		r.violate("a handle without bytes")
	}
	return append([]byte(nil), fh...)
}

// time reads an nfstime3.
func (r *reply) time() vfs.Time {
	t := vfs.Time{Sec: int64(r.Uint32()), Nsec: r.Uint32()}
	if t.Nsec >= nanos {
		r.violate("a time of %d nanoseconds", t.Nsec)
	}
	return t
}

// attr reads a fattr3 and its fileid. Node is left for the caller.
func (r *reply) attr() (a vfs.Attr, fileid uint64) {
	a.Type = vfs.Type(r.Uint32())
	a.Mode, a.Nlink = r.Uint32(), r.Uint32()
	a.UID, a.GID = r.Uint32(), r.Uint32()
	a.Size, a.Used = r.Uint64(), r.Uint64()
	a.Major, a.Minor = r.Uint32(), r.Uint32()
	fsid := r.Uint64()
	fileid = r.Uint64()
	a.Atime, a.Mtime, a.Ctime = r.time(), r.time(), r.time()
	if r.Err() != nil {
		return a, fileid
	}
	if r.c.opt.Stock { // its modes have the type bits of Go
		a.Mode &= vfs.ModeMask
	}
	switch {
	case a.Type < vfs.Regular || a.Type > vfs.FIFO:
		r.violate("type %d", a.Type)
	case a.Mode&^vfs.ModeMask != 0:
		r.violate("mode %o", a.Mode)
	case fileid == 0:
		r.violate("fileid 0")
	case a.Nlink == 0 && !r.c.opt.Stock:
		r.violate("a living object of no links")
	}
	if old, same := r.c.sameFSID(fsid); !same && !r.c.opt.Stock {
		r.violate("fsid %x, was %x", fsid, old)
	}
	return a, fileid
}

// attrOf reads a fattr3 that must be n's.
func (r *reply) attrOf(n vfs.Node) vfs.Attr {
	a, fileid := r.attr()
	if !r.c.opt.Stock && r.Err() == nil && fileid != n.ID.FileID() {
		r.violate("attributes of fileid %x, asked for those of %x", fileid, n.ID.FileID())
	}
	a.Node = n
	r.c.nodes.typed(n, a.Type)
	return a
}

// postOp reads a post_op_attr that must be n's; the zero Attr if it is missing.
func (r *reply) postOp(n vfs.Node) vfs.Attr {
	if !r.Bool() {
		return vfs.Attr{}
	}
	return r.attrOf(n)
}

// change reads the wcc_data of n.
func (r *reply) change(n vfs.Node) (c vfs.Change) {
	if c.HasBefore = r.Bool(); c.HasBefore {
		c.Before = vfs.Pre{Size: r.Uint64(), Mtime: r.time(), Ctime: r.time()}
	}
	if c.After = r.postOp(n); !c.After.Node.IsZero() {
		c.HasAfter = true
	}
	return c
}

// object reads the post_op_attr of what fh is the handle of. false: it is missing.
func (r *reply) object(fh []byte) (vfs.Attr, bool) {
	if !r.Bool() {
		return vfs.Attr{}, false
	}
	a, fileid := r.attr()
	return r.learn(a, fileid, fh), true
}

// learn makes the node of attributes that came with a handle.
func (r *reply) learn(a vfs.Attr, fileid uint64, fh []byte) vfs.Attr {
	if r.Err() != nil || r.bad != nil {
		return vfs.Attr{}
	}
	n, err := r.c.nodes.learn(fileid, fh)
	if err != nil {
		r.violate("%w", err)
		return vfs.Attr{}
	}
	a.Node = n
	r.c.nodes.typed(n, a.Type)
	return a
}
