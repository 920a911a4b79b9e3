package script

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"
	"golang.org/x/time/rate"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// Limits of a script, and their defaults.
const (
	MaxFile           = 128 << 10        // bytes of a file; bounds the depth to which it can nest, too
	DefaultMaxSteps   = 1_000_000        // of one function's run; some 20 ms
	DefaultDeadline   = time.Second      // of one function's run
	DefaultMemory     = int64(16 << 20)  // bytes that one function's run may build
	DefaultTableBytes = int64(128 << 20) // bytes of one table
	loadSteps         = 100_000          // of loading at least, and loadTimes the steps of a run
	loadTimes         = 2
	loadDeadlines     = 10     // of loading, in deadlines of a run
	DefaultEventSteps = 20_000 // of forget(event), which those who bring news wait for: some 0.5 ms
	maxTables         = 64     // of one script
	maxCounters       = 64
	maxTableEntries   = 10_000_000
)

// Options are what a script is loaded with.
type Options struct {
	// Name is the layer's name, for errors; the log is expected to have it.
	Name string
	// File is the script. Source is read in its place if it is not nil.
	File   string
	Source []byte
	// Config is what the script finds in `options`: strings, booleans, numbers, and lists and maps of them.
	Config map[string]any
	// MaxSteps, Deadline and Memory are what one run of one function may take: steps of the
	// interpreter, time, and bytes that it builds. 0: the default.
	MaxSteps uint64
	Deadline time.Duration
	Memory   int64
	// TableBytes is what each table may take, in bytes. 0: the default.
	TableBytes int64
	// EventSteps is MaxSteps for forget(event). 0: the default.
	EventSteps uint64
	// Pass makes a call go on as though a function that fails were not defined; otherwise it is
	// answered with SERVERFAULT.
	Pass bool
	// Log is where scripts log, and what they do wrong; nil: nowhere.
	Log *slog.Logger
}

// hooks are the functions of a verb; nil: not defined.
type hooks struct {
	down, up *starlark.Function
	entries  bool // readdir_entry is defined
}

func (h *hooks) any() bool { return h.down != nil || h.up != nil || h.entries }

// What Script.calls counts.
const (
	down     = iota // functions run before a call is made below
	up              // functions run after
	refusals        // calls answered by a script with an error
	faults          // functions that failed
	numCalls
)

// Script is a loaded script: one instance with a state of its own. It is safe for concurrent use.
type Script struct {
	opts     Options
	file     string // as positions name it
	hooks    [numVerbs]hooks
	entry    *starlark.Function
	forget   *starlark.Function
	tables   []*table
	counters []*counter
	runners  sync.Pool // of *runner
	defined  []string

	calls      [numCalls]atomic.Uint64
	reports    *rate.Limiter
	unreported atomic.Uint64 // failures that were not logged since the last that was
}

// Load reads a script, runs its top level, and checks what it defines.
func Load(o Options) (*Script, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.MaxSteps, DefaultMaxSteps)
	setDefault(&o.Deadline, DefaultDeadline)
	setDefault(&o.Memory, DefaultMemory)
	setDefault(&o.TableBytes, DefaultTableBytes)
	setDefault(&o.EventSteps, DefaultEventSteps)
	if o.Name == "" {
		o.Name = "script"
	}
	// At most 5 failures at once, then one in 10 seconds, are logged.
	s := &Script{opts: o, file: filepath.Base(o.File), reports: rate.NewLimiter(rate.Every(10*time.Second), 5)}
	s.runners.New = func() any { return newRunner(s) }
	if err := s.load(); err != nil {
		return nil, &vfs.Error{Status: vfs.Inval, Op: "load script", Object: o.File, Err: err}
	}
	return s, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// source is the script's text.
func (o *Options) source() ([]byte, error) {
	if o.Source != nil {
		return o.Source, tooLong(len(o.Source))
	}
	fi, err := os.Stat(o.File) // first: opening a fifo waits for who writes it
	if err != nil {
		return nil, errors.Unwrap(err) // the path is said by who asks
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(o.File)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	return text, tooLong(len(text))
}

func tooLong(n int) error {
	if n > MaxFile {
		return fmt.Errorf("the file is longer than %d bytes", MaxFile)
	}
	return nil
}

// Defined are the names of the functions that the server calls, sorted.
func (s *Script) Defined() []string { return s.defined }

// Over is below with the script's functions around its calls. What the script does not define passes; a script
// that defines nothing is not there. News from below reach forget(event) until close is called.
func (s *Script) Over(below vfs.FS) (fs vfs.FS, closed func()) {
	if len(s.defined) == 0 {
		return below, func() {}
	}
	closed = func() {}
	if s.forget != nil {
		closed = below.Subscribe(s.event)
	}
	return translator.Around(below, s.hook), closed
}

// Counts are what the script counts, what its tables hold, and how its functions went.
func (s *Script) Counts() []translator.Count {
	total := func(name, help, label, value string, n uint64) translator.Count {
		c := translator.Count{Name: name, Help: help, Value: float64(n)}
		if label != "" {
			c.Labels = map[string]string{label: value}
		}
		return c
	}
	const runs, what = "functions_total", "Functions that were run, before the call was made below or after."
	out := []translator.Count{
		total(runs, what, "direction", "down", s.calls[down].Load()),
		total(runs, what, "direction", "up", s.calls[up].Load()),
		total("refused_total", "Calls that a function answered with an error instead of making them.", "", "", s.calls[refusals].Load()),
		total("faults_total", "Functions that failed.", "", "", s.calls[faults].Load()),
	}
	for _, c := range s.counters {
		out = append(out, total("count_total", "What the script's counters say.", "counter", c.name, c.value.Load()))
	}
	for _, t := range s.tables {
		for _, n := range []struct {
			name, help string
			value      uint64
		}{
			{"hits_total", "Look-ups in a table that found something.", t.hits.Load()},
			{"misses_total", "Look-ups in a table that found nothing.", t.misses.Load()},
			{"evicted_total", "Entries dropped because a table was full.", t.evicted.Load()},
			{"expired_total", "Entries dropped because of their age.", t.expired.Load()},
			{"out_of_date_total", "Values not kept because something happened since their token was given.", t.refused.Load()},
			{"entries", "Entries of a table.", uint64(t.count.Load())},
			{"bytes", "What a table takes, about.", uint64(t.bytes.Load())},
		} {
			c := total("table_"+n.name, n.help, "table", t.name, n.value)
			c.Gauge = !strings.HasSuffix(n.name, "_total")
			out = append(out, c)
		}
	}
	return out
}
