package share

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sheaf/vfs/volume"
)

// TestRemoveVolume takes out one that is there: not as long as it holds something; then it is a plain directory.
func TestRemoveVolume(t *testing.T) {
	t.Parallel() // it waits for the disk
	c := shareConfig(t, tempDir(t), "a", "b", "c")
	dir := c.Volumes[2].Dir
	both := filepath.Join("both", "of", "them") // directories that another volume has, too
	for _, d := range []string{filepath.Join(c.Volumes[0].Dir, both), filepath.Join(dir, both), filepath.Join(dir, "only", "empty"), filepath.Join(dir, "lost+found", "x")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "song"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, c)
	client, err := Dial(t.Context(), c.State)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.RemoveVolume(t.Context(), Removal{Name: "c"}, nil); err == nil || !strings.Contains(err.Error(), `"/song"`) {
		t.Errorf("it holds something: %v", err)
	}
	var held []Held
	if change, err := client.RemoveVolume(t.Context(), Removal{Name: "c", DryRun: true}, func(h Held) { held = append(held, h) }); err != nil || change.Changed {
		t.Errorf("only looking: %+v, %v", change, err)
	}
	paths := map[Text]bool{}
	for _, h := range held {
		paths[h.Path] = true
	}
	if len(held) != 3 || !paths["/song"] || !paths["/only"] || !paths["/only/empty"] {
		t.Errorf("it holds %+v", held)
	}
	if err := os.RemoveAll(filepath.Join(dir, "only")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.RemoveVolume(t.Context(), Removal{Name: "c", Lost: true}, nil); err == nil || !strings.Contains(err.Error(), "it is there") {
		t.Errorf("it is not lost: %v", err)
	}
	if _, err := client.RemoveVolume(t.Context(), Removal{Name: "none"}, nil); !IsNotFound(err) {
		t.Errorf("there is none: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "song")); err != nil {
		t.Fatal(err)
	}
	change, err := client.RemoveVolume(t.Context(), Removal{Name: "c"}, nil)
	if err != nil || !change.Changed || len(change.Do) != 1 || !strings.Contains(change.Do[0], "delete") {
		t.Fatalf("%+v, %v", change, err)
	}
	if v, err := client.Volumes(t.Context()); err != nil || len(v) != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, volume.PrivateName, "volume.json")); !os.IsNotExist(err) {
		t.Errorf("its marker is still there: %v", err)
	}
	c.Volumes = c.Volumes[:2]
	if r := sameOnAll(t, c); r.gone(change.ID) == nil || r.epoch != change.Epoch {
		t.Errorf("%+v", r)
	}
	if err := put(t, s, "new"); err != nil {
		t.Error(err)
	}
	again, err := client.AddVolume(t.Context(), Addition{Name: "c", Dir: dir, Adopt: true})
	if err != nil || again.ID == change.ID {
		t.Errorf("taken in anew: %+v, %v", again, err)
	}
}

// TestRemoveLostVolume gives one up that is away: what it held is listed and its names are free; when it comes
// back it is refused by name, by the server that runs and by the next.
func TestRemoveLostVolume(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a", "b", "c")
	c.ProbeEvery = 100 * time.Millisecond
	dir := c.Volumes[2].Dir
	if err := os.WriteFile(filepath.Join(dir, "song"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, c)
	client, err := Dial(t.Context(), c.State)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	song, err := client.Where(t.Context(), "/song", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-pulled"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "c", func(v *VolumeStatus) bool { return v.State == "away" })
	if _, err := client.RemoveVolume(t.Context(), Removal{Name: "c"}, nil); err == nil || !strings.Contains(err.Error(), "--lost") {
		t.Errorf("it is away: %v", err)
	}
	for _, dry := range []bool{true, false} {
		var held []Held
		change, err := client.RemoveVolume(t.Context(), Removal{Name: "c", Lost: true, DryRun: dry}, func(h Held) { held = append(held, h) })
		if err != nil || change.Changed == dry || !slices.Equal(held, []Held{{"/song", song.Node}}) {
			t.Fatalf("dry %v: %+v, held %+v, %v", dry, change, held, err)
		}
	}
	if _, err := client.Where(t.Context(), "/song", false); !IsNotFound(err) {
		t.Errorf("what it held: %v", err)
	}
	if err := put(t, s, "song"); err != nil {
		t.Errorf("its name: %v", err)
	}
	if err := os.Rename(dir+"-pulled", dir); err != nil {
		t.Fatal(err)
	}
	was := tree(t, dir)
	if _, err := client.AddVolume(t.Context(), Addition{Name: "c", Dir: dir, Adopt: true}); !IsConfig(err) || !strings.Contains(err.Error(), "came back") {
		t.Errorf("it comes back: %v", err)
	}
	if _, err := client.RemoveVolume(t.Context(), Removal{Name: "c", Lost: true}, nil); !IsNotFound(err) || !strings.Contains(err.Error(), "removed from the share as lost") {
		t.Errorf("once more: %v", err)
	}
	if is := tree(t, dir); !slices.Equal(is, was) {
		t.Errorf("it was written to: %v, then %v", was, is)
	}
	r := sameOnAll(t, Config{Volumes: c.Volumes[:2]})
	_, err = client.RemoveVolume(t.Context(), Removal{Name: "b"}, nil)
	if err != nil {
		t.Logf("the last but one: %v", err) // it may hold what this test has made
	}
	if r.called("c") != nil || r.goneCalled("c") == nil {
		t.Errorf("%+v", r)
	}
}

// TestRemovedDiskAtTheStart is not served, and said by name; the others are.
func TestRemovedDiskAtTheStart(t *testing.T) {
	t.Parallel() // it waits for the disk
	c := shareConfig(t, tempDir(t), "a", "b", "c")
	mustOpen(t, c)
	marks := marksOf(t, c)
	mark := marks["a"]
	for _, v := range c.Volumes[:2] {
		setRoster(t, v, rosterOf(&mark).drop(marks["c"].Volume, true))
	}
	was := tree(t, c.Volumes[2].Dir)
	for _, adopt := range []bool{false, true} {
		m, err := openMembers(t.Context(), survey(t.Context(), c.Volumes), adopt, testLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(m.ignored) != 1 || !strings.Contains(m.ignored[0].why, `volume "c"`) || !strings.Contains(m.ignored[0].why, "as lost at epoch") {
			t.Errorf("%+v", m.ignored)
		}
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
	}
	if is := tree(t, c.Volumes[2].Dir); !slices.Equal(is, was) {
		t.Errorf("it was written to: %v, then %v", was, is)
	}
	// Without its marker it is no member either: not adopted because it stands in the configuration.
	if err := os.Remove(filepath.Join(c.Volumes[2].Dir, volume.PrivateName, "volume.json")); err != nil {
		t.Fatal(err)
	}
	m, err := openMembers(t.Context(), survey(t.Context(), c.Volumes), true, testLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.ignored) != 1 || !strings.Contains(m.ignored[0].why, "sheaf volume add c=") {
		t.Errorf("%+v", m.ignored)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	if v := statusOf(t, start(t, c), "c"); v.State != "removed" || v.Dir != c.Volumes[2].Dir || !strings.Contains(v.Reason, "was removed") {
		t.Errorf("%+v", v)
	}
}
