package script

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

// stackOf is a stack of one script, and a way to load it again.
func stackOf(t *testing.T, options map[string]any) (*translator.Stack, func() error) {
	t.Helper()
	s := translator.NewStack(vfstest.NewModel(vfstest.ModelOptions{}), []translator.Kind{Kind}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
	return s, func() error {
		return s.Load(t.Context(), []translator.Spec{{Kind: "script", Options: options}})
	}
}

// TestKind: a script in a stack is loaded, kept while its text stays, and exchanged when it changes; a
// bad one is refused and the old goes on.
func TestKind(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.star")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs, load := stackOf(t, map[string]any{"file": file, "options": map[string]any{"x": 1}})
	look := func(want vfs.Status) {
		t.Helper()
		r, err := fs.Root(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := fs.Lookup(t.Context(), root, r.Node, vfs.MustName("f")); vfs.StatusOf(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	counted := func() (n float64) {
		fs.Counts(func(_, _ string, counts []translator.Count) {
			for _, c := range counts {
				if c.Name == "count_total" && c.Labels["counter"] == "n" {
					n = c.Value
				}
			}
		})
		return n
	}
	first := "options.get('x', 0)\nn = counter('n')\ndef lookup(call):\n  n.add()\n  return STALE\n"
	write(first)
	if err := load(); err != nil {
		t.Fatal(err)
	}
	look(vfs.Stale)
	if err := load(); err != nil {
		t.Fatal(err)
	}
	look(vfs.Stale)
	if n := counted(); n != 2 {
		t.Errorf("counted %v, want 2: the instance goes on over a reload that changes nothing", n)
	}
	write(first + "def lookup_don(call):\n  pass\n")
	if err := load(); err == nil || !strings.Contains(err.Error(), "f.star:6:1: lookup_don is no function") {
		t.Errorf("a bad script: %v", err)
	}
	look(vfs.Stale)
	write(strings.Replace(first, "STALE", "JUKEBOX", 1))
	if err := load(); err != nil {
		t.Fatal(err)
	}
	look(vfs.Jukebox)
	if n := counted(); n != 1 {
		t.Errorf("counted %v, want 1: a new text is a new instance", n)
	}
}

// TestKindOptions: mistakes in the options come out together.
func TestKindOptions(t *testing.T) {
	for want, options := range map[string]map[string]any{
		"file: is not given":                    {},
		"max-steps: 1 is not between":           {"file": "x", "max-steps": 1},
		"on-error: \"no\" is not one of":        {"file": "x", "on-error": "no"},
		"deadline: 5 is no duration":            {"file": "x", "deadline": 5},
		"memory: 1 is not between":              {"file": "x", "memory": 1},
		"there is no such option":               {"file": "x", "limit": 1},
		"no such file":                          {"file": "/none.star"},
		"options: x is not a set of keys":       {"file": "/none.star", "options": "x"},
		"option y is not known: the script has": {"file": "testdata/options.star", "options": map[string]any{"y": 1}},
	} {
		_, load := stackOf(t, options)
		if err := load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
