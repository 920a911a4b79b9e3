package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Damaged is what the name of an index ends in that was set aside since it could not be opened.
const Damaged = ".damaged"

// attemptName is a file in Options.Dir with a byte for each time the index was begun to be opened
// since one was finished.
const attemptName = "opening"

// attemptsMax is how many openings may end with their process before the index is taken for damaged:
// some damages end the process within Badger (log.Fatal, a panic of a goroutine of its), but so
// may whoever stops a server that starts.
const attemptsMax = 2

// probeSize is what is written beside an index to see whether it is the disk that refuses, in bytes.
const probeSize = 64 << 10

// damageError says that what the index holds cannot be used, and that a new one can take its place.
type damageError struct{ err error }

func (d *damageError) Error() string { return d.err.Error() }
func (d *damageError) Unwrap() error { return d.err }

func damaged(format string, args ...any) error { return &damageError{fmt.Errorf(format, args...)} }

// openOrReplace opens the index that is there. One that is damaged is set aside, since it can be made
// anew from the volumes, and an empty one is opened.
func (s *Store) openOrReplace() error {
	err := s.openDB()
	var d *damageError
	if err == nil || !errors.As(err, &d) {
		return err
	}
	if perr := s.probe(); perr != nil {
		return s.openError(errors.Join(err, perr), "see that its file system can be written and has room")
	}
	aside := filepath.Clean(s.opt.Dir) + Damaged
	if err := os.RemoveAll(aside); err != nil {
		return s.openError(errors.Join(d, err), "delete the directory: the index is made anew from the volumes")
	}
	if err := s.moveTo(aside); err != nil {
		return s.openError(errors.Join(d, err), "delete the directory: the index is made anew from the volumes")
	}
	if err := s.openDB(); err != nil { // it is not what lay there
		return s.openError(errors.Join(d, err, s.moveBack(aside)), "see that its file system can be written and has room")
	}
	s.log.Warn("the index was damaged and is set aside; nothing is lost: a new one is made from the volumes, and what it is not yet told is looked up there",
		"op", "open index", "dir", s.opt.Dir, "aside", aside, "err", d.err)
	return nil
}

// moveTo renames the directory and makes another in its place, whose lock is taken before the old
// one's is given up.
func (s *Store) moveTo(aside string) error {
	if err := os.Rename(s.opt.Dir, aside); err != nil {
		return err
	}
	if err := os.MkdirAll(s.opt.Dir, 0o700); err != nil {
		return errors.Join(err, os.Rename(aside, s.opt.Dir))
	}
	old := s.owner
	if err := s.own(); err != nil {
		return err
	}
	return old.Close()
}

// moveBack undoes moveTo.
func (s *Store) moveBack(aside string) error {
	if err := os.RemoveAll(s.opt.Dir); err != nil {
		return err
	}
	if err := os.Rename(aside, s.opt.Dir); err != nil {
		return err
	}
	old := s.owner
	if err := s.own(); err != nil {
		return err
	}
	return old.Close()
}

// probe sees whether files can be made beside the index: Badger's errors do not tell a damaged file from
// a disk that refuses.
func (s *Store) probe() (err error) {
	free, err := s.opt.free(s.opt.Dir)
	if err != nil {
		return err
	}
	if free < s.opt.MinFree/4 {
		return fmt.Errorf("only %d MiB are free", free>>20)
	}
	f, err := os.CreateTemp(s.opt.Dir, "probe")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err = f.Write(make([]byte, probeSize)); err != nil {
		return err
	}
	return f.Sync()
}

// openDB opens what is there and brings it to Format. Its errors are a *damageError, or not to be mended
// by another index.
func (s *Store) openDB() (err error) {
	tried, err := s.attempt()
	if err != nil {
		return s.openError(err, "")
	}
	defer func() { err = errors.Join(err, os.Remove(s.path(attemptName))) }()
	if tried >= attemptsMax {
		return damaged("the last %d starts ended while it was opened", tried)
	}
	if err := s.inspect(); err != nil {
		return s.refusal(err)
	}
	err = noPanic(func() (err error) {
		s.db, err = badger.Open(settings(s.opt.Dir, s.log))
		return err
	})
	if err != nil {
		return s.refusal(err)
	}
	if err := noPanic(s.begin); err != nil {
		return errors.Join(err, noPanic(s.db.Close))
	}
	return nil
}

// refusal makes of an error of the files either damage or, as far as it still can be told, a refusal of the
// system.
func (s *Store) refusal(err error) error {
	for _, system := range []error{fs.ErrPermission, errNewer} {
		if errors.Is(err, system) {
			return s.openError(err, "run the newer program, or see whose the directory is; it can be deleted: the index is made anew from the volumes")
		}
	}
	return damaged("%w", err)
}

func (s *Store) path(name string) string { return filepath.Join(s.opt.Dir, name) }

// attempt notes that the index is about to be opened, and is how many times that was noted before.
func (s *Store) attempt() (before int64, err error) {
	f, err := os.OpenFile(s.path(attemptName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	_, err = f.Write([]byte{'.'})
	return st.Size(), err
}

// noPanic is f, whose panics are damage: also those at a fault in a mapped file.
func noPanic(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damaged("badger panics: %v", r)
		}
	}()
	return f()
}

// inspect looks for what Badger answers by ending the process or by going on without what is missing, and takes
// away files that a kill left without a byte.
func (s *Store) inspect() error {
	files, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		return err
	}
	size := make(map[string]int64, len(files))
	for _, f := range files {
		st, err := f.Info()
		if err != nil {
			return err
		}
		size[f.Name()] = st.Size()
	}
	tables, err := s.manifest(size)
	if err != nil {
		return err
	}
	for name, n := range size {
		if ext := filepath.Ext(name); (ext == ".mem" || ext == ".vlog") && n < logHeader {
			if n > 0 {
				return fmt.Errorf("%s has %d bytes", name, n)
			}
			// A kill between open(2) and ftruncate(2) of a new one. Badger refuses an empty log of a memtable.
			if err := os.Remove(s.path(name)); err != nil {
				return err
			}
		}
	}
	for id := range tables {
		if err := inspectTable(s.path(fmt.Sprintf("%06d.sst", id))); err != nil {
			return err
		}
	}
	return nil
}

// logHeader is what a log of Badger's at least has: the number of a key and a nonce, in bytes.
const logHeader = 20

// manifestVersion is that of the MANIFEST which this Badger writes.
const manifestVersion = 8

var errNewer = errors.New("a newer program has written it")

// manifest reads which tables there are. Badger takes a MANIFEST that is not there for a new index and one
// whose end was cut off for an older one, and removes the tables that it then does not name: listings
// would be complete and lack names.
func (s *Store) manifest(size map[string]int64) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(s.path(badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		for name := range size {
			if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".mem") {
				return nil, fmt.Errorf("%s is there without a %s", name, badger.ManifestFilename)
			}
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	var magic [8]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil {
		return nil, fmt.Errorf("%s: %w", badger.ManifestFilename, err)
	}
	if version := binary.BigEndian.Uint16(magic[6:]); string(magic[:4]) == "Bdgr" && version > manifestVersion {
		return nil, fmt.Errorf("%s has version %d: %w", badger.ManifestFilename, version, errNewer)
	}
	m, end, err := badger.ReplayManifestFile(f, 0, settings(s.opt.Dir, s.log))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", badger.ManifestFilename, err)
	}
	if n := size[badger.ManifestFilename]; end != n {
		return nil, fmt.Errorf("%s has %d bytes, of which %d can be read", badger.ManifestFilename, n, end)
	}
	return m.Tables, nil
}
