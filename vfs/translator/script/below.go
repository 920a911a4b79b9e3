package script

import (
	"context"
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// below asks the file system below on behalf of the caller of a call. What it asks does not come by
// this script, and changes nothing.
type below struct{ call *call }

// maxEntries is how many entries below.readdir gives at once.
const maxEntries = 10_000

// entrySize is about what one of them takes, in bytes.
const entrySize = 128

func (*below) String() string        { return "below" }
func (*below) Type() string          { return "below" }
func (*below) Freeze()               {}
func (*below) Truth() starlark.Bool  { return true }
func (*below) Hash() (uint32, error) { return 0, errUnhashable("below") }

type belowMethod func(c *call, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (*result, error)

var belowMethods = map[string]belowMethod{
	"lookup": belowLookup, "getattr": belowGetAttr, "access": belowAccess,
	"readlink": belowReadLink, "readdir": belowReadDir,
}

// Attr implements starlark.HasAttrs.
func (b *below) Attr(name string) (starlark.Value, error) {
	m := belowMethods[name]
	if m == nil {
		return nil, nil
	}
	c := b.call
	return starlark.NewBuiltin(name, func(t *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		switch {
		case c.c == nil:
			return nil, errOver
		case c.noBelow:
			return nil, errors.New("nothing can be asked below in readdir_entry: the listing is under way")
		}
		r, err := askBelow(t, c, m, fn, args, kwargs)
		if err != nil {
			return nil, err
		}
		return r, charge(t, func(int64) int64 { return entrySize * int64(max(starlark.Len(r.entries), 0)) })
	}), nil
}

// errLate ends a function whose deadline came while it asked below. The caller is told to come again, as if he had
// asked there himself: a disk that spins up is no fault of the script.
var errLate = errors.New("what it asked below took longer than the deadline")

// askBelow is m within the deadline of the function that runs.
func askBelow(t *starlark.Thread, c *call, m belowMethod, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (*result, error) {
	whole := c.ctx
	ctx, cancel := context.WithDeadline(whole, t.Local(runnerKey).(*runner).deadline())
	defer cancel()
	c.ctx = ctx // for this question alone
	r, err := m(c, fn, args, kwargs)
	c.ctx = whole
	if err == nil && ctx.Err() != nil && whole.Err() == nil {
		return nil, errLate
	}
	return r, err
}

// AttrNames implements starlark.HasAttrs.
func (*below) AttrNames() []string { return sortedKeys(belowMethods) }

func belowLookup(c *call, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (*result, error) {
	var dir *node
	var s starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "dir", &dir, "name", &s); err != nil {
		return nil, err
	}
	name, err := asName(s)
	if err != nil {
		return nil, fmt.Errorf("lookup: %w", err)
	}
	r := &result{c: new(translator.Call), v: vLookup}
	r.c.Attr, r.c.DirAttr, r.err = c.c.Below.Lookup(c.ctx, c.c.Who, dir.Node, name)
	return r, nil
}

func belowGetAttr(c *call, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (*result, error) {
	var n *node
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "node", &n); err != nil {
		return nil, err
	}
	r := &result{c: new(translator.Call), v: vGetAttr}
	r.c.Attr, r.err = c.c.Below.GetAttr(c.ctx, c.c.Who, n.Node)
	return r, nil
}

func belowAccess(c *call, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (*result, error) {
	var n *node
	want := int(vfs.AccessAll)
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "node", &n, "want?", &want); err != nil {
		return nil, err
	}
	r := &result{c: new(translator.Call), v: vAccess}
	r.c.Granted, r.c.Attr, r.err = c.c.Below.Access(c.ctx, c.c.Who, n.Node, vfs.AccessMask(want)&vfs.AccessAll)
	return r, nil
}

func belowReadLink(c *call, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (*result, error) {
	var n *node
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "node", &n); err != nil {
		return nil, err
	}
	r := &result{c: new(translator.Call), v: vReadLink}
	r.c.Target, r.c.Attr, r.err = c.c.Below.ReadLink(c.ctx, c.c.Who, n.Node)
	return r, nil
}

// belowReadDir is readdir(dir, after=0, limit=1000, attrs=False): result.entries, and result.cookie to go
// on after.
func belowReadDir(c *call, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (*result, error) {
	var dir *node
	after, limit, withAttrs := uint64(0), 1000, false
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "dir", &dir, "after?", &after, "limit?", &limit, "attrs?", &withAttrs); err != nil {
		return nil, err
	}
	if limit < 1 || limit > maxEntries {
		return nil, fmt.Errorf("readdir: limit is %d, want 1 to %d", limit, maxEntries)
	}
	r := &result{c: new(translator.Call), v: vReadDir, cookie: vfs.Cookie(after)}
	var entries []starlark.Value
	r.c.Attr, r.c.EOF, r.err = c.c.Below.ReadDir(c.ctx, c.c.Who, dir.Node, vfs.Cookie(after), withAttrs, func(e *vfs.DirEntry) bool {
		d := &dirEntry{name: e.Name.String(), cookie: e.Cookie, node: e.Node}
		if e.HasAttr {
			a := e.Attr
			d.attr = &a
		}
		entries = append(entries, d)
		r.cookie = e.Cookie
		return len(entries) < limit
	})
	r.entries = starlark.NewList(entries)
	return r, nil
}
