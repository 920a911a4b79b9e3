package union

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/lease"
)

// Pacing of the walk in the background.
const (
	// scanDelay is how long after the start, or after a volume came, the walk begins: clients come first.
	scanDelay = 2 * time.Second
	// scanDuty is which part of the time the walk works while clients are served: one of scanDuty.
	scanDuty = 10
	// scanRestMax is the longest rest between two pages: at least one page a second is walked whatever clients do.
	scanRestMax = time.Second
	// scanRetry is when a walk that could not see everything is tried again.
	scanRetry = 10 * time.Minute
	// scanPage is how many names are looked at between two rests.
	scanPage = 256
	// scanAgain is how often a walk begins anew because directories were moved while it was under way.
	scanAgain = 3
)

// ScanProgress is how far the walk in the background has come, which makes all names and objects known to the index.
type ScanProgress struct {
	Running     bool
	Why         string        // what it was begun for, in words
	Directories int64         // seen to be known, or listed
	Listed      int64         // of these, listed: the index did not know their names
	Objects     int64         // names looked at
	Entered     int64         // of these, objects that were not known
	Path        string        // where it is; empty: at the root, or not running
	Volumes     []string      // members that are walked
	Missing     []string      // members that are not there, and so are not
	Rate        float64       // names a second, in the last seconds
	Elapsed     time.Duration // since it was begun
	Rested      time.Duration // of this, for the sake of clients
	Queued      int           // directories whose rows are not written yet
	Whole       bool          // everything is known, as far as was seen last
	Err         error         // why the last walk could not see everything
}

// walker walks the share in the background, one walk at a time.
type walker struct {
	u      *Union
	wake   chan struct{} // capacity 1: why was set
	ctx    context.Context
	cancel context.CancelFunc
	busy   chan struct{} // held by who walks

	mu  sync.Mutex
	p   ScanProgress
	why string // of the walk that is due; empty: none
	at  time.Time
	was int64 // names looked at when the rate was measured last
	had time.Time
}

// startWalks lets walks begin. The first is due if the index does not know everything.
func (u *Union) startWalks() {
	w := &u.walks
	w.u = u
	w.wake, w.busy = make(chan struct{}, 1), make(chan struct{}, 1)
	w.ctx, w.cancel = context.WithCancel(u.background)
	if !u.keeps() {
		return
	}
	u.spawn(w.run)
	switch s := u.opt.Index; {
	case s.Whole() && u.away() == 0:
	case s.Unclean():
		u.walkSoon("the last server was not stopped in good order")
	case s.Whole():
		u.walkSoon("volumes are away")
	default:
		u.walkSoon("the index does not know all that is on the volumes")
	}
}

// walkSoon lets the share be walked: not all of it is known, for why.
func (u *Union) walkSoon(why string) {
	if !u.keeps() || u.walks.u == nil {
		return
	}
	u.opt.Index.SetWhole(false)
	w := &u.walks
	w.mu.Lock()
	w.why, w.at = why, time.Now().Add(u.opt.scanDelay)
	w.mu.Unlock()
	wake(w.wake)
}

// run walks whenever that is due.
func (w *walker) run() {
	t := time.NewTimer(idleWait)
	defer t.Stop()
	for w.ctx.Err() == nil {
		w.mu.Lock()
		why, wait := w.why, time.Until(w.at)
		w.mu.Unlock()
		if why == "" {
			wait = idleWait
		}
		if wait > 0 {
			t.Reset(wait)
			select {
			case <-t.C:
			case <-w.wake:
			case <-w.ctx.Done():
			}
			continue
		}
		if err := w.walk(w.ctx, why, walkOptions{paced: true}); err != nil && w.ctx.Err() == nil {
			w.u.log.Warn("not all that is on the volumes is known; it is looked at again", "op", "scan", "in", scanRetry, "err", err)
		}
	}
}

// walkOptions are how a walk goes about it.
type walkOptions struct {
	paced bool // it rests while clients are served
	anew  bool // it lists every directory, and looks at every name, whatever the index says
	tell  func(ScanProgress)
}

// ScanProgress is how far the walk in the background has come.
func (u *Union) ScanProgress() ScanProgress {
	if u.walks.u == nil || !u.keeps() {
		return ScanProgress{}
	}
	return u.walks.progress()
}

func (w *walker) progress() ScanProgress {
	queued := w.u.rowQueue.behind()
	whole := w.u.opt.Index.Whole()
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.p
	p.Queued, p.Whole = queued, whole
	if p.Running {
		p.Elapsed = time.Since(w.had)
	}
	return p
}

// Rebuild lists every directory and looks at every name, whatever the index says of them, and writes what it finds; clients are
// served meanwhile. It does not rest. Rows of what is gone stay; they harm nobody, and Check takes them
// away. progress is called about once a second. The error says what could not be seen.
func (u *Union) Rebuild(ctx context.Context, progress func(ScanProgress)) error {
	if !u.keeps() {
		return &vfs.Error{Status: vfs.NotSupp, Op: "rebuild", Err: errors.New("there is no index")}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(u.walks.ctx, func() { cancel(context.Cause(u.walks.ctx)) })
	defer stop()
	return u.walks.walk(ctx, "it was asked for", walkOptions{anew: true, tell: progress})
}

// walk is one walk, begun anew when directories were moved under it. Another that is under way is waited for.
func (w *walker) walk(ctx context.Context, why string, o walkOptions) error {
	select {
	case w.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-w.busy }()
	var err error
	for range scanAgain {
		shifts := w.u.shifts.Load()
		r := &walkRun{w: w, o: o, m: w.u.members()}
		w.begin(why, r.m)
		err = r.run(ctx)
		w.end(err)
		if err != nil || ctx.Err() != nil {
			break
		}
		if w.u.shifts.Load() == shifts && w.u.shifting.Load() == 0 {
			w.whole(r.m)
			break
		}
		o.anew = false // what was seen once is known
	}
	if err == nil {
		w.u.sweepSidecars(ctx)
	}
	if o.tell != nil {
		o.tell(w.progress())
	}
	return err
}

// whole notes that everything was seen, if no volume came or went meanwhile, and none is away.
func (w *walker) whole(m *members) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == "" && w.u.members().openedAt == m.openedAt && m.all == m.online {
		w.u.opt.Index.SetWhole(true)
	}
}

func (w *walker) begin(why string, m *members) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p = ScanProgress{Running: true, Why: why}
	w.why = "" // whatever it was, this walk does it
	for _, v := range m.vols {
		if m.online.has(v.i) {
			w.p.Volumes = append(w.p.Volumes, v.name)
		} else {
			w.p.Missing = append(w.p.Missing, v.name)
		}
	}
	w.had, w.was = time.Now(), 0
	w.u.log.Info("looking for what the index does not know", "op", "scan", "why", why)
}

func (w *walker) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p.Running, w.p.Err, w.p.Elapsed, w.p.Path = false, err, time.Since(w.had), ""
	if err != nil && w.why == "" && !w.u.opt.Index.Whole() {
		w.why, w.at = w.p.Why, time.Now().Add(scanRetry)
		wake(w.wake)
	}
	said := []any{
		"op", "scan", "directories", w.p.Directories, "listed", w.p.Listed,
		"names", w.p.Objects, "entered", w.p.Entered, "took", w.p.Elapsed.Round(time.Millisecond), "rested", w.p.Rested.Round(time.Millisecond),
	}
	if err != nil {
		said = append(said, "err", err)
	}
	w.u.log.Info("looked for what the index does not know", said...)
}

// walkRun is one walk under way. It keeps the directories on the way down, a page of names of each.
type walkRun struct {
	w    *walker
	o    walkOptions
	m    *members
	path []vfs.Name
	err  error // the first directory that could not be seen

	told   time.Time
	served int64 // what clients had asked for at the last rest
}

// run walks everything.
func (r *walkRun) run(ctx context.Context) error {
	r.told = time.Now()
	r.served = r.w.u.served()
	root := r.w.u.root
	root.refs.Add(1)
	err := r.dir(ctx, root)
	root.put()
	return errors.Join(err, r.err)
}

// dir enters d and all beneath. Its error ends the walk; what cannot be seen is passed over, also a directory in which a call
// hangs for longer than leasePatience: the walk is made again later (scanRetry).
func (r *walkRun) dir(ctx context.Context, d *node) error {
	if len(r.path) > scanDepth {
		r.unseen(errors.New("directories are too deep"))
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := r.prove(ctx, d); err != nil {
		r.unseen(err)
		return context.Cause(ctx)
	}
	for after := vfs.Cookie(0); ; {
		began := time.Now()
		page, last, more, err := r.page(ctx, d, after)
		if err != nil {
			r.unseen(err)
			return context.Cause(ctx)
		}
		after = last
		if err := r.rest(ctx, time.Since(began)); err != nil {
			return err
		}
		for i := range page {
			if err := r.into(ctx, &page[i]); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// into is dir for a directory that a page holds.
func (r *walkRun) into(ctx context.Context, p *pageEntry) error {
	n, err := r.w.u.resolve(ctx, p.out.Node)
	if err != nil {
		if vfs.StatusOf(err) != vfs.Stale { // removed meanwhile
			r.unseen(err)
		}
		return context.Cause(ctx)
	}
	defer n.put()
	if !n.isDir() {
		return nil
	}
	r.w.u.markLater(ctx, n) // before it is listed: a mark moves its version
	r.path = append(r.path, p.at.name)
	defer func() { r.path = r.path[:len(r.path)-1] }()
	return r.dir(ctx, n)
}

// unseen notes that the walk could not see the directory it is at.
func (r *walkRun) unseen(err error) {
	if vfs.StatusOf(err) == vfs.Stale || r.err != nil {
		return
	}
	r.err = fmt.Errorf("scan %s: %w", r.where(), err)
}

func (r *walkRun) where() string {
	var s strings.Builder
	for _, n := range r.path {
		s.WriteString("/" + n.String())
	}
	if s.String() == "" {
		return "/"
	}
	return s.String()
}

// prove makes the names of d known.
func (r *walkRun) prove(ctx context.Context, d *node) error {
	u := r.w.u
	if r.o.anew {
		u.disbelieve(d)
	}
	lists := u.stats.lists.Load()
	err := u.again(ctx, func(ctx context.Context) error {
		err := u.proveNow(ctx, d)
		if isAway(err) && u.doubtful(d) != 0 { // what lies on the others is entered all the same
			return u.listThere(ctx, d)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.p.Directories++
	if u.stats.lists.Load() != lists { // perhaps by another call
		r.w.p.Listed++
	}
	r.w.p.Path = r.where()
	return nil
}

// proveNow is prove whatever is believed for the time being: by a look at the versions at least. The caller holds no lease.
func (u *Union) proveNow(ctx context.Context, d *node) error {
	if _, err := u.checkCopies(ctx, d); err != nil {
		return err
	}
	l, err := u.acquire(ctx, lease.Node(d.id, lease.Shared))
	if err != nil {
		return err
	}
	defer l.Release()
	select {
	case d.fill <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.fill }()
	return u.fillNames(ctx, d)
}

// page looks at the next names of d after a cookie, so that each is a node with a row, and gives those that are
// directories; last is the cookie to go on with.
func (r *walkRun) page(ctx context.Context, d *node, after vfs.Cookie) (dirs []pageEntry, last vfs.Cookie, more bool, err error) {
	u := r.w.u
	entered := int64(0)
	looked := 0
	err = u.again(ctx, func(ctx context.Context) error {
		l, err := u.acquire(ctx, lease.Node(d.id, lease.Shared))
		if err != nil {
			return err
		}
		defer l.Release()
		page, ok := u.unknownPage(d, after, r.o.anew)
		if !ok {
			return &vfs.Error{Status: vfs.Jukebox, Op: "scan", Object: d.id.String(), Err: errors.New("its names were forgotten meanwhile")}
		}
		looked, entered, dirs = len(page), 0, dirs[:0]
		more = len(page) == scanPage
		if looked > 0 {
			last = page[looked-1].out.Cookie
		}
		for i := range page {
			if page[i].look {
				entered++
			}
		}
		if err := u.describe(ctx, d, page, false); err != nil {
			return err
		}
		for i := range page {
			p := &page[i]
			if p.err != nil && vfs.StatusOf(p.err) != vfs.Stale && vfs.StatusOf(p.err) != vfs.XDev {
				return p.err
			}
			if p.dir && !p.gone && !p.away && !p.out.Node.ID.IsZero() {
				dirs = append(dirs, *p)
			}
		}
		return nil
	})
	r.w.mu.Lock()
	r.w.p.Objects += int64(looked)
	r.w.p.Entered += entered
	r.w.mu.Unlock()
	return dirs, last, more, err
}

// unknownPage takes the next names of d out of its table; those whose nodes are not known, or all, are to be
// looked at. Not ok: they are not to be had any more. The caller holds a lease on d.
func (u *Union) unknownPage(d *node, after vfs.Cookie, anew bool) (page []pageEntry, ok bool) {
	u.rowsKeepUp(d)
	look := func(e *entry) bool { return anew || e.node.IsZero() || e.typ == 0 }
	ok = u.namesAfter(d, after, scanPage, func(found []*entry) {
		page = u.takeOut(d, found, look)
		u.admitUnknown(d, found)
	})
	if ok {
		return page, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.names; t != nil && !t.large { // what is known of the copies that are there (listThere)
		page = u.takeOut(d, t.order.after(after, make([]*entry, 0, scanPage), scanPage), look)
	}
	return page, d.names == nil || !d.names.large
}

// rest lets clients come first: for as long as makes the work, which took so long, one part of scanDuty while they
// are served. Rows that wait to be written are waited for.
func (r *walkRun) rest(ctx context.Context, worked time.Duration) error {
	u, w := r.w.u, r.w
	u.rowQueue.room(ctx)
	now := time.Now()
	w.mu.Lock()
	if since := now.Sub(r.told); since >= time.Second {
		w.p.Rate = float64(w.p.Objects-w.was) / since.Seconds()
		w.was = w.p.Objects
	}
	w.mu.Unlock()
	if now.Sub(r.told) >= time.Second {
		r.told = now
		if r.o.tell != nil {
			r.o.tell(w.progress())
		}
	}
	served := u.served()
	busy := served != r.served
	r.served = served
	if !r.o.paced || !busy || u.scans.waiting() {
		return context.Cause(ctx)
	}
	rest := min(worked*(scanDuty-1), scanRestMax)
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	w.mu.Lock()
	w.p.Rested += rest
	w.mu.Unlock()
	return context.Cause(ctx)
}

// served counts what clients had done, about: look-ups, reads, writes and changes.
func (u *Union) served() int64 {
	return u.stats.hits.Load() + u.stats.misses.Load() + u.stats.asked.Load() + u.stats.data.Load() + u.stats.syncs.Load()
}

// waiting reports whether calls wait for a search of the volumes.
func (s *scanner) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

// listThere lists the copies of d that are there, though it is not known what those have that are away. The names are no complete
// table for anybody. The caller holds no lease.
func (u *Union) listThere(ctx context.Context, d *node) error {
	l, err := u.acquire(ctx, lease.Node(d.id, lease.Shared))
	if err != nil {
		return err
	}
	defer l.Release()
	select {
	case d.fill <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.fill }()
	m := u.members()
	d.mu.Lock()
	known := d.names != nil && d.on()&m.online&^u.knownOf(d) == 0
	d.mu.Unlock()
	if known {
		return nil
	}
	hs, err := u.dirsAt(ctx, d, m.online)
	if err != nil {
		return err
	}
	defer hs.release()
	u.cover(ctx, d, hs)
	now := u.now()
	got, err := u.listRest(ctx, d, hs, nil, &recalled{})
	if err != nil {
		return err
	}
	return u.adoptListing(ctx, d, m, hs.set(), got, now, now, false)
}

// disbelieve makes d be listed anew, whatever is known of its copies that are there.
func (u *Union) disbelieve(d *node) {
	r := d.rows
	r.write.Lock()
	defer r.write.Unlock()
	u.readCopyRows(d)
	online := u.online()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range r.held {
		if h := &r.held[i]; online.has(h.vol) {
			h.proof, h.complete = false, false
		}
	}
	if d.names != nil {
		d.names.provable = false
		u.forgetNames(d)
	}
	r.mirrored = false
	u.copiesBehind(d)
}
