package share

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"sheaf/vfs/translator"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/meter"
)

// newRegistry is everything that /metrics shows. Labels are bounded: verbs, procedures, statuses, classes of operations, exports
// (metrics.MaxExports), volumes (union.MaxVolumes), layers (translator.MaxLayers).
func newRegistry(s *Share) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(s.recorder, &shareCollector{s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// shareCollector reads the counters of all rooms when somebody asks.
type shareCollector struct{ s *Share }

// Describe says nothing: which metrics there are depends on engine and layers.
func (*shareCollector) Describe(chan<- *prometheus.Desc) {}

// collectWait is how long a scrape waits for the figures of volumes that do not answer.
const collectWait = 5 * time.Second

// Collect implements prometheus.Collector.
func (c *shareCollector) Collect(to chan<- prometheus.Metric) {
	m := sink{to}
	m.gauge("sheaf_build_info", "The program, its engine and its share; always 1.", 1, "version", c.s.opt.Build, "engine", c.s.cfg.Engine, "share", c.s.id.share)
	c.front(m)
	c.union(m)
	c.index(m)
	c.volumes(m)
	c.layers(m)
}

// sink makes metrics.
type sink struct{ to chan<- prometheus.Metric }

// put sends one metric; labels are names and values in turn.
func (m sink) put(kind prometheus.ValueType, name, help string, v float64, labels ...string) {
	names, values := pairs(labels)
	metric, err := prometheus.NewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
	if err != nil {
		metric = prometheus.NewInvalidMetric(prometheus.NewDesc(name, help, nil, nil), err)
	}
	m.to <- metric
}

func (m sink) gauge(name, help string, v float64, labels ...string) {
	m.put(prometheus.GaugeValue, name, help, v, labels...)
}

func (m sink) counter(name, help string, v float64, labels ...string) {
	m.put(prometheus.CounterValue, name, help, v, labels...)
}

func pairs(labels []string) (names, values []string) {
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return names, values
}

// is is 1 if b.
func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// front is what the protocol side counts.
func (c *shareCollector) front(m sink) {
	if c.s.engine == nil {
		return
	}
	t := c.s.engine.Traffic()
	if t == nil {
		return
	}
	m.gauge("sheaf_nfs_connections", "Connections of clients.", float64(t.Connections))
	m.gauge("sheaf_nfs_clients", "Clients that have connections.", float64(t.Clients))
	m.counter("sheaf_nfs_reading_limited_total", "Times that a connection was not read since its client, or all, had too much in flight.", float64(t.Limited))
	m.counter("sheaf_nfs_connections_refused_total", "Connections refused over the limit.", float64(t.Refused))
	m.counter("sheaf_nfs_connections_aborted_total", "Connections closed for what clients sent or did not take.", float64(t.Aborted))
	m.counter("sheaf_nfs_calls_total", "Calls answered.", float64(t.Calls))
	m.counter("sheaf_nfs_inline_calls_total", "Calls answered without a worker.", float64(t.Inline))
	m.gauge("sheaf_nfs_calls_in_flight", "Calls that wait for a worker or run on one.", float64(t.InFlight))
	m.gauge("sheaf_nfs_slow_calls", "Of these, calls set aside because they have run for long.", float64(t.Slow))
	m.counter("sheaf_nfs_calls_turned_away_total", "Calls told to come again because slow ones crowd their connection.", float64(t.TurnedAway))
	m.gauge("sheaf_nfs_in_flight_bytes", "Bytes of calls and replies in flight.", float64(t.BytesInFlight))
	m.counter("sheaf_nfs_reply_cache_hits_total", "Repeated calls answered from the reply cache.", float64(t.Repeated))
	for _, p := range c.s.engine.Procs() {
		m.counter("sheaf_nfs_procedure_calls_total", "Calls answered by the file system, by procedure.", float64(p.Calls), "procedure", p.Name)
		m.counter("sheaf_nfs_procedure_errors_total", "Calls answered with another status than NFS3_OK, by procedure.", float64(p.Errors), "procedure", p.Name)
	}
}

// union is what the union counts, and holds.
func (c *shareCollector) union(m sink) {
	st := c.s.union.Stats()
	const lookups = "Look-ups of names, by what answered: a name known to be there, one known not to be, or the volumes."
	m.counter("sheaf_lookups_total", lookups, float64(st.Hits), "answer", "present")
	m.counter("sheaf_lookups_total", lookups, float64(st.Misses), "answer", "absent")
	m.counter("sheaf_lookups_total", lookups, float64(st.Asked), "answer", "asked")
	m.counter("sheaf_lookups_disbelieved_total", "Look-ups that asked volumes although memory had an answer: it was too old, or in doubt.", float64(st.Refused))
	m.counter("sheaf_directories_revalidated_total", "Directories whose names were believed again because no version had moved.", float64(st.Revalidated))
	m.counter("sheaf_evictions_total", "Objects and absent names that memory had no room for.", float64(st.Evicted))
	m.gauge("sheaf_known_absences", "Absent names in memory, of directories that are not listed.", float64(st.Absences))
	m.counter("sheaf_directory_listings_total", "Copies of directories listed.", float64(st.Lists))
	m.counter("sheaf_directory_recalls_total", "Directories whose names the index knew.", float64(st.Recalls))
	m.counter("sheaf_attribute_reads_total", "Objects whose attributes were asked of a volume.", float64(st.Stats))
	m.counter("sheaf_searches_total", "Objects looked for because they were not where they had been.", float64(st.Searches))
	m.counter("sheaf_scans_total", "Walks over whole volumes.", float64(st.Scans))
	m.counter("sheaf_names_doubted_total", "Names that watches said to be looked at again.", float64(st.Doubted))
	m.counter("sheaf_marks_failed_total", "Marks that could not be written.", float64(st.Unmarked))
	m.counter("sheaf_index_row_errors_total", "Rows that the index did not take.", float64(st.RowErrors))
	m.gauge("sheaf_open_files", "Files of volumes kept open.", float64(st.OpenFiles))
	m.gauge("sheaf_open_directories", "Directories of volumes kept open.", float64(st.OpenDirs))
	m.gauge("sheaf_known_nodes", "Objects in memory.", float64(st.Nodes))
	m.gauge("sheaf_known_bytes", "Memory for objects, names and attributes.", float64(st.Memory))
	p := c.s.union.ScanProgress()
	m.gauge("sheaf_scan_running", "Whether volumes are being read into the index.", is(p.Running))
	m.gauge("sheaf_scan_directories", "Directories that the scan, or the last one, has seen.", float64(p.Directories))
	m.gauge("sheaf_scan_objects", "Names that the scan, or the last one, has looked at.", float64(p.Objects))
	m.gauge("sheaf_scan_whole", "Whether all that is on the volumes is known, as far as was seen last.", is(p.Whole))
}

// index is how the index is.
func (c *shareCollector) index(m sink) {
	st := c.s.indexStatus()
	for _, state := range []string{IndexOn, IndexPaused, IndexOff} {
		m.gauge("sheaf_index_state", "1 for the state that the index is in. Files are safe and served in each.", is(st.State == state), "state", state)
	}
	m.gauge("sheaf_index_free_bytes", "Bytes free beside the index.", float64(st.Free))
	m.gauge("sheaf_index_floor_bytes", "Free bytes below which the index learns nothing new.", float64(st.Floor))
	m.counter("sheaf_index_rows_refused_total", "Rows not taken in for want of space.", float64(st.Refused))
	m.gauge("sheaf_index_rows_queued", "Rows not yet on stable storage.", float64(st.Queued))
}

// healthStates are the states of a volume.
var healthStates = []string{volume.Online.String(), volume.Stalled.String(), volume.Slow.String(), volume.Away.String(), removedState}

// volumes are how the volumes are, and what the share asked of them.
func (c *shareCollector) volumes(m sink) {
	ctx, cancel := context.WithTimeout(context.Background(), collectWait)
	defer cancel()
	all, err := c.s.Volumes(ctx)
	if err != nil {
		m.to <- prometheus.NewInvalidMetric(prometheus.NewDesc("sheaf_volume_up", "Whether the volume answers.", nil, nil), err)
		return
	}
	for i := range all {
		m.volume(&all[i])
	}
	if !c.s.cfg.measures() {
		return
	}
	for _, v := range c.s.members.list() {
		for _, class := range meter.Classes() {
			m.operations(v.cfg.Name, class.String(), v.meter.Read(class))
		}
	}
}

// volume is how one is.
func (m sink) volume(v *VolumeStatus) {
	gauge := func(name, help string, n float64, labels ...string) {
		m.gauge(name, help, n, append([]string{"volume", v.Name}, labels...)...)
	}
	counter := func(name, help string, n float64) { m.counter(name, help, n, "volume", v.Name) }
	gauge("sheaf_volume_up", "Whether the volume answers.", is(v.State == online.String()))
	for _, state := range healthStates {
		gauge("sheaf_volume_health", "1 for the state that the volume is in.", is(v.State == state), "state", state)
	}
	if v.State == removedState {
		return
	}
	if v.State == online.String() && v.Error == "" {
		gauge("sheaf_volume_size_bytes", "Size of the volume's file system.", float64(v.Total))
		gauge("sheaf_volume_free_bytes", "Free bytes of it.", float64(v.Free))
		gauge("sheaf_volume_avail_bytes", "Bytes of it that the server may use.", float64(v.Avail))
		gauge("sheaf_volume_files", "Inodes of it; 0: not limited.", float64(v.Files))
		gauge("sheaf_volume_files_free", "Free inodes of it.", float64(v.FilesFree))
	}
	gauge("sheaf_volume_read_only", "Whether the volume's file system is mounted read-only.", is(v.ReadOnly))
	gauge("sheaf_volume_calls_in_flight", "Calls that are with the volume.", float64(v.InFlight))
	gauge("sheaf_volume_calls_waiting", "Calls that wait for their turn with it.", float64(v.Waiting))
	gauge("sheaf_volume_calls_hung", "Calls that are with it for longer than volume-deadline.", float64(v.Hung))
	counter("sheaf_volume_calls_refused_total", "Calls for it that were refused or given up.", float64(v.Refused))
	counter("sheaf_volume_attached_total", "Times that it was opened.", float64(v.Attached))
	counter("sheaf_volume_flushes_asked_total", "Flushes that callers asked for.", float64(v.Flushes.Asked))
	counter("sheaf_volume_flushes_made_total", "Flushes that the host was asked for: callers share them.", float64(v.Flushes.Made))
	counter("sheaf_volume_watch_news_total", "News of changes on it.", float64(v.Watch.News))
	counter("sheaf_volume_watch_lost_total", "Times that news of it were lost, and all was looked at again.", float64(v.Watch.Lost))
}

// operations are those of a class on a volume.
func (m sink) operations(volume, class string, r meter.Reading) {
	buckets := make(map[float64]uint64, len(meter.Bounds))
	for i, bound := range meter.Bounds {
		buckets[bound.Seconds()] = r.Buckets[i]
	}
	desc := prometheus.NewDesc("sheaf_volume_operation_duration_seconds", "Operations on the volume's host, by class, and how long they took.", []string{"volume", "class"}, nil)
	metric, err := prometheus.NewConstHistogram(desc, r.Calls, r.Total.Seconds(), buckets, volume, class)
	if err != nil {
		metric = prometheus.NewInvalidMetric(desc, err)
	}
	m.to <- metric
	for status, n := range r.Errors {
		m.counter("sheaf_volume_operation_errors_total", "Operations on the volume's host that failed, by class and status.", float64(n), "volume", volume, "class", class, "status", status.Name())
	}
}

// layers is what translators count: sheaf_KIND_NAME with the instance as a label.
func (c *shareCollector) layers(m sink) {
	c.s.stack.Counts(func(kind, name string, counts []translator.Count) {
		for _, n := range counts {
			labels := []string{"translator", name}
			for k, v := range n.Labels {
				labels = append(labels, k, v)
			}
			valueType := prometheus.CounterValue
			if n.Gauge {
				valueType = prometheus.GaugeValue
			}
			m.put(valueType, "sheaf_"+kind+"_"+n.Name, n.Help, n.Value, labels...)
		}
	})
}
