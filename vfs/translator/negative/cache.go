package negative

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/vfs"
)

// key is a name in a directory.
type key struct {
	dir  vfs.NodeID
	name vfs.Name
}

// absence is what is remembered of a key.
type absence struct {
	dir   *directory // believed only while the shard has this one
	until time.Time
}

// directory is what is remembered of a directory: who was told something of it.
type directory struct {
	told [tellersMax]told
	next int // the element of told to overwrite
}

// told is a caller.
type told struct {
	who   uint64 // identity's hash; 0: nobody
	until time.Time
}

// tellersMax is how many callers are known for a directory. Further ones take the place of the earlier.
const tellersMax = 16

// shardCount is in how many parts the cache is locked, by directory.
const shardCount = 64

// shard holds some directories and their names.
type shard struct {
	mu      sync.Mutex
	epoch   uint64 // things forgotten (N3)
	pending int    // changes that are below (N2)
	limit   int    // of young, and of old
	names   generations[key, absence]
	dirs    generations[vfs.NodeID, *directory]
}

// generations is a bounded map: when young is full, it becomes old, and old is dropped.
type generations[K comparable, V any] struct{ young, old map[K]V }

func (g *generations[K, V]) get(k K) (V, bool) {
	if v, ok := g.young[k]; ok {
		return v, true
	}
	v, ok := g.old[k]
	return v, ok
}

// put keeps v, and reports how many were dropped for it.
func (g *generations[K, V]) put(k K, v V, limit int) (dropped int) {
	if _, there := g.young[k]; !there && len(g.young) >= limit {
		dropped = len(g.old)
		g.old, g.young = g.young, nil
	}
	if g.young == nil {
		g.young = make(map[K]V)
	}
	delete(g.old, k)
	g.young[k] = v
	return dropped
}

func (g *generations[K, V]) drop(k K) {
	delete(g.young, k)
	delete(g.old, k)
}

func (g *generations[K, V]) len() int { return len(g.young) + len(g.old) }

// cache is the absences of one layer.
type cache struct {
	seed   maphash.Seed
	expiry time.Duration
	shards [shardCount]shard

	hits, misses, refused, evicted, forgotten atomic.Uint64
}

func newCache(entries int, expiry time.Duration) *cache {
	c := &cache{seed: maphash.MakeSeed(), expiry: expiry}
	for i := range c.shards {
		c.shards[i].limit = entries / shardCount / 2
	}
	return c
}

func (c *cache) shard(dir vfs.NodeID) *shard {
	return &c.shards[maphash.Comparable(c.seed, dir)%shardCount]
}

// identity is who w is as far as permissions go. The hash is keyed and has 64 bits: two callers with one are not to be
// found.
func (c *cache) identity(w *vfs.Who) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	maphash.WriteComparable(&h, [2]uint32{w.UID, w.GID})
	for _, g := range w.Groups {
		maphash.WriteComparable(&h, g)
	}
	return h.Sum64() | 1
}

// absent reports whether name is known not to exist, for w. If not, epoch is for learn.
func (c *cache) absent(w *vfs.Who, k key) (known bool, epoch uint64) {
	who, now := c.identity(w), time.Now()
	s := c.shard(k.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.dirs.get(k.dir)
	if !ok {
		return false, s.epoch
	}
	a, ok := s.names.get(k)
	return ok && a.dir == d && now.Before(a.until) && d.knows(who, now), s.epoch
}

func (d *directory) knows(who uint64, now time.Time) bool {
	for i := range d.told {
		if d.told[i].who == who {
			return now.Before(d.told[i].until)
		}
	}
	return false
}

// tell notes that who was told something.
func (d *directory) tell(who uint64, until time.Time) {
	for i := range d.told {
		if d.told[i].who == who {
			d.told[i].until = until
			return
		}
	}
	d.told[d.next] = told{who, until}
	d.next = (d.next + 1) % tellersMax
}

// learn remembers that w was told below that the name does not exist, unless something was forgotten since absent gave epoch.
func (c *cache) learn(w *vfs.Who, k key, epoch uint64) {
	who, until := c.identity(w), time.Now().Add(c.expiry)
	s := c.shard(k.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending > 0 || s.epoch != epoch {
		c.refused.Add(1)
		return
	}
	d, ok := s.dirs.get(k.dir)
	if !ok {
		d = new(directory)
	}
	d.tell(who, until)
	s.dirs.put(k.dir, d, s.limit)
	c.evicted.Add(uint64(s.names.put(k, absence{d, until}, s.limit)))
}

// begin forgets k, or with the zero Name all of its directory, and keeps it from being learned until end (N2).
func (c *cache) begin(k key) {
	s := c.shard(k.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(k)
	s.pending++
	c.forgotten.Add(1)
}

func (c *cache) end(k key) {
	s := c.shard(k.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending--
	s.epoch++
}

// forget forgets k, or all of its directory. Needs s.mu.
func (s *shard) forget(k key) {
	s.epoch++
	if k.name.IsZero() {
		s.dirs.drop(k.dir)
		return
	}
	s.names.drop(k)
}

// event forgets what did not come through the layer (N4).
func (c *cache) event(e vfs.Event) {
	c.forgotten.Add(1)
	switch e.Kind {
	case vfs.ForgetName, vfs.ForgetNode: // of a node that is a directory: all of it
		s := c.shard(e.Node)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(key{e.Node, e.Name})
	default:
		for i := range c.shards {
			s := &c.shards[i]
			s.mu.Lock()
			s.epoch++
			s.names, s.dirs = generations[key, absence]{}, generations[vfs.NodeID, *directory]{}
			s.mu.Unlock()
		}
	}
}

// entries is how many absences are kept, those included that are not believed any more.
func (c *cache) entries() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.names.len()
		s.mu.Unlock()
	}
	return n
}
