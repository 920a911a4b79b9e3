package peers_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/tests/bench/peers"
	"sheaf/tests/need"
)

const (
	programNFS   = 100003
	programMount = 100005
	version      = 3
	procMount    = 1
	procLookup   = 3
	noEntry      = 2
)

// Each peer serves a file that lies where it serves from, side by side, and nothing of it is left behind.
func TestPeers(t *testing.T) {
	need.Superuser(t, "Ganesha opens files by handle")
	installed(t, "ganesha.nfsd", "rpcbind")
	dir := t.TempDir()
	plain := planted(t, dir, "plain")
	started := map[string]func(run string) (*peers.Server, error){
		"ganesha": func(run string) (*peers.Server, error) { return peers.Ganesha(run, plain) },
	}
	if _, err := exec.LookPath("mergerfs"); err == nil {
		branches := []string{t.TempDir(), planted(t, dir, "branch")}
		started["mergerfs"] = func(run string) (*peers.Server, error) { return peers.MergerFS(run, branches, time.Minute) }
	}
	for name, start := range started {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := filepath.Join(t.TempDir(), "run")
			s, err := start(run)
			if err != nil {
				t.Fatal(err)
			}
			pids := s.Pids()
			found, absent := lookup(t, s, "file"), lookup(t, s, "absent")
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			if found != 0 || absent != noEntry {
				t.Errorf("statuses %d and %d, want 0 and %d", found, absent, noEntry)
			}
			for _, pid := range pids {
				if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
					t.Errorf("process %d is still there: %v", pid, err)
				}
			}
			if err := os.RemoveAll(run); err != nil {
				t.Errorf("a mount is still there: %v", err)
			}
		})
	}
}

func installed(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
}

func planted(t *testing.T, dir, name string) string {
	t.Helper()
	dir = filepath.Join(dir, name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lookup mounts what s exports and looks a name up there; it gives the status.
func lookup(t *testing.T, s *peers.Server, name string) uint32 {
	t.Helper()
	res := call(t, s.MountPort, programMount, procMount, opaque(nil, s.Export))
	if st := binary.BigEndian.Uint32(res); st != 0 {
		t.Fatalf("mount: status %d", st)
	}
	n := binary.BigEndian.Uint32(res[4:])
	res = call(t, s.Port, programNFS, procLookup, opaque(opaque(nil, string(res[8:8+n])), name))
	return binary.BigEndian.Uint32(res)
}

// opaque appends an XDR opaque or string (RFC 4506 section 4.10).
func opaque(b []byte, s string) []byte {
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	return append(b, make([]byte, -len(s)&3)...)
}

func call(t *testing.T, port int, program, proc uint32, args []byte) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := rpctest.Dial(ctx, fmt.Sprintf("127.0.0.1:%d", port), program, version, rpctest.Sys("peer", 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	res, err := c.Call(ctx, proc, args)
	if err != nil || len(res) < 4 {
		t.Fatalf("%d bytes, %v", len(res), err)
	}
	return res
}
