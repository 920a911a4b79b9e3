package share

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// closing says how long each step of closing a share may take. Whatever hangs, Shutdown ends within
// their sum after the time its context gives to calls in flight: a service manager that kills what
// does not stop (TimeoutStopSec, 90 s) is not needed.
type closing struct {
	control time.Duration // questions under way at the control socket
	layers  time.Duration // translators, once no call is in them
	flush   time.Duration // what was written and not committed; clients have it still, and send it again
	index   time.Duration // rows that are queued, a table of what is in memory
	volumes time.Duration // all at once
}

var closingLimits = closing{control: 2 * time.Second, layers: 5 * time.Second, flush: 20 * time.Second, index: 10 * time.Second, volumes: 5 * time.Second}

// Shutdown stops accepting, lets the calls in flight finish, flushes and closes. When ctx ends
// first it goes on with what can be closed while calls hang in a volume: the next start does not
// believe the index, but looks at the volumes themselves, and a volume in which a call hangs
// keeps its lock until that comes back or the process ends.
func (s *Share) Shutdown(ctx context.Context) error {
	err := s.engine.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("calls in flight did not finish in time: %w", err)
	}
	return errors.Join(err, s.close(err == nil))
}

// Close closes a share that does not serve, or not any more. It ends in bounded time, see
// Shutdown.
func (s *Share) Close() error { return s.close(true) }

// close closes all there is. quiet says that no call is under way.
func (s *Share) close(quiet bool) error {
	limits := s.opt.closing
	errs := []error{s.closeDoors(limits)}
	if s.stack != nil && quiet {
		errs = append(errs, s.closeLayers(limits))
	}
	if s.union != nil && quiet {
		err := bounded(limits.flush, "flush what was written", s.union.Close)
		quiet = !errors.Is(err, errHangs)
		errs = append(errs, err)
	}
	if s.index != nil {
		errs = append(errs, s.closeIndex(limits, quiet))
	}
	if s.members != nil {
		errs = append(errs, bounded(limits.volumes, "close the volumes", s.members.close))
	}
	if s.state != nil {
		errs = append(errs, s.state.close())
	}
	return errors.Join(errs...)
}

// closeDoors lets nobody in any more.
func (s *Share) closeDoors(limits *closing) error {
	var errs []error
	if s.control != nil {
		ctx, cancel := context.WithTimeout(context.Background(), limits.control)
		defer cancel()
		errs = append(errs, bounded(2*limits.control, "close the control socket", func() error { return s.control.stop(ctx, s.state) }))
	}
	if s.metrics != nil {
		errs = append(errs, s.metrics.stop())
	} else if s.scrapes != nil {
		errs = append(errs, s.scrapes.Close())
	}
	if s.listen != nil {
		if err := s.listen.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// closeLayers ends what translators do in the background.
func (s *Share) closeLayers(limits *closing) error {
	ctx, cancel := context.WithTimeout(context.Background(), limits.layers)
	defer cancel()
	return s.stack.Close(ctx)
}

// closeIndex closes the index; if something may still change what it says, so that the next start does
// not believe it.
func (s *Share) closeIndex(limits *closing, quiet bool) error {
	if quiet {
		return bounded(limits.index, "close the index", s.index.Close)
	}
	return bounded(limits.index, "close the index", s.index.CloseUnclean)
}

// errHangs is in the error of a step that did not end in its time.
var errHangs = errors.New("it hangs")

// bounded makes a step and waits for it so long. What hangs ends with the process.
func bounded(limit time.Duration, what string, step func() error) error {
	done := make(chan error, 1)
	go func() { done <- step() }()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("%s: %w, and is given up after %s; it ends with the process", what, errHangs, FormatDuration(limit))
	}
}
