package nosuffix

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

func over(t *testing.T, suffixes ...any) vfs.FS {
	t.Helper()
	s := translator.NewStack(vfstest.NewModel(vfstest.ModelOptions{}), []translator.Kind{Kind}, slog.New(slog.DiscardHandler))
	if err := s.Load(t.Context(), []translator.Spec{{Kind: "nosuffix", Options: map[string]any{"suffixes": suffixes}}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSuite: without suffixes the layer is not there.
func TestSuite(t *testing.T) {
	vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS { return over(t) })
}

func TestRefuses(t *testing.T) {
	fs := over(t, ".tmp")
	root, err := fs.Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]vfs.Status{"a": vfs.OK, "a.tmp": vfs.Perm, ".tmp": vfs.Perm, "a.tmp.txt": vfs.OK} {
		if _, _, err := fs.Make(t.Context(), vfs.Superuser, root.Node, vfs.MustName(name), &vfs.How{Type: vfs.Regular}); vfs.StatusOf(err) != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, _, err := fs.Rename(t.Context(), vfs.Superuser, root.Node, vfs.MustName("a"), root.Node, vfs.MustName("b.tmp")); vfs.StatusOf(err) != vfs.Perm {
		t.Errorf("rename: %v", err)
	}
	if _, err := fs.Remove(t.Context(), vfs.Superuser, root.Node, vfs.MustName("a.tmp.txt")); err != nil {
		t.Errorf("remove: %v", err)
	}
}

// TestPage keeps the code on the page equal to the code here.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../go.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"nosuffix.go"} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(code), "\n"); n >= 40 {
			t.Errorf("%s has %d lines", file, n)
		}
		if !strings.Contains(string(page), "```go\n"+string(code)+"```\n") {
			t.Errorf("go.md has not the code of %s", file)
		}
	}
}
