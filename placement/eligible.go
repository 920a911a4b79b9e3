package placement

import (
	"fmt"
	"strings"

	"sheaf/vfs"
)

// Limits is what a volume must keep.
type Limits struct {
	MinFree  uint64 // bytes
	MinFiles uint64 // inodes
}

// DefaultLimits leave a volume room for the growth of files that are there.
var DefaultLimits = Limits{MinFree: 4 << 30, MinFiles: 1000}

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

// relax asks choose with l, and if no volume has room then once more without headroom
// and reservations: neither may cost a client its write (P6).
func (l Limits) relax(volumes []Volume, h *Hints, choose func(Limits, []Volume, *Hints) (Choice, bool)) (Choice, error) {
	if c, ok := choose(l, volumes, h); ok {
		return c, nil
	}
	plain := make([]Volume, len(volumes))
	for i, v := range volumes {
		v.Reserved = 0
		plain[i] = v
	}
	empty := *h
	empty.Size = 0 // a guess, which must not refuse what would fit
	if c, ok := choose(Limits{}, plain, &empty); ok {
		c.Headroom = true
		return c, nil
	}
	r := &RefusedError{Why: make([]Refusal, len(volumes))}
	for i := range plain {
		r.Why[i] = Refusal{volumes[i].Name, Limits{}.Check(&plain[i], &empty), Limits{}.Free(&plain[i])}
	}
	return Choice{}, r
}
