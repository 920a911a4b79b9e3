package translators

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/translator/script"
)

// TestAudit: each change is a line, with who, where from, what, and how it ended.
func TestAudit(t *testing.T) {
	s := newShare(t, "audit.star", map[string]any{"verbs": []any{"create", "mkdir", "symlink", "rename", "setattr", "remove", "write"}})
	ctx, name := t.Context(), vfs.MustName
	f, _ := s.mk(ann, s.root, "f")
	s.put(ann, s.root, "f") // UNCHECKED: fine
	_, _ = s.make(ann, s.root, "l", &vfs.How{Type: vfs.Symlink, Target: "to there"})
	_, _ = s.make(ann, s.root, "f", &vfs.How{Type: vfs.Directory})
	_, _, _ = s.fs.Rename(ctx, ann, s.root, name("f"), s.root, name("g"))
	_, _ = s.fs.SetAttr(ctx, ann, f.Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}, nil)
	_, _, _ = s.fs.Write(ctx, ann, f.Node, []byte("data"), 7, vfs.FileSync)
	_, _ = s.fs.Remove(ctx, ann, s.root, name("none"))
	_, _, _ = s.fs.Link(ctx, ann, f.Node, s.root, name("unsaid"))
	_, _ = s.lookup(ann, s.root, "unsaid")
	log := s.log.String()
	root := fmt.Sprintf(`"dir":%d`, s.root.ID.FileID())
	who := `"uid":1000,"gid":100,"client":"","export":0`
	for _, want := range []string{
		`"msg":"audit","verb":"create","status":"OK",` + who + `,"name":"f","new_mode":438,` + root + fmt.Sprintf(`,"fileid":%d`, f.Node.ID.FileID()),
		`"verb":"symlink","status":"OK",` + who + `,"name":"l","target":"to there"`,
		`"verb":"mkdir","status":"EXIST",` + who + `,"name":"f"`,
		`"verb":"rename","status":"OK",` + who + `,"name":"f","to_name":"g",` + root,
		fmt.Sprintf(`"verb":"setattr","status":"OK",%s,"new_mode":384,"node":%d`, who, f.Node.ID.FileID()),
		`"verb":"write","status":"OK",` + who + `,"offset":7,"count":4`,
		`"verb":"remove","status":"NOENT",` + who + `,"name":"none"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log, "unsaid") || s.counter("lines") != 8 || strings.Count(log, "audit") != 8 {
		t.Errorf("%v lines:\n%s", s.counter("lines"), log)
	}
}

// TestAuditOptions: failures can be left out, and what is no call is refused.
func TestAuditOptions(t *testing.T) {
	s := newShare(t, "audit.star", map[string]any{"failed": false, "level": "warn"})
	_, _ = s.make(ann, s.root, "d", &vfs.How{Type: vfs.Directory})
	_, _ = s.make(ann, s.root, "d", &vfs.How{Type: vfs.Directory})
	if log := s.log.String(); strings.Count(log, `"level":"WARN","msg":"audit","verb":"mkdir","status":"OK"`) != 1 || strings.Contains(log, "EXIST") {
		t.Error(log)
	}
	_, err := script.Load(script.Options{File: "audit.star", Config: map[string]any{"verbs": []any{"unlink"}}})
	if err == nil || !strings.Contains(err.Error(), `"unlink" is no call`) {
		t.Error(err)
	}
}

// TestAuditTogether: no line is lost or mixed up among callers.
func TestAuditTogether(t *testing.T) {
	s := newShare(t, "audit.star", nil)
	const callers, each = 8, 50
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				s.put(&vfs.Who{UID: uint32(c)}, s.root, fmt.Sprintf("%d-%d", c, i))
			}
		})
	}
	wg.Wait()
	log := s.log.String()
	for c := range callers {
		for i := range each {
			if !strings.Contains(log, fmt.Sprintf(`"uid":%d,"gid":0,"client":"","export":0,"name":"%d-%d"`, c, c, i)) {
				t.Fatalf("the line of %d-%d is missing", c, i)
			}
		}
	}
}

// TestDeny: a name that matches cannot be made by any call, but by those it is not for.
func TestDeny(t *testing.T) {
	s := newShare(t, "deny.star", map[string]any{"names": []any{"*.exe", "~$*"}, "fold": true})
	ctx, name := t.Context(), vfs.MustName
	f, st := s.mk(ann, s.root, "good")
	s.want("create", st, vfs.OK)
	for _, bad := range []string{"a.exe", "A.EXE", "~$doc"} {
		_, st = s.mk(ann, s.root, bad)
		s.want("create "+bad, st, vfs.Acces)
		for _, how := range []*vfs.How{{Type: vfs.Directory}, {Type: vfs.Symlink, Target: "x"}, {Type: vfs.FIFO}} {
			_, st = s.make(ann, s.root, bad, how)
			s.want("make "+bad, st, vfs.Acces)
		}
		_, _, err := s.fs.Link(ctx, ann, f.Node, s.root, name(bad))
		s.want("link "+bad, vfs.StatusOf(err), vfs.Acces)
		_, _, err = s.fs.Rename(ctx, ann, s.root, name("good"), s.root, name(bad))
		s.want("rename to "+bad, vfs.StatusOf(err), vfs.Acces)
	}
	if n := s.counter("refused"); n != 18 {
		t.Errorf("%v refused, want 18", n)
	}
	_, st = s.mk(admin, s.root, "b.exe")
	s.want("create by who may", st, vfs.OK)
	_, st = s.lookup(ann, s.root, "b.exe")
	s.want("lookup, which is not hidden", st, vfs.OK)
	if got := s.list(ann, s.root); got != "b.exe good" {
		t.Errorf("listed %s", got)
	}
	_, err := script.Load(script.Options{File: "deny.star"})
	if err == nil || !strings.Contains(err.Error(), "give the option names") {
		t.Error(err)
	}
}

// TestDenyHides: what is hidden is not there for any call that names it.
func TestDenyHides(t *testing.T) {
	s := newShare(t, "deny.star", map[string]any{"names": []any{".secret*"}, "hide": true})
	ctx, name := t.Context(), vfs.MustName
	d := s.mkdir(admin, s.root, "d")
	s.put(admin, d, ".secret")
	s.put(admin, d, "open")
	_, st := s.lookup(ann, d, ".secret")
	s.want("lookup", st, vfs.NoEnt)
	_, err := s.fs.Remove(ctx, ann, d, name(".secret"))
	s.want("remove", vfs.StatusOf(err), vfs.NoEnt)
	_, err = s.fs.RemoveDir(ctx, ann, d, name(".secret"))
	s.want("rmdir", vfs.StatusOf(err), vfs.NoEnt)
	_, _, err = s.fs.Rename(ctx, ann, d, name(".secret"), d, name("x"))
	s.want("rename", vfs.StatusOf(err), vfs.NoEnt)
	if got := s.list(ann, d); got != "open" {
		t.Errorf("listed %s", got)
	}
	if got := s.list(admin, d); got != ".secret open" {
		t.Errorf("listed for who may %s", got)
	}
	if _, err := s.fs.SetAttr(ctx, admin, d, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700}, nil); err != nil {
		t.Fatal(err)
	}
	_, st = s.lookup(ann, d, ".secret")
	s.want("lookup where nobody may search", st, vfs.Acces)
}

// TestNoCase: a name is found in any case by every call, an exact one first.
func TestNoCase(t *testing.T) {
	s := newShare(t, "nocase.star", nil)
	ctx, name := t.Context(), vfs.MustName
	f, _ := s.mk(ann, s.root, "Größe.TXT")
	for _, n := range []string{"größe.txt", "GRÖßE.txt", "Größe.TXT"} {
		a, st := s.lookup(ann, s.root, n)
		s.want("lookup "+n, st, vfs.OK)
		if a.Node.ID != f.Node.ID {
			t.Errorf("%s is another file", n)
		}
	}
	_, st := s.lookup(ann, s.root, "grosse.txt")
	s.want("lookup of another name", st, vfs.NoEnt)
	a, st := s.mk(ann, s.root, "GRÖßE.TXT")
	s.want("create", st, vfs.OK)
	if a.Node.ID != f.Node.ID || s.list(ann, s.root) != "Größe.TXT" {
		t.Errorf("the file was made twice: %s", s.list(ann, s.root))
	}
	_, st = s.make(ann, s.root, "größe.txt", &vfs.How{Type: vfs.Directory})
	s.want("mkdir of a name that is taken", st, vfs.Exist)
	_, _, err := s.fs.Rename(ctx, ann, s.root, name("größe.txt"), s.root, name("GRÖSSE"))
	s.want("rename", vfs.StatusOf(err), vfs.OK)
	if got := s.list(ann, s.root); got != "GRÖSSE" {
		t.Errorf("renamed to %s", got)
	}
	_, _, err = s.fs.Rename(ctx, ann, s.root, name("grösse"), s.root, name("Grösse"))
	s.want("rename to the same in another case", vfs.StatusOf(err), vfs.OK)
	if got := s.list(ann, s.root); got != "Grösse" {
		t.Errorf("renamed to %s", got)
	}
	_, err = s.fs.Remove(ctx, ann, s.root, name("GRÖSSE"))
	s.want("remove", vfs.StatusOf(err), vfs.OK)
	_, st = s.lookup(ann, s.root, "Grösse")
	s.want("lookup of what was removed", st, vfs.NoEnt)
}

// TestNoCaseExact: of two names that differ in case only, each is found by its own.
func TestNoCaseExact(t *testing.T) {
	s := newShare(t, "nocase.star", nil)
	for _, n := range []string{"a", "A"} { // below, as another process may
		if _, _, err := s.model.Make(t.Context(), admin, s.root, vfs.MustName(n), &vfs.How{Type: vfs.Regular}); err != nil {
			t.Fatal(err)
		}
	}
	lower, _ := s.lookup(ann, s.root, "a")
	upper, _ := s.lookup(ann, s.root, "A")
	if lower.Node.IsZero() || upper.Node.IsZero() || lower.Node.ID == upper.Node.ID {
		t.Error("one of the two names is not its own")
	}
}

// TestNoCaseKept: a directory is looked through once for a name, and again when the name changes, here or, as news say,
// elsewhere.
func TestNoCaseKept(t *testing.T) {
	s := newShare(t, "nocase.star", map[string]any{"ttl": 3600})
	look := func(want vfs.Status, scans float64) {
		t.Helper()
		for range 3 {
			_, st := s.lookup(ann, s.root, "FILE")
			s.want("lookup", st, want)
		}
		if n := s.counter("scans"); n != scans {
			t.Errorf("%v scans, want %v", n, scans)
		}
	}
	look(vfs.NoEnt, 1)
	s.put(ann, s.root, "file") // it looks itself, in vain: the absence is known
	look(vfs.OK, 2)
	if _, err := s.fs.Remove(t.Context(), ann, s.root, vfs.MustName("file")); err != nil {
		t.Fatal(err)
	}
	look(vfs.NoEnt, 3)
	if _, _, err := s.model.Make(t.Context(), admin, s.root, vfs.MustName("File"), &vfs.How{Type: vfs.Regular}); err != nil {
		t.Fatal(err)
	}
	s.model.Announce(vfs.Event{Kind: vfs.ForgetName, Node: s.root.ID, Name: vfs.MustName("File")})
	look(vfs.OK, 4)
	// It goes behind our back, without news: what was kept is looked at again before it is believed.
	if _, err := s.model.Remove(t.Context(), admin, s.root, vfs.MustName("File")); err != nil {
		t.Fatal(err)
	}
	look(vfs.NoEnt, 5)
}

// TestNoCaseRace: a name that is made while a directory is looked through is not taken for absent afterwards.
func TestNoCaseRace(t *testing.T) {
	s := newShare(t, "nocase.star", nil)
	var made bool // the create lists the directory, too
	s.below.listed = func() {
		if !made {
			made = true
			_, st := s.mk(ann, s.root, "file")
			s.want("create", st, vfs.OK)
		}
	}
	_, st := s.lookup(ann, s.root, "FILE")
	s.want("lookup beside create", st, vfs.NoEnt)
	_, st = s.lookup(ann, s.root, "FILE")
	s.want("lookup after create", st, vfs.OK)
}

// TestNoCaseBounded: a directory that is too large is not looked through, and nothing is concluded from that.
func TestNoCaseBounded(t *testing.T) {
	s := newShare(t, "nocase.star", map[string]any{"scan": 10})
	for i := range 30 {
		s.put(ann, s.root, fmt.Sprintf("file%d", i))
	}
	found := 0
	for i := range 30 {
		if _, st := s.lookup(ann, s.root, fmt.Sprintf("FILE%d", i)); st == vfs.OK {
			found++
		}
		_, st := s.lookup(ann, s.root, fmt.Sprintf("file%d", i))
		s.want("exact", st, vfs.OK)
	}
	if found > 10 || s.counter("too_large") == 0 {
		t.Errorf("%d found, %v times too large", found, s.counter("too_large"))
	}
}

// TestNoCaseTogether: callers that use a name in different cases, while another moves it, always find it.
func TestNoCaseTogether(t *testing.T) {
	s := newShare(t, "nocase.star", nil)
	d := s.mkdir(ann, s.root, "d")
	f, _ := s.mk(ann, d, "other")
	if _, st := s.mk(ann, d, "Name"); st != vfs.OK {
		t.Fatal(st)
	}
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := range 100 {
				n := []string{"NAME", "name", "nAME", "Name"}[(c+i)%4]
				if a, st := s.lookup(ann, d, n); st != vfs.OK || a.Node.ID == f.Node.ID {
					t.Errorf("lookup %s: %v", n, st)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 100 {
			if _, st := s.mk(ann, d, fmt.Sprintf("NAME%d", i)); st != vfs.OK {
				t.Errorf("create: %v", st)
			}
		}
	})
	wg.Wait()
}
