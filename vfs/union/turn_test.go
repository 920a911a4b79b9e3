package union

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// another serves the share of s with an index of its own, does what it is told there, and ends.
func (s *awayShare) another(t *testing.T, out []int, do func()) {
	t.Helper()
	mine := s.index
	s.newIndex(t)
	s.reopen(t, out...)
	do()
	s.close(t)
	s.index = mine
}

// changeAsAnother makes born and removes there in d, both on the second volume, moves low, and makes lower in it.
func (s *awayShare) changeAsAnother(t *testing.T) {
	t.Helper()
	s.onVolume(t, 1)
	d := s.path(t, "d").Node
	s.mk(t, d, "born", vfs.Regular)
	must(t, s.removed(t, d, "there"))
	must(t, s.rename(t, s.root(t), "low", "lower"))
	s.mk(t, s.path(t, "lower").Node, "deeper", vfs.Directory)
}

// knowsNothing wants that of the second volume, which is away, no name is believed to be there or not.
func (s *awayShare) knowsNothing(t *testing.T) {
	t.Helper()
	d := s.path(t, "d").Node
	s.look(t, d, "here", vfs.OK)
	for _, at := range []vfs.Node{d, s.root(t)} {
		for _, name := range []string{"born", "there", "lower", "nowhere"} {
			s.look(t, at, name, vfs.Jukebox)
			if _, _, err := s.u.Make(t.Context(), who, at, vfs.MustName(name), &vfs.How{Type: vfs.Regular}); !isRefusal(err) {
				t.Errorf("make of %s: %v", name, err)
			}
		}
		_, _, err := s.u.ReadDir(t.Context(), who, at, 0, true, func(*vfs.DirEntry) bool { return true })
		if !isRefusal(err) {
			t.Errorf("a listing: %v", err)
		}
	}
}

// TestServedByAnother: what this server knows of a volume that is away does not count if another had the share since, whatever the
// ends of the two; it does again once the volume was there.
func TestServedByAnother(t *testing.T) {
	for name, c := range map[string]struct {
		again bool // this server has had the first volume alone before, once
		kill  bool // and was killed then
		keeps bool // the other keeps an index
	}{
		"once": {keeps: true}, "and a second start": {again: true, keeps: true}, "and a kill": {again: true, kill: true, keeps: true},
		"without an index": {},
	} {
		t.Run(name, func(t *testing.T) {
			s := restAway(t)
			s.close(t)
			if c.keeps {
				s.another(t, nil, func() { s.changeAsAnother(t) })
			} else {
				mine := s.index
				s.index = ""
				s.reopen(t)
				s.changeAsAnother(t)
				s.close(t)
				s.index = mine
			}
			s.reopen(t, 1)
			s.knowsNothing(t)
			if c.kill {
				s.kill(t, 1)
			} else if c.again {
				s.reopen(t, 1)
			}
			s.knowsNothing(t)
			s.put(t, 1)
			d := s.path(t, "d").Node
			s.look(t, d, "there", vfs.NoEnt)
			s.path(t, "d/born")
			s.path(t, "lower/deeper")
			must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
			s.reopen(t, 1)
			d = s.path(t, "d").Node
			s.look(t, d, "born", vfs.Jukebox)
			s.look(t, d, "there", vfs.NoEnt)
			s.look(t, s.root(t), "lower", vfs.Jukebox)
			s.look(t, s.root(t), "low", vfs.NoEnt)
		})
	}
}

// TestTurnOutlivesPower: what another wrote on a volume is there after a power cut if what it changed is, also if nobody had before.
func TestTurnOutlivesPower(t *testing.T) {
	for seed := range uint64(12) {
		s := restAway(t)
		s.close(t)
		for _, m := range s.mems {
			if seed%3 == 0 {
				must(t, m.Private().Unlink(t.Context(), servedName))
			}
			must(t, m.SyncAll(t.Context())) // by now it would be
		}
		mine := s.index
		s.newIndex(t)
		s.reopen(t)
		s.changeAsAnother(t)
		must(t, s.store.Abandon())
		for i, m := range s.mems {
			s.mems[i] = m.PowerCut(seed)
		}
		_ = s.u.Close() // whatever it says: nobody hears it
		for _, p := range s.p {
			_ = p.Close()
		}
		s.u, s.store, s.p, s.index = nil, nil, nil, mine
		s.open(t, 1)
		s.knowsNothing(t)
		s.put(t, 1)
		s.path(t, "d/born")
	}
}

// TestServedInTurns lets two servers have the share one after the other: neither believes what it knew before the other.
func TestServedInTurns(t *testing.T) {
	s := restAway(t)
	s.close(t)
	first := s.index
	s.newIndex(t)
	second := s.index
	for range 3 {
		for _, mine := range []string{second, first} {
			s.index = mine
			s.reopen(t, 1)
			s.look(t, s.path(t, "d").Node, "nowhere", vfs.Jukebox)
			s.put(t, 1)
			must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
			s.reopen(t, 1) // for itself it does
			s.look(t, s.path(t, "d").Node, "nowhere", vfs.NoEnt)
			s.close(t)
		}
	}
}

// TestServedFromABackup: an index that was put back from a backup does not know what it did later.
func TestServedFromABackup(t *testing.T) {
	s := restAway(t)
	s.close(t)
	backup := filepath.Join(t.TempDir(), "backup")
	must(t, os.CopyFS(backup, os.DirFS(s.index)))
	s.reopen(t)
	s.changeAsAnother(t)
	s.close(t)
	s.index = backup
	s.reopen(t, 1)
	s.knowsNothing(t)
	s.put(t, 1)
	s.path(t, "d/born")
}

// TestComesFromAnother: a volume that comes, and was another's meanwhile, tells that the others which are away may have been.
func TestComesFromAnother(t *testing.T) {
	for _, listed := range []bool{true, false} {
		comesFromAnother(t, listed)
	}
}

func comesFromAnother(t *testing.T, listed bool) {
	t.Helper()
	s := newAwayShare(t, 3)
	s.newIndex(t)
	s.open(t)
	root := s.root(t)
	s.onVolume(t, 0)
	d := s.mk(t, root, "d", vfs.Directory).Node
	s.onVolume(t, 1)
	s.mk(t, d, "one", vfs.Regular)
	s.onVolume(t, 2)
	s.mk(t, d, "two", vfs.Regular)
	s.anywhere(t)
	must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
	s.close(t)
	s.another(t, []int{0}, func() { must(t, s.removed(t, s.path(t, "d").Node, "two")) })
	if !listed {
		s.opt.Lookups = LookupNames
	}
	heard := &hearsOfAnother{Handler: slog.DiscardHandler}
	heard.f.Store(func() {})
	s.opt.Log = slog.New(heard)
	s.reopen(t, 1, 2)
	d = s.path(t, "d").Node
	s.look(t, d, "nowhere", vfs.NoEnt) // who could know
	if listed {
		if got := s.list(t, d); !slices.Contains(got, "one") || !slices.Contains(got, "two") {
			t.Fatalf("the share has %q", got)
		}
	}
	heard.f.Store(func() { s.claimsNothing(t, d, 2) }) // rows that are written while the index is told would be believed
	s.put(t, 1)
	heard.f.Store(func() {})
	if !heard.some.Load() {
		t.Error("nothing is said of the other")
	}
	s.look(t, d, "one", vfs.OK)
	s.look(t, d, "nowhere", vfs.Jukebox)
	if _, _, err := s.u.ReadDir(t.Context(), who, d, 0, true, func(*vfs.DirEntry) bool { return true }); !isRefusal(err) {
		t.Errorf("a listing: %v", err)
	}
	must(t, s.removed(t, d, "one")) // the rows of d are written anew
	s.claimsNothing(t, d, 2)
	s.reopen(t, 2) // nor does the next start know
	s.look(t, s.path(t, "d").Node, "nowhere", vfs.Jukebox)
	s.put(t, 2)
	s.look(t, s.path(t, "d").Node, "two", vfs.NoEnt)
}

// hearsOfAnother calls f when it is said that another served the share, right before the index is told.
type hearsOfAnother struct {
	slog.Handler
	f    atomic.Value // func()
	some atomic.Bool
}

func (*hearsOfAnother) Enabled(context.Context, slog.Level) bool { return true }

func (h *hearsOfAnother) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "served with another") {
		h.some.Store(true)
		h.f.Load().(func())()
	}
	return nil
}

// TestComesCutOff: a volume that comes for the first time with a signature that was cut off may have been another's.
func TestComesCutOff(t *testing.T) {
	s := newAwayShare(t, 3)
	s.newIndex(t)
	s.open(t)
	s.onVolume(t, 0)
	d := s.mk(t, s.root(t), "d", vfs.Directory).Node
	s.onVolume(t, 2)
	s.mk(t, d, "two", vfs.Regular)
	s.anywhere(t)
	must(t, s.u.walks.walk(t.Context(), "test", walkOptions{}))
	s.write(t, 1, `{"volume":"`)
	s.reopen(t, 1, 2)
	s.look(t, s.path(t, "d").Node, "nowhere", vfs.NoEnt)
	s.put(t, 1)
	s.look(t, d, "nowhere", vfs.Jukebox)
}

// claimsNothing wants that the rows of d would not call the names on volume v complete, if memory did not have them.
func (s *awayShare) claimsNothing(t *testing.T, d vfs.Node, v int) {
	t.Helper()
	n := s.u.table.get(d.ID)
	defer n.put()
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.rows.mirrored
	n.rows.mirrored = false
	for _, c := range s.u.heldRows(n) {
		if c.Volume == meta.VolumeID(s.vols[v].ID()) && c.Complete {
			t.Error("names of a volume that another had are complete")
		}
	}
	n.rows.mirrored = was
}

// served is what is written on volume i.
func (s *awayShare) served(t *testing.T, i int) meta.Turn {
	t.Helper()
	turn, signed, err := s.u.vol(i).servedBy(t.Context())
	if err != nil || !signed {
		t.Fatalf("volume %d is signed: %v, %v", i, signed, err)
	}
	return turn
}

// TestTurnIsWritten: a volume is signed by each opening, in place; what is no signature, or none of this volume, is not believed.
func TestTurnIsWritten(t *testing.T) {
	ctx := t.Context()
	s := restAway(t)
	if got := s.served(t, 1); got != s.store.Turn() {
		t.Errorf("signed by %v, want %v", got, s.store.Turn())
	}
	before, err := s.mems[1].Private().StatAt(ctx, servedName)
	must(t, err)
	s.reopen(t)
	if got := s.served(t, 1); got != s.store.Turn() {
		t.Errorf("signed by %v, want %v", got, s.store.Turn())
	}
	after, err := s.mems[1].Private().StatAt(ctx, servedName)
	if err != nil || after.Key != before.Key || after.Size != before.Size {
		t.Errorf("it was not written in place: %+v, then %+v, %v", before, after, err)
	}
	for what, b := range map[string]string{"cut off": `{"volume":"`, "empty": "", "no turn": `{"volume":"` + s.vols[0].ID().String() + `","turn":"x"}`} {
		t.Run(what, func(t *testing.T) {
			s.write(t, 0, b)
			s.reopen(t, 1)
			s.look(t, s.path(t, "d").Node, "nowhere", vfs.Jukebox)
			s.put(t, 1)
			must(t, s.u.walks.walk(ctx, "test", walkOptions{}))
			s.reopen(t, 1)
			s.look(t, s.path(t, "d").Node, "nowhere", vfs.NoEnt)
		})
	}
	s.write(t, 1, `{"volume":"00","turn":"00"}`) // came with a copy, which was adopted: the other tells
	s.reopen(t)
	s.reopen(t, 1)
	s.look(t, s.path(t, "d").Node, "nowhere", vfs.NoEnt)
}

// write gives the signature of volume i the content b, and closes all.
func (s *awayShare) write(t *testing.T, i int, b string) {
	t.Helper()
	ctx := context.Background()
	s.close(t)
	p := s.mems[i].Private()
	if err := p.Unlink(ctx, servedName); vfs.StatusOf(err) != vfs.NoEnt {
		must(t, err)
	}
	f, _, _, err := p.Create(ctx, servedName, &volume.New{Mode: 0o600})
	must(t, err)
	must(t, writeSmall(ctx, f, []byte(b)))
	must(t, p.Sync(ctx))
}

// TestTurnWithoutASignature: volumes that nobody has signed tell nothing.
func TestTurnWithoutASignature(t *testing.T) {
	s := restAway(t)
	s.close(t)
	must(t, s.mems[0].Private().Unlink(t.Context(), servedName))
	s.reopen(t, 1)
	s.knowsNothing(t)
}

// TestTurnOnAFullVolume: where there is no room for this server's signature the other's goes.
func TestTurnOnAFullVolume(t *testing.T) {
	s := newAwayShare(t, 2)
	s.newIndex(t)
	s.open(t)
	s.close(t)
	s.newIndex(t)
	s.wrapped = func(v volume.Volume) volume.Volume { return &unsigned{v.(*pullable), vfs.NoSpc} }
	s.reopen(t)
	for i := range s.mems {
		if _, signed, err := s.u.vol(i).servedBy(t.Context()); signed || err != nil {
			t.Errorf("volume %d is signed: %v, %v", i, signed, err)
		}
	}
}

// TestTurnCannotBeWritten: a volume that takes no signature is not used; but one that is full or read-only is.
func TestTurnCannotBeWritten(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		used bool
	}{"full": {vfs.NoSpc, true}, "read-only": {vfs.ROFS, true}, "broken": {vfs.IO, false}} {
		t.Run(name, func(t *testing.T) {
			s := newAwayShare(t, 2)
			s.newIndex(t)
			s.wrapped = func(v volume.Volume) volume.Volume {
				if v.ID() != s.vols[1].ID() {
					return v
				}
				return &unsigned{v.(*pullable), c.err}
			}
			u := s.open(t)
			if u.online().has(1) != c.used {
				t.Errorf("it is used: %v, want %v", !c.used, c.used)
			}
			s.wrapped = nil
		})
	}
}

// unsigned is a volume that nobody can sign.
type unsigned struct {
	*pullable
	err error
}

func (v *unsigned) Private() volume.Dir { return &unsignedDir{v.pullable.Private(), v.err} }

type unsignedDir struct {
	volume.Dir
	err error
}

func (d *unsignedDir) Create(ctx context.Context, name vfs.Name, n *volume.New) (volume.File, volume.Stat, volume.Identity, error) {
	if name == servedName {
		return nil, volume.Stat{}, volume.Identity{}, &vfs.Error{Status: vfs.StatusOf(d.err), Op: "create", Err: errors.New("injected")}
	}
	return d.Dir.Create(ctx, name, n)
}

func (d *unsignedDir) Open(ctx context.Context, name vfs.Name, flags volume.Flag) (volume.File, error) {
	if name == servedName && flags&volume.Write != 0 {
		return nil, &vfs.Error{Status: vfs.StatusOf(d.err), Op: "open", Err: errors.New("injected")}
	}
	return d.Dir.Open(ctx, name, flags)
}
