package union

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/perm"
	"sheaf/vfs/volume"
)

// openFile is an open descriptor of a file, shared by all who use it.
type openFile struct {
	f     volume.File
	n     *node
	write bool // opened for writing too

	vol     int    // where n lay when it was opened
	opening uint64 // State.Attached of the volume, at most, that it is open of

	refs   atomic.Int32 // from 0 only under n.mu
	hot    atomic.Bool
	doomed atomic.Bool
	closed atomic.Bool

	written  atomic.Uint64 // counts changes of data and attributes, after they were made
	safe     atomic.Uint64 // written as of the last flush of all
	safeData atomic.Uint64 // written as of the last flush, at least of the data
	failed   atomic.Uint64 // counts flushes that failed
	syncing  sync.Mutex    // one flush at a time: who waits may find it done
}

// dirty reports whether there are changes that no flush has followed.
func (f *openFile) dirty() bool { return f.written.Load() != f.safe.Load() }

// errDropped is what a change gets that a failed flush, made for another call, came upon.
var errDropped error = &vfs.Error{Status: vfs.IO, Op: "sync", Err: errors.New("a flush failed after the change was made, and may have dropped it")}

// release gives a reference back.
func (f *openFile) release(u *Union) {
	if f.refs.Add(-1) == 0 && f.doomed.Load() {
		u.files.close(u, f)
	}
}

// sync makes what was changed before the call durable. Any failure changes the write
// verifier before it is told: the kernel may have dropped the data, and says so once only. So
// since, which is f.failed as it was before the change, must still be the same: a flush that
// was made for another call and failed took this change with it.
func (f *openFile) sync(ctx context.Context, u *Union, dataOnly bool, since uint64) error {
	asked := f.written.Load()
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.failed.Load() != since {
		return errDropped
	}
	safe := &f.safe
	if dataOnly {
		safe = &f.safeData
	}
	if safe.Load() >= asked {
		return nil
	}
	asked = f.written.Load() // what comes from now on may miss the flush
	u.stats.syncs.Add(1)
	err := f.f.Sync(context.WithoutCancel(ctx), dataOnly)
	if err != nil {
		u.newVerifier()
		f.failed.Add(1)
		u.log.Error("data could not be made durable; clients are told to send it again", "op", "sync", "node", f.n.id, "err", err)
	}
	f.safeData.Store(asked)
	if !dataOnly || err != nil { // there is nothing left to flush after a failure
		f.safe.Store(asked)
	}
	return err
}

// flush is sync of all for who promised nothing himself.
func (f *openFile) flush(ctx context.Context, u *Union) error {
	return f.sync(ctx, u, false, f.failed.Load())
}

// fileTable bounds the open files that are not in use.
type fileTable struct {
	mu    sync.Mutex // before node.mu
	limit int
	ring  []*openFile
	hand  int

	flushing atomic.Int32 // files that are flushed in the background
}

// peek is n's open file with a reference, or nil.
func (t *fileTable) peek(n *node) *openFile {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.file
	if f == nil {
		return nil
	}
	f.refs.Add(1)
	if !f.hot.Load() {
		f.hot.Store(true)
	}
	return f
}

// get is n open for reading or for writing too; the caller releases it.
func (t *fileTable) get(ctx context.Context, u *Union, n *node, write bool) (*openFile, error) {
	if f := t.peek(n); f != nil {
		if f.write || !write {
			return f, nil
		}
		f.release(u)
	}
	h, phys, _, err := u.reach(ctx, n)
	if err != nil {
		return nil, err
	}
	defer h.release()
	opening := u.vol(h.vol).opening.Load()
	flags := volume.Read
	if write {
		flags |= volume.Write
	}
	f, err := h.d.Open(ctx, phys, flags)
	switch vfs.StatusOf(err) {
	case vfs.OK:
	case vfs.NoEnt, vfs.Inval, vfs.Stale: // replaced since reach saw it
		return nil, &moved{n.node(), h.vol}
	default:
		return nil, err
	}
	st, err := f.Stat(ctx)
	n.mu.Lock()
	same := err == nil && !n.gone && len(n.copies) == 1 && n.copies[0].id.Key == st.Key
	var c copyOf
	if same {
		c = n.copies[0]
	}
	n.mu.Unlock()
	if same && !c.trusted { // its key may be another's already; what still has the name is what was opened
		_, serr := u.sameAt(ctx, h, phys, c)
		same = serr == nil
	}
	// If the volume went and came in between nobody knows of which opening f is: what was written to it might be
	// dropped with a former one, and COMMIT hear nothing of it.
	same = same && u.vol(h.vol).opening.Load() == opening
	if !same {
		err = errors.Join(err, f.Close())
		if err == nil {
			err = &moved{n.node(), h.vol}
		}
		return nil, err
	}
	return t.keep(u, n, f, write, h.vol, opening), nil
}

// keep puts an open file into the table and gives a reference to it, or to a better one
// that is there. opening is that of its volume as it was before it was opened.
func (t *fileTable) keep(u *Union, n *node, f volume.File, write bool, vol int, opening uint64) *openFile {
	o := &openFile{f: f, n: n, write: write, vol: vol, opening: opening}
	o.refs.Store(1)
	o.hot.Store(true)
	n.mu.Lock()
	old := n.file
	if old != nil && (old.write || !write) {
		old.refs.Add(1)
		n.mu.Unlock()
		u.closeClean(n, f)
		return old
	}
	if n.gone { // nobody else will find it: closed with its last user
		o.doomed.Store(true)
		n.mu.Unlock()
		return o
	}
	n.file = o
	n.mu.Unlock()
	if old != nil {
		t.drop(u, old)
	}
	t.add(u, o)
	if u.vol(vol).opening.Load() != opening { // it went, perhaps after what was open of it was dropped
		u.dropOpen(u.vol(vol))
	}
	return o
}

// closeClean closes a file through which nothing was written.
func (u *Union) closeClean(n *node, f volume.File) {
	if err := f.Close(); err != nil {
		u.log.Warn("file cannot be closed", "op", "close", "node", n.id, "err", err)
	}
}

// add takes a new file in and closes others beyond the limit. A file with uncommitted
// writes is flushed first, while COMMIT still finds it; one of another volume than o's in the background, since that may hang.
func (t *fileTable) add(u *Union, o *openFile) {
	t.mu.Lock()
	t.ring = append(t.ring, o)
	out, dirty := t.evict()
	t.mu.Unlock()
	for _, f := range dirty {
		if f.vol != o.vol && t.flushLater(u, f) {
			continue
		}
		_ = f.flush(u.background, u) // a failure changed the verifier and was logged
		f.release(u)
	}
	if len(dirty) > 0 {
		t.mu.Lock()
		more, again := t.evict()
		t.mu.Unlock()
		out = append(out, more...)
		for _, f := range again { // written to meanwhile: it stays until the next is opened
			f.release(u)
		}
	}
	for _, f := range out {
		t.retire(u, f)
	}
}

// flushLater flushes f in the background and gives its reference back then; not ok: too many are, or the server stops.
// Until that is done f stays open beyond the limit.
func (t *fileTable) flushLater(u *Union, f *openFile) (ok bool) {
	if int(t.flushing.Add(1)) <= t.limit {
		ok = u.spawn(func() {
			_ = f.flush(u.background, u) // as in add
			t.flushing.Add(-1)
			f.release(u)
		})
	}
	if !ok {
		t.flushing.Add(-1)
	}
	return ok
}

// evictShare is the part of the limit that is closed at a time when it is reached: one by one, each file that is made would
// wake a goroutine that closes another.
const evictShare = 32

// evict takes files that are not in use out of the ring if it is too long. Those
// that are dirty stay, and come back with a reference. Needs t.mu.
func (t *fileTable) evict() (out, dirty []*openFile) {
	if len(t.ring) <= t.limit {
		return nil, nil
	}
	keep := t.limit - t.limit/evictShare
	for turns := 2 * len(t.ring); len(t.ring)-len(dirty) > keep && turns > 0; turns-- {
		t.hand %= len(t.ring)
		f := t.ring[t.hand]
		if !f.doomed.Load() && (f.hot.Swap(false) || !f.unlink()) {
			if f.refs.Load() == 0 && f.dirty() && f.acquire() {
				dirty = append(dirty, f)
			}
			t.hand++
			continue
		}
		t.cut(t.hand)
		out = append(out, f)
	}
	return out, dirty
}

// acquire takes a reference if the file still is its node's.
func (f *openFile) acquire() bool {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	if f.n.file != f {
		return false
	}
	f.refs.Add(1)
	return true
}

// cut takes the i-th file out of the ring. Needs t.mu.
func (t *fileTable) cut(i int) {
	last := len(t.ring) - 1
	t.ring[i] = t.ring[last]
	t.ring[last] = nil
	t.ring = t.ring[:last]
}

// unlink takes f from its node unless it is in use or dirty.
func (f *openFile) unlink() bool {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	if f.refs.Load() != 0 || f.dirty() {
		return false
	}
	if f.n.file == f {
		f.n.file = nil
	}
	return true
}

// drop takes out a file that its node does not have any more.
func (t *fileTable) drop(u *Union, f *openFile) {
	t.mu.Lock()
	for i, o := range t.ring {
		if o == f {
			t.cut(i)
			break
		}
	}
	t.mu.Unlock()
	t.retire(u, f)
}

// retire closes f when its last user is done.
func (t *fileTable) retire(u *Union, f *openFile) {
	f.doomed.Store(true)
	if f.refs.Load() == 0 {
		t.close(u, f)
	}
}

// close closes f, once. Nothing is lost by it that anybody was promised: add and closeAll flush what was
// written through it first, whoever changed attributes through it flushes them before he lets go, and the rest
// is of objects that are gone.
func (t *fileTable) close(u *Union, f *openFile) {
	if f.closed.CompareAndSwap(false, true) {
		u.closeClean(f.n, f.f)
	}
}

// cutOn takes out the files that are open of another opening of volume v than that. What was not flushed is lost, which
// the verifier has told.
func (t *fileTable) cutOn(v int, opening uint64) (out []*openFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.ring[:0]
	for _, f := range t.ring {
		if f.vol != v || f.opening == opening {
			kept = append(kept, f)
			continue
		}
		f.n.mu.Lock()
		if f.n.file == f {
			f.n.file = nil
		}
		f.n.mu.Unlock()
		out = append(out, f)
	}
	clear(t.ring[len(kept):])
	t.ring = kept
	return out
}

// dirtyOn reports whether a file of volume v has uncommitted writes.
func (t *fileTable) dirtyOn(v int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.ring {
		if f.vol == v && f.dirty() {
			return true
		}
	}
	return false
}

// closeAll flushes and closes every file; nobody uses any.
func (t *fileTable) closeAll(u *Union) error {
	t.mu.Lock()
	ring := t.ring
	t.ring = nil
	t.mu.Unlock()
	var mu sync.Mutex // guards all
	var all error
	var flushing sync.WaitGroup
	byVol := map[int][]*openFile{} // each volume by itself: one that hangs does not keep the others from being flushed
	for _, f := range ring {
		byVol[f.vol] = append(byVol[f.vol], f)
	}
	for _, files := range byVol {
		flushing.Go(func() {
			for _, f := range files {
				err := t.closeOne(u, f)
				mu.Lock()
				all = errors.Join(all, err)
				mu.Unlock()
			}
		})
	}
	flushing.Wait()
	return all
}

// closeOne flushes a file that was taken out of the ring, and closes it.
func (t *fileTable) closeOne(u *Union, f *openFile) (err error) {
	f.n.mu.Lock()
	f.n.file = nil
	f.n.mu.Unlock()
	if f.dirty() && !f.n.isGone() {
		err = f.flush(context.Background(), u)
	}
	t.retire(u, f)
	return err
}

// regular is nil for a regular file, else what READ, WRITE and COMMIT answer.
func (n *node) regular() error {
	switch n.typ {
	case vfs.Regular:
		return nil
	case vfs.Directory:
		return vfs.IsDir
	default:
		return vfs.Inval
	}
}

// Read implements vfs.FS.
func (u *Union) Read(ctx context.Context, w *vfs.Who, vn vfs.Node, buf []byte, off uint64) (count int, eof bool, a vfs.Attr, err error) {
	u.stats.data.Add(1)
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return 0, false, a, err
	}
	defer n.put()
	a, acl, err := u.rightsOf(ctx, w, n)
	if err != nil {
		return 0, false, a, err
	}
	if err := n.regular(); err != nil {
		return 0, false, a, err
	}
	if err := perm.ReadFile(w, &a, acl); err != nil {
		return 0, false, a, err
	}
	if off >= a.Size { // nothing to ask for; and reading an empty file would move the atime that EXCLUSIVE keeps
		return 0, true, a, nil
	}
	if w.NoWait {
		return u.readNow(n, buf, off, a)
	}
	return u.readSlow(ctx, n, buf, off, a)
}

// readNow reads without waiting.
func (u *Union) readNow(n *node, buf []byte, off uint64, a vfs.Attr) (int, bool, vfs.Attr, error) {
	f := u.files.peek(n)
	if f == nil {
		return 0, false, a, vfs.Again
	}
	defer f.release(u)
	count, err := f.f.ReadNow(buf, int64(off))
	return count, atEnd(&a, off, count, len(buf)), a, err
}

// atEnd reports whether a READ that gave count of want bytes reached the end of the file.
func atEnd(a *vfs.Attr, off uint64, count, want int) bool {
	return count < want || off+uint64(count) >= a.Size
}

func (u *Union) readSlow(ctx context.Context, n *node, buf []byte, off uint64, a vfs.Attr) (count int, eof bool, _ vfs.Attr, err error) {
	err = u.again(ctx, func(ctx context.Context) error {
		f, err := u.files.get(ctx, u, n, false)
		if err != nil {
			return err
		}
		defer f.release(u)
		count, err = f.f.ReadAt(ctx, buf, int64(off))
		return err
	})
	if err != nil {
		return 0, false, a, err
	}
	if fresh, ok, _ := u.peek(n); ok { // it may have grown since a was taken
		a = fresh
	}
	return count, atEnd(&a, off, count, len(buf)), a, nil
}

// Write implements vfs.FS.
func (u *Union) Write(ctx context.Context, w *vfs.Who, vn vfs.Node, data []byte, off uint64, stable vfs.Stable) (wr vfs.Written, ch vfs.Change, err error) {
	if w.NoWait {
		return wr, ch, vfs.Again
	}
	u.stats.data.Add(1)
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return wr, ch, err
	}
	defer n.put()
	var f *openFile
	var since uint64
	err = u.again(ctx, func(ctx context.Context) (err error) {
		// Before the data goes to the host (as knfsd does, nfsd_vfs_write in fs/nfsd/vfs.c): if a
		// flush drops it before the reply, COMMIT answers another.
		wr.Verifier = u.Verifier()
		if f != nil { // of an attempt that came to nothing
			f.release(u)
		}
		f, since, wr.Count, ch, err = u.write(ctx, w, n, data, off)
		return err
	})
	if f == nil {
		return wr, ch, err
	}
	defer f.release(u)
	wr.Stable = stable
	if err == nil && stable != vfs.Unstable && !w.Async {
		if err = f.sync(ctx, u, stable == vfs.DataSync, since); err != nil {
			wr.Verifier = u.Verifier()
		}
	}
	return wr, ch, err
}

// write puts data into the page cache under the lease of n. The file is returned with a
// reference once something may have been written, and since for its sync.
func (u *Union) write(ctx context.Context, w *vfs.Who, n *node, data []byte, off uint64) (_ *openFile, since uint64, count int, ch vfs.Change, err error) {
	l, err := u.acquire(ctx, lease.Node(n.id, lease.Exclusive))
	if err != nil {
		return nil, 0, 0, ch, err
	}
	defer l.Release()
	if n.typ == vfs.Regular { // opening first lets the stat use the descriptor
		f, err := u.files.get(ctx, u, n, true)
		if err == nil {
			defer f.release(u)
		} else if s := vfs.StatusOf(err); s != vfs.Acces && s != vfs.Perm && s != vfs.ROFS {
			return nil, 0, 0, ch, err
		}
	}
	before, acl, err := u.before(ctx, w, n, &ch)
	if err != nil {
		return nil, 0, 0, ch, err
	}
	if err := n.regular(); err != nil {
		return nil, 0, 0, ch, err
	}
	if err := perm.WriteFile(w, &before, acl); err != nil {
		return nil, 0, 0, ch, err
	}
	if limit := u.fileLimit(n); len(data) > 0 && (off > limit || uint64(len(data)) > limit-off) {
		return nil, 0, 0, ch, vfs.FBig
	}
	if err := u.changeable(n.volumes()); err != nil {
		return nil, 0, 0, ch, err
	}
	f, err := u.files.get(ctx, u, n, true)
	if err != nil {
		return nil, 0, 0, ch, err
	}
	since = f.failed.Load()
	if len(data) == 0 {
		return f, since, 0, ch, nil
	}
	u.begin(n)
	defer u.end(n)
	count, err = u.writeAt(ctx, w, f, &before, data, off)
	f.written.Add(1)
	u.after(ctx, n, &ch, true)
	n.moveMtime(&ch)
	return f, since, count, ch, err
}

// writeAt writes, and clears set-id bits first as write(2) does for the caller.
func (u *Union) writeAt(ctx context.Context, w *vfs.Who, f *openFile, before *vfs.Attr, data []byte, off uint64) (int, error) {
	ctx = context.WithoutCancel(ctx)
	if mode := perm.Written(w, before); mode != before.Mode {
		if err := f.f.SetAttr(ctx, &vfs.SetAttr{Mask: vfs.SetMode, Mode: mode}); err != nil {
			return 0, err
		}
	}
	return f.f.WriteAt(ctx, data, int64(off))
}

// fileLimit is the largest size of the file n, in bytes.
func (u *Union) fileLimit(n *node) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.copies) == 0 || u.vol(n.copies[0].vol).can().MaxFileSize == 0 {
		return 1<<63 - 1
	}
	return min(u.vol(n.copies[0].vol).can().MaxFileSize, 1<<63-1)
}

// Commit implements vfs.FS.
func (u *Union) Commit(ctx context.Context, w *vfs.Who, vn vfs.Node, _, _ uint64) (v vfs.Verifier, ch vfs.Change, err error) {
	if w.NoWait {
		return v, ch, vfs.Again
	}
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return v, ch, err
	}
	defer n.put()
	a, acl, err := u.rightsOf(ctx, w, n)
	if err != nil {
		return v, ch, err
	}
	ch.Before, ch.HasBefore, ch.After, ch.HasAfter = a.Pre(), true, a, true
	if err := n.regular(); err != nil {
		return v, ch, err
	}
	if err := perm.WriteFile(w, &a, acl); err != nil {
		return v, ch, err
	}
	if on := n.volumes().first(); on >= 0 {
		if !u.online().has(on) {
			return vfs.Verifier{}, ch, u.refusal("commit", on)
		}
		if since := u.vol(on).stalled(); since >= stalledHangs { // it would wait behind those that hang
			return vfs.Verifier{}, ch, u.stalledError("commit", on, since)
		}
	}
	if f := u.files.peek(n); f != nil { // without one, all was flushed before it was closed, or the verifier tells
		err = f.flush(ctx, u)
		f.release(u)
	}
	return u.Verifier(), ch, err
}

// ReadLink implements vfs.FS.
func (u *Union) ReadLink(ctx context.Context, w *vfs.Who, vn vfs.Node) (target string, a vfs.Attr, err error) {
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return "", a, err
	}
	defer n.put()
	a, err = u.attrsOf(ctx, w, n)
	if err != nil {
		return "", a, err
	}
	if n.typ != vfs.Symlink {
		return "", a, vfs.Inval
	}
	if w.NoWait {
		return "", a, vfs.Again
	}
	err = u.again(ctx, func(ctx context.Context) error {
		h, phys, _, err := u.reach(ctx, n)
		if err != nil {
			return err
		}
		defer h.release()
		target, err = h.d.ReadLink(ctx, phys)
		return err
	})
	return target, a, err
}
