//go:build linux

// Package guest boots throw-away Debian guests, so that a real Linux kernel's NFS client meets our server also where
// the host's kernel has none.
//
// A guest is a user-mode-linux process on a copy-on-write layer over one cached disk. It reaches every TCP port of the
// host's 127.0.0.1 at HostAddr, through a tap of its own. The host needs root, /dev/net/tun, and a few packages; nothing
// is installed into it, and what a killed test left behind is removed at the next start.
package guest

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/tests/need"
)

const (
	// HostAddr is where a guest finds the TCP ports of the host's 127.0.0.1.
	HostAddr = hostIP
	// TimedOut is the status of a script that was ended by its time limit.
	TimedOut = 124

	defaultLimit = 2 * time.Minute
	defaultMem   = 1024 // MB
	bootLimit    = 60 * time.Second
	agentPort    = "9"
)

// Options say how a guest is started.
type Options struct {
	Name  string   // its host name; default "guest"
	Share []string // folders of the host, seen in the guest at the same path
	Mem   int      // MB; default 1024
}

// Guest is a running guest.
type Guest struct {
	name    string
	dir     string   // its files on the host
	lock    *os.File // held while this process lives: tells others that dir is in use
	link    *link
	cmd     *exec.Cmd
	exited  chan struct{}
	hold    net.Conn // the guest powers off when this closes
	stopped sync.Once
}

// Start boots a guest that is stopped when the test ends. Where the host cannot run guests it skips the test with the
// reason, or fails it where guests are required (package need).
func Start(tb testing.TB, o Options) *Guest {
	tb.Helper()
	g, err := Boot(o)
	Require(tb, err)
	tb.Cleanup(g.Stop)
	return g
}

// Require ends a test for which there is no guest.
func Require(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		need.Lack(tb, need.Guests, "%v", err)
	}
}

// Boot starts a guest, for callers that share it among tests; they must Stop it.
func Boot(o Options) (*Guest, error) {
	if o.Name == "" {
		o.Name = "guest"
	}
	if o.Mem == 0 {
		o.Mem = defaultMem
	}
	image, err := prepare()
	if err != nil {
		return nil, err
	}
	g := &Guest{name: o.Name, exited: make(chan struct{})}
	if err := g.claim(); err != nil {
		return nil, fmt.Errorf("guest %s: %w", o.Name, err)
	}
	if err := g.boot(image, o); err != nil {
		err = fmt.Errorf("guest %s: %w\n%s", o.Name, err, tail(filepath.Join(g.dir, "console"), 15))
		g.Stop()
		return nil, err
	}
	return g, nil
}

// claim makes the guest's folder and its network, after removing what dead owners left.
func (g *Guest) claim() error {
	unlock, err := lockNetwork()
	if err != nil {
		return err
	}
	defer unlock()
	runs := filepath.Join(cacheDir(), "run")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return err
	}
	removeLeftovers(runs)
	g.link, err = newLink()
	if err != nil {
		return err
	}
	g.dir = filepath.Join(runs, g.link.tap)
	err = os.MkdirAll(filepath.Join(g.dir, "host"), 0o755)
	if err == nil {
		g.lock, err = tryLock(filepath.Join(g.dir, "lock"))
	}
	if err != nil {
		g.link.remove()
	}
	return err
}

// removeLeftovers ends the guests whose owner is dead: nobody holds the lock in their folder.
func removeLeftovers(runs string) {
	dirs, _ := filepath.Glob(filepath.Join(runs, tapPrefix+"*"))
	for _, dir := range dirs {
		lock, err := tryLock(filepath.Join(dir, "lock"))
		if err != nil {
			continue
		}
		killThose(dir)
		(&link{tap: filepath.Base(dir)}).remove()
		os.RemoveAll(dir)
		lock.Close()
	}
}

// killThose ends the processes started with dir on their command line, which only a guest's own are.
func killThose(dir string) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		var pid int
		line, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(line, []byte("uml_dir="+dir+"/")) {
			continue
		}
		if _, err := fmt.Sscanf(name, "/proc/%d/", &pid); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

//go:embed init.sh
var initScript []byte

func (g *Guest) boot(image string, o Options) error {
	host := filepath.Join(g.dir, "host")
	if err := BuildStatic(filepath.Join(host, "agent"), "sheaf/tests/e2e/guest/agent"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(host, "init.sh"), initScript, 0o755); err != nil {
		return err
	}
	console, err := os.Create(filepath.Join(g.dir, "console"))
	if err != nil {
		return err
	}
	defer console.Close()
	args := []string{
		"umid=" + o.Name, "uml_dir=" + g.dir + "/uml", fmt.Sprintf("mem=%dM", o.Mem),
		fmt.Sprintf("ubd0=%s/disk.cow,%s", g.dir, filepath.Join(image, "root.img")),
		"root=/dev/ubda", "rw", "noatime", "init=/boot-from-host", "quiet",
		"vec0:transport=hybrid,ifname=" + g.link.tap + ",mac=" + g.link.mac + ",depth=128,gro=1",
		"con=null", "con0=null,fd:1",
		"guest.name=" + o.Name, "guest.ip=" + g.link.ip, "guest.dir=" + host,
	}
	for _, dir := range o.Share {
		args = append(args, "guest.share="+dir)
	}
	g.cmd = exec.Command(filepath.Join(image, "linux.uml"), args...)
	g.cmd.Stdout, g.cmd.Stderr = console, console
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	g.cmd.Env = append(os.Environ(), "TMPDIR="+memoryDir(g.dir, o.Mem))
	if err := g.cmd.Start(); err != nil {
		return err
	}
	go func() { _ = g.cmd.Wait(); close(g.exited) }()
	return g.awaitAgent()
}

// memoryDir is where the guest's memory lives as a file: in memory if it fits, as /dev/shm is tiny in some containers
// and user-mode-linux dies of SIGBUS where it is full.
func memoryDir(dir string, mem int) string {
	var fs unix.Statfs_t
	if unix.Statfs("/dev/shm", &fs) == nil && fs.Type == unix.TMPFS_MAGIC &&
		fs.Bavail*uint64(fs.Bsize) >= uint64(mem)<<20 {
		return "/dev/shm"
	}
	return dir
}

func (g *Guest) awaitAgent() error {
	deadline := time.Now().Add(bootLimit)
	for time.Now().Before(deadline) {
		select {
		case <-g.exited:
			return errors.New("ended at boot")
		default:
		}
		conn, err := g.dial(request{Hold: true})
		if err == nil {
			g.hold = conn
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("did not come up in %v", bootLimit)
}

// request is the agent's; it is said twice because the agent is a program of its own.
type request struct {
	Hold   bool          `json:"hold,omitempty"`
	Script string        `json:"script,omitempty"`
	Limit  time.Duration `json:"limit,omitempty"`
}

func (g *Guest) dial(req request) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(g.link.ip, agentPort), 5*time.Second)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Run runs a bash script in the guest for two minutes at most and returns its output, stdout and stderr together, and
// its status.
func (g *Guest) Run(tb testing.TB, script string) (string, int) {
	tb.Helper()
	return g.RunFor(tb, defaultLimit, script)
}

// RunFor is Run with a time limit of its own; the status is TimedOut when it is exceeded.
func (g *Guest) RunFor(tb testing.TB, limit time.Duration, script string) (string, int) {
	tb.Helper()
	out, status, err := g.do(limit, script)
	if err != nil {
		tb.Fatalf("guest %s: %v\noutput so far:\n%s\nconsole:\n%s",
			g.name, err, out, tail(filepath.Join(g.dir, "console"), 15))
	}
	return out, status
}

// strict names the command that failed, as otherwise one has to guess.
const strict = "set -Eeuo pipefail; trap 'echo \"failed with $?, line $LINENO: $BASH_COMMAND\"' ERR\n"

// Must is RunFor for a script that has to end well; it fails the test otherwise.
func (g *Guest) Must(tb testing.TB, limit time.Duration, script string) string {
	tb.Helper()
	out, err := g.Check(limit, script)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// Check is Must for programs that are no tests.
func (g *Guest) Check(limit time.Duration, script string) (string, error) {
	out, status, err := g.do(limit, strict+script)
	switch {
	case err != nil:
		return out, fmt.Errorf("guest %s: %w\noutput so far:\n%s\nconsole:\n%s", g.name, err, out, tail(filepath.Join(g.dir, "console"), 15))
	case status != 0:
		return out, fmt.Errorf("guest %s: status %d of\n%s\noutput:\n%s", g.name, status, script, out)
	}
	return out, nil
}

func (g *Guest) do(limit time.Duration, script string) (string, int, error) {
	conn, err := g.dial(request{Script: script, Limit: limit})
	if err != nil {
		return "", 0, err
	}
	defer conn.Close()
	done := make(chan struct{})
	defer close(done)
	go func() { // a guest that is gone says nothing more
		select {
		case <-g.exited:
			conn.Close()
		case <-done:
		}
	}()
	// The agent keeps the limit; this one is for a guest that is gone or stuck.
	_ = conn.SetDeadline(time.Now().Add(limit + 15*time.Second))
	in := bufio.NewReader(conn)
	var out strings.Builder
	for {
		var n uint32
		if err := binary.Read(in, binary.BigEndian, &n); err != nil {
			return out.String(), 0, err
		}
		if n == 0 {
			var status uint32
			err := binary.Read(in, binary.BigEndian, &status)
			return out.String(), int(status), err
		}
		if _, err := io.CopyN(&out, in, int64(n)); err != nil {
			return out.String(), 0, err
		}
	}
}

// Stop ends the guest and removes everything of it from the host.
func (g *Guest) Stop() {
	g.stopped.Do(func() {
		if g.hold != nil {
			g.hold.Close()
			select {
			case <-g.exited:
			case <-time.After(10 * time.Second):
			}
		}
		if g.cmd != nil && g.cmd.Process != nil {
			killThose(g.dir) // user-mode-linux is several processes, and a stuck one's children outlive it
			<-g.exited
		}
		g.link.remove()
		os.RemoveAll(g.dir)
		g.lock.Close()
	})
}

// tail returns the last lines of a file, for messages.
func tail(name string, lines int) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
