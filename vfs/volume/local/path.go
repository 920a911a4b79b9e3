//go:build linux || darwin || freebsd

package local

import (
	"strings"

	"sheaf/vfs"
)

// splitPath makes names of a path beneath the root; "" has none.
func splitPath(rel string) ([]vfs.Name, bool) {
	if rel == "" {
		return nil, true
	}
	parts := strings.Split(rel, "/")
	names := make([]vfs.Name, len(parts))
	for i, p := range parts {
		var err error
		if names[i], err = vfs.ParseName(p); err != nil {
			return nil, false
		}
	}
	return names, true
}
