//go:build linux

// Package server runs the real sheaf binary for tests: starts it over volumes, kills it, starts it again.
package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	readyLimit = 30 * time.Second
	stopLimit  = 30 * time.Second
	logLines   = 60 // shown when a test fails
)

// Volume is one --volume of the command line.
type Volume struct{ Name, Dir string }

// Options say what is served and how.
type Options struct {
	Volumes []Volume
	State   string   // default: a temporary folder
	Export  string   // default: everything, to everybody, as themselves
	Args    []string // further arguments of sheaf serve
}

// Server is a sheaf serve under test. Its methods are for one goroutine.
type Server struct {
	Port int
	// Mount is the line the server printed when it was ready.
	Mount string

	tb     testing.TB
	state  string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
	log    *logBuffer
}

// Start runs sheaf serve and waits until it is ready. The server ends with the test; if that failed, the end of the
// server's log is shown.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if o.State == "" {
		o.State = tb.TempDir()
	}
	if o.Export == "" {
		o.Export = "/ *(rw,no_root_squash,insecure)"
	}
	s := &Server{tb: tb, state: o.State, Port: freePort(tb), log: &logBuffer{}}
	s.args = []string{
		"serve", "--adopt", "--state", o.State, "--export", o.Export,
		"--listen", fmt.Sprintf("127.0.0.1:%d", s.Port),
	}
	for _, v := range o.Volumes {
		s.args = append(s.args, "--volume", v.Name+"="+v.Dir)
	}
	s.args = append(s.args, o.Args...)
	tb.Cleanup(func() {
		_ = s.end(syscall.SIGKILL)
		if tb.Failed() {
			tb.Logf("the server's last words:\n%s", s.log.tail(logLines))
		}
	})
	s.Restart()
	return s
}

// Restart starts the server again, on the same port and state, after Kill or Stop.
func (s *Server) Restart() {
	s.tb.Helper()
	binary, err := buildOnce()
	if err != nil {
		s.tb.Fatal(err)
	}
	s.cmd = exec.Command(binary, s.args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that is killed leaves no server
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	ready := make(chan string, 1)
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		s.watch(stdout, ready)
		_ = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	select {
	case s.Mount = <-ready:
	case <-s.exited:
		s.tb.Fatalf("sheaf %s: ended: %v", strings.Join(s.args, " "), s.cmd.ProcessState)
	case <-time.After(readyLimit):
		s.tb.Fatalf("sheaf %s: not ready in %v", strings.Join(s.args, " "), readyLimit)
	}
}

// watch keeps what the server prints, and passes on the line that says it is ready.
func (s *Server) watch(stdout io.Reader, ready chan<- string) {
	in := bufio.NewReader(stdout)
	for {
		line, err := in.ReadString('\n')
		_, _ = io.WriteString(s.log, line)
		if strings.Contains(line, "ready") {
			select {
			case ready <- strings.TrimSpace(line):
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// Kill ends the server as a crash does.
func (s *Server) Kill() {
	s.tb.Helper()
	if err := s.end(syscall.SIGKILL); err != nil {
		s.tb.Error(err)
	}
}

// Stop ends the server in an orderly way, and expects it to say so by its status.
func (s *Server) Stop() {
	s.tb.Helper()
	if err := s.end(syscall.SIGTERM); err != nil {
		s.tb.Error(err)
	}
}

func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
	case <-time.After(stopLimit):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to the log
		time.Sleep(time.Second)
		_ = s.cmd.Process.Kill()
		<-s.exited
		return fmt.Errorf("the server did not end within %v of %v", stopLimit, sig)
	}
	if sig == syscall.SIGTERM && !s.cmd.ProcessState.Success() {
		return fmt.Errorf("the server ended with %v after SIGTERM", s.cmd.ProcessState)
	}
	return nil
}

// Ask runs another command of sheaf on the same share, and gives what it printed.
func (s *Server) Ask(command string, args ...string) (string, error) {
	binary, err := buildOnce()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(binary, append([]string{command, "--state", s.state}, args...)...).CombinedOutput()
	return string(out), err
}

// Pid is the server's process id, for tests that look at its memory or descriptors.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Log is what the server printed so far, over all its starts.
func (s *Server) Log() string { return s.log.tail(1 << 30) }

var binary struct {
	once sync.Once
	dir  string
	err  error
}

// buildOnce builds the command for this test binary; RemoveBinary removes it. SHEAF_E2E_BINARY names one to test instead,
// as that of a package.
func buildOnce() (string, error) {
	if name := os.Getenv("SHEAF_E2E_BINARY"); name != "" {
		return name, nil
	}
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "sheaf-e2e-bin"); binary.err != nil {
			return
		}
		name := filepath.Join(binary.dir, "sheaf")
		out, err := exec.Command("go", "build", "-buildvcs=false", "-o", name, "sheaf/cmd/sheaf").CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("go build ./cmd/sheaf: %w\n%s", err, out)
		}
	})
	return filepath.Join(binary.dir, "sheaf"), binary.err
}

// RemoveBinary is for the end of a TestMain.
func RemoveBinary() {
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
}

// The ports of servers: below those that the kernel gives by itself (ip_local_port_range(7), 32768 and above), as another
// program's connection could have one of these while its server is dead.
const (
	lowestPort = 20000
	ports      = 12000
)

// freePort draws one that nobody has. Somebody else may take it before the server does; the server then says so and the
// test fails, which is rare enough.
func freePort(tb testing.TB) int {
	tb.Helper()
	var err error
	for range 100 {
		port := lowestPort + rand.IntN(ports)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	tb.Fatal("no free port:", err)
	return 0
}

// logBuffer keeps the end of what is written to it.
type logBuffer struct {
	mu   sync.Mutex
	data []byte
}

const logBytes = 1 << 20

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	if len(b.data) > 2*logBytes {
		b.data = append([]byte(nil), b.data[len(b.data)-logBytes:]...)
	}
	return len(p), nil
}

func (b *logBuffer) tail(lines int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := strings.Split(strings.TrimSpace(string(b.data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
