package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newScript(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "script",
		Short: "Look after scripts that are translators",
	}
	cmd.AddCommand(newScriptCheck(io))
	return cmd
}

func newScriptCheck(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Load a script as the server would, without serving",
		Long: `Check loads a Starlark script as a translator of kind script would, and prints the
functions that the server will call. What can be seen at load is said with its line: names
that look misspelt, wrong parameters, fields that a call does not have, options that the
script does not know.

` + exitHelp,
		Args: cobra.ExactArgs(1),
	}
	options := cmd.Flags().String("options", "", "the script's `options`, such as '{ttl: 5}'")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		c, err := share.CheckScript(args[0], *options)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printJSON(io.Out, c)
		case len(c.Functions) == 0:
			_, err = fmt.Fprintf(io.Out, "%s: it defines no function that the server calls\n", c.File)
		default:
			_, err = fmt.Fprintf(io.Out, "%s: %s\n", c.File, strings.Join(c.Functions, ", "))
		}
		return err
	}
	return cmd
}
