package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sheaf/vfs"
)

// TestDirectoryGone deletes, moves or exchanges the directory of an open index. It says so and knows
// nothing from then on; Close ends, and leaves neither what is there now changed nor anything new.
func TestDirectoryGone(t *testing.T) {
	for _, c := range []struct {
		name string
		take func(dir string) error
		left bool // something is there afterwards
		err  bool // of Close
	}{
		{"deleted", os.RemoveAll, false, false},
		{"deleted with its parent", func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) }, false, false},
		{"moved", func(dir string) error { return os.Rename(dir, dir+"-moved") }, false, false},
		{"exchanged", func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "another's"), nil, 0o600))
		}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state", "index")
			s, err := Open(Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Watch: 5 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			n := vfs.NodeID{1, 2, 3}
			put := func() error { return s.PutNode(t.Context(), &Node{ID: n, Type: vfs.Directory}) }
			if err := errors.Join(put(), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			if err := put(); err != nil { // queued, perhaps
				t.Fatal(err)
			}
			if err := c.take(dir); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(time.Minute)
			for s.Health().Err == nil {
				if time.Now().After(deadline) {
					t.Fatal("not noticed")
				}
				time.Sleep(time.Millisecond)
			}
			if err := s.Health().Err; !errors.Is(err, errGone) {
				t.Error(err)
			}
			if _, ok, err := s.Node(n); ok || err != nil {
				t.Errorf("it knows something: %v, %v", ok, err)
			}
			if err := put(); vfs.StatusOf(err) != vfs.IO {
				t.Error(err)
			}
			done := make(chan error, 1)
			go func() { done <- s.Close() }()
			select {
			case err = <-done:
			case <-time.After(time.Minute):
				t.Fatal("Close hangs")
			}
			if (err != nil) != c.err {
				t.Errorf("Close: %v", err)
			}
			entries, err := os.ReadDir(dir)
			if c.left && (len(entries) != 1 || entries[0].Name() != "another's") || !c.left && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v, %v are there", entries, err)
			}
			if _, err := os.Stat(filepath.Dir(dir)); c.name == "deleted with its parent" && !errors.Is(err, fs.ErrNotExist) {
				t.Error(fmt.Errorf("the parent: %w", err))
			}
		})
	}
}

// TestPutBack: an index that was moved while it was in use, whose server was killed then, and which was put
// back, is not held to have been kept up.
func TestPutBack(t *testing.T) {
	dir := t.TempDir()
	for i, want := range []uint32{0, 1, 1} {
		s, err := Open(Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		if st, err := s.owner.Stat(); err != nil || st.Size() != 0 {
			t.Errorf("the lock's file: %v, %v", st, err)
		}
		if s.void != want || s.lost.Load() != want {
			t.Errorf("opening %d: not believed up to session %d and %d, want %d", i, s.void, s.lost.Load(), want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := os.WriteFile(filepath.Join(dir, lockName), []byte(goneText), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCloseUnclean: rows are written, and not believed.
func TestCloseUnclean(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	n := vfs.NodeID{1, 2, 3}
	s.SetWhole(true)
	if err := errors.Join(s.PutNode(t.Context(), &Node{ID: n, Type: vfs.Directory}), s.CloseUnclean()); err != nil {
		t.Fatal(err)
	}
	s = open()
	if _, ok, err := s.Node(n); !ok || err != nil || !s.Unclean() || s.Whole() {
		t.Errorf("%v %v, unclean %v, whole %v", ok, err, s.Unclean(), s.Whole())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	if s.Unclean() {
		t.Error("unclean after Close")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
