//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// steadyDirs is how many directories the files of steady are spread over.
const steadyDirs = 10

func steadyName(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("d%d", i%steadyDirs), stable(i))
}

// steady is a client of a share whose volumes go and come. It looks up, reads, lists and tries to create the files 0 to
// n-1, which exist, and makes new ones. An I/O error is an answer that a volume's absence gives; that something
// is not there, is another, is stale, or can be created a second time is wrong whatever happens.
// When the file stop exists, and so all volumes are back, everything acknowledged must be there.
func steady(dir string, n int, stop string) error {
	var done, away int
	made := make(map[string]bool)
	step := func(i int) error {
		var err error
		switch rand.IntN(8) {
		case 0:
			err = listed(filepath.Join(dir, fmt.Sprintf("d%d", i%steadyDirs)), i%steadyDirs, n)
		case 1:
			err = twice(steadyName(dir, i))
		case 2:
			name := filepath.Join(dir, fmt.Sprintf("d%d", i%steadyDirs), fmt.Sprintf("new%07d", done))
			if err = create(name); err == nil {
				made[name] = true
			}
		default:
			err = holdsItsName(steadyName(dir, i))
		}
		return err
	}
	for {
		err := step(rand.IntN(n))
		switch {
		case errors.Is(err, syscall.EIO):
			away++
		case err != nil:
			return fmt.Errorf("after %d calls, %d of them EIO: %w", done, away, err)
		}
		if done++; done == 1 {
			fmt.Println("steady")
		}
		if _, err := os.Stat(stop); err == nil {
			break
		}
	}
	for i := range n {
		if err := settled(func() error { return holdsItsName(steadyName(dir, i)) }); err != nil {
			return fmt.Errorf("in the end: %w", err)
		}
	}
	for name := range made {
		if err := settled(func() error { return holdsItsName(name) }); err != nil {
			return fmt.Errorf("in the end: %w", err)
		}
	}
	fmt.Printf("went on: %d calls, %d of them EIO, %d files made\n", done, away, len(made))
	return nil
}

// settled asks again while it is told of an I/O error: a volume may not have been taken back yet.
func settled(f func() error) error {
	end := time.Now().Add(time.Minute)
	for {
		err := f()
		if !errors.Is(err, syscall.EIO) || time.Now().After(end) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func holdsItsName(name string) error {
	b, err := os.ReadFile(name)
	if err == nil && string(b) != filepath.Base(name) {
		return fmt.Errorf("%s holds %q", name, b)
	}
	return err
}

// twice tries to make what exists.
func twice(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err == nil {
		f.Close()
		return fmt.Errorf("%s was created a second time", name)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// create makes a file that holds its name, durably. A try that failed may have made it.
func create(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(filepath.Base(name))
	return errors.Join(err, f.Sync(), f.Close())
}

// listed wants every file of a directory in its listing.
func listed(dir string, first, n int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Name()] = true
	}
	for i := first; i < n; i += steadyDirs {
		if !there[stable(i)] {
			return fmt.Errorf("%s lists %d names, and not %s", dir, len(entries), stable(i))
		}
	}
	return nil
}
