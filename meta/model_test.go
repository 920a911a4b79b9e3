package meta

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs"
)

// model is one directory and one node as they should be.
type model struct {
	dir     vfs.NodeID
	entries map[vfs.Cookie]Entry
	copies  map[VolumeID]DirCopy
	node    *Node
}

// step does one random thing to store and model and compares.
func (m *model) step(t *rapid.T, s *Store) {
	ctx := t.Context()
	e := Entry{
		Cookie: vfs.FirstCookie + vfs.Cookie(rapid.IntRange(0, 40).Draw(t, "cookie")),
		Child:  nid(rapid.IntRange(0, 3).Draw(t, "child")), Volumes: all1, Type: vfs.Regular,
	}
	e.Name = vfs.MustName(e.Child.String() + string(rune('0'+e.Cookie)))
	c := DirCopy{Volume: VolumeID{byte(rapid.IntRange(0, 3).Draw(t, "volume"))}, Version: Version{Ino: rapid.Uint64Min(1).Draw(t, "version")}, Complete: true}
	n := &Node{ID: m.dir, Type: vfs.Directory, Birth: vfs.Birth{Ino: c.Version.Ino}}
	var err error
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); what {
	case 0, 1:
		err = putEntry(s, m.dir, e)
		m.entries[e.Cookie] = e
	case 2:
		err = dropEntry(s, m.dir, e.Cookie)
		delete(m.entries, e.Cookie)
	case 3:
		err = putCopy(s, m.dir, c)
		m.copies[c.Volume] = c
	case 4:
		err = dropCopy(s, m.dir, c.Volume)
		delete(m.copies, c.Volume)
	case 5:
		list := entries(int(e.Cookie), int(e.Cookie)+rapid.IntRange(0, 60).Draw(t, "length"), 1)
		err = s.ReplaceDir(ctx, m.dir, slices.Values(list), are([]DirCopy{c}))
		clear(m.entries)
		for _, e := range list {
			m.entries[e.Cookie] = e
		}
		clear(m.copies)
		m.copies[c.Volume] = c
	case 6:
		err = s.DeleteDir(ctx, m.dir)
		clear(m.entries)
		clear(m.copies)
	case 7:
		err = s.PutNode(ctx, n)
		m.node = n
	case 8:
		err = s.DeleteNode(ctx, m.dir)
		m.node = nil
	default:
		err = s.Flush(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.compare(t, s, rapid.IntRange(1, 50).Draw(t, "page"))
}

func (m *model) compare(t *rapid.T, s *Store, page int) {
	got := map[vfs.Cookie]Entry{}
	for after, more := vfs.Cookie(0), true; more; {
		es, m, err := s.Entries(m.dir, after, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			got[e.Cookie] = e
			after = e.Cookie
		}
		more = m
	}
	if !maps.Equal(got, m.entries) {
		t.Fatalf("entries %v, want %v", got, m.entries)
	}
	copies, err := s.Copies(m.dir)
	node, ok, err2 := s.Node(m.dir)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, c := range copies {
		if m.copies[c.Volume] != c {
			t.Fatalf("copy %v, want %v", c, m.copies[c.Volume])
		}
	}
	if len(copies) != len(m.copies) || ok != (m.node != nil) || ok && !reflect.DeepEqual(&node, m.node) {
		t.Fatalf("copies %v, node %v; want %v, %v", copies, node, m.copies, m.node)
	}
}

// Programs of all operations against maps: the index says at each step, whatever
// the committer has got to, what was written last. Programs on other directories run
// beside each other.
func TestModel(t *testing.T) {
	s := openStore(t, Options{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			dirs := 1000 // other nodes than the children
			rapid.Check(t, func(t *rapid.T) {
				dirs++
				m := &model{dir: nid(w<<32 | dirs), entries: map[vfs.Cookie]Entry{}, copies: map[VolumeID]DirCopy{}}
				for range rapid.IntRange(1, 40).Draw(t, "steps") {
					m.step(t, s)
				}
			})
		})
	}
	wg.Wait()
	checkClean(t, s)
}

func BenchmarkPutNode(b *testing.B) {
	s := openStore(b, Options{})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if err := s.PutNode(b.Context(), file(i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetEntry(b *testing.B) {
	s := openStore(b, Options{})
	if err := s.ReplaceDir(b.Context(), nid(1), slices.Values(entries(0, 100_000, 1)), are(nil)); err != nil {
		b.Fatal(err)
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok, err := s.Entry(nid(1), vfs.FirstCookie+vfs.Cookie(i*7919%100_000)); err != nil || !ok {
			b.Fatal(err)
		}
	}
}
