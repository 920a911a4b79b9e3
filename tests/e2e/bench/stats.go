//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// calls are a client's of one procedure: how many, and how long in all until their answers.
type calls struct {
	n    int
	wait time.Duration
}

// mountStats reads the counts of a mount by procedure from /proc/self/mountstats: after "per-op statistics" a line for each, with
// the number of operations first and the milliseconds from request to reply eighth (fs/nfs/super.c, net/sunrpc/stats.c).
func mountStats(text, point string) (map[string]calls, error) {
	found := map[string]calls{}
	on := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 4 && f[0] == "device" {
			on = f[4] == point
			continue
		}
		if !on || len(f) < 9 || !strings.HasSuffix(f[0], ":") || strings.ToUpper(f[0]) != f[0] {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			continue // not a procedure's
		}
		ms, err := strconv.Atoi(f[7])
		if err != nil {
			return nil, fmt.Errorf("mountstats of %s: %q: %w", point, line, err)
		}
		found[strings.TrimSuffix(f[0], ":")] = calls{n, time.Duration(ms) * time.Millisecond}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("mountstats tell nothing of %s", point)
	}
	return found, nil
}

// since is what came after before.
func since(before, after map[string]calls) map[string]calls {
	diff := map[string]calls{}
	for name, c := range after {
		if b := before[name]; c.n > b.n {
			diff[name] = calls{c.n - b.n, c.wait - b.wait}
		}
	}
	return diff
}

// total is all of them.
func total(of map[string]calls) (sum calls) {
	for _, c := range of {
		sum.n += c.n
		sum.wait += c.wait
	}
	return sum
}
