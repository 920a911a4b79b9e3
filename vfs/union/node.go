package union

import (
	"sync"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// node is an object of the share in memory. There is at most one for an id at
// a time: it leaves the table only when nobody refers to it.
type node struct {
	id    vfs.NodeID
	birth vfs.Birth
	typ   vfs.Type

	refs atomic.Int32 // who uses it; changed from 0 only under the shard's mu
	hot  atomic.Bool  // used since the last sweep

	outlived int8 // of a directory: sweeps since it was used; under the shard's mu

	mu sync.Mutex // held for memory only, never while anything waits

	gone      bool   // removed: Stale for ever
	changing  bool   // an operation that holds the exclusive lease is changing it
	changes   uint64 // counts changes, so that what was asked before one is not stored after it
	changesAt int64  // when the last one began
	changedAt int64  // when it ended

	attr   vfs.Attr // logical; valid if attrAt is not 0
	attrAt int64    // when the volume was last asked; of a directory, every copy of it

	acls     *vfs.ACLs // as of aclTime
	aclTime  vfs.Time  // physical ctime of the copy that has them, at which acls were read, or to which changes of ours moved it
	aclMoved bool      // these did: acls are believed for trust from aclAt
	aclAt    int64     // when acls were read
	aclStay  bool      // for the change of names that is under way: acls were those of the copy before

	copies []copyOf // in volume order for directories; else exactly one
	places []place  // a directory has one, the root none; else the names that are known

	names *names        // of a directory; nil: nothing is known
	home  int           // volume of a directory's home copy: its mode, owner and ACL are the directory's
	fill  chan struct{} // of a directory: held by who lists it
	file  *openFile

	rows      *rows // of a directory
	copiesAt  int64 // of a directory: as of when the set of its copies is known
	upWatched bool  // watches told then of what its parents' copies may get

	doubts   doubts
	absents  absents // of a directory
	leveling bool    // levelLater is under way
	sibling  int     // volume that took a directory's last object; below 0: none
}

// copyOf is where a node lies on one volume.
type copyOf struct {
	vol     int
	id      volume.Identity
	trusted bool // id.Key was seen later than volume.KeyQuiet after its birth
	marked  bool // a believed mark lies beside it

	ctime, mtime vfs.Time       // physical, as last accounted for
	last         *volume.Stat   // of a directory with several copies: what was last told of this one; nil: not known
	changed      vfs.Time       // the ctime of its last real change
	stamp        stamp          // of its mark
	epoch        uint64         // attribute epoch of its mark, 1 without one; 0: not read yet
	version      volume.Version // of a directory, at which it was listed
	own          bool           // changed by ourselves since
	covered      int64          // since when a watch tells of a directory's names; 0: never
	dir          *dirHandle
}

// place is a name of a node.
type place struct {
	dir  vfs.Node
	name vfs.Name
	phys vfs.Name // on the volume
}

// nodeBytes is about what a node takes in memory, with its places and map entries.
const nodeBytes = 900

func (n *node) node() vfs.Node { return vfs.Node{ID: n.id, Birth: n.birth} }
func (n *node) isDir() bool    { return n.typ == vfs.Directory }

// copyOn is the copy on volume v, or nil. Needs n.mu.
func (n *node) copyOn(v int) *copyOf {
	if i := n.indexOn(v); i >= 0 {
		return &n.copies[i]
	}
	return nil
}

// on is the set of volumes that n lies on. Needs n.mu.
func (n *node) on() volset {
	var s volset
	for i := range n.copies {
		s = s.with(n.copies[i].vol)
	}
	return s
}

// volumes is on for who does not hold n.mu.
func (n *node) volumes() volset {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.on()
}

// verified reports whether the set of a directory's copies was seen by ourselves since the last volume
// came, not only told by the index.
func (u *Union) verified(n *node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.copiesAt > u.members().cameAt
}

// begin announces a change. The caller holds the exclusive lease on n.
func (u *Union) begin(n *node) {
	n.mu.Lock()
	n.changing = true
	n.changes++
	n.changesAt = u.now()
	n.mu.Unlock()
}

// end ends it.
func (u *Union) end(n *node) {
	n.mu.Lock()
	n.changing = false
	n.changes++
	n.changedAt = u.now()
	if n.isDir() {
		u.endNames(n)
	}
	n.mu.Unlock()
}

// table holds the nodes in memory, by fileid: two living nodes with one fileid
// must not be.
type table struct{ shards [tableShards]tableShard }

// tableShards is how many locks the table is cut into; with a thousand calls in flight
// two of them rarely meet.
const tableShards = 256

type tableShard struct {
	mu sync.Mutex
	m  map[uint64]*node
	_  [40]byte // keeps neighbours off this shard's cache line
}

func (t *table) init() {
	for i := range t.shards {
		t.shards[i].m = make(map[uint64]*node)
	}
}

func (t *table) shard(id vfs.NodeID) *tableShard { return &t.shards[id[7]] }

// get is the node id with a reference, or nil.
func (t *table) get(id vfs.NodeID) *node {
	s := t.shard(id)
	s.mu.Lock()
	n := s.m[id.FileID()]
	if n == nil || n.id != id {
		s.mu.Unlock()
		return nil
	}
	n.refs.Add(1)
	s.mu.Unlock()
	if !n.hot.Load() {
		n.hot.Store(true)
	}
	return n
}

// add puts n there with a reference, or gives the one that is there already.
// taken: another node has its fileid.
func (t *table) add(n *node) (there *node, added, taken bool) {
	s := t.shard(n.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.m[n.id.FileID()]; old != nil {
		if old.id != n.id {
			return nil, false, true
		}
		old.refs.Add(1)
		old.hot.Store(true)
		return old, false, false
	}
	n.refs.Add(1)
	n.hot.Store(true)
	s.m[n.id.FileID()] = n
	return n, true, false
}

// put gives a reference back.
func (n *node) put() { n.refs.Add(-1) }

// charge accounts for memory and makes room when it is too much.
func (u *Union) charge(bytes int64) {
	if u.memory.Add(bytes) > u.opt.Memory && u.sweeping.CompareAndSwap(false, true) {
		u.sweep()
		u.sweeping.Store(false)
	}
}

// spared is how many turns of the sweep a directory outlives that nobody uses. A file that was forgotten costs a row of the index to be
// known again; a directory all of its names, to answer for any of them: with a million files in a thousand directories, of which memory holds
// a quarter, each look-up of many listed one, 0.6 to 4 ms of CPU where it is 40 µs since they outlive files. Not for ever: names that nobody asks for do not keep files out that are.
const spared = 4

// sweep forgets nodes that nobody uses, those not used since it came by last first, until memory is below the bound by a sixteenth. It goes
// on where it stopped, or what lies in the first shards would be forgotten again and again, and what lies in the last never.
func (u *Union) sweep() {
	goal := u.opt.Memory - u.opt.Memory/16
	for range (2 + spared) * tableShards { // the first turn cools what is hot
		if u.memory.Load() <= goal {
			return
		}
		u.sweepShard(&u.table.shards[u.hand.Add(1)%tableShards])
	}
}

func (u *Union) sweepShard(s *tableShard) {
	s.mu.Lock()
	var out []*node
	for id, n := range s.m {
		if n == u.root || n.refs.Load() != 0 || n.outlives() {
			continue
		}
		n.mu.Lock()
		busy := n.file != nil
		n.mu.Unlock()
		if busy {
			continue
		}
		delete(s.m, id)
		out = append(out, n)
	}
	s.mu.Unlock()
	u.stats.evicted.Add(int64(len(out)))
	for _, n := range out {
		u.forget(n)
	}
}

// outlives reports whether n stays this time. Needs the shard's mu.
func (n *node) outlives() bool {
	if n.hot.Swap(false) {
		n.outlived = 0
		return true
	}
	if !n.isDir() || n.outlived == spared {
		return false
	}
	n.outlived++
	return true
}

// forget takes what else knows n in memory away from it. It is out of the table.
func (u *Union) forget(n *node) {
	n.mu.Lock()
	u.keepLead(n)
	copies := append([]copyOf(nil), n.copies...)
	var doomed []*dirHandle
	for i := range n.copies {
		if h := n.copies[i].dir; h != nil {
			doomed = append(doomed, h)
			n.copies[i].dir = nil
		}
	}
	freed := int64(nodeBytes)
	u.noDoubts(n)
	u.renewAbsents(n)
	if n.names != nil {
		freed += n.names.charged
		n.names = nil
	}
	n.mu.Unlock()
	for _, c := range copies {
		u.vol(c.vol).unkey(c.id.Key, n)
	}
	for _, h := range doomed {
		u.dirs.doom(h)
	}
	u.memory.Add(-freed)
}

// retireHere forgets n, which no volume that can be asked has. One that is away may: so it is not Stale.
func (u *Union) retireHere(n *node) {
	s := u.table.shard(n.id)
	s.mu.Lock()
	mine := s.m[n.id.FileID()] == n
	if mine {
		delete(s.m, n.id.FileID())
	}
	s.mu.Unlock()
	if mine {
		u.forget(n)
	}
}

// retire makes n Stale for ever: its object was removed. Whoever refers to it
// learns that from n.gone.
func (u *Union) retire(n *node) {
	n.mu.Lock()
	n.gone = true
	if n.isDir() && u.keeps() {
		u.rowQueue.push(n) // to have them deleted
	}
	f := n.file
	n.file = nil
	n.mu.Unlock()
	if f != nil {
		u.files.drop(u, f)
	}
	s := u.table.shard(n.id)
	s.mu.Lock()
	mine := s.m[n.id.FileID()] == n
	if mine {
		delete(s.m, n.id.FileID())
	}
	s.mu.Unlock()
	if mine {
		u.forget(n)
	}
	u.scans.gone.add(n.id)
	u.dropRow(n)
}
