package share

import (
	"context"

	"sheaf/vfs"
	"sheaf/vfs/union"
)

// ScanStatus is how far the walk over the volumes has come that makes known to the index what is on them.
type ScanStatus struct {
	Version     int      `json:"version"` // APIVersion
	Running     bool     `json:"running"`
	Why         string   `json:"why,omitempty"`
	Whole       bool     `json:"whole"`       // everything was known when it was seen last
	Directories int64    `json:"directories"` // seen to be known, or listed
	Listed      int64    `json:"listed"`      // of these, listed
	Objects     int64    `json:"objects"`     // names looked at
	Entered     int64    `json:"entered"`     // of these, objects that were not known
	Expected    int64    `json:"expected"`    // about how many names there are, by what the file systems count; 0: not known
	Path        Text     `json:"path,omitempty"`
	Volumes     []string `json:"volumes,omitempty"`
	Missing     []string `json:"missing,omitempty"` // volumes that are not there, and so are not walked
	Rate        float64  `json:"rate"`              // names a second
	Elapsed     float64  `json:"elapsed"`           // seconds
	Rested      float64  `json:"rested"`            // seconds of these, for the sake of clients
	Queued      int      `json:"queued"`            // directories whose rows are not written yet
	Error       string   `json:"error,omitempty"`   // why the last walk could not see everything
}

// scanStatus is p for those who ask; expected is about how many names there are.
func scanStatus(p *union.ScanProgress, expected int64) ScanStatus {
	s := ScanStatus{
		Version: APIVersion, Running: p.Running, Why: p.Why, Whole: p.Whole, Directories: p.Directories, Listed: p.Listed,
		Objects: p.Objects, Entered: p.Entered, Expected: expected, Path: Text(p.Path), Volumes: p.Volumes, Missing: p.Missing,
		Rate: p.Rate, Elapsed: p.Elapsed.Seconds(), Rested: p.Rested.Seconds(), Queued: p.Queued,
	}
	if p.Err != nil {
		s.Error = p.Err.Error()
	}
	return s
}

// Rebuild implements Manager.
func (s *Share) Rebuild(ctx context.Context, each func(ScanStatus)) (ScanStatus, error) {
	volumes, err := s.Volumes(ctx)
	if err != nil {
		return ScanStatus{}, err
	}
	expected := expected(volumes)
	var last ScanStatus
	err = s.union.Rebuild(ctx, func(p union.ScanProgress) {
		last = scanStatus(&p, expected)
		if each != nil {
			each(last)
		}
	})
	if err != nil {
		return last, &vfs.Error{Status: vfs.StatusOf(err), Op: "rebuild", Err: err}
	}
	p := s.union.ScanProgress()
	return scanStatus(&p, expected), nil
}

// expected is about how many objects lie on the volumes that are there: the inodes in use on their file systems, each
// counted once. 0 where a file system does not count them.
func expected(volumes []VolumeStatus) int64 {
	var n int64
	for i := range volumes {
		switch v := &volumes[i]; {
		case v.State != online.String() || v.SharesFS:
		case v.Files == 0:
			return 0
		default:
			n += int64(v.Files - v.FilesFree)
		}
	}
	return n
}
