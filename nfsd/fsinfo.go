package nfsd

import (
	"context"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
)

// fsStat is FSSTAT (RFC 1813 section 3.3.18).
func (s *Server) fsStat(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
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
	sp, a, err := s.fs.Statfs(ctx, g.who(c), n)
	if err != nil {
		return s.refuseAttr(c, out, err, &a)
	}
	out = s.appendPostOp(xdr.AppendUint32(out, s.code(c, nil)), &a)
	for _, v := range [...]uint64{
		sp.TotalBytes, sp.FreeBytes, sp.AvailBytes, sp.TotalFiles, sp.FreeFiles, sp.AvailFiles,
	} {
		out = xdr.AppendUint64(out, v)
	}
	return xdr.AppendUint32(out, sp.Invarsec), rpc.Done
}

// The properties of FSINFO (RFC 1813 section 3.3.19).
const (
	fsfLink        = 0x01
	fsfSymlink     = 0x02
	fsfHomogeneous = 0x08
	fsfCanSetTime  = 0x10
)

// fsInfo is FSINFO (RFC 1813 section 3.3.19).
func (s *Server) fsInfo(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
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
	l, a, err := s.fs.Limits(ctx, g.who(c), n)
	if err != nil {
		return s.refuseAttr(c, out, err, &a)
	}
	out = s.appendPostOp(xdr.AppendUint32(out, s.code(c, nil)), &a)
	for _, v := range [...]uint32{
		s.readMax, s.readMax, ioGrain, s.writeMax, s.writeMax, ioGrain, s.dirMax,
	} {
		out = xdr.AppendUint32(out, v)
	}
	out = xdr.AppendUint64(out, min(l.MaxFileSize, maxOffset))
	out = xdr.AppendUint32(out, uint32(l.TimeDelta.Sec))
	out = xdr.AppendUint32(out, l.TimeDelta.Nsec)
	var props uint32
	for _, p := range [...]struct {
		has bool
		bit uint32
	}{{l.Links, fsfLink}, {l.Symlinks, fsfSymlink}, {l.Homogeneous, fsfHomogeneous}, {l.CanSetTime, fsfCanSetTime}} {
		if p.has {
			props |= p.bit
		}
	}
	return xdr.AppendUint32(out, props), rpc.Done
}

// pathConf is PATHCONF (RFC 1813 section 3.3.20).
func (s *Server) pathConf(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
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
	l, a, err := s.fs.Limits(ctx, g.who(c), n)
	if err != nil {
		return s.refuseAttr(c, out, err, &a)
	}
	out = s.appendPostOp(xdr.AppendUint32(out, s.code(c, nil)), &a)
	out = xdr.AppendUint32(out, l.LinkMax)
	out = xdr.AppendUint32(out, l.NameMax)
	for _, b := range [...]bool{l.NoTrunc, l.ChownRestricted, l.CaseInsensitive, l.CasePreserving} {
		out = xdr.AppendBool(out, b)
	}
	return out, rpc.Done
}
