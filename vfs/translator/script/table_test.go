package script

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.starlark.net/starlark"

	"sheaf/vfs"
)

// inTable is a key of a test's, and its place.
func inTable(t *testing.T, tab *table, key ...starlark.Value) place {
	t.Helper()
	var v starlark.Value = starlark.Tuple(key)
	if len(key) == 1 {
		v = key[0]
	}
	p, err := tab.find(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTableProgram compares a table with a plain map, over random operations.
func TestTableProgram(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	tab, want := newTable(1_000_000, 1<<40, 0), map[[2]int]int{}
	for range 20_000 {
		k := [2]int{rng.IntN(20), rng.IntN(20)}
		p := inTable(t, tab, starlark.MakeInt(k[0]), starlark.MakeInt(k[1]))
		switch v := rng.IntN(1000); rng.IntN(9) {
		case 0, 1, 2:
			if _, ok, _ := tab.set(&p, starlark.MakeInt(v), 8, 0, proviso{}); !ok {
				t.Fatal("set without a proviso kept nothing")
			}
			want[k] = v
		case 3:
			_, ok, _ := tab.set(&p, starlark.MakeInt(v), 8, 0, proviso{noOther: true})
			if _, had := want[k]; had == ok {
				t.Fatalf("setdefault: %v, had %v", ok, had)
			} else if ok {
				want[k] = v
			}
		case 4:
			if _, _, err := tab.set(&p, starlark.MakeInt(v), 8, 0, proviso{addition: true}); err != nil {
				t.Fatal(err)
			}
			want[k] += v
		case 5, 6:
			if got, had := tab.forget(&p), want[k]; (got != nil) != (had != 0 || hasKey(want, k)) {
				t.Fatalf("pop %v: %v, want %v", k, got, had)
			}
			delete(want, k)
		case 7:
			g, n := inTable(t, tab, starlark.MakeInt(k[0])), 0
			for o := range want {
				if o[0] == k[0] {
					delete(want, o)
					n++
				}
			}
			if got := tab.forgetGroup(&g); got != n {
				t.Fatalf("delete_group %d: %d, want %d", k[0], got, n)
			}
		default:
			if got := tab.get(&p); (got != nil) != hasKey(want, k) || got != nil && got.String() != fmt.Sprint(want[k]) {
				t.Fatalf("get %v: %v, want %v", k, got, want[k])
			}
		}
		if int(tab.count.Load()) != len(want) {
			t.Fatalf("%d entries, want %d", tab.count.Load(), len(want))
		}
	}
	tab.clear()
	if n, b := tab.count.Load(), tab.bytes.Load(); n != 0 || b != 0 {
		t.Errorf("%d entries and %d bytes are left of nothing", n, b)
	}
}

func hasKey(m map[[2]int]int, k [2]int) bool {
	_, ok := m[k]
	return ok
}

// TestKeys: different values are different keys, and each finds its own again.
func TestKeys(t *testing.T) {
	tup := func(v ...starlark.Value) starlark.Value { return starlark.Tuple(v) }
	a, b := &node{vfs.Node{ID: vfs.NodeID{1}}}, &node{vfs.Node{ID: vfs.NodeID{2}}}
	values := []starlark.Value{
		starlark.None, starlark.True, starlark.False, starlark.MakeInt(0), starlark.MakeInt(1), starlark.MakeInt(-1),
		starlark.MakeUint64(1 << 63), starlark.Float(0.5), starlark.String(""), starlark.String("a"), starlark.String("n"),
		starlark.Bytes("a"), status(vfs.NoEnt), status(vfs.IO),
		cred{"a"},
		a, b, tup(), tup(tup()), tup(a), tup(a, b),
		tup(a, starlark.String("x")), tup(a, starlark.String("xy")), tup(starlark.String("a"), starlark.String("b")),
		tup(starlark.String("ab"), starlark.String("")), tup(tup(a, b)), tup(a, tup(b)),
	}
	seen := map[string]int{}
	tab := newTable(1000, 1<<30, 0)
	for i, v := range values {
		key, err := appendKey(nil, v, 0)
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[string(key)]; ok {
			t.Errorf("%v and %v are one key", v, values[j])
		}
		seen[string(key)] = i
		p := inTable(t, tab, v)
		if _, _, err := tab.set(&p, starlark.MakeInt(i), 8, 0, proviso{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, v := range values {
		p := inTable(t, tab, v)
		if got := tab.get(&p); got == nil || got.String() != fmt.Sprint(i) {
			t.Errorf("%v has %v, want %d", v, got, i)
		}
	}
}

// TestTokens: what is set with a token is kept only if nothing happened to the key or its group since.
func TestTokens(t *testing.T) {
	one, two, dir := starlark.String("one"), starlark.String("two"), starlark.String("dir")
	type op func(tab *table)
	at := func(key ...starlark.Value) func(tab *table) place {
		return func(tab *table) place { return inTable(t, tab, key...) }
	}
	key, group := at(dir, one), at(dir)
	for name, c := range map[string]struct {
		meanwhile op
		kept      bool
	}{
		"nothing": {func(*table) {}, true},
		"a look":  {func(tab *table) { p := key(tab); tab.get(&p) }, true},
		"set":     {func(tab *table) { p := key(tab); _, _, _ = tab.set(&p, one, 8, 0, proviso{}) }, false},
		"set with token": {func(tab *table) {
			p := key(tab)
			tok := tab.token(&p)
			_, _, _ = tab.set(&p, one, 8, 0, proviso{since: true, token: tok})
		}, false},
		"delete":        {func(tab *table) { p := key(tab); tab.forget(&p) }, false},
		"delete group":  {func(tab *table) { p := group(tab); tab.forgetGroup(&p) }, false},
		"clear":         {func(tab *table) { tab.clear() }, false},
		"held":          {func(tab *table) { tab.hold(key(tab), false) }, false},
		"held group":    {func(tab *table) { tab.hold(group(tab), true) }, false},
		"held and over": {func(tab *table) { tab.hold(key(tab), false)() }, false},
		"group over":    {func(tab *table) { tab.hold(group(tab), true)() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(100, 1<<30, 0)
			p := key(tab)
			token := tab.token(&p)
			c.meanwhile(tab)
			if _, kept, _ := tab.set(&p, two, 8, 0, proviso{since: true, token: token}); kept != c.kept {
				t.Errorf("kept: %v, want %v", kept, c.kept)
			}
		})
	}
}

// TestHeld: while a key is held nothing that has a token is kept, whenever the token was taken, and a
// value without one is.
func TestHeld(t *testing.T) {
	tab := newTable(100, 1<<30, 0)
	p := inTable(t, tab, starlark.String("k"))
	first, second := tab.hold(p, false), tab.hold(p, false)
	try := func(token int64, want bool) {
		t.Helper()
		if _, kept, _ := tab.set(&p, starlark.True, 8, 0, proviso{since: true, token: token}); kept != want {
			t.Errorf("kept: %v, want %v", kept, want)
		}
	}
	during := tab.token(&p)
	try(during, false)
	first()
	try(during, false)
	try(tab.token(&p), false)
	second()
	try(during, false)
	try(tab.token(&p), true)
}

// TestTTL: a value is there until its time, its own before the table's, and prune drops what is over.
func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shareOf(t, `
t = table(ttl = 10)
def lookup(call):
    if call.name == "set":
        t.set(1, 1)
        t.set(2, 2, ttl = 0.5)
        t.set(3, 3, ttl = 60)
    elif call.name == "prune":
        log("pruned", n=t.prune(), len=t.len())
    else:
        log("has", one=t.get(1), two=t.get(2), three=t.get(3), four=t.get(4, "none"))
`)
		for i, want := range []string{
			`"one":1,"two":2,"three":3,"four":"none"`, `"one":1,"two":"None","three":3`, `"one":"None","two":"None","three":3`,
		} {
			if i == 0 {
				_, _ = s.lookup("set")
			}
			_, _ = s.lookup("get")
			lines := s.log.String()
			if !strings.Contains(lines, want) {
				t.Errorf("%s is not in the log:\n%s", want, lines)
			}
			time.Sleep([]time.Duration{500 * time.Millisecond, 10 * time.Second, 0}[i])
		}
		_, _ = s.lookup("set")
		time.Sleep(11 * time.Second)
		_, _ = s.lookup("prune")
		if want := `"n":2,"len":1`; !strings.Contains(s.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, s.log)
		}
	})
}

// TestTableBounds: neither entries nor bytes exceed their bounds, whatever shard they fall into.
func TestTableBounds(t *testing.T) {
	for name, tab := range map[string]*table{"entries": newTable(7, 1<<40, 0), "bytes": newTable(1<<20, 10_000, 0)} {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for c := range 4 {
				wg.Go(func() {
					for i := range 2000 {
						p, err := tab.find(nil, starlark.Tuple{starlark.MakeInt(i % 100), starlark.MakeInt(c)})
						if err != nil {
							t.Error(err)
							return
						}
						_, _, _ = tab.set(&p, starlark.True, 8, 0, proviso{})
						if i%3 == 0 {
							tab.forget(&p)
						}
					}
				})
			}
			wg.Wait()
			if n, b := tab.count.Load(), tab.bytes.Load(); n > int64(tab.max) || b > tab.maxBytes || n < 1 {
				t.Errorf("%d entries of %d, %d bytes of %d", n, tab.max, b, tab.maxBytes)
			}
			entries := 0
			for i := range tab.shards {
				entries += len(tab.shards[i].entries)
			}
			if int64(entries) != tab.count.Load() {
				t.Errorf("%d entries are counted as %d", entries, tab.count.Load())
			}
		})
	}
}

// TestLeastUsed: what is used stays, what is not goes.
func TestLeastUsed(t *testing.T) {
	tab := newTable(1000, 1<<30, 0)
	hot := inTable(t, tab, starlark.String("hot"))
	_, _, _ = tab.set(&hot, starlark.True, 8, 0, proviso{})
	for i := range 50_000 {
		p := inTable(t, tab, starlark.MakeInt(i))
		_, _, _ = tab.set(&p, starlark.True, 8, 0, proviso{})
		if tab.get(&hot) == nil {
			t.Fatalf("what is used all the time went after %d others", i)
		}
	}
}

// TestIncr: a count that has no room is refused, and so is what is no count.
func TestIncr(t *testing.T) {
	for want, body := range map[string]string{
		"incr: the sum has more than 64 bits": "t.incr(1, (1 << 62))\n  t.incr(1, (1 << 62))\n  t.incr(1)",
		"incr: the key has a string":          "t.set(1, 'x')\n  t.incr(1)",
		"incr: by is a string":                "t.incr(1, 'x')",
	} {
		s := shareOf(t, "t = table()\ndef lookup(call):\n  "+body+"\n")
		_, err := s.lookup("f")
		s.want(err, vfs.ServerFault)
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, s.log)
		}
	}
}

// TestFold: letters that differ in case only are one, and nothing else changes.
func TestFold(t *testing.T) {
	for _, same := range [][]string{{"a", "A"}, {"straße", "STRAßE"}, {"ß", "ẞ"}, {"Σ", "σ", "ς"}, {"k", "K", "\u212a"}, {"s", "S", "ſ"}, {"É", "é"}, {"\xff\xfeA", "\xff\xfea"}} {
		for _, s := range same[1:] {
			if fold(s) != fold(same[0]) {
				t.Errorf("%q and %q are not one", s, same[0])
			}
		}
	}
	for _, s := range []string{"\xff", "a\xffb", "日本", "x.txt", ""} {
		if fold(s) != s {
			t.Errorf("%q becomes %q", s, fold(s))
		}
	}
	if fold("\xfe") == fold("\xff") || fold("é") == fold("e") {
		t.Error("what differs is one")
	}
}
