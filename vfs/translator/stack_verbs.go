package translator

import (
	"context"

	"sheaf/vfs"
)

// These are the verbs of a Stack: each enters the current generation, calls its top, and leaves, even if a
// panic goes through. It is the second place where all verbs are spelled out: as a layer with a hook the
// stack would cost every call some tens of nanoseconds, and without layers it is to cost nothing.

// Root implements vfs.FS.
func (s *Stack) Root(ctx context.Context, w *vfs.Who) (vfs.Attr, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Root(ctx, w)
}

// GetAttr implements vfs.FS.
func (s *Stack) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.GetAttr(ctx, w, n)
}

// SetAttr implements vfs.FS.
func (s *Stack) SetAttr(ctx context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (vfs.Change, error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.SetAttr(ctx, w, n, set, guard)
}

// Access implements vfs.FS.
func (s *Stack) Access(ctx context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Access(ctx, w, n, want)
}

// Lookup implements vfs.FS.
func (s *Stack) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Lookup(ctx, w, dir, name)
}

// Parents implements vfs.FS.
func (s *Stack) Parents(ctx context.Context, n vfs.Node, each func(dir vfs.Node, name vfs.Name) bool) error {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Parents(ctx, n, each)
}

// ReadLink implements vfs.FS.
func (s *Stack) ReadLink(ctx context.Context, w *vfs.Who, n vfs.Node) (string, vfs.Attr, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.ReadLink(ctx, w, n)
}

// Read implements vfs.FS.
func (s *Stack) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (count int, eof bool, a vfs.Attr, err error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Read(ctx, w, n, buf, off)
}

// Write implements vfs.FS.
func (s *Stack) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.Write(ctx, w, n, data, off, stable)
}

// Commit implements vfs.FS.
func (s *Stack) Commit(ctx context.Context, w *vfs.Who, n vfs.Node, off, count uint64) (vfs.Verifier, vfs.Change, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Commit(ctx, w, n, off, count)
}

// Make implements vfs.FS.
func (s *Stack) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.Make(ctx, w, dir, name, how)
}

// Link implements vfs.FS.
func (s *Stack) Link(ctx context.Context, w *vfs.Who, n, dir vfs.Node, name vfs.Name) (vfs.Attr, vfs.Change, error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.Link(ctx, w, n, dir, name)
}

// Remove implements vfs.FS.
func (s *Stack) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.Remove(ctx, w, dir, name)
}

// RemoveDir implements vfs.FS.
func (s *Stack) RemoveDir(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.RemoveDir(ctx, w, dir, name)
}

// Rename implements vfs.FS.
func (s *Stack) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (fromChange, toChange vfs.Change, err error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.Rename(ctx, w, from, fromName, to, toName)
}

// ReadDir implements vfs.FS.
func (s *Stack) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (a vfs.Attr, eof bool, err error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.ReadDir(ctx, w, dir, after, attrs, each)
}

// Statfs implements vfs.FS.
func (s *Stack) Statfs(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Space, vfs.Attr, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Statfs(ctx, w, n)
}

// Limits implements vfs.FS.
func (s *Stack) Limits(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Limits, vfs.Attr, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.Limits(ctx, w, n)
}

// GetACL implements vfs.FS.
func (s *Stack) GetACL(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.ACLs, vfs.Attr, error) {
	g, i := s.enter()
	defer g.leave(i)
	return g.top.GetACL(ctx, w, n)
}

// SetACL implements vfs.FS.
func (s *Stack) SetACL(ctx context.Context, w *vfs.Who, n vfs.Node, acls vfs.ACLs) (vfs.Attr, error) {
	g, i := s.enter()
	defer s.leaveChanged(g, i)
	return g.top.SetACL(ctx, w, n, acls)
}
