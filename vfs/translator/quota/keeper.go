package quota

import (
	"context"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// How often the keeper does what. A walk because of changes that did not come through the layer follows the one before after
// doubtAfter, and not before that took doubtShare times as long: then it costs little.
const (
	tick       = 5 * time.Second // looks for limited directories; times of walks
	saveEvery  = time.Minute
	doubtAfter = 10 * time.Minute
	doubtShare = 20
	retryFirst = 30 * time.Second // after a walk that could not read something; twice as long each time
	retryMost  = time.Hour
)

// keeper walks, and keeps what is known.
type keeper struct {
	book   *book
	rescan time.Duration
	file   string

	// Guarded by book.mu.
	walk    *walk // under way
	ended   time.Time
	took    time.Duration
	retry   time.Duration // until the next try after one that failed; 0: the last did not
	problem error         // of the last walk
	objects int           // that the last whole walk saw
}

// run is in the background until the layer ends.
func (k *keeper) run() {
	b := k.book
	saved := time.Now()
	walking := make(chan struct{}, 1)
	for b.life.Err() == nil {
		k.resolve(b.life)
		if k.due(time.Now()) {
			w := newWalk(restAsLong)
			b.mu.Lock()
			k.walk, b.wanted, b.doubted = w, false, false
			b.mu.Unlock()
			b.background.Go(func() {
				k.survey(w)
				walking <- struct{}{}
			})
		}
		if time.Since(saved) >= saveEvery {
			k.save()
			saved = time.Now()
		}
		t := time.NewTimer(tick)
		select {
		case <-walking:
		case <-b.wake:
		case <-t.C:
		case <-b.life.Done():
		}
		t.Stop()
	}
}

// restAsLong makes a walk take half a processor at most.
func restAsLong(ctx context.Context, worked time.Duration) { pause(ctx, worked) }

// due reports whether a walk is to begin.
func (k *keeper) due(now time.Time) bool {
	b := k.book
	b.mu.Lock()
	defer b.mu.Unlock()
	since := now.Sub(k.ended)
	switch {
	case k.walk != nil:
		return false
	case k.ended.IsZero():
		return true
	case k.retry > 0:
		return since >= k.retry
	case b.wanted, since >= k.rescan:
		return true
	default:
		return b.doubted && since >= max(doubtAfter, doubtShare*k.took)
	}
}

// resolve finds the directories with limits.
func (k *keeper) resolve(ctx context.Context) {
	b := k.book
	for _, t := range b.limited {
		b.mu.Lock()
		had := t.dir
		b.mu.Unlock()
		if !had.IsZero() {
			if _, err := b.below.GetAttr(ctx, vfs.Superuser, vfs.Node{ID: had}); vfs.StatusOf(err) != vfs.Stale {
				continue
			}
		}
		a, err := translator.Walk(ctx, b.below, t.names)
		if err != nil || a.Type != vfs.Directory {
			a = vfs.Attr{}
		}
		b.mu.Lock()
		b.direct(t, a.Node.ID)
		b.mu.Unlock()
	}
}

// direct makes dir the directory of t, which may be zero. Needs mu.
func (b *book) direct(t *tally, dir vfs.NodeID) {
	if t.dir == dir {
		return
	}
	if !t.dir.IsZero() {
		b.undirect(t)
		t.now, t.known = usage{}, false
		b.unfound++
	}
	t.dir = dir
	if !dir.IsZero() {
		b.unfound--
		b.dirs[dir] = append(b.dirs[dir], t)
		b.want()
	}
	b.reshape()
}

// survey is one walk through all that has limits.
func (k *keeper) survey(w *walk) {
	b := k.book
	began := time.Now()
	b.mu.Lock()
	counted := map[*tally]vfs.NodeID{}
	for _, t := range b.limited {
		if !t.dir.IsZero() {
			counted[t] = t.dir
		}
	}
	everywhere := len(b.users) > 0 || b.everyone != nil
	if !everywhere {
		w.scope = map[*tally]bool{}
		for t := range counted {
			w.scope[t] = true
		}
	}
	b.mu.Unlock()
	roots, err := k.roots(everywhere, counted)
	end := func(err error) { k.surveyed(w, counted, began, err) }
	if err == nil {
		b.run(b.life, w, roots, end)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	end(err)
}

// surveyed ends a walk. Needs book.mu.
func (k *keeper) surveyed(w *walk, counted map[*tally]vfs.NodeID, began time.Time, err error) {
	b := k.book
	if err == nil {
		b.establish(w, counted)
		k.objects, k.retry = w.objects, 0
	} else {
		b.atLeast(w)
		k.retry = min(max(2*k.retry, retryFirst), retryMost)
		if b.life.Err() == nil && (k.problem == nil || vfs.StatusOf(err) != vfs.StatusOf(k.problem)) {
			b.log.Warn("quotas cannot be counted", "err", err, "again", k.retry)
		}
	}
	k.walk, k.problem, k.ended, k.took = nil, err, time.Now(), time.Since(began)
}

// roots are where a walk begins.
func (k *keeper) roots(everywhere bool, counted map[*tally]vfs.NodeID) ([]vfs.Node, error) {
	if everywhere {
		a, err := k.book.below.Root(k.book.life, vfs.Superuser)
		return []vfs.Node{a.Node}, err
	}
	var roots []vfs.Node
	for _, dir := range counted {
		roots = append(roots, vfs.Node{ID: dir})
	}
	return roots, nil
}

// establish makes w's sums what is counted. Needs mu.
func (b *book) establish(w *walk, counted map[*tally]vfs.NodeID) {
	for t, dir := range counted {
		if t.dir == dir {
			t.now, t.known = *w.sum(t), true
		}
	}
	for uid, t := range b.users {
		t.now, t.known = *w.sum(t), true
		if t.now == (usage{}) && t.held == (usage{}) && b.everyone != nil && t.limits == *b.everyone && t.since == [2]time.Time{} && t.refused == 0 {
			delete(b.users, uid) // it comes again with its first file
		}
	}
	b.walked = true
	b.watch(b.all())
}

// atLeast keeps the sums of a walk that failed for what is not known otherwise (C7). Needs mu.
func (b *book) atLeast(w *walk) {
	for t, sum := range w.sums {
		if !t.known && !t.moving {
			t.now = usage{max(t.now.bytes, sum.bytes), max(t.now.files, sum.files)}
		}
	}
}
