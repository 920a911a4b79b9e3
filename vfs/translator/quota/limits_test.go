package quota

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

var (
	ann = &vfs.Who{UID: 1000}
	ben = &vfs.Who{UID: 2000}
)

// tree is a fixture with directories, whose limits are in force.
func tree(t testing.TB, below vfs.FS, o map[string]any, dirs ...string) (*fixture, map[string]vfs.Node) {
	t.Helper()
	if below == nil {
		below = vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})
	}
	root, err := below.Root(t.Context(), vfs.Superuser)
	must(t, err)
	all := map[string]vfs.Node{"/": root.Node}
	for _, path := range dirs {
		up, last := filepath.Split(path)
		a, _, err := below.Make(t.Context(), vfs.Superuser, all[filepath.Clean(up)], name(last), &vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}})
		must(t, err)
		all[path] = a.Node
	}
	f := over(t, below, "", o)
	f.awaitWalk()
	return f, all
}

func (f *fixture) want(what string, err error, want vfs.Status) {
	f.t.Helper()
	if vfs.StatusOf(err) != want {
		f.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (f *fixture) make(w *vfs.Who, dir vfs.Node, s string, typ vfs.Type) error {
	_, _, err := f.fs.Make(f.t.Context(), w, dir, name(s), &vfs.How{Type: typ, Target: "x", Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}})
	return err
}

func (f *fixture) rename(w *vfs.Who, from vfs.Node, s string, to vfs.Node, t string) error {
	_, _, err := f.fs.Rename(f.t.Context(), w, from, name(s), to, name(t))
	return err
}

// TestDirectoryLimits: bytes, files, holes, what rewrites and shrinks, names into it, and FSSTAT.
func TestDirectoryLimits(t *testing.T) {
	f, at := tree(t, nil, map[string]any{"directories": []any{limit("path", "/a", "hard-bytes", "40KiB", "hard-files", 5)}}, "/a", "/a/in", "/b")
	file := f.made(ann, at["/a/in"], "f", vfs.Regular)
	f.has("/a", 0, 2)
	for _, w := range []struct {
		off  uint64
		n    int
		want vfs.Status
	}{
		{0, 16384, vfs.OK}, {100, 10000, vfs.OK}, {1 << 20, 4096, vfs.OK}, {32768, 20480, vfs.OK}, {0, 1, vfs.DQuot}, {1 << 21, 1, vfs.DQuot},
	} {
		if got := f.write(ann, file, w.off, w.n); got != w.want {
			f.t.Errorf("%d bytes at %d: %v, want %v", w.n, w.off, got, w.want)
		}
	}
	f.has("/a", 40960, 2)
	_, err := f.fs.SetAttr(t.Context(), ann, file, &vfs.SetAttr{Mask: vfs.SetSize, Size: 16384}, nil)
	must(t, err)
	f.has("/a", 16384, 2)
	sp, _, err := f.fs.Statfs(t.Context(), ann, file)
	if must(t, err); sp.TotalBytes != 40960 || sp.AvailBytes != 24576 || sp.FreeBytes != 24576 || sp.TotalFiles != 5 || sp.AvailFiles != 3 {
		t.Errorf("FSSTAT says %+v", sp)
	}
	if sp, _, err = f.fs.Statfs(t.Context(), ann, at["/b"]); err != nil || sp.TotalBytes == 40960 {
		t.Errorf("FSSTAT beside it says %+v, %v", sp, err)
	}
	must(t, f.make(ann, at["/a"], "dir", vfs.Directory))
	must(t, f.make(ann, at["/a"], "l", vfs.Symlink))
	_, _, err = f.fs.Link(t.Context(), ann, file, at["/a"], name("again"))
	f.want("a second name in it", err, vfs.OK)
	f.has("/a", 16384, 4)
	outside := f.made(ann, at["/b"], "out", vfs.Regular)
	must(t, f.make(ann, at["/a"], "last", vfs.FIFO))
	f.want("one more", f.make(ann, at["/a"], "more", vfs.Regular), vfs.DQuot)
	f.want("one that is there", f.make(ann, at["/a"], "l", vfs.Symlink), vfs.Exist)
	_, _, err = f.fs.Link(t.Context(), ann, outside, at["/a"], name("out"))
	f.want("a name of one outside", err, vfs.DQuot)
	f.want("one moved in", f.rename(ann, at["/b"], "out", at["/a"], "out"), vfs.DQuot)
	f.want("one renamed in it", f.rename(ann, at["/a"], "l", at["/a/in"], "l"), vfs.OK)
	f.want("one moved out", f.rename(ann, at["/a/in"], "l", at["/b"], "l"), vfs.OK)
	f.want("one moved in now", f.rename(ann, at["/b"], "out", at["/a"], "out"), vfs.OK)
	f.want("its first name out", f.rename(ann, at["/a/in"], "f", at["/b"], "f"), vfs.OK)
	f.has("/a", 16384, 5)
	_, err = f.fs.Remove(t.Context(), ann, at["/a"], name("again"))
	must(t, err)
	f.has("/a", 0, 4)
	if diff := f.wantCounts(); diff != "" {
		t.Error(diff)
	}
}

// TestUserLimits: of one user, of all others, chown, and what does not bind.
func TestUserLimits(t *testing.T) {
	f, at := tree(t, nil, map[string]any{"users": []any{limit("hard-bytes", "16KiB", "hard-files", 3), limit("uids", []any{2000}, "hard-files", 1)}}, "/a")
	file := f.made(ann, at["/a"], "f", vfs.Regular)
	if got := f.write(ann, file, 0, 16385); got != vfs.DQuot {
		t.Errorf("too much: %v", got)
	}
	if got := f.write(ben, file, 0, 16384); got != vfs.OK && got != vfs.Acces {
		t.Errorf("another's write, which counts for the owner: %v", got)
	}
	if got := f.write(vfs.Superuser, file, 0, 40960); got != vfs.OK {
		t.Errorf("the superuser: %v", got)
	}
	if got := f.write(ann, file, 0, 40960); got != vfs.OK {
		t.Errorf("in place: %v", got)
	}
	if got := f.write(ann, file, 40960, 1); got != vfs.DQuot {
		t.Errorf("more: %v", got)
	}
	must(t, f.make(ben, at["/a"], "b", vfs.Directory))
	f.want("ben's second", f.make(ben, at["/a"], "c", vfs.Directory), vfs.DQuot)
	must(t, f.make(ann, at["/a"], "c", vfs.Directory))
	_, err := f.fs.SetAttr(t.Context(), vfs.Superuser, file, &vfs.SetAttr{Mask: vfs.SetUID, UID: 2000}, nil)
	must(t, err)
	if diff := f.wantCounts(); diff != "" {
		t.Error(diff)
	}
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	if a, b := f.book.users[1000].now, f.book.users[2000].now; a != (usage{0, 1}) || b != (usage{40960, 2}) {
		t.Errorf("ann has %+v, ben %+v", a, b)
	}
}

// TestGrace: above the soft limit all goes well for the grace time, and again once it was left.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, at := tree(t, nil, map[string]any{"grace": "1h", "directories": []any{limit("path", "/a", "soft-files", 2, "hard-files", 9)}}, "/a")
		for _, s := range []string{"1", "2", "3"} {
			must(t, f.make(ann, at["/a"], s, vfs.Regular))
		}
		if lines := strings.Join(f.layer.Lines(), "\n"); !strings.Contains(lines, "/a: 0 B, 3 files of 9 (soft 2); over quota in files, 1h of grace left") {
			t.Errorf("status says\n%s", lines)
		}
		time.Sleep(time.Hour - time.Second)
		must(t, f.make(ann, at["/a"], "4", vfs.Regular))
		time.Sleep(time.Second)
		f.want("after the grace time", f.make(ann, at["/a"], "5", vfs.Regular), vfs.DQuot)
		for _, s := range []string{"1", "2"} {
			_, err := f.fs.Remove(t.Context(), ann, at["/a"], name(s))
			must(t, err)
		}
		must(t, f.make(ann, at["/a"], "5", vfs.Regular))
		f.close()
	})
}

// TestMovedTrees: a tree takes along what lies in it, where there is room (C6).
func TestMovedTrees(t *testing.T) {
	f, at := tree(t, nil, map[string]any{"directories": []any{limit("path", "/a", "hard-bytes", "1MiB"), limit("path", "/b", "hard-files", 3), limit("path", "/a/own", "hard-files", 9)}},
		"/a", "/b", "/a/own", "/a/own/deep", "/a/big", "/a/big/deep")
	if got := f.write(ann, f.made(ann, at["/a/own/deep"], "f", vfs.Regular), 0, 5000); got != vfs.OK {
		t.Fatal(got)
	}
	must(t, f.make(ann, at["/a/big/deep"], "1", vfs.Regular))
	must(t, f.make(ann, at["/a/big/deep"], "2", vfs.Regular))
	f.want("four", f.rename(ann, at["/a"], "big", at["/b"], "big"), vfs.DQuot)
	f.want("into itself", f.rename(ann, at["/a"], "big", at["/a/big/deep"], "x"), vfs.Inval)
	f.want("three", f.rename(ann, at["/a"], "own", at["/b"], "own"), vfs.OK)
	f.has("/a", 0, 4)
	f.has("/b", 8192, 3)
	f.has("/a/own", 8192, 2)
	if got := f.write(ann, f.made(ann, at["/a/big"], "f", vfs.Regular), 0, 1); got != vfs.OK {
		t.Fatal(got)
	}
	f.want("out of all", f.rename(ann, at["/a"], "big", at["/"], "big"), vfs.OK)
	f.has("/a", 0, 0)
	if diff := f.wantCounts(); diff != "" {
		t.Error(diff)
	}
}

// TestSlowSum: a tree that cannot be summed up in time is Jukebox, and moves when it was.
func TestSlowSum(t *testing.T) {
	f, at := tree(t, nil, map[string]any{"directories": []any{limit("path", "/a", "hard-files", 9)}}, "/a", "/b", "/b/in")
	must(t, f.make(ann, at["/b/in"], "x", vfs.Regular))
	hold := make(chan struct{})
	f.hook = func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if c.Verb == translator.ReadDir {
			<-hold
		}
		return next(ctx, c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := f.fs.Rename(ctx, ann, at["/b"], name("in"), at["/a"], name("in"))
	f.want("while it is counted", err, vfs.Jukebox)
	close(hold)
	for err = f.rename(ann, at["/b"], "in", at["/a"], "in"); vfs.StatusOf(err) == vfs.Jukebox; {
		err = f.rename(ann, at["/b"], "in", at["/a"], "in")
	}
	must(t, err)
	f.has("/a", 0, 2)
}

// TestNeverAbove: many callers at once do not pass a hard limit, of bytes or of files (C4).
func TestNeverAbove(t *testing.T) {
	f, at := tree(t, nil, map[string]any{
		"directories": []any{limit("path", "/a", "hard-bytes", "400KiB")},
		"users":       []any{limit("hard-files", 20)},
	}, "/a")
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 4 {
				a, _, err := f.fs.Make(t.Context(), ann, at["/a"], name(string(rune('a'+i))+string(rune('a'+j))), &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}})
				if err != nil {
					f.want("make", err, vfs.DQuot)
					continue
				}
				for k := range 20 {
					if got := f.write(ann, a.Node, uint64(k)*8192, 8192); got != vfs.OK && got != vfs.DQuot {
						t.Errorf("write: %v", got)
					}
				}
			}
		})
	}
	all.Wait()
	f.has("/a", 400<<10, 20)
	if diff := f.wantCounts(); diff != "" {
		t.Error(diff)
	}
}

// TestFailures: calls that fail after they had their effect, or without, are counted as it is (C1).
func TestFailures(t *testing.T) {
	f, at := tree(t, nil, map[string]any{"directories": []any{limit("path", "/a", "hard-files", 90), limit("path", "/b", "hard-files", 90)}}, "/a", "/b")
	file := f.made(ann, at["/a"], "f", vfs.Regular)
	for _, after := range []bool{true, false} {
		f.hook = func(ctx context.Context, c *translator.Call, next translator.Next) error {
			if !c.Verb.Changes() {
				return next(ctx, c)
			}
			if after {
				_ = next(ctx, c)
			}
			*c = translator.Call{Verb: c.Verb, Below: c.Below, Who: c.Who}
			return vfs.IO
		}
		steps := []func(){
			func() { _ = f.make(ann, at["/a"], "g", vfs.Regular) },
			func() { _ = f.write(ann, file, 0, 9000) },
			func() { _, _, _ = f.fs.Link(t.Context(), ann, file, at["/b"], name("h")) },
			func() { _ = f.rename(ann, at["/a"], "f", at["/b"], "f") },
			func() { _, _ = f.fs.Remove(t.Context(), ann, at["/b"], name("h")) },
			func() { _, _ = f.fs.Remove(t.Context(), ann, at["/a"], name("g")) },
		}
		for i, step := range steps {
			step()
			if diff := f.wantCounts(); diff != "" {
				t.Errorf("step %d, effect %v: %s", i, after, diff)
			}
		}
	}
	if f.book.missed != 0 {
		t.Errorf("%d changes were not counted", f.book.missed)
	}
}

// TestBehindTheBack: what changed otherwise is counted by the next walk, and at once if it is a file that is known.
func TestBehindTheBack(t *testing.T) {
	f, at := tree(t, nil, map[string]any{"users": []any{limit("hard-bytes", "1GiB")}, "directories": []any{limit("path", "/a", "hard-files", 90), limit("path", "/later", "hard-files", 90)}}, "/a")
	file := f.made(ann, at["/a"], "f", vfs.Regular)
	_, _, err := f.below.Write(t.Context(), ann, file, make([]byte, 5000), 0, vfs.FileSync)
	must(t, err)
	f.book.event(vfs.Event{Kind: vfs.ForgetNode, Node: file.ID})
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		f.book.mu.Lock()
		got := f.tally("/a").now
		f.book.mu.Unlock()
		if got == (usage{8192, 1}) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after a minute /a has %+v", got)
		}
	}
	_, _, err = f.below.Make(t.Context(), ann, at["/a"], name("g"), &vfs.How{Type: vfs.Regular})
	must(t, err)
	f.recount()
	f.has("/a", 8192, 2)
	f.made(ann, f.made(ann, f.root, "later", vfs.Directory), "x", vfs.Regular) // the limit comes to be in force without waiting
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		f.book.mu.Lock()
		known := f.tally("/later").known
		f.book.mu.Unlock()
		if known {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a directory that is made later is not limited after a minute")
		}
	}
	f.awaitWalk()
	f.has("/later", 0, 1)
	if diff := f.wantCounts(); diff != "" {
		t.Error(diff)
	}
}

// TestRestart: what was counted is in force at once after a restart, until a walk replaces it; a file that cannot be read is as none.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	below := vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})
	o := map[string]any{"directories": []any{limit("path", "/", "hard-files", 3)}, "users": []any{limit("soft-files", 2)}}
	f := over(t, below, dir, o)
	for _, s := range []string{"1", "2", "3"} {
		must(t, f.make(ann, f.root, s, vfs.Regular))
	}
	f.awaitWalk()
	f.close()
	since := f.book.users[1000].since
	_, err := below.Remove(t.Context(), vfs.Superuser, f.root, name("3"))
	must(t, err)
	g := over(t, below, dir, o)
	g.hook = nil
	g.awaitWalk()
	g.has("/", 0, 2)
	must(t, g.make(ann, g.root, "4", vfs.Regular))
	g.close()
	stopped := &keeper{book: newBook(t.Context(), below, g.book.log), file: filepath.Join(dir, "quota.json")}
	stopped.book.limited = []*tally{{path: "/"}}
	stopped.book.users[1000] = &tally{user: true, uid: 1000}
	stopped.load()
	if got := stopped.book.limited[0]; got.now != (usage{0, 3}) || !got.known {
		t.Errorf("it begins with %+v", got)
	}
	if since[ofFiles].IsZero() {
		t.Error("ann was not above her soft limit")
	}
	if got := stopped.book.users[1000]; !got.since[ofFiles].After(since[ofFiles]) || got.now != (usage{0, 3}) {
		t.Errorf("ann begins with %+v", got)
	}
	must(t, os.WriteFile(filepath.Join(dir, "quota.json"), []byte(`{"format":9}`), 0o600))
	h := over(t, below, dir, o)
	h.awaitWalk()
	h.has("/", 0, 3)
}

// TestUnreadable: what a walk could not read leaves counts as they were, or lower bounds, which bind (C7).
func TestUnreadable(t *testing.T) {
	f, at := tree(t, nil, map[string]any{"directories": []any{limit("path", "/a", "hard-files", 3)}}, "/a", "/a/in")
	must(t, f.make(ann, at["/a/in"], "1", vfs.Regular))
	f.hook = func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if c.Verb == translator.ReadDir && c.Node.ID == at["/a/in"].ID {
			return vfs.IO
		}
		return next(ctx, c)
	}
	k := &keeper{book: f.book}
	k.survey(newWalk(func(context.Context, time.Duration) {}))
	if k.problem == nil || k.retry == 0 {
		t.Fatalf("a walk that failed ends with %v, again in %v", k.problem, k.retry)
	}
	f.has("/a", 0, 2)
	f.book.mu.Lock()
	f.tally("/a").known, f.tally("/a").now = false, usage{}
	f.book.mu.Unlock()
	k.survey(newWalk(func(context.Context, time.Duration) {}))
	f.has("/a", 0, 1)
	if line := f.book.line(f.tally("/a")); !strings.HasSuffix(line, "1 files of 3, at least") {
		t.Errorf("status says %s", line)
	}
}

// TestBadOptions are refused.
func TestBadOptions(t *testing.T) {
	for _, o := range []map[string]any{
		{"directories": []any{limit("hard-bytes", 1)}},
		{"directories": []any{limit("path", "a", "hard-bytes", 1)}},
		{"directories": []any{limit("path", "/a")}},
		{"directories": []any{limit("path", "/a", "hard-bytes", 1, "soft-bytes", 2)}},
		{"directories": []any{limit("path", "/a", "hard-byte", 1)}},
		{"directories": []any{limit("path", "/a/b", "hard-bytes", 1), limit("path", "/a//b", "hard-bytes", 1)}},
		{"users": []any{limit("hard-files", 1), limit("hard-files", 1)}},
		{"users": []any{limit("uids", []any{}, "hard-files", 1)}},
		{"users": []any{limit("uids", 1, "hard-files", 1), limit("uids", 1, "hard-files", 1)}},
		{"users": []any{limit("uids", "ann", "hard-files", 1)}},
		{"grace": "-1s"},
		{"rescan": "1s"},
		{"nix": 1},
	} {
		if err := translator.Check([]translator.Kind{NewKind("")}, []translator.Spec{{Kind: "quota", Options: o}}); err == nil {
			t.Errorf("%v is taken", o)
		}
	}
}
