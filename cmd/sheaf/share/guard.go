package share

import (
	"context"
	"errors"
	"fmt"

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

// guard gives c the volume that the share uses: guard(group(local)). The guard is around the
// sharing of flushes, so that each opening of the volume has its own: what hangs in one that
// ended must not keep those of the next waiting (vfs/volume/guard).
func (s *Share) guard(c *candidate) error {
	id, err := volume.ParseID(c.id)
	if err != nil {
		return refuse(c, "%v", err)
	}
	open := s.members.opener(c)
	o := guard.Options{
		Name: c.cfg.Name, ID: id, Marker: s.members.marker(s.members.roster, c.id, c.cfg.Name),
		Open: func(ctx context.Context) (volume.Volume, error) {
			v, err := open(ctx)
			if err != nil {
				return nil, err
			}
			return group.Counted(v, &c.flushes), nil
		},
		Present:  stillThere,
		Deadline: s.cfg.VolumeDeadline, OfflineWait: s.cfg.OfflineWait, ProbeEvery: s.cfg.ProbeEvery,
		Workers: int(s.cfg.VolumeWorkers), Waiting: waitingPerWorker * int(s.cfg.VolumeWorkers),
		Log: s.log,
	}
	if v := c.take(); v != nil {
		o.First = group.Counted(v, &c.flushes)
	}
	c.vol = guard.New(o)
	return nil
}

// stillThere looks whether the path of a volume that guard opened still leads to it.
func stillThere(ctx context.Context, v volume.Volume) error {
	if g, ok := v.(*group.Volume); ok {
		v = g.Volume
	}
	l, ok := v.(*local.Volume)
	if !ok {
		return fmt.Errorf("a volume of type %T has no directory", v)
	}
	return l.Present(ctx)
}
