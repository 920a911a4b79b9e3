package translators

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/translator/script"
	"sheaf/vfs/vfstest"
)

// asked counts the look-ups that come through to it, and can stop at one.
type asked struct {
	vfs.FS
	lookups atomic.Int64
	made    func(name string) // called when a look-up was made below, before it is answered; nil: nothing
	listed  func()            // the same of a listing
}

func (a *asked) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	a.lookups.Add(1)
	obj, dirAttr, err = a.FS.Lookup(ctx, w, dir, name)
	if a.made != nil {
		a.made(name.String())
	}
	return obj, dirAttr, err
}

func (a *asked) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	at, eof, err := a.FS.ReadDir(ctx, w, dir, after, attrs, each)
	if a.listed != nil {
		a.listed()
	}
	return at, eof, err
}

// share is a script over a Model.
type share struct {
	*testing.T
	fs    vfs.FS
	below *asked
	model *vfstest.Model
	s     *script.Script
	root  vfs.Node
	log   *lines
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var (
	admin = &vfs.Who{}
	ann   = &vfs.Who{UID: 1000, GID: 100}
)

func load(t *testing.T, file string, options map[string]any, log *lines) *script.Script {
	t.Helper()
	s, err := script.Load(script.Options{File: file, Config: options, Log: slog.New(slog.NewJSONHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newShare(t *testing.T, file string, options map[string]any) *share {
	t.Helper()
	s := &share{T: t, log: &lines{}}
	s.s = load(t, file, options, s.log)
	s.model = vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})
	s.below = &asked{FS: s.model}
	fs, closed := s.s.Over(s.below)
	t.Cleanup(closed)
	t.Cleanup(func() {
		if n := s.count("faults_total", ""); n != 0 {
			t.Errorf("%v faults:\n%s", n, s.log)
		}
	})
	s.fs = fs
	a, err := fs.Root(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	s.root = a.Node
	return s
}

// count is one of the script's counts.
func (s *share) count(name, label string) float64 {
	s.Helper()
	for _, c := range s.s.Counts() {
		if c.Name == name && (label == "" && len(c.Labels) == 0 || slices.Contains(slices.Collect(maps.Values(c.Labels)), label)) {
			return c.Value
		}
	}
	s.Fatalf("no count %s of %q", name, label)
	return 0
}

func (s *share) counter(name string) float64 { return s.count("count_total", name) }

func (s *share) lookup(w *vfs.Who, dir vfs.Node, name string) (vfs.Attr, vfs.Status) {
	a, _, err := s.fs.Lookup(s.Context(), w, dir, vfs.MustName(name))
	return a, vfs.StatusOf(err)
}

func (s *share) want(what string, got, want vfs.Status) {
	s.Helper()
	if got != want {
		s.Errorf("%s: %v, want %v", what, got, want)
	}
}

// mk makes a file as w, and mkdir a directory.
func (s *share) mk(w *vfs.Who, dir vfs.Node, name string) (vfs.Attr, vfs.Status) {
	return s.make(w, dir, name, &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o666}})
}

// put makes a file, which must succeed.
func (s *share) put(w *vfs.Who, dir vfs.Node, name string) {
	s.Helper()
	_, st := s.mk(w, dir, name)
	s.want("create "+name, st, vfs.OK)
}

func (s *share) mkdir(w *vfs.Who, dir vfs.Node, name string) vfs.Node {
	s.Helper()
	a, st := s.make(w, dir, name, &vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}})
	s.want("mkdir "+name, st, vfs.OK)
	return a.Node
}

func (s *share) make(w *vfs.Who, dir vfs.Node, name string, how *vfs.How) (vfs.Attr, vfs.Status) {
	a, _, err := s.fs.Make(s.Context(), w, dir, vfs.MustName(name), how)
	return a, vfs.StatusOf(err)
}

func (s *share) list(w *vfs.Who, dir vfs.Node) string {
	s.Helper()
	var names []string
	_, _, err := s.fs.ReadDir(s.Context(), w, dir, 0, false, func(e *vfs.DirEntry) bool {
		names = append(names, e.Name.String())
		return true
	})
	s.want("readdir", vfs.StatusOf(err), vfs.OK)
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestSuite holds the scripts to the contract, with options that leave it as it is.
func TestSuite(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		options map[string]any
		can     vfstest.Options
	}{
		"negative":          {"negative.star", nil, vfstest.Options{}},
		"negative, present": {"negative.star", map[string]any{"present": true}, vfstest.Options{}},
		"audit":             {"audit.star", map[string]any{"verbs": []any{"write", "create", "rename", "remove", "setattr"}}, vfstest.Options{}},
		"deny":              {"deny.star", map[string]any{"names": []any{"*.never"}, "hide": true}, vfstest.Options{}},
		"nocase":            {"nocase.star", nil, vfstest.Options{FoldedNames: true}},
	} {
		t.Run(name, func(t *testing.T) {
			vfstest.Suite(t, c.can, func(t *testing.T) vfs.FS {
				log := &lines{}
				s := load(t, c.file, c.options, log)
				fs, closed := s.Over(vfstest.NewModel(vfstest.ModelOptions{}))
				t.Cleanup(func() {
					closed()
					if strings.Contains(log.String(), "script failed") {
						t.Error(log)
					}
				})
				return fs
			})
		})
	}
}

// TestHistory has many callers use the same few names at once, and looks for an answer that no order of
// their calls allows.
func TestHistory(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		options map[string]any
	}{
		"negative":          {"negative.star", nil},
		"negative, present": {"negative.star", map[string]any{"present": true}},
		"audit":             {"audit.star", nil},
	} {
		t.Run(name, func(t *testing.T) {
			vfstest.History(t, newShare(t, c.file, c.options).fs, vfstest.HistoryOptions{})
		})
	}
}

// TestAll: every script has a test here, and can be loaded as a layer of a stack.
func TestAll(t *testing.T) {
	files, err := Scripts.ReadDir(".")
	if err != nil || len(files) != 4 {
		t.Fatalf("%d scripts, %v: add the new one to the tests", len(files), err)
	}
	for _, f := range files {
		options := map[string]any{"file": f.Name()}
		if f.Name() == "deny.star" {
			options["options"] = map[string]any{"names": []any{"x"}}
		}
		if err := translator.Check([]translator.Kind{script.Kind}, []translator.Spec{{Kind: "script", Options: options}}); err != nil {
			t.Error(err)
		}
	}
}
