package translator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sheaf/vfs"
)

// PathMax is the longest path that ParsePath takes, in bytes (PATH_MAX of Linux).
const PathMax = 4096

// ParsePath takes a path from the share's root apart. Empty components and "." are nothing; ".." is refused.
func ParsePath(path string) ([]vfs.Name, error) {
	if len(path) > PathMax {
		return nil, fmt.Errorf("the path has %d bytes; want at most %d", len(path), PathMax)
	}
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q is not a path from the root of the share, which begins with /", path)
	}
	var names []vfs.Name
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		name, err := vfs.ParseName(part)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		names = append(names, name)
	}
	return names, nil
}

// Walk is the object at a path, as the superuser sees it. Symbolic links are not followed. It may wait.
// Errors: those of vfs.FS.Lookup.
func Walk(ctx context.Context, fs vfs.FS, path []vfs.Name) (vfs.Attr, error) {
	at, err := fs.Root(ctx, vfs.Superuser)
	for _, name := range path {
		if err != nil {
			break
		}
		at, _, err = fs.Lookup(ctx, vfs.Superuser, at.Node, name)
	}
	return at, err
}

// DepthMax is how far Ancestors goes up: deeper than PathMax lets anybody name a directory.
const DepthMax = PathMax / 2

// ErrTooDeep is in the error of Ancestors for a tree deeper than DepthMax, or one whose directories are being moved
// into each other faster than it goes up.
var ErrTooDeep = errors.New("the directory lies too deep")

// Ancestors calls each with n and the directories it lies in, up to the root, until it returns false. Of an object with
// several names it follows one. It may wait. A tree that is renamed meanwhile is seen partly as before.
func Ancestors(ctx context.Context, fs vfs.FS, n vfs.Node, each func(vfs.Node) bool) error {
	for range DepthMax {
		if !each(n) {
			return nil
		}
		var up vfs.Node
		err := fs.Parents(ctx, n, func(dir vfs.Node, _ vfs.Name) bool {
			up = dir
			return false
		})
		if err != nil || up.IsZero() { // the root has no parent
			return err
		}
		n = up
	}
	return &vfs.Error{Status: vfs.IO, Op: "find the directories above", Object: n.ID.String(), Err: ErrTooDeep}
}

// Prefixes is a list of addresses and networks: "192.0.2.7", "2001:db8::/32".
func (o *Options) Prefixes(key string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range o.Texts(key) {
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
			a = a.Unmap()
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			o.Fail(key, "%q is no address and no network such as 192.0.2.0/24", s)
			continue
		}
		all = append(all, p.Masked())
	}
	return all
}

// Contain reports whether a is in one of all. Its zone, which a link-local address has, does not count.
func Contain(all []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// IDs is a list of uids or gids.
func (o *Options) IDs(key string) map[uint32]bool {
	v, ok := o.get(key)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	all := map[uint32]bool{}
	for _, e := range list {
		n, whole := integer(e)
		if !whole || n < 0 || n > 1<<32-1 {
			o.Fail(key, "%v is not a number from 0 to %d", show(e), uint32(1<<32-1))
			continue
		}
		all[uint32(n)] = true
	}
	return all
}
