package share

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"sheaf/vfs"
	"sheaf/vfs/union"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
)

// Membership. The marker of every volume names the share and all members under
// an epoch; what the markers say together counts (see roster). What keeps it true through
// a crash at any point:
//
//	B1  A list names only volumes whose marker is on the disk: a new member's own
//	    marker, with the longer list and a higher epoch, is written first, one
//	    member after the other, and the lists of the others after that.
//	B2  A directory without a marker is never taken for a member, whatever its
//	    name: it may be the mount point of a disk that is not mounted. It is never
//	    written to while a member is expected there, adoption or not.
//	B3  Nothing is written before everything was checked and every member that is there is
//	    locked.
//	B4  A member that is removed stays listed as removed, and the list that says so is durable on
//	    one volume before the share forgets anything. Its own marker goes last.
//
// A member that is not there when the share is opened is away, like one that goes later: its directory
// is missing, has no marker, or holds another disk. One that is not configured is away, too.
// A member that comes gets the list before anything of it is served (admit).

// identity is what the members of a share have in common.
type identity struct {
	share string // 32 hexadecimal digits
	fsid  uint64 // of everything in the share: the first half of share
	root  vfs.NodeID
	key   [32]byte
}

// members are the volumes of one share, in volume order.
type members struct {
	log    *slog.Logger
	common volume.Marker // what all have in common

	changing chan struct{} // holds a token while nobody changes the roster

	mu      sync.Mutex   // guards what follows; held for memory only
	all     []*candidate // every member has one, also one that is not configured
	ignored []*candidate
	roster  roster
}

func newMembers(all []*candidate, log *slog.Logger) *members {
	m := &members{all: all, log: log, changing: make(chan struct{}, 1)}
	m.changing <- struct{}{}
	return m
}

// openMembers checks that the directories are members of one share, opens those that are there,
// and takes new ones in if adopt says so. It changes the candidates.
func openMembers(ctx context.Context, all []*candidate, adopt bool, log *slog.Logger) (*members, error) {
	m := newMembers(all, log)
	if err := m.check(adopt); err != nil {
		return nil, err
	}
	if err := m.open(ctx); err != nil {
		return nil, errors.Join(err, m.close())
	}
	m.explain()
	return m, nil
}

// check finds what each candidate is to the share, or all the reasons why they cannot be one.
func (m *members) check(adopt bool) error {
	if err := m.findShare(adopt); err != nil {
		return err
	}
	m.findMisplaced()
	var errs []error
	for _, c := range m.all {
		errs = append(errs, m.decide(c, adopt))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.sort()
	return m.checkPresent()
}

// findShare takes from the markers which share it is, and what they say together of its members; for
// a new share it is drawn. Volumes of two shares are refused, unless one share explains
// them: then the others are strange disks in the places of its members.
func (m *members) findShare(adopt bool) error {
	shares := map[string]roster{}
	var order []*candidate // the first of each share
	for _, c := range m.all {
		if !c.marked() {
			continue
		}
		r, known := shares[c.mark.Share]
		if !known {
			order = append(order, c)
			shares[c.mark.Share] = rosterOf(&c.mark)
			continue
		}
		shares[c.mark.Share] = merge(r, rosterOf(&c.mark))
	}
	if len(order) == 0 {
		m.common = newShare()
		return nil
	}
	first := order[0]
	if len(order) > 1 {
		explained := slices.DeleteFunc(order, func(o *candidate) bool { return !m.explains(o.mark.Share, shares[o.mark.Share], adopt) })
		if len(explained) != 1 {
			return m.twoShares(first)
		}
		first = explained[0]
	}
	m.common, m.roster = first.mark, shares[first.mark.Share]
	return m.checkCommon(first)
}

// explains reports whether every candidate is a member of that share, or in the place of one.
func (m *members) explains(share string, r roster, adopt bool) bool {
	return !slices.ContainsFunc(m.all, func(c *candidate) bool {
		return c.mark.Share != share && r.called(c.cfg.Name) == nil && (c.marked() || !adopt)
	})
}

// twoShares refuses volumes of several shares.
func (m *members) twoShares(first *candidate) error {
	var errs []error
	for _, c := range m.all {
		if c.marked() && c.mark.Share != first.mark.Share {
			errs = append(errs, refuse(c, "it belongs to another share (%s) than volume %q (%s); serve the two by two servers, "+
				"or remove %s from the one that is to join and give --adopt", c.mark.Share, first.cfg.Name, first.mark.Share, volume.PrivateName))
		}
	}
	return errors.Join(errs...)
}

// checkCommon refuses volumes that contradict first about their share.
func (m *members) checkCommon(first *candidate) error {
	var errs []error
	for _, c := range m.all {
		if c.marked() && c.mark.Share == m.common.Share && (c.mark.Root != m.common.Root || c.mark.Key != m.common.Key) {
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

// sort takes those that are ignored out of the members, and adds the members that are not configured.
func (m *members) sort() {
	var all []*candidate
	for _, c := range m.all {
		if c.role == ignored {
			m.ignored = append(m.ignored, c)
		} else {
			all = append(all, c)
		}
	}
	for _, e := range m.roster.members {
		if !slices.ContainsFunc(all, func(c *candidate) bool { return c.id == e.Volume }) {
			all = append(all, unconfigured(e, all))
		}
	}
	m.all = all
}

// unconfigured stands for a member that is not configured. Its name is that of the list, unless another
// has that by now.
func unconfigured(e volume.Member, others []*candidate) *candidate {
	c := &candidate{cfg: Volume{Name: e.Name}, role: away, id: e.Volume}
	for n := 4; slices.ContainsFunc(others, func(o *candidate) bool { return o.cfg.Name == c.cfg.Name }); n++ {
		c.cfg.Name = e.Name + "-" + e.Volume[:n]
	}
	c.why = fmt.Sprintf("it is a member of this share and is not configured; give --volume %s=DIR, or forget it with: sheaf volume remove %s --lost", e.Name, c.cfg.Name)
	return c
}

// checkPresent demands that there is something to serve, and not too much.
func (m *members) checkPresent() error {
	if n := len(m.all); n > union.MaxVolumes {
		return &ConfigError{Key: "volumes", Problem: fmt.Sprintf("%d are given or are members of the share, which has at most %d", n, union.MaxVolumes)}
	}
	if slices.ContainsFunc(m.all, func(c *candidate) bool { return c.role == present || c.role == fresh }) {
		return nil
	}
	errs := []error{&ConfigError{Key: "volumes", Problem: "none of the share's volumes is there"}}
	for _, c := range append(slices.Clone(m.all), m.ignored...) {
		errs = append(errs, refuse(c, "%s", c.why))
	}
	return errors.Join(errs...)
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

// open opens the members that are there, then takes in the new ones, one by one (B1), and then
// brings every list up to date.
func (m *members) open(ctx context.Context) error {
	for _, c := range m.all {
		if c.role != present {
			continue
		}
		if err := c.open(ctx, nil); err != nil {
			return err
		}
		if got := c.first.Marker(); !sameMarker(&got, &c.mark) {
			return refuse(c, "its marker changed while the server was starting: another server was at work; start again")
		}
	}
	for _, c := range m.all {
		if c.role != fresh {
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
	c.first = v
	return nil
}

func sameMarker(a, b *volume.Marker) bool {
	return a.Volume == b.Volume && a.Share == b.Share && rosterOf(a).same(rosterOf(b))
}

// adopt takes c in: a copy in the place of its original if that is not here,
// everything else as a new member.
func (m *members) adopt(ctx context.Context, c *candidate) error {
	id := c.id
	if id == "" {
		id = volume.NewID().String()
		m.roster = m.roster.put(volume.Member{Volume: id, Name: c.cfg.Name})
	}
	mark := m.marker(m.roster, id, c.cfg.Name)
	if err := c.open(ctx, &mark); err != nil {
		return err
	}
	replaces := c.copied && c.id != ""
	c.mark, c.copied = c.first.Marker(), false
	if c.mark.Volume != id {
		return refuse(c, "it became volume %s of share %s while the server was starting: another server was at work; start again", c.mark.Volume, c.mark.Share)
	}
	c.id, c.role = id, present
	m.log.Info("volume adopted", "op", "adopt", "volume", c.cfg.Name, "dir", c.cfg.Dir, "id", id, "replaces", replaces)
	return nil
}

// marker is what the marker of a member is to say with the roster r.
func (m *members) marker(r roster, id, name string) volume.Marker {
	mark := m.common
	mark.Format, mark.Volume, mark.Name = volume.MarkerFormat, id, name
	mark.Epoch, mark.Members, mark.Removed, mark.Birth = r.epoch, r.members, r.removed, volume.Identity{}
	return mark
}

// update gives the list the names that the operator uses now, and every marker that
// does not have it the list.
func (m *members) update(ctx context.Context) error {
	for _, c := range m.all {
		if e := m.roster.member(c.id); c.role == present && e != nil && e.Name != c.cfg.Name {
			renamed := *e
			renamed.Name = c.cfg.Name
			m.roster = m.roster.put(renamed)
		}
	}
	for _, c := range m.all {
		if c.role != present {
			continue
		}
		if err := m.bringUp(ctx, c.first, m.roster); err != nil {
			return err
		}
		c.mark = c.first.Marker()
	}
	return nil
}

// bringUp writes the marker of v if it does not say what r and v's name do. A volume that is
// mounted read-only keeps an older list, which does not count.
func (m *members) bringUp(ctx context.Context, v volume.Volume, r roster) error {
	mark := v.Marker()
	if rosterOf(&mark).same(r) && mark.Name == v.Name() {
		return nil
	}
	if v.Caps().ReadOnly {
		m.log.Warn("marker not brought up to date: the volume is read-only", "op", "mark", "volume", v.Name())
		return nil
	}
	return v.SetMarker(ctx, m.marker(r, mark.Volume, v.Name()))
}

// explain says of each member that is away, and of each directory that is not served, why.
func (m *members) explain() {
	for _, c := range m.all {
		if c.role == away {
			m.log.Warn("a volume is away; the others are served", "op", "start", "volume", c.cfg.Name, "dir", c.cfg.Dir, "id", c.id, "why", c.why)
		}
	}
	for _, c := range m.ignored {
		m.log.Warn("a configured directory is not served", "op", "start", "volume", c.cfg.Name, "dir", c.cfg.Dir, "why", c.why)
	}
}

// find is the member called name, or nil.
func (m *members) find(name string) *candidate {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.all {
		if c.cfg.Name == name {
			return c
		}
	}
	return nil
}

// close closes every volume, all at once: each may wait for calls that are under way.
func (m *members) close() error {
	errs := make([]error, 2*len(m.all))
	var wg sync.WaitGroup
	for i, c := range m.all {
		wg.Go(func() {
			if c.vol != nil {
				errs[2*i] = c.vol.Close()
			}
			if v := c.take(); v != nil { // not handed on
				errs[2*i+1] = v.Close()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// take hands on what open opened, once.
func (c *candidate) take() *local.Volume {
	v := c.first
	c.first = nil
	return v
}

// parseIdentity reads what a marker says of its share.
func parseIdentity(m *volume.Marker) (identity, error) {
	id := identity{share: m.Share}
	bad := func(what, value string) error {
		return &ConfigError{Key: "volumes", Problem: fmt.Sprintf("the markers of share %s hold a %s that is damaged (%d characters); restore %s/volume.json from a backup",
			m.Share, what, len(value), volume.PrivateName)}
	}
	share, err := hex.DecodeString(m.Share)
	if err != nil || len(share) != 16 {
		return id, bad("share id", m.Share)
	}
	id.fsid = binary.BigEndian.Uint64(share)
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
