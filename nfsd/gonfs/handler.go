package gonfs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5"
	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
	"sheaf/vfs/billyfs"
)

// Options configure a Server.
type Options struct {
	// Key makes handles unforgeable; the same at every start.
	Key [32]byte
	// Who everybody is (F2).
	Who *vfs.Who
	// Mount says whether the client may mount the directory at path, an absolute
	// and clean path in the share, or with which status it is refused.
	Mount func(client netip.Addr, path string) error
}

// maxListings is how many listings are kept for clients that page through them.
const maxListings = 64

// pathDepthMax is how many directories above a node are followed: no client can
// name deeper ones (PATH_MAX of 4,096 bytes in components of one).
const pathDepthMax = 2048

// handler implements the library's Handler.
type handler struct {
	ctx  context.Context
	fs   vfs.FS
	opt  Options
	root vfs.Node
	key  key
	main *fsys

	mu       sync.Mutex
	listings []listing // oldest first
}

// listing is what one verifier stands for.
type listing struct {
	path     string
	verifier uint64
	entries  []fs.FileInfo
}

var (
	_ nfs.Handler        = (*handler)(nil)
	_ nfs.CachingHandler = (*handler)(nil)
)

func newHandler(ctx context.Context, f vfs.FS, o Options) (*handler, error) {
	root, err := f.Root(ctx, vfs.Superuser)
	if err != nil {
		return nil, err
	}
	// The library answers every WRITE as FILE_SYNC and passes no COMMIT on (F3, F4): what it promises is made true here.
	main := billyfs.New(ctx, f, o.Who, root.Node, billyfs.Options{NoParents: true, Stable: vfs.FileSync})
	return &handler{ctx: ctx, fs: f, opt: o, root: root.Node, key: newKey(o.Key), main: &fsys{main, root.Node}}, nil
}

// mountStatus are the statuses that MOUNT knows (RFC 1813 section 5.1.5).
var mountStatus = map[vfs.Status]nfs.MountStatus{ //nolint:exhaustive // MOUNT has no more; the others are IO
	vfs.OK:          nfs.MountStatusOk,
	vfs.Perm:        nfs.MountStatusErrPerm,
	vfs.NoEnt:       nfs.MountStatusErrNoEnt,
	vfs.Acces:       nfs.MountStatusErrAcces,
	vfs.NotDir:      nfs.MountStatusErrNotDir,
	vfs.NameTooLong: nfs.MountStatusErrNameTooLong,
}

// Mount gives a client the directory it asks for.
func (h *handler) Mount(_ context.Context, conn net.Conn, r nfs.MountRequest) (nfs.MountStatus, billy.Filesystem, []nfs.AuthFlavor) {
	f, err := h.mount(conn, string(r.Dirpath))
	if err != nil {
		status, ok := mountStatus[billyfs.StatusOf(err)]
		if !ok {
			status = nfs.MountStatusErrIO
		}
		return status, h.main, nil
	}
	return nfs.MountStatusOk, f, []nfs.AuthFlavor{nfs.AuthFlavorUnix}
}

func (h *handler) mount(conn net.Conn, path string) (*fsys, error) {
	var client netip.Addr
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		client = a.AddrPort().Addr().Unmap()
	}
	if path = h.main.Join("/", path); h.opt.Mount != nil {
		if err := h.opt.Mount(client, path); err != nil {
			return nil, err
		}
	}
	i, err := h.main.FS.Lstat(path)
	if err != nil {
		return nil, err
	}
	a, ok := i.Sys().(*vfs.Attr)
	if !ok || a.Type != vfs.Directory {
		return nil, vfs.NotDir
	}
	return &fsys{h.main.FS, a.Node}, nil
}

// Change is what changes attributes.
func (h *handler) Change(billy.Filesystem) billy.Change { return h.main }

// FSStat is how much room there is.
func (h *handler) FSStat(ctx context.Context, _ billy.Filesystem, s *nfs.FSStat) error {
	space, _, err := h.fs.Statfs(ctx, h.opt.Who, h.root)
	if err != nil {
		return err
	}
	*s = nfs.FSStat{
		TotalSize: space.TotalBytes, FreeSize: space.FreeBytes, AvailableSize: space.AvailBytes,
		TotalFiles: space.TotalFiles, FreeFiles: space.FreeFiles, AvailableFiles: space.AvailFiles,
		CacheHint: time.Duration(space.Invarsec) * time.Second,
	}
	return nil
}

// ToHandle is the handle of what is at path. The library asks for some before the
// object exists (F7, F16): those get none.
func (h *handler) ToHandle(f billy.Filesystem, path []string) []byte {
	if m, ok := f.(*fsys); ok && len(path) == 0 {
		return h.key.encode(m.mounted)
	}
	i, err := h.main.FS.Lstat(h.main.Join(path...))
	if err != nil {
		return nil
	}
	a, ok := i.Sys().(*vfs.Attr)
	if !ok {
		return nil
	}
	return h.key.encode(a.Node)
}

// FromHandle finds a path that leads to the handle's node now.
func (h *handler) FromHandle(b []byte) (billy.Filesystem, []string, error) {
	n, err := h.key.decode(b)
	if err != nil {
		return nil, nil, &nfs.NFSStatusError{NFSStatus: nfs.NFSStatusBadHandle, WrappedErr: err}
	}
	path, err := h.pathOf(n)
	if err != nil {
		return nil, nil, &nfs.NFSStatusError{NFSStatus: nfs.NFSStatusStale, WrappedErr: err}
	}
	return h.main, path, nil
}

// pathOf walks from n up to the root. Of several names any does.
func (h *handler) pathOf(n vfs.Node) ([]string, error) {
	path := []string{}
	for n.ID != h.root.ID {
		if len(path) == pathDepthMax {
			return nil, &vfs.Error{Status: vfs.NameTooLong, Op: "resolve handle", Err: errors.New("too many directories above it")}
		}
		var up vfs.Node
		var name vfs.Name
		err := h.fs.Parents(h.ctx, n, func(dir vfs.Node, as vfs.Name) bool {
			up, name = dir, as
			return false
		})
		if err != nil {
			return nil, err
		}
		if name.IsZero() {
			return nil, vfs.Stale
		}
		path = append(path, name.String())
		n = up
	}
	slices.Reverse(path)
	return path, nil
}

// InvalidateHandle has nothing to do: handles hold no state.
func (h *handler) InvalidateHandle(billy.Filesystem, []byte) error { return nil }

// HandleLimit bounds the entries of a reply at half of it; the reply's size does so
// before.
func (h *handler) HandleLimit() int { return 1 << 20 }

// VerifierFor keeps a listing and names it.
func (h *handler) VerifierFor(path string, entries []fs.FileInfo) uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	l := listing{path, binary.BigEndian.Uint64(b[:]) | 1, entries}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listings) == maxListings {
		h.listings = slices.Delete(h.listings, 0, 1)
	}
	h.listings = append(h.listings, l)
	return l.verifier
}

// DataForVerifier is the listing of that name, nil if it was dropped.
func (h *handler) DataForVerifier(path string, verifier uint64) []fs.FileInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.listings {
		if l.verifier == verifier && l.path == path {
			return l.entries
		}
	}
	return nil
}
