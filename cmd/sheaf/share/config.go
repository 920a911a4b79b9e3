package share

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sheaf/vfs/translator"
	"sheaf/vfs/union"
)

// Config says what to serve and how. [Defaults] is where to begin; the meaning,
// unit and default of each field is in [Settings], under the key named here.
type Config struct {
	State   string   // state
	Listen  string   // listen
	Engine  string   // engine: EngineNative or EngineGoNFS
	Adopt   bool     // adopt
	Volumes []Volume // volumes, in volume order
	Exports []string // exports, lines of exports(5); none: this host only
	Hide    []string // hide, patterns of path.Match
	// Translators are the layers over the share, from the top.
	Translators []translator.Spec
	Lookups     string // lookups
	Absences    int64  // absences
	Trust       time.Duration
	Watch       string        // watch, a local.WatchMode
	Watched     time.Duration // trust-watched
	WatchDirs   int64         // watch-directories; 0: half of what the system allows
	// Faults and Delays make volumes misbehave, for tests.
	Faults []VolumeFault
	Delays []VolumeDelay
	// MetricsListen is where metrics are served over TCP; empty: nowhere.
	MetricsListen string // metrics-listen
	Pprof         bool
	LogLevel      slog.Level
	// LogFormat is "text" or "json".
	LogFormat string

	// Volumes that do not answer, or are not there.
	VolumeDeadline time.Duration // volume-deadline
	OfflineWait    time.Duration
	VolumeWorkers  int64 // calls of each kind
	ProbeEvery     time.Duration

	// Limits of the protocol.
	ReadMax         int64 // rtmax, bytes
	WriteMax        int64 // wtmax, bytes
	Connections     int64
	Calls           int64 // calls in flight per connection
	ConnectionBytes int64 // bytes in flight per connection
	Bytes           int64 // bytes in flight of all connections
	Workers         int64
	ReplyCache      int64 // bytes
	RecordTimeout   time.Duration
	WriteTimeout    time.Duration
	IdleTimeout     time.Duration

	// Limits of one client, and of all, so that one leaves the others their share.
	ClientConnections int64
	ClientCalls       int64
	ClientBytes       int64
	ClientWorkers     int64
	TotalCalls        int64
	SlowCalls         int64

	// Limits of the share.
	OpenFiles       int64
	OpenDirs        int64
	Memory          int64 // bytes for names and attributes
	MemoryLimit     int64 // bytes of the process; 0: as the other limits need
	ShutdownTimeout time.Duration
}

// Volume is one volume of a [Config].
type Volume struct {
	Name      string // the operator's name for it, see [CheckVolumeName]
	Dir       string // its directory
	Exclusive bool   // nothing but this server changes it
}

// Engines that can serve the share.
const (
	EngineNative = "native"
	EngineGoNFS  = "go-nfs"
)

// Defaults is a Config with every default and no volumes.
func Defaults() Config {
	var c Config
	for _, s := range Settings {
		if err := s.Set(&c, s.Default()); err != nil {
			panic(fmt.Sprintf("share: default of %s: %v", s.Key, err))
		}
	}
	return c
}

// A ConfigError is one mistake in a configuration.
type ConfigError struct {
	Key     string // the setting; empty: the configuration as a whole
	Entry   int    // of a list, from 1; 0: the setting as a whole
	Problem string // what is wrong, with the value
	Do      string // what to do about it; may be empty
	Source  string // where the value came from; may be empty
}

// Error prints "key: problem (what to do), from source".
func (e *ConfigError) Error() string {
	var b strings.Builder
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	if e.Do != "" {
		b.WriteString("; " + e.Do)
	}
	if e.Source != "" {
		fmt.Fprintf(&b, " (from %s)", e.Source)
	}
	return b.String()
}

// IsConfig reports whether err is about a configuration, rather than about what
// came of it.
func IsConfig(err error) bool {
	var e *ConfigError
	return errors.As(err, &e)
}

// Validate finds every mistake that can be seen without looking at the disk. The
// error joins a [ConfigError] for each.
func (c *Config) Validate() error {
	var errs []error
	add := func(key, do, format string, args ...any) {
		errs = append(errs, &ConfigError{Key: key, Problem: fmt.Sprintf(format, args...), Do: do})
	}
	if c.State == "" {
		add("state", "name the directory that keeps the index", "no directory is given")
	}
	if err := checkListen(c.Listen); err != nil {
		add("listen", "", "%v", err)
	}
	if c.MetricsListen != "" {
		if err := checkListen(c.MetricsListen); err != nil {
			add("metrics-listen", "", "%v", err)
		}
	}
	if len(c.Volumes) == 0 {
		add("volumes", "give at least one, --volume NAME=DIR or a list in the file", "none is given")
	}
	if n := len(c.Volumes); n > union.MaxVolumes {
		add("volumes", "join some of them, or serve them as two shares", "%d are given, and a share has at most %d", n, union.MaxVolumes)
	}
	names := map[string]bool{}
	for _, v := range c.Volumes {
		if err := CheckVolumeName(v.Name); err != nil {
			add("volumes", "", "%v", err)
		}
		if names[v.Name] {
			add("volumes", "give each volume a name of its own", "two are called %q", v.Name)
		}
		names[v.Name] = true
		if v.Dir == "" {
			add("volumes", "", "%q has no directory", v.Name)
		}
	}
	for _, p := range c.Hide {
		if _, err := path.Match(p, "x"); err != nil || p == "" || strings.Contains(p, "/") {
			add("hide", "", "%q is no pattern for a name: * ? and [...] match within one name", p)
		}
	}
	errs = append(errs, c.checkLimits()...)
	errs = append(errs, c.checkTranslators()...)
	errs = append(errs, c.checkTrouble(names)...)
	return errors.Join(errs...)
}

// checkLimits finds limits that contradict each other. The range of each alone
// is in Settings.
func (c *Config) checkLimits() []error {
	var errs []error
	least := max(c.ReadMax, c.WriteMax)
	for _, l := range []struct {
		key   string
		value int64
		least int64
		of    string
	}{
		{"connection-bytes", c.ConnectionBytes, least, "rtmax and wtmax"},
		{"client-bytes", c.ClientBytes, least, "rtmax and wtmax"},
		{"bytes", c.Bytes, c.ConnectionBytes, "connection-bytes"},
	} {
		if l.value < l.least {
			errs = append(errs, &ConfigError{
				Key:     l.key,
				Problem: fmt.Sprintf("%s is less than %s, which is %s", FormatBytes(l.value), l.of, FormatBytes(l.least)),
				Do:      "one call of that size could never be served",
			})
		}
	}
	if c.MemoryLimit != 0 && c.MemoryLimit < c.leastMemory() {
		errs = append(errs, &ConfigError{
			Key:     "memory-limit",
			Problem: fmt.Sprintf("%s is less than memory, bytes and reply-cache need together, %s", FormatBytes(c.MemoryLimit), FormatBytes(c.leastMemory())),
			Do:      "lower those, or leave it at 0",
		})
	}
	return errs
}

// leastMemory is what the bounded parts of the process may use together.
func (c *Config) leastMemory() int64 { return c.Memory + c.Bytes + c.ReplyCache }

// indexMemory is what the index's engine uses beside the bounded parts:
// 320–410 MB resident while it takes in rows (spikes §7), and the heap of calls.
const indexMemory = 512 << 20

// EffectiveMemoryLimit is the soft limit for the Go heap, in bytes: memory-limit, or what
// the limits add up to.
func (c *Config) EffectiveMemoryLimit() int64 {
	if c.MemoryLimit != 0 {
		return c.MemoryLimit
	}
	return c.leastMemory() + indexMemory
}

// VolumeNameMax is the longest name of a volume, in bytes: it becomes a part of
// names of objects (NAME.conflict-VOLUME).
const VolumeNameMax = 32

// CheckVolumeName says what is wrong with a volume's name: letters, digits,
// dots, dashes and underscores, beginning with a letter or digit, at most
// VolumeNameMax bytes.
func CheckVolumeName(name string) error {
	ok := func(i int, r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return true
		}
		return i > 0 && strings.ContainsRune("._-", r)
	}
	if name == "" || len(name) > VolumeNameMax {
		return fmt.Errorf("the name %q has %d bytes; want 1 to %d", name, len(name), VolumeNameMax)
	}
	for i, r := range name {
		if !ok(i, r) {
			return fmt.Errorf("the name %q holds %q; want letters, digits, . _ and -, a letter or digit first", name, r)
		}
	}
	return nil
}

// ParseVolume reads NAME=DIR or NAME,exclusive=DIR.
func ParseVolume(s string) (Volume, error) {
	name, dir, ok := strings.Cut(s, "=")
	if !ok || dir == "" {
		return Volume{}, fmt.Errorf("volume %q: want NAME=DIR, or NAME,exclusive=DIR", s)
	}
	name, exclusive := strings.CutSuffix(name, exclusiveSuffix)
	if name == "" {
		return Volume{}, fmt.Errorf("volume %q has no name: want NAME=DIR, or NAME,exclusive=DIR", s)
	}
	return Volume{Name: name, Dir: dir, Exclusive: exclusive}, CheckVolumeName(name)
}

const exclusiveSuffix = ",exclusive"

// String is v as ParseVolume reads it.
func (v Volume) String() string {
	if v.Exclusive {
		return v.Name + exclusiveSuffix + "=" + v.Dir
	}
	return v.Name + "=" + v.Dir
}

// checkListen wants HOST:PORT, with an empty host for every address.
func checkListen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port %q is not a number from 0 to 65535", addr, port)
	} else if n == 0 && host == "" {
		return fmt.Errorf("%q says neither where nor on which port to listen", addr)
	}
	if host == "" || net.ParseIP(host) != nil || hostname(host) {
		return nil
	}
	return fmt.Errorf("%q: %q is no address and no host name", addr, host)
}

// hostname reports whether s could be the name of a host (RFC 1123 section 2.1),
// with a zone for a link-local address.
func hostname(s string) bool {
	return len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_:%", r)
	})
}

// absolute makes c's directories absolute, so that they mean the same to every
// part and in every message.
func (c *Config) absolute() error {
	state, err := filepath.Abs(c.State)
	if err != nil {
		return fmt.Errorf("state directory %q: %w", c.State, err)
	}
	c.State = state
	c.Volumes = slices.Clone(c.Volumes)
	for i := range c.Volumes {
		dir, err := filepath.Abs(c.Volumes[i].Dir)
		if err != nil {
			return fmt.Errorf("volume %q: %w", c.Volumes[i].Name, err)
		}
		c.Volumes[i].Dir = dir
	}
	return nil
}

// Differences lists the keys of the settings that differ between c and o, and
// of these the ones that take effect only at a restart.
func (c *Config) Differences(o *Config) (changed, restart []string) {
	for _, s := range Settings {
		if slices.Equal(s.Get(c), s.Get(o)) {
			continue
		}
		changed = append(changed, s.Key)
		if !s.Reload {
			restart = append(restart, s.Key)
		}
	}
	return changed, restart
}
