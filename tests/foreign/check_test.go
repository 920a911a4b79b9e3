package foreign

import (
	"strings"
	"testing"
	"time"
)

// TestCheck: the check finds what it is for.
func TestCheck(t *testing.T) {
	const s = int64(time.Second)
	writes := []write{
		{"x", 0, 0, 0, false},
		{"x", 1 * s, 1*s + 10, 1, false},
		{"x", 3 * s, 3*s + 10, 2, true},
		{"x", 5 * s, 6 * s, 3, false},
	}
	for _, c := range []struct {
		start, value int64
		want         string
	}{
		{s / 2, 0, ""},
		{s + s/2, 0, ""},
		{2*s + s/2, 0, "old"},
		{3*s + 5, 1, ""}, // while our own change is made
		{3*s + 11, 1, "ourselves"},
		{4 * s, 3, "never"},
		{5*s + s/2, 2, ""},
		{5*s + s/2, 3, ""},
		{6*s + s/2, 2, ""},
		{7*s + s/2, 2, "old"},
		{7 * s, 4, "never"},
	} {
		faults, _ := newHistory(writes, []read{{"x", c.start, c.start + 5, c.value, "LOOKUP"}}).check(time.Second)
		if (c.want == "") != (len(faults) == 0) || !strings.Contains(strings.Join(faults, ""), c.want) {
			t.Errorf("at %v of %d: %q, want %q", time.Duration(c.start), c.value, faults, c.want)
		}
	}
	seen := newHistory(writes, []read{{"x", 2 * s, 2*s + 5, 1, ""}, {"x", 2*s + 7, 2*s + 8, 1, ""}, {"x", 9 * s, 9 * s, 3, ""}}).sights(func(fact) bool { return true })
	if quantile(seen, 0) != time.Second || quantile(seen, 1) != 3*time.Second || len(seen) != 2 {
		t.Errorf("seen after %v", seen)
	}

	// n was the object 7 until 2 s; it got its mode 5 under another name, and its mode 6 when it had lost n for long.
	writes = []write{
		{"n object", 0, 0, 7, false},
		{"n mode", 0, 0, 4, false},
		{ofObject(7, "mode"), 0, 0, 4, false},
		{"n object", 2 * s, 2 * s, 8, false},
		{"n mode", 2 * s, 2 * s, 9, false},
		{ofObject(7, "mode"), 2*s + s/2, 2*s + s/2, 5, false},
		{ofObject(7, "mode"), 4 * s, 4 * s, 6, false},
	}
	for _, c := range []struct {
		start, value int64
		want         string
	}{{2*s + s/2, 4, ""}, {2*s + s/2, 9, ""}, {2*s + 3*s/4, 5, ""}, {4*s + s/2, 5, "never"}, {4*s + s/2, 6, "never"}, {4*s + s/2, 4, "old"}} {
		faults, _ := newHistory(writes, []read{{"n mode", c.start, c.start + 5, c.value, "LOOKUP"}}).check(time.Second)
		if (c.want == "") != (len(faults) == 0) || !strings.Contains(strings.Join(faults, ""), c.want) {
			t.Errorf("at %v of mode %d: %q, want %q", time.Duration(c.start), c.value, faults, c.want)
		}
	}
}
