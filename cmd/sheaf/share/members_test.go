package share

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
)

// openAll opens the volumes of c as members of one share and closes them again.
func openAll(t *testing.T, c Config) ([]volume.Marker, error) {
	t.Helper()
	m, err := openMembers(t.Context(), survey(t.Context(), c.Volumes), c.Adopt, testLogger(t))
	if err != nil {
		return nil, err
	}
	var marks []volume.Marker
	for _, v := range m.all {
		marks = append(marks, v.first.Marker())
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	return marks, nil
}

// mustOpen is openAll for what must succeed, and checks what is always so of markers.
func mustOpen(t *testing.T, c Config) []volume.Marker {
	t.Helper()
	marks, err := openAll(t, c)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range marks {
		if m.Share != marks[0].Share || m.Key != marks[0].Key || m.Root != marks[0].Root {
			t.Errorf("%s: share, key or root differ from those of %s", m.Name, marks[0].Name)
		}
		if m.Epoch != marks[0].Epoch || !slices.Equal(m.Members, marks[0].Members) || len(m.Members) != len(marks) {
			t.Errorf("%s: epoch %d with members %v, %s: epoch %d with %v", m.Name, m.Epoch, m.Members, marks[0].Name, marks[0].Epoch, marks[0].Members)
		}
		if m.Name != c.Volumes[i].Name {
			t.Errorf("volume %s calls itself %s", c.Volumes[i].Name, m.Name)
		}
	}
	return marks
}

func TestAdoption(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a", "b")
	c.Adopt = false
	_, err := openAll(t, c)
	wantError(t, err, `volume "a"`, `volume "b"`, "is not a volume yet", "give --adopt")
	for _, v := range c.Volumes {
		if _, err := os.Lstat(filepath.Join(v.Dir, volume.PrivateName)); err == nil {
			t.Errorf("%s was written to without --adopt", v.Dir)
		}
	}
	c.Adopt = true
	first := mustOpen(t, c)
	if again := mustOpen(t, c); again[0].Epoch != first[0].Epoch {
		t.Errorf("the epoch moved from %d to %d without a change", first[0].Epoch, again[0].Epoch)
	}
	c.Adopt = false
	mustOpen(t, c)
}

func TestAddingAVolume(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	before := mustOpen(t, c)
	c = shareConfig(t, base, "new", "a", "b") // anywhere in the order
	after := mustOpen(t, c)
	if after[0].Share != before[0].Share || after[0].Epoch <= before[0].Epoch {
		t.Errorf("share %s epoch %d, before %s epoch %d", after[0].Share, after[0].Epoch, before[0].Share, before[0].Epoch)
	}
	if after[1].Volume != before[0].Volume || after[2].Volume != before[1].Volume {
		t.Error("ids of members changed")
	}
}

// TestAdoptionCutShort stops after each marker that a first adoption writes: what is
// marked by then is a share, and going on makes it whole (B1).
func TestAdoptionCutShort(t *testing.T) {
	t.Parallel() // it waits for the disk
	names := []string{"a", "b", "c"}
	for done := range len(names) + 1 {
		base := tempDir(t)
		c := shareConfig(t, base, names...)
		m := newMembers(survey(t.Context(), c.Volumes), testLogger(t))
		if err := m.check(true); err != nil {
			t.Fatal(err)
		}
		for _, candidate := range m.all[:done] {
			if err := m.adopt(t.Context(), candidate); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		if done > 0 {
			part := shareConfig(t, base, names[:done]...)
			part.Adopt = false
			if marks := mustOpen(t, part); marks[0].Share != m.common.Share {
				t.Errorf("after %d markers it is another share", done)
			}
		}
		marks := mustOpen(t, c)
		if done > 0 && marks[0].Share != m.common.Share {
			t.Errorf("going on after %d markers made another share", done)
		}
	}
}

func TestMembersThatCannotBe(t *testing.T) {
	t.Run("another share", func(t *testing.T) {
		base := tempDir(t)
		mustOpen(t, shareConfig(t, base, "a"))
		mustOpen(t, shareConfig(t, base, "b"))
		_, err := openAll(t, shareConfig(t, base, "a", "b"))
		wantError(t, err, `volume "b": it belongs to another share`, `than volume "a"`)
	})
	t.Run("a damaged marker", func(t *testing.T) {
		base := tempDir(t)
		c := shareConfig(t, base, "a")
		mustOpen(t, c)
		if err := os.WriteFile(filepath.Join(base, "a", volume.PrivateName, "volume.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openAll(t, c)
		wantError(t, err, `volume "a"`, local.ErrCorrupt.Error())
	})
}

// copyTree copies a volume as a person would.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Skipf("no cp -a here: %v: %s", err, out)
	}
}

func TestCopies(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	before := mustOpen(t, c)
	copyTree(t, filepath.Join(base, "b"), filepath.Join(base, "copy"))

	t.Run("beside the original", func(t *testing.T) {
		c := shareConfig(t, base, "a", "b", "copy")
		c.Adopt = false
		_, err := openAll(t, c)
		wantError(t, err, `volume "copy"`, `is a copy of volume "b"`, "give --adopt")
	})
	t.Run("in its place", func(t *testing.T) {
		c := shareConfig(t, base, "a")
		c.Volumes = append(c.Volumes, Volume{Name: "b", Dir: filepath.Join(base, "copy")})
		marks := mustOpen(t, c)
		if marks[1].Volume != before[1].Volume || marks[0].Share != before[0].Share {
			t.Errorf("it became volume %s, want %s", marks[1].Volume, before[1].Volume)
		}
		c.Adopt = false
		mustOpen(t, c) // its marker is its own now
	})
}

// TestTwoVolumesWithOneID: a disk that was copied block for block has the marker and the birth
// facts of the original, so neither is the copy. Both are refused, and none is written to.
func TestTwoVolumesWithOneID(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	marks := mustOpen(t, c)
	path := filepath.Join(base, "b", volume.PrivateName, "volume.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// b says that it is a; the facts about its own directory stay.
	own := `"volume": "` + marks[1].Volume + `"`
	if strings.Count(string(text), own) < 2 {
		t.Fatalf("the marker is not what this test knows: %s", text)
	}
	text = []byte(strings.Replace(string(text), own, `"volume": "`+marks[0].Volume+`"`, 1))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, adopt := range []bool{false, true} {
		c.Adopt = adopt
		_, err := openAll(t, c)
		wantError(t, err, `volume "b": it has the id of volume "a"`, "block for block", "leave one out")
		if !IsConfig(err) {
			t.Error("it is not told apart from a failure")
		}
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
		t.Errorf("the marker was written to: %s, %v", now, err)
	}
}

func TestCopyBecomesAVolumeOfItsOwn(t *testing.T) {
	base := tempDir(t)
	before := mustOpen(t, shareConfig(t, base, "a"))
	copyTree(t, filepath.Join(base, "a"), filepath.Join(base, "copy"))
	marks := mustOpen(t, shareConfig(t, base, "a", "copy"))
	if marks[0].Volume != before[0].Volume || marks[1].Volume == before[0].Volume {
		t.Errorf("ids %s and %s, the original's was %s", marks[0].Volume, marks[1].Volume, before[0].Volume)
	}
}

func TestRenamingAVolume(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	before := mustOpen(t, c)
	c.Volumes[0].Name, c.Volumes[1].Name = "b", "a" // swapped: ids decide
	c.Adopt = false
	after := mustOpen(t, c)
	if after[0].Volume != before[0].Volume || after[0].Members[0].Name != "b" {
		t.Errorf("members %v", after[0].Members)
	}
}

// TestNewShareIsDrawn: no two shares are alike, and none has a root that is no file.
func TestNewShareIsDrawn(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		m := newShare()
		id, err := parseIdentity(&m)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{m.Share, m.Root, m.Key} {
			if seen[s] || strings.Count(s, "0") == len(s) {
				t.Fatalf("%s was drawn twice, or is nothing", s)
			}
			seen[s] = true
		}
		if id.root.FileID() == 0 || id.fsid == 0 {
			t.Error("a root or fsid of 0")
		}
	}
}
