package remote

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	e2e "sheaf/tests/e2e/server"
	"sheaf/tests/need"
	"sheaf/vfs"
)

// lostFiles is how many files TestIndexLost makes; SHEAF_LOST_FILES says another number: a million takes some minutes.
const lostFiles = 6000

// lostPerDir is how many are in a directory.
const lostPerDir = 1000

// lostHeld is how many handles the client holds when the index goes.
const lostHeld = 200

// lostPatience is how long the search for a handle may take, and lostRebuild the walk over everything.
const (
	lostPatience = 5 * time.Minute
	lostRebuild  = 30 * time.Minute
)

// TestIndexLost deletes the state directory under a running client and starts the server anew: the client goes on with all
// handles it has, by JUKEBOX at most, while the index is made again. It says how long that took, and with how much memory.
func TestIndexLost(t *testing.T) {
	files := need.Number(t, "SHEAF_LOST_FILES", lostFiles)
	ctx := t.Context()
	o := e2e.Options{State: filepath.Join(t.TempDir(), "state")}
	for i := range 3 {
		o.Volumes = append(o.Volumes, e2e.Volume{Name: fmt.Sprintf("v%d", i), Dir: t.TempDir()})
	}
	began := time.Now()
	paths := makeLostFiles(t, o.Volumes, files)
	t.Logf("%d files in %d directories on 3 volumes: made in %v", files, len(paths), time.Since(began).Round(time.Millisecond))
	s := e2e.Start(t, o)
	c, done := mount(t, Options{Dial: dialBinary(s), Conns: 4, Patience: lostPatience})
	defer done()
	held := holdLost(ctx, t, c, paths)

	s.Kill()
	if err := os.RemoveAll(o.State); err != nil {
		t.Fatal(err)
	}
	walks := strings.Count(s.Log(), walkEnded)
	s.Restart()
	since := time.Now()
	asked := c.jukebox.Load()
	took := goOnLost(ctx, t, c, held)
	slices.Sort(took)
	t.Logf("%d handles after the loss of the index, 32 at once: half answered after %v, all after %v; JUKEBOX %d times",
		len(took), took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond), c.jukebox.Load()-asked)
	listLost(ctx, t, c, files)
	line := awaitWalk(t, s, walks)
	t.Logf("known again after %v; %s", time.Since(since).Round(time.Millisecond), line)
	t.Logf("most memory: %s", highWater(t, s.Pid()))
	if took := goOnLost(ctx, t, c, held); slices.Max(took) > lostPatience/10 {
		t.Errorf("a handle took %v with the index whole", slices.Max(took))
	}
	s.Stop()
	began = time.Now()
	s.Restart()
	goOnLost(ctx, t, c, held)
	t.Logf("after an orderly restart: ready, and all handles answered, in %v", time.Since(began).Round(time.Millisecond))
}

// makeLostFiles makes empty files, those of a directory on one volume, and gives a path in each directory.
func makeLostFiles(t *testing.T, vols []e2e.Volume, files int) []string {
	t.Helper()
	var paths []string
	var wg sync.WaitGroup
	for i := 0; i*lostPerDir < files; i++ {
		dir := fmt.Sprintf("t%d/d%d", i%7, i)
		paths = append(paths, fmt.Sprintf("%s/f%d", dir, i*7919%min(lostPerDir, files-i*lostPerDir)))
		at := filepath.Join(vols[i%len(vols)].Dir, dir)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for j := range min(lostPerDir, files-i*lostPerDir) {
				f, err := os.OpenFile(fmt.Sprintf("%s/f%d", at, j), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
				if err == nil {
					err = f.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		if i%16 == 15 {
			wg.Wait()
		}
	}
	wg.Wait()
	return paths
}

// holdLost looks paths up, evenly over all, and gives their nodes.
func holdLost(ctx context.Context, t *testing.T, c *Client, paths []string) (held []vfs.Attr) {
	t.Helper()
	for i := range lostHeld {
		a := vfs.Attr{Node: c.root}
		for name := range strings.SplitSeq(paths[i*len(paths)/lostHeld], "/") {
			var err error
			if a, _, err = c.Lookup(ctx, vfs.Superuser, a.Node, vfs.MustName(name)); err != nil {
				t.Fatalf("look %s up: %v", name, err)
			}
		}
		held = append(held, a)
	}
	return held
}

// goOnLost asks for what is held, and gives how long each took to be answered.
func goOnLost(ctx context.Context, t *testing.T, c *Client, held []vfs.Attr) []time.Duration {
	t.Helper()
	took := make([]time.Duration, len(held))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range held {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			a, err := c.GetAttr(ctx, vfs.Superuser, held[i].Node)
			took[i] = time.Since(began)
			if err != nil || a.Node.ID != held[i].Node.ID || a.Ctime.Compare(held[i].Ctime) < 0 {
				t.Errorf("handle %d: %v, %v, was %v", i, err, a.Node.ID, held[i].Node.ID)
			}
		})
	}
	wg.Wait()
	return took
}

// listLost lists a directory while the index is made again.
func listLost(ctx context.Context, t *testing.T, c *Client, files int) {
	t.Helper()
	began := time.Now()
	a := vfs.Attr{Node: c.root}
	for _, name := range []string{"t0", "d0"} {
		var err error
		if a, _, err = c.Lookup(ctx, vfs.Superuser, a.Node, vfs.MustName(name)); err != nil {
			t.Fatalf("look %s up: %v", name, err)
		}
	}
	n, after := 0, vfs.Cookie(0)
	for eof := false; !eof; {
		var err error
		_, eof, err = c.ReadDir(ctx, vfs.Superuser, a.Node, after, false, func(e *vfs.DirEntry) bool {
			n, after = n+1, e.Cookie
			return true
		})
		if err != nil {
			t.Fatalf("list: %v", err)
		}
	}
	if want := min(lostPerDir, files); n != want {
		t.Errorf("%d names, want %d", n, want)
	}
	t.Logf("a directory of %d was found and listed in %v", n, time.Since(began).Round(time.Microsecond))
}

// walkEnded is what the server says when it has seen everything.
const walkEnded = "looked for what the index does not know"

// awaitWalk waits until the server has said so once more than before, and gives the line.
func awaitWalk(t *testing.T, s *e2e.Server, before int) string {
	t.Helper()
	for end := time.Now().Add(lostRebuild); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		log := s.Log()
		if strings.Count(log, walkEnded) > before {
			line, _, _ := strings.Cut(log[strings.LastIndex(log, walkEnded):], "\n")
			return line
		}
	}
	t.Fatalf("the server did not say that it knows everything within %v", lostRebuild)
	return ""
}

// highWater is the most memory that a process had resident, and what it has now of its own and of mapped files, which the kernel
// takes back when it needs them (proc(5)).
func highWater(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for line := range strings.SplitSeq(string(b), "\n") {
		for _, part := range []string{"VmHWM:", "RssAnon:", "RssFile:"} {
			if rest, ok := strings.CutPrefix(line, part); ok {
				said = append(said, part+" "+strings.TrimSpace(rest))
			}
		}
	}
	if len(said) != 3 {
		t.Fatalf("/proc/%d/status says %q", pid, said)
	}
	return strings.Join(said, ", ")
}
