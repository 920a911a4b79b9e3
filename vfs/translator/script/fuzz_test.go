package script

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// FuzzScript loads what may be a script and makes calls by it: whatever it is, there is no panic, no call
// takes long, and what is answered is a status.
func FuzzScript(f *testing.F) {
	for _, c := range wrongs {
		f.Add(c.source)
	}
	f.Add(everyFunction("return None"))
	f.Add("t = table(max=3, ttl=1)\ndef lookup(call):\n  call.state = t.token((call.dir, call.name))\ndef lookup_done(call, result):\n  t.set((call.dir, call.name), (result.attr, 1), since=call.state)\n  x = [i * 2 for i in range(9)][1:]\n  x += [len('%s' % x)]\n")
	f.Add("p = patterns(['*.x'], fold=True)\ndef readdir_entry(call, entry):\n  return not p.match(fold(entry.name))\n")
	examples, err := filepath.Glob("../../../contrib/translators/*.star")
	if err != nil || len(examples) == 0 {
		f.Fatal(examples, err)
	}
	for _, path := range examples {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, source string) {
		s, err := Load(Options{File: "fuzz.star", Source: []byte(source), MaxSteps: 20_000, Deadline: 50 * time.Millisecond, Memory: 1 << 20, TableBytes: 1 << 20})
		if err != nil {
			return
		}
		m := vfstest.NewModel(vfstest.ModelOptions{})
		fs, closed := s.Over(m)
		defer closed()
		r, err := m.Root(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		ctx, name := t.Context(), vfs.MustName("f.x")
		for range 2 {
			_, _, err = fs.Lookup(ctx, root, r.Node, name)
			checkStatus(t, err)
			_, _, err = fs.Make(ctx, root, r.Node, name, &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode}})
			checkStatus(t, err)
			_, _, err = fs.ReadDir(ctx, root, r.Node, 0, true, func(*vfs.DirEntry) bool { return true })
			checkStatus(t, err)
			_, err = fs.GetAttr(ctx, root, r.Node)
			checkStatus(t, err)
			m.Announce(vfs.Event{Kind: vfs.ForgetName, Node: r.Node.ID, Name: name})
			_, err = fs.Remove(ctx, root, r.Node, name)
			checkStatus(t, err)
		}
	})
}

// checkStatus looks that err has a status that the wire knows.
func checkStatus(t *testing.T, err error) {
	t.Helper()
	if st := vfs.StatusOf(err); st == vfs.Again || st > vfs.Again {
		t.Errorf("status %v", st)
	}
}
