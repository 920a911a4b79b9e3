package meta

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"

	"github.com/dgraph-io/badger/v4"

	"sheaf/vfs"
)

// Format is the version of keys and records that this code writes. It changes whenever
// they do, together with an entry in migrations.
//
//	1  an entry says one volume
//	2  an entry says all its volumes; what is known of a copy says how far it can be believed
//	3  there are rows of absent names
const Format = 3

// migrations turn an index of one version into one of the next. A kill may come between any two of their
// transactions: the next start does them again.
var migrations = map[uint32]func(*badger.DB) error{
	1: dropListings,
	2: func(*badger.DB) error { return nil }, // an older program would take the new rows for damage
}

// dropListings forgets all listings: format 1 does not say on which volumes beside the first a directory lies
// (and no program that wrote it kept any). Nodes and cookies stay.
func dropListings(db *badger.DB) error {
	for {
		var keys [][]byte
		err := db.View(func(txn *badger.Txn) error {
			it := txn.NewIterator(badger.IteratorOptions{})
			defer it.Close()
			for _, kind := range []byte{kindCopy, kindEntry} { // the copies first: no listing stays that lacks names
				for it.Seek([]byte{kind}); it.ValidForPrefix([]byte{kind}) && len(keys) < page; it.Next() {
					keys = append(keys, it.Item().KeyCopy(nil))
				}
			}
			return nil
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		err = db.Update(func(txn *badger.Txn) error {
			for _, k := range keys {
				if err := txn.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// The rows of kindMeta. Their values are a number[4] and its sum.
var (
	keyFormat  = []byte{kindMeta, 'f', 'o', 'r', 'm', 'a', 't'}
	keyOpen    = []byte{kindMeta, 'o', 'p', 'e', 'n'}
	keySession = []byte{kindMeta, 's', 'e', 's', 's', 'i', 'o', 'n'}
	keyVoid    = []byte{kindMeta, 'v', 'o', 'i', 'd'}
	keyCut     = []byte{kindMeta, 'c', 'u', 't'}
	keyBoot    = []byte{kindMeta, 'b', 'o', 'o', 't'}
	keyLost    = []byte{kindMeta, 'l', 'o', 's', 't'}
	keyUnder   = []byte{kindMeta, 'u', 'n', 'd', 'e', 'r'}
	keyWhole   = []byte{kindMeta, 'w', 'h', 'o', 'l', 'e'}
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
	if err := s.beginSession(known); err != nil {
		return err
	}
	if err := s.setNumbers(s.numbers()); err != nil {
		return err
	}
	if s.space.void.Load() { // nothing is written
		return nil
	}
	return s.stand()
}

// beginSession reads how the last session ended, and what is believed after it.
func (s *Store) beginSession(known bool) error {
	var open, whole, boot, session, lost uint32
	for _, n := range []struct {
		to  *uint32
		key []byte
	}{{&open, keyOpen}, {&whole, keyWhole}, {&session, keySession}, {&s.void, keyVoid}, {&s.cut, keyCut}, {&lost, keyLost}, {&boot, keyBoot}} {
		v, _, err := s.number(n.key)
		if err != nil {
			return damaged("%w", err)
		}
		*n.to = v
	}
	standing, err := s.standing()
	if err != nil {
		return s.openError(err, "")
	}
	s.unclean = open != 0
	if known && s.unclean {
		s.void = session
		if boot != s.boot() {
			s.cut = session
		}
	}
	if known && !standing {
		s.void, lost = session, session
	}
	s.whole.Store(whole != 0 && !s.unclean && standing)
	s.lost.Store(lost)
	s.session.Store(session + 1)
	return s.beginID()
}

// boot tells the runs of the host apart.
func (s *Store) boot() uint32 {
	name := s.opt.Boot
	if name == "" {
		name = bootName()
	}
	return crc32.Checksum([]byte(name), castagnoli)
}

// numbers are the rows of an index that is open.
func (s *Store) numbers() map[string]uint32 {
	return map[string]uint32{
		string(keyFormat): Format, string(keyOpen): 1, string(keySession): s.session.Load(),
		string(keyVoid): s.void, string(keyCut): s.cut, string(keyBoot): s.boot(), string(keyLost): s.lost.Load(), string(keyWhole): 0,
	}
}

// end notes that the index was closed.
func (s *Store) end() error {
	whole := uint32(0)
	if s.whole.Load() {
		whole = 1
	}
	return s.setNumbers(map[string]uint32{string(keyOpen): 0, string(keyWhole): whole})
}

// Under notes under which settings of its owner, by a sum of them, listings are written from now on, and reports whether those
// that are there were written under the same. It is for who has just opened the index.
func (s *Store) Under(settings uint32) (same bool, err error) {
	was, known, err := s.number(keyUnder)
	if err != nil || known && was == settings {
		return err == nil, err
	}
	return false, s.setNumbers(map[string]uint32{string(keyUnder): settings})
}

// standingName is a file in Options.Dir that is there as long as every change of a settled copy reaches the
// disk before the call that says so returns. It is removed, which needs no room, when the index cannot be
// written any more: what lies there as settled is not believed then.
const standingName = "standing"

func (s *Store) standing() (bool, error) {
	_, err := os.Lstat(s.path(standingName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// stand makes that file.
func (s *Store) stand() error {
	f, err := os.OpenFile(s.path(standingName), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(f.Close(), s.syncDir())
	}
	if err != nil {
		return s.openError(err, "see that the file system of the state directory can be written")
	}
	return nil
}

// fall removes it.
func (s *Store) fall() {
	err := os.Remove(s.path(standingName))
	if err == nil {
		err = s.syncDir()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("the index cannot be told from a good one: delete the state directory before the next start",
			"op", "write index", "dir", s.opt.Dir, "err", err)
	}
}

func (s *Store) syncDir() error {
	d, err := os.Open(s.opt.Dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

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
