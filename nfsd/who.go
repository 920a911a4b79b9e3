package nfsd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sheaf/nfsd/rpc"
	"sheaf/vfs"
)

// Identity is a user to act as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups; not to be changed afterwards
}

// grant is what one credential of one connection may do with one export. It is
// made once and then found in the credential's Memo, so that the usual call
// allocates nothing for it.
type grant struct {
	root     *root // the export
	wait     *vfs.Who
	noWait   *vfs.Who   // wait with NoWait set
	readOnly bool       // every change is answered ROFS
	refused  vfs.Status // OK: none
	why      error      // refused, for the log
}

// who is the caller of c.
func (g *grant) who(c *rpc.Call) *vfs.Who {
	if c.NoWait {
		return g.noWait
	}
	if !g.wait.Async {
		c.Waits()
	}
	return g.wait
}

// memo holds the grants of one credential. It is immutable; adding one makes
// another memo. There are at most as many grants as exports.
type memo struct {
	table  *table
	grants []*grant
}

// find is the grant for export id in table t, nil if it is not there yet. A memo
// of an older table is worth nothing: that is how a reload takes rights away.
func (m *memo) find(t *table, id uint64) *grant {
	if m == nil || m.table != t {
		return nil
	}
	for _, g := range m.grants {
		if g.root.id == id {
			return g
		}
	}
	return nil
}

// grantFor is the grant of c's caller on r. Two calls may make it at the same
// time; one of them is forgotten, and made again when it is asked for.
func (s *Server) grantFor(c *rpc.Call, t *table, r *root) *grant {
	m, _ := c.Cred.Memo.Load().(*memo)
	if g := m.find(t, r.id); g != nil {
		return g
	}
	g := s.newGrant(c, r)
	next := &memo{table: t, grants: []*grant{g}}
	if m != nil && m.table == t {
		next.grants = append(slices.Clone(m.grants), g)
	}
	c.Cred.Memo.Store(next)
	return g
}

// Why a client is refused: it is told ACCES alone, the administrator which rule it was.
var (
	errNotExported = errors.New("no export holds this path")
	errNoRule      = errors.New("no rule of the export names this client")
	errPort        = fmt.Errorf("the client's port is above %d and the export is secure", securePorts-1)
)

// newGrant applies the rules of r's export to c's caller.
func (s *Server) newGrant(c *rpc.Call, r *root) *grant {
	client := r.export.match(c.Client.Addr())
	switch {
	case client == nil:
		return &grant{root: r, refused: vfs.Acces, why: errNoRule}
	case client.Options.Secure && !securePort(c.Client):
		return &grant{root: r, refused: vfs.Acces, why: errPort}
	}
	o := &client.Options
	w := squash(c.Cred, o, s.force)
	w.Client = c.Client.Addr()
	w.Export = r.id
	w.Async = o.Async
	nw := *w
	nw.NoWait = true
	return &grant{root: r, wait: w, noWait: &nw, readOnly: o.ReadOnly}
}

// securePort reports whether the client's port is privileged. A connection
// without an address is not from the network: who opened it was let in otherwise.
func securePort(a netip.AddrPort) bool { return !a.IsValid() || a.Port() < securePorts }

// squash is the identity to act as for cred (exports(5), "User ID Mapping").
// AUTH_NONE carries no identity and is squashed always; so is an id of 2^32-1, which
// is none (Q24): chown(2) of a new file to it would leave the file the server's own,
// a set-id file of root's for whoever asks. knfsd does the same (nfsd_setuser).
func squash(cred *rpc.Cred, o *ClientOptions, force *Identity) *vfs.Who {
	switch {
	case force != nil:
		return &vfs.Who{UID: force.UID, GID: force.GID, Groups: force.Groups}
	case o.AllSquash || cred.Flavor != rpc.AuthSys:
		return &vfs.Who{UID: o.AnonUID, GID: o.AnonGID}
	}
	anonymous := func(id uint32) bool { return id == noID || id == 0 && o.RootSquash }
	w := &vfs.Who{UID: cred.UID, GID: cred.GID, Groups: cred.GIDs}
	if anonymous(w.UID) {
		w.UID = o.AnonUID
	}
	if anonymous(w.GID) {
		w.GID = o.AnonGID
	}
	if slices.ContainsFunc(w.Groups, anonymous) {
		w.Groups = slices.Clone(w.Groups)
		for i, g := range w.Groups {
			if anonymous(g) {
				w.Groups[i] = o.AnonGID
			}
		}
	}
	return w
}
