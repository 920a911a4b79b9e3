package script

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"
)

// tableShards and stripes are how finely a table's lock and its epochs are cut. Two keys that share a stripe
// cost each other at most a value that is not kept.
const (
	tableShards = 16
	stripes     = 64
)

// table is state that the calls of one script share: a bounded, expiring map that is safe for
// concurrent use.
//
// Keys that are tuples belong to the group of their first element, so that all that is kept about a directory can
// be dropped at once. A shard holds whole groups.
//
// An epoch counts, for a stripe of keys or groups, the times that something was made, dropped or held there.
// Who asks below and wants to keep the answer takes a token before and gives it to set: if the epochs
// moved meanwhile, or one is held, the answer may be out of date and is not kept.
type table struct {
	name     string // of the variable that has it; for metrics
	max      int
	maxBytes int64
	ttl      time.Duration // 0: for ever
	born     time.Time
	seed     maphash.Seed
	shards   [tableShards]tableShard
	next     atomic.Uint32 // the shard that the next eviction looks at
	count    atomic.Int64
	bytes    atomic.Int64
	methods  map[string]*starlark.Builtin // made once: a method that is looked up costs no allocation

	hits, misses, evicted, expired, refused atomic.Uint64
}

// tableShard is a part of a table. Its mutex guards all of it, and is never held while a script runs.
type tableShard struct {
	mu      sync.Mutex
	entries map[string]*entry
	used    entry // head of the ring: next is the most recently used
	keys    [stripes]stripe
	groups  [stripes]stripe
}

type entry struct {
	key        string
	value      starlark.Value
	size       int64
	until      time.Duration // since table.born; 0: for ever
	used       time.Duration // when it was used last
	prev, next *entry
}

// entryOverhead is about what an entry takes beside its key and value, in bytes: the struct, its place in the map.
const entryOverhead = 160

type stripe struct {
	epoch int64
	held  int
}

func newTable(maxEntries int, maxBytes int64, ttl time.Duration) *table {
	t := &table{max: maxEntries, maxBytes: maxBytes, ttl: ttl, born: time.Now(), seed: maphash.MakeSeed()}
	for i := range t.shards {
		s := &t.shards[i]
		s.entries = map[string]*entry{}
		s.used.prev, s.used.next = &s.used, &s.used
	}
	t.methods = t.bind()
	return t
}

func (e *entry) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

// touch makes e, which is in no ring, the most recently used.
func (s *tableShard) touch(e *entry, now time.Duration) {
	e.used = now
	e.prev, e.next = &s.used, s.used.next
	e.prev.next, e.next.prev = e, e
}

// place is where a key lives.
type place struct {
	key    []byte
	shard  *tableShard
	ks, gs *stripe // of the key, and of its group
}

func (t *table) place(key, group []byte) place {
	g := maphash.Bytes(t.seed, group)
	s := &t.shards[g%tableShards]
	k := maphash.Bytes(t.seed, key)
	return place{key: key, shard: s, ks: &s.keys[k/tableShards%stripes], gs: &s.groups[g/tableShards%stripes]}
}

// find is the place of the key v; room is scratch.
func (t *table) find(room []byte, v starlark.Value) (place, error) {
	key, err := appendKey(room, v, 0)
	if err != nil {
		return place{}, err
	}
	group, err := groupOf(v, key)
	if err != nil {
		return place{}, err
	}
	return t.place(key, group), nil
}

// now is the time since the table was made.
func (t *table) now() time.Duration { return time.Since(t.born) }

func (t *table) get(p *place) starlark.Value {
	s := p.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[string(p.key)]
	if e == nil {
		t.misses.Add(1)
		return nil
	}
	now := t.now()
	if e.until != 0 && now >= e.until {
		t.drop(s, e)
		t.expired.Add(1)
		t.misses.Add(1)
		return nil
	}
	e.unlink()
	s.touch(e, now)
	t.hits.Add(1)
	return e.value
}

// drop takes e out of its shard, whose mutex is held.
func (t *table) drop(s *tableShard, e *entry) {
	e.unlink()
	delete(s.entries, e.key)
	t.count.Add(-1)
	t.bytes.Add(-e.size)
}

// proviso is what must hold for a value to be kept.
type proviso struct {
	since    bool // nothing happened since token was given, and nothing is held
	token    int64
	noOther  bool // the key has no value
	addition bool // the value is an integer, and is added to what the key has
}

// set keeps v if only holds. It gives the value that the key then has, and whether it was changed.
func (t *table) set(p *place, v starlark.Value, size int, ttl time.Duration, only proviso) (starlark.Value, bool, error) {
	s := p.shard
	s.mu.Lock()
	if only.since && (p.ks.held > 0 || p.gs.held > 0 || only.token != p.ks.epoch+p.gs.epoch) {
		s.mu.Unlock()
		t.refused.Add(1)
		return nil, false, nil
	}
	e := s.entries[string(p.key)]
	if e != nil && e.until != 0 && t.now() >= e.until {
		t.drop(s, e)
		t.expired.Add(1)
		e = nil
	}
	if e != nil && only.noOther {
		defer s.mu.Unlock()
		return e.value, false, nil
	}
	if e != nil && only.addition {
		old, ok := e.value.(starlark.Int)
		if !ok {
			defer s.mu.Unlock()
			return nil, false, fmt.Errorf("incr: the key has a %s, want int", e.value.Type())
		}
		v = old.Add(v.(starlark.Int))
		if _, ok := v.(starlark.Int).Int64(); !ok {
			s.mu.Unlock()
			return nil, false, errors.New("incr: the sum has more than 64 bits")
		}
	}
	if e == nil {
		e = &entry{key: string(p.key)}
		s.entries[e.key] = e
		t.count.Add(1)
	} else {
		e.unlink()
	}
	t.fill(e, v, size, ttl)
	s.touch(e, t.now())
	p.ks.epoch++
	s.mu.Unlock()
	t.evict(s)
	return v, true, nil
}

// fill gives e a value. Its shard's mutex is held.
func (t *table) fill(e *entry, v starlark.Value, size int, ttl time.Duration) {
	t.bytes.Add(-e.size)
	e.value, e.size, e.until = v, int64(size+len(e.key)+entryOverhead), 0
	t.bytes.Add(e.size)
	if ttl > 0 {
		e.until = t.now() + ttl
	}
}

// evict drops entries until the bounds hold: of the least recently used of two shards, the one that grew and
// the next in turn, the older. So what is used stays, and what is not goes wherever it is.
func (t *table) evict(grew *tableShard) {
	for t.count.Load() > int64(t.max) || t.bytes.Load() > t.maxBytes {
		other := &t.shards[t.next.Add(1)%tableShards]
		mine, ok := grew.oldest()
		theirs, ok2 := other.oldest()
		if ok2 && (!ok || theirs < mine) {
			t.dropOldest(other)
		} else if ok {
			t.dropOldest(grew)
		}
	}
}

// oldest is when the least recently used entry was used.
func (s *tableShard) oldest() (used time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.used.prev
	return e.used, e != &s.used
}

func (t *table) dropOldest(s *tableShard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.used.prev; e != &s.used {
		t.drop(s, e)
		t.evicted.Add(1)
	}
}

// forget drops the key and gives what it had, nil for nothing.
func (t *table) forget(p *place) starlark.Value {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	p.ks.epoch++
	e := p.shard.entries[string(p.key)]
	if e == nil {
		return nil
	}
	t.drop(p.shard, e)
	if e.until != 0 && t.now() >= e.until {
		t.expired.Add(1)
		return nil
	}
	return e.value
}

// forgetGroup drops every key of p's group, where p is the place of the group itself. It looks at all keys
// of one shard.
func (t *table) forgetGroup(p *place) int {
	s := p.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	p.gs.epoch++
	return t.dropGroup(s, p.key)
}

func (t *table) dropGroup(s *tableShard, group []byte) (dropped int) {
	for key, e := range s.entries {
		if inGroup(key, group) {
			t.drop(s, e)
			dropped++
		}
	}
	return dropped
}

// inGroup reports whether key is a tuple whose first element is group, both encoded, or is group itself.
func inGroup(key string, group []byte) bool {
	if key[0] != 't' {
		return key == string(group)
	}
	head := 1
	for head < len(key) && key[head] >= 0x80 { // the bytes of a uvarint but the last
		head++
	}
	head++
	return strings.HasPrefix(key[min(head, len(key)):], string(group))
}

// token is the state of p's epochs.
func (t *table) token(p *place) int64 {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	return p.ks.epoch + p.gs.epoch
}

// hold drops the key, or with group all of its group, and lets nothing with a token be kept there
// until the release that it gives back.
func (t *table) hold(p place, group bool) (release func()) {
	s, st := p.shard, p.ks
	if group {
		st = p.gs
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.epoch++
	st.held++
	if group {
		t.dropGroup(s, p.key)
	} else if e := s.entries[string(p.key)]; e != nil {
		t.drop(s, e)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		st.epoch++
		st.held--
	}
}

// clear drops everything.
func (t *table) clear() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for j := range s.groups {
			s.groups[j].epoch++
		}
		for _, e := range s.entries {
			t.drop(s, e)
		}
		s.mu.Unlock()
	}
}

// prune drops what has expired and gives how many that were.
func (t *table) prune() (dropped int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		now := t.now()
		for _, e := range s.entries {
			if e.until != 0 && now >= e.until {
				t.drop(s, e)
				dropped++
			}
		}
		s.mu.Unlock()
	}
	t.expired.Add(uint64(dropped))
	return dropped
}

func (t *table) String() string      { return fmt.Sprintf("table(%d of %d)", t.count.Load(), t.max) }
func (*table) Type() string          { return "table" }
func (*table) Freeze()               {}
func (*table) Truth() starlark.Bool  { return true }
func (*table) Hash() (uint32, error) { return 0, errUnhashable("table") }
