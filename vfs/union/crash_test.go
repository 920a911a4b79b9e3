package union

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestCrashLosesNothing cuts the power at every operation of every kind of call: the share opens, what
// was there before is there under its node and at its old or new name, but for what the call
// takes away, and a call that was answered was made.
func TestCrashLosesNothing(t *testing.T) {
	victims := map[string][]string{
		"remove": {"away/other"}, "rmdir of a directory with copies": {"home/empty"},
		"rename over what lies elsewhere": {"away/other"}, "rename over what lies beside": {"home/file"},
		"rename of a directory with copies over another": {"away/empty"},
	}
	for _, kinds := range [][]durable{births(), deaths(), moves()} {
		for _, d := range kinds {
			t.Run(d.name, func(t *testing.T) {
				for i := int64(1); ; i++ {
					for seed := range uint64(4) {
						x := newTree(t, 3)
						d.prepare(t, x)
						before := x.m.seen(t)
						x.m.settled(t)
						x.dies.Store(i)
						check, err := d.call(x)
						x.m.u.abandon()
						spent := x.dies.Swap(0) > 1
						x.m.cut(t, seed)
						if err == nil {
							check()
						}
						x.nothingLost(t, before, victims[d.name])
						x.m.close(t)
						for _, v := range x.m.mems {
							left(t, v, true)
						}
						if t.Failed() {
							t.Fatalf("with the power cut at operation %d, seed %d", i, seed)
						}
						if spent {
							return
						}
					}
				}
			})
		}
	}
}

// TestCrashWhileTakingBack cuts the power at every operation of a rename onto an object that lies
// elsewhere and of what undoes it, when one of its steps failed before.
func TestCrashWhileTakingBack(t *testing.T) {
	for k := int64(1); k <= 4; k++ { // renames on the volumes: of the record, of the old, of the new object
		for i := int64(1); ; i++ {
			spent := false
			for seed := range uint64(4) {
				x := newTree(t, 2)
				from := x.m.mkAt(t, 0, x.wide, "new one", vfs.Regular)
				old := x.m.path(t, "wide/w1")
				before := x.m.seen(t)
				x.m.settled(t)
				x.trap = &trap{}
				x.trap.fail("rename", k, 0, errDisk)
				x.dies.Store(i)
				err := x.m.rename(t, x.wide, "new one", x.wide, "w1")
				x.m.u.abandon()
				spent, x.trap = x.dies.Swap(0) > 1, nil
				x.m.cut(t, seed)
				now := x.m.look(t, x.wide, "w1", vfs.OK).Node.ID
				victims := []string{}
				if now == from.Node.ID {
					victims = append(victims, "wide/w1")
				} else if now != old.Node.ID || err == nil {
					t.Errorf("the rename said %v; w1 is %s, was %s", err, now, old.Node.ID)
				}
				x.nothingLost(t, before, victims)
				x.m.close(t)
				if t.Failed() {
					t.Fatalf("with rename %d failing and the power cut at operation %d, seed %d", k, i, seed)
				}
			}
			if spent {
				break
			}
		}
	}
}

// TestCopiesComeTogether lets some renames of a directory's copies fail, and some of those that
// take the others back: after a restart the directory is whole, at one of its names.
func TestCopiesComeTogether(t *testing.T) {
	for k := int64(1); k <= 8; k++ {
		for more := range int64(4) {
			for seed := range uint64(3) {
				x := newTree(t, 3)
				inside := x.m.seen(t)
				x.m.settled(t)
				x.trap = &trap{}
				x.trap.fail("rename", k, more, errDisk)
				err := x.m.rename(t, x.m.root(t), "wide", x.home, "moved")
				x.m.u.abandon()
				x.trap = nil
				if seed == 0 {
					x.m.restart(t)
				} else {
					x.m.cut(t, seed)
				}
				at := "wide"
				if a, _, lerr := x.m.u.Lookup(t.Context(), who, x.home, vfs.MustName("moved")); lerr == nil {
					at = "home/moved"
					x.gone(t, "wide")
					if a.Node.ID != x.wide.ID {
						t.Errorf("%s is %s, was %s", at, a.Node.ID, x.wide.ID)
					}
				} else if err == nil {
					t.Error("the rename was answered, and not made")
				}
				x.is(t, at, x.wide)
				for v := range x.m.mems {
					name := fmt.Sprintf("w%d", v)
					if a := x.m.path(t, at+"/"+name); a.Node.ID != inside["wide/"+name] {
						t.Errorf("%s is %s, was %s", name, a.Node.ID, inside["wide/"+name])
					}
				}
				x.m.close(t)
				if t.Failed() {
					t.Fatalf("with renames %d to %d failing, seed %d: %v", k, k+more, seed, err)
				}
			}
		}
	}
}

// TestRecoveryKeepsWhatCameMeanwhile kills the server at every step of a rename of a directory over
// another, and puts a file into what is found under the new name before the next server starts: it
// starts, and the file is there.
func TestRecoveryKeepsWhatCameMeanwhile(t *testing.T) {
	for i := int64(1); ; i++ {
		x := newTree(t, 3)
		x.emptyWide(t, x.away, "empty")
		x.dies.Store(i)
		err := x.m.rename(t, x.home, "deep", x.away, "empty")
		x.m.u.abandon()
		spent := x.dies.Swap(0) > 1
		put := 0
		for v := range x.m.mems {
			x.m.mems[v] = x.m.mems[v].Reopen()
			x.m.vols[v] = x.m.mems[v]
			if x.putForeign(t, v, "away", "empty") {
				put++
			}
		}
		x.m.open(t)
		found := 0
		for path := range x.m.seen(t) {
			if strings.Contains(path, "/foreign") {
				found++
			}
		}
		if found != put {
			t.Errorf("%d of %d files that came meanwhile are there; the rename said %v", found, put, err)
		}
		x.m.close(t)
		if t.Failed() {
			t.Fatalf("with the server dead at operation %d", i)
		}
		if spent {
			return
		}
	}
}

// TestPutBackMakesItsDirectory: the directory of an object that a crash left set aside was
// empty on that volume without it, and another process removed it.
func TestPutBackMakesItsDirectory(t *testing.T) {
	for i := int64(1); ; i++ {
		x := newTree(t, 2)
		x.m.mkAt(t, 0, x.wide, "new one", vfs.Regular)
		old := x.m.path(t, "wide/w1")
		x.dies.Store(i)
		err := x.m.rename(t, x.wide, "new one", x.wide, "w1")
		x.dies.Store(0)
		if err == nil {
			t.Fatal("the rename was never interrupted with the old object set aside")
		}
		if !x.m.setAside(t, 1) {
			x.m.revive(t)
			x.m.close(t)
			continue
		}
		must(t, x.m.mems[1].Root().Rmdir(t.Context(), vfs.MustName("wide")))
		x.m.revive(t)
		x.is(t, "wide", x.wide)
		x.is(t, "wide/w1", old.Node)
		x.m.close(t)
		return
	}
}

// putForeign makes a file in the directory at path on volume v, if there is one.
func (x *tree) putForeign(t testing.TB, v int, path ...string) bool {
	t.Helper()
	d := x.m.mems[v].Root()
	for _, name := range path {
		next, err := d.OpenDir(t.Context(), vfs.MustName(name))
		must(t, d.Close())
		if vfs.StatusOf(err) == vfs.NoEnt {
			return false
		}
		must(t, err)
		d = next
	}
	f, _, _, err := d.Create(t.Context(), vfs.MustName(fmt.Sprintf("foreign%d", v)), &volume.New{Mode: 0o600})
	must(t, err)
	must(t, f.Close())
	must(t, d.Close())
	return true
}

// nothingLost wants every node of before exactly as often as it was, but for those of victims, which
// may be gone.
func (x *tree) nothingLost(t testing.TB, before map[string]vfs.NodeID, victims []string) {
	t.Helper()
	count := func(m map[string]vfs.NodeID) map[vfs.NodeID][]string {
		at := make(map[vfs.NodeID][]string)
		for path, id := range m {
			at[id] = append(at[id], path)
		}
		return at
	}
	now := x.m.seen(t)
	was, is := count(before), count(now)
	for id, paths := range was {
		slices.Sort(paths)
		gone := slices.ContainsFunc(victims, func(v string) bool { return slices.Contains(paths, v) })
		if len(is[id]) == 0 && !gone {
			t.Errorf("%s, which was %q, is lost; there is\n%v", id, paths, now)
		}
		if len(is[id]) > len(paths)+1 {
			t.Errorf("%s, which was %q, is %q", id, paths, is[id])
		}
	}
	if a, err := x.m.u.GetAttr(t.Context(), who, x.file); err == nil && a.Size > 0 {
		x.holds(t, x.file, "before")
	} else if len(is[x.file.ID]) > 0 {
		t.Errorf("the file's size is %d, %v", a.Size, err)
	}
}
