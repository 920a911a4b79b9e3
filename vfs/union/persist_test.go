package union

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// rowShare is a share with an index whose rows are written when a test says so.
func rowShare(tb testing.TB, volumes int, change func(i int, o *volumetest.Options)) *shareT {
	tb.Helper()
	s := memShare(tb, volumes, change)
	s.opt.rowsDelay, s.opt.settleDelay = time.Hour, time.Hour
	s.newIndex(tb)
	s.open(tb)
	return s
}

// writeNow writes all rows that are behind.
func (s *shareT) writeNow() { s.workOff(&s.u.rowQueue.write, s.u.rowQueue.writeOne) }

// settleNow settles all directories that can be.
func (s *shareT) settleNow() {
	s.writeNow()
	defer s.u.rowQueue.rest.Store(s.u.rowQueue.rest.Swap(1))
	s.workOff(&s.u.rowQueue.settle, s.u.rowQueue.settleOne)
}

func (s *shareT) workOff(list *[]rowTask, do func(*node)) {
	q, yes := &s.u.rowQueue, true
	for {
		d, _, _ := q.next(list, &yes, 0)
		if d == nil {
			return
		}
		do(d)
		d.put()
	}
}

// ending is how a server ends.
type ending int

const (
	closes    ending = iota // in good order
	isKilled                // what it has not written is lost
	loses                   // its index, too
	powerCuts               // what was not flushed is lost, of the volumes and of the index
)

// end ends the server; the share is not opened again.
func (s *shareT) end(f failer, how ending, seed uint64) {
	f.Helper()
	switch how {
	case closes:
		s.close(f)
	case loses:
		s.close(f)
		s.newIndex(f)
	default:
		s.u.scans.wait()
		if err := s.store.Abandon(); err != nil {
			f.Fatalf("abandon the index: %v", err)
		}
		if how == powerCuts {
			s.boots++
		}
		for i, m := range s.mems { // before the union can do anything else to them
			if how == powerCuts {
				s.mems[i] = m.PowerCut(seed*31 + uint64(i))
			} else {
				s.mems[i] = m.Reopen()
			}
			s.vols[i] = s.mems[i]
		}
		_ = s.u.Close() // whatever it says: nobody hears it
		s.u, s.store = nil, nil
		return
	}
	for i, m := range s.mems {
		s.mems[i] = m.Reopen()
		s.vols[i] = s.mems[i]
	}
}

// truth is what lies on the volumes: the names in each directory's copies, by node and volume.
type truth map[vfs.NodeID]map[int]dirTruth

type dirTruth struct {
	path  string
	names []string
	at    volume.Version
}

// truths looks at the volumes with the index's back turned.
func (s *shareT) truths(f failer) truth {
	f.Helper()
	ctx := context.Background()
	opt := s.opt
	opt.Index, opt.Volumes = nil, s.vols
	forge := s.signatures(f)
	u, err := Open(ctx, opt)
	if err != nil {
		f.Fatalf("open without index: %v", err)
	}
	defer forge()
	out := make(truth)
	plain := &shareT{u: u}
	var down func(dir vfs.Node, path []vfs.Name)
	down = func(dir vfs.Node, path []vfs.Name) {
		out[dir.ID] = make(map[int]dirTruth)
		for v, vol := range s.vols {
			if d, ok := dirOn(f, vol, path); ok {
				out[dir.ID][v] = d
			}
		}
		for _, name := range plain.list(f, dir) {
			a := plain.look(f, dir, name, vfs.OK)
			if a.Type == vfs.Directory {
				down(a.Node, append(slices.Clip(path), vfs.MustName(name)))
			}
		}
	}
	down(plain.root(f), nil)
	if err := u.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	return out
}

// signatures gives back who served the volumes last, as if nobody had been there in between.
func (s *shareT) signatures(f failer) (forge func()) {
	f.Helper()
	ctx := context.Background()
	turns := make(map[*vol]meta.Turn)
	for _, v := range s.vols {
		o := &vol{v: v, id: v.ID()}
		turn, signed, err := o.servedBy(ctx)
		if err != nil {
			f.Fatalf("read a signature: %v", err)
		}
		if signed {
			turns[o] = turn
		}
	}
	return func() {
		for o, turn := range turns {
			if err := o.sign(ctx, turn); err != nil {
				f.Fatalf("sign: %v", err)
			}
		}
	}
}

// dirOn is what lies in the directory at path of a volume.
func dirOn(f failer, v volume.Volume, path []vfs.Name) (dirTruth, bool) {
	f.Helper()
	ctx := context.Background()
	d := v.Root()
	for i, name := range path {
		next, err := d.OpenDir(ctx, name)
		if i > 0 {
			_ = d.Close() // only opened
		}
		if err != nil {
			return dirTruth{}, false
		}
		d = next
	}
	if len(path) > 0 {
		defer func() { _ = d.Close() }() // only read
	}
	st, err := d.Stat(ctx)
	t := dirTruth{path: fmt.Sprint(path), at: st.Version()}
	lerr := d.List(ctx, func(e volume.Entry) bool { t.names = append(t.names, e.Name.String()); return true })
	if err := errors.Join(err, lerr); err != nil {
		f.Fatalf("list %v: %v", path, err)
	}
	sort.Strings(t.names)
	return t, true
}

// believe compares what the index says, after a restart, with the truth: whatever it lets be believed is so.
// It gives how many copies it said something of. foreign: what was known of volumes may be old.
func (s *shareT) believe(f failer, foreign bool) (proofs, completes int) {
	f.Helper()
	want := s.truths(f)
	st, err := meta.Open(meta.Options{Dir: s.index, MinFree: 1, Boot: fmt.Sprint("boot", s.boots), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatalf("open index: %v", err)
	}
	s.store = st // goes on as this session's
	if bad, err := st.Check(context.Background(), 10); err != nil || len(bad) > 0 {
		f.Fatalf("index: %v, %v", bad, err)
	}
	for id, on := range want {
		copies, err := st.Copies(id)
		if err != nil {
			f.Fatalf("copies: %v", err)
		}
		entries, _, err := st.Entries(id, 0, 10_000)
		if err != nil {
			f.Fatalf("entries: %v", err)
		}
		for v, vol := range s.vols {
			for _, c := range copies {
				is, there := on[v]
				if c.Volume != meta.VolumeID(vol.ID()) || !there {
					continue
				}
				proof := c.Proof && volume.Version{Ino: c.Version.Ino, Ctime: c.Version.Ctime, Mtime: c.Version.Mtime} == is.at
				var names []string
				for _, e := range entries {
					name := e.Name
					if !e.On.IsZero() {
						name = e.On
					}
					for on := range e.Volumes.All() {
						if on == c.Volume {
							names = append(names, name.String())
						}
					}
				}
				sort.Strings(names)
				same := slices.Equal(names, is.names)
				if proof && !same {
					f.Fatalf("%s on volume %d is proved to hold %q, and holds %q; of copies %+v with %+v", is.path, v, names, is.names, copies, entries)
				}
				if c.Complete && !same && !foreign {
					f.Fatalf("%s on volume %d counts as holding %q (settled %v), and holds %q", is.path, v, names, c.Settled, is.names)
				}
				if proof {
					proofs++
				}
				if c.Complete {
					completes++
				}
			}
		}
	}
	return proofs, completes
}

// fewer lets rapid make n checks where nobody asked for another number (-rapid.checks): each opens an index some
// times, which takes the time of hundreds of ordinary ones.
func fewer(t *testing.T, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	was := f.Value.String()
	if was != f.DefValue {
		return
	}
	must(t, f.Value.Set(strconv.Itoa(n)))
	t.Cleanup(func() { must(t, f.Value.Set(was)) })
}

// TestRowsTellTheTruth runs random programs that end in any way at any moment; whatever the index lets be
// believed then is so on the volumes.
func TestRowsTellTheTruth(t *testing.T) {
	var proofs, completes atomic.Int64
	fewer(t, 8)
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				var fails atomic.Int64
				s := rowShare(t, n, func(_ int, o *volumetest.Options) {
					o.Fault = func(string, int) error {
						if fails.Load() > 0 && fails.Add(-1) == 0 {
							return errDisk
						}
						return nil
					}
				})
				s.opt.paged = rapid.SampledFrom([]int{1, DefaultPaged}).Draw(rt, "paged") // one name in memory, or all
				s.u.opt.paged = s.opt.paged
				r := &rowProgram{shareT: s, fails: &fails}
				r.u.chance.src = rand.NewPCG(1, 2) // so that a failure can be repeated
				for range rapid.IntRange(1, 4).Draw(rt, "lives") {
					for range rapid.IntRange(1, 30).Draw(rt, "steps") {
						r.step(rt)
					}
					how := ending(rapid.IntRange(0, int(powerCuts)).Draw(rt, "end"))
					fails.Store(0)
					s.end(rt, how, rapid.Uint64().Draw(rt, "seed"))
					p, c := s.believe(rt, r.foreign)
					proofs.Add(int64(p))
					completes.Add(int64(c))
					s.open(rt).chance.src = rand.NewPCG(1, 2)
				}
				s.close(rt)
			})
		})
	}
	if !testing.Short() && (proofs.Load() == 0 || completes.Load() == 0) { // with -short rapid makes one check of eight
		t.Errorf("%d proofs, %d complete: nothing was believed at all", proofs.Load(), completes.Load())
	}
}

// rowProgram changes names.
type rowProgram struct {
	*shareT
	fails   *atomic.Int64
	foreign bool // somebody else has changed something
}

func (r *rowProgram) step(rt *rapid.T) {
	ctx := context.Background()
	name := func(what string) vfs.Name {
		return vfs.MustName(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, what))
	}
	var err error
	switch what := rapid.SampledFrom(rowSteps).Draw(rt, "what"); what {
	case "mkdir", "create":
		typ := vfs.Regular
		if what == "mkdir" {
			typ = vfs.Directory
		}
		_, _, err = r.u.Make(ctx, who, r.dir(rt, "dir"), name("name"), &vfs.How{Type: typ, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o755}})
	case "remove":
		_, err = r.u.Remove(ctx, who, r.dir(rt, "dir"), name("name"))
	case "rmdir":
		_, err = r.u.RemoveDir(ctx, who, r.dir(rt, "dir"), name("name"))
	case "rename":
		_, _, err = r.u.Rename(ctx, who, r.dir(rt, "dir"), name("name"), r.dir(rt, "other"), name("to"))
	case "link":
		if a, _, lerr := r.u.Lookup(ctx, who, r.dir(rt, "dir"), name("name")); lerr == nil {
			_, _, err = r.u.Link(ctx, who, a.Node, r.dir(rt, "other"), name("to"))
		}
	case "list":
		_, _, err = r.u.ReadDir(ctx, who, r.dir(rt, "dir"), 0, true, func(*vfs.DirEntry) bool { return true })
	case "look":
		_, _, err = r.u.Lookup(ctx, who, r.dir(rt, "dir"), name("name"))
	case "write":
		r.writeNow()
	case "settle":
		r.settleNow()
	case "flush":
		err = r.store.Flush(ctx)
	case "forget":
		r.u.opt.Memory = 1 // until something is charged
		r.u.charge(0)
		r.u.opt.Memory = DefaultMemory
	case "fail":
		r.fails.Store(int64(rapid.IntRange(1, 20).Draw(rt, "operation")))
	case "foreign":
		r.behind(rt, name("name"), name("to"))
	}
	if vfs.StatusOf(err) == vfs.ServerFault {
		rt.Fatalf("%v", err)
	}
}

var rowSteps = []string{
	"mkdir", "create", "create", "remove", "rmdir", "rename", "rename", "link", "list", "look", "write", "write", "settle", "flush",
	"forget", "fail", "foreign",
}

// dir is a directory of the share.
func (r *rowProgram) dir(rt *rapid.T, label string) vfs.Node {
	ctx := context.Background()
	a, err := r.u.Root(ctx, who)
	if err != nil { // a fault was injected
		return r.u.root.node()
	}
	for range rapid.IntRange(0, 2).Draw(rt, label+" depth") {
		next, _, err := r.u.Lookup(ctx, who, a.Node, vfs.MustName(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, label)))
		if err != nil || next.Type != vfs.Directory {
			break
		}
		a = next
	}
	return a.Node
}

// behind changes a name at the root of a volume as another process would.
func (r *rowProgram) behind(rt *rapid.T, from, to vfs.Name) {
	ctx := context.Background()
	defer r.fails.Store(r.fails.Swap(0))
	d := r.vols[rapid.IntRange(0, len(r.vols)-1).Draw(rt, "volume")].Root()
	var err error
	switch rapid.IntRange(0, 2).Draw(rt, "change") {
	case 0:
		var f volume.File
		if f, _, _, err = d.Create(ctx, from, &volume.New{Mode: 0o600}); err == nil {
			err = f.Close()
		}
	case 1:
		err = d.Unlink(ctx, from)
	default:
		err = d.Rename(ctx, from, d, to, true)
	}
	if err == nil { // what it does lasts; else names and version could part in a power cut, on such a volume
		r.foreign = true
		if err := d.Sync(ctx); err != nil {
			rt.Fatalf("sync: %v", err)
		}
	}
}

// TestProgramKilled runs programs whose server is sometimes killed, on volumes that keep what it did.
func TestProgramKilled(t *testing.T) {
	fewer(t, 8)
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, n, nil)
				s.newIndex(rt)
				s.opt.rowsDelay, s.opt.settleDelay = time.Nanosecond, time.Nanosecond
				restart := func(rt *rapid.T) vfs.FS {
					s.end(rt, ending(rapid.IntRange(0, int(loses)).Draw(rt, "end")), 0)
					s.believe(rt, false)
					return s.open(rt)
				}
				vfstest.RunProgram(rt, s.open(rt), vfstest.ProgramOptions{Restart: restart, Steps: 60})
				s.close(rt)
			})
		})
	}
}

// TestRowGainsACopy: a further copy of a directory, found at a look-up, is in the directory's row too: with its
// volume away at the next start nobody else knows of it.
func TestRowGainsACopy(t *testing.T) {
	s := memShare(t, 2, nil)
	s.opt.Trust = time.Millisecond
	s.newIndex(t)
	s.open(t)
	d := s.mk(t, s.root(t), "d", vfs.Directory)
	here := s.on(t, d.Node)
	other, _, _, err := s.mems[1-here].Root().Mkdir(t.Context(), vfs.MustName("d"), &volume.New{Mode: 0o755})
	must(t, err)
	must(t, other.Close())
	eventually(t, "the row has both copies", func() bool {
		s.look(t, s.root(t), "d", vfs.OK)
		row, ok, err := s.store.Node(d.Node.ID)
		must(t, err)
		return ok && len(row.Copies) == 2
	})
}
