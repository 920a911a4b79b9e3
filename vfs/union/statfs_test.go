package union

import (
	"context"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// onDisk is a volume on a file system of a number, with room of its own choice.
type onDisk struct {
	volume.Volume
	space volume.Space
	err   error
}

func (d onDisk) Space(context.Context) (volume.Space, error) { return d.space, d.err }

// TestStatfsCountsFileSystemsOnce: two volumes on one file system have its room once.
func TestStatfsCountsFileSystemsOnce(t *testing.T) {
	s := memShare(t, 3, nil)
	disks := map[string]onDisk{
		"v0": {space: volume.Space{FileSystem: 1, Total: 100, Free: 50, Avail: 40, Files: 10, FilesFree: 5, FilesAvail: 4}},
		"v1": {space: volume.Space{FileSystem: 1, Total: 100, Free: 50, Avail: 40, Files: 10, FilesFree: 5, FilesAvail: 4}},
		"v2": {space: volume.Space{FileSystem: 2, Total: 1000, Free: 500, Avail: 400, Files: 100, FilesFree: 50, FilesAvail: 40}},
	}
	s.wrapped = func(v volume.Volume) volume.Volume {
		d := disks[v.Name()]
		d.Volume = v
		return d
	}
	u := s.open(t)
	got, _, err := u.Statfs(t.Context(), who, s.root(t))
	want := vfs.Space{TotalBytes: 1100, FreeBytes: 550, AvailBytes: 440, TotalFiles: 110, FreeFiles: 55, AvailFiles: 44}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	s.close(t)

	failing := disks["v2"]
	failing.err = vfs.IO
	disks["v2"] = failing
	u = s.open(t)
	if got, _, err := u.Statfs(t.Context(), who, s.root(t)); vfs.StatusOf(err) != vfs.IO {
		t.Errorf("with a volume that does not answer there is %+v, %v", got, err)
	}
}
