package share

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/willscott/go-nfs-client/nfs"
	"github.com/willscott/go-nfs-client/nfs/rpc"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/delay"
)

// slowly opens a share whose volumes can be made to hang, with short limits for closing. The test
// serves and closes it.
func slowly(t *testing.T, c Config) (*Share, map[string]*delay.Volume) {
	t.Helper()
	var mu sync.Mutex
	all := map[string]*delay.Volume{}
	s, err := Open(t.Context(), c, Options{
		Logger: testLogger(t), Build: "test",
		decorate: func(name string, v volume.Volume) volume.Volume {
			mu.Lock()
			defer mu.Unlock()
			all[name] = delay.New(v, 1)
			return all[name]
		},
		closing: &closing{control: time.Second, layers: 10 * time.Second, flush: 100 * time.Millisecond, index: 10 * time.Second, volumes: 10 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, all
}

// until waits for what must become true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// openAgain opens the share again, once its volumes' locks were given up, and hands it over.
func openAgain(t *testing.T, c Config, use func(*Share)) {
	t.Helper()
	var s *Share
	until(t, "the volumes' locks are given up", func() (ok bool) {
		var err error
		s, err = Open(t.Context(), c, Options{Logger: testLogger(t)})
		return err == nil
	})
	use(s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// shutdown ends a share, and says how long that took and why it was not well.
func shutdown(t *testing.T, s *Share, calls time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), calls)
	defer cancel()
	done := make(chan error, 1)
	began := time.Now()
	defer func() { t.Logf("Shutdown took %s", time.Since(began)) }()
	go func() { done <- s.Shutdown(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * wait):
		t.Fatal("Shutdown hangs")
		return nil
	}
}

// TestShutdownWhileACallHangs: a call that changes something and hangs in a volume does not keep the
// server from ending; what it may still do is not held to be known by the next.
func TestShutdownWhileACallHangs(t *testing.T) {
	cfg := shareConfig(t, tempDir(t), "a", "b")
	cfg.Exports = []string{"/ *(rw,no_root_squash,insecure)"}
	s, volumes := slowly(t, cfg)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	client, err := rpc.DialTCP("tcp", s.Addr().String(), false)
	if err != nil {
		t.Fatal(err)
	}
	m := nfs.Mount{Client: client}
	root, err := m.Mount("/", rpc.NewAuthUnix("test", uint32(os.Geteuid()), uint32(os.Getegid())).Auth())
	if err != nil {
		t.Fatal(err)
	}
	releaseA, releaseB := volumes["a"].Hang(volume.OpMkdir), volumes["b"].Hang(volume.OpMkdir)
	go func() {
		if _, err := root.Mkdir("d", 0o755); err == nil {
			t.Error("the client was told that the directory was made")
		}
	}()
	hanging := func() int { return volumes["a"].Hanging() + volumes["b"].Hanging() }
	until(t, "a call hangs", func() bool { return hanging() == 1 })

	err = shutdown(t, s, 50*time.Millisecond)
	wantError(t, err, "calls in flight did not finish in time", "1 calls hang in it")
	if err := <-served; err != nil {
		t.Error(err)
	}
	releaseA()
	releaseB()
	openAgain(t, cfg, func(s *Share) {
		if !s.index.Unclean() {
			t.Error("the index was closed as if nothing could change any more")
		}
	})
}

// TestShutdownWhileAFlushHangs: so does a flush of what was written and not committed.
func TestShutdownWhileAFlushHangs(t *testing.T) {
	cfg := shareConfig(t, tempDir(t), "a")
	s, volumes := slowly(t, cfg)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	n := makeFile(t, s, "f")
	if _, _, err := s.FS().Write(t.Context(), vfs.Superuser, n, []byte("text"), 0, vfs.Unstable); err != nil {
		t.Fatal(err)
	}
	release := volumes["a"].Hang(volume.OpSyncFile)
	wantError(t, shutdown(t, s, wait), "flush what was written: it hangs", "1 calls hang in it")
	if err := <-served; err != nil {
		t.Error(err)
	}
	release()
	openAgain(t, cfg, func(s *Share) {
		if !s.index.Unclean() {
			t.Error("the index was closed as if nothing could change any more")
		}
	})
}

func makeFile(t *testing.T, s *Share, name string) vfs.Node {
	t.Helper()
	root, err := s.FS().Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := s.FS().Make(t.Context(), vfs.Superuser, root.Node, vfs.MustName(name), &vfs.How{Type: vfs.Regular})
	if err != nil {
		t.Fatal(err)
	}
	return a.Node
}

// TestStateDirectoryDeleted under a running server: it says so, goes on serving, ends, and leaves
// nothing there.
func TestStateDirectoryDeleted(t *testing.T) {
	cfg := shareConfig(t, tempDir(t), "a", "b")
	s, _ := slowly(t, cfg)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	makeFile(t, s, "before")
	if err := os.RemoveAll(cfg.State); err != nil {
		t.Fatal(err)
	}
	until(t, "it is noticed", func() bool {
		st, err := s.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Index.State == IndexOff && strings.Contains(st.Index.Error, "was deleted or moved")
	})
	makeFile(t, s, "after")
	// Who asks now finds no server, and the volumes in use; he leaves no state directory in the server's way.
	if in, err := Inspect(t.Context(), cfg, Options{Logger: testLogger(t)}); err == nil {
		t.Error("the volumes of a running server were opened a second time", in.Close())
	}
	if err := shutdown(t, s, wait); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(cfg.State); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory: %v", err)
	}
	openAgain(t, cfg, func(s *Share) {
		for _, name := range []string{"before", "after"} {
			if _, err := s.Where(t.Context(), filepath.Join("/", name), false); err != nil {
				t.Error(err)
			}
		}
	})
}
