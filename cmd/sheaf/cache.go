package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newCache(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look after what the server remembers",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheDrop(io))
	return cmd
}

func newCacheDrop(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop PATH",
		Short: "Forget what is known of an object",
		Long: `Drop forgets what the server remembers of the object at PATH, which is a path in the
share: its attributes and, of a directory, its names, those that are there and those that
are not, in memory and in the index. They are asked for on the volumes when they are needed.
Nobody has to do this: what others change is seen by itself. What is known of volumes that
are away stays, because it could not be learned again.

` + exitHelp,
		Args: cobra.ExactArgs(1),
	}
	a := newAsker(cmd, io)
	recursive := cmd.Flags().Bool("recursive", false, "also of all that is in the directory")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := share.CheckPath(args[0]); err != nil {
			return usageError{err}
		}
		return a.ask(cmd, func(in share.Manager) error {
			d, err := in.DropCache(cmd.Context(), share.DropRequest{Path: share.Text(args[0]), Recursive: *recursive})
			if err != nil {
				return err
			}
			if *a.json {
				return printJSON(io.Out, d)
			}
			_, err = fmt.Fprintf(io.Out, "forgot the names of %d directories, and the attributes of %d other objects\n", d.Directories, d.Objects)
			return err
		})
	}
	return cmd
}
