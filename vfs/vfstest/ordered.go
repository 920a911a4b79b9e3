package vfstest

import (
	"context"
	"sync"

	"sheaf/vfs"
)

// Ordered are ways to one file system in which no Read goes on during a Write, for History. The file systems of
// Linux do not promise that a read sees all of a write or nothing: ext4 locks an inode for writing only, and a read
// across the boundary of two pages sees half of it now and then (in one of ten histories here). Neither does RFC 1813.
func Ordered(ways ...vfs.FS) []vfs.FS {
	var mu sync.RWMutex
	out := make([]vfs.FS, len(ways))
	for i, fs := range ways {
		out[i] = ordered{fs, &mu}
	}
	return out
}

type ordered struct {
	vfs.FS
	mu *sync.RWMutex
}

func (o ordered) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (int, bool, vfs.Attr, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.FS.Read(ctx, w, n, buf, off)
}

func (o ordered) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.FS.Write(ctx, w, n, data, off, stable)
}
