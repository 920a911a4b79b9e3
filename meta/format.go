package meta

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"sheaf/vfs"
)

// Format is the version of keys and records that this code writes. It changes whenever
// they do, together with an entry in migrations.
const Format = 1

// migrations turn an index of one version into one of the next.
var migrations = map[uint32]func(*badger.DB) error{}

// The rows of kindMeta. Their values are a number[4] and its sum.
var (
	keyFormat = []byte{kindMeta, 'f', 'o', 'r', 'm', 'a', 't'}
	keyOpen   = []byte{kindMeta, 'o', 'p', 'e', 'n'}
)

// begin reads what the last owner left, brings it to Format and notes that the index is
// open.
func (s *Store) begin() error {
	format, known, err := s.number(keyFormat)
	if err != nil {
		return damaged("%w", err)
	}
	if !known {
		format = Format
	}
	if format > Format {
		return s.openError(fmt.Errorf("its format is %d and this program knows formats up to %d", format, Format),
			"run the newer program, or delete the directory: the index is made anew from the volumes")
	}
	for ; format < Format; format++ {
		migrate := migrations[format]
		if migrate == nil {
			return s.openError(fmt.Errorf("there is no way from its format %d to %d", format, format+1),
				"delete the directory: the index is made anew from the volumes")
		}
		if err := migrate(s.db); err != nil {
			return s.openError(fmt.Errorf("migrate from format %d: %w", format, err), "")
		}
	}
	was, _, err := s.number(keyOpen)
	s.unclean = err != nil || was != 0
	return s.setNumbers(map[string]uint32{string(keyFormat): Format, string(keyOpen): 1})
}

// end notes that the index was closed.
func (s *Store) end() error { return s.setNumbers(map[string]uint32{string(keyOpen): 0}) }

// number reads a row of the index itself.
func (s *Store) number(key []byte) (n uint32, known bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			d := open(key, v)
			n = d.u32()
			return d.close()
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, &CorruptError{string(key[1:]), err}
	}
	return n, true, nil
}

// setNumbers writes rows of the index itself, in one transaction.
func (s *Store) setNumbers(rows map[string]uint32) error {
	err := s.db.Update(func(txn *badger.Txn) error {
		for k, n := range rows {
			key := []byte(k)
			if err := txn.Set(key, appendSum(key, be.AppendUint32(nil, n))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return &vfs.Error{Status: vfs.IO, Op: "write index", Object: s.opt.Dir, Err: err}
	}
	return nil
}
