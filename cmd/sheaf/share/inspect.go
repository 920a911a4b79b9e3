package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/union"
	"sheaf/vfs/volume"
)

// Status implements Inspector.
func (s *Share) Status(ctx context.Context) (Status, error) {
	volumes, err := s.Volumes(ctx)
	if err != nil {
		return Status{}, err
	}
	uid, squashed := s.Squashed()
	st := Status{
		Version: APIVersion, Running: s.engine != nil, Build: s.opt.Build, PID: os.Getpid(),
		UID: uid, Squashed: squashed, Started: s.started.Round(0),
		Share: s.id.share, Engine: s.cfg.Engine, Exports: s.exportLines(), Volumes: volumes,
		Index: s.indexStatus(),
	}
	p := s.union.ScanProgress()
	st.Scan = scanStatus(&p, expected(volumes))
	if s.engine != nil {
		st.Lookups = s.lookupCounts()
		s.stack.Lines(func(spec translator.Spec, lines []string) {
			st.Translators = append(st.Translators, TranslatorStatus{Kind: spec.Kind, Name: spec.Instance(), Lines: lines})
		})
		st.Listen, st.Mount, st.Traffic = s.Addr().String(), s.MountCommand(), s.engine.Traffic()
	}
	return st, nil
}

// Clients implements Inspector.
func (s *Share) Clients(context.Context) (Clients, error) {
	if s.engine == nil {
		return Clients{Version: APIVersion}, nil
	}
	all := s.engine.Clients()
	list := Clients{Version: APIVersion, Running: true, Total: len(all), Clients: []ClientStatus{}}
	for _, c := range all[:min(len(all), MaxClientRows)] {
		row := ClientStatus{
			Connections: c.Conns, Calls: c.Calls, Rate: c.Rate, BytesIn: c.In, BytesOut: c.Out, InFlight: c.InFlight,
			Waiting: c.Waiting, Slow: c.Slow, BytesInFlight: c.Bytes, Refused: c.Refused, Shed: c.Shed,
			Limited: c.Limited, TurnedAway: c.Turned, LastProcedure: c.LastProc, Idle: c.Idle.Seconds(),
		}
		for _, dir := range c.Mounts {
			row.Mounts = append(row.Mounts, Text(dir))
		}
		if c.Addr.IsValid() {
			row.Address = c.Addr.String()
		}
		if c.Addr.Is6() {
			row.Address += "/64"
		}
		list.Clients = append(list.Clients, row)
	}
	return list, nil
}

// lookupCounts are the union's.
func (s *Share) lookupCounts() *LookupCounts {
	c := s.union.Stats()
	return &LookupCounts{
		Mode: s.cfg.Lookups, Hits: c.Hits, Misses: c.Misses, Asked: c.Asked, Refused: c.Refused, Revalidated: c.Revalidated,
		Evicted: c.Evicted, Absences: c.Absences, Nodes: c.Nodes, Memory: c.Memory,
	}
}

// indexStatus is how the index is.
func (s *Share) indexStatus() IndexStatus {
	h := s.index.Health()
	st := IndexStatus{State: IndexOn, Free: h.Free, Floor: h.Floor, Refused: h.Refused, Queued: h.Queued}
	switch {
	case h.Err != nil:
		st.State, st.Error = IndexOff, h.Err.Error()
	case h.Void:
		st.State = IndexOff
	case h.Paused:
		st.State = IndexPaused
	}
	return st
}

// exportLines are the exports in force, spelled out.
func (s *Share) exportLines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := make([]string, 0, len(s.exports.List))
	for i := range s.exports.List {
		lines = append(lines, s.exports.List[i].String())
	}
	return lines
}

// spaceWait is how long a question about volumes waits for the figures of one that does not answer.
const spaceWait = 2 * time.Second

// online is how a volume is that the share uses.
const online = volume.Online

// Volumes implements Inspector.
func (s *Share) Volumes(ctx context.Context) ([]VolumeStatus, error) {
	members, r := s.members.list(), s.members.now()
	all := make([]VolumeStatus, 0, len(members))
	seen := map[uint64]bool{}
	states := map[volume.ID]volume.State{}
	watches := map[volume.ID]union.WatchStats{}
	for _, m := range s.union.Members() {
		states[m.ID], watches[m.ID] = m.State, m.Watch
	}
	for _, c := range members {
		v := volumeStatus(c, s.members.placeOf(c), states[c.vol.ID()])
		if e := r.member(c.id); e != nil {
			v.Mode = e.Mode.String()
		}
		v.watched(watches[c.vol.ID()])
		if v.State == volume.Online.String() {
			v.measure(ctx, c.vol, seen)
		}
		all = append(all, v)
	}
	for _, c := range s.members.ignored {
		all = append(all, VolumeStatus{Name: c.cfg.Name, Dir: c.cfg.Dir, ID: c.mark.Volume, State: removedState, Reason: c.why, Since: s.started.Round(0)})
	}
	return all, nil
}

// removedState is the state of a configured directory that is not served.
const removedState = "removed"

// volumeStatus is what can be said of a volume without asking it.
func volumeStatus(c *candidate, cfg Volume, state volume.State) VolumeStatus {
	caps, stats := c.vol.Caps(), c.vol.Stats()
	v := VolumeStatus{
		Name: cfg.Name, Dir: cfg.Dir, ID: c.vol.ID().String(),
		State: state.Health.String(), Reason: state.Reason, Since: state.Since.Round(0), Attached: state.Attached,
		InFlight: stats.InFlight, Waiting: stats.Waiting, Hung: stats.Hung, Refused: stats.Refused,
		ReadOnly: caps.ReadOnly, Exclusive: cfg.Exclusive,
		Flushes: Flushes{Asked: c.flushes.Asked(), Made: c.flushes.Made()},
	}
	switch {
	case caps.StrongIdentity:
		v.Identity = "strong"
	case state.Attached > 0:
		v.Identity = "weak"
	}
	return v
}

// watched says how news of the volume come.
func (v *VolumeStatus) watched(w union.WatchStats) {
	v.Watch = Watch{Kind: w.Kind, Reason: w.Why, News: w.Events, Own: w.Own, Lost: w.Lost, Covered: w.Covered, Refused: w.Refused}
}

// measure asks for the figures. seen are the file systems of those before it.
func (v *VolumeStatus) measure(ctx context.Context, vol volume.Volume, seen map[uint64]bool) {
	ctx, cancel := context.WithTimeout(ctx, spaceWait)
	defer cancel()
	space, err := vol.Space(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it did not say within %s how full it is", FormatDuration(spaceWait))
	}
	if err != nil {
		v.Error = err.Error()
		return
	}
	v.SharesFS = seen[space.FileSystem]
	seen[space.FileSystem] = true
	v.Total, v.Free, v.Avail = space.Total, space.Free, space.Avail
	v.Files, v.FilesFree = space.Files, space.FilesFree
}

// pathMax is the longest path that Where takes, in bytes (PATH_MAX of Linux).
const pathMax = 4096

// Where implements Inspector. Symbolic links are not followed.
func (s *Share) Where(ctx context.Context, path string, lookup bool) (Where, error) {
	fail := func(err error) (Where, error) {
		return Where{}, &vfs.Error{Status: vfs.StatusOf(err), Op: "where", Object: path, Err: err}
	}
	names, err := splitPath(path)
	if err != nil {
		return fail(err)
	}
	dir, err := s.union.Root(ctx, vfs.Superuser)
	if err != nil {
		return fail(err)
	}
	at := dir
	for i, name := range names {
		dir = at
		if at, _, err = s.union.Lookup(ctx, vfs.Superuser, dir.Node, name); err != nil {
			if lookup && i == len(names)-1 && errors.Is(err, vfs.NoEnt) {
				return s.absent(ctx, path, dir.Node, name)
			}
			if w, ok := s.standing(ctx, names, i, dir.Node); ok {
				return w, nil
			}
			return fail(err)
		}
	}
	w := Where{Version: APIVersion, Path: Text("/" + joinNames(names)), Node: at.Node.ID.String(), FileID: at.Node.ID.FileID(), Type: typeName(at.Type)}
	locations, err := s.union.Locations(ctx, at.Node)
	if err != nil {
		return fail(err)
	}
	for _, l := range locations {
		w.Places = append(w.Places, s.place(l.Volume, l.Path))
	}
	if lookup && len(names) > 0 {
		w.Lookup = s.explain(dir.Node, names[len(names)-1])
	}
	return w, nil
}

// place is where something lies on a volume.
func (s *Share) place(volume string, path []vfs.Name) Place {
	p := Place{Volume: volume, Path: Text("/" + joinNames(path))}
	if c := s.members.find(volume); c != nil {
		p.Dir = s.members.placeOf(c).Dir
	}
	for _, m := range s.union.Members() {
		if m.Name == volume && m.State.Health != online {
			p.State, p.Reason = m.State.Health.String(), m.State.Reason
		}
	}
	return p
}

// standing answers for a name that is known to lie on a volume that is away: the last of names, or
// ok is false.
func (s *Share) standing(ctx context.Context, names []vfs.Name, i int, dir vfs.Node) (w Where, ok bool) {
	if i < len(names)-1 {
		return w, false
	}
	stood, err := s.union.Standing(ctx, dir, names[i])
	if err != nil || len(stood.Volumes) == 0 {
		return w, false
	}
	w = Where{Version: APIVersion, Path: Text("/" + joinNames(names)), Lookup: s.explain(dir, names[i])}
	if stood.Node != (vfs.NodeID{}) {
		w.Node, w.FileID = stood.Node.String(), stood.Node.FileID()
	}
	if stood.Type != 0 {
		w.Type = typeName(stood.Type)
	}
	for _, v := range stood.Volumes {
		w.Places = append(w.Places, s.place(v, stood.Path))
	}
	return w, true
}

// absent answers for a name that does not exist, and says how that is known.
func (s *Share) absent(_ context.Context, path string, dir vfs.Node, name vfs.Name) (Where, error) {
	return Where{Version: APIVersion, Path: Text(path), Places: []Place{}, Lookup: s.explain(dir, name)}, nil
}

// explain says which fact answers a look-up of name in dir, now.
func (s *Share) explain(dir vfs.Node, name vfs.Name) *Lookup {
	answer, fact := s.union.Explain(dir, name)
	return &Lookup{Answer: answer, Fact: fact}
}

// DropCache implements Manager. Symbolic links are not followed.
func (s *Share) DropCache(ctx context.Context, q DropRequest) (Dropped, error) {
	path := string(q.Path)
	fail := func(err error) (Dropped, error) {
		return Dropped{}, &vfs.Error{Status: vfs.StatusOf(err), Op: "drop what is known", Object: path, Err: err}
	}
	names, err := splitPath(path)
	if err != nil {
		return fail(err)
	}
	at, err := s.union.Root(ctx, vfs.Superuser)
	for i := 0; err == nil && i < len(names); i++ {
		at, _, err = s.union.Lookup(ctx, vfs.Superuser, at.Node, names[i])
	}
	if err != nil {
		return fail(err)
	}
	d, err := s.union.DropCache(ctx, at.Node, q.Recursive)
	if err != nil {
		return fail(err)
	}
	return Dropped{Version: APIVersion, Directories: d.Directories, Objects: d.Objects}, nil
}

// CheckPath says what is wrong with a path in the share that something is to be asked of.
func CheckPath(path string) error {
	if _, err := splitPath(path); err != nil {
		return fmt.Errorf("path %q: %w", path, err)
	}
	return nil
}

// splitPath takes a path in the share apart. "." is nothing and ".." is refused:
// without following links it would mean something else than to a client.
func splitPath(path string) ([]vfs.Name, error) {
	if len(path) > pathMax {
		return nil, vfs.NameTooLong
	}
	var names []vfs.Name
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		if part == ".." || part == volume.PrivateName && len(names) == 0 {
			return nil, &vfs.Error{Status: vfs.Inval, Err: fmt.Errorf("%q cannot stand in a path here", part)}
		}
		name, err := vfs.ParseName(part)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func joinNames(names []vfs.Name) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(n.String())
	}
	return b.String()
}
