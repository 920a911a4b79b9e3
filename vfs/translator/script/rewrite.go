package script

import (
	"fmt"

	"go.starlark.net/syntax"
)

// guard puts the functions of guard.go in the place of what they charge for. Positions stay those of the
// script's text.
func guard(f *syntax.File) error {
	var w rewriter
	w.stmts(f.Stmts)
	return w.err
}

type rewriter struct{ err error }

func (w *rewriter) stmts(list []syntax.Stmt) {
	for _, s := range list {
		w.stmt(s)
	}
}

func (w *rewriter) stmt(s syntax.Stmt) {
	switch s := s.(type) {
	case *syntax.AssignStmt:
		w.assign(s)
	case *syntax.DefStmt:
		w.params(s.Params)
		w.stmts(s.Body)
	case *syntax.ExprStmt:
		w.expr(&s.X)
	case *syntax.ForStmt:
		w.target(s.Vars)
		w.expr(&s.X)
		w.stmts(s.Body)
	case *syntax.IfStmt:
		w.expr(&s.Cond)
		w.stmts(s.True)
		w.stmts(s.False)
	case *syntax.ReturnStmt:
		if s.Result != nil {
			w.expr(&s.Result)
		}
	case *syntax.WhileStmt: // refused by the dialect, when names are resolved
		w.expr(&s.Cond)
		w.stmts(s.Body)
	case *syntax.BranchStmt, *syntax.LoadStmt:
	}
}

// assign makes `x *= y` into `x = multiply(x, y)`. `x += y` changes a list in place, so there what is
// added is charged.
func (w *rewriter) assign(s *syntax.AssignStmt) {
	w.target(s.LHS)
	w.expr(&s.RHS)
	op, augmented := plainOps[s.Op]
	switch {
	case !augmented || sums(op) && isNumber(s.RHS):
	case op == syntax.PLUS || op == syntax.PIPE:
		s.RHS = invoke(guardGrow, s.OpPos, s.RHS)
	default:
		x, ok := s.LHS.(*syntax.Ident)
		if !ok {
			w.fail(s.OpPos, fmt.Sprintf("%v can only be used with a variable: write a = a %v b", s.Op, op))
			return
		}
		s.Op, s.RHS = syntax.EQ, invoke(guardedOps[op], s.OpPos, &syntax.Ident{NamePos: x.NamePos, Name: x.Name}, s.RHS)
	}
}

func (w *rewriter) fail(at syntax.Position, why string) {
	if w.err == nil {
		w.err = fmt.Errorf("%v: %s", at, why)
	}
}

// target is what something is assigned to: only what is within can be more than a name.
func (w *rewriter) target(e syntax.Expr) {
	switch e := e.(type) {
	case *syntax.DotExpr:
		w.expr(&e.X)
	case *syntax.IndexExpr:
		w.expr(&e.X)
		w.expr(&e.Y)
	case *syntax.ParenExpr:
		w.target(e.X)
	case *syntax.TupleExpr:
		for _, x := range e.List {
			w.target(x)
		}
	case *syntax.ListExpr:
		for _, x := range e.List {
			w.target(x)
		}
	}
}

// params are those of a function: only their defaults are expressions.
func (w *rewriter) params(list []syntax.Expr) {
	for _, p := range list {
		if b, ok := p.(*syntax.BinaryExpr); ok {
			w.expr(&b.Y)
		}
	}
}

func (w *rewriter) list(list []syntax.Expr) {
	for i := range list {
		w.expr(&list[i])
	}
}

// expr rewrites *e, from within.
func (w *rewriter) expr(e *syntax.Expr) {
	switch x := (*e).(type) {
	case *syntax.BinaryExpr:
		w.expr(&x.X)
		w.expr(&x.Y)
		if name := guardedOps[x.Op]; name != "" && !harmless(x) {
			*e = invoke(name, x.OpPos, x.X, x.Y)
		}
	case *syntax.CallExpr:
		w.expr(&x.Fn)
		w.args(x.Args)
	case *syntax.Comprehension:
		w.comprehension(x)
	case *syntax.CondExpr:
		w.expr(&x.Cond)
		w.expr(&x.True)
		w.expr(&x.False)
	case *syntax.DictEntry:
		w.expr(&x.Key)
		w.expr(&x.Value)
	case *syntax.DictExpr:
		w.list(x.List)
	case *syntax.DotExpr:
		w.expr(&x.X)
		if isGuarded(x.Name.Name) {
			name := &syntax.Literal{Token: syntax.STRING, TokenPos: x.Name.NamePos, Value: x.Name.Name}
			*e = invoke(guardMethod, x.Name.NamePos, x.X, name)
		}
	case *syntax.IndexExpr:
		w.expr(&x.X)
		w.expr(&x.Y)
	case *syntax.LambdaExpr:
		w.params(x.Params)
		w.expr(&x.Body)
	case *syntax.ListExpr:
		w.list(x.List)
	case *syntax.ParenExpr:
		w.expr(&x.X)
	case *syntax.SliceExpr:
		w.slice(x)
	case *syntax.TupleExpr:
		w.list(x.List)
	case *syntax.UnaryExpr:
		if x.X != nil { // the bare * of parameters has none
			w.expr(&x.X)
		}
		if x.Op == syntax.STAR || x.Op == syntax.STARSTAR { // of a call's arguments, which are copied
			x.X = invoke(guardGrow, x.OpPos, x.X)
		}
	case *syntax.Ident, *syntax.Literal:
	}
}

// args are those of a call; of `name = value` only the value is an expression.
func (w *rewriter) args(list []syntax.Expr) {
	for i := range list {
		if b, ok := list[i].(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
			w.expr(&b.Y)
			continue
		}
		w.expr(&list[i])
	}
}

func (w *rewriter) comprehension(x *syntax.Comprehension) {
	w.expr(&x.Body)
	for _, c := range x.Clauses {
		switch c := c.(type) {
		case *syntax.ForClause:
			w.target(c.Vars)
			w.expr(&c.X)
		case *syntax.IfClause:
			w.expr(&c.Cond)
		}
	}
}

func (w *rewriter) slice(x *syntax.SliceExpr) {
	w.expr(&x.X)
	for _, e := range []*syntax.Expr{&x.Lo, &x.Hi, &x.Step} {
		if *e != nil {
			w.expr(e)
		}
	}
	x.X = invoke(guardSlice, x.Lbrack, x.X)
}

// harmless reports whether x cannot build anything large: a sum with a number that is written in the text.
func harmless(x *syntax.BinaryExpr) bool {
	return sums(x.Op) && (isNumber(x.X) || isNumber(x.Y))
}

func sums(op syntax.Token) bool { return op == syntax.PLUS || op == syntax.MINUS }

func isNumber(e syntax.Expr) bool {
	l, ok := e.(*syntax.Literal)
	if !ok {
		return false
	}
	return l.Token == syntax.INT || l.Token == syntax.FLOAT
}

// invoke is name(args…), at the place of an operator.
func invoke(name string, at syntax.Position, args ...syntax.Expr) syntax.Expr {
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: at, Name: name}, Lparen: at, Args: args, Rparen: at}
}
