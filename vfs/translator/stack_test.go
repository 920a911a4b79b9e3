package translator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// alive is a kind whose instances know whether they may be called.
type alive struct {
	t      testing.TB
	mu     sync.Mutex
	events []string // "+name", "-name"
	calls  atomic.Int64
	wait   chan struct{} // a Statfs through an instance waits for it
}

func (a *alive) note(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, s)
}

// since gives what was noted since it was last called.
func (a *alive) since() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := strings.Join(a.events, " ")
	a.events = nil
	return s
}

func (a *alive) kinds() []Kind {
	return []Kind{{
		Name: "alive",
		New: func(o *Options) Build {
			fail, n := o.Bool("fail", false), o.Int("n", 0, 0, 9)
			o.Depends(o.Text("file", ""))
			return func(_ context.Context, env Env) (Layer, error) {
				if fail {
					return Layer{}, errors.New("it fails")
				}
				a.note("+" + env.Name)
				return a.layer(env, n), nil
			}
		},
	}, {Name: "plain", New: func(*Options) Build {
		return func(_ context.Context, env Env) (Layer, error) { return Layer{FS: env.Below}, nil }
	}}}
}

func (a *alive) layer(env Env, n int64) Layer {
	var in atomic.Int64
	var closed atomic.Bool
	return Layer{
		FS: Around(env.Below, func(ctx context.Context, c *Call, next Next) error {
			in.Add(1)
			defer in.Add(-1)
			a.calls.Add(1)
			if closed.Load() {
				a.t.Errorf("%s is called after it was closed", env.Name)
			}
			if c.Verb == Statfs && a.wait != nil {
				<-a.wait
			}
			err := next(ctx, c)
			if closed.Load() {
				a.t.Errorf("%s was closed during a call", env.Name)
			}
			return err
		}),
		Close: func() {
			if closed.Swap(true) || in.Load() != 0 {
				a.t.Errorf("%s is closed twice or with %d calls in it", env.Name, in.Load())
			}
			a.note("-" + env.Name)
		},
		Counts: func() []Count { return []Count{{Name: "n", Gauge: true, Value: float64(n)}} },
	}
}

func newTestStack(t testing.TB) (*Stack, *alive, *vfstest.Model) {
	t.Helper()
	a, m := &alive{t: t}, vfstest.NewModel(vfstest.ModelOptions{})
	return NewStack(m, a.kinds(), slog.New(slog.DiscardHandler)), a, m
}

// specs makes Specs of "name" or "name key=value": kind alive.
func specs(entries ...string) []Spec {
	var all []Spec
	for _, e := range entries {
		name, option, has := strings.Cut(e, " ")
		s := Spec{Kind: "alive", Name: name, Options: map[string]any{}}
		if has {
			k, v, _ := strings.Cut(option, "=")
			s.Options[k] = v
			if v == "true" {
				s.Options[k] = true
			}
		}
		all = append(all, s)
	}
	return all
}

// TestStackReload follows instances over reloads: what stays, what is new, what is closed and when.
func TestStackReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := newTestStack(t)
		for _, step := range []struct {
			specs []Spec
			want  string // what is built and closed
			err   string
		}{
			{specs("a", "b", "c"), "+c +b +a", ""},
			{specs("a", "b", "c"), "", ""},
			{specs("x", "b", "c"), "+x -a", ""},
			{specs("c"), "-x -b", ""},
			{specs("b", "c"), "+b", ""},
			{specs("b", "c file=changed"), "+c +b -b -c", ""},
			{specs("new", "bad fail=true", "also", "c file=changed"), "+also -also", `entry 2 (bad): it fails`},
			{specs("new", "new"), "", `entry 2 (new): another layer has that name; give each a name of its own`},
			{[]Spec{{Kind: "none"}}, "", `entry 1 (none): there is no kind "none"; the kinds are alive, plain`},
			{specs("a nix=true"), "", `entry 1 (a): nix: there is no such option; the options are fail, n, file`},
			{[]Spec{{Kind: "plain", Options: map[string]any{"a": 1}}}, "", `entry 1 (plain): a: there is no such option, and no other`},
			{make([]Spec, MaxLayers+1), "", `33 layers are given; a stack has at most 32`},
			{specs("b", "c file=changed"), "", ""},
			{nil, "-b -c", ""},
			{specs("a"), "+a", ""},
		} {
			err := s.Load(t.Context(), step.specs)
			if fmt.Sprint(err) != step.err && (err != nil || step.err != "") {
				t.Errorf("%v: error %v, want %s", step.specs, err, step.err)
			}
			synctest.Wait()
			if got := a.since(); got != step.want {
				t.Errorf("%v: %s, want %s", step.specs, got, step.want)
			}
		}
		c, err := s.Prepare(t.Context(), specs("b", "a"))
		must(t, err)
		c.Discard()
		if got := a.since(); got != "+b -b" {
			t.Errorf("prepared and discarded: %s", got)
		}
		if err := s.Close(t.Context()); err != nil || a.since() != "-a" {
			t.Errorf("closed: %v", err)
		}
		if err := s.Load(t.Context(), nil); err == nil {
			t.Error("a closed stack can be loaded")
		}
		if _, err := s.Root(t.Context(), vfs.Superuser); err != nil {
			t.Errorf("a closed stack answers %v", err)
		}
	})
}

// TestStackCallsEnd: a call ends in the layers it began in, which live for as long, those too that were kept for
// a while.
func TestStackCallsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, m := newTestStack(t)
		ctx := t.Context()
		root, err := m.Root(ctx, vfs.Superuser)
		must(t, err)
		must(t, s.Load(ctx, specs("a", "b")))
		a.wait = make(chan struct{})
		ended := make(chan error)
		go func() { _, _, err := s.Statfs(ctx, vfs.Superuser, root.Node); ended <- err }()
		synctest.Wait()
		must(t, s.Load(ctx, specs("c", "b")))
		must(t, s.Load(ctx, nil))
		synctest.Wait()
		if got := a.since(); got != "+b +a +c -c" {
			t.Errorf("while a call is in a and b: %s", got)
		}
		before := a.calls.Load()
		if _, err := s.GetAttr(ctx, vfs.Superuser, root.Node); err != nil || a.calls.Load() != before {
			t.Errorf("a call after the reload goes to the old layers (error %v)", err)
		}
		short, cancel := context.WithCancel(ctx)
		cancel()
		if err := s.Close(short); !errors.Is(err, context.Canceled) {
			t.Errorf("Close while a call is under way: %v", err)
		}
		close(a.wait)
		must(t, <-ended)
		must(t, s.Close(ctx))
		if got := a.since(); got != "-a -b" {
			t.Errorf("after the call: %s", got)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStackSubscribe: subscriptions outlive the layers, and hear of the exchange.
func TestStackSubscribe(t *testing.T) {
	s, _, m := newTestStack(t)
	var one, two []vfs.EventKind
	cancel := s.Subscribe(func(e vfs.Event) { one = append(one, e.Kind) })
	s.Subscribe(func(e vfs.Event) { two = append(two, e.Kind) })
	m.Announce(vfs.Event{Kind: vfs.ForgetNode})
	must(t, s.Load(t.Context(), specs("a")))
	m.Announce(vfs.Event{Kind: vfs.ForgetName})
	cancel()
	cancel()
	must(t, s.Load(t.Context(), nil))
	m.Announce(vfs.Event{Kind: vfs.ForgetVolume})
	must(t, s.Close(t.Context()))
	if want := []vfs.EventKind{vfs.ForgetNode, vfs.ForgetAll, vfs.ForgetName}; !slices.Equal(one, want) {
		t.Errorf("the first heard %v, want %v", one, want)
	}
	if want := []vfs.EventKind{vfs.ForgetNode, vfs.ForgetAll, vfs.ForgetName, vfs.ForgetAll, vfs.ForgetVolume, vfs.ForgetAll}; !slices.Equal(two, want) {
		t.Errorf("the second heard %v, want %v", two, want)
	}
}

// TestStackCounts: what layers count comes out with their names.
func TestStackCounts(t *testing.T) {
	s, _, _ := newTestStack(t)
	must(t, s.Load(t.Context(), []Spec{{Kind: "alive", Options: map[string]any{"n": 7}}, {Kind: "plain"}}))
	var got []string
	s.Counts(func(kind, name string, counts []Count) { got = append(got, fmt.Sprint(kind, name, counts[0].Value)) })
	if !slices.Equal(got, []string{"alivealive7"}) {
		t.Errorf("got %v", got)
	}
	if all := s.Specs(); len(all) != 2 || all[0].String() != `{kind: "alive", n: 7}` || all[1].Kind != "plain" {
		t.Errorf("specs %v", all)
	}
}

// reloading exchanges layers all the time until the test ends.
func reloading(t testing.TB, s *Stack) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			lists := [][]Spec{specs("a", "b"), specs("c", "b"), nil, specs("b")}
			if err := s.Load(ctx, lists[i%len(lists)]); err != nil {
				t.Errorf("Load: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestStackSuite is the conformance suite while layers are exchanged all the time.
func TestStackSuite(t *testing.T) {
	vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
		s, _, _ := newTestStack(t)
		reloading(t, s)
		return s
	})
}

// TestOptions reads every type, well and badly.
func TestOptions(t *testing.T) {
	good := map[string]any{
		"text": "x", "choice": "b", "bool": true, "float": 1, "int": 2.0, "bytes": "2KiB", "duration": "1m",
		"texts": []any{"a", "b"}, "one": "a", "verbs": []any{"lookup", "read"}, "list": []any{map[string]any{"a": 1}}, "map": map[string]any{"K": "v"},
	}
	read := func(values map[string]any) (string, error) {
		o := newOptions("", values)
		verbs, given := o.Verbs("verbs")
		var inner []int64
		for _, e := range o.List("list") {
			inner = append(inner, e.Int("a", 0, 0, 5))
			e.End()
		}
		s := fmt.Sprintln(o.Need("text"), o.Choice("choice", "a", "a", "b"), o.Bool("bool", false), o.Float("float", 0.5, 0, 1), o.Int("int", 1, 0, 9),
			o.Bytes("bytes", 1, 1, 4096), o.Duration("duration", 1, 0, 1<<40), o.Texts("texts"), o.Texts("one"), verbs[Lookup], verbs[Write], given, inner, o.Map("map")["K"])
		o.End()
		return s, o.Err()
	}
	if s, err := read(good); err != nil || s != "x b true 1 2 2048 1m0s [a b] [a] true false true [1] v\n" {
		t.Errorf("read %s, %v", s, err)
	}
	if o := newOptions("", good); !o.Is("bool", true) || o.Is("bool", false) || o.Is("none", nil) || o.Is("list", good["list"]) {
		t.Error("Is is wrong")
	}
	bad := map[string]any{
		"choice": "c", "bool": "yes", "float": 2, "int": 2.5, "bytes": "5KiB", "duration": 5,
		"texts": []any{"a", 1}, "one": 7, "verbs": []any{"nix"}, "list": []any{map[string]any{"a": 6, "b": 1}, "x"}, "map": []any{}, "zz": nil,
	}
	_, err := read(bad)
	want := `verbs: "nix" is no verb; want one of ` + strings.Join(verbNames[1:], ", ") + `
list: entry 2: x has no keys
list entry 1: a: 6 is not between 0 and 5
list entry 1: b: there is no such option; the options are a
text: is not given
choice: "c" is not one of a, b
bool: yes is not true or false
float: 2 is not between 0 and 1
int: 2.5 is not a whole number
bytes: 5KiB is not between 1 and 4KiB
duration: 5 is no duration; write it like 90s, 1m30s or 250ms
texts: entry 2: 1 is not a text
one: 7 is not a list of texts
map: [] is not a set of keys and values
zz: there is no such option; the options are verbs, list, text, choice, bool, float, int, bytes, duration, texts, one, map`
	if fmt.Sprint(err) != want {
		t.Errorf("mistakes\n%v\nwant\n%s", err, want)
	}
}

// TestParseSpec reads entries, and writes them so that they can be read again.
func TestParseSpec(t *testing.T) {
	s, err := ParseSpec(map[string]any{"kind": "k", "name": "n-1", "b": []any{"x y"}, "a b": 1})
	if err != nil || s.Instance() != "n-1" || s.String() != `{kind: "k", name: "n-1", "a b": 1, b: ["x y"]}` {
		t.Errorf("%v, %v", &s, err)
	}
	for _, e := range []map[string]any{{}, {"kind": ""}, {"kind": 1}, {"kind": "k", "name": ""}, {"kind": "k", "name": "a b"}, {"kind": "k", "name": 1}, {"kind": "k", "name": strings.Repeat("x", NameMax+1)}} {
		if s, err := ParseSpec(e); err == nil {
			t.Errorf("%v gives %v", e, &s)
		}
	}
}

// BenchmarkStack is what a stack without layers adds: compare with the model alone.
func BenchmarkStack(b *testing.B) {
	s := NewStack(new(null), (&alive{t: b}).kinds(), slog.New(slog.DiscardHandler))
	run := func(name string, fs vfs.FS) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = fs.GetAttr(b.Context(), vfs.Superuser, vfs.Node{})
			}
		})
	}
	run("none", new(null))
	run("empty", s)
	must(b, s.Load(b.Context(), []Spec{{Kind: "plain"}}))
	run("transparent", s)
}
