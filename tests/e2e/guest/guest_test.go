//go:build linux

package guest_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/tests/e2e/guest"
)

// Two guests at once, as the tests with two clients need them; what the harness promises is shown on them.
func TestGuest(t *testing.T) {
	dir := t.TempDir()
	a := guest.Start(t, guest.Options{Name: "a", Share: []string{dir}})
	b := guest.Start(t, guest.Options{Name: "b", Mem: 512})

	t.Run("status and output", func(t *testing.T) {
		out, status := a.Run(t, "echo out; echo err >&2; exit 7")
		if out != "out\nerr\n" || status != 7 {
			t.Errorf("got %q, status %d", out, status)
		}
		if out, status := b.Run(t, "hostname; kill -9 $$"); out != "b\n" || status != 137 {
			t.Errorf("got %q, status %d", out, status)
		}
	})
	t.Run("time limit", func(t *testing.T) {
		start := time.Now()
		out, status := a.RunFor(t, time.Second, "echo begun; sleep 100")
		if status != guest.TimedOut || !strings.HasPrefix(out, "begun\n") || time.Since(start) > 10*time.Second {
			t.Errorf("after %v: %q, status %d", time.Since(start), out, status)
		}
	})
	t.Run("background", func(t *testing.T) {
		if out, status := a.Run(t, "sleep 100 & echo done"); out != "done\n" || status != 0 {
			t.Errorf("got %q, status %d", out, status)
		}
	})
	t.Run("shared folder", func(t *testing.T) {
		a.Must(t, time.Minute, "echo hello >"+dir+"/from-guest")
		if got, err := os.ReadFile(filepath.Join(dir, "from-guest")); err != nil || string(got) != "hello\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("loopback of the host", func(t *testing.T) {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "from the host")
		}))
		defer web.Close()
		port := web.Listener.Addr().(*net.TCPAddr).Port
		for _, g := range []*guest.Guest{a, b} {
			out := g.Must(t, time.Minute, fmt.Sprintf(
				`exec 3<>/dev/tcp/%s/%d; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3`, guest.HostAddr, port))
			if !strings.HasSuffix(out, "from the host") {
				t.Errorf("got %q", out)
			}
		}
	})
	t.Run("nfs", func(t *testing.T) {
		out := a.Must(t, time.Minute, "grep -w nfs /proc/filesystems; modprobe -n nfsv3; modprobe -n nfsv4; uname -r")
		t.Log(out)
	})
}
