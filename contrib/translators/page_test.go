package translators

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
)

// fromPage are the indented blocks of README.md that define a function.
func fromPage(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	var block strings.Builder
	for line := range bytes.Lines(append(text, '\n')) {
		s := string(line)
		if rest, ok := strings.CutPrefix(s, "    "); ok || s == "\n" {
			block.WriteString(strings.TrimSuffix(rest, "\n") + "\n")
			continue
		}
		if strings.Contains(block.String(), "def ") {
			blocks = append(blocks, block.String())
		}
		block.Reset()
	}
	return blocks
}

// TestPage: what the page shows can be loaded and does what the page says.
func TestPage(t *testing.T) {
	blocks := fromPage(t)
	if len(blocks) != 2 || strings.Count(blocks[0], "\n") > 40 {
		t.Fatalf("blocks of the page: %q", blocks)
	}
	dir := t.TempDir()
	for i, name := range []string{"keep.star", "token.star"} {
		text := blocks[i]
		if i == 1 {
			text = "t = table()\n" + text
		}
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := newShare(t, dir+"/keep.star", map[string]any{"age": 60})
		remove := func(want vfs.Status) {
			t.Helper()
			_, err := s.fs.Remove(t.Context(), admin, s.root, vfs.MustName("f"))
			s.want("remove", vfs.StatusOf(err), want)
		}
		s.put(admin, s.root, "f")
		remove(vfs.Perm)
		if n := s.counter("refused"); n != 1 || !strings.Contains(s.log.String(), `"msg":"kept","name":"f","uid":0`) {
			t.Errorf("%v refused: %s", n, s.log)
		}
		time.Sleep(time.Minute)
		remove(vfs.OK)
		remove(vfs.NoEnt)
	})
	s := newShare(t, dir+"/token.star", nil)
	_, _ = s.lookup(ann, s.root, "f")
	if n := s.count("table_entries", "t"); n != 1 {
		t.Errorf("%v entries, want 1", n)
	}
	s.put(ann, s.root, "f")
	if n := s.count("table_entries", "t"); n != 0 {
		t.Errorf("%v entries after create, want none", n)
	}
}
