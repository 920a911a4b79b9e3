package union

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// closeSettle is how long Close goes on settling directories.
const closeSettle = 2 * time.Second

// rowTask is a directory, with a reference, and when its turn is.
type rowTask struct {
	d   *node
	due int64
}

// rowQueue is the directories whose rows are behind, and those that are to be settled. Each list is one
// goroutine's: the first never waits for a volume.
type rowQueue struct {
	u   *Union
	ctx context.Context // of writing; it does not end

	rest atomic.Int64 // settleDelay, in nanoseconds

	mu      sync.Mutex // after the mu of nodes
	write   []rowTask
	settle  []rowTask
	shorter chan struct{} // closed, and replaced, when write gets shorter than rowsQueueMax
	until   int64         // when to stop settling; 0: not

	writeWoken, settleWoken   chan struct{} // capacity 1
	writeClosed, settleClosed bool          // it ends when its list is empty, and does not wait for anything to be due
	writer, settler           sync.WaitGroup
}

// start begins to write rows.
func (q *rowQueue) start(u *Union) {
	q.u, q.ctx = u, context.WithoutCancel(u.background)
	q.rest.Store(int64(u.opt.settleDelay))
	q.shorter = make(chan struct{})
	q.writeWoken, q.settleWoken = make(chan struct{}, 1), make(chan struct{}, 1)
	q.writer.Go(func() { q.run(&q.write, &q.writeClosed, q.writeWoken, rowsQueueMax/2, q.writeOne) })
	q.settler.Go(func() { q.run(&q.settle, &q.settleClosed, q.settleWoken, settleMax, q.settleOne) })
}

// close writes everything.
func (q *rowQueue) close() {
	if q.u == nil {
		return
	}
	q.end(&q.writeClosed, q.writeWoken)
	q.writer.Wait()
	q.end(&q.settleClosed, q.settleWoken)
	q.settler.Wait()
}

// end makes the goroutine of a list work off what is in it, and end.
func (q *rowQueue) end(closed *bool, woken chan struct{}) {
	q.mu.Lock()
	*closed = true
	q.until = q.u.now() + int64(closeSettle)
	q.mu.Unlock()
	wake(woken)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it was told already
	}
}

// push puts d into the queue, unless it is there. Needs d.mu; the caller has a reference to d.
func (q *rowQueue) push(d *node) {
	if q.u == nil || d.rows.queued {
		return
	}
	d.rows.queued = true
	d.refs.Add(1)
	q.mu.Lock()
	q.write = append(q.write, rowTask{d, q.u.now() + int64(q.u.opt.rowsDelay)})
	first := len(q.write) == 1 || len(q.write) == rowsQueueMax/2
	q.mu.Unlock()
	if first {
		wake(q.writeWoken)
	}
}

// pushSettle lets d be settled when it has rested. Needs d.mu; the caller has a reference to d.
func (q *rowQueue) pushSettle(d *node) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.rows.settling || len(q.settle) >= settleMax {
		return
	}
	d.rows.settling = true
	d.refs.Add(1)
	q.settle = append(q.settle, rowTask{d, q.u.now() + q.rest.Load()})
	if len(q.settle) == 1 {
		wake(q.settleWoken)
	}
}

// room waits until the queue is short enough.
func (q *rowQueue) room(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.write) >= rowsQueueMax && ctx.Err() == nil {
		shorter := q.shorter
		q.mu.Unlock()
		select {
		case <-shorter:
		case <-ctx.Done():
		}
		q.mu.Lock()
	}
}

// behind is how many directories' rows are.
func (q *rowQueue) behind() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.write)
}

// run does one task of list after the other when they are due, or the list is as long as hurry.
func (q *rowQueue) run(list *[]rowTask, closed *bool, woken chan struct{}, hurry int, do func(d *node)) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		d, wait, done := q.next(list, closed, hurry)
		switch {
		case done:
			return
		case d != nil:
			do(d)
			d.put()
		default:
			t.Reset(wait)
			select {
			case <-t.C:
			case <-woken:
			}
		}
	}
}

// idleWait is how long an empty list is not looked at, unless something wakes who does.
const idleWait = time.Hour

// next is the first of list if it is due, or how long it is not.
func (q *rowQueue) next(list *[]rowTask, closed *bool, hurry int) (d *node, wait time.Duration, done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(*list) == 0 {
		*list = nil
		return nil, idleWait, *closed
	}
	first := (*list)[0]
	if left := first.due - q.u.now(); left > 0 && !*closed && len(*list) < hurry {
		return nil, time.Duration(left), false
	}
	(*list)[0] = rowTask{}
	*list = (*list)[1:]
	if list == &q.write && len(q.write) == rowsQueueMax-1 {
		close(q.shorter)
		q.shorter = make(chan struct{})
	}
	return first.d, 0, false
}

// writeOne writes the rows of d.
func (q *rowQueue) writeOne(d *node) {
	u := q.u
	u.writeRows(d)
	u.pageOut(d)
	d.mu.Lock()
	if u.members().all.count() > 1 && !d.gone && d.rows.unsettled() {
		q.pushSettle(d)
	}
	d.mu.Unlock()
}

// unsettled reports whether the rows say of some copy that it is Complete and not that it is Settled.
// Needs the mu of the node.
func (r *rows) unsettled() bool {
	if r.state != rowsHeld {
		return false
	}
	for i := range r.held {
		if r.held[i].complete && !r.held[i].settled {
			return true
		}
	}
	return false
}

// settleOne settles d if it has rested, and else lets it rest.
func (q *rowQueue) settleOne(d *node) {
	u := q.u
	q.mu.Lock()
	closing, late := q.settleClosed, q.settleClosed && u.now() > q.until
	q.mu.Unlock()
	d.mu.Lock()
	r := d.rows
	r.settling = false
	rested := !d.changing && !r.queued && (closing || u.now()-r.touched >= q.rest.Load())
	if d.gone || late || !r.unsettled() {
		d.mu.Unlock()
		return
	}
	if !rested {
		if !closing {
			q.pushSettle(d)
		}
		d.mu.Unlock()
		return
	}
	changes, flush := d.changes, r.unsynced
	d.mu.Unlock()
	if flush != 0 && u.flushCopies(d, flush) != nil { // away, or failing: it is tried after the next change
		return
	}
	u.settleRows(d, changes, flush)
}

// flushCopies makes durable what we changed of the names of d's copies on vols.
func (u *Union) flushCopies(d *node, vols volset) error {
	hs, err := u.dirsAt(u.rowQueue.ctx, d, vols)
	if err != nil {
		return err
	}
	defer hs.release()
	return each(hs.set(), func(v int) error { return u.syncDir(u.rowQueue.ctx, hs[v]) })
}

// settleRows settles d unless it was changed since changes were counted (N4).
func (u *Union) settleRows(d *node, changes uint64, flushed volset) {
	r := d.rows
	r.write.Lock()
	defer r.write.Unlock()
	d.mu.Lock()
	if d.changing || d.gone || d.changes != changes || r.queued || r.stale || r.whole || len(r.behind) > 0 || !r.unsettled() {
		d.mu.Unlock()
		return
	}
	r.unsynced &^= flushed
	for i := range r.held {
		if h := &r.held[i]; !r.unsynced.has(h.vol) {
			h.settled = h.complete
		}
	}
	era, change := r.era, u.heldChange(d)
	d.mu.Unlock()
	u.rowsFailed(d, u.opt.Index.ChangeDir(u.rowQueue.ctx, d.id, era, &change))
}
