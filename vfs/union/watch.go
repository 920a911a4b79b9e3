package union

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// How a watch that could not be had, or ended, is tried again.
const (
	watchRetry = time.Minute
	watchAgain = time.Second // after one that worked
)

// watch is what is known of the watch over a volume. It implements volume.WatchSink. Times are those of
// Union.now.
type watch struct {
	u *Union
	v *vol

	w     atomic.Pointer[watchOf]
	began atomic.Int64 // since when it runs; 0: it does not
	lost  atomic.Int64 // when news were last lost
	alive atomic.Int64 // all that happened before was told
	why   atomic.Pointer[string]

	ctx   context.Context //nolint:containedctx // the watch runs in it
	stop  context.CancelFunc
	ended chan struct{} // has an element when the watch ended by itself
	kick  chan struct{} // has an element when it is worth trying again

	events, own, losses, refused atomic.Int64
}

// watchOf holds a volume.Watch.
type watchOf struct{ volume.Watch }

// WatchStats is what the watch over a volume has done, for status.
type WatchStats struct {
	Volume  string
	Kind    string // "fanotify" or "inotify"; empty: it is not watched
	Why     string // why it is not watched, or what happened to it last
	Events  int64  // news told
	Own     int64  // of these, of changes of our own
	Lost    int64  // times that news were lost
	Covered int    // directories that are watched one by one
	Refused int64  // times that a directory could not be, for a limit or an error
}

func newWatch(u *Union, v *vol) *watch {
	w := &watch{u: u, v: v, ended: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
	w.ctx, w.stop = context.WithCancel(u.background)
	w.says("it was not tried yet")
	return w
}

func (w *watch) says(why string) { w.why.Store(&why) }

// stat is the statistics as they are now.
func (w *watch) stat() WatchStats {
	s := WatchStats{
		Volume: w.v.name, Why: *w.why.Load(), Events: w.events.Load(), Own: w.own.Load(), Lost: w.losses.Load(),
		Refused: w.refused.Load(),
	}
	if r := w.w.Load(); r != nil {
		s.Kind, s.Covered = r.Kind(), r.Covered()
	}
	return s
}

// watchVolume watches v until its watch is stopped. What nobody else changes needs no watch.
func (u *Union) watchVolume(v *vol) {
	if v.exclusive {
		v.watch.says("nobody else changes it, says its configuration")
		return
	}
	u.tasks.Go(func() { v.watch.run() })
}

// run keeps a watch running.
func (w *watch) run() {
	ctx := w.ctx
	c, comes := w.v.v.(volume.Comer)
	if comes {
		defer c.Notify(func(s volume.State) {
			if s.Health == volume.Online {
				poke(w.kick)
			}
		})()
	}
	said := ""
	for {
		wait := watchRetry
		r, err := volume.StartWatch(ctx, w.v.v, w)
		if err != nil {
			w.says(err.Error())
			if said != err.Error() && ctx.Err() == nil {
				said = err.Error()
				w.u.log.Info("volume cannot be watched: what others change in it is seen when it is asked for", "op", "watch", "volume", w.v.name, "err", err)
			}
			if errors.Is(err, volume.ErrNoNews) && !comes {
				return
			}
		} else {
			said, wait = "", watchAgain
			w.keep(ctx, r)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		case <-time.After(wait):
		}
	}
}

// keep lets r tell until it ends or ctx does.
func (w *watch) keep(ctx context.Context, r volume.Watch) {
	w.says("")
	w.w.Store(&watchOf{r})
	w.began.Store(w.u.now())
	w.u.log.Info("volume is watched", "op", "watch", "volume", w.v.name, "kind", r.Kind())
	select {
	case <-ctx.Done():
	case <-w.ended:
	}
	w.began.Store(0)
	w.w.Store(nil)
	w.forgetAll()
	if err := r.Close(); err != nil {
		w.u.log.Warn("watch cannot be closed", "op", "watch", "volume", w.v.name, "err", err)
	}
	select {
	case <-w.ended: // said while it was being closed
	default:
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// forgetAll: news were lost.
func (w *watch) forgetAll() {
	now := w.u.now()
	w.lost.Store(now)
	w.u.dirNews.Store(now)
	w.u.tell(vfs.Event{Kind: vfs.ForgetAll})
}

// cover lets d's names be told from now on, and says whether they will be.
func (w *watch) cover(ctx context.Context, d volume.Dir) bool {
	r := w.w.Load()
	if r == nil {
		return false
	}
	if r.Whole() {
		return true
	}
	ok, err := r.Cover(ctx, d)
	if err != nil {
		w.u.log.Debug("directory cannot be watched", "op", "watch", "volume", w.v.name, "err", err)
	}
	if !ok || err != nil {
		w.refused.Add(1)
		return false
	}
	return true
}

// uncover ends that for the directory with that inode number.
func (w *watch) uncover(ino uint64) {
	if r := w.w.Load(); r != nil {
		r.Uncover(ino)
	}
}

// told reports whether all that happened after the time at, in what was covered at the time covered, is told
// by now but for what is younger than trust.
func (w *watch) told(covered, at, now int64) bool {
	return w.covers(covered, at) && now-w.alive.Load() < w.u.trust
}

// covers reports whether all that happened after the time at, in what was covered at the time covered, was told until the volume stalled.
func (w *watch) covers(covered, at int64) bool {
	began := w.began.Load()
	return began != 0 && covered >= began && at >= covered && at > w.lost.Load()
}

// Alive implements volume.WatchSink.
func (w *watch) Alive(at time.Time) { w.alive.Store(int64(at.Sub(w.u.start)) + 1) }

// Lost implements volume.WatchSink.
func (w *watch) Lost(dir uint64, dropped bool, why string) {
	if dir == 0 {
		w.losses.Add(1)
		w.says(why)
		w.forgetAll()
		w.u.log.Warn("news of a volume were lost: all is looked at again", "op", "watch", "volume", w.v.name, "err", why)
		if dropped {
			poke(w.ended)
		}
		return
	}
	now := w.u.now()
	w.u.dirNews.Store(now)
	var room [4]*node
	for _, d := range w.v.byIno(dir, room[:0]) {
		d.mu.Lock()
		if c := d.copyOn(w.v.i); c != nil && dropped {
			c.covered = 0
		}
		w.u.doubtNames(d, w.v.i, now)
		d.mu.Unlock()
		w.u.tell(vfs.Event{Kind: vfs.ForgetName, Node: d.id})
	}
}

// Changed implements volume.WatchSink. What we did ourselves is known: only others are news. A change
// of another hidden in ours cannot be, because the host keeps those of different processes apart.
func (w *watch) Changed(n volume.News) {
	times := int64(max(1, n.Times))
	w.events.Add(times)
	if n.Own {
		w.own.Add(times)
		return
	}
	now := w.u.now()
	if n.IsDir && n.Dir != 0 && !n.AttrOnly {
		w.u.dirNews.Store(now)
	}
	var room [4]*node
	if n.Ino != 0 {
		for _, o := range w.v.byIno(n.Ino, room[:0]) {
			w.u.doubtAttrs(o, now)
		}
	}
	if n.Dir == 0 {
		return
	}
	for _, d := range w.v.byIno(n.Dir, room[:0]) {
		if n.AttrOnly {
			w.u.doubtAttrsAt(d, n.Name, now)
			continue
		}
		if n.IsDir {
			w.u.doubtCopies(d, w.v.i, n.Name, now)
		}
		w.u.doubtName(d, w.v.i, n.Name, now)
	}
}
