package peers

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// How long a process may take to be ready, and to end when it is told to; and how often it is looked whether it is.
const (
	readyLimit = 30 * time.Second
	endLimit   = 30 * time.Second
	pollEvery  = 20 * time.Millisecond
)

// Server is an NFS server that runs, of one process or several.
type Server struct {
	Port      int    // of NFS, on 127.0.0.1
	MountPort int    // of MOUNT
	Export    string // the path that is mounted

	stops []func() error // what ends it, in the opposite order
	procs []*process
}

// Pids are the processes that do its work: their CPU time is the server's.
func (s *Server) Pids() []int {
	pids := make([]int, len(s.procs))
	for i, p := range s.procs {
		pids[i] = p.cmd.Process.Pid
	}
	return pids
}

// Stop ends it and takes away what it mounted.
func (s *Server) Stop() error {
	var err error
	for _, stop := range slices.Backward(s.stops) {
		err = errors.Join(err, stop())
	}
	s.stops = nil
	return err
}

// process is a child of ours.
type process struct {
	cmd  *exec.Cmd
	said *Tail
	done chan struct{} // closed when it has ended
}

// run starts a program; ready is asked until it says yes, by what the program said or otherwise.
func run(cmd *exec.Cmd, ready func(said string) bool) (*process, error) {
	p := &process{cmd: cmd, said: &Tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.said, p.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		if err := cmd.Wait(); err != nil {
			fmt.Fprintln(p.said, err)
		}
	}()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	limit := time.After(readyLimit)
	for !ready(p.said.String()) {
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended before it was ready: %s", cmd.Path, p.said)
		case <-limit:
			return nil, errors.Join(fmt.Errorf("%s was not ready in %v: %s", cmd.Path, readyLimit, p.said), p.stop())
		case <-tick.C:
		}
	}
	return p, nil
}

// stop ends the process, by force if it does not end by itself.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.cmd.Path, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(endLimit):
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return errors.Join(fmt.Errorf("%s did not end in %v", p.cmd.Path, endLimit), err)
}

// The ports of servers lie below those that the kernel gives by itself (ip_local_port_range(7), 32768 and above).
const (
	lowestPort = 20000
	ports      = 12000
	portTries  = 100
)

// freePort draws one that nobody has now. Another program may take it before the server does, which then says so.
func freePort() (int, error) {
	var err error
	for range portTries {
		port := lowestPort + rand.IntN(ports)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}

// tailBytes is how much of what a child wrote is kept.
const tailBytes = 8 << 10

// Tail keeps the last bytes that a child wrote; many may write at once.
type Tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if n := len(t.last) - tailBytes; n > 0 {
		t.last = append(t.last[:0], t.last[n:]...)
	}
	return len(b), nil
}

func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
