package union

import (
	"context"
	"errors"
	"strings"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// FindingKind is what a finding of Check is about, as a word for scripts.
type FindingKind string

// The kinds of findings. A fault is something that clients can be told wrongly, or that only the
// operator can put right; a note harms nobody and goes by itself, or may stay. Behind each: what Repair does.
const (
	FindIndex   FindingKind = "index"   // fault: a row breaks an invariant of the index (meta.Store.Check); nothing, the index is to be rebuilt
	FindRow     FindingKind = "row"     // note: the row of a node names a copy or a place that is not so; it is removed and learned anew
	FindListing FindingKind = "listing" // fault: names that the index calls complete are not those of the volume; they are dropped and listed anew

	FindForeignMark FindingKind = "foreign-mark" // note: a mark that this share did not write; nothing, another share may want it
	FindCopiedMark  FindingKind = "copied-mark"  // note: a mark that was written for another object and came with a copy (cp -a, rsync -X); it is taken away
	FindTwins       FindingKind = "twins"        // fault: two objects that are not copies of one directory carry one id; the one that is not the home copy gets its own
	FindUnmarked    FindingKind = "unmarked"     // fault: a copy of a directory that is on several volumes has no mark, or that of another node; it is marked
	FindHome        FindingKind = "home"         // fault: not exactly one copy of a directory is its home copy; the marks are written anew
	FindEpoch       FindingKind = "epoch"        // fault: copies of a directory have attributes of different epochs; the older are brought up
	FindAttributes  FindingKind = "attributes"   // fault: a copy of a directory has other mode, owner or ACLs than its home copy; it is given those

	FindUnpinned FindingKind = "unpinned" // note: objects of several volumes have one name and it is not written on each who has it; it is
	FindPin      FindingKind = "pin"      // note: who has a name is written, and only one wants it; what is written is removed
	FindLinks    FindingKind = "links"    // note: an object has another number of links than names on its volume; nothing

	FindDisplaced FindingKind = "displaced"  // fault: an object that was set aside by a rename is still there; it is put back, or removed if the rename had been decided
	FindIntent    FindingKind = "intent"     // fault: a rename over several volumes is not finished; it is
	FindRecord    FindingKind = "record"     // note: a record without its object; it is removed
	FindBadRecord FindingKind = "bad-record" // fault: a file of ours cannot be read for what it is; nothing
	FindSidecar   FindingKind = "sidecar"    // note: a mark beside no object; it is removed
	FindTemporary FindingKind = "temporary"  // note: a file that was being written when a server died; it is removed
	FindUnknown   FindingKind = "unknown"    // note: something in .sheaf that is not ours; nothing

	FindUnreadable FindingKind = "unreadable" // fault: something could not be looked at; nothing
)

// Finding is one thing that is not as it should be. It was seen twice, the second time under the leases of what it
// concerns: nothing that the server does meanwhile is a finding.
type Finding struct {
	Kind   FindingKind
	Note   bool       // harms nobody; otherwise it is a fault
	Volume string     // the operator's name; empty: not of one volume
	Path   string     // on the volume, from its root without a leading slash (.sheaf/… for what is ours); empty: the root, or no path
	Node   vfs.NodeID // zero: none
	What   string     // what is wrong
	Repair string     // what Repair does about it; empty: nothing
	Do     string     // what the operator can do, where Repair does nothing

	Repaired bool
	Err      error // why it could not be looked at or repaired
}

// CheckOptions are how Check goes about it.
type CheckOptions struct {
	// Repair does what the findings' Repair says. It takes nothing away that is not proved to be of no use.
	Repair bool
	// Report gets each finding, one at a time; the Check waits for it, and holds no lease. Nil: they are counted only.
	Report func(Finding)
	// Progress is called about once a second, and must not wait. Nil: nobody looks.
	Progress func(CheckProgress)
}

// CheckProgress is how far Check has come.
type CheckProgress struct {
	Phase       string // "private", "tree" or "index"
	Path        string // where in the tree it is
	Directories int64  // of the share looked at
	Objects     int64  // on the volumes, that are no directories
	Rows        int64  // of the index
	Findings    int64
}

// CheckSummary is what Check saw.
type CheckSummary struct {
	CheckProgress
	Faults    int64                 // findings that are no notes and were not repaired
	Notes     int64                 // notes that were not repaired
	Repaired  int64                 // findings that were
	Kinds     map[FindingKind]int64 // all findings
	Unchecked map[string]string     // volumes that could not be looked at, and why: what is said of the others may lack what they know
}

// Clean reports whether there is nothing left to be done: no fault, and every volume was there.
func (s *CheckSummary) Clean() bool { return s.Faults == 0 && len(s.Unchecked) == 0 }

// Check compares volumes, marks, conflicts, what is ours under .sheaf, and the index with each other, while the share
// is served: a directory's lease is taken only to look at a finding again. It keeps the names of the directories on the
// way down, and what checkSidecarsMax, checkTwinsMax and checkLinksMax bound. One Check runs at a time: another waits.
//
// Its error says why it could not go on; what could not be looked at is a finding.
func (u *Union) Check(ctx context.Context, o CheckOptions) (CheckSummary, error) {
	select {
	case u.checking <- struct{}{}:
	case <-ctx.Done():
		return CheckSummary{}, context.Cause(ctx)
	}
	defer func() { <-u.checking }()
	ctx = context.WithValue(ctx, unhurried{}, true) // it waits for searches, and looks into directories that are being recovered
	c := &check{u: u, o: o, beside: make(map[sidecarOf]struct{}), besideIno: make(map[volIno]struct{})}
	c.sum.Kinds = make(map[FindingKind]int64)
	c.sum.Unchecked = make(map[string]string)
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{{"private", c.private}, {"tree", c.tree}, {"index", c.index}} {
		c.sum.Phase = phase.name
		if err := phase.run(ctx); err != nil {
			return c.sum, err
		}
	}
	return c.sum, nil
}

// check is one Check under way. It is one goroutine's.
type check struct {
	u    *Union
	o    CheckOptions
	sum  CheckSummary
	told time.Time // when Progress was last called

	beside    map[sidecarOf]struct{} // sidecars whose objects were not seen yet
	besideIno map[volIno]struct{}    // their inode numbers

	twins map[vfs.NodeID]marked
	links map[volIno]*linked
	blind volset // volumes of which something could not be looked at
}

// progressEvery is how often Progress is called.
const progressEvery = time.Second

// progress tells how far it is, once in a while, and whether to go on.
func (c *check) progress(ctx context.Context) error {
	if c.o.Progress != nil && time.Since(c.told) >= progressEvery {
		c.told = time.Now()
		c.o.Progress(c.sum.CheckProgress)
	}
	return context.Cause(ctx)
}

// say mends and tells.
func (c *check) say(f Finding, repair func() error) {
	c.mend(&f, repair)
	c.tell(f)
}

// mend does repair, if there is one and that is wanted; f.Repair says what it does.
func (c *check) mend(f *Finding, repair func() error) {
	if !c.o.Repair || repair == nil {
		return
	}
	if err := repair(); err != nil {
		f.Err = err
	} else {
		f.Repaired = true
	}
}

// tell reports a finding. No lease may be held: who gets it may take his time.
func (c *check) tell(f Finding) {
	c.sum.Findings++
	c.sum.Kinds[f.Kind]++
	switch {
	case f.Repaired:
		c.sum.Repaired++
	case f.Note:
		c.sum.Notes++
	default:
		c.sum.Faults++
	}
	if c.o.Report != nil {
		c.o.Report(f)
	}
}

// unreadable reports what could not be looked at. A volume that went meanwhile is no finding.
func (c *check) unreadable(v *vol, path string, err error) {
	if away, ok := errors.AsType[*volume.AwayError](err); ok {
		c.sum.Unchecked[v.name] = away.State.Health.String() + ": " + away.State.Reason
		return
	}
	c.say(Finding{
		Kind: FindUnreadable, Volume: v.name, Path: path, What: "it cannot be looked at: " + err.Error(), Err: err,
		Do: "see the disk's health and the log of the host's kernel",
	}, nil)
}

// joined is a path from its components.
func joined(path []vfs.Name) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = p.String()
	}
	return strings.Join(parts, "/")
}
