package share

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
)

// Membership. The marker of every volume names the share and all members under
// an epoch; the list with the highest epoch counts. What keeps it true through
// a crash at any point:
//
//	B1  A list names only volumes whose marker is on the disk: a new member's own
//	    marker, with the longer list and a higher epoch, is written first, one
//	    member after the other, and the lists of the others after that.
//	B2  A directory without a marker is never taken for a member, whatever its
//	    name: it may be the mount point of a disk that is not mounted.
//	B3  Nothing is written before everything was checked and every member is locked.

// A candidate is a directory that is to be a member.
type candidate struct {
	cfg    Volume
	mark   volume.Marker // Format 0: there is none; of a copy: the original's
	copied bool          // the marker was copied here together with the files
	vol    *local.Volume // once open
}

func (c *candidate) marked() bool { return c.mark.Format != 0 }

// member reports whether c is a volume already, and not a copy of one.
func (c *candidate) member() bool { return c.marked() && !c.copied }

// identity is what the members of a share have in common.
type identity struct {
	share string // 32 hexadecimal digits
	root  vfs.NodeID
	key   [32]byte
}

// newCandidate reads what a directory says of itself, and touches nothing.
func newCandidate(cfg Volume) (*candidate, error) {
	c := &candidate{cfg: cfg}
	m, err := local.Inspect(cfg.Name, cfg.Dir)
	switch {
	case err == nil:
		c.mark = m
	case errors.Is(err, local.ErrCopy):
		c.mark, c.copied = m, true
	case !errors.Is(err, local.ErrUnmarked):
		return nil, err
	}
	return c, nil
}

// members are the open volumes of one share, in volume order.
type members struct {
	all    []*candidate
	common volume.Marker // what all have in common
	epoch  uint64
	list   []volume.Member
	log    *slog.Logger
}

// openMembers checks that the directories are the members of one share, opens
// them, and takes new ones in if adopt says so.
func openMembers(ctx context.Context, volumes []Volume, adopt bool, log *slog.Logger) (*members, error) {
	m := &members{log: log}
	var errs []error
	for _, cfg := range volumes {
		c, err := newCandidate(cfg)
		m.all, errs = append(m.all, c), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := m.check(adopt); err != nil {
		return nil, err
	}
	if err := m.open(ctx); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// check finds all the reasons why the candidates cannot be one share, and what
// list of members counts.
func (m *members) check(adopt bool) error {
	if err := errors.Join(m.checkMarkers(adopt), m.checkShare()); err != nil {
		return err
	}
	m.findCommon()
	return m.checkPresent()
}

func (m *members) checkMarkers(adopt bool) error {
	var errs []error
	byID := map[string]*candidate{}
	for _, c := range m.all {
		other := byID[c.mark.Volume]
		switch {
		case !c.marked() && !adopt:
			errs = append(errs, refuse(c, "%q is not a volume yet, it has no %s/volume.json; if it is the mount point of a disk, "+
				"mount the disk; to take it into the share as it is, give --adopt (its files are not touched)", c.cfg.Dir, volume.PrivateName))
		case c.copied && !adopt:
			errs = append(errs, refuse(c, "%q is a copy of volume %q, made by a copying program or restored from a backup; "+
				"to take it into the share, in that volume's place if that is not given, give --adopt", c.cfg.Dir, c.mark.Name))
		case c.member() && other != nil:
			errs = append(errs, refuse(c, "it has the id of volume %q, %s: one is a copy of the other, block for block; leave one out, "+
				"or remove %s from the copy and give --adopt", other.cfg.Name, c.mark.Volume, volume.PrivateName))
		}
		if c.member() {
			byID[c.mark.Volume] = c
		}
	}
	return errors.Join(errs...)
}

// checkShare refuses volumes of two shares.
func (m *members) checkShare() error {
	var errs []error
	var first *candidate
	for _, c := range m.all {
		switch {
		case !c.marked():
		case first == nil:
			first = c
		case c.mark.Share != first.mark.Share:
			errs = append(errs, refuse(c, "it belongs to another share (%s) than volume %q (%s); serve the two by two servers, "+
				"or remove %s from the one that is to join and give --adopt", c.mark.Share, first.cfg.Name, first.mark.Share, volume.PrivateName))
		case c.mark.Root != first.mark.Root || c.mark.Key != first.mark.Key:
			errs = append(errs, refuse(c, "its marker contradicts that of volume %q about share %s; restore %s/volume.json from a backup",
				first.cfg.Name, c.mark.Share, volume.PrivateName))
		}
	}
	return errors.Join(errs...)
}

// refuse is the error that names the volume and says why it cannot be served.
func refuse(c *candidate, format string, args ...any) error {
	return &ConfigError{Key: "volumes", Problem: fmt.Sprintf("volume %q: ", c.cfg.Name) + fmt.Sprintf(format, args...)}
}

// findCommon takes share, epoch and members from the marker with the highest epoch; for
// a new share they are drawn.
func (m *members) findCommon() {
	for _, c := range m.all {
		if c.marked() && (m.common.Format == 0 || c.mark.Epoch > m.epoch) {
			m.common, m.epoch, m.list = c.mark, c.mark.Epoch, c.mark.Members
		}
	}
	if m.common.Format == 0 {
		m.common = newShare()
	}
}

// checkPresent refuses to serve a share of which a member is not there.
func (m *members) checkPresent() error {
	var errs []error
	for _, member := range m.list {
		here := func(c *candidate) bool { return c.marked() && c.mark.Volume == member.Volume }
		if !slices.ContainsFunc(m.all, here) {
			errs = append(errs, m.absent(member))
		}
	}
	return errors.Join(errs...)
}

// absent is the error for a member that is not there.
func (m *members) absent(member volume.Member) error {
	for _, c := range m.all {
		if c.cfg.Name == member.Name && !c.marked() {
			return refuse(c, "%q has no marker, but volume %q (id %s) is expected there: is its disk mounted? "+
				"Sheaf does not write to a mount point without its disk", c.cfg.Dir, member.Name, member.Volume)
		}
	}
	return &ConfigError{Key: "volumes", Problem: fmt.Sprintf("volume %q (id %s) is a member of this share and is not given; "+
		"add --volume %s=DIR: this version serves a share only when all its volumes are there", member.Name, member.Volume, member.Name)}
}

// newShare draws id, root and key of a share.
func newShare() volume.Marker {
	var id, root [16]byte
	var key [32]byte
	rand.Read(id[:])
	rand.Read(root[:])
	rand.Read(key[:])
	root[0] |= 1 // a fileid of 0 would be no file
	return volume.Marker{
		Share: hex.EncodeToString(id[:]),
		Root:  hex.EncodeToString(root[:]),
		Key:   hex.EncodeToString(key[:]),
	}
}

// open opens the members, then takes in the new ones, one by one (B1), and then
// brings every list up to date.
func (m *members) open(ctx context.Context) error {
	for _, c := range m.all {
		if !c.member() {
			continue
		}
		if err := c.open(ctx, nil); err != nil {
			return err
		}
		if got := c.vol.Marker(); !sameMarker(&got, &c.mark) {
			return refuse(c, "its marker changed while the server was starting: another server was at work; start again")
		}
	}
	for _, c := range m.all {
		if c.member() {
			continue
		}
		if err := m.adopt(ctx, c); err != nil {
			return err
		}
	}
	return m.update(ctx)
}

// open opens c's volume, writing mark if it has none.
func (c *candidate) open(ctx context.Context, mark *volume.Marker) error {
	v, err := local.Open(ctx, c.cfg.Dir, local.Options{Name: c.cfg.Name, Adopt: mark})
	if err != nil {
		return err
	}
	c.vol = v
	return nil
}

func sameMarker(a, b *volume.Marker) bool {
	return a.Volume == b.Volume && a.Share == b.Share && a.Epoch == b.Epoch && slices.Equal(a.Members, b.Members)
}

// adopt takes c in: a copy in the place of its original if that is not here,
// everything else as a new member.
func (m *members) adopt(ctx context.Context, c *candidate) error {
	id := volume.NewID().String()
	replaces := c.copied && !slices.ContainsFunc(m.all, func(o *candidate) bool { return o != c && o.mark.Volume == c.mark.Volume })
	if replaces {
		id = c.mark.Volume
	}
	if !slices.ContainsFunc(m.list, func(o volume.Member) bool { return o.Volume == id }) {
		m.list = append(slices.Clone(m.list), volume.Member{Volume: id, Name: c.cfg.Name})
		m.epoch++
	}
	mark := m.marker(id, c.cfg.Name)
	if err := c.open(ctx, &mark); err != nil {
		return err
	}
	c.mark, c.copied = c.vol.Marker(), false
	if c.mark.Volume != id {
		return refuse(c, "it became volume %s of share %s while the server was starting: another server was at work; start again", c.mark.Volume, c.mark.Share)
	}
	m.log.Info("volume adopted", "op", "adopt", "volume", c.cfg.Name, "dir", c.cfg.Dir, "id", id, "replaces", replaces)
	return nil
}

// marker is what the marker of a member is to say now.
func (m *members) marker(id, name string) volume.Marker {
	mark := m.common
	mark.Format, mark.Volume, mark.Name = volume.MarkerFormat, id, name
	mark.Epoch, mark.Members, mark.Birth = m.epoch, m.list, volume.Identity{}
	return mark
}

// update gives the list the names that the operator uses now, and every marker that
// does not have it the list. A volume that is mounted read-only keeps an older one,
// which does not count.
func (m *members) update(ctx context.Context) error {
	list := slices.Clone(m.list)
	for i := range list {
		for _, c := range m.all {
			if c.mark.Volume == list[i].Volume {
				list[i].Name = c.cfg.Name
			}
		}
	}
	if !slices.Equal(list, m.list) {
		m.list = list
		m.epoch++
	}
	for _, c := range m.all {
		if c.mark.Epoch == m.epoch && c.mark.Name == c.cfg.Name {
			continue
		}
		if c.vol.Caps().ReadOnly {
			m.log.Warn("marker not brought up to date: the volume is read-only", "op", "mark", "volume", c.cfg.Name)
			continue
		}
		if err := c.vol.SetMarker(ctx, m.marker(c.mark.Volume, c.cfg.Name)); err != nil {
			return err
		}
		c.mark = c.vol.Marker()
	}
	return nil
}

// close closes what is open.
func (m *members) close() error {
	var errs []error
	for _, c := range m.all {
		if c != nil && c.vol != nil {
			errs = append(errs, c.vol.Close())
		}
	}
	return errors.Join(errs...)
}

// parseIdentity reads what a marker says of its share.
func parseIdentity(m *volume.Marker) (identity, error) {
	id := identity{share: m.Share}
	bad := func(what, value string) error {
		return &ConfigError{Key: "volumes", Problem: fmt.Sprintf("the markers of share %s hold a %s that is damaged (%d characters); restore %s/volume.json from a backup",
			m.Share, what, len(value), volume.PrivateName)}
	}
	if b, err := hex.DecodeString(m.Share); err != nil || len(b) != 16 {
		return id, bad("share id", m.Share)
	}
	root, err := hex.DecodeString(m.Root)
	if err != nil || len(root) != len(id.root) {
		return id, bad("root", m.Root)
	}
	key, err := hex.DecodeString(m.Key)
	if err != nil || len(key) != len(id.key) {
		return id, bad("key", m.Key)
	}
	copy(id.root[:], root)
	copy(id.key[:], key)
	if id.root.FileID() == 0 {
		return id, bad("root", m.Root)
	}
	return id, nil
}
