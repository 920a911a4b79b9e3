package union

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// members are the volumes of the share at a moment. They are replaced as a whole, under roster.mu, and
// never changed.
type members struct {
	vols     []*vol           // in order of position, which is the order of volumes
	at       [MaxVolumes]*vol // by position, also those that were removed: positions are not used again
	next     int              // the next position to be given
	all      volset           // the positions of vols
	online   volset           // those of them that can be used
	exempt   bool             // every volume is exclusive
	openedAt int64            // when one was opened last
	cameAt   int64            // when one of online was not before: what is older was known without it
}

// roster holds the members and who changes them.
type roster struct {
	now atomic.Pointer[members]
	mu  sync.Mutex // who changes them; held for memory only

	closed bool // nothing may be spawned any more; guarded by mu
}

// members are the volumes of the share as they are now.
func (u *Union) members() *members { return u.roster.now.Load() }

// all are the positions of the members.
func (u *Union) all() volset { return u.members().all }

// online are the positions of the members that can be used.
func (u *Union) online() volset { return u.members().online }

// exempt reports whether nobody but us changes any volume.
func (u *Union) exempt() bool { return u.members().exempt }

// believed reports whether what was seen at the time at may be told at the time now.
func (u *Union) believed(at, now int64) bool {
	m := u.members()
	return at > m.cameAt && (m.exempt || now-at < u.trust)
}

// vol is the volume at a position that was given once.
func (u *Union) vol(i int) *vol { return u.members().at[i] }

// change replaces the members by what f makes of a copy of them.
func (u *Union) change(f func(m *members)) {
	u.roster.mu.Lock()
	defer u.roster.mu.Unlock()
	m := &members{}
	if old := u.roster.now.Load(); old != nil {
		*m = *old
		m.vols = slices.Clone(old.vols)
	}
	f(m)
	m.exempt = true
	for _, v := range m.vols {
		m.exempt = m.exempt && v.exclusive
	}
	u.roster.now.Store(m)
}

// add gives v the next position.
func (m *members) add(v *vol) {
	v.i = m.next
	m.next++
	m.vols = append(m.vols, v)
	m.at[v.i] = v
	m.all = m.all.with(v.i)
}

// Member is a volume of the share as the union sees it.
type Member struct {
	ID        volume.ID
	Name      string
	Mode      volume.Mode
	Exclusive bool
	State     volume.State // Online only if the union uses it
	Caps      volume.Caps  // zero of a volume that was never there
	Watch     WatchStats
}

// Members are the volumes of the share in their order.
func (u *Union) Members() []Member {
	m := u.members()
	list := make([]Member, 0, len(m.vols))
	for _, v := range m.vols {
		o := Member{ID: v.id, Name: v.name, Mode: v.getMode(), Exclusive: v.exclusive, State: volume.StateOf(v.v), Caps: *v.can(), Watch: v.watch.stat()}
		if r := v.refused.Load(); r != nil {
			o.State = *r
		}
		list = append(list, o)
	}
	return list
}

// AddVolume makes v a member of the share, the last in the order of volumes. It must be online, and carry the share's marker.
// The caller closes it, after the Union or when it was removed.
func (u *Union) AddVolume(ctx context.Context, v volume.Volume, exclusive bool, mode volume.Mode) error {
	if err := u.fits(v); err != nil {
		return err
	}
	if s := volume.StateOf(v); s.Health != volume.Online {
		return fmt.Errorf("add volume %q: it is %v: %s", v.Name(), s.Health, s.Reason)
	}
	n := u.newVol(v, exclusive, mode)
	if _, _, err := v.Root().Identify(ctx); err != nil {
		return fmt.Errorf("add volume %q: %w", n.name, err)
	}
	if err := u.join(n); err != nil {
		return fmt.Errorf("add volume %q: %w", n.name, err)
	}
	if err := u.admit(ctx, n, n.state.Attached); err != nil {
		if _, comer := v.(volume.Comer); !comer {
			return errors.Join(fmt.Errorf("add volume %q: %w", n.name, err), u.expel(n))
		}
		u.log.Warn("a volume that was added cannot be taken in; it is tried again", "op", "admit", "volume", n.name, "err", err)
	}
	u.follow(n)
	u.watchVolume(n)
	u.recoverLater()
	return nil
}

// join makes v a member that is not used yet.
func (u *Union) join(v *vol) error {
	full := false
	u.change(func(m *members) {
		if full = m.next == MaxVolumes; !full {
			m.add(v)
		}
	})
	if full {
		return fmt.Errorf("%d volumes were members since the server was started, which is the most: restart it", MaxVolumes)
	}
	u.root.mu.Lock()
	defer u.root.mu.Unlock()
	u.root.copies = append(u.root.copies, copyOf{vol: v.i, trusted: true})
	u.forgetNames(u.root)
	u.root.attrAt = 0
	return nil
}

// SetMode changes what a member may be used for, for calls that begin from now on.
func (u *Union) SetMode(id volume.ID, mode volume.Mode) error {
	v := u.volumeByID(id)
	if v == nil {
		return fmt.Errorf("set mode %v: volume %s is no member of the share", mode, id)
	}
	v.mode.Store(uint32(mode))
	return nil
}

// changeable is ROFS if the operator lets nothing change on one of vols.
func (u *Union) changeable(vols volset) error {
	for _, v := range vols.list() {
		if o := u.vol(v); o.getMode() == volume.ReadOnly {
			return &vfs.Error{Status: vfs.ROFS, Op: "change", Volume: o.name, Err: errors.New("its mode is ro"), Do: "sheaf volume mode " + o.name + " rw"}
		}
	}
	return nil
}

// fits checks that v belongs to the share, and that it is no member yet.
func (u *Union) fits(v volume.Volume) error {
	m := v.Marker()
	if m.Share != u.facts.Share || m.Root != u.facts.Root || m.Key != u.facts.Key {
		return fmt.Errorf("volume %q belongs to share %s, the others to share %s: serve them separately", v.Name(), m.Share, u.facts.Share)
	}
	for _, o := range u.members().vols {
		if o.id == v.ID() {
			return fmt.Errorf("volumes %q and %q have one id, %s: one is a copy of the other; adopt the copy anew", o.name, v.Name(), v.ID())
		}
		if o.name == v.Name() {
			return fmt.Errorf("two volumes are called %q", v.Name())
		}
	}
	return nil
}

// readFacts gives the id of the share's root, and the secret that its keys are derived from.
func (u *Union) readFacts() (root vfs.NodeID, secret []byte, err error) {
	by := u.opt.Volumes[0].Name()
	id, err := hex.DecodeString(u.facts.Root)
	if err != nil || len(id) != len(root) {
		return root, nil, fmt.Errorf("marker of volume %q: root %q is no node id", by, u.facts.Root)
	}
	secret, err = hex.DecodeString(u.facts.Key)
	if err != nil || len(secret) < 16 {
		return root, nil, fmt.Errorf("marker of volume %q: key is not at least 16 bytes in hexadecimal", by)
	}
	return vfs.NodeID(id), secret, nil
}
