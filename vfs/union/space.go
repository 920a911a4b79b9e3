package union

import (
	"context"
	"sync"
	"time"

	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// spaceTrust is how long a volume's room is believed for placement: a burst is decided
// by one figure, which is why policies draw (placement/doc.go).
const spaceTrust = time.Second

// spaces remember the volumes' room.
type spaces struct {
	mu sync.Mutex
	of [MaxVolumes]spaceOf
}

type spaceOf struct {
	at     int64 // 0: never asked
	asking bool
	s      volume.Space
	err    error
}

// candidate is what the policy is told of volume v.
func (u *Union) candidate(ctx context.Context, v int) placement.Volume {
	s, err := u.spaceOn(ctx, v)
	return placement.Volume{
		Name: u.vol(v).name, Total: s.Total, Avail: s.Avail, Files: s.Files, FilesAvail: s.FilesAvail,
		ReadOnly: u.vol(v).can().ReadOnly, Unhealthy: err != nil,
	}
}

// spaceOn is the room on volume v. Once known it is asked for again in the background: a volume
// that is slow must not keep creations on others waiting.
func (u *Union) spaceOn(ctx context.Context, v int) (volume.Space, error) {
	u.space.mu.Lock()
	o := &u.space.of[v]
	if o.at == 0 {
		u.space.mu.Unlock()
		return u.askSpace(ctx, v)
	}
	if u.now()-o.at >= int64(spaceTrust) && !o.asking {
		o.asking = true
		u.tasks.Go(func() { _, _ = u.askSpace(u.background, v) }) // kept with the answer
	}
	s, err := o.s, o.err
	u.space.mu.Unlock()
	return s, err
}

func (u *Union) askSpace(ctx context.Context, v int) (volume.Space, error) {
	s, err := u.vol(v).v.Space(ctx)
	u.space.mu.Lock()
	u.space.of[v] = spaceOf{at: u.now(), s: s, err: err}
	u.space.mu.Unlock()
	return s, err
}

// spacePatience is how long Statfs waits for a volume's figures if it has older ones.
const spacePatience = time.Second

// spaceSoon is the room on volume v now, or if that takes long what it was when it was last asked.
func (u *Union) spaceSoon(ctx context.Context, v int) (volume.Space, error) {
	u.space.mu.Lock()
	old := u.space.of[v]
	u.space.mu.Unlock()
	if old.at == 0 || old.err != nil {
		return u.askSpace(ctx, v)
	}
	type answer struct {
		s   volume.Space
		err error
	}
	c := make(chan answer, 1)
	ask := func() {
		s, err := u.askSpace(u.background, v)
		c <- answer{s, err}
	}
	if old.asking || !u.spawn(ask) { // one at a time
		return old.s, nil
	}
	t := time.NewTimer(spacePatience)
	defer t.Stop()
	select {
	case got := <-c:
		return got.s, got.err
	case <-t.C:
		return old.s, nil
	case <-ctx.Done():
		return volume.Space{}, context.Cause(ctx)
	}
}

// Statfs implements vfs.FS: the room of all volumes, one file system counted once.
func (u *Union) Statfs(ctx context.Context, w *vfs.Who, vn vfs.Node) (sum vfs.Space, a vfs.Attr, err error) {
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return sum, a, err
	}
	defer n.put()
	if a, err = u.attrsOf(ctx, w, n); err != nil {
		return sum, a, err
	}
	if w.NoWait {
		return sum, a, vfs.Again
	}
	got := make([]volume.Space, MaxVolumes)
	err = each(u.online(), func(v int) (err error) {
		got[v], err = u.spaceSoon(ctx, v)
		if isAway(err) { // its room is away too
			err = nil
		}
		return err
	})
	if err != nil {
		return sum, a, err
	}
	seen := make(map[uint64]bool)
	for _, s := range got {
		if s == (volume.Space{}) || seen[s.FileSystem] {
			continue
		}
		seen[s.FileSystem] = true
		sum.TotalBytes += s.Total
		sum.FreeBytes += s.Free
		sum.AvailBytes += s.Avail
		sum.TotalFiles += s.Files
		sum.FreeFiles += s.FilesFree
		sum.AvailFiles += s.FilesAvail
	}
	return sum, a, nil
}

// Limits implements vfs.FS: what can be done wherever an object comes to lie.
func (u *Union) Limits(ctx context.Context, w *vfs.Who, vn vfs.Node) (l vfs.Limits, a vfs.Attr, err error) {
	n, err := u.enter(ctx, w, vn)
	if err != nil {
		return l, a, err
	}
	defer n.put()
	if a, err = u.attrsOf(ctx, w, n); err != nil {
		return l, a, err
	}
	l = vfs.Limits{
		MaxFileSize: u.maxFileSize(), LinkMax: 1<<32 - 1, NameMax: vfs.NameMax, Links: true, Symlinks: true,
		Homogeneous: true, CanSetTime: true, NoTrunc: true, ChownRestricted: true, CasePreserving: true,
	}
	for _, v := range u.members().vols {
		c := v.can()
		if c.LinkMax != 0 {
			l.LinkMax = min(l.LinkMax, c.LinkMax)
		}
		if c.NameMax != 0 {
			l.NameMax = min(l.NameMax, c.NameMax)
		}
		if c.TimeDelta.Compare(l.TimeDelta) > 0 {
			l.TimeDelta = c.TimeDelta
		}
		l.Links = l.Links && c.Links
		l.Symlinks = l.Symlinks && c.Symlinks
	}
	return l, a, nil
}

// maxFileSize is the size that a file may have on every volume, in bytes.
func (u *Union) maxFileSize() uint64 {
	m := uint64(1<<63 - 1)
	for _, v := range u.members().vols {
		if s := v.can().MaxFileSize; s != 0 {
			m = min(m, s)
		}
	}
	return m
}
