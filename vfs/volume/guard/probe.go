package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// probe is a look at the volume that is under way: at its presence, and whether it works; or an
// attempt to open it.
type probe struct {
	began int64 // tick
	done  chan struct{}
	err   error // what was found; valid once done is closed
	gone  bool  // it hung, and another was made in its place: what it finds does not count. Guarded by Volume.mu
}

// startProbe begins a probe, unless one is under way that is not late: that one is given. thorough:
// the volume is written to, though it seems well. nil: it is closed, or no more may be made.
func (g *Volume) startProbe(thorough bool) *probe {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	now := g.now.Load()
	if n := len(g.probes); n > 0 {
		last, patience := g.probes[n-1], g.patience()<<(n-1)
		switch {
		case last.gone:
		case now-last.began <= patience:
			return last
		default:
			last.gone = true
			g.doubt(patience)
		}
		if n >= ProbesMax {
			return nil
		}
	}
	p := &probe{began: now, done: make(chan struct{})}
	g.probes = append(g.probes, p)
	state := g.gate.Load().state
	thorough = thorough || state.Health == volume.Stalled
	o := g.current
	if o != nil {
		o.calls.Add(1) // its descriptors stay open meanwhile; it has not ended, since g.mu is held
	}
	go func() {
		defer close(p.done)
		if o == nil {
			p.err = g.open(p)
			return
		}
		p.err = g.examine(o, thorough || state.Health == volume.Slow)
		if g.judge(p, o, thorough) {
			g.answers(o, p.began)
		}
		o.leave()
	}()
	return p
}

// patience is how many ticks a probe has.
func (g *Volume) patience() int64 { return int64(g.o.Deadline/g.tick) + 1 }

// doubt is what follows from a probe that hangs. Needs g.mu.
func (g *Volume) doubt(ticks int64) {
	state := g.gate.Load().state
	what := fmt.Sprintf("looking at it has not come back for %s", time.Duration(ticks)*g.tick)
	switch {
	case g.current == nil:
		g.stay("opening it: " + what)
	case state.Health == volume.Online, state.Health == volume.Stalled:
		state.Health, state.Reason, state.Since = volume.Slow, what, time.Now()
		g.shut(state, g.current)
	}
}

// forget takes a probe that came back out of the list. Needs g.mu.
func (g *Volume) forget(p *probe) {
	for i, q := range g.probes {
		if q == p {
			g.probes = append(g.probes[:i], g.probes[i+1:]...)
			return
		}
	}
}

// open tries to open the volume.
func (g *Volume) open(p *probe) error {
	v, err := g.tryOpen()
	if err == nil {
		g.news.wait() // everybody knows that it went before it is used again
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(p)
	switch {
	case err == nil && (g.closed || p.gone || g.current != nil):
		go g.discard(v) // its Close may wait
		return g.refusal("it was closed, or opened otherwise, meanwhile", nil)
	case err == nil:
		g.attach(v)
	case !g.closed && !p.gone && g.current == nil:
		g.stay(err.Error())
	}
	return err
}

func (g *Volume) tryOpen() (volume.Volume, error) {
	g.mu.Lock()
	hung := g.inside(g.ended())
	g.mu.Unlock()
	if hung >= HungMax {
		return nil, g.refusal(fmt.Sprintf("%d calls still hang in former openings", hung), nil)
	}
	if g.o.Open == nil {
		return nil, g.refusal("it cannot be opened again", nil)
	}
	v, err := g.o.Open(g.ctx)
	if err != nil {
		return nil, err
	}
	if got := v.ID(); got != g.o.ID {
		g.discard(v)
		return nil, g.refusal(fmt.Sprintf("another volume is there, %q (id %s)", v.Name(), got), volume.ErrGone)
	}
	return v, nil
}

// ended lists the former openings that have calls in them. Needs g.mu.
func (g *Volume) ended() []*opening {
	all := make([]*opening, 0, len(g.past))
	for o := range g.past {
		all = append(all, o)
	}
	return all
}

func (g *Volume) discard(v volume.Volume) {
	if err := v.Close(); err != nil {
		g.o.Log.Warn("cannot be closed", "op", "close", "volume", g.o.Name, "err", err)
	}
}

func (g *Volume) refusal(why string, cause error) error {
	err := errors.New(why)
	if cause != nil {
		err = fmt.Errorf("%s: %w", why, cause)
	}
	return &vfs.Error{Status: vfs.NXIO, Op: volume.OpOpenVolume.String(), Volume: g.o.Name, Err: err}
}

// examine finds out whether o is still there and, if prove says so or it cannot be told
// otherwise, whether it works.
func (g *Volume) examine(o *opening, prove bool) error {
	err := g.o.Present(g.ctx, o.vol)
	if errors.Is(err, volume.ErrGone) || err == nil && !prove {
		return err
	}
	return o.prove(g.ctx)
}

// judge draws the conclusions of examine, but for that of a thorough one which a volume passes that is not Slow: then proved.
func (g *Volume) judge(p *probe, o *opening, thorough bool) (proved bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(p)
	if p.gone || g.current != o || g.closed {
		return false
	}
	health := g.gate.Load().state.Health
	switch {
	case errors.Is(p.err, volume.ErrGone):
		g.detach(p.err.Error())
	case p.err == nil && health == volume.Slow:
		o.bad.Store(0)
		o.proved.Store(p.began)
		g.recover(o)
	case p.err == nil && thorough:
		o.bad.Store(0)
		proved = true
	case p.err == nil || vfs.StatusOf(p.err) == vfs.Jukebox: // the latter: this process has no descriptor or memory to spare
	case health == volume.Online, health == volume.Stalled:
		state := g.gate.Load().state
		state.Health, state.Reason, state.Since = volume.Slow, "a probe failed: "+p.err.Error(), time.Now()
		g.shut(state, o)
		g.o.Log.Warn("a volume fails: calls for it are refused until a probe passes", "op", "guard", "volume", g.o.Name, "err", p.err)
	}
	return proved
}

// probeFile is written in volume.PrivateName by a thorough probe, and removed.
const probeFile = "health"

// probeText is what it holds.
var probeText = []byte("Sheaf wrote this to see whether the volume works. It can be removed.\n")

// prove writes, flushes and reads a file: what the host has in memory cannot answer for the
// disk. Of a volume that cannot be written to now it is enough that the host says so.
func (o *opening) prove(ctx context.Context) error {
	name := vfs.MustName(probeFile)
	if o.vol.Caps().ReadOnly {
		return o.private.List(ctx, func(volume.Entry) bool { return true })
	}
	st, err := o.private.Stat(ctx)
	if err != nil {
		return err
	}
	f, _, _, err := o.private.Create(ctx, name, &volume.New{Mode: 0o600, UID: st.UID, GID: st.GID})
	if vfs.StatusOf(err) == vfs.Exist { // left by a crash, or by a probe that hangs
		f, err = o.private.Open(ctx, name, volume.Read|volume.Write)
	}
	if err != nil {
		return full(err)
	}
	err = o.proveFile(ctx, f)
	err = errors.Join(err, f.Close())
	if rerr := o.private.Unlink(ctx, name); vfs.StatusOf(rerr) != vfs.NoEnt {
		err = errors.Join(err, rerr)
	}
	return full(err)
}

func (o *opening) proveFile(ctx context.Context, f volume.File) error {
	if _, err := f.WriteAt(ctx, probeText, 0); err != nil {
		return err
	}
	if err := f.Sync(ctx, false); err != nil {
		return err
	}
	got := make([]byte, len(probeText))
	if _, err := f.ReadAt(ctx, got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, probeText) {
		return errors.New("what was written is read back otherwise")
	}
	return nil
}

// full is err unless it says that the volume works, but has no room or may not be written to.
func full(err error) error {
	switch vfs.StatusOf(err) {
	case vfs.NoSpc, vfs.DQuot, vfs.ROFS, vfs.Perm, vfs.Acces:
		return nil
	default:
		return err
	}
}
