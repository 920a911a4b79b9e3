package hunt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Object is what a name holds: 0 is nothing, any other the size that a file was made with.
type Object uint64

// Objects that are not one object.
const (
	Absent Object = 0
	// Some is told by an answer that says that a name is taken, and not by what.
	Some Object = 1<<64 - 1
	// Torn is a file that was made, and has not got its size: its server was killed in between.
	Torn Object = 1<<64 - 2
)

// Write is a change of a name, made at one moment of an interval; times are since the beginning of the hunt.
type Write struct {
	Name       string
	Start, End time.Duration
	To         Object // what it holds then; Some: what From held
	From       string // of a rename: the other name
	Direct     bool   // made on a volume, not through the server
	// Maybe: it failed, or nobody knows: it was made between Start and End, or never.
	Maybe bool
	What  string
}

// Read is what a call was told of a name.
type Read struct {
	Name       string
	Start, End time.Duration
	Is         Object
	What       string
}

// Refusal is a call that was answered with JUKEBOX or IO, or not at all.
type Refusal struct {
	Start, End time.Duration
	What       string
}

// Outage is a time in which a volume or the server was away, until it was seen to be there again.
type Outage struct {
	Start, End time.Duration
	What       string
}

// History is all that happened.
type History struct {
	Writes   []Write
	Reads    []Read
	Refusals []Refusal
	Outages  []Outage
}

// Bounds are how late things may be noticed.
type Bounds struct {
	Direct time.Duration // a change on a volume
	After  time.Duration // the end of an outage
}

// Check gives what no order of events allows.
func Check(h *History, b Bounds) (faults []string) {
	c := &checker{h: h, b: b, writes: map[string][]*fact{}}
	c.prepare()
	for i := range h.Reads {
		if r := &h.Reads[i]; !c.explained(r) {
			faults = append(faults, fmt.Sprintf("%s says that %s holds %s at %v..%v; of late:\n%s", r.What, r.Name, r.Is, r.Start, r.End, c.around(r)))
		}
	}
	for _, r := range h.Refusals {
		if !slices.ContainsFunc(h.Outages, func(o Outage) bool { return o.Start <= r.End && r.Start <= o.End+b.After }) {
			faults = append(faults, fmt.Sprintf("%s was refused at %v..%v, when nothing was away", r.What, r.Start, r.End))
		}
	}
	return faults
}

// String is the object for reports.
func (o Object) String() string {
	switch o {
	case Absent:
		return "nothing"
	case Some:
		return "something"
	case Torn:
		return "a torn file"
	default:
		return fmt.Sprint("object ", uint64(o))
	}
}

// fact is a write with what follows from all the others.
type fact struct {
	*Write
	may    map[Object]bool // what it may have put there
	proved time.Duration   // somebody was told of it by then, or never
}

const never = time.Duration(1<<63 - 1)

type checker struct {
	h      *History
	b      Bounds
	writes map[string][]*fact // by name, in the order of their beginnings
}

// prepare finds out what each write may have put where it did, and when it was made for certain.
func (c *checker) prepare() {
	all := make([]*fact, 0, len(c.h.Writes))
	for i := range c.h.Writes {
		w := &c.h.Writes[i]
		f := &fact{Write: w, may: make(map[Object]bool), proved: never}
		if w.To != Some {
			f.may[w.To] = true
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b *fact) int { return cmp.Compare(a.Start, b.Start) })
	for _, f := range all {
		c.writes[f.Name] = append(c.writes[f.Name], f)
	}
	for changed := true; changed; { // renames of what was renamed
		changed = false
		for _, f := range all {
			if f.To != Some {
				continue
			}
			for _, w := range c.current(f.From, f.Start, f.End) {
				for o := range w.may {
					if o != Absent && !f.may[o] {
						f.may[o], changed = true, true
					}
				}
			}
		}
	}
	c.prove()
}

// prove uses what was told: where one write alone can have put an object under a name, who is told of the object proves the
// write.
func (c *checker) prove() {
	type at struct {
		name string
		o    Object
	}
	by, many := map[at]*fact{}, map[at]bool{}
	for name, fs := range c.writes {
		for _, f := range fs {
			for o := range f.may {
				k := at{name, o}
				many[k] = many[k] || by[k] != nil
				by[k] = f
			}
		}
	}
	for _, r := range c.h.Reads {
		k := at{r.Name, r.Is}
		if f := by[k]; f != nil && !many[k] && r.Is != Absent && len(f.may) == 1 && !f.Direct {
			f.proved = min(f.proved, r.End)
		}
	}
}

// current are the writes whose value name may have had at some time of an interval.
func (c *checker) current(name string, start, end time.Duration) (fs []*fact) {
	over := c.overAt(name, start)
	for _, f := range c.writes[name] {
		if f.Start > end {
			break
		}
		if f.latest() >= over {
			fs = append(fs, f)
		}
	}
	return fs
}

// overAt is the latest beginning of a write that certainly was made, and seen, before a call that began at start: whatever was
// made for certain before that is written over.
func (c *checker) overAt(name string, start time.Duration) (over time.Duration) {
	over = -1
	for _, f := range c.writes[name] {
		if f.Start > start {
			break
		}
		if f.certain() < start {
			over = max(over, f.Start)
		}
	}
	return over
}

// certain is when f was made for certain and everybody sees it.
func (f *fact) certain() time.Duration {
	switch {
	case f.Maybe:
		return f.proved
	default:
		return min(f.proved, f.End)
	}
}

// latest is the last moment at which f can have been made.
func (f *fact) latest() time.Duration { return min(f.End, f.proved) }

// explained reports whether what r was told can have been so.
func (c *checker) explained(r *Read) bool {
	for _, f := range c.currentTo(r) {
		switch {
		case r.Is == Some:
			for o := range f.may {
				if o != Absent {
					return true
				}
			}
		case r.Is == Torn:
			if f.Maybe && !f.may[Absent] {
				return true
			}
		case f.may[r.Is]:
			return true
		}
	}
	return false
}

// currentTo is current for a read: direct changes may not have been noticed yet.
func (c *checker) currentTo(r *Read) []*fact {
	over := time.Duration(-1)
	for _, f := range c.writes[r.Name] {
		if f.Start > r.Start {
			break
		}
		at := f.certain()
		if f.Direct && at != never {
			at += c.b.Direct
			for _, o := range c.h.Outages { // who looks while it is away is told what was known
				if o.Start <= at && f.Start <= o.End {
					at = max(at, o.End+c.b.After)
				}
			}
		}
		if at < r.Start {
			over = max(over, f.Start)
		}
	}
	var fs []*fact
	for _, f := range c.writes[r.Name] {
		if f.Start > r.End {
			break
		}
		if f.latest() >= over {
			fs = append(fs, f)
		}
	}
	return fs
}

// around is what happened to a read's name lately.
func (c *checker) around(r *Read) string {
	var s strings.Builder
	for _, f := range c.writes[r.Name] {
		if f.latest() > r.Start-5*time.Second && f.Start < r.End {
			fmt.Fprintf(&s, "\t%v..%v %s: %v %s, direct %v, maybe %v, proved %v\n", f.Start, f.End, f.What, f.To, f.From, f.Direct, f.Maybe, f.proved != never)
		}
	}
	for _, o := range c.h.Outages {
		if o.End > r.Start-5*time.Second && o.Start < r.End {
			fmt.Fprintf(&s, "\t%v..%v away: %s\n", o.Start, o.End, o.What)
		}
	}
	return s.String()
}

// Settled is when a change that failed at t cannot be made any more: a while after everything was there again.
func (h *History) Settled(t, quiet time.Duration) time.Duration {
	for changed := true; changed; {
		changed = false
		for _, o := range h.Outages {
			if o.Start < t+quiet && t < o.End {
				t, changed = o.End, true
			}
		}
	}
	return t + quiet
}
