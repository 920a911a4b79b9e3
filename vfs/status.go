package vfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Status says why a call failed. The set is closed: every Status has one
// nfsstat3 (in nfsd) and one errno (in vfs/volume/local). A Status is an error.
type Status uint8

// The statuses. Unless said otherwise they mean what RFC 1813 section 2.6
// says of the NFS3ERR_ constant of like name.
const (
	OK          Status = iota // no failure; never returned as an error
	Perm                      // not the owner, or not privileged
	NoEnt                     // the name is known to be absent
	IO                        // a volume failed; also: not known while a volume is away
	NXIO                      // no such device
	Acces                     // permission denied
	Exist                     // the name is taken
	XDev                      // a link across file systems that cannot be made
	NoDev                     // the device does not support this
	NotDir                    // a directory is needed
	IsDir                     // a directory is not allowed
	Inval                     // an argument is invalid for this object
	FBig                      // beyond the largest file size
	NoSpc                     // no eligible volume has room
	ROFS                      // read-only export or volume
	MLink                     // too many hard links
	NameTooLong               // longer than NameMax
	NotEmpty                  // the directory has entries
	DQuot                     // over quota
	Stale                     // the object is known to be gone
	BadHandle                 // not a handle of this server
	NotSync                   // the guard of SETATTR did not match
	BadCookie                 // not a cookie of this directory
	NotSupp                   // not supported for this object
	TooSmall                  // the reply limit is too small for one entry
	ServerFault               // a broken invariant of ours
	BadType                   // the type cannot be made here
	Jukebox                   // not now; the state ends by itself, ask again
	Again                     // Who.NoWait was set and the answer needs waiting; never on the wire
	numStatuses
)

// NumStatuses is the length of an array that a Status indexes.
const NumStatuses = int(numStatuses)

var statusText = [numStatuses]string{
	OK: "ok", Perm: "operation not permitted", NoEnt: "no such file or directory",
	IO: "input/output error", NXIO: "no such device or address", Acces: "permission denied",
	Exist: "file exists", XDev: "cross-device link", NoDev: "no such device",
	NotDir: "not a directory", IsDir: "is a directory", Inval: "invalid argument",
	FBig: "file too large", NoSpc: "no space left on any eligible volume",
	ROFS: "read-only file system", MLink: "too many links", NameTooLong: "file name too long",
	NotEmpty: "directory not empty", DQuot: "quota exceeded", Stale: "stale file handle",
	BadHandle: "illegal file handle", NotSync: "guard attribute changed",
	BadCookie: "stale directory cookie", NotSupp: "operation not supported",
	TooSmall: "buffer too small", ServerFault: "server fault", BadType: "type not supported",
	Jukebox: "temporarily unavailable", Again: "needs waiting",
}

var statusNames = [numStatuses]string{
	OK: "ok", Perm: "perm", NoEnt: "noent", IO: "io", NXIO: "nxio", Acces: "acces", Exist: "exist", XDev: "xdev",
	NoDev: "nodev", NotDir: "notdir", IsDir: "isdir", Inval: "inval", FBig: "fbig", NoSpc: "nospc", ROFS: "rofs",
	MLink: "mlink", NameTooLong: "nametoolong", NotEmpty: "notempty", DQuot: "dquot", Stale: "stale",
	BadHandle: "badhandle", NotSync: "notsync", BadCookie: "badcookie", NotSupp: "notsupp", TooSmall: "toosmall",
	ServerFault: "serverfault", BadType: "badtype", Jukebox: "jukebox", Again: "again",
}

// Name is the constant's name in lower case, for configurations, labels and logs.
func (s Status) Name() string {
	if s < numStatuses {
		return statusNames[s]
	}
	return fmt.Sprintf("status%d", uint8(s))
}

// ParseStatus is the Status with that name; not OK, and not Again, which no call ends with.
func ParseStatus(name string) (Status, error) {
	for _, s := range Statuses() {
		if s != Again && s.Name() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("%q is no status; want one of %s", name, strings.Join(statusNames[OK+1:Again], ", "))
}

// Statuses lists every Status but OK, for tables and their tests.
func Statuses() []Status {
	all := make([]Status, 0, numStatuses-1)
	for s := OK + 1; s < numStatuses; s++ {
		all = append(all, s)
	}
	return all
}

// Error is the status in words.
func (s Status) Error() string {
	if s < numStatuses {
		return statusText[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Error is a Status with what the operator needs to know: each fact once, any
// of them may be empty.
type Error struct {
	Status Status
	Op     string // what was attempted: "open", "rename", "mark"
	Object string // on what: a name, a node, a path within the volume
	Volume string // where
	Err    error  // the cause
	Do     string // what to do about it
}

// Error prints "op object on volume: cause (what to do)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		fmt.Fprintf(&b, " %q", e.Object)
	}
	if e.Volume != "" {
		fmt.Fprintf(&b, " on volume %q", e.Volume)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(e.Status.Error())
	}
	if e.Do != "" {
		fmt.Fprintf(&b, " (%s)", e.Do)
	}
	return b.String()
}

// Unwrap gives the cause and the status, so that errors.Is finds either.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Status}
	}
	return []error{e.Status, e.Err}
}

// StatusOf is the status of err: OK for nil; for an error that carries none,
// Jukebox if it is the end of a context and IO otherwise.
func StatusOf(err error) Status {
	if err == nil {
		return OK
	}
	if s, ok := err.(Status); ok { //nolint:errorlint // the fast path; wrapped ones follow
		return s
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	if s, ok := errors.AsType[Status](err); ok {
		return s
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Jukebox
	}
	return IO
}

// Announced reports whether the cause of err is a lasting state that was told to the operator when it
// began, such as a volume that is away: each call that meets it is no news. Errors say
// so by a method Announced() bool.
func Announced(err error) bool {
	var a interface{ Announced() bool }
	return errors.As(err, &a) && a.Announced()
}
