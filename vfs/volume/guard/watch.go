package guard

import (
	"context"
	"fmt"
	"sync"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// watches are those of one opening.
type watches struct {
	mu   sync.Mutex
	over bool
	all  map[*watch]struct{}
}

// watch is a watch of one opening: it ends with it, and its sink is told so.
type watch struct {
	volume.Watch
	o    *opening
	sink volume.WatchSink
}

// Watch watches the present opening. When that ends the sink is told that all is Lost; who wants to
// watch the next asks again then.
func (g *Volume) Watch(ctx context.Context, sink volume.WatchSink) (volume.Watch, error) {
	gt := g.gate.Load()
	c := call{g: g, op: volume.OpProbe, gt: gt, o: gt.o}
	if gt.o == nil {
		return nil, c.refuse(gt)
	}
	inner, ok := gt.o.vol.(volume.Watcher)
	if !ok {
		return nil, &vfs.Error{Status: vfs.NotSupp, Op: "watch", Volume: g.o.Name, Err: fmt.Errorf("a volume of type %T cannot be watched", gt.o.vol)}
	}
	w, err := look(ctx, c, func(context.Context) (volume.Watch, error) { return inner.Watch(ctx, sink) },
		func(late volume.Watch) { gt.o.reap(late) })
	if err != nil {
		return nil, err
	}
	mine := &watch{Watch: w, o: gt.o, sink: sink}
	if !gt.o.watches.add(mine) {
		gt.o.reap(w)
		return nil, c.refuse(g.gate.Load())
	}
	return mine, nil
}

// add is false when the opening has ended.
func (w *watches) add(m *watch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	if w.all == nil {
		w.all = map[*watch]struct{}{}
	}
	w.all[m] = struct{}{}
	return true
}

// remove is false for one that is not there any more.
func (w *watches) remove(m *watch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, there := w.all[m]
	delete(w.all, m)
	return there
}

// end ends all of them, in the background.
func (w *watches) end(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for m := range w.all {
		m.o.reap(closer(func() error {
			err := m.Watch.Close()
			m.sink.Lost(0, true, why)
			return err
		}))
	}
	clear(w.all)
}

// Cover passes the opening's own directory on; one of another opening is not covered.
func (w *watch) Cover(ctx context.Context, d volume.Dir) (bool, error) {
	own, ok := d.(*dir)
	if !ok {
		return w.Watch.Cover(ctx, d)
	}
	c, in := own.at(volume.OpProbe)
	if c.o != w.o {
		return false, c.refuse(c.gt)
	}
	return look(ctx, c, func(ctx context.Context) (bool, error) { return w.Watch.Cover(ctx, in) }, nil)
}

// Close ends the watch in the background.
func (w *watch) Close() error {
	if w.o.watches.remove(w) {
		w.o.reap(w.Watch)
	}
	return nil
}
