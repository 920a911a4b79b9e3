package share

import (
	"errors"
	"fmt"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
)

// decide says what c is to the share, from what its directory says and what the markers
// that are there say of the members.
func (m *members) decide(c *candidate, adopt bool) error {
	switch {
	case errors.Is(c.fault, local.ErrNewer):
		return c.fault
	case c.fault != nil:
		return m.decideAbsent(c, c.fault.Error(), c.refused())
	case c.marked() && c.mark.Share != m.common.Share: // findShare saw to it that it stands for a member
		return m.decideAbsent(c, fmt.Sprintf("%q holds volume %q of another share (%s)", c.cfg.Dir, c.mark.Name, c.mark.Share), nil)
	case !c.marked():
		return m.decideUnmarked(c, adopt)
	case c.copied:
		return m.decideCopy(c, adopt)
	}
	return m.decideMember(c)
}

// refused is the error for c's fault.
func (c *candidate) refused() error {
	if _, ok := errors.AsType[*vfs.Error](c.fault); ok { // it names the volume
		return c.fault
	}
	return refuse(c, "%v", c.fault)
}

// decideAbsent makes c the member of its name, away for the reason why. If there is none, c is one
// that was removed, or refused.
func (m *members) decideAbsent(c *candidate, why string, refused error) error {
	if e := m.missing(c.cfg.Name); e != nil {
		c.role, c.id, c.why = away, e.Volume, why
		return nil
	}
	if gone := m.roster.goneCalled(c.cfg.Name); gone != nil {
		c.role, c.why = ignored, removedText(gone)+"; delete it from the configuration"
		return nil
	}
	return refused
}

// missing is the member called name, if no directory that was given is it.
func (m *members) missing(name string) *volume.Member {
	e := m.roster.called(name)
	if e == nil || slices.ContainsFunc(m.all, func(o *candidate) bool { return o.carries() == e.Volume && !o.misplaced }) {
		return nil
	}
	return e
}

// findMisplaced finds disks at others' mount points. A directory says which volume it is, so names can
// be changed in the configuration, and exchanged. But where the member that has a directory's name is not
// to be seen, what is there instead is more likely mounted at the wrong place.
func (m *members) findMisplaced() {
	for again := true; again; {
		again = false
		for _, c := range m.all {
			e := m.roster.member(c.carries())
			if e == nil || c.misplaced || e.Name == c.cfg.Name || m.missing(c.cfg.Name) == nil {
				continue
			}
			c.misplaced, again = true, true
		}
	}
}

// removedText says when a volume was removed.
func removedText(r *volume.Removed) string {
	how := "removed from the share"
	if r.Lost {
		how = "removed from the share as lost"
	}
	return fmt.Sprintf("volume %q (id %s) was %s at epoch %d", r.Name, r.Volume, how, r.Epoch)
}

// decideUnmarked decides about a directory without a marker (B2).
func (m *members) decideUnmarked(c *candidate, adopt bool) error {
	if e := m.missing(c.cfg.Name); e != nil {
		c.role, c.id, c.why = away, e.Volume, notMounted(c.cfg.Dir, e)
		return nil
	}
	if gone := m.roster.goneCalled(c.cfg.Name); gone != nil {
		c.role, c.why = ignored, fmt.Sprintf("%s; delete it from the configuration, or take the directory in anew with: sheaf volume add %s --adopt", removedText(gone), c.cfg)
		return nil
	}
	if !adopt {
		return refuse(c, "%q is not a volume yet, it has no %s/volume.json; if it is the mount point of a disk, "+
			"mount the disk; to take it into the share as it is, give --adopt (its files are not touched)", c.cfg.Dir, volume.PrivateName)
	}
	c.role = fresh
	return nil
}

// notMounted is what is said of a directory without a marker where a member is expected.
func notMounted(dir string, e *volume.Member) string {
	return fmt.Sprintf("%q has no marker: it is the place of volume %q (id %s) without its disk, and is not written to; "+
		"mount its disk, or if that will never come back: sheaf volume remove %s --lost", dir, e.Name, e.Volume, e.Name)
}

// decideCopy decides about a directory to which a volume was copied with its marker. Adopted, it takes
// its original's place, if that is not given.
func (m *members) decideCopy(c *candidate, adopt bool) error {
	what := fmt.Sprintf("%q is a copy of volume %q, made by a copying program or restored from a backup; "+
		"to take it into the share, in that volume's place if that is not given, give --adopt", c.cfg.Dir, c.mark.Name)
	if !adopt {
		return m.decideAbsent(c, what, refuse(c, "%s", what))
	}
	c.role = fresh
	if e := m.roster.member(c.mark.Volume); e != nil && !slices.ContainsFunc(m.all, func(o *candidate) bool {
		return o != c && (o.mark.Volume == e.Volume || o.cfg.Name == e.Name)
	}) {
		c.id = e.Volume
	}
	return nil
}

// decideMember decides about a directory that says of itself that it is a volume of this share.
func (m *members) decideMember(c *candidate) error {
	for _, o := range m.all {
		if o == c {
			break
		}
		if o.carries() == c.mark.Volume {
			return refuse(c, "it has the id of volume %q, %s: one is a copy of the other, block for block; leave one out, "+
				"or remove %s/volume.json from the copy and give --adopt", o.cfg.Name, c.mark.Volume, volume.PrivateName)
		}
	}
	if gone := m.roster.gone(c.mark.Volume); gone != nil {
		c.role, c.why = ignored, removedDisk(c.cfg, gone)
		return nil
	}
	e := m.roster.member(c.mark.Volume)
	if e == nil {
		return refuse(c, "its marker does not name itself among the members of share %s; restore %s/volume.json from a backup", c.mark.Share, volume.PrivateName)
	}
	if c.misplaced {
		c.role, c.id = away, m.missing(c.cfg.Name).Volume
		c.why = fmt.Sprintf("%q holds volume %q (id %s) instead; mount each disk at its own place, or correct the configuration", c.cfg.Dir, e.Name, e.Volume)
		return nil
	}
	c.role, c.id = present, c.mark.Volume
	return nil
}

// removedDisk says what to do about a disk that was removed and has come back.
func removedDisk(cfg Volume, gone *volume.Removed) string {
	return fmt.Sprintf("%q holds a disk that came back: %s; what it holds is not in the share. Delete it from the configuration; "+
		"or to take its files in as they are, remove %s/volume.json from it, and: sheaf volume add %s --adopt", cfg.Dir, removedText(gone), volume.PrivateName, cfg)
}

// decideAddition says whether c can be added to a share that is open; instead is the member that is away
// and is to be found there from now on.
func (m *members) decideAddition(c *candidate, adopt bool) (instead *candidate, err error) {
	r := m.now()
	named := m.find(c.cfg.Name)
	switch {
	case c.fault != nil:
		return nil, c.refused()
	case c.marked() && c.mark.Share != m.common.Share:
		return nil, refuse(c, "it belongs to another share (%s); to take its files in as they are, stop that share's server, remove %s/volume.json from it and give --adopt", c.mark.Share, volume.PrivateName)
	case c.marked() && !c.copied:
		return m.decideReturn(c, r, named)
	case named != nil && !isAway(named) && c.copied && c.mark.Volume == named.id:
		return nil, refuse(c, "%q is a copy of it, and it is served from %q; to let the copy take its place, take that away first", c.cfg.Dir, named.cfg.Dir)
	case named != nil && !isAway(named):
		return nil, refuse(c, "another volume has that name, at %q; choose another", named.cfg.Dir)
	case named != nil && c.copied && c.mark.Volume == named.id && adopt:
		return named, nil
	case named != nil && c.copied && c.mark.Volume == named.id:
		return nil, refuse(c, "%q is a copy of it, and it is away; to let the copy take its place, give --adopt", c.cfg.Dir)
	case named != nil:
		return nil, refuse(c, "%s", notMounted(c.cfg.Dir, &volume.Member{Volume: named.id, Name: named.cfg.Name}))
	case !adopt && c.copied:
		return nil, refuse(c, "%q is a copy of volume %q; to take it into the share as a volume of its own give --adopt, "+
			"and under the name of that volume, if it is away, to take its place", c.cfg.Dir, c.mark.Name)
	case !adopt:
		return nil, refuse(c, "%q is not a volume yet, it has no %s/volume.json; to take it into the share as it is, give --adopt (its files are not touched)", c.cfg.Dir, volume.PrivateName)
	}
	return nil, nil
}

// decideReturn is decideAddition for a volume of this share.
func (m *members) decideReturn(c *candidate, r roster, named *candidate) (*candidate, error) {
	if gone := r.gone(c.mark.Volume); gone != nil {
		return nil, refuse(c, "%s", removedDisk(c.cfg, gone))
	}
	is := m.byID(c.mark.Volume)
	switch {
	case is == nil && m.added(c, r) && named == nil: // an addition was cut short after its own marker
		c.id = c.mark.Volume
		return nil, nil
	case is == nil:
		return nil, refuse(c, "it knows of changes of the list of volumes that this server does not (epoch %d): stop the server and start it with this volume", c.mark.Epoch)
	case !isAway(is):
		return nil, refuse(c, "it is volume %q, which is served from %q; to serve it from another place, take it away there first", is.cfg.Name, is.cfg.Dir)
	case is != named:
		return nil, refuse(c, "it is volume %q of this share; give it that name", is.cfg.Name)
	}
	return is, nil
}

// added reports whether c's marker differs from r by c being a member too, and by nothing else.
func (m *members) added(c *candidate, r roster) bool {
	all := merge(r, rosterOf(&c.mark))
	e := all.member(c.mark.Volume)
	if e == nil || e.Name != c.cfg.Name {
		return false
	}
	rest := slices.DeleteFunc(slices.Clone(all.members), func(o volume.Member) bool { return o.Volume == e.Volume })
	return slices.Equal(rest, r.members) && slices.Equal(all.removed, r.removed)
}

// isAway reports whether c is a member that is not to be seen.
func isAway(c *candidate) bool { return c.vol.State().Health == volume.Away }
