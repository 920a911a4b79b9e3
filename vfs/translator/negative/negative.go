package negative

import (
	"context"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// Bounds and defaults of the options.
const (
	DefaultEntries = 100_000 // some 150 bytes each, and their names
	MinEntries     = shardCount * 2
	MaxEntries     = 10_000_000
	DefaultExpiry  = 10 * time.Second
	MaxExpiry      = 24 * time.Hour
)

// Kind is the kind "negative".
var Kind = translator.Kind{
	Name: "negative",
	Help: "Remembers names that do not exist: an example. entries: how many, 100000. expiry: for how long, 10s.",
	New: func(o *translator.Options) translator.Build {
		entries := o.Int("entries", DefaultEntries, MinEntries, MaxEntries)
		expiry := o.Duration("expiry", DefaultExpiry, time.Millisecond, MaxExpiry)
		return func(_ context.Context, env translator.Env) (translator.Layer, error) {
			l := &layer{FS: env.Below, cache: newCache(int(entries), expiry)}
			forget := func() { l.cache.event(vfs.Event{Kind: vfs.ForgetAll}) }
			return translator.Layer{FS: l, Close: env.Below.Subscribe(l.cache.event), Forget: forget, Counts: l.counts}, nil
		}
	},
}

// layer overrides the verbs that it is about. The others are the FS's below.
type layer struct {
	vfs.FS
	cache *cache
}

// Lookup implements vfs.FS.
func (l *layer) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	k := key{dir.ID, name}
	absent, epoch := l.cache.absent(w, k)
	if absent {
		l.cache.hits.Add(1)
		return vfs.Attr{}, vfs.Attr{}, vfs.NoEnt
	}
	obj, dirAttr, err = l.FS.Lookup(ctx, w, dir, name)
	if translator.Done(err) {
		l.cache.misses.Add(1)
	}
	if vfs.StatusOf(err) == vfs.NoEnt {
		l.cache.learn(w, k, epoch)
	}
	return obj, dirAttr, err
}

// Make implements vfs.FS.
func (l *layer) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	k := key{dir.ID, name}
	l.cache.begin(k)
	defer l.cache.end(k)
	return l.FS.Make(ctx, w, dir, name, how)
}

// Link implements vfs.FS.
func (l *layer) Link(ctx context.Context, w *vfs.Who, n, dir vfs.Node, name vfs.Name) (vfs.Attr, vfs.Change, error) {
	k := key{dir.ID, name}
	l.cache.begin(k)
	defer l.cache.end(k)
	return l.FS.Link(ctx, w, n, dir, name)
}

// Rename implements vfs.FS.
func (l *layer) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (vfs.Change, vfs.Change, error) {
	k := key{to.ID, toName}
	l.cache.begin(k)
	defer l.cache.end(k)
	defer l.gone(ctx, w, to, toName)()
	return l.FS.Rename(ctx, w, from, fromName, to, toName)
}

// RemoveDir implements vfs.FS.
func (l *layer) RemoveDir(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	defer l.gone(ctx, w, dir, name)()
	return l.FS.RemoveDir(ctx, w, dir, name)
}

// gone forgets the directory that is called name and may now be removed (N6), until the result is called. It asks below as
// the superuser: who may not see the directory may yet remove it.
func (l *layer) gone(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (end func()) {
	who := vfs.Superuser
	if w.NoWait {
		who = &vfs.Who{NoWait: true}
	}
	a, _, err := l.FS.Lookup(ctx, who, dir, name)
	if err != nil || a.Type != vfs.Directory {
		return func() {}
	}
	k := key{dir: a.Node.ID}
	l.cache.begin(k)
	return func() { l.cache.end(k) }
}

// SetAttr implements vfs.FS.
func (l *layer) SetAttr(ctx context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (vfs.Change, error) {
	k := key{dir: n.ID}
	l.cache.begin(k)
	defer l.cache.end(k)
	return l.FS.SetAttr(ctx, w, n, set, guard)
}

// SetACL implements vfs.FS.
func (l *layer) SetACL(ctx context.Context, w *vfs.Who, n vfs.Node, acl vfs.ACLs) (vfs.Attr, error) {
	k := key{dir: n.ID}
	l.cache.begin(k)
	defer l.cache.end(k)
	return l.FS.SetACL(ctx, w, n, acl)
}

func (l *layer) counts() []translator.Count {
	c := l.cache
	return []translator.Count{
		{Name: "hits_total", Help: "Look-ups answered from memory.", Value: float64(c.hits.Load())},
		{Name: "misses_total", Help: "Look-ups that went below.", Value: float64(c.misses.Load())},
		{Name: "refused_total", Help: "Absences not remembered, since something was forgotten meanwhile.", Value: float64(c.refused.Load())},
		{Name: "evicted_total", Help: "Absences dropped for want of room.", Value: float64(c.evicted.Load())},
		{Name: "forgotten_total", Help: "Changes and events that made it forget.", Value: float64(c.forgotten.Load())},
		{Name: "entries", Help: "Absences in memory.", Gauge: true, Value: float64(c.entries())},
	}
}
