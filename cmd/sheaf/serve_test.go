package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/willscott/go-nfs-client/nfs"

	"sheaf/cmd/sheaf/share"
)

// TestLife is a server's whole life, as a person would try it: adopt, serve, work,
// ask, restart without adoption, stop.
func TestLife(t *testing.T) {
	for _, engine := range []string{share.EngineNative, share.EngineGoNFS} {
		t.Run(engine, func(t *testing.T) { life(t, engine) })
	}
}

func life(t *testing.T, engine string) {
	t.Helper()
	base := tempDir(t)
	args := append(volumeArgs(t, base, "a", "b", "c"), "--engine", engine)
	p := serve(t, nil, append(args, "--adopt")...)
	target := p.mount(uint32(os.Geteuid()))
	work(t, target)

	where := sheaf(t, "where", "--state", filepath.Join(base, "state"), "/dir/file", "--json", "--lookup")
	var found share.Where
	if err := json.Unmarshal([]byte(where.out), &found); err != nil || len(found.Places) != 1 || found.Lookup == nil {
		t.Fatalf("where: %+v, %v", where, err)
	}
	place := found.Places[0]
	data, err := os.ReadFile(filepath.Join(place.Dir, string(place.Path)))
	if err != nil || string(data) != "some data" || place.Dir != filepath.Join(base, place.Volume) {
		t.Errorf("at %+v lies %q, %v", place, data, err)
	}
	p.stop()

	p = serve(t, nil, args...)
	if got, err := read(p.mount(uint32(os.Geteuid())), "/dir/file"); err != nil || got != "some data" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	p.stop()
}

// work does a little of everything that both engines can.
func work(t *testing.T, target *nfs.Target) {
	t.Helper()
	steps := []struct {
		what string
		do   func() error
	}{
		{"mkdir", func() error { _, err := target.Mkdir("/dir", 0o755); return err }},
		{"mkdir", func() error { _, err := target.Mkdir("/gone", 0o755); return err }},
		{"write", func() error { return write(target, "/dir/new", "some data") }},
		{"rename", func() error { return target.Rename("/dir/new", "/dir/file") }},
		{"write", func() error { return write(target, "/gone/x", "x") }},
		{"remove", func() error { return target.Remove("/gone/x") }},
		{"rmdir", func() error { return target.RmDir("/gone") }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
	}
	if got, err := read(target, "/dir/file"); err != nil || got != "some data" {
		t.Fatalf("read: %q, %v", got, err)
	}
	if _, err := read(target, "/gone/x"); err == nil {
		t.Fatal("what was removed is there")
	}
}

// TestCommandsAskTheServer has each reading command, with a server and without.
func TestCommandsAskTheServer(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b")
	state := args[1]
	p := serve(t, nil, append(args, "--adopt")...)
	if err := write(p.mount(uint32(os.Geteuid())), "/x", "x"); err != nil {
		t.Fatal(err)
	}
	commands := map[string]struct {
		args []string
		want []string
		code int // without a server
	}{
		"status":         {[]string{"status"}, []string{"share ", "a ", "b ", "online"}, exitNotRunning},
		"volume list":    {[]string{"volume", "list"}, []string{"VOLUME", "a ", "b ", "online", filepath.Join(base, "b")}, exitOK},
		"where":          {[]string{"where", "/x"}, []string{"  /x\n"}, exitOK},
		"where a folder": {[]string{"where", "/"}, []string{"a ", "b "}, exitOK},
		"where nothing":  {[]string{"where", "/none"}, []string{`where "/none": no such file or directory`}, exitNotFound},
		"why nothing":    {[]string{"where", "/none", "--lookup"}, []string{"absent"}, exitOK},
		"where above":    {[]string{"where", "/../x"}, []string{`".." cannot stand in a path here`}, exitUsage},
		"where private":  {[]string{"where", "/.sheaf/volume.json"}, []string{`".sheaf" cannot stand in a path here`}, exitUsage},
	}
	try := func(running bool) {
		t.Helper()
		for name, c := range commands {
			got := sheaf(t, append(c.args, args...)...)
			code := c.code
			if running && code == exitNotRunning {
				code = exitOK
			}
			if got.code != code {
				t.Errorf("%s: exit code %d, want %d: %s", name, got.code, code, got.err)
			}
			for _, w := range c.want {
				if !strings.Contains(got.out+got.err, w) {
					t.Errorf("%s: %q in %q%q is missing", name, w, got.out, got.err)
				}
			}
			if running == strings.Contains(got.out, "not running") {
				if strings.HasPrefix(name, "status") {
					t.Errorf("%s: %s", name, got.out)
				}
			}
			if asJSON := sheaf(t, append(append(c.args, "--json"), args...)...); asJSON.code == exitOK && !json.Valid([]byte(asJSON.out)) {
				t.Errorf("%s --json: %s", name, asJSON.out)
			}
		}
	}
	try(true)
	if got := sheaf(t, "status", "--state", state); !strings.Contains(got.out, p.addr()) {
		t.Errorf("the status lacks the address: %s", got.out)
	}
	p.stop()
	try(false)
	for _, c := range [][]string{{"status"}, {"volume", "list"}, {"where", "/x"}} {
		if got := sheaf(t, append(c, "--state", state)...); got.code != exitNotRunning || !strings.Contains(got.err, "no server is running") {
			t.Errorf("%v without server and volumes: %+v", c, got)
		}
	}
}

// TestReload rewrites the file: a good one is taken, a bad one refused whole.
func TestReload(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a")
	file := filepath.Join(base, "sheaf.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	exports := func() string {
		t.Helper()
		var st share.Status
		got := sheaf(t, "status", "--json", "--state", args[1])
		if err := json.Unmarshal([]byte(got.out), &st); err != nil {
			t.Fatalf("%v: %+v", err, got)
		}
		return strings.Join(st.Exports, "; ")
	}
	put("exports: ['/ 127.0.0.1(rw,insecure)']\n")
	p := serve(t, nil, append(args, "--adopt", "--config", file)...)
	before := exports()

	put("exports: ['/ 127.0.0.1(rw,insecure)', '/ nonsense(']\ntrust: 5s\n")
	p.signal(syscall.SIGHUP)
	p.logged("configuration refused, the old one stays")
	put("exports: ['/ 10.0.0.1(rw)']\nvolumz: []\n")
	p.signal(syscall.SIGHUP)
	if line := p.logged("configuration refused"); !strings.Contains(line, "volumz") {
		t.Errorf("the log does not say what is wrong: %s", line)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	if line := p.logged("configuration refused"); !strings.Contains(line, "no such file") {
		t.Errorf("the log does not say what is wrong: %s", line)
	}
	if got := exports(); got != before {
		t.Errorf("a bad configuration changed the exports to %s", got)
	}

	put("exports: ['/ 127.0.0.2(ro)']\ntrust: 5s\nlog-level: debug\n")
	p.signal(syscall.SIGHUP)
	p.logged("configuration read again")
	if line := p.logged("only when the server is started again"); !strings.Contains(line, "trust") || strings.Contains(line, "exports") {
		t.Errorf("what needs a restart: %s", line)
	}
	if got := exports(); !strings.HasPrefix(got, "/ 127.0.0.2(ro") {
		t.Errorf("the exports are %s", got)
	}
	p.stop()
}

// TestStopUnderLoad stops the server while clients work: whatever was acknowledged
// is there afterwards, and the server ends well.
func TestStopUnderLoad(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b")
	p := serve(t, nil, append(args, "--adopt")...)
	_, root, err := p.mount(uint32(os.Geteuid())).Lookup("/")
	if err != nil {
		t.Fatal(err)
	}
	const clients = 8
	var made [clients][]string
	var ended [clients]error
	var busy, all sync.WaitGroup
	busy.Add(clients)
	for i := range clients {
		conn, err := net.Dial("tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() {
			working := sync.OnceFunc(busy.Done)
			defer working()
			for n := 0; ended[i] == nil; n++ {
				name := fmt.Sprintf("%d-%d", i, n)
				if ended[i] = create(conn, root, name); ended[i] == nil {
					made[i] = append(made[i], name)
				}
				if n == 5 {
					working()
				}
			}
		})
	}
	busy.Wait()
	p.stop()
	all.Wait()
	for i, names := range made {
		if len(names) < 6 {
			t.Errorf("client %d made %d files and then: %v", i, len(names), ended[i])
		}
		for _, name := range names {
			_, errA := os.Lstat(filepath.Join(base, "a", name))
			_, errB := os.Lstat(filepath.Join(base, "b", name))
			if (errA == nil) == (errB == nil) {
				t.Errorf("%s was acknowledged: %v, %v", name, errA, errB)
			}
		}
	}
}

// create makes a file by a call of our own: the library's client goes on asking a
// server that is gone.
func create(conn net.Conn, dir []byte, name string) error {
	cred := append(words(0), opaque([]byte("test"))...)
	cred = append(cred, words(uint32(os.Geteuid()), uint32(os.Getegid()), 0)...)
	call := append(words(1, 0, 2, 100003, 3, 8, 1), opaque(cred)...)
	call = append(call, words(0, 0)...)
	call = append(call, opaque(dir)...)
	call = append(call, opaque([]byte(name))...)
	call = append(call, words(1, 1, 0o644, 0, 0, 0, 0, 0)...) // GUARDED, a mode and nothing else
	if _, err := conn.Write(append(words(1<<31|uint32(len(call))), call...)); err != nil {
		return err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	reply := make([]byte, binary.BigEndian.Uint32(head)&^(1<<31))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	if accept, status := binary.BigEndian.Uint32(reply[20:]), binary.BigEndian.Uint32(reply[24:]); accept != 0 || status != 0 {
		return fmt.Errorf("accept_stat %d, status %d", accept, status)
	}
	return nil
}

// opaque is b with its length, padded.
func opaque(b []byte) []byte {
	return append(append(words(uint32(len(b))), b...), make([]byte, -len(b)&3)...)
}

// TestSecondSignalEndsAtOnce has a client that takes no replies, so that the first
// signal waits for it.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	base := tempDir(t)
	p := serve(t, nil, append(volumeArgs(t, base, "a"), "--adopt")...)
	if err := write(p.mount(uint32(os.Geteuid())), "/big", strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	conn := stall(t, p)
	defer conn.Close()
	p.signal(syscall.SIGTERM)
	p.logged("stopping")
	p.signal(syscall.SIGTERM)
	state := p.exit()
	if status, ok := state.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("the server ended with %v", state)
	}
	// And what it leaves is no obstacle.
	serve(t, nil, volumeArgs(t, base, "a")...).stop()
}

// stall is a connection with many replies under way that nobody takes.
func stall(t *testing.T, p *process) net.Conn {
	t.Helper()
	target := p.mount(uint32(os.Geteuid()))
	_, handle, err := target.Lookup("/big")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
	}
	// 64 MiB of replies are more than the system takes on both sides.
	var calls []byte
	for xid := range uint32(64) {
		call := append(words(xid, 0, 2, 100003, 3, 6, 0, 0, 0, 0), opaque(handle)...)
		call = append(call, words(0, 0, 1<<20)...)
		calls = append(append(calls, words(1<<31|uint32(len(call)))...), call...)
	}
	if _, err := conn.Write(calls); err != nil {
		t.Fatal(err)
	}
	// The first bytes say that replies are under way.
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func words(v ...uint32) []byte {
	var b []byte
	for _, w := range v {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// TestStopInTime ends a server that has such a client within its time, and says so.
func TestStopInTime(t *testing.T) {
	base := tempDir(t)
	p := serve(t, nil, append(volumeArgs(t, base, "a"), "--adopt", "--shutdown-timeout", "100ms")...)
	if err := write(p.mount(uint32(os.Geteuid())), "/big", strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	conn := stall(t, p)
	defer conn.Close()
	p.signal(syscall.SIGTERM)
	if state := p.exit(); state.ExitCode() != exitFailed {
		t.Errorf("the server ended with %v", state)
	}
	if !strings.Contains(p.text(), "did not finish in time") {
		t.Errorf("the log does not say so:\n%s", p.text())
	}
}

// TestSecondServerIsRefused has a process of its own on each side.
func TestSecondServerIsRefused(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a")
	p := serve(t, nil, append(args, "--adopt")...)
	other := append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)
	got := sheaf(t, other...)
	if got.code != exitFailed || !strings.Contains(got.err, "by process "+strconv.Itoa(p.cmd.Process.Pid)) {
		t.Errorf("the same state directory: %+v", got)
	}
	other[4] = filepath.Join(base, "state2")
	got = sheaf(t, other...)
	if got.code != exitFailed || !strings.Contains(got.err, `volume "a"`) || !strings.Contains(got.err, "process "+strconv.Itoa(p.cmd.Process.Pid)) {
		t.Errorf("the same volume: %+v", got)
	}
	p.stop()
}

// TestKilledServerLeavesNoObstacle kills one and starts the next.
func TestKilledServerLeavesNoObstacle(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a")
	p := serve(t, nil, append(args, "--adopt")...)
	if err := write(p.mount(uint32(os.Geteuid())), "/x", "kept"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGKILL)
	p.exit()
	if got := sheaf(t, "status", "--state", args[1]); got.code != exitNotRunning {
		t.Errorf("status beside the socket of a killed server: %+v", got)
	}
	p = serve(t, nil, args...)
	if got, err := read(p.mount(uint32(os.Geteuid())), "/x"); err != nil || got != "kept" {
		t.Errorf("%q, %v", got, err)
	}
	p.stop()
}

// TestOrdinaryUser runs the server as nobody, and asks it as root.
func TestOrdinaryUser(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b")
	uid := os.Geteuid()
	var prepare func(*exec.Cmd)
	if uid == 0 {
		uid = 65534
		prepare = func(cmd *exec.Cmd) { runAs(t, cmd, base, uid) }
	}
	p := serve(t, prepare, append(args, "--adopt")...)
	if line := p.logged("every caller is squashed"); !strings.Contains(line, "uid="+strconv.Itoa(uid)) {
		t.Errorf("it says %s", line)
	}
	for _, caller := range []uint32{0, 1234, uint32(uid)} {
		name := fmt.Sprintf("/by-%d", caller)
		if err := write(p.mount(caller), name, "x"); err != nil {
			t.Fatalf("as %d: %v", caller, err)
		}
		a, err := p.mount(caller).Getattr(name)
		if err != nil || a.UID != uint32(uid) {
			t.Errorf("a file made by %d belongs to %d, %v", caller, a.UID, err)
		}
	}
	p.stop()
}

// runAs makes cmd run as uid, with a copy of its program where that can read it.
func runAs(t *testing.T, cmd *exec.Cmd, base string, uid int) {
	t.Helper()
	program, err := os.ReadFile(cmd.Path)
	if err == nil {
		cmd.Path = filepath.Join(base, "sheaf")
		err = os.WriteFile(cmd.Path, program, 0o755)
	}
	for _, dir := range []string{"", "a", "b"} {
		if err == nil {
			err = os.Chown(filepath.Join(base, dir), uid, uid)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir = base
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
}

// TestServiceManagerIsTold listens where a service manager would (sd_notify(3)).
func TestServiceManagerIsTold(t *testing.T) {
	base := tempDir(t)
	socket := filepath.Join(base, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	told := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		n, err := l.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Fatalf("told %q, %v, want %s", b[:n], err, want)
		}
	}
	p := serve(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket) }, append(volumeArgs(t, base, "a"), "--adopt")...)
	told("READY=1")
	p.signal(syscall.SIGHUP)
	told("RELOADING=1\nMONOTONIC_USEC=")
	told("READY=1")
	p.stop()
	told("STOPPING=1")
}

// TestRefusedStart: what is wrong is said before anything is written.
func TestRefusedStart(t *testing.T) {
	base := tempDir(t)
	args := append([]string{"serve"}, volumeArgs(t, base, "a", "b")...)
	for _, m := range []struct {
		name string
		args []string
		want string
	}{
		{"not adopted", nil, `sheaf: volumes: volume "a": `},
		{"bad export", []string{"--adopt", "--export", "/ (rw"}, "sheaf: exports: "},
		{"same directory", []string{"--adopt", "--volume", "c=" + filepath.Join(base, "a")}, "are the same directory"},
		{"nothing to serve", []string{"--adopt", "--volume", "c=" + filepath.Join(base, "none")}, "does not exist"},
		{"state in a volume", []string{"--adopt", "--state", filepath.Join(base, "a", "state")}, "lies in volume"},
		{"stock engine, read-only", []string{"--adopt", "--engine", "go-nfs", "--export", "/ *(ro)"}, "the stock engine cannot keep a client read-only"},
	} {
		t.Run(m.name, func(t *testing.T) {
			got := sheaf(t, append(args, m.args...)...)
			if got.code != exitUsage || !strings.Contains(got.err, m.want) || got.out != "" {
				t.Errorf("%+v, want %q", got, m.want)
			}
		})
	}
}
