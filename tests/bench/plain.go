package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// plain is a program without a server: threads that make files in directories (or rename, or remove them) and flush the directory
// after each, with the system calls that a server makes for that.
type plain struct {
	verb    string // of plainVerbs
	root    string // what it makes lies beneath
	volumes int    // directories
	fsync   bool
	time    time.Duration
	count   int // files, at most
	runs    int
}

// plainVerbs are what it can do. What was made is renamed, and what was renamed is removed, in the order in which it was made.
var plainVerbs = map[string]func(p *plain, dir, n int, fsyncs *atomic.Int64) error{
	"create": func(p *plain, dir, n int, fsyncs *atomic.Int64) error {
		return p.createOne(dir, fmt.Sprintf("made-%08d", n), fsyncs)
	},
	"rename": func(p *plain, dir, n int, fsyncs *atomic.Int64) error {
		return p.renameOne(dir, fmt.Sprintf("made-%08d", n), fmt.Sprintf("moved-%08d", n), fsyncs)
	},
	"remove": func(p *plain, dir, n int, fsyncs *atomic.Int64) error {
		return p.removeOne(dir, fmt.Sprintf("moved-%08d", n), fsyncs)
	},
}

// made is what it did.
type made struct {
	files, fsyncs int
	cpu, wall     time.Duration
}

// measure runs the child self in empty directories.
func (p *plain) measure(self string, threads int) (m made, err error) {
	p.runs++
	p.verb = "create"
	return p.again(self, threads, p.runs)
}

// again runs the child self in the directories of a run.
func (p *plain) again(self string, threads, run int) (m made, err error) {
	args := []string{"child-plain", p.verb, strconv.Itoa(threads), strconv.FormatBool(p.fsync), p.time.String(), strconv.Itoa(p.count)}
	for v := range p.volumes {
		d := filepath.Join(p.root, fmt.Sprintf("v%d", v), fmt.Sprintf("churn-%d", run))
		if err := os.MkdirAll(d, 0o755); err != nil {
			return m, err
		}
		args = append(args, d)
	}
	out, err := exec.Command(self, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("plain program: %w\n%s", err, exit.Stderr)
	}
	if err != nil {
		return m, err
	}
	if _, err = fmt.Sscan(string(out), &m.files, &m.fsyncs, &m.cpu, &m.wall); err != nil {
		err = fmt.Errorf("plain program said %q: %w", out, err)
	}
	return m, err
}

// runPlain is the child.
func runPlain(args []string, out io.Writer) error {
	if len(args) < 6 || plainVerbs[args[0]] == nil {
		return errors.New("arguments: create|rename|remove threads fsync time count directories")
	}
	threads, e1 := strconv.Atoi(args[1])
	fsync, e2 := strconv.ParseBool(args[2])
	limit, e3 := time.ParseDuration(args[3])
	count, e4 := strconv.Atoi(args[4])
	if err := errors.Join(e1, e2, e3, e4); err != nil {
		return err
	}
	p := plain{verb: args[0], fsync: fsync, time: limit, count: count}
	m, err := p.work(args[5:], threads)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, m.files, m.fsyncs, int64(m.cpu), int64(m.wall))
	return err
}

// work makes files (or what the verb says) until the time or the count is over, in the directories in turn.
func (p *plain) work(dirs []string, threads int) (m made, err error) {
	fds := make([]int, len(dirs))
	for i, d := range dirs {
		if fds[i], err = unix.Open(d, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return m, fmt.Errorf("open %s: %w", d, err)
		}
		defer unix.Close(fds[i])
	}
	var next, files, fsyncs atomic.Int64
	errs := make([]error, threads)
	before, err := cpuTime(os.Getpid())
	if err != nil {
		return m, err
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for t := range threads {
		wg.Go(func() {
			for time.Since(begin) < p.time {
				n := int(next.Add(1))
				if n > p.count {
					return
				}
				if errs[t] = plainVerbs[p.verb](p, fds[n%len(fds)], n, &fsyncs); errs[t] != nil {
					return
				}
				files.Add(1)
			}
		})
	}
	wg.Wait()
	wall := time.Since(begin)
	after, err := cpuTime(os.Getpid())
	return made{int(files.Load()), int(fsyncs.Load()), after - before, wall}, errors.Join(append(errs, err)...)
}

// retried is f until a signal does not interrupt it: the Go runtime sends itself some.
func retried(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
