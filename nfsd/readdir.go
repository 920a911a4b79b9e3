package nfsd

import (
	"context"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// Cookies of the entries that no file system lists (vfs.Cookie).
const (
	dotCookie    vfs.Cookie = 1
	dotDotCookie vfs.Cookie = 2
)

// The cookie verifier is 8 zero bytes: cookies never go stale here, so there is
// nothing to verify, and any verifier is accepted (RFC 1813 section 3.3.16; Q10).
var cookieVerf [8]byte

const (
	// dirHead is what comes before the entries of a listing, in bytes: status,
	// attributes, verifier.
	dirHead = 4 + postOpLen + len(cookieVerf)
	// dirTail is the end of the list and eof.
	dirTail = 8
	// entryMin is an entry3 without its name: a boolean, fileid, the name's count,
	// cookie.
	entryMin = 4 + 8 + 4 + 8
)

// dirArgs are the arguments of READDIR and READDIRPLUS.
type dirArgs struct {
	fh     []byte
	cookie vfs.Cookie
	names  uint32 // READDIRPLUS: dircount, bytes of fileids, names and cookies
	total  uint32 // bytes of the result
	plus   bool
}

func decodeDirArgs(args []byte, plus bool) (a dirArgs, ok bool) {
	var d xdr.Decoder
	d.Reset(args)
	a.fh = d.Opaque(fhMax)
	a.cookie = vfs.Cookie(d.Uint64())
	d.Fixed(len(cookieVerf))
	a.plus = plus
	if plus {
		a.names = d.Uint32()
	}
	a.total = d.Uint32()
	return a, d.Err() == nil
}

func (s *Server) readDirSize(args []byte) int {
	a, _ := decodeDirArgs(args, false)
	return int(min(a.total, s.dirMax))
}

func (s *Server) readDirPlusSize(args []byte) int {
	a, _ := decodeDirArgs(args, true)
	return int(min(a.total, s.dirMax))
}

// readDir is READDIR (RFC 1813 section 3.3.16).
func (s *Server) readDir(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	a, ok := decodeDirArgs(c.Args, false)
	if !ok {
		return out, rpc.GarbageArgs
	}
	return s.list(ctx, c, out, &a)
}

// readDirPlus is READDIRPLUS (RFC 1813 section 3.3.17).
func (s *Server) readDirPlus(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	a, ok := decodeDirArgs(c.Args, true)
	if !ok {
		return out, rpc.GarbageArgs
	}
	return s.list(ctx, c, out, &a)
}

// list fills one page of a listing.
func (s *Server) list(ctx context.Context, c *rpc.Call, out []byte, args *dirArgs) ([]byte, rpc.Verdict) {
	n, g, err := s.resolve(ctx, c, args.fh)
	if err == nil && args.cookie > vfs.MaxCookie {
		err = vfs.BadCookie // never one of ours
	}
	if err != nil {
		return s.refuse(c, out, err, noAttr)
	}
	start := len(out)
	size := int(min(args.total, s.dirMax))
	names := args.names
	if names == 0 { // no hint at all (Q11)
		names = s.dirMax
	}
	p := &page{s: s, export: g.root.id, plus: args.plus, names: int(min(names, s.dirMax)), end: start + size - dirTail}
	p.out = c.Reserve(out, max(size, dirHead+dirTail))[:start+dirHead]
	if err := p.addDots(ctx, c, g, n, args.cookie); err != nil {
		return s.refuse(c, out[:start], err, noAttr)
	}
	dir, eof, err := s.fs.ReadDir(ctx, g.who(c), n, max(args.cookie, dotDotCookie), args.plus, p.each)
	if err == nil && p.entries == 0 && (p.full || size < dirHead+dirTail) { // an empty listing has a size too
		err = vfs.TooSmall
	}
	if err != nil {
		return s.refuseAttr(c, p.out[:start], err, &dir)
	}
	return p.finish(start, &dir, eof && !p.full, s.code(c, nil)), rpc.Done
}

// page is a listing under construction.
type page struct {
	s       *Server
	out     []byte
	export  uint64
	plus    bool
	names   int // bytes that fileids, names and cookies may still take; a hint
	end     int // out may get as long as this
	entries int
	full    bool
}

// addDots adds "." and ".." if the listing begins before them. ".." is the
// directory itself at the root of the export; above that nothing is told.
func (p *page) addDots(ctx context.Context, c *rpc.Call, g *grant, n vfs.Node, after vfs.Cookie) error {
	if after < dotCookie {
		var a vfs.Attr
		if p.plus {
			var err error
			if a, err = p.s.fs.GetAttr(ctx, g.who(c), n); err != nil {
				return err
			}
		}
		p.add(n, ".", dotCookie, &a)
	}
	if after < dotDotCookie && !p.full {
		up, err := p.s.parent(ctx, c, g, n)
		if vfs.StatusOf(err) == vfs.Acces { // moved out of the export: nothing above it is told
			up, err = n, nil
		}
		if err != nil {
			return err
		}
		var a vfs.Attr
		if p.plus {
			if a, err = p.s.fs.GetAttr(ctx, g.who(c), up); err != nil {
				return err
			}
		}
		p.add(up, "..", dotDotCookie, &a)
	}
	return nil
}

// each adds an entry of the file system.
func (p *page) each(e *vfs.DirEntry) bool {
	if p.full { // the dots filled the page
		return false
	}
	var none vfs.Attr
	a := &none
	if e.HasAttr {
		a = &e.Attr
	}
	return p.add(e.Node, e.Name.String(), e.Cookie, a)
}

// add adds one entry if there is room, and reports whether there was. The first
// entry is not refused for its dircount, which is a hint; else a client that sends
// a small one (Q11) would never get on.
func (p *page) add(n vfs.Node, name string, cookie vfs.Cookie, a *vfs.Attr) bool {
	size := entryMin + len(name) + xdr.Pad(len(name))
	hint := size - 4 // dircount does not count the list's booleans
	if p.plus {
		size += 8
		if !a.Node.IsZero() {
			size += attrLen
		}
		if !n.IsZero() {
			size += 4 + handleLen
		}
	}
	if len(p.out)+size > p.end || p.plus && hint > p.names && p.entries > 0 {
		p.full = true
		return false
	}
	p.names -= hint
	p.entries++
	out := xdr.AppendBool(p.out, true)
	out = xdr.AppendUint64(out, entryFileID(n, cookie))
	out = xdr.AppendString(out, name)
	out = xdr.AppendUint64(out, uint64(cookie))
	if p.plus {
		out = p.s.appendPostOp(out, a)
		if n.IsZero() {
			out = xdr.AppendBool(out, false)
		} else {
			out = p.s.appendPostFH(out, p.export, n)
		}
	}
	p.out = out
	return true
}

// entryFileID is the fileid of an entry. An object that is not known, because its
// volume is away, still needs one that is not 0 (old clients hide such entries):
// its cookie with the high bit, which is as constant as the name.
func entryFileID(n vfs.Node, cookie vfs.Cookie) uint64 {
	if n.IsZero() {
		return uint64(cookie) | 1<<63
	}
	return n.ID.FileID()
}

// finish puts the head before the entries and the tail behind them.
func (p *page) finish(start int, dir *vfs.Attr, eof bool, code uint32) []byte {
	body := p.out[start+dirHead:]
	out := p.s.appendPostOp(xdr.AppendUint32(p.out[:start], code), dir)
	out = append(out, cookieVerf[:]...)
	out = appendPlaced(out, body, start+dirHead)
	out = xdr.AppendBool(out, false)
	return xdr.AppendBool(out, eof)
}
