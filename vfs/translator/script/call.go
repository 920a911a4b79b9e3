package script

import (
	"context"
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// call is a call as a script sees it: a view of a translator.Call, whose fields become values
// when they are asked for. It is used again for other calls; no script can keep it, since only tables outlive a
// call and they do not take it.
type call struct {
	ctx      context.Context // of the function that runs, with its deadline
	c        *translator.Call
	v        verb
	state    starlark.Value // what a script gave `call.state`, from one direction to the other
	node     node           // the value of .node or .dir
	toDir    node
	set      vfs.SetAttr // what c.Set or c.How.Set points to once the script has changed it
	how      vfs.How
	held     []func() // releases of what the script holds until the call is answered
	noBelow  bool     // the FS below may hold locks: see readdir_entry
	below    below
	changing bool // arguments can still be changed: the call has not been made below
}

// maxHeld is how many keys one call may hold.
const maxHeld = 64

func (c *call) begin(tc *translator.Call, v verb) {
	c.c, c.v, c.state, c.changing = tc, v, starlark.None, true
	c.below.call = c
}

// end lets go of everything.
func (c *call) end() {
	for _, release := range c.held {
		release()
	}
	clear(c.held)
	*c = call{held: c.held[:0]}
}

// keepHeld takes what a table holds until the call is answered.
func (c *call) keepHeld(hold func() (release func())) error {
	switch {
	case c.c == nil:
		return errOver
	case len(c.held) >= maxHeld:
		return fmt.Errorf("hold: one call cannot hold more than %d keys", maxHeld)
	}
	c.held = append(c.held, hold())
	return nil
}

var errOver = errors.New("the call is over")

func (c *call) String() string      { return "call(" + c.v.String() + ")" }
func (*call) Type() string          { return "call" }
func (*call) Freeze()               {}
func (*call) Truth() starlark.Bool  { return true }
func (*call) Hash() (uint32, error) { return 0, errUnhashable("call") }

// field is one of the fields of calls or results: which verbs have it, how it is read and, if it can be,
// changed.
type field[T any] struct {
	verbs verbSet
	get   func(T) starlark.Value
	set   func(T, starlark.Value) error
}

var (
	inDir   = makers | verbs(vLookup, vRemove, vRmdir, vRename, vLink, vReadDir)
	byName  = inDir &^ verbs(vReadDir)
	onNode  = allVerbs&^inDir | verbs(vLink)
	settles = makers | verbs(vSetAttr)
)

var callFields = map[string]field[*call]{
	"verb":   {allVerbs, func(c *call) starlark.Value { return verbValues[c.v] }, nil},
	"uid":    {allVerbs, func(c *call) starlark.Value { return starlark.MakeUint64(uint64(c.c.Who.UID)) }, nil},
	"gid":    {allVerbs, func(c *call) starlark.Value { return starlark.MakeUint64(uint64(c.c.Who.GID)) }, nil},
	"groups": {allVerbs, groupsOf, nil},
	"cred":   {allVerbs, func(c *call) starlark.Value { return credOf(c.c.Who) }, nil},
	"client": {allVerbs, clientOf, nil},
	"export": {allVerbs, func(c *call) starlark.Value { return starlark.MakeUint64(c.c.Who.Export) }, nil},
	"state":  {allVerbs, func(c *call) starlark.Value { return c.state }, setState},
	"below":  {allVerbs, func(c *call) starlark.Value { return &c.below }, nil},

	"node": {onNode, func(c *call) starlark.Value { c.node.Node = c.c.Node; return &c.node }, nil},
	"dir":  {inDir, dirOf, nil},
	"name": {byName, nameOf, setName},

	"to_dir":  {verbs(vRename), func(c *call) starlark.Value { c.toDir.Node = c.c.ToDir; return &c.toDir }, nil},
	"to_name": {verbs(vRename), func(c *call) starlark.Value { return starlark.String(c.c.ToName.String()) }, setToName},

	"offset": {verbs(vRead, vWrite, vCommit), func(c *call) starlark.Value { return starlark.MakeUint64(c.c.Offset) }, nil},
	"count":  {verbs(vRead, vWrite, vCommit), countOf, nil},
	"data":   {verbs(vWrite), func(c *call) starlark.Value { return starlark.Bytes(c.c.Data) }, nil},
	"stable": {verbs(vWrite), func(c *call) starlark.Value { return stableName(c.c.Stable) }, nil},
	"want":   {verbs(vAccess), func(c *call) starlark.Value { return starlark.MakeUint64(uint64(c.c.Want)) }, nil},
	"after":  {verbs(vReadDir), func(c *call) starlark.Value { return starlark.MakeUint64(uint64(c.c.After)) }, nil},
	"plus":   {verbs(vReadDir), func(c *call) starlark.Value { return starlark.Bool(c.c.WithAttrs) }, nil},

	"type":   {makers, func(c *call) starlark.Value { return typeName(c.c.How.Type) }, nil},
	"target": {verbs(vSymlink), func(c *call) starlark.Value { return starlark.String(c.c.How.Target) }, nil},
	"exists": {verbs(vCreate), existsOf, nil},

	"new_mode":  {settles, func(c *call) starlark.Value { return c.number(vfs.SetMode, uint64(c.sets().Mode)) }, setNumber(vfs.SetMode)},
	"new_uid":   {settles, func(c *call) starlark.Value { return c.number(vfs.SetUID, uint64(c.sets().UID)) }, setNumber(vfs.SetUID)},
	"new_gid":   {settles, func(c *call) starlark.Value { return c.number(vfs.SetGID, uint64(c.sets().GID)) }, setNumber(vfs.SetGID)},
	"new_size":  {settles, func(c *call) starlark.Value { return c.number(vfs.SetSize, c.sets().Size) }, nil},
	"new_atime": {settles, func(c *call) starlark.Value { return c.time(vfs.SetAtime, vfs.SetAtimeNow, c.sets().Atime) }, nil},
	"new_mtime": {settles, func(c *call) starlark.Value { return c.time(vfs.SetMtime, vfs.SetMtimeNow, c.sets().Mtime) }, nil},
}

// verbValues are the verbs' names, boxed once.
var verbValues = func() (vs [numVerbs]starlark.Value) {
	for v, name := range verbNames {
		vs[v] = starlark.String(name)
	}
	return vs
}()

// Attr implements starlark.HasAttrs.
func (c *call) Attr(name string) (starlark.Value, error) {
	f, ok := callFields[name]
	if !ok || !f.verbs.has(c.v) {
		return nil, nil
	}
	return f.get(c), nil
}

// AttrNames implements starlark.HasAttrs.
func (c *call) AttrNames() []string { return fieldNames(callFields, c.v) }

// SetField implements starlark.HasSetField.
func (c *call) SetField(name string, v starlark.Value) error {
	f, ok := callFields[name]
	switch {
	case !ok || !f.verbs.has(c.v):
		return starlark.NoSuchAttrError(fmt.Sprintf("a call of %v has no .%s field", c.v, name))
	case f.set == nil:
		return fmt.Errorf("call.%s cannot be changed", name)
	case name != "state" && !c.changing:
		return fmt.Errorf("call.%s can be changed in %v, before the call is made below, not after", name, c.v)
	}
	return f.set(c, v)
}

func setState(c *call, v starlark.Value) error { c.state = v; return nil }

func groupsOf(c *call) starlark.Value {
	t := make(starlark.Tuple, len(c.c.Who.Groups))
	for i, g := range c.c.Who.Groups {
		t[i] = starlark.MakeUint64(uint64(g))
	}
	return t
}

func clientOf(c *call) starlark.Value {
	if !c.c.Who.Client.IsValid() {
		return starlark.String("")
	}
	return starlark.String(c.c.Who.Client.String())
}

// dirOf is the directory that the name is in: of a link the one that gets it.
func dirOf(c *call) starlark.Value {
	if c.v == vLink {
		c.toDir.Node = c.c.ToDir
		return &c.toDir
	}
	c.node.Node = c.c.Node
	return &c.node
}

func nameOf(c *call) starlark.Value {
	if c.v == vLink {
		return starlark.String(c.c.ToName.String())
	}
	return starlark.String(c.c.Name.String())
}

func setName(c *call, v starlark.Value) error {
	if c.v == vLink {
		return setToName(c, v)
	}
	n, err := asName(v)
	if err == nil {
		c.c.Name = n
	}
	return err
}

func setToName(c *call, v starlark.Value) error {
	n, err := asName(v)
	if err == nil {
		c.c.ToName = n
	}
	return err
}

func asName(v starlark.Value) (vfs.Name, error) {
	s, ok := v.(starlark.String)
	if !ok {
		return vfs.Name{}, fmt.Errorf("a name is a %s, want string", v.Type())
	}
	n, err := vfs.ParseName(string(s))
	if err != nil {
		return n, fmt.Errorf("%q is no name: %w", string(s), err)
	}
	return n, nil
}

func countOf(c *call) starlark.Value {
	if c.v == vCommit {
		return starlark.MakeUint64(c.c.Length)
	}
	return starlark.MakeInt(len(c.c.Data))
}

func stableName(s vfs.Stable) starlark.Value {
	switch s {
	case vfs.Unstable:
		return starlark.String("unstable")
	case vfs.DataSync:
		return starlark.String("data_sync")
	default:
		return starlark.String("file_sync")
	}
}

func existsOf(c *call) starlark.Value {
	switch c.c.How.Exists {
	case vfs.Unchecked:
		return starlark.String("unchecked")
	case vfs.Guarded:
		return starlark.String("guarded")
	default:
		return starlark.String("exclusive")
	}
}

// sets are the attributes that the call sets.
func (c *call) sets() *vfs.SetAttr {
	if c.v == vSetAttr {
		return c.c.Set
	}
	return &c.c.How.Set
}

// number is u if the call sets what m says.
func (c *call) number(m vfs.SetMask, u uint64) starlark.Value {
	if !c.sets().Has(m) {
		return starlark.None
	}
	return starlark.MakeUint64(u)
}

// time is t, "now", or None if the call leaves it.
func (c *call) time(to, now vfs.SetMask, t vfs.Time) starlark.Value {
	switch s := c.sets(); {
	case s.Has(now):
		return starlark.String("now")
	case s.Has(to):
		return seconds(t)
	default:
		return starlark.None
	}
}

// setNumber changes a number that the call sets anyway; what it does not set stays so, since
// setting it may need other rights. The caller's own structures are not touched.
func setNumber(m vfs.SetMask) func(*call, starlark.Value) error {
	return func(c *call, v starlark.Value) error {
		if !c.sets().Has(m) {
			return errors.New("the call does not set this attribute, so it cannot be changed")
		}
		i, ok := v.(starlark.Int)
		u, ok2 := i.Uint64()
		limit := uint64(1<<32 - 1)
		if m == vfs.SetMode {
			limit = uint64(vfs.ModeMask)
		}
		if !ok || !ok2 || u > limit {
			return fmt.Errorf("%v is no integer from 0 to %d", v, limit)
		}
		set := c.own()
		switch m {
		case vfs.SetMode:
			set.Mode = uint32(u)
		case vfs.SetUID:
			set.UID = uint32(u)
		default:
			set.GID = uint32(u)
		}
		return nil
	}
}

// own is the attributes that the call sets, as a copy of our own.
func (c *call) own() *vfs.SetAttr {
	if c.v == vSetAttr {
		c.set = *c.c.Set
		c.c.Set = &c.set
		return &c.set
	}
	c.how = *c.c.How
	c.c.How = &c.how
	return &c.how.Set
}

// fieldNames are the fields that v has, sorted.
func fieldNames[T any](fields map[string]field[T], v verb) []string {
	var names []string
	for _, name := range sortedKeys(fields) {
		if fields[name].verbs.has(v) {
			names = append(names, name)
		}
	}
	return names
}
