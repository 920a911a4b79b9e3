package nfsd

import (
	"context"
	"path"

	"sheaf/nfsd/mount3"
	"sheaf/nfsd/rpc"
	"sheaf/vfs"
)

// mntPathLen is the longest path that MOUNT carries, in bytes (MNTPATHLEN).
const mntPathLen = mount3.PathMax

// mountBackend is what the MOUNT program needs of the server.
type mountBackend struct{ s *Server }

// Mount finds the directory that a client asks for. The export with the longest
// path above it counts, whether or not it admits the client. Down to the exported
// directory the way is the administrator's; beneath it the caller walks as who he
// is after squashing, so that MNT shows nobody what LOOKUP would hide.
func (b mountBackend) Mount(ctx context.Context, c *rpc.Call, dir string) ([]byte, error) {
	s := b.s
	dir, err := mountPath(dir)
	if err != nil {
		return nil, err
	}
	t, err := s.fresh(ctx, dir)
	if err != nil {
		return nil, err
	}
	r, rest := t.longest(dir)
	if r == nil {
		return nil, &vfs.Error{Status: vfs.Acces, Err: errNotExported} // as mountd: it is not told whether it exists
	}
	if r.err != nil {
		return nil, r.err
	}
	g := s.grantFor(c, t, r)
	if g.refused != vfs.OK {
		return nil, &vfs.Error{Status: g.refused, Err: g.why}
	}
	a, err := s.fs.GetAttr(ctx, vfs.Superuser, r.node)
	if err != nil {
		return nil, err
	}
	n, err := s.walk(ctx, g.wait, a, rest)
	if err != nil {
		return nil, err
	}
	return s.key.append(nil, r.id, n), nil
}

// mountPath cleans a path that a client sends: slashes at the end or doubled, and
// "." go (Q12). ".." is refused, since it could mean a directory outside.
func mountPath(dir string) (string, error) {
	if len(dir) > mntPathLen {
		return "", vfs.NameTooLong
	}
	if dir == "" || dir[0] != '/' {
		return "", vfs.Inval
	}
	for i := 0; i+2 < len(dir); i++ {
		if dir[i:i+3] == "/.." && (i+3 == len(dir) || dir[i+3] == '/') {
			return "", vfs.Inval
		}
	}
	return path.Clean(dir), nil
}

// longest is the export with the longest path that dir is or lies beneath, and the
// way from there.
func (t *table) longest(dir string) (r *root, rest string) {
	for _, cand := range t.roots {
		way, ok := cand.export.above(dir)
		if ok && (r == nil || len(cand.export.Path) > len(r.export.Path)) {
			r, rest = cand, way
		}
	}
	return r, rest
}

// fresh is the table for mounting dir: if the exported directory above it is not
// known, or its path leads to another directory by now, the table is made anew.
func (s *Server) fresh(ctx context.Context, dir string) (*table, error) {
	t := s.table.Load()
	r, _ := t.longest(dir)
	switch {
	case r == nil:
		return t, nil
	case r.err != nil:
		return s.findAgain(ctx)
	}
	top, err := s.fs.Root(ctx, vfs.Superuser)
	if err != nil {
		return nil, err
	}
	n, err := s.walk(ctx, vfs.Superuser, top, r.export.Path)
	if err != nil || n.ID == r.node.ID {
		return t, err
	}
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	return s.replace(ctx, s.table.Load().exports)
}

// Exports lists the exports for showmount(8).
func (b mountBackend) Exports() []mount3.Export {
	var out []mount3.Export
	for _, e := range b.s.table.Load().exports.List {
		x := mount3.Export{Dir: e.Path}
		for i := range e.Clients {
			x.Clients = append(x.Clients, e.Clients[i].Spec)
		}
		out = append(out, x)
	}
	return out
}
