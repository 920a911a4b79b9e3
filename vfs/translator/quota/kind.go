package quota

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// Bounds and defaults of the options.
const (
	MaxDirectories = 4096
	MaxUsers       = 16384
	MaxFiles       = 1 << 50
	MaxBytes       = 1 << 60
	DefaultGrace   = 7 * 24 * time.Hour // as quota(8) has it
	DefaultRescan  = 24 * time.Hour
	MinRescan      = time.Minute
	maxTime        = 10 * 365 * 24 * time.Hour
)

// options are what the configuration says.
type options struct {
	directories   []*tally
	users         map[uint32]limits
	everyone      *limits
	grace, rescan time.Duration
}

// NewKind is the kind "quota". What is counted is kept in files of dir over a restart, which is made when it is
// missing; with an empty dir it is not.
func NewKind(dir string) translator.Kind {
	return translator.Kind{
		Name: "quota",
		Help: "Limits bytes and files: soft-bytes, hard-bytes, soft-files, hard-files. directories: a list of these with a path. " +
			"users: a list of these with uids; without: all others. grace: how long above a soft limit, 168h. rescan: how often all is counted anew, 24h.",
		New: func(o *translator.Options) translator.Build {
			opts := readOptions(o)
			return func(_ context.Context, env translator.Env) (translator.Layer, error) {
				if opts.nothing() {
					return translator.Layer{FS: env.Below}, nil
				}
				return build(opts, env, dir), nil
			}
		},
	}
}

func readOptions(o *translator.Options) *options {
	opts := &options{
		users:  map[uint32]limits{},
		grace:  o.Duration("grace", DefaultGrace, 0, maxTime),
		rescan: o.Duration("rescan", DefaultRescan, MinRescan, maxTime),
	}
	paths := map[string]bool{}
	for _, d := range o.List("directories") {
		t := &tally{path: d.Need("path"), limits: readLimits(d)}
		var err error
		if t.names, err = translator.ParsePath(t.path); err != nil && t.path != "" {
			d.Fail("path", "%v", err)
		}
		clean := fmt.Sprint(t.names)
		if paths[clean] {
			d.Fail("path", "%s has limits already", t.path)
		}
		paths[clean] = true
		d.End()
		opts.directories = append(opts.directories, t)
	}
	if len(opts.directories) > MaxDirectories {
		o.Fail("directories", "%d are given; want at most %d", len(opts.directories), MaxDirectories)
	}
	for _, u := range o.List("users") {
		opts.readUsers(u)
		u.End()
	}
	if len(opts.users) > MaxUsers {
		o.Fail("users", "%d are given; want at most %d", len(opts.users), MaxUsers)
	}
	return opts
}

// readUsers reads one entry of users.
func (opts *options) readUsers(u *translator.Options) {
	l := readLimits(u)
	if !u.Has("uids") {
		if opts.everyone != nil {
			u.Fail("uids", "another entry without uids is for all others already")
		}
		opts.everyone = &l
		return
	}
	ids := u.IDs("uids")
	if len(ids) == 0 {
		u.Fail("uids", "is empty")
	}
	for id := range ids {
		if _, there := opts.users[id]; there {
			u.Fail("uids", "%d has limits already", id)
		}
		opts.users[id] = l
	}
}

func readLimits(o *translator.Options) (l limits) {
	l.bytes = bound{o.Bytes("soft-bytes", 0, 1, MaxBytes), o.Bytes("hard-bytes", 0, 1, MaxBytes)}
	l.files = bound{o.Int("soft-files", 0, 1, MaxFiles), o.Int("hard-files", 0, 1, MaxFiles)}
	if l.none() {
		o.Fail("hard-bytes", "no limit is given; want one of soft-bytes, hard-bytes, soft-files, hard-files")
	}
	for what, b := range map[string]bound{"soft-bytes": l.bytes, "soft-files": l.files} {
		if b.hard > 0 && b.soft > b.hard {
			o.Fail(what, "is more than the hard limit")
		}
	}
	return l
}

// nothing reports whether nothing is limited.
func (opts *options) nothing() bool {
	return len(opts.directories) == 0 && len(opts.users) == 0 && opts.everyone == nil
}

// build makes an instance.
func build(opts *options, env translator.Env, dir string) translator.Layer {
	life, end := context.WithCancel(context.Background())
	b := newBook(life, env.Below, env.Log)
	b.grace, b.everyone = opts.grace, opts.everyone
	for _, t := range opts.directories {
		b.limited = append(b.limited, &tally{path: t.path, names: t.names, limits: t.limits})
	}
	for uid, l := range opts.users {
		b.users[uid] = &tally{user: true, uid: uid, limits: l}
	}
	b.unfound = len(b.limited)
	k := &keeper{book: b, rescan: opts.rescan, file: stateFile(dir, env.Name)}
	k.load()
	cancel := env.Below.Subscribe(b.event)
	b.background.Go(k.run)
	b.background.Go(b.follow)
	return translator.Layer{
		FS: &layer{FS: env.Below, book: b},
		Close: func() {
			cancel()
			end()
			b.background.Wait()
			k.save()
		},
		Forget: b.forget,
		Counts: k.counts,
		Lines:  k.lines,
	}
}

// newsMax is how many objects changed by others wait to be looked at. Further ones are found by a walk.
const newsMax = 1024

// event notes what changed without coming through this layer.
func (b *book) event(e vfs.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubted = true
	b.reshape()
	if e.Kind == vfs.ForgetNode && b.nodes[e.Node] != nil {
		select {
		case b.news <- e.Node:
		default: // a walk finds it
		}
	}
}

// follow looks at objects that changed otherwise, and that are known.
func (b *book) follow() {
	for {
		select {
		case <-b.life.Done():
			return
		case id := <-b.news:
			b.mu.Lock()
			e := b.nodes[id]
			b.mu.Unlock()
			if e == nil {
				continue
			}
			if e, err := b.begin(b.life, e.node); err == nil {
				if err := b.refresh(b.life, e); err != nil {
					b.doubt()
				}
				b.end(e)
			}
		}
	}
}

// forget is called after changes that came by other layers: what is known of objects is dropped, and all is counted anew.
func (b *book) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.idle.Len() > 0 {
		b.evict(b.idle.Front().Value.(*entry))
	}
	b.reshape()
	for _, w := range b.walks {
		w.again = true
	}
	b.want()
}

// want asks for a walk soon. Needs mu.
func (b *book) want() {
	b.wanted = true
	b.stir()
}

// stir makes the keeper look at once.
func (b *book) stir() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// all are the tallies, directories first. Needs mu.
func (b *book) all() []*tally {
	all := slices.Clone(b.limited)
	for _, t := range b.users {
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(t, u *tally) int {
		switch {
		case t.user != u.user && u.user:
			return -1
		case t.user != u.user:
			return 1
		}
		return int(t.uid) - int(u.uid)
	})
	return all
}
