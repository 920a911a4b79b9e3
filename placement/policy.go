package placement

import (
	"fmt"
	"math/rand/v2"
	"time"

	"sheaf/vfs"
)

// Volume is what a policy is told about a candidate.
type Volume struct {
	Name       string        // the operator's, for reasons
	Total      uint64        // bytes of its file system
	Avail      uint64        // bytes the server may use (f_bavail)
	Reserved   uint64        // bytes of Avail that are promised to files not yet written; 0: none are
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
