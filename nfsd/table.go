package nfsd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sheaf/nfsd/rpc"
	"sheaf/vfs"
)

// table is the exports with the directories they were found to be. It is
// immutable and replaced as a whole; calls see either the old or the new one.
type table struct {
	exports *Exports
	roots   []*root          // one for each export, in their order
	byID    map[uint64]*root // those that are known, and those that handles are of
}

// root is an exported directory.
type root struct {
	export *Export
	id     uint64 // in handles; 0 if the directory is not known
	node   vfs.Node
	err    error // why the directory is not known
}

// oldRoots bounds how many directories that were renamed away from their exports'
// paths are remembered; beyond it all of them are forgotten.
const oldRoots = 256

// retryExports is how long an export whose directory was not found is not
// looked for again, so that handles of exports taken away cost nothing.
const retryExports = time.Second

// newTable finds the directories of x. An export whose directory is not there
// stays in the table without an id, and is looked for again when it is asked
// for (findAgain).
//
// What the old table knew goes on where it can: a directory that cannot be looked
// at just now is taken to be the one it was; and as long as the exports are the
// same, handles of a directory that was renamed away from its export's path keep
// their export, as with knfsd, which holds on to the directory too.
func (s *Server) newTable(ctx context.Context, x *Exports, old *table) (*table, error) {
	top, err := s.fs.Root(ctx, vfs.Superuser)
	if err != nil {
		return nil, fmt.Errorf("exports: the share's root: %w", err)
	}
	t := &table{exports: x, byID: make(map[uint64]*root)}
	for i := range x.List {
		r := &root{export: &x.List[i]}
		r.node, r.err = s.walk(ctx, vfs.Superuser, top, r.export.Path)
		if known := old.known(r.export.Path); known != nil && r.err != nil && !isGone(r.err) {
			r.node, r.err = known.node, nil
		}
		t.roots = append(t.roots, r)
		if r.err != nil {
			continue
		}
		r.id = s.key.exportID(r.node.ID)
		if other := t.byID[r.id]; other != nil {
			return nil, fmt.Errorf("exports: %s and %s are one directory", other.export.Path, r.export.Path)
		}
		t.byID[r.id] = r
	}
	if old != nil && old.exports == x && len(old.byID) < len(x.List)+oldRoots {
		for id, r := range old.byID {
			if t.byID[id] == nil {
				t.byID[id] = r
			}
		}
	}
	return t, nil
}

// known is the root that t has for path, nil if it has none.
func (t *table) known(path string) *root {
	if t == nil {
		return nil
	}
	for _, r := range t.roots {
		if r.err == nil && r.export.Path == path {
			return r
		}
	}
	return nil
}

// isGone reports whether err says that there is no such directory, rather than
// that nobody can tell just now.
func isGone(err error) bool {
	switch vfs.StatusOf(err) {
	case vfs.NoEnt, vfs.NotDir, vfs.Stale:
		return true
	default:
		return false
	}
}

// walk follows the components of path from dir, as w. It does not follow
// symbolic links. The node is a directory. Errors: those of Lookup; NotDir.
func (s *Server) walk(ctx context.Context, w *vfs.Who, dir vfs.Attr, path string) (vfs.Node, error) {
	for c := range strings.SplitSeq(path, "/") {
		if c == "" || c == "." {
			continue
		}
		name, err := vfs.ParseName(c)
		if err != nil {
			return vfs.Node{}, err
		}
		if dir.Type != vfs.Directory {
			return vfs.Node{}, vfs.NotDir
		}
		if dir, _, err = s.fs.Lookup(ctx, w, dir.Node, name); err != nil {
			return vfs.Node{}, err
		}
	}
	if dir.Type != vfs.Directory {
		return vfs.Node{}, vfs.NotDir
	}
	return dir.Node, nil
}

// findAgain looks for directories that the current table does not know, at most
// once in retryExports, and returns the table that is current then.
func (s *Server) findAgain(ctx context.Context) (*table, error) {
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	t := s.table.Load()
	if t.complete() || time.Since(s.found) < retryExports {
		return t, nil
	}
	return s.replace(ctx, t.exports)
}

// replace makes a table of x the current one. tableMu is held.
func (s *Server) replace(ctx context.Context, x *Exports) (*table, error) {
	t, err := s.newTable(ctx, x, s.table.Load())
	if err != nil {
		return nil, err
	}
	s.found = time.Now()
	s.table.Store(t)
	return t, nil
}

// complete reports whether every export's directory is known.
func (t *table) complete() bool {
	for _, r := range t.roots {
		if r.err != nil {
			return false
		}
	}
	return true
}

// missing is the status for a handle whose export is not in t. Stale, as knfsd
// answers (nfsd_set_fh_dentry), if it is known to be none of ours any more; if an
// export's directory could not be looked at just now, the handle may be of that
// export, and Stale would make the client give up what is only away.
func (t *table) missing() vfs.Status {
	for _, r := range t.roots {
		if r.err != nil && !isGone(r.err) {
			return vfs.StatusOf(r.err)
		}
	}
	return vfs.Stale
}

// resolve checks a handle and finds what its bearer may do. The status is OK;
// BadHandle; Stale for an export that was taken away; Acces for a client that
// the export's rules do not admit, or no longer; Again.
func (s *Server) resolve(ctx context.Context, c *rpc.Call, fh []byte) (vfs.Node, *grant, error) {
	h, ok := s.key.parse(fh)
	if !ok {
		return vfs.Node{}, nil, vfs.BadHandle
	}
	t := s.table.Load()
	m, _ := c.Cred.Memo.Load().(*memo)
	g := m.find(t, h.export)
	if g == nil {
		var err error
		if g, err = s.resolveSlow(ctx, c, t, h.export); err != nil {
			return vfs.Node{}, nil, err
		}
	}
	if g.refused != vfs.OK {
		return vfs.Node{}, nil, g.refused
	}
	return h.node, g, nil
}

// resolveSlow finds an export that this credential did not use before.
func (s *Server) resolveSlow(ctx context.Context, c *rpc.Call, t *table, id uint64) (*grant, error) {
	if r := t.byID[id]; r != nil {
		return s.grantFor(c, t, r), nil
	}
	if t.complete() { // whoever replaces it just now has tableMu, for as long as a volume takes
		return nil, t.missing()
	}
	if c.NoWait {
		return nil, vfs.Again
	}
	t, err := s.findAgain(ctx)
	if err != nil {
		return nil, err
	}
	if r := t.byID[id]; r != nil {
		return s.grantFor(c, t, r), nil
	}
	return nil, t.missing()
}

// resolveChange is resolve for a call that changes something.
func (s *Server) resolveChange(ctx context.Context, c *rpc.Call, fh []byte) (vfs.Node, *grant, error) {
	n, g, err := s.resolve(ctx, c, fh)
	if err == nil && g.readOnly {
		err = vfs.ROFS
	}
	return n, g, err
}
