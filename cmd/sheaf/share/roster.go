package share

import (
	"cmp"
	"slices"

	"sheaf/vfs/volume"
)

// A roster is who belongs to the share, as a marker has it: the members, how each may be used,
// and who was one. Every change raises the epoch, and stamps the entry that changed with
// it. Rosters are values: what changes one makes another.
type roster struct {
	epoch   uint64
	members []volume.Member
	removed []volume.Removed
}

func rosterOf(m *volume.Marker) roster { return roster{m.Epoch, m.Members, m.Removed} }

// same reports whether a marker with r need not be written again to have o.
func (r roster) same(o roster) bool {
	return r.epoch == o.epoch && slices.Equal(r.members, o.members) && slices.Equal(r.removed, o.removed)
}

// member is the entry of a member, or nil.
func (r roster) member(id string) *volume.Member {
	i := slices.IndexFunc(r.members, func(m volume.Member) bool { return m.Volume == id })
	if i < 0 {
		return nil
	}
	return &r.members[i]
}

// called is the first member that the operator called name, or nil.
func (r roster) called(name string) *volume.Member {
	i := slices.IndexFunc(r.members, func(m volume.Member) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return &r.members[i]
}

// gone is the entry of a volume that was removed, or nil.
func (r roster) gone(id string) *volume.Removed {
	i := slices.IndexFunc(r.removed, func(m volume.Removed) bool { return m.Volume == id })
	if i < 0 {
		return nil
	}
	return &r.removed[i]
}

// goneCalled is the volume of that name that was removed last, or nil.
func (r roster) goneCalled(name string) *volume.Removed {
	var last *volume.Removed
	for i := range r.removed {
		if e := &r.removed[i]; e.Name == name && (last == nil || e.Epoch > last.Epoch) {
			last = e
		}
	}
	return last
}

// put is r with m as a new member, or in the place of what it said of it.
func (r roster) put(m volume.Member) roster {
	r.epoch++
	m.Epoch = r.epoch
	r.members = slices.Clone(r.members)
	if i := slices.IndexFunc(r.members, func(o volume.Member) bool { return o.Volume == m.Volume }); i >= 0 {
		r.members[i] = m
	} else {
		r.members = append(r.members, m)
	}
	return r
}

// drop is r without the member id.
func (r roster) drop(id string, lost bool) roster {
	m := r.member(id)
	if m == nil {
		return r
	}
	r.epoch++
	r.removed = append(slices.Clip(r.removed), volume.Removed{Volume: id, Name: m.Name, Epoch: r.epoch, Lost: lost})
	r.members = slices.DeleteFunc(slices.Clone(r.members), func(o volume.Member) bool { return o.Volume == id })
	return r
}

// merge is what several rosters of one share say together. Of each volume the entry that changed
// last counts, and once removed is removed. In the ordinary case one of them descends
// from all others and is the result. Where changes were made on different volumes
// while others were away, none does: the result then has an epoch of its own.
func merge(all ...roster) roster {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b roster) int { return cmp.Compare(b.epoch, a.epoch) })
	if len(all) == 0 {
		return roster{}
	}
	newest := all[0]
	m := roster{newest.epoch, slices.Clone(newest.members), slices.Clone(newest.removed)}
	for _, o := range all[1:] {
		for _, e := range o.removed {
			m.learnGone(e)
		}
		for _, e := range o.members {
			m.learn(e)
		}
	}
	if !m.same(newest) {
		m.epoch++
	}
	return m
}

// learn takes what another roster says of a member.
func (r *roster) learn(e volume.Member) {
	if r.gone(e.Volume) != nil {
		return
	}
	have := r.member(e.Volume)
	switch {
	case have == nil:
		r.members = append(r.members, e)
	case newer(e, *have):
		*have = e
	}
}

// newer reports whether a counts and not b. Of two that changed at one epoch the one that
// allows less does.
func newer(a, b volume.Member) bool {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Mode, b.Mode), cmp.Compare(a.Name, b.Name)) > 0
}

// learnGone takes what another roster says of a volume that was removed.
func (r *roster) learnGone(e volume.Removed) {
	r.members = slices.DeleteFunc(r.members, func(m volume.Member) bool { return m.Volume == e.Volume })
	have := r.gone(e.Volume)
	switch {
	case have == nil:
		r.removed = append(r.removed, e)
	case e.Epoch > have.Epoch:
		*have = e
	}
}
