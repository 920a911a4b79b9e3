package vfstest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs"
)

// restart flushes everything and begins another life, as a server that is
// stopped and started does.
func (m *Model) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lives++
	for _, o := range m.objects {
		if o.data != nil {
			o.data.flush()
		}
	}
}

// TestModelProgram runs programs on Models against Models.
func TestModelProgram(t *testing.T) {
	for name, c := range map[string]struct {
		model   ModelOptions
		program ProgramOptions
	}{
		"whole":      {model: ModelOptions{Seed: 5, CookieBits: 3}},
		"poor":       {ModelOptions{Seed: 6, NoACLs: true, NoSpecial: true, NoLinks: true}, ProgramOptions{Options: Options{NoACLs: true, NoSpecial: true, NoLinks: true}}},
		"one caller": {ModelOptions{RootUID: 7, RootGID: 8}, ProgramOptions{Options: Options{As: &vfs.Who{UID: 7, GID: 8}}}},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := NewModel(c.model)
				o := c.program
				o.Restart = func(*rapid.T) vfs.FS { m.restart(); return m }
				RunProgram(t, m, o)
			})
		})
	}
}

// FuzzModelProgram lets the fuzzer choose programs.
func FuzzModelProgram(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		m := NewModel(ModelOptions{Seed: 5, CookieBits: 3})
		RunProgram(t, m, ProgramOptions{Restart: func(*rapid.T) vfs.FS { m.restart(); return m }})
	}))
}

// wrong is a Model with one fault.
type wrong struct {
	*Model
	setAttr func(w *vfs.Who, set *vfs.SetAttr, guard *vfs.Time) (*vfs.Who, *vfs.SetAttr, *vfs.Time)
	how     func(how *vfs.How) *vfs.How
	data    func(buf []byte, off uint64) ([]byte, uint64)
	entry   func(e *vfs.DirEntry) bool
	attr    func(a *vfs.Attr)
	remove  func(m *Model, dir vfs.Node, name vfs.Name)
	rename  func(err error) error
	access  func(have vfs.AccessMask) vfs.AccessMask
	gone    func(err error) error
}

func (f *wrong) SetAttr(ctx context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (vfs.Change, error) {
	if f.setAttr != nil {
		w, set, guard = f.setAttr(w, set, guard)
	}
	return f.Model.SetAttr(ctx, w, n, set, guard)
}

func (f *wrong) Make(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name, how *vfs.How) (vfs.Attr, vfs.Change, error) {
	if f.how != nil {
		how = f.how(how)
	}
	return f.Model.Make(ctx, w, dir, name, how)
}

func (f *wrong) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	count := len(data)
	if f.data != nil {
		data, off = f.data(data, off)
	}
	wr, c, err := f.Model.Write(ctx, w, n, data, off, stable)
	wr.Count = count
	return wr, c, err
}

func (f *wrong) ReadDir(ctx context.Context, w *vfs.Who, dir vfs.Node, after vfs.Cookie, attrs bool, each func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	return f.Model.ReadDir(ctx, w, dir, after, attrs, func(e *vfs.DirEntry) bool {
		return f.entry != nil && !f.entry(e) || each(e)
	})
}

func (f *wrong) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	a, err := f.Model.GetAttr(ctx, w, n)
	if f.attr != nil {
		f.attr(&a)
	}
	if err != nil && f.gone != nil {
		err = f.gone(err)
	}
	return a, err
}

func (f *wrong) Remove(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (vfs.Change, error) {
	c, err := f.Model.Remove(ctx, w, dir, name)
	if err == nil && f.remove != nil {
		f.remove(f.Model, dir, name)
	}
	return c, err
}

func (f *wrong) Rename(ctx context.Context, w *vfs.Who, from vfs.Node, fromName vfs.Name, to vfs.Node, toName vfs.Name) (vfs.Change, vfs.Change, error) {
	c, c2, err := f.Model.Rename(ctx, w, from, fromName, to, toName)
	if f.rename != nil {
		err = f.rename(err)
	}
	return c, c2, err
}

func (f *wrong) Access(ctx context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	have, a, err := f.Model.Access(ctx, w, n, want)
	if f.access != nil {
		have = f.access(have)
	}
	return have, a, err
}

// faults are file systems that programs must find out.
func faults() map[string]*wrong {
	skipped := vfs.Cookie(1) << 62
	return map[string]*wrong{
		"a guard is ignored": {setAttr: func(w *vfs.Who, s *vfs.SetAttr, _ *vfs.Time) (*vfs.Who, *vfs.SetAttr, *vfs.Time) { return w, s, nil }},
		"anybody may change attributes": {setAttr: func(_ *vfs.Who, s *vfs.SetAttr, g *vfs.Time) (*vfs.Who, *vfs.SetAttr, *vfs.Time) {
			return vfs.Superuser, s, g
		}},
		"times set are forgotten": {setAttr: func(w *vfs.Who, s *vfs.SetAttr, g *vfs.Time) (*vfs.Who, *vfs.SetAttr, *vfs.Time) {
			c := *s
			if c.Has(vfs.SetMtime) {
				c.Mask = c.Mask&^vfs.SetMtime | vfs.SetMtimeNow
			}
			return w, &c, g
		}},
		"UNCHECKED truncates always": {how: func(h *vfs.How) *vfs.How {
			c := *h
			if c.Exists == vfs.Unchecked && !c.Set.Has(vfs.SetSize) {
				c.Set.Mask, c.Set.Size = c.Set.Mask|vfs.SetSize, 0
			}
			return &c
		}},
		"GUARDED is UNCHECKED": {how: func(h *vfs.How) *vfs.How { c := *h; c.Exists = 0; return &c }},
		"set-id bits are lost": {how: func(h *vfs.How) *vfs.How { c := *h; c.Set.Mode &= 0o1777; return &c }},
		"the last byte is lost": {data: func(b []byte, off uint64) ([]byte, uint64) {
			return b[:len(b)-min(len(b), 1)], off
		}},
		"data goes one byte further": {data: func(b []byte, off uint64) ([]byte, uint64) { return b, off + 1 }},
		"a listing leaves some names out": {entry: func(e *vfs.DirEntry) bool {
			return e.Cookie > skipped
		}},
		"directories have one link": {attr: func(a *vfs.Attr) {
			if a.Type == vfs.Directory {
				a.Nlink = 1
			}
		}},
		"ctime has seconds only": {attr: func(a *vfs.Attr) { a.Ctime.Nsec = 0 }},
		"REMOVE makes a directory change twice": {remove: func(m *Model, dir vfs.Node, _ vfs.Name) {
			m.modify(m.objects[dir.ID])
		}},
		"REMOVE leaves something": {remove: func(m *Model, dir vfs.Node, name vfs.Name) {
			_, _, _ = m.Make(context.Background(), vfs.Superuser, dir, name, &vfs.How{Type: vfs.Regular})
		}},
		"a full directory is Exist": {rename: func(err error) error {
			if errors.Is(err, vfs.NotEmpty) {
				return vfs.Exist
			}
			return err
		}},
		"everybody may execute":        {access: func(have vfs.AccessMask) vfs.AccessMask { return have | vfs.AccessExecute }},
		"what is gone is an I/O error": {gone: func(error) error { return vfs.IO }},
	}
}

// quietT is a rapid.TB that keeps what it is told.
type quietT struct {
	*testing.T
	text   strings.Builder
	failed bool
}

func (q *quietT) Logf(format string, args ...any)   { fmt.Fprintf(&q.text, format+"\n", args...) }
func (q *quietT) Log(args ...any)                   { fmt.Fprintln(&q.text, args...) }
func (q *quietT) Errorf(format string, args ...any) { q.Logf(format, args...); q.failed = true }
func (q *quietT) Error(args ...any)                 { q.Log(args...); q.failed = true }
func (q *quietT) Fatalf(format string, args ...any) { q.Errorf(format, args...); runtime.Goexit() }
func (q *quietT) Fatal(args ...any)                 { q.Error(args...); runtime.Goexit() }
func (q *quietT) Fail()                             { q.failed = true }
func (q *quietT) FailNow()                          { q.failed = true; runtime.Goexit() }
func (q *quietT) Failed() bool                      { return q.failed }

// setFlag sets a flag for the duration of the test.
func setFlag(t *testing.T, name, value string) {
	t.Helper()
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) }) // what it was is valid
}

// TestProgramFinds shows that programs find each fault, and tell how.
func TestProgramFinds(t *testing.T) {
	setFlag(t, "rapid.nofailfile", "true")
	setFlag(t, "rapid.shrinktime", "0s")
	setFlag(t, "rapid.checks", "500")
	for name, fs := range faults() {
		t.Run(name, func(t *testing.T) {
			q := &quietT{T: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				rapid.Check(q, func(rt *rapid.T) {
					f := *fs
					f.Model = NewModel(ModelOptions{Seed: 9})
					RunProgram(rt, &f, ProgramOptions{})
				})
			}()
			<-done
			if !q.failed {
				t.Fatal("not found")
			}
			if !strings.Contains(q.text.String(), "program so far:") {
				t.Errorf("the program is not told:\n%s", q.text.String())
			}
		})
	}
}
