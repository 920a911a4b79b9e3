package vfstest

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	"sheaf/vfs"
)

// TestModelHistory checks histories of Models.
func TestModelHistory(t *testing.T) {
	History(t, NewModel(ModelOptions{}), HistoryOptions{})
	History(t, NewModel(ModelOptions{RootUID: 5}), HistoryOptions{Options: Options{As: &vfs.Who{UID: 5}}, Callers: 16, Calls: 10})
}

// TestHistoryLimits wants what cannot be checked to be refused.
func TestHistoryLimits(t *testing.T) {
	for _, o := range []HistoryOptions{{Callers: 17}, {Callers: 10, Calls: 21}} {
		if err := checkHistories(t.Context(), NewModel(ModelOptions{}), o, 1); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// TestLinearize has histories by hand.
func TestLinearize(t *testing.T) {
	n1, n2 := vfs.NodeID{1}, vfs.NodeID{2}
	at := func(from, to int64, o op, s vfs.Status, n vfs.NodeID) call {
		return call{op: o, outcome: outcome{status: s, node: n}, invoked: from, returned: to}
	}
	create, remove, lookup := op{kind: opCreate}, op{kind: opRemove}, op{kind: opLookup}
	rename, lookup1 := op{kind: opRename, to: 1}, op{kind: opLookup, place: 1}
	exclusive, mkdir := op{kind: opExclusive, value: 7}, op{kind: opMkdir}
	none := vfs.NodeID{}
	for name, c := range map[string]struct {
		calls []call
		want  bool
	}{
		"in a row":               {[]call{at(1, 2, create, vfs.OK, n1), at(3, 4, lookup, vfs.OK, n1), at(5, 6, remove, vfs.OK, none), at(7, 8, lookup, vfs.NoEnt, none)}, true},
		"seen before it is made": {[]call{at(1, 2, lookup, vfs.OK, n1), at(3, 4, create, vfs.OK, n1)}, false},
		"seen while it is made":  {[]call{at(1, 5, create, vfs.OK, n1), at(2, 3, lookup, vfs.OK, n1)}, true},
		"seen, then not":         {[]call{at(1, 8, create, vfs.OK, n1), at(2, 3, lookup, vfs.OK, n1), at(4, 5, lookup, vfs.NoEnt, none)}, false},
		"not seen, then seen":    {[]call{at(1, 8, create, vfs.OK, n1), at(2, 3, lookup, vfs.NoEnt, none), at(4, 5, lookup, vfs.OK, n1)}, true},
		"two creations":          {[]call{at(1, 4, create, vfs.OK, n1), at(2, 3, create, vfs.OK, n2)}, false},
		"two, one removed":       {[]call{at(1, 4, create, vfs.OK, n1), at(2, 3, create, vfs.OK, n2), at(1, 4, remove, vfs.OK, none)}, true},
		"an object again":        {[]call{at(1, 2, create, vfs.OK, n1), at(3, 4, remove, vfs.OK, none), at(5, 6, create, vfs.OK, n1)}, false},
		"sent again":             {[]call{at(1, 2, exclusive, vfs.OK, n1), at(3, 4, exclusive, vfs.OK, n1)}, true},
		"sent again, another":    {[]call{at(1, 2, exclusive, vfs.OK, n1), at(3, 4, exclusive, vfs.OK, n2)}, false},
		"sent again, refused":    {[]call{at(1, 2, exclusive, vfs.OK, n1), at(3, 4, exclusive, vfs.Exist, none)}, false},
		"a rename has both names": {[]call{
			at(1, 2, create, vfs.OK, n1), at(3, 10, rename, vfs.OK, none), at(4, 5, lookup1, vfs.OK, n1), at(6, 7, lookup, vfs.OK, n1),
		}, false},
		"a rename has no name": {[]call{
			at(1, 2, create, vfs.OK, n1), at(3, 10, rename, vfs.OK, none), at(4, 5, lookup, vfs.NoEnt, none), at(6, 7, lookup1, vfs.NoEnt, none),
		}, false},
		"a rename moves": {[]call{
			at(1, 2, create, vfs.OK, n1), at(3, 10, rename, vfs.OK, none), at(4, 5, lookup, vfs.OK, n1), at(6, 7, lookup1, vfs.OK, n1), at(8, 9, lookup, vfs.NoEnt, none),
		}, true},
		"a directory is no file": {[]call{at(1, 2, mkdir, vfs.OK, n1), at(3, 4, remove, vfs.OK, none)}, false},
		"IsDir":                  {[]call{at(1, 2, mkdir, vfs.OK, n1), at(3, 4, remove, vfs.IsDir, none)}, true},
		"an unexpected failure":  {[]call{at(1, 2, create, vfs.IO, none)}, false},
	} {
		spec, err := specOf(c.calls)
		if err != nil {
			t.Fatal(err)
		}
		if got, order := linearize(nameState{}, c.calls, spec.step); got != c.want {
			t.Errorf("%s: %v, order %v", name, got, order)
		}
	}
}

// TestLinearizeBlock has histories of the block by hand.
func TestLinearizeBlock(t *testing.T) {
	write := func(from, to int64, v uint64) call {
		return call{op: op{kind: opWrite, value: v}, invoked: from, returned: to}
	}
	read := func(from, to int64, v uint64) call {
		return call{op: op{kind: opRead}, outcome: outcome{value: v}, invoked: from, returned: to}
	}
	for name, c := range map[string]struct {
		calls []call
		want  bool
	}{
		"old, new":       {[]call{write(1, 6, 1), read(2, 3, 0), read(4, 5, 1)}, true},
		"new, old":       {[]call{write(1, 6, 1), read(2, 3, 1), read(4, 5, 0)}, false},
		"torn":           {[]call{write(1, 6, 0x0101010101010101), read(2, 3, 0x01010101)}, false},
		"two in either":  {[]call{write(1, 9, 1), write(1, 9, 2), read(2, 3, 2), read(4, 5, 1)}, true},
		"there and back": {[]call{write(1, 9, 1), write(1, 9, 2), read(2, 3, 2), read(4, 5, 1), read(6, 7, 2)}, false},
	} {
		if got, order := linearize(0, c.calls, stepBlock); got != c.want {
			t.Errorf("%s: %v, order %v", name, got, order)
		}
	}
}

// yield lets others run in the middle of an operation that should be atomic.
func yield() {
	for range 20 {
		runtime.Gosched()
	}
}

// checkThenMake looks before it makes, and then makes whatever it saw.
type checkThenMake struct{ *Model }

func (f checkThenMake) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, n vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	if how.Type == vfs.Directory || how.Exists == vfs.Exclusive {
		return f.Model.Make(ctx, w, dir, n, how)
	}
	if _, _, err := f.Lookup(ctx, w, dir, n); err == nil {
		return vfs.Attr{}, vfs.Change{}, vfs.Exist
	}
	yield()
	loose := *how
	loose.Exists = vfs.Unchecked
	return f.Model.Make(ctx, w, dir, n, &loose)
}

// linkThenRemove renames files in two steps.
type linkThenRemove struct{ *Model }

func (f linkThenRemove) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, s vfs.Name, to vfs.Node, t vfs.Name) (c, c2 vfs.Change, err error) {
	a, _, err := f.Lookup(ctx, w, from, s)
	if err != nil {
		return c, c2, err
	}
	if _, _, err := f.Link(ctx, w, a.Node, to, t); err != nil {
		return f.Model.Rename(ctx, w, from, s, to, t)
	}
	yield()
	c, err = f.Remove(ctx, w, from, s)
	return c, c2, err
}

// staleLookup remembers absent names and forgets only what CREATE makes.
type staleLookup struct {
	*Model
	mu     sync.Mutex
	absent map[place]bool
}

func (f *staleLookup) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, n vfs.Name) (vfs.Attr, vfs.Attr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := place{dir.ID, n}
	if f.absent[p] {
		return vfs.Attr{}, vfs.Attr{}, vfs.NoEnt
	}
	a, d, err := f.Model.Lookup(ctx, w, dir, n)
	if err != nil {
		f.absent[p] = true
	}
	return a, d, err
}

func (f *staleLookup) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, n vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	a, c, err := f.Model.Make(ctx, w, dir, n, how)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.absent, place{dir.ID, n})
	return a, c, err
}

// tornWrite writes in two halves.
type tornWrite struct{ *Model }

func (f tornWrite) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, s vfs.Stable) (vfs.Written, vfs.Change, error) {
	if _, c, err := f.Model.Write(ctx, w, n, data[:4], off, s); err != nil {
		return vfs.Written{}, c, err
	}
	yield()
	return f.Model.Write(ctx, w, n, data[4:], off+4, s)
}

// leaky keeps the objects of removed names alive under another name.
type leaky struct{ *Model }

func (f leaky) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, n vfs.Name) (vfs.Change, error) {
	if a, _, err := f.Lookup(ctx, w, dir, n); err == nil && a.Type == vfs.Regular {
		root, _ := f.Root(ctx, w)
		_, _, _ = f.Link(ctx, w, a.Node, root.Node, name(a.Node.ID.String())) // Exist the second time
	}
	return f.Model.Remove(ctx, w, dir, n)
}

// TestHistoryFinds shows that histories find each of these, and tell how.
func TestHistoryFinds(t *testing.T) {
	for what, wrap := range map[string]func(*Model) vfs.FS{
		"check then make":  func(m *Model) vfs.FS { return checkThenMake{m} },
		"link then remove": func(m *Model) vfs.FS { return linkThenRemove{m} },
		"stale lookup":     func(m *Model) vfs.FS { return &staleLookup{Model: m, absent: map[place]bool{}} },
		"torn write":       func(m *Model) vfs.FS { return tornWrite{m} },
		"leaky remove":     func(m *Model) vfs.FS { return leaky{m} },
	} {
		t.Run(what, func(t *testing.T) {
			err := checkHistories(t.Context(), wrap(NewModel(ModelOptions{})), HistoryOptions{Rounds: 500}, 1)
			if err == nil {
				t.Fatal("not found")
			}
			if !strings.Contains(err.Error(), "caller ") {
				t.Errorf("the history is not told: %v", err)
			}
		})
	}
}
