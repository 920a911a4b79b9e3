package trace

import (
	"context"
	"sync"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// resolveEvery is how long the object at a path is believed to be that.
const resolveEvery = time.Second

// inside knows the object at a path.
type inside struct {
	path []vfs.Name

	mu    sync.Mutex
	at    vfs.NodeID // zero: there is none
	until time.Time
}

// has reports whether c is about the object or what lies below it. What cannot be found out is not: a trace must not make
// calls fail.
func (p *inside) has(ctx context.Context, c *translator.Call) bool {
	top := p.top(ctx, c.Below)
	if top.IsZero() {
		return false
	}
	start := c.Node
	if c.Verb == translator.Root {
		a, err := c.Below.Root(ctx, vfs.Superuser)
		if err != nil {
			return false
		}
		start = a.Node
	}
	return p.under(ctx, c, top, start) || !c.ToDir.IsZero() && p.under(ctx, c, top, c.ToDir)
}

func (*inside) under(ctx context.Context, c *translator.Call, top vfs.NodeID, n vfs.Node) (found bool) {
	err := translator.Ancestors(ctx, c.Below, n, func(dir vfs.Node) bool {
		found = dir.ID == top
		return !found
	})
	return found && err == nil
}

// top is the object at the path.
func (p *inside) top(ctx context.Context, fs vfs.FS) vfs.NodeID {
	p.mu.Lock()
	at, fresh := p.at, time.Now().Before(p.until)
	p.mu.Unlock()
	if fresh {
		return at
	}
	a, err := translator.Walk(ctx, fs, p.path)
	if err != nil {
		a = vfs.Attr{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.until = a.Node.ID, time.Now().Add(resolveEvery)
	return p.at
}
