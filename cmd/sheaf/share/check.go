package share

import (
	"context"
	"sync"

	"sheaf/vfs"
	"sheaf/vfs/union"
)

// checkBacklog is how many findings wait for a reader who is slower than the check. Further ones are
// counted and not listed: the check holds what it looks at, and waits for nobody.
const checkBacklog = 16384

// CheckRequest is what Check is asked for.
type CheckRequest struct {
	Repair bool `json:"repair"` // do what the findings' Repair says
}

// CheckItem is a part of the answer of a check: one of these.
type CheckItem struct {
	Finding  *Finding       `json:"finding,omitempty"`
	Progress *CheckProgress `json:"progress,omitempty"`
}

// Severities of findings.
const (
	Fault = "fault" // clients can be told something wrong, or only the operator can put it right
	Note  = "note"  // harms nobody
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Kind     string `json:"kind"`     // a word for scripts, see union.FindingKind
	Severity string `json:"severity"` // Fault or Note
	Volume   string `json:"volume,omitempty"`
	Path     Text   `json:"path,omitempty"` // on the volume, from its root without a leading slash
	Node     string `json:"node,omitempty"`
	What     string `json:"what"`
	Repair   string `json:"repair,omitempty"` // what repairing does, or did
	Do       string `json:"do,omitempty"`     // what the operator can do
	Repaired bool   `json:"repaired"`
	Error    string `json:"error,omitempty"` // why it could not be looked at, or repaired
}

// CheckProgress is how far a check has come.
type CheckProgress struct {
	Phase       string `json:"phase"` // private, tree or index
	Path        Text   `json:"path,omitempty"`
	Directories int64  `json:"directories"`
	Objects     int64  `json:"objects"` // that are no directories
	Rows        int64  `json:"rows"`    // of the index
	Findings    int64  `json:"findings"`
}

// CheckSummary is what a check saw.
type CheckSummary struct {
	Version int `json:"version"` // APIVersion
	CheckProgress
	Faults    int64             `json:"faults"`   // not repaired
	Notes     int64             `json:"notes"`    // not repaired
	Repaired  int64             `json:"repaired"` // of both
	Kinds     map[string]int64  `json:"kinds"`
	Unchecked map[string]string `json:"unchecked,omitempty"` // volumes that could not be looked at, and why
	Unlisted  int64             `json:"unlisted,omitempty"`  // findings that were counted and not listed
	Clean     bool              `json:"clean"`               // no fault is left, and every volume was there
}

// Check implements Manager.
func (s *Share) Check(ctx context.Context, q CheckRequest, each func(CheckItem)) (CheckSummary, error) {
	b := newBacklog(each)
	sum, err := s.union.Check(ctx, union.CheckOptions{
		Repair:   q.Repair,
		Report:   func(f union.Finding) { b.add(CheckItem{Finding: finding(&f)}) },
		Progress: func(p union.CheckProgress) { p2 := checkProgress(&p); b.add(CheckItem{Progress: &p2}) },
	})
	unlisted := b.end()
	if err != nil {
		return CheckSummary{}, &vfs.Error{Status: vfs.StatusOf(err), Op: "check", Err: err}
	}
	return checkSummary(&sum, unlisted), nil
}

func finding(f *union.Finding) *Finding {
	g := &Finding{
		Kind: string(f.Kind), Severity: Fault, Volume: f.Volume, Path: Text(f.Path), What: f.What,
		Repair: f.Repair, Do: f.Do, Repaired: f.Repaired,
	}
	if f.Note {
		g.Severity = Note
	}
	if f.Node != (vfs.NodeID{}) {
		g.Node = f.Node.String()
	}
	if f.Err != nil {
		g.Error = f.Err.Error()
	}
	return g
}

func checkProgress(p *union.CheckProgress) CheckProgress {
	return CheckProgress{p.Phase, Text(p.Path), p.Directories, p.Objects, p.Rows, p.Findings}
}

func checkSummary(s *union.CheckSummary, unlisted int64) CheckSummary {
	c := CheckSummary{
		Version: APIVersion, CheckProgress: checkProgress(&s.CheckProgress), Faults: s.Faults, Notes: s.Notes,
		Repaired: s.Repaired, Kinds: map[string]int64{}, Unchecked: s.Unchecked, Unlisted: unlisted, Clean: s.Clean(),
	}
	for k, n := range s.Kinds {
		c.Kinds[string(k)] = n
	}
	return c
}

// backlog hands items on to somebody who may be slow, without waiting for him.
type backlog struct {
	items    chan CheckItem
	done     chan struct{}
	mu       sync.Mutex // guards unlisted
	unlisted int64
}

// newBacklog hands items to each, which may be nil, until end.
func newBacklog(each func(CheckItem)) *backlog {
	b := &backlog{items: make(chan CheckItem, checkBacklog), done: make(chan struct{})}
	go func() {
		defer close(b.done)
		for i := range b.items {
			if each != nil {
				each(i)
			}
		}
	}()
	return b
}

// add hands i on, or counts it if it is a finding and too many wait.
func (b *backlog) add(i CheckItem) {
	select {
	case b.items <- i:
	default:
		if i.Finding != nil {
			b.mu.Lock()
			b.unlisted++
			b.mu.Unlock()
		}
	}
}

// end waits until all was taken, and says how many findings were not.
func (b *backlog) end() int64 {
	close(b.items)
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unlisted
}
