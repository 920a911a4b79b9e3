package script

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.starlark.net/starlark"

	"sheaf/vfs"
)

// TestVerbs makes one call of each verb, and looks that the script saw it in both directions under the
// name of RFC 1813, with the fields that it has.
func TestVerbs(t *testing.T) {
	var b strings.Builder
	for v := noVerb + 1; v < numVerbs; v++ {
		fmt.Fprintf(&b, "def %v(call):\n    log('down', verb=call.verb", v)
		for _, f := range fieldNames(callFields, v) {
			if f != "verb" {
				fmt.Fprintf(&b, ", %s=call.%s", f, f)
			}
		}
		fmt.Fprintf(&b, ")\ndef %v_done(call, result):\n    log('up', verb=result.verb", v)
		for _, f := range fieldNames(resultFields, v) {
			if f != "verb" {
				fmt.Fprintf(&b, ", r_%s=result.%s", f, f)
			}
		}
		b.WriteString(")\n")
	}
	s := shareOf(t, b.String())
	callAll(t, s.fs, s.root)
	log := s.log.String()
	for v := noVerb + 1; v < numVerbs; v++ {
		for _, dir := range []string{"down", "up"} {
			if !strings.Contains(log, fmt.Sprintf(`"msg":"%s","verb":"%v"`, dir, v)) {
				t.Errorf("%v was not seen going %s", v, dir)
			}
		}
	}
	for _, want := range []string{
		`"verb":"write","below":"below","client":"","count":5,"cred":"1000:100:100:7","data":"b\"hello\"","export":0,"gid":100,"groups":"(100, 7)"`,
		`"verb":"read","r_attr":`, `"r_count":5,"r_data":"b\"hello\""`, `"new_mode":420`, `"to_name":"renamed"`, `"target":"there"`,
		`"exists":"guarded"`, `"stable":"file_sync"`, `"want":63`, `"r_target":"there"`, `"new_mtime":"now"`, `"r_status":"OK"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the log:\n%s", want, log)
		}
	}
	if n := s.count("faults_total", ""); n != 0 {
		t.Errorf("%v faults", n)
	}
}

// callAll makes a call of each verb that succeeds.
func callAll(t *testing.T, fs vfs.FS, dir vfs.Node) {
	t.Helper()
	ctx, name := t.Context(), vfs.MustName
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mode := vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o644}
	f, _, err := fs.Make(ctx, ann, dir, name("f"), &vfs.How{Type: vfs.Regular, Exists: vfs.Guarded, Set: mode})
	ok(err)
	_, _, err = fs.Make(ctx, ann, dir, name("d"), &vfs.How{Type: vfs.Directory, Set: mode})
	ok(err)
	l, _, err := fs.Make(ctx, ann, dir, name("l"), &vfs.How{Type: vfs.Symlink, Target: "there"})
	ok(err)
	_, _, err = fs.Make(ctx, ann, dir, name("p"), &vfs.How{Type: vfs.FIFO, Set: mode})
	ok(err)
	_, err = fs.GetAttr(ctx, ann, f.Node)
	ok(err)
	_, err = fs.SetAttr(ctx, ann, f.Node, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtimeNow, Mode: 0o600}, nil)
	ok(err)
	_, _, err = fs.Access(ctx, ann, f.Node, vfs.AccessAll)
	ok(err)
	_, _, err = fs.Lookup(ctx, ann, dir, name("f"))
	ok(err)
	_, _, err = fs.ReadLink(ctx, ann, l.Node)
	ok(err)
	_, _, err = fs.Write(ctx, ann, f.Node, []byte("hello"), 0, vfs.FileSync)
	ok(err)
	_, _, _, err = fs.Read(ctx, ann, f.Node, make([]byte, 10), 0)
	ok(err)
	_, _, err = fs.Commit(ctx, ann, f.Node, 0, 0)
	ok(err)
	_, _, err = fs.Link(ctx, ann, f.Node, dir, name("link"))
	ok(err)
	_, _, err = fs.Rename(ctx, ann, dir, name("link"), dir, name("renamed"))
	ok(err)
	_, err = fs.Remove(ctx, ann, dir, name("renamed"))
	ok(err)
	_, err = fs.RemoveDir(ctx, ann, dir, name("d"))
	ok(err)
	_, _, err = fs.ReadDir(ctx, ann, dir, 0, true, func(*vfs.DirEntry) bool { return true })
	ok(err)
	_, _, err = fs.Statfs(ctx, ann, dir)
	ok(err)
	_, _, err = fs.Limits(ctx, ann, dir)
	ok(err)
	acls, _, err := fs.GetACL(ctx, ann, f.Node)
	ok(err)
	_, err = fs.SetACL(ctx, ann, f.Node, acls)
	ok(err)
}

// TestAnswers: what a function may return, and what the caller gets.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		want   vfs.Status
	}{
		"pass":             {"def lookup(call):\n  return None\n", vfs.OK},
		"status":           {"def lookup(call):\n  return STALE\n", vfs.Stale},
		"status up":        {"def lookup_done(call, result):\n  return ACCES\n", vfs.Acces},
		"answer":           {"def lookup(call):\n  return answer(JUKEBOX)\n", vfs.Jukebox},
		"answer with attr": {"def lookup(call):\n  a = call.below.getattr(call.dir).attr\n  return answer(attr=a, dir_attr=a)\n", vfs.OK},
		"result":           {"def lookup(call):\n  return call.below.lookup(call.dir, 'f')\n", vfs.OK},
		"result, error":    {"def lookup(call):\n  return call.below.lookup(call.dir, 'none')\n", vfs.NoEnt},
		"its own result":   {"def lookup_done(call, result):\n  return result\n", vfs.OK},
		"other name":       {"def lookup(call):\n  call.name = 'none'\n", vfs.NoEnt},
		"state":            {"def lookup(call):\n  call.state = [1]\ndef lookup_done(call, result):\n  return STALE if call.state == [1] else IO\n", vfs.Stale},
		"state unset":      {"def lookup_done(call, result):\n  return STALE if call.state == None else IO\n", vfs.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			s := shareOf(t, c.source)
			s.mk("f")
			a, err := s.lookup("f")
			s.want(err, c.want)
			if (c.want == vfs.OK) != !a.Node.IsZero() {
				t.Errorf("%v with attributes %+v", err, a)
			}
			if n := s.count("faults_total", ""); n != 0 {
				t.Errorf("%v faults: %s", n, s.log)
			}
		})
	}
}

// TestAnswerOthers: the other verbs that a script can answer.
func TestAnswerOthers(t *testing.T) {
	s := shareOf(t, `
def getattr(call):
    return answer(attr=call.below.getattr(call.node).attr)
def access(call):
    return answer(access=ACCESS_READ | ACCESS_EXECUTE)
def readlink(call):
    return answer(target="elsewhere")
def read_done(call, result):
    return answer(data=str(result.data).upper(), eof=result.eof, attr=result.attr)
`)
	f := s.mk("f").Node
	ctx := t.Context()
	if _, _, err := s.model.Write(ctx, root, f, []byte("text"), 0, vfs.FileSync); err != nil {
		t.Fatal(err)
	}
	if a, err := s.fs.GetAttr(ctx, ann, f); err != nil || a.Node.ID != f.ID {
		t.Errorf("getattr: %+v, %v", a, err)
	}
	if got, _, err := s.fs.Access(ctx, ann, f, vfs.AccessRead|vfs.AccessModify); err != nil || got != vfs.AccessRead {
		t.Errorf("access: %v, %v, want what was asked of what was answered", got, err)
	}
	if got, _, err := s.fs.ReadLink(ctx, ann, f); err != nil || got != "elsewhere" {
		t.Errorf("readlink: %q, %v", got, err)
	}
	buf := make([]byte, 10)
	if n, eof, a, err := s.fs.Read(ctx, ann, f, buf, 0); err != nil || string(buf[:n]) != "TEXT" || !eof || a.Node.ID != f.ID {
		t.Errorf("read: %q, %v, %v", buf[:n], eof, err)
	}
	if n := s.count("faults_total", ""); n != 0 {
		t.Errorf("%v faults: %s", n, s.log)
	}
}

// wrongs are functions that fail or return what they must not, with what the log says.
var wrongs = map[string]struct{ source, want string }{
	"a string":        {"def lookup(call):\n  return 'x'\n", "t.star:1:1: lookup: returned a string, want None, a status"},
	"OK":              {"def lookup(call):\n  return OK\n", "returned OK"},
	"no attr":         {"def lookup(call):\n  return answer()\n", "returned an answer without attr"},
	"other's result":  {"def lookup(call):\n  return call.below.getattr(call.dir)\n", "returned a result of getattr"},
	"up, a string":    {"def lookup_done(call, result):\n  return True\n", "t.star:1:1: lookup_done: returned a bool"},
	"fail":            {"def _f():\n  fail('no')\ndef lookup(call):\n  _f()\n", "t.star:2:7: lookup: fail: no"},
	"division":        {"def lookup(call):\n  x = 0\n  return 1 // x\n", "t.star:3:12: lookup: floored division by zero"},
	"no such name":    {"def lookup(call):\n  call.name = 'a/b'\n", `"a/b" is no name: permission denied`},
	"cannot change":   {"def lookup(call):\n  call.uid = 0\n", "call.uid cannot be changed"},
	"too late":        {"def lookup_done(call, result):\n  call.name = 'a'\n", "before the call is made below"},
	"frozen":          {"d = {}\ndef lookup(call):\n  d[call.name] = 1\n", "cannot insert into frozen hash table"},
	"recursion":       {"def _f(x):\n  return _f(x)\ndef lookup(call):\n  _f(1)\n", "called recursively"},
	"table late":      {"def lookup(call):\n  table()\n", "only be called while the script is loaded"},
	"key":             {"t = table()\ndef lookup(call):\n  t.get([1])\n", "a list cannot be a key"},
	"value":           {"t = table()\ndef lookup(call):\n  t.set(1, [1])\n", "a list cannot be kept"},
	"value, the call": {"t = table()\ndef lookup(call):\n  t.set(1, (1, call))\n", "a call cannot be kept"},
	"since None":      {"t = table()\ndef lookup(call):\n  t.set(1, 1, since=None)\n", "since is None"},
	"method":          {"def lookup(call):\n  call.below.remove(call.dir, 'f')\n", "below has no .remove"},
}

// TestWrong: what a function does wrong is answered with SERVERFAULT, counted, and logged with its place; with
// Pass the call goes on.
func TestWrong(t *testing.T) {
	for name, c := range wrongs {
		for _, pass := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pass %v", name, pass), func(t *testing.T) {
				s := newShare(t, Options{File: "t.star", Source: []byte(c.source), Pass: pass})
				s.mk("f")
				_, err := s.lookup("f")
				if pass {
					s.want(err, vfs.OK)
				} else {
					s.want(err, vfs.ServerFault)
					if !vfs.Announced(err) {
						t.Error("the error would be logged once more above")
					}
				}
				if n := s.count("faults_total", ""); n != 1 {
					t.Errorf("%v faults, want 1", n)
				}
				if log := strings.ReplaceAll(s.log.String(), `\"`, `"`); !strings.Contains(log, c.want) {
					t.Errorf("%s is not in the log:\n%s", c.want, log)
				}
			})
		}
	}
}

// TestPassUndoes: with Pass a function that fails after it changed an argument changed nothing.
func TestPassUndoes(t *testing.T) {
	s := newShare(t, Options{Pass: true, Source: []byte("def create(call):\n  call.name = 'other'\n  call.new_mode = 0\n  fail('no')\n")})
	a, _, err := s.fs.Make(t.Context(), root, s.root, vfs.MustName("f"), &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o640}})
	s.want(err, vfs.OK)
	if a.Mode != 0o640 {
		t.Errorf("mode %o", a.Mode)
	}
	if _, err := s.lookup("f"); err != nil {
		t.Error(err)
	}
}

// TestChanges: a change that is made cannot be called a failure, nor one that is not made a success.
func TestChanges(t *testing.T) {
	s := shareOf(t, `
def create_done(call, result):
    return IO
def mkdir(call):
    return answer(attr=call.below.getattr(call.dir).attr)
def remove(call):
    return PERM
def remove_done(call, result):
    fail("not reached")
`)
	ctx := t.Context()
	_, _, err := s.fs.Make(ctx, root, s.root, vfs.MustName("f"), &vfs.How{Type: vfs.Regular})
	s.want(err, vfs.ServerFault)
	if _, err := s.lookup("f"); err != nil {
		t.Error("the file was not made:", err)
	}
	_, _, err = s.fs.Make(ctx, root, s.root, vfs.MustName("d"), &vfs.How{Type: vfs.Directory})
	s.want(err, vfs.ServerFault)
	_, err = s.fs.Remove(ctx, root, s.root, vfs.MustName("f"))
	s.want(err, vfs.Perm)
	for _, want := range []string{"what create has changed stays changed", "mkdir can only be answered with an error"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, s.log)
		}
	}
	if n := s.count("refused_total", ""); n != 1 {
		t.Errorf("%v calls refused, want 1", n)
	}
}

// TestArguments: names, modes and owners can be changed on the way down, and what the caller gave stays as it was.
func TestArguments(t *testing.T) {
	s := shareOf(t, `
def create(call):
    call.name = call.name.lower()
    call.new_mode = call.new_mode & 0o700
    call.new_uid = 7
def setattr(call):
    call.new_mode |= 0o001
def rename(call):
    call.to_name = "to_" + call.to_name
def link(call):
    call.name = "link_" + call.name
`)
	ctx, name := t.Context(), vfs.MustName
	how := &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID, Mode: 0o666, UID: 1}}
	given := *how
	a, _, err := s.fs.Make(ctx, root, s.root, name("FILE"), how)
	s.want(err, vfs.OK)
	if *how != given || a.Mode != 0o600 || a.UID != 7 {
		t.Errorf("made %+v, of %+v", a, how)
	}
	set := &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o640}
	c, err := s.fs.SetAttr(ctx, root, a.Node, set, nil)
	s.want(err, vfs.OK)
	if c.After.Mode != 0o641 || set.Mode != 0o640 {
		t.Errorf("mode %o, given %o", c.After.Mode, set.Mode)
	}
	if _, _, err = s.fs.Rename(ctx, root, s.root, name("file"), s.root, name("x")); err != nil {
		t.Error(err)
	}
	if _, _, err = s.fs.Link(ctx, root, a.Node, s.root, name("y")); err != nil {
		t.Error(err)
	}
	for _, n := range []string{"to_x", "link_y"} {
		if _, err := s.lookup(n); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	_, err = s.fs.SetAttr(ctx, root, a.Node, &vfs.SetAttr{Mask: vfs.SetMtimeNow}, nil)
	s.want(err, vfs.ServerFault) // call.new_mode is None there
}

// TestEntries: readdir_entry hides entries, and a listing that was cut goes on where it was.
func TestEntries(t *testing.T) {
	s := shareOf(t, "def readdir_entry(call, entry):\n  return not entry.name.endswith('.bak')\ndef readdir_done(call, result):\n  if result.status != OK or result.attr.type != 'dir': fail(result)\n")
	for i := range 20 {
		s.mk(fmt.Sprint(i))
		s.mk(fmt.Sprintf("%d.bak", i))
	}
	seen := map[string]bool{}
	after, eof := vfs.Cookie(0), false
	for !eof {
		n := 0
		var err error
		_, eof, err = s.fs.ReadDir(t.Context(), ann, s.root, after, true, func(e *vfs.DirEntry) bool {
			if n++; n > 3 {
				return false
			}
			after = e.Cookie
			if seen[e.Name.String()] || strings.HasSuffix(e.Name.String(), ".bak") || !e.HasAttr {
				t.Errorf("entry %+v", e)
			}
			seen[e.Name.String()] = true
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d entries, want 20", len(seen))
	}
}

// TestEntryFails: a listing that the script cannot judge is an error, not a shorter listing.
func TestEntryFails(t *testing.T) {
	for body, want := range map[string]string{
		"return 1": "returned a int",
		"return call.below.lookup(call.dir, 'f')": "nothing can be asked below in readdir_entry",
	} {
		s := shareOf(t, "def readdir_entry(call, entry):\n  "+body+"\n")
		s.mk("f")
		_, eof, err := s.fs.ReadDir(t.Context(), ann, s.root, 0, false, func(*vfs.DirEntry) bool { return true })
		s.want(err, vfs.ServerFault)
		if eof && err == nil || !strings.Contains(s.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, s.log)
		}
	}
}

// TestBelow: what can be asked below, as the caller.
func TestBelow(t *testing.T) {
	s := shareOf(t, `
def lookup(call):
    b, d = call.below, call.dir
    names, after, eof = [], 0, False
    for i in range(100):
        r = b.readdir(d, after=after, limit=7, attrs=True)
        for e in r.entries:
            names.append(e.name)
            if e.attr.node != e.node or e.cookie <= 0:
                fail(e)
        after, eof = r.cookie, r.eof
        if eof:
            break
    l = b.lookup(d, "l")
    log("below", names=len(names), distinct=len(set(names)), target=b.readlink(l.attr.node).target,
        mine=b.access(d, ACCESS_MODIFY).access, gone=b.lookup(d, "none").status, type=l.attr.type)
`)
	for i := range 20 {
		s.mk(fmt.Sprint(i))
	}
	if _, _, err := s.model.Make(t.Context(), root, s.root, vfs.MustName("l"), &vfs.How{Type: vfs.Symlink, Target: "to"}); err != nil {
		t.Fatal(err)
	}
	_, err := s.lookup("1")
	s.want(err, vfs.OK)
	if want := `"names":21,"distinct":21,"target":"to","mine":4,"gone":"NOENT","type":"lnk"`; !strings.Contains(s.log.String(), want) {
		t.Errorf("%s is not in the log:\n%s", want, s.log)
	}
}

// TestNoWait: a function never runs on the goroutine that reads a connection, and what is not defined is
// not held up.
func TestNoWait(t *testing.T) {
	s := shareOf(t, "n = counter('n')\ndef lookup(call):\n  n.add()\n")
	s.mk("f")
	hasty := &vfs.Who{NoWait: true}
	_, _, err := s.fs.Lookup(t.Context(), hasty, s.root, vfs.MustName("f"))
	s.want(err, vfs.Again)
	if n := s.count("count_total", "n"); n != 0 {
		t.Errorf("the function ran %v times", n)
	}
	if _, err := s.fs.GetAttr(t.Context(), hasty, s.root); err != nil {
		t.Errorf("a verb without a function: %v", err)
	}
}

// TestEvents: news reach forget, and when that fails everything kept is dropped.
func TestEvents(t *testing.T) {
	s := shareOf(t, `
t = table()
def lookup_done(call, result):
    t.set((call.dir, call.name), True)
def forget(event):
    log("event", kind=event.kind, name=event.name, volume=event.volume)
    if event.kind == "name":
        t.delete((event.node, event.name))
    elif event.kind == "node":
        t.delete_group(event.node)
    elif event.kind == "volume":
        fail("what now")
`)
	fill := func() {
		for i := range 3 {
			_, _ = s.lookup(fmt.Sprint(i))
		}
	}
	for _, c := range []struct {
		e    vfs.Event
		left uint64
	}{
		{vfs.Event{Kind: vfs.ForgetName, Node: s.root.ID, Name: vfs.MustName("1")}, 2},
		{vfs.Event{Kind: vfs.ForgetNode, Node: s.root.ID}, 0},
		{vfs.Event{Kind: vfs.ForgetNode, Node: vfs.NodeID{1}}, 3},
		{vfs.Event{Kind: vfs.ForgetVolume, Volume: "a"}, 0},
	} {
		fill()
		s.model.Announce(c.e)
		if n := s.count("table_entries", "t"); n != float64(c.left) {
			t.Errorf("%+v left %v entries, want %v", c.e, n, c.left)
		}
	}
	if n := s.count("faults_total", ""); n != 1 || !strings.Contains(s.log.String(), `"kind":"volume","name":"None","volume":"a"`) {
		t.Errorf("%v faults: %s", n, s.log)
	}
}

// TestInstances: two layers of one file share nothing (GLU-6).
func TestInstances(t *testing.T) {
	source := "n = counter('n')\nt = table()\ndef lookup(call):\n  n.add()\n  t.set(call.name, 1)\n"
	a, b := shareOf(t, source), shareOf(t, source)
	_, _ = a.lookup("x")
	if a.count("count_total", "n") != 1 || a.count("table_entries", "t") != 1 || b.count("count_total", "n") != 0 || b.count("table_entries", "t") != 0 {
		t.Error("the instances share their state")
	}
}

// TestTogether: many calls at once each keep their own state, and the shared is counted right (GLU-5, GLU-8).
func TestTogether(t *testing.T) {
	s := shareOf(t, `
calls = counter("calls")
per = table()
def lookup(call):
    call.state = [call.name, call.uid]
    calls.add()
    per.incr(call.name)
def lookup_done(call, result):
    if call.state != [call.name, call.uid]:
        fail("state of another call: %s" % call.state)
`)
	const callers, each = 16, 100
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			w := &vfs.Who{UID: uint32(c)}
			for i := range each {
				_, _, err := s.fs.Lookup(t.Context(), w, s.root, vfs.MustName(fmt.Sprint(i)))
				if vfs.StatusOf(err) != vfs.NoEnt {
					t.Errorf("lookup: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := s.count("count_total", "calls"); n != callers*each {
		t.Errorf("%v calls counted, want %v", n, callers*each)
	}
	for _, tab := range s.s.tables {
		for i := range each {
			p, err := tab.find(nil, starlark.String(fmt.Sprint(i)))
			if err != nil {
				t.Fatal(err)
			}
			if v := tab.get(&p); v.String() != fmt.Sprint(callers) {
				t.Errorf("name %d counted %v times, want %d", i, v, callers)
			}
		}
	}
}

// TestLimits: a function that takes too much ends, and the next call is answered.
func TestLimits(t *testing.T) {
	loop := "for i in range(1000000):\n    for j in range(1000000):\n      pass\n"
	for name, c := range map[string]struct {
		body, want string
		o          Options
	}{
		"steps":        {loop, "more than 5000 steps (max-steps)", Options{MaxSteps: 5000}},
		"deadline":     {loop, "longer than 20ms (deadline)", Options{MaxSteps: 1 << 60, Deadline: 20 * time.Millisecond}},
		"walks":        {"x = range(1000000)\n  for i in x:\n    max(x)\n", "(max-steps)", Options{MaxSteps: 5_000_000, Deadline: time.Hour}},
		"text":         {"'x' * (1 << 30)\n", "(memory)", Options{}},
		"text, other":  {"(1 << 30) * 'x'\n", "(memory)", Options{}},
		"list":         {"[0] * (1 << 28)\n", "(memory)", Options{}},
		"doubling":     {"x = 'x'\n  for i in range(64):\n    x = x + x\n", "(memory)", Options{}},
		"doubling +=":  {"x = 'x'\n  for i in range(64):\n    x += x\n", "(memory)", Options{}},
		"doubling *=":  {"x = 'x'\n  for i in range(64):\n    x *= 2\n", "(memory)", Options{}},
		"lists +=":     {"x = [1]\n  for i in range(64):\n    x += x\n", "(memory)", Options{}},
		"extend":       {"x = [1]\n  for i in range(64):\n    x.extend(x)\n", "(memory)", Options{}},
		"squares":      {"x = 1 << 500\n  for i in range(64):\n    x = x * x\n", "(memory)", Options{}},
		"shifts":       {"x = 1\n  for i in range(900000):\n    x = x << 511\n", "(memory)", Options{MaxSteps: 1 << 40, Deadline: time.Hour}},
		"format":       {"x = 'x'\n  for i in range(64):\n    x = '%s%s' % (x, x)\n", "(memory)", Options{}},
		"format, dict": {"x = 'x' * 1000000\n  x = ('%(a)s' * 1000) % {'a': x}\n", "(memory)", Options{}},
		"format()":     {"x = 'x' * 1000000\n  x = ('{0}' * 1000).format(x)\n", "(memory)", Options{}},
		"replace":      {"x = 'x' * 1000000\n  x = x.replace('x', x)\n", "(memory)", Options{}},
		"replace, got": {"x = 'x' * 1000000\n  f = getattr(x, 'replace')\n  f('x', x)\n", "(memory)", Options{}},
		"replace, var": {"x = 'x' * 1000000\n  f = x.replace\n  f('', x)\n", "(memory)", Options{}},
		"join":         {"x = 'x' * 1000000\n  x = ''.join([x] * 1000)\n", "(memory)", Options{}},
		"str":          {"x = [1]\n  for i in range(60):\n    x = [x, x]\n  str(x)\n", "(memory)", Options{}},
		"str, itself":  {"x = []\n  x.append(x)\n  str(x)\n", "(memory)", Options{}},
		"log":          {"x = [1]\n  for i in range(60):\n    x = [x, x]\n  log('x', x=x)\n", "(memory)", Options{}},
		"range":        {"x = range(1 << 40)\n", "range: of more than 1000000 numbers", Options{}},
		"copies":       {"x = list(range(1000000))\n", "(memory)", Options{}},
		"sets":         {"x = set(range(100000))\n  for i in range(1000):\n    y = x | x\n", "(memory)", Options{}},
		"slices":       {"x = list(range(100000))\n  for i in range(1000):\n    y = x[:]\n", "(memory)", Options{}},
		"sets &":       {"x = set(range(100000))\n  for i in range(1000):\n    y = x & x\n", "(memory)", Options{}},
		"sets -":       {"x = set(range(100000))\n  z = set()\n  for i in range(1000):\n    y = x - z\n", "(memory)", Options{}},
		"sets -=":      {"x = set(range(100000))\n  z = set()\n  for i in range(1000):\n    x -= z\n", "(memory)", Options{}},
		"arguments":    {"x = list(range(50000))\n  f = lambda *a: a\n  for i in range(1000):\n    y = f(*x)\n", "(memory)", Options{}},
		"held":         {"for i in range(100):\n    t.hold(call, i)\n", "cannot hold more than 64 keys", Options{}},
		"long key":     {"t.get('x' * 5000)\n", "a key is longer than 4096 bytes", Options{}},
		"long value":   {"t.set(1, 'x' * 100000)\n", "a value is longer than 65536 bytes", Options{}},
		"deep key":     {"x = 1\n  for i in range(20):\n    x = (x,)\n  t.get(x)\n", "nests tuples more than 8 deep", Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Source = []byte("t = table()\ndef lookup(call):\n  if call.name == 'good':\n    return STALE\n  " + c.body)
			setDefault(&c.o.Memory, 4<<20)
			s := newShare(t, c.o)
			_, err := s.lookup("bad")
			s.want(err, vfs.ServerFault)
			if !strings.Contains(s.log.String(), c.want) {
				t.Errorf("%s is not in the log:\n%s", c.want, s.log)
			}
			_, err = s.lookup("good")
			s.want(err, vfs.Stale)
		})
	}
}

// stuck is a file system whose attributes come when nobody waits for them any more.
type stuck struct {
	vfs.FS
	asked *atomic.Int32
}

func (f stuck) GetAttr(ctx context.Context, _ *vfs.Who, _ vfs.Node) (vfs.Attr, error) {
	f.asked.Add(1)
	<-ctx.Done()
	return vfs.Attr{}, context.Cause(ctx)
}

// TestLateBelow: what is asked below counts, and the caller may come again.
func TestLateBelow(t *testing.T) {
	for _, pass := range []bool{false, true} {
		s := newShare(t, Options{Deadline: 20 * time.Millisecond, Pass: pass, Source: []byte(`
def lookup(call):
    for i in range(10):
        call.below.getattr(call.dir)
`)})
		var asked atomic.Int32
		fs, _ := s.s.Over(stuck{s.model, &asked})
		_, _, err := fs.Lookup(t.Context(), root, s.root, vfs.MustName("x"))
		s.want(err, vfs.Jukebox)
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
		if want := "took longer than the deadline"; !strings.Contains(s.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, s.log)
		}
	}
}

// panicky is a file system that panics when it is asked for attributes.
type panicky struct{ vfs.FS }

func (panicky) GetAttr(context.Context, *vfs.Who, vfs.Node) (vfs.Attr, error) { panic("as told") }

// TestPanic: a panic under a function is a failure of the script, with where it came from.
func TestPanic(t *testing.T) {
	s := shareOf(t, "def lookup(call):\n  call.below.getattr(call.dir)\n")
	fs, _ := s.s.Over(panicky{s.model})
	for range 3 {
		_, _, err := fs.Lookup(t.Context(), root, s.root, vfs.MustName("f"))
		s.want(err, vfs.ServerFault)
	}
	for _, want := range []string{"panic: as told", "panicky.GetAttr"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, s.log)
		}
	}
}

// TestReports: a script that always fails does not fill the log, and what was left out is counted.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shareOf(t, "def lookup(call):\n  fail('no')\n")
		for range 100 {
			_, _ = s.lookup("f")
		}
		if n := strings.Count(s.log.String(), "script failed"); n != 5 {
			t.Errorf("%d lines, want 5", n)
		}
		time.Sleep(time.Minute)
		_, _ = s.lookup("f")
		if !strings.Contains(s.log.String(), `"unreported":95`) {
			t.Errorf("what was left out is not said:\n%s", s.log)
		}
		if n := s.count("faults_total", ""); n != 101 {
			t.Errorf("%v faults, want 101", n)
		}
	})
}

// TestMemoryOfCalls: what a call brings with it, and what is asked below, counts as what a function builds.
func TestMemoryOfCalls(t *testing.T) {
	for verb, exprs := range map[string][]string{"write": {"call.data", "getattr(call, 'data', None)"}, "readdir": {"call.below.readdir(call.dir)"}} {
		for _, expr := range exprs {
			t.Run(expr, func(t *testing.T) {
				s := newShare(t, Options{Memory: 1 << 20, Source: []byte("def " + verb + "(call):\n  for i in range(1000):\n    x = " + expr + "\n")})
				var n vfs.Node
				for i := range 10 {
					a, _, err := s.fs.Make(t.Context(), ann, s.root, vfs.MustName(fmt.Sprint("f", i)), &vfs.How{Type: vfs.Regular})
					s.want(err, vfs.OK)
					n = a.Node
				}
				_, _, err := s.fs.Write(t.Context(), ann, n, make([]byte, 64<<10), 0, vfs.FileSync)
				if verb == "readdir" {
					_, _, err = s.fs.ReadDir(t.Context(), ann, s.root, 0, false, func(*vfs.DirEntry) bool { return true })
				}
				s.want(err, vfs.ServerFault)
				if !strings.Contains(s.log.String(), "(memory)") {
					t.Errorf("the log: %s", s.log)
				}
			})
		}
	}
}

// TestLongError: an error that quotes a large value does not fill the log.
func TestLongError(t *testing.T) {
	s := shareOf(t, "def lookup(call):\n  {}['x' * 1000000]\n")
	_, err := s.lookup("x")
	s.want(err, vfs.ServerFault)
	if n := len(s.log.String()); n > 4*maxLogText {
		t.Errorf("%d bytes of log for one failure", n)
	}
}
