//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sheaf/tests/e2e/guest"
)

// options are the flags.
type options struct {
	rounds  int
	files   int
	pages   int
	size    int
	only    string
	servers string
	dir     string
	sheaf   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the command, or the part of it that runs in the guest.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 3 && args[0] == "child-null" {
		calls, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return nullCalls(args[1], calls, out)
	}
	o, err := parse(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	return o.bench(ctx, out, progress)
}

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.IntVar(&o.rounds, "rounds", 3, "times each workload is measured on each server")
	f.IntVar(&o.files, "files", 5000, "files of the tree that is unpacked, searched and removed; a fifth of them are in the repository")
	f.IntVar(&o.pages, "pages", 10, "warm requests for the PHP page")
	f.IntVar(&o.size, "size", 128, "MiB of the file that fio reads and writes")
	f.StringVar(&o.only, "only", "", "workloads by parts of their names, with commas (default all)")
	f.StringVar(&o.servers, "servers", strings.Join(serverNames, ","), "servers, with commas")
	f.StringVar(&o.dir, "dir", "", "folder on the disk to measure; what is made in it is removed (default a temporary one)")
	f.StringVar(&o.sheaf, "sheaf", "", "the sheaf command to measure (default: built from this module)")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.rounds < 1 || o.files < filesOfDir || o.pages < 1 || o.size < 1 || f.NArg() > 0 {
		return nil, fmt.Errorf("numbers are at least 1, -files %d, and there are no arguments but flags", filesOfDir)
	}
	return o, nil
}

// bench starts guest and servers, measures, and prints the report. When ctx ends it stops, prints what it has, and takes everything away.
func (o *options) bench(ctx context.Context, out, progress io.Writer) (err error) {
	some, err := o.chosen()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "sheaf-bench-guest-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o755); err != nil {
		return err
	}
	if o.sheaf == "" {
		o.sheaf = filepath.Join(dir, "sheaf")
		if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", o.sheaf, "sheaf/cmd/sheaf").CombinedOutput(); err != nil {
			return fmt.Errorf("go build ./cmd/sheaf: %w\n%s", err, said)
		}
	}
	tree, err := writeTree(filepath.Join(shared, "tree.tar"), o.files)
	if err != nil {
		return err
	}
	if err := guest.BuildStatic(filepath.Join(shared, "bench"), "sheaf/tests/e2e/bench"); err != nil {
		return err
	}
	g, err := guest.Boot(guest.Options{Name: "bench", Share: []string{shared}, Mem: guestMem})
	if err != nil {
		return err
	}
	defer g.Stop()
	defer context.AfterFunc(ctx, g.Stop)() // what is asked of it then is an error
	r := &report{options: o, cells: map[[2]string]*cell{}, null: map[string]time.Duration{}, load: load()}
	servers, err := o.start(dir, r, progress)
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.Stop())
		}
	}()
	if err != nil {
		return err
	}
	m := &measurement{options: o, guest: g, shared: shared, tree: tree, report: r, progress: progress}
	err = m.all(ctx, some, servers)
	r.print(out, some, servers) // what there is, if it was stopped
	return errors.Join(err, r.failure())
}

// guestMem is the guest's memory in MB: what fio reads and writes, and a tree of files, fit twice.
const guestMem = 1536
