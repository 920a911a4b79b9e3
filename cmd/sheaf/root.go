package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sheaf/cmd/sheaf/share"
)

// Exit codes. They are part of the interface: scripts rely on them.
const (
	exitOK         = 0
	exitFailed     = 1 // the operation failed
	exitUsage      = 2 // the command line or the configuration is wrong
	exitNotFound   = 3 // what was asked for does not exist
	exitNotRunning = 4 // no server is running
	exitFound      = 5 // check found faults, or could not look at a volume
)

const exitHelp = `Exit codes:
  0  done
  1  failed
  2  the command line or the configuration is wrong
  3  what was asked for does not exist
  4  no server is running`

// streams is what a command may use of the process it runs in.
type streams struct {
	Out, Err io.Writer
	Reload   <-chan os.Signal // read the configuration again
}

// run runs one command line and gives its exit code.
func run(ctx context.Context, args []string, io *streams) int {
	root := newRoot(io)
	root.SetArgs(args)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, quiet := errors.AsType[*quietError](err); !quiet {
		for _, line := range lines(err) {
			fmt.Fprintln(io.Err, "sheaf:", line)
		}
	}
	return exitCode(err)
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// quietError gives an exit code to a command that has said everything already.
type quietError struct{ code int }

func (e *quietError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func exitCode(err error) int {
	var quiet *quietError
	var usage usageError
	switch {
	case errors.As(err, &quiet):
		return quiet.code
	case errors.As(err, &usage), share.IsConfig(err):
		return exitUsage
	case errors.Is(err, share.ErrNotRunning):
		return exitNotRunning
	case share.IsNotFound(err):
		return exitNotFound
	}
	return exitFailed
}

// lines are the messages of err, one for each error that was joined into it. An
// error that only wraps several prints more than these, and stays whole.
func lines(err error) []string {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	var all, texts []string
	for _, e := range joined.Unwrap() {
		all, texts = append(all, lines(e)...), append(texts, e.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []string{err.Error()}
	}
	return all
}

func newRoot(io *streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "sheaf",
		Short: "Serve several directories as one NFSv3 share",
		Long: `Sheaf gathers several directories into one NFSv3 share. They stay ordinary
directories: taken out of the share, each has the files it keeps at their paths.

` + exitHelp,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{seeHelp(cmd, flagFault(err))} })
	root.AddCommand(newServe(io), newStatus(io), newClients(io), newWhere(io), newCheck(io), newRebuild(io), newCache(io), newScript(io), newVolume(io), newConfig(io), newVersion(io))
	wrapArgs(root)
	return root
}

// wrapArgs makes a wrong number of arguments, and an unknown command, a mistake
// of usage, of c and all beneath it.
func wrapArgs(c *cobra.Command) {
	check := c.Args
	if check == nil {
		check = cobra.NoArgs
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		return usageError{seeHelp(cmd, argsFault(cmd, args))}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

// argsFault says what is wrong with arguments that cmd does not take.
func argsFault(cmd *cobra.Command, args []string) error {
	names := strings.Fields(cmd.Use)[1:]
	switch {
	case cmd.HasAvailableSubCommands():
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
	case len(names) == 0:
		return fmt.Errorf("%s takes no argument, and got %s", cmd.CommandPath(), quoted(args))
	case len(args) == 0:
		return fmt.Errorf("%s needs %s", cmd.CommandPath(), strings.Join(names, " and "))
	}
	return fmt.Errorf("%s takes %s, and got %s", cmd.CommandPath(), strings.Join(names, " and "), quoted(args))
}

func quoted(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = strconv.Quote(w)
	}
	return strings.Join(q, " ")
}

// flagFault says what is wrong with a flag.
func flagFault(err error) error {
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok && bad.GetFlag().Value.Type() == "bool" {
		return fmt.Errorf("--%s is true or false, and not %q", bad.GetFlag().Name, bad.GetValue())
	}
	return err
}

// seeHelp says where the right command line is described.
func seeHelp(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
}

// jsonFlag adds --json to a command that reads.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}

// printJSON prints v, indented, as one JSON value.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
