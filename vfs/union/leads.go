package union

import (
	"sync"

	"sheaf/vfs"
)

// leadsMax bounds the nodes whose lead is remembered; about 100 bytes each.
const leadsMax = 4096

// leads remember logical ctimes of nodes that left memory while they were ahead of what their volumes say: where the
// clock of a volume stands still over several changes the logical ctime goes on, nanosecond by nanosecond, and must
// not go back. A restart forgets them: then the ctime of what changed several times within the last tick (4 ms on most
// kernels before 6.13, none since) may be told as some nanoseconds earlier than it was.
type leads struct {
	mu sync.Mutex
	m  map[vfs.NodeID]vfs.Time
}

// put remembers that id was told to have changed at t.
func (l *leads) put(id vfs.NodeID, t vfs.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = make(map[vfs.NodeID]vfs.Time)
	}
	for old := range l.m { // any: the map's order is random
		if len(l.m) < leadsMax {
			break
		}
		delete(l.m, old)
	}
	l.m[id] = t
}

// take gives what was remembered of id, and forgets it.
func (l *leads) take(id vfs.NodeID) (vfs.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.m[id]
	delete(l.m, id)
	return t, ok
}

// keepLead remembers n's logical ctime if it is ahead of what n's copies say. Needs n.mu.
func (u *Union) keepLead(n *node) {
	if n.gone || n.attrAt == 0 {
		return
	}
	for i := range n.copies {
		if n.copies[i].ctime.Compare(n.attr.Ctime) >= 0 {
			return
		}
	}
	u.leads.put(n.id, n.attr.Ctime)
}

// regainLead makes n's first logical ctime at least what was told before. Needs n.mu.
func (u *Union) regainLead(n *node) {
	if t, ok := u.leads.take(n.id); ok && t.Compare(n.attr.Ctime) > 0 {
		n.attr.Ctime = t
	}
}
