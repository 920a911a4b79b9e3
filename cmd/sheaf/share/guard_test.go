package share

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
