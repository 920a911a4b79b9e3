package share

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sheaf/vfs/volume"
)

// tree is every path beneath dir with its size and time.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, p+" "+info.Mode().String()+" "+info.ModTime().String())
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// TestAwayAtTheStart takes volume b of three away in many ways. The share opens with it away, says why,
// and neither its place nor the list of members is touched, adoption or not (B2).
func TestAwayAtTheStart(t *testing.T) {
	t.Parallel() // it waits for the disk
	gone := func(t *testing.T, dir string) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		take func(t *testing.T, c *Config, dir string)
		want []string
	}{
		{"its directory is missing", func(t *testing.T, _ *Config, dir string) { t.Helper(); gone(t, dir) }, []string{"does not exist", "mount the disk"}},
		{"its disk is not mounted", func(t *testing.T, _ *Config, dir string) {
			t.Helper()
			gone(t, dir)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"has no marker", `volume "b"`, "mount its disk", "sheaf volume remove b --lost"}},
		{"a file is in its place", func(t *testing.T, _ *Config, dir string) {
			t.Helper()
			gone(t, dir)
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"is not a directory"}},
		{"its marker is damaged", func(t *testing.T, _ *Config, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, volume.PrivateName, "volume.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"marker cannot be read"}},
		{"a disk of another share", func(t *testing.T, _ *Config, dir string) {
			t.Helper()
			other := tempDir(t)
			mustOpen(t, shareConfig(t, other, "x"))
			gone(t, dir)
			if err := os.Rename(filepath.Join(other, "x"), dir); err != nil {
				t.Fatal(err)
			}
		}, []string{`holds volume "x" of another share`}},
		{"the disk of c", func(t *testing.T, c *Config, dir string) {
			t.Helper()
			gone(t, dir)
			if err := os.Rename(c.Volumes[2].Dir, dir); err != nil {
				t.Fatal(err)
			}
		}, []string{`holds volume "c"`, "instead", "mount each disk at its own place"}},
		{"it is not configured", func(t *testing.T, c *Config, _ string) {
			t.Helper()
			c.Volumes = slices.Delete(c.Volumes, 1, 2)
		}, []string{"is not configured", "--volume b=DIR", "sheaf volume remove b --lost"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := shareConfig(t, tempDir(t), "a", "b", "c")
			before := mustOpen(t, cfg)
			dir := cfg.Volumes[1].Dir
			c.take(t, &cfg, dir)
			was := tree(t, dir)
			for _, adopt := range []bool{false, true} {
				m, err := openMembers(t.Context(), survey(t.Context(), cfg.Volumes), adopt, testLogger(t))
				if err != nil {
					t.Fatal(err)
				}
				b := m.find("b")
				if b == nil || b.role != away || b.first != nil || b.id != before[1].Volume {
					t.Fatalf("b is %+v", b)
				}
				for _, w := range c.want {
					if !strings.Contains(b.why, w) {
						t.Errorf("the reason is %q, want %q in it", b.why, w)
					}
				}
				if !m.roster.same(rosterOf(&before[0])) {
					t.Errorf("the list changed from %+v to %+v", before[0], m.roster)
				}
				if err := m.close(); err != nil {
					t.Fatal(err)
				}
				if is := tree(t, dir); !slices.Equal(is, was) {
					t.Errorf("b's place was %v\nand is %v", was, is)
				}
			}
		})
	}
}

func TestNoVolumeIsThere(t *testing.T) {
	t.Parallel() // it waits for the disk
	c := shareConfig(t, tempDir(t), "a", "b")
	mustOpen(t, c)
	c.Adopt = false
	for _, v := range c.Volumes {
		if err := os.RemoveAll(filepath.Join(v.Dir, volume.PrivateName)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := openAll(t, c)
	wantError(t, err, `volume "a"`, `volume "b"`, "is not a volume yet", "mount the disk")
}

// TestDisksExchangeTheirPlaces: with both there the directories say which is which; with one missing as
// well nobody guesses.
func TestDisksExchangeTheirPlaces(t *testing.T) {
	t.Parallel() // it waits for the disk
	c := shareConfig(t, tempDir(t), "a", "b", "c")
	before := mustOpen(t, c)
	c.Adopt = false
	c.Volumes[1].Dir, c.Volumes[2].Dir = c.Volumes[2].Dir, c.Volumes[1].Dir
	if after := mustOpen(t, c); after[1].Volume != before[2].Volume || after[2].Name != "c" {
		t.Errorf("%+v, before %+v", after, before)
	}
	if err := os.RemoveAll(c.Volumes[2].Dir); err != nil { // the one called c now
		t.Fatal(err)
	}
	c.Volumes[1].Dir, c.Volumes[2].Dir = c.Volumes[2].Dir, c.Volumes[1].Dir
	m, err := openMembers(t.Context(), survey(t.Context(), c.Volumes), false, testLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "c"} {
		if v := m.find(name); v.role != away {
			t.Errorf("%s is %+v", name, v)
		}
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
}

// TestServesWithoutOne starts a share one of whose volumes is not mounted: the others are served, what lies on
// it is not said to be absent, and when it comes it is served without a restart, with the list as it is
// by then.
func TestServesWithoutOne(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a", "b")
	c.ProbeEvery, c.OfflineWait = 100*time.Millisecond, time.Millisecond
	dir := c.Volumes[1].Dir
	if err := os.WriteFile(filepath.Join(dir, "on-b"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, c)
	if err := os.Rename(dir, dir+"-unmounted"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := start(t, c) // with --adopt
	if v := statusOf(t, s, "b"); v.State != "away" {
		t.Fatalf("%+v", v)
	}
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return strings.Contains(v.Reason, "mount its disk") })
	if err := put(t, s, "new"); err == nil {
		t.Error("a name that may be on b was taken")
	}
	if _, err := s.Where(t.Context(), "/on-b", false); err == nil || IsNotFound(err) {
		t.Errorf("what lies on b: %v", err)
	}
	if change, err := s.SetMode(t.Context(), "b", "nc"); err != nil || !change.Changed {
		t.Errorf("the mode of what is away: %+v, %v", change, err)
	}
	if len(tree(t, dir)) != 1 {
		t.Errorf("b's mount point was written to: %v", tree(t, dir))
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+"-unmounted", dir)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return v.State == "online" && v.Mode == "nc" })
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) { // it is let in after it came
		w, err := s.Where(t.Context(), "/on-b", false)
		if err == nil && w.Places[0].Volume == "b" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, %v", w, err)
		}
	}
	if r := sameOnAll(t, c); r.called("b").Mode != volume.NoCreate {
		t.Errorf("%+v", r)
	}
}

// TestUnconfiguredMember counts as away, until it is said where it is.
func TestUnconfiguredMember(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a", "b", "c") // c stays away
	mustOpen(t, c)
	b := c.Volumes[1]
	c.Volumes = c.Volumes[:1]
	s := start(t, c)
	if v := statusOf(t, s, "b"); v.State != "away" || v.Dir != "" {
		t.Fatalf("%+v", v)
	}
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return strings.Contains(v.Reason, "is not configured") })
	elsewhere := b.Dir + "-mounted-elsewhere"
	if err := os.Rename(b.Dir, elsewhere); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddVolume(t.Context(), Addition{Name: "x", Dir: elsewhere}); !IsConfig(err) || !strings.Contains(err.Error(), `it is volume "b"`) {
		t.Errorf("under another name: %v", err)
	}
	change, err := s.AddVolume(t.Context(), Addition{Name: "b", Dir: elsewhere})
	if err != nil || !change.Changed || !strings.Contains(change.Do[0], elsewhere) {
		t.Fatalf("%+v, %v", change, err)
	}
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return v.State == "online" && v.Dir == elsewhere })
}

// TestCopyTakesThePlaceOfALostDisk, restored from a backup, under a server.
func TestCopyTakesThePlaceOfALostDisk(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	c.ProbeEvery = 100 * time.Millisecond
	mustOpen(t, c)
	b := c.Volumes[1]
	if err := os.WriteFile(filepath.Join(b.Dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	copyTree(t, b.Dir, filepath.Join(base, "backup"))
	s := start(t, c)
	q := Addition{Name: "b", Dir: filepath.Join(base, "backup")}
	if _, err := s.AddVolume(t.Context(), q); !IsConfig(err) {
		t.Errorf("beside its original: %v", err)
	}
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return v.State == "away" })
	if _, err := s.AddVolume(t.Context(), q); !IsConfig(err) {
		t.Errorf("without --adopt: %v", err)
	}
	q.Adopt = true
	if _, err := s.AddVolume(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return v.State == "online" && v.Dir == q.Dir })
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		w, err := s.Where(t.Context(), "/file", false)
		if err == nil && w.Places[0].Volume == "b" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, %v", w, err)
		}
	}
}

// TestWhereOfWhatIsAway: of a name that was listed before its volume went it is known where it lies.
func TestWhereOfWhatIsAway(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a", "b")
	c.ProbeEvery = 100 * time.Millisecond
	b := c.Volumes[1].Dir
	if err := errors.Join(os.MkdirAll(filepath.Join(b, "music"), 0o755), os.WriteFile(filepath.Join(b, "music", "song"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	s := start(t, c)
	before, err := s.Where(t.Context(), "/music/song", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b, b+"-pulled"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "b", func(v *VolumeStatus) bool { return v.State == "away" })
	for _, path := range []string{"/music", "/music/song"} {
		w, err := s.Where(t.Context(), path, true)
		if err != nil || len(w.Places) != 1 || w.Places[0].Volume != "b" || string(w.Places[0].Path) != path || w.Places[0].State != "away" || w.Places[0].Reason == "" {
			t.Errorf("%s: %+v, %v", path, w, err)
		}
		if path == "/music/song" && w.Node != before.Node {
			t.Errorf("it was node %s and is %s", before.Node, w.Node)
		}
	}
	if _, err := s.Where(t.Context(), "/music/none", false); !IsNotFound(err) {
		t.Errorf("what is known not to be there: %v", err)
	}
}
