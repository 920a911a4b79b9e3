package union

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// How long until it is tried again to take a volume in that came and could not be: it doubles from the
// first to the second.
const (
	admitRetry    = time.Second
	admitRetryMax = time.Minute
)

// follow begins to follow v's state, which may have changed since it was added.
func (u *Union) follow(v *vol) {
	c, ok := v.v.(volume.Comer)
	if !ok {
		return
	}
	cancel := c.Notify(func(s volume.State) { u.hear(v, s, false) })
	v.mu.Lock()
	v.cancel = cancel
	v.mu.Unlock()
	u.hear(v, c.State(), true)
}

// hear takes note of v's state. asked says that it was asked for, and so may be older than what was told.
func (u *Union) hear(v *vol, s volume.State, asked bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.removed || asked && v.heard {
		return
	}
	v.heard = v.heard || !asked
	v.state = s
	switch {
	case s.Health != volume.Online:
		u.leave(v, s)
	case s.Attached == v.opening.Load(): // it was slow, or stalled
		u.enlist(v)
	default:
		u.leave(v, volume.State{Health: volume.Away, Reason: "it came back and is being taken in", Since: time.Now(), Attached: s.Attached})
		if !v.entering {
			v.entering = u.spawn(func() { u.takeIn(v) })
		}
	}
}

// leave makes calls for v be refused. What was written to it and is not committed counts as lost, unless it is only stalled: clients
// send it again. What is open of a former opening is dropped. Needs v.mu.
func (u *Union) leave(v *vol, s volume.State) {
	before := v.refused.Swap(&s)
	was := u.online().has(v.i)
	held := was || before != nil && before.Health == volume.Stalled
	ended := v.opening.Load() != 0 && (s.Health == volume.Away)
	if ended {
		v.opening.Store(0)
	}
	if ended || held && s.Health != volume.Stalled && u.files.dirtyOn(v.i) {
		u.newVerifier()
	}
	if was {
		u.change(func(m *members) { m.online = m.online.minus(v.i) })
		u.tell(vfs.Event{Kind: vfs.ForgetVolume, Volume: v.name})
	}
	if ended {
		u.spawn(func() { u.dropOpen(v) })
	}
}

// enlist lets v be used. Needs v.mu.
func (u *Union) enlist(v *vol) {
	if u.online().has(v.i) {
		return
	}
	u.change(func(m *members) {
		m.online = m.online.with(v.i)
		if u.opened.Load() { // before, nobody knew anything without it
			m.cameAt = u.now()
		}
		m.openedAt = max(m.openedAt, v.openedAt.Load())
	})
	v.refused.Store(nil)
	u.tell(vfs.Event{Kind: vfs.ForgetAll})
}

// spawn begins what outlives a call, unless the Union is being closed.
func (u *Union) spawn(f func()) bool {
	u.roster.mu.Lock()
	defer u.roster.mu.Unlock()
	if u.roster.closed {
		return false
	}
	u.tasks.Go(f)
	return true
}

// takeIn admits v, which is online and not used yet; it tries as long as v is there.
func (u *Union) takeIn(v *vol) {
	for wait := admitRetry; ; wait = min(2*wait, admitRetryMax) {
		v.mu.Lock()
		s := v.state
		v.mu.Unlock()
		err := u.admit(u.background, v, s.Attached)
		v.mu.Lock()
		if err == nil || v.removed || v.state.Health != volume.Online || u.background.Err() != nil {
			v.entering = false
			v.mu.Unlock()
			if err == nil {
				u.recoverLater() // not after levelAll, which waits for the lease of each directory
				u.levelAll(u.background, v.i)
				return
			}
			break
		}
		if errors.Is(err, errOvertaken) {
			v.mu.Unlock()
			wait = admitRetry / 2 // doubled by the loop
			continue
		}
		u.leave(v, volume.State{Health: volume.Away, Reason: "it is there, but cannot be used: " + err.Error(), Since: s.Since, Attached: v.state.Attached})
		v.mu.Unlock()
		u.log.Warn("a volume that came cannot be taken in; it is tried again", "op", "admit", "volume", v.name, "err", err)
		select {
		case <-time.After(wait):
		case <-u.background.Done():
		}
	}
	u.recoverLater()
}

// admit brings v to where it may be used: what a crash left of small files goes, its pins count, its records
// of what was left half done keep their directories closed until that is finished. attached is the opening this
// is about; errOvertaken if it is not v's any more.
func (u *Union) admit(ctx context.Context, v *vol, attached uint64) error {
	if m := v.v.Marker(); m.Share != u.facts.Share || m.Root != u.facts.Root || m.Key != u.facts.Key {
		return fmt.Errorf("its marker is that of another share, %s", m.Share)
	}
	st, id, err := v.v.Root().Identify(ctx)
	if err != nil {
		return err
	}
	caps := v.v.Caps()
	v.caps.Store(&caps)
	if err := u.takeTurn(ctx, v); err != nil {
		return err
	}
	for _, dir := range []vfs.Name{intentsName, displacedName, conflictsName} {
		if err := v.sweepPrivate(ctx, dir); err != nil {
			return err
		}
	}
	if err := u.pins.loadFrom(ctx, u, v); err != nil {
		return err
	}
	if err := u.readRecords(ctx, v); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.removed || v.state.Health != volume.Online || v.state.Attached != attached {
		return errOvertaken
	}
	u.setRootCopy(v, st, id)
	v.openedAt.Store(u.now())
	v.opening.Store(attached)
	u.enlist(v)
	u.walkSoon("volume " + v.name + " came")
	return nil
}

// errOvertaken says that a volume went, or was opened anew, while it was admitted.
var errOvertaken = errors.New("it went away again meanwhile")

// dropOpen closes what is open of a former opening of v.
func (u *Union) dropOpen(v *vol) {
	for _, f := range u.files.cutOn(v.i, v.opening.Load()) {
		u.files.retire(u, f)
	}
	for _, h := range u.dirs.cutOn(v.i, v.opening.Load()) {
		h.doomed.Store(true)
		if h.refs.Load() == 0 {
			h.close()
		}
	}
}
