package share

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/volume/local"
)

// Kind is what a setting's values look like.
type Kind string

// The kinds.
const (
	KindText     Kind = "text"
	KindChoice   Kind = "choice"   // one of Setting.Choices
	KindBool     Kind = "bool"     // true or false
	KindBytes    Kind = "bytes"    // a number with KiB, MiB, GiB, TiB or nothing
	KindCount    Kind = "count"    // a number
	KindDuration Kind = "duration" // 90s, 1m30s, 250ms
	KindList     Kind = "list"     // several texts
)

// A Setting is one named value of a Config. The key is its name in the file; the
// environment has it as SHEAF_KEY in capitals with _ for -, the command line as
// --FLAG.
type Setting struct {
	Key     string
	Flag    string // the name on the command line; a list's is in the singular
	Kind    Kind
	Choices []string // of KindChoice
	Min     int64    // of KindBytes, KindCount and KindDuration (in nanoseconds)
	Max     int64
	Grain   int64  // what values are a multiple of; 0: anything
	Value   string // how help texts call the value
	Help    string // what it means, in sentences
	Entries bool   // the entries of a list have keys, and are texts in YAML elsewhere than in the file
	Reload  bool   // a change takes effect when the configuration is read again

	def   func() []string
	field func(*Config) any // a pointer to the field
}

// Env is the setting's name in the environment.
func (s *Setting) Env() string {
	return "SHEAF_" + strings.ToUpper(strings.ReplaceAll(s.Key, "-", "_"))
}

// Default is the value of a Config that says nothing: one text, or several of
// a list.
func (s *Setting) Default() []string { return s.def() }

func fixed(values ...string) func() []string { return func() []string { return values } }

// maxBytes is the most that a limit in bytes may be: sums of them cannot overflow.
const maxBytes = 1 << 50

// Settings are all the settings there are, in the order of the reference.
var Settings = []*Setting{
	{
		Key: "state", Flag: "state", Kind: KindText, Value: "DIR",
		Help: "Directory of this server's own state: the index, its lock and the control socket. It is derived from the volumes: without it the server starts again and reads them. It must not lie in a volume, nor a volume in it.",
		def:  func() []string { return []string{defaultState()} }, field: func(c *Config) any { return &c.State },
	},
	{
		Key: "listen", Flag: "listen", Kind: KindText, Value: "HOST:PORT",
		Help: "Address on which NFS and MOUNT are served, both on one TCP port. An empty host means every address, port 0 one that is free.",
		def:  fixed("127.0.0.1:2049"), field: func(c *Config) any { return &c.Listen },
	},
	{
		Key: "volumes", Flag: "volume", Kind: KindList, Value: "NAME=DIR",
		Help: "Directories that make up the share, in the order that decides between two objects at one path. NAME,exclusive=DIR says that nothing but this server changes the volume, so that what is known about it need not be looked at again. In the file an entry is such a text or has the keys name, dir and exclusive.",
		def:  fixed(), field: func(c *Config) any { return &c.Volumes },
	},
	{
		Key: "adopt", Flag: "adopt", Kind: KindBool,
		Help: "Take directories into the share that are not volumes yet, by writing .sheaf/volume.json into them. Their files are not touched.",
		def:  fixed("false"), field: func(c *Config) any { return &c.Adopt },
	},
	{
		Key: "exports", Flag: "export", Kind: KindList, Value: "'PATH CLIENT(OPTIONS) ...'", Reload: true,
		Help: "Directories of the share and who may mount them, in the grammar of exports(5). A client is an address, a network or *; options are rw ro root_squash no_root_squash all_squash anonuid= anongid= secure insecure sync async. Without any, this host may mount everything with rw,root_squash,insecure.",
		def:  fixed(), field: func(c *Config) any { return &c.Exports },
	},
	{
		Key: "engine", Flag: "engine", Kind: KindChoice, Choices: []string{EngineNative, EngineGoNFS},
		Help: "Which NFS server answers. native is the one that keeps the promises; go-nfs is the stock library, for comparison only.",
		def:  fixed(EngineNative), field: func(c *Config) any { return &c.Engine },
	},
	{
		Key: "translators", Flag: "translator", Kind: KindList, Value: "'{kind: KIND, ...}'", Entries: true, Reload: true,
		Help: "Layers between NFS and the volumes, from the top, next to NFS, down. An entry has a kind, a name where there are several of a kind, and the kind's options: " + kindHelp(),
		def:  fixed(), field: func(c *Config) any { return &c.Translators },
	},
	{
		Key: "hide", Flag: "hide", Kind: KindList, Value: "PATTERN",
		Help: "Names at the root of a volume that the share does not show: * ? and [...] match within a name. An empty list hides nothing.",
		def:  fixed("lost+found"), field: func(c *Config) any { return &c.Hide },
	},
	{
		Key: "lookups", Flag: "lookups", Kind: KindChoice, Choices: []string{"off", "names", "full"},
		Help: "What look-ups may be answered from without asking the volumes: off nothing, names single names, full whole directories. For measurements.",
		def:  fixed("full"), field: func(c *Config) any { return &c.Lookups },
	},
	{
		Key: "absences", Flag: "absences", Kind: KindCount, Min: 64, Max: 1 << 28,
		Help: "Names that are remembered not to be there, one by one, of directories that are not known completely because they are too large to list: in memory, of which they take a quarter at most, 48 bytes each, and as many in the index.",
		def:  fixed("1000000"), field: func(c *Config) any { return &c.Absences },
	},
	{
		Key: "trust", Flag: "trust", Kind: KindDuration, Min: int64(time.Millisecond), Max: int64(time.Hour),
		Help: "How long what is known about names and attributes of a volume that others may change is believed before it is looked at again.",
		def:  fixed("1s"), field: func(c *Config) any { return &c.Trust },
	},
	{
		Key: "watch", Flag: "watch", Kind: KindChoice, Choices: []string{string(local.WatchAuto), string(local.WatchFanotify), string(local.WatchInotify), string(local.WatchOff)},
		Help: "How volumes are watched for changes that others make. auto takes the first that works: fanotify for the whole file system, which wants root; inotify for directories in memory, up to half of fs.inotify.max_user_watches. Without a watch changes are seen after trust.",
		def:  fixed(string(local.WatchAuto)), field: func(c *Config) any { return &c.Watch },
	},
	{
		Key: "watch-directories", Flag: "watch-directories", Kind: KindCount, Min: 0, Max: 1 << 30,
		Help: "Most directories that are watched by inotify, of all volumes together; 0 means half of fs.inotify.max_user_watches. What others change in the rest is seen after trust.",
		def:  fixed("0"), field: func(c *Config) any { return &c.WatchDirs },
	},
	{
		Key: "trust-watched", Flag: "trust-watched", Kind: KindDuration, Min: int64(time.Millisecond), Max: int64(24 * time.Hour),
		Help: "How long names are believed where a watch tells what others change and lost nothing. Less than trust is trust. Attributes are believed for trust, watched or not: a watch does not tell of each write.",
		def:  fixed("1m"), field: func(c *Config) any { return &c.Watched },
	},
	{
		Key: "volume-deadline", Flag: "volume-deadline", Kind: KindDuration, Min: int64(time.Second), Max: int64(time.Hour),
		Help: "How long a volume may take for a call. A read-only call is then answered without it, and the volume is refused until it works again; a flush has ten times as long.",
		def:  fixed("30s"), field: func(c *Config) any { return &c.VolumeDeadline },
	},
	{
		Key: "offline-wait", Flag: "offline-wait", Kind: KindDuration, Min: int64(time.Millisecond), Max: int64(24 * time.Hour),
		Help: "How long clients are told to ask again (JUKEBOX) for what lies on a volume that is away; from then on it is an input/output error.",
		def:  fixed("10s"), field: func(c *Config) any { return &c.OfflineWait },
	},
	{
		Key: "volume-workers", Flag: "volume-workers", Kind: KindCount, Min: 1, Max: 4096,
		Help: "Calls at a time that are with one volume, of each kind: those that only look, and those that change. Up to four times as many wait for their turn, and more are refused.",
		def:  fixed("64"), field: func(c *Config) any { return &c.VolumeWorkers },
	},
	{
		Key: "probe-every", Flag: "probe-every", Kind: KindDuration, Min: int64(100 * time.Millisecond), Max: int64(time.Hour),
		Help: "How often a volume's directory is looked at, whether it still is the volume, and tried again while it is away. A disk that sleeps is not woken.",
		def:  fixed("1s"), field: func(c *Config) any { return &c.ProbeEvery },
	},
	{
		Key: "rtmax", Flag: "rtmax", Kind: KindBytes, Min: 4 << 10, Max: 16 << 20, Grain: 4 << 10,
		Help: "Largest READ, a multiple of 4KiB.",
		def:  fixed("1MiB"), field: func(c *Config) any { return &c.ReadMax },
	},
	{
		Key: "wtmax", Flag: "wtmax", Kind: KindBytes, Min: 4 << 10, Max: 16 << 20, Grain: 4 << 10,
		Help: "Largest WRITE, a multiple of 4KiB.",
		def:  fixed("1MiB"), field: func(c *Config) any { return &c.WriteMax },
	},
	{
		Key: "connections", Flag: "connections", Kind: KindCount, Min: 1, Max: 1 << 20,
		Help: "Connections at a time. A further one takes the place of one of the client who has most, or of the one that is idle longest.",
		def:  fixed("1000"), field: func(c *Config) any { return &c.Connections },
	},
	{
		Key: "calls", Flag: "calls", Kind: KindCount, Min: 1, Max: 1 << 16,
		Help: "Calls in flight per connection. At the limit the connection is not read.",
		def:  fixed("128"), field: func(c *Config) any { return &c.Calls },
	},
	{
		Key: "connection-bytes", Flag: "connection-bytes", Kind: KindBytes, Min: 64 << 10, Max: maxBytes,
		Help: "Bytes in flight per connection. At the limit the connection is not read.",
		def:  fixed("32MiB"), field: func(c *Config) any { return &c.ConnectionBytes },
	},
	{
		Key: "bytes", Flag: "bytes", Kind: KindBytes, Min: 64 << 10, Max: maxBytes,
		Help: "Bytes in flight of all connections together.",
		def:  fixed("256MiB"), field: func(c *Config) any { return &c.Bytes },
	},
	{
		Key: "client-connections", Flag: "client-connections", Kind: KindCount, Min: 1, Max: 1 << 20,
		Help: "Connections of one client at a time. A client is an IPv4 address or an IPv6 network of 64 bits, loopback too. At the limit a further one takes the place of the client's one that is idle longest, or is closed at once.",
		def:  fixed("1000"), field: func(c *Config) any { return &c.ClientConnections },
	},
	{
		Key: "client-calls", Flag: "client-calls", Kind: KindCount, Min: 1, Max: 1 << 20,
		Help: "Calls in flight of one client, on all its connections, that need a worker. At the limit they are not read.",
		def:  fixed("2048"), field: func(c *Config) any { return &c.ClientCalls },
	},
	{
		Key: "client-bytes", Flag: "client-bytes", Kind: KindBytes, Min: 64 << 10, Max: maxBytes,
		Help: "Bytes in flight of one client. At the limit its connections are not read.",
		def:  fixed("128MiB"), field: func(c *Config) any { return &c.ClientBytes },
	},
	{
		Key: "client-workers", Flag: "client-workers", Kind: KindCount, Min: 1, Max: 1 << 16,
		Help: "Calls at a time of one client that may wait for a volume. Clients that have such calls at the same time share this number equally, and one is always allowed.",
		def:  fixed("256"), field: func(c *Config) any { return &c.ClientWorkers },
	},
	{
		Key: "total-calls", Flag: "total-calls", Kind: KindCount, Min: 1, Max: 1 << 24,
		Help: "Calls in flight of all clients that need a worker. At the limit they are not read; who has least goes first.",
		def:  fixed("16384"), field: func(c *Config) any { return &c.TotalCalls },
	},
	{
		Key: "slow-calls", Flag: "slow-calls", Kind: KindCount, Min: 1, Max: 1 << 20,
		Help: "Calls that may run for longer than 250ms, as on a disk that hangs, without counting against the limits above. One client has as many at most as are left for others.",
		def:  fixed("1024"), field: func(c *Config) any { return &c.SlowCalls },
	},
	{
		Key: "workers", Flag: "workers", Kind: KindCount, Min: 1, Max: 1 << 16,
		Help: "Calls at a time that may wait for a volume.",
		def:  fixed("1024"), field: func(c *Config) any { return &c.Workers },
	},
	{
		Key: "reply-cache", Flag: "reply-cache", Kind: KindBytes, Min: 64 << 10, Max: maxBytes,
		Help: "Memory for replies kept against retransmissions.",
		def:  fixed("16MiB"), field: func(c *Config) any { return &c.ReplyCache },
	},
	{
		Key: "record-timeout", Flag: "record-timeout", Kind: KindDuration, Min: int64(time.Second), Max: int64(time.Hour),
		Help: "Time a client has to send a call, from the first byte to the last, and to send its first call after it has connected.",
		def:  fixed("1m"), field: func(c *Config) any { return &c.RecordTimeout },
	},
	{
		Key: "write-timeout", Flag: "write-timeout", Kind: KindDuration, Min: int64(time.Second), Max: int64(time.Hour),
		Help: "Time a client has to take the next piece of its replies.",
		def:  fixed("1m"), field: func(c *Config) any { return &c.WriteTimeout },
	},
	{
		Key: "idle-timeout", Flag: "idle-timeout", Kind: KindDuration, Min: int64(10 * time.Second), Max: int64(24 * time.Hour),
		Help: "Time after which a connection without calls is closed. Linux clients close theirs after 5 minutes.",
		def:  fixed("6m"), field: func(c *Config) any { return &c.IdleTimeout },
	},
	{
		Key: "open-files", Flag: "open-files", Kind: KindCount, Min: 16, Max: 1 << 20,
		Help: "Files of volumes kept open.",
		def:  fixed("1024"), field: func(c *Config) any { return &c.OpenFiles },
	},
	{
		Key: "open-dirs", Flag: "open-dirs", Kind: KindCount, Min: 64, Max: 1 << 20,
		Help: "Directories of volumes kept open.",
		def:  fixed("4096"), field: func(c *Config) any { return &c.OpenDirs },
	},
	{
		Key: "memory", Flag: "memory", Kind: KindBytes, Min: 8 << 20, Max: maxBytes,
		Help: "Memory for names and attributes.",
		def:  fixed("256MiB"), field: func(c *Config) any { return &c.Memory },
	},
	{
		Key: "memory-limit", Flag: "memory-limit", Kind: KindBytes, Min: 0, Max: maxBytes,
		Help: "Soft limit for the memory of the whole process; 0 is what memory, bytes and reply-cache need together and 512MiB for the index. GOMEMLIMIT in the environment goes before.",
		def:  fixed("0"), field: func(c *Config) any { return &c.MemoryLimit },
	},
	{
		Key: "shutdown-timeout", Flag: "shutdown-timeout", Kind: KindDuration, Min: 0, Max: int64(time.Hour),
		Help: "Time that calls in flight have to finish when the server is asked to stop.",
		def:  fixed("30s"), field: func(c *Config) any { return &c.ShutdownTimeout }, Reload: true,
	},
	{
		Key: "faults", Flag: "fault", Kind: KindList, Value: "'{volume: NAME, ...}'", Entries: true,
		Help: "For tests only: operations on a volume's host that are made to fail. An entry has volume, verbs (operations or their classes, all), chance (0 to 1, 1), skip (how many first, 0), count (how many then, 0: any number), status (io) and after (true: the operation is made before it fails).",
		def:  fixed(), field: func(c *Config) any { return &c.Faults },
	},
	{
		Key: "delays", Flag: "delay", Kind: KindList, Value: "'{volume: NAME, ...}'", Entries: true,
		Help: "For tests only: operations on a volume's host that are made to take longer. An entry has volume, verbs, chance, skip and count like one of faults, min and max (durations).",
		def:  fixed(), field: func(c *Config) any { return &c.Delays },
	},
	{
		Key: "metrics-listen", Flag: "metrics-listen", Kind: KindText, Value: "HOST:PORT",
		Help: "Address on which /metrics, for Prometheus, and /healthz are served over TCP, to whoever reaches it. Empty: only on the control socket. Operations of volumes are timed if it is set, or if there is a translator metrics at the start.",
		def:  fixed(""), field: func(c *Config) any { return &c.MetricsListen },
	},
	{
		Key: "pprof", Flag: "pprof", Kind: KindBool,
		Help: "Serve /debug/pprof on the control socket, never over TCP.",
		def:  fixed("false"), field: func(c *Config) any { return &c.Pprof },
	},
	{
		Key: "log-level", Flag: "log-level", Kind: KindChoice, Choices: []string{"debug", "info", "warn", "error"}, Reload: true,
		Help: "The least severe that is logged.",
		def:  fixed("info"), field: func(c *Config) any { return &c.LogLevel },
	},
	{
		Key: "log-format", Flag: "log-format", Kind: KindChoice, Choices: []string{"text", "json"},
		Help: "How the log is written.",
		def:  fixed("text"), field: func(c *Config) any { return &c.LogFormat },
	},
}

// FindSetting is the setting called key, or nil.
func FindSetting(key string) *Setting {
	for _, s := range Settings {
		if s.Key == key {
			return s
		}
	}
	return nil
}

// defaultState is where a service or a user keeps such things (XDG Base
// Directory Specification; file-hierarchy(7)).
func defaultState() string {
	if os.Geteuid() == 0 {
		return "/var/lib/sheaf"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sheaf")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "sheaf")
	}
	return "" // Validate asks for one
}

// Get is the setting's value in c as Set reads it: one text, or several of a list.
func (s *Setting) Get(c *Config) []string {
	switch p := s.field(c).(type) {
	case *string:
		return []string{*p}
	case *bool:
		return []string{strconv.FormatBool(*p)}
	case *time.Duration:
		return []string{FormatDuration(*p)}
	case *int64:
		if s.Kind == KindBytes {
			return []string{FormatBytes(*p)}
		}
		return []string{strconv.FormatInt(*p, 10)}
	case *slog.Level:
		return []string{strings.ToLower(p.String())}
	case *[]string:
		return slices.Clone(*p)
	case *[]Volume:
		var all []string
		for _, v := range *p {
			all = append(all, v.String())
		}
		return all
	case *[]VolumeFault:
		return texts(*p)
	case *[]VolumeDelay:
		return texts(*p)
	case *[]translator.Spec:
		var all []string
		for i := range *p {
			all = append(all, (*p)[i].String())
		}
		return all
	default:
		panic(fmt.Sprintf("share: setting %s has a field of type %T", s.Key, p))
	}
}

// Set gives the setting in c the value that values say: one text, or any number
// of a list.
func (s *Setting) Set(c *Config, values []string) error {
	switch p := s.field(c).(type) {
	case *[]string:
		*p = slices.Clone(values)
		return nil
	case *[]Volume:
		return setVolumes(p, values)
	case *[]translator.Spec:
		return setSpecs(p, values)
	case *[]VolumeFault:
		return setEntries(p, values, parseFault)
	case *[]VolumeDelay:
		return setEntries(p, values, parseDelay)
	}
	if len(values) != 1 {
		return fmt.Errorf("want one value, not %d", len(values))
	}
	return s.setOne(s.field(c), values[0])
}

func (s *Setting) setOne(field any, v string) error {
	if s.Kind == KindChoice && !slices.Contains(s.Choices, v) {
		return fmt.Errorf("%q is not one of %s", v, strings.Join(s.Choices, ", "))
	}
	var err error
	switch p := field.(type) {
	case *string:
		*p = v
	case *bool:
		if v != "true" && v != "false" {
			return fmt.Errorf("%q is neither true nor false", v)
		}
		*p = v == "true"
	case *slog.Level:
		err = p.UnmarshalText([]byte(v))
	case *time.Duration:
		if *p, err = time.ParseDuration(v); err != nil {
			return fmt.Errorf("%q is no duration; write it like 90s, 1m30s or 250ms", v)
		}
		err = s.inRange(int64(*p))
	case *int64:
		if s.Kind == KindBytes {
			*p, err = ParseBytes(v)
		} else if *p, err = strconv.ParseInt(v, 10, 64); err != nil {
			return fmt.Errorf("%q is no number", v)
		}
		if err == nil {
			err = s.inRange(*p)
		}
	}
	return err
}

func (s *Setting) inRange(n int64) error {
	if n >= s.Min && n <= s.Max {
		if s.Grain != 0 && n%s.Grain != 0 {
			return fmt.Errorf("%s is no multiple of %s", s.show(n), s.show(s.Grain))
		}
		return nil
	}
	low, high := s.Range()
	return fmt.Errorf("%s is not between %s and %s", s.show(n), low, high)
}

// show writes a number as the setting's values are written.
func (s *Setting) show(n int64) string {
	switch s.Kind {
	case KindBytes:
		return FormatBytes(n)
	case KindDuration:
		return FormatDuration(time.Duration(n))
	default:
		return strconv.FormatInt(n, 10)
	}
}

func setVolumes(p *[]Volume, values []string) error {
	all := make([]Volume, 0, len(values))
	var errs []error
	for _, s := range values {
		v, err := ParseVolume(s)
		all, errs = append(all, v), append(errs, err)
	}
	*p = all
	return errors.Join(errs...)
}

// ParseBytes is vfs.ParseBytes, for the commands.
func ParseBytes(s string) (int64, error) { return vfs.ParseBytes(s) }

// FormatBytes is vfs.FormatBytes, for the commands.
func FormatBytes(n int64) string { return vfs.FormatBytes(n) }

// FormatDuration is vfs.FormatDuration, for the commands.
func FormatDuration(d time.Duration) string { return vfs.FormatDuration(d) }

// Range is the least and the greatest value as text, empty for a setting without a range.
func (s *Setting) Range() (low, high string) {
	if s.Max == 0 {
		return "", ""
	}
	return s.show(s.Min), s.show(s.Max)
}
