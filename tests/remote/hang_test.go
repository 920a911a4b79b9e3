package remote

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/union"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/delay"
	"sheaf/vfs/volume/guard"
	"sheaf/vfs/volume/volumetest"
)

// onto puts new objects on the volume of that index.
type onto struct{ index atomic.Int32 }

func (o *onto) Choose([]placement.Volume, *placement.Hints, rand.Source) (placement.Choice, error) {
	return placement.Choice{Index: int(o.index.Load()), Rule: "onto", Rival: -1}, nil
}

// hangs is a share of two volumes, served, of which the second can be made to hang. guard bounds the calls with it to workers.
func hangs(t *testing.T, workers int) (s *server, policy *onto, second *delay.Volume) {
	t.Helper()
	m, clock, quiet := marker(), oneClock(), slog.New(slog.DiscardHandler)
	mem := func(name string) *volumetest.Mem {
		return volumetest.NewMem(volumetest.Options{Name: name, Marker: &m, Now: clock})
	}
	second = delay.New(mem("second"), 1)
	g := guard.New(guard.Options{Name: "second", ID: second.ID(), First: second, Workers: workers})
	policy = &onto{}
	u, err := union.Open(t.Context(), union.Options{Volumes: []volume.Volume{mem("first"), g}, Policy: policy, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return serve(t, u), policy, second
}

// TestHungVolume lets more calls hang on one connection than a connection may have in flight, as WRITEs of a Linux client do
// that has one connection to a server: the others of that connection are answered, and in the end all are.
func TestHungVolume(t *testing.T) {
	const files = 200 // of 128 that may be in flight
	s, policy, second := hangs(t, 2*files)
	c := s.mount(t, Options{Conns: 1, Patience: 5 * time.Minute})
	ctx, who := context.Background(), &vfs.Who{}
	root, err := c.Root(ctx, who)
	if err != nil {
		t.Fatal(err)
	}
	mk := func(dir vfs.Node, name string, how vfs.How) vfs.Attr {
		t.Helper()
		how.Set = vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}
		a, _, err := c.Make(ctx, who, dir, vfs.MustName(name), &how)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	dir := mk(root.Node, "dir", vfs.How{Type: vfs.Directory}).Node
	here := mk(dir, "here", vfs.How{Type: vfs.Regular}).Node
	policy.index.Store(1)
	var there [files]vfs.Node
	for i := range there {
		there[i] = mk(dir, fmt.Sprint("there", i), vfs.How{Type: vfs.Regular}).Node
	}
	policy.index.Store(0)

	release := second.Hang(volume.OpWriteAt, volume.OpSyncFile, volume.OpCreate, volume.OpReadAt) // a host has directories and attributes in memory
	defer release()
	var writers sync.WaitGroup
	var answered atomic.Int32
	for i := range there {
		writers.Go(func() {
			data := fmt.Appendf(nil, "data %d", i)
			if _, _, err := c.Write(ctx, who, there[i], data, 0, vfs.FileSync); err != nil {
				t.Errorf("write of file %d: %v", i, err)
			}
			answered.Add(1)
		})
	}
	until(t, "all calls hang", func() bool { return second.Hanging() >= files })
	made := 0
	for i := range 10 {
		if _, err := c.GetAttr(ctx, who, here); err != nil {
			t.Error("getattr:", err)
		}
		if _, _, err := c.Write(ctx, who, here, []byte("written"), 0, vfs.FileSync); err != nil {
			t.Error("write:", err)
		}
		if _, _, err := c.Lookup(ctx, who, dir, vfs.MustName("nowhere")); vfs.StatusOf(err) != vfs.NoEnt {
			t.Error("lookup:", err)
		}
		mk(dir, fmt.Sprint("new", i), vfs.How{Type: vfs.Regular})
		made++
	}
	names := 0
	if _, _, err := c.ReadDir(ctx, who, dir, 0, false, func(*vfs.DirEntry) bool { names++; return true }); err != nil || names != files+made+1 {
		t.Errorf("%d names of %d are listed: %v", names, files+made+1, err)
	}
	if n := answered.Load(); n != 0 {
		t.Errorf("%d calls of those that hung were answered", n)
	}
	release()
	writers.Wait()
	buf := make([]byte, 100)
	for i := range there {
		n, _, _, err := c.Read(ctx, who, there[i], buf, 0)
		if want := fmt.Sprint("data ", i); err != nil || string(buf[:n]) != want {
			t.Errorf("file %d holds %q: %v", i, buf[:n], err)
		}
	}
}

// until waits for what must become true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
