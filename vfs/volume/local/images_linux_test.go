package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/tests/need"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// image makes a file system in a file and mounts it; the test is skipped, with the
// reason, where the host cannot.
func image(t *testing.T, size int64, mkfs string, args ...string) string {
	t.Helper()
	need.Superuser(t, "mounting an image needs root")
	dir := t.TempDir()
	img, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, size); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath(mkfs)
	if err != nil {
		need.Lack(t, strings.TrimPrefix(mkfs, "mkfs."), "%v", err)
	}
	if out, err := exec.Command(tool, append(args, img)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", img, mnt).CombinedOutput(); err != nil {
		need.Lack(t, strings.TrimPrefix(mkfs, "mkfs."), "%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return mnt
}

// TestFileSystems runs the suite on each file system that is served by people.
func TestFileSystems(t *testing.T) {
	for _, c := range []struct {
		name  string
		mkfs  string
		args  []string
		size  int64
		check func(t *testing.T, c volume.Caps)
	}{
		{"ext4", "mkfs.ext4", []string{"-q"}, 64 << 20, strong},
		{"ext4 with 128-byte inodes", "mkfs.ext4", []string{"-q", "-I", "128"}, 64 << 20, seconds},
		{"xfs", "mkfs.xfs", []string{"-q"}, 320 << 20, strong},
		{"btrfs", "mkfs.btrfs", []string{"-q"}, 256 << 20, strong},
	} {
		t.Run(c.name, func(t *testing.T) {
			mnt := image(t, c.size, c.mkfs, c.args...)
			volumetest.Suite(t, func(t *testing.T) volume.Volume {
				t.Helper()
				dir, err := os.MkdirTemp(mnt, "volume") //nolint:usetesting // it has to lie on this mount
				if err != nil {
					t.Fatal(err)
				}
				v := adopted(t, dir)
				c.check(t, v.Caps())
				return v
			})
		})
	}
}

func strong(t *testing.T, c volume.Caps) {
	t.Helper()
	if !c.StrongIdentity || !c.Locate || !c.Marks || !c.ACLs || !c.NoReplace || c.Quiet > 50*time.Millisecond {
		t.Errorf("%+v", c)
	}
}

func seconds(t *testing.T, c volume.Caps) {
	t.Helper()
	if !c.StrongIdentity || c.Quiet != quietCoarse || c.TimeDelta.Sec != 1 {
		t.Errorf("%+v", c)
	}
}
