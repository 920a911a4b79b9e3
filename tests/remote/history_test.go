package remote

import (
	"context"
	"flag"
	"sync"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

var historyRounds = flag.Int("remote.rounds", 20, "rounds of each concurrent history")

// histories has two clients, on two connections each, do many things at the same
// time on the same names, and checks what they saw.
func histories(t *testing.T, s *server, data *sync.RWMutex) {
	t.Helper()
	one := s.mount(t, Options{Conns: 2})
	two := s.mount(t, Options{Conns: 2, With: one})
	reach := []vfs.FS{one, two}
	if data != nil {
		reach = []vfs.FS{ordered{one, data}, ordered{two, data}}
	}
	vfstest.History(t, reach[0], vfstest.HistoryOptions{
		Options: noACLs,
		Rounds:  *historyRounds, Callers: 12, Calls: 12,
		Reach: func(caller int) vfs.FS { return reach[caller%2] },
	})
}

// ordered keeps a Read from going on during a Write. The file systems of Linux do not
// promise that a read sees all of a write or nothing: ext4 locks an inode for writing
// only, and a read across the boundary of two pages sees half of it now and
// then (in one of ten histories here). Neither does RFC 1813.
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

// TestHistoryModel is about nfsd alone: the Model does one thing at a time.
func TestHistoryModel(t *testing.T) { histories(t, serve(t, model()), nil) }

// TestHistoryUnion is about all of it.
func TestHistoryUnion(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		t.Helper()
		var data *sync.RWMutex
		if k.local {
			data = &sync.RWMutex{}
		}
		histories(t, serveShare(t, k).server, data)
	})
}
