package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"

	"sheaf/vfs"
)

// VolumeID is the id of a volume; volume.ID converts to it.
type VolumeID [16]byte

// Version is the version of a directory; volume.Version converts to it.
type Version struct {
	Ino          uint64
	Ctime, Mtime vfs.Time
}

// Identity are the birth facts of an object on its volume, flat (volume.Identity
// without its embedding).
type Identity struct {
	Ino   uint64
	Birth int64 // nanoseconds since the epoch
	Gen   uint32
	Sub   uint64
}

// Copy is where an object lies.
type Copy struct {
	Volume   VolumeID
	Identity Identity
}

// Place is a name of an object.
type Place struct {
	Dir  vfs.NodeID
	Name vfs.Name
}

// Node is what is known of a node: hints all, to be verified by Identity where they
// are followed.
type Node struct {
	ID     vfs.NodeID
	Type   vfs.Type
	Birth  vfs.Birth
	Copies []Copy  // a directory: one per volume that has it; else one
	Places []Place // a directory: one, the root none; else the known names
}

// Entry is a name in a directory.
type Entry struct {
	Cookie  vfs.Cookie
	Name    vfs.Name   // in the share
	On      vfs.Name   // on the volume, where it differs (conflicts); else zero
	Child   vfs.NodeID // zero: not identified yet
	Volumes VolumeSet
	Type    vfs.Type // 0: not known
}

// VolumeSet is the volumes on which a name of a directory lies, at least one: their ids one after the other,
// ascending.
type VolumeSet string

// MaxVolumes is the most volumes of a VolumeSet.
const MaxVolumes = 64

// SetOf is the set of ids.
func SetOf(ids ...VolumeID) VolumeSet {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b VolumeID) int { return bytes.Compare(a[:], b[:]) })
	var b []byte
	for _, id := range slices.Compact(ids) {
		b = append(b, id[:]...)
	}
	return VolumeSet(b)
}

// All are the volumes of s.
func (s VolumeSet) All() iter.Seq[VolumeID] {
	return func(yield func(VolumeID) bool) {
		for ; len(s) >= len(VolumeID{}); s = s[len(VolumeID{}):] {
			if !yield(VolumeID([]byte(s[:len(VolumeID{})]))) {
				return
			}
		}
	}
}

// check is what the encoding demands of a set.
func (s VolumeSet) check() error {
	const size = len(VolumeID{})
	if n := len(s) / size; n == 0 || n > MaxVolumes || len(s)%size != 0 {
		return fmt.Errorf("%d volumes", n)
	}
	for i := size; i < len(s); i += size {
		if s[i-size:i] >= s[i:i+size] {
			return errors.New("volumes do not ascend")
		}
	}
	return nil
}

// DirCopy is what is known of the listing of one copy of a directory.
type DirCopy struct {
	Volume  VolumeID
	Version Version  // at which it was listed
	Listed  vfs.Time // when
	// Proof: the entries are its names whenever it has that Version. Lost when the index is not closed and the host
	// went down with it, unless Settled.
	Proof bool
	// Complete: the entries are its names as far as this program knows, by a listing and by what it changed
	// since. Lost when the index is not closed, unless Settled.
	Complete bool
	// Settled: both outlive that: whoever changes the copy takes Settled away first, and flushes.
	Settled bool
}

// Collision is a name whose cookie is not the hash of it.
type Collision struct {
	Name   vfs.Name
	Cookie vfs.Cookie
}

// The most places and copies a Node row keeps; more names of an object
// are not remembered.
const (
	MaxPlaces = 1024
	MaxCopies = 1024
)

// Values, big-endian, times as seconds[8] nanoseconds[4], names as length[1]
// bytes, all followed by the sum[4] of key and value:
//
//	node       type[1] volume[8] ino[8] gen[4] sub[4]
//	           count[2] × (volume[16] ino[8] birth[8] gen[4] sub[8])
//	           count[2] × (directory[16] name)
//	entry      type[1] child[16] count[1] × volume[16] name on
//	copy       ino[8] ctime mtime listed flags[1] session[4]
//	collision  cookie[8]
//	absence    dir[16] proof[8] asked session[4] name
//
// There is one encoding of a value; what is not that is refused. The sum is CRC-32C: the
// database does not verify its blocks, and a row in the wrong place is found too.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumSize = 4

var be = binary.BigEndian

func appendSum(key, v []byte) []byte {
	return be.AppendUint32(v, crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v))
}

func appendName(b []byte, n vfs.Name) []byte {
	s := n.String()
	return append(append(b, byte(len(s))), s...)
}

func appendTime(b []byte, t vfs.Time) []byte {
	return be.AppendUint32(be.AppendUint64(b, uint64(t.Sec)), t.Nsec)
}

func encodeNode(key []byte, n *Node) []byte {
	copies, places := n.Copies[:min(len(n.Copies), MaxCopies)], n.Places[:min(len(n.Places), MaxPlaces)]
	b := make([]byte, 0, 64+44*len(copies)+48*len(places))
	b = append(b, byte(n.Type))
	b = be.AppendUint64(b, n.Birth.Volume)
	b = be.AppendUint64(b, n.Birth.Ino)
	b = be.AppendUint32(b, n.Birth.Gen)
	b = be.AppendUint32(b, n.Birth.Sub)
	b = be.AppendUint16(b, uint16(len(copies)))
	for _, c := range copies {
		b = append(b, c.Volume[:]...)
		b = be.AppendUint64(b, c.Identity.Ino)
		b = be.AppendUint64(b, uint64(c.Identity.Birth))
		b = be.AppendUint32(b, c.Identity.Gen)
		b = be.AppendUint64(b, c.Identity.Sub)
	}
	b = be.AppendUint16(b, uint16(len(places)))
	for _, p := range places {
		b = appendName(append(b, p.Dir[:]...), p.Name)
	}
	return appendSum(key, b)
}

func encodeEntry(key []byte, e *Entry) []byte {
	b := make([]byte, 0, 24+len(e.Volumes)+len(e.Name.String())+len(e.On.String()))
	b = append(b, byte(e.Type))
	b = append(b, e.Child[:]...)
	b = append(b, byte(len(e.Volumes)/len(VolumeID{})))
	b = append(b, e.Volumes...)
	return appendSum(key, appendName(appendName(b, e.Name), e.On))
}

// The flags of a copy.
const (
	flagProof byte = 1 << iota
	flagComplete
	flagSettled
)

// storedCopy is a DirCopy as it lies in the index.
type storedCopy struct {
	DirCopy
	session uint32 // that wrote it
}

func encodeCopy(key []byte, c *storedCopy) []byte {
	b := be.AppendUint64(make([]byte, 0, 53), c.Version.Ino)
	b = appendTime(appendTime(appendTime(b, c.Version.Ctime), c.Version.Mtime), c.Listed)
	flags := byte(0)
	if c.Proof {
		flags |= flagProof
	}
	if c.Complete {
		flags |= flagComplete
	}
	if c.Settled {
		flags |= flagSettled
	}
	return appendSum(key, be.AppendUint32(append(b, flags), c.session))
}

func encodeCollision(key []byte, c vfs.Cookie) []byte {
	return appendSum(key, be.AppendUint64(make([]byte, 0, 12), uint64(c)))
}

// decoder takes a value apart; after the first mistake everything is zero.
type decoder struct {
	b   []byte
	err error
}

var errShort = errors.New("value is too short")

// open checks the sum and gives a decoder of what it covers.
func open(key, value []byte) decoder {
	n := len(value) - sumSize
	if n < 0 {
		return decoder{err: errShort}
	}
	if crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:n]) != be.Uint32(value[n:]) {
		return decoder{err: errors.New("sum does not match")}
	}
	return decoder{b: value[:n]}
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = errShort
	}
	if d.err != nil {
		return make([]byte, n) // n is at most 255 × 16
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) u8() byte    { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return be.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return be.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return be.Uint64(d.take(8)) }
func (d *decoder) id() [16]byte {
	return [16]byte(d.take(16))
}

func (d *decoder) time() vfs.Time {
	t := vfs.Time{Sec: int64(d.u64()), Nsec: d.u32()}
	if t.Nsec > 999_999_999 {
		d.fail("nanoseconds %d", t.Nsec)
	}
	return t
}

// name reads a name; an empty one only where it is optional.
func (d *decoder) name(optional bool) vfs.Name {
	b := d.take(int(d.u8()))
	if d.err != nil || len(b) == 0 && optional {
		return vfs.Name{}
	}
	n, err := vfs.ParseName(string(b))
	if err != nil {
		d.fail("name %q: %w", b, err)
	}
	return n
}

func (d *decoder) volumes() VolumeSet {
	s := VolumeSet(d.take(int(d.u8()) * len(VolumeID{})))
	if err := s.check(); err != nil {
		d.fail("%w", err)
	}
	return s
}

// kind reads a type; 0 only where it is optional.
func (d *decoder) kind(optional bool) vfs.Type {
	t := vfs.Type(d.u8())
	if t > vfs.FIFO || t == 0 && !optional {
		d.fail("type %d", t)
	}
	return t
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// close is the first mistake; bytes that are left over are one.
func (d *decoder) close() error {
	if len(d.b) > 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	return d.err
}

func decodeNode(key, value []byte) (Node, error) {
	r, err := parseKey(key)
	if err != nil {
		return Node{}, err
	}
	d := open(key, value)
	n := Node{ID: r.node, Type: d.kind(false)}
	n.Birth = vfs.Birth{Volume: d.u64(), Ino: d.u64(), Gen: d.u32(), Sub: d.u32()}
	for range d.count(MaxCopies) {
		n.Copies = append(n.Copies, Copy{d.id(), Identity{d.u64(), int64(d.u64()), d.u32(), d.u64()}})
	}
	for range d.count(MaxPlaces) {
		n.Places = append(n.Places, Place{d.id(), d.name(false)})
	}
	return n, d.close()
}

// count reads how many of something follow.
func (d *decoder) count(limit int) int {
	n := int(d.u16())
	if n > limit {
		d.fail("%d of something that has at most %d", n, limit)
	}
	if d.err != nil {
		return 0
	}
	return n
}

func decodeEntry(key, value []byte) (Entry, error) {
	r, err := parseKey(key)
	if err != nil {
		return Entry{}, err
	}
	d := open(key, value)
	e := Entry{Cookie: r.cookie, Type: d.kind(true), Child: d.id(), Volumes: d.volumes(), Name: d.name(false), On: d.name(true)}
	return e, d.close()
}

func decodeCopy(key, value []byte) (storedCopy, error) {
	r, err := parseKey(key)
	if err != nil {
		return storedCopy{}, err
	}
	d := open(key, value)
	var c storedCopy
	c.Volume = r.volume
	c.Version = Version{d.u64(), d.time(), d.time()}
	c.Listed = d.time()
	flags := d.u8()
	if flags&^(flagProof|flagComplete|flagSettled) != 0 {
		d.fail("flags %x", flags)
	}
	c.Proof, c.Complete, c.Settled = flags&flagProof != 0, flags&flagComplete != 0, flags&flagSettled != 0
	c.session = d.u32()
	return c, d.close()
}

func decodeCollision(key, value []byte) (Collision, error) {
	r, err := parseKey(key)
	if err != nil {
		return Collision{}, err
	}
	d := open(key, value)
	c := Collision{r.name, vfs.Cookie(d.u64())}
	if err := checkCookie(c.Cookie); err != nil {
		d.fail("%w", err)
	}
	return c, d.close()
}
