package billyfs

import (
	"context"
	"path"
	"strings"

	"github.com/go-git/go-billy/v5"

	"sheaf/vfs"
)

// Options change how an FS behaves. The zero value is what billy demands.
type Options struct {
	// Stable is how safe data is before a Write returns. With vfs.Unstable
	// nothing but the FS's own Sync or Commit makes it so.
	Stable vfs.Stable
	// NoParents makes Create, Rename and Symlink fail where the parent directory is
	// missing, instead of making it.
	NoParents bool
}

// FS is a vfs.FS as a billy.Filesystem. Its methods are safe for concurrent use.
type FS struct {
	*shared
	outer *FS    // of a chroot: what its base is a path in
	base  string // of a chroot: clean, without a leading slash
}

// shared is what an FS and its chroots have in common.
type shared struct {
	ctx   context.Context // billy's methods have none; it ends waiting for all of them
	fs    vfs.FS
	who   *vfs.Who
	root  vfs.Node
	opt   Options
	locks lockTable
}

var (
	_ billy.Filesystem = (*FS)(nil)
	_ billy.Change     = (*FS)(nil)
	_ billy.Capable    = (*FS)(nil)
)

// New makes a billy.Filesystem of what lies at root, which is a directory of fs, for
// the caller who. ctx is the context of all its calls.
func New(ctx context.Context, fs vfs.FS, who *vfs.Who, root vfs.Node, opt Options) *FS {
	return &FS{shared: &shared{ctx: ctx, fs: fs, who: who, root: root, opt: opt}}
}

// Chroot is the FS whose root is the directory at p. It need not exist: it is
// looked for at each call, and made by what makes missing parents.
func (f *FS) Chroot(p string) (billy.Filesystem, error) {
	c, err := clean(p)
	if err != nil {
		return nil, err
	}
	return &FS{shared: f.shared, outer: f, base: c}, nil
}

// Root is the path of the root, from that of the FS that New made.
func (f *FS) Root() string {
	if f.outer == nil {
		return "/"
	}
	return path.Join(f.outer.Root(), f.base)
}

// Join joins path elements and cleans the result.
func (f *FS) Join(elem ...string) string { return path.Join(elem...) }

// Capabilities are all there are.
func (f *FS) Capabilities() billy.Capability { return billy.AllCapabilities }

// clean is p as billy means it: relative to the root, without ".", ".." and empty
// components; "" is the root. A path that leads above the root is refused.
func clean(p string) (string, error) {
	depth := 0
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return "", billy.ErrCrossedBoundary
			}
		default:
			depth++
		}
	}
	return strings.TrimPrefix(path.Clean("/"+p), "/"), nil
}
