package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/cmd/sheaf/share"
)

// TestCheck finds nothing in a share that is well, and something in one that is not, with a server and
// without; repairs it when that is said twice, and then finds nothing again.
func TestCheck(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b")
	p := serve(t, nil, append(args, "--adopt")...)
	if err := write(p.mount(uint32(os.Geteuid())), "/x", "x"); err != nil {
		t.Fatal(err)
	}
	check := func(more ...string) result {
		t.Helper()
		return sheaf(t, append(append([]string{"check"}, args...), more...)...)
	}
	if got := check(); got.code != exitOK || !strings.Contains(got.out, " 0 faults, 0 notes") {
		t.Fatalf("of a share that is well: %+v", got)
	}
	left := filepath.Join(base, "b", ".sheaf", "displaced", "00000000000000aa.json") // a record without its object
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte(`{"dir":{"id":"00112233445566778899aabbccddeeff"},"name":"eA==","phys":"eA==","successor":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	found(t, check())
	if got := check("--repair"); !strings.Contains(got.out, "would repair: ") || !strings.Contains(got.out, "nothing was changed") {
		t.Errorf("it does not say what it would do: %+v", got)
	}
	asJSON := check("--json")
	lines := strings.Split(strings.TrimSpace(asJSON.out), "\n")
	var f share.Finding
	var sum share.CheckSummary
	if err := json.Unmarshal([]byte(lines[0]), &f); err != nil || f.Kind != "record" || f.Volume != "b" || f.Repair == "" {
		t.Errorf("%s: %+v, %v", lines[0], f, err)
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil || sum.Kinds["record"] != 1 || sum.Version != share.APIVersion {
		t.Errorf("%s: %+v, %v", lines[len(lines)-1], sum, err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Errorf("it was repaired by only looking: %v", err)
	}
	if got := check("--repair", "--yes"); got.code != exitOK || !strings.Contains(got.out, "repaired: ") || !strings.Contains(got.out, " 1 repaired") {
		t.Errorf("repairing: %+v", got)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("it is still there")
	}
	p.stop()
	if got := check(); got.code != exitOK || !strings.Contains(got.out, " 0 faults, 0 notes") {
		t.Errorf("without a server: %+v", got)
	}
	if got := check("--yes"); got.code != exitUsage {
		t.Errorf("--yes alone: %+v", got)
	}
}

// found demands the finding of TestCheck in words.
func found(t *testing.T, got result) {
	t.Helper()
	if !strings.Contains(got.out, "note: record: volume b: .sheaf/displaced/") || strings.Contains(got.out, "would repair") {
		t.Errorf("%+v", got)
	}
}

// TestCheckPrinter has every kind of line.
func TestCheckPrinter(t *testing.T) {
	var out bytes.Buffer
	p := &checkPrinter{out: &out, bar: &progress{}}
	for _, f := range []share.Finding{
		{Severity: share.Fault, Kind: "epoch", Volume: "a", Path: "d/\x1b[31m", Node: "00ff", What: "it is old", Repair: "it is brought up"},
		{Severity: share.Note, Kind: "row", What: "it is wrong", Repair: "it is removed", Repaired: true},
		{Severity: share.Fault, Kind: "intent", What: "it is open", Do: "start the server again"},
		{Severity: share.Fault, Kind: "row", What: "it is wrong", Repair: "it is removed", Error: "disk full"},
	} {
		p.item(share.CheckItem{Finding: &f})
	}
	p.item(share.CheckItem{Progress: &share.CheckProgress{}})
	p.summary(&share.CheckSummary{CheckProgress: share.CheckProgress{Directories: 3}, Faults: 2, Unlisted: 9, Unchecked: map[string]string{"b": "away"}})
	want := `fault: epoch: volume a: "d/\x1b[31m" (00ff): it is old
note: row: it is wrong; repaired: it is removed
fault: intent: it is open; start the server again
fault: row: it is wrong (disk full)
volume b could not be looked at: away
9 findings came too fast to be listed; they are counted
3 directories, 0 other objects, 0 rows of the index: 2 faults, 0 notes, 0 repaired
`
	if out.String() != want || p.err != nil {
		t.Errorf("it prints\n%s, %v\nwant\n%s", out.String(), p.err, want)
	}
}

// TestProgress draws on what it takes for a terminal.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &progress{newBar(&out), -1}
	p.at("checking", 5, -1)
	p.at("rebuilding", 50, 100)
	p.clear()
	p.end()
	if !strings.Contains(out.String(), "checking") && !strings.Contains(out.String(), "rebuilding") {
		t.Errorf("it draws %q", out.String())
	}
	if quiet := newProgress(&out); quiet.bar != nil {
		t.Error("a buffer is taken for a terminal")
	}
	(&progress{}).at("", 1, 2)
}
