//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sheaf/tests/e2e/server"
)

// deaths is how often the server dies: SHEAF_E2E_KILLS, or twelve times in a minute at most.
func deaths(t *testing.T) (n int, most time.Duration) {
	t.Helper()
	text := os.Getenv("SHEAF_E2E_KILLS")
	if text == "" {
		return 12, time.Minute
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal("SHEAF_E2E_KILLS:", err)
	}
	return n, 24 * time.Hour
}

// The server dies at random moments and comes back under a client that has files open and its working directory in the
// share, every other time without its state directory. The client waits and goes on; it must not be told ESTALE, and what
// it wrote must be there, also what was never flushed.
func TestServerDies(t *testing.T) {
	g := theGuest(t)
	vols, state := volumes(t, 3), t.TempDir()
	s := server.Start(t, server.Options{Volumes: vols, State: state})
	point := mount(t, g, s, version3)
	g.Must(t, time.Minute, fmt.Sprintf(`mkdir -p %s/a/work; rm -f /run/stop
cd %[1]s/a/work; nohup %s hold %[1]s/a/work /run/stop >/run/hold 2>&1 & echo $! >/run/hold.pid
for i in $(seq 100); do grep -q holding /run/hold && exit; sleep 0.1; done; cat /run/hold; exit 1`, point, probe()))
	// A shell that has been in the share since before.
	g.Must(t, time.Minute, fmt.Sprintf(`rm -f /run/orders; mkfifo /run/orders
(cd %s/a/work && exec 5>>shell && while read -r order <&9; do eval "$order"; done) 9<>/run/orders >/run/shell 2>&1 &`, point))
	n, most := deaths(t)
	var orders strings.Builder
	begin := time.Now()
	done := 0
	for i := 0; i < n && time.Since(begin) < most; i++ {
		time.Sleep(time.Duration(rand.Int64N(int64(time.Second))))
		if i == 1 {
			s.Stop()
		} else {
			s.Kill()
		}
		if i%2 == 1 {
			if err := os.RemoveAll(state); err != nil {
				t.Fatal(err)
			}
		}
		s.Restart()
		out, status := g.RunFor(t, 90*time.Second, fmt.Sprintf(
			`cd %s/a/work && ls -a >/dev/null && cat old | wc -c && echo "echo %d >&5; cat ./old | wc -c; pwd" >/run/orders && mkdir after%[2]d`,
			point, i))
		if status != 0 {
			t.Fatalf("after restart %d: status %d: %s", i, status, out)
		}
		if out, status := g.Run(t, "kill -0 $(cat /run/hold.pid)"); status != 0 {
			hold, _ := g.Run(t, "cat /run/hold")
			t.Fatalf("after restart %d the client has ended: %s%s", i, out, hold)
		}
		fmt.Fprintln(&orders, i)
		done++
	}
	t.Logf("the server died %d times in %v", done, time.Since(begin))
	time.Sleep(time.Second)
	out, status := g.RunFor(t, 2*time.Minute, `touch /run/stop; while kill -0 $(cat /run/hold.pid) 2>/dev/null; do sleep 0.1; done; cat /run/hold`)
	if status != 0 || !strings.Contains(out, "held ") {
		t.Errorf("the client that holds files: %s", out)
	}
	out, _ = g.Run(t, `echo 'exec 5>&-; cat shell; echo bye; exit' >/run/orders; for i in $(seq 50); do grep -q bye /run/shell && break; sleep 0.1; done
cat /run/shell; dmesg | grep -i 'nfs.*stale' || true`)
	if !strings.HasSuffix(out, orders.String()+"bye\n") || strings.Contains(strings.ToLower(out), "stale") {
		t.Errorf("the shell: %s", out)
	}
	if out, err := s.Ask("check"); err != nil {
		t.Errorf("sheaf check: %v\n%s", err, out)
	}
	want := g.Must(t, time.Minute, "sha256sum <"+point+"/a/work/log")
	s.Stop()
	if where := holders(vols, "a/work/log"); len(where) != 1 {
		t.Fatalf("the log is on %q", where)
	} else if got := host(t, "sha256sum", vols[where[0]-'a'].Dir+"/a/work/log"); got[:64] != want[:64] {
		t.Error("the volume does not hold what the client reads")
	}
	s.Restart() // for the umount
}
