package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

// An asker opens what a command asks: the running server, or else the share itself.
type asker struct {
	*streams
	loader *loader
	json   *bool
}

// newAsker adds the flags that every command needs which reads a share: where it is.
func newAsker(cmd *cobra.Command, io *streams) *asker {
	return &asker{streams: io, json: jsonFlag(cmd), loader: newLoader(cmd.Flags(), func(s *share.Setting) bool {
		return s.Key == "state" || s.Key == "volumes"
	})}
}

// ask calls f with the share. Without a server it opens the volumes of the
// configuration; if there are none, nobody can answer.
func (a *asker) ask(cmd *cobra.Command, f func(share.Manager) error) error {
	cfg, _, err := a.loader.loadUnchecked()
	if err != nil {
		return err
	}
	var in share.Manager
	in, err = share.Dial(cmd.Context(), cfg.State)
	if errors.Is(err, share.ErrNotRunning) && len(cfg.Volumes) > 0 {
		if err := cfg.Validate(); err != nil {
			return err
		}
		log := newLogger(a.Err, cfg.LogFormat, slog.LevelWarn)
		in, err = share.Inspect(cmd.Context(), cfg, share.Options{Logger: log, Build: version()})
	}
	if errors.Is(err, share.ErrNotRunning) && len(cfg.Volumes) == 0 {
		return fmt.Errorf("%w; start one, say with --state where it is, or give its volumes with --config or --volume to be asked without it", err)
	}
	if err != nil {
		return err
	}
	return errors.Join(f(in), in.Close())
}
