package share

import (
	"slices"
	"testing"

	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
)

// The markers are written one after the other, or at once: a crash leaves the new list on some of them. The
// tests here cut each change short in every way there is, open the share again, and want one list on all.

// marksOf are the markers as they lie on the disks of c.
func marksOf(t *testing.T, c Config) map[string]volume.Marker {
	t.Helper()
	all := map[string]volume.Marker{}
	for _, v := range c.Volumes {
		m, err := local.Inspect(v.Name, v.Dir)
		if err != nil {
			t.Fatal(err)
		}
		all[v.Name] = m
	}
	return all
}

// setRoster writes r into the marker of v, as a server would that dies right after.
func setRoster(t *testing.T, v Volume, r roster) {
	t.Helper()
	o, err := local.Open(t.Context(), v.Dir, local.Options{Name: v.Name})
	if err != nil {
		t.Fatal(err)
	}
	m := o.Marker()
	m.Epoch, m.Members, m.Removed = r.epoch, r.members, r.removed
	if err := o.SetMarker(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

// reopen opens and closes the members of c, and gives what it found.
func reopen(t *testing.T, c Config) *members {
	t.Helper()
	c.Adopt = false
	m, err := openMembers(t.Context(), survey(t.Context(), c.Volumes), false, testLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	for _, v := range m.all {
		if v.role != present {
			continue
		}
		mark, err := local.Inspect(v.cfg.Name, v.cfg.Dir)
		if err != nil || !rosterOf(&mark).same(m.roster) {
			t.Errorf("%s has epoch %d with %v and %v, the share %+v, %v", v.cfg.Name, mark.Epoch, mark.Members, mark.Removed, m.roster, err)
		}
	}
	return m
}

// subsets calls f with every subset of the volumes of c.
func subsets(c Config, f func([]Volume)) {
	for bits := range 1 << len(c.Volumes) {
		var some []Volume
		for i, v := range c.Volumes {
			if bits&(1<<i) != 0 {
				some = append(some, v)
			}
		}
		f(some)
	}
}

// TestRemovalCutShort: once one volume has the list without c, c is out, and stays out though its own
// marker says otherwise; before, it is a member.
func TestRemovalCutShort(t *testing.T) {
	t.Parallel() // it waits for the disk
	three := shareConfig(t, tempDir(t), "a", "b", "c")
	two := three
	two.Volumes = three.Volumes[:2]
	subsets(two, func(some []Volume) {
		base := tempDir(t)
		three, two := shareConfig(t, base, "a", "b", "c"), two
		mustOpen(t, three)
		two.Volumes = three.Volumes[:2]
		marks := marksOf(t, three)
		mark := marks["a"]
		next := rosterOf(&mark).drop(marks["c"].Volume, true)
		for _, v := range some {
			setRoster(t, Volume{Name: v.Name, Dir: three.Volumes[slices.IndexFunc(three.Volumes, func(o Volume) bool { return o.Name == v.Name })].Dir}, next)
		}
		m := reopen(t, three)
		if out := m.find("c") == nil; out != (len(some) > 0) || out != (len(m.ignored) == 1) {
			t.Errorf("with the list on %v: c is out: %v, ignored: %v", some, out, m.ignored)
		}
		if len(some) > 0 && !m.roster.same(next) {
			t.Errorf("with the list on %v: %+v, want %+v", some, m.roster, next)
		}
		reopen(t, two)
	})
}

// TestAdditionCutShort: c's own marker is first. From then on it is a member wherever it is seen, and
// once one of the others has the list also where it is not.
func TestAdditionCutShort(t *testing.T) {
	t.Parallel() // it waits for the disk
	subsets(Config{Volumes: []Volume{{Name: "a"}, {Name: "b"}}}, func(some []Volume) {
		for _, seen := range []bool{true, false} {
			if seen && len(some) > 0 {
				continue // it is seen in the end
			}
			base := tempDir(t)
			two := shareConfig(t, base, "a", "b")
			mustOpen(t, two)
			three := shareConfig(t, base, "a", "b", "c")
			mark := marksOf(t, two)["a"]
			id := volume.NewID().String()
			next := rosterOf(&mark).put(volume.Member{Volume: id, Name: "c"})
			c := &candidate{cfg: three.Volumes[2]}
			m := &members{common: mark}
			first := m.marker(next, id, "c")
			if err := c.open(t.Context(), &first); err != nil {
				t.Fatal(err)
			}
			if err := c.take().Close(); err != nil {
				t.Fatal(err)
			}
			for _, v := range some {
				setRoster(t, three.Volumes[slices.IndexFunc(three.Volumes, func(o Volume) bool { return o.Name == v.Name })], next)
			}
			open, want := two, undecided
			if seen {
				open, want = three, present
			} else if len(some) > 0 {
				want = away
			}
			now := reopen(t, open)
			if got := now.byID(id); want == undecided && got != nil || want != undecided && (got == nil || got.role != want) {
				t.Errorf("with the list on %v, c seen: %v: %+v", some, seen, got)
			}
			if now := reopen(t, three); now.byID(id) == nil || now.byID(id).role != present {
				t.Errorf("with the list on %v: c does not come back", some)
			}
		}
	})
}

// TestModeCutShort: what one volume has counts, and the other gets it.
func TestModeCutShort(t *testing.T) {
	t.Parallel() // it waits for the disk
	subsets(Config{Volumes: []Volume{{Name: "a"}, {Name: "b"}}}, func(some []Volume) {
		c := shareConfig(t, tempDir(t), "a", "b")
		mustOpen(t, c)
		mark := marksOf(t, c)["a"]
		e := *rosterOf(&mark).member(mark.Volume)
		e.Mode = volume.ReadOnly
		next := rosterOf(&mark).put(e)
		for _, v := range some {
			setRoster(t, c.Volumes[slices.IndexFunc(c.Volumes, func(o Volume) bool { return o.Name == v.Name })], next)
		}
		want := volume.ReadWrite
		if len(some) > 0 {
			want = volume.ReadOnly
		}
		if m := reopen(t, c); m.roster.member(mark.Volume).Mode != want {
			t.Errorf("with the list on %v: %+v, want %v", some, m.roster, want)
		}
	})
}

// TestTwoHistories: volumes that never met again before the next start were changed apart from each
// other, each while the other was away.
func TestTwoHistories(t *testing.T) {
	t.Parallel() // it waits for the disk
	c := shareConfig(t, tempDir(t), "a", "b", "c")
	mustOpen(t, c)
	marks := marksOf(t, c)
	mark := marks["a"]
	base := rosterOf(&mark)
	e := *base.member(marks["b"].Volume)
	e.Mode = volume.NoCreate
	setRoster(t, c.Volumes[0], base.put(e))
	setRoster(t, c.Volumes[1], base.drop(marks["c"].Volume, true))
	m := reopen(t, c)
	if m.find("c") != nil || m.roster.member(e.Volume).Mode != volume.NoCreate {
		t.Errorf("%+v", m.roster)
	}
	if again := reopen(t, c); !again.roster.same(m.roster) {
		t.Errorf("it changes again: %+v, then %+v", m.roster, again.roster)
	}
}
