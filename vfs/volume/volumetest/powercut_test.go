package volumetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// seeds are how many power cuts each rule is tried with.
const seeds = 64

var plain = &volume.New{Mode: 0o644}

// world is a Mem with words for tests that are not about errors.
type world struct {
	*testing.T
	m *Mem
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t, NewMem(Options{})}
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) create(d volume.Dir, n, content string) volume.File {
	w.Helper()
	f, _, _, err := d.Create(w.Context(), name(n), plain)
	w.check(err)
	if content != "" {
		_, err = f.WriteAt(w.Context(), []byte(content), 0)
		w.check(err)
	}
	return f
}

func (w *world) mkdir(d volume.Dir, n string) volume.Dir {
	w.Helper()
	sub, _, _, err := d.Mkdir(w.Context(), name(n), plain)
	w.check(err)
	return sub
}

func (w *world) sync(d volume.Dir) { w.Helper(); w.check(d.Sync(w.Context())) }

// tree is every path with its content, below d.
func tree(t *testing.T, d volume.Dir) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(d volume.Dir, at string)
	walk = func(d volume.Dir, at string) {
		err := d.List(t.Context(), func(e volume.Entry) bool {
			path := at + e.Name.String()
			switch e.Type {
			case vfs.Directory:
				all[path+"/"] = ""
				sub, err := d.OpenDir(t.Context(), e.Name)
				if err != nil {
					t.Error(err)
					return false
				}
				walk(sub, path+"/")
				if err := sub.Close(); err != nil {
					t.Error(err)
				}
			case vfs.Regular:
				f, err := d.Open(t.Context(), e.Name, volume.Read)
				if err != nil {
					t.Error(err)
					return false
				}
				buf := make([]byte, 1<<15)
				n, err := f.ReadAt(t.Context(), buf, 0)
				if err := errors.Join(err, f.Close()); err != nil {
					t.Error(err)
				}
				all[path] = string(buf[:n])
			case vfs.Block, vfs.Char, vfs.Symlink, vfs.Socket, vfs.FIFO:
				all[path] = "special"
			}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	}
	walk(d, "")
	return all
}

// outcomes runs a history and a power cut with every seed, and counts the trees that are left.
func outcomes(t *testing.T, history func(w *world)) map[string]int {
	t.Helper()
	all := map[string]int{}
	for seed := range uint64(seeds) {
		w := newWorld(t)
		history(w)
		left := tree(t, w.m.PowerCut(seed).Root())
		var b strings.Builder
		for _, p := range slices.Sorted(maps.Keys(left)) {
			fmt.Fprintf(&b, "%s=%s ", p, left[p])
		}
		all[strings.TrimSpace(b.String())]++
	}
	return all
}

// want demands exactly these outcomes, each at least once.
func want(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	slices.Sort(want)
	if g := slices.Sorted(maps.Keys(got)); !slices.Equal(g, want) {
		t.Errorf("after power cuts: %q, want %q", g, want)
	}
}

func TestPowerCut(t *testing.T) {
	for _, c := range []struct {
		name    string
		history func(w *world)
		want    []string
	}{
		{"nothing synced", func(w *world) {
			w.create(w.m.Root(), "a", "")
			w.create(w.m.Root(), "b", "")
		}, []string{"", "a=", "b=", "a= b="}},
		{"directory synced, data not", func(w *world) {
			w.create(w.m.Root(), "a", "data")
			w.sync(w.m.Root())
		}, []string{"a=", "a=data", "a=\x00\x00\x00\x00"}},
		{"data synced, name not", func(w *world) {
			w.check(w.create(w.m.Root(), "a", "data").Sync(w.Context(), true))
		}, []string{"", "a=data"}},
		{"both synced", func(w *world) {
			w.check(w.create(w.m.Root(), "a", "data").Sync(w.Context(), false))
			w.sync(w.m.Root())
		}, []string{"a=data"}},
		{"a new directory's own sync does not keep its name", func(w *world) {
			d := w.mkdir(w.m.Root(), "d")
			w.create(d, "f", "")
			w.sync(d)
		}, []string{"", "d/= d/f="}},
		{"nor does the parent's keep its entries", func(w *world) {
			w.create(w.mkdir(w.m.Root(), "d"), "f", "")
			w.sync(w.m.Root())
		}, []string{"d/=", "d/= d/f="}},
		{"unlink", func(w *world) {
			w.create(w.m.Root(), "a", "")
			w.sync(w.m.Root())
			w.check(w.m.Root().Unlink(w.Context(), name("a")))
		}, []string{"", "a="}},
		{"unlink, synced", func(w *world) {
			w.create(w.m.Root(), "a", "")
			w.check(w.m.Root().Unlink(w.Context(), name("a")))
			w.sync(w.m.Root())
		}, []string{""}},
		{"a rename within a directory is atomic", func(w *world) {
			w.create(w.m.Root(), "a", "")
			w.sync(w.m.Root())
			w.check(w.m.Root().Rename(w.Context(), name("a"), w.m.Root(), name("b"), false))
		}, []string{"a=", "b="}},
		{"a rename wants both directories synced", func(w *world) {
			d := w.mkdir(w.m.Root(), "d")
			w.create(w.m.Root(), "a", "")
			w.sync(w.m.Root())
			w.check(w.m.Root().Rename(w.Context(), name("a"), d, name("b"), false))
			w.sync(d)
		}, []string{"a= d/=", "d/= d/b="}},
		{"both synced, in any order", func(w *world) {
			d := w.mkdir(w.m.Root(), "d")
			w.create(w.m.Root(), "a", "")
			w.check(w.m.Root().Rename(w.Context(), name("a"), d, name("b"), false))
			w.sync(d)
			w.sync(w.m.Root())
		}, []string{"d/= d/b="}},
		{"a later change of a name brings the earlier", func(w *world) {
			w.create(w.m.Root(), "a", "")
			w.sync(w.m.Root())
			d := w.mkdir(w.m.Root(), "d")
			w.sync(w.m.Root())
			w.check(w.m.Root().Rename(w.Context(), name("a"), d, name("a"), false)) // durable with d only
			w.create(w.m.Root(), "a", "")
			w.sync(w.m.Root())
		}, []string{"a= d/= d/a="}},
		{"everything", func(w *world) {
			d := w.mkdir(w.m.Root(), "d")
			w.create(d, "f", "data")
			w.check(w.m.SyncAll(w.Context()))
			w.create(d, "g", "")
		}, []string{"d/= d/f=data", "d/= d/f=data d/g="}},
		{"an overwritten page is old or new", func(w *world) {
			f := w.create(w.m.Root(), "a", "old")
			w.check(w.m.SyncAll(w.Context()))
			_, err := f.WriteAt(w.Context(), []byte("new"), 0)
			w.check(err)
		}, []string{"a=old", "a=new"}},
		{"an open file without a name is gone", func(w *world) {
			f := w.create(w.m.Root(), "a", "x")
			w.check(w.m.Root().Unlink(w.Context(), name("a")))
			w.check(f.Sync(w.Context(), false))
			w.sync(w.m.Root())
		}, []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) { want(t, outcomes(t, c.history), c.want...) })
	}
}

// TestPowerCutAttributes: those at birth come with the name; later ones want a
// sync of the object.
func TestPowerCutAttributes(t *testing.T) {
	ctx := t.Context()
	modes, marks := map[uint32]bool{}, map[string]bool{}
	for seed := range uint64(seeds) {
		w := newWorld(t)
		root := w.m.Root()
		_, st, _, err := root.Create(ctx, name("f"), &volume.New{Mode: 0o640, UID: 7, Mark: []byte("born")})
		w.check(err)
		w.sync(root)
		w.check(root.SetAttrAt(ctx, name("f"), st.Key, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}))
		w.check(root.SetMarkAt(ctx, name("f"), st.Key, []byte("later")))
		w.sync(root) // the parent's sync is not the object's
		after := w.m.PowerCut(seed).Root()
		got, err := after.StatAt(ctx, name("f"))
		w.check(err)
		mark, err := after.MarkAt(ctx, name("f"))
		w.check(err)
		modes[got.Mode], marks[string(mark)] = true, true
		if got.UID != 7 || got.Key != st.Key {
			t.Fatalf("%+v, was born %+v", got, st)
		}
	}
	if !maps.Equal(modes, map[uint32]bool{0o640: true, 0o600: true}) || !maps.Equal(marks, map[string]bool{"born": true, "later": true}) {
		t.Errorf("modes %v, marks %v", modes, marks)
	}
}

// TestPowerCutRandom: random histories leave a sound tree in which everything that was
// synced is found, equally for equal seeds.
func TestPowerCutRandom(t *testing.T) {
	for seed := range uint64(300) {
		var left [2]map[string]string
		for i := range left {
			m, safe := randomHistory(t, seed)
			m = m.PowerCut(seed)
			checkDisk(t, m)
			left[i] = tree(t, m.Root())
			for p, content := range safe {
				if got, found := left[i][p]; !found || got != content {
					t.Fatalf("seed %d: %q is %q, was synced as %q", seed, p, got, content)
				}
			}
			if again := tree(t, m.PowerCut(seed+1).Root()); !maps.Equal(again, left[i]) {
				t.Fatalf("seed %d: a second cut, with nothing done between, left another tree", seed)
			}
		}
		if !maps.Equal(left[0], left[1]) {
			t.Fatalf("seed %d: two runs left %v and %v", seed, left[0], left[1])
		}
	}
}

// randomHistory works in a few directories; safe is what is below "safe/", synced at once.
func randomHistory(t *testing.T, seed uint64) (m *Mem, safe map[string]string) {
	t.Helper()
	w := &world{t, NewMem(Options{Reuse: true})}
	rnd := rand.New(rand.NewPCG(seed, 1))
	keep := w.mkdir(w.m.Root(), "safe")
	dirs := []volume.Dir{w.m.Root(), w.mkdir(w.m.Root(), "d0"), w.mkdir(w.m.Root(), "d1")}
	w.sync(w.m.Root())
	safe = map[string]string{}
	pick := func() (volume.Dir, vfs.Name) {
		return dirs[rnd.IntN(len(dirs))], name("n" + itoa(rnd.IntN(6)))
	}
	for range 60 {
		d, n := pick()
		to, m := pick()
		var err error // the tree decides whether an operation can be done: any outcome will do
		switch rnd.IntN(9) {
		case 0, 1:
			var f volume.File
			if f, _, _, err = d.Create(t.Context(), n, plain); err == nil {
				_, err = f.WriteAt(t.Context(), make([]byte, rnd.IntN(10_000)), 0)
			}
		case 2:
			var sub volume.Dir
			if sub, _, _, err = d.Mkdir(t.Context(), n, plain); err == nil {
				dirs = append(dirs, sub)
			}
		case 3:
			err = d.Unlink(t.Context(), n)
		case 4:
			err = d.Rmdir(t.Context(), n)
		case 5, 6:
			err = d.Rename(t.Context(), n, to, m, rnd.IntN(2) == 0)
		case 7:
			err = d.Sync(t.Context())
		case 8:
			content := itoa(rnd.IntN(1000))
			file := "s" + itoa(len(safe))
			f := w.create(keep, file, content)
			w.check(f.Sync(t.Context(), false))
			w.sync(keep)
			safe["safe/"+file] = content
		}
		if s := vfs.StatusOf(err); s == vfs.IO || s == vfs.ServerFault {
			t.Fatal(err)
		}
	}
	checkDisk(t, w.m)
	return w.m, safe
}

// checkDisk demands that names and objects agree.
func checkDisk(t *testing.T, m *Mem) {
	t.Helper()
	var used uint64
	for ino, n := range m.disk.inodes {
		used += inodeCost + uint64(len(n.pages))*pageSize
		subdirs := 0
		for _, sub := range n.entries {
			if sub.typ == vfs.Directory {
				subdirs++
				if len(sub.names) != 1 {
					t.Errorf("a directory has %d names", len(sub.names))
				}
			}
		}
		if n.ino != ino || n.subdirs != subdirs {
			t.Errorf("inode %d is filed as %d; %d subdirectories, counted %d", n.ino, ino, subdirs, n.subdirs)
		}
		for _, s := range n.names {
			if s.dir.entries[s.name] != n || m.disk.inodes[s.dir.ino] != s.dir {
				t.Errorf("inode %d is not at its name %q", ino, s.name)
			}
		}
	}
	if used != m.disk.used {
		t.Errorf("%d bytes are used, counted %d", used, m.disk.used)
	}
}

func TestAfterPowerCutTheOldIsDead(t *testing.T) {
	w := newWorld(t)
	f := w.create(w.m.Root(), "a", "x")
	now := w.m.PowerCut(1)
	_, err := f.ReadAt(t.Context(), make([]byte, 1), 0)
	if vfs.StatusOf(err) != vfs.IO {
		t.Errorf("read through what was open before the cut: %v", err)
	}
	if _, err := w.m.Root().StatAt(t.Context(), name("a")); vfs.StatusOf(err) != vfs.IO {
		t.Errorf("stat through the volume as it was: %v", err)
	}
	if now.ID() != w.m.ID() || now.Marker().Volume != w.m.ID().String() {
		t.Error("the volume came back as another")
	}
	w.check(f.Close())
	again := now.Reopen()
	if _, err := now.Root().Stat(t.Context()); vfs.StatusOf(err) != vfs.IO {
		t.Errorf("stat after Reopen: %v", err)
	}
	_, err = again.Root().Stat(t.Context())
	w.check(err)
}

// TestFault: every operation can be made to fail, without an effect, and is counted.
func TestFault(t *testing.T) {
	boom := errors.New("boom")
	run := func(fail int) (left map[string]string, ops int, failed bool) {
		m := NewMem(Options{Fault: func(_ string, n int) error {
			if n == fail {
				return boom
			}
			return nil
		}})
		note := func(err error) {
			if errors.Is(err, boom) {
				failed = true
			}
		}
		f, _, _, err := m.Root().Create(t.Context(), name("a"), plain)
		note(err)
		if err == nil {
			_, err = f.WriteAt(t.Context(), []byte("x"), 0)
			note(err)
			note(f.Sync(t.Context(), false))
			note(f.Close())
		}
		note(m.Root().Rename(t.Context(), name("a"), m.Root(), name("b"), true))
		note(m.Root().Sync(t.Context()))
		note(m.SyncAll(t.Context()))
		m.o.Fault = nil
		return tree(t, m.Root()), m.Counts().Ops, failed
	}
	_, ops, failed := run(0)
	if failed || ops < 6 {
		t.Fatalf("%d operations, failed %v", ops, failed)
	}
	for i := 1; i <= 6; i++ {
		left, _, failed := run(i)
		if !failed {
			t.Errorf("operation %d failed and nobody was told", i)
		}
		if i == 1 && len(left) != 0 || i == 2 && left["b"] != "" {
			t.Errorf("operation %d had an effect: %v", i, left)
		}
	}
}

func TestCapacity(t *testing.T) {
	w := &world{t, NewMem(Options{Capacity: 10 * pageSize})}
	ctx := t.Context()
	before, err := w.m.Space(ctx)
	w.check(err)
	f := w.create(w.m.Root(), "a", "")
	n, err := f.WriteAt(ctx, make([]byte, 20*pageSize), 0)
	if vfs.StatusOf(err) != vfs.NoSpc || n != 9*pageSize {
		t.Errorf("wrote %d, %v", n, err)
	}
	if st, err := f.Stat(ctx); err != nil || st.Size != uint64(n) {
		t.Errorf("%+v, %v", st, err)
	}
	for i := range 100 { // inodes cost room as well
		if _, _, _, err = w.m.Root().Mkdir(ctx, name(itoa(i)), plain); err != nil {
			break
		}
	}
	if vfs.StatusOf(err) != vfs.NoSpc {
		t.Errorf("mkdir: %v", err)
	}
	w.check(f.SetAttr(ctx, &vfs.SetAttr{Mask: vfs.SetSize}))
	if _, err := f.WriteAt(ctx, []byte("x"), 0); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	for path := range tree(t, w.m.Root()) {
		if dir, ok := strings.CutSuffix(path, "/"); ok {
			w.check(w.m.Root().Rmdir(ctx, name(dir)))
		}
	}
	w.check(w.m.Root().Unlink(ctx, name("a")))
	w.check(f.Close())
	if after, err := w.m.Space(ctx); err != nil || before.Free-after.Free > 5*inodeCost {
		t.Errorf("%+v before, %+v after, %v", before, after, err)
	}
}

// TestReuse: with the option, inode numbers and birth times come again and generations do not.
func TestReuse(t *testing.T) {
	for _, weak := range []bool{false, true} {
		w := &world{t, NewMem(Options{Reuse: true, Weak: weak, Now: func() time.Time { return time.Unix(1000, 0) }})}
		keys, ids := map[volume.Key]bool{}, map[volume.Identity]bool{}
		for range 10 {
			f, st, id, err := w.m.Root().Create(t.Context(), name("a"), plain)
			w.check(err)
			w.check(f.Close())
			w.check(w.m.Root().Unlink(t.Context(), name("a")))
			keys[st.Key], ids[id] = true, true
		}
		if n := map[bool]int{false: 10, true: 1}[weak]; len(keys) != 1 || len(ids) != n {
			t.Errorf("weak %v: %d keys and %d identities of 10 objects", weak, len(keys), len(ids))
		}
	}
}

func TestHandlesAreChecked(t *testing.T) {
	w := newWorld(t)
	f := w.create(w.m.Root(), "a", "")
	if w.m.Handles() != 1 {
		t.Errorf("%d open", w.m.Handles())
	}
	w.check(f.Close())
	if _, err := f.Stat(t.Context()); vfs.StatusOf(err) != vfs.ServerFault {
		t.Errorf("use after close: %v", err)
	}
	if err := f.Close(); vfs.StatusOf(err) != vfs.ServerFault || w.m.Handles() != 0 {
		t.Errorf("second close: %v, %d open", err, w.m.Handles())
	}
}
