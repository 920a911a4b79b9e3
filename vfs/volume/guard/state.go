package guard

import (
	"sync"
	"time"

	"sheaf/vfs/volume"
)

// shut puts a gate in the place of the present one. Without an opening, or when it is Slow,
// nobody gets through, and whoever waits for a read-only call is answered. Needs g.mu.
func (g *Volume) shut(state volume.State, o *opening) {
	old := g.gate.Load()
	was := g.current
	next := &gate{state: state, over: make(chan struct{})}
	if state.Health == volume.Online {
		next.o = o
	}
	g.current = o
	g.gate.Store(next)
	close(old.over)
	if was != nil && was != o {
		was.watches.end(state.Reason)
		was.end(state)
	}
	if was != nil && next.o != was {
		was.dismiss(func(*slot) bool { return true })
	}
	g.news.tell(state)
}

// dismiss answers those who wait for a read-only call of which f says so.
func (o *opening) dismiss(f func(s *slot) bool) {
	k := &o.kinds[reads]
	for i := range k.slots {
		s := &k.slots[i]
		if fate := s.fate.Load(); fate&fateMask == awaited && f(s) {
			s.dismiss(fate) // does nothing if f saw another use
		}
	}
}

// restated is g's opening in another State: calls go on as they are.
func (g *gate) restated(health volume.Health, reason string) *gate {
	return &gate{state: volume.State{Health: health, Reason: reason, Since: time.Now(), Attached: g.state.Attached}, o: g.o, over: g.over}
}

// stall is Online → Stalled, unless it was proved to answer since the tick proved. Those who wait for an answer that they may do without get none, after all were told: so they may ask others
// at once.
func (g *Volume) stall(o *opening, proved int64, reason string) {
	g.mu.Lock()
	old := g.gate.Load()
	if g.current != o || old.state.Health != volume.Online || o.proved.Load() != proved {
		g.mu.Unlock()
		return
	}
	next := old.restated(volume.Stalled, reason)
	g.stalling = old
	g.news.tell(next.state)
	g.mu.Unlock()
	g.news.wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	answered := g.stalling != old
	g.stalling = nil
	if answered || g.gate.Load() != old { // and all were told of what it is since
		return
	}
	g.gate.Store(next)
	o.dismiss((*slot).spared)
	g.o.Log.Warn("nothing comes back from a volume: who can do without it does", "op", "guard", "volume", g.o.Name, "reason", reason)
}

// answers is Stalled → Online: a call that was begun at the tick at came back, or a probe passed. What hangs from before says nothing of the
// volume any more. All know it before the caller goes on, who may be in the midst of a change.
func (g *Volume) answers(o *opening, at int64) {
	g.mu.Lock()
	o.proved.Store(max(o.proved.Load(), at))
	old := g.gate.Load()
	back := g.current == o && old.state.Health == volume.Stalled
	switch {
	case back:
		next := old.restated(volume.Online, "")
		g.gate.Store(next)
		g.news.tell(next.state)
	case g.current == o && g.stalling == old: // others think it is Stalled, or will in a moment
		g.stalling = nil
		g.news.tell(old.state)
	}
	g.mu.Unlock()
	if back {
		g.o.Log.Info("the volume answers again", "op", "guard", "volume", g.o.Name, "after", time.Since(old.state.Since).Round(time.Millisecond))
	}
	g.news.wait()
}

// slow is Online or Stalled → Slow.
func (g *Volume) slow(o *opening, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.gate.Load().state
	if g.current != o || old.Health != volume.Online && old.Health != volume.Stalled {
		return
	}
	g.shut(volume.State{Health: volume.Slow, Reason: reason, Since: time.Now(), Attached: old.Attached}, o)
	g.o.Log.Warn("a volume does not answer: calls for it are refused until a probe passes", "op", "guard", "volume", g.o.Name, "reason", reason)
}

// recover is Slow → Online. Needs g.mu.
func (g *Volume) recover(o *opening) {
	old := g.gate.Load().state
	g.shut(volume.State{Health: volume.Online, Since: time.Now(), Attached: old.Attached}, o)
	g.o.Log.Info("the volume answers again", "op", "guard", "volume", g.o.Name, "after", time.Since(old.Since).Round(time.Millisecond))
}

// detach is Online, Stalled or Slow → Away. Needs g.mu.
func (g *Volume) detach(reason string) {
	old := g.gate.Load().state
	g.shut(volume.State{Health: volume.Away, Reason: reason, Since: time.Now(), Attached: old.Attached}, nil)
	g.o.Log.Warn("a volume went away", "op", "guard", "volume", g.o.Name, "reason", reason)
}

// attach is Away → Online. Needs g.mu.
func (g *Volume) attach(v volume.Volume) {
	old := g.gate.Load().state
	o := newOpening(g, v, old.Attached+1)
	g.caps, g.marker = v.Caps(), v.Marker()
	g.shut(volume.State{Health: volume.Online, Since: time.Now(), Attached: o.n}, o)
	g.o.Log.Info("the volume is there", "op", "guard", "volume", g.o.Name, "attached", o.n)
}

// stay says why a volume is still Away. Needs g.mu.
func (g *Volume) stay(reason string) {
	state := g.gate.Load().state
	if state.Reason == reason {
		return
	}
	state.Reason = reason
	g.shut(state, nil)
	g.o.Log.Warn("a volume cannot be opened", "op", "guard", "volume", g.o.Name, "reason", reason)
}

// news tells States to those who asked for them, one at a time and in order.
type news struct {
	mu      sync.Mutex
	quiet   *sync.Cond // nobody is being told anything
	queue   []volume.State
	telling bool
	to      map[*func(volume.State)]struct{}
}

func (n *news) init() {
	n.quiet = sync.NewCond(&n.mu)
	n.to = map[*func(volume.State)]struct{}{}
}

func (n *news) subscribe(f func(volume.State)) (cancel func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to[&f] = struct{}{}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.to, &f)
	}
}

func (n *news) tell(s volume.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, s)
	if !n.telling {
		n.telling = true
		go n.tellAll()
	}
}

func (n *news) tellAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.queue) > 0 {
		s := n.queue[0]
		n.queue = n.queue[1:]
		all := make([]*func(volume.State), 0, len(n.to))
		for f := range n.to {
			all = append(all, f)
		}
		for _, f := range all {
			if _, still := n.to[f]; still {
				n.mu.Unlock()
				(*f)(s)
				n.mu.Lock()
			}
		}
	}
	n.telling = false
	n.quiet.Broadcast()
}

// wait returns when everybody was told everything.
func (n *news) wait() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.telling {
		n.quiet.Wait()
	}
}
