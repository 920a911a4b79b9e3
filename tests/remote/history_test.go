package remote

import (
	"flag"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

var historyRounds = flag.Int("remote.rounds", 20, "rounds of each concurrent history")

// histories has two clients, on two connections each, do many things at the same
// time on the same names, and checks what they saw.
func histories(t *testing.T, s *server, tornReads bool) {
	t.Helper()
	one := s.mount(t, Options{Conns: 2})
	two := s.mount(t, Options{Conns: 2, With: one})
	reach := []vfs.FS{one, two}
	if tornReads {
		reach = vfstest.Ordered(reach...)
	}
	vfstest.History(t, reach[0], vfstest.HistoryOptions{
		Options: noACLs,
		Rounds:  *historyRounds, Callers: 12, Calls: 12,
		Reach: func(caller int) vfs.FS { return reach[caller%2] },
	})
}

// TestHistoryModel is about nfsd alone: the Model does one thing at a time.
func TestHistoryModel(t *testing.T) { histories(t, serve(t, model()), false) }

// TestHistoryUnion is about all of it.
func TestHistoryUnion(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		t.Helper()
		histories(t, serveShare(t, k).server, k.local)
	})
}
