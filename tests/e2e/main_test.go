//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/tests/e2e/guest"
	"sheaf/tests/e2e/server"
)

// One guest serves all tests, as each boot costs some seconds; the tests follow one another, as it has one processor.
// What guest and host both see lies under its one shared folder.
var client struct {
	once sync.Once
	g    *guest.Guest
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if client.g != nil {
		client.g.Stop()
	}
	if client.dir != "" {
		os.RemoveAll(client.dir)
	}
	server.RemoveBinary()
	os.Exit(status)
}

func theGuest(t *testing.T) *guest.Guest {
	t.Helper()
	client.once.Do(func() {
		//nolint:usetesting // it outlives the test that happens to come first
		if client.dir, client.err = os.MkdirTemp("", "sheaf-e2e"); client.err != nil {
			return
		}
		if client.err = guest.BuildStatic(probe(), "sheaf/tests/e2e/probe"); client.err != nil {
			return
		}
		client.g, client.err = guest.Boot(guest.Options{Name: "client", Share: []string{client.dir}})
	})
	guest.Require(t, client.err)
	return client.g
}

// probe is the path, on the host and in the guest, of the program that makes the calls a shell cannot.
func probe() string { return filepath.Join(client.dir, "probe") }

// volumes makes empty volumes a, b, c, … on the host.
func volumes(t *testing.T, n int) []server.Volume {
	t.Helper()
	top := t.TempDir()
	list := make([]server.Volume, n)
	for i := range list {
		name := string(rune('a' + i))
		list[i] = server.Volume{Name: name, Dir: filepath.Join(top, name)}
		if err := os.Mkdir(list[i].Dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// plant makes a file on the host, with the folders it needs.
func plant(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// holders are the volumes that have path, in order: "a", "bc", "". Sheaf's own folder does not count.
func holders(vols []server.Volume, path string) string {
	var found strings.Builder
	for _, v := range vols {
		if _, err := os.Lstat(filepath.Join(v.Dir, path)); err == nil {
			found.WriteString(v.Name)
		}
	}
	return found.String()
}

// The dialects the share is mounted in. Without vers= mount.nfs begins with NFSv4, and comes down to 3 by itself for the
// options that only 3 has.
const (
	version3 = "vers=3,nolock,tcp,port=%[1]d,mountport=%[1]d,mountproto=tcp"
	unversed = "nolock,tcp,port=%[1]d,mountport=%[1]d,mountproto=tcp"
)

var mounts atomic.Int64

// mount mounts the share in the guest until the test ends.
func mount(t *testing.T, g *guest.Guest, s *server.Server, dialect string, options ...string) string {
	t.Helper()
	point := fmt.Sprintf("/mnt/%d", mounts.Add(1))
	opts := strings.Join(append([]string{fmt.Sprintf(dialect, s.Port)}, options...), ",")
	g.Must(t, 3*time.Minute, fmt.Sprintf("mkdir -p %s; mount -v -t nfs -o %s %s:/ %[1]s", point, opts, guest.HostAddr))
	t.Cleanup(func() {
		if out, status := g.RunFor(t, 3*time.Minute, "cd /; umount "+point+" || umount -f -l "+point); status != 0 {
			t.Errorf("umount: %s", out)
		}
	})
	return point
}

// share is a server over three empty volumes and its mount.
func share(t *testing.T, dialect string) (g *guest.Guest, vols []server.Volume, point string) {
	t.Helper()
	g = theGuest(t)
	vols = volumes(t, 3)
	return g, vols, mount(t, g, server.Start(t, server.Options{Volumes: vols}), dialect)
}

func host(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}
