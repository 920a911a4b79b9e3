package volumetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sheaf/tests/need"
)

// HostKinds are the file systems that NewHost knows.
var HostKinds = []string{"ext4", "ext4-128", "xfs", "btrfs", "tmpfs", "overlay"}

// hostKind is how an image is made and mounted.
type hostKind struct {
	size  int64 // of the image, in bytes
	mkfs  []string
	mount string // options
}

var imageKinds = map[string]hostKind{
	"ext4":     {32 << 20, []string{"mkfs.ext4", "-q"}, ""},
	"ext4-128": {32 << 20, []string{"mkfs.ext4", "-q", "-I", "128"}, ""}, // no birth times, times of whole seconds
	"xfs":      {320 << 20, []string{"mkfs.xfs", "-q"}, "nouuid"},        // nouuid: beside its clone
	"btrfs":    {128 << 20, []string{"mkfs.btrfs", "-q"}, ""},
}

// Host is a file system of its own, mounted for a test.
type Host struct {
	Kind   string
	Dir    string // where it is mounted
	Image  string // the file that holds it; empty if there is none
	Device string // the loop device; empty if it is not attached
	lower  string // of an overlay: what it is made of
}

// NewHost makes an empty file system and mounts it. Where the host cannot, the test is skipped with the reason, or failed
// where the kind is required (package need).
func NewHost(tb testing.TB, kind string) *Host {
	tb.Helper()
	h := &Host{Kind: kind, Dir: tb.TempDir()}
	need.Superuser(tb, "mounting needs root")
	if k, ok := imageKinds[kind]; ok {
		h.Image = filepath.Join(tb.TempDir(), "image")
		if err := os.WriteFile(h.Image, nil, 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Truncate(h.Image, k.size); err != nil {
			tb.Fatal(err)
		}
		if _, err := exec.LookPath(k.mkfs[0]); err != nil {
			need.Lack(tb, kind, "%v", err)
		}
		run(tb, append(slices.Clone(k.mkfs), h.Image)...)
	}
	if kind == "overlay" {
		h.lower = tb.TempDir()
		for _, d := range []string{"lower", "upper", "work"} {
			if err := os.Mkdir(filepath.Join(h.lower, d), 0o755); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if out, err := h.mount(); err != nil {
		need.Lack(tb, kind, "%v: %s", err, out)
	}
	tb.Cleanup(func() {
		if mounted(h.Dir) {
			h.Unmount(tb)
		}
	})
	return h
}

// mount attaches the image and mounts.
func (h *Host) mount() (out []byte, err error) {
	switch h.Kind {
	case "tmpfs":
		return exec.Command("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", h.Dir).CombinedOutput()
	case "overlay":
		o := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", h.lower)
		return exec.Command("mount", "-t", "overlay", "overlay", "-o", o, h.Dir).CombinedOutput()
	}
	if h.Device == "" {
		if out, err = exec.Command("losetup", "--find", "--show", h.Image).CombinedOutput(); err != nil {
			return out, err
		}
		h.Device = strings.TrimSpace(string(out))
	}
	args := []string{h.Device, h.Dir}
	if o := imageKinds[h.Kind].mount; o != "" {
		args = append([]string{"-o", o}, args...)
	}
	if out, err = exec.Command("mount", args...).CombinedOutput(); err != nil {
		if more, derr := exec.Command("losetup", "--detach", h.Device).CombinedOutput(); derr != nil {
			out = append(out, more...)
		}
		h.Device = ""
	}
	return out, err
}

// Mount mounts what Unmount took away.
func (h *Host) Mount(tb testing.TB) {
	tb.Helper()
	if out, err := h.mount(); err != nil {
		tb.Fatalf("mount %s: %v\n%s", h.Kind, err, out)
	}
}

// Unmount unmounts it and detaches its device. A tmpfs is empty afterwards.
func (h *Host) Unmount(tb testing.TB, options ...string) {
	tb.Helper()
	run(tb, append(append([]string{"umount"}, options...), h.Dir)...)
	if h.Device != "" {
		run(tb, "losetup", "--detach", h.Device)
		h.Device = ""
	}
}

// Renumber unmounts it and mounts it from another loop device.
func (h *Host) Renumber(tb testing.TB) {
	tb.Helper()
	was := h.Device
	h.Unmount(tb)
	h.mountBeside(tb, was)
}

// mountBeside mounts it from another loop device than was.
func (h *Host) mountBeside(tb testing.TB, was string) {
	tb.Helper()
	attach := func(file string) string {
		out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
		if err != nil {
			tb.Fatalf("losetup: %v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for h.Device = attach(h.Image); h.Device == was; h.Device = attach(h.Image) {
		run(tb, "losetup", "--detach", h.Device)
		other := filepath.Join(tb.TempDir(), "other")
		if err := os.WriteFile(other, make([]byte, 1<<20), 0o600); err != nil {
			tb.Fatal(err)
		}
		d := attach(other) // so that the number is another's
		tb.Cleanup(func() { run(tb, "losetup", "--detach", d) })
	}
	h.Mount(tb)
}

// Pull takes an image away while it is in use: its name goes at once, the file system when nobody has anything of it open
// any more. That is waited for, as the image must not be mounted twice. The result mounts it again, from another device.
func (h *Host) Pull(tb testing.TB) (back func()) {
	tb.Helper()
	was := h.Device
	run(tb, "umount", "--lazy", h.Dir)
	for end := time.Now().Add(pullPatience); ; time.Sleep(time.Millisecond) {
		f, err := os.OpenFile(was, os.O_RDONLY|os.O_EXCL, 0) // refused for a block device that is mounted
		if err == nil {
			if err := f.Close(); err != nil {
				tb.Fatal(err)
			}
			break
		}
		if time.Now().After(end) {
			tb.Fatalf("%s is still mounted %v after it was taken away: %v", was, pullPatience, err)
		}
	}
	run(tb, "losetup", "--detach", was)
	h.Device = ""
	return func() {
		tb.Helper()
		h.mountBeside(tb, was)
	}
}

// pullPatience is how long Pull waits for those who have something open.
const pullPatience = time.Minute

// Clone mounts a copy of the image, block for block, beside it. The original must not be changing.
func (h *Host) Clone(tb testing.TB) *Host {
	tb.Helper()
	c := &Host{Kind: h.Kind, Dir: tb.TempDir(), Image: filepath.Join(tb.TempDir(), "image")}
	run(tb, "sync", "--file-system", h.Dir)
	run(tb, "cp", "--sparse=always", h.Image, c.Image)
	c.Mount(tb)
	tb.Cleanup(func() {
		if mounted(c.Dir) {
			c.Unmount(tb)
		}
	})
	return c
}

// mounted reports whether something is mounted at dir.
func mounted(dir string) bool {
	b, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(b), " "+dir+" ")
}

// run runs a program of the host, which must succeed.
func run(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
