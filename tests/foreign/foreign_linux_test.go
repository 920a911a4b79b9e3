package foreign

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sheaf/nfsd"
	"sheaf/nfsd/rpc"
	"sheaf/placement"
	"sheaf/tests/need"
	"sheaf/tests/remote"
	"sheaf/vfs"
	"sheaf/vfs/union"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/group"
	"sheaf/vfs/volume/local"
)

const (
	// bound is what the union promises, and what a coarse clock may be off.
	bound = union.DefaultTrust + 20*time.Millisecond
	// limit is how long anything may take before a test gives up.
	limit = 60 * time.Second
)

// site is where a share lies.
type site struct {
	volumes [2]string
	stage   string
}

// sites are directories of file systems with exact versions, mostly, and of one without.
var sites = map[string]func(t *testing.T) string{
	"temporary": func(t *testing.T) string { t.Helper(); return t.TempDir() },
	"tmpfs":     func(t *testing.T) string { t.Helper(); return need.Tmpfs(t, 64<<20) },
}

// newSite makes the directories of a task below dir.
func newSite(t *testing.T, dir string) (s site) {
	t.Helper()
	s.stage = filepath.Join(dir, "stage")
	s.volumes = [2]string{filepath.Join(dir, "v0"), filepath.Join(dir, "v1")}
	for _, d := range []string{s.stage, s.volumes[0], s.volumes[1], filepath.Join(s.volumes[0], "d"), filepath.Join(s.volumes[1], "d"), filepath.Join(s.volumes[0], "e"), filepath.Join(s.volumes[0], "b")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// lowest puts everything of ours on the first volume, so that the hand's names never are there twice.
type lowest struct{}

func (lowest) Choose([]placement.Volume, *placement.Hints, rand.Source) (placement.Choice, error) {
	return placement.Choice{Rule: "lowest", Rival: -1}, nil
}

// serve serves a site's volumes, and gives a client and the union.
func serve(t *testing.T, s site, mode local.WatchMode, directories int) (*remote.Client, *union.Union) {
	t.Helper()
	ctx := context.Background()
	log := lastWords(t)
	var vols []volume.Volume
	for i, d := range s.volumes {
		m := volume.Marker{Share: strings.Repeat("5a", 16), Root: "0123456789abcdef0123456789abcdef", Key: strings.Repeat("c3", 32), Epoch: 1}
		v, err := local.Open(ctx, d, local.Options{Name: fmt.Sprint("v", i), Adopt: &m})
		if err != nil {
			t.Fatal(err)
		}
		v.WatchBy(mode, directories)
		t.Cleanup(func() { done(t, v.Close()) })
		vols = append(vols, group.New(v))
	}
	u, err := union.Open(ctx, union.Options{Volumes: vols, Policy: lowest{}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done(t, u.Close()) })
	return listen(t, u, log), u
}

// lastWords is a log whose end is shown if the test fails.
func lastWords(t *testing.T) *slog.Logger {
	t.Helper()
	w := &words{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's last words:\n%s", strings.Join(w.lines, ""))
		}
	})
	return slog.New(slog.NewTextHandler(w, nil))
}

// words are the last lines of a log.
type words struct {
	mu    sync.Mutex
	lines []string
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lines = append(w.lines, string(b)); len(w.lines) > 20 {
		w.lines = w.lines[1:]
	}
	return len(b), nil
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// listen serves fs on the loopback and gives a client.
func listen(t *testing.T, fs vfs.FS, log *slog.Logger) *remote.Client {
	t.Helper()
	ctx := context.Background()
	x, err := nfsd.ParseExports(ctx, "/ *(rw,no_root_squash,insecure,async)\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := nfsd.New(ctx, fs, nfsd.Options{Exports: x, FSID: 1, Logger: log, HandleKey: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		done(t, srv.Shutdown(ctx))
		if err := <-served; !errors.Is(err, rpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	return connect(t, l.Addr().String())
}

// connect mounts a server.
func connect(t *testing.T, addr string) *remote.Client {
	t.Helper()
	c, err := remote.Mount(context.Background(), remote.Options{Conns: 4, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		for _, err := range c.Violations() {
			t.Errorf("violation: %v", err)
		}
	})
	return c
}

// caller is who the client is: the server's user may do what it does itself.
func caller() *vfs.Who { return &vfs.Who{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())} }

// client asks and takes down what it was told.
type client struct {
	t    *testing.T
	c    *remote.Client
	w    *vfs.Who
	dirs map[string]vfs.Node

	mu     sync.Mutex
	reads  []read
	writes []write
}

func newClient(t *testing.T, c *remote.Client) *client {
	t.Helper()
	root, err := c.Root(t.Context(), caller())
	if err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, c: c, w: caller(), dirs: map[string]vfs.Node{}}
	for _, d := range []string{"d", "e", "b"} {
		a, _, err := c.Lookup(t.Context(), k.w, root.Node, vfs.MustName(d))
		if err != nil {
			t.Fatal(err)
		}
		k.dirs[d] = a.Node
	}
	return k
}

// split is the directory of a path of two names, and its name.
func (k *client) split(rel string) (vfs.Node, vfs.Name) {
	d, n, _ := strings.Cut(rel, "/")
	return k.dirs[d], vfs.MustName(n)
}

func (k *client) told(rs ...read) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads = append(k.reads, rs...)
}

// look looks a name up; full: the fields count.
func (k *client) look(ctx context.Context, rel string, full bool) error {
	dir, name := k.split(rel)
	r := read{Start: clock(), Call: "LOOKUP"}
	a, _, err := k.c.Lookup(ctx, k.w, dir, name)
	r.End = clock()
	note := func(field string, value int64) {
		r.Fact, r.Value = fact(rel+" "+field), value
		k.told(r)
	}
	if vfs.StatusOf(err) == vfs.NoEnt {
		note("there", 0)
		return nil
	}
	if err != nil {
		return fmt.Errorf("look %s up: %w", rel, err)
	}
	note("there", 1)
	if full {
		note("size", int64(a.Size))
		note("mode", int64(a.Mode))
		note("mtime", a.Mtime.Time().UnixNano())
	}
	return nil
}

// list lists a directory, and notes of each of the names whether it was there.
func (k *client) list(ctx context.Context, dir string, names []string) error {
	r := read{Start: clock(), Call: "READDIR"}
	got := map[string]bool{}
	_, eof, err := k.c.ReadDir(ctx, k.w, k.dirs[dir], 0, false, func(e *vfs.DirEntry) bool {
		got[e.Name.String()] = true
		return true
	})
	r.End = clock()
	if err != nil || !eof {
		return fmt.Errorf("list %s: end %v, %w", dir, eof, err)
	}
	for _, rel := range names {
		d, name, _ := strings.Cut(rel, "/")
		if d != dir {
			continue
		}
		r.Fact, r.Value = fact(rel+" there"), 0
		if got[name] {
			r.Value = 1
		}
		k.told(r)
	}
	return nil
}

// data reads the counter of the mapped file.
func (k *client) data(ctx context.Context) error {
	dir, name := k.split(mapped)
	a, _, err := k.c.Lookup(ctx, k.w, dir, name)
	if vfs.StatusOf(err) == vfs.NoEnt { // not made yet
		return nil
	}
	if err != nil {
		return err
	}
	r := read{Fact: mapped + " data", Start: clock(), Call: "READ"}
	buf := make([]byte, 8)
	n, err := k.read(ctx, a.Node, buf)
	r.End = clock()
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if n == len(buf) {
		r.Value = int64(binary.NativeEndian.Uint64(buf))
		k.told(r)
	}
	return nil
}

func (k *client) read(ctx context.Context, n vfs.Node, buf []byte) (int, error) {
	got, _, _, err := k.c.Read(ctx, k.w, n, buf, 0)
	return got, err
}

// names are all that the hand works with.
func names() (list []string) {
	for i := range handNames {
		list = append(list, handName(i))
	}
	for i := range contestedNames {
		list = append(list, contestedName(i))
	}
	return append(list, visited, mapped)
}

// watchAll looks at everything again and again until ctx ends.
func (k *client) watchAll(ctx context.Context) error {
	all := names()
	for round := 0; ctx.Err() == nil; round++ {
		for _, rel := range all {
			if err := k.look(context.Background(), rel, strings.HasPrefix(rel, "d/")); err != nil {
				return err
			}
		}
		if err := k.data(context.Background()); err != nil {
			return err
		}
		if round%16 == 0 {
			for d := range k.dirs {
				if err := k.list(context.Background(), d, all); err != nil {
					return err
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// ownChanges makes and removes names in the hand's directories, and sees each of its changes at once.
func (k *client) ownChanges(ctx context.Context, nth int) error {
	r := rand.New(rand.NewPCG(uint64(nth), 2))
	for i := 0; ctx.Err() == nil; i++ {
		if err := k.contest(r); err != nil {
			return err
		}
		dir := k.dirs[[]string{"d", "e", "b"}[r.IntN(3)]]
		name, other := vfs.MustName(fmt.Sprintf("c%d-%d", nth, i)), vfs.MustName(fmt.Sprintf("r%d-%d", nth, i))
		_, _, err := k.c.Make(context.Background(), k.w, dir, name, k.how())
		if err == nil {
			err = k.want(dir, name, vfs.OK)
		}
		if err == nil && r.IntN(2) == 0 {
			_, _, err = k.c.Rename(context.Background(), k.w, dir, name, dir, other)
			if err == nil {
				err = errors.Join(k.want(dir, name, vfs.NoEnt), k.want(dir, other, vfs.OK))
			}
			name = other
		}
		if err == nil {
			_, err = k.c.Remove(context.Background(), k.w, dir, name)
		}
		if err == nil {
			err = k.want(dir, name, vfs.NoEnt)
		}
		if err != nil {
			return fmt.Errorf("own changes: %w", err)
		}
		time.Sleep(time.Duration(r.Int64N(int64(5 * time.Millisecond))))
	}
	return nil
}

func (k *client) how() *vfs.How {
	return &vfs.How{Type: vfs.Regular, Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}}
}

func (k *client) want(dir vfs.Node, name vfs.Name, want vfs.Status) error {
	_, _, err := k.c.Lookup(context.Background(), k.w, dir, name)
	if vfs.StatusOf(err) != want {
		return fmt.Errorf("look %s up: %w, want %w", name, err, want)
	}
	return nil
}

// contest makes or removes a name that the hand may be making or removing.
func (k *client) contest(r *rand.Rand) error {
	rel := contestedName(r.IntN(contestedNames))
	dir, name := k.split(rel)
	w := write{Fact: fact(rel + " there"), Own: true, Start: clock()}
	var err error
	if r.IntN(2) == 0 {
		w.Value = 1
		_, _, err = k.c.Make(context.Background(), k.w, dir, name, k.how())
	} else {
		_, err = k.c.Remove(context.Background(), k.w, dir, name)
	}
	w.End = clock()
	switch vfs.StatusOf(err) {
	case vfs.OK:
		k.mu.Lock()
		k.writes = append(k.writes, w)
		k.mu.Unlock()
	case vfs.Exist, vfs.NoEnt:
	default:
		return fmt.Errorf("contest %s: %w", rel, err)
	}
	return nil
}

// compare lets a hand work while k asks, and checks what it was told.
func compare(t *testing.T, k *client, s site) *history {
	t.Helper()
	start := clock()
	wait := task{Volumes: s.volumes, Stage: s.stage, For: need.Duration(t, "SHEAF_FOREIGN", 2*time.Second), Seed: need.Seed(t, "SHEAF_FOREIGN_SEED", rand.Uint64())}.begin(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 2 {
		run(func() error { return k.watchAll(ctx) })
		run(func() error { return k.ownChanges(ctx, i) })
	}
	writes := wait()
	time.Sleep(bound) // after which all must be seen
	cancel()
	wg.Wait()
	if err := errors.Join(k.watchOnce(t)); err != nil {
		t.Error(err)
	}
	for _, rel := range names() {
		writes = append(writes, write{Fact: fact(rel + " there"), Start: start - 2, End: start - 1})
	}
	h := newHistory(append(writes, k.writes...), k.reads)
	faults, ages := h.check(bound)
	for i, f := range faults {
		if i == 5 {
			t.Errorf("and %d more", len(faults)-i)
			break
		}
		t.Error(f)
	}
	t.Logf("%d changes; %d facts told, ages %s", len(writes), len(h.reads), distribution(ages))
	return h
}

// watchOnce is one last round.
func (k *client) watchOnce(t *testing.T) error {
	t.Helper()
	var errs []error
	for _, rel := range names() {
		errs = append(errs, k.look(t.Context(), rel, strings.HasPrefix(rel, "d/")))
	}
	for d := range k.dirs {
		errs = append(errs, k.list(t.Context(), d, names()))
	}
	return errors.Join(errs...)
}

// watching waits until both volumes are watched as they should be.
func watching(t *testing.T, u *union.Union, mode local.WatchMode) {
	t.Helper()
	want := string(mode)
	if mode == local.WatchOff {
		want = ""
	}
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		w := u.Stats().Watches
		if w[0].Kind == want && w[1].Kind == want {
			return
		}
		if mode == local.WatchFanotify && os.Geteuid() != 0 {
			need.Lack(t, need.Fanotify, "it wants privileges")
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, want %s", w, mode)
		}
	}
}

// TestForeign: another process's changes are seen within the bound, on each kind of file system and by each
// means to watch it.
func TestForeign(t *testing.T) {
	for place, dir := range sites {
		for _, mode := range []local.WatchMode{local.WatchFanotify, local.WatchInotify, local.WatchOff} {
			t.Run(place+", watch "+string(mode), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, dir(t))
				c, u := serve(t, s, mode, 0)
				watching(t, u, mode)
				h := compare(t, newClient(t, c), s)
				t.Logf("watches %+v", u.Stats().Watches)
				soon(t, h, mode)
			})
		}
	}
}

// TestLimit: directories beyond the limit of watches are looked at in time.
func TestLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir())
	c, u := serve(t, s, local.WatchInotify, 1)
	for deadline := time.Now().Add(limit); u.Stats().Watches[0].Kind == "" && u.Stats().Watches[1].Kind == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", u.Stats().Watches)
		}
	}
	h := compare(t, newClient(t, c), s)
	w := u.Stats().Watches
	if w[0].Covered+w[1].Covered > 1 || w[0].Refused+w[1].Refused == 0 {
		t.Errorf("%+v, want at most one directory covered and others refused", w)
	}
	t.Logf("names and attributes of files seen after %s", distribution(h.sights(func(f fact) bool { return strings.HasPrefix(string(f), "d/a") })))
}

// soon wants what is watched to be seen sooner than chance would have it: without a watch that is half a
// second, typically.
func soon(t *testing.T, h *history, mode local.WatchMode) {
	t.Helper()
	kind := func(prefix string) func(fact) bool {
		return func(f fact) bool { return strings.HasPrefix(string(f), prefix) }
	}
	seen := h.sights(kind("d/a"))
	t.Logf("names and attributes of files seen after %s", distribution(seen))
	t.Logf("a name in a copy that comes and goes after %s", distribution(h.sights(kind(visited))))
	t.Logf("what is written through a mapping after %s", distribution(h.sights(kind(mapped))))
	if p50 := quantile(seen, 0.5); mode != local.WatchOff && p50 > union.DefaultTrust/4 {
		t.Errorf("typically seen after %v though watched", p50)
	}
}
