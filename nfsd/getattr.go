package nfsd

import (
	"context"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// getAttr is GETATTR (RFC 1813 section 3.3.1).
func (s *Server) getAttr(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh := d.Opaque(fhMax)
	if d.Err() != nil {
		return out, rpc.GarbageArgs
	}
	n, g, err := s.resolve(ctx, c, fh)
	if err != nil {
		return s.refuse(c, out, err, 0)
	}
	a, err := s.fs.GetAttr(ctx, g.who(c), n)
	if err != nil {
		return s.refuse(c, out, err, 0)
	}
	return s.appendAttr(xdr.AppendUint32(out, s.code(c, nil)), &a), rpc.Done
}

// setAttr is SETATTR (RFC 1813 section 3.3.2).
func (s *Server) setAttr(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh := d.Opaque(fhMax)
	var set vfs.SetAttr
	bad, ok := decodeSet(&d, &set)
	var guard *vfs.Time
	if d.Bool() {
		t := decodeTime(&d)
		guard = &t
	}
	if d.Err() != nil || !ok {
		return out, rpc.GarbageArgs
	}
	n, g, err := s.resolveChange(ctx, c, fh)
	if err == nil && bad != vfs.OK {
		err = bad
	}
	if err != nil {
		return s.refuse(c, out, err, noChange)
	}
	ch, err := s.fs.SetAttr(ctx, g.who(c), n, &set, guard)
	return s.appendChange(xdr.AppendUint32(out, s.code(c, err)), &ch), rpc.Done
}

// access is ACCESS (RFC 1813 section 3.3.4).
func (s *Server) access(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh := d.Opaque(fhMax)
	want := vfs.AccessMask(d.Uint32()) & vfs.AccessAll
	if d.Err() != nil {
		return out, rpc.GarbageArgs
	}
	n, g, err := s.resolve(ctx, c, fh)
	if err != nil {
		return s.refuse(c, out, err, noAttr)
	}
	if g.readOnly {
		want &^= vfs.AccessModify | vfs.AccessExtend | vfs.AccessDelete
	}
	got, a, err := s.fs.Access(ctx, g.who(c), n, want)
	if err != nil {
		return s.refuseAttr(c, out, err, &a)
	}
	out = s.appendPostOp(xdr.AppendUint32(out, s.code(c, nil)), &a)
	return xdr.AppendUint32(out, uint32(got&want)), rpc.Done
}

// targetMax is the longest target of a symbolic link that anybody makes, in bytes
// (PATH_MAX), for the size of replies.
const targetMax = 4096

func readLinkSize([]byte) int { return 4 + postOpLen + 4 + targetMax }

// readLink is READLINK (RFC 1813 section 3.3.5).
func (s *Server) readLink(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh := d.Opaque(fhMax)
	if d.Err() != nil {
		return out, rpc.GarbageArgs
	}
	n, g, err := s.resolve(ctx, c, fh)
	if err != nil {
		return s.refuse(c, out, err, noAttr)
	}
	target, a, err := s.fs.ReadLink(ctx, g.who(c), n)
	if err != nil {
		return s.refuseAttr(c, out, err, &a)
	}
	out = s.appendPostOp(xdr.AppendUint32(out, s.code(c, nil)), &a)
	out = c.Reserve(out, xdr.OpaqueSize(len(target)))
	return xdr.AppendString(out, target), rpc.Done
}
