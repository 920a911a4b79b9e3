package meta

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"sheaf/vfs"

	"github.com/dgraph-io/badger/v4"
)

// unpack unpacks an index of testdata.
func unpack(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	must(t, err)
	defer func() { must(t, f.Close()) }()
	z, err := gzip.NewReader(f)
	must(t, err)
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		must(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), b, 0o600))
	}
}

// TestFormat1 opens what a program of format 1 has written: nodes and cookies are there; listings, which do not say
// all that one of today does, are not. A kill in the middle changes nothing.
func TestFormat1(t *testing.T) {
	for _, killed := range []bool{false, true} {
		dir := unpack(t, "format1.tar.gz")
		if killed {
			db, err := badger.Open(settings(dir, slog.New(slog.DiscardHandler)))
			must(t, err)
			must(t, db.Update(func(txn *badger.Txn) error { return txn.Delete(copyKey(nid(0), VolumeID{1})) }))
			must(t, db.Close())
		}
		s := openStore(t, Options{Dir: dir})
		if s.Unclean() || s.Whole() {
			t.Errorf("unclean %v, whole %v", s.Unclean(), s.Whole())
		}
		for i := 1; i <= 3; i++ {
			want := file(i)
			want.Copies = []Copy{{VolumeID{1}, Identity{uint64(i), 2, 3, 4}}}
			want.Places = []Place{{nid(0), vfs.MustName("n")}}
			if n, ok, err := s.Node(nid(i)); err != nil || !ok || !reflect.DeepEqual(&n, want) {
				t.Errorf("node %d is %v, %v %v", i, n, ok, err)
			}
		}
		if c, ok, err := s.Collision(nid(0), vfs.MustName("n1")); err != nil || !ok || c != 44 {
			t.Errorf("collision %d, %v %v", c, ok, err)
		}
		if c, err := s.Copies(nid(0)); err != nil || len(c) > 0 {
			t.Errorf("copies %v, %v", c, err)
		}
		if es, _, err := s.Entries(nid(0), 0, 10); err != nil || len(es) > 0 {
			t.Errorf("entries %v, %v", es, err)
		}
		checkClean(t, s)
		must(t, s.Close())
		s = openStore(t, Options{Dir: dir})
		checkClean(t, s)
		must(t, s.Close())
	}
}

// reopen opens the index anew: after Close, or after what of a kill can be told from it.
func reopen(t *testing.T, s *Store, kill bool) *Store {
	t.Helper()
	s.space.void.Store(false) // or Close would drop what a kill leaves
	s.failed.Store(nil)
	must(t, s.Close())
	if kill {
		db, err := badger.Open(settings(s.opt.Dir, slog.New(slog.DiscardHandler)))
		must(t, err)
		s.db = db
		must(t, s.setNumbers(map[string]uint32{string(keyOpen): 1, string(keyWhole): 0}))
		must(t, db.Close())
	}
	return openStore(t, Options{Dir: s.opt.Dir, MinFree: s.opt.MinFree, Watch: s.opt.Watch})
}

// TestWhatIsBelieved: what is known of a copy is believed after closes; after a kill only what was settled
// before, whatever the sessions after it did. By its version it can be believed always.
func TestWhatIsBelieved(t *testing.T) {
	const kill, closed = true, false
	ctx := t.Context()
	for name, c := range map[string]struct {
		settled bool
		ends    []bool
		want    bool
	}{
		"closed":                     {false, []bool{closed}, true},
		"closed twice":               {false, []bool{closed, closed}, true},
		"killed":                     {false, []bool{kill}, false},
		"killed, then closed":        {false, []bool{kill, closed}, false},
		"closed, then killed":        {false, []bool{closed, kill}, false},
		"closed, killed, closed":     {false, []bool{closed, kill, closed, closed}, false},
		"settled":                    {true, []bool{closed}, true},
		"settled, killed":            {true, []bool{kill}, true},
		"settled, killed and killed": {true, []bool{kill, kill, closed, kill}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{})
			copies := complete(1)
			copies[0].Settled = c.settled
			must(t, s.ReplaceDir(ctx, nid(0), slices.Values(entries(0, 3, 1)), are(copies)))
			for _, end := range c.ends {
				s = reopen(t, s, end)
				if s.Unclean() != end {
					t.Errorf("unclean is %v after a kill: %v", s.Unclean(), end)
				}
			}
			got, err := s.Copies(nid(0))
			if err != nil || len(got) != 1 || !got[0].Proof || got[0].Complete != c.want || got[0].Settled != (c.want && c.settled) {
				t.Errorf("copies %+v, %v", got, err)
			}
			must(t, s.ReplaceDir(ctx, nid(0), slices.Values(entries(0, 3, 1)), are(complete(2)))) // known anew
			s = reopen(t, s, closed)
			if got, err := s.Copies(nid(0)); err != nil || !got[0].Complete {
				t.Errorf("known anew: %+v, %v", got, err)
			}
		})
	}
}

// TestSettledOfWhoCouldNotWrite: a session that can write no more voids what lies there as settled.
func TestSettledOfWhoCouldNotWrite(t *testing.T) {
	ctx := t.Context()
	settled := complete(1)
	settled[0].Settled = true
	for name, breaks := range map[string]func(s *Store){
		"full disk":     func(s *Store) { s.opt.free = func(string) (uint64, error) { return 0, nil }; must(t, s.look()) },
		"failed commit": func(s *Store) { s.fail(errors.New("injected")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{MinFree: 1 << 20, Watch: 1 << 40})
			must(t, s.ReplaceDir(ctx, nid(0), slices.Values(entries(0, 3, 1)), are(settled)))
			s.SetWhole(true)
			s = reopen(t, s, false)
			if !s.Whole() {
				t.Error("an index that was whole is not")
			}
			breaks(s)
			_ = change(s, nid(0), DirChange{Copies: []DirCopy{{Volume: VolumeID{1}}}}) // is lost
			s2 := reopen(t, s, true)
			if c, err := s2.Copies(nid(0)); err != nil || len(c) != 1 || c[0].Complete || c[0].Settled || !c[0].Proof {
				t.Errorf("copies %+v, %v", c, err)
			}
			if s2.Whole() {
				t.Error("it is whole")
			}
			s3 := reopen(t, s2, false)
			if c, err := s3.Copies(nid(0)); err != nil || len(c) != 1 || c[0].Complete {
				t.Errorf("one session later: %+v, %v", c, err)
			}
		})
	}
}

// TestEra: what builds on rows that were dropped meanwhile is not written.
func TestEra(t *testing.T) {
	var free uint64 = 1 << 30
	s := openStore(t, Options{MinFree: 1 << 20, Watch: 1 << 40, free: func(string) (uint64, error) { return free, nil }})
	era := s.Era()
	must(t, change(s, nid(0), DirChange{Copies: complete(1)}))
	free = 0
	must(t, s.look())
	if _, err := os.Lstat(s.path(standingName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it stands on a full disk: %v", err)
	}
	free = 1 << 30
	must(t, s.look())
	if ok, err := s.standing(); !ok || err != nil {
		t.Errorf("it does not stand with room again: %v", err)
	}
	err := s.ChangeDir(t.Context(), nid(0), era, &DirChange{Copies: complete(1)})
	if c, cerr := s.Copies(nid(0)); !errors.Is(err, ErrPaused) || cerr != nil || len(c) > 0 {
		t.Errorf("a change from before: %v; copies %v, %v", err, c, cerr)
	}
	seq := func(yield func(Entry) bool) {
		s.q.drop() // as a reset does
		for _, e := range entries(0, 3, 1) {
			if !yield(e) {
				return
			}
		}
	}
	err = s.ReplaceDir(t.Context(), nid(0), seq, are(complete(1)))
	if c, cerr := s.Copies(nid(0)); !errors.Is(err, ErrPaused) || cerr != nil || len(c) > 0 {
		t.Errorf("a listing over a reset: %v; copies %v, %v", err, c, cerr)
	}
}
