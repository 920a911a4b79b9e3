package meta

import (
	"fmt"
	"testing"
	"time"

	"sheaf/vfs"
)

func absent(i int) *Absence {
	return &Absence{Dir: nid(1), Name: vfs.MustName(fmt.Sprint("none", i)), Proof: 7, Asked: vfs.TimeOf(time.Now())}
}

// TestAbsences: an absence is found by its name, in the queue and in the database; another name with its hash takes its row; the
// rows are no more than there may be; those that are old, unwanted or beyond the bound are pruned.
func TestAbsences(t *testing.T) {
	const limit = 100
	s := openStore(t, Options{Absences: limit})
	put := func(s *Store, a *Absence, hash uint64) {
		t.Helper()
		if ok, err := s.PutAbsence(t.Context(), a, hash); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	want := func(s *Store, i int, hash uint64, there bool) {
		t.Helper()
		a, ok, err := s.Absence(nid(1), absent(i).Name, hash)
		if err != nil || ok != there || ok && (a.Proof != 7 || a.Name != absent(i).Name) {
			t.Fatalf("absence %d is %+v, %v %v", i, a, ok, err)
		}
	}
	put(s, absent(1), 5)
	want(s, 1, 5, true)
	must(t, s.Flush(t.Context()))
	want(s, 1, 5, true)
	want(s, 2, 5, false) // another name
	if _, ok, err := s.Absence(nid(2), absent(1).Name, 5); ok || err != nil {
		t.Error("of another directory", err)
	}
	put(s, absent(2), 5+limit) // the same row
	want(s, 1, 5, false)
	want(s, 2, 5, true)
	for i := range 10 * limit {
		put(s, absent(i), uint64(i)*7919)
	}
	must(t, s.Flush(t.Context()))
	prune := func(s *Store, before time.Time, drop func(*Absence) bool, want int) {
		t.Helper()
		kept, err := s.PruneAbsences(t.Context(), before, drop)
		must(t, err)
		must(t, s.Flush(t.Context()))
		if kept != want {
			t.Fatalf("%d rows are left, want %d", kept, want)
		}
	}
	hourAgo := time.Now().Add(-time.Hour)
	prune(s, hourAgo, nil, limit)
	old := absent(3)
	old.Asked = vfs.TimeOf(time.Now().Add(-2 * time.Hour))
	put(s, old, 17)
	must(t, s.Flush(t.Context()))
	prune(s, hourAgo, nil, limit-1)
	want(s, 3, 17, false)
	checkClean(t, s)
	must(t, s.Close())
	s = openStore(t, Options{Dir: s.opt.Dir, Absences: limit / 2})
	prune(s, hourAgo, nil, limit/2-1)
	prune(s, hourAgo, func(a *Absence) bool { return a.Dir == nid(1) }, 0)
	must(t, s.Close())
}

// TestAbsencesAfterAPowerCut: what the host may have lost in part proves nothing; what was written after that does.
func TestAbsencesAfterAPowerCut(t *testing.T) {
	s := openStore(t, Options{})
	if _, err := s.PutAbsence(t.Context(), absent(1), 5); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, true)
	known := func() bool {
		_, ok, err := s.Absence(nid(1), absent(1).Name, 5)
		must(t, err)
		return ok
	}
	if !known() {
		t.Error("a kill of the process alone takes nothing away")
	}
	s.cut = s.session.Load() - 1 // as beginSession finds when the host went down
	if known() {
		t.Error("it is believed after a power cut")
	}
	if _, err := s.PutAbsence(t.Context(), absent(1), 5); err != nil {
		t.Fatal(err)
	}
	if !known() {
		t.Error("what was learned since is not believed")
	}
}
