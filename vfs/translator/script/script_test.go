package script

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// logBuffer is where a test's script logs, one line of JSON each.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// share is a script over a Model, and one directory in it.
type share struct {
	testing.TB
	s     *Script
	fs    vfs.FS
	model *vfstest.Model
	log   *logBuffer
	root  vfs.Node
}

var (
	root = &vfs.Who{}
	ann  = &vfs.Who{UID: 1000, GID: 100, Groups: []uint32{100, 7}}
)

func newShare(t testing.TB, o Options) *share {
	t.Helper()
	b := &logBuffer{}
	o.Log = slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.File == "" {
		o.File = "test.star"
	}
	s, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	m := vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})
	fs, closed := s.Over(m)
	t.Cleanup(closed)
	a, err := fs.Root(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return &share{TB: t, s: s, fs: fs, model: m, log: b, root: a.Node}
}

func shareOf(t testing.TB, source string) *share {
	t.Helper()
	return newShare(t, Options{Source: []byte(source)})
}

// mk makes a file below the script.
func (s *share) mk(name string) vfs.Attr {
	s.Helper()
	a, _, err := s.model.Make(s.Context(), root, s.root, vfs.MustName(name), &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o644}})
	if err != nil {
		s.Fatal(err)
	}
	return a
}

func (s *share) lookup(name string) (vfs.Attr, error) {
	a, _, err := s.fs.Lookup(s.Context(), root, s.root, vfs.MustName(name))
	return a, err
}

func (s *share) want(err error, want vfs.Status) {
	s.Helper()
	if got := vfs.StatusOf(err); got != want {
		s.Errorf("%v (%v), want %v", got, err, want)
	}
}

// count is one of the script's counts: label is the value of its only label.
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

// everyFunction is a script that defines all that can be defined, each doing body.
func everyFunction(body string) string {
	var b strings.Builder
	for _, name := range sortedKeys(hookNames) {
		fmt.Fprintf(&b, "def %s(%s):\n    %s\n", name, params[hookNames[name].kind], body)
	}
	return b.String()
}

// TestSuite holds scripts that touch nothing to the contract.
func TestSuite(t *testing.T) {
	for name, source := range map[string]string{
		"nothing":    "",
		"everything": everyFunction("return None"),
		"reads":      "hits = table(max=100)\ndef lookup(call):\n    call.state = (call.dir, call.name, call.uid)\ndef lookup_done(call, result):\n    hits.set(call.state, result.attr)\n",
	} {
		t.Run(name, func(t *testing.T) {
			vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
				s, err := Load(Options{File: "test.star", Source: []byte(source)})
				if err != nil {
					t.Fatal(err)
				}
				fs, closed := s.Over(vfstest.NewModel(vfstest.ModelOptions{}))
				t.Cleanup(closed)
				return fs
			})
		})
	}
}

// TestNothingDefined: a script that defines nothing is not in the way at all.
func TestNothingDefined(t *testing.T) {
	s, err := Load(Options{Source: []byte("x = 1\ndef _helper(a):\n    return a\n")})
	if err != nil {
		t.Fatal(err)
	}
	m := vfstest.NewModel(vfstest.ModelOptions{})
	if fs, _ := s.Over(m); fs != vfs.FS(m) {
		t.Errorf("%T, want the file system below", fs)
	}
}
