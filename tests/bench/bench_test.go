package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the child that the harness starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "child-") {
		if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "status") {
		if err := pretend(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// pretend is a sheaf command for the harness: stock go-nfs over the first volume, which
// claims a flush more each time it is asked.
func pretend(command string, args []string) error {
	given := map[string]string{}
	for i := 0; i+1 < len(args); i++ {
		if given[args[i]] == "" {
			given[args[i]] = args[i+1]
		}
	}
	if command == "serve" {
		if err := os.MkdirAll(given["--state"], 0o755); err != nil {
			return err
		}
		_, dir, _ := strings.Cut(given["--volume"], "=")
		return runStock(dir, given["--listen"], func(addr string) { fmt.Println("ready", addr) })
	}
	count := filepath.Join(given["--state"], "count")
	said, err := os.ReadFile(count)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n := len(said)
	_, err = fmt.Printf(`{"volumes":[{"flushes":{"asked":%d,"made":%d}},{"flushes":{"asked":1,"made":1}}]}`, 2*n, n)
	return errors.Join(err, os.WriteFile(count, append(said, 'x'), 0o600))
}

// Creates are measured on a server and by the plain program, in turn and in empty directories.
func TestCreatesBesideAPlainProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CPU time of a child can be asked for on Linux only")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, progress bytes.Buffer
	err = run([]string{"-peers", "", "-creates", "3", "-sheaf", self, "-rounds", "1", "-time", "5s", "-count", "10", "-dir", t.TempDir()}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, row := range []string{"| 1 | sync | 3 |", "| 1 | async | 3 |", "| 8 | sync | 3 |", "| 8 | async | 3 |"} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("no row %s", row)
		}
	}
	if strings.Contains(out.String(), "failed") || strings.Contains(out.String(), "| procedure |") || !strings.Contains(out.String(), "- 8 volumes, sync, 3 outstanding: ") {
		t.Error(out.String())
	}
}

// The experiment's layers answer as they should over both kinds of volumes, and are reported with their ratios and goals.
func TestLayersLookIncludesUp(t *testing.T) {
	o := &options{rounds: 1, load: load{time: time.Millisecond, seed: 1}}
	in := newIncludes(o.seed, 3, 12)
	for _, wait := range []time.Duration{0, time.Microsecond} {
		rows, err := o.contract(t.Context(), filepath.Join(t.TempDir(), "lab"), in, wait)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		printContract(&out, rows, wait)
		for _, r := range rows {
			if r.lat.n < len(in.at) || r.lat.least <= 0 || r.lat.average() < r.lat.least || r.lat.most < r.lat.average() {
				t.Errorf("%s: %d look-ups from %v to %v, %v on average", r.name, r.lat.n, r.lat.least, r.lat.most, r.lat.average())
			}
			if !strings.Contains(out.String(), "\n| "+r.name+" | ") {
				t.Errorf("no row of %s", r.name)
			}
		}
		if n := strings.Count(out.String(), "times faster than off"); (wait == 0) != (n == 1) || n == 0 {
			t.Errorf("%d goals:\n%s", n, out.String())
		}
	}
}

// A client that looks includes up asks for each in one directory after the other, and takes no other answer.
func TestWalkOfIncludes(t *testing.T) {
	in := newIncludes(1, 4, 5)
	ip := &includePath{at: in.at, dirs: [][]byte{{0}, {1}, {2}, {3}}}
	walk := ip.walk()
	for range 2 {
		for i, at := range in.at {
			for d := range at + 1 {
				b, _ := walk.next(nil, nil, nil)
				if want := appendName(nil, ip.dirs[d], includeName(i)); !bytes.Equal(b, want) {
					t.Fatalf("asked %x, want %x", b, want)
				}
				status, wrong := uint32(nfsNoEnt), uint32(nfsOK)
				if d == at {
					status, wrong = wrong, status
				}
				other := ip.walk()
				if i == 0 && d == 0 && other.check(nil, nil, &reader{b: be.AppendUint32(nil, wrong)}) == nil {
					t.Error("a wrong answer is taken")
				}
				if err := walk.check(nil, nil, &reader{b: be.AppendUint32(nil, status)}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// Names that nobody asked for are each another one.
func TestMissesAreFresh(t *testing.T) {
	c := &caller{site: &site{hits: object{handle: []byte{1, 2, 3, 4}}}}
	seen := map[string]bool{}
	for i := range 1234 {
		b, _ := nextMiss(c, nil, nil)
		if want := appendName(nil, c.hits.handle, fmt.Sprintf("none-%09d", i+1)); !bytes.Equal(b, want) || seen[string(b)] {
			t.Fatalf("%x, want %x", b, want)
		}
		seen[string(b)] = true
	}
}

// The plain program makes what it says it made, flushes as often, and ends by count and by time.
func TestPlainProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the plain program makes the system calls of Linux")
	}
	for _, c := range []struct {
		name    string
		p       plain
		threads int
		files   int // 0: as many as the time allows
	}{
		{"by count", plain{volumes: 3, fsync: true, time: time.Hour, count: 10}, 4, 10},
		{"without flushes", plain{volumes: 1, time: time.Hour, count: 7}, 1, 7},
		{"by time", plain{volumes: 2, fsync: true, time: 50 * time.Millisecond, count: 1 << 30}, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			c.p.root = t.TempDir()
			m, err := c.p.measure(self, c.threads)
			if err != nil {
				t.Fatal(err)
			}
			there, err := filepath.Glob(filepath.Join(c.p.root, "v*", "churn-1", "made-*"))
			if err != nil || len(there) != m.files || m.files == 0 || c.files > 0 && m.files != c.files {
				t.Errorf("%d files are there, it said %d, want %d (%v)", len(there), m.files, c.files, err)
			}
			if want := map[bool]int{true: m.files, false: 0}[c.p.fsync]; m.fsyncs != want || m.wall <= 0 {
				t.Errorf("%d flushes in %v, want %d", m.fsyncs, m.wall, want)
			}
			if c.files == 0 && m.wall < c.p.time {
				t.Errorf("ended after %v", m.wall)
			}
		})
	}
	for _, args := range [][]string{{}, {"create", "1", "true", "1s", "1"}, {"create", "x", "true", "1s", "1", "/nowhere"}, {"make", "1", "true", "1s", "1", "/nowhere"}, {"create", "1", "true", "1s", "1", "/nowhere"}} {
		if err := runPlain(args, io.Discard); err == nil {
			t.Errorf("arguments %q are taken", args)
		}
	}
}

func TestOutstandings(t *testing.T) {
	if ns, err := outstandings("1, 8,32"); err != nil || !slices.Equal(ns, []int{1, 8, 32}) {
		t.Errorf("%v, %v", ns, err)
	}
	if ns, err := outstandings(""); err != nil || ns != nil {
		t.Errorf("%v, %v", ns, err)
	}
	for _, bad := range []string{"0", "x", "1,,2", "-1"} {
		if _, err := outstandings(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The harness itself works: every procedure on the two peers that need no build, every
// reply checked. Its figures mean nothing here.
func TestAllProcedures(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CPU time of a child can be asked for on Linux only")
	}
	var out, progress bytes.Buffer
	err := run([]string{"-peers", "echo,go-nfs", "-creates", "", "-rounds", "1", "-time", "5s", "-count", "30", "-conns", "2", "-outstanding", "3", "-dir", t.TempDir()}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, o := range ops() {
		for _, p := range []string{"echo", "go-nfs"} {
			if !strings.Contains(out.String(), "| "+o.name+" | "+p+" | ") {
				t.Errorf("no row for %s on %s", o.name, p)
			}
		}
	}
	if strings.Contains(out.String(), "failed") || strings.Contains(out.String(), "no calls") {
		t.Error(out.String())
	}
}

// A peer that cannot start does not keep the others from being measured, and fails the run.
func TestAMissingPeerIsReported(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CPU time of a child can be asked for on Linux only")
	}
	var out, progress bytes.Buffer
	err := run([]string{"-peers", "echo,sheaf-1", "-sheaf", "/nonexistent/sheaf", "-ops", "NULL", "-rounds", "1", "-count", "9", "-dir", t.TempDir()}, &out, &progress)
	if err == nil || !strings.Contains(err.Error(), "sheaf-1") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(out.String(), "| NULL | echo | ") || !strings.Contains(out.String(), "Missing: sheaf-1") {
		t.Error(out.String())
	}
}

// Replies that are wrong are refused by the check of every procedure.
func TestChecksRefuse(t *testing.T) {
	s := echoSite(1)
	w := &caller{site: s, rnd: rand.New(rand.NewPCG(1, 1))}
	ioError := be.AppendUint32(nil, 5)
	for _, o := range ops() {
		for name, reply := range map[string][]byte{"an error": ioError, "an empty success": {0, 0, 0, 0}, "nothing": nil} {
			if o.proc == procNull && name == "nothing" || (o.proc == procRemove || o.proc == procRename) && name == "an empty success" {
				continue // which is right
			}
			var c call
			o.next(w, &c, nil)
			r := reader{b: reply}
			if err := o.check(w, &c, &r); err == nil && r.err == nil {
				t.Errorf("%s takes %s", o.name, name)
			}
		}
	}
}

// A reply cache takes a call with the xid and arguments of an earlier one for the same
// call, and does not run it again: writes would be measured that never happen.
func TestAnXidDoesNotComeAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(chan map[uint32]bool)
	go func() {
		xids := map[uint32]bool{}
		defer func() { seen <- xids }()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for record := make([]byte, 256); ; {
			if _, err := io.ReadFull(c, record[:4]); err != nil {
				return
			}
			n := be.Uint32(record) &^ (1 << 31)
			if _, err := io.ReadFull(c, record[:n]); err != nil {
				return
			}
			xids[be.Uint32(record)] = true
			if _, err := c.Write(answer(nil, record[:n], nil)); err != nil {
				return
			}
		}
	}()
	c, err := dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := &caller{site: echoSite(1), rnd: rand.New(rand.NewPCG(1, 1))}
	res, err := load{outstanding: 7, time: time.Minute, count: 500}.drive(c, w, &ops()[0], time.Now())
	if err != nil || res.calls != 500 || res.lat.n != 500 {
		t.Errorf("%d calls, %v", res.calls, err)
	}
	c.Close()
	if xids := <-seen; len(xids) != 500 {
		t.Errorf("%d xids in 500 calls", len(xids))
	}
}

func TestDamagedDataIsSeen(t *testing.T) {
	want := data(3, 8192, 4096)
	good := slices.Concat(make([]byte, 8), be.AppendUint32(nil, 4096), make([]byte, 4), be.AppendUint32(nil, 4096), want)
	if err := checkRead(&reader{b: good}, 8192, bigSize, want); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{3, 11, 20, len(good) - 1} {
		bad := slices.Clone(good)
		bad[at] ^= 1
		if checkRead(&reader{b: bad}, 8192, bigSize, want) == nil {
			t.Errorf("byte %d is not looked at", at)
		}
	}
	if checkRead(&reader{b: good}, 8192, bigSize, data(4, 8192, 4096)) == nil {
		t.Error("a write that was dropped is not seen")
	}
}

func TestHistogram(t *testing.T) {
	var h, half histogram
	for i := 1; i <= 100_000; i++ {
		h.record(time.Duration(i))
		if slot := slotOf(uint64(i)); floorOf(slot) > uint64(i) || floorOf(slot+1) <= uint64(i) {
			t.Fatalf("%d is counted from %d to %d", i, floorOf(slot), floorOf(slot+1))
		}
	}
	half.add(&h)
	for _, q := range []float64{0, 0.5, 0.99, 0.99999} {
		got, want := float64(half.quantile(q)), q*100_000
		if got > want+1 || got < want*31/32-1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	h.record(time.Duration(1<<63 - 1))
	h.record(-1)
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1}, 5}, {[]float64{3, 100, 1}, 3}} {
		if got := median(c.v); got != c.want {
			t.Errorf("median of %v is %v", c.v, got)
		}
	}
}
