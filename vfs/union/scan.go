package union

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dchest/siphash"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// scanPatience is how long a call waits for a search of the volumes before it is told
// to ask again (JUKEBOX); the search goes on.
const scanPatience = time.Second

// scanDepth bounds the depth of directories that a search goes down; deeper ones are an
// error of the search, so that nothing beneath is taken for gone. PATH_MAX is 4,096
// bytes, which two-byte components fill with 2,048.
const scanDepth = 2048

// unhurried marks the context of who can do nothing before the search has ended: recovery.
type unhurried struct{}

// wanted is an object that is searched for.
type wanted struct {
	node vfs.Node
	vol  int    // where it was born or last seen; -1: not known
	ino  uint64 // its inode number there
	id   *volume.Identity
	only bool // search no other volume than vol
}

// scanner walks whole volumes for nodes that neither memory nor index nor birthplace know. One
// walk at a time serves all who wait for it; who comes later waits for the next.
type scanner struct {
	u      *Union
	mu     sync.Mutex
	next   *scanBatch
	active bool
	wg     sync.WaitGroup
	cancel context.CancelFunc
	ctx    context.Context
	gone   goneSet
	unseen unseen

	prints map[int]uint64     // of each volume's directories, at the last walk; the walk's own
	missed map[vfs.NodeID]int // how often each was not found while others changed directories; the walk's own
}

// scanBatch is what one walk looks for.
type scanBatch struct {
	wants []wanted
	done  chan struct{}
	found []hit // by position in wants
	err   error // a volume could not be searched to the end
	away  error // a volume was not there to be searched
	moved bool  // directories are others, or changed, since the walk before
}

// hit is where something was found; path is nil if it was not.
type hit struct {
	vol  int
	path []vfs.Name
}

// wait ends a walk that is under way and waits for it.
func (s *scanner) wait() {
	s.cancel()
	s.wg.Wait()
}

// join waits for the next walk with w in it.
func (s *scanner) join(ctx context.Context, w wanted) (hit, error) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &scanBatch{done: make(chan struct{})}
	}
	b := s.next
	i := len(b.wants)
	b.wants = append(b.wants, w)
	if !s.active {
		s.active = true
		s.wg.Go(s.run)
	}
	s.mu.Unlock()
	var patience <-chan time.Time
	if ctx.Value(unhurried{}) == nil {
		t := time.NewTimer(scanPatience)
		defer t.Stop()
		patience = t.C
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return hit{}, context.Cause(ctx)
	case <-patience:
		return hit{}, &vfs.Error{Status: vfs.Jukebox, Op: "search the volumes", Object: w.node.ID.String()}
	}
	if b.found[i].path != nil {
		return b.found[i], nil
	}
	switch {
	case b.err != nil:
		return hit{}, b.err
	case b.away != nil && !w.only:
		return hit{}, b.away
	case b.moved && !s.gone.has(w.node.ID):
		return hit{}, errChanged
	}
	return hit{}, vfs.Stale
}

// joinAgain is join, once more when names were moved during the walk. What no walk finds of as many as there may be
// is nowhere, though others change directories all the time: it would have to have moved under each of them.
func (s *scanner) joinAgain(ctx context.Context, w wanted) (h hit, err error) {
	for range searches {
		if h, err = s.join(ctx, w); !errors.Is(err, errShifted) && !errors.Is(err, errChanged) {
			return h, err
		}
	}
	if errors.Is(err, errChanged) {
		err = vfs.Stale
	}
	return h, err
}

// path is where w is. Stale: nowhere.
func (s *scanner) path(ctx context.Context, w wanted) ([]vfs.Name, error) {
	h, err := s.joinAgain(ctx, w)
	return h.path, err
}

// find is the node w, with a reference. Stale: no volume has it.
func (s *scanner) find(ctx context.Context, w wanted) (*node, error) {
	if err := s.nowhere(w.node.ID); err != nil {
		return nil, err
	}
	h, err := s.joinAgain(ctx, w)
	if n := s.u.table.get(w.node.ID); n != nil { // found, or moved under the walk by a call of ours
		return n, nil
	}
	if vfs.StatusOf(err) == vfs.Stale {
		s.gone.add(w.node.ID)
		return nil, vfs.Stale
	}
	if err != nil {
		return nil, err
	}
	n, err := s.u.walk(ctx, h.vol, h.path)
	if err == nil && n.id != w.node.ID {
		n.put()
		return nil, &moved{w.node, -1}
	}
	return n, err
}

// run walks for one batch after the other until none waits.
func (s *scanner) run() {
	for {
		s.mu.Lock()
		b := s.next
		s.next = nil
		if b == nil {
			s.active = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.walkAll(b)
		close(b.done)
	}
}

// walkAll searches the volumes for the batch, and puts what was found into memory, so that
// who did not wait finds it there.
func (s *scanner) walkAll(b *scanBatch) {
	b.found = make([]hit, len(b.wants))
	m := s.u.members()
	var set volset
	for _, w := range b.wants {
		if w.only {
			set = set.with(w.vol)
		} else {
			set = m.online
		}
	}
	if away := m.all &^ m.online; away != 0 {
		b.away = s.u.refusal("search", away.first())
	}
	s.u.stats.scans.Add(1)
	shifts, shifting := s.u.shifts.Load(), s.u.shifting.Load() > 0
	w := &scanWalk{s: s, b: b}
	w.index()
	b.err = each(set, func(v int) error {
		d := s.u.vol(v).v.Root()
		err := w.dir(s.ctx, v, d, nil)
		if err != nil && !isAway(err) {
			return &vfs.Error{Status: vfs.IO, Op: "search", Volume: s.u.vol(v).name, Err: err}
		}
		return err
	})
	b.moved = s.changed(set, &w.prints)
	if b.err == nil && (shifting || s.u.shifts.Load() != shifts) {
		b.err = errShifted
	}
	for i, h := range b.found {
		if h.path == nil {
			if b.err == nil && !b.wants[i].only {
				if n := s.u.table.get(b.wants[i].node.ID); n != nil {
					n.put()
				} else if b.away == nil {
					s.missing(b.wants[i].node.ID, b.moved)
				} else {
					s.notHere(b.wants[i].node.ID, m)
				}
			}
			continue
		}
		if n, err := s.u.walk(s.ctx, h.vol, h.path); err == nil {
			n.put()
		}
	}
}

// unseenTrust is how long it is believed that no volume which is there has a node, in nanoseconds: whoever asks for
// what lies on a volume that is away would have all others walked each time.
const unseenTrust = int64(time.Minute)

// unseen are nodes that were searched for while a volume was away, and not found: when, and among which
// members.
type unseen struct {
	mu sync.Mutex
	at map[vfs.NodeID]int64
	m  *members
}

// notHere notes that no online volume of m has the node.
func (s *scanner) notHere(id vfs.NodeID, m *members) {
	o := &s.unseen
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.m != m || len(o.at) >= goneMax {
		o.m, o.at = m, make(map[vfs.NodeID]int64)
	}
	o.at[id] = s.u.now()
}

// nowhere is the error for a node that was not found lately.
func (s *scanner) nowhere(id vfs.NodeID) error {
	o := &s.unseen
	o.mu.Lock()
	defer o.mu.Unlock()
	m := s.u.members()
	at, ok := o.at[id]
	if !ok || o.m != m || s.u.now()-at >= unseenTrust {
		return nil
	}
	return s.u.refusal("find", (m.all &^ m.online).first())
}

// changed reports whether the directories of the volumes in set, nobody else's being left out, are not those of the walk
// before: then another process may have moved an object from where this walk was not yet to where it had been. What moved
// under this walk, from a directory that it came to later, has changed that: the walk sees another version
// than the one before, or than the one after.
func (s *scanner) changed(set volset, prints *[MaxVolumes]uint64) (changed bool) {
	if s.prints == nil {
		s.prints = make(map[int]uint64)
	}
	for _, v := range set.list() {
		was, ok := s.prints[v]
		changed = changed || !s.u.vol(v).exclusive && (!ok || was != prints[v])
		s.prints[v] = prints[v]
	}
	return changed
}

// missing notes that a walk over all volumes did not find a node.
func (s *scanner) missing(id vfs.NodeID, moved bool) {
	if s.missed == nil || len(s.missed) >= goneMax {
		s.missed = make(map[vfs.NodeID]int)
	}
	if s.missed[id]++; !moved || s.missed[id] >= searches {
		delete(s.missed, id)
		s.gone.add(id)
	}
}

// errChanged says that directories changed since the walk before: another must agree with it.
var errChanged error = &vfs.Error{Status: vfs.Jukebox, Op: "search the volumes", Err: errors.New("directories were changed meanwhile")}

// errShifted says that names were moved while the volumes were walked: what was not found
// may have gone from where the walk was not yet to where it had been.
var errShifted error = &vfs.Error{Status: vfs.Jukebox, Op: "search the volumes", Err: errors.New("names were moved meanwhile")}

// shift announces that a name moves, or that an object gets another one; the result ends it.
func (u *Union) shift() (end func()) {
	u.shifting.Add(1)
	return func() {
		u.shifts.Add(1)
		u.shifting.Add(-1)
	}
}

// scanWalk is one walk over the volumes.
type scanWalk struct {
	s     *scanner
	b     *scanBatch
	byIno map[volIno][]int
	byID  map[vfs.NodeID][]int
	blind bool // some want has no inode number: every object is looked at

	mu     sync.Mutex         // guards b.found
	prints [MaxVolumes]uint64 // of each volume's directories; that of who walks it
}

// print adds the version of a directory of volume v.
func (w *scanWalk) print(v int, at volume.Version) {
	b := make([]byte, 0, 32)
	for _, n := range []uint64{at.Ino, uint64(at.Ctime.Sec), uint64(at.Ctime.Nsec), uint64(at.Mtime.Sec), uint64(at.Mtime.Nsec)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	w.prints[v] += siphash.Hash(0, 0, b)
}

type volIno struct {
	vol int
	ino uint64
}

func (w *scanWalk) index() {
	w.byIno = make(map[volIno][]int)
	w.byID = make(map[vfs.NodeID][]int)
	for i, want := range w.b.wants {
		w.byID[want.node.ID] = append(w.byID[want.node.ID], i)
		if want.vol < 0 || want.ino == 0 {
			w.blind = true
			continue
		}
		k := volIno{want.vol, want.ino}
		w.byIno[k] = append(w.byIno[k], i)
	}
}

// dir searches d, which is at path on volume v, and what is beneath.
func (w *scanWalk) dir(ctx context.Context, v int, d volume.Dir, path []vfs.Name) error {
	if len(path) > scanDepth {
		return errors.New("directories are too deep to be searched")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	st, err := d.Stat(ctx)
	if err != nil {
		return err
	}
	w.print(v, st.Version())
	var beneath []vfs.Name
	var look []vfs.Name
	err = d.List(ctx, func(e volume.Entry) bool {
		if e.Type == vfs.Directory || e.Type == 0 {
			beneath = append(beneath, e.Name)
		}
		// A directory may carry the mark of a node that was born elsewhere.
		if w.blind || e.Ino == 0 || e.Type == 0 || e.Type == vfs.Directory || w.byIno[volIno{v, e.Ino}] != nil {
			look = append(look, e.Name)
		}
		return true
	})
	if err != nil {
		return err
	}
	h := &dirHandle{d: d, vol: v}
	for _, name := range look {
		if err := w.try(ctx, h, path, name); err != nil {
			return err
		}
	}
	for _, name := range beneath {
		if err := w.into(ctx, v, d, path, name); err != nil {
			return err
		}
	}
	return nil
}

// into searches the directory called name in d.
func (w *scanWalk) into(ctx context.Context, v int, d volume.Dir, path []vfs.Name, name vfs.Name) error {
	sub, err := d.OpenDir(ctx, name)
	switch vfs.StatusOf(err) {
	case vfs.OK:
	case vfs.NoEnt, vfs.NotDir, vfs.XDev: // went meanwhile; never was one; mounted there, and so not ours
		return nil
	default:
		return err
	}
	err = w.dir(ctx, v, sub, append(slices.Clip(path), name))
	return errors.Join(err, sub.Close())
}

// try looks whether what is called name in h is wanted.
func (w *scanWalk) try(ctx context.Context, h *dirHandle, path []vfs.Name, name vfs.Name) error {
	s := sighting{vol: h.vol}
	err := w.s.u.identify(ctx, h, name, &s)
	switch vfs.StatusOf(err) {
	case vfs.OK:
	case vfs.NoEnt, vfs.XDev:
		return nil
	default:
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := hit{h.vol, append(slices.Clip(path), name)}
	for _, i := range w.byID[s.node.ID] {
		w.b.found[i] = at
	}
	for _, i := range w.byIno[volIno{h.vol, s.id.Ino}] {
		if id := w.b.wants[i].id; id != nil && *id == s.id {
			w.b.found[i] = at
		}
	}
	return nil
}
