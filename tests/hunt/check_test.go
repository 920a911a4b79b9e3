package hunt

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// TestCheck holds the checker to histories made by hand: those that may be, and those that a broken server gives.
func TestCheck(t *testing.T) {
	begin := []Write{{Name: "a", To: Absent}, {Name: "b", To: Absent}}
	made := Write{Name: "a", Start: 10 * ms, End: 20 * ms, To: 7, What: "CREATE"}
	gone := Write{Name: "a", Start: 30 * ms, End: 40 * ms, To: Absent, What: "REMOVE"}
	told := func(name string, from, to time.Duration, o Object) Read {
		return Read{Name: name, Start: from * ms, End: to * ms, Is: o, What: "LOOKUP"}
	}
	moved := []Write{
		{Name: "a", Start: 30 * ms, End: 40 * ms, To: Absent, What: "RENAME"},
		{Name: "b", Start: 30 * ms, End: 40 * ms, To: Some, From: "a", What: "RENAME"},
	}
	direct, maybe := gone, gone
	direct.Direct, maybe.Maybe, maybe.End = true, true, 100*ms
	for name, x := range map[string]struct {
		writes   []Write
		reads    []Read
		refusals []Refusal
		outages  []Outage
		faults   int
	}{
		"before and after":                      {writes: []Write{made}, reads: []Read{told("a", 1, 5, Absent), told("a", 21, 25, 7)}},
		"while it is made":                      {writes: []Write{made}, reads: []Read{told("a", 12, 15, Absent), told("a", 12, 15, 7)}},
		"an absence kept after a create":        {writes: []Write{made}, reads: []Read{told("a", 21, 25, Absent)}, faults: 1},
		"seen, and not seen later":              {writes: []Write{made}, reads: []Read{told("a", 12, 14, 7), told("a", 15, 17, Absent)}, faults: 1},
		"before it is made":                     {writes: []Write{made}, reads: []Read{told("a", 1, 5, 7)}, faults: 1},
		"another object":                        {writes: []Write{made}, reads: []Read{told("a", 21, 25, 8)}, faults: 1},
		"a name that is taken":                  {writes: []Write{made}, reads: []Read{told("a", 21, 25, Some)}},
		"a name that is taken by nothing":       {writes: []Write{made, gone}, reads: []Read{told("a", 41, 45, Some)}, faults: 1},
		"a presence kept after a remove":        {writes: []Write{made, gone}, reads: []Read{told("a", 41, 45, 7)}, faults: 1},
		"the same, removed on the volume":       {writes: []Write{made, direct}, reads: []Read{told("a", 41, 45, 7)}},
		"the same, after the bound":             {writes: []Write{made, direct}, reads: []Read{told("a", 1041, 1045, 7)}, faults: 1},
		"a remove that failed":                  {writes: []Write{made, maybe}, reads: []Read{told("a", 41, 45, 7), told("a", 46, 50, Absent)}},
		"a remove that failed, much later":      {writes: []Write{made, maybe}, reads: []Read{told("a", 200, 250, 7)}},
		"a rename":                              {writes: append(moved, made), reads: []Read{told("b", 41, 45, 7), told("a", 41, 45, Absent)}},
		"a rename that nobody sees":             {writes: append(moved, made), reads: []Read{told("b", 41, 45, Absent)}, faults: 1},
		"a rename of something else":            {writes: append(moved, made), reads: []Read{told("b", 41, 45, 9)}, faults: 1},
		"refused while something was away":      {refusals: []Refusal{{20 * ms, 30 * ms, "LOOKUP"}}, outages: []Outage{{25 * ms, 90 * ms, "v1"}}},
		"refused just after":                    {refusals: []Refusal{{91 * ms, 95 * ms, "LOOKUP"}}, outages: []Outage{{25 * ms, 90 * ms, "v1"}}},
		"refused though everything was there":   {refusals: []Refusal{{20 * ms, 30 * ms, "LOOKUP"}}, faults: 1},
		"a torn file of a create that was lost": {writes: []Write{{Name: "a", Start: 5 * ms, End: 50 * ms, To: 7, Maybe: true}}, reads: []Read{told("a", 41, 45, Torn)}},
		"a torn file that was answered for":     {writes: []Write{made}, reads: []Read{told("a", 41, 45, Torn)}, faults: 1},
	} {
		h := &History{Writes: append(append([]Write(nil), begin...), x.writes...), Reads: x.reads, Refusals: x.refusals, Outages: x.outages}
		if got := Check(h, Bounds{Direct: time.Second, After: 20 * ms}); len(got) != x.faults {
			t.Errorf("%s: %d faults, want %d: %q", name, len(got), x.faults, got)
		}
	}
}

// TestSettled moves over outages that follow each other.
func TestSettled(t *testing.T) {
	h := &History{Outages: []Outage{{10 * ms, 20 * ms, "v0"}, {21 * ms, 40 * ms, "v1"}, {100 * ms, 110 * ms, "v0"}}}
	for at, want := range map[time.Duration]time.Duration{0: 5 * ms, 7 * ms: 45 * ms, 15 * ms: 45 * ms, 50 * ms: 55 * ms} {
		if got := h.Settled(at, 5*ms); got != want {
			t.Errorf("settled at %v after %v, want %v", got, at, want)
		}
	}
}
