package union

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// leftover is a note on a volume that an operation was left half done: an intent, or that an object was set
// aside. Until it is finished nobody but recovery may look into the directories concerned: their names may be in two
// places, or in none.
type leftover struct {
	v    *vol
	kind vfs.Name // the directory it lies in: intentsName or displacedName
	name vfs.Name // of its file
	body []byte
	dirs []vfs.NodeID
	why  error // what it waits for; nil: its turn
}

// pending are the records that are not finished.
type pending struct {
	n    atomic.Int32 // of records, to be asked without the lock
	turn sync.Mutex   // held by who finishes them; before all others
	mu   sync.Mutex   // guards list, and the why of each; held for memory only
	list []*leftover

	// Objects that were set aside for what has their name, durably, and are left where they are for now: what has the name
	// may leave it before they can go, and they must not come back then. Guarded by mu.
	decided map[decidedKey]struct{}
}

// decidedKey is an object that was set aside.
type decidedKey struct {
	v  *vol
	id vfs.Name
}

// decide notes that the object id on v is to go, whatever has its name by then.
func (p *pending) decide(v *vol, id vfs.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.decided == nil {
		p.decided = make(map[decidedKey]struct{})
	}
	p.decided[decidedKey{v, id}] = struct{}{}
}

// dropped notes that it has gone.
func (p *pending) dropped(v *vol, id vfs.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.decided, decidedKey{v, id})
}

// isDecided reports whether decide noted it.
func (p *pending) isDecided(v *vol, id vfs.Name) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.decided[decidedKey{v, id}]
	return ok
}

// Records that could not be finished, for another reason than that a volume is away, are tried again after
// recoverSoon, and after twice as long each time, up to recoverRetry.
const (
	recoverSoon  = 10 * time.Millisecond
	recoverRetry = time.Minute
)

// closedDir is why the directory id may not be looked into now, or nil.
func (u *Union) closedDir(ctx context.Context, id vfs.NodeID) error {
	p := &u.pending
	if p.n.Load() == 0 || ctx.Value(unhurried{}) != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.list {
		if slices.Contains(r.dirs, id) {
			return r.refusal(u)
		}
	}
	return nil
}

// refusal is what a call gets that needs a directory which waits for r. Needs p.mu.
func (r *leftover) refusal(u *Union) error {
	if away, ok := errors.AsType[*volume.AwayError](r.why); ok {
		for _, v := range u.members().vols {
			if v.name == away.Volume {
				return u.refusal("finish what was cut off", v.i)
			}
		}
	}
	return &vfs.Error{Status: vfs.Jukebox, Op: "finish what was cut off", Object: r.name.String(), Volume: r.v.name, Err: r.why}
}

// readRecords takes note of v's records and waits until nobody is in the directories concerned: no longer than any call
// waits for a lease. A call may hang there on another volume; then v is not taken in yet, which is tried again (takeIn).
func (u *Union) readRecords(ctx context.Context, v *vol) error {
	for _, kind := range []vfs.Name{intentsName, displacedName} {
		err := v.eachPrivate(ctx, kind, func(name vfs.Name, b []byte) {
			if id, ok := strings.CutSuffix(name.String(), ".json"); ok && id != "" {
				u.addRecord(&leftover{v: v, kind: kind, name: name, body: b, dirs: recordDirs(b)})
			}
		})
		if err != nil {
			return err
		}
	}
	if u.pending.n.Load() == 0 {
		return nil
	}
	u.pending.mu.Lock()
	var wants []lease.Want
	for _, r := range u.pending.list {
		if r.v == v {
			for _, d := range r.dirs {
				wants = append(wants, lease.Node(d, lease.Exclusive))
			}
		}
	}
	u.pending.mu.Unlock()
	l, err := u.acquire(ctx, wants...)
	if err != nil {
		return err
	}
	l.Release()
	return nil
}

// recordDirs are the directories that a record is about: what both kinds call them.
func recordDirs(b []byte) (dirs []vfs.NodeID) {
	var f struct{ Dir, From, To nodeRecord }
	if json.Unmarshal(b, &f) != nil { // said when it is its turn
		return nil
	}
	for _, r := range []nodeRecord{f.Dir, f.From, f.To} {
		if id, err := hex.DecodeString(r.ID); err == nil && len(id) == 16 {
			dirs = append(dirs, vfs.NodeID(id))
		}
	}
	return dirs
}

// addRecord takes note of a record, once.
func (u *Union) addRecord(r *leftover) {
	p := &u.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.list {
		if o.v == r.v && o.kind == r.kind && o.name == r.name {
			return
		}
	}
	p.list = append(p.list, r)
	p.n.Store(int32(len(p.list)))
}

// finish forgets a record.
func (p *pending) finish(r *leftover) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, ok := strings.CutSuffix(r.name.String(), ".json"); ok && r.kind == displacedName {
		delete(p.decided, decidedKey{r.v, vfs.MustName(id)})
	}
	for i, o := range p.list {
		if o == r {
			p.list = append(p.list[:i:i], p.list[i+1:]...)
			break
		}
	}
	p.n.Store(int32(len(p.list)))
}

// recoverAll finishes or undoes what was left half done, by the volumes alone. What has to wait for a volume that
// is away stays pending; so does what failed otherwise, which is the error.
func (u *Union) recoverAll(ctx context.Context) error {
	p := &u.pending
	if p.n.Load() == 0 {
		return nil
	}
	p.turn.Lock()
	defer p.turn.Unlock()
	ctx = context.WithValue(ctx, unhurried{}, true)
	var all error
	for _, kind := range []vfs.Name{intentsName, displacedName} {
		p.mu.Lock()
		list := append([]*leftover(nil), p.list...)
		p.mu.Unlock()
		for _, r := range list {
			if r.kind == kind {
				all = errors.Join(all, u.recoverRecord(ctx, r))
			}
		}
	}
	return all
}

// recoverRecord finishes one. That it has to wait for a volume is no error.
func (u *Union) recoverRecord(ctx context.Context, r *leftover) error {
	err := u.tryRecord(ctx, r)
	if err == nil {
		u.pending.finish(r)
		return nil
	}
	op := "finish rename"
	if r.kind == displacedName {
		op = "recover displaced object"
	}
	u.pending.mu.Lock()
	r.why = err
	u.pending.mu.Unlock()
	if u.waitsFor(err) {
		u.log.Warn("what was cut off waits for a volume", "op", op, "volume", r.v.name, "record", r.name.String(), "err", err)
		return nil
	}
	return &vfs.Error{Status: vfs.IO, Op: op, Object: r.name.String(), Volume: r.v.name, Err: err}
}

func (u *Union) tryRecord(ctx context.Context, r *leftover) error {
	if !u.online().has(r.v.i) {
		return u.refusal("read a record", r.v.i)
	}
	if there, err := r.v.hasPrivate(ctx, r.kind, r.name); err != nil || !there { // finished by who wrote it
		return err
	}
	if r.kind == intentsName {
		return u.recoverIntent(ctx, r.v, r.name, r.body)
	}
	return u.recoverDisplaced(ctx, r.v, vfs.MustName(strings.TrimSuffix(r.name.String(), ".json")), r.body)
}

// leaveRecord takes note of a record that an operation could not finish, because a volume went away or failed.
func (u *Union) leaveRecord(v *vol, kind, id vfs.Name, b []byte, err error) {
	r := &leftover{v: v, kind: kind, name: jsonName(id), body: b, dirs: recordDirs(b), why: err}
	u.addRecord(r)
	if u.waitsFor(err) {
		u.log.Warn("a rename was cut off; it is finished when the volume is there again", "op", "rename", "volume", v.name, "record", r.name.String(), "err", err)
		return
	}
	u.log.Error("a rename failed, and so did what was to undo it; it is tried again", "op", "rename", "volume", v.name, "record", r.name.String(), "err", err)
	u.recoverLater()
}

// recoverLater finishes what a volume that came has brought, or what waited for it. It is tried again as long
// as there is something that need not wait for another volume.
func (u *Union) recoverLater() {
	if u.pending.n.Load() == 0 {
		return
	}
	u.spawn(func() {
		for pause := recoverSoon; ; pause = min(2*pause, recoverRetry) {
			err := u.recoverAll(u.background)
			if err == nil || u.background.Err() != nil {
				return
			}
			u.log.Error("what was cut off cannot be finished; its directories stay closed, and it is tried again", "op", "recover", "err", err)
			select {
			case <-time.After(pause):
			case <-u.background.Done():
			}
		}
	})
}
