package main

import (
	"math/bits"
	"time"
)

// histogram counts latencies in steps of 1/32 of their power of two: 3 % wide. Least, most and sum are exact.
type histogram struct {
	n     int
	sum   time.Duration
	least time.Duration // of n > 0
	most  time.Duration
	count [64 * steps]uint32
}

const steps = 32

// slotOf is the step of a latency of ns nanoseconds.
func slotOf(ns uint64) int {
	if ns < steps {
		return int(ns)
	}
	e := bits.Len64(ns) - 6 // ns >> e is 32 … 63
	return e*steps + int(ns>>e)
}

// floorOf is the least latency of a step.
func floorOf(slot int) uint64 {
	if slot < 2*steps {
		return uint64(slot)
	}
	e := slot/steps - 1
	return uint64(steps+slot%steps) << e
}

func (h *histogram) record(d time.Duration) {
	h.count[slotOf(uint64(max(0, d)))]++
	if h.n == 0 || d < h.least {
		h.least = d
	}
	h.most = max(h.most, d)
	h.sum += d
	h.n++
}

// average is that of all; 0 of none.
func (h *histogram) average() time.Duration { return h.sum / time.Duration(max(1, h.n)) }

func (h *histogram) add(o *histogram) {
	if o.n > 0 && (h.n == 0 || o.least < h.least) {
		h.least = o.least
	}
	h.most = max(h.most, o.most)
	h.sum += o.sum
	h.n += o.n
	for i, n := range o.count {
		h.count[i] += n
	}
}

// quantile is the latency that the part q of all does not exceed, to 3 %.
func (h *histogram) quantile(q float64) time.Duration {
	left := int(q * float64(h.n))
	for i, n := range h.count {
		if left -= int(n); left < 0 {
			return time.Duration(floorOf(i))
		}
	}
	return 0
}

// longest is the step of the longest latency.
func (h *histogram) longest() time.Duration {
	for i := len(h.count) - 1; i >= 0; i-- {
		if h.count[i] > 0 {
			return time.Duration(floorOf(i))
		}
	}
	return 0
}
