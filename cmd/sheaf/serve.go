package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newServe(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the share until it is told to stop",
		Long: `Serve opens the volumes, listens, prints one line with the word "ready" and the
command that mounts the share, and serves until SIGTERM or SIGINT. Then it stops
accepting, finishes what is in flight, flushes and closes; a second signal ends it
at once. SIGHUP reads the configuration again: exports, translators and the log level
change, a bad configuration is refused whole, and what needs a restart is named in the
log.

A server that does not run as root can act only as its own user: every caller is
squashed to that.

Every setting can be given as a flag, in the environment as SHEAF_SETTING, and in
the file that --config names. "sheaf config print --help" says more.

` + exitHelp,
		Example: `  sheaf serve --adopt --volume a=/mnt/disk1 --volume b=/mnt/disk2 --state /var/lib/sheaf
  sheaf serve --config /etc/sheaf/sheaf.yaml`,
	}
	l := newLoader(cmd.Flags(), allSettings)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := l.load()
		if err != nil {
			return err
		}
		s := &server{streams: io, loader: l, cfg: cfg}
		return s.run(cmd.Context())
	}
	return cmd
}

func allSettings(*share.Setting) bool { return true }

// A server is one run of `sheaf serve`.
type server struct {
	*streams
	loader *loader
	cfg    share.Config
	level  slog.LevelVar
	log    *slog.Logger
	share  *share.Share
}

func (s *server) run(ctx context.Context) error {
	s.level.Set(s.cfg.LogLevel)
	s.log = newLogger(s.Err, s.cfg.LogFormat, &s.level)
	setMemoryLimit(s.cfg.EffectiveMemoryLimit())
	var err error
	s.share, err = share.Open(ctx, s.cfg, share.Options{Logger: s.log, Build: version()})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- s.share.Serve() }()
	s.announce()
	err = s.wait(ctx, served)
	s.notify(daemon.SdNotifyStopping)
	// The server's own context: the one that was cancelled is the reason to stop.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
	defer cancel()
	s.log.Info("stopping", "timeout", s.cfg.ShutdownTimeout)
	if err = errors.Join(err, s.share.Shutdown(stop)); err != nil {
		return err
	}
	s.log.Info("stopped")
	return nil
}

// wait serves until ctx ends or serving fails, and reloads when told to.
func (s *server) wait(ctx context.Context, served <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return err
		case <-s.Reload:
			s.reload(ctx)
		}
	}
}

// announce says that the share can be mounted, and how: one line.
func (s *server) announce() {
	if uid, squashed := s.share.Squashed(); squashed {
		s.log.Info("not running as root: every caller is squashed to the server's own user", "uid", uid)
	}
	fmt.Fprintf(s.Out, "sheaf: ready, mount with: %s\n", s.share.MountCommand())
	s.notify(daemon.SdNotifyReady)
}

// reload reads the configuration again. Nothing changes unless all of it is good.
func (s *server) reload(ctx context.Context) {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer s.notify(daemon.SdNotifyReady)
	cfg, _, err := s.loader.load()
	if err == nil {
		err = s.share.Reload(ctx, cfg)
	}
	if err != nil {
		for _, line := range lines(err) {
			s.log.Error("configuration refused, the old one stays", "op", "reload", "err", line)
		}
		return
	}
	if slices.Equal(cfg.Volumes, s.share.Configured()) { // volumes were added or removed while it runs, and now the file says so
		s.cfg.Volumes = cfg.Volumes
	}
	changed, restart := s.cfg.Differences(&cfg)
	s.level.Set(cfg.LogLevel)
	s.cfg.LogLevel, s.cfg.Exports, s.cfg.ShutdownTimeout = cfg.LogLevel, cfg.Exports, cfg.ShutdownTimeout
	s.cfg.Translators = cfg.Translators
	s.log.Info("configuration read again", "op", "reload", "changed", changed)
	if len(restart) > 0 {
		s.log.Warn("some settings take effect only when the server is started again", "op", "reload", "settings", restart)
	}
}

// notify tells the service manager, if there is one (sd_notify(3)).
func (s *server) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("the service manager cannot be told", "op", "notify", "err", err)
	}
}

// setMemoryLimit makes the garbage collector keep the process within limit bytes,
// unless the environment said something already: what is bounded is then not
// doubled by garbage.
func setMemoryLimit(limit int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
