package quota

import (
	"fmt"
	"time"

	"sheaf/vfs"
)

// usage is what something takes. It may go below zero while it is a difference.
type usage struct{ bytes, files int64 }

func (u *usage) add(v usage) { u.bytes, u.files = u.bytes+v.bytes, u.files+v.files }
func (u *usage) sub(v usage) { u.bytes, u.files = u.bytes-v.bytes, u.files-v.files }

// bound is a limit of one quantity. Zero: none.
type bound struct{ soft, hard int64 }

// limits are those of one directory or user.
type limits struct{ bytes, files bound }

// none reports whether nothing is limited.
func (l *limits) none() bool { return *l == limits{} }

// tally counts what one directory or user takes. Guarded by book.mu, but for what does not change.
type tally struct {
	limits limits
	path   string     // of a directory, as configured; empty: a user's, or a moving directory's
	names  []vfs.Name // path, taken apart
	uid    uint32
	user   bool
	moving bool // of a directory that is about to move: no limit, see moves.go

	dir     vfs.NodeID    // zero while there is none at path
	now     usage         // what is counted
	held    usage         // reserved by calls that are below
	known   bool          // now was established by a walk, or was so before the start
	linked  bool          // something in it may have a name elsewhere
	last    time.Time     // of moving: when it was last of use
	pins    int           // of moving: moves that rest on it
	done    chan struct{} // of moving: closed when it is known, or failed is
	failed  error         // why it cannot be known
	since   [2]time.Time
	refused uint64 // calls
}

// Quantities of tally.since: since when the soft limit is exceeded; zero: it is not.
const (
	ofBytes = iota
	ofFiles
)

// String is whose tally it is.
func (t *tally) String() string {
	if t.user {
		return fmt.Sprintf("user %d", t.uid)
	}
	return t.path
}

// refuses says why more cannot be had, or is empty. have is what is counted and reserved.
func (t *tally) refuses(have, more usage, grace time.Duration, now time.Time) string {
	if why := t.limits.bytes.refuses(have.bytes, more.bytes, t.since[ofBytes], grace, now); why != "" {
		return fmt.Sprintf("%s has %s", t, bytesText(have.bytes)) + why
	}
	if why := t.limits.files.refuses(have.files, more.files, t.since[ofFiles], grace, now); why != "" {
		return fmt.Sprintf("%s has %d files", t, have.files) + why
	}
	return ""
}

func (b bound) refuses(have, more int64, since time.Time, grace time.Duration, now time.Time) string {
	switch {
	case more <= 0:
		return ""
	case b.hard > 0 && have+more > b.hard:
		return ", and its hard limit is near or reached"
	case b.soft > 0 && have+more > b.soft && !since.IsZero() && now.Sub(since) >= grace:
		return ", above its soft limit for longer than the grace time"
	}
	return ""
}

// watch starts and ends grace times, and reports whether one began.
func (t *tally) watch(have usage, now time.Time) (began bool) {
	for i, q := range [2]struct{ soft, have int64 }{{t.limits.bytes.soft, have.bytes}, {t.limits.files.soft, have.files}} {
		switch {
		case q.soft == 0 || q.have <= q.soft:
			t.since[i] = time.Time{}
		case t.since[i].IsZero():
			t.since[i], began = now, true
		}
	}
	return began
}

// bytesText is n for people.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", max(n, 0))
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 4; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
