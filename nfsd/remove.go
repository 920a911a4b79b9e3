package nfsd

import (
	"context"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// remove is REMOVE (RFC 1813 section 3.3.12).
func (s *Server) remove(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	return s.unlink(ctx, c, out, s.fs.Remove, vfs.Acces, vfs.Acces)
}

// rmDir is RMDIR (RFC 1813 section 3.3.13, which gives the errors for dots).
func (s *Server) rmDir(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	return s.unlink(ctx, c, out, s.fs.RemoveDir, vfs.Inval, vfs.Exist)
}

// unlink is what REMOVE and RMDIR have in common; dot and dotDot are the errors
// for these names.
func (s *Server) unlink(ctx context.Context, c *rpc.Call, out []byte,
	do func(context.Context, *vfs.Who, vfs.Node, vfs.Name) (vfs.Change, error), dot, dotDot vfs.Status,
) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh, b := d.Opaque(fhMax), d.String(anyLength)
	if d.Err() != nil {
		return out, rpc.GarbageArgs
	}
	n, g, err := s.resolveChange(ctx, c, fh)
	if err != nil {
		return s.refuse(c, out, err, noChange)
	}
	name, err := s.parseOld(b, dot, dotDot)
	if err != nil {
		return s.refuse(c, out, err, noChange)
	}
	ch, err := do(ctx, g.who(c), n, name)
	return s.appendChange(xdr.AppendUint32(out, s.code(c, err)), &ch), rpc.Done
}

// parseOld parses a name that is to go; dot and dotDot are the errors for these.
func (s *Server) parseOld(b []byte, dot, dotDot vfs.Status) (vfs.Name, error) {
	switch string(b) {
	case ".":
		return vfs.Name{}, dot
	case "..":
		return vfs.Name{}, dotDot
	}
	return s.names.parse(b)
}

// rename is RENAME (RFC 1813 section 3.3.14).
func (s *Server) rename(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fromFH, fromB := d.Opaque(fhMax), d.String(anyLength)
	toFH, toB := d.Opaque(fhMax), d.String(anyLength)
	if d.Err() != nil {
		return out, rpc.GarbageArgs
	}
	from, g, err := s.resolveChange(ctx, c, fromFH)
	if err != nil {
		return s.refuse(c, out, err, noChange2)
	}
	to, err := s.resolveSame(ctx, c, toFH, g)
	if err != nil {
		return s.refuse(c, out, err, noChange2)
	}
	fromName, err := s.parseOld(fromB, vfs.Inval, vfs.Inval)
	if err != nil {
		return s.refuse(c, out, err, noChange2)
	}
	toName, err := s.parseOld(toB, vfs.Inval, vfs.Inval)
	if err != nil {
		return s.refuse(c, out, err, noChange2)
	}
	fromCh, toCh, err := s.fs.Rename(ctx, g.who(c), from, fromName, to, toName)
	out = s.appendChange(xdr.AppendUint32(out, s.code(c, err)), &fromCh)
	return s.appendChange(out, &toCh), rpc.Done
}

// link is LINK (RFC 1813 section 3.3.15).
func (s *Server) link(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh, dirFH, b := d.Opaque(fhMax), d.Opaque(fhMax), d.String(anyLength)
	if d.Err() != nil {
		return out, rpc.GarbageArgs
	}
	n, g, err := s.resolveChange(ctx, c, fh)
	if err != nil {
		return s.refuse(c, out, err, noAttr+noChange)
	}
	dir, err := s.resolveSame(ctx, c, dirFH, g)
	if err != nil {
		return s.refuse(c, out, err, noAttr+noChange)
	}
	name, err := s.names.parse(b)
	if err != nil {
		return s.refuse(c, out, err, noAttr+noChange)
	}
	a, ch, err := s.fs.Link(ctx, g.who(c), n, dir, name)
	out = s.appendPostOp(xdr.AppendUint32(out, s.code(c, err)), &a)
	return s.appendChange(out, &ch), rpc.Done
}

// resolveSame resolves the second handle of a call that changes something. It
// must be of the same export as the first, g's: otherwise a client could act in
// one export with the identity that another gives it. knfsd answers XDEV too.
func (s *Server) resolveSame(ctx context.Context, c *rpc.Call, fh []byte, g *grant) (vfs.Node, error) {
	n, other, err := s.resolveChange(ctx, c, fh)
	if err == nil && other.root.id != g.root.id {
		err = vfs.XDev
	}
	return n, err
}
