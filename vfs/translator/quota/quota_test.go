package quota

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

// fixture is the layer over a Model, with a hook in between that a test can set.
type fixture struct {
	t     testing.TB
	fs    vfs.FS
	below vfs.FS
	book  *book // nil if nothing is limited
	layer translator.Layer
	root  vfs.Node
	hook  translator.Hook
}

// over builds the layer over below; with nil it makes a Model. It ends with the test unless it was closed.
func over(t testing.TB, below vfs.FS, dir string, o map[string]any) *fixture {
	t.Helper()
	f := &fixture{t: t, below: below}
	if below == nil {
		f.below = vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})
	}
	between := translator.Around(f.below, func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if f.hook != nil {
			return f.hook(ctx, c, next)
		}
		return next(ctx, c)
	})
	opts := translator.ReadOptions(o)
	build := NewKind(dir).New(opts)
	opts.End()
	must(t, opts.Err())
	var err error
	f.layer, err = build(t.Context(), translator.Env{Name: "quota", Below: between, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	f.fs = f.layer.FS
	if l, ok := f.fs.(*layer); ok {
		f.book = l.book
		t.Cleanup(f.close)
	}
	a, err := f.fs.Root(t.Context(), vfs.Superuser)
	must(t, err)
	f.root = a.Node
	return f
}

func (f *fixture) close() {
	if f.layer.Close != nil {
		f.layer.Close()
		f.layer.Close = nil
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func name(s string) vfs.Name { return vfs.MustName(s) }

// limit is an entry of directories or users.
func limit(keys ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(keys); i += 2 {
		m[keys[i].(string)] = keys[i+1]
	}
	return m
}

// made makes name in dir as w, with mode 0777.
func (f *fixture) made(w *vfs.Who, dir vfs.Node, s string, typ vfs.Type) vfs.Node {
	f.t.Helper()
	a, _, err := f.fs.Make(f.t.Context(), w, dir, name(s), &vfs.How{Type: typ, Target: "x", Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}})
	must(f.t, err)
	return a.Node
}

// write writes n bytes.
func (f *fixture) write(w *vfs.Who, file vfs.Node, off uint64, n int) vfs.Status {
	_, _, err := f.fs.Write(f.t.Context(), w, file, make([]byte, n), off, vfs.FileSync)
	return vfs.StatusOf(err)
}

// awaitWalk waits until all is counted and nothing is being.
func (f *fixture) awaitWalk() {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		b := f.book
		b.mu.Lock()
		done := b.walked && len(b.walks) == 0 && !b.wanted
		for _, t := range b.limited {
			done = done && (t.dir.IsZero() || t.known)
		}
		b.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			f.t.Fatal("no walk has ended in a minute")
		}
	}
}

// recount asks for a walk and waits for it.
func (f *fixture) recount() {
	f.t.Helper()
	f.book.mu.Lock()
	f.book.walked = false
	f.book.want()
	f.book.mu.Unlock()
	f.awaitWalk()
}

// tally is that of a directory's path.
func (f *fixture) tally(path string) *tally {
	for _, t := range f.book.limited {
		if t.path == path {
			return t
		}
	}
	f.t.Fatalf("%s has no limits", path)
	return nil
}

// has wants what a directory takes.
func (f *fixture) has(path string, bytes, files int64) {
	f.t.Helper()
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	if t := f.tally(path); t.now != (usage{bytes, files}) || t.held != (usage{}) {
		f.t.Errorf("%s has %+v and %+v reserved, want %d bytes and %d files", path, t.now, t.held, bytes, files)
	}
}

// wantCounts compares every tally with a count of the tree, done otherwise. A tally has at most what another
// computed; nothing may be reserved.
func (f *fixture) wantCounts() (diff string) {
	users, dirs := map[uint32]usage{}, map[vfs.NodeID]map[vfs.NodeID]usage{}
	seen := map[vfs.NodeID]bool{}
	var walk func(dir vfs.Node, above []vfs.NodeID)
	walk = func(dir vfs.Node, above []vfs.NodeID) {
		above = append(slices.Clip(above), dir.ID)
		var all []vfs.DirEntry
		_, _, err := f.below.ReadDir(context.Background(), vfs.Superuser, dir, 0, true, func(e *vfs.DirEntry) bool {
			all = append(all, *e)
			return true
		})
		must(f.t, err)
		for _, e := range all {
			u := usage{int64(e.Attr.Used), 1}
			if e.Attr.Type == vfs.Directory {
				u.bytes = 0
				walk(e.Node, above)
			}
			if !seen[e.Node.ID] {
				seen[e.Node.ID] = true
				sum := users[e.Attr.UID]
				sum.add(u)
				users[e.Attr.UID] = sum
			}
			for _, d := range above {
				if dirs[d] == nil {
					dirs[d] = map[vfs.NodeID]usage{}
				}
				dirs[d][e.Node.ID] = u
			}
		}
	}
	walk(f.root, nil)
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	for _, t := range f.book.all() {
		var want usage
		if t.user {
			want = users[t.uid]
		} else {
			for _, u := range dirs[t.dir] {
				want.add(u)
			}
		}
		if t.now != want || t.held != (usage{}) {
			diff += fmt.Sprintf("%s has %+v and %+v reserved, want %+v\n", t, t.now, t.held, want)
		}
	}
	if len(f.book.pending)+len(f.book.locks)+len(f.book.moved) > 0 {
		diff += "something is left of calls that have ended\n"
	}
	return diff
}

// far are limits that nobody reaches.
func far() map[string]any {
	return map[string]any{
		"directories": []any{limit("path", "/", "hard-bytes", "1TiB"), limit("path", "/pub", "hard-files", 1<<40)},
		"users":       []any{limit("hard-files", 1<<40, "soft-bytes", "1TiB")},
	}
}

// TestSuite: without limits, and with limits that nobody reaches, answers are those of the FS below.
func TestSuite(t *testing.T) {
	for what, o := range map[string]map[string]any{"nothing": nil, "far": far()} {
		t.Run(what, func(t *testing.T) {
			vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
				return over(t, vfstest.NewModel(vfstest.ModelOptions{}), "", o).fs
			})
		})
	}
}

// TestProgram is random programs in lockstep with a Model, and counts at the end.
func TestProgram(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := over(t, nil, "", far())
		defer f.close()
		vfstest.RunProgram(rt, f.fs, vfstest.ProgramOptions{Steps: 60, Check: func() error {
			f.awaitWalk()
			if diff := f.wantCounts(); diff != "" {
				return fmt.Errorf("counts: %s", diff)
			}
			return nil
		}})
	})
}
