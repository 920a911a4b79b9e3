package volume

import (
	"errors"
	"fmt"
	"time"

	"sheaf/vfs"
)

// Health is whether a volume can be used.
type Health uint8

// The states of a volume.
const (
	Online Health = iota // it answers
	// Stalled: calls have been with the host for seconds, and a probe does not pass. Who can do without the volume does; who cannot
	// waits, or is told to come again. It may be a disk that wakes up: nothing is answered IO for it, and nothing counts as lost.
	Stalled
	Slow // a call exceeded its deadline and has not come back, or calls fail again and again; refused until a probe passes
	Away // it is not there: not mounted, another disk in its place, its device gone
)

// String is the word that operators see.
func (h Health) String() string {
	switch h {
	case Online:
		return "online"
	case Stalled:
		return "stalled"
	case Slow:
		return "slow"
	case Away:
		return "away"
	default:
		return fmt.Sprintf("Health(%d)", uint8(h))
	}
}

// ErrGone is in the error of whoever looked at a volume's directory and found that it does not
// lead to the volume that is open: it is not mounted, or another disk is in its place.
var ErrGone = errors.New("the volume is not there any more")

// State is the health of a volume at a moment.
type State struct {
	Health Health
	Reason string    // why, for the operator; empty when Online
	Since  time.Time // of Health
	// Attached counts how often the volume was opened, from 1; 0: not yet. A Dir or File of an
	// earlier opening fails with AwayError for ever. From Stalled or Slow to Online it does not change.
	Attached uint64
}

// Comer is a Volume that may go and come back while it is in use. Of a volume that was
// never there ID, Name and Marker tell what its share knows of it, and Caps is zero. Root and Private
// are the same Dir over all openings.
type Comer interface {
	Volume
	State() State
	// Stalled is for how long calls are with the host of which none has come back: 0, or little, of a volume that is well. It waits
	// for nothing.
	Stalled() time.Duration
	// Notify calls f after every change of the State, one call at a time and in order, until cancel.
	// f must not wait for the volume.
	Notify(f func(State)) (cancel func())
}

// StateOf is the State of v; a Volume that is no Comer is always online.
func StateOf(v Volume) State {
	if c, ok := v.(Comer); ok {
		return c.State()
	}
	return State{Health: Online, Attached: 1}
}

// StalledOf is Comer.Stalled of v; a Volume that is no Comer never is.
func StalledOf(v Volume) time.Duration {
	if c, ok := v.(Comer); ok {
		return c.Stalled()
	}
	return 0
}

// AwayError is the error of an operation that was refused, or given up, because its volume is Stalled, Slow
// or Away. A changing operation that gets it has not begun. It has the vfs.Status Jukebox while the volume is Stalled and for
// the offline-wait after it went, so that clients ask again, and IO from then on.
type AwayError struct {
	Op, Volume string
	State      State
	Status     vfs.Status // Jukebox or IO
}

// Error says what the operator should know.
func (e *AwayError) Error() string {
	return fmt.Sprintf("%s: volume %q is %s since %s: %s", e.Op, e.Volume, e.State.Health, e.State.Since.Format(time.RFC3339), e.State.Reason)
}

// Unwrap gives the status.
func (e *AwayError) Unwrap() error { return e.Status }

// Announced implements what vfs.Announced asks for: who keeps the State tells of its changes.
func (e *AwayError) Announced() bool { return true }
