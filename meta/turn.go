package meta

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// Turn is one opening of one index, by which its owner signs what it serves: who finds the signature of another
// index, or of an opening that this one knows nothing of, has not been the only one to change it.
type Turn struct {
	Index   [16]byte // drawn when the index was made
	Session uint32   // counts its openings
}

// Turn is this opening of the index. Distrust may make it a later one.
func (s *Store) Turn() Turn { return Turn{s.id, s.session.Load()} }

// Knows reports whether t is of this index, and earlier than Turn. That may not be so of one that is the same: of an
// opening that this index does not remember, as it was put back from a backup.
func (s *Store) Knows(t Turn) bool { return t.Index == s.id && t.Session < s.session.Load() }

// Distrust takes Complete and Settled from all that was written until now, on stable storage: others have changed the volumes,
// up to the turn seen, and what the index says of those that are away may be old. What is proved by a version still is, and what is
// written from now on is believed. An index that takes no rows believes nothing already.
func (s *Store) Distrust(seen Turn) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	s.space.writing.Lock()
	defer s.space.writing.Unlock()
	s.SetWhole(false)
	if s.blind() || s.gone() {
		return nil
	}
	next := s.session.Load()
	// A copy of this index has been at work, or this one was put back from a backup.
	if seen.Index == s.id && seen.Session < math.MaxUint32 {
		next = max(next, seen.Session)
	}
	// Rows that are written meanwhile bear the old number, and are not believed.
	s.lost.Store(next)
	s.session.Store(next + 1)
	return s.setNumbers(map[string]uint32{string(keyLost): next, string(keySession): next + 1, string(keyWhole): 0})
}

// keyID is the row that says which index this is: Turn.Index[16] and a sum.
var keyID = []byte{kindMeta, 'i', 'd'}

// beginID reads which index this is, or draws it.
func (s *Store) beginID() error {
	known := false
	err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(keyID)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			d := open(keyID, v)
			s.id, known = d.id(), true
			return d.close()
		})
	})
	if err != nil {
		return damaged("%w", &CorruptError{string(keyID[1:]), err})
	}
	if known {
		return nil
	}
	rand.Read(s.id[:]) // never fails (crypto/rand)
	return s.putID()
}

// putID writes the row.
func (s *Store) putID() error {
	err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(keyID, appendSum(keyID, s.id[:])) })
	if err != nil {
		return fmt.Errorf("write the index's id: %w", err)
	}
	return nil
}
