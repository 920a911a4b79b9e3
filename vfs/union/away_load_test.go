package union

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestAwayHung lets a volume hang: calls that do not need it are answered while it does, others are refused, and
// what was begun is waited for.
func TestAwayHung(t *testing.T) {
	ctx := context.Background()
	x := newHangTree(t, 1)
	release := x.p[1].delay.Hang()
	defer release()
	begun, slow := make(chan error, 1), make(chan struct{})
	go func() {
		for {
			_, _, err := x.u.Write(ctx, who, x.there, []byte("0123"), 0, vfs.FileSync)
			select {
			case <-slow:
			default:
				if isRefusal(err) { // nothing was begun: a busy machine makes the volume slow by itself, and it comes back
					time.Sleep(time.Millisecond)
					continue
				}
			}
			begun <- err
			return
		}
	}()
	x.await(t, 1, false, volume.Slow)
	close(slow)
	calls := slices.Concat(
		onFile("here", func(x *awayTree) vfs.Node { return x.here }),
		onNode("the root", func(x *awayTree) vfs.Node { return x.root }),
		onNode("known", func(x *awayTree) vfs.Node { return x.known }),
		onNode("lone0", func(x *awayTree) vfs.Node { return x.lone0 }),
		[]awayCall{readDir("known", func(x *awayTree) vfs.Node { return x.known })},
	)
	for _, c := range calls {
		if err := c.call(ctx, x); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	x.look(t, x.known, "nowhere", vfs.NoEnt)
	x.mk(t, x.known, "new", vfs.Regular)
	if _, err := x.u.GetAttr(ctx, who, x.lone1); !isRefusal(err) {
		t.Errorf("what lies on the volume: %v", err)
	}
	if x.p[1].delay.Hanging() == 0 {
		t.Error("nothing hung all the while")
	}
	release()
	x.await(t, 1, true, volume.Online)
	if err := <-begun; err != nil && !isRefusal(err) {
		t.Errorf("the call that was under way: %v", err)
	}
	x.path(t, "known/there")
	x.path(t, "known/new")
	x.path(t, "unknown/f")
}

// TestAwayHungChange lets a change of a name hang: who needs its directory is told to come again, who needs another
// one is served.
func TestAwayHungChange(t *testing.T) {
	ctx := context.Background()
	x := newHangTree(t, 1)
	x.onVolume(t, 1)
	release := x.p[1].delay.Hang(volume.OpCreate, volume.OpProbe)
	defer release()
	begun := make(chan error, 1)
	go func() {
		for {
			_, _, err := x.u.Make(ctx, who, x.known, n("new"), &vfs.How{Type: vfs.Regular})
			if !isRefusal(err) { // else nothing was begun: a busy machine makes the volume slow by itself
				begun <- err
				return
			}
		}
	}()
	eventually(t, "the change hangs", func() bool { return x.p[1].delay.Hanging() > 0 })
	x.await(t, 1, false, volume.Slow)
	x.anywhere(t)
	x.mk(t, x.lone0, "f", vfs.Regular)
	x.look(t, x.root, "nowhere", vfs.NoEnt)
	_, _, err := x.u.Make(ctx, who, x.known, n("other"), &vfs.How{Type: vfs.Regular})
	if s := vfs.StatusOf(err); s != vfs.OK && s != vfs.Jukebox {
		t.Errorf("another change of the directory: %v", err)
	}
	release()
	if err := <-begun; err != nil {
		t.Errorf("the change that hung, and was made: %v", err)
	}
	x.await(t, 1, true, volume.Online)
	x.list(t, x.known)
	x.look(t, x.known, "new", vfs.OK)
}

// TestAwayUnderLoad pulls volumes out and throws them back in while several clients work, each in a directory of its
// own: what it made is never told to be absent, what it removed never to be there, no name is there twice.
// It runs where SHEAF_AWAY_LOAD is set: it wants the machine for itself.
func TestAwayUnderLoad(t *testing.T) {
	if os.Getenv("SHEAF_AWAY_LOAD") == "" {
		t.Skip("SHEAF_AWAY_LOAD is not set")
	}
	s := newAwayShare(t, 3)
	s.opt.Trust = time.Millisecond
	s.open(t)
	root := s.root(t)
	const workers = 4
	stop := make(chan struct{})
	var wg sync.WaitGroup
	clients := make([]*client, workers)
	for i := range clients {
		c := &client{t: t, u: s.u, dir: s.mk(t, root, fmt.Sprint("dir", i), vfs.Directory).Node, rand: rand.New(rand.NewPCG(uint64(i), 1)), names: map[string]presence{}}
		clients[i] = c
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.step()
				}
			}
		})
	}
	pulls := 25
	if testing.Short() {
		pulls = 8
	}
	for i := range pulls {
		v := i % len(s.p)
		s.pull(t, v)
		time.Sleep(3 * time.Millisecond) // lets the clients work without it
		s.put(t, v)
	}
	close(stop)
	wg.Wait()
	sure := 0
	for _, c := range clients {
		c.finish()
		sure += c.sure
	}
	if sure == 0 {
		t.Error("no call was answered")
	}
}

// presence is what a client knows of a name.
type presence uint8

const (
	absent presence = iota
	present
	unsure // a change of it failed, and may have been made
)

// client makes calls in a directory that is its own.
type client struct {
	t     *testing.T
	u     *Union
	dir   vfs.Node
	rand  *rand.Rand
	names map[string]presence
	sure  int      // calls that were answered
	log   []string // of calls
}

// said notes a call and its answer.
func (c *client) said(err error, format string, args ...any) {
	c.log = append(c.log, fmt.Sprintf(format, args...)+fmt.Sprintf(" → %v", err))
}

// wrong fails the test with the last calls.
func (c *client) wrong(format string, args ...any) {
	c.t.Errorf("%s, after\n  %s", fmt.Sprintf(format, args...), strings.Join(c.log[max(0, len(c.log)-40):], "\n  "))
}

// failed reports whether err is one that a volume which goes may cause.
func failed(err error) bool {
	switch vfs.StatusOf(err) {
	case vfs.Jukebox, vfs.IO, vfs.NXIO:
		return true
	default:
		return false
	}
}

func (c *client) name() string { return fmt.Sprint("f", c.rand.IntN(12)) }

func (c *client) step() {
	ctx := context.Background()
	name := c.name()
	is := c.names[name]
	switch c.rand.IntN(6) {
	case 0, 1:
		_, _, err := c.u.Make(ctx, who, c.dir, n(name), &vfs.How{Type: vfs.Regular, Exists: vfs.Guarded})
		c.said(err, "make %s", name)
		c.answer("make", name, err, vfs.Exist, present, present)
	case 2:
		_, err := c.u.Remove(ctx, who, c.dir, n(name))
		c.said(err, "remove %s", name)
		c.answer("remove", name, err, vfs.NoEnt, absent, absent)
	case 3:
		_, _, err := c.u.Lookup(ctx, who, c.dir, n(name))
		c.said(err, "look %s up", name)
		switch {
		case failed(err):
		case err == nil && is == absent, vfs.StatusOf(err) == vfs.NoEnt && is == present, err != nil && vfs.StatusOf(err) != vfs.NoEnt:
			c.wrong("look-up of %s, which is %d: %v", name, is, err)
		case err == nil:
			c.names[name] = present
		default:
			c.names[name] = absent
		}
	case 4:
		c.rename(name, c.name())
	default:
		c.list(false)
	}
}

// answer notes the answer to a change: other is the status of who finds it made already, then is what the name is after
// success, and already after that status.
func (c *client) answer(what, name string, err error, other vfs.Status, then, already presence) {
	is := c.names[name]
	switch {
	case err == nil && is == then, vfs.StatusOf(err) == other && is != then && is != unsure:
		c.wrong("%s of %s, which is %d: %v", what, name, is, err)
	case err == nil:
		c.names[name] = then
		c.sure++
	case vfs.StatusOf(err) == other:
		c.names[name] = already
		c.sure++
	case failed(err):
		c.names[name] = unsure
	default:
		c.wrong("%s of %s: %v", what, name, err)
	}
}

func (c *client) rename(from, to string) {
	if from == to {
		return
	}
	is := c.names[from]
	_, _, err := c.u.Rename(context.Background(), who, c.dir, n(from), c.dir, n(to))
	c.said(err, "rename %s to %s", from, to)
	switch {
	case err == nil && is == absent, vfs.StatusOf(err) == vfs.NoEnt && is == present, err != nil && vfs.StatusOf(err) != vfs.NoEnt && !failed(err):
		c.wrong("rename of %s, which is %d, to %s: %v", from, is, to, err)
	case err == nil:
		c.names[from], c.names[to] = absent, present
	case vfs.StatusOf(err) == vfs.NoEnt:
		c.names[from] = absent
	case is == absent: // nothing can have been made
	default:
		c.names[from], c.names[to] = unsure, unsure
	}
}

// list lists the directory; with must it has to succeed.
func (c *client) list(must bool) {
	got := map[string]int{}
	_, _, err := c.u.ReadDir(context.Background(), who, c.dir, 0, c.rand.IntN(2) == 0, func(e *vfs.DirEntry) bool {
		got[e.Name.String()]++
		return true
	})
	c.said(err, "list %v", got)
	if err != nil {
		if must || !failed(err) {
			c.wrong("list: %v", err)
		}
		return
	}
	c.sure++
	for name, is := range c.names {
		if is == present && got[name] != 1 || is == absent && got[name] != 0 {
			c.wrong("%s, which is %d, is listed %d times", name, is, got[name])
		}
	}
	for name, times := range got {
		if _, ok := c.names[name]; !ok || times != 1 {
			c.wrong("%s is listed %d times", name, times)
		}
	}
}

// finish looks at all, with all volumes there.
func (c *client) finish() {
	c.list(true)
	for name := range c.names {
		_, _, err := c.u.Lookup(context.Background(), who, c.dir, n(name))
		if err != nil && vfs.StatusOf(err) != vfs.NoEnt || err == nil && c.names[name] == absent || err != nil && c.names[name] == present {
			c.wrong("in the end %s, which is %d: %v", name, c.names[name], err)
		}
	}
}
