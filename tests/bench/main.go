package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	load
	rounds  int
	ops     string
	peers   string
	creates string
	lookups bool
	stack   bool
	flooded bool
	beside  bool     // nfs-ganesha and others
	args    []string // all flags as they were given
	away    time.Duration
	dir     string
	sheaf   string
	growth  bool
	growthLimits
	page     string    // file to write what is printed to, with a head and charts; "": it is printed alone
	drawings []drawing // of the page
}

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the command, or one of the children it starts.
func run(args []string, out, progress io.Writer) error {
	ready := func(addr string) { fmt.Fprintln(out, "ready", addr) }
	switch {
	case len(args) == 1 && args[0] == "child-echo":
		return runEcho(ready)
	case len(args) == 2 && args[0] == "child-stock":
		return runStock(args[1], "127.0.0.1:0", ready)
	case len(args) > 0 && args[0] == "child-compare":
		o, err := parse(args[1:], progress)
		if err != nil {
			return err
		}
		return o.comparison(progress).compare(out)
	case len(args) == 4 && args[0] == "child-flood":
		return runFlood(args[1:], os.Stdin, out)
	case len(args) > 0 && args[0] == "child-plain":
		return runPlain(args[1:], out)
	}
	o, err := parse(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.page == "" || o.beside { // which writes its own
		return o.bench(out, progress)
	}
	var printed bytes.Buffer
	if err := o.bench(io.MultiWriter(out, &printed), progress); err != nil {
		return fmt.Errorf("%s stays as it is: %w", o.page, err)
	}
	return o.write(printed.Bytes())
}

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{args: args}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.IntVar(&o.conns, "conns", 4, "connections to a server")
	f.IntVar(&o.outstanding, "outstanding", 8, "calls in flight per connection")
	f.IntVar(&o.rounds, "rounds", 5, "times each procedure is measured on each server")
	f.DurationVar(&o.time, "time", 500*time.Millisecond, "length of a measurement")
	f.IntVar(&o.count, "count", 100_000, "calls of a measurement per connection, at most")
	f.StringVar(&o.ops, "ops", "", "procedures by the beginning of their names, with commas (default all)")
	f.StringVar(&o.peers, "peers", strings.Join(peerNames, ","), "servers, with commas; none: no procedures are measured")
	f.StringVar(&o.creates, "creates", "", "calls in flight, with commas, of creates beside a plain program (default "+defaultCreates+" without -ops, none with them)")
	f.BoolVar(&o.lookups, "lookups", false, "measure look-ups along an include path, and nothing else")
	f.BoolVar(&o.stack, "stack", false, "measure what translators add to a call, and nothing else; -rounds and -count count")
	f.BoolVar(&o.flooded, "abuse", false, "measure what a client that floods leaves the others, and nothing else; -ops are "+abuseOps+" if there are none")
	f.BoolVar(&o.beside, "beside", false, "measure beside the servers of others (nfs-ganesha, mergerfs, unfs3), and nothing else; root installs them from Debian")
	f.BoolVar(&o.growth, "growth", false, "measure what calls cost as directories, files, volumes and clients grow, and nothing else")
	o.growthFlags(f)
	f.StringVar(&o.page, "page", "", "file of Markdown for the report as well, and charts beside it; but with -beside not written if anything failed")
	f.DurationVar(&o.away, "away", 0, "how long a volume hangs, and is pulled out, at a time; 0: none does (default "+defaultAway.String()+" in a whole run, none in a part of it)")
	f.StringVar(&o.dir, "dir", "", "folder on the file system to measure; what is made in it is removed (default a temporary one)")
	f.StringVar(&o.sheaf, "sheaf", "", "the sheaf command to measure (default: built from this module)")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the order and of random names and offsets")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.page != "" && !strings.HasSuffix(o.page, ".md") {
		return nil, errors.New("-page names a file that ends in .md")
	}
	if o.conns < 1 || o.outstanding < 1 || o.rounds < 1 || o.count < 1 || o.time <= 0 || f.NArg() > 0 {
		return nil, errors.New("numbers are at least 1, and there are no arguments but flags")
	}
	set := map[string]bool{}
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	switch {
	case o.lookups && (set["ops"] || set["peers"] || set["creates"]):
		return nil, errors.New("-lookups is measured by itself")
	case o.stack && (o.lookups || set["ops"] || set["peers"] || set["creates"]):
		return nil, errors.New("-stack is measured by itself")
	case o.beside && (o.lookups || o.stack || set["ops"] || set["creates"]):
		return nil, errors.New("-beside is measured by itself")
	case o.growth && (o.beside || o.lookups || o.stack || set["ops"] || set["peers"] || set["creates"]):
		return nil, errors.New("-growth is measured by itself")
	case o.beside && !set["peers"]:
		o.peers = strings.Join(besideNames, ",")
	case o.beside:
	case o.flooded && (o.lookups || o.stack || o.beside || o.growth || set["peers"] || set["creates"]):
		return nil, errors.New("-abuse is measured by itself")
	case o.flooded:
		o.peers = ""
		if o.ops == "" {
			o.ops = abuseOps
		}
		if !set["outstanding"] {
			o.outstanding = abuseOutstanding
		}
	case o.lookups, o.stack, o.growth:
		o.peers = ""
	case !set["creates"] && !set["ops"]:
		o.creates = defaultCreates
	}
	part := false
	for _, of := range []string{"away", "ops", "peers", "creates", "lookups", "stack", "beside", "growth", "abuse"} {
		part = part || set[of]
	}
	if !part {
		o.away = defaultAway
	}
	return o, nil
}

// defaultCreates is -creates of a whole run.
const defaultCreates = "1,8,32"

// bench starts the peers, measures, and prints the report.
func (o *options) bench(out, progress io.Writer) (err error) {
	some, err := chosen(o.ops)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "sheaf-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.stack {
		return o.stackCost(dir, out, progress)
	}
	if err := o.build(dir); err != nil {
		return err
	}
	if o.flooded {
		return o.abuse(dir, out, progress)
	}
	if o.lookups {
		return o.lookUps(dir, out, progress)
	}
	if o.beside {
		return o.apart(dir, out, progress)
	}
	if o.growth {
		return o.grow(filepath.Join(dir, "growth"), out, progress)
	}
	if o.peers != "" {
		err = o.procedures(dir, some, out, progress)
	}
	err = errors.Join(err, o.creations(dir, out, progress))
	if o.away > 0 {
		err = errors.Join(err, o.absences(filepath.Join(dir, "away"), out, progress))
	}
	return err
}

// procedures measures what calls cost.
func (o *options) procedures(dir string, some []op, out, progress io.Writer) (err error) {
	t := &table{options: o, cells: map[[2]string]*cell{}}
	var peers []*peer
	for name := range strings.SplitSeq(o.peers, ",") {
		p, err := start(name, filepath.Join(dir, name), o.sheaf, o.conns)
		if err != nil { // the others are still worth measuring
			t.missing = append(t.missing, err)
			fmt.Fprintln(progress, err)
			continue
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		peers = append(peers, p)
	}
	o.measure(peers, some, t, progress)
	t.print(out, some, peers)
	return t.failure()
}

// build makes the sheaf command, if a peer needs it and none is given.
func (o *options) build(dir string) error {
	if o.sheaf != "" || !o.lookups && !o.flooded && !o.growth && o.creates == "" && o.away == 0 && !strings.Contains(o.peers, "sheaf") && !strings.Contains(o.peers, "gonfs") {
		return nil
	}
	o.sheaf = filepath.Join(dir, "sheaf")
	if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", o.sheaf, "sheaf/cmd/sheaf").CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/sheaf: %w\n%s", err, said)
	}
	return nil
}

// warmUp is the part of a measurement's time that is spent before, unmeasured.
const warmUp = 5

// measure gives every op to every peer in each round, beginning with another peer each time.
// A peer that failed at an op is not asked for it again. REMOVE comes when all else has had its
// rounds: ext4 without a journal keeps a removed inode from use for a minute at least (recently_deleted in
// fs/ext4/ialloc.c), and looks at each of them at every creation; whoever removes faster would pay for
// it with a CREATE that is many times slower.
func (o *options) measure(peers []*peer, some []op, t *table, progress io.Writer) {
	removes := func(p op) bool { return p.proc == procRemove }
	o.rounded(peers, slices.DeleteFunc(slices.Clone(some), removes), t, progress)
	o.rounded(peers, slices.DeleteFunc(slices.Clone(some), func(p op) bool { return !removes(p) }), t, progress)
}

// rounded is measure of ops that take turns.
func (o *options) rounded(peers []*peer, some []op, t *table, progress io.Writer) {
	if len(some) == 0 {
		return
	}
	for round := range o.rounds {
		for _, op := range some {
			for i := range peers {
				p := peers[(i+round)%len(peers)]
				c := t.at(op.name, p.name)
				if c.err != nil {
					continue
				}
				l := o.load
				if p.conns > 0 {
					l.conns, l.outstanding = p.conns, p.outstanding
				}
				l.seed += uint64(round)
				if op.proc == procRemove && !p.site.echo { // what there is has to last for all rounds
					l.count = max(1, min(l.count, p.site.left()/(o.rounds-round)/l.conns))
				}
				if op.proc != procRename && op.proc != procRemove { // these use up what was made
					l.time /= warmUp
					_, c.err = l.run(p, &op)
					l.time = o.time
				}
				if c.err == nil {
					var r result
					r, c.err = l.run(p, &op)
					c.add(r)
				}
				if c.err != nil {
					c.err = fmt.Errorf("%s on %s: %w", op.name, p.name, c.err)
					fmt.Fprintf(progress, "%v\n%s", c.err, p.said)
				}
			}
		}
		fmt.Fprintf(progress, "round %d of %d: %s to %s\n", round+1, o.rounds, some[0].name, some[len(some)-1].name)
	}
}

// failure is all that went wrong.
func (t *table) failure() error {
	errs := slices.Clone(t.missing)
	for _, c := range t.cells {
		errs = append(errs, c.err)
	}
	return errors.Join(errs...)
}
