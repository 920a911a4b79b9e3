//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// hold is a client that lives in the share: its working directory is there, it keeps files open in every way, and it
// goes on using all of them whatever happens to the server meanwhile, with a pause between two rounds. Any error ends it.
func hold(dir, stop string, pause time.Duration) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	old := bytes.Repeat([]byte("was here before\n"), 4096)
	if err := os.WriteFile("old", old, 0o644); err != nil {
		return err
	}
	reader, err := os.Open("old")
	if err != nil {
		return err
	}
	log, err := os.OpenFile("log", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	gone, err := os.OpenFile("gone", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := os.Remove("gone"); err != nil {
		return err
	}
	if err := os.Mkdir("sub", 0o755); err != nil {
		return err
	}
	sub, err := os.Open("sub")
	if err != nil {
		return err
	}
	var wrote []byte
	for i := 0; ; i++ {
		line := fmt.Appendf(nil, "line %08d\n", i)
		wrote = append(wrote, line...)
		if err := round(i, line, log, gone, sub); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if i == 0 {
			fmt.Println("holding")
		}
		if _, err := os.Stat(stop); err == nil {
			break
		}
		time.Sleep(pause)
	}
	if err := log.Sync(); err != nil {
		return err
	}
	for name, f := range map[string]*os.File{"log": log, "gone": gone} {
		if err := same(f, wrote); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := same(reader, old); err != nil {
		return fmt.Errorf("old: %w", err)
	}
	byName, err := os.ReadFile("log")
	if err != nil || !bytes.Equal(byName, wrote) {
		return fmt.Errorf("log by its name: %d bytes of %d, %w", len(byName), len(wrote), err)
	}
	fmt.Println("held", len(wrote))
	return nil
}

// gonePath reports that a call was told of no such name, and that there is none of this name. A server that is killed
// between doing a call and answering it is sent the call again, and has forgotten that it did it: REMOVE and RENAME
// then say ENOENT, whatever the server, since no reply cache outlives it.
func gonePath(told error, name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(told, os.ErrNotExist) && errors.Is(err, os.ErrNotExist)
}

// round uses what is open once, and makes, renames and removes names relative to the working directory.
func round(i int, line []byte, log, gone, sub *os.File) error {
	if _, err := log.Write(line); err != nil {
		return err
	}
	if _, err := gone.Write(line); err != nil {
		return err
	}
	if i%10 == 9 { // the lines in between are lost with the server unless the client sends them again
		if err := log.Sync(); err != nil {
			return err
		}
	}
	name, other := filepath.Join("sub", fmt.Sprintf("n%d", i)), fmt.Sprintf("m%d", i)
	if err := os.WriteFile(name, line, 0o600); err != nil {
		return err
	}
	if err := os.Rename(name, other); err != nil && (!gonePath(err, name) || gonePath(err, other)) {
		return err
	}
	if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, line) {
		return fmt.Errorf("%s: %q, %w", other, got, err)
	}
	if err := os.Remove(other); err != nil && !gonePath(err, other) {
		return err
	}
	if _, err := sub.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if names, err := sub.Readdirnames(-1); err != nil || len(names) > 0 {
		return fmt.Errorf("sub lists %q, %w", names, err)
	}
	_, err := os.Getwd()
	return err
}

func same(f *os.File, want []byte) error {
	got := make([]byte, len(want)+1)
	n, err := f.ReadAt(got, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("%d bytes read, %d written, or others", n, len(want))
	}
	return nil
}
