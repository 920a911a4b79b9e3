package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOperatingPage keeps the messages that contrib/operating.md explains equal to those that the code has.
func TestOperatingPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "contrib", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "## What the messages mean")
	if !ok {
		t.Fatal("the page has no table of messages")
	}
	code := sources(t)
	rows := 0
	for line := range strings.SplitSeq(table, "\n") {
		message, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		message, _, _ = strings.Cut(message, "` |")
		rows++
		for part := range strings.SplitSeq(message, "…") {
			if part = strings.TrimSpace(part); !strings.Contains(code, part) {
				t.Errorf("the code never says %q", part)
			}
		}
	}
	if rows < 20 {
		t.Errorf("only %d messages were found", rows)
	}
}

// sources is all Go code of ours but the tests.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, room := range []string{".", "../../vfs", "../../meta", "../../nfsd"} {
		err := filepath.WalkDir(room, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
				return err
			}
			b, err := os.ReadFile(p)
			all.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
