package share

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// sameOnAll wants one list of members on all disks of c, and gives it.
func sameOnAll(t *testing.T, c Config) roster {
	t.Helper()
	var first *roster
	for name, m := range marksOf(t, c) {
		r := rosterOf(&m)
		if first == nil {
			first = &r
		}
		if !r.same(*first) {
			t.Errorf("%s has %+v, another %+v", name, r, *first)
		}
	}
	return *first
}

// put makes a file in the root of s.
func put(t *testing.T, s *Share, name string) error {
	t.Helper()
	root, err := s.FS().Root(t.Context(), vfs.Superuser)
	if err != nil {
		return err
	}
	_, _, err = s.FS().Make(t.Context(), vfs.Superuser, root.Node, vfs.MustName(name), &vfs.How{Type: vfs.Regular})
	return err
}

// statusOf is how the volume called name is.
func statusOf(t *testing.T, in Inspector, name string) VolumeStatus {
	t.Helper()
	all, err := in.Volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(v VolumeStatus) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("no volume %s in %+v", name, all)
	}
	return all[i]
}

// TestAddVolume adds one to a share that serves, by its socket: with files on it, which are in the share at once.
func TestAddVolume(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	start(t, c)
	client, err := Dial(t.Context(), c.State)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	dir := filepath.Join(base, "c")
	if err := os.MkdirAll(filepath.Join(dir, "music"), 0o755); err != nil {
		t.Fatal(err)
	}
	q := Addition{Name: "c", Dir: dir}
	if _, err := client.AddVolume(t.Context(), q); !IsConfig(err) || !strings.Contains(err.Error(), "give --adopt") {
		t.Errorf("without --adopt: %v", err)
	}
	q.Adopt = true
	change, err := client.AddVolume(t.Context(), q)
	if err != nil || !change.Changed || change.Mode != "rw" || len(change.Do) != 1 || !strings.Contains(change.Do[0], "c="+dir) || len(change.Behind) > 0 {
		t.Fatalf("%+v, %v", change, err)
	}
	if v := statusOf(t, client, "c"); v.State != "online" || v.ID != change.ID || v.Dir != dir {
		t.Errorf("%+v", v)
	}
	w, err := client.Where(t.Context(), "/music", false)
	if err != nil || w.Places[0].Volume != "c" {
		t.Errorf("%+v, %v", w, err)
	}
	c.Volumes = append(c.Volumes, Volume{Name: "c", Dir: dir})
	if r := sameOnAll(t, c); r.epoch != change.Epoch || r.member(change.ID) == nil {
		t.Errorf("%+v after %+v", r, change)
	}
	for _, again := range []Addition{q, {Name: "d", Dir: dir}, {Name: "a", Dir: filepath.Join(base, "state2"), Adopt: true}, {Name: "d", Dir: filepath.Join(dir, "music"), Adopt: true}, {Name: "e", Dir: c.State, Adopt: true}, {Name: "f", Dir: "relative"}, {Name: "..", Dir: dir}} {
		if change, err := client.AddVolume(t.Context(), again); !IsConfig(err) {
			t.Errorf("%+v: %+v, %v", again, change, err)
		}
	}
}

// TestAddSaysWhichDiskItIs: what must not be taken is refused by name, and not written to.
func TestAddSaysWhichDiskItIs(t *testing.T) {
	t.Parallel() // it waits for the disk
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	mustOpen(t, c)
	other := shareConfig(t, tempDir(t), "x")
	mustOpen(t, other)
	gone := shareConfig(t, base, "a", "b", "old")
	mustOpen(t, gone)
	marks := marksOf(t, gone)
	mark := marks["a"]
	for _, v := range c.Volumes {
		setRoster(t, v, rosterOf(&mark).drop(marks["old"].Volume, true))
	}
	s := start(t, c)
	for _, k := range []struct {
		q    Addition
		want []string
	}{
		{Addition{"x", other.Volumes[0].Dir, false, true}, []string{"another share", "remove .sheaf/volume.json"}},
		{Addition{"old", gone.Volumes[2].Dir, false, true}, []string{`volume "old"`, "was removed from the share as lost at epoch", "sheaf volume add old=" + gone.Volumes[2].Dir + " --adopt"}},
		{Addition{"fresh", gone.Volumes[2].Dir, false, true}, []string{`volume "old"`, "was removed"}},
		{Addition{"none", filepath.Join(base, "none"), false, true}, []string{"does not exist"}},
	} {
		was := tree(t, k.q.Dir)
		_, err := s.AddVolume(t.Context(), k.q)
		wantError(t, err, k.want...)
		if is := tree(t, k.q.Dir); !slices.Equal(is, was) {
			t.Errorf("%s was %v and is %v", k.q.Dir, was, is)
		}
	}
	// What the message says: without its marker it is taken in as a volume that was never seen.
	if err := os.Remove(filepath.Join(gone.Volumes[2].Dir, volume.PrivateName, "volume.json")); err != nil {
		t.Fatal(err)
	}
	change, err := s.AddVolume(t.Context(), Addition{Name: "old", Dir: gone.Volumes[2].Dir, Adopt: true})
	if err != nil || change.ID == marks["old"].Volume {
		t.Errorf("%+v, %v", change, err)
	}
}

// TestAddGoesOn: an addition that was cut short after the new volume's own marker is finished by saying it again.
func TestAddGoesOn(t *testing.T) {
	t.Parallel() // it waits for the disk
	base := tempDir(t)
	c := shareConfig(t, base, "a", "b")
	mustOpen(t, c)
	mark := marksOf(t, c)["a"]
	three := shareConfig(t, base, "a", "b", "c")
	id := volume.NewID().String()
	n := &candidate{cfg: three.Volumes[2]}
	first := (&members{common: mark}).marker(rosterOf(&mark).put(volume.Member{Volume: id, Name: "c"}), id, "c")
	if err := errors.Join(n.open(t.Context(), &first), n.take().Close()); err != nil {
		t.Fatal(err)
	}
	s := start(t, c)
	change, err := s.AddVolume(t.Context(), Addition{Name: "c", Dir: three.Volumes[2].Dir})
	if err != nil || change.ID != id {
		t.Fatalf("%+v, %v", change, err)
	}
	if r := sameOnAll(t, three); r.member(id) == nil {
		t.Errorf("%+v", r)
	}
}

// TestModes are persistent, and obeyed at once.
func TestModes(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a", "b")
	s := start(t, c)
	client, err := Dial(t.Context(), c.State)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, name := range []string{"a", "b"} {
		if change, err := client.SetMode(t.Context(), name, "ro"); err != nil || !change.Changed || change.Mode != "ro" {
			t.Fatalf("%+v, %v", change, err)
		}
	}
	if change, err := client.SetMode(t.Context(), "a", "ro"); err != nil || change.Changed {
		t.Errorf("once more: %+v, %v", change, err)
	}
	if err := put(t, s, "x"); err == nil {
		t.Error("a file was made where nothing may change")
	}
	if v := statusOf(t, client, "a"); v.Mode != "ro" || v.ReadOnly {
		t.Errorf("%+v", v)
	}
	if _, err := client.SetMode(t.Context(), "a", "wo"); !IsConfig(err) {
		t.Errorf("a mode that is none: %v", err)
	}
	if _, err := client.SetMode(t.Context(), "z", "rw"); !IsNotFound(err) {
		t.Errorf("a volume that is none: %v", err)
	}
	if r := sameOnAll(t, c); r.called("b").Mode != volume.ReadOnly {
		t.Errorf("%+v", r)
	}
}

// TestCatchUp: a volume that did not take a change, because it hung, takes it when it answers again.
func TestCatchUp(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a", "b")
	s := start(t, c)
	b := s.members.find("b")
	old := b.vol.Marker()
	if _, err := s.SetMode(t.Context(), "a", "nc"); err != nil {
		t.Fatal(err)
	}
	if err := b.vol.SetMarker(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	s.members.catchUp(b)
	if r := sameOnAll(t, c); r.called("a").Mode != volume.NoCreate {
		t.Errorf("%+v", r)
	}
}
