package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sheaf/meta"
	"sheaf/nfsd"
	"sheaf/nfsd/rpc"
	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/translator/metrics"
	"sheaf/vfs/union"
	"sheaf/vfs/volume"
)

// Options are what a Share gets from the program it runs in.
type Options struct {
	Logger *slog.Logger // nil: slog.Default()
	Build  string       // version of the program, for Status

	decorate func(name string, v volume.Volume) volume.Volume // what is between host and guard, for tests
	closing  *closing                                         // limits, for tests
}

// Share is an open share. Its methods are safe for concurrent use.
type Share struct {
	cfg     Config
	opt     Options
	log     *slog.Logger
	started time.Time

	state   *stateDir
	members *members
	id      identity
	index   *meta.Store
	union   *union.Union
	stack   *translator.Stack // over union; what is served
	engine  engine            // nil of a share that was opened for questions only
	listen  net.Listener      // of engine
	scrapes net.Listener      // of metrics over TCP; nil: none
	control *control
	metrics *metricsServer // nil: metrics are not served over TCP

	recorder *metrics.Recorder
	registry *prometheus.Registry

	mu      sync.Mutex // guards exports, and orders Reloads
	exports *nfsd.Exports
}

var _ Manager = (*Share)(nil)

// engine is a server of the share over NFS.
type engine interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Reload(context.Context, *nfsd.Exports) error
	Traffic() *Traffic // nil if it does not count
	Procs() []nfsd.ProcStats
	Clients() []nfsd.ClientStats // those with most calls first
	ExportPath(id uint64) string // empty: not known
}

// Open checks cfg and everything it names, opens the share and listens. Nothing is
// served before [Share.Serve], but clients' connections are accepted by
// the system. The checks and their order are in the package's documentation.
func Open(ctx context.Context, cfg Config, opt Options) (*Share, error) {
	s, err := open(ctx, cfg, opt, (*Share).bind)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Inspect opens the share for questions only: nothing listens, nothing is
// adopted. Its locks are taken meanwhile. What is learned goes to the index.
func Inspect(ctx context.Context, cfg Config, opt Options) (Manager, error) {
	cfg.Adopt = false
	s, err := open(ctx, cfg, opt, nil)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// open does all that a share needs to answer. bind, if there is one, is called
// when the state directory is locked and before anything is written to a volume.
func open(ctx context.Context, cfg Config, opt Options, bind func(*Share, context.Context) error) (*Share, error) {
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if opt.closing == nil {
		opt.closing = &closingLimits
	}
	s := &Share{cfg: cfg, opt: opt, log: opt.Logger, started: time.Now()}
	if err := errors.Join(s.cfg.Validate(), s.cfg.absolute()); err != nil {
		return nil, err
	}
	var err error
	if s.exports, err = parseExports(ctx, &s.cfg); err != nil {
		return nil, err
	}
	candidates := survey(ctx, s.cfg.Volumes)
	if err := checkDirs(candidates, s.cfg.State); err != nil {
		return nil, err
	}
	if s.state, err = openState(s.cfg.State); err != nil {
		return nil, err
	}
	if bind != nil {
		err = bind(s, ctx)
	}
	if err == nil {
		err = s.openVolumes(ctx, candidates)
	}
	if err != nil {
		s.state.discard = s.state.made && bind == nil // who only asks leaves nothing behind
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// bind takes the address. That comes before the volumes, so that a server that
// cannot have it has not adopted any.
func (s *Share) bind(ctx context.Context) (err error) {
	var lc net.ListenConfig
	s.listen, err = lc.Listen(ctx, "tcp", s.cfg.Listen)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; ports below 1024 are not for ordinary users, choose another with --listen", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; if another NFS server has the port, choose one with --listen", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; this host does not have that address, choose one with --listen", err)
	case err != nil:
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	if s.cfg.MetricsListen != "" {
		if s.scrapes, err = lc.Listen(ctx, "tcp", s.cfg.MetricsListen); err != nil {
			return fmt.Errorf("metrics: %w; choose another address with --metrics-listen", err)
		}
	}
	return nil
}

// openVolumes wires volumes, shared flushes and index to the union.
func (s *Share) openVolumes(ctx context.Context, candidates []*candidate) (err error) {
	// The index comes first: a server that cannot have it, on a full disk, has not adopted any volume.
	if s.index, err = meta.Open(meta.Options{Dir: filepath.Join(s.state.path, indexDir), Logger: s.log, Absences: int(s.cfg.Absences)}); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if s.members, err = openMembers(ctx, candidates, s.cfg.Adopt, s.log); err != nil {
		return err
	}
	if err := s.wire(); err != nil {
		return err
	}
	if s.id, err = parseIdentity(&s.members.common); err != nil {
		return err
	}
	if s.union, err = union.Open(ctx, s.unionOptions()); err != nil {
		return err
	}
	s.recorder = metrics.NewRecorder(s.exportPath)
	s.stack = translator.NewStack(s.union, kindsFor(s.recorder, filepath.Join(s.cfg.State, quotaDir)), s.log)
	s.registry = newRegistry(s)
	return nil
}

func (s *Share) unionOptions() union.Options {
	o := union.Options{
		Exclusive:   map[volume.ID]bool{},
		Modes:       map[volume.ID]volume.Mode{},
		Index:       s.index,
		Trust:       s.cfg.Trust,
		Watched:     s.cfg.Watched,
		OfflineWait: s.cfg.OfflineWait,
		Memory:      s.cfg.Memory,
		Absences:    int(s.cfg.Absences),
		OpenFiles:   int(s.cfg.OpenFiles),
		OpenDirs:    int(s.cfg.OpenDirs),
		Hide:        append([]string{}, s.cfg.Hide...),
		Log:         s.log,
	}
	switch s.cfg.Lookups {
	case "off":
		o.Lookups = union.LookupOff
	case "names":
		o.Lookups = union.LookupNames
	default:
		o.Lookups = union.LookupFull
	}
	for _, c := range s.members.all {
		o.Volumes = append(o.Volumes, c.vol)
		o.Exclusive[c.vol.ID()] = c.cfg.Exclusive
		if e := s.members.roster.member(c.id); e != nil {
			o.Modes[c.vol.ID()] = e.Mode
		}
	}
	return o
}

// start makes the engine, and answers at the control socket.
func (s *Share) start(ctx context.Context) (err error) {
	warnAboutFiles(&s.cfg, s.log)
	s.sayWeaknesses()
	s.sayTrouble()
	if err := s.stack.Load(ctx, s.cfg.Translators); err != nil {
		return translatorMistake(err)
	}
	if s.engine, err = s.newEngine(ctx); err != nil {
		return err
	}
	s.metrics = s.startMetrics()
	s.control, err = startControl(s.state, s, s.observeMux(s.cfg.Pprof), s.log)
	return err
}

// newEngine makes the server that the configuration wants.
func (s *Share) newEngine(ctx context.Context) (engine, error) {
	if s.cfg.Engine == EngineGoNFS {
		return s.newStock(ctx)
	}
	srv, err := nfsd.New(ctx, s.stack, nfsd.Options{
		Exports:     s.exports,
		HandleKey:   s.id.key,
		FSID:        s.id.fsid,
		ReadMax:     uint32(s.cfg.ReadMax),
		WriteMax:    uint32(s.cfg.WriteMax),
		ForceSquash: forceSquash(),
		Logger:      s.log,
		RPC: rpc.Config{
			MaxConns:      int(s.cfg.Connections),
			MaxCalls:      int(s.cfg.Calls),
			MaxConnBytes:  s.cfg.ConnectionBytes,
			MaxBytes:      s.cfg.Bytes,
			MaxWorkers:    int(s.cfg.Workers),
			ReplyCache:    s.cfg.ReplyCache,
			RecordTimeout: s.cfg.RecordTimeout,
			WriteTimeout:  s.cfg.WriteTimeout,
			IdleTimeout:   s.cfg.IdleTimeout,
			ClientConns:   int(s.cfg.ClientConnections),
			ClientCalls:   int(s.cfg.ClientCalls),
			ClientBytes:   s.cfg.ClientBytes,
			ClientWorkers: int(s.cfg.ClientWorkers),
			MaxAllCalls:   int(s.cfg.TotalCalls),
			MaxSlow:       int(s.cfg.SlowCalls),
		},
	})
	if err != nil {
		return nil, err
	}
	return native{srv}, nil
}

// native is our own server as an engine.
type native struct{ *nfsd.Server }

// Serve serves until Shutdown; nil then.
func (n native) Serve(l net.Listener) error {
	if err := n.Server.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
		return err
	}
	return nil
}

// Procs are the counters of NFS's procedures.
func (n native) Procs() []nfsd.ProcStats { return n.Stats().Procs }

func (n native) Traffic() *Traffic {
	st := n.Stats().RPC
	return &Traffic{
		Connections: st.Conns, Clients: st.Clients, Calls: st.Calls, Inline: st.Inline, InFlight: st.InFlight,
		Slow: st.Slow, TurnedAway: st.TurnedAway, BytesInFlight: st.BytesFlight, Repeated: st.CacheHits, Refused: st.Refused, Aborted: st.Aborted, Limited: st.Limited,
	}
}

// Serve serves until Shutdown, and returns nil then, or why it could not go on.
func (s *Share) Serve() error { return s.engine.Serve(s.listen) }

// Reload takes the exports and the translators of cfg. On an error nothing changes. What else
// differs takes effect when the share is opened again, see [Config.Differences].
func (s *Share) Reload(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The default depends on where the share listens, which does not change.
	cfg.Listen = s.cfg.Listen
	x, err := parseExports(ctx, &cfg)
	if err != nil {
		return err
	}
	layers, err := s.stack.Prepare(ctx, cfg.Translators)
	if err != nil {
		return translatorMistake(err)
	}
	if err := s.engine.Reload(ctx, x); err != nil {
		layers.Discard()
		return err
	}
	layers.Commit()
	s.recorder.ExportsChanged()
	s.exports = x
	return nil
}

// Addr is where the share is served.
func (s *Share) Addr() net.Addr { return s.listen.Addr() }

// FS is the share itself with its translators, for programs that serve it in another way.
func (s *Share) FS() vfs.FS { return s.stack }

// MountCommand is the command that mounts the first export on a Linux client.
func (s *Share) MountCommand() string {
	host, port, err := net.SplitHostPort(s.listen.Addr().String())
	if err != nil {
		host = s.listen.Addr().String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := "/"
	if len(s.exports.List) > 0 {
		path = s.exports.List[0].Path
	}
	return fmt.Sprintf("mount -t nfs -o vers=3,tcp,port=%s,mountport=%s,mountproto=tcp,nolock %s /mnt", port, port, shellQuote(host+":"+path))
}

// shellQuote is s as a word of the shell.
func shellQuote(s string) string {
	plain := !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-:[]@%+=,", r)
	})
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// forceSquash is who every caller becomes if this process can act only as itself.
func forceSquash() *nfsd.Identity {
	if os.Geteuid() == 0 {
		return nil
	}
	return &nfsd.Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}

// Squashed reports whether every caller is squashed to the server's own user, and
// to which uid.
func (s *Share) Squashed() (uid int, yes bool) { return os.Geteuid(), os.Geteuid() != 0 }
