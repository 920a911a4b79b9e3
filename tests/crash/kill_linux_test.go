package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sheaf/tests/e2e/server"
	"sheaf/tests/need"
	"sheaf/tests/remote"
	"sheaf/vfs"
)

func TestMain(m *testing.M) {
	code := m.Run()
	server.RemoveBinary()
	os.Exit(code)
}

// handCount is how many hands work at once, and patience how long a call of theirs asks again.
const (
	handCount = 8
	patience  = 2 * time.Minute
)

func connect(t *testing.T, s *server.Server, with *remote.Client) *remote.Client {
	t.Helper()
	c, err := remote.Mount(t.Context(), remote.Options{
		Conns: handCount, Patience: patience, With: with,
		Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// who acts: root's volumes hold what anybody makes, another's only what is its own.
func who() *vfs.Who {
	if os.Getuid() == 0 {
		return &vfs.Who{UID: 1000, GID: 1000}
	}
	return &vfs.Who{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
}

// volumesIn makes volumes beneath a directory.
func volumesIn(t *testing.T, top string, n int) []server.Volume {
	t.Helper()
	var list []server.Volume
	for i := range n {
		v := server.Volume{Name: fmt.Sprintf("v%d", i), Dir: filepath.Join(top, fmt.Sprintf("v%d", i))}
		if err := os.MkdirAll(v.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(v.Dir, 0o777); err != nil { // the first of them is the root of the share
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// clean wants sheaf check to find nothing.
func clean(t *testing.T, s *server.Server) {
	t.Helper()
	out, err := s.Ask("check", "--json")
	if err != nil {
		t.Errorf("sheaf check: %v\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		var f struct{ Kind, Path, What string }
		if json.Unmarshal([]byte(line), &f) == nil && f.What != "" {
			t.Logf("sheaf check: %s", strings.TrimSpace(line))
		}
	}
}

// TestKills kills the server at random moments while clients work, half of the times with its state directory
// deleted before it starts again. They keep their handles: nothing is ever stale, nothing that was acknowledged is
// missing, and what was asked again was not done twice.
func TestKills(t *testing.T) {
	kills, chance := need.Number(t, "SHEAF_CRASH_KILLS", 12), rand.New(rand.NewPCG(need.Seed(t, "SHEAF_CRASH_SEED", rand.Uint64()), 0))
	state := t.TempDir()
	s := server.Start(t, server.Options{Volumes: volumesIn(t, t.TempDir(), 3), State: state})
	c := connect(t, s, nil)
	hands, err := newHands(t.Context(), c, who(), chance.Uint64(), handCount)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for done := 0; done < kills && !t.Failed(); {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, h := range hands {
			wg.Go(func() { h.work(context.Background(), stop) })
		}
		for range min(25, kills-done) { // then all is compared
			time.Sleep(time.Duration(chance.Int64N(int64(60 * time.Millisecond))))
			s.Kill()
			if done++; done%2 == 0 {
				if err := os.RemoveAll(state); err != nil {
					t.Fatal(err)
				}
			}
			s.Restart()
		}
		close(stop)
		wg.Wait()
		for _, h := range hands {
			if h.err != nil {
				t.Error(h.err)
			} else if err := h.verify(t.Context(), c, 0, 0); err != nil {
				t.Error(err)
			}
			h.mu.Lock()
			h.steps = h.steps[len(h.steps)-1:]
			h.mu.Unlock()
		}
		clean(t, s)
	}
	for _, v := range c.Violations() {
		t.Error(v)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d kills in %v, %d connections made again, JUKEBOX %d times", kills, time.Since(begin), c.Redials(), c.Jukeboxes())
	s.Stop()
}
