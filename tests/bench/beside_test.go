package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The comparison has a row of each procedure for each server, its goals, and a page with a chart; who is not there is left out by name.
func TestBesideOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CPU time of a child can be asked for on Linux only")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir()) // nothing of others is there
	dir := t.TempDir()
	o := &options{
		load: load{conns: 2, outstanding: 2, time: 5 * time.Second, count: 8}, rounds: 1,
		peers: "echo,ganesha,sheaf-1", dir: dir, sheaf: self, page: filepath.Join(dir, "page.md"),
	}
	var out, progress bytes.Buffer
	c := o.comparison(&progress)
	c.names = 40
	if err := c.compare(&out); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	want := []string{"Left out: ganesha: cannot be had here", "Left out: flushes are not counted", "| echo | ", "8 volumes beside 1"}
	for _, p := range besideRows() {
		want = append(want, "| "+p.name+" | sheaf-1 | ")
	}
	for _, p := range changeOps() {
		want = append(want, "| "+p.name+" | sheaf-1 async | ")
		if p.unit == "" {
			want = append(want, "| "+p.name+" | plain-1 | ")
		}
	}
	page, err := os.ReadFile(o.page)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		if !strings.Contains(out.String(), w) || !bytes.Contains(page, []byte(w)) {
			t.Errorf("no %q", w)
		}
	}
	if strings.Contains(out.String(), "failed") || strings.Contains(out.String(), "| ganesha | ") {
		t.Error(out.String())
	}
}

// The goals are read off the cells: medians against each other, and none where one of both is missing.
func TestGoalsBesideOthers(t *testing.T) {
	c := (&options{peers: strings.Join(besideNames, ",")}).comparison(io.Discard)
	put := func(op, peer string, cpu, rate float64) {
		c.at(op, peer).add(result{units: 1000, cpu: time.Duration(cpu * 1e6), wall: time.Duration(1e12 / rate)})
	}
	put("GETATTR", "echo", 2, 100)
	put("GETATTR", "ganesha", 10, 40)
	put("GETATTR", "sheaf-8", 3.1, 80)
	put("WRITE 4K sync", "ganesha", 10, 100)
	put("WRITE 4K sync", "sheaf-8", 10, 99)
	put("RENAME", "ganesha", 1, 100)
	put("RENAME", "sheaf-8 async", 1, 100)
	c.flushes[[2]string{"WRITE 4K sync", "sheaf-8"}] = 0.5
	c.flushes[[2]string{"WRITE 4K sync", "ganesha"}] = 1
	var said bytes.Buffer
	c.verdicts(&said)
	for _, want := range []string{
		"- GETATTR, sheaf-8: 1.55 of the CPU of echo, at most 1.5: **missed**\n",
		"- GETATTR, sheaf-8: 0.31 of the CPU of ganesha, at most 0.5: met\n",
		"- GETATTR, sheaf-8: 2.00 of the rate of ganesha, at least 1.5: met\n",
		"- WRITE 4K sync, sheaf-8: 0.99 of the rate of ganesha; 0.50 flushes beside 1.00, at least 1.0: **missed**\n",
		"- RENAME, sheaf-8 async: 1.00 of the rate of ganesha, at least 1.0: met\n",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in\n%s", want, said.String())
		}
	}
	if n := strings.Count(said.String(), "\n- "); n != 5 {
		t.Errorf("%d goals:\n%s", n, said.String())
	}
	var svg bytes.Buffer
	if err := c.chart().Write(&svg); err != nil || xml.Unmarshal(svg.Bytes(), new(struct{})) != nil {
		t.Errorf("chart: %v\n%s", err, svg.String())
	}
}

// A listing that has a name twice, or one that was not laid out, is refused.
func TestListingsAreChecked(t *testing.T) {
	page := func(names ...string) *reader {
		b := append(make([]byte, 4), 0, 0, 0, 0) // status, no attributes
		b = append(b, make([]byte, 8)...)        // verifier
		for _, n := range names {
			b = be.AppendUint64(be.AppendUint32(b, 1), 7)
			b = be.AppendUint64(appendOpaque(b, []byte(n)), 9)
			b = append(b, make([]byte, 8)...) // no attributes, no handle
		}
		return &reader{b: append(be.AppendUint32(b, 0), 0, 0, 0, 1)}
	}
	for _, c := range []struct {
		name  string
		names []string
		good  bool
	}{
		{"whole", []string{".", "..", "name-0001", "name-0000"}, true},
		{"twice", []string{"name-0001", "name-0001"}, false},
		{"short", []string{"name-0001"}, false},
		{"unknown", []string{"name-0001", "name-0002"}, false},
		{"other", []string{"name-0001", "else"}, false},
	} {
		w := &caller{site: &site{listed: 2}}
		if err := checkList(w, &call{}, page(c.names...)); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What is stored is a chain of three calls, refused where one fails, or is committed by another server than it was written to.
func TestStoreIsAChain(t *testing.T) {
	o := storeOp()
	written := func(verf byte) []byte { // status, no wcc, count, committed, verifier
		b := be.AppendUint32(be.AppendUint32(make([]byte, 12), block), unstable)
		return append(b, verf, 0, 0, 0, 0, 0, 0, 0)
	}
	committed := func(verf byte) []byte { return append(make([]byte, 12), verf, 0, 0, 0, 0, 0, 0, 0) }
	created := appendOpaque(be.AppendUint32(make([]byte, 4), 1), []byte("handle"))
	for _, c := range []struct {
		name    string
		replies [][]byte
		good    bool
	}{
		{"whole", [][]byte{created, written(1), committed(1)}, true},
		{"other verifier", [][]byte{created, written(1), committed(2)}, false},
		{"no handle", [][]byte{make([]byte, 8)}, false},
		{"failed write", [][]byte{created, be.AppendUint32(nil, 5)}, false},
		{"failed commit", [][]byte{created, written(1), be.AppendUint32(nil, 5)}, false},
	} {
		w, s := &caller{site: echoSite(1), rnd: rand.New(rand.NewPCG(1, 1))}, &call{}
		var err error
		for i, reply := range c.replies {
			if proc := o.procOf(s); proc != []uint32{procCreate, procWrite, procCommit}[i] || o.begun(s) != (i > 0) {
				t.Fatalf("%s: call %d is procedure %d", c.name, i, proc)
			}
			o.next(w, s, nil)
			r := &reader{b: reply}
			if err = errors.Join(o.check(w, s, r), r.err); err != nil {
				break
			}
		}
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.good && (o.begun(s) || w.units != 1 || len(w.stored) != 1 || len(w.made) != 1) {
			t.Errorf("%s: %d files, %d to be read back, %d made", c.name, w.units, len(w.stored), len(w.made))
		}
	}
}

// The plain program renames what it made, and removes what it renamed.
func TestPlainProgramRenamesAndRemoves(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the plain program makes the system calls of Linux")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := plain{root: t.TempDir(), volumes: 2, fsync: true, time: time.Hour, count: 9}
	there := func(pattern string) int {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(p.root, "v*", "churn-7", pattern))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	for _, step := range []struct {
		verb               string
		count, made, moved int
	}{{"create", 9, 9, 0}, {"rename", 6, 3, 6}, {"remove", 6, 3, 0}} {
		p.verb, p.count = step.verb, step.count
		m, err := p.again(self, 3, 7)
		if err != nil || m.files != step.count || m.fsyncs != step.count {
			t.Fatalf("%s: %+v, %v", step.verb, m, err)
		}
		if made, moved := there("made-*"), there("moved-*"); made != step.made || moved != step.moved {
			t.Errorf("after %s: %d made, %d moved", step.verb, made, moved)
		}
	}
	p.verb, p.count = "remove", 1
	if _, err := p.again(self, 1, 7); err == nil {
		t.Error("what is not there is removed")
	}
}

// What strace writes of a flush is counted once, also where it is written in two parts.
func TestFlushesInATrace(t *testing.T) {
	trace := "12  fsync(3) = 0\n13  fdatasync(4 <unfinished ...>\n12  <... fsync resumed>) = 0\n" +
		"13  <... fdatasync resumed>) = 0\n14  syncfs(4)     = 0\n+++ exited with 0 +++\n"
	if n := len(flushBegun.FindAllIndex([]byte(trace), -1)); n != 3 {
		t.Errorf("%d flushes, want 3", n)
	}
}
