package share

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"sheaf/vfs/union"
	"sheaf/vfs/volume"
)

// AddVolume implements Manager.
func (s *Share) AddVolume(ctx context.Context, a Addition) (Change, error) {
	v := Volume{Name: a.Name, Dir: a.Dir, Exclusive: a.Exclusive}
	if err := CheckVolumeName(a.Name); err != nil {
		return Change{}, &ConfigError{Key: "volumes", Problem: err.Error()}
	}
	if !filepath.IsAbs(a.Dir) {
		return Change{}, &ConfigError{Key: "volumes", Problem: fmt.Sprintf("volume %q: %q is not an absolute path", a.Name, a.Dir)}
	}
	end, err := s.members.begin(ctx)
	if err != nil {
		return Change{}, err
	}
	defer end()
	c := survey(ctx, []Volume{v})[0]
	instead, err := s.members.decideAddition(c, a.Adopt)
	if err != nil {
		return Change{}, err
	}
	others := slices.DeleteFunc(s.members.list(), func(o *candidate) bool { return o == instead })
	if err := checkDirs(append(others, c), s.cfg.State); err != nil {
		return Change{}, err
	}
	if instead != nil {
		return s.replace(ctx, instead, c)
	}
	return s.addNew(ctx, c)
}

// addNew takes a directory in that is no volume of this share: its own marker goes first (B1).
func (s *Share) addNew(ctx context.Context, c *candidate) (Change, error) {
	m := s.members
	if len(m.list()) >= union.MaxVolumes {
		return Change{}, refuse(c, "the share has %d volumes already, which is the most", union.MaxVolumes)
	}
	id := c.id
	if id == "" {
		id = volume.NewID().String()
	}
	next := m.now().put(volume.Member{Volume: id, Name: c.cfg.Name})
	if err := m.openNew(ctx, c, next, id); err != nil {
		return Change{}, err
	}
	if err := s.guard(c); err != nil {
		return Change{}, err
	}
	m.join(c)
	m.set(next) // its marker is durable
	behind, err := m.spread(ctx, next, c)
	if err == nil {
		err = s.union.AddVolume(ctx, c.vol, c.cfg.Exclusive, volume.ReadWrite)
	}
	if err != nil {
		m.part(c)
		return Change{}, errors.Join(fmt.Errorf("volume %q is a member now, but cannot be served; start the server again with it: %w", c.cfg.Name, err), c.vol.Close())
	}
	s.log.Info("volume added", "op", "add", "volume", c.cfg.Name, "dir", c.cfg.Dir, "id", id)
	a := s.answer(c)
	a.Changed, a.Behind, a.Do = true, behind, []string{configureText(c.cfg)}
	return a, nil
}

// openNew opens c with a marker that says that it is the member id of the roster next.
func (m *members) openNew(ctx context.Context, c *candidate, next roster, id string) error {
	mark := m.marker(next, id, c.cfg.Name)
	if err := c.open(ctx, &mark); err != nil {
		return err
	}
	err := m.bringUp(ctx, c.first, next) // of one that had a marker
	c.id, c.role, c.mark = id, present, c.first.Marker()
	if err == nil && c.mark.Volume != id {
		err = refuse(c, "it became volume %s meanwhile: another server was at work; try again", c.mark.Volume)
	}
	if err != nil {
		return errors.Join(err, c.take().Close())
	}
	return nil
}

// configureText says what line the configuration wants.
func configureText(v Volume) string {
	return fmt.Sprintf("add %q to volumes in the configuration (or give --volume %s), in place of another line for %s: a member that is not configured is away after the next start", v.String(), v, v.Name)
}

// replace says where a member that was away is now: at c, which carries it, or is a copy of it that is to
// take its place.
func (s *Share) replace(ctx context.Context, old, c *candidate) (Change, error) {
	m := s.members
	if c.copied {
		mark := m.marker(m.now(), old.id, old.cfg.Name)
		if err := c.open(ctx, &mark); err != nil {
			return Change{}, err
		}
		if err := c.take().Close(); err != nil {
			return Change{}, err
		}
	}
	m.move(old, c)
	err := old.vol.Attach(ctx)
	if err != nil { // it may have been under way, at the old place
		err = old.vol.Attach(ctx)
	}
	if err != nil {
		return Change{}, fmt.Errorf("volume %q is looked for at %q from now on, and is still away: %w", old.cfg.Name, c.cfg.Dir, err)
	}
	s.log.Info("volume has another place", "op", "add", "volume", old.cfg.Name, "dir", c.cfg.Dir, "id", old.id, "copy", c.copied)
	a := s.answer(old)
	a.Changed, a.Do = true, []string{configureText(old.cfg)}
	return a, nil
}

// move gives old the directory of c.
func (m *members) move(old, c *candidate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old.cfg.Dir, old.place, old.why = c.cfg.Dir, c.place, ""
}
