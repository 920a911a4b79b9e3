package meta

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"sheaf/vfs"
)

// errGone is why the index is off once its directory was deleted or moved.
var errGone = errors.New("its directory was deleted or moved while it was in use")

// gone reports whether the directory is not the one that was opened any more. What Badger makes
// anew would then fail, or land in an index that somebody else has begun there. Once gone it
// stays gone.
func (s *Store) gone() bool {
	if s.vanished.Load() {
		return true
	}
	mine, err := s.owner.Stat()
	if err != nil {
		return false // nothing is known by that
	}
	there, err := os.Lstat(filepath.Join(s.opt.Dir, lockName))
	if err == nil && os.SameFile(mine, there) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	// The lock's file went with the directory, which may be put back: it was not kept up then. What is in
	// its place may be another's.
	if _, err := s.owner.WriteAt([]byte(goneText), 0); err != nil {
		s.log.Error("an index that was moved cannot be told from a good one: do not put it back", "op", "write index", "dir", s.opt.Dir, "err", err)
	}
	if s.vanished.CompareAndSwap(false, true) {
		err := error(&vfs.Error{
			Status: vfs.IO, Op: "write index", Object: s.opt.Dir, Err: errGone,
			Do: "no file is touched by that; start the server again when it suits, until then Sheaf asks the volumes each time",
		})
		s.failed.CompareAndSwap(nil, &err)
		s.log.Error("the index is off: its directory was deleted or moved; Sheaf goes on and asks the volumes each time. Start the server again when it suits",
			"op", "write index", "dir", s.opt.Dir)
	}
	return true
}

// goneText is in the lock's file of an index whose directory was moved while it was in use.
const goneText = "moved while in use\n"

// putBack sees to it that an index which was moved while it was in use, and put back, is not held to
// have been kept up. Needs the lock.
func (s *Store) putBack() error {
	st, err := s.owner.Stat()
	if err != nil || st.Size() == 0 {
		return err
	}
	s.fall()
	return s.owner.Truncate(0)
}

// closeGone closes Badger without its directory. Its Close writes a table, and tries again for ever
// where that cannot be done; so it gets its directory back for the moment, unless somebody has made
// another there: then it is left open until the process ends.
func (s *Store) closeGone() error {
	made, err := makeAll(s.opt.Dir)
	if err != nil {
		return &vfs.Error{Status: vfs.IO, Op: "close index", Object: s.opt.Dir, Err: errors.Join(errGone, err), Do: "there is another already; no file is lost, and the next start begins a new index"}
	}
	// What it says of files that are not there any more tells nobody anything.
	_ = noPanic(s.db.Close)
	err = os.RemoveAll(s.opt.Dir)
	for _, dir := range made { // if nobody has put anything there
		_ = os.Remove(dir)
	}
	return err
}

// makeAll makes dir, which must not be there, and what it lies in; made are those, innermost first.
func makeAll(dir string) (made []string, err error) {
	parent := filepath.Dir(dir)
	if _, err := os.Lstat(parent); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if made, err = makeAll(parent); err != nil {
			return made, err
		}
		made = append([]string{parent}, made...)
	}
	return made, os.Mkdir(dir, 0o700)
}
