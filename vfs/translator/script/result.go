package script

import (
	"fmt"

	"go.starlark.net/starlark"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// result is what came back from below: a view of the results in a translator.Call.
type result struct {
	c   *translator.Call
	v   verb
	err error

	entries starlark.Value // of below.readdir
	cookie  vfs.Cookie     // the same: of the last entry
}

func (r *result) String() string      { return fmt.Sprintf("result(%v, %v)", r.v, r.status()) }
func (*result) Type() string          { return "result" }
func (*result) Freeze()               {}
func (*result) Truth() starlark.Bool  { return true }
func (*result) Hash() (uint32, error) { return 0, errUnhashable("result") }

func (r *result) status() status { return status(vfs.StatusOf(r.err)) }

var (
	changesNode = verbs(vSetAttr, vWrite, vCommit)
	changesDir  = makers | verbs(vRemove, vRmdir, vRename, vLink)
)

var resultFields = map[string]field[*result]{
	"verb":   {allVerbs, func(r *result) starlark.Value { return verbValues[r.v] }, nil},
	"status": {allVerbs, func(r *result) starlark.Value { return r.status() }, nil},
	"ok":     {allVerbs, func(r *result) starlark.Value { return starlark.Bool(r.err == nil) }, nil},
	"error":  {allVerbs, errorOf, nil},

	"attr":        {allVerbs &^ verbs(vRemove, vRmdir, vRename), objectOf, nil},
	"dir_attr":    {changesDir | verbs(vLookup), dirAttrOf, nil},
	"to_dir_attr": {verbs(vRename), func(r *result) starlark.Value { return after(&r.c.ToChange) }, nil},

	"count":  {verbs(vRead, vWrite), resultCount, nil},
	"eof":    {verbs(vRead, vReadDir), func(r *result) starlark.Value { return starlark.Bool(r.c.EOF) }, nil},
	"data":   {verbs(vRead), func(r *result) starlark.Value { return starlark.Bytes(r.c.Data[:r.c.Count]) }, nil},
	"stable": {verbs(vWrite), func(r *result) starlark.Value { return stableName(r.c.Written.Stable) }, nil},
	"target": {verbs(vReadLink), func(r *result) starlark.Value { return starlark.String(r.c.Target) }, nil},
	"access": {verbs(vAccess), func(r *result) starlark.Value { return starlark.MakeUint64(uint64(r.c.Granted)) }, nil},

	"entries": {verbs(vReadDir), func(r *result) starlark.Value { return orNone(r.entries) }, nil},
	"cookie":  {verbs(vReadDir), func(r *result) starlark.Value { return starlark.MakeUint64(uint64(r.cookie)) }, nil},

	"total_bytes": {verbs(vFSStat), func(r *result) starlark.Value { return starlark.MakeUint64(r.c.Space.TotalBytes) }, nil},
	"free_bytes":  {verbs(vFSStat), func(r *result) starlark.Value { return starlark.MakeUint64(r.c.Space.FreeBytes) }, nil},
	"avail_bytes": {verbs(vFSStat), func(r *result) starlark.Value { return starlark.MakeUint64(r.c.Space.AvailBytes) }, nil},
	"total_files": {verbs(vFSStat), func(r *result) starlark.Value { return starlark.MakeUint64(r.c.Space.TotalFiles) }, nil},
	"free_files":  {verbs(vFSStat), func(r *result) starlark.Value { return starlark.MakeUint64(r.c.Space.FreeFiles) }, nil},
	"avail_files": {verbs(vFSStat), func(r *result) starlark.Value { return starlark.MakeUint64(r.c.Space.AvailFiles) }, nil},
}

// Attr implements starlark.HasAttrs.
func (r *result) Attr(name string) (starlark.Value, error) {
	f, ok := resultFields[name]
	if !ok || !f.verbs.has(r.v) {
		return nil, nil
	}
	return f.get(r), nil
}

// AttrNames implements starlark.HasAttrs.
func (r *result) AttrNames() []string { return fieldNames(resultFields, r.v) }

func errorOf(r *result) starlark.Value {
	if r.err == nil {
		return starlark.String("")
	}
	return starlark.String(r.err.Error())
}

// objectOf are the attributes of the object that the call is about: of a name the one that has it.
func objectOf(r *result) starlark.Value {
	if changesNode.has(r.v) {
		return after(&r.c.Change)
	}
	return attrOf(&r.c.Attr)
}

func dirAttrOf(r *result) starlark.Value {
	if r.v == vLookup {
		return attrOf(&r.c.DirAttr)
	}
	return after(&r.c.Change)
}

func after(c *vfs.Change) starlark.Value {
	if !c.HasAfter {
		return starlark.None
	}
	return attrOf(&c.After)
}

func resultCount(r *result) starlark.Value {
	if r.v == vWrite {
		return starlark.MakeInt(r.c.Written.Count)
	}
	return starlark.MakeInt(r.c.Count)
}

// dirEntry is one entry of a listing.
type dirEntry struct {
	name   string
	cookie vfs.Cookie
	node   vfs.Node
	attr   *vfs.Attr // nil: not given
}

var entryFields = map[string]func(*dirEntry) starlark.Value{
	"name":   func(e *dirEntry) starlark.Value { return starlark.String(e.name) },
	"cookie": func(e *dirEntry) starlark.Value { return starlark.MakeUint64(uint64(e.cookie)) },
	"node": func(e *dirEntry) starlark.Value {
		if e.node.IsZero() {
			return starlark.None
		}
		return &node{e.node}
	},
	"attr": func(e *dirEntry) starlark.Value {
		if e.attr == nil {
			return starlark.None
		}
		return attrs{e.attr}
	},
}

func (e *dirEntry) String() string      { return fmt.Sprintf("entry(%q)", e.name) }
func (*dirEntry) Type() string          { return "entry" }
func (*dirEntry) Freeze()               {}
func (*dirEntry) Truth() starlark.Bool  { return true }
func (*dirEntry) Hash() (uint32, error) { return 0, errUnhashable("entry") }

// Attr implements starlark.HasAttrs.
func (e *dirEntry) Attr(name string) (starlark.Value, error) {
	if f := entryFields[name]; f != nil {
		return f(e), nil
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (*dirEntry) AttrNames() []string { return sortedKeys(entryFields) }
