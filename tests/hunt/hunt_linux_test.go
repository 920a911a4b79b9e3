package hunt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/tests/e2e/server"
	"sheaf/tests/remote"
	"sheaf/vfs"
	"sheaf/vfs/union"
)

func TestMain(m *testing.M) {
	code := m.Run()
	server.RemoveBinary()
	os.Exit(code)
}

const (
	clients   = 2                // over the wire, each with its own connections
	callers   = 3                // of each
	freeNames = 6                // n0.., that clients make and rename, and the hand removes too
	linkNames = 2                // l0.., that clients make by LINK alone
	handNames = 4                // h0.., that the hand makes, on the volumes in turn
	pace      = 4 * time.Second  // about how long a round goes on
	patience  = 40 * time.Second // of a client
	quiet     = 2 * time.Second  // after which a change that failed is not made any more
)

// bounds are those that the union promises. What a volume that is back takes to be used is not promised: a busy machine
// takes long for it.
var bounds = Bounds{Direct: union.DefaultTrust + 20*time.Millisecond, After: 10 * time.Second}

// hunt is a server, and who works with it.
type hunt struct {
	t       *testing.T
	s       *server.Server
	state   string
	stage   string
	volumes []string
	clients []*remote.Client
	start   time.Time
	seed    uint64
	rnd     *rand.Rand // of the driver
	unique  atomic.Uint64
}

// round is one directory and what happened in it.
type round struct {
	*hunt
	name string
	dir  vfs.Node
	// still is when clients stop changing names: a directory that they change is listed all the time, and hides
	// what was not noticed of the hand's changes.
	still time.Duration

	mu     sync.Mutex
	h      History
	failed []string // answers that need no history to be wrong
	lost   []int    // of h.Writes: what is to be ended when all outages are known
}

// TestHunt hunts for SHEAF_HUNT, or for two rounds.
func TestHunt(t *testing.T) {
	long, err := time.ParseDuration(cmpOr(os.Getenv("SHEAF_HUNT"), "0s"))
	if err != nil {
		t.Fatalf("SHEAF_HUNT: %v", err)
	}
	x := newHunt(t)
	calls, rounds := 0, 0
	for ; rounds < 2 || time.Since(x.start) < long; rounds++ {
		r := x.round(rounds)
		calls += len(r.h.Reads)
		faults := append(r.failed, Check(&r.h, bounds)...)
		for _, f := range faults[:min(len(faults), 5)] {
			t.Errorf("round %d: %s", rounds, f)
		}
		if len(faults) > 0 {
			t.Fatalf("%d answers that nothing explains, in round %d with SHEAF_HUNT_SEED=%d", len(faults), rounds, x.seed)
		}
	}
	if calls == 0 {
		t.Error("nobody was told anything")
	}
	t.Logf("%d rounds, %d answers about names, seed %d", rounds, calls, x.seed)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func newHunt(t *testing.T) *hunt {
	t.Helper()
	x := &hunt{t: t, start: time.Now(), state: filepath.Join(t.TempDir(), "state"), seed: rand.Uint64()}
	if s := os.Getenv("SHEAF_HUNT_SEED"); s != "" {
		var err error
		if x.seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SHEAF_HUNT_SEED: %v", err)
		}
	}
	x.rnd = rand.New(rand.NewPCG(x.seed, 0))
	dir := t.TempDir()
	x.stage = filepath.Join(dir, "stage")
	o := server.Options{State: x.state}
	for i := range 2 {
		v := filepath.Join(dir, fmt.Sprint("v", i))
		x.volumes = append(x.volumes, v)
		o.Volumes = append(o.Volumes, server.Volume{Name: fmt.Sprint("v", i), Dir: v})
	}
	for _, d := range append([]string{x.stage}, x.volumes...) {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	x.s = server.Start(t, o)
	for range clients {
		c, err := remote.Mount(t.Context(), remote.Options{Conns: callers, Patience: patience, Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", x.s.Port))
		}})
		if err != nil {
			t.Fatal(err)
		}
		x.clients = append(x.clients, c)
		t.Cleanup(func() {
			if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			for _, v := range c.Violations() {
				t.Error(v)
			}
		})
	}
	return x
}

// who the clients are: the server's user may do what it does itself.
func who() *vfs.Who { return &vfs.Who{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())} }

// now is the one clock.
func (x *hunt) now() time.Duration { return time.Since(x.start) }

// round makes a directory, lets all work in it, and waits until all is there again.
func (x *hunt) round(i int) *round {
	x.t.Helper()
	r := &round{hunt: x, name: fmt.Sprint("round", i)}
	root, err := x.clients[0].Root(x.t.Context(), who())
	if err != nil {
		x.t.Fatal(err)
	}
	a, _, err := x.clients[0].Make(x.t.Context(), who(), root.Node, vfs.MustName(r.name), &vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}})
	if err != nil {
		x.t.Fatal(err)
	}
	r.dir = a.Node
	for _, v := range x.volumes { // the hand needs it everywhere
		if err := os.Mkdir(filepath.Join(v, r.name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			x.t.Fatal(err)
		}
	}
	for _, n := range r.names() {
		r.h.Writes = append(r.h.Writes, Write{Name: n, To: Absent, What: "nothing yet"})
	}
	r.ready()
	r.still = never
	if i%2 != 0 {
		r.still = r.now() + pace/2
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	work := func(salt int, step func(rnd *rand.Rand)) {
		rnd := rand.New(rand.NewPCG(x.seed, uint64(i)<<16|uint64(salt)))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					step(rnd)
				}
			}
		})
	}
	for c := range clients * callers {
		k := &caller{round: r, c: x.clients[c%clients], nth: c}
		if c%clients > 0 { // what the other client met, this one looks up by itself
			k.meet(root.Node)
		}
		work(1+c, k.step)
	}
	hand := &hand{round: r}
	work(100, hand.step)
	if i%2 == 0 {
		r.trouble()
	} else { // nothing is away: the bounds of direct changes are those that are promised, and no call may be refused
		time.Sleep(pace * 3 / 2)
	}
	close(stop)
	wg.Wait()
	last := &caller{round: r, c: x.clients[0], nth: 99}
	last.list()
	for _, n := range r.names() {
		last.look(n)
	}
	r.settle()
	return r
}

// ready waits until every volume is used: what is put on it is seen, and what is taken away is not.
func (r *round) ready() {
	r.t.Helper()
	for v := range r.volumes {
		p := filepath.Join(r.volumes[v], r.name, "ready")
		await := func(want vfs.Status) {
			r.t.Helper()
			var err error
			for end := time.Now().Add(2 * patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if _, _, err = r.clients[0].Lookup(r.t.Context(), who(), r.dir, vfs.MustName("ready")); vfs.StatusOf(err) == want {
					return
				}
			}
			r.t.Fatalf("volume %d is not used: %v, want %v", v, err, want)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			r.t.Fatal(err)
		}
		await(vfs.OK)
		if err := os.Remove(p); err != nil {
			r.t.Fatal(err)
		}
		await(vfs.NoEnt)
	}
}

// names are all that are used in a round.
func (r *round) names() (all []string) {
	for i := range freeNames {
		all = append(all, fmt.Sprint("n", i))
	}
	for i := range linkNames {
		all = append(all, fmt.Sprint("l", i))
	}
	for i := range handNames {
		all = append(all, fmt.Sprint("h", i))
	}
	return all
}

// settle ends the writes that may still have been made.
func (r *round) settle() {
	for _, i := range r.lost {
		r.h.Writes[i].End = r.h.Settled(r.h.Writes[i].End, quiet)
	}
}

// trouble lets volumes go and come, and kills the server.
func (r *round) trouble() {
	nap := func() { time.Sleep(pace/8 + time.Duration(r.rnd.Int64N(int64(pace/8)))) }
	nap()
	r.pull(r.rnd.IntN(len(r.volumes)), nap)
	nap()
	began := r.now()
	r.begin(Outage{Start: began, End: never, What: "server"})
	r.s.Kill()
	if r.rnd.IntN(2) == 0 {
		if err := os.RemoveAll(r.state); err != nil {
			r.t.Error(err)
		}
	}
	r.s.Restart()
	r.end()
	nap()
	r.pull(r.rnd.IntN(len(r.volumes)), nap)
	nap()
}

// pull moves a volume away for as long as nap takes.
func (r *round) pull(v int, nap func()) {
	away := r.volumes[v] + ".away"
	r.begin(Outage{Start: r.now(), End: never, What: fmt.Sprint("volume ", v)})
	if err := os.Rename(r.volumes[v], away); err != nil {
		r.t.Error(err)
		return
	}
	nap()
	if err := os.Rename(away, r.volumes[v]); err != nil {
		r.t.Error(err)
	}
	r.end()
}

func (r *round) begin(o Outage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Outages = append(r.h.Outages, o)
}

func (r *round) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Outages[len(r.h.Outages)-1].End = r.now()
}

// killed reports whether the server was away at some time of an interval: then a call may have been made twice. Needs r.mu.
func (r *round) killed(start, end time.Duration) bool {
	return slices.ContainsFunc(r.h.Outages, func(o Outage) bool { return o.What == "server" && o.Start <= end && start <= o.End })
}

// caller is one who calls the server.
type caller struct {
	*round
	c     *remote.Client
	nth   int
	known []known // objects that it has a handle of
}

type known struct {
	node vfs.Node
	o    Object
}

// meet looks the round's directory up, so that the client has its handle.
func (k *caller) meet(root vfs.Node) {
	if _, err := k.c.Root(k.t.Context(), who()); err != nil {
		k.t.Error(err)
	}
	if _, _, err := k.c.Lookup(k.t.Context(), who(), root, vfs.MustName(k.name)); err != nil {
		k.t.Error(err)
	}
}

// object is what a file of that size is.
func object(size uint64) Object {
	if size == 0 {
		return Torn
	}
	return Object(size)
}

// step is one call.
func (k *caller) step(rnd *rand.Rand) {
	all := k.names()
	free := func() string { return all[rnd.IntN(freeNames)] }
	time.Sleep(time.Duration(rnd.Int64N(int64(2 * time.Millisecond)))) // what is checked grows with the square of a round's calls
	kind := rnd.IntN(12)
	if k.now() > k.still {
		kind = 8 + kind%4
	}
	switch kind {
	case 0, 1, 2:
		k.create(free())
	case 3:
		k.remove(all[rnd.IntN(freeNames+linkNames)])
	case 4, 5:
		if a, b := free(), free(); a != b {
			k.rename(a, b)
		}
	case 6:
		if len(k.known) > 0 {
			k.link(k.known[rnd.IntN(len(k.known))], all[freeNames+rnd.IntN(linkNames)])
		}
	case 7, 8:
		k.list()
	default:
		k.look(all[rnd.IntN(len(all))])
	}
}

// answer takes down what a call came to: reads that its outcome tells and writes that it made. other are what its failures
// tell.
func (k *caller) answer(start time.Duration, err error, what string, reads []Read, writes []Write, other map[vfs.Status][]Read) {
	end := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	what = fmt.Sprintf("%s by %d", what, k.nth)
	status := vfs.StatusOf(err)
	killed := k.killed(start, end)
	told := reads
	if err != nil {
		var ok bool
		if told, ok = other[status]; !ok {
			told = nil
			k.h.Refusals = append(k.h.Refusals, Refusal{start, end, what + ": " + err.Error()})
			if status != vfs.Jukebox && status != vfs.IO && status != vfs.NXIO {
				k.failed = append(k.failed, fmt.Sprintf("%s at %v..%v: %v", what, start, end, err))
			}
		}
	}
	if len(writes) == 0 || !killed { // else it may have been made before, by itself
		for _, r := range told {
			r.Start, r.End, r.What = start, end, what
			k.h.Reads = append(k.h.Reads, r)
		}
	}
	_, refused := other[status]
	if err != nil && refused && !killed {
		return // it says that nothing was changed
	}
	for _, w := range writes {
		w.Start, w.End, w.What = start, end, what
		if err != nil {
			w.Maybe = true
			k.lost = append(k.lost, len(k.h.Writes))
		}
		k.h.Writes = append(k.h.Writes, w)
	}
}

func (k *caller) create(name string) {
	o := Object(k.unique.Add(1))
	start := k.now()
	a, _, err := k.c.Make(context.Background(), who(), k.dir, vfs.MustName(name), &vfs.How{
		Type: vfs.Regular, Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode | vfs.SetSize, Mode: 0o644, Size: uint64(o)},
	})
	if err == nil {
		k.known = append(k.known[max(0, len(k.known)-3):], known{a.Node, o})
	}
	k.answer(start, err, "CREATE "+name, []Read{{Name: name, Is: Absent}}, []Write{{Name: name, To: o}}, map[vfs.Status][]Read{vfs.Exist: {{Name: name, Is: Some}}})
}

func (k *caller) remove(name string) {
	start := k.now()
	_, err := k.c.Remove(context.Background(), who(), k.dir, vfs.MustName(name))
	k.answer(start, err, "REMOVE "+name, []Read{{Name: name, Is: Some}}, []Write{{Name: name, To: Absent}}, map[vfs.Status][]Read{vfs.NoEnt: {{Name: name, Is: Absent}}})
}

func (k *caller) rename(from, to string) {
	start := k.now()
	_, _, err := k.c.Rename(context.Background(), who(), k.dir, vfs.MustName(from), k.dir, vfs.MustName(to))
	k.answer(start, err, "RENAME "+from+" "+to, []Read{{Name: from, Is: Some}},
		[]Write{{Name: from, To: Absent}, {Name: to, To: Some, From: from}},
		map[vfs.Status][]Read{vfs.NoEnt: {{Name: from, Is: Absent}}})
}

func (k *caller) link(x known, name string) {
	start := k.now()
	_, _, err := k.c.Link(context.Background(), who(), x.node, k.dir, vfs.MustName(name))
	k.answer(start, err, "LINK "+name, []Read{{Name: name, Is: Absent}}, []Write{{Name: name, To: x.o}},
		map[vfs.Status][]Read{vfs.Exist: {{Name: name, Is: Some}}, vfs.Stale: nil, vfs.NoEnt: nil})
}

func (k *caller) look(name string) {
	start := k.now()
	a, _, err := k.c.Lookup(context.Background(), who(), k.dir, vfs.MustName(name))
	if err == nil {
		k.known = append(k.known[max(0, len(k.known)-3):], known{a.Node, object(a.Size)})
	}
	k.answer(start, err, "LOOKUP "+name, []Read{{Name: name, Is: object(a.Size)}}, nil, map[vfs.Status][]Read{vfs.NoEnt: {{Name: name, Is: Absent}}})
}

func (k *caller) list() {
	start := k.now()
	got := map[string]int{}
	_, _, err := k.c.ReadDir(context.Background(), who(), k.dir, 0, k.nth%2 == 0, func(e *vfs.DirEntry) bool {
		got[e.Name.String()]++
		return true
	})
	var reads []Read
	for _, n := range k.names() {
		is := Absent
		if got[n] > 0 {
			is = Some
		}
		if got[n] > 1 {
			k.wrong("%s is listed %d times", n, got[n])
		}
		reads = append(reads, Read{Name: n, Is: is})
		delete(got, n)
	}
	if err == nil && len(got) > 0 {
		k.wrong("what nobody made is listed: %v", got)
	}
	k.answer(start, err, "READDIR", reads, nil, nil)
}

func (k *caller) wrong(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = append(k.failed, fmt.Sprintf(format, args...)+fmt.Sprintf(" to %d before %v", k.nth, k.now()))
}

// hand changes names directly on the volumes.
type hand struct {
	*round
	there [handNames]bool
}

func (h *hand) path(v int, name string) string {
	return filepath.Join(h.volumes[v], h.name, name)
}

// step is one change, and a rest that is not longer than a tick now and then.
func (h *hand) step(rnd *rand.Rand) {
	time.Sleep(time.Duration(rnd.Int64N(int64(60 * time.Millisecond))))
	if rnd.IntN(3) == 0 {
		h.remove(fmt.Sprint("n", rnd.IntN(freeNames)), rnd.IntN(2))
		return
	}
	i := rnd.IntN(handNames)
	v, name := i%2, fmt.Sprint("h", i)
	switch {
	case !h.there[i]:
		o := Object(h.unique.Add(1))
		p := filepath.Join(h.stage, "new")
		f, err := os.Create(p)
		if err == nil {
			err = errors.Join(f.Truncate(int64(o)), f.Close())
		}
		if err != nil {
			h.t.Error(err)
			return
		}
		start := h.now()
		if h.did(start, os.Rename(p, h.path(v, name)), Write{Name: name, To: o, What: "created"}) {
			h.there[i] = true
		}
	case rnd.IntN(2) == 0:
		if h.remove(name, v) {
			h.there[i] = false
		}
	default:
		j := (i + 2) % handNames
		to := fmt.Sprint("h", j)
		start := h.now()
		err := os.Rename(h.path(v, name), h.path(v, to))
		if h.did(start, err, Write{Name: name, To: Absent, What: "renamed"}, Write{Name: to, To: Some, From: name, What: "renamed"}) {
			h.there[i], h.there[j] = false, true
		}
	}
}

// remove takes a name away, if the volume has it.
func (h *hand) remove(name string, v int) bool {
	start := h.now()
	return h.did(start, unix.Unlink(h.path(v, name)), Write{Name: name, To: Absent, What: "removed"})
}

// did takes down a change that was made between start and now. A name or a volume that is not there is none.
func (h *hand) did(start time.Duration, err error, writes ...Write) bool {
	end := h.now()
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		h.t.Errorf("the hand: %v", err)
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range writes {
		w.Start, w.End, w.Direct = start, end, true
		w.What += " on the volume"
		h.h.Writes = append(h.h.Writes, w)
	}
	return true
}
