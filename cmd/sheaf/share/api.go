package share

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"sheaf/vfs"
)

// APIVersion is the version of the control protocol and of what commands print
// with --json. Fields are added without changing it.
const APIVersion = 1

// ErrNotRunning means that no server has the state directory.
var ErrNotRunning = errors.New("no server is running")

// IsNotFound reports whether err says that what was asked for does not exist.
func IsNotFound(err error) bool { return vfs.StatusOf(err) == vfs.NoEnt }

// Inspector answers questions about a share: a running server does, by its control
// socket, and so does a share that was only opened.
type Inspector interface {
	// Status is how the share is.
	Status(ctx context.Context) (Status, error)
	// Volumes are its volumes, in volume order.
	Volumes(ctx context.Context) ([]VolumeStatus, error)
	// Where says where the object at path lies; with lookup also which fact answers
	// a look-up of its name. Errors: NoEnt and whatever vfs.FS.Lookup returns.
	Where(ctx context.Context, path string, lookup bool) (Where, error)
	// Clients are those who have connections, and those who had some.
	Clients(ctx context.Context) (Clients, error)
	// Close ends the conversation. A running server goes on.
	Close() error
}

// Manager looks after a share: a running server does, by its control socket, and so does
// a share that was only opened.
type Manager interface {
	Inspector
	// AddVolume takes a directory into the share, or says where a member that is away is to be
	// found. What it and the next two change is durable when they return. They do not write the configuration: their
	// answers say what has to be changed there. Errors are a ConfigError where a directory cannot be taken.
	AddVolume(ctx context.Context, a Addition) (Change, error)
	// SetMode changes what a volume is used for: rw, nc or ro.
	SetMode(ctx context.Context, name, mode string) (Change, error)
	// RemoveVolume takes a volume out of the share. One that is there must hold nothing; one that is
	// away must be given up as lost, and then each, which may be nil, is called with all that it
	// held before that is forgotten. With DryRun it is only listed. NoEnt: there is no such volume.
	RemoveVolume(ctx context.Context, r Removal, each func(Held)) (Change, error)
	// Check compares volumes, marks and index with each other while the share is served, and
	// repairs what it finds if that is asked for. each, which may be nil, gets the findings. An error says why
	// it could not go on.
	Check(ctx context.Context, q CheckRequest, each func(CheckItem)) (CheckSummary, error)
	// Rebuild reads all that is on the volumes into the index while the share is served. each, which may be
	// nil, is called about once a second. An error says what could not be seen.
	Rebuild(ctx context.Context, each func(ScanStatus)) (ScanStatus, error)
	// DropCache forgets what is known of the object at a path, which is then asked for on the volumes. Errors: NoEnt
	// and whatever vfs.FS.Lookup returns.
	DropCache(ctx context.Context, q DropRequest) (Dropped, error)
}

// DropRequest says what DropCache is to forget.
type DropRequest struct {
	Path      Text `json:"path"`      // in the share
	Recursive bool `json:"recursive"` // and all that is in it
}

// Dropped is what DropCache has forgotten.
type Dropped struct {
	Version     int   `json:"version"`     // APIVersion
	Directories int64 `json:"directories"` // with their names
	Objects     int64 `json:"objects"`     // others that were in memory
}

// LookupCounts are how look-ups were answered since the start, and what is kept for that.
type LookupCounts struct {
	Mode        string `json:"mode"`        // the setting lookups
	Hits        int64  `json:"hits"`        // answered from memory: there
	Misses      int64  `json:"misses"`      // answered from memory: not there
	Asked       int64  `json:"asked"`       // that asked volumes
	Refused     int64  `json:"refused"`     // of these, where what memory had was too old or in doubt
	Revalidated int64  `json:"revalidated"` // directories believed again because no version had moved
	Evicted     int64  `json:"evicted"`     // objects and absences that memory had no room for
	Absences    int    `json:"absences"`    // names kept that are not there, of directories too large to be known completely
	Nodes       int    `json:"nodes"`       // objects in memory
	Memory      int64  `json:"memory"`      // bytes that all this takes, about
}

// Status is how a share is.
type Status struct {
	Version  int            `json:"version"` // APIVersion
	Running  bool           `json:"running"` // false: opened for this question only
	Build    string         `json:"build"`   // version of the program
	PID      int            `json:"pid"`
	UID      int            `json:"uid"`
	Squashed bool           `json:"squashed"` // an ordinary user's server: everybody is squashed to UID
	Started  time.Time      `json:"started"`
	Share    string         `json:"share"` // id of the share
	Engine   string         `json:"engine"`
	Listen   string         `json:"listen,omitempty"` // the address in use
	Mount    string         `json:"mount,omitempty"`  // the command that mounts it
	Exports  []string       `json:"exports"`
	Volumes  []VolumeStatus `json:"volumes"`
	Index    IndexStatus    `json:"index"`
	Scan     ScanStatus     `json:"scan"`
	Lookups  *LookupCounts  `json:"lookups,omitempty"` // of a running server
	Traffic  *Traffic       `json:"traffic,omitempty"` // of the native engine

	Translators []TranslatorStatus `json:"translators,omitempty"` // from the top, of a running server
}

// TranslatorStatus is one layer of the stack.
type TranslatorStatus struct {
	Kind  string   `json:"kind"`
	Name  string   `json:"name"`
	Lines []string `json:"lines,omitempty"` // what it says of itself
}

// IndexStatus is how the index is. Files are safe and served in each of its states.
type IndexStatus struct {
	State   string `json:"state"`   // on; paused: it learns nothing new; off: it knows nothing
	Free    uint64 `json:"free"`    // bytes free beside it
	Floor   uint64 `json:"floor"`   // bytes: below, it is paused; below half of it, off
	Refused uint64 `json:"refused"` // rows not taken in for want of space, since the start
	Queued  int    `json:"queued"`  // rows not yet on stable storage
	Error   string `json:"error,omitempty"`
}

// States of the index.
const (
	IndexOn     = "on"
	IndexPaused = "paused"
	IndexOff    = "off"
)

// Traffic counts what the protocol side has done.
type Traffic struct {
	Connections   int    `json:"connections"`
	Clients       int    `json:"clients"`         // who have them
	Calls         uint64 `json:"calls"`           // answered since the start
	Inline        uint64 `json:"inline"`          // of these, without a worker
	InFlight      int64  `json:"in_flight"`       // calls that wait for a worker or run on one
	Slow          int64  `json:"slow"`            // of these, set aside: they have run for long, as on a disk that hangs
	TurnedAway    uint64 `json:"turned_away"`     // told to come again, because such calls crowd their connection
	BytesInFlight int64  `json:"bytes_in_flight"` // bytes
	Repeated      uint64 `json:"repeated"`        // answered from the reply cache
	Refused       uint64 `json:"refused"`         // connections over the limit
	Limited       uint64 `json:"limited"`         // times that a connection was not read since its client, or all, had too much in flight
	Aborted       uint64 `json:"aborted"`         // connections closed for what they sent or did not take
}

// MaxClientRows bounds the rows of Clients.
const MaxClientRows = 4096

// Clients are who use the share.
type Clients struct {
	Version int            `json:"version"` // APIVersion
	Running bool           `json:"running"`
	Total   int            `json:"total"`   // that are known; a thousand of those without connections are
	Clients []ClientStatus `json:"clients"` // at most MaxClientRows: by calls in the last second, then by calls
}

// ClientStatus is what one client has and did. Counts are from its first connection on, as long as it is known.
type ClientStatus struct {
	Address       string  `json:"address"` // of IPv6 the network of 64 bits; empty: not of TCP
	Connections   int     `json:"connections"`
	Calls         uint64  `json:"calls"` // answered
	Rate          float64 `json:"calls_per_second"`
	BytesIn       uint64  `json:"bytes_in"`
	BytesOut      uint64  `json:"bytes_out"`
	InFlight      int64   `json:"in_flight"` // calls with workers, or waiting for one
	Waiting       int     `json:"waiting"`   // of these, waiting
	Slow          int64   `json:"slow"`      // calls that run for long, beside these
	BytesInFlight int64   `json:"bytes_in_flight"`
	Refused       uint64  `json:"refused"`     // connections over a limit
	Shed          uint64  `json:"shed"`        // connections closed for what they sent or did not take, or to make room
	Limited       uint64  `json:"limited"`     // times that a connection was not read since the client, or all, had too much in flight
	TurnedAway    uint64  `json:"turned_away"` // calls told to come again
	LastProcedure string  `json:"last_procedure,omitempty"`
	Idle          float64 `json:"idle_seconds"`     // since the last call
	Mounts        []Text  `json:"mounts,omitempty"` // what it said it has mounted
}

// VolumeStatus is how a volume is.
type VolumeStatus struct {
	Name      string    `json:"name"`
	Dir       string    `json:"dir"`
	ID        string    `json:"id"`
	State     string    `json:"state"`            // online; stalled: for seconds nothing came back from it; slow: calls hang or fail, and it is refused until it works; away; removed: it stands in the configuration and is no member any more
	Reason    string    `json:"reason,omitempty"` // why it is not online
	Since     time.Time `json:"since"`            // of State
	Attached  uint64    `json:"attached"`         // how often it was opened since the start of the server; 0: it was never there
	InFlight  int       `json:"in_flight"`        // calls that are with it
	Waiting   int       `json:"waiting"`          // calls that wait for their turn
	Hung      int       `json:"hung"`             // calls that are with it for longer than volume-deadline
	Refused   uint64    `json:"refused"`          // calls that were refused or given up, since the start
	Mode      string    `json:"mode"`             // rw, nc or ro, as the operator set it
	ReadOnly  bool      `json:"read_only"`        // its file system is mounted read-only
	Exclusive bool      `json:"exclusive"`
	Identity  string    `json:"identity"` // strong or weak: whether a number can come again for another object; empty: it was never there
	Total     uint64    `json:"total"`    // bytes of the file system
	Free      uint64    `json:"free"`     // bytes
	Avail     uint64    `json:"avail"`    // bytes the server may use
	Files     uint64    `json:"files"`    // inodes; 0: not limited
	FilesFree uint64    `json:"files_free"`
	SharesFS  bool      `json:"shares_fs,omitempty"` // another volume listed before lies on the same file system
	Error     string    `json:"error,omitempty"`     // why the figures are missing
	Flushes   Flushes   `json:"flushes"`             // since the start of the server
	Watch     Watch     `json:"watch"`
}

// Watch is how a volume is watched for changes that others make, since the start of the server.
type Watch struct {
	Kind    string `json:"kind"`             // fanotify, inotify; empty: it is not watched
	Reason  string `json:"reason,omitempty"` // why it is not, or why news were lost last
	News    int64  `json:"news"`
	Own     int64  `json:"own"`     // of these, about changes of the server's own
	Lost    int64  `json:"lost"`    // times that news were lost, and all was looked at again
	Covered int    `json:"covered"` // directories that are watched one by one
	Refused int64  `json:"refused"` // times that a directory could not be watched, for a limit or an error
}

// Flushes count what was made durable on a volume: directories, files, marks. Callers who ask for the
// same object at a time share one.
type Flushes struct {
	Asked uint64 `json:"asked"` // by callers
	Made  uint64 `json:"made"`  // fsync(2) and the like
}

// Where is where an object lies.
type Where struct {
	Version int    `json:"version"`
	Path    Text   `json:"path"` // in the share
	Node    string `json:"node"`
	FileID  uint64 `json:"fileid"` // the inode number that clients see
	Type    string `json:"type"`
	// Places are where it lies: one, or for a directory one for each volume that has a
	// copy of it, the home copy first.
	Places []Place `json:"places"`
	Lookup *Lookup `json:"lookup,omitempty"`
}

// Place is one location of an object.
type Place struct {
	Volume string `json:"volume"`
	Path   Text   `json:"path"`             // within the volume
	Dir    string `json:"dir"`              // of the volume
	State  string `json:"state,omitempty"`  // of a volume that is not online: stalled, slow or away
	Reason string `json:"reason,omitempty"` // why it is not
}

// Lookup says which fact answers a look-up.
type Lookup struct {
	Answer string `json:"answer"` // present, absent or unknown
	Fact   string `json:"fact"`   // what it rests on, in words
}

// Text is a text that need not be UTF-8, as names are not. In JSON it is a string if it
// is UTF-8, and {"base64": …} if not.
type Text string

// MarshalJSON writes t.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString([]byte(t))})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	var encoded struct {
		Base64 []byte `json:"base64"`
	}
	if err := json.Unmarshal(b, &encoded); err != nil {
		return fmt.Errorf("text: %w", err)
	}
	*t = Text(encoded.Base64)
	return nil
}

// typeName is a type's name in Where.
func typeName(t vfs.Type) string {
	switch t {
	case vfs.Regular:
		return "file"
	case vfs.Directory:
		return "directory"
	case vfs.Block:
		return "block device"
	case vfs.Char:
		return "character device"
	case vfs.Symlink:
		return "symbolic link"
	case vfs.Socket:
		return "socket"
	case vfs.FIFO:
		return "fifo"
	default:
		return fmt.Sprintf("type %d", t)
	}
}
