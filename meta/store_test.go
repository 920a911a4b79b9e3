package meta

import (
	"log/slog"
	"slices"
	"testing"

	"sheaf/vfs"
)

func open1(t testing.TB, opt Options) *Store {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	opt.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func nid(n int) (id vfs.NodeID) {
	be.PutUint64(id[8:], uint64(n))
	be.PutUint64(id[:8], uint64(n)*0x9e3779b97f4a7c15)
	return id
}

func TestSmoke(t *testing.T) {
	s := open1(t, Options{})
	defer s.Close()
	ctx := t.Context()
	n := Node{ID: nid(1), Type: vfs.Directory, Copies: []Copy{{Volume: VolumeID{1}, Identity: Identity{1, 2, 3, 4}}}, Places: []Place{{nid(2), vfs.MustName("x")}}}
	if err := s.PutNode(ctx, &n); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		g, ok, err := s.Node(nid(1))
		if err != nil || !ok || g.Places[0] != n.Places[0] || g.Copies[0] != n.Copies[0] {
			t.Fatal(g, ok, err)
		}
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var es []Entry
	for i := range 5000 {
		es = append(es, Entry{Cookie: vfs.Cookie(10 + i), Name: vfs.MustName("n" + nid(i).String()), Type: vfs.Regular})
	}
	if err := s.ReplaceDir(ctx, nid(1), slices.Values(es), []DirCopy{{Volume: VolumeID{1}, Complete: true}}); err != nil {
		t.Fatal(err)
	}
	got, more, err := s.Entries(nid(1), 12, 100)
	if err != nil || !more || len(got) != 100 || got[0] != es[3] {
		t.Fatal(got, more, err)
	}
	if err := s.ReplaceDir(ctx, nid(1), slices.Values(es[4000:]), []DirCopy{{Volume: VolumeID{1}, Complete: true}}); err != nil {
		t.Fatal(err)
	}
	got, more, err = s.Entries(nid(1), 0, 5000)
	if err != nil || more || !slices.Equal(got, es[4000:]) {
		t.Fatal(len(got), more, err)
	}
	s.Flush(ctx)
	got, more, err = s.Entries(nid(1), 0, 5000)
	if err != nil || more || !slices.Equal(got, es[4000:]) {
		t.Fatal(len(got), more, err)
	}
}
