package crash

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"sheaf/tests/remote"
	"sheaf/vfs"
)

// thing is an object as a hand knows it: what it is, and what it holds.
type thing struct {
	node vfs.Node
	typ  vfs.Type
	data string // of a file; the target of a link
}

// things is what lies in a hand's directories, by path beneath them.
type things map[string]thing

// step is one call of a hand, and what was there after it.
type step struct {
	begun, done time.Duration // since the hands began; done is 0 as long as there is no reply
	after       things
	touches     string // the file whose content is being written: until the reply it may be old, new or short
}

// hand is one client's way of working: one call after the other, in two directories of its own, with a record of all.
type hand struct {
	c     *remote.Client
	w     *vfs.Who
	rnd   *rand.Rand
	nth   int
	start time.Time
	dirs  map[string]vfs.Node // "a" and "b"

	mu    sync.Mutex // guards steps
	steps []step
	made  uint64 // verifiers of EXCLUSIVE
	err   error
}

// now is what is there after all steps.
func (h *hand) now() things {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.steps[len(h.steps)-1].after
}

// do makes a call that changes what is there.
func (h *hand) do(after things, touches string, call func() error) error {
	h.mu.Lock()
	h.steps = append(h.steps, step{begun: time.Since(h.start), after: after, touches: touches})
	h.mu.Unlock()
	if err := call(); err != nil {
		return err
	}
	h.mu.Lock()
	h.steps[len(h.steps)-1].done = time.Since(h.start)
	h.mu.Unlock()
	return nil
}

// with is t with a thing more, or another, and without some.
func (t things) with(path string, x thing, without ...string) things {
	n := maps.Clone(t)
	for _, p := range without {
		delete(n, p)
	}
	n[path] = x
	return n
}

func (t things) without(path string) things {
	n := maps.Clone(t)
	delete(n, path)
	return n
}

// newHands makes n hands, each with its directories.
func newHands(ctx context.Context, c *remote.Client, w *vfs.Who, seed uint64, n int) ([]*hand, error) {
	root, err := c.Root(ctx, w)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	all := make([]*hand, n)
	for i := range all {
		h := &hand{c: c, w: w, rnd: rand.New(rand.NewPCG(seed, uint64(i))), nth: i, start: start, dirs: make(map[string]vfs.Node)}
		for _, d := range []string{"a", "b"} {
			how := vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}}
			a, _, err := c.Make(ctx, w, root.Node, vfs.MustName(fmt.Sprintf("hand %d %s", i, d)), &how)
			if err != nil {
				return nil, err
			}
			h.dirs[d] = a.Node
		}
		h.steps = []step{{after: things{}}}
		all[i] = h
	}
	return all, nil
}

// at is the directory and the name of a path.
func (h *hand) at(path string) (vfs.Node, vfs.Name) {
	dir, name, _ := strings.Cut(path, "/")
	return h.dirs[dir], vfs.MustName(name)
}

// names are how many names a directory of a hand can have: few, so that they meet.
const names = 12

func (h *hand) path() string {
	return fmt.Sprintf("%c/n%d", 'a'+h.rnd.IntN(2), h.rnd.IntN(names))
}

// work makes random calls until stop is closed.
func (h *hand) work(ctx context.Context, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if err := h.any(ctx); err != nil {
			h.err = fmt.Errorf("hand %d, call %d: %w", h.nth, i, err)
			return
		}
	}
}

// any makes one call.
func (h *hand) any(ctx context.Context) error {
	path := h.path()
	x, there := h.now()[path]
	if !there {
		return h.make(ctx, path)
	}
	switch h.rnd.IntN(8) {
	case 0, 1, 2:
		if x.typ == vfs.Regular {
			return h.write(ctx, path, x)
		}
		return h.remove(ctx, path, x)
	case 3, 4, 5:
		return h.rename(ctx, path, x)
	case 6:
		return h.link(ctx, path, x)
	default:
		return h.remove(ctx, path, x)
	}
}

// make makes an object.
func (h *hand) make(ctx context.Context, path string) error {
	dir, name := h.at(path)
	how := vfs.How{Type: vfs.Regular, Exists: vfs.Exclusive}
	x := thing{typ: vfs.Regular}
	switch h.rnd.IntN(6) {
	case 0:
		how = vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}}
		x.typ = vfs.Directory
	case 1:
		x.typ, x.data = vfs.Symlink, fmt.Sprintf("to %d", h.rnd.IntN(1000))
		how = vfs.How{Type: vfs.Symlink, Target: x.data}
	default:
		h.made++
		binary.BigEndian.PutUint64(how.Verifier[:], uint64(h.nth+1)<<32|h.made)
	}
	now := h.now()
	err := h.do(now.with(path, x), "", func() error {
		redials := h.c.Redials()
		a, _, err := h.c.Make(ctx, h.w, dir, name, &how)
		// MKDIR and SYMLINK that had no reply may have been made; EXCLUSIVE must say so itself.
		if vfs.StatusOf(err) == vfs.Exist && x.typ != vfs.Regular && h.c.Redials() > redials {
			a, _, err = h.c.Lookup(ctx, h.w, dir, name)
		}
		if err != nil {
			return fmt.Errorf("make %s of type %d: %w", path, x.typ, err)
		}
		x.node = a.Node
		return nil
	})
	h.mu.Lock()
	h.steps[len(h.steps)-1].after[path] = x
	h.mu.Unlock()
	if err != nil || x.typ != vfs.Regular {
		return err
	}
	if _, err := h.c.SetAttr(ctx, h.w, x.node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o644}, nil); err != nil {
		return fmt.Errorf("set the mode of %s: %w", path, err)
	}
	return nil
}

// write replaces the content of a file, by FILE_SYNC or by UNSTABLE and COMMIT.
func (h *hand) write(ctx context.Context, path string, x thing) error {
	n := max(len(x.data), 1+h.rnd.IntN(9000)) // never shorter: nothing of the old stays behind it
	was := x
	x.data = strings.Repeat(fmt.Sprintf("%d wrote this at %v; ", h.nth, h.rnd.Uint32()), n/20+1)[:n]
	now := h.now()
	after := maps.Clone(now)
	for p, o := range now { // under all its names
		if o.node.ID == was.node.ID {
			after[p] = x
		}
	}
	return h.do(after, path, func() error {
		if h.rnd.IntN(2) == 0 {
			w, _, err := h.c.Write(ctx, h.w, x.node, []byte(x.data), 0, vfs.FileSync)
			if err != nil || w.Count != n {
				return fmt.Errorf("write %s: %d of %d bytes: %w", path, w.Count, n, err)
			}
			return nil
		}
		for {
			w, _, err := h.c.Write(ctx, h.w, x.node, []byte(x.data), 0, vfs.Unstable)
			if err != nil || w.Count != n {
				return fmt.Errorf("write %s: %d of %d bytes: %w", path, w.Count, n, err)
			}
			v, _, err := h.c.Commit(ctx, h.w, x.node, 0, 0)
			if err != nil {
				return fmt.Errorf("commit %s: %w", path, err)
			}
			if v == w.Verifier {
				return nil
			}
		}
	})
}

// again is err of a call that finds itself done where a connection was made again meanwhile.
func (h *hand) again(redials uint64, err error, done vfs.Status) error {
	if vfs.StatusOf(err) == done && h.c.Redials() > redials {
		return nil
	}
	return err
}

func (h *hand) remove(ctx context.Context, path string, x thing) error {
	dir, name := h.at(path)
	return h.do(h.now().without(path), "", func() (err error) {
		redials := h.c.Redials()
		if x.typ == vfs.Directory {
			_, err = h.c.RemoveDir(ctx, h.w, dir, name)
		} else {
			_, err = h.c.Remove(ctx, h.w, dir, name)
		}
		if err = h.again(redials, err, vfs.NoEnt); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
		return nil
	})
}

// rename moves an object, onto what has the name if that can be.
func (h *hand) rename(ctx context.Context, path string, x thing) error {
	to := h.path()
	now := h.now()
	old, there := now[to]
	if to == path || there && (old.typ == vfs.Directory) != (x.typ == vfs.Directory) || there && old.node.ID == x.node.ID {
		return nil
	}
	fd, fn := h.at(path)
	td, tn := h.at(to)
	return h.do(now.with(to, x, path), "", func() error {
		redials := h.c.Redials()
		_, _, err := h.c.Rename(ctx, h.w, fd, fn, td, tn)
		if err = h.again(redials, err, vfs.NoEnt); err != nil {
			return fmt.Errorf("rename %s to %s: %w", path, to, err)
		}
		return nil
	})
}

func (h *hand) link(ctx context.Context, path string, x thing) error {
	to := h.path()
	now := h.now()
	if _, there := now[to]; there || x.typ == vfs.Directory {
		return nil
	}
	dir, name := h.at(to)
	return h.do(now.with(to, x), "", func() error {
		redials := h.c.Redials()
		_, _, err := h.c.Link(ctx, h.w, x.node, dir, name)
		if err = h.again(redials, err, vfs.Exist); err != nil {
			return fmt.Errorf("link %s to %s: %w", path, to, err)
		}
		return nil
	})
}

// look is what a client finds in the hand's directories: by names, and by the handles it has had all along.
func (h *hand) look(ctx context.Context, c *remote.Client) (things, error) {
	found := make(things)
	for d, dir := range h.dirs {
		var list []vfs.DirEntry
		if _, _, err := c.ReadDir(ctx, h.w, dir, 0, true, func(e *vfs.DirEntry) bool { list = append(list, *e); return true }); err != nil {
			return nil, fmt.Errorf("list %s of hand %d: %w", d, h.nth, err)
		}
		for _, e := range list {
			path := d + "/" + e.Name.String()
			a, _, err := c.Lookup(ctx, h.w, dir, e.Name)
			if err != nil {
				return nil, fmt.Errorf("look up %s of hand %d, which is listed: %w", path, h.nth, err)
			}
			x := thing{node: a.Node, typ: a.Type}
			switch a.Type {
			case vfs.Regular:
				buf := make([]byte, a.Size)
				n, _, _, err := c.Read(ctx, h.w, a.Node, buf, 0)
				if err != nil {
					return nil, fmt.Errorf("read %s of hand %d: %w", path, h.nth, err)
				}
				x.data = string(buf[:n])
			case vfs.Symlink:
				if x.data, _, err = c.ReadLink(ctx, h.w, a.Node); err != nil {
					return nil, fmt.Errorf("read link %s of hand %d: %w", path, h.nth, err)
				}
			}
			found[path] = x
		}
	}
	return found, nil
}

// verify wants what c finds to be what was there behind a step that was begun before until, and no step after that had a
// reply before since. Zero: all steps have their replies.
func (h *hand) verify(ctx context.Context, c *remote.Client, since, until time.Duration) error {
	found, err := h.look(ctx, c)
	if err != nil {
		return err
	}
	h.mu.Lock()
	steps := slices.Clone(h.steps)
	h.mu.Unlock()
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		if until != 0 && s.begun > until {
			continue
		}
		// The call after this one may have been under way, and have written a part.
		touched := ""
		if i+1 < len(steps) && until != 0 && steps[i+1].begun <= until {
			touched = steps[i+1].touches
		}
		if s.done == 0 || s.done > since && until != 0 {
			touched += "\n" + s.touches
		}
		err := h.same(found, s.after, touched)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("after call %d: %w", i, err))
		if until == 0 || s.done != 0 && s.done <= since {
			break
		}
	}
	return fmt.Errorf("hand %d finds what was at no time between %v and %v: %w", h.nth, since, until, errors.Join(errs...))
}

// same compares; the content of what has the same node as a path of touched does not count.
func (h *hand) same(found, want things, touched string) error {
	loose := make(map[vfs.NodeID]bool)
	for path := range strings.SplitSeq(touched, "\n") {
		if x, ok := want[path]; ok {
			loose[x.node.ID] = true
		}
	}
	for path, w := range want {
		f, ok := found[path]
		switch {
		case !ok:
			return fmt.Errorf("%s is missing", path)
		case f.typ != w.typ:
			return fmt.Errorf("%s is of type %d, want %d", path, f.typ, w.typ)
		case !w.node.IsZero() && f.node.ID != w.node.ID:
			return fmt.Errorf("%s is node %s, want %s", path, f.node.ID, w.node.ID)
		case f.data != w.data && !loose[w.node.ID]:
			return fmt.Errorf("%s holds %d bytes %.30q, want %d bytes %.30q", path, len(f.data), f.data, len(w.data), w.data)
		}
	}
	for path := range found {
		if _, ok := want[path]; !ok {
			return fmt.Errorf("%s is too much", path)
		}
	}
	return nil
}
