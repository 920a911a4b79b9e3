package share

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"sheaf/nfsd"
	"sheaf/nfsd/gonfs"
	"sheaf/vfs"
)

// stock is the stock server as an engine. Everybody acts as the server's own user,
// and exports are checked at MOUNT: the library tells the rest of it nothing.
type stock struct {
	*gonfs.Server
	exports *atomic.Pointer[nfsd.Exports]
}

func (s *Share) newStock(ctx context.Context) (engine, error) {
	if err := checkStock(s.exports); err != nil {
		return nil, err
	}
	x := new(atomic.Pointer[nfsd.Exports])
	x.Store(s.exports)
	srv, err := gonfs.New(ctx, s.stack, gonfs.Options{
		Key:   s.id.key,
		Who:   &vfs.Who{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())},
		Mount: func(client netip.Addr, path string) error { return mayMount(x.Load(), client, path) },
	})
	if err != nil {
		return nil, err
	}
	s.log.Warn("the stock engine is for comparison: it knows no users and does not make writes stable", "op", "start")
	return stock{srv, x}, nil
}

// Reload takes other exports, for the MOUNTs to come.
func (s stock) Reload(_ context.Context, x *nfsd.Exports) error {
	if err := checkStock(x); err != nil {
		return err
	}
	s.exports.Store(x)
	return nil
}

// Traffic is not counted by the library.
func (stock) Traffic() *Traffic { return nil }

// Procs are not counted by the library.
func (stock) Procs() []nfsd.ProcStats { return nil }

// Clients are not counted by the library.
func (stock) Clients() []nfsd.ClientStats { return nil }

// ExportPath knows nothing: the library's calls belong to no export.
func (stock) ExportPath(uint64) string { return "" }

// checkStock refuses exports that the stock engine would not keep to.
func checkStock(x *nfsd.Exports) error {
	for _, e := range x.List {
		if slices.ContainsFunc(e.Clients, func(c nfsd.Client) bool { return c.Options.ReadOnly }) {
			return &ConfigError{
				Key: "exports", Problem: e.String() + ": the stock engine cannot keep a client read-only, since it does not know whose a call is",
				Do: "export read-write, or use --engine native",
			}
		}
	}
	return nil
}

var errNotExported = &vfs.Error{Status: vfs.Acces, Op: "mount", Err: errors.New("not exported to this client")}

// mayMount looks for an export of path, or of a directory above it, to client.
func mayMount(x *nfsd.Exports, client netip.Addr, path string) error {
	for _, e := range x.List {
		if path != e.Path && !strings.HasPrefix(path, strings.TrimSuffix(e.Path, "/")+"/") {
			continue
		}
		for _, c := range e.Clients {
			if len(c.Nets) == 0 || slices.ContainsFunc(c.Nets, func(p netip.Prefix) bool { return p.Contains(client) }) {
				return nil
			}
		}
	}
	return errNotExported
}
