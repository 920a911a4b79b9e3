package billyfs

import (
	"context"
	"sync"

	"sheaf/vfs"
)

// lockTable holds the locks of the files that are locked or waited for.
type lockTable struct {
	mu sync.Mutex
	m  map[vfs.NodeID]*lock
}

// lock is held by whoever put a token into its channel.
type lock struct {
	node  vfs.NodeID
	token chan struct{}
	users int // holder and waiters; guarded by lockTable.mu
}

// take waits for the lock of node until ctx ends.
func (t *lockTable) take(ctx context.Context, node vfs.NodeID) (*lock, error) {
	t.mu.Lock()
	l := t.m[node]
	if l == nil {
		l = &lock{node: node, token: make(chan struct{}, 1)}
		if t.m == nil {
			t.m = map[vfs.NodeID]*lock{}
		}
		t.m[node] = l
	}
	l.users++
	t.mu.Unlock()
	select {
	case l.token <- struct{}{}:
		return l, nil
	case <-ctx.Done():
		t.leave(l)
		return nil, ctx.Err()
	}
}

// give gives l up.
func (t *lockTable) give(l *lock) {
	<-l.token
	t.leave(l)
}

// leave forgets a lock that nobody has or wants.
func (t *lockTable) leave(l *lock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(t.m, l.node)
	}
}
