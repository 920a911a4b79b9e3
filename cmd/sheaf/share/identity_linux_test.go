package share

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume/volumetest"
)

// grown is what the tests of copies keep handles of: a directory on both volumes of a share, and a file on each.
type grown struct{ dir, onA, onB vfs.Node }

// root is the superuser, for the calls of these tests.
var root = vfs.Superuser

// opened opens the share, calls f, and closes it.
func opened(t *testing.T, c Config, f func(fs vfs.FS)) {
	t.Helper()
	s, err := Open(t.Context(), c, Options{Logger: testLogger(t), Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f(s.FS())
	if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// lookUp is what is at a path of two names.
func lookUp(t *testing.T, fs vfs.FS, names ...string) vfs.Node {
	t.Helper()
	a, err := fs.Root(t.Context(), root)
	for _, n := range names {
		if err != nil {
			break
		}
		a, _, err = fs.Lookup(t.Context(), root, a.Node, vfs.MustName(n))
	}
	if err != nil {
		t.Fatalf("look %v up: %v", names, err)
	}
	return a.Node
}

// grow makes what lies on each volume by hand, and lets the share see it.
func grow(t *testing.T, c Config) (g grown) {
	t.Helper()
	for i, file := range []string{"onA", "onB"} {
		command(t, "mkdir", filepath.Join(c.Volumes[i].Dir, "d"))
		command(t, "cp", "/proc/self/limits", filepath.Join(c.Volumes[i].Dir, "d", file))
	}
	opened(t, c, func(fs vfs.FS) {
		g = grown{lookUp(t, fs, "d"), lookUp(t, fs, "d", "onA"), lookUp(t, fs, "d", "onB")}
	})
	return g
}

func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// wantHandles wants that the handles of the directory and of the files lead to them, or the second file's be Stale and its name
// lead to another object.
func (g *grown) wantHandles(t *testing.T, c Config, same bool) {
	t.Helper()
	opened(t, c, func(fs vfs.FS) {
		for i, n := range []vfs.Node{g.dir, g.onA, g.onB} {
			a, err := getAttr(t, fs, n)
			switch {
			case i == 2 && !same:
				if vfs.StatusOf(err) != vfs.Stale {
					t.Errorf("handle of the file that was copied: %v, %v, want Stale", a.Node, err)
				}
			case err != nil || a.Node.ID != n.ID:
				t.Errorf("handle %d leads to %v, %v", i, a.Node, err)
			}
		}
		if lookUp(t, fs, "d").ID != g.dir.ID || lookUp(t, fs, "d", "onA").ID != g.onA.ID {
			t.Error("the directory, or the file on the other volume, became another")
		}
		if (lookUp(t, fs, "d", "onB").ID == g.onB.ID) != same {
			t.Errorf("the file is the same: %v, want %v", !same, same)
		}
	})
}

// getAttr asks until the share has searched for n.
func getAttr(t *testing.T, fs vfs.FS, n vfs.Node) (a vfs.Attr, err error) {
	t.Helper()
	for end := time.Now().Add(wait); ; {
		a, err = fs.GetAttr(t.Context(), root, n)
		if vfs.StatusOf(err) != vfs.Jukebox || time.Now().After(end) {
			return a, err
		}
	}
}

// replaced is c with the second volume elsewhere.
func replaced(c Config, dir string) Config {
	c.Volumes = []Volume{c.Volumes[0], {Name: c.Volumes[1].Name, Dir: dir}}
	return c
}

// TestCopiedDisk replaces a disk by a copy of it: adopted in its place, directories that lie on other volumes too, and all that
// lies there, keep their handles; handles of what was copied are Stale, as decision 6 says.
func TestCopiedDisk(t *testing.T) {
	for _, program := range [][]string{{"cp", "-a"}, {"rsync", "-aHAX"}} {
		t.Run(program[0], func(t *testing.T) {
			if _, err := exec.LookPath(program[0]); err != nil {
				t.Skip(err)
			}
			base := tempDir(t)
			c := shareConfig(t, base, "a", "b")
			g := grow(t, c)
			to := filepath.Join(base, "new")
			command(t, append(program, filepath.Join(base, "b")+"/.", to)...)
			for _, state := range []string{"state", "lost"} {
				c := replaced(c, to)
				c.State = filepath.Join(base, state)
				g.wantHandles(t, c, false)
			}
		})
	}
}

// TestSnapshotInPlace gives a btrfs snapshot beside its original, where it is another volume, and in its place, where it
// is a copy.
func TestSnapshotInPlace(t *testing.T) {
	h := volumetest.NewHost(t, "btrfs")
	base := tempDir(t)
	c := shareConfig(t, base, "a")
	b, snap := filepath.Join(h.Dir, "b"), filepath.Join(h.Dir, "snap")
	command(t, "btrfs", "subvolume", "create", b)
	c.Volumes = append(c.Volumes, Volume{Name: "b", Dir: b})
	g := grow(t, c)
	command(t, "btrfs", "subvolume", "snapshot", b, snap)

	both := c
	both.Volumes = append(both.Volumes[:2:2], Volume{Name: "snap", Dir: snap})
	both.Adopt = false
	_, err := Open(t.Context(), both, Options{Logger: testLogger(t)})
	wantError(t, err, `volume "snap"`, `is a copy of volume "b"`)

	alone := filepath.Join(h.Dir, "alone")
	command(t, "btrfs", "subvolume", "snapshot", snap, alone)
	g.wantHandles(t, replaced(c, alone), false)

	both.Adopt = true
	both.State = filepath.Join(base, "other")
	g.wantHandles(t, c, true) // b itself is what it was
	opened(t, both, func(fs vfs.FS) {
		if lookUp(t, fs, "d").ID != g.dir.ID || lookUp(t, fs, "d", "onB").ID != g.onB.ID {
			t.Error("the original lost its name to the snapshot")
		}
		if lookUp(t, fs, "d", "onB.conflict-snap").ID == g.onB.ID {
			t.Error("the file of the snapshot has the id of the original's")
		}
	})
}

// TestClonedDisk gives a disk that was copied block for block: beside the original it is refused, in its place it is the
// original, and every handle lives.
func TestClonedDisk(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			h := volumetest.NewHost(t, kind)
			base := tempDir(t)
			c := shareConfig(t, base, "a")
			c.Volumes = append(c.Volumes, Volume{Name: "b", Dir: h.Dir})
			g := grow(t, c)
			clone := h.Clone(t)
			both := c
			both.Volumes = append(both.Volumes[:2:2], Volume{Name: "clone", Dir: clone.Dir})
			_, err := Open(t.Context(), both, Options{Logger: testLogger(t)})
			wantError(t, err, `volume "clone"`, "block for block")
			h.Unmount(t)
			c = replaced(c, clone.Dir)
			c.Adopt = false
			g.wantHandles(t, c, true)
			c.State = filepath.Join(base, "lost")
			g.wantHandles(t, c, true)
		})
	}
}

// TestDiskRenumbered takes a disk away from a running server, and puts it back under another device number: it is the same
// volume, and every handle lives; while it is away only what lies on it is refused.
func TestDiskRenumbered(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			h := volumetest.NewHost(t, kind)
			c := shareConfig(t, tempDir(t), "a")
			c.Volumes = append(c.Volumes, Volume{Name: "b", Dir: h.Dir})
			c.ProbeEvery = 10 * time.Millisecond
			g := grow(t, c)
			opened(t, c, func(fs vfs.FS) {
				for _, n := range []vfs.Node{g.dir, g.onA, g.onB} {
					if a, err := getAttr(t, fs, n); err != nil || a.Node.ID != n.ID {
						t.Fatalf("before: %v, %v", a.Node, err)
					}
				}
				back := h.Pull(t)
				for _, n := range []vfs.Node{g.dir, g.onA} {
					if a, err := fs.GetAttr(t.Context(), root, n); err != nil || a.Node.ID != n.ID {
						t.Errorf("with the disk away: %v, %v", a.Node, err)
					}
				}
				if a, err := fs.GetAttr(t.Context(), root, g.onB); vfs.StatusOf(err) != vfs.Jukebox && vfs.StatusOf(err) != vfs.IO && err != nil {
					t.Errorf("what lies on the disk that is away: %v, %v", a.Node, err)
				}
				back()
				for end := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
					buf := make([]byte, 16)
					k, _, _, err := fs.Read(t.Context(), root, g.onB, buf, 0) // not told from memory
					if err == nil && k == len(buf) {
						break
					}
					if time.Now().After(end) {
						t.Fatalf("when the disk is back: %v", err)
					}
				}
				if lookUp(t, fs, "d", "onB").ID != g.onB.ID || lookUp(t, fs, "d").ID != g.dir.ID {
					t.Error("what came back is another")
				}
			})
		})
	}
}

// TestWeakIdentityIsSaid: a file system without generations is served, and what that means is said.
func TestWeakIdentityIsSaid(t *testing.T) {
	h := volumetest.NewHost(t, "overlay")
	c := shareConfig(t, tempDir(t), "a")
	c.Volumes = append(c.Volumes, Volume{Name: "weak", Dir: h.Dir})
	var log bytes.Buffer
	s, err := Open(t.Context(), c, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Volumes(t.Context())
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if all[1].Identity != "weak" {
		t.Errorf("%+v", all)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "volume=weak") && strings.Contains(line, "may lead to a newer one") {
			return
		}
	}
	t.Errorf("the log does not say what it means:\n%s", &log)
}
