package nfsd

import (
	"context"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// create is CREATE (RFC 1813 section 3.3.8).
func (s *Server) create(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh, name := d.Opaque(fhMax), d.String(anyLength)
	how := vfs.How{Type: vfs.Regular}
	bad, ok := vfs.OK, true
	switch mode := d.Uint32(); mode {
	case uint32(vfs.Unchecked), uint32(vfs.Guarded):
		how.Exists = vfs.Exists(mode)
		bad, ok = decodeSet(&d, &how.Set)
	case uint32(vfs.Exclusive):
		how.Exists = vfs.Exclusive
		copy(how.Verifier[:], d.Fixed(len(how.Verifier)))
	default:
		ok = false
	}
	if d.Err() != nil || !ok {
		return out, rpc.GarbageArgs
	}
	return s.make(ctx, c, out, fh, name, &how, bad)
}

// mkDir is MKDIR (RFC 1813 section 3.3.9).
func (s *Server) mkDir(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh, name := d.Opaque(fhMax), d.String(anyLength)
	how := vfs.How{Type: vfs.Directory, Exists: vfs.Guarded}
	bad, ok := decodeSet(&d, &how.Set)
	if d.Err() != nil || !ok {
		return out, rpc.GarbageArgs
	}
	return s.make(ctx, c, out, fh, name, &how, bad)
}

// symlink is SYMLINK (RFC 1813 section 3.3.10). The target is data: it is never
// followed here, and may be anything but longer than a path can be.
func (s *Server) symlink(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh, name := d.Opaque(fhMax), d.String(anyLength)
	how := vfs.How{Type: vfs.Symlink, Exists: vfs.Guarded}
	bad, ok := decodeSet(&d, &how.Set)
	target := d.String(anyLength)
	if d.Err() != nil || !ok {
		return out, rpc.GarbageArgs
	}
	if len(target) >= targetMax {
		bad = vfs.NameTooLong
	} else {
		how.Target = string(target)
	}
	return s.make(ctx, c, out, fh, name, &how, bad)
}

// mkNod is MKNOD (RFC 1813 section 3.3.11).
func (s *Server) mkNod(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh, name := d.Opaque(fhMax), d.String(anyLength)
	how := vfs.How{Exists: vfs.Guarded}
	var bad vfs.Status
	ok := true
	switch t := d.Uint32(); t {
	case uint32(vfs.Block), uint32(vfs.Char):
		how.Type = vfs.Type(t)
		bad, ok = decodeSet(&d, &how.Set)
		how.Major, how.Minor = d.Uint32(), d.Uint32()
	case uint32(vfs.Socket), uint32(vfs.FIFO):
		how.Type = vfs.Type(t)
		bad, ok = decodeSet(&d, &how.Set)
	default: // void (mknoddata3)
		bad = vfs.BadType
	}
	if d.Err() != nil || !ok {
		return out, rpc.GarbageArgs
	}
	return s.make(ctx, c, out, fh, name, &how, bad)
}

// make is what the four have in common. bad is what is wrong with the attributes;
// what is wrong with the handle or the name is told first.
func (s *Server) make(ctx context.Context, c *rpc.Call, out, fh, b []byte, how *vfs.How, bad vfs.Status) ([]byte, rpc.Verdict) {
	n, g, err := s.resolveChange(ctx, c, fh)
	if err != nil {
		return s.refuse(c, out, err, noChange)
	}
	name, err := s.names.parse(b)
	if err == nil && bad != vfs.OK {
		err = bad
	}
	if err != nil {
		return s.refuse(c, out, err, noChange)
	}
	a, ch, err := s.fs.Make(ctx, g.who(c), n, name, how)
	out = xdr.AppendUint32(out, s.code(c, err))
	if err == nil {
		out = s.appendPostFH(out, g.root.id, a.Node)
		out = s.appendPostOp(out, &a)
	}
	return s.appendChange(out, &ch), rpc.Done
}
