//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func stable(i int) string { return fmt.Sprintf("f%07d", i) }

func fill(dir string, n int) error {
	for i := range n {
		f, err := os.OpenFile(filepath.Join(dir, stable(i)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// churn never uses a name twice: then a listing has no reason to show one twice.
func churn(dir, stop string) error {
	const window = 50 // files that exist at a time
	name := func(i int) string { return filepath.Join(dir, fmt.Sprintf("c%07d", i)) }
	n := 0
	for ; ; n++ {
		if _, err := os.Stat(stop); err == nil {
			break
		}
		f, err := os.OpenFile(name(n), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		if n >= window {
			if err := os.Remove(name(n - window)); err != nil {
				return err
			}
		}
	}
	for i := max(0, n-window); i < n; i++ {
		if err := os.Remove(name(i)); err != nil {
			return err
		}
	}
	fmt.Println("churned", n)
	return nil
}

func list(dir string, n int) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	seen := make(map[string]int, len(names))
	for _, name := range names {
		seen[name]++
	}
	missing, twice, foreign := 0, 0, 0
	for i := range n {
		if seen[stable(i)] == 0 {
			missing++
		}
	}
	for name, times := range seen {
		if times > 1 {
			twice++
		}
		if !strings.HasPrefix(name, "f") && !strings.HasPrefix(name, "c") {
			foreign++
		}
	}
	fmt.Printf("listed %d, missing %d, twice %d, foreign %d\n", len(names), missing, twice, foreign)
	if missing+twice+foreign > 0 {
		return errors.New("not what is there")
	}
	if _, err := os.Lstat(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a name that does not exist: %w", err)
	}
	return nil
}
