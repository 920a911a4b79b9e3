// Package meter is a decorator of a volume.Volume that counts its operations and how long they take: what the host does,
// without the waiting for a turn that the guard around it adds.
package meter

import (
	"context"
	"sync/atomic"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
)

// Class is a kind of operations that cost alike.
type Class uint8

// The classes.
const (
	Look   Class = iota // attributes, identities, marks, ACLs
	List                // directories
	Open                // directories and files
	Read                // data, also what is only read if it is in memory
	Write               // data
	Change              // names and attributes
	Flush               // fsync(2) and the like
	numClasses
)

var classNames = [numClasses]string{"look", "list", "open", "read", "write", "change", "flush"}

// String is the class's name, for labels.
func (c Class) String() string { return classNames[c] }

// Classes are all classes.
func Classes() []Class { return []Class{Look, List, Open, Read, Write, Change, Flush} }

// ClassOf is the class of op. Close has none.
func ClassOf(op volume.Op) (Class, bool) {
	switch {
	case op == volume.OpClose:
		return 0, false
	case op == volume.OpList:
		return List, true
	case op == volume.OpOpenDir || op == volume.OpOpen:
		return Open, true
	case op == volume.OpReadAt || op == volume.OpReadNow:
		return Read, true
	case op == volume.OpWriteAt:
		return Write, true
	case op.Changes():
		return Change, true
	case op.Flushes():
		return Flush, true
	}
	return Look, true
}

// Bounds are the upper bounds of durations that are told apart.
var Bounds = [...]time.Duration{
	5 * time.Microsecond, 20 * time.Microsecond, 100 * time.Microsecond, 500 * time.Microsecond,
	2 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond,
	time.Second, 5 * time.Second, 30 * time.Second,
}

// Meter counts the operations of one volume, over all its openings. The zero Meter is ready.
type Meter struct{ classes [numClasses]counts }

// counts are those of one class.
type counts struct {
	buckets [len(Bounds) + 1]atomic.Uint64
	nanos   atomic.Int64
	errors  [vfs.NumStatuses]atomic.Uint64
}

// Reading is what was counted of one class.
type Reading struct {
	Calls   uint64
	Total   time.Duration
	Buckets [len(Bounds)]uint64 // calls that took at most Bounds
	Errors  map[vfs.Status]uint64
}

// Read is what was counted of c until now. A call under way at the time may be in some of it.
func (m *Meter) Read(c Class) Reading {
	k := &m.classes[c]
	r := Reading{Total: time.Duration(k.nanos.Load()), Errors: make(map[vfs.Status]uint64)}
	for i := range k.buckets {
		r.Calls += k.buckets[i].Load()
		if i < len(Bounds) {
			r.Buckets[i] = r.Calls
		}
	}
	for s := range k.errors {
		if n := k.errors[s].Load(); n > 0 {
			r.Errors[vfs.Status(s)] = n
		}
	}
	return r
}

// Around decorates v so that m counts.
func (m *Meter) Around(v volume.Volume) volume.Volume { return hook.New(v, m.count) }

func (m *Meter) count(_ context.Context, op volume.Op, next func() error) error {
	class, counted := ClassOf(op)
	if !counted {
		return next()
	}
	began := time.Now()
	err := next()
	status := vfs.StatusOf(err)
	if status == vfs.Again {
		return err // data that is not in memory: the same is asked for again
	}
	took := time.Since(began)
	k := &m.classes[class]
	i := 0
	for i < len(Bounds) && took > Bounds[i] {
		i++
	}
	k.buckets[i].Add(1)
	k.nanos.Add(int64(took))
	if status != vfs.OK {
		k.errors[status].Add(1)
	}
	return err
}
