//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a client of Linux 6.1 prints of two mounts and of something else.
const stats = `device sys mounted on /sys with fstype sysfs
device 10.213.0.1:/ mounted on /mnt/sheaf with fstype nfs statvers=1.1
	opts:	rw,vers=3,rsize=1048576,wsize=1048576,proto=tcp
	age:	3
	caps:	caps=0xfcf,wtmult=4096,dtsize=1048576,bsize=0,namlen=255
	events:	1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27
	bytes:	1 2 3 4 5 6 7 8
	RPC iostats version: 1.1  p/v: 100003/3 (nfs)
	xprt:	tcp 0 1 1 0 0 %[1]d 9 0 9 0 2 0 0
	per-op statistics
	        NULL: 1 1 0 44 24 7 0 0 0
	     GETATTR: %[1]d 1 0 152 112 4 %[2]d 22 0
	      LOOKUP: 5 5 0 152 112 4 6 22 5

device 10.213.0.1:/x mounted on /mnt/ganesha with fstype nfs statvers=1.1
	per-op statistics
	     GETATTR: 77 1 0 152 112 4 88 22 0
`

// The counts of one mount are its own, and what came between is the difference.
func TestMountStats(t *testing.T) {
	read := func(getattrs, ms int, point string) map[string]calls {
		t.Helper()
		got, err := mountStats(fmt.Sprintf(stats, getattrs, ms), point)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := read(3, 9, "/mnt/ganesha"); len(got) != 1 || got["GETATTR"] != (calls{77, 88 * time.Millisecond}) {
		t.Errorf("of the other mount: %v", got)
	}
	before, after := read(3, 9, "/mnt/sheaf"), read(10, 29, "/mnt/sheaf")
	if len(before) != 3 || total(before) != (calls{9, 15 * time.Millisecond}) {
		t.Errorf("before: %v", before)
	}
	if got := since(before, after); len(got) != 1 || got["GETATTR"] != (calls{7, 20 * time.Millisecond}) {
		t.Errorf("between: %v", got)
	}
	if got, err := mountStats(fmt.Sprintf(stats, 1, 1), "/mnt/absent"); err == nil {
		t.Errorf("of no mount: %v", got)
	}
}

// A goal is missed where Sheaf is slower, and where it is not fast enough although the server decides; names are compared with
// async and all else with sync.
func TestGoals(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := &report{options: o, cells: map[[2]string]*cell{}, null: map[string]time.Duration{ganesha: 50 * time.Microsecond}, missing: []error{errors.New("no mergerfs")}}
	put := func(workload, server string, ms int, waits ...int) {
		c := r.at(workload, server)
		for _, wait := range append([]int{0}, waits...) { // the median of the rounds is what counts
			c.took, c.cpu = append(c.took, time.Duration(ms)*time.Millisecond), append(c.cpu, time.Millisecond)
			c.calls = append(c.calls, map[string]calls{"LOOKUP": {100, time.Duration(wait) * time.Millisecond}})
		}
	}
	put("grep -r", ganesha, 100, 6, 6) // 1 of 100 ms is Ganesha's
	put("grep -r", sheafSync, 99)
	put("PHP cold", ganesha, 100, 6, 6)
	put("PHP cold", sheafSync, 101)
	put("untar", ganesha, 100, 45, 45) // 40 of 100
	put("untar", sheafSync, 200)
	put("untar", sheafAsync, 80)
	put("rm -rf", ganesha, 100, 45, 45)
	put("rm -rf", sheafSync, 10)
	put("rm -rf", sheafAsync, 90)
	r.at("git clone", ganesha).err = errors.New("broken")
	var out bytes.Buffer
	r.print(&out, workloads(), []*server{{name: ganesha}, {name: sheafSync}, {name: sheafAsync}})
	for _, line := range []string{
		"- grep -r, sheaf-sync: 1.01, at least 1.0 (ganesha's part 1 %): met",
		"- PHP cold, sheaf-sync: 0.99, at least 1.0 (ganesha's part 1 %): **missed**",
		"- untar, sheaf-async: 1.25, at least 1.2 (ganesha's part 40 %): met",
		"- rm -rf, sheaf-async: 1.11, at least 1.2 (ganesha's part 40 %): **missed**",
		"| git clone | ganesha | failed | | | | | |",
		"Left out: no mergerfs",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("not said: %s", line)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	if r.failure() == nil {
		t.Error("the failure is forgotten")
	}
}

func TestChosen(t *testing.T) {
	for only, want := range map[string]int{"": len(workloads()), "tar,untar": 1, "opcache,rm -rf": 3, "absent": 0} {
		some, err := (&options{only: only}).chosen()
		if len(some) != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %d, %v", only, len(some), err)
		}
	}
}

// The archive holds what its sum says, by tar's and sha256sum's own word; the sum is that of the scripts' function.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	made, err := writeTree(filepath.Join(dir, "tree.tar"), 345)
	if err != nil {
		t.Fatal(err)
	}
	o := &options{size: 1}
	said, err := exec.Command("bash", "-euc", "cd "+dir+"; tar -xf tree.tar; "+o.setup()+"sums .; grep -rl "+needle+" tree | wc -l; find tree -type f | wc -l").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if want := fmt.Sprintf("%s\n%d\n%d\n", made.sum, made.needles, 345); string(said) != want || made.needles != 3 {
		t.Errorf("%s, want %s", said, want)
	}
}

// Each include returns its number, and lies once in all the folders.
func TestIncludes(t *testing.T) {
	top := t.TempDir()
	folders := []string{filepath.Join(top, "a"), filepath.Join(top, "b"), filepath.Join(top, "c")}
	if err := writeIncludes(folders); err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if found, _ := filepath.Glob(filepath.Join(f, "app/inc*/lib*.php")); len(found) != includes/len(folders) {
			t.Errorf("%d in %s", len(found), f)
		}
	}
	text, err := os.ReadFile(filepath.Join(folders[287%3], includeDir(287%includeDirs), "lib287.php"))
	if err != nil || !strings.HasSuffix(string(text), "return 287;\n") {
		t.Errorf("%s, %v", text, err)
	}
}

// An empty call is a call to whoever reads it, and its time is what is printed.
func TestNull(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		call := make([]byte, 44)
		for {
			if _, err := io.ReadFull(conn, call); err != nil {
				return
			}
			reply := append([]byte{0x80, 0, 0, 24}, call[4:8]...)
			if _, err := conn.Write(append(reply, make([]byte, 20)...)); err != nil {
				return
			}
		}
	}()
	var out bytes.Buffer
	if err := nullCalls(l.Addr().String(), 9, &out); err != nil {
		t.Fatal(err)
	}
	if ns, err := strconv.Atoi(strings.TrimSpace(out.String())); err != nil || ns <= 0 {
		t.Errorf("%q", out.String())
	}
}
