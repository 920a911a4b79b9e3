package vfstest

import (
	"fmt"

	"sheaf/vfs"
)

// maxNodes is how many objects a history may make.
const maxNodes = 256

// nameState is what a part of a history's names are, as a state of linearize.
type nameState struct {
	at   [places]uint16        // the object with the name; 0: none
	made [maxNodes / 64]uint64 // objects that have been made, and never are again
}

// object is what the calls of a history tell of an object.
type objectFacts struct {
	isDir    bool
	verifier uint64 // of the EXCLUSIVE creation; 0: none
}

// names is the specification that histories are checked against.
type nameSpec struct {
	number map[vfs.NodeID]uint16 // objects, from 1
	facts  []objectFacts         // by number
}

// specOf numbers the objects of a history. An object that no creation gave has
// no facts, and no state has it.
func specOf(calls []call) (*nameSpec, error) {
	s := &nameSpec{number: map[vfs.NodeID]uint16{}, facts: make([]objectFacts, 1)}
	for _, c := range calls {
		if c.outcome.node.IsZero() {
			continue
		}
		n, ok := s.number[c.outcome.node]
		if !ok {
			n = uint16(len(s.facts))
			s.number[c.outcome.node] = n
			s.facts = append(s.facts, objectFacts{})
		}
		switch c.op.kind {
		case opMkdir:
			s.facts[n].isDir = true
		case opExclusive:
			s.facts[n].verifier = c.op.value
		default:
		}
	}
	if len(s.facts) > maxNodes {
		return nil, fmt.Errorf("%d objects are more than can be checked", len(s.facts)-1)
	}
	return s, nil
}

// step says what c does to names st, and whether it can have its outcome.
func (s *nameSpec) step(st nameState, c *call) (nameState, bool) {
	is := st.at[c.op.place]
	status, node := c.outcome.status, s.number[c.outcome.node]
	switch c.op.kind {
	case opCreate, opMkdir, opExclusive:
		if is == 0 {
			if status != vfs.OK || st.made[node/64]&(1<<(node%64)) != 0 {
				return st, false
			}
			st.made[node/64] |= 1 << (node % 64)
			st.at[c.op.place] = node
			return st, true
		}
		if c.op.kind == opExclusive && s.facts[is].verifier == c.op.value {
			return st, status == vfs.OK && node == is
		}
		return st, status == vfs.Exist
	case opLookup:
		if is == 0 {
			return st, status == vfs.NoEnt
		}
		return st, status == vfs.OK && node == is
	case opRemove, opRmdir:
		want := s.removal(is, c.op.kind == opRmdir)
		if want == vfs.OK {
			st.at[c.op.place] = 0
		}
		return st, status == want
	case opRename:
		want := vfs.NoEnt
		if is != 0 {
			if want = vfs.OK; st.at[c.op.to] != 0 {
				want = s.removal(st.at[c.op.to], s.facts[is].isDir)
			}
		}
		if want == vfs.OK {
			st.at[c.op.place], st.at[c.op.to] = 0, is
		}
		return st, status == want
	default: // of data: stepBlock's
		return st, false
	}
}

// removal is what taking away the name of object n gives, a directory being meant or not.
func (s *nameSpec) removal(n uint16, isDir bool) vfs.Status {
	switch {
	case n == 0:
		return vfs.NoEnt
	case isDir && !s.facts[n].isDir:
		return vfs.NotDir
	case !isDir && s.facts[n].isDir:
		return vfs.IsDir
	}
	return vfs.OK
}

// stepBlock is the specification of the block: a register.
func stepBlock(value uint64, c *call) (uint64, bool) {
	if c.op.kind == opWrite {
		return c.op.value, c.outcome.status == vfs.OK
	}
	return value, c.outcome.status == vfs.OK && c.outcome.value == value
}

// check looks for an order of the calls, part by part.
func (r *recorder) check() error {
	spec, err := specOf(r.calls)
	if err != nil {
		return err
	}
	parts, data := partition(r.calls)
	if ok, order := linearize(0, data, stepBlock); !ok {
		return r.unexplained(data, order)
	}
	for _, part := range parts {
		if ok, order := linearize(nameState{}, part, spec.step); !ok {
			return r.unexplained(part, order)
		}
	}
	return nil
}

func (r *recorder) unexplained(calls []call, order []int) error {
	var placed []call
	for _, i := range order {
		placed = append(placed, calls[i])
	}
	return fmt.Errorf("no order explains these calls:\n%sthe longest that does has %d of %d:\n%s", r.text(calls), len(placed), len(calls), r.text(placed))
}

// partition divides calls by places that no rename connects, and data.
func partition(calls []call) (names [][]call, data []call) {
	var group [places]int
	for p := range group {
		group[p] = p
	}
	for _, c := range calls {
		if c.op.kind != opRename {
			continue
		}
		from, to := group[c.op.place], group[c.op.to]
		for p := range group {
			if group[p] == to {
				group[p] = from
			}
		}
	}
	names = make([][]call, places)
	for _, c := range calls {
		if c.op.kind == opRead || c.op.kind == opWrite {
			data = append(data, c)
		} else {
			names[group[c.op.place]] = append(names[group[c.op.place]], c)
		}
	}
	return names, data
}
