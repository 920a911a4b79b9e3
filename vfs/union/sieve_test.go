package union

import (
	"context"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// flushAt is one flush of the code, of one object: where in the code it is called, and of what.
type flushAt struct {
	site string // function and line, innermost first, as far as a goroutine knows
	what string // volume and path of the directory or file as it was opened; "all" of a volume
}

func (f flushAt) String() string { return f.site + " of " + f.what }

// sieve is a decorator of volumes that knows each flush by its place in the code, and makes one of
// them do nothing: a build without it.
type sieve struct {
	mu   sync.Mutex
	seen map[flushAt]int
	deaf bool               // not to note them
	mute func(flushAt) bool // nil: none
}

func newSieve() *sieve { return &sieve{seen: make(map[flushAt]int)} }

// listen sets whether flushes are noted.
func (s *sieve) listen(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = !on
}

// sites are the flushes that were seen, sorted.
func (s *sieve) sites() []flushAt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.seen), func(a, b flushAt) int { return strings.Compare(a.String(), b.String()) })
}

// passes notes a flush and reports whether it is to be made.
func (s *sieve) passes(what string) bool {
	f := flushAt{callSite(), what}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.deaf {
		s.seen[f]++
	}
	return s.mute == nil || !s.mute(f)
}

// flushSteps are the functions through which others flush.
var flushSteps = []string{"(*Union).syncDir", "(*Union).flushed", "(*openFile).sync", "(*openFile).flush"}

// isFlushStep reports whether name is one of these, or a function literal in it; that may have been inlined elsewhere.
func isFlushStep(name string) bool {
	name = strings.TrimRight(name, ".0123456789")
	name = strings.TrimSuffix(name, ".func")
	return slices.ContainsFunc(flushSteps, func(step string) bool { return name == step || strings.HasSuffix(name, "."+step) })
}

// callSite is the place in the code that asked for a flush: the innermost frame of this package that is
// no step on the way to every flush, with the functions above it until the goroutine or
// the test begins.
func callSite() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	var chain []string
	for {
		f, more := frames.Next()
		name, ours := strings.CutPrefix(f.Function, "sheaf/vfs/union.")
		file := filepath.Base(f.File)
		if !ours || strings.HasSuffix(file, "_test.go") || name == "each" || strings.HasPrefix(name, "each.") {
			if len(chain) > 0 {
				break
			}
		} else if !isFlushStep(name) {
			if len(chain) == 0 {
				name = fmt.Sprintf("%s:%d %s", file, f.Line, name)
			}
			if name != "(*Union).again" {
				chain = append(chain, name)
			}
			if len(chain) == 3 {
				break
			}
		}
		if !more {
			break
		}
	}
	return strings.Join(chain, " < ")
}

// wrap decorates v.
func (s *sieve) wrap(v volume.Volume) volume.Volume {
	w := &sieveVolume{Volume: v, s: s, state: volume.State{Health: volume.Online, Attached: 1}, tell: make(map[int]func(volume.State))}
	w.root = &sieveDir{Dir: v.Root(), s: s, at: v.Name() + ":"}
	w.private = &sieveDir{Dir: v.Private(), s: s, at: v.Name() + ":" + volume.PrivateName}
	return w
}

// sieveVolume is a decorated volume. It can be away.
type sieveVolume struct {
	volume.Volume
	s             *sieve
	root, private *sieveDir

	mu    sync.Mutex
	state volume.State
	tell  map[int]func(volume.State)
}

// become changes the state.
func (v *sieveVolume) become(h volume.Health) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state.Health = h; h == volume.Online {
		v.state.Attached++
	}
	v.state.Reason, v.state.Since = "the test says so", time.Now()
	for _, f := range v.tell {
		f(v.state)
	}
}

func (v *sieveVolume) State() volume.State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

func (v *sieveVolume) Stalled() time.Duration { return 0 }

func (v *sieveVolume) Notify(f func(volume.State)) (cancel func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := len(v.tell)
	v.tell[k] = f
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.tell[k] = func(volume.State) {}
	}
}

func (v *sieveVolume) Root() volume.Dir    { return v.root }
func (v *sieveVolume) Private() volume.Dir { return v.private }

func (v *sieveVolume) SyncAll(ctx context.Context) error {
	if !v.s.passes(v.Name() + ":all") {
		return nil
	}
	return v.Volume.SyncAll(ctx)
}

type sieveDir struct {
	volume.Dir
	s  *sieve
	at string
}

func sifted(d volume.Dir) volume.Dir { return d.(*sieveDir).Dir }

// beneath is where name lies, without what is drawn anew in each run.
func (d *sieveDir) beneath(name vfs.Name) string {
	n := name.String()
	if strings.Contains(d.at, volume.PrivateName) {
		n = strings.TrimLeft(n, "0123456789abcdef")
		n = "*" + path.Ext(n)
		if d.at == "" || strings.HasSuffix(d.at, volume.PrivateName) {
			n = name.String()
		}
	}
	return d.at + "/" + n
}

func (d *sieveDir) OpenDir(ctx context.Context, name vfs.Name) (volume.Dir, error) {
	sub, err := d.Dir.OpenDir(ctx, name)
	if err != nil {
		return nil, err
	}
	return &sieveDir{Dir: sub, s: d.s, at: d.beneath(name)}, nil
}

func (d *sieveDir) Open(ctx context.Context, name vfs.Name, flags volume.Flag) (volume.File, error) {
	f, err := d.Dir.Open(ctx, name, flags)
	if err != nil {
		return nil, err
	}
	return &sieveFile{File: f, s: d.s, at: d.beneath(name)}, nil
}

func (d *sieveDir) Create(ctx context.Context, name vfs.Name, n *volume.New) (volume.File, volume.Stat, volume.Identity, error) {
	f, st, id, err := d.Dir.Create(ctx, name, n)
	if err != nil {
		return nil, st, id, err
	}
	return &sieveFile{File: f, s: d.s, at: d.beneath(name)}, st, id, nil
}

func (d *sieveDir) Mkdir(ctx context.Context, name vfs.Name, n *volume.New) (volume.Dir, volume.Stat, volume.Identity, error) {
	sub, st, id, err := d.Dir.Mkdir(ctx, name, n)
	if err != nil {
		return nil, st, id, err
	}
	return &sieveDir{Dir: sub, s: d.s, at: d.beneath(name)}, st, id, nil
}

func (d *sieveDir) Link(ctx context.Context, from volume.Dir, fromName vfs.Name, want volume.Key, name vfs.Name) error {
	return d.Dir.Link(ctx, sifted(from), fromName, want, name)
}

func (d *sieveDir) Rename(ctx context.Context, fromName vfs.Name, to volume.Dir, toName vfs.Name, noReplace bool) error {
	return d.Dir.Rename(ctx, fromName, sifted(to), toName, noReplace)
}

func (d *sieveDir) Sync(ctx context.Context) error {
	if !d.s.passes(d.at) {
		return nil
	}
	return d.Dir.Sync(ctx)
}

type sieveFile struct {
	volume.File
	s  *sieve
	at string
}

func (f *sieveFile) Sync(ctx context.Context, dataOnly bool) error {
	if !f.s.passes(f.at) {
		return nil
	}
	return f.File.Sync(ctx, dataOnly)
}

// attempt is the testing.TB of a proof that is expected to fail: it keeps the first failure to itself.
type attempt struct {
	testing.TB
	mu     sync.Mutex
	first  string
	failed bool
	undo   []func()
}

// failedNow is what FailNow panics with.
type failedNow struct{}

// try runs a proof and says why it failed; "" if it did not.
func try(t testing.TB, proof func(t testing.TB)) string {
	t.Helper()
	a := &attempt{TB: t}
	a.run(func() { proof(a) })
	why, failed := a.first, a.failed
	for _, f := range slices.Backward(a.undo) {
		a.run(f) // what a failed proof leaves open says nothing more
	}
	if !failed {
		return ""
	}
	return why
}

func (a *attempt) run(f func()) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(failedNow); !ok {
				panic(r)
			}
		}
	}()
	f()
}

func (a *attempt) Helper()          {}
func (a *attempt) TempDir() string  { return "" } // for indexes, which these shares have none of
func (a *attempt) Cleanup(f func()) { a.undo = append(a.undo, f) }
func (a *attempt) Failed() bool     { a.mu.Lock(); defer a.mu.Unlock(); return a.failed }
func (a *attempt) Fail()            { a.Error("failed") }
func (a *attempt) FailNow()         { a.Fail(); panic(failedNow{}) }

func (a *attempt) Error(args ...any)            { a.note(fmt.Sprintln(args...)) }
func (a *attempt) Errorf(f string, args ...any) { a.note(fmt.Sprintf(f, args...)) }

func (a *attempt) Fatal(args ...any) { a.Error(args...); panic(failedNow{}) }

func (a *attempt) Fatalf(f string, args ...any) { a.Errorf(f, args...); panic(failedNow{}) }

func (a *attempt) note(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.failed {
		a.failed, a.first = true, strings.TrimSpace(s)
	}
}
