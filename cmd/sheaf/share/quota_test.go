package share

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// TestQuota: over real volumes, with a tree that was adopted and a file in it with two names, on two volumes, over a restart.
func TestQuota(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	for file, size := range map[string]int{"a/p/one": 10000, "b/p/two": 5000, "a/other": 1} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(base, file)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(base, file), make([]byte, size), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(base, "a/p/one"), filepath.Join(base, "a/p/again")); err != nil {
		t.Fatal(err)
	}
	c.Translators = []translator.Spec{{Kind: "quota", Options: map[string]any{
		"directories": []any{map[string]any{"path": "/p", "hard-files": 3, "hard-bytes": "1GiB"}},
	}}}
	s := start(t, c)
	awaitLine(t, s, "/p: 20.0 KiB of 1.0 GiB, 2 files of 3")
	fs := s.FS()
	root, err := fs.Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := fs.Lookup(t.Context(), vfs.Superuser, root.Node, vfs.MustName("p"))
	if err != nil {
		t.Fatal(err)
	}
	mk := func(name string, want vfs.Status) {
		t.Helper()
		_, _, err := fs.Make(t.Context(), vfs.Superuser, p.Node, vfs.MustName(name), &vfs.How{Type: vfs.Regular})
		if vfs.StatusOf(err) != want {
			t.Errorf("make %s: %v, want %v", name, err, want)
		}
	}
	mk("three", vfs.OK)
	mk("four", vfs.DQuot)
	if _, err := fs.Remove(t.Context(), vfs.Superuser, p.Node, vfs.MustName("one")); err != nil {
		t.Fatal(err)
	}
	mk("four", vfs.DQuot) // the file has its other name
	if _, err := fs.Remove(t.Context(), vfs.Superuser, p.Node, vfs.MustName("again")); err != nil {
		t.Fatal(err)
	}
	mk("four", vfs.OK)
	if sp, _, err := fs.Statfs(t.Context(), vfs.Superuser, p.Node); err != nil || sp.TotalFiles != 3 || sp.AvailFiles != 0 {
		t.Errorf("FSSTAT: %+v, %v", sp, err)
	}
	without := c
	without.Translators = nil
	if err := s.Reload(t.Context(), without); err != nil { // the layer ends, and keeps what it knows
		t.Fatal(err)
	}
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		kept, err := os.ReadFile(filepath.Join(c.State, quotaDir, "quota.json"))
		if strings.Contains(string(kept), `"files":3`) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("kept is %s, %v", kept, err)
		}
	}
}

// awaitLine waits until status says line, at its beginning, of the first translator.
func awaitLine(t *testing.T, s *Share, line string) {
	t.Helper()
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		st, err := s.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lines := st.Translators[0].Lines
		if len(lines) > 1 && strings.HasPrefix(lines[1], line) && !strings.Contains(lines[1], "at least") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("status says %q, want %q", lines, line)
		}
	}
}
