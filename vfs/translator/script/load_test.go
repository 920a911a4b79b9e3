package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/vfs"
)

// TestRefused: what is wrong with a script is said when it is loaded, with the place.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"syntax":             {"def lookup(call)\n", "t.star:2:1: got newline, want"},
		"no such name":       {"def lookup(call):\n  return NOTENT\n", "t.star:2:10: undefined: NOTENT"},
		"one parameter less": {"def lookup():\n  pass\n", "t.star:1:1: lookup must take exactly (call)"},
		"one more":           {"def lookup(call, result):\n  pass\n", "lookup must take exactly (call)"},
		"up with one":        {"def lookup_done(call):\n  pass\n", "lookup_done must take exactly (call, result)"},
		"varargs":            {"def lookup(*call):\n  pass\n", "lookup must take exactly (call)"},
		"kwargs":             {"def lookup(call, **kw):\n  pass\n", "lookup must take exactly (call)"},
		"keyword only":       {"def lookup(call, *, x=1):\n  pass\n", "lookup must take exactly (call)"},
		"no function":        {"lookup = 1\n", "lookup is a int, want a function"},
		"a built-in":         {"getattr_done = len\n", "getattr_done is a builtin_function_or_method, want a function"},
		"letter missing":     {"def lookp(call):\n  pass\n", "t.star:1:1: lookp is no function that the server calls; did you mean lookup?"},
		"letters exchanged":  {"def raed(call):\n  pass\n", "did you mean read?"},
		"case":               {"def Lookup(call):\n  pass\n", "did you mean lookup?"},
		"underscore":         {"def read_link(call):\n  pass\n", "did you mean readlink?"},
		"done":               {"def lookupdone(call, r):\n  pass\n", "did you mean lookup_done?"},
		"another's name":     {"def unlink(call):\n  pass\n", "did you mean remove?"},
		"another's, up":      {"def unlink_done(call, r):\n  pass\n", "did you mean remove_done?"},
		"no verb":            {"def open_done(call, r):\n  pass\n", "there is no verb open"},
		"load":               {"load('x.star', 'y')\n", "t.star:1:1: load: a script is one file"},
		"load deep":          {"if True:\n  load('x.star', 'y')\n", "load"},
		"while":              {"def f():\n  while True:\n    pass\n", "while"},
		"field of a call":    {"def lookup(call):\n  return call.nme\n", "t.star:2:15: lookup: a call has no .nme; it has below, client"},
		"field of no such":   {"def getattr(call):\n  x = 1\n  return [call.name for y in []]\n", "a call has no .name"},
		"field, assigned":    {"def lookup(call):\n  call.nme = 1\n", "a call has no .nme"},
		"field of a result":  {"def read_done(call, result):\n  return result.target\n", "a result has no .target"},
		"field of an entry":  {"def readdir_entry(call, entry):\n  return entry.nam\n", "a entry has no .nam"},
		"field of an event":  {"def forget(event):\n  return event.dir\n", "a event has no .dir; it has kind, name, node, volume"},
		"field, lambda":      {"lookup = lambda call: call.nme\n", "a call has no .nme"},
		"field, two verbs":   {"def _f(call):\n  return call.target\nlookup = _f\nmkdir = _f\n", "lookup, mkdir: a call has no .target"},
		"fails at the top":   {"def _f():\n  fail('no')\n_f()\n", "t.star:2:7: in _f"},
		"endless":            {"for i in range(1000000):\n  for j in range(1000000):\n    pass\n", "steps"},
		"gigabytes":          {"x = 'x' * 1000000000\n", "bytes would be built"},
		"table of nothing":   {"t = table(max=0)\n", "table: max is 0, want 1 to"},
		"ttl":                {"t = table(ttl=-1)\n", "table: ttl: is -1, want a number of seconds"},
		"counter's name":     {"c = counter('Hits!')\n", `"Hits!" is no name for one`},
		"counter twice":      {"c = counter('a')\nd = counter('a')\n", `there is a "a" already`},
		"pattern":            {"p = patterns(['['])\n", `"[" is no pattern`},
		"options":            {"x = options.ttl\n", `ask with options.get("ttl", default)`},
		"op of index":        {"def _f(d):\n  d[0] *= 2\n", "can only be used with a variable"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Options{File: "t.star", Source: []byte(c.source)})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if vfs.StatusOf(err) != vfs.Inval {
				t.Errorf("status %v", vfs.StatusOf(err))
			}
		})
	}
}

// TestAccepted: what only looks as if it were wrong is not.
func TestAccepted(t *testing.T) {
	for name, source := range map[string]string{
		"own functions":       "def _lookups(a, b, c):\n  pass\ndef key(call):\n  pass\ndef is_done2():\n  pass\n",
		"one of two verbs":    "def _f(call):\n  return call.target if call.verb == 'symlink' else None\nmkdir = _f\nsymlink = _f\n",
		"parameter rebound":   "def lookup(call):\n  for call in []:\n    call.nme\n",
		"inner function":      "def lookup(call):\n  f = lambda call: call.nme\n",
		"data called alike":   "lookups = {}\nreads = 1\n",
		"other names":         "def lookup_done(c, r):\n  return None if r.ok else c.name and None\n",
		"sets, if at the top": "x = set([1])\nif x:\n  y = 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load(Options{File: "t.star", Source: []byte(source)}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFile: what cannot be read, or is no script, is refused with its name.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, "long.star")
	if err := os.WriteFile(long, make([]byte, MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.star")
	if err := os.WriteFile(good, []byte("def lookup(call):\n  pass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.star"): "no such file", dir: "not a regular file", long: "longer than",
	} {
		if _, err := Load(Options{File: path}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	s, err := Load(Options{File: good})
	if err != nil || len(s.Defined()) != 1 || s.Defined()[0] != "lookup" {
		t.Errorf("%v, %v", s, err)
	}
}

// TestOptions: a script has the options it asks for, of the type of their defaults, and no others.
func TestOptions(t *testing.T) {
	source := "ttl = options.get('ttl', 60.0)\nnames = options.get('names', [])\nany = options.get('any')\n" +
		"if type(ttl) != 'float': fail(type(ttl))\nif names != ['a', 'b']: fail(names)\nif any != {'x': [1, None, True]}: fail(any)\n"
	given := map[string]any{"ttl": 5, "names": []any{"a", "b"}, "any": map[string]any{"x": []any{1, nil, true}}}
	if _, err := Load(Options{Source: []byte(source), Config: given}); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name string
		x    any
		want string
	}{
		{"tll", 5, "option tll is not known: the script has any, names, ttl"},
		{"names", "a", "option names is a string, want list"},
		{"any", struct{}{}, "a script cannot have a struct {}"},
	} {
		_, err := Load(Options{Source: []byte("a = options.get('any')\nn = options.get('names', [])\nt = options.get('ttl', 1)\n"), Config: map[string]any{c.name: c.x}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}
