//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/tests/e2e/server"
	"sheaf/tests/need"
)

// A disk is pulled out and thrown back in, again and again, under a client at work. Meanwhile the share is
// mirrored by rsync --delete, which erases what a listing does not show: it must never erase anything. Nobody is told
// that a file does not exist, or can make it a second time, and nothing that was acknowledged is lost.
func TestDiskPulledOut(t *testing.T) {
	g := theGuest(t)
	vols := volumes(t, 3)
	const files = 300
	for i := range files { // each directory on two volumes, its files on either
		v := vols[(i/10+i%2)%len(vols)]
		name := fmt.Sprintf("f%07d", i)
		plant(t, filepath.Join(v.Dir, "tree", fmt.Sprintf("d%d", i%10), name), name)
	}
	s := server.Start(t, server.Options{Volumes: vols, Args: []string{"--offline-wait", "1s"}})
	point := mount(t, g, s, version3, "lookupcache=none", "noac")
	g.Must(t, 2*time.Minute, fmt.Sprintf(`rm -rf /tmp/mirror /run/stop /run/mirror; mkdir /tmp/mirror
rsync -a %[1]s/tree/ /tmp/mirror/
[ "$(find /tmp/mirror -name 'f*' | wc -l)" = %[3]d ]
%[2]s steady %[1]s/tree %[3]d /run/stop >/run/steady 2>&1 & echo $! >/run/steady.pid
for i in $(seq 300); do grep -q steady /run/steady && break; sleep 0.1; done
(n=0; while [ ! -e /run/stop ]; do
	st=0; n=$((n+1)); rsync -a --delete --timeout=600 %[1]s/tree/ /tmp/mirror/ 2>/run/rsync.err || st=$?
	have=$(find /tmp/mirror -name 'f*' | wc -l)
	[ $have = %[3]d ] || { echo "after run $n, status $st, the mirror has $have files: $(cat /run/rsync.err)"; break; }
	case $st in 0|23|24) ;; *) echo "run $n: status $st: $(cat /run/rsync.err)"; break;; esac
done; echo "mirrored $n times") >/run/mirror 2>&1 & echo $! >/run/mirror.pid`, point, probe(), files))
	for i := range need.Number(t, "SHEAF_E2E_PULLS", 5) {
		v := vols[i%len(vols)]
		out := v.Dir + ".out"
		if err := os.Rename(v.Dir, out); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // the mount point without the disk
			if err := os.Mkdir(v.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(500+500*(i%6)) * time.Millisecond) // sometimes not noticed, sometimes past the offline-wait
		if i%2 == 0 {
			if err := os.Remove(v.Dir); err != nil {
				t.Fatalf("something was written to a mount point without its disk: %v", err)
			}
		}
		if err := os.Rename(out, v.Dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(500+300*(i%5)) * time.Millisecond)
		if _, status := g.Run(t, "kill -0 $(cat /run/steady.pid) $(cat /run/mirror.pid)"); status != 0 {
			break // what they say tells why
		}
	}
	out, status := g.RunFor(t, 5*time.Minute, `touch /run/stop
for p in steady mirror; do while kill -0 $(cat /run/$p.pid) 2>/dev/null; do sleep 0.1; done; done; cat /run/steady /run/mirror`)
	t.Log(out)
	if status != 0 || !strings.Contains(out, "went on: ") || !strings.Contains(out, "\nmirrored ") {
		t.Errorf("status %d", status)
	}
	out, _ = g.Run(t, `dmesg | grep -i 'nfs.*stale' || true; rm -rf /tmp/mirror`)
	if out != "" {
		t.Error(out)
	}
	s.Stop()
	for i := range files {
		if where := holders(vols, fmt.Sprintf("tree/d%d/f%07d", i%10, i)); len(where) != 1 {
			t.Errorf("file %d is on volumes %q", i, where)
		}
	}
	s.Restart() // for the umount
}
