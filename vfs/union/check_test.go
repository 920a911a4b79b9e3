package union

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

// wantClean wants no finding.
func (s *shareT) wantClean(f failer) {
	f.Helper()
	for _, x := range s.checked(f, false) {
		f.Fatalf("check found %+v", x)
	}
}
