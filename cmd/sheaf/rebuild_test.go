package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/cmd/sheaf/share"
)

// TestRebuild reads volumes with many names into a new index, with a server and without.
func TestRebuild(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b")
	const dirs, files = 5, 20
	for d := range dirs {
		dir := filepath.Join(base, "a", fmt.Sprint("dir", d))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for f := range files {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(f)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := serve(t, nil, append(args, "--adopt")...)
	rebuild := func(more ...string) share.ScanStatus {
		t.Helper()
		got := sheaf(t, append(append([]string{"rebuild", "--json"}, args...), more...)...)
		var s share.ScanStatus
		if err := json.Unmarshal([]byte(got.out), &s); err != nil || got.code != exitOK {
			t.Fatalf("%+v, %v", got, err)
		}
		if s.Directories != dirs+1 || s.Objects < dirs*files+dirs || s.Running || !s.Whole || s.Version != share.APIVersion {
			t.Errorf("%+v", s)
		}
		return s
	}
	rebuild()
	var st share.Status
	if got := sheaf(t, "status", "--json", args[0], args[1]); json.Unmarshal([]byte(got.out), &st) != nil || !st.Scan.Whole {
		t.Errorf("%+v", got)
	}
	p.stop()
	rebuild()
	if got := sheaf(t, append([]string{"rebuild"}, args...)...); got.code != exitOK || !strings.Contains(got.out, "6 directories with ") {
		t.Errorf("%+v", got)
	}
	if got := sheaf(t, "rebuild", args[0], args[1]); got.code != exitNotRunning {
		t.Errorf("without server and volumes: %+v", got)
	}
}

func TestScanText(t *testing.T) {
	for _, c := range []struct {
		s    share.ScanStatus
		want string
	}{
		{share.ScanStatus{Whole: true}, ""},
		{share.ScanStatus{}, "waits: not all that is on the volumes is known yet"},
		{share.ScanStatus{Running: true, Why: "x", Directories: 2, Objects: 30, Expected: 20, Rate: 7}, "under way (x): 2 directories, 30 names of about 30, 7 a second"},
		{share.ScanStatus{Running: true, Why: "x"}, "under way (x): 0 directories, 0 names, 0 a second"},
		{share.ScanStatus{Error: "scan /a: input/output error"}, "not everything could be seen, it is tried again: scan /a: input/output error"},
	} {
		if got := scanText(&c.s); got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
	var b bytes.Buffer
	if err := printRebuilt(&b, &share.ScanStatus{Directories: 1, Objects: 2, Entered: 3, Elapsed: time.Second.Seconds(), Missing: []string{"b"}}); err != nil ||
		b.String() != "1 directories with 2 names are known, 3 of them new; it took 1s\nvolume b is not there: what lies on it is known as it was\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if wholeOf(&share.ScanStatus{}) != -1 || wholeOf(&share.ScanStatus{Expected: 5, Objects: 9}) != 10 {
		t.Error("the bar is at its end before the end")
	}
}
