package rpc

import (
	"testing"
	"time"

	"sheaf/nfsd/rpc/rpctest"
)

// TestReaderRunsAlone: calls that come one at a time are run by the reader (R13). Where the machine keeps him from coming
// back in time he hands some over, and tries again.
func TestReaderRunsAlone(t *testing.T) {
	s, addr := startServer(t, Config{Programs: testPrograms()})
	c := dial(t, addr)
	eventually(t, "a call to be run by the reader", func() bool {
		if _, err := c.Call(t.Context(), procWorker, []byte("0123")); err != nil {
			t.Fatal(err)
		}
		return s.Stats().Inline > 0
	})
}

// TestRelieved: a reader in a call that does not end counts as a worker, its connection is read by another, and what
// waits for a worker has its turn when the call ends (R13).
func TestRelieved(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), MaxWorkers: 1})
	first, second := dialRaw(t, addr), dial(t, addr)
	send(t, first, record(1, procGate, []byte("gate")))
	wait(t, w.entered)
	eventually(t, "the call to count as a worker's", func() bool {
		s.pool.mu.Lock()
		defer s.pool.mu.Unlock()
		return s.pool.n-len(s.pool.idle) >= s.pool.max
	})
	send(t, first, record(2, procEcho, nil))
	if xid, _ := receive(t, first); xid != 2 {
		t.Errorf("answered %d while call 1 waits", xid)
	}
	later := second.Send(rpctest.Header{XID: 3, Prog: testProg, Vers: 3, Proc: procWorker}, nil)
	eventually(t, "the call to wait for a worker", func() bool {
		s.pool.mu.Lock()
		defer s.pool.mu.Unlock()
		return s.pool.first != nil
	})
	w.gates <- struct{}{}
	if _, err := later(t.Context()); err != nil {
		t.Error(err)
	}
	if xid, res := receive(t, first); xid != 1 || string(res) != "gate" {
		t.Errorf("answered %d with %q", xid, res)
	}
	if n := s.Stats().InFlight; n != 0 {
		t.Errorf("%d calls in flight", n)
	}
}

// TestCaution: which calls the reader runs himself, after what.
func TestCaution(t *testing.T) {
	const brief, long = time.Microsecond, briefCall
	refusals := func(k *caution, others bool) (n int) {
		for !k.runsHere(others, false) {
			n++
		}
		return n
	}
	tests := map[string]struct {
		do            func(k *caution)
		alone, beside int
	}{
		"at first":                 {func(*caution) {}, 0, 0},
		"brief":                    {func(k *caution) { k.ran(brief, false); k.looked(true) }, 0, 0},
		"waits":                    {func(k *caution) { k.ran(brief, true); k.looked(true) }, 0, wary},
		"long":                     {func(k *caution) { k.ran(long, false); k.looked(false) }, 0, wary},
		"long, with input":         {func(k *caution) { k.ran(long, false); k.looked(true) }, wary, wary},
		"long, input at next look": {func(k *caution) { k.ran(long, false); k.looked(false); k.looked(true) }, 0, wary},
		"relieved":                 {func(k *caution) { k.relieved() }, wary, wary},
		"twice": {func(k *caution) {
			for range 2 {
				k.ran(long, false)
				k.looked(true)
			}
		}, 2 * wary, 2 * wary},
		"brief in between": {func(k *caution) {
			k.ran(long, false)
			k.ran(brief, false)
			k.looked(false)
			k.ran(long, false)
			k.looked(false)
		}, 0, wary},
		"always": {func(k *caution) {
			for range 100 {
				k.relieved()
			}
		}, wariest, wariest},
	}
	var fresh caution
	if fresh.runsHere(true, true) || !fresh.runsHere(false, true) || !fresh.runsHere(true, false) {
		t.Error("of a large call and a small one, beside others and alone, not just the large one beside others is handed over")
	}
	for name, tt := range tests {
		var alone, beside caution
		tt.do(&alone)
		tt.do(&beside)
		beside.alone = backoff{}
		if n := refusals(&alone, false); n != tt.alone {
			t.Errorf("%s: %d calls are handed over though alone, want %d", name, n, tt.alone)
		}
		if n := refusals(&beside, true); n != tt.beside {
			t.Errorf("%s: %d calls are handed over beside others, want %d", name, n, tt.beside)
		}
	}
}
