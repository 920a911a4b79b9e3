//go:build linux

// Command agent runs inside a guest and does what the tests on the host ask for.
//
// A connection carries one JSON line from the host. With "hold" set it is the guest's life line: the guest is powered
// off when it closes, so that a killed test leaves no guest behind. Otherwise it is a bash script, answered by frames of
// its output (a 4-byte length and the bytes), an empty frame, and 4 bytes of exit status.
package main

import (
	"bufio"
	"context"
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
	"time"
)

// Request is what the host sends; guest.request is its twin.
type request struct {
	Hold   bool          `json:"hold"`
	Script string        `json:"script"`
	Limit  time.Duration `json:"limit"`
}

const (
	statusTimeout = 124 // as timeout(1)
	statusBroken  = 125
)

func main() {
	listener, err := net.Listen("tcp", ":9")
	if err != nil {
		fail(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go serve(conn)
	}
}

// fail ends the agent, and with it the guest; the host finds the reason on its console.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "agent:", err)
	os.Exit(1)
}

func serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return
	}
	var req request
	if err := json.Unmarshal(line, &req); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		return
	}
	if req.Hold {
		_, _ = io.Copy(io.Discard, in)
		powerOff()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // the host sends nothing more: an end here means that it no longer waits
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	out := &frames{w: conn}
	status := run(ctx, req, out)
	out.end(status)
}

// run ends a script and everything in its process group when its time is up. A process that hangs in the kernel cannot
// be killed; then the answer says where it hangs.
func run(ctx context.Context, req request, out io.Writer) int {
	script, err := os.CreateTemp("/run", "script")
	if err != nil {
		fmt.Fprintln(out, "agent:", err)
		return statusBroken
	}
	defer os.Remove(script.Name())
	_, err = script.WriteString(req.Script)
	if err = errors.Join(err, script.Close()); err != nil {
		fmt.Fprintln(out, "agent:", err)
		return statusBroken
	}
	cmd := exec.Command("/bin/bash", script.Name())
	cmd.Dir = "/root"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second // what it left running in the background may hold its output open; a busy guest takes its time
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(out, "agent:", err)
		return statusBroken
	}
	done := make(chan int, 1)
	go func() {
		_ = cmd.Wait()
		done <- exitStatus(cmd.ProcessState)
	}()
	timer := time.NewTimer(req.Limit)
	defer timer.Stop()
	select {
	case status := <-done:
		return status
	case <-ctx.Done():
	case <-timer.C:
		fmt.Fprintf(out, "agent: ended after %v\n%s", req.Limit, hanging())
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		fmt.Fprintf(out, "agent: it cannot be killed\n%s", hanging())
	}
	return statusTimeout
}

func exitStatus(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// hanging tells what processes sleep uninterruptibly, and where in the kernel.
func hanging() string {
	var b strings.Builder
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if _, rest, ok := strings.Cut(string(stat), ") "); !ok || !strings.HasPrefix(rest, "D") {
			continue
		}
		dir := filepath.Dir(name)
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		place, _ := os.ReadFile(filepath.Join(dir, "wchan"))
		fmt.Fprintf(&b, "  in the kernel: %s at %s\n", strings.ReplaceAll(string(command), "\x00", " "), place)
	}
	return b.String()
}

// powerOff lets the servers see the mounts go, but does not depend on them.
func powerOff() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cmd := exec.Command("umount", "-a", "-f", "-t", "nfs,nfs4")
	if cmd.Start() == nil {
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	_ = os.WriteFile("/proc/sysrq-trigger", []byte("o"), 0)
	os.Exit(0)
}

// frames is a Writer onto the connection; a script's two streams share it.
type frames struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(p)))
	if _, err := f.w.Write(append(head, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *frames) end(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = f.w.Write(binary.BigEndian.AppendUint32(make([]byte, 4), uint32(status)))
}
