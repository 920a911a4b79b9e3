package union

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume/volumetest"
)

// opCounts counts what volumes are asked for.
type opCounts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *opCounts) fault(op string, _ int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[op]++
	return nil
}

// take gives what was counted, and begins anew.
func (c *opCounts) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = make(map[string]int)
	return n
}

// TestRestartCostsOneStat: after a restart, and after memory forgot it, a directory that was known costs one stat of each copy
// and no listing, whatever is asked for in it and how often.
func TestRestartCostsOneStat(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(volumesName(n), func(t *testing.T) {
			ops := &opCounts{n: make(map[string]int)}
			s := memShare(t, n, func(_ int, o *volumetest.Options) { o.Fault = ops.fault })
			s.opt.Trust = time.Hour // a busy machine may take long between two calls
			s.opt.rowsDelay, s.opt.settleDelay = time.Hour, time.Hour
			s.newIndex(t)
			for _, v := range s.vols {
				plantTree(t, v, 3)
			}
			s.open(t)
			must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
			s.seen(t) // marks are set
			must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
			for _, how := range []string{"closed", "killed", "forgotten"} {
				switch how {
				case "closed":
					s.end(t, closes, 0)
					s.open(t)
				case "killed":
					s.settleNow()
					must(t, s.store.Flush(t.Context()))
					s.end(t, isKilled, 0)
					s.open(t)
				case "forgotten":
					s.writeNow()
					s.settleNow()
					s.u.opt.Memory = 1
					s.u.charge(0)
					s.u.charge(0)
					s.u.opt.Memory = DefaultMemory
				}
				root := s.root(t)
				ops.take()
				for i := range 3 {
					d := s.look(t, root, fmt.Sprintf("d%d", i), vfs.OK).Node
					first := ops.take()
					for range 3 {
						s.look(t, d, "nothing", vfs.NoEnt)
						s.look(t, d, "nothing else", vfs.NoEnt)
					}
					then := ops.take()
					if stats := first["stat"] + then["stat"]; stats != n || first["list"]+then["list"] != 0 || then["statat"] != 0 {
						t.Errorf("%s: a directory with %d copies costs %v to find, and then %v for names that are not there", how, n, first, then)
					}
				}
			}
		})
	}
}

// TestOtherHiddenNames: names of the root that another configuration hid are found when they are not hidden any more (N10).
func TestOtherHiddenNames(t *testing.T) {
	s := memShare(t, 1, nil)
	s.newIndex(t)
	plant(t, s.vols[0].Root(), "secret", vfs.Regular)
	s.opt.Hide = []string{"sec*"}
	s.open(t)
	root := s.root(t)
	s.look(t, root, "secret", vfs.NoEnt)
	s.list(t, root)
	s.opt.Hide = []string{"other"}
	s.restart(t)
	s.look(t, root, "secret", vfs.OK)
	s.list(t, root)
	s.opt.Hide = []string{"sec*"}
	s.restart(t)
	s.look(t, root, "secret", vfs.NoEnt)
}
