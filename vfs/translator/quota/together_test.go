package quota

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs"
)

// crowd is several callers at once, who know of each other's objects.
type crowd struct {
	f    *fixture
	mu   sync.Mutex
	dirs []vfs.Node
	open []vfs.Node // files, also of those that have no name any more
}

func (c *crowd) dir(r *rand.Rand) vfs.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dirs[r.IntN(len(c.dirs))]
}

func (c *crowd) file(r *rand.Rand) vfs.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) == 0 {
		return c.dirs[0]
	}
	return c.open[r.IntN(len(c.open))]
}

func (c *crowd) knows(a vfs.Attr, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
	case a.Type == vfs.Directory:
		c.dirs = append(c.dirs, a.Node)
	default:
		c.open = append(c.open, a.Node)
	}
}

// act makes one call. Most fail some of the time; that is part of it.
func (c *crowd) act(ctx context.Context, r *rand.Rand) {
	fs, w := c.f.fs, &vfs.Who{UID: uint32(r.IntN(3)) * 1000}
	n := func() vfs.Name { return name(fmt.Sprintf("n%d", r.IntN(6))) }
	switch r.IntN(16) {
	case 0, 1, 2, 3:
		how := &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode | vfs.SetSize, Mode: 0o777, Size: uint64(r.IntN(2) * 9000)}}
		a, _, err := fs.Make(ctx, w, c.dir(r), n(), how)
		c.knows(a, err)
	case 4:
		a, _, err := fs.Make(ctx, w, c.dir(r), n(), &vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}})
		c.knows(a, err)
	case 5:
		a, _, err := fs.Make(ctx, w, c.dir(r), n(), &vfs.How{Type: vfs.Symlink, Target: "t"})
		c.knows(a, err)
	case 6, 7, 8:
		_, _, _ = fs.Write(ctx, w, c.file(r), make([]byte, r.IntN(9000)), uint64(r.IntN(60000)), vfs.Stable(r.IntN(3)))
	case 9:
		_, _ = fs.SetAttr(ctx, w, c.file(r), &vfs.SetAttr{Mask: vfs.SetSize, Size: uint64(r.IntN(60000))}, nil)
	case 10:
		n := c.file(r)
		if r.IntN(4) == 0 {
			n = c.dir(r)
		}
		_, _ = fs.SetAttr(ctx, vfs.Superuser, n, &vfs.SetAttr{Mask: vfs.SetUID, UID: uint32(r.IntN(3)) * 1000}, nil)
	case 11:
		_, _, _ = fs.Link(ctx, w, c.file(r), c.dir(r), n())
	case 12, 13:
		if r.IntN(4) == 0 {
			_, _ = fs.RemoveDir(ctx, w, c.dir(r), n())
			return
		}
		_, _ = fs.Remove(ctx, w, c.dir(r), n())
	default:
		_, _, _ = fs.Rename(ctx, w, c.dir(r), n(), c.dir(r), n())
	}
}

// TestTogether: whatever several callers do at once, while walks go on, the counts of users are then those of the tree, and those of
// directories at the latest after the next walk: links, renames over limits of files and trees, chown, holes, files without a name.
func TestTogether(t *testing.T) {
	defer func(taken, page int) { takenMax, pageMax = taken, page }(takenMax, pageMax)
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		takenMax, pageMax = rapid.SampledFrom([]int{2, 1000}).Draw(rt, "takenMax"), rapid.SampledFrom([]int{1, 3, 100}).Draw(rt, "pageMax")
		walks := rapid.Bool().Draw(rt, "walks")
		f := over(t, nil, "", map[string]any{
			"directories": []any{limit("path", "/a", "hard-bytes", "300KiB"), limit("path", "/b", "soft-bytes", "1MiB"), limit("path", "/a/in", "hard-files", 30)},
			"users":       []any{limit("hard-bytes", "1MiB"), limit("uids", 2000, "hard-files", 40)},
		})
		defer f.close()
		c := &crowd{f: f, dirs: []vfs.Node{f.root}}
		for _, s := range []string{"a", "b", "c"} {
			c.dirs = append(c.dirs, f.made(vfs.Superuser, f.root, s, vfs.Directory))
		}
		c.dirs = append(c.dirs, f.made(vfs.Superuser, c.dirs[1], "in", vfs.Directory))
		f.recount()
		var callers, walking sync.WaitGroup
		ended := make(chan struct{})
		for i := range uint64(3) {
			callers.Go(func() {
				r := rand.New(rand.NewPCG(seed, i))
				for range 50 {
					c.act(t.Context(), r)
				}
			})
		}
		if walks {
			walking.Go(func() {
				for {
					select {
					case <-ended:
						return
					default:
						f.recount()
					}
				}
			})
		}
		callers.Wait()
		close(ended)
		walking.Wait()
		f.awaitWalk()
		diff := f.wantCounts()
		if strings.Contains(diff, "user ") || strings.Contains(diff, "left of calls") {
			rt.Fatal(diff)
		}
		if diff != "" { // directories that several callers move at once: the next walk puts it right
			f.recount()
			diff = f.wantCounts()
		}
		if diff != "" {
			rt.Fatal(diff)
		}
	})
}
