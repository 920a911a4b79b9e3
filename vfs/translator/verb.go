package translator

import (
	"fmt"
	"slices"
	"strings"
)

// Verb is a method of vfs.FS that a [Hook] is called for: all but Subscribe, which is no call.
type Verb uint8

// The verbs, in the order of vfs.FS.
const (
	Root Verb = iota + 1
	GetAttr
	SetAttr
	Access
	Lookup
	Parents
	ReadLink
	Read
	Write
	Commit
	Make
	Link
	Remove
	RemoveDir
	Rename
	ReadDir
	Statfs
	Limits
	GetACL
	SetACL
	numVerbs
)

var verbNames = [numVerbs]string{
	Root: "root", GetAttr: "getattr", SetAttr: "setattr", Access: "access", Lookup: "lookup",
	Parents: "parents", ReadLink: "readlink", Read: "read", Write: "write", Commit: "commit",
	Make: "make", Link: "link", Remove: "remove", RemoveDir: "removedir", Rename: "rename",
	ReadDir: "readdir", Statfs: "statfs", Limits: "limits", GetACL: "getacl", SetACL: "setacl",
}

// NumVerbs is the length of an array that a Verb indexes; its element 0 is no verb's.
const NumVerbs = int(numVerbs)

// Verbs are all verbs.
func Verbs() []Verb {
	all := make([]Verb, 0, numVerbs-1)
	for v := Root; v < numVerbs; v++ {
		all = append(all, v)
	}
	return all
}

// String is the verb's name: the method's in lower case. Configuration, scripts, labels of
// metrics and logs use it.
func (v Verb) String() string {
	if v > 0 && v < numVerbs {
		return verbNames[v]
	}
	return fmt.Sprintf("verb %d", uint8(v))
}

// ParseVerb is the verb with that name.
func ParseVerb(s string) (Verb, error) {
	if i := slices.Index(verbNames[1:], s); i >= 0 {
		return Verb(i + 1), nil
	}
	return 0, fmt.Errorf("%q is no verb; want one of %s", s, strings.Join(verbNames[1:], ", "))
}

// Changes reports whether v changes names, data or attributes. Commit does not: it makes durable what
// was written before.
func (v Verb) Changes() bool {
	switch v {
	case SetAttr, Write, Make, Link, Remove, RemoveDir, Rename, SetACL:
		return true
	default:
		return false
	}
}
