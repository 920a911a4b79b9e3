package script

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// answer is what answer(...) makes: a reply with more to it than a status.
type answer struct {
	status vfs.Status
	attr   *vfs.Attr
	dir    *vfs.Attr
	target *string
	data   *string
	eof    bool
	access *vfs.AccessMask
}

func (a *answer) String() string      { return "answer(" + status(a.status).String() + ")" }
func (*answer) Type() string          { return "answer" }
func (*answer) Freeze()               {}
func (*answer) Truth() starlark.Bool  { return true }
func (*answer) Hash() (uint32, error) { return 0, errUnhashable("answer") }

// makeAnswer is answer(status=OK, attr=, dir_attr=, target=, data=, eof=, access=).
func makeAnswer(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var st, attr, dir, target, data, access starlark.Value
	a := &answer{}
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "status?", &st, "attr??", &attr, "dir_attr??", &dir,
		"target??", &target, "data??", &data, "eof?", &a.eof, "access??", &access); err != nil {
		return nil, err
	}
	if st != nil {
		s, ok := st.(status)
		if !ok {
			return nil, fmt.Errorf("answer: status is a %s, want a status such as NOENT", st.Type())
		}
		a.status = vfs.Status(s)
	}
	return a, errors.Join(a.takeAttr("attr", attr, &a.attr), a.takeAttr("dir_attr", dir, &a.dir),
		takeText("target", target, &a.target), takeText("data", data, &a.data), a.takeAccess(access))
}

func (a *answer) takeAttr(name string, v starlark.Value, to **vfs.Attr) error {
	if v == nil {
		return nil
	}
	at, ok := v.(attrs)
	if !ok {
		return fmt.Errorf("answer: %s is a %s, want attr", name, v.Type())
	}
	*to = at.a
	return nil
}

func takeText(name string, v starlark.Value, to **string) error {
	var s string
	switch v := v.(type) {
	case nil:
		return nil
	case starlark.String:
		s = string(v)
	case starlark.Bytes:
		s = string(v)
	default:
		return fmt.Errorf("answer: %s is a %s, want string or bytes", name, v.Type())
	}
	*to = &s
	return nil
}

func (a *answer) takeAccess(v starlark.Value) error {
	if v == nil {
		return nil
	}
	i, ok := v.(starlark.Int)
	u, ok2 := i.Uint64()
	if !ok || !ok2 || u > uint64(vfs.AccessAll) {
		return fmt.Errorf("answer: access is %v, want a sum of ACCESS_… constants", v)
	}
	m := vfs.AccessMask(u)
	a.access = &m
	return nil
}

// give makes v, which a function returned, the answer of c, and err its error. Going down, v may leave the
// call alone (None): it is made below then. Coming up, made says what came back.
//
//	None                  the call passes, or its result stays
//	a status but OK       an error
//	answer(...)           an answer with content
//	a result from below   that result
func give(c *translator.Call, vb verb, v starlark.Value, up bool, made error) (answered bool, err, wrong error) {
	if v == starlark.None {
		return false, nil, nil
	}
	if up && made == nil && changers.has(vb) {
		return false, nil, fmt.Errorf("returned a %s, want None: what %v has changed stays changed", v.Type(), vb)
	}
	switch v := v.(type) {
	case status:
		if vfs.Status(v) == vfs.OK {
			return false, nil, errors.New("returned OK: an answer that is no error needs answer(...)")
		}
		c.Attr = vfs.Attr{} // of what it came back with below
		return true, vfs.Status(v), nil
	case *answer:
		return giveAnswer(c, vb, v)
	case *result:
		return giveResult(c, vb, v)
	default:
		return false, nil, fmt.Errorf("returned a %s, want None, a status, an answer or a result from below", v.Type())
	}
}

// answerable are the verbs that a script can answer with success: those that only look, and whose
// content scripts know.
var answerable = verbs(vLookup, vGetAttr, vAccess, vReadLink, vRead)

func giveAnswer(c *translator.Call, vb verb, a *answer) (answered bool, err, wrong error) {
	if a.status != vfs.OK {
		c.Attr = vfs.Attr{}
		fill(a, c)
		return true, a.status, nil
	}
	var missing string
	switch {
	case !answerable.has(vb):
		return false, nil, fmt.Errorf("returned an answer that is no error: %v can only be answered with an error, or by the file system below", vb)
	case (vb == vLookup || vb == vGetAttr) && a.attr == nil:
		missing = "attr"
	case vb == vAccess && a.access == nil:
		missing = "access"
	case vb == vReadLink && a.target == nil:
		missing = "target"
	case vb == vRead && a.data == nil:
		missing = "data"
	case vb == vRead && len(*a.data) > len(c.Data):
		return false, nil, fmt.Errorf("returned data of %d bytes, want at most call.count, %d", len(*a.data), len(c.Data))
	}
	if missing != "" {
		return false, nil, fmt.Errorf("returned an answer without %s, which one of %v needs", missing, vb)
	}
	switch vb {
	case vAccess:
		c.Granted = *a.access & c.Want
	case vReadLink:
		c.Target = *a.target
	case vRead:
		c.Count, c.EOF = copy(c.Data, *a.data), a.eof
	default:
	}
	fill(a, c)
	return true, nil, nil
}

func fill(a *answer, c *translator.Call) {
	if a.attr != nil {
		c.Attr = *a.attr
	}
	if a.dir != nil {
		c.DirAttr = *a.dir
	}
}

func giveResult(c *translator.Call, vb verb, r *result) (answered bool, err, wrong error) {
	switch {
	case r.v != vb || vb == vReadDir:
		return false, nil, fmt.Errorf("returned a result of %v, want one of %v that can stand for it", r.v, vb)
	case r.c == c:
		return false, nil, nil // the result that it was given
	}
	c.Attr, c.DirAttr, c.Target, c.Granted = r.c.Attr, r.c.DirAttr, r.c.Target, r.c.Granted&c.Want
	return true, r.err, nil
}
