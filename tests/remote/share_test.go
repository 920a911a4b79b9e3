package remote

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/meta"
	"sheaf/placement"
	"sheaf/tests/need"
	"sheaf/vfs/union"
	"sheaf/vfs/vfstest"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
	"sheaf/vfs/volume/volumetest"
)

// share is a union over volumes, in memory or in directories of the host, served
// by nfsd.
type share struct {
	t     failer
	mems  []*volumetest.Mem
	dirs  []string
	vols  []volume.Volume
	index string // directory; "": none
	store *meta.Store
	union *union.Union
	*server
}

// kind is one of the shares that the tests are run on.
type kind struct {
	volumes int
	local   bool
	index   bool
}

func (k kind) String() string {
	s := fmt.Sprintf("%d in memory", k.volumes)
	if k.local {
		s = fmt.Sprintf("%d local", k.volumes)
	}
	if k.index {
		s += " with an index"
	}
	return s
}

var kinds = []kind{{volumes: 1}, {volumes: 2}, {volumes: 5}, {volumes: 1, local: true}, {volumes: 2, local: true}, {volumes: 5, local: true, index: true}}

// eachKind runs f on each kind of share.
func eachKind(t *testing.T, f func(t *testing.T, k kind)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			if k.local {
				need.Superuser(t, "nobody else can act as several users on the host")
			}
			f(t, k)
		})
	}
}

// spread puts objects on any volume, so that few of them reach all.
type spread struct{}

func (spread) Choose(volumes []placement.Volume, _ *placement.Hints, chance rand.Source) (placement.Choice, error) {
	return placement.Choice{Index: int(chance.Uint64() % uint64(len(volumes))), Rule: "spread", Rival: -1}, nil
}

// newShare makes and serves a new share; end ends it. Directories come from dir.
func newShare(t failer, k kind, dir func() string) *share {
	t.Helper()
	s := &share{t: t}
	clock := oneClock()
	for i := range k.volumes {
		if k.local {
			s.dirs = append(s.dirs, dir())
			continue
		}
		m := marker()
		s.mems = append(s.mems, volumetest.NewMem(volumetest.Options{Name: fmt.Sprintf("v%d", i), Marker: &m, Now: clock}))
		s.vols = append(s.vols, s.mems[i])
	}
	if k.index {
		s.index = dir()
	}
	s.open()
	s.server = newServer(t, s.union)
	return s
}

// marker is what all volumes of a share have in common.
func marker() volume.Marker {
	return volume.Marker{
		Format: volume.MarkerFormat, Share: strings.Repeat("5a", 16), Root: "0123456789abcdef0123456789abcdef",
		Key: strings.Repeat("c3", 32), Epoch: 1,
	}
}

// oneClock is a clock for the volumes of one host, never the same twice.
func oneClock() func() time.Time {
	var ticks atomic.Int64
	start := time.Unix(1_700_000_000, 0)
	return func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Microsecond) }
}

// open opens local volumes, the index and the union.
func (s *share) open() {
	s.t.Helper()
	var err error
	for i, d := range s.dirs {
		m := marker()
		v, err := local.Open(context.Background(), d, local.Options{Name: fmt.Sprintf("v%d", i), Adopt: &m})
		if err != nil {
			s.t.Fatalf("open volume: %v", err)
		}
		// The tests' hand in the volumes is this process, whose changes a watch takes for the share's own.
		v.WatchBy(local.WatchOff, 0)
		s.vols = append(s.vols, v)
	}
	quiet := slog.New(slog.DiscardHandler)
	if s.index != "" {
		if s.store, err = meta.Open(meta.Options{Dir: s.index, Logger: quiet, MinFree: 1}); err != nil {
			s.t.Fatalf("open index: %v", err)
		}
	}
	s.union, err = union.Open(context.Background(), union.Options{Volumes: s.vols, Index: s.store, Policy: spread{}, Log: quiet})
	if err != nil {
		s.t.Fatalf("open union: %v", err)
	}
}

// close is the opposite of open.
func (s *share) close() {
	s.t.Helper()
	if err := s.union.Close(); err != nil {
		s.t.Errorf("close union: %v", err)
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.t.Errorf("close index: %v", err)
		}
		s.store = nil
	}
	for i, m := range s.mems {
		if n := m.Handles(); n != 0 {
			s.t.Errorf("volume %s has %d handles open after the end", m.Name(), n)
		}
		s.mems[i] = m.Reopen()
		s.vols[i] = s.mems[i]
	}
	if s.dirs == nil {
		return
	}
	for _, v := range s.vols {
		if err := v.Close(); err != nil {
			s.t.Errorf("close volume: %v", err)
		}
	}
	s.vols = nil
}

// end stops the server and closes everything.
func (s *share) end() {
	s.t.Helper()
	s.stop()
	s.close()
}

// restart is end, and everything again from the volumes and the index.
func (s *share) restart() {
	s.t.Helper()
	s.end()
	s.open()
	s.start(s.union)
}

// serveShare is newShare for the length of a test.
func serveShare(t *testing.T, k kind) *share {
	t.Helper()
	s := newShare(t, k, t.TempDir)
	t.Cleanup(s.end)
	return s
}

var noACLs = vfstest.Options{NoACLs: true}
