package guard

import (
	"context"
	"sync"

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

	mu     sync.Mutex // held while the sink is told that it ended
	closed bool       // by its owner: the sink is told nothing more
}

// Watch watches the present opening. When that ends the sink is told that all is Lost; who wants to
// watch the next asks again then.
func (g *Volume) Watch(ctx context.Context, sink volume.WatchSink) (volume.Watch, error) {
	gt := g.gate.Load()
	c := call{g: g, op: volume.OpProbe, gt: gt, o: gt.o}
	if gt.o == nil {
		return nil, c.refuse(gt)
	}
	w, err := look(ctx, c, func(ctx context.Context) (volume.Watch, error) { return volume.StartWatch(ctx, gt.o.vol, sink) },
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
			m.lost(why)
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

// lost tells the sink that the watch ended.
func (w *watch) lost(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.sink.Lost(0, true, why)
	}
}

// Close ends the watch, if the opening's end has not.
func (w *watch) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	if w.o.watches.remove(w) {
		return w.Watch.Close()
	}
	return nil
}
