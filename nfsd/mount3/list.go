package mount3

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"sheaf/nfsd/rpc"
)

// Mount is a mount that a client told of.
type Mount struct {
	Client netip.Addr // invalid on listeners without addresses
	Host   string     // the address, or the client's name for itself if there is none
	Dir    string     // as the client wrote it
	Since  time.Time
}

// list is the list of mounts, oldest first.
type list struct {
	limit int

	mu     sync.Mutex
	mounts []Mount
}

// add puts a mount at the end; one that is there moves. The oldest goes if there
// are too many.
func (l *list) add(c *rpc.Call, dir string) {
	m := Mount{Client: c.Client.Addr(), Dir: dir, Since: time.Now()}
	if m.Client.IsValid() {
		m.Host = m.Client.String()
	} else {
		m.Host = c.Cred.Machine[:min(len(c.Cred.Machine), NameMax)]
	}
	l.remove(m.Client, func(old *Mount) bool { return old.Dir == dir })
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mounts) >= l.limit {
		l.mounts = slices.Delete(l.mounts, 0, len(l.mounts)-l.limit+1)
	}
	l.mounts = append(l.mounts, m)
}

// remove takes away those mounts of a client that match.
func (l *list) remove(client netip.Addr, match func(*Mount) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mounts = slices.DeleteFunc(l.mounts, func(m Mount) bool { return m.Client == client && match(&m) })
}

// all is a copy of the list.
func (l *list) all() []Mount {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mounts)
}
