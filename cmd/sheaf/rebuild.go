package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newRebuild(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Read all that is on the volumes into the index",
		Long: `Rebuild lists every directory of the share and looks at every name, whatever the
index says of them, and writes down what it finds. Nobody has to run it: the server
does the same by itself, with less haste, when the index is gone or in doubt. The
share is served meanwhile. Without a server the volumes that are given are opened.

On a terminal it shows how far it is; about how much there is, is taken from what
the file systems count. ^C ends it; what was found by then stays.

` + exitHelp,
	}
	a := newAsker(cmd, io)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(cmd, func(in share.Manager) error {
			bar := newProgress(io.Err)
			s, err := in.Rebuild(cmd.Context(), func(s share.ScanStatus) {
				bar.at(fmt.Sprintf("reading the volumes: %d directories, %.0f names a second", s.Directories, s.Rate), s.Objects, wholeOf(&s))
			})
			bar.end()
			if err != nil {
				return err
			}
			if *a.json {
				return printJSON(io.Out, s)
			}
			return printRebuilt(io.Out, &s)
		})
	}
	return cmd
}

// wholeOf is how much there is for the bar; -1: not known. It is an estimate: who has come so far is not at
// the end yet.
func wholeOf(s *share.ScanStatus) int64 {
	if s.Expected == 0 {
		return -1
	}
	return max(s.Expected, s.Objects+1)
}

func printRebuilt(w io.Writer, s *share.ScanStatus) error {
	took := time.Duration(s.Elapsed * float64(time.Second)).Round(time.Millisecond)
	_, err := fmt.Fprintf(w, "%d directories with %d names are known, %d of them new; it took %v\n", s.Directories, s.Objects, s.Entered, took)
	for _, name := range s.Missing {
		if err == nil {
			_, err = fmt.Fprintf(w, "volume %s is not there: what lies on it is known as it was\n", name)
		}
	}
	return err
}

// scanText says what the walk over the volumes does; nothing if it is not under way and knows everything.
func scanText(s *share.ScanStatus) string {
	switch {
	case s.Running:
		text := fmt.Sprintf("%d directories, %d names", s.Directories, s.Objects)
		if s.Expected > 0 {
			text += fmt.Sprintf(" of about %d", max(s.Expected, s.Objects))
		}
		return fmt.Sprintf("under way (%s): %s, %.0f a second", s.Why, text, s.Rate)
	case s.Error != "":
		return "not everything could be seen, it is tried again: " + s.Error
	case !s.Whole:
		return "waits: not all that is on the volumes is known yet"
	}
	return ""
}
