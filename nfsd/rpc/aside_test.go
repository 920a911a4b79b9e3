package rpc

import (
	"sync"
	"testing"
	"time"
)

// hangs are calls 0 to n-1 of proc on nc, that hang when it returns: all of them were begun.
func hangs(t *testing.T, w *world, send func(xid uint32), n int) {
	t.Helper()
	go func() {
		for i := range uint32(n) {
			send(i)
		}
	}()
	for range n {
		wait(t, w.entered)
	}
}

// TestSetAside: calls that hang keep neither others of their connection waiting, nor those of a server with few
// workers, however many they are and whatever they hold (R12); their replies come when they end.
func TestSetAside(t *testing.T) {
	for name, cfg := range map[string]Config{
		"calls":   {MaxCalls: 8},
		"bytes":   {MaxConnBytes: 400 << 10},
		"workers": {MaxWorkers: 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			cfg.Programs, cfg.SlowAfter = w.programs(), 20*time.Millisecond
			s, addr := startServer(t, cfg)
			nc := dialRaw(t, addr)
			const n = 40
			args := make([]byte, 128<<10)
			hangs(t, w, func(xid uint32) { send(t, nc, record(xid, procGate, args)) }, n)
			eventually(t, "all to be set aside", func() bool { return s.Stats().Slow == n })
			for i := range uint32(20) {
				for _, proc := range []uint32{procEcho, procWorker} {
					send(t, nc, record(n+i, proc, []byte("lively!!")))
					if xid, _ := receive(t, nc); xid != n+i {
						t.Fatalf("reply to %d, want %d", xid, n+i)
					}
				}
			}
			if st := s.Stats(); st.InFlight != n || st.BytesFlight < n<<17 {
				t.Errorf("%d calls and %d bytes in flight: those set aside are", st.InFlight, st.BytesFlight)
			}
			close(w.gates)
			seen := make(map[uint32]bool)
			for range n {
				xid, _ := receive(t, nc)
				seen[xid] = true
			}
			if len(seen) != n {
				t.Errorf("%d of %d calls were answered", len(seen), n)
			}
			eventually(t, "nothing to be set aside", func() bool {
				calls, bytes := s.aside.load()
				return calls == 0 && bytes == 0
			})
		})
	}
}

// TestCrowded: where no more can be set aside, who crowds his connection is turned away before a further call begins; what is
// answered inline goes on, a call that runs already is not told to come again, and in the end all is as it was.
func TestCrowded(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), MaxCalls: 8, MaxSlow: 8, SlowAfter: 20 * time.Millisecond})
	nc := dialRaw(t, addr)
	const n = 9 // 4 aside, 5 in the connection's 8 places: the last one makes the crowd
	hangs(t, w, func(xid uint32) { send(t, nc, record(xid, procBusy, nil)) }, n)
	eventually(t, "the connection to be crowded", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			return c.crowded.Load()
		}
		return false
	})
	send(t, nc, record(n, procBusy, nil))
	if xid, res := receive(t, nc); xid != n || string(res) != busyText {
		t.Errorf("reply %q to %d", res, xid)
	}
	send(t, nc, record(3, procBusy, nil)) // a retransmission
	send(t, nc, record(n+1, procEcho, []byte("lively!!")))
	if xid, _ := receive(t, nc); xid != n+1 {
		t.Errorf("reply to %d, want %d", xid, n+1)
	}
	if st := s.Stats(); st.Slow != 4 || st.InFlight != n || st.TurnedAway != 1 {
		t.Errorf("%d set aside, %d in flight, %d turned away", st.Slow, st.InFlight, st.TurnedAway)
	}
	close(w.gates)
	for range n {
		if _, res := receive(t, nc); string(res) == busyText {
			t.Error("a call that had begun was turned away")
		}
	}
	eventually(t, "the crowd to be gone", func() bool {
		send(t, nc, record(n+2, procBusy, nil)) // what was turned away is run when it comes again
		_, res := receive(t, nc)
		return string(res) != busyText
	})
	if runs := w.runs.Load(); runs != n+1 {
		t.Errorf("%d calls ran, want %d", runs, n+1)
	}
}

// TestHungReconnect: a client that comes back on another connection and asks for all that hangs is served there meanwhile (R9).
func TestHungReconnect(t *testing.T) {
	w := newWorld()
	s, addr := startServer(t, Config{Programs: w.programs(), MaxCalls: 8, SlowAfter: 20 * time.Millisecond})
	const n = 30
	nc := dialRaw(t, addr)
	hangs(t, w, func(xid uint32) { send(t, nc, record(xid, procGateC, nil)) }, n)
	nc.Close()
	again := dialRaw(t, addr)
	eventually(t, "the first connection to be seen to end", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			if c.peer.gone() {
				return true
			}
		}
		return false
	})
	for i := range uint32(n) {
		send(t, again, record(i, procGateC, nil))
	}
	send(t, again, record(n, procEcho, []byte("lively!!")))
	if xid, _ := receive(t, again); xid != n {
		t.Fatalf("reply to %d, want %d", xid, n)
	}
	var once sync.Once
	for range n {
		once.Do(func() { close(w.gates) })
		receive(t, again)
	}
	if runs := w.runs.Load(); runs != n {
		t.Errorf("%d calls ran, want %d", runs, n)
	}
}
