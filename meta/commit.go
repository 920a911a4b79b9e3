package meta

import (
	"time"

	"github.com/dgraph-io/badger/v4"

	"sheaf/vfs"
)

// commitLoop is the one writer of the database.
func (s *Store) commitLoop() {
	t := time.NewTimer(linger)
	defer t.Stop()
	for range s.q.work {
		for {
			s.q.ripen(t)
			batch, done := s.q.take()
			if done {
				return
			}
			if len(batch) == 0 {
				break
			}
			s.commit(batch)
			s.q.finish(batch)
		}
	}
}

// commit stores a batch in one synced transaction. If that fails, what was written is lost,
// and from then on the index says that it knows nothing: an old row could be wrong.
func (s *Store) commit(batch []request) {
	s.space.writing.Lock() // not while everything is dropped
	defer s.space.writing.Unlock()
	// The watcher looks once a second, and somebody else can take all the space at once (fallocate): a page
	// of a mapped file that cannot be had then kills the process.
	if s.gone() {
		return
	}
	if _, err := s.notice(); err != nil {
		s.log.Error("cannot tell how much space the index has left", "op", "statfs", "err", err)
	}
	if s.blind() {
		return
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, r := range s.q.kept(batch) {
		for _, o := range r.ops {
			if err := stage(txn, o); err != nil {
				s.fail(err)
				return
			}
		}
	}
	if err := txn.Commit(); err != nil {
		s.fail(err)
	}
}

func stage(txn *badger.Txn, o op) error {
	if o.value == nil {
		return txn.Delete(o.key)
	}
	return txn.Set(o.key, o.value)
}

func (s *Store) fail(err error) {
	err = &vfs.Error{
		Status: vfs.IO, Op: "write index", Object: s.opt.Dir, Err: err,
		Do: "look after the file system of the state directory and restart; until then Sheaf asks the volumes each time",
	}
	s.fall() // before anybody learns of it
	if s.failed.CompareAndSwap(nil, &err) {
		s.log.Error("the index failed", "op", "write index", "err", err)
	}
}
