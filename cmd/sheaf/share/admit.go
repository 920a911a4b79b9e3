package share

import (
	"context"
	"errors"
	"fmt"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
)

// opener opens a member that was away, as often as it is asked for.
func (m *members) opener(c *candidate) func(context.Context) (*local.Volume, error) {
	return func(ctx context.Context) (*local.Volume, error) {
		m.mu.Lock()
		cfg, id, why := c.cfg, c.id, c.why
		m.mu.Unlock()
		if cfg.Dir == "" {
			return nil, errors.New(why)
		}
		// Opening writes to the volume (its lock, a probe): not before it is known to be ours.
		mark, err := local.Inspect(cfg.Name, cfg.Dir)
		if errors.Is(err, local.ErrUnmarked) {
			return nil, errors.New(notMounted(cfg.Dir, &volume.Member{Volume: id, Name: cfg.Name}))
		}
		if err != nil {
			return nil, err
		}
		m.mu.Lock()
		r := m.roster
		m.mu.Unlock()
		if err := m.recognize(r, &mark, id, cfg.Dir); err != nil {
			return nil, err
		}
		v, err := local.Open(ctx, cfg.Dir, local.Options{Name: cfg.Name})
		if err != nil {
			return nil, err
		}
		if err := m.admit(ctx, c, v); err != nil {
			return nil, errors.Join(err, v.Close())
		}
		return v, nil
	}
}

// admit refuses v if it is not the member c, or knows of changes that this share does not, and
// else brings its marker up to date. Nobody knows v yet.
func (m *members) admit(ctx context.Context, c *candidate, v *local.Volume) error {
	m.mu.Lock()
	r, id, dir := m.roster, c.id, c.cfg.Dir
	m.mu.Unlock()
	for {
		mark := v.Marker()
		if err := m.recognize(r, &mark, id, dir); err != nil {
			return &vfs.Error{Status: vfs.NXIO, Op: "admit", Volume: v.Name(), Err: err}
		}
		if err := m.bringUp(ctx, v, r); err != nil {
			return err
		}
		// Who changes the list sets it before he asks who is there: either v is seen by him, or the
		// change is seen here.
		m.mu.Lock()
		now := m.roster
		m.mu.Unlock()
		if now.same(r) {
			return nil
		}
		r = now
	}
}

// recognize says why the volume with that marker cannot be the member id of a share with the roster r.
func (m *members) recognize(r roster, mark *volume.Marker, id, dir string) error {
	if mark.Share != m.common.Share {
		return fmt.Errorf("%q holds volume %q of another share (%s)", dir, mark.Name, mark.Share)
	}
	if gone := r.gone(mark.Volume); gone != nil {
		return errors.New(removedDisk(Volume{Name: mark.Name, Dir: dir}, gone))
	}
	if mark.Volume != id {
		return fmt.Errorf("%q holds volume %q (id %s) instead; mount each disk at its own place", dir, mark.Name, mark.Volume)
	}
	if !merge(r, rosterOf(mark)).same(r) {
		return fmt.Errorf("it knows of changes of the list of volumes (epoch %d) that were made while the others were away (epoch %d): start the server again with it there", mark.Epoch, r.epoch)
	}
	return nil
}

// catchUp gives a volume that answers again the list of members, if it changed meanwhile. It ends with the
// volume's calls.
func (m *members) catchUp(c *candidate) {
	for r := m.now(); ; {
		if m.byID(c.id) != c || r.member(c.id) == nil {
			return // it is being added, or was removed
		}
		if err := m.bringUp(context.Background(), c.vol, r); err != nil {
			m.log.Warn("a volume did not take the new list of volumes; it gets it when it comes back, or at the next start", "op", "mark", "volume", c.vol.Name(), "epoch", r.epoch, "err", err)
			return
		}
		// It may have been written over what a change has written meanwhile.
		now := m.now()
		if now.same(r) {
			return
		}
		r = now
	}
}
