package script

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// checker looks, at load, for fields of calls, results, entries and events that are not there: a function's parameter
// cannot be anything else, unless the function gives its name to something else.
type checker struct {
	defs map[syntax.Position]function
	used []use
}

// function is the body of a def or lambda.
type function struct {
	params []syntax.Expr
	body   []syntax.Node
}

// use is a function with one of the names that it is called by.
type use struct {
	name string
	hook hook
	at   syntax.Position
}

// defsOf are the functions of f by their positions, which is how their values are found again.
func defsOf(f *syntax.File) map[syntax.Position]function {
	defs := map[syntax.Position]function{}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			fn := function{params: n.Params}
			for _, st := range n.Body {
				fn.body = append(fn.body, st)
			}
			defs[n.Def] = fn
		case *syntax.LambdaExpr:
			defs[n.Lambda] = function{params: n.Params, body: []syntax.Node{n.Body}}
		}
		return true
	})
	return defs
}

func (c *checker) use(name string, h hook, fn *starlark.Function) {
	c.used = append(c.used, use{name, h, fn.Position()})
}

// check looks at each function once, with all that it is used for: a field is wrong if none of
// its calls has it.
func (c *checker) check() error {
	byPlace := map[syntax.Position][]use{}
	for _, u := range c.used {
		byPlace[u.at] = append(byPlace[u.at], u)
	}
	for _, u := range c.used {
		uses := byPlace[u.at]
		if uses[0] != u {
			continue
		}
		fn, ok := c.defs[u.at]
		if !ok {
			continue
		}
		for i, p := range fn.params {
			if id, ok := p.(*syntax.Ident); ok {
				if err := fn.checkParam(id, i, uses); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkParam looks at what is asked of the i-th parameter.
func (fn *function) checkParam(p *syntax.Ident, i int, uses []use) (err error) {
	if fn.binds(p.Name) {
		return nil
	}
	for _, n := range fn.body {
		syntax.Walk(n, func(n syntax.Node) bool {
			d, ok := n.(*syntax.DotExpr)
			if !ok || err != nil {
				return err == nil
			}
			if x, ok := d.X.(*syntax.Ident); ok && x.Name == p.Name {
				err = checkField(d, i, uses)
			}
			return true
		})
	}
	return err
}

// binds reports whether the function gives something else its parameter's name: by assignment, a loop, or a
// parameter of a function within.
func (fn *function) binds(name string) (found bool) {
	is := func(e syntax.Expr) {
		syntax.Walk(e, func(n syntax.Node) bool {
			if id, ok := n.(*syntax.Ident); ok && id.Name == name {
				found = true
			}
			_, dot := n.(*syntax.DotExpr)
			return !dot // `call.name = x` binds nothing
		})
	}
	for _, n := range fn.body {
		syntax.Walk(n, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.AssignStmt:
				is(n.LHS)
			case *syntax.ForStmt:
				is(n.Vars)
			case *syntax.ForClause:
				is(n.Vars)
			case *syntax.DefStmt:
				for _, p := range n.Params {
					is(p)
				}
			case *syntax.LambdaExpr:
				for _, p := range n.Params {
					is(p)
				}
			}
			return true
		})
	}
	return found
}

func checkField(d *syntax.DotExpr, param int, uses []use) error {
	var what string
	var has []string
	for _, u := range uses {
		what, has = u.fields(param)
		if slices.Contains(has, d.Name.Name) {
			return nil
		}
	}
	names := make([]string, len(uses))
	for i, u := range uses {
		names[i] = u.name
	}
	return fmt.Errorf("%v: %s: a %s has no .%s; it has %s", d.Name.NamePos, strings.Join(names, ", "), what, d.Name.Name, strings.Join(has, ", "))
}

// fields are what the param-th parameter of u is and has.
func (u *use) fields(param int) (what string, fields []string) {
	switch {
	case u.hook.kind == hookForget:
		return "event", sortedKeys(eventFields)
	case param == 0:
		return "call", fieldNames(callFields, u.hook.verb)
	case u.hook.kind == hookEntry:
		return "entry", sortedKeys(entryFields)
	default:
		return "result", fieldNames(resultFields, u.hook.verb)
	}
}
