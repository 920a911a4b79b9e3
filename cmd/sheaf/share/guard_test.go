package share

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// waitFor waits until a volume's status is as ok wants it.
func waitFor(t *testing.T, s *Share, name string, ok func(*VolumeStatus) bool) VolumeStatus {
	t.Helper()
	deadline := time.Now().Add(wait)
	for {
		all, err := s.Volumes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all {
			if v.Name != name {
				continue
			}
			if ok(&v) {
				return v
			}
			if time.Now().After(deadline) {
				t.Fatalf("%+v", v)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestVolumeGoesAndComes: a volume's directory is taken away under a server, something else is put there, and
// it is put back. Its status says so each time, and nothing is written to what is in its place.
func TestVolumeGoesAndComes(t *testing.T) {
	base := tempDir(t)
	cfg := shareConfig(t, base, "a", "b")
	cfg.ProbeEvery = 100 * time.Millisecond
	s := start(t, cfg)
	dir := filepath.Join(base, "b")
	online := func(attached uint64) func(*VolumeStatus) bool {
		return func(v *VolumeStatus) bool { return v.State == "online" && v.Attached == attached && v.Reason == "" }
	}
	away := func(why string) func(*VolumeStatus) bool {
		return func(v *VolumeStatus) bool { return v.State == "away" && strings.Contains(v.Reason, why) }
	}
	if v := waitFor(t, s, "b", online(1)); v.Total == 0 || v.Identity == "" || v.Since.IsZero() {
		t.Errorf("%+v", v)
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if v := waitFor(t, s, "b", away("no such file")); v.Total != 0 || v.Attached != 1 || v.Identity == "" {
		t.Errorf("%+v", v)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "b", away("has no marker"))
	if got := tree(t, dir); len(got) != 1 {
		t.Errorf("something was written to an empty mount point: %q", got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	other := tempDir(t)
	mustOpen(t, shareConfig(t, other, "x"))
	before := tree(t, filepath.Join(other, "x"))
	if err := os.Rename(filepath.Join(other, "x"), dir); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "b", away("of another share"))
	if err := os.Rename(dir, filepath.Join(other, "x")); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, filepath.Join(other, "x")); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("a strange disk was written to:\n%q\n%q", before, after)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "b", online(2))
	waitFor(t, s, "a", online(1))
	if got := s.members.find("b").vol.State(); got.Health != volume.Online {
		t.Errorf("%+v", got)
	}
}

// TestVolumeHangs: one of three volumes hangs. Who asks for what lies there is told to ask again, who does not is
// served, its status says what is the matter, and all is well when it goes on.
func TestVolumeHangs(t *testing.T) {
	base := tempDir(t)
	cfg := shareConfig(t, base, "a", "b", "c")
	cfg.VolumeDeadline, cfg.ProbeEvery, cfg.OfflineWait = time.Second, 100*time.Millisecond, wait
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(base, name, "on-"+name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, disks := slowly(t, cfg)
	closed := false
	defer func() {
		if !closed {
			t.Error(s.Close())
		}
	}()
	ctx, who := t.Context(), vfs.Superuser
	root, err := s.FS().Root(ctx, who)
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]vfs.Node{} // by the volume that has it
	for name := range disks {
		a, _, err := s.FS().Lookup(ctx, who, root.Node, vfs.MustName("on-"+name))
		if err != nil {
			t.Fatal(err)
		}
		nodes[name] = a.Node
	}
	release := disks["b"].Hang()
	_, err = s.FS().GetAttr(ctx, who, nodes["b"])
	for err == nil { // it was known; not for long
		time.Sleep(cfg.Trust / 4)
		_, err = s.FS().GetAttr(ctx, who, nodes["b"])
	}
	if vfs.StatusOf(err) != vfs.Jukebox {
		t.Errorf("%v of an object on a volume that hangs", err)
	}
	v := waitFor(t, s, "b", func(v *VolumeStatus) bool { return v.State == "slow" })
	if !strings.Contains(v.Reason, "has not come back for") || v.Hung == 0 || v.Refused == 0 || v.Total != 0 {
		t.Errorf("%+v", v)
	}
	for _, name := range []string{"a", "c"} {
		began := time.Now()
		if _, _, err := s.FS().Write(ctx, who, nodes[name], []byte("text"), 0, vfs.FileSync); err != nil {
			t.Errorf("on %s: %v", name, err)
		}
		if took := time.Since(began); took > wait/2 {
			t.Errorf("a write on %s took %s", name, took)
		}
	}
	release()
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return v.State == "online" && v.Attached == 1 && v.Hung == 0 })
	until(t, "what lies there is answered", func() bool {
		_, err := s.FS().GetAttr(ctx, who, nodes["b"])
		return err == nil
	})
	closed = true
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
