package union

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// RemoveVolume takes a member out of the share. Not lost, it must be there, and hold nothing but directories that
// other volumes have too; the error says what it holds. Lost, what it held is forgotten with it: handles of that are
// stale from then on. Whose the conflicts are that it won is decided anew. The last volume stays.
func (u *Union) RemoveVolume(ctx context.Context, id volume.ID, lost bool) error {
	v := u.volumeByID(id)
	if v == nil {
		return fmt.Errorf("remove volume %s: it is no member of the share", id)
	}
	if u.online().minus(v.i) == 0 {
		return fmt.Errorf("remove volume %q: no other volume is there", v.name)
	}
	if !lost {
		if err := u.vacate(ctx, v); err != nil {
			return fmt.Errorf("remove volume %q: %w", v.name, err)
		}
	}
	return u.expel(v)
}

// vacate sees that v holds nothing of its own, and that nothing is placed on it from now on.
func (u *Union) vacate(ctx context.Context, v *vol) (err error) {
	if !u.online().has(v.i) {
		return fmt.Errorf("%w (bring it back, or say that it is lost)", u.refusal("look what it holds", v.i))
	}
	was := volume.Mode(v.mode.Swap(uint32(volume.NoCreate)))
	defer func() {
		if err != nil {
			v.mode.Store(uint32(was))
		}
	}()
	for range searches {
		shifts, shifting := u.shifts.Load(), u.shifting.Load() > 0
		some, err := u.heldSome(ctx, v)
		if err != nil {
			return err
		}
		if len(some) > 0 {
			return fmt.Errorf("it holds %s: move it away first", strings.Join(some, ", "))
		}
		if !shifting && u.shifts.Load() == shifts {
			return nil
		}
	}
	return errors.New("names are moved all the time: try again")
}

// expel takes v out of the share: nothing that is asked from now on is asked of it, and what is remembered of it goes.
func (u *Union) expel(v *vol) error {
	v.mu.Lock()
	v.removed = true
	cancel := v.cancel
	s := volume.State{Health: volume.Away, Reason: "it was removed from the share", Since: u.start}
	u.leave(v, s)
	v.opening.Store(0)
	v.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	v.watch.stop()
	u.change(func(m *members) {
		m.all, m.online = m.all.minus(v.i), m.online.minus(v.i)
		m.vols = slices.DeleteFunc(m.vols, func(o *vol) bool { return o == v })
	})
	u.dropOpen(v)
	u.pins.forget(v.id)
	u.pending.forget(v)
	u.forgetVolume(v.i)
	u.tell(vfs.Event{Kind: vfs.ForgetAll})
	u.recoverLater()
	return nil
}

// forget drops the pins that give a name to volume id: it was removed.
func (p *pins) forget(id volume.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, holder := range p.m {
		if holder == id {
			delete(p.m, k)
		}
	}
}

// forget drops the records that lie on v.
func (p *pending) forget(v *vol) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(r *leftover) bool { return r.v == v })
	p.n.Store(int32(len(p.list)))
}

// forgetVolume takes the volume at position v out of all that is in memory. What lay there alone is gone.
func (u *Union) forgetVolume(v int) {
	for i := range u.table.shards {
		s := &u.table.shards[i]
		s.mu.Lock()
		some := make([]*node, 0, len(s.m))
		for _, n := range s.m {
			n.refs.Add(1)
			some = append(some, n)
		}
		s.mu.Unlock()
		for _, n := range some {
			if u.forgetCopy(n, v) {
				u.retire(n)
			}
			n.put()
		}
	}
}

// forgetCopy takes n's copy on volume v out of memory, and v out of n's names. It reports whether n lay there alone.
func (u *Union) forgetCopy(n *node, v int) (gone bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u.renewAbsents(n)
	if t := n.names; t != nil {
		var none []*entry
		for _, e := range t.byName {
			if e.vols = e.vols.minus(v); e.vols == 0 {
				none = append(none, e)
			}
		}
		for _, e := range none {
			t.remove(e)
		}
		t.doubt(u.away())
	}
	i := n.indexOn(v)
	if i < 0 {
		return false
	}
	u.vol(v).unkey(n.copies[i].id.Key, n)
	n.copies = append(n.copies[:i:i], n.copies[i+1:]...)
	n.attrAt = 0
	if len(n.copies) == 0 {
		return true
	}
	if n.copyOn(n.home) == nil {
		n.home = n.copies[0].vol
	}
	return false
}
