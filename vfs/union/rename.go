package union

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
)

// renaming is one Rename under way.
type renaming struct {
	w        *vfs.Who
	from, to *node
	fromName vfs.Name
	toName   vfs.Name

	src, dst     *node // dst nil: the name is free
	srcAt, dstAt place
	srcOn, dstOn volset
	fromChange   vfs.Change
	toChange     vfs.Change
	fromHs, toHs handles // on srcOn, to be flushed
	restHs       handles // of to, where only dst has a copy
	lacks        volset  // volumes of src on which to has no copy
	since        int64   // when the leases were taken
	fromSafe     bool    // the copies of fromHs were flushed after the change
	toSafe       bool    // those of toHs
}

// Rename implements vfs.FS.
func (u *Union) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (fromChange, toChange vfs.Change, err error) {
	if w.NoWait {
		return fromChange, toChange, vfs.Again
	}
	fd, err := u.enter(ctx, w, from)
	if err != nil {
		return fromChange, toChange, err
	}
	defer fd.put()
	td, err := u.enter(ctx, w, to)
	if err != nil {
		return fromChange, toChange, err
	}
	defer td.put()
	r := &renaming{w: w, from: fd, to: td, fromName: fromName, toName: toName}
	err = u.again(ctx, func(ctx context.Context) error { return u.rename(ctx, r) })
	ctx = context.WithoutCancel(ctx)
	r.restHs.release()
	do := err == nil && !w.Async
	if r.toHs != nil { // the new name first: a crash between leaves two, not none
		err = errors.Join(err, done(u.dirFlusher(r.toHs)(ctx, do && !r.toSafe)))
	}
	if r.fromHs != nil {
		err = errors.Join(err, done(u.dirFlusher(r.fromHs)(ctx, do && !r.fromSafe && r.from != r.to)))
	}
	return r.fromChange, r.toChange, err
}

// rename tries until an attempt says how it ends.
func (u *Union) rename(ctx context.Context, r *renaming) error {
	for range pairTries {
		again, err := u.renameOnce(ctx, r)
		if err != nil || !again {
			return err
		}
		for _, v := range r.lacks.list() {
			if err := u.ensureCopy(ctx, r.to, v); err != nil {
				if refused, ok := errors.AsType[*unfitError](err); ok {
					return refused.err
				}
				return err
			}
		}
	}
	return &vfs.Error{Status: vfs.Jukebox, Op: "rename", Object: r.fromName.String()}
}

// renameOnce is one attempt; again: a name came to mean another object, or copies
// have to be made.
func (u *Union) renameOnce(ctx context.Context, r *renaming) (again bool, err error) {
	r.dropHandles()
	r.src, r.dst, r.lacks = nil, nil, 0
	r.srcAt, r.dstAt, r.srcOn, r.dstOn = place{}, place{}, 0, 0
	if err := u.findBoth(ctx, r); err != nil {
		return false, err
	}
	defer r.release()
	l, err := u.acquire(ctx, r.wants()...)
	if err != nil {
		return false, err
	}
	defer l.Release()
	if r.src == r.dst {
		return u.confirmSame(ctx, r)
	}
	if again, err := u.checkBoth(ctx, r); again || err != nil {
		return again, err
	}
	if r.lacks = r.srcOn &^ r.to.volumes(); r.lacks != 0 {
		return true, nil
	}
	return u.move(context.WithoutCancel(ctx), r)
}

// findBoth finds what the names mean, without a lease.
func (u *Union) findBoth(ctx context.Context, r *renaming) error {
	if err := u.mayLook(ctx, r.w, r.from, &r.fromChange); err != nil {
		return err
	}
	if err := u.mayLook(ctx, r.w, r.to, &r.toChange); err != nil {
		return err
	}
	src, err := u.find(ctx, r.from, r.fromName)
	if err != nil {
		return err
	}
	dst, err := u.find(ctx, r.to, r.toName)
	if err != nil && vfs.StatusOf(err) != vfs.NoEnt {
		src.put()
		return err
	}
	r.src, r.dst = src, dst
	for _, n := range []*node{r.to, src, dst} {
		if n == nil || !n.isDir() {
			continue
		}
		if _, err := u.checkCopies(ctx, n); err != nil {
			r.release()
			return err
		}
	}
	return nil
}

// dropHandles gives back what an attempt that comes to nothing has opened.
func (r *renaming) dropHandles() {
	r.fromHs.release()
	r.toHs.release()
	r.restHs.release()
	r.fromHs, r.toHs, r.restHs = nil, nil, nil
	r.fromSafe, r.toSafe = false, false
}

func (r *renaming) release() {
	if r.src != nil {
		r.src.put()
	}
	if r.dst != nil {
		r.dst.put()
	}
}

// wants are the leases: a directory that changes parents takes the tree besides, so that no
// two such moves build a loop.
func (r *renaming) wants() []lease.Want {
	ws := []lease.Want{lease.Node(r.from.id, lease.Exclusive), lease.Node(r.to.id, lease.Exclusive), lease.Node(r.src.id, lease.Exclusive)}
	if r.dst != nil {
		ws = append(ws, lease.Node(r.dst.id, lease.Exclusive))
	}
	if r.src.isDir() && r.from != r.to {
		ws = append(ws, lease.Tree(lease.Exclusive))
	}
	return ws
}

// confirmSame confirms that both names are one object's: then there is nothing to do.
func (u *Union) confirmSame(ctx context.Context, r *renaming) (again bool, err error) {
	at, _, err := u.confirm(ctx, r.from, r.fromName, r.src)
	if err != nil || at.name.IsZero() {
		return err == nil, err
	}
	at, _, err = u.confirm(ctx, r.to, r.toName, r.dst)
	return err == nil && at.name.IsZero(), err
}

// checkBoth confirms the names under the leases and checks what is allowed, in the
// order of vfstest.
func (u *Union) checkBoth(ctx context.Context, r *renaming) (again bool, err error) {
	r.since = u.now()
	fa, facl, err := u.beforeNames(ctx, r.w, r.from, &r.fromChange)
	if err != nil {
		return false, err
	}
	ta, tacl, err := u.beforeNames(ctx, r.w, r.to, &r.toChange)
	if err != nil {
		return false, err
	}
	if r.srcAt, r.srcOn, err = u.confirm(ctx, r.from, r.fromName, r.src); err != nil || r.srcAt.name.IsZero() {
		return err == nil, err
	}
	if again, err := u.confirmDst(ctx, r); again || err != nil {
		return again, err
	}
	sa, err := u.confirmed(ctx, r.src)
	if err != nil {
		return false, err
	}
	var da vfs.Attr
	if r.dst != nil {
		if da, err = u.confirmed(ctx, r.dst); err != nil {
			return false, err
		}
	}
	if err := u.mayNest(r); err != nil {
		return false, err
	}
	if err := perm.Delete(r.w, &fa, facl, &sa); err != nil {
		return false, err
	}
	if r.dst == nil {
		err = perm.Add(r.w, &ta, tacl)
	} else {
		err = mayRemove(r.w, &ta, tacl, &da, r.src.isDir())
	}
	if err != nil {
		return false, err
	}
	if u.hidden(r.to, r.toName) {
		return false, vfs.Acces
	}
	if err := u.changeable(r.srcOn | r.dstOn); err != nil {
		return false, err
	}
	return false, u.mayReparent(ctx, r, &sa)
}

// confirmDst confirms what toName means, as confirm does.
func (u *Union) confirmDst(ctx context.Context, r *renaming) (again bool, err error) {
	if r.dst != nil {
		r.dstAt, r.dstOn, err = u.confirm(ctx, r.to, r.toName, r.dst)
		return err == nil && r.dstAt.name.IsZero(), err
	}
	n, err := u.lookupHeld(ctx, r.to, r.toName)
	if vfs.StatusOf(err) == vfs.NoEnt {
		return false, nil
	}
	if n != nil {
		n.put()
	}
	return err == nil, err
}

// mayNest refuses to move a directory into itself, or onto one above it.
func (u *Union) mayNest(r *renaming) error {
	if r.src.isDir() {
		in, err := u.within(r.to, r.src)
		if err != nil {
			return err
		}
		if in {
			return vfs.Inval
		}
	}
	if r.dst != nil && r.dst.isDir() {
		in, err := u.within(r.from, r.dst)
		if err != nil {
			return err
		}
		if in {
			return vfs.NotEmpty
		}
	}
	return nil
}

// within reports whether the directory d is o or lies beneath it.
func (u *Union) within(d, o *node) (bool, error) {
	d.refs.Add(1)
	for range scanDepth {
		if d == o {
			d.put()
			return true, nil
		}
		if d == u.root {
			d.put()
			return false, nil
		}
		d.mu.Lock()
		var up vfs.Node
		if len(d.places) > 0 {
			up = d.places[0].dir
		}
		d.mu.Unlock()
		if up.IsZero() {
			vn, v := d.node(), d.volumes().first()
			d.put()
			return false, &moved{vn, v}
		}
		parent, err := u.known(up)
		d.put()
		if err != nil {
			return false, err
		}
		d = parent
	}
	d.put()
	return false, u.fault("rename", d.id.String(), "its parents never end")
}

// mayReparent is the rest for directories.
func (u *Union) mayReparent(ctx context.Context, r *renaming, sa *vfs.Attr) error {
	if !r.src.isDir() {
		return nil
	}
	if r.from != r.to {
		acls, err := u.aclFor(ctx, r.w, r.src)
		if err != nil {
			return err
		}
		if err := perm.Reparent(r.w, sa, acls.Access); err != nil {
			return err
		}
	}
	if r.dst != nil {
		return u.empty(ctx, r.dst)
	}
	return nil
}

// move is the change itself, under all leases.
func (u *Union) move(ctx context.Context, r *renaming) (again bool, err error) {
	defer u.shift()()
	if err := u.freeName(ctx, r.from, r.srcAt, r.srcOn); err != nil {
		return false, err
	}
	if r.dst != nil {
		if err := u.freeName(ctx, r.to, r.dstAt, r.dstOn); err != nil {
			return false, err
		}
		r.dstAt.phys = u.physOf(r.to, r.dstAt)
	}
	r.srcAt.phys = u.physOf(r.from, r.srcAt) // one may have been the other's loser, and has its name for good now
	if r.fromHs, err = u.dirsAt(ctx, r.from, r.srcOn); err != nil {
		return false, err
	}
	if r.toHs, err = u.dirsAt(ctx, r.to, r.srcOn); err != nil {
		return false, err
	}
	if r.restHs, err = u.dirsAt(ctx, r.to, r.dstOn&^r.srcOn); err != nil {
		return false, err
	}
	if r.fromHs.set() != r.srcOn || r.toHs.set() != r.srcOn || r.restHs.set() != r.dstOn&^r.srcOn { // a copy went behind our back
		r.dropHandles()
		return true, nil
	}
	for _, n := range r.nodes() {
		switch n {
		case r.to:
			u.beginNames(ctx, n, r.srcOn|r.dstOn)
		case r.from:
			u.beginNames(ctx, n, r.srcOn)
		default:
			u.begin(n)
		}
		defer u.end(n)
	}
	if err := u.lookBeforeBoth(ctx, r); err != nil {
		return false, err
	}
	target := place{r.to.node(), r.toName, r.toName}
	if r.dst != nil && r.dstOn&r.srcOn != 0 { // the loser of a conflict is replaced under its own name
		target.phys = r.dstAt.phys
	}
	if r.src.isDir() {
		err = u.moveDir(ctx, r, target)
	} else {
		err = u.moveObject(ctx, r, target)
	}
	if err != nil { // what it came to shows when the names are asked for again
		u.uncertain(r.from, r.fromName, r.srcOn, err)
		u.uncertain(r.to, r.toName, r.srcOn|r.dstOn, err)
		u.after(ctx, r.from, &r.fromChange, false)
		u.after(ctx, r.to, &r.toChange, false)
		if s := vfs.StatusOf(err); r.dst == nil && s == vfs.Exist || s == vfs.NoEnt || s == vfs.Stale { // by another process: what the names mean has to be found anew
			r.dropHandles()
			return true, nil
		}
		if !isAway(err) {
			err = done(err)
		}
		return false, err
	}
	u.renamed(ctx, r, target)
	return false, nil
}

// lookBeforeBoth is lookBefore for both directories.
func (u *Union) lookBeforeBoth(ctx context.Context, r *renaming) error {
	if err := u.lookBefore(ctx, r.to, r.toAll(), r.since, &r.toChange); err != nil {
		return err
	}
	if r.from == r.to {
		r.fromChange = r.toChange
		return nil
	}
	return u.lookBefore(ctx, r.from, r.fromHs, r.since, &r.fromChange)
}

// toAll are the copies of the target directory that change: where the object lies, and where what it
// replaces does. They are not the caller's to release.
func (r *renaming) toAll() handles {
	if r.restHs.set() == 0 {
		return r.toHs
	}
	all := append(handles(nil), r.toHs...)
	for v, h := range r.restHs {
		if h != nil {
			all[v] = h
		}
	}
	return all
}

// nodes are those that change, each once.
func (r *renaming) nodes() []*node {
	ns := []*node{r.from, r.src}
	if r.to != r.from {
		ns = append(ns, r.to)
	}
	if r.dst != nil && r.dst != r.from {
		ns = append(ns, r.dst)
	}
	return ns
}

// renamed takes note of it all in memory.
func (u *Union) renamed(ctx context.Context, r *renaming, target place) {
	u.moveName(ctx, r, target)
	u.endConflict(ctx, r.from, r.srcAt)
	if r.dst != nil {
		u.endConflict(ctx, r.to, r.dstAt)
		if r.dst.isDir() {
			u.retire(r.dst)
		} else {
			u.unnamed(ctx, r.dst, r.dstAt)
		}
	}
	r.src.mu.Lock()
	r.src.dropPlace(r.srcAt.dir.ID, r.srcAt.name)
	r.src.setPlace(target, r.src.attr.Nlink)
	r.src.mu.Unlock()
	u.touched(ctx, r.src)
	u.putRow(r.src)
	u.afterNames(ctx, r.to, &r.toChange, r.toAll())
	if r.from == r.to {
		r.fromChange = r.toChange
		return
	}
	u.afterNames(ctx, r.from, &r.fromChange, r.fromHs)
}

// moveName moves the name in memory. Both directories are locked: nobody sees it twice, or nowhere.
func (u *Union) moveName(ctx context.Context, r *renaming, target place) {
	e := r.src.entry(target, r.srcOn, u.now())
	a, b := r.from, r.to
	if bytes.Compare(a.id[:], b.id[:]) > 0 {
		a, b = b, a
	}
	a.mu.Lock()
	if a != b {
		b.mu.Lock()
	}
	freed := u.dropEntry(r.from, r.srcAt.name, r.src.isDir(), r.srcOn)
	grown, moved := u.addEntry(r.to, &e)
	u.ownChange(r.to, r.dstOn)
	if a != b {
		b.mu.Unlock()
	}
	a.mu.Unlock()
	u.charge(grown - freed)
	u.rememberCookie(ctx, r.to, &e, moved)
}

// moveObject renames what is not a directory. What it replaces on another volume is set aside
// first, and put back if the rename fails.
func (u *Union) moveObject(ctx context.Context, r *renaming, target place) error {
	v := r.srcOn.first()
	if r.dst == nil || r.dstOn == r.srcOn {
		return r.fromHs[v].d.Rename(ctx, r.srcAt.phys, r.toHs[v].d, target.phys, r.dst == nil)
	}
	x, err := u.displace(ctx, r)
	if err != nil {
		return err
	}
	made, err := u.decideObject(ctx, r, target, v)
	if made < 0 { // nobody knows now: recovery finds out
		u.leaveRecord(x.vol, displacedName, x.id, x.b, err)
		return done(err)
	}
	if made == 0 {
		if back := x.putBack(ctx, u); back != nil {
			u.leaveRecord(x.vol, displacedName, x.id, x.b, back)
			return done(&vfs.Error{Status: vfs.IO, Op: "rename", Object: r.toName.String(), Volume: x.vol.name, Err: errors.Join(err, back)})
		}
		return err
	}
	err = u.syncDir(ctx, r.toHs[v])
	if err == nil && r.from != r.to {
		err = u.syncDir(ctx, r.fromHs[v])
	}
	if err != nil { // recovery finishes it: the rename is seen, or the old one is put back
		u.leaveRecord(x.vol, displacedName, x.id, x.b, err)
		return done(err)
	}
	r.toSafe, r.fromSafe = true, true
	if err = x.drop(ctx, u); err != nil { // it is decided; what was set aside goes when the volume comes, or is better
		u.pending.decide(x.vol, x.id)
		u.log.Warn("what a rename has replaced is left on its volume for now", "op", "rename", "volume", x.vol.name, "err", err)
		if !u.waitsFor(err) {
			u.dropLater(x)
		}
	}
	return nil
}

// decideObject renames what replaces another volume's object. made is 1 if it has the name then, also if the volume said
// that it failed; 0 if not; below 0 if that cannot be seen.
func (u *Union) decideObject(ctx context.Context, r *renaming, target place, v int) (made int, err error) {
	err = r.fromHs[v].d.Rename(ctx, r.srcAt.phys, r.toHs[v].d, target.phys, true)
	if err == nil {
		return 1, nil
	}
	if isAway(err) { // nothing was begun
		return 0, err
	}
	there, serr := isCopy(ctx, r.toHs[v].d, target.phys, r.src, v)
	switch s := vfs.StatusOf(serr); {
	case there:
		return 1, nil
	case s == vfs.OK || s == vfs.NoEnt:
		return 0, err
	default:
		return -1, &vfs.Error{Status: vfs.IO, Op: "rename", Object: r.fromName.String(), Volume: u.vol(v).name, Err: errors.Join(err, serr)}
	}
}

// dropLater tries to drop until it can be done, or the volume goes: then recovery does it when it comes.
func (u *Union) dropLater(x *displaced) {
	u.spawn(func() {
		for pause := recoverSoon; ; pause = min(2*pause, recoverRetry) {
			select {
			case <-time.After(pause):
			case <-u.background.Done():
				return
			}
			err := x.drop(u.background, u)
			if err == nil {
				u.pending.dropped(x.vol, x.id)
			}
			if err == nil || u.waitsFor(err) {
				return
			}
		}
	})
}

// moveDir renames the copies of a directory, the home copy first: that decides. If
// another cannot follow, those that did go back. An empty directory that is replaced goes with it: where
// both lie by the rename itself, elsewhere afterwards.
func (u *Union) moveDir(ctx context.Context, r *renaming, target place) error {
	if r.dstOn&^r.srcOn != 0 { // so that nothing that is left of dst can take its node's place
		if err := u.markCopies(ctx, r.src); err != nil {
			return err
		}
	}
	if err := u.unstamp(ctx, r.src); err != nil {
		return err
	}
	r.src.mu.Lock()
	home := r.src.home
	r.src.mu.Unlock()
	order := append([]int{home}, r.srcOn.minus(home).list()...)
	intent, err := u.intend(ctx, r, target, home)
	if err != nil {
		return err
	}
	for i, v := range order {
		err := r.fromHs[v].d.Rename(ctx, r.srcAt.phys, r.toHs[v].d, target.phys, !r.dstOn.has(v))
		if err == nil {
			continue
		}
		return u.moveBack(ctx, r, target, intent, order[:i], err)
	}
	for _, v := range r.restHs.set().list() {
		err := r.restHs[v].d.Rmdir(ctx, r.dstAt.phys)
		if err == nil {
			err = u.syncDir(ctx, r.restHs[v])
		}
		if err != nil { // it is empty, and counts as a copy of what carries the mark
			u.log.Warn("copy of a directory that was replaced is left", "op", "rename", "node", r.dst.id, "volume", u.vol(v).name, "err", err)
		}
	}
	if intent == nil {
		return nil
	}
	r.toSafe, r.fromSafe = true, true
	if err := u.decide(ctx, r, home); err != nil {
		u.leaveIntent(intent, err)
		return done(err)
	}
	err = intent.done(ctx, u, volset(0).with(home), r.toHs, r.fromHs)
	if err != nil { // it is decided, durably; the other copies are seen to when they are there
		u.leaveIntent(intent, err)
	}
	if isAway(err) {
		return nil
	}
	return done(err)
}

// decide makes the rename of the home copy durable by itself: if another copy's volume goes before all are flushed, the
// call is answered all the same.
func (u *Union) decide(ctx context.Context, r *renaming, home int) error {
	return errors.Join(u.syncDir(ctx, r.toHs[home]), u.syncDir(ctx, r.fromHs[home]))
}

// moveBack undoes what moveDir did on the volumes of some before it failed with err. An *AwayError only where nothing
// is changed then.
func (u *Union) moveBack(ctx context.Context, r *renaming, target place, i *intent, some []int, err error) error {
	var back error
	from, to := make(handles, MaxVolumes), make(handles, MaxVolumes)
	for _, v := range slices.Backward(some) {

		from[v], to[v] = r.fromHs[v], r.toHs[v]
		back = errors.Join(back, to[v].d.Rename(ctx, target.phys, from[v].d, r.srcAt.phys, true))
	}
	if back == nil {
		back = i.done(ctx, u, 0, from, to)
	}
	if back != nil && len(some) > 0 { // the intent stays, and brings the copies together
		u.leaveIntent(i, back)
	}
	victim := u.rebuildVictim(r, some)
	if len(some) == 0 || back == nil && victim == nil {
		return err
	}
	return done(&vfs.Error{Status: vfs.IO, Op: "rename", Object: r.fromName.String(), Err: errors.Join(err, back, victim)})
}

// leaveIntent takes note that an intent stays.
func (u *Union) leaveIntent(i *intent, err error) {
	if i != nil {
		u.leaveRecord(i.vol, intentsName, i.id, i.b, err)
	}
}

// rebuildVictim forgets the copies of the replaced directory that a rename which was taken
// back has destroyed; they were empty. With the last one the directory is gone.
func (u *Union) rebuildVictim(r *renaming, done []int) error {
	if r.dst == nil {
		return nil
	}
	var lost volset
	for _, v := range done {
		if r.dstOn.has(v) {
			lost = lost.with(v)
		}
	}
	if lost == 0 {
		return nil
	}
	u.distrustName(r.to, r.toName, lost)
	return u.loseCopies(r.dst, lost, nil)
}
