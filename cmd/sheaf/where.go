package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newWhere(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "where PATH",
		Short: "Show on which volume an object lies",
		Long: `Where prints the volume, the node and the path on the volume of the object at PATH,
which is a path in the share; symbolic links on the way are not followed. With
--lookup it also says which fact answers a look-up of the name. It asks the running
server; without one it opens the volumes that are given. Of what lies on a volume that is
away it says what is known.

` + exitHelp,
		Args: cobra.ExactArgs(1),
	}
	a := newAsker(cmd, io)
	lookup := cmd.Flags().Bool("lookup", false, "say which fact answers a look-up of the name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := share.CheckPath(args[0]); err != nil {
			return usageError{err}
		}
		return a.ask(cmd, func(in share.Manager) error {
			found, err := in.Where(cmd.Context(), args[0], *lookup)
			if err != nil {
				return err
			}
			if *a.json {
				return printJSON(io.Out, found)
			}
			return printWhere(io.Out, &found)
		})
	}
	return cmd
}

func printWhere(w io.Writer, found *share.Where) error {
	for _, p := range found.Places {
		node, note := cmp.Or(found.Node, "-"), ""
		if p.State != "" {
			note = fmt.Sprintf("  (%s: %s)", p.State, p.Reason)
		}
		if _, err := fmt.Fprintf(w, "%s  %s  %s%s\n", p.Volume, node, printable(p.Path), note); err != nil {
			return err
		}
	}
	if found.Lookup == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "a look-up is answered %q: %s\n", found.Lookup.Answer, found.Lookup.Fact)
	return err
}

// printable is t as a terminal can take it: names may hold control characters.
func printable(t share.Text) string {
	if quoted := strconv.Quote(string(t)); len(quoted) != len(t)+2 {
		return quoted
	}
	return string(t)
}
