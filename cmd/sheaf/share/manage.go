package share

import (
	"context"
	"errors"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Addition is what AddVolume is asked for.
type Addition struct {
	Name      string `json:"name"`
	Dir       string `json:"dir"` // absolute
	Exclusive bool   `json:"exclusive"`
	Adopt     bool   `json:"adopt"` // take it even if it is not a volume yet, or a copy of one
}

// ModeChange is what SetMode is asked for.
type ModeChange struct {
	Name string `json:"name"`
	Mode string `json:"mode"`
}

// Change is what became of the share's volumes.
type Change struct {
	Version int    `json:"version"` // APIVersion
	Name    string `json:"name"`
	ID      string `json:"id"`
	Mode    string `json:"mode,omitempty"`
	Epoch   uint64 `json:"epoch"` // of the list of volumes
	Changed bool   `json:"changed"`
	// Behind are the volumes that are there and do not have the list yet.
	Behind []string `json:"behind,omitempty"`
	// Partial says of a volume that was given up that it may have held more than was listed: not all that is on the
	// volumes was known.
	Partial bool `json:"partial,omitempty"`
	// Do says what the operator has to do now, a sentence each.
	Do []string `json:"do,omitempty"`
}

// answer begins a Change about c.
func (s *Share) answer(c *candidate) Change {
	r := s.members.now()
	a := Change{Version: APIVersion, Name: c.cfg.Name, ID: c.id, Epoch: r.epoch}
	if e := r.member(c.id); e != nil {
		a.Mode = e.Mode.String()
	}
	return a
}

// CheckMode says what is wrong with a mode that SetMode is to be asked for.
func CheckMode(mode string) error {
	_, err := parseMode(mode)
	return err
}

func parseMode(mode string) (volume.Mode, error) {
	m, err := volume.ParseMode(mode)
	if err != nil {
		return m, &ConfigError{Problem: err.Error()}
	}
	return m, nil
}

// SetMode implements Manager.
func (s *Share) SetMode(ctx context.Context, name, mode string) (Change, error) {
	to, err := parseMode(mode)
	if err != nil {
		return Change{}, err
	}
	end, err := s.members.begin(ctx)
	if err != nil {
		return Change{}, err
	}
	defer end()
	c, err := s.member("set mode of volume", name)
	if err != nil {
		return Change{}, err
	}
	r := s.members.now()
	e := r.member(c.id)
	if e == nil {
		return Change{}, &vfs.Error{Status: vfs.ServerFault, Op: "set mode of volume", Object: name, Err: errors.New("it is not in the list of members")}
	}
	if e.Mode == to {
		return s.answer(c), nil
	}
	changed := *e
	changed.Mode = to
	behind, err := s.members.spread(ctx, r.put(changed), nil)
	if err == nil {
		err = s.union.SetMode(c.vol.ID(), to)
	}
	if err != nil {
		return Change{}, err
	}
	s.log.Info("volume has another mode", "op", "mode", "volume", name, "from", e.Mode, "to", to)
	a := s.answer(c)
	a.Changed, a.Behind = true, behind
	return a, nil
}

// member is the member called name. NoEnt, and who it was if it was removed, if there is none.
func (s *Share) member(op, name string) (*candidate, error) {
	if c := s.members.find(name); c != nil {
		return c, nil
	}
	err := errors.New("the share has no volume of that name; see: sheaf volume list")
	if gone := s.members.now().goneCalled(name); gone != nil {
		err = errors.New(removedText(gone))
	}
	return nil, &vfs.Error{Status: vfs.NoEnt, Op: op, Object: name, Err: err}
}
