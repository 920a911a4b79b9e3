package share

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs/volume"
)

// testID is the id of the volume called name.
func testID(name string) string { return strings.Repeat(name, 32)[:32] }

func rosterWith(names ...string) roster {
	var r roster
	for _, n := range names {
		r = r.put(volume.Member{Volume: testID(n), Name: n})
	}
	return r
}

func names(r roster) string {
	var all []string
	for _, m := range r.members {
		all = append(all, m.Name+":"+m.Mode.String())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestMergeTakesTheDescendant(t *testing.T) {
	old := rosterWith("a", "b", "c")
	now := old.drop(testID("b"), true).put(volume.Member{Volume: testID("a"), Name: "a", Mode: volume.ReadOnly})
	for _, order := range [][]roster{{old, now}, {now, old}, {rosterWith("a"), now, old, now}} {
		if m := merge(order...); !m.same(now) {
			t.Errorf("%+v, want %+v", m, now)
		}
	}
	if m := merge(); !m.same(roster{}) {
		t.Errorf("of none: %+v", m)
	}
}

// TestMergeOfTwoHistories: b was changed while a was away, and a while b was.
func TestMergeOfTwoHistories(t *testing.T) {
	base := rosterWith("a", "b", "c")
	onA := base.put(volume.Member{Volume: testID("b"), Name: "b", Mode: volume.ReadOnly}).put(volume.Member{Volume: testID("d"), Name: "d"})
	onB := base.drop(testID("c"), true)
	m := merge(onA, onB, base)
	if names(m) != "a:rw b:ro d:rw" || m.gone(testID("c")) == nil || m.epoch <= onA.epoch {
		t.Errorf("%+v", m)
	}
	if again := merge(m, onA, onB, base); !again.same(m) {
		t.Errorf("it does not stay: %+v", again)
	}
	// At one epoch what allows less counts, on whichever side it is.
	x, y := base.put(volume.Member{Volume: testID("a"), Name: "a", Mode: volume.NoCreate}), base.put(volume.Member{Volume: testID("a"), Name: "a", Mode: volume.ReadOnly})
	if names(merge(x, y)) != names(merge(y, x)) || !strings.Contains(names(merge(x, y)), "a:ro") {
		t.Errorf("%s, %s", names(merge(x, y)), names(merge(y, x)))
	}
}

// TestMergeProgram changes several copies of a roster apart from each other and brings them together
// in different orders: all agree, nothing removed comes back, and nothing added is lost.
func TestMergeProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []roster{rosterWith("a", "b"), rosterWith("a", "b"), rosterWith("a", "b")}
		gone, added := map[string]bool{}, map[string]bool{testID("a"): true, testID("b"): true}
		fresh := "cdefghijklmnopq"
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "copy")
			r := &all[i]
			switch op := rapid.IntRange(0, 3).Draw(t, "op"); {
			case op == 0 && fresh != "":
				n := fresh[:1]
				fresh = fresh[1:]
				*r = r.put(volume.Member{Volume: testID(n), Name: n})
				added[testID(n)] = true
			case op == 1 && len(r.members) > 0:
				id := rapid.SampledFrom(r.members).Draw(t, "member").Volume
				*r = r.drop(id, false)
				gone[id] = true
			case op == 2 && len(r.members) > 0:
				m := rapid.SampledFrom(r.members).Draw(t, "member")
				m.Mode = volume.Mode(rapid.IntRange(0, 2).Draw(t, "mode"))
				*r = r.put(m)
			case op == 3:
				*r = merge(*r, all[rapid.IntRange(0, len(all)-1).Draw(t, "from")])
			}
		}
		one, other := merge(all[0], all[1], all[2]), merge(merge(all[2], all[0]), all[1])
		if names(one) != names(other) {
			t.Fatalf("%s in one order, %s in another", names(one), names(other))
		}
		for _, m := range one.members {
			if gone[m.Volume] {
				t.Fatalf("%s came back", m.Name)
			}
		}
		for id := range added {
			if one.member(id) == nil && !gone[id] {
				t.Fatalf("%s is lost", id)
			}
		}
	})
}
