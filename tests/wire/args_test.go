package wire

import (
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// args are encoded arguments under construction.
type args []byte

func fh(h []byte) args             { return args(xdr.AppendOpaque(nil, h)) }
func (a args) fh(h []byte) args    { return xdr.AppendOpaque(a, h) }
func (a args) str(s string) args   { return xdr.AppendString(a, s) }
func (a args) u32(v uint32) args   { return xdr.AppendUint32(a, v) }
func (a args) u64(v uint64) args   { return xdr.AppendUint64(a, v) }
func (a args) raw(b ...byte) args  { return append(a, b...) }
func (a args) set(s settings) args { return s.append(a) }
func (a args) noGuard() args       { return a.u32(0) }
func (a args) guard(t nstime) args { return a.u32(1).time(t) }
func (a args) time(t nstime) args  { return a.u32(t.sec).u32(t.nsec) }

// writeArgs are WRITE3args whose count is right.
func writeArgs(h []byte, off uint64, stable vfs.Stable, data string) args {
	return fh(h).u64(off).u32(uint32(len(data))).u32(uint32(stable)).str(data)
}

// dirArgs are READDIR3args.
func dirArgs(h []byte, cookie uint64, count uint32) args {
	return fh(h).u64(cookie).u64(0).u32(count)
}

// plusArgs are READDIRPLUS3args.
func plusArgs(h []byte, cookie uint64, dircount, maxcount uint32) args {
	return fh(h).u64(cookie).u64(0).u32(dircount).u32(maxcount)
}

// nstime is an nfstime3.
type nstime struct{ sec, nsec uint32 }

// settings are a sattr3; nil fields are not set.
type settings struct {
	mode, uid, gid *uint32
	size           *uint64
	atime, mtime   *nstime // to this time
	atimeNow       bool
	mtimeNow       bool
}

func setMode(m uint32) settings { return settings{mode: &m} }

func (s settings) append(a args) args {
	for _, p := range []*uint32{s.mode, s.uid, s.gid} {
		if p == nil {
			a = a.u32(0)
			continue
		}
		a = a.u32(1).u32(*p)
	}
	if s.size == nil {
		a = a.u32(0)
	} else {
		a = a.u32(1).u64(*s.size)
	}
	return appendSetTime(appendSetTime(a, s.atime, s.atimeNow), s.mtime, s.mtimeNow)
}

func appendSetTime(a args, t *nstime, now bool) args {
	switch {
	case now:
		return a.u32(1)
	case t != nil:
		return a.u32(2).time(*t)
	}
	return a.u32(0)
}

// fattr is a fattr3.
type fattr struct {
	typ, mode, nlink, uid, gid uint32
	size, used                 uint64
	major, minor               uint32
	fsid, fileid               uint64
	atime, mtime, ctime        nstime
}

// wcc is a wcc_data.
type wcc struct {
	pre          bool
	size         uint64
	mtime, ctime nstime
	post         *fattr
}

// entry is an entry3 or entryplus3.
type entry struct {
	fileid uint64
	name   string
	cookie uint64
	attr   *fattr
	fh     []byte
}

// result is a decoded result; what a procedure does not have is zero.
type result struct {
	status  nfs.NFSStatus
	raw     []byte
	fh      []byte
	attr    *fattr // of the object
	dir     *fattr // LOOKUP, READDIR: of the directory
	wcc, to wcc    // to: RENAME's second
	access  uint32
	data    []byte // READ; READLINK's target
	eof     bool
	count   uint32
	stable  uint32
	verf    []byte
	entries []entry
	numbers []uint64 // FSSTAT, FSINFO, PATHCONF, in their order
}

type decoder struct{ xdr.Decoder }

func (d *decoder) time() nstime { return nstime{d.Uint32(), d.Uint32()} }

func (d *decoder) fattr() *fattr {
	return &fattr{
		d.Uint32(), d.Uint32(), d.Uint32(), d.Uint32(), d.Uint32(), d.Uint64(), d.Uint64(), d.Uint32(), d.Uint32(),
		d.Uint64(), d.Uint64(), d.time(), d.time(), d.time(),
	}
}

func (d *decoder) postOp() *fattr {
	if !d.Bool() {
		return nil
	}
	return d.fattr()
}

func (d *decoder) postFH() []byte {
	if !d.Bool() {
		return nil
	}
	return d.Opaque(64)
}

func (d *decoder) wcc() (w wcc) {
	if w.pre = d.Bool(); w.pre {
		w.size, w.mtime, w.ctime = d.Uint64(), d.time(), d.time()
	}
	w.post = d.postOp()
	return w
}

func (d *decoder) entries(plus bool) (list []entry) {
	for d.Bool() && d.Err() == nil {
		e := entry{fileid: d.Uint64(), name: string(d.String(1 << 10)), cookie: d.Uint64()}
		if plus {
			e.attr, e.fh = d.postOp(), d.postFH()
		}
		list = append(list, e)
	}
	return list
}

func (d *decoder) numbers(sizes string) (list []uint64) {
	for _, c := range sizes {
		if c == '8' {
			list = append(list, d.Uint64())
		} else {
			list = append(list, uint64(d.Uint32()))
		}
	}
	return list
}

// decodeResult decodes a result, all of it.
func decodeResult(tb testing.TB, proc nfs.NFSProcedure, b []byte) *result {
	tb.Helper()
	d := decoder{xdr.NewDecoder(b)}
	r := &result{raw: b, status: nfs.NFSStatus(d.Uint32())}
	if r.status == nfs.NFSStatusOk {
		d.success(proc, r)
	} else {
		d.failure(proc, r)
	}
	if d.Err() != nil || d.Len() != 0 {
		tb.Fatalf("%v: result does not decode (%v, %d bytes left): % x", proc, d.Err(), d.Len(), b)
	}
	return r
}

func (d *decoder) failure(proc nfs.NFSProcedure, r *result) {
	switch proc {
	case nfs.NFSProcedureGetAttr:
	case nfs.NFSProcedureSetAttr, nfs.NFSProcedureWrite, nfs.NFSProcedureCommit, nfs.NFSProcedureCreate,
		nfs.NFSProcedureMkDir, nfs.NFSProcedureSymlink, nfs.NFSProcedureMkNod, nfs.NFSProcedureRemove,
		nfs.NFSProcedureRmDir:
		r.wcc = d.wcc()
	case nfs.NFSProcedureRename:
		r.wcc, r.to = d.wcc(), d.wcc()
	case nfs.NFSProcedureLink:
		r.attr, r.wcc = d.postOp(), d.wcc()
	default:
		r.attr = d.postOp()
	}
}

func (d *decoder) success(proc nfs.NFSProcedure, r *result) {
	switch proc {
	case nfs.NFSProcedureGetAttr:
		r.attr = d.fattr()
	case nfs.NFSProcedureSetAttr, nfs.NFSProcedureRemove, nfs.NFSProcedureRmDir:
		r.wcc = d.wcc()
	case nfs.NFSProcedureLookup:
		r.fh, r.attr, r.dir = d.Opaque(64), d.postOp(), d.postOp()
	case nfs.NFSProcedureAccess:
		r.attr, r.access = d.postOp(), d.Uint32()
	case nfs.NFSProcedureReadlink:
		r.attr, r.data = d.postOp(), d.Opaque(1<<20)
	case nfs.NFSProcedureRead:
		r.attr, r.count, r.eof, r.data = d.postOp(), d.Uint32(), d.Bool(), d.Opaque(1<<24)
	case nfs.NFSProcedureWrite:
		r.wcc, r.count, r.stable, r.verf = d.wcc(), d.Uint32(), d.Uint32(), d.Fixed(8)
	case nfs.NFSProcedureCreate, nfs.NFSProcedureMkDir, nfs.NFSProcedureSymlink, nfs.NFSProcedureMkNod:
		r.fh, r.attr, r.wcc = d.postFH(), d.postOp(), d.wcc()
	case nfs.NFSProcedureRename:
		r.wcc, r.to = d.wcc(), d.wcc()
	case nfs.NFSProcedureLink:
		r.attr, r.wcc = d.postOp(), d.wcc()
	case nfs.NFSProcedureReadDir, nfs.NFSProcedureReadDirPlus:
		r.dir, r.verf = d.postOp(), d.Fixed(8)
		r.entries, r.eof = d.entries(proc == nfs.NFSProcedureReadDirPlus), d.Bool()
	case nfs.NFSProcedureFSStat:
		r.attr, r.numbers = d.postOp(), d.numbers("8888884")
	case nfs.NFSProcedureFSInfo:
		r.attr, r.numbers = d.postOp(), d.numbers("44444448444")
	case nfs.NFSProcedurePathConf:
		r.attr, r.numbers = d.postOp(), d.numbers("444444")
	case nfs.NFSProcedureCommit:
		r.wcc, r.verf = d.wcc(), d.Fixed(8)
	}
}
