package translator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"sheaf/vfs"
)

// Stack is an FS: layers over another one, which can be exchanged while calls are under way. A call goes wholly through the
// layers that were there when it came. Without layers it costs two loads.
//
// Generations: each Load makes one. A call enters the current one and leaves it when it ends. A generation that was
// replaced is closed when the last call has left it, but layers that go on in the next one
// (unchanged, and nothing below them changed) stay as they are, with all they know.
type Stack struct {
	bottom vfs.FS
	kinds  []Kind
	log    *slog.Logger

	now atomic.Pointer[generation] // never nil; changed under loading

	loading sync.Mutex // one Load or Close at a time; taken before mu
	closed  bool       // guarded by loading
	closing sync.WaitGroup

	mu          sync.Mutex // guards what follows; held over Subscribe and cancel of FSes
	subscribers map[*subscriber]struct{}
}

var _ vfs.FS = (*Stack)(nil)

// instance is a layer that lives.
type instance struct {
	plan  plan
	layer Layer
	in    int // generations it is in that calls may be in; guarded by Stack.mu
}

// generation is one list of layers.
type generation struct {
	top    vfs.FS
	layers []*instance // from the top
	left   chan struct{}
	over   atomic.Bool // it was replaced: who leaves says so
	calls  [shards]shard
}

// shards are counters of calls that do not share a cache line, so that calls on several
// processors do not wait for each other.
const shards = 16

type shard struct {
	n atomic.Int64
	_ [120]byte // two lines: processors fetch them in pairs
}

// subscriber is one subscription above the stack, which outlives generations.
type subscriber struct {
	f      func(vfs.Event)
	cancel func() // of the subscription at the current generation
}

// NewStack is bottom without layers.
func NewStack(bottom vfs.FS, kinds []Kind, log *slog.Logger) *Stack {
	s := &Stack{bottom: bottom, kinds: kinds, log: log, subscribers: map[*subscriber]struct{}{}}
	s.now.Store(newGeneration(bottom, nil))
	return s
}

func newGeneration(top vfs.FS, layers []*instance) *generation {
	return &generation{top: top, layers: layers, left: make(chan struct{}, 1)}
}

// Load exchanges the layers for those that specs say, from the top down. On an error nothing changes.
// It does not wait for calls that are under way.
func (s *Stack) Load(ctx context.Context, specs []Spec) error {
	c, err := s.Prepare(ctx, specs)
	if err != nil {
		return err
	}
	c.Commit()
	return nil
}

// Change is a generation that is built and not yet in force. Until Commit or Discard no other can be made.
type Change struct {
	s    *Stack
	next *generation
	made []*instance // for it, from the bottom up
}

// Prepare does of Load what can fail. Either Commit or Discard must be called, once.
func (s *Stack) Prepare(ctx context.Context, specs []Spec) (*Change, error) {
	all, err := plans(s.kinds, specs)
	if err != nil {
		return nil, err
	}
	s.loading.Lock()
	if s.closed {
		err = errors.New("the stack is closed")
	} else if c, berr := s.build(ctx, all, s.now.Load()); berr == nil {
		return c, nil
	} else {
		err = berr
	}
	s.loading.Unlock()
	return nil, err
}

// Commit puts the layers in force.
func (c *Change) Commit() {
	defer c.s.loading.Unlock()
	old := c.s.now.Load()
	if slices.Equal(c.next.layers, old.layers) {
		return
	}
	c.s.swap(c.next)
	c.s.retire(old)
}

// Discard leaves the layers as they are.
func (c *Change) Discard() {
	defer c.s.loading.Unlock()
	closeAll(c.made)
}

// build makes a generation of plans, with the lowest layers of old as far as they are the same.
func (s *Stack) build(ctx context.Context, all []plan, old *generation) (*Change, error) {
	layers, top, kept := make([]*instance, len(all)), s.bottom, true
	var made []*instance
	for i := len(all) - 1; i >= 0; i-- {
		if j := len(old.layers) - (len(all) - i); kept && j >= 0 && old.layers[j].plan.same == all[i].same {
			layers[i] = old.layers[j]
			top = layers[i].layer.FS
			continue
		}
		kept = false
		name := all[i].spec.Instance()
		l, err := all[i].build(ctx, Env{Name: name, Below: top, Log: s.log.With("translator", name)})
		if err != nil {
			closeAll(made)
			return nil, &SpecError{i, all[i].spec, err}
		}
		layers[i] = &instance{plan: all[i], layer: l}
		made = append(made, layers[i])
		top = l.FS
	}
	return &Change{s, newGeneration(top, layers), made}, nil
}

// closeAll closes layers, given from the bottom up, from the top down.
func closeAll(layers []*instance) {
	for _, l := range slices.Backward(layers) {
		if l.layer.Close != nil {
			l.layer.Close()
		}
	}
}

// swap makes g the current generation, for subscribers too. What they remember may not be what g would
// say, so they are told to forget it.
func (s *Stack) swap(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range g.layers {
		l.in++
	}
	s.now.Store(g)
	for sub := range s.subscribers {
		cancel := sub.cancel
		sub.cancel = g.top.Subscribe(sub.f) // the new one first: nothing is missed
		cancel()
		sub.f(vfs.Event{Kind: vfs.ForgetAll})
	}
}

// retire closes the layers of g, which was replaced, when no call is in it any more: those that no other generation has.
func (s *Stack) retire(g *generation) {
	g.over.Store(true)
	if len(g.layers) == 0 {
		return
	}
	s.closing.Go(func() {
		g.wait()
		closeAll(s.drop(g))
	})
}

// drop takes g's layers out of it, and gives those that are in no other generation, from the bottom up.
func (s *Stack) drop(g *generation) []*instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []*instance
	for _, l := range slices.Backward(g.layers) {
		if l.in--; l.in == 0 {
			gone = append(gone, l)
		}
	}
	return gone
}

// Close waits for the calls that are under way and closes all layers; calls that come later go to the bottom. An error is
// that ctx ended first: the rest is done in the background.
func (s *Stack) Close(ctx context.Context) error {
	s.loading.Lock()
	if !s.closed {
		s.closed = true
		old, g := s.now.Load(), newGeneration(s.bottom, nil)
		s.swap(g)
		s.retire(old)
	}
	s.loading.Unlock()
	done := make(chan struct{})
	go func() {
		s.closing.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("layers still have calls: %w", ctx.Err())
	}
}

// enter is the current generation, which lives until leave is called with the number. One without layers has nothing to
// close, and is not counted: the number is then negative.
func (s *Stack) enter() (*generation, int) {
	for {
		g := s.now.Load()
		if len(g.layers) == 0 {
			return g, -1
		}
		i := int(rand.Uint32() % shards)
		g.calls[i].n.Add(1)
		if s.now.Load() == g { // counted before it was replaced: wait sees it
			return g, i
		}
		g.leave(i)
	}
}

func (g *generation) leave(i int) {
	if i < 0 {
		return
	}
	g.calls[i].n.Add(-1)
	if g.over.Load() {
		select {
		case g.left <- struct{}{}:
		default: // wait has not yet seen the one before
		}
	}
}

// leaveChanged is leave after a verb that changes something. If the layers were exchanged meanwhile, the change did
// not come through the new ones: they forget before it is answered.
func (s *Stack) leaveChanged(g *generation, i int) {
	defer g.leave(i)
	if s.now.Load() == g {
		return
	}
	now, j := s.enter()
	defer now.leave(j)
	for _, l := range now.layers {
		if l.layer.Forget != nil && !slices.Contains(g.layers, l) {
			l.layer.Forget()
		}
	}
}

// wait returns when no call is in g, which was replaced. Who enters after that leaves before it calls anything, so each counter that
// was once seen at zero stays there, but for such.
func (g *generation) wait() {
	for !g.empty() {
		<-g.left
	}
}

func (g *generation) empty() bool {
	for i := range g.calls {
		if g.calls[i].n.Load() != 0 {
			return false
		}
	}
	return true
}

// Specs are the layers there are, from the top.
func (s *Stack) Specs() []Spec {
	g := s.now.Load()
	all := make([]Spec, len(g.layers))
	for i, l := range g.layers {
		all[i] = l.plan.spec
	}
	return all
}

// Counts calls each with every layer and what it counts.
func (s *Stack) Counts(each func(kind, name string, counts []Count)) {
	g, i := s.enter()
	defer g.leave(i)
	for _, l := range g.layers {
		if l.layer.Counts != nil {
			each(l.plan.spec.Kind, l.plan.spec.Instance(), l.layer.Counts())
		}
	}
}

// Lines calls each with every layer, from the top, and what it says of itself.
func (s *Stack) Lines(each func(spec Spec, lines []string)) {
	g, i := s.enter()
	defer g.leave(i)
	for _, l := range g.layers {
		var lines []string
		if l.layer.Lines != nil {
			lines = l.layer.Lines()
		}
		each(l.plan.spec, lines)
	}
}

// Subscribe implements vfs.FS. It outlives Load, which says ForgetAll.
func (s *Stack) Subscribe(f func(vfs.Event)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := &subscriber{f: f, cancel: s.now.Load().top.Subscribe(f)}
	s.subscribers[sub] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, there := s.subscribers[sub]; there {
			delete(s.subscribers, sub)
			sub.cancel()
		}
	}
}
