package translator

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// through is a hook that does nothing.
func through(ctx context.Context, c *Call, next Next) error { return next(ctx, c) }

// TestVerbs: every method of the contract but Subscribe is a verb, and no other is.
func TestVerbs(t *testing.T) {
	var methods, verbs []string
	for m := range reflect.TypeFor[vfs.FS]().Methods() {
		if m.Name != "Subscribe" {
			methods = append(methods, strings.ToLower(m.Name))
		}
	}
	for _, v := range Verbs() {
		verbs = append(verbs, v.String())
		if p, err := ParseVerb(v.String()); p != v || err != nil {
			t.Errorf("ParseVerb(%q) is %v, %v", v, p, err)
		}
	}
	slices.Sort(methods)
	slices.Sort(verbs)
	if !slices.Equal(methods, verbs) {
		t.Errorf("methods %v\n  verbs %v", methods, verbs)
	}
	for _, s := range []string{"", "Lookup", "subscribe"} {
		if v, err := ParseVerb(s); err == nil {
			t.Errorf("ParseVerb(%q) is %v", s, v)
		}
	}
}

// TestSuite: a hook that does nothing is not there.
func TestSuite(t *testing.T) {
	vfstest.Suite(t, vfstest.Options{}, func(*testing.T) vfs.FS {
		return Around(Around(vfstest.NewModel(vfstest.ModelOptions{}), through), through)
	})
}

// TestProgram is random programs through a hook that does nothing.
func TestProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vfstest.RunProgram(t, Around(vfstest.NewModel(vfstest.ModelOptions{}), through), vfstest.ProgramOptions{Steps: 40})
	})
}

// fields says which fields of a Call a method's arguments and results are, in their order.
var fields = map[Verb]struct{ args, results string }{
	Root:      {"", "Attr"},
	GetAttr:   {"Node", "Attr"},
	SetAttr:   {"Node Set Guard", "Change"},
	Access:    {"Node Want", "Granted Attr"},
	Lookup:    {"Node Name", "Attr DirAttr"},
	Parents:   {"Node EachParent", ""},
	ReadLink:  {"Node", "Target Attr"},
	Read:      {"Node Data Offset", "Count EOF Attr"},
	Write:     {"Node Data Offset Stable", "Written Change"},
	Commit:    {"Node Offset Length", "Verifier Change"},
	Make:      {"Node Name How", "Attr Change"},
	Link:      {"Node ToDir ToName", "Attr Change"},
	Remove:    {"Node Name", "Change"},
	RemoveDir: {"Node Name", "Change"},
	Rename:    {"Node Name ToDir ToName", "Change ToChange"},
	ReadDir:   {"Node After WithAttrs Each", "Attr EOF"},
	Statfs:    {"Node", "Space Attr"},
	Limits:    {"Node", "Limits Attr"},
	GetACL:    {"Node", "ACLs Attr"},
	SetACL:    {"Node ACLs", "Attr"},
}

// filler makes values no two of which are alike.
type filler struct{ n int }

func (f *filler) value(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	f.fill(v)
	return v
}

func (f *filler) fill(v reflect.Value) {
	f.n++
	if v.Type() == reflect.TypeFor[vfs.Name]() {
		v.Set(reflect.ValueOf(vfs.MustName(fmt.Sprint("name ", f.n))))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			f.fill(field)
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.String:
		v.SetString(fmt.Sprint("text ", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Func:
		v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { return []reflect.Value{reflect.ValueOf(true)} }))
	default:
		if v.CanInt() {
			v.SetInt(int64(f.n % 100))
		} else {
			v.SetUint(uint64(f.n % 200))
		}
	}
}

// same compares; functions are alike if both are there.
func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Func {
		return !a.IsNil() && !b.IsNil()
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// TestFields makes every call with arguments and results that no two of are alike, through two
// layers, and looks whether each arrives where the Call's documentation says, and nothing else.
func TestFields(t *testing.T) {
	refused := &vfs.Error{Status: vfs.DQuot, Op: "test"}
	var at func(c *Call)
	bottom := Around(nil, func(_ context.Context, c *Call, _ Next) error { at(c); return refused })
	fs := reflect.ValueOf(Around(bottom, func(ctx context.Context, c *Call, next Next) error {
		if c.Below != bottom {
			t.Error("Below is not the FS below")
		}
		return next(ctx, c)
	}))
	for _, v := range Verbs() {
		m := method(fs, v)
		fill := &filler{}
		who := &vfs.Who{UID: 7}
		in := []reflect.Value{reflect.ValueOf(t.Context())}
		if v == Parents {
			who = vfs.Superuser
		} else {
			in = append(in, reflect.ValueOf(who))
		}
		args, results := strings.Fields(fields[v].args), strings.Fields(fields[v].results)
		first := len(in)
		for len(in) < m.Type().NumIn() {
			in = append(in, fill.value(m.Type().In(len(in))))
		}
		if len(in)-first != len(args) || m.Type().NumOut()-1 != len(results) {
			t.Fatalf("%v: the table of this test has another number of fields", v)
		}
		want := map[string]reflect.Value{}
		at = func(c *Call) {
			if c.Verb != v || c.Who != who {
				t.Errorf("%v: came as %v of %v", v, c.Verb, c.Who)
			}
			call := reflect.ValueOf(c).Elem()
			for i, name := range args {
				want[name] = in[first+i]
			}
			for f, val := range call.Fields() {
				switch w, ok := want[f.Name]; {
				case f.Name == "Verb" || f.Name == "Who" || f.Name == "Below":
				case ok && !same(w, val):
					t.Errorf("%v: argument %s is %v, want %v", v, f.Name, val, w)
				case !ok && !val.IsZero():
					t.Errorf("%v: %s is %v before the call", v, f.Name, val)
				}
			}
			for _, name := range results {
				fill.fill(call.FieldByName(name))
				want[name] = reflect.ValueOf(call.FieldByName(name).Interface())
			}
		}
		out := m.Call(in)
		for i, name := range results {
			if !same(out[i], want[name]) {
				t.Errorf("%v: result %s is %v, want %v", v, name, out[i], want[name])
			}
		}
		if err, _ := reflect.TypeAssert[error](out[len(out)-1]); !errors.Is(err, refused) {
			t.Errorf("%v: error %v, want the hook's", v, err)
		}
	}
}

// method is fs's method of v.
func method(fs reflect.Value, v Verb) reflect.Value {
	for m, f := range fs.Methods() {
		if strings.EqualFold(m.Name, v.String()) {
			return f
		}
	}
	panic("no method for " + v.String())
}

// TestHookMay does what Hook says that a hook may do.
func TestHookMay(t *testing.T) {
	ctx := t.Context()
	model := vfstest.NewModel(vfstest.ModelOptions{})
	root, err := model.Root(ctx, vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"lower", "other"} {
		if _, _, err := model.Make(ctx, vfs.Superuser, root.Node, vfs.MustName(s), &vfs.How{Type: vfs.Regular}); err != nil {
			t.Fatal(err)
		}
	}
	below := 0
	fs := Around(model, func(ctx context.Context, c *Call, next Next) error {
		switch c.Verb {
		case GetAttr: // answer by itself
			c.Attr.Size = 42
			return nil
		case Lookup: // again with another argument, and another call below
			if err := next(ctx, c); vfs.StatusOf(err) != vfs.NoEnt {
				return err
			}
			_, _, err := c.Below.ReadDir(ctx, vfs.Superuser, c.Node, 0, false, func(*vfs.DirEntry) bool { below++; return true })
			if err != nil {
				return err
			}
			name, err := vfs.ParseName(strings.ToLower(c.Name.String()))
			if err != nil {
				return err
			}
			c.Name = name
			return next(ctx, c)
		case Remove: // believed against what next did
			return errors.Join(vfs.ROFS, next(ctx, c))
		default:
			return next(ctx, c)
		}
	})
	if a, err := fs.GetAttr(ctx, vfs.Superuser, vfs.Node{}); err != nil || a.Size != 42 {
		t.Errorf("GetAttr: size %d, %v; want what the hook answers", a.Size, err)
	}
	low, _, err := fs.Lookup(ctx, vfs.Superuser, root.Node, vfs.MustName("lower"))
	if err != nil {
		t.Fatal(err)
	}
	if a, d, err := fs.Lookup(ctx, vfs.Superuser, root.Node, vfs.MustName("LOWER")); err != nil || a != low || d.Node != root.Node {
		t.Errorf("Lookup: %v, %v, %v", a, d, err)
	}
	if below != 2 {
		t.Errorf("the hook's own call found %d entries, want 2", below)
	}
	if c, err := fs.Remove(ctx, vfs.Superuser, root.Node, vfs.MustName("other")); vfs.StatusOf(err) != vfs.ROFS || !c.HasAfter {
		t.Errorf("Remove: %v, %v; want the hook's error with next's results", c, err)
	}
}

// TestUnknownVerb: a hook that asks for no verb gets an error, not a panic.
func TestUnknownVerb(t *testing.T) {
	fs := Around(vfstest.NewModel(vfstest.ModelOptions{}), func(ctx context.Context, c *Call, next Next) error {
		c.Verb = 0
		return next(ctx, c)
	})
	if _, err := fs.Root(t.Context(), vfs.Superuser); vfs.StatusOf(err) != vfs.ServerFault {
		t.Errorf("got %v, want a server fault", err)
	}
}

// TestCallsAreApart: calls at the same time share no Call, though they come from one pool.
func TestCallsAreApart(t *testing.T) {
	fs := Around(Around(nil, func(_ context.Context, c *Call, _ Next) error {
		c.Attr.Size = c.Node.Birth.Ino
		return nil
	}), func(ctx context.Context, c *Call, next Next) error {
		n := c.Node
		err := next(ctx, c)
		if c.Node != n || c.Attr.Size != n.Birth.Ino {
			t.Errorf("the Call of %d became that of %d with %d", n.Birth.Ino, c.Node.Birth.Ino, c.Attr.Size)
		}
		return err
	})
	var wg sync.WaitGroup
	for i := range uint64(8) {
		wg.Go(func() {
			for j := range uint64(500) {
				n := vfs.Node{Birth: vfs.Birth{Ino: i<<32 | j}}
				if a, err := fs.GetAttr(t.Context(), vfs.Superuser, n); err != nil || a.Size != n.Birth.Ino {
					t.Errorf("GetAttr of %d: %d, %v", n.Birth.Ino, a.Size, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestSubscribe: news passes through.
func TestSubscribe(t *testing.T) {
	model := vfstest.NewModel(vfstest.ModelOptions{})
	var got []vfs.Event
	cancel := Around(model, through).Subscribe(func(e vfs.Event) { got = append(got, e) })
	model.Announce(vfs.Event{Kind: vfs.ForgetAll})
	cancel()
	model.Announce(vfs.Event{Kind: vfs.ForgetAll})
	if len(got) != 1 || got[0].Kind != vfs.ForgetAll {
		t.Errorf("got %v, want one event", got)
	}
}
