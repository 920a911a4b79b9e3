package guard

import (
	"fmt"
	"time"

	"sheaf/vfs/volume"
)

// run looks after the volume until it is closed: a tick finds the calls that are late, and
// starts the probes.
func (g *Volume) run() {
	t := time.NewTicker(g.tick)
	defer t.Stop()
	every := max(1, int64((g.o.ProbeEvery+g.tick/2)/g.tick))
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.kick:
			g.startProbe(true)
			continue
		case <-t.C:
		}
		now := g.now.Add(1)
		g.inspect(now)
		if now%every == 0 {
			g.startProbe(false)
		}
	}
}

// wake asks for a probe now.
func (g *Volume) wake() {
	select {
	case g.kick <- struct{}{}:
	default: // one is asked for already
	}
}

// inspect looks at every call there is. Ticks of a process that was stopped do not count, so
// that nothing is late when it goes on.
func (g *Volume) inspect(now int64) {
	g.mu.Lock()
	current := g.current
	all := make([]*opening, 0, 1+len(g.past))
	if current != nil {
		all = append(all, current)
	}
	for o := range g.past {
		all = append(all, o)
	}
	g.mu.Unlock()
	hung := 0
	for _, o := range all {
		proved := o.proved.Load()
		n, what := o.inspect(now, proved)
		hung += n
		if what == "" {
			if o == current {
				g.suspect(o, o.unanswered, proved)
			}
			continue
		}
		if o == current {
			g.slow(o, what)
		}
		o.dismissLate(now) // after the state says why
	}
	g.hung.Store(int64(hung))
}

// inspect counts the calls of an opening that are late, and says of one that has just become
// late what it is.
func (o *opening) inspect(now, proved int64) (hung int, what string) {
	o.unanswered = 0
	for i := range o.kinds {
		k := &o.kinds[i]
		oldest, ended := int64(0), uint64(0)
		for j := range k.slots {
			age, is := k.slots[j].age(now)
			ended += k.slots[j].ended()
			oldest = max(oldest, age)
			if i != flushes && now-age >= proved {
				o.unanswered = max(o.unanswered, age)
			}
			if age > k.limit {
				hung++
			}
			if is != volume.OpNone {
				what = fmt.Sprintf("a call (%s) has not come back for %s", is, time.Duration(age-1)*o.g.tick)
			}
		}
		k.stuck.Store(oldest > k.limit/StuckPart+1)
		k.watch(now, oldest, ended, o.kinds[reads].limit/StuckPart+1)
	}
	began := o.closing.Load()
	if late := began != 0 && now-began > o.kinds[reads].limit; late {
		hung++
		if !o.late {
			what = fmt.Sprintf("a call (%s) has not come back for %s", volume.OpClose, time.Duration(now-began-1)*o.g.tick)
		}
		o.late = true
	} else {
		o.late = false
	}
	return hung, what
}

// watch notes for how long nothing has come back, given how old the oldest call is and how many ended so far. Beyond
// the limit who queues is answered.
func (k *kind) watch(now, oldest int64, ended uint64, limit int64) {
	if ended != k.ended || oldest == 0 {
		k.ended, k.movedAt = ended, now
	}
	still := min(oldest, now-k.movedAt)
	k.still.Store(still)
	was := k.jammed.Swap(still > limit)
	if still > limit && !was {
		close(*k.newKick())
	}
}

// ended is how often the slot was used and given back.
func (s *slot) ended() uint64 {
	fate := s.fate.Load()
	if fate&fateMask == idle {
		return fate >> fateBits
	}
	return fate>>fateBits - 1
}

// age is for how many ticks the slot's call is with the host. If it has just become late, is says
// what it is.
func (s *slot) age(now int64) (ticks int64, is volume.Op) {
	fate := s.fate.Load()
	state := fate & fateMask
	if state == idle || state == over {
		return 0, volume.OpNone
	}
	began, op := s.began.Load(), volume.Op(s.op.Load())
	if s.fate.Load()&^fateMask != fate&^fateMask { // another use began meanwhile
		return 0, volume.OpNone
	}
	ticks = now - began
	use := fate &^ fateMask
	if ticks <= s.k.limit || s.noted == use {
		return ticks, volume.OpNone
	}
	s.noted = use
	return ticks, op
}

// dismissLate answers those who wait for read-only calls that are late.
func (o *opening) dismissLate(now int64) {
	o.dismiss(func(s *slot) bool { return now-s.began.Load() > s.k.limit })
}

// suspect has a volume probed of which calls do not come back, and calls it stalled when the probe does not pass either. Flushes
// do not count: a disk that is busy with them may answer all else.
func (g *Volume) suspect(o *opening, age, proved int64) {
	if g.gate.Load().o == nil || !g.suspicious(age) {
		return
	}
	if g.startProbe(true); age > g.stallAfter {
		g.stall(o, proved, fmt.Sprintf("a call has not come back for %s, nor a probe", time.Duration(age-1)*g.tick))
	}
}

// suspicious reports whether a call of that age, in ticks, may be one that does not come back.
func (g *Volume) suspicious(age int64) bool {
	return g.stallAfter > 0 && age > g.stallAfter*suspectPart/stallParts
}

// back is the end of a call by the host, before its caller knows: one that took so long tells that a volume answers again.
func (o *opening) back(s *slot) {
	began, now := s.began.Load(), o.g.now.Load()
	if o.g.suspicious(now-began) && s.k != &o.kinds[flushes] {
		o.g.answers(o, now)
	}
}
