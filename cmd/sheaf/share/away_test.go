package share

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
