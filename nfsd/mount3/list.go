package mount3

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
)

// Mount is a mount that a client told of.
type Mount struct {
	Client netip.Addr // invalid on listeners without addresses
	Host   string     // the address, or the client's name for itself if there is none
	Dir    string     // as the client wrote it
	Since  time.Time
}

// encoded is the size of m in the reply to DUMP, in bytes.
func (m *Mount) encoded() int { return 4 + xdr.OpaqueSize(len(m.Host)) + xdr.OpaqueSize(len(m.Dir)) }

// list is the list of mounts, oldest first. When it is full, the oldest goes of the client who has most: one
// that mounts all there is drives out its own.
type list struct {
	limit int // mounts

	mu     sync.Mutex
	mounts []Mount
	size   int                // bytes, encoded
	by     map[netip.Addr]int // of size, by client
}

// add puts a mount at the end; one that is there moves. The oldest go if there are too
// many, or if they take more than ListMax.
func (l *list) add(c *rpc.Call, dir string) {
	m := Mount{Client: c.Client.Addr(), Dir: dir, Since: time.Now()}
	if m.Client.IsValid() {
		m.Host = m.Client.String()
	} else {
		m.Host = c.Cred.Machine[:min(len(c.Cred.Machine), NameMax)]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(m.Client, func(old *Mount) bool { return old.Dir == dir })
	l.mounts = append(l.mounts, m)
	l.count(&m, m.encoded())
	for len(l.mounts) > l.limit || l.size > ListMax {
		at := l.oldestOfMost()
		l.count(&l.mounts[at], -l.mounts[at].encoded())
		l.mounts = slices.Delete(l.mounts, at, at+1)
	}
}

// oldestOfMost is where the oldest mount is of the client whose mounts are the most bytes. mu is held, and there are some.
func (l *list) oldestOfMost() int {
	var most netip.Addr
	for client, size := range l.by {
		if size > l.by[most] {
			most = client
		}
	}
	return slices.IndexFunc(l.mounts, func(m Mount) bool { return rpc.ClientAddr(m.Client) == most })
}

// count adds n bytes of m's client. mu is held.
func (l *list) count(m *Mount, n int) {
	if l.by == nil {
		l.by = make(map[netip.Addr]int)
	}
	client := rpc.ClientAddr(m.Client)
	l.size += n
	if l.by[client] += n; l.by[client] == 0 {
		delete(l.by, client)
	}
}

// remove takes away those mounts of a client that match.
func (l *list) remove(client netip.Addr, match func(*Mount) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(client, match)
}

// drop is remove; mu is held.
func (l *list) drop(client netip.Addr, match func(*Mount) bool) {
	l.mounts = slices.DeleteFunc(l.mounts, func(m Mount) bool {
		gone := m.Client == client && match(&m)
		if gone {
			l.count(&m, -m.encoded())
		}
		return gone
	})
}

// encoded is the size of the list in the reply to DUMP, in bytes, without its end.
func (l *list) encoded() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// all is a copy of the list.
func (l *list) all() []Mount {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mounts)
}
