package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/union"
	"sheaf/vfs/volume/local"
)

// wait is how long a test waits for what must happen.
const wait = 30 * time.Second

// tempDir is t.TempDir with a path that is short enough for a socket on every
// system.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") //nolint:usetesting // t.TempDir has the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shareConfig is a configuration with volumes called as given, each in a directory
// of its own beneath base.
func shareConfig(t *testing.T, base string, volumes ...string) Config {
	t.Helper()
	c := Defaults()
	c.State, c.Listen, c.Adopt = filepath.Join(base, "state"), "127.0.0.1:0", true
	for _, name := range volumes {
		dir := filepath.Join(base, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		c.Volumes = append(c.Volumes, Volume{Name: name, Dir: dir})
	}
	return c
}

// testLogger is the logger of tests: what it says is seen when a test fails.
func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// start opens and serves a share until the end of the test.
func start(t *testing.T, c Config) *Share {
	t.Helper()
	s, err := Open(t.Context(), c, Options{Logger: testLogger(t), Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// wantError checks that err is there and says all of want.
func wantError(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error is %q, want %q in it", err, w)
		}
	}
}

func TestDirectoriesThatCannotBe(t *testing.T) {
	base := tempDir(t)
	mk := func(p string) string {
		p = filepath.Join(base, p)
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b, inner, state := mk("a"), mk("b"), mk("a/inner/deep"), mk("state")
	link, file := filepath.Join(base, "link"), filepath.Join(base, "file")
	if err := errors.Join(os.Symlink(a, link), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		name    string
		volumes []string
		state   string
		want    []string
	}{
		{"missing", []string{filepath.Join(base, "none")}, state, []string{`volume "v0"`, "does not exist", "mount the disk"}},
		{"a file", []string{file}, state, []string{`volume "v0"`, "is not a directory"}},
		{"twice", []string{a, a}, state, []string{`volume "v0" and volume "v1" are the same directory`}},
		{"twice by a link", []string{a, link}, state, []string{"are the same directory"}},
		{"one in another", []string{a, inner}, state, []string{`volume "v1"`, `lies inside volume "v0"`}},
		{"another in one", []string{inner, a}, state, []string{`volume "v0"`, `lies inside volume "v1"`}},
		{"in another by a link", []string{filepath.Join(link, "inner"), a}, state, []string{"lies inside"}},
		{"state in a volume", []string{a}, filepath.Join(a, "state"), []string{"state: the state directory", `lies in volume "v0"`, "put it elsewhere"}},
		{"state in a volume by a link", []string{a}, filepath.Join(link, "x", "y"), []string{`lies in volume "v0"`}},
		{"state is a volume", []string{state}, state, []string{`lies in volume "v0"`}},
		{"volume in state", []string{inner, b}, filepath.Join(base, "a"), []string{`volume "v0"`, "lies in the state directory"}},
		{"state is a file", []string{a}, filepath.Join(file, "state"), []string{"the state directory"}},
		{"state of a long path", []string{a}, filepath.Join(base, strings.Repeat("s", 90)), []string{"state:", "choose a shorter one"}},
	} {
		t.Run(m.name, func(t *testing.T) {
			c := Defaults()
			c.State, c.Adopt, c.Listen = m.state, true, "127.0.0.1:0"
			for i, dir := range m.volumes {
				c.Volumes = append(c.Volumes, Volume{Name: "v" + string(rune('0'+i)), Dir: dir})
			}
			_, err := Open(t.Context(), c, Options{Logger: testLogger(t)})
			wantError(t, err, m.want...)
			if !IsConfig(err) {
				t.Error("it is not told apart from a failure")
			}
			for _, dir := range m.volumes {
				if _, err := os.Lstat(filepath.Join(dir, ".sheaf")); err == nil {
					t.Errorf("%s was written to", dir)
				}
			}
		})
	}
}

func TestSecondServer(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a")
	start(t, c)

	_, err := Open(t.Context(), c, Options{Logger: testLogger(t)})
	if !errors.Is(err, ErrInUse) {
		t.Errorf("on the same state directory: %v", err)
	}
	wantError(t, err, "by process", "--state")

	c.State = filepath.Join(base, "other")
	_, err = Open(t.Context(), c, Options{Logger: testLogger(t)})
	if !errors.Is(err, local.ErrLocked) {
		t.Errorf("on the same volume: %v", err)
	}
	wantError(t, err, `volume "a"`)
}

func TestPortInUse(t *testing.T) {
	first := start(t, shareConfig(t, tempDir(t), "a"))
	base := tempDir(t)
	c := shareConfig(t, base, "a")
	c.Listen = first.Addr().String()
	_, err := Open(t.Context(), c, Options{Logger: testLogger(t)})
	wantError(t, err, "address already in use", "--listen")
	if entries, err := os.ReadDir(c.Volumes[0].Dir); err != nil || len(entries) > 0 {
		t.Errorf("a server that cannot listen left %v, %v", entries, err)
	}

	// What was taken was given back.
	c.Listen = "127.0.0.1:0"
	start(t, c)
}

func TestSocketIsPrivateAndReplaced(t *testing.T) {
	base := tempDir(t)
	c := shareConfig(t, base, "a")
	socket := filepath.Join(c.State, ControlSocket)
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		t.Fatal(err)
	}
	// What a killed server leaves: nobody listens.
	if l, err := listenPrivate(socket); err != nil {
		t.Fatal(err)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), c.State); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody listens, and Dial says %v", err)
	}
	s := start(t, c)
	info, err := os.Lstat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
	client, err := Dial(t.Context(), c.State)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	st, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !st.Running || st.PID != os.Getpid() || st.Mount != s.MountCommand() || st.Share != s.id.share || len(st.Volumes) != 1 || st.Version != APIVersion {
		t.Errorf("status: %+v", st)
	}
	flushed := st.Volumes[0].Flushes
	if err := put(t, s, "x"); err != nil {
		t.Fatal(err)
	}
	if st, err = client.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := st.Volumes[0].Flushes; f.Asked <= flushed.Asked || f.Made <= flushed.Made || f.Made > f.Asked {
		t.Errorf("after a directory was made flushes are %+v, were %+v", f, flushed)
	}
	entries, err := os.ReadDir(c.State)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ControlSocket && e.Name() != lockFile && e.Name() != indexDir {
			t.Errorf("%s was left in the state directory", e.Name())
		}
	}
}

func TestSocketGoesWithTheServer(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a")
	s, err := Open(t.Context(), c, Options{Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(c.State, ControlSocket)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := Dial(t.Context(), c.State); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Dial says %v", err)
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a")
	s := start(t, c)
	before := s.exportLines()

	bad := c
	bad.Exports = []string{"/ 10.0.0.1(rw)", "/pub 10.0.0.2(frobnicate)"}
	err := s.Reload(t.Context(), bad)
	wantError(t, err, "exports:", "frobnicate")
	if got := s.exportLines(); strings.Join(got, "\n") != strings.Join(before, "\n") {
		t.Errorf("a bad configuration changed the exports to %q", got)
	}

	good := c
	good.Exports, good.Trust = []string{"/ 10.0.0.1(rw)"}, time.Minute
	if err := s.Reload(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if got := s.exportLines(); len(got) != 1 || !strings.HasPrefix(got[0], "/ 10.0.0.1(rw,") {
		t.Errorf("the exports are %q", got)
	}
	changed, restart := c.Differences(&good)
	if strings.Join(changed, " ") != "exports trust" || strings.Join(restart, " ") != "trust" {
		t.Errorf("changed %v, of that with a restart %v", changed, restart)
	}
}

// TestReloadTranslators exchanges the layers of a share that is served: all or nothing.
func TestReloadTranslators(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a")
	s := start(t, c)
	made := 0
	try := func(what string, want vfs.Status) {
		t.Helper()
		root, err := s.FS().Root(t.Context(), vfs.Superuser)
		if err != nil {
			t.Fatal(err)
		}
		made++
		_, _, err = s.FS().Make(t.Context(), vfs.Superuser, root.Node, vfs.MustName(fmt.Sprint(made)), &vfs.How{Type: vfs.Directory})
		if vfs.StatusOf(err) != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	try("without layers", vfs.OK)
	layered := c
	layered.Translators = []translator.Spec{{Kind: "readonly"}}
	if err := s.Reload(t.Context(), layered); err != nil {
		t.Fatal(err)
	}
	try("read-only", vfs.ROFS)
	st, err := s.Status(t.Context())
	if err != nil || len(st.Translators) != 1 || !reflect.DeepEqual(st.Translators[0], TranslatorStatus{Kind: "readonly", Name: "readonly"}) {
		t.Errorf("status names the layers %v, %v", st.Translators, err)
	}

	bad := c
	bad.Translators = []translator.Spec{{Kind: "readonly"}, {Kind: "readonly", Options: map[string]any{"x": 1}}}
	err = s.Reload(t.Context(), bad)
	wantError(t, err, "translators: entry 2 (readonly): x: there is no such option", "translators: entry 2 (readonly): another layer has that name")
	if !IsConfig(err) {
		t.Errorf("%v is no mistake of the configuration", err)
	}
	bad.Translators, bad.Exports = nil, []string{"/ 10.0.0.1(frobnicate)"}
	if err := s.Reload(t.Context(), bad); err == nil {
		t.Error("bad exports are taken")
	}
	try("after bad configurations", vfs.ROFS)
	if changed, restart := c.Differences(&layered); strings.Join(changed, " ") != "translators" || len(restart) > 0 {
		t.Errorf("changed %v, of that with a restart %v", changed, restart)
	}
	if err := s.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	try("without layers again", vfs.OK)
}

func TestDefaultExportIsThisHost(t *testing.T) {
	for listen, want := range map[string][]string{
		"127.0.0.1:2049":   {"/ 127.0.0.0/8" + defaultExport + " ::1" + defaultExport},
		"192.0.2.7:2049":   {" 192.0.2.7" + defaultExport},
		"[2001:db8::1]:20": {" 2001:db8::1" + defaultExport},
		":2049":            {"/ 127.0.0.0/8"},
		"localhost:2049":   {"/ 127.0.0.0/8" + defaultExport + " ::1" + defaultExport},
	} {
		got := thisHost(listen)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q, want %q in it", listen, got, w)
			}
		}
		if strings.Contains(got, "*") || strings.Contains(got, "/0") {
			t.Errorf("%s: %q lets others in", listen, got)
		}
	}
}

func TestMountCommand(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a")
	c.Exports = []string{`/with\040space 127.0.0.1(rw)`}
	s := start(t, c)
	_, port, _ := strings.Cut(s.Addr().String(), ":")
	want := "mount -t nfs -o vers=3,tcp,port=" + port + ",mountport=" + port + ",mountproto=tcp,nolock '127.0.0.1:/with space' /mnt"
	if got := s.MountCommand(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestTooManyVolumes(t *testing.T) {
	base := tempDir(t)
	var names []string
	for i := range union.MaxVolumes + 1 {
		names = append(names, fmt.Sprintf("v%d", i))
	}
	c := shareConfig(t, base, names...)
	_, err := Open(t.Context(), c, Options{Logger: testLogger(t)})
	wantError(t, err, "volumes: 65 are given", "at most 64")
	if !IsConfig(err) {
		t.Error("it is not told apart from a failure")
	}
	for _, v := range c.Volumes {
		if entries, err := os.ReadDir(v.Dir); err != nil || len(entries) > 0 {
			t.Fatalf("%s was written to: %v, %v", v.Name, entries, err)
		}
	}
	c.Volumes = c.Volumes[:union.MaxVolumes]
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsAnotherUsers(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("nothing is another's for root")
	}
	base := tempDir(t)
	closed := filepath.Join(base, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	c := shareConfig(t, base, "a")
	c.State = filepath.Join(closed, "state")
	_, err := Open(t.Context(), c, Options{Logger: testLogger(t)})
	wantError(t, err, "state directory", "permission denied", "--state")

	if err := os.Chmod(closed, 0o000); err != nil {
		t.Fatal(err)
	}
	_, err = Dial(t.Context(), closed)
	wantError(t, err, "permission denied", "ask as the user who runs it")

	c.State, c.Listen = filepath.Join(base, "state"), "127.0.0.1:111"
	if l, err := net.Listen("tcp", c.Listen); !errors.Is(err, fs.ErrPermission) {
		if err == nil {
			l.Close()
		}
		return // this host lets everybody have it, or somebody has it
	}
	_, err = Open(t.Context(), c, Options{Logger: testLogger(t)})
	wantError(t, err, "permission denied", "ports below 1024", "--listen")
}
