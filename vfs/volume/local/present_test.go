//go:build linux || darwin || freebsd

package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestPresent takes a volume's directory away in several ways while it is open.
func TestPresent(t *testing.T) {
	for _, c := range []struct {
		name string
		take func(t *testing.T, dir string)
		want string // empty: it is still there
	}{
		{"nothing happens", func(*testing.T, string) {}, ""},
		{"its marker is written anew", func(t *testing.T, dir string) {
			t.Helper()
			touchFile(t, filepath.Join(dir, markerPath))
		}, ""},
		{"renamed", func(t *testing.T, dir string) { t.Helper(); rename(t, dir, dir+"-away") }, "no such file"},
		{"another directory", func(t *testing.T, dir string) {
			t.Helper()
			rename(t, dir, dir+"-away")
			mkdirs(t, filepath.Join(dir, volume.PrivateName))
		}, "something else is mounted"},
		{"a file", func(t *testing.T, dir string) {
			t.Helper()
			rename(t, dir, dir+"-away")
			touchFile(t, dir)
		}, "not a directory"},
		{"renamed and back", func(t *testing.T, dir string) {
			t.Helper()
			rename(t, dir, dir+"-away")
			rename(t, dir+"-away", dir)
		}, ""},
		{"without " + volume.PrivateName, func(t *testing.T, dir string) {
			t.Helper()
			rename(t, filepath.Join(dir, volume.PrivateName), filepath.Join(dir, "x"))
		}, "was taken away"},
		{"with another " + volume.PrivateName, func(t *testing.T, dir string) {
			t.Helper()
			rename(t, filepath.Join(dir, volume.PrivateName), filepath.Join(dir, "x"))
			mkdirs(t, filepath.Join(dir, volume.PrivateName))
		}, "was exchanged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "v")
			mkdirs(t, dir)
			v, err := Open(t.Context(), dir, Options{Name: "v", Adopt: &volume.Marker{Share: strings.Repeat("1", 32), Root: strings.Repeat("2", 32), Key: strings.Repeat("3", 64)}})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			c.take(t, dir)
			err = v.Present(t.Context())
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.Is(err, volume.ErrGone) || vfs.StatusOf(err) != vfs.NXIO || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want ErrGone: %s", err, c.want)
			}
		})
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func mkdirs(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func touchFile(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
