//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	jamReads  = 200 // more calls than a connection may have in flight
	jamWrites = 40
	jamSize   = 64 << 10 // bytes of what is written
)

// jam has many calls under way at once on files f0000000 to f(n-1) of dir, whose volume may hang, and on new ones, which it
// flushes. Any of them may fail with an I/O error. When all have come back, what was acknowledged must be there.
func jam(dir string, n int) error {
	var all sync.WaitGroup
	errs := make([]error, jamReads+jamWrites)
	failed := 0
	for i := range jamReads {
		all.Go(func() {
			buf := make([]byte, 4096)
			errs[i] = uncached(filepath.Join(dir, stable(i%n)), unix.O_RDONLY, unix.Pread, buf)
		})
	}
	for i := range jamWrites {
		all.Go(func() { errs[jamReads+i] = flushed(jamName(dir, i), jamData(i)) })
	}
	all.Wait()
	for i, err := range errs {
		switch {
		case errors.Is(err, unix.EIO):
			failed++
		case err != nil:
			return err
		case i >= jamReads:
			if err := settled(func() error { return holds(jamName(dir, i-jamReads), jamData(i-jamReads)) }); err != nil {
				return err
			}
		}
	}
	fmt.Printf("jammed: %d calls, %d of them EIO\n", len(errs), failed)
	return nil
}

func jamName(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("w%d", i)) }

func jamData(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%07d\n", i)), jamSize/8) }

func flushed(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// holds looks at what the server has: the client's memory is dropped.
func holds(name string, data []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	got := make([]byte, len(data)+1)
	k, err := f.ReadAt(got, 0)
	if k == len(data) && bytes.Equal(got[:k], data) {
		return nil
	}
	if errors.Is(err, unix.EIO) {
		return err
	}
	return fmt.Errorf("%s was acknowledged with %d bytes, and has %d others: %w", name, len(data), k, err)
}
