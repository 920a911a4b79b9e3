package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sheaf/tests/bench/peers"
)

// How long a child may take to be ready, and to end when it is told to.
const (
	readyLimit = 30 * time.Second
	endLimit   = 30 * time.Second
)

// peer is a server under load: a child process of ours.
type peer struct {
	name  string
	nice  string // what nice(1) adds to its niceness; empty: nothing
	addr  string
	state string // directory of a sheaf
	site  *site
	cmd   *exec.Cmd
	said  *tail
	done  chan struct{} // closed when the child has ended

	others *peers.Server // a server of others, in place of a child of ours

	mountAddr string // where MOUNT is asked for export; "": at addr, for "/"
	export    string
	laid      int // names in the directory laidName, which was there before the child was

	conns, outstanding int // of its load instead of the run's; 0: the run's
}

// peerNames are all there are, in the order of the report.
var peerNames = []string{"echo", "go-nfs", "gonfs-1", "sheaf-1", "sheaf-8"}

// start runs a peer, and lays out what the calls need.
func start(name, dir, sheaf string, conns int) (*peer, error) {
	p := newPeer(name)
	return p, p.start(dir, sheaf, conns)
}

func newPeer(name string) *peer {
	return &peer{name: name, said: &tail{}, done: make(chan struct{})}
}

func (p *peer) start(dir, sheaf string, conns int) (err error) {
	if err := p.launch(dir, sheaf); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, err, p.said)
	}
	if p.name == "echo" {
		p.site = echoSite(conns)
	} else if p.site, err = newSite(p, conns); err != nil {
		return errors.Join(fmt.Errorf("%s: %w\n%s", p.name, err, p.said), p.stop())
	}
	return nil
}

// launch starts the child and waits for the line that says it is ready.
func (p *peer) launch(dir, sheaf string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	switch p.name {
	case "echo":
		p.cmd = exec.Command(self, "child-echo")
	case "go-nfs":
		p.cmd = exec.Command(self, "child-stock", dir)
	case "gonfs-1":
		err = p.serve(sheaf, dir, 1, false, "--engine", "go-nfs")
	case "sheaf-1":
		err = p.serve(sheaf, dir, 1, false)
	case "sheaf-8":
		err = p.serve(sheaf, dir, 8, false)
	case "sheaf-1 async":
		err = p.serve(sheaf, dir, 1, true)
	case "sheaf-8 async":
		err = p.serve(sheaf, dir, 8, true)
	case "ganesha", "mergerfs-8", "unfs3":
		return p.foreign(dir)
	default:
		err = fmt.Errorf("no such peer; there are %s", strings.Join(peerNames, ", "))
	}
	if err != nil {
		return err
	}
	return p.await()
}

// freePort is a TCP address of this machine that nobody listens at now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// serve prepares the real binary over so many volumes, with a sync or async export.
func (p *peer) serve(sheaf, dir string, volumes int, async bool, more ...string) (err error) {
	if p.addr, err = freePort(); err != nil {
		return err
	}
	export := "/ *(rw,no_root_squash,insecure)"
	if async {
		export = "/ *(rw,no_root_squash,insecure,async)"
	}
	p.state = filepath.Join(dir, "state")
	args := []string{"serve", "--adopt", "--state", p.state, "--listen", p.addr, "--export", export}
	for i := range volumes {
		v := filepath.Join(dir, fmt.Sprintf("v%d", i))
		if err := os.MkdirAll(v, 0o755); err != nil {
			return err
		}
		args = append(args, "--volume", fmt.Sprintf("v%d=%s", i, v))
	}
	p.cmd = exec.Command(sheaf, append(args, more...)...)
	return nil
}

// begin starts the child, and gives what it says after the word "ready".
func (p *peer) begin() (<-chan string, error) {
	if p.nice != "" {
		p.cmd = exec.Command("nice", append([]string{"-n", p.nice}, p.cmd.Args...)...)
	}
	p.cmd.Stderr = p.said
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go func() {
		defer close(p.done)
		in := bufio.NewScanner(out)
		for in.Scan() {
			fmt.Fprintln(p.said, in.Text())
			if _, after, ok := strings.Cut(in.Text(), "ready"); ok {
				select {
				case ready <- after:
				default: // said once more
				}
			}
		}
		if err := p.cmd.Wait(); err != nil {
			fmt.Fprintln(p.said, err)
		}
	}()
	return ready, nil
}

// await starts the child and reads what it prints until it is ready; a child of this
// program prints its address with that.
func (p *peer) await() error {
	ready, err := p.begin()
	if err != nil {
		return err
	}
	select {
	case said := <-ready:
		if p.addr == "" {
			p.addr = strings.TrimSpace(said)
		}
		return nil
	case <-p.done:
		return errors.New("ended before it was ready")
	case <-time.After(readyLimit):
		return errors.Join(fmt.Errorf("not ready in %v", readyLimit), p.stop())
	}
}

func (p *peer) pid() int { return p.cmd.Process.Pid }

// pids are all processes that serve.
func (p *peer) pids() []int {
	if p.others != nil {
		return p.others.Pids()
	}
	return []int{p.pid()}
}

// cpuTime is what all processes that serve have used.
func (p *peer) cpuTime() (sum time.Duration, err error) {
	for _, pid := range p.pids() {
		d, err := cpuTime(pid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		sum += d
	}
	return sum, nil
}

// stop ends the child, by force if it does not end by itself.
func (p *peer) stop() error {
	if p.others != nil {
		return p.others.Stop()
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(endLimit):
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return errors.Join(fmt.Errorf("%s did not end in %v", p.name, endLimit), err)
}

// tailBytes is how much of what a child wrote is kept.
const tailBytes = 8 << 10

// tail keeps the last bytes that a child wrote.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if n := len(t.last) - tailBytes; n > 0 {
		t.last = append(t.last[:0], t.last[n:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}
