package share

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"sheaf/vfs/volume"
	"sheaf/vfs/volume/group"
	"sheaf/vfs/volume/guard"
	"sheaf/vfs/volume/local"
	"sheaf/vfs/volume/meter"
)

// lookTimeout is how long the start waits for directories that do not answer, all together: a disk
// that hangs is away, and does not keep the others from being served. A disk
// that spins up takes some 10 s.
const lookTimeout = 30 * time.Second

// A candidate is a directory that may be a member, or a member whose directory is not known.
type candidate struct {
	cfg    Volume
	place  place         // of cfg.Dir
	fault  error         // why the directory cannot be looked at
	mark   volume.Marker // Format 0: there is none; of a copy: the original's
	copied bool          // the marker was copied here together with the files

	role      role
	misplaced bool   // it carries another member than the one of its name
	id        string // of the volume that it is to be; empty until a new one has been taken in
	why       string // it is away or ignored

	first *local.Volume // opened by the start and not yet handed on
	vol   *guard.Volume // what the share uses

	flushes group.Counter // over all openings
	meter   meter.Meter   // the same; counts nothing unless Config.measures
}

// role is what a candidate is to the share.
type role uint8

// The roles.
const (
	undecided role = iota
	present        // a member, and there
	fresh          // not a volume yet, or a copy of one; to be taken in
	away           // a member, and not there
	ignored        // was removed from the share
)

func (c *candidate) marked() bool { return c.mark.Format != 0 }

// carries is the id of the volume that the directory is itself, and not a copy of.
func (c *candidate) carries() string {
	if c.copied {
		return ""
	}
	return c.mark.Volume
}

// newCandidate reads what a directory says of itself, and touches nothing.
func newCandidate(cfg Volume) *candidate {
	c := &candidate{cfg: cfg}
	if c.place, c.fault = find(fmt.Sprintf("volume %q", cfg.Name), cfg.Dir); c.fault != nil {
		return c
	}
	m, err := local.Inspect(cfg.Name, cfg.Dir)
	switch {
	case err == nil:
		c.mark = m
	case errors.Is(err, local.ErrCopy):
		c.mark, c.copied = m, true
	case !errors.Is(err, local.ErrUnmarked):
		c.fault = err
	}
	return c
}

// survey looks at all directories at once. Those that do not answer within lookTimeout have that as
// their fault; who looks at them ends when the host lets go of it.
func survey(ctx context.Context, volumes []Volume) []*candidate {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	type seen struct {
		i int
		c *candidate
	}
	answers := make(chan seen, len(volumes))
	for i, v := range volumes {
		go func() { answers <- seen{i, newCandidate(v)} }()
	}
	all := make([]*candidate, len(volumes))
	for range volumes {
		select {
		case s := <-answers:
			all[s.i] = s.c
			continue
		case <-ctx.Done():
		}
		break
	}
	for i, v := range volumes {
		if all[i] == nil {
			path := filepath.Clean(v.Dir)
			all[i] = &candidate{
				cfg: v, place: place{what: fmt.Sprintf("volume %q", v.Name), path: path},
				fault: fmt.Errorf("%q did not answer within %s; look after its disk", v.Dir, FormatDuration(lookTimeout)),
			}
		}
	}
	return all
}
