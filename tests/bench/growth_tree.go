package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// growthName is the i-th of many names.
func growthName(i int) string { return fmt.Sprintf("name-%08d", i) }

// layDirectory makes a directory on each of so many volumes in dir, and files from first on in turn on one of them, as they were before anybody
// served them.
func layDirectory(dir string, volumes int, name string, first, files int) error {
	for v := range volumes {
		if err := os.MkdirAll(filepath.Join(volumeDir(dir, v), name), 0o755); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, volumes)
	for v := range volumes {
		wg.Go(func() {
			for i := first + v; i < first+files && errs[v] == nil; i += volumes {
				errs[v] = os.WriteFile(filepath.Join(volumeDir(dir, v), name, growthName(i)), nil, 0o644)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// listAll lists a directory of files from first on, each of which must be there once, and keeps every keep-th.
func listAll(c *conn, dir []byte, first, files, keep int) (kept []object, err error) {
	seen := make([]bool, files)
	each := func(name string, a attr, handle []byte) error {
		digits, ok := strings.CutPrefix(name, "name-")
		i, err := strconv.Atoi(digits)
		switch i -= first; {
		case !ok || err != nil || i < 0 || i >= files:
			return fmt.Errorf("%s is listed, which nobody made", name)
		case seen[i]:
			return fmt.Errorf("%s is listed twice", name)
		case !a.there || len(handle) == 0:
			return fmt.Errorf("%s is listed without attributes or handle", name)
		}
		seen[i] = true
		if i%keep == 0 {
			kept = append(kept, object{strings.Clone(name), bytes.Clone(handle), a.fileid})
		}
		return nil
	}
	for s := (&call{}); ; {
		r, err := c.call(progNFS, procReadDirPlus, func(b []byte) []byte { return listArgs(b, dir, s) })
		eof := false
		if err == nil {
			_, eof, err = s.page(&r, each)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("list: %w", err)
		case eof && s.listed != files:
			return nil, fmt.Errorf("a listing of %d names, want %d", s.listed, files)
		case eof:
			return kept, nil
		}
	}
}
