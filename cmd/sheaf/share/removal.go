package share

import (
	"context"
	"errors"
	"fmt"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
)

// Removal is what RemoveVolume is asked for.
type Removal struct {
	Name   string `json:"name"`
	Lost   bool   `json:"lost"`
	DryRun bool   `json:"dry_run"`
}

// Held is an object that a volume holds.
type Held struct {
	Path Text   `json:"path"`           // in the share
	Node string `json:"node,omitempty"` // where it is known
}

// RemoveVolume implements Manager.
func (s *Share) RemoveVolume(ctx context.Context, r Removal, each func(Held)) (Change, error) {
	end, err := s.members.begin(ctx)
	if err != nil {
		return Change{}, err
	}
	defer end()
	c, err := s.member("remove volume", r.Name)
	if err != nil {
		return Change{}, err
	}
	if err := s.mayRemove(c, r); err != nil {
		return Change{}, err
	}
	if each != nil && (r.Lost || r.DryRun) {
		if err := s.held(ctx, c, each); err != nil {
			return Change{}, err
		}
	}
	p := s.union.ScanProgress()
	partial := r.Lost && !p.Whole
	if r.DryRun {
		a := s.answer(c)
		a.Partial = partial
		return a, nil
	}
	a := s.answer(c)
	if c.cfg.Dir != "" {
		a.Do = []string{fmt.Sprintf("delete %q from volumes in the configuration", c.cfg.String())}
	}
	if r.Lost {
		a.Behind, err = s.forget(ctx, c)
	} else {
		err = s.detach(ctx, c, &a)
	}
	if err != nil {
		return Change{}, err
	}
	s.members.part(c)
	if err := c.vol.Close(); err != nil {
		s.log.Warn("what is open of a removed volume cannot be closed yet", "op", "remove", "volume", c.cfg.Name, "err", err)
	}
	s.log.Info("volume removed", "op", "remove", "volume", c.cfg.Name, "dir", c.cfg.Dir, "id", c.id, "lost", r.Lost)
	a.Epoch, a.Mode, a.Changed, a.Partial = s.members.now().epoch, "", true, partial
	return a, nil
}

// held tells each what only c holds: of a volume that is there by looking, else by what the share knows.
func (s *Share) held(ctx context.Context, c *candidate, each func(Held)) error {
	return s.union.Held(ctx, c.vol.ID(), func(path string, n vfs.NodeID) bool {
		h := Held{Path: Text(path)}
		if !n.IsZero() {
			h.Node = n.String()
		}
		each(h)
		return ctx.Err() == nil
	})
}

// mayRemove says why c cannot be removed as r wants.
func (s *Share) mayRemove(c *candidate, r Removal) error {
	refuse := func(format string, args ...any) error {
		return &vfs.Error{Status: vfs.Inval, Op: "remove volume", Object: c.cfg.Name, Err: fmt.Errorf(format, args...)}
	}
	st := c.vol.State()
	online := 0
	for _, o := range s.members.list() {
		if o != c && o.vol.State().Health == volume.Online {
			online++
		}
	}
	switch {
	case online == 0:
		return refuse("no other volume of the share is there to keep the list of volumes")
	case r.DryRun:
	case r.Lost && (st.Health == volume.Online || st.Health == volume.Stalled):
		return refuse("it is there, and only what does not come back is lost: move its files to other volumes and remove it without --lost, or take its disk away first")
	case !r.Lost && st.Health != volume.Online:
		return refuse("it is %s (%s), so what it holds cannot be seen; wait until it is back, or give it up with all it holds: sheaf volume remove %s --lost", st.Health, st.Reason, c.cfg.Name)
	}
	return nil
}

// forget gives up c, which is away: durably first (B4), because from then on its names are absent.
func (s *Share) forget(ctx context.Context, c *candidate) ([]string, error) {
	behind, err := s.members.spread(ctx, s.members.now().drop(c.id, true), c)
	if err == nil {
		err = s.union.RemoveVolume(ctx, c.vol.ID(), true)
	}
	return behind, err
}

// detach takes out c, which is there and must be empty; its marker goes last (B4).
func (s *Share) detach(ctx context.Context, c *candidate, a *Change) (err error) {
	if err := s.union.RemoveVolume(ctx, c.vol.ID(), false); err != nil {
		return err
	}
	r := s.members.now()
	if a.Behind, err = s.members.spread(ctx, r.drop(c.id, false), c); err != nil {
		e := r.member(c.id)
		return errors.Join(err, s.union.AddVolume(ctx, c.vol, c.cfg.Exclusive, e.Mode))
	}
	if err := removeMarker(ctx, c.vol); err != nil {
		s.log.Warn("the marker of a removed volume is left on it", "op", "remove", "volume", c.cfg.Name, "err", err)
		a.Do = append(a.Do, fmt.Sprintf("remove %s/%s from %q, if it is to be used again: %v", volume.PrivateName, local.MarkerName, c.cfg.Dir, err))
	}
	return nil
}

// removeMarker makes v a plain directory again, but for what else is under PrivateName.
func removeMarker(ctx context.Context, v volume.Volume) error {
	if v.Caps().ReadOnly {
		return nil
	}
	err := v.Private().Unlink(ctx, vfs.MustName(local.MarkerName))
	if err == nil {
		err = v.Private().Sync(ctx)
	}
	return err
}
