package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// load says how hard a phase drives a server.
type load struct {
	conns       int
	outstanding int           // calls in flight per connection; of a megabyte: at most bigOutstanding
	time        time.Duration // a phase ends after this
	count       int           // or after so many calls per connection
	seed        uint64

	// also sends calls before a phase, whose xids are the so many before base, and whose replies are not looked at.
	also func(c *conn, base uint32) (n int, err error)
	// grace is how long a reply is waited for; calls that have none by then are counted as stuck. 0: that is an error.
	grace time.Duration
}

// bigOutstanding bounds the calls of a megabyte in flight per connection: more only
// measures memory.
const bigOutstanding = 4

// result is what a phase measured.
type result struct {
	calls int
	units int           // of what the procedure counts: calls, or op.unit
	stuck int           // calls without a reply
	cpu   time.Duration // of the server
	wall  time.Duration
	lat   histogram
}

// run drives one op on one server.
func (l load) run(p *peer, o *op) (result, error) {
	conns := make([]*conn, l.conns)
	for i := range conns {
		c, err := dial(p.addr)
		if err != nil {
			return result{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	p.site.variant = (p.site.variant + 1) % variants
	before, err := p.cpuTime()
	if err != nil {
		return result{}, err
	}
	begin := time.Now()
	parts, errs := make([]result, l.conns), make([]error, l.conns)
	callers := make([]*caller, l.conns)
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			w := &caller{site: p.site, index: i, rnd: rand.New(rand.NewPCG(l.seed, uint64(i)))}
			callers[i] = w
			parts[i], errs[i] = l.drive(c, w, o, begin)
		})
	}
	wg.Wait()
	res := result{wall: time.Since(begin)}
	after, err := p.cpuTime()
	res.cpu = after - before
	for i, part := range parts {
		res.calls += part.calls
		if o.unit == "" {
			res.units += part.calls
		} else {
			res.units += callers[i].units
		}
		res.stuck += part.stuck
		res.lat.add(&part.lat)
	}
	err = errors.Join(err, errors.Join(errs...))
	if err == nil && o.proc == procWrite && !p.site.echo {
		err = readBack(p)
	}
	for _, w := range callers {
		if err == nil && len(w.stored) > 0 {
			err = readStored(p, w.stored)
		}
	}
	return res, err
}

// drive keeps the slots of one connection busy until the phase is over.
func (l load) drive(c *conn, w *caller, o *op, begin time.Time) (result, error) {
	slots := l.outstanding
	if o.big {
		slots = min(slots, bigOutstanding)
	}
	d := driver{
		load: l, conn: c, caller: w, op: o, begin: begin, base: uint32(time.Now().UnixNano()),
		calls: make([]call, slots), sent: make([]time.Time, slots), xids: make([]uint32, slots),
	}
	if l.grace > 0 {
		c.patience = l.grace
	}
	if l.also != nil {
		n, err := l.also(c, d.base)
		if err != nil {
			return d.res, err
		}
		d.beside, d.begin = uint32(n), time.Now()
	}
	for i := range slots {
		d.issue(i)
	}
	for d.flying > 0 {
		if err := c.flush(); err != nil {
			return d.res, err
		}
		// Everything that is there already, then the new requests in one write.
		for first := true; d.flying > 0 && (first || c.in.Buffered() > 0); first = false {
			err := d.receive()
			if ne := net.Error(nil); l.grace > 0 && errors.As(err, &ne) && ne.Timeout() {
				d.res.stuck = d.flying
				return d.res, nil
			}
			if err != nil {
				return d.res, fmt.Errorf("call %d: %w", d.res.calls+1, err)
			}
		}
	}
	return d.res, nil
}

// driver is one connection in one phase. The xid of a call is base plus a number that tells
// its slot and does not come again: to a reply cache, an xid with the same arguments is the
// same call.
type driver struct {
	load
	*conn
	*caller
	op     *op
	begin  time.Time
	calls  []call
	sent   []time.Time
	xids   []uint32
	base   uint32
	beside uint32 // calls before base that load.also sent
	issued int
	flying int
	res    result
}

// issue appends a slot's next call to what is to be sent, unless the phase is over.
func (d *driver) issue(slot int) {
	now := time.Now()
	begun := d.op.begun != nil && d.op.begun(&d.calls[slot])
	if !begun && (d.issued >= d.count || now.Sub(d.begin) > d.time) {
		return
	}
	at, proc := len(d.out), d.op.proc
	if d.op.procOf != nil {
		proc = d.op.procOf(&d.calls[slot])
	}
	d.xids[slot] = d.base + uint32(d.issued*len(d.xids)+slot)
	b, more := d.op.next(d.caller, &d.calls[slot], header(d.out, d.xids[slot], progNFS, proc))
	if !more {
		d.out = b[:at]
		return
	}
	seal(b, at)
	d.out = b
	d.sent[slot] = now
	d.issued++
	d.flying++
}

// receive takes one reply, checks it, and gives its slot the next call.
func (d *driver) receive() error {
	xid, r, err := d.next()
	if err != nil {
		return err
	}
	if d.base-xid-1 < d.beside {
		return nil
	}
	slot := int(xid-d.base) % len(d.sent)
	if xid != d.xids[slot] || d.sent[slot].IsZero() {
		return fmt.Errorf("a reply to xid %d, which was not asked", xid)
	}
	d.res.lat.record(time.Since(d.sent[slot]))
	d.sent[slot] = time.Time{}
	d.flying--
	d.res.calls++
	if r.accepted(); r.err != nil {
		return r.err
	}
	if !d.echo {
		if err := errors.Join(d.op.check(d.caller, &d.calls[slot], &r), r.err); err != nil {
			return err
		}
	}
	d.issue(slot)
	return nil
}

// expected is what n bytes of a target are.
func (t *target) expected(off, n int) []byte {
	want := make([]byte, 0, n)
	for at := off; at < off+n; at += block {
		want = append(want, data(t.blocks[at/block], at, block)...)
	}
	return want
}

// readBack reads what was written, all of it.
func readBack(p *peer) error {
	c, err := dial(p.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, o := range p.site.targets {
		for off := 0; off < bigSize; off += payload {
			r, err := c.call(progNFS, procRead, func(b []byte) []byte { return readArgs(b, o.handle, off, payload) })
			if err == nil {
				err = checkRead(&r, off, bigSize, o.expected(off, payload))
			}
			if err != nil {
				return fmt.Errorf("read back %s: %w", o.name, err)
			}
		}
	}
	return nil
}
