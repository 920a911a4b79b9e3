package union

import (
	"errors"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// away are the members that cannot be used.
func (u *Union) away() volset {
	m := u.members()
	return m.all &^ m.online
}

// isAway reports whether err says that a volume is away: then nothing was begun.
func isAway(err error) bool {
	_, away := errors.AsType[*volume.AwayError](err)
	return away
}

// knownOf are the volumes whose copies of d have all their names in d's table. Needs d.mu.
func (u *Union) knownOf(d *node) volset {
	t := d.names
	if t == nil {
		return 0
	}
	if m := u.members(); t.since < m.openedAt {
		for _, v := range t.known.list() {
			if m.at[v].openedAt.Load() > t.since {
				t.known = t.known.minus(v)
			}
		}
		t.since = m.openedAt
	}
	return t.known & d.on()
}

// uncertain is distrustName after a change of name in the copies on vols that failed with err; if
// their volume was away nothing was begun.
func (u *Union) uncertain(d *node, name vfs.Name, vols volset, err error) {
	if !isAway(err) {
		u.distrustName(d, name, vols)
	}
}
