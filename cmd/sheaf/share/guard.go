package share

import (
	"context"
	"errors"

	"sheaf/vfs/volume"
	"sheaf/vfs/volume/group"
	"sheaf/vfs/volume/guard"
	"sheaf/vfs/volume/local"
)

// waitingPerWorker is how many calls may wait for one that is with a volume.
const waitingPerWorker = 4

// wire puts the volumes together as the share uses them.
func (s *Share) wire() error {
	var errs []error
	for _, c := range s.members.all {
		errs = append(errs, s.guard(c))
	}
	return errors.Join(errs...)
}

// guard gives c the volume that the share uses: guard(group(meter(delay(fault(local))))). The guard is around the
// sharing of flushes, so that each opening of the volume has its own: what hangs in one that
// ended must not keep those of the next waiting (vfs/volume/guard).
func (s *Share) guard(c *candidate) error {
	id, err := volume.ParseID(c.id)
	if err != nil {
		return refuse(c, "%v", err)
	}
	name, open := c.cfg.Name, s.members.opener(c)
	o := guard.Options{
		Name: name, ID: id, Marker: s.members.marker(s.members.roster, c.id, name),
		Open: func(ctx context.Context) (volume.Volume, error) {
			v, err := open(ctx)
			if err != nil {
				return nil, err
			}
			return s.opened(c, v), nil
		},
		Present:  stillThere,
		Deadline: s.cfg.VolumeDeadline, OfflineWait: s.cfg.OfflineWait, ProbeEvery: s.cfg.ProbeEvery,
		Workers: int(s.cfg.VolumeWorkers), Waiting: waitingPerWorker * int(s.cfg.VolumeWorkers),
		Log: s.log,
	}
	if v := c.take(); v != nil {
		o.First = s.opened(c, v)
	}
	c.vol = guard.New(o)
	c.vol.Notify(func(st volume.State) {
		if st.Health == volume.Online {
			go s.members.catchUp(c) // Notify waits for nothing
		}
	})
	return nil
}

// anOpening is one opening of a volume, as guard gets it.
type anOpening struct {
	*group.Volume
	local *local.Volume
}

func (s *Share) opened(c *candidate, l *local.Volume) *anOpening {
	l.WatchBy(local.WatchMode(s.cfg.Watch), int(s.cfg.WatchDirs))
	v := volume.Volume(l)
	if s.opt.decorate != nil {
		v = s.opt.decorate(c.cfg.Name, v)
	}
	v = s.cfg.trouble(c.cfg.Name, v)
	if s.cfg.measures() {
		v = c.meter.Around(v)
	}
	return &anOpening{group.Counted(v, &c.flushes), l}
}

// stillThere looks whether the path of a volume that guard opened still leads to it.
func stillThere(ctx context.Context, v volume.Volume) error { return v.(*anOpening).local.Present(ctx) }
