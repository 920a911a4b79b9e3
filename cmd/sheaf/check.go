package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newCheck(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare volumes, marks, conflicts and index with each other",
		Long: `Check compares what lies on the volumes, what Sheaf has written beside it, and the
index with each other, and prints what is not as it should be, a line each: a
fault is something that clients can be told wrongly, or that only you can put
right; a note harms nobody. The server goes on serving meanwhile; without one the
volumes that are given are opened.

With --repair it prints what repairing would do to each finding, and does
nothing; with --repair --yes it does it. Nothing is taken away that is not proved
to be of no use.

With --json each finding is an object on a line of its own, and the last line is
the summary.

` + exitHelp + `
  5  there are faults that were not repaired, or a volume could not be looked at`,
	}
	a := newAsker(cmd, io)
	repair := cmd.Flags().Bool("repair", false, "say what repairing would do; do it with --yes")
	yes := cmd.Flags().Bool("yes", false, "with --repair: do it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *yes && !*repair {
			return usageError{seeHelp(cmd, errors.New("--yes is for --repair"))}
		}
		p := &checkPrinter{out: io.Out, json: *a.json, would: *repair && !*yes, bar: newProgress(io.Err)}
		return a.ask(cmd, func(in share.Manager) error { return p.run(cmd.Context(), in, *repair && *yes) })
	}
	return cmd
}

// checkPrinter shows what a check finds.
type checkPrinter struct {
	out   io.Writer
	json  bool
	would bool // say what repairing would do
	bar   *progress
	err   error // of the first write that failed
}

func (p *checkPrinter) run(ctx context.Context, in share.Manager, repair bool) error {
	sum, err := in.Check(ctx, share.CheckRequest{Repair: repair}, p.item)
	p.bar.end()
	if err != nil {
		return err
	}
	p.summary(&sum)
	if p.err == nil && !sum.Clean {
		return &quietError{exitFound}
	}
	return p.err
}

func (p *checkPrinter) item(i share.CheckItem) {
	switch {
	case i.Progress != nil:
		g := i.Progress
		p.bar.at(fmt.Sprintf("checking %s: %d directories, %d rows of the index, %d findings", g.Phase, g.Directories, g.Rows, g.Findings),
			g.Directories+g.Objects+g.Rows, -1)
	case i.Finding != nil && p.json:
		p.line(i.Finding)
	case i.Finding != nil:
		p.print("%s\n", p.text(i.Finding))
	}
}

func (p *checkPrinter) print(format string, args ...any) {
	p.bar.clear()
	if _, err := fmt.Fprintf(p.out, format, args...); p.err == nil {
		p.err = err
	}
}

// line prints v as JSON on one line.
func (p *checkPrinter) line(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		p.err = err
		return
	}
	p.print("%s\n", b)
}

// text is a finding as a person reads it.
func (p *checkPrinter) text(f *share.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", f.Severity, f.Kind)
	if f.Volume != "" {
		fmt.Fprintf(&b, ": volume %s", f.Volume)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, ": %s", printable(f.Path))
	}
	if f.Node != "" {
		fmt.Fprintf(&b, " (%s)", f.Node)
	}
	fmt.Fprintf(&b, ": %s", f.What)
	switch {
	case f.Repaired:
		fmt.Fprintf(&b, "; repaired: %s", f.Repair)
	case p.would && f.Repair != "":
		fmt.Fprintf(&b, "; would repair: %s", f.Repair)
	case f.Do != "":
		fmt.Fprintf(&b, "; %s", f.Do)
	}
	if f.Error != "" && !strings.Contains(f.What, f.Error) {
		fmt.Fprintf(&b, " (%s)", f.Error)
	}
	return b.String()
}

func (p *checkPrinter) summary(s *share.CheckSummary) {
	if p.json {
		p.line(s)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Unchecked)) {
		p.print("volume %s could not be looked at: %s\n", name, s.Unchecked[name])
	}
	if s.Unlisted > 0 {
		p.print("%d findings came too fast to be listed; they are counted\n", s.Unlisted)
	}
	p.print("%d directories, %d other objects, %d rows of the index: %d faults, %d notes, %d repaired\n",
		s.Directories, s.Objects, s.Rows, s.Faults, s.Notes, s.Repaired)
	if p.would && s.Faults+s.Notes > 0 {
		p.print("nothing was changed; --repair --yes does what is said above\n")
	}
}
