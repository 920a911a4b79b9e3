package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/willscott/go-nfs-client/nfs"
	"github.com/willscott/go-nfs-client/nfs/rpc"
)

// runAsMain makes this test binary be sheaf.
const runAsMain = "TEST_RUN_AS_SHEAF"

func TestMain(m *testing.M) {
	if os.Getenv(runAsMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// wait is how long a test waits for what must happen.
const wait = 60 * time.Second

// process is a running sheaf.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ready string // the line that says so
	lines chan string

	mu  sync.Mutex
	log bytes.Buffer
}

// tempDir is a directory with a path short enough for a socket, that others may
// enter.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") //nolint:usetesting // t.TempDir has the test's name in it, and is private
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// volumeArgs are the flags for volumes of these names beneath base.
func volumeArgs(t *testing.T, base string, names ...string) []string {
	t.Helper()
	args := []string{"--state", filepath.Join(base, "state")}
	for _, n := range names {
		dir := filepath.Join(base, n)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o777); err != nil { // root is squashed, and is to write
			t.Fatal(err)
		}
		args = append(args, "--volume", n+"="+dir)
	}
	return args
}

// serve starts a server and waits until it is ready.
func serve(t *testing.T, prepare func(*exec.Cmd), args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, lines: make(chan string, 1000)}
	p.cmd = exec.Command(exe, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Env = append(os.Environ(), runAsMain+"=1")
	if prepare != nil {
		prepare(p.cmd)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	logs, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	go p.follow(logs)
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // its end is seen by its emptiness
		line <- strings.TrimSpace(text)
	}()
	select {
	case p.ready = <-line:
	case <-time.After(wait):
	}
	if !strings.Contains(p.ready, "ready") {
		t.Fatalf("the server says %q instead of being ready; its log:\n%s", p.ready, p.text())
	}
	return p
}

// follow keeps the log, and hands its lines to whoever waits for one.
func (p *process) follow(r io.Reader) {
	defer close(p.lines)
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		p.mu.Lock()
		p.log.WriteString(scan.Text() + "\n")
		p.mu.Unlock()
		p.lines <- scan.Text()
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// logged waits for a line of the log that holds text.
func (p *process) logged(text string) string {
	p.t.Helper()
	late := time.After(wait)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the log ends without %q:\n%s", text, p.text())
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			p.t.Fatalf("the log lacks %q:\n%s", text, p.text())
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the process and gives its state.
func (p *process) exit() *os.ProcessState {
	p.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range p.lines { // the pipe must be read out before Wait
		}
		_ = p.cmd.Wait() // the state says it all
	}()
	select {
	case <-done:
		return p.cmd.ProcessState
	case <-time.After(wait):
		p.t.Fatalf("the server does not end; its log:\n%s", p.text())
		return nil
	}
}

// stop ends the server as a service manager does.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if state := p.exit(); !state.Success() {
		p.t.Errorf("the server ended with %v; its log:\n%s", state, p.text())
	}
}

func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill() // it may have ended just now
		_ = p.cmd.Wait()
	}
}

var mountLine = regexp.MustCompile(`^sheaf: ready, mount with: mount -t nfs -o vers=3,tcp,port=(\d+),mountport=(\d+),mountproto=tcp,nolock 127\.0\.0\.1:/ /mnt$`)

// addr is where the ready line says that the server is.
func (p *process) addr() string {
	p.t.Helper()
	m := mountLine.FindStringSubmatch(p.ready)
	if m == nil || m[1] != m[2] {
		p.t.Fatalf("the line is %q", p.ready)
	}
	return net.JoinHostPort("127.0.0.1", m[1])
}

// mount is a client of the server.
func (p *process) mount(uid uint32) *nfs.Target {
	p.t.Helper()
	client, err := rpc.DialTCP("tcp", p.addr(), false)
	for try := 0; errors.Is(err, syscall.EADDRINUSE) && try < 10; try++ {
		client, err = rpc.DialTCP("tcp", p.addr(), false) // it draws its own port
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(client.Close)
	m := nfs.Mount{Client: client}
	target, err := m.Mount("/", rpc.NewAuthUnix("test", uid, uid).Auth())
	if err != nil {
		p.t.Fatal(err)
	}
	return target
}

func write(target *nfs.Target, name, data string) error {
	f, err := target.OpenFile(name, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write([]byte(data)); err != nil {
		return err
	}
	return f.Close()
}

func read(target *nfs.Target, name string) (string, error) {
	f, err := target.Open(name)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(f)
	return string(b), err
}
