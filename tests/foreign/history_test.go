package foreign

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// A fact is a field of what a name means: "d/a3 size"; or of an object, whatever its name.
type fact string

// objectOf is the field that says which object has a name; 0: none.
const objectOf = "object"

func ofObject(object int64, field string) fact { return fact(fmt.Sprintf("#%d %s", object, field)) }

// write is a change of a fact, made between two times of the monotonic clock, in nanoseconds.
type write struct {
	Fact       fact
	Start, End int64
	Value      int64
	Own        bool // through the server
}

// read is what a client was told of a fact by a call made between two times.
type read struct {
	Fact       fact
	Start, End int64
	Value      int64
	Call       string
}

// history is what was done and told.
type history struct {
	writes map[fact][]write // by Start
	times  map[fact][]span  // of writes
	spans  map[told][]span
	reads  []read
}

// told is a value of a fact.
type told struct {
	fact  fact
	value int64
}

// span is a time in which a fact had a value: from when it may have had it, when it certainly had it no more,
// and when it certainly had lost it to a change of our own.
type span struct{ from, over, own int64 }

// never is later than everything.
const never = int64(1) << 62

func newHistory(writes []write, reads []read) *history {
	h := &history{writes: map[fact][]write{}, times: map[fact][]span{}, spans: map[told][]span{}, reads: reads}
	for _, w := range writes {
		h.writes[w.Fact] = append(h.writes[w.Fact], w)
	}
	for _, ws := range h.writes {
		sort.SliceStable(ws, func(i, j int) bool { return ws[i].Start < ws[j].Start })
		for i, w := range ws {
			k, s := told{w.Fact, w.Value}, spanOf(ws, i)
			h.spans[k] = append(h.spans[k], s)
			h.times[w.Fact] = append(h.times[w.Fact], s)
		}
	}
	slices.SortFunc(h.reads, func(a, b read) int { return int(a.Start - b.Start) })
	return h
}

// age is how much older than the read's start its value was at least: 0 if it can be the present one. Not ok: the
// fact never had that value, or it will have it only later, or our own change was undone.
//
// A name and the attributes of what it means are known from different times, each within the bound: what has the name no
// more may have got its attributes later, under another.
func (h *history) age(r *read, bound time.Duration) (age time.Duration, ok bool, why string) {
	if age, ok, why = h.ageOf(r); ok && age == 0 {
		return age, ok, why
	}
	name, field, _ := strings.Cut(string(r.Fact), " ")
	of := fact(name + " " + objectOf)
	for i, w := range h.writes[of] {
		s := h.times[of][i]
		if w.Value == 0 || s.from > r.End || r.Start-s.over > int64(bound) {
			continue
		}
		other := *r
		other.Fact = ofObject(w.Value, field)
		if a, there, _ := h.ageOf(&other); there && (!ok || a < age) {
			age, ok = a, true
		}
	}
	return age, ok, why
}

// ageOf is age by the fact itself.
func (h *history) ageOf(r *read) (age time.Duration, ok bool, why string) {
	best := int64(-1)
	why = "never was so"
	for _, s := range h.spans[told{r.Fact, r.Value}] {
		switch a := max(0, r.Start-s.over); {
		case s.from > r.End:
		case s.own < r.Start:
			why = fmt.Sprintf("was changed by ourselves %v before", time.Duration(r.Start-s.own))
		case best < 0 || a < best:
			best = a
		}
	}
	return time.Duration(best), best >= 0, why
}

// spanOf is the span of the i-th write of a fact.
func spanOf(ws []write, i int) span {
	s := span{ws[i].Start, never, never}
	for _, w := range ws[i+1:] {
		if w.Start <= ws[i].End || w.Value == ws[i].Value {
			continue
		}
		s.over = min(s.over, w.End)
		if w.Own {
			s.own = min(s.own, w.End)
		}
	}
	return s
}

// check gives what is wrong with the reads, and the ages of what they told.
func (h *history) check(bound time.Duration) (faults []string, ages []time.Duration) {
	for i := range h.reads {
		r := &h.reads[i]
		age, ok, why := h.age(r, bound)
		switch {
		case !ok:
			faults = append(faults, fmt.Sprintf("%s says %s = %d: %s\n%s", r.Call, r.Fact, r.Value, why, h.around(r)))
		case age > bound:
			faults = append(faults, fmt.Sprintf("%s says %s = %d: that is %v old\n%s", r.Call, r.Fact, r.Value, age, h.around(r)))
		default:
			ages = append(ages, age)
		}
	}
	return faults, ages
}

// around is what happened to a read's fact lately.
func (h *history) around(r *read) (s string) {
	for _, w := range h.writes[r.Fact] {
		if w.End > r.Start-int64(3*time.Second) && w.Start < r.End {
			s += fmt.Sprintf("\t%v..%v = %d, own %v\n", time.Duration(w.Start-r.Start), time.Duration(w.End-r.Start), w.Value, w.Own)
		}
	}
	return s + fmt.Sprintf("\tread %v..%v", time.Duration(0), time.Duration(r.End-r.Start))
}

// sights are how long after each change of the hand to a fact that is wanted it was seen first, where it was
// before the next.
func (h *history) sights(wanted func(fact) bool) (seen []time.Duration) {
	byFact := map[fact][]*read{}
	for i := range h.reads {
		byFact[h.reads[i].Fact] = append(byFact[h.reads[i].Fact], &h.reads[i])
	}
	for f, ws := range h.writes {
		if !wanted(f) {
			continue
		}
		rs := byFact[f]
		for i, w := range ws {
			if w.Own || i == 0 || ws[i-1].Value == w.Value {
				continue
			}
			next := never
			if i+1 < len(ws) {
				next = ws[i+1].Start
			}
			for j := sort.Search(len(rs), func(j int) bool { return rs[j].Start >= w.Start }); j < len(rs) && rs[j].Start < next; j++ {
				if rs[j].Value == w.Value {
					seen = append(seen, time.Duration(max(0, rs[j].End-w.End)))
					break
				}
			}
		}
	}
	return seen
}

// quantile of what need not be sorted.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))].Round(10 * time.Microsecond)
}

// distribution of what need not be sorted.
func distribution(d []time.Duration) string {
	return fmt.Sprintf("n=%d p50=%v p99=%v max=%v", len(d), quantile(d, 0.5), quantile(d, 0.99), quantile(d, 1))
}
