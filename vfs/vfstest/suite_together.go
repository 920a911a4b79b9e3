package vfstest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"sheaf/vfs"
)

// Promises about calls at the same time.
var togetherPromises = []promise{
	{"of many exclusive creations one wins", 0, checkOneWins},
	{"changes of a directory are a chain", 0, checkChain},
	{"a name that is replaced is always there", 0, checkAlwaysThere},
	{"writes of different parts do not lose each other", 0, checkParts},
	{"directories do not become a ring", 0, checkNoRing},
	{"a context that has ended leaves all or nothing", 0, checkEndedContext},
	{"NoWait answers, or Again and nothing has happened", 0, checkNoWait},
}

// all runs f for 0 … n-1 at the same time.
func all(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

const (
	manyCallers = 8
	manyCalls   = 30
)

func checkOneWins(b *bench) {
	for round := range manyCalls {
		var won atomic.Int64
		s := name(fmt.Sprint(round))
		all(manyCallers, func(i int) {
			how := []vfs.How{{Type: vfs.Regular, Exists: vfs.Guarded}, {Type: vfs.Directory}, {Type: vfs.Symlink, Target: "t"}, {Type: vfs.Regular, Exists: vfs.Exclusive, Verifier: [8]byte{byte(i)}}}[i%4]
			_, _, err := b.fs.Make(b.ctx, b.w, b.dir, s, &how)
			if err == nil {
				won.Add(1)
			} else {
				b.want(err, "Make", vfs.Exist)
			}
		})
		if won.Load() != 1 {
			b.Fatalf("%d creations of one name succeeded", won.Load())
		}
	}
}

// checkChain: the attributes before each change are those after the one before
// it, as far as changes say what was before.
func checkChain(b *bench) {
	start := b.attr(b.dir)
	changes := make([][]vfs.Change, manyCallers)
	all(manyCallers, func(i int) {
		for j := range manyCalls {
			_, c, err := b.fs.Make(b.ctx, b.w, b.dir, name(fmt.Sprintf("%d %d", i, j)), &vfs.How{Type: vfs.Regular})
			if err == nil && j%3 == 0 {
				changes[i] = append(changes[i], c)
				c, err = b.fs.Remove(b.ctx, b.w, b.dir, name(fmt.Sprintf("%d %d", i, j)))
			}
			b.want(err, "change", vfs.OK)
			changes[i] = append(changes[i], c)
		}
	})
	every := slices.Concat(changes...)
	slices.SortFunc(every, func(x, y vfs.Change) int { return x.After.Ctime.Compare(y.After.Ctime) })
	last := start.Pre()
	for _, c := range every {
		if !c.HasAfter || c.After.Ctime.Compare(last.Ctime) <= 0 {
			b.Fatalf("after %v came %v", last.Ctime, c.After.Ctime)
		}
		if c.HasBefore && c.Before != last {
			b.Fatalf("before a change: %+v, after the one before it: %+v", c.Before, last)
		}
		last = c.After.Pre()
	}
	if now := b.attr(b.dir); now.Ctime != last.Ctime {
		b.Errorf("the last change left ctime %v, it is %v", last.Ctime, now.Ctime)
	}
}

func checkAlwaysThere(b *bench) {
	b.file("f")
	var done atomic.Bool
	all(manyCallers, func(i int) {
		if i >= 2 {
			for !done.Load() {
				_, _, err := b.fs.Lookup(b.ctx, b.w, b.dir, name("f"))
				b.want(err, "Lookup of what is always there", vfs.OK)
				if err != nil {
					return
				}
			}
			return
		}
		for j := range manyCalls {
			tmp := name(fmt.Sprintf("tmp %d %d", i, j))
			_, _, err := b.fs.Make(b.ctx, b.w, b.dir, tmp, &vfs.How{Type: vfs.Regular})
			b.want(err, "Make", vfs.OK)
			_, _, err = b.fs.Rename(b.ctx, b.w, b.dir, tmp, b.dir, name("f"))
			b.want(err, "Rename", vfs.OK)
		}
		done.Store(true)
	})
	if got := b.names(b.dir); !slices.Equal(got, []string{"f"}) {
		b.Errorf("left: %v", got)
	}
}

func checkParts(b *bench) {
	n := b.file("f")
	const part = 1000 // no multiple of any page
	all(manyCallers, func(i int) {
		for j := range manyCalls {
			data := make([]byte, part)
			for k := range data {
				data[k] = byte(i + 1)
			}
			_, _, err := b.fs.Write(b.ctx, b.w, n, data, uint64((j*manyCallers+i)*part), vfs.Stable(j%3))
			b.want(err, "Write", vfs.OK)
		}
	})
	got := b.read(n, 0, manyCallers*manyCalls*part+1)
	if len(got) != manyCallers*manyCalls*part {
		b.Fatalf("size %d, want %d", len(got), manyCallers*manyCalls*part)
	}
	for i := range got {
		if got[i] != byte(i/part%manyCallers+1) {
			b.Fatalf("byte %d is %d, want %d", i, got[i], i/part%manyCallers+1)
		}
	}
}

func checkNoRing(b *bench) {
	for range manyCalls {
		one, two := b.folder("one"), b.folder("two")
		var errs [2]error
		all(2, func(i int) {
			if i == 0 {
				_, _, errs[i] = b.fs.Rename(b.ctx, b.w, b.dir, name("one"), two, name("in"))
			} else {
				_, _, errs[i] = b.fs.Rename(b.ctx, b.w, b.dir, name("two"), one, name("in"))
			}
		})
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		b.want(errs[winner], "the first Rename", vfs.OK)
		b.want(errs[1-winner], "the second Rename", vfs.Inval)
		outer, s := two, "two"
		if winner == 1 {
			outer, s = one, "one"
		}
		if got := b.names(b.dir); !slices.Equal(got, []string{s}) {
			b.Fatalf("left: %v, want %s", got, s)
		}
		_, err := b.fs.RemoveDir(b.ctx, b.w, outer, name("in"))
		b.ok(err, "RemoveDir")
		_, err = b.fs.RemoveDir(b.ctx, b.w, b.dir, name(s))
		b.ok(err, "RemoveDir")
	}
}

func checkEndedContext(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	for i := range manyCalls {
		s := fmt.Sprint(i)
		before := b.attr(b.dir)
		_, _, err := b.fs.Make(ctx, b.w, b.dir, name(s), &vfs.How{Type: vfs.Regular})
		if err == nil {
			b.lookup(b.dir, s)
			continue
		}
		b.want(err, "Make with an ended context", vfs.Jukebox, vfs.Again)
		b.hasNot(b.dir, s)
		b.still("Make with an ended context", before)
	}
}

// checkNoWait asks everything without waiting, and where the answer is Again
// once more with.
func checkNoWait(b *bench) {
	hasty := *b.w
	hasty.NoWait = true
	for i := range manyCalls {
		s := fmt.Sprint(i)
		before := b.attr(b.dir)
		_, _, err := b.fs.Make(b.ctx, &hasty, b.dir, name(s), &vfs.How{Type: vfs.Regular})
		if err != nil {
			b.want(err, "Make without waiting", vfs.Again)
			b.still("Make without waiting", before)
			b.hasNot(b.dir, s)
			b.file(s)
		}
		a := b.lookup(b.dir, s)
		if got, _, err := b.fs.Lookup(b.ctx, &hasty, b.dir, name(s)); err != nil {
			b.want(err, "Lookup without waiting", vfs.Again)
		} else if got.Node.ID != a.Node.ID {
			b.Errorf("Lookup without waiting: %v, want %v", got.Node.ID, a.Node.ID)
		}
		if got, err := b.fs.GetAttr(b.ctx, &hasty, a.Node); err != nil {
			b.want(err, "GetAttr without waiting", vfs.Again)
		} else if got.Ctime != a.Ctime {
			b.Errorf("GetAttr without waiting: %+v, want %+v", got, a)
		}
		_, _, err = b.fs.Lookup(b.ctx, &hasty, b.dir, name("absent"))
		b.want(err, "Lookup of nothing without waiting", vfs.NoEnt, vfs.Again)
	}
}
