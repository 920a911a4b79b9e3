package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

// buffer is where lines go.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// take gives the lines so far, and forgets them.
func (b *buffer) take(t *testing.T) (lines []map[string]any) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for text := range strings.Lines(b.b.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	b.b.Reset()
	return lines
}

func over(t testing.TB, fs vfs.FS, to io.Writer, options map[string]any) *translator.Stack {
	t.Helper()
	s := translator.NewStack(fs, []translator.Kind{Kind}, slog.New(slog.NewJSONHandler(to, nil)))
	if err := s.Load(context.Background(), []translator.Spec{{Kind: "trace", Options: options}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSuite: who is traced sees nothing of it, whether or not by path.
func TestSuite(t *testing.T) {
	for what, options := range map[string]map[string]any{"all": nil, "path": {"path": "/play", "sample": 0.5}} {
		t.Run(what, func(t *testing.T) {
			vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
				return over(t, vfstest.NewModel(vfstest.ModelOptions{}), io.Discard, options)
			})
		})
	}
}

// play makes a fixed sequence of calls: directory d with file f, and file g beside d.
func play(t *testing.T, fs vfs.FS) {
	t.Helper()
	ctx := t.Context()
	ann := &vfs.Who{UID: 1001, GID: 2001, Client: netip.MustParseAddr("192.0.2.7")}
	root, err := fs.Root(ctx, vfs.Superuser)
	must(t, err)
	made := func(dir vfs.Node, s string, how vfs.Type) vfs.Node {
		t.Helper()
		a, _, err := fs.Make(ctx, ann, dir, vfs.MustName(s), &vfs.How{Type: how, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}})
		must(t, err)
		return a.Node
	}
	d := made(root.Node, "d", vfs.Directory)
	f := made(d, "f", vfs.Regular)
	made(root.Node, "g", vfs.Regular)
	_, _, err = fs.Write(ctx, ann, f, []byte("hello"), 3, vfs.FileSync)
	must(t, err)
	_, _, _, err = fs.Read(ctx, ann, f, make([]byte, 100), 0)
	must(t, err)
	if _, _, err = fs.Lookup(ctx, ann, d, vfs.MustName("nix")); vfs.StatusOf(err) != vfs.NoEnt {
		t.Fatal(err)
	}
	if _, err = fs.Remove(ctx, ann, root.Node, vfs.MustName("d")); vfs.StatusOf(err) != vfs.IsDir {
		t.Fatal(err)
	}
	_, _, err = fs.Rename(ctx, ann, root.Node, vfs.MustName("g"), d, vfs.MustName("h"))
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLines looks at what a line says.
func TestLines(t *testing.T) {
	var b buffer
	play(t, over(t, vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777}), &b, nil))
	lines := b.take(t)
	want := []map[string]any{
		{"verb": "root", "uid": 0.},
		{"verb": "make", "name": "d", "type": float64(vfs.Directory), "set_mode": float64(0o755), "uid": 1001., "client": "192.0.2.7"},
		{"verb": "make", "name": "f"},
		{"verb": "make", "name": "g"},
		{"verb": "write", "offset": 3., "count": 5., "stable": 2., "written": 5., "status": "ok"},
		{"verb": "read", "offset": 0., "count": 100., "read": 8., "eof": true},
		{"verb": "lookup", "name": "nix", "status": "noent", "err": "no such file or directory"},
		{"verb": "remove", "name": "d", "status": "isdir"},
		{"verb": "rename", "name": "g", "to_name": "h", "gid": 2001.},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d: %v", len(lines), len(want), lines)
	}
	for i, w := range want {
		for k, v := range w {
			if lines[i][k] != v {
				t.Errorf("line %d: %s is %v, want %v", i, k, lines[i][k], v)
			}
		}
		if lines[i]["translator"] != "trace" || lines[i]["took"] == nil {
			t.Errorf("line %d: %v", i, lines[i])
		}
	}
	if lines[1]["gave"] != lines[2]["node"] {
		t.Errorf("d was made as %v, and f in %v", lines[1]["gave"], lines[2]["node"])
	}
}

// TestFilters has each filter alone, and some together.
func TestFilters(t *testing.T) {
	for _, c := range []struct {
		options map[string]any
		want    string
	}{
		{map[string]any{"verbs": []any{"lookup", "read"}}, "read lookup"},
		{map[string]any{"clients": "192.0.2.0/24", "verbs": []any{"root", "read"}}, "read"},
		{map[string]any{"uids": 0}, "root"},
		{map[string]any{"errors": true}, "lookup remove"},
		{map[string]any{"errors": false, "verbs": "read"}, "read"},
		{map[string]any{"errors": []any{"noent"}}, "lookup"},
		{map[string]any{"path": "/d"}, "make write read lookup rename"},
		{map[string]any{"path": "/"}, "root make make make write read lookup remove rename"},
		{map[string]any{"path": "/d/f"}, "write read"},
		{map[string]any{"path": "/nix"}, ""},
		{map[string]any{"slower": "1h"}, ""},
		{map[string]any{"sample": 0}, ""},
		{map[string]any{"level": "debug"}, ""}, // the log is at info
	} {
		synctest.Test(t, func(t *testing.T) { // so that time passes: a path is looked up once a second
			var b buffer
			fs := over(t, vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777}), &b, c.options)
			play(t, translator.Around(fs, func(ctx context.Context, call *translator.Call, next translator.Next) error {
				time.Sleep(resolveEvery)
				return next(ctx, call)
			}))
			var got []string
			for _, l := range b.take(t) {
				got = append(got, l["verb"].(string))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v: %v, want %s", c.options, got, c.want)
			}
		})
	}
}

// TestSample: about the asked part.
func TestSample(t *testing.T) {
	var b buffer
	fs := over(t, vfstest.NewModel(vfstest.ModelOptions{}), &b, map[string]any{"sample": 0.25, "per-second": MaxPerSecond})
	for range 4000 {
		if _, err := fs.Root(t.Context(), vfs.Superuser); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.take(t)); n < 700 || n > 1300 { // ten standard deviations
		t.Errorf("%d of 4000", n)
	}
}

// TestAgain: a call that comes twice is written once, and one whose place must be found goes to a worker.
func TestAgain(t *testing.T) {
	var b buffer
	slow := translator.Around(vfstest.NewModel(vfstest.ModelOptions{}), func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if c.Who.NoWait {
			return vfs.Again
		}
		return next(ctx, c)
	})
	for _, options := range []map[string]any{nil, {"path": "/"}} {
		fs := over(t, slow, &b, options)
		for _, w := range []*vfs.Who{{NoWait: true}, {}} {
			if _, err := fs.Root(t.Context(), w); err != nil && vfs.StatusOf(err) != vfs.Again {
				t.Fatal(err)
			}
		}
		if n := len(b.take(t)); n != 1 {
			t.Errorf("%v: %d lines", options, n)
		}
	}
}

// TestPerSecond: the log is not flooded, and says what it left out.
func TestPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		fs := over(t, vfstest.NewModel(vfstest.ModelOptions{}), &b, map[string]any{"per-second": 10})
		call := func(n int) {
			for range n {
				if _, err := fs.Root(t.Context(), vfs.Superuser); err != nil {
					t.Fatal(err)
				}
			}
		}
		call(100)
		if n := len(b.take(t)); n != 10 {
			t.Errorf("%d lines in a second", n)
		}
		time.Sleep(time.Second)
		call(2)
		lines := b.take(t)
		if len(lines) != 2 || lines[0]["skipped"] != 90. || lines[1]["skipped"] != nil {
			t.Errorf("then %v", lines)
		}
		var counts []string
		fs.Counts(func(_, _ string, all []translator.Count) {
			for _, c := range all {
				counts = append(counts, fmt.Sprint(c.Name, " ", c.Value))
			}
		})
		if !slices.Equal(counts, []string{"lines_total 12", "skipped_total 90"}) {
			t.Errorf("counts %v", counts)
		}
	})
}

// TestBadOptions are refused.
func TestBadOptions(t *testing.T) {
	for _, o := range []map[string]any{
		{"verbs": "Lookup"},
		{"errors": "nix"},
		{"errors": 5},
		{"path": "d"},
		{"sample": 2},
		{"level": "loud"},
		{"per-second": 0},
		{"slower": "soon"},
		{"uids": "ann"},
	} {
		if err := translator.Check([]translator.Kind{Kind}, []translator.Spec{{Kind: "trace", Options: o}}); err == nil {
			t.Errorf("%v is taken", o)
		}
	}
}
