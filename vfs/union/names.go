package union

import (
	"math/bits"
	"sort"

	"sheaf/vfs"
)

// MaxVolumes is the most volumes a share can have: a set of them is one word.
const MaxVolumes = 64

// volset is a set of volumes by their position in Options.Volumes.
type volset uint64

func (s volset) has(v int) bool     { return s>>uint(v)&1 != 0 }
func (s volset) with(v int) volset  { return s | 1<<uint(v) }
func (s volset) minus(v int) volset { return s &^ (1 << uint(v)) }
func (s volset) count() int         { return bits.OnesCount64(uint64(s)) }

// first is the lowest volume of s, or -1.
func (s volset) first() int {
	if s == 0 {
		return -1
	}
	return bits.TrailingZeros64(uint64(s))
}

// top is more than the highest volume of s, by one.
func (s volset) top() int { return bits.Len64(uint64(s)) }

// rank is how many volumes of s are before v.
func (s volset) rank(v int) int { return (s & (1<<uint(v) - 1)).count() }

// list is the volumes of s in order.
func (s volset) list() []int {
	l := make([]int, 0, s.count())
	for ; s != 0; s &= s - 1 {
		l = append(l, bits.TrailingZeros64(uint64(s)))
	}
	return l
}

// entry is what is known of one name that is present in a directory. All but name,
// phys and cookie is guarded by the mu of the directory's node.
type entry struct {
	name   vfs.Name
	phys   vfs.Name // what it is called on its volumes; another than name for the loser of a conflict
	cookie vfs.Cookie
	vols   volset     // the volumes that have it; more than one only for a directory
	ino    uint64     // on the first of vols, as listed; 0: not told
	typ    vfs.Type   // 0: not told
	node   vfs.NodeID // zero until the object was seen
	seen   uint64     // names.round in which node was confirmed
	at     int64      // when the name was last asked for by itself
	whole  bool       // of all copies
}

// entryBytes is about what an entry takes beside its name: the struct, its place
// in the map and in the order.
const entryBytes = 200

// names is the name table of one directory. It is guarded by the mu of the
// directory's node.
type names struct {
	byName  map[vfs.Name]*entry
	order   order
	bytes   int64 // taken by entries
	charged int64 // of these, what Union.memory counts

	// complete says that byName held every name at the time asOf, and still does as far as
	// this process changed the directory since.
	complete bool
	asOf     int64
	provable bool   // versions were taken such that equal ones prove completeness
	round    uint64 // counts listings

	// known are the volumes whose copies' names stand here: each was listed to the end, and
	// what this process changed there since is in. It says nothing of how fresh that is; while
	// a volume is away it is what there is to go by. It holds for the openings of volumes up to the
	// time since: Union.knownOf leaves out what was opened later.
	known volset
	since int64
	// unsure are volumes that a watch told news of which were not looked at: if they go away now, what is known
	// of them does not stand.
	unsure volset

	// paged says that the rows of the directory have what byName does not (paged.go). It is not complete then.
	paged   bool
	large   bool // it was paged: no look-up lists it
	losers  bool // some name may be that of a conflict's loser
	counted bool // dirs is exact though it is paged

	asks int // names asked for since the last listing
	dirs int // entries known to be directories; exact when complete
}

func newNames() *names { return &names{byName: make(map[vfs.Name]*entry)} }

// put adds e. Its name is not there yet, and its cookie not taken.
func (t *names) put(e *entry) {
	t.admit(e)
	if e.typ == vfs.Directory {
		t.dirs++
	}
}

// admit is put for an entry that counts already: its row does.
func (t *names) admit(e *entry) {
	t.byName[e.name] = e
	t.order.insert(e)
	t.bytes += entryBytes + int64(len(e.name.String()))
	t.losers = t.losers || e.phys != e.name
}

// charge is what is to be added to Union.memory for what changed since the last charge.
func (t *names) charge() (delta int64) {
	delta = t.bytes - t.charged
	t.charged = t.bytes
	return delta
}

// entryOf is what is known of a name of n, or nil. Needs n.mu.
func (n *node) entryOf(name vfs.Name) *entry {
	if n.names == nil {
		return nil
	}
	return n.names.byName[name]
}

// remove takes e out.
func (t *names) remove(e *entry) {
	if t.byName[e.name] != e {
		return
	}
	t.evict(e)
	if e.typ == vfs.Directory {
		t.dirs--
	}
}

// evict takes e, which is there, out of memory: its row counts.
func (t *names) evict(e *entry) {
	delete(t.byName, e.name)
	t.order.remove(e)
	t.bytes -= entryBytes + int64(len(e.name.String()))
}

// countsDirs reports whether dirs is exact.
func (t *names) countsDirs() bool { return t.complete || t.paged && t.counted }

// setType notes an entry's type.
func (t *names) setType(e *entry, typ vfs.Type) {
	if e.typ == vfs.Directory {
		t.dirs--
	}
	if e.typ = typ; typ == vfs.Directory {
		t.dirs++
	}
}

// doubt makes all be proved before it is believed again. Only the names of the volumes keep stand
// still: these are away, and what is known of them is the last there was.
func (t *names) doubt(keep volset) {
	t.complete, t.paged = false, false
	t.known &= keep
}

// chunkMax is the most entries of a chunk of an order; a full one is halved.
const chunkMax = 512

// order keeps entries by cookie, in chunks: inserting into a directory of n entries
// moves at most chunkMax pointers, and n/chunkMax more when a chunk is halved.
type order struct {
	chunks [][]*entry // none empty
	n      int
}

// chunkOf is the chunk that holds c, or would.
func (o *order) chunkOf(c vfs.Cookie) int {
	i := sort.Search(len(o.chunks), func(i int) bool { return o.chunks[i][0].cookie > c })
	return max(0, i-1)
}

// placeIn is the position of the first entry of chunk whose cookie is at least c.
func placeIn(chunk []*entry, c vfs.Cookie) int {
	return sort.Search(len(chunk), func(i int) bool { return chunk[i].cookie >= c })
}

func (o *order) insert(e *entry) {
	o.n++
	if len(o.chunks) == 0 {
		o.chunks = [][]*entry{{e}}
		return
	}
	i := o.chunkOf(e.cookie)
	c := o.chunks[i]
	j := placeIn(c, e.cookie)
	c = append(c, nil)
	copy(c[j+1:], c[j:])
	c[j] = e
	o.chunks[i] = c
	if len(c) < chunkMax {
		return
	}
	half := append(make([]*entry, 0, chunkMax), c[len(c)/2:]...)
	clear(c[len(c)/2:])
	o.chunks[i] = c[:len(c)/2]
	o.chunks = append(o.chunks, nil)
	copy(o.chunks[i+2:], o.chunks[i+1:])
	o.chunks[i+1] = half
}

func (o *order) remove(e *entry) {
	if len(o.chunks) == 0 {
		return
	}
	i := o.chunkOf(e.cookie)
	c := o.chunks[i]
	j := placeIn(c, e.cookie)
	if j == len(c) || c[j] != e {
		return
	}
	o.n--
	copy(c[j:], c[j+1:])
	c[len(c)-1] = nil
	if o.chunks[i] = c[:len(c)-1]; len(o.chunks[i]) == 0 {
		o.chunks = append(o.chunks[:i], o.chunks[i+1:]...)
	}
}

// taken reports whether some entry has the cookie c.
func (o *order) taken(c vfs.Cookie) bool {
	if len(o.chunks) == 0 {
		return false
	}
	chunk := o.chunks[o.chunkOf(c)]
	j := placeIn(chunk, c)
	return j < len(chunk) && chunk[j].cookie == c
}

// after appends to page up to limit entries whose cookies are greater than c.
func (o *order) after(c vfs.Cookie, page []*entry, limit int) []*entry {
	if len(o.chunks) == 0 {
		return page
	}
	i := o.chunkOf(c)
	j := placeIn(o.chunks[i], c+1)
	for ; i < len(o.chunks) && len(page) < limit; i, j = i+1, 0 {
		for ; j < len(o.chunks[i]) && len(page) < limit; j++ {
			page = append(page, o.chunks[i][j])
		}
	}
	return page
}
