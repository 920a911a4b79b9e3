package translator

import (
	"context"

	"sheaf/vfs"
)

// Hook is a layer's code: it is called in place of every verb, from any goroutine, many at a time. next
// makes the call on the FS below and fills c's results. What the hook returns is the
// caller's error, and c's results are the caller's results.
//
// A hook may
//   - answer by itself: fill the results and return without calling next;
//   - change arguments before next, and results and the error after it;
//   - call next again, with other arguments if it likes: the results are overwritten. (The entries of a
//     ReadDir and Parents that were given before stay given.)
//   - make other calls on c.Below, before next or after: no lock is held. They do not come
//     by this layer. They must be made as a Who that may: c.Who, or vfs.Superuser for the layer's own
//     purposes, which no permission stops;
//   - keep what it knows of the call in local variables around next.
//
// A hook must not
//   - use c, or the slices and pointers in it, after it has returned, or on another goroutine that outlives it:
//     the Call is used again;
//   - change what Set, Guard, How, Who and Data (of a Write) point to: they are the caller's. Set the field to
//     something of its own instead;
//   - wait, or call what waits, if c.Who.NoWait is set: it runs on the goroutine that reads the
//     connection. It returns vfs.Again, and the same call comes again, without NoWait, on a
//     worker. A call that next answers with vfs.Again comes again too: who counts or logs leaves it out.
//
// Errors are vfs.Status, or a *vfs.Error that says what the operator needs to know; what carries no status
// reaches the client as an I/O error (vfs.StatusOf).
//
// A ctx that has ended does not undo: what next has begun to change it finishes (see vfs.FS).
type Hook func(ctx context.Context, c *Call, next Next) error

// Next makes a call on the FS below. It is the same function for every call of a layer.
type Next func(ctx context.Context, c *Call) error

// Call is one call: its verb, arguments and results. It is valid until the hook returns. Which fields a verb
// has:
//
//	verb       arguments                        results
//	Root                                        Attr
//	GetAttr    Node                             Attr
//	SetAttr    Node Set Guard                   Change
//	Access     Node Want                        Granted Attr
//	Lookup     Node Name                        Attr DirAttr
//	Parents    Node EachParent
//	ReadLink   Node                             Target Attr
//	Read       Node Data Offset                 Count EOF Attr
//	Write      Node Data Offset Stable          Written Change
//	Commit     Node Offset Length               Verifier Change
//	Make       Node Name How                    Attr Change
//	Link       Node ToDir ToName                Attr Change
//	Remove     Node Name                        Change
//	RemoveDir  Node Name                        Change
//	Rename     Node Name ToDir ToName           Change ToChange
//	ReadDir    Node After WithAttrs Each        Attr EOF
//	Statfs     Node                             Space Attr
//	Limits     Node                             Limits Attr
//	GetACL     Node                             ACLs Attr
//	SetACL     Node ACLs                        Attr
//
// Node is the directory wherever there is a Name. The other fields are zero. As in vfs.FS, an Attr or a Change
// whose Node is not zero (HasBefore, HasAfter) is given to the caller whatever the error is.
type Call struct {
	Verb  Verb
	Below vfs.FS   // the FS below this layer, for other calls
	Who   *vfs.Who // never nil; of Parents, which has no caller, vfs.Superuser

	// Arguments.
	Node       vfs.Node // the object, or the directory that Name is in
	Name       vfs.Name
	ToDir      vfs.Node // the directory of ToName
	ToName     vfs.Name
	Set        *vfs.SetAttr
	Guard      *vfs.Time // nil: none
	How        *vfs.How
	Data       []byte // what to write, or the buffer to read into
	Offset     uint64
	Length     uint64 // of Commit; 0: to the end
	Stable     vfs.Stable
	Want       vfs.AccessMask
	After      vfs.Cookie
	WithAttrs  bool
	Each       func(*vfs.DirEntry) bool
	EachParent func(dir vfs.Node, name vfs.Name) bool

	// Results.
	Granted  vfs.AccessMask
	EOF      bool
	Count    int      // bytes of Data that were read
	Attr     vfs.Attr // of the object; of Lookup, Make and Link the one that the name is; of ReadDir the directory
	DirAttr  vfs.Attr
	Change   vfs.Change // of the object that was changed; of Make, Link, Remove, RemoveDir the directory; of Rename that of Name
	ToChange vfs.Change // of ToDir
	Written  vfs.Written
	Verifier vfs.Verifier
	Target   string
	Space    vfs.Space
	Limits   vfs.Limits
	ACLs     vfs.ACLs // argument of SetACL, result of GetACL
}

// Done reports whether err ends the call: whether it is not vfs.Again, after which the same
// call comes a second time.
func Done(err error) bool { return err == nil || vfs.StatusOf(err) != vfs.Again }
