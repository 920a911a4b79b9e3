//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// paceLate is when a call counts as stuck, and is left alone.
	paceLate = 5 * time.Second
	// paceStuck bounds the calls of a kind left alone.
	paceStuck = 100
)

// pace is a client of files that lie on volumes which are well: it takes the times of its calls, by what the file phase says
// at that moment, and prints them when it says "stop". dir has files f0000000 to f(n-1) and empty directories new/0 to new/(n-1).
func pace(dir string, n int, phase string) error {
	p := &pacer{now: phase, times: map[string][]time.Duration{}, stuck: map[string]int{}}
	file := func() string { return filepath.Join(dir, stable(rand.IntN(n))) }
	buf := make([]byte, 4096)
	calls := map[string]func() error{
		"stat": func() error { _, err := os.Lstat(file()); return err },
		"miss": func() error {
			_, err := os.Lstat(filepath.Join(dir, fmt.Sprintf("missing%d", rand.Int())))
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("a name that nobody made is there: %w", err)
		},
		"read": func() error { return uncached(file(), unix.O_RDONLY, unix.Pread, buf) },
		"list": func() error { _, err := os.ReadDir(dir); return err },
		"write": func() error {
			return uncached(filepath.Join(dir, "written"), unix.O_WRONLY|unix.O_SYNC, unix.Pwrite, buf)
		},
		"create": func() error {
			f, err := os.OpenFile(filepath.Join(dir, "new", fmt.Sprint(rand.IntN(n)), fmt.Sprint(rand.Int())), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			return f.Close()
		},
	}
	var all sync.WaitGroup
	for what, call := range calls {
		all.Go(func() { p.run(what, call) })
	}
	all.Wait()
	p.print()
	return p.err
}

// uncached opens a file and makes a call that the client's memory does not answer.
func uncached(name string, flags int, call func(int, []byte, int64) (int, error), buf []byte) error {
	fd, err := unix.Open(name, flags|unix.O_DIRECT, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	_, err = call(fd, buf, 0)
	return errors.Join(err, unix.Close(fd))
}

type pacer struct {
	now string

	mu    sync.Mutex
	times map[string][]time.Duration
	stuck map[string]int
	err   error
}

func (p *pacer) run(what string, call func() error) {
	var left atomic.Int32
	for {
		b, err := os.ReadFile(p.now)
		phase := strings.TrimSpace(string(b))
		if err != nil || phase == "stop" {
			break
		}
		done := make(chan struct{})
		began := time.Now()
		left.Add(1)
		go func() {
			err := call()
			p.note(phase+" "+what, time.Since(began), err)
			left.Add(-1)
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(paceLate):
		}
		for left.Load() > paceStuck {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
	}
	for left.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

func (p *pacer) note(what string, took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("%s, after %v: %w", what, took, err)
	}
	if took >= paceLate {
		p.stuck[what]++
		return
	}
	p.times[what] = append(p.times[what], took)
}

func (p *pacer) print() {
	for what := range p.stuck {
		p.times[what] = append([]time.Duration{}, p.times[what]...)
	}
	for _, what := range slices.Sorted(func(yield func(string) bool) {
		for what := range p.times {
			if !yield(what) {
				return
			}
		}
	}) {
		t := p.times[what]
		slices.Sort(t)
		at := func(q float64) time.Duration {
			if len(t) == 0 {
				return 0
			}
			return t[min(len(t)-1, int(q*float64(len(t))))].Round(time.Microsecond)
		}
		fmt.Printf("pace %s: %d calls, p50 %v, p99 %v, longest %v, stuck %d\n", what, len(t), at(0.5), at(0.99), at(1), p.stuck[what])
	}
}
