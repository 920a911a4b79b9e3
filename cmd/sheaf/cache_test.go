package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/cmd/sheaf/share"
)

// TestCacheDrop makes a server look again at what it was told that nobody else changes.
func TestCacheDrop(t *testing.T) {
	base := tempDir(t)
	dir := filepath.Join(base, "a", "dir")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	state := []string{"--state", filepath.Join(base, "state")}
	p := serve(t, nil, append(state, "--listen", "127.0.0.1:0", "--adopt", "--volume", "a,exclusive="+filepath.Join(base, "a"))...)
	where := func(want int) {
		t.Helper()
		if got := sheaf(t, append([]string{"where", "/dir/late"}, state...)...); got.code != want {
			t.Fatalf("where: %+v, want code %d", got, want)
		}
	}
	where(exitNotFound)
	if err := os.WriteFile(filepath.Join(dir, "late"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	where(exitNotFound)
	if got := sheaf(t, append([]string{"cache", "drop", "/dir"}, state...)...); got.code != exitOK || !strings.Contains(got.out, "names of 1 directories") {
		t.Errorf("%+v", got)
	}
	where(exitOK)
	var d share.Dropped
	got := sheaf(t, append([]string{"cache", "drop", "--recursive", "--json", "/"}, state...)...)
	if err := json.Unmarshal([]byte(got.out), &d); err != nil || got.code != exitOK || d.Directories != 2 || d.Version != share.APIVersion {
		t.Errorf("%+v, %v", got, err)
	}
	if got := sheaf(t, append([]string{"cache", "drop", "/none"}, state...)...); got.code != exitNotFound {
		t.Errorf("of nothing: %+v", got)
	}
	var st share.Status
	if got := sheaf(t, append([]string{"status", "--json"}, state...)...); json.Unmarshal([]byte(got.out), &st) != nil || st.Lookups == nil || st.Lookups.Mode != "full" || st.Lookups.Asked == 0 || st.Lookups.Nodes == 0 {
		t.Errorf("%+v", got)
	}
	if got := sheaf(t, append([]string{"status"}, state...)...); !strings.Contains(got.out, "look-ups") || !strings.Contains(got.out, "memory") {
		t.Errorf("%+v", got)
	}
	p.stop()
}
