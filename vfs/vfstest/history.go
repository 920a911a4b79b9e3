package vfstest

import (
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
)

var historySeed = flag.Uint64("vfstest.seed", 0, "seed of histories; 0: a random one")

// HistoryOptions say how much [History] does.
type HistoryOptions struct {
	Options     // what the file system under test cannot do
	Rounds  int // histories, each in new directories; 0: 20
	Callers int // at the same time, at most 16; 0: 6
	Calls   int // of each caller, Callers × Calls at most 200; 0: 12
	// Reach gives the callers different ways to the same file system, such as
	// two clients; nil: all call fs.
	Reach func(caller int) vfs.FS
}

// History runs callers at the same time on a few names of two directories, and
// one file, and checks afterwards that there is an order of all their calls that
// explains every outcome (linearizability): of creations GUARDED, EXCLUSIVE and
// retransmitted, MKDIR, REMOVE, RMDIR, RENAME and LOOKUP; and of reads and writes of one
// block. Names that no rename connects are checked on their own.
func History(t *testing.T, fs vfs.FS, o HistoryOptions) {
	t.Helper()
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	if err := checkHistories(t.Context(), fs, o, seed); err != nil {
		t.Errorf("%v\n(again with -vfstest.seed=%d, as far as the schedule allows)", err, seed)
	}
}

// checkHistories is History without a test.
func checkHistories(ctx context.Context, fs vfs.FS, o HistoryOptions, seed uint64) error {
	o.Rounds, o.Callers, o.Calls = cmp.Or(o.Rounds, 20), cmp.Or(o.Callers, 6), cmp.Or(o.Calls, 12)
	if o.Callers > 16 || o.Callers*o.Calls > 200 {
		return fmt.Errorf("%d callers with %d calls each are more than can be checked", o.Callers, o.Calls)
	}
	if o.Reach == nil {
		o.Reach = func(int) vfs.FS { return fs }
	}
	for round := range o.Rounds {
		r := &recorder{ctx: ctx, fs: fs, opts: o, who: cmp.Or(o.As, vfs.Superuser), renames: round%3 != 0}
		if err := r.run(fmt.Sprintf("round %d", round), seed+uint64(round)); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

// opKind is what a call of a history does.
type opKind uint8

const (
	opCreate opKind = iota
	opExclusive
	opMkdir
	opRemove
	opRmdir
	opLookup
	opRename
	opRead
	opWrite
)

var opNames = [...]string{"CREATE", "EXCLUSIVE", "MKDIR", "REMOVE", "RMDIR", "LOOKUP", "RENAME", "READ", "WRITE"}

// Places are the names of a history, those of both directories in one row.
const (
	namesPerDir = 3
	places      = 2 * namesPerDir
)

// op is a call's arguments.
type op struct {
	kind  opKind
	place int    // of all but data
	to    int    // of RENAME
	value uint64 // verifier of EXCLUSIVE, what WRITE writes
}

// outcome is a call's result.
type outcome struct {
	status vfs.Status
	node   vfs.NodeID
	value  uint64 // of READ
}

// recorder makes one history.
type recorder struct {
	ctx     context.Context
	fs      vfs.FS
	opts    HistoryOptions
	who     *vfs.Who
	renames bool

	dirs  [2]vfs.Node
	block vfs.Node
	clock atomic.Int64
	calls []call
}

// run makes a history in a new directory called in and checks it.
func (r *recorder) run(in string, seed uint64) error {
	if err := r.prepare(in); err != nil {
		return err
	}
	histories := make([][]call, r.opts.Callers)
	all(r.opts.Callers, func(i int) {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		fs := r.opts.Reach(i)
		var last op
		for n := range r.opts.Calls {
			last = r.draw(rng, last, uint64(i)<<32|uint64(n)+1)
			histories[i] = append(histories[i], r.do(fs, i, last))
		}
	})
	r.calls = slices.Concat(histories...)
	for p := range places { // and what is left in the end
		r.calls = append(r.calls, r.do(r.fs, r.opts.Callers, op{kind: opLookup, place: p}))
	}
	r.calls = append(r.calls, r.do(r.fs, r.opts.Callers, op{kind: opRead}))
	if err := r.checkNodes(); err != nil {
		return err
	}
	return r.check()
}

func (r *recorder) prepare(in string) error {
	root, err := r.fs.Root(r.ctx, r.who)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	mk := func(dir vfs.Node, s string, t vfs.Type) vfs.Node {
		if err != nil {
			return dir
		}
		var a vfs.Attr
		a, _, err = r.fs.Make(r.ctx, r.who, dir, name(s), &vfs.How{Type: t, Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}})
		return a.Node
	}
	top := mk(root.Node, in, vfs.Directory)
	r.dirs = [2]vfs.Node{mk(top, "one", vfs.Directory), mk(top, "two", vfs.Directory)}
	r.block = mk(top, "block", vfs.Regular)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", in, err)
	}
	if first := r.do(r.fs, r.opts.Callers, op{kind: opWrite}); first.outcome.status != vfs.OK {
		return fmt.Errorf("prepare %s: write: %w", in, first.outcome.status)
	}
	return nil
}

// draw is the next call; an EXCLUSIVE creation is often sent again.
func (r *recorder) draw(rng *rand.Rand, last op, unique uint64) op {
	if last.kind == opExclusive && rng.IntN(2) == 0 {
		return last
	}
	kinds := []opKind{opCreate, opExclusive, opMkdir, opRemove, opRemove, opRmdir, opLookup, opLookup, opRead, opWrite}
	if r.renames {
		kinds = append(kinds, opRename, opRename, opRename)
	}
	o := op{kind: kinds[rng.IntN(len(kinds))], place: rng.IntN(places), value: unique}
	if o.kind == opRename {
		o.to = (o.place + 1 + rng.IntN(places-1)) % places
	}
	return o
}

// do makes a call and records it.
func (r *recorder) do(fs vfs.FS, caller int, o op) call {
	c := call{caller: caller, op: o, invoked: r.clock.Add(1)}
	c.outcome = r.perform(fs, o)
	c.returned = r.clock.Add(1)
	return c
}

// at is a place's directory and name.
func (r *recorder) at(place int) (vfs.Node, vfs.Name) {
	return r.dirs[place/namesPerDir], name(string(rune('a' + place%namesPerDir)))
}

func (r *recorder) perform(fs vfs.FS, o op) (out outcome) {
	dir, s := r.at(o.place)
	var a vfs.Attr
	var err error
	how := vfs.How{Type: vfs.Regular, Exists: vfs.Guarded, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o644}}
	switch o.kind {
	case opMkdir:
		how.Type = vfs.Directory
		a, _, err = fs.Make(r.ctx, r.who, dir, s, &how)
	case opExclusive:
		how.Exists = vfs.Exclusive
		binary.BigEndian.PutUint64(how.Verifier[:], o.value)
		a, _, err = fs.Make(r.ctx, r.who, dir, s, &how)
	case opCreate:
		a, _, err = fs.Make(r.ctx, r.who, dir, s, &how)
	case opRemove:
		_, err = fs.Remove(r.ctx, r.who, dir, s)
	case opRmdir:
		_, err = fs.RemoveDir(r.ctx, r.who, dir, s)
	case opLookup:
		a, _, err = fs.Lookup(r.ctx, r.who, dir, s)
	case opRename:
		to, t := r.at(o.to)
		_, _, err = fs.Rename(r.ctx, r.who, dir, s, to, t)
	case opRead:
		var buf [8]byte
		_, _, _, err = fs.Read(r.ctx, r.who, r.block, buf[:], blockOffset)
		out.value = binary.BigEndian.Uint64(buf[:])
	case opWrite:
		_, _, err = fs.Write(r.ctx, r.who, r.block, binary.BigEndian.AppendUint64(nil, o.value), blockOffset, vfs.Unstable)
	}
	if out.status = vfs.StatusOf(err); err == nil {
		out.node = a.Node.ID
	}
	return out
}

// blockOffset is where the block lies: across the boundary of two pages.
const blockOffset = pageSize - 4

// checkNodes wants what has no name in the end to be gone, and the rest to live.
func (r *recorder) checkNodes() error {
	left := map[vfs.NodeID]bool{}
	for _, c := range r.calls[len(r.calls)-places-1:] {
		left[c.outcome.node] = true
	}
	for _, c := range r.calls {
		if c.outcome.node.IsZero() {
			continue
		}
		_, err := r.fs.GetAttr(r.ctx, r.who, vfs.Node{ID: c.outcome.node})
		want := vfs.Stale
		if left[c.outcome.node] {
			want = vfs.OK
		}
		if got := vfs.StatusOf(err); got != want {
			return fmt.Errorf("object %v, given by a call, is %w in the end, want: %w\n%s", c.outcome.node, got, want, r.text(r.calls))
		}
	}
	return nil
}

// text is a history in the order of invocation.
func (r *recorder) text(calls []call) string {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.invoked, b.invoked) })
	var b strings.Builder
	short := map[vfs.NodeID]int{}
	for _, c := range calls {
		fmt.Fprintf(&b, "  %4d–%4d  caller %d  %s", c.invoked, c.returned, c.caller, opNames[c.op.kind])
		switch c.op.kind {
		case opRead, opWrite:
		case opRename:
			fmt.Fprintf(&b, " %d to %d", c.op.place, c.op.to)
		default:
			fmt.Fprintf(&b, " %d", c.op.place)
		}
		if c.op.kind == opExclusive || c.op.kind == opWrite {
			fmt.Fprintf(&b, " %x", c.op.value)
		}
		fmt.Fprintf(&b, " → %v", c.outcome.status)
		if !c.outcome.node.IsZero() {
			if short[c.outcome.node] == 0 {
				short[c.outcome.node] = len(short) + 1
			}
			fmt.Fprintf(&b, ", object %d", short[c.outcome.node])
		}
		if c.op.kind == opRead {
			fmt.Fprintf(&b, " %x", c.outcome.value)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
