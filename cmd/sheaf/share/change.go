package share

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/union"
	"sheaf/vfs/volume"
)

// spreadWait is how long a change of the list of members waits for the last volumes to take it, after
// one has it durably. Those that are later get it when they come, or at the next start.
const spreadWait = 10 * time.Second

// begin keeps others from changing the members until end.
func (m *members) begin(ctx context.Context) (end func(), err error) {
	select {
	case <-m.changing:
		return func() { m.changing <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("another change of the volumes is under way: %w", context.Cause(ctx))
	}
}

// now is the roster that counts.
func (m *members) now() roster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roster
}

func (m *members) set(r roster) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roster = r
}

// list is a copy of the members, in volume order.
func (m *members) list() []*candidate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.all)
}

// Configured is what the configuration should say of the volumes: those of the share whose directory is known, in order.
func (s *Share) Configured() []Volume {
	var all []Volume
	for _, c := range s.members.list() {
		if v := s.members.placeOf(c); v.Dir != "" {
			all = append(all, v)
		}
	}
	return all
}

// placeOf is c's configuration; its directory may change while the share is open.
func (m *members) placeOf(c *candidate) Volume {
	m.mu.Lock()
	defer m.mu.Unlock()
	return c.cfg
}

// byID is the member with that id, or nil.
func (m *members) byID(id string) *candidate {
	for _, c := range m.list() {
		if c.id == id {
			return c
		}
	}
	return nil
}

// join adds c to the members.
func (m *members) join(c *candidate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(slices.Clip(m.all), c)
}

// part takes c out of the members.
func (m *members) part(c *candidate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = slices.DeleteFunc(slices.Clone(m.all), func(o *candidate) bool { return o == c })
}

// spread writes the roster next to every member that is online, but not to without. The first volume
// that has it durably decides, and the roster counts from then on; volumes that
// do not get it are named in behind. An error: none has it. Needs begin.
func (m *members) spread(ctx context.Context, next roster, without *candidate) (behind []string, err error) {
	ctx = context.WithoutCancel(ctx) // who asked may go; half of the volumes with the list would be no better
	done := map[*candidate]bool{without: true}
	results := make(chan written, union.MaxVolumes)
	running := m.write(ctx, next, done, results)
	var errs []error
	decided := false
	var late <-chan time.Time
	for running > 0 {
		select {
		case w := <-results:
			running--
			if w.err != nil {
				errs = append(errs, w.err)
				behind = append(behind, w.c.cfg.Name)
				continue
			}
			if decided {
				continue
			}
			decided = true
			m.set(next)
			timer := time.NewTimer(spreadWait)
			defer timer.Stop()
			late = timer.C
			running += m.write(ctx, next, done, results) // who came since the first look has the old list
		case <-late:
			for _, c := range m.list() {
				if mark := c.vol.Marker(); c != without && done[c] && !rosterOf(&mark).same(next) && !slices.Contains(behind, c.cfg.Name) {
					behind = append(behind, c.cfg.Name)
				}
			}
			running = 0
		}
	}
	if !decided {
		r := m.now()
		r.epoch = next.epoch // a volume may have the list all the same: its epoch is used up
		m.set(r)
		return nil, m.notSpread(errs)
	}
	for _, err := range errs {
		m.log.Warn("a volume did not take the new list of volumes; it gets it when it comes back, or at the next start", "op", "mark", "epoch", next.epoch, "err", err)
	}
	return behind, nil
}

func (m *members) notSpread(errs []error) error {
	if len(errs) == 0 {
		errs = []error{errors.New("none that can be written to is there")}
	}
	return &vfs.Error{
		Status: vfs.IO, Op: "write the list of volumes", Err: fmt.Errorf("no volume took it: %w", errors.Join(errs...)),
		Do: "nothing was changed; try again when one is well",
	}
}

// written is the outcome of one marker.
type written struct {
	c   *candidate
	err error
}

// write begins to bring up the markers of all who are online and not yet done, and says how many. Each
// ends with its volume's call.
func (m *members) write(ctx context.Context, next roster, done map[*candidate]bool, results chan<- written) int {
	n := 0
	for _, c := range m.list() {
		if done[c] || c.vol.State().Health != volume.Online || c.vol.Caps().ReadOnly {
			continue
		}
		done[c] = true
		n++
		go func() { results <- written{c, m.bringUp(ctx, c.vol, next)} }()
	}
	return n
}
