package union

import (
	"sync"
	"sync/atomic"
	"time"
)

// each calls f for every volume of s and joins the first error, one after the other for
// one and at once for several: a slow disk costs the time of one.
func each(s volset, f func(v int) error) error {
	switch s.count() {
	case 0:
		return nil
	case 1:
		return f(s.first())
	}
	list := s.list()
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, v := range list[1:] {
		wg.Go(func() { errs[i+1] = f(v) })
	}
	errs[0] = f(list[0])
	wg.Wait()
	return firstOf(errs)
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// patience is how long ask goes from volume to volume alone: some ten times what eight answers from the
// host's caches take, and a fiftieth of what one from a disk does.
const patience = 200 * time.Microsecond

// slowQuestion is how long a volume takes for a question, on average of the last, for questions to it to be put at once:
// what starting a goroutine costs is little beside it then.
const slowQuestion = 30 * time.Microsecond

// paceShare is which part of the average a new measurement is: one of paceShare.
const paceShare = 8

// pace is how long a volume takes for a question, on average, in nanoseconds.
type pace struct{ ns atomic.Int64 }

// took takes a measurement into the average. Of two at once one may be lost, which does no harm.
func (p *pace) took(d time.Duration) {
	was := p.ns.Load()
	p.ns.Store(was + (int64(d)-was)/paceShare)
}

func (p *pace) slow() bool { return p.ns.Load() > int64(slowQuestion) }

// askEach is each for questions whose answers the host mostly has in memory: a call takes a microsecond
// then, and to start a goroutine for it as much again (measured over eight volumes, a missing name asked for
// everywhere: 20 µs instead of 28, of one processor instead of two). So the caller puts them one after the other, and when that
// has taken longer than patience, all that are left are put at once. Volumes that were slow lately are all asked at once from
// the beginning, and with LookupOff all are: that is what nothing remembered costs.
func (u *Union) askEach(s volset, f func(v int) error) error {
	if s == 0 {
		return nil
	}
	all := s.list()
	r := &asking{errs: make([]error, len(all))}
	r.ask = func(i int) {
		v := u.vol(all[i])
		began := time.Now()
		r.errs[i] = f(v.i)
		v.pace.took(time.Since(began))
	}
	var slow []int
	for i, v := range all {
		if u.opt.Lookups == LookupOff || u.vol(v).pace.slow() {
			slow = append(slow, i)
		} else {
			r.fast = append(r.fast, i)
		}
	}
	if len(r.fast) == 0 { // the caller is one of those who ask
		r.fast, slow = slow[:1], slow[1:]
	}
	for _, i := range slow {
		r.helpers.Go(func() { r.ask(i) })
	}
	if len(r.fast) == 1 {
		r.work()
	} else {
		r.patiently()
	}
	r.helpers.Wait()
	return firstOf(r.errs)
}

// asking is one askEach under way.
type asking struct {
	fast    []int // positions of volumes that are asked one after the other
	ask     func(i int)
	errs    []error
	next    atomic.Int32 // of fast, not yet begun
	helpers sync.WaitGroup
}

// patiently asks the fast volumes, and what is left after patience at once.
func (r *asking) patiently() {
	r.helpers.Add(1)
	late := time.AfterFunc(patience, r.help)
	r.work()
	if late.Stop() {
		r.helpers.Done()
	}
}

// work takes what nobody has begun until there is nothing left.
func (r *asking) work() {
	for {
		i := int(r.next.Add(1)) - 1
		if i >= len(r.fast) {
			return
		}
		r.ask(r.fast[i])
	}
}

// help begins all that is left at once.
func (r *asking) help() {
	defer r.helpers.Done()
	for range len(r.fast) - min(int(r.next.Load()), len(r.fast)) {
		r.helpers.Go(r.work)
	}
}
