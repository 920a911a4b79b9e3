//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sheaf/tests/e2e/guest"
	"sheaf/tests/e2e/server"
	"sheaf/tests/need"
)

// mostMortals is how many servers die beside one another: the client waits for seconds before it connects again,
// whatever the server does, so that one alone would let the time go by. Everyday each dies three times.
const (
	mostMortals = 12
	fewDeaths   = 3
	holdPause   = 30 * time.Millisecond // between two rounds of a client, for each of them: the guest has one processor
	patience    = 5 * time.Minute       // for a guest on a busy host
)

// Servers die at random moments and come back under a client that has files open and its working directory in each
// share, every other time without the state directory. The client waits and goes on; it must not be told ESTALE, and what
// it wrote must be there, also what was never flushed. sheaf check finds nothing after any of them.
func TestServerDies(t *testing.T) {
	g := theGuest(t)
	n := need.Number(t, "SHEAF_E2E_KILLS", 12)
	mortals := min(mostMortals, (n+fewDeaths-1)/fewDeaths)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range mortals {
		wg.Go(func() {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				newMortal(t, g, i, time.Duration(mortals)*holdPause).die(n*(i+1)/mortals - n*i/mortals)
			})
		})
	}
	wg.Wait()
	t.Logf("%d deaths of %d servers in %v", n, mortals, time.Since(began).Round(time.Second))
	if out, _ := g.Run(t, "dmesg | grep -i 'nfs.*stale' || true"); out != "" {
		t.Errorf("the client's kernel says: %s", out)
	}
}

// mortal is a server that dies, and what goes on in the guest beneath its mount.
type mortal struct {
	t     *testing.T
	g     *guest.Guest
	s     *server.Server
	vols  []server.Volume
	state string
	point string
	run   string // beginning of the names of the guest's files
}

func newMortal(t *testing.T, g *guest.Guest, i int, pause time.Duration) *mortal {
	t.Helper()
	m := &mortal{t: t, g: g, vols: volumes(t, 3), state: t.TempDir(), run: fmt.Sprintf("/run/mortal%d", i)}
	m.s = server.Start(t, server.Options{Volumes: m.vols, State: m.state})
	m.point = mount(t, g, m.s, version3)
	g.Must(t, patience, fmt.Sprintf(`mkdir -p %[1]s/a/work; rm -f %[2]s.*
cd %[1]s/a/work; nohup %[3]s hold %[1]s/a/work %[2]s.stop %[4]v >%[2]s.hold 2>&1 & echo $! >%[2]s.pid
for i in $(seq 300); do grep -q holding %[2]s.hold && exit; sleep 0.1; done; cat %[2]s.hold; exit 1`, m.point, m.run, probe(), pause))
	// A shell that has been in the share since before.
	g.Must(t, patience, fmt.Sprintf(`mkfifo %[2]s.orders
(cd %[1]s/a/work && exec 5>>shell && while read -r order <&9; do eval "$order"; done) 9<>%[2]s.orders >%[2]s.shell 2>&1 &`, m.point, m.run))
	return m
}

// die lets the server die n times, and wants all to be as it was.
func (m *mortal) die(n int) {
	t := m.t
	t.Helper()
	var orders strings.Builder
	for i := range n {
		time.Sleep(time.Duration(rand.Int64N(int64(time.Second))))
		if i == 1 {
			m.s.Stop()
		} else {
			m.s.Kill()
		}
		if i%2 == 1 {
			if err := os.RemoveAll(m.state); err != nil {
				t.Fatal(err)
			}
		}
		m.s.Restart()
		out, status := m.g.RunFor(t, patience, fmt.Sprintf(
			`cd %s/a/work && ls -a >/dev/null && cat old | wc -c && echo "echo %d >&5; cat ./old | wc -c; pwd" >%s.orders && mkdir after%[2]d &&
kill -0 $(cat %[3]s.pid) || { cat %[3]s.hold; exit 1; }`,
			m.point, i, m.run))
		if status != 0 {
			t.Fatalf("after restart %d: status %d: %s", i, status, out)
		}
		m.check(fmt.Sprintf("after restart %d", i))
		fmt.Fprintln(&orders, i)
	}
	m.end(n, orders.String())
}

// check wants sheaf check to find nothing.
func (m *mortal) check(when string) {
	m.t.Helper()
	if out, err := m.s.Ask("check"); err != nil {
		m.t.Errorf("%s sheaf check: %v\n%s", when, err, out)
	}
}

// end lets the programs in the guest end, and compares what they hold with what they wrote.
func (m *mortal) end(n int, orders string) {
	t := m.t
	t.Helper()
	out, status := m.g.RunFor(t, patience, fmt.Sprintf(
		`touch %[1]s.stop; while kill -0 $(cat %[1]s.pid) 2>/dev/null; do sleep 0.1; done; cat %[1]s.hold`, m.run))
	if status != 0 || !strings.Contains(out, "held ") {
		t.Errorf("the client that holds files: %s", out)
	}
	out, _ = m.g.Run(t, fmt.Sprintf(`echo 'exec 5>&-; cat shell; echo bye; exit' >%[1]s.orders
for i in $(seq 300); do grep -q bye %[1]s.shell && break; sleep 0.1; done; cat %[1]s.shell`, m.run))
	if !strings.HasSuffix(out, orders+"bye\n") || strings.Contains(strings.ToLower(out), "stale") {
		t.Errorf("the shell: %s", out)
	}
	made := strings.TrimSpace(m.g.Must(t, patience, "ls -d "+m.point+"/a/work/after* | wc -l"))
	if made != fmt.Sprint(n) {
		t.Errorf("%s directories are there of %d that were made", made, n)
	}
	m.check("at the end")
	want := m.g.Must(t, patience, "sha256sum <"+m.point+"/a/work/log")
	m.s.Stop()
	if where := holders(m.vols, "a/work/log"); len(where) != 1 {
		t.Fatalf("the log is on %q", where)
	} else if got := host(t, "sha256sum", m.vols[where[0]-'a'].Dir+"/a/work/log"); got[:64] != want[:64] {
		t.Error("the volume does not hold what the client reads")
	}
	m.s.Restart() // for the umount
}
