package union

import (
	"slices"
	"testing"
)

// checked runs a Check and gives its findings.
func (s *shareT) checked(f failer, repair bool) (found []Finding) {
	f.Helper()
	sum, err := s.u.Check(s.tb.Context(), CheckOptions{Repair: repair, Report: func(x Finding) { found = append(found, x) }})
	if err != nil {
		f.Fatalf("check: %v", err)
	}
	if int64(len(found)) != sum.Findings || sum.Faults+sum.Notes+sum.Repaired != sum.Findings {
		f.Fatalf("%d findings are told, and counted are %+v", len(found), sum)
	}
	if len(sum.Unchecked) != 0 {
		f.Fatalf("not looked at: %v", sum.Unchecked)
	}
	return found
}

// wantFound wants findings of just these kinds, in any order.
func (s *shareT) wantFound(f failer, repair bool, kinds ...FindingKind) {
	f.Helper()
	found := s.checked(f, repair)
	got := make([]FindingKind, len(found))
	for i := range found {
		got[i] = found[i].Kind
		if repair && !found[i].Repaired {
			f.Fatalf("not repaired: %+v", found[i])
		}
	}
	slices.Sort(got)
	slices.Sort(kinds)
	if !slices.Equal(got, kinds) {
		f.Fatalf("found %v, want %v\n%+v", got, kinds, found)
	}
}

// wantClean wants no finding.
func (s *shareT) wantClean(f failer) {
	f.Helper()
	for _, x := range s.checked(f, false) {
		f.Fatalf("check found %+v", x)
	}
}

// wantNoFault wants nothing but notes of a check.
func (s *shareT) wantNoFault(t testing.TB, when string) {
	t.Helper()
	for _, x := range s.checked(t, false) {
		if !x.Note {
			t.Errorf("%s: check found %+v", when, x)
		}
	}
}
