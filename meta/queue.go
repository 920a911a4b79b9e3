package meta

import (
	"bytes"
	"context"
	"sync"
	"time"

	"sheaf/vfs"
)

// Bounds of what waits for the committer, and of one transaction.
const (
	queueRows  = 16384    // rows
	queueBytes = 16 << 20 // bytes of keys and values
	// A transaction folds this many calls, and stays well below what Badger takes: 15 % of
	// the memtable, 2.4 MiB and 25,000 rows. One call has at most page rows.
	batchCalls = 256
	batchBytes = 1 << 20
	// linger is how long less than a batch waits for more, unless somebody waits for it:
	// a trickle of rows, which nobody needs to be durable, costs 50 flushes a second and not
	// one each (measured: 2,000 rows a second took 164 µs of CPU each without, 65 with).
	linger = 20 * time.Millisecond
)

// op is a row to write; no value: to delete. Its bytes never change.
type op struct{ key, value []byte }

func (o op) size() int { return len(o.key) + len(o.value) }

// request is the ops of one call, committed together.
type request struct {
	ops []op
	seq uint64
}

// queued is the newest value of a row that is not yet stored.
type queued struct {
	value []byte // nil: deleted
	seq   uint64 // of the request that wrote it
}

// queue holds what was written and is not yet stored: in order for the committer,
// by key for readers.
type queue struct {
	mu     sync.RWMutex
	groups map[group]map[string]queued
	fifo   []request
	rows   int    // in groups' requests: queued or being committed
	bytes  int    // of them
	seq    uint64 // of the last request
	stored uint64 // of the last request that was committed
	lost   uint64 // of the last request that drop threw away
	era    uint64 // counts drops, from 1
	shut   bool
	moved  chan struct{} // closed and replaced when stored, shut or seq's fate changes
	work   chan struct{} // capacity 1: fifo is not empty, or shut
	hurry  chan struct{} // capacity 1: due may have become true
	flush  int           // callers of wait
}

func (q *queue) init() {
	q.groups = make(map[group]map[string]queued)
	q.era = 1
	q.moved = make(chan struct{})
	q.work = make(chan struct{}, 1)
	q.hurry = make(chan struct{}, 1)
}

// add appends a request, waiting while the queue is full. It does nothing if era is neither 0 nor the queue's.
func (q *queue) add(ctx context.Context, ops []op, era uint64) error {
	n := 0
	for _, o := range ops {
		n += o.size()
	}
	q.mu.Lock()
	for !q.shut && q.rows > 0 && (q.rows+len(ops) > queueRows || q.bytes+n > queueBytes) {
		moved := q.moved
		q.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return &vfs.Error{Status: vfs.Jukebox, Op: "write index", Object: rowName(ops[0].key), Err: context.Cause(ctx)}
		}
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	if q.shut {
		return ErrClosed
	}
	if era != 0 && era != q.era {
		return ErrPaused
	}
	q.seq++
	q.fifo = append(q.fifo, request{ops, q.seq})
	q.rows += len(ops)
	q.bytes += n
	for _, o := range ops {
		g := group(o.key)
		if q.groups[g] == nil {
			q.groups[g] = make(map[string]queued, 1)
		}
		q.groups[g][string(o.key)] = queued{o.value, q.seq}
	}
	q.wake()
	return nil
}

// wake tells the committer. Needs q.mu.
func (q *queue) wake() {
	signal(q.work)
	if q.due() {
		signal(q.hurry)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it was told already
	}
}

// due reports whether the committer should not linger. Needs q.mu.
func (q *queue) due() bool {
	return q.shut || q.flush > 0 || len(q.fifo) >= batchCalls || q.rows >= page || q.bytes >= batchBytes
}

// ripen waits until there is a batch worth storing.
func (q *queue) ripen(t *time.Timer) {
	q.mu.RLock()
	due := q.due()
	q.mu.RUnlock()
	if due {
		return
	}
	t.Reset(linger)
	select {
	case <-t.C:
	case <-q.hurry: // perhaps for the batch before, which does no harm
	}
}

// tell wakes all who wait for the queue to move. Needs q.mu.
func (q *queue) tell() {
	close(q.moved)
	q.moved = make(chan struct{})
}

// take is the next batch, in order; done says that there will be no more.
func (q *queue) take() (batch []request, done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size, n := 0, 0
	for n < len(q.fifo) && n < batchCalls && size < batchBytes {
		for _, o := range q.fifo[n].ops {
			size += o.size()
		}
		n++
	}
	batch = q.fifo[:n:n]
	q.fifo = q.fifo[n:]
	return batch, q.shut && n == 0
}

// finish forgets a batch that is stored, or lost.
func (q *queue) finish(batch []request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range batch {
		if r.seq <= q.lost {
			continue
		}
		for _, o := range r.ops {
			g := group(o.key)
			rows := q.groups[g]
			if rows[string(o.key)].seq == r.seq {
				delete(rows, string(o.key))
				if len(rows) == 0 {
					delete(q.groups, g)
				}
			}
			q.bytes -= o.size()
		}
		q.rows -= len(r.ops)
		q.stored = r.seq
	}
	if len(q.fifo) == 0 {
		q.fifo = nil // its array holds on to what was written
	}
	q.tell()
}

// drop throws away all that is queued, and what the committer has taken (see kept).
func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.groups = make(map[group]map[string]queued)
	q.fifo, q.rows, q.bytes = nil, 0, 0
	q.lost, q.stored = q.seq, q.seq
	q.era++
	q.tell()
}

// kept is the part of a batch that drop did not throw away.
func (q *queue) kept(batch []request) []request {
	q.mu.RLock()
	defer q.mu.RUnlock()
	for len(batch) > 0 && batch[0].seq <= q.lost {
		batch = batch[1:]
	}
	return batch
}

// get is a row's newest value if it is queued; nil: it is deleted.
func (q *queue) get(key []byte) (value []byte, ok bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	r, ok := q.groups[group(key)][string(key)]
	return r.value, ok
}

// group is the queued rows of g from key from.
func (q *queue) group(g group, from []byte) map[string][]byte {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if len(q.groups[g]) == 0 {
		return nil
	}
	rows := make(map[string][]byte)
	for k, r := range q.groups[g] {
		if bytes.Compare([]byte(k), from) >= 0 {
			rows[k] = r.value
		}
	}
	return rows
}

// wait waits until all that is queued now is finished.
func (q *queue) wait(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flush++
	defer func() { q.flush-- }()
	for until := q.seq; q.stored < until; {
		signal(q.hurry)
		moved := q.moved
		q.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			q.mu.Lock()
			return &vfs.Error{Status: vfs.Jukebox, Op: "flush index", Err: context.Cause(ctx)}
		}
		q.mu.Lock()
	}
	return nil
}

// len is how many rows are queued.
func (q *queue) len() int {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.rows
}

// close refuses new requests; those queued are still taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut = true
	q.wake()
	q.tell()
}
