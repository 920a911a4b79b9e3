package union

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/meta"
	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
	"sheaf/vfs/volume/volumetest"
)

// failer is what of *testing.T and *rapid.T the helpers need.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// shareT is a share under test: volumes, an index, and the union over them.
type shareT struct {
	tb      testing.TB
	u       *Union
	mems    []*volumetest.Mem // in memory, or
	dirs    []string          // local
	vols    []volume.Volume
	state   string // directory for indexes
	index   string // directory of the index; "": none
	store   *meta.Store
	opt     Options
	wrapped func(volume.Volume) volume.Volume
	boots   int // times that the host went down
}

// spread puts objects on volumes in turn, so that few of them reach all.
type spread struct{}

func (spread) Choose(volumes []placement.Volume, h *placement.Hints, chance rand.Source) (placement.Choice, error) {
	return placement.Choice{Index: int(chance.Uint64() % uint64(len(volumes))), Rule: "spread", Rival: -1}, nil
}

func marker() volume.Marker {
	return volume.Marker{
		Format: volume.MarkerFormat, Share: strings.Repeat("5a", 16), Root: "0123456789abcdef0123456789abcdef",
		Key: strings.Repeat("c3", 32), Epoch: 1,
	}
}

// memShare is a share of n volumes in memory.
func memShare(tb testing.TB, n int, change func(i int, o *volumetest.Options)) *shareT {
	tb.Helper()
	s := &shareT{tb: tb, opt: quietOptions(), state: tb.TempDir()} // before the Cleanup that closes the index in it
	now := oneClock()
	for i := range n {
		m := marker()
		o := volumetest.Options{Name: fmt.Sprintf("v%d", i), Marker: &m, Now: now}
		if change != nil {
			change(i, &o)
		}
		mem := volumetest.NewMem(o)
		s.mems = append(s.mems, mem)
		s.vols = append(s.vols, mem)
	}
	tb.Cleanup(func() { s.close(tb) })
	return s
}

// oneClock is a clock for the volumes of one host, never the same twice.
func oneClock() func() time.Time {
	var ticks atomic.Int64
	start := time.Unix(1_700_000_000, 0)
	return func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Microsecond) }
}

func quietOptions() Options {
	return Options{Policy: spread{}, Log: slog.New(slog.DiscardHandler), scanDelay: time.Hour}
}

// localShare is a share of n directories of the host.
func localShare(tb testing.TB, n int) *shareT {
	tb.Helper()
	s := &shareT{tb: tb, opt: quietOptions(), state: tb.TempDir()} // before the Cleanup that closes the index in it
	for range n {
		s.dirs = append(s.dirs, tb.TempDir())
	}
	s.openLocal(tb)
	tb.Cleanup(func() { s.close(tb) })
	return s
}

func (s *shareT) openLocal(f failer) {
	f.Helper()
	s.vols = nil
	for i, d := range s.dirs {
		m := marker()
		v, err := local.Open(context.Background(), d, local.Options{Name: fmt.Sprintf("v%d", i), Adopt: &m})
		if err != nil {
			f.Fatalf("open volume %d: %v", i, err)
		}
		s.vols = append(s.vols, v)
	}
}

// newIndex lets the share have an empty index from its next opening on.
func (s *shareT) newIndex(f failer) {
	f.Helper()
	dir, err := os.MkdirTemp(s.state, "index")
	if err != nil {
		f.Fatalf("make index: %v", err)
	}
	s.index = dir
}

// open opens the union.
func (s *shareT) open(f failer) *Union {
	f.Helper()
	if s.index != "" && s.store == nil {
		st, err := meta.Open(meta.Options{Dir: s.index, Logger: slog.New(slog.DiscardHandler), MinFree: 1, Boot: fmt.Sprint("boot", s.boots)})
		if err != nil {
			f.Fatalf("open index: %v", err)
		}
		s.store = st
	}
	o := s.opt
	o.Volumes, o.Index = s.vols, s.store
	if s.wrapped != nil {
		o.Volumes = nil
		for _, v := range s.vols {
			o.Volumes = append(o.Volumes, s.wrapped(v))
		}
	}
	u, err := Open(context.Background(), o)
	if err != nil {
		f.Fatalf("open union: %v", err)
	}
	s.u = u
	return u
}

// close closes everything but volumes in memory, and wants nothing left open.
func (s *shareT) close(f failer) {
	f.Helper()
	if s.u != nil {
		if err := s.u.Close(); err != nil {
			f.Fatalf("close union: %v", err)
		}
		if n := s.u.leases.Busy(); n != 0 {
			f.Fatalf("%d leases are held after the end", n)
		}
		s.u = nil
	}
	for _, m := range s.mems {
		if n := m.Handles(); n != 0 {
			f.Fatalf("volume %s has %d handles open after the end", m.Name(), n)
		}
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			f.Fatalf("close index: %v", err)
		}
		s.store = nil
	}
	if s.dirs != nil {
		for _, v := range s.vols {
			if err := v.Close(); err != nil {
				f.Fatalf("close volume: %v", err)
			}
		}
		s.vols = nil
	}
}

// restart closes and opens all.
func (s *shareT) restart(f failer) *Union {
	f.Helper()
	s.close(f)
	if s.dirs != nil {
		s.openLocal(f)
	}
	for i, m := range s.mems {
		s.mems[i] = m.Reopen()
		s.vols[i] = s.mems[i]
	}
	return s.open(f)
}

// who is the superuser, for the calls of tests.
var who = vfs.Superuser

// aCall is the context of a call from outside: it can end, unlike that of what was begun.
func aCall() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) }

// mk makes an object as the superuser.
func (s *shareT) mk(f failer, dir vfs.Node, name string, typ vfs.Type) vfs.Attr {
	f.Helper()
	ctx, end := aCall()
	defer end()
	a, _, err := s.u.Make(ctx, who, dir, vfs.MustName(name), &vfs.How{Type: typ, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}, Target: "t"})
	if err != nil {
		f.Fatalf("make %s: %v", name, err)
	}
	return a
}

func (s *shareT) root(f failer) vfs.Node {
	f.Helper()
	ctx, end := aCall()
	defer end()
	a, err := s.u.Root(ctx, who)
	if err != nil {
		f.Fatalf("root: %v", err)
	}
	return a.Node
}

// look looks name up and wants the status.
func (s *shareT) look(f failer, dir vfs.Node, name string, want vfs.Status) vfs.Attr {
	f.Helper()
	ctx, end := aCall()
	defer end()
	a, _, err := s.u.Lookup(ctx, who, dir, vfs.MustName(name))
	if vfs.StatusOf(err) != want {
		f.Fatalf("look %s up: %v, want %v", name, err, want)
	}
	return a
}

// path looks a path up.
func (s *shareT) path(f failer, path string) vfs.Attr {
	f.Helper()
	ctx, end := aCall()
	defer end()
	a, err := s.u.Root(ctx, who)
	if err != nil {
		f.Fatalf("root: %v", err)
	}
	for part := range strings.SplitSeq(path, "/") {
		a = s.look(f, a.Node, part, vfs.OK)
	}
	return a
}

// list is the names in dir.
func (s *shareT) list(f failer, dir vfs.Node) []string {
	f.Helper()
	ctx, end := aCall()
	defer end()
	var names []string
	_, eof, err := s.u.ReadDir(ctx, who, dir, 0, true, func(e *vfs.DirEntry) bool {
		names = append(names, e.Name.String())
		return true
	})
	if err != nil || !eof {
		f.Fatalf("list: eof %v, %v", eof, err)
	}
	return names
}
