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
		was.dismissAll()
	}
	g.news.tell(state)
}

// dismissAll answers everybody who waits for a read-only call.
func (o *opening) dismissAll() {
	k := &o.kinds[reads]
	for i := range k.slots {
		s := &k.slots[i]
		if fate := s.fate.Load(); fate&fateMask == awaited {
			s.dismiss(fate)
		}
	}
}

// slow is Online → Slow.
func (g *Volume) slow(o *opening, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.gate.Load().state
	if g.current != o || old.Health != volume.Online {
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

// detach is Online or Slow → Away. Needs g.mu.
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
