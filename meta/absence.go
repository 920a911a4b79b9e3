package meta

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sheaf/vfs"
)

// DefaultAbsences is Options.Absences where none is given.
const DefaultAbsences = 1_000_000

// Absence is a name that was not in a directory while that had certain versions.
type Absence struct {
	Dir   vfs.NodeID
	Name  vfs.Name
	Proof uint64   // of the versions of all copies of the directory, as the caller sums them; not 0
	Asked vfs.Time // when
}

// storedAbsence is an Absence as it lies in the index.
type storedAbsence struct {
	Absence
	session uint32 // that wrote it
}

// absenceKey is the row of the name with that hash: its slot, of which there are a fixed number. So absences are bounded without
// counting, and an old one goes when another name takes its row.
func (s *Store) absenceKey(hash uint64) []byte {
	g := groupOf(kindAbsence, vfs.NodeID{})
	binary.BigEndian.PutUint64(g[len(g)-8:], hash%uint64(s.opt.Absences))
	return g[:]
}

// Absence is what is known of the name with that hash in dir, if it is known to have been absent. Where the host went down since with
// the index open nothing is: names and versions that were not flushed may be kept or lost each for itself.
func (s *Store) Absence(dir vfs.NodeID, name vfs.Name, hash uint64) (Absence, bool, error) {
	a, ok, err := get(s, s.absenceKey(hash), decodeAbsence)
	if !ok || err != nil || a.Dir != dir || a.Name != name || a.session <= s.cut {
		return Absence{}, false, err
	}
	return a.Absence, true, nil
}

// PutAbsence remembers an absence, in place of whatever the row of its hash has; the same hash finds it. Not ok: the queue
// is half full of what is needed more.
func (s *Store) PutAbsence(ctx context.Context, a *Absence, hash uint64) (ok bool, err error) {
	if a.Name.IsZero() || a.Proof == 0 {
		return false, invalid("absence", errNoName)
	}
	if s.q.len() > queueRows/2 {
		return false, nil
	}
	k := s.absenceKey(hash)
	return true, s.write(ctx, op{k, encodeAbsence(k, &storedAbsence{*a, s.session.Load()})})
}

// PruneAbsences deletes those that drop wants to be gone, that were asked for before a time, or lie beyond Options.Absences, and
// says how many are left. What is still queued is not looked at.
func (s *Store) PruneAbsences(ctx context.Context, before time.Time, drop func(*Absence) bool) (kept int, err error) {
	old, after := vfs.TimeOf(before), []byte{kindAbsence}
	for more := true; more; {
		var gone []op
		if gone, after, more, err = s.prunePage(after, func(key []byte, a *storedAbsence) bool {
			slot := binary.BigEndian.Uint64(key[len(key)-8:])
			return a.Asked.Compare(old) < 0 || a.session <= s.cut || slot >= uint64(s.opt.Absences) || drop != nil && drop(&a.Absence)
		}, &kept); err != nil {
			return kept, err
		}
		if err := s.write(ctx, gone...); err != nil {
			return kept, err
		}
	}
	return kept, nil
}

// prunePage looks at the rows of a page from a key, and gives those that are to go, and where to go on.
func (s *Store) prunePage(from []byte, drop func(key []byte, a *storedAbsence) bool, kept *int) (gone []op, next []byte, more bool, err error) {
	done, err := s.use()
	if err != nil {
		return nil, nil, false, err
	}
	defer done()
	if s.blind() {
		return nil, nil, false, nil
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kindAbsence}})
	defer it.Close()
	n := 0
	for it.Seek(from); it.Valid(); it.Next() {
		key := it.Item().KeyCopy(nil)
		if n++; n > page {
			return gone, key, true, nil
		}
		err := it.Item().Value(func(v []byte) error {
			a, err := decodeAbsence(key, v)
			if err != nil || drop(key, &a) {
				gone = append(gone, op{key: key})
			} else {
				*kept++
			}
			return nil
		})
		if err != nil {
			return nil, nil, false, s.readError(key, err)
		}
	}
	return gone, nil, false, nil
}

func encodeAbsence(key []byte, a *storedAbsence) []byte {
	b := append(make([]byte, 0, 64+len(a.Name.String())), a.Dir[:]...)
	b = appendTime(be.AppendUint64(b, a.Proof), a.Asked)
	return appendSum(key, appendName(be.AppendUint32(b, a.session), a.Name))
}

func decodeAbsence(key, value []byte) (storedAbsence, error) {
	if _, err := parseKey(key); err != nil {
		return storedAbsence{}, err
	}
	d := open(key, value)
	a := storedAbsence{Absence: Absence{Dir: d.id(), Proof: d.u64(), Asked: d.time()}}
	a.session = d.u32()
	a.Name = d.name(false)
	if a.Proof == 0 {
		d.fail("no proof")
	}
	return a, d.close()
}

var errBadSlot = errors.New("the slot of an absence has more than 64 bits")
