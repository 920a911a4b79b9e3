package quota

import (
	"bytes"
	"context"
	"strings"

	"sheaf/vfs"
)

// place is a name of an object.
type place struct {
	dir  vfs.Node
	name vfs.Name
}

func (p place) key() key { return key{p.dir.ID, p.name} }

// key is a place to look up by.
type key struct {
	dir  vfs.NodeID
	name vfs.Name
}

func (k key) before(l key) bool {
	if c := bytes.Compare(k.dir[:], l.dir[:]); c != 0 {
		return c < 0
	}
	return strings.Compare(k.name.String(), l.name.String()) < 0
}

// nameLock is held by the call that changes a name (C3).
type nameLock struct {
	held  chan struct{} // has room for one: who could send holds it
	users int           // who hold it or wait; guarded by book.mu
}

// lock takes the names at a and b, in their order; they may be the same. The result gives them back.
func (b *book) lock(ctx context.Context, first, second place) (unlock func(), err error) {
	k, l := first.key(), second.key()
	if l.before(k) {
		k, l = l, k
	}
	if err := b.lockOne(ctx, k); err != nil {
		return nil, err
	}
	if k == l {
		return func() { b.unlockOne(k) }, nil
	}
	if err := b.lockOne(ctx, l); err != nil {
		b.unlockOne(k)
		return nil, err
	}
	return func() { b.unlockOne(k); b.unlockOne(l) }, nil
}

func (b *book) lockOne(ctx context.Context, k key) error {
	b.mu.Lock()
	l := b.locks[k]
	if l == nil {
		l = &nameLock{held: make(chan struct{}, 1)}
		b.locks[k] = l
	}
	l.users++
	b.mu.Unlock()
	select {
	case l.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		b.left(k, l)
		return &vfs.Error{Status: vfs.Jukebox, Op: "change", Object: k.name.String(), Err: ctx.Err()}
	}
}

func (b *book) unlockOne(k key) {
	b.mu.Lock()
	l := b.locks[k]
	b.mu.Unlock()
	<-l.held
	b.left(k, l)
}

func (b *book) left(k key, l *nameLock) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(b.locks, k)
	}
}
