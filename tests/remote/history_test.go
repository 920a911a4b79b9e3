package remote

import (
	"flag"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

var historyRounds = flag.Int("remote.rounds", 20, "rounds of each concurrent history")

// history has two clients, on two connections each, do many things at the same time on
// the same names of fs, and checks what they saw.
func history(t *testing.T, fs vfs.FS) {
	t.Helper()
	s := serve(t, fs)
	one := s.mount(t, Options{Conns: 2})
	clients := []*Client{one, s.mount(t, Options{Conns: 2, With: one})}
	vfstest.History(t, clients[0], vfstest.HistoryOptions{
		Options: vfstest.Options{NoACLs: true},
		Rounds:  *historyRounds, Callers: 12, Calls: 12,
		Reach: func(caller int) vfs.FS { return clients[caller%len(clients)] },
	})
}

// TestHistoryModel is about nfsd alone: the Model does one thing at a time.
func TestHistoryModel(t *testing.T) { history(t, model()) }
