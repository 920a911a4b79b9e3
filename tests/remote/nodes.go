package remote

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"sheaf/vfs"
)

// nodes remembers what is known of every object that a reply named. It grows with
// their number, about 300 bytes each, and forgets nothing: that handles go on
// is what is tested.
type nodes struct {
	stock bool // Options.Stock

	mu       sync.Mutex
	byID     map[vfs.NodeID]*known
	byHandle map[string]vfs.NodeID
}

// known is what is known of an object.
type known struct {
	fh       []byte // nil: only dir and name are known
	typ      vfs.Type
	verifier vfs.Verifier // of the last page of its listing (cookieverf3)
	dir      vfs.Node     // where a listing without handles showed it
	name     vfs.Name
}

func newNodes(stock bool) *nodes {
	return &nodes{stock: stock, byID: map[vfs.NodeID]*known{}, byHandle: map[string]vfs.NodeID{}}
}

// nodeOf is the node of a fileid.
func nodeOf(fileid uint64) (n vfs.Node) {
	binary.BigEndian.PutUint64(n.ID[:8], fileid)
	return n
}

// learn remembers that the object of a fileid has a handle.
func (t *nodes) learn(fileid uint64, fh []byte) (vfs.Node, error) {
	n := nodeOf(fileid)
	if t.stock {
		sum := sha256.Sum256(fh)
		copy(n.ID[:], sum[:])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.byHandle[string(fh)]; ok && id != n.ID {
		return n, fmt.Errorf("the handle of fileid %x is that of %x", id.FileID(), fileid)
	}
	k := t.of(n)
	if k.fh != nil && !bytes.Equal(k.fh, fh) {
		return n, fmt.Errorf("fileid %x has the handle %x, and had %x", fileid, fh, k.fh)
	}
	if k.fh == nil {
		k.fh = fh
		t.byHandle[string(fh)] = n.ID
	}
	return n, nil
}

// of wants t.mu.
func (t *nodes) of(n vfs.Node) *known {
	k := t.byID[n.ID]
	if k == nil {
		k = &known{}
		t.byID[n.ID] = k
	}
	return k
}

// typed remembers n's type, which does not change.
func (t *nodes) typed(n vfs.Node, typ vfs.Type) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(n).typ = typ
}

// typeOf is n's type, 0 if it is not known.
func (t *nodes) typeOf(n vfs.Node) vfs.Type {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.byID[n.ID]; k != nil {
		return k.typ
	}
	return 0
}

// listed remembers where a listing showed n without a handle.
func (t *nodes) listed(n, dir vfs.Node, name vfs.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.of(n)
	k.dir, k.name = dir, name
}

// verifier is the cookie verifier to go on with a listing of dir.
func (t *nodes) verifier(dir vfs.Node) vfs.Verifier {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of(dir).verifier
}

func (t *nodes) setVerifier(dir vfs.Node, v vfs.Verifier) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(dir).verifier = v
}

// get is a copy of what is known of n.
func (t *nodes) get(n vfs.Node) (known, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.byID[n.ID]; k != nil {
		return *k, true
	}
	return known{}, false
}
