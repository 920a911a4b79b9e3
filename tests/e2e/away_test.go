//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/tests/disk"
	"sheaf/tests/e2e/guest"
	"sheaf/tests/e2e/server"
	"sheaf/tests/need"
)

// treeFiles are in tree, in ten directories.
const treeFiles = 300

// plantTree makes them: each directory on two volumes, its files on either.
func plantTree(t *testing.T, vols []server.Volume) {
	t.Helper()
	for i := range treeFiles {
		v := vols[(i/10+i%2)%len(vols)]
		name := fmt.Sprintf("f%07d", i)
		plant(t, filepath.Join(v.Dir, "tree", fmt.Sprintf("d%d", i%10), name), name)
	}
}

// beginSteady mirrors the tree by rsync --delete, again and again, and has it used by probe steady.
func beginSteady(t *testing.T, g *guest.Guest, point string) {
	t.Helper()
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
done; echo "mirrored $n times") >/run/mirror 2>&1 & echo $! >/run/mirror.pid`, point, probe(), treeFiles))
}

// endSteady ends both, and hears what they have to say.
func endSteady(t *testing.T, g *guest.Guest) {
	t.Helper()
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
}

// A disk is pulled out and thrown back in, again and again, under a client at work. Meanwhile the share is
// mirrored by rsync --delete, which erases what a listing does not show: it must never erase anything. Nobody is told
// that a file does not exist, or can make it a second time, and nothing that was acknowledged is lost.
func TestDiskPulledOut(t *testing.T) {
	g := theGuest(t)
	vols := volumes(t, 3)
	plantTree(t, vols)
	s := server.Start(t, server.Options{Volumes: vols, Args: []string{"--offline-wait", "1s"}})
	point := mount(t, g, s, version3, "lookupcache=none", "noac")
	beginSteady(t, g, point)
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
	endSteady(t, g)
	s.Stop()
	for i := range treeFiles {
		if where := holders(vols, fmt.Sprintf("tree/d%d/f%07d", i%10, i)); len(where) != 1 {
			t.Errorf("file %d is on volumes %q", i, where)
		}
	}
	s.Restart() // for the umount
}

// A disk hangs (SHEAF_E2E_HANG says for how long; without it the test is skipped) under a client that has more calls under way for it
// than its one connection may have in flight. What does not need it goes on; otherwise it is as if it was pulled out: nothing is
// erased from the mirror, nobody is told that a file does not exist, and what was acknowledged is there.
func TestVolumeHangs(t *testing.T) {
	long := need.Duration(t, "SHEAF_E2E_HANG", 0)
	if long == 0 {
		t.Skip("SHEAF_E2E_HANG is not set: 60s is what a release wants")
	}
	g := theGuest(t)
	vols := volumes(t, 3)
	d, err := disk.New(filepath.Join(t.TempDir(), "hangs"))
	if err != nil {
		need.Lack(t, need.Loop, "%v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	vols[2].Dir = d.Dir
	plantTree(t, vols)
	const n = 50
	for i := range n {
		name := fmt.Sprintf("f%07d", i)
		plant(t, filepath.Join(vols[i%2].Dir, "well", name), strings.Repeat(name, 600))
		plant(t, filepath.Join(vols[2].Dir, "there", name), name)
		for _, v := range vols {
			if err := os.MkdirAll(filepath.Join(v.Dir, "well/new", fmt.Sprint(i)), 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
	plant(t, filepath.Join(vols[0].Dir, "well/written"), strings.Repeat("x", 4096))
	s := server.Start(t, server.Options{Volumes: vols})
	t.Cleanup(func() { _ = d.Release() }) // before the server is to end; Close says what is wrong
	point := mount(t, g, s, version3, "lookupcache=none", "noac")
	beginSteady(t, g, point)
	g.Must(t, time.Minute, fmt.Sprintf(`echo well >/run/phase
%s pace %s/well %d /run/phase >/run/pace 2>&1 & echo $! >/run/pace.pid; sleep %d`, probe(), point, n, int(long.Seconds()/2)))
	if err := d.Hang(); err != nil {
		t.Fatal(err)
	}
	g.Must(t, time.Minute, fmt.Sprintf(`echo hung >/run/phase
%s jam %s/there %d >/run/jam 2>&1 & echo $! >/run/jam.pid`, probe(), point, n))
	time.Sleep(long)
	out := g.Must(t, time.Minute, `echo "$(ls /proc/$(cat /run/jam.pid)/task | wc -l) threads wait"; echo well >/run/phase`)
	if err := d.Release(); err != nil {
		t.Error(err)
	}
	out += g.Must(t, 5*time.Minute, fmt.Sprintf(`sleep %d; echo stop >/run/phase
for p in pace jam; do while kill -0 $(cat /run/$p.pid) 2>/dev/null; do sleep 0.1; done; cat /run/$p; done`, int(long.Seconds()/2)))
	t.Log(out)
	for _, what := range []string{"stat", "miss", "read", "list", "write", "create"} {
		if !strings.Contains(out, "pace hung "+what+": ") || strings.Contains(out, "pace hung "+what+": 0 calls") {
			t.Errorf("no %s was answered while the volume hung", what)
		}
	}
	if strings.Contains(out, "probe: ") || !strings.Contains(out, "jammed: ") {
		t.Error("a call that did not need the volume failed, or what was acknowledged is not there")
	}
	endSteady(t, g)
}
