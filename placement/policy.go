package placement

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"sheaf/vfs"
)

// Volume is what a policy is told about a candidate.
type Volume struct {
	Name       string        // the operator's, for reasons
	Total      uint64        // bytes of its file system
	Avail      uint64        // bytes the server may use (f_bavail)
	Reserved   uint64        // bytes of Avail that are promised (Ledger)
	Files      uint64        // inodes; 0 with FilesAvail 0: not limited
	FilesAvail uint64        // inodes that may be used
	ReadOnly   bool          // by mount or by the operator
	Unhealthy  bool          // offline, or past a deadline
	Latency    time.Duration // moving average of a write; 0: not known
	InFlight   int           // writes under way
}

// Hints is what is known of the object to place.
type Hints struct {
	Type    vfs.Type
	Dir     vfs.NodeID // where it will live
	Size    uint64     // expected bytes; 0: not known
	Sibling int        // index of the volume that took the directory's last object; below 0: none
}

// Limits is what a volume must keep.
type Limits struct {
	MinFree  uint64 // bytes
	MinFiles uint64 // inodes
}

// DefaultLimits leave a volume room for the growth of files that are there.
var DefaultLimits = Limits{MinFree: 4 << 30, MinFiles: 1000}

// Choice is a policy's answer with its grounds.
type Choice struct {
	Index    int     // of the volume that takes the object
	Rule     string  // what decided, as in doc.go: "only one", "lower score", "affinity", "first"
	Rival    int     // the other volume that was weighed; below 0: none
	Score    float64 // of Index, in points of used %; 0 if there was no rival
	Against  float64 // of Rival
	Headroom bool    // decided only after headroom gave way
}

// Policy chooses the volume of a new object. Implementations are values that
// are safe for concurrent use.
type Policy interface {
	// Choose picks one of volumes, or returns a *RefusedError. It draws from chance as
	// often as it likes, and does not keep volumes.
	Choose(volumes []Volume, h *Hints, chance rand.Source) (Choice, error)
}

// Reason is why a volume was not eligible.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	Eligible  Reason = iota
	ReadOnly         // mounted read-only, or made so by the operator
	Unhealthy        // offline or too slow to answer
	NoFiles          // not enough free inodes
	NoRoom           // not enough free bytes
)

// String is the reason in words.
func (r Reason) String() string {
	switch r {
	case Eligible:
		return "eligible"
	case ReadOnly:
		return "read-only"
	case Unhealthy:
		return "not healthy"
	case NoFiles:
		return "not enough free inodes"
	case NoRoom:
		return "not enough room"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Free is the bytes of v that may be given to new objects.
func (l Limits) Free(v *Volume) uint64 {
	return minus(minus(v.Avail, v.Reserved), l.MinFree)
}

// Check is why v cannot take what h describes, or Eligible.
func (l Limits) Check(v *Volume, h *Hints) Reason {
	switch {
	case v.ReadOnly:
		return ReadOnly
	case v.Unhealthy:
		return Unhealthy
	case (v.Files != 0 || v.FilesAvail != 0) && v.FilesAvail < max(1, l.MinFiles):
		return NoFiles
	case l.Free(v) <= h.Size: // one byte more: an empty file needs room too
		return NoRoom
	}
	return Eligible
}

// minus is a − b, not below 0.
func minus(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// RefusedError says that no volume can take an object, and why each cannot. It is
// the vfs.Status that follows.
type RefusedError struct {
	Why []Refusal // by volume, in order
}

// Refusal is one volume's reason.
type Refusal struct {
	Volume string
	Reason Reason
	Free   uint64 // bytes, after headroom and reservations
}

// Error names every volume with its reason.
func (r *RefusedError) Error() string {
	if len(r.Why) == 0 {
		return "no volume to place on"
	}
	var b strings.Builder
	b.WriteString("no eligible volume:")
	for i, w := range r.Why {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s: %s", w.Volume, w.Reason)
		if w.Reason == NoRoom {
			fmt.Fprintf(&b, " (%d MiB free)", w.Free>>20)
		}
	}
	return b.String()
}

// Unwrap is the status a client gets.
func (r *RefusedError) Unwrap() error {
	readOnly := len(r.Why) > 0
	for _, w := range r.Why {
		if w.Reason == NoFiles || w.Reason == NoRoom {
			return vfs.NoSpc
		}
		readOnly = readOnly && w.Reason == ReadOnly
	}
	if readOnly {
		return vfs.ROFS
	}
	return vfs.IO
}

// Why explains c to an operator, in one line.
func (c *Choice) Why(volumes []Volume) string {
	s := volumes[c.Index].Name + ": " + c.Rule
	if c.Rival >= 0 {
		s += fmt.Sprintf(" (%.2f against %.2f of %s)", c.Score, c.Against, volumes[c.Rival].Name)
	}
	if c.Headroom {
		s += ", after headroom gave way"
	}
	return s
}
