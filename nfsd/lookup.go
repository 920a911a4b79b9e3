package nfsd

import (
	"context"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// lookup is LOOKUP (RFC 1813 section 3.3.3).
func (s *Server) lookup(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	var d xdr.Decoder
	d.Reset(c.Args)
	fh := d.Opaque(fhMax)
	b := d.String(anyLength)
	if d.Err() != nil {
		return out, rpc.GarbageArgs
	}
	n, g, err := s.resolve(ctx, c, fh)
	if err != nil {
		return s.refuse(c, out, err, noAttr)
	}
	var obj, dir vfs.Attr
	if string(b) == "." || string(b) == ".." {
		obj, dir, err = s.lookupDots(ctx, c, g, n, len(b) == 2)
	} else {
		var name vfs.Name
		if name, err = s.names.parse(b); err == nil {
			obj, dir, err = s.fs.Lookup(ctx, g.who(c), n, name)
		}
	}
	if err != nil {
		return s.refuseAttr(c, out, err, &dir)
	}
	out = s.appendHandle(xdr.AppendUint32(out, s.code(c, nil)), g.root.id, obj.Node)
	return s.appendPostOp(s.appendPostOp(out, &obj), &dir), rpc.Done
}

// lookupDots answers "." and ".." (RFC 1813 section 3.2, points 2 and 3), which
// the file system below does not know. Both need the right to search the
// directory, as a local system call does.
func (s *Server) lookupDots(ctx context.Context, c *rpc.Call, g *grant, n vfs.Node, up bool) (obj, dir vfs.Attr, err error) {
	got, dir, err := s.fs.Access(ctx, g.who(c), n, vfs.AccessLookup)
	if err != nil {
		return obj, dir, err
	}
	switch {
	case !dir.Node.IsZero() && dir.Type != vfs.Directory:
		return obj, dir, vfs.NotDir
	case got&vfs.AccessLookup == 0:
		return obj, dir, vfs.Acces
	case !up:
		return dir, dir, nil
	}
	p, err := s.parent(ctx, c, g, n)
	if err != nil {
		return obj, dir, err
	}
	obj, err = s.fs.GetAttr(ctx, g.who(c), p)
	return obj, dir, err
}

// parentDepth bounds the walk from a directory up to its export: deeper than any
// path that a client can name (PATH_MAX / 2), so what exceeds it is a loop.
const parentDepth = 2048

// parent is the directory that ".." of n means. At the root of the export it is n
// itself: a client never gets above what it mounted. A directory that was moved
// out of the export keeps its handle, but leads nowhere: Acces.
func (s *Server) parent(ctx context.Context, c *rpc.Call, g *grant, n vfs.Node) (vfs.Node, error) {
	if n.ID == g.root.node.ID {
		return n, nil
	}
	if c.NoWait { // Parents may have to wait, and has no way to say so
		return vfs.Node{}, vfs.Again
	}
	up, err := s.directParent(ctx, n)
	if err != nil {
		return vfs.Node{}, err
	}
	if g.root.export.Path == "/" && !up.IsZero() {
		return up, nil // everything is beneath it
	}
	for at, depth := up, 0; at.ID != g.root.node.ID; depth++ {
		if depth == parentDepth || at.IsZero() {
			return vfs.Node{}, vfs.Acces
		}
		if at, err = s.directParent(ctx, at); err != nil {
			return vfs.Node{}, err
		}
	}
	return up, nil
}

// directParent is the directory that n is in, the zero Node for the share's root.
func (s *Server) directParent(ctx context.Context, n vfs.Node) (up vfs.Node, err error) {
	err = s.fs.Parents(ctx, n, func(dir vfs.Node, _ vfs.Name) bool {
		up = dir
		return false
	})
	return up, err
}
