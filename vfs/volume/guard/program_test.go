package guard

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/delay"
	"sheaf/vfs/volume/fault"
	"sheaf/vfs/volume/group"
	"sheaf/vfs/volume/hook"
	"sheaf/vfs/volume/local"
	"sheaf/vfs/volume/volumetest"
)

var seed = flag.Uint64("seed", 0, "of the random programs; 0: drawn")

func drawSeed(t *testing.T) uint64 {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return s
}

// trial is a guarded volume to which everything happens, and users who hold it to its word.
type trial struct {
	t      *testing.T
	g      *Volume
	disk   *delay.Volume
	faults *fault.Volume
	unit   time.Duration // the volume's deadline
	scale  int           // operations of a user
	prompt bool          // the clock is exact: answers are to come in time
	mu     sync.Mutex    // guards did
	did    map[string]int
}

// kept is the disk, that an opening's end leaves open for the next.
type kept struct{ volume.Volume }

func (kept) Close() error { return nil }

func (tr *trial) begin(v volume.Volume, seed uint64) {
	tr.faults = fault.New(v, seed)
	tr.disk = delay.New(tr.faults, seed)
	tr.g = New(Options{
		Name: "disk", ID: v.ID(), Workers: 4, Waiting: 4, Deadline: tr.unit, OfflineWait: tr.unit / 3, ProbeEvery: tr.unit / 10,
		First: tr.opening(), Open: func(context.Context) (volume.Volume, error) {
			if err := tr.faults.Present(); err != nil {
				return nil, err
			}
			return tr.opening(), nil
		},
		Present: func(context.Context, volume.Volume) error { return tr.faults.Present() },
	})
}

func (tr *trial) opening() volume.Volume { return kept{group.New(tr.disk)} }

// trouble happens to the volume until ctx ends; then all is well again.
func (tr *trial) trouble(ctx context.Context, r *rand.Rand) {
	sleep := func(units int) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(r.IntN(units*100)+1) * tr.unit / 100):
		}
	}
	ops := volume.Ops()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(tr.unit / 4):
		}
		switch r.IntN(4) {
		case 0:
			release := tr.disk.Hang(ops[r.IntN(len(ops))], ops[r.IntN(len(ops))])
			sleep(3)
			release()
		case 1:
			release := tr.disk.Hang()
			sleep(2)
			if r.IntN(2) == 0 {
				tr.faults.PullOut()
				sleep(1)
			}
			release()
			sleep(1)
			tr.faults.PutBack()
		case 2:
			tr.faults.PullOut()
			sleep(1)
			tr.faults.PutBack()
		case 3:
			tr.faults.Set(fault.Rule{Pick: hook.Pick{Chance: 0.5}})
			tr.disk.Set(delay.Rule{Pick: hook.Pick{Chance: 0.2}, Max: tr.unit / 10})
			sleep(1)
			tr.faults.Set()
			tr.disk.Set()
		}
	}
}

// user works in a directory of his own, and remembers what is in it.
type user struct {
	*trial
	r     *rand.Rand
	own   vfs.Name
	d     volume.Dir // nil: to be opened
	names map[string]string
	made  int
}

func (tr *trial) count(what string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.did[what]++
}

func (tr *trial) newUser(i int, seed uint64) *user {
	u := &user{trial: tr, r: rand.New(rand.NewPCG(seed, uint64(i))), own: name(fmt.Sprintf("user%d", i)), names: map[string]string{}}
	d, _, _, err := tr.g.Root().Mkdir(tr.t.Context(), u.own, &volume.New{Mode: 0o700, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	ok(tr.t, err)
	u.d = d
	return u
}

// outcome checks what a call was answered with, and says whether it was done.
func (u *user) outcome(what string, began time.Time, changes bool, err error) bool {
	took := time.Since(began)
	if most := 3 * u.unit; u.prompt && !changes && took > most {
		u.t.Errorf("%s: answered after %v, longer than %v", what, took, most)
	}
	var away *volume.AwayError
	switch {
	case err == nil:
		u.count("done")
		return true
	case errors.As(err, &away):
		u.count("away")
		if u.d != nil && away.State.Attached != u.g.State().Attached || u.g.State().Health == volume.Away {
			u.leave()
		}
	case errors.Is(err, fault.ErrInjected), errors.Is(err, fault.ErrPulled):
		u.count("failed")
	default:
		u.t.Errorf("%s: %v", what, err)
	}
	return false
}

func (u *user) leave() {
	if u.d != nil {
		if err := u.d.Close(); err != nil {
			u.t.Errorf("close: %v", err)
		}
	}
	u.d = nil
}

// step is one call, or a few on one object.
func (u *user) step(ctx context.Context) {
	if u.d == nil {
		began := time.Now()
		d, err := u.g.Root().OpenDir(ctx, u.own)
		if !u.outcome("opendir", began, false, err) {
			time.Sleep(u.unit / 20)
			return
		}
		u.d = d
	}
	some := ""
	if len(u.names) > 0 {
		all := slices.Sorted(maps.Keys(u.names))
		some = all[u.r.IntN(len(all))]
	}
	began := time.Now()
	switch op := u.r.IntN(8); {
	case op < 2 || some == "":
		u.create(ctx)
	case op == 2:
		if u.outcome("unlink", began, true, u.d.Unlink(ctx, name(some))) {
			delete(u.names, some)
		}
	case op == 3:
		u.made++
		to := fmt.Sprintf("moved%d", u.made)
		if u.outcome("rename", began, true, u.d.Rename(ctx, name(some), u.d, name(to), true)) {
			u.names[to] = u.names[some]
			delete(u.names, some)
		}
	case op == 4:
		u.list(ctx)
	case op == 5:
		ctx, cancel := context.WithTimeout(ctx, time.Duration(u.r.IntN(int(u.unit))))
		defer cancel()
		st, err := u.d.StatAt(ctx, name(some))
		if errors.Is(err, context.DeadlineExceeded) {
			u.count("left")
		} else if u.outcome("statat", began, false, err) && st.Type != vfs.Regular {
			u.t.Errorf("%+v", st)
		}
	case op == 6:
		u.read(ctx, some)
	default:
		u.outcome("sync", began, true, u.d.Sync(ctx))
	}
}

func (u *user) create(ctx context.Context) {
	u.made++
	n := fmt.Sprintf("made%d", u.made)
	f, _, _, err := u.d.Create(ctx, name(n), &volume.New{Mode: 0o600, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	if !u.outcome("create", time.Now(), true, err) {
		return
	}
	u.names[n] = ""
	k, err := f.WriteAt(ctx, []byte(n), 0)
	if u.outcome("write", time.Now(), true, err); k == len(n) {
		u.names[n] = n
	}
	ok(u.t, f.Close())
}

func (u *user) list(ctx context.Context) {
	got, began := 0, time.Now()
	err := u.d.List(ctx, func(e volume.Entry) bool {
		if _, there := u.names[e.Name.String()]; !there {
			u.t.Errorf("%q is listed", e.Name)
		}
		got++
		return true
	})
	if u.outcome("list", began, false, err) && got != len(u.names) {
		u.t.Errorf("%d names are listed, want %d", got, len(u.names))
	}
}

func (u *user) read(ctx context.Context, n string) {
	began := time.Now()
	f, err := u.d.Open(ctx, name(n), volume.Read)
	if !u.outcome("open", began, false, err) {
		return
	}
	buf := make([]byte, 64)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(u.r.IntN(int(2*u.unit))))
	defer cancel()
	began = time.Now()
	k, err := f.ReadAt(ctx, buf, 0)
	ok(u.t, f.Close())
	if errors.Is(err, context.DeadlineExceeded) {
		u.count("left")
		return
	}
	if u.outcome("read", began, false, err) && string(buf[:k]) != u.names[n] {
		u.t.Errorf("%q has %q, want %q", n, buf[:k], u.names[n])
	}
}

// run has users work while there is trouble, and then compares what they were told with what there is.
func (tr *trial) run(seed uint64, users int) {
	ctx, cancel := context.WithCancel(tr.t.Context())
	all := make([]*user, users)
	for i := range all {
		all[i] = tr.newUser(i, seed)
	}
	var working, troubled sync.WaitGroup
	troubled.Go(func() { tr.trouble(ctx, rand.New(rand.NewPCG(seed, 99))) })
	for _, u := range all {
		working.Go(func() {
			for range tr.scale {
				u.step(ctx)
				time.Sleep(time.Duration(u.r.IntN(int(tr.unit / 10))))
			}
		})
	}
	working.Wait()
	cancel()
	troubled.Wait()
	for deadline := time.Now().Add(10*tr.unit + 30*time.Second); tr.g.State().Health != volume.Online; time.Sleep(tr.unit / 20) {
		if time.Now().After(deadline) {
			tr.t.Fatalf("%+v: it does not come back", tr.g.State())
		}
	}
	for _, u := range all {
		u.leave()
		u.verify()
	}
	tr.t.Logf("%v, opened %d times, %+v", tr.did, tr.g.State().Attached, tr.g.Stats())
}

// wantAll demands that the programs came upon everything.
func wantAll(t *testing.T, did map[string]int) {
	t.Helper()
	for _, k := range []string{"done", "away", "failed", "left"} {
		if did[k] == 0 {
			t.Errorf("nothing was %s", k)
		}
	}
}

// verify compares the user's directory with what he was told, on the disk itself.
func (u *user) verify() {
	ctx := u.t.Context()
	d, err := u.disk.Root().OpenDir(ctx, u.own)
	ok(u.t, err)
	there := map[string]bool{}
	ok(u.t, d.List(ctx, func(e volume.Entry) bool { there[e.Name.String()] = true; return true }))
	for n := range u.names {
		if !there[n] {
			u.t.Errorf("%s/%s was done, and is not there", u.own, n)
		}
		delete(there, n)
	}
	for n := range there {
		u.t.Errorf("%s/%s is there, and who made it was told otherwise", u.own, n)
	}
	ok(u.t, d.Close())
}

// TestProgramMem runs random programs on a volume in memory, on a clock of their own.
func TestProgramMem(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	first, did := drawSeed(t), map[string]int{}
	for i := range rounds {
		synctest.Test(t, func(t *testing.T) {
			m := volumetest.NewMem(volumetest.Options{})
			tr := &trial{t: t, unit: Deadline, scale: 300, prompt: true, did: did}
			tr.begin(m, first+uint64(i))
			tr.run(first+uint64(i), 8)
			ok(t, tr.g.Close())
			synctest.Wait()
			if n := m.Handles(); n != 0 {
				t.Errorf("%d Dirs and Files are open", n)
			}
		}) // which demands that no goroutine is left
	}
	wantAll(t, did)
}

// TestProgramLocal runs one on a directory of the host, and counts goroutines and descriptors.
func TestProgramLocal(t *testing.T) {
	goroutines, fds := runtime.NumGoroutine(), descriptors()
	v, err := local.Open(t.Context(), t.TempDir(), local.Options{
		Name:  "disk",
		Adopt: &volume.Marker{Share: strings.Repeat("1", 32), Root: strings.Repeat("2", 32), Key: strings.Repeat("3", 64)},
	})
	ok(t, err)
	seed := drawSeed(t)
	tr := &trial{t: t, unit: 200 * time.Millisecond, scale: 150, did: map[string]int{}}
	tr.begin(v, seed)
	// A busy host is late by itself, so nothing is said here of how long an answer takes.
	tr.run(seed, 8)
	ok(t, tr.g.Close())
	ok(t, v.Close())
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		g, f := runtime.NumGoroutine(), descriptors()
		if g <= goroutines && f <= fds {
			return
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, were %d; %d descriptors, were %d\n%s", g, goroutines, f, fds, buf[:runtime.Stack(buf, true)])
		}
	}
}

// descriptors counts this process's; 0 where the host does not say.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}
