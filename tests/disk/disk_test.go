//go:build linux

package disk

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/tests/need"
)

// TestHang: what is in memory is answered by a disk that hangs, what is read, and flushed, is not, until it goes on.
func TestHang(t *testing.T) {
	need.Superuser(t, "only root can mount")
	d, err := New(filepath.Join(t.TempDir(), "top"))
	if err != nil {
		need.Lack(t, need.Loop, "%v", err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	name := filepath.Join(d.Dir, "f")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Hang(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
		done := make(chan error, 2)
		go func() { _, err := os.ReadFile(name); done <- err }()
		go func() { done <- flushed(name) }()
		select {
		case err := <-done:
			t.Errorf("a call came back: %v", err)
		case <-time.After(200 * time.Millisecond): // that nothing comes cannot be awaited
		}
		if err := d.Release(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

func flushed(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 1<<19); err != nil {
		return err
	}
	return unix.Fsync(int(f.Fd()))
}
