// Package metrics is a layer that counts the calls that go through it, for Prometheus.
//
//	sheaf_call_duration_seconds{translator,verb,export}       histogram: calls and how long they took
//	sheaf_call_errors_total{translator,verb,export,status}    those that failed, by vfs.Status
//	sheaf_call_read_bytes_total{translator,export}            bytes that READ gave
//	sheaf_call_written_bytes_total{translator,export}         bytes that WRITE took
//
// A call that needs waiting is counted once: its first, refused attempt (vfs.Again) is left out, and so is the time
// between the two. An export is its directory's path; calls of the server's own have "".
//
// What is counted belongs to the [Recorder], so it goes on over a reload; each layer has its name as a label, so several
// at different heights of a stack show what lies between them.
package metrics

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// MaxExports is how many exports are told apart for each layer; further ones are "other".
const MaxExports = 256

// buckets are the upper bounds of call durations, in seconds: from an answer out of memory to a volume's deadline.
var buckets = []float64{1e-6, 2e-6, 5e-6, 1e-5, 5e-5, 2e-4, 1e-3, 5e-3, 2e-2, 0.1, 0.5, 2, 10, 30}

// Recorder holds what all layers of this kind count. It is a prometheus.Collector.
type Recorder struct {
	durations      *prometheus.HistogramVec
	errors         *prometheus.CounterVec
	read, written  *prometheus.CounterVec
	exportName     func(id uint64) string
	exportsChanged atomic.Uint64 // times that ids may have got other names
}

var _ prometheus.Collector = (*Recorder)(nil)

// NewRecorder makes one. exportName is the path of an export by vfs.Who.Export, empty if it is not known; it
// is called once for each id, and again after ExportsChanged.
func NewRecorder(exportName func(id uint64) string) *Recorder {
	labels := []string{"translator", "verb", "export"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &Recorder{
		exportName: exportName,
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sheaf_call_duration_seconds", Help: "Calls through a metrics translator, and how long they took.", Buckets: buckets,
		}, labels),
		errors:  counter("sheaf_call_errors_total", "Calls through a metrics translator that failed, by status.", append(labels, "status")...),
		read:    counter("sheaf_call_read_bytes_total", "Bytes that READ gave through a metrics translator.", "translator", "export"),
		written: counter("sheaf_call_written_bytes_total", "Bytes that WRITE took through a metrics translator.", "translator", "export"),
	}
}

// ExportsChanged says that exports may have other names now.
func (r *Recorder) ExportsChanged() { r.exportsChanged.Add(1) }

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(to chan<- *prometheus.Desc) {
	for _, c := range r.all() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (r *Recorder) Collect(to chan<- prometheus.Metric) {
	for _, c := range r.all() {
		c.Collect(to)
	}
}

func (r *Recorder) all() []prometheus.Collector {
	return []prometheus.Collector{r.durations, r.errors, r.read, r.written}
}

// Kind is the kind "metrics".
func (r *Recorder) Kind() translator.Kind {
	return translator.Kind{
		Name: "metrics",
		Help: "Counts calls, errors by status and latencies by verb and export, for /metrics. verbs: only these.",
		New: func(o *translator.Options) translator.Build {
			verbs, some := o.Verbs("verbs")
			return func(_ context.Context, env translator.Env) (translator.Layer, error) {
				l := &layer{recorder: r, name: env.Name, verbs: verbs, all: !some}
				l.exports.Store(&exports{generation: r.exportsChanged.Load()})
				return translator.Layer{FS: translator.Around(env.Below, l.hook)}, nil
			}
		},
	}
}

// layer is an instance.
type layer struct {
	recorder *Recorder
	name     string
	verbs    [translator.NumVerbs]bool
	all      bool

	exports atomic.Pointer[exports]
	mu      sync.Mutex // held while exports is replaced
}

// exports are the counters of each export. It is replaced as a whole.
type exports struct {
	generation uint64 // of Recorder.exportsChanged
	ids        []uint64
	series     []*series // of ids
	other      *series
}

// series are the counters of one export.
type series struct {
	layer         *layer
	export        string
	durations     [translator.NumVerbs]atomic.Pointer[prometheus.Observer]
	errors        [translator.NumVerbs]sync.Map // vfs.Status → prometheus.Counter
	read, written prometheus.Counter
}

// hook counts a call.
func (l *layer) hook(ctx context.Context, c *translator.Call, next translator.Next) error {
	if !l.all && !l.verbs[c.Verb] {
		return next(ctx, c)
	}
	began := time.Now()
	err := next(ctx, c)
	if err != nil && !translator.Done(err) {
		return err
	}
	took := time.Since(began)
	s := l.of(c.Who.Export)
	s.duration(c.Verb).Observe(took.Seconds())
	switch {
	case err != nil:
		s.failed(c.Verb, vfs.StatusOf(err))
	case c.Verb == translator.Read:
		s.read.Add(float64(c.Count))
	case c.Verb == translator.Write:
		s.written.Add(float64(c.Written.Count))
	}
	return err
}

// of is the counters of an export.
func (l *layer) of(id uint64) *series {
	x := l.exports.Load()
	if x.generation == l.recorder.exportsChanged.Load() {
		for i := range x.ids {
			if x.ids[i] == id {
				return x.series[i]
			}
		}
		if x.other != nil {
			return x.other
		}
	}
	return l.learn(id)
}

// learn makes the counters of an export.
func (l *layer) learn(id uint64) *series {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := *l.exports.Load()
	if now := l.recorder.exportsChanged.Load(); x.generation != now {
		x = exports{generation: now}
	}
	for i := range x.ids {
		if x.ids[i] == id {
			return x.series[i]
		}
	}
	if len(x.ids) == MaxExports {
		if x.other == nil {
			x.other = l.newSeries("other")
			l.exports.Store(&x)
		}
		return x.other
	}
	name := ""
	if id != 0 {
		name = strings.ToValidUTF8(l.recorder.exportName(id), "\uFFFD")
	}
	s := l.newSeries(name)
	x.ids, x.series = append(slices.Clip(x.ids), id), append(slices.Clip(x.series), s)
	l.exports.Store(&x)
	return s
}

func (l *layer) newSeries(export string) *series {
	return &series{
		layer: l, export: export,
		read:    l.recorder.read.WithLabelValues(l.name, export),
		written: l.recorder.written.WithLabelValues(l.name, export),
	}
}

// duration is the histogram of a verb. It comes to be with the first call.
func (s *series) duration(v translator.Verb) prometheus.Observer {
	if o := s.durations[v].Load(); o != nil {
		return *o
	}
	o := s.layer.recorder.durations.WithLabelValues(s.layer.name, v.String(), s.export)
	s.durations[v].Store(&o)
	return o
}

// failed counts an error.
func (s *series) failed(v translator.Verb, st vfs.Status) {
	c, ok := s.errors[v].Load(st)
	if !ok {
		c, _ = s.errors[v].LoadOrStore(st, s.layer.recorder.errors.WithLabelValues(s.layer.name, v.String(), s.export, st.Name()))
	}
	c.(prometheus.Counter).Inc()
}
