package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newStatus(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the share is",
		Long: `Status asks the running server by the control socket in its state directory.
Without a server it opens the volumes that are given, says what it finds, and
exits with 4.

` + exitHelp,
	}
	a := newAsker(cmd, io)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(cmd, func(in share.Manager) error {
			s, err := in.Status(cmd.Context())
			if err != nil {
				return err
			}
			if *a.json {
				err = printJSON(io.Out, s)
			} else {
				err = printStatus(io.Out, &s)
			}
			if err == nil && !s.Running {
				err = &quietError{exitNotRunning}
			}
			return err
		})
	}
	return cmd
}

func printStatus(w io.Writer, s *share.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if s.Running {
		fmt.Fprintf(t, "server\tprocess %d, sheaf %s, since %s\n", s.PID, s.Build, s.Started.Format("2006-01-02 15:04:05 MST"))
		fmt.Fprintf(t, "listens\t%s, engine %s\n", s.Listen, s.Engine)
		fmt.Fprintf(t, "mount\t%s\n", s.Mount)
	} else {
		fmt.Fprintf(t, "server\tnot running\n")
	}
	fmt.Fprintf(t, "share\t%s\n", s.Share)
	if s.Squashed {
		fmt.Fprintf(t, "callers\tall squashed to uid %d, the server's own\n", s.UID)
	}
	for i, e := range s.Exports {
		label := "exports"
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(t, "%s\t%s\n", label, e)
	}
	if text := indexText(&s.Index); text != "" {
		fmt.Fprintf(t, "index\t%s\n", text)
	}
	if text := scanText(&s.Scan); text != "" {
		fmt.Fprintf(t, "scan\t%s\n", text)
	}
	if len(s.Translators) > 0 {
		names := make([]string, len(s.Translators))
		for i, l := range s.Translators {
			names[i] = l.Name
		}
		fmt.Fprintf(t, "translators\t%s, from the top\n", strings.Join(names, ", "))
		for _, l := range s.Translators {
			for _, line := range l.Lines {
				fmt.Fprintf(t, "%s\t%s\n", l.Name, line)
			}
		}
	}
	if c := s.Lookups; c != nil {
		fmt.Fprintf(t, "look-ups\t%d there and %d not, answered from memory; %d asked volumes, in %d what was known was not believed\n", c.Hits, c.Misses, c.Asked, c.Refused)
		fmt.Fprintf(t, "memory\t%s for %d objects and %d absent names; %d directories proved anew, %d went for want of room\n", humanBytes(uint64(c.Memory)), c.Nodes, c.Absences, c.Revalidated, c.Evicted)
	}
	if c := s.Traffic; c != nil {
		fmt.Fprintf(t, "traffic\t%d connections of %d clients, %d calls answered, %d in flight and %d of them for long, %d repeated\n", c.Connections, c.Clients, c.Calls, c.InFlight, c.Slow, c.Repeated)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return printVolumes(w, s.Volumes)
}

// indexText says what is not ordinary about the index; nothing of one that is on.
func indexText(i *share.IndexStatus) string {
	var text string
	switch i.State {
	case share.IndexPaused:
		text = "learns nothing new"
	case share.IndexOff:
		text = "off, the volumes are asked each time"
	default:
		return ""
	}
	if i.Error != "" {
		return text + ": " + i.Error + "; start the server again"
	}
	return fmt.Sprintf("%s: %s are free beside the state directory and %s are wanted; make room there", text, humanBytes(i.Free), humanBytes(i.Floor))
}
