package vfstest

import "slices"

// call is one operation of a concurrent history.
type call struct {
	caller   int
	op       op
	outcome  outcome
	invoked  int64 // ticks of one counter: what returned before another was
	returned int64 // invoked has the smaller number
}

// maxCalls is how many calls linearize takes.
const maxCalls = 256

// done is the set of calls that have their place in the order.
type done [maxCalls / 64]uint64

func (d *done) flip(i int) { d[i/64] ^= 1 << (i % 64) }

// event is the beginning or the end of a call, in a list by time.
type event struct {
	call       int
	end        *event // of a beginning
	prev, next *event
}

// linearize looks for an order of calls that contradicts neither time (a call
// that returned before another was invoked comes first) nor step, which says
// what state a call leaves, and whether it can have had its outcome in this
// one. It gives false if there is none, and the calls of the longest order it
// found.
//
// The algorithm is that of Wing and Gong ("Testing and Verifying Concurrent
// Objects", 1993) with Lowe's memory of configurations seen ("Testing for
// linearizability", 2017).
func linearize[S comparable](state S, calls []call, step func(S, *call) (S, bool)) (bool, []int) {
	type config struct {
		done  done
		state S
	}
	type choice struct {
		event *event
		state S
	}
	var (
		head    = timeline(calls)
		seen    = map[config]bool{}
		placed  done
		order   []choice
		longest []int
	)
	for e := head.next; head.next != nil; {
		if e.end == nil { // this call must have taken effect by now, and has not
			if len(order) == 0 {
				return false, longest
			}
			last := order[len(order)-1]
			order = order[:len(order)-1]
			state, e = last.state, last.event
			placed.flip(e.call)
			e.restore()
			e = e.next
			continue
		}
		next, ok := step(state, &calls[e.call])
		with := placed
		with.flip(e.call)
		if !ok || seen[config{with, next}] {
			e = e.next
			continue
		}
		seen[config{with, next}] = true
		order = append(order, choice{e, state})
		state, placed = next, with
		e.take()
		e = head.next
		if len(order) > len(longest) {
			longest = longest[:0]
			for _, c := range order {
				longest = append(longest, c.event.call)
			}
		}
	}
	return true, longest
}

// timeline is the list of events of calls, behind a head.
func timeline(calls []call) *event {
	type moment struct {
		tick int64
		*event
	}
	moments := make([]moment, 0, 2*len(calls))
	for i, c := range calls {
		end := &event{call: i}
		moments = append(moments, moment{c.invoked, &event{call: i, end: end}}, moment{c.returned, end})
	}
	slices.SortFunc(moments, func(a, b moment) int { return int(a.tick - b.tick) })
	head := &event{}
	last := head
	for _, m := range moments {
		last.next, m.prev = m.event, last
		last = m.event
	}
	return head
}

// take takes the beginning e and its end out of the list; restore, called in
// the opposite order, puts them back.
func (e *event) take() {
	e.unlink()
	e.end.unlink()
}

func (e *event) restore() {
	e.end.relink()
	e.relink()
}

func (e *event) unlink() {
	e.prev.next = e.next
	if e.next != nil {
		e.next.prev = e.prev
	}
}

func (e *event) relink() {
	e.prev.next = e
	if e.next != nil {
		e.next.prev = e
	}
}
