package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

// asksServer ends the help of commands that change the volumes.
const asksServer = `It is done by the running server, at once and without a restart; without one the
volumes that are given are opened for it. The configuration is not written: the
answer says what to change there.

` + exitHelp

func newVolumeAdd(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME=DIR",
		Short: "Add a volume to the share, or say where one that is away is now",
		Long: `Add takes the directory DIR into the share as volume NAME, last in volume order.
A directory that is not a volume yet needs --adopt; its files are not touched, and
are in the share at once. NAME,exclusive=DIR says that nothing but the server
changes it.

If DIR holds a member of the share that is away, it is found there from now on. If
it holds a copy of that member, made with cp -a or rsync -aHAX from a backup or the
old disk, --adopt under the member's name lets it take its place.

` + asksServer,
		Example: "  sheaf volume add disk3=/srv/disk3 --adopt",
		Args:    cobra.ExactArgs(1),
	}
	a := newAsker(cmd, io)
	adopt := cmd.Flags().Bool("adopt", false, "take DIR in though it is not a volume yet, or a copy of one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := share.ParseVolume(args[0])
		if err != nil {
			return usageError{err}
		}
		// The server has another working directory.
		dir, err := filepath.Abs(v.Dir)
		if err != nil {
			return err
		}
		return a.ask(cmd, func(in share.Manager) error {
			c, err := in.AddVolume(cmd.Context(), share.Addition{Name: v.Name, Dir: dir, Exclusive: v.Exclusive, Adopt: *adopt})
			if err != nil {
				return err
			}
			return a.printChange(&c, fmt.Sprintf("volume %s is in the share, id %s", c.Name, c.ID))
		})
	}
	return cmd
}

func newVolumeMode(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mode NAME rw|nc|ro",
		Short: "Change what a volume is used for",
		Long: `Mode says what may be done on the volume NAME from now on, and after restarts, too:

  rw  everything
  nc  nothing new is placed on it; what lies there can be changed and removed
  ro  nothing on it changes

A volume that is away gets it when it comes.

` + asksServer,
		Example: "  sheaf volume mode disk1 nc",
		Args:    cobra.ExactArgs(2),
	}
	a := newAsker(cmd, io)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := share.CheckMode(args[1]); err != nil {
			return usageError{err}
		}
		return a.ask(cmd, func(in share.Manager) error {
			c, err := in.SetMode(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			text := fmt.Sprintf("volume %s is %s", c.Name, c.Mode)
			if !c.Changed {
				text += " already"
			}
			return a.printChange(&c, text)
		})
	}
	return cmd
}

func newVolumeRemove(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a volume from the share",
		Long: `Remove takes the volume NAME out of the share. It must hold nothing any more: else
the answer says what it holds. It is a plain directory again then.

A volume whose disk never comes back is given up with --lost: what it held is
listed, as far as it is known, and forgotten. Names that lay on it are free again,
and directories of which it had the only copy are gone. If the disk comes back
after all, it is refused by name. With --dry-run what the volume holds is
listed, and nothing changes.

With --json each object is on a line of its own, and the last line is the change.

` + asksServer,
		Example: "  sheaf volume remove disk2 --lost --dry-run\n  sheaf volume remove disk2 --lost > lost-files",
		Args:    cobra.ExactArgs(1),
	}
	a := newAsker(cmd, io)
	lost := cmd.Flags().Bool("lost", false, "give up a volume that is away, with all it holds")
	dry := cmd.Flags().Bool("dry-run", false, "list what it holds, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.ask(cmd, func(in share.Manager) error {
			p := &heldPrinter{out: io.Out, json: *a.json}
			c, err := in.RemoveVolume(cmd.Context(), share.Removal{Name: args[0], Lost: *lost, DryRun: *dry}, p.print)
			if err == nil {
				err = p.err
			}
			if err != nil {
				return err
			}
			return a.printRemoval(&c, p.n, *lost, *dry)
		})
	}
	return cmd
}

// heldPrinter lists what a volume holds.
type heldPrinter struct {
	out  io.Writer
	json bool
	n    int
	err  error // of the first write that failed
}

func (p *heldPrinter) print(h share.Held) {
	p.n++
	line := printable(h.Path)
	if p.json {
		b, err := json.Marshal(h)
		if err != nil {
			p.err = err
			return
		}
		line = string(b)
	}
	if _, err := fmt.Fprintln(p.out, line); p.err == nil {
		p.err = err
	}
}

// printRemoval says what became of a volume that held n objects. The list is for a file or a pipe: words about
// it go to standard error.
func (a *asker) printRemoval(c *share.Change, n int, lost, dry bool) error {
	if *a.json {
		return json.NewEncoder(a.Out).Encode(c)
	}
	switch {
	case dry:
		fmt.Fprintf(a.Err, "volume %s holds %d objects; nothing was changed\n", c.Name, n)
	case lost:
		fmt.Fprintf(a.Err, "volume %s is forgotten, with the %d objects that it held\n", c.Name, n)
	default:
		fmt.Fprintf(a.Err, "volume %s is not in the share any more\n", c.Name)
	}
	return printAdvice(a.Err, c)
}

// printChange says what became of a volume.
func (a *asker) printChange(c *share.Change, text string) error {
	if *a.json {
		return printJSON(a.Out, c)
	}
	if _, err := fmt.Fprintln(a.Out, text); err != nil {
		return err
	}
	return printAdvice(a.Out, c)
}

// printAdvice says what is left to be done.
func printAdvice(w io.Writer, c *share.Change) error {
	var b strings.Builder
	if c.Partial {
		b.WriteString("it may have held more: not all that is on the volumes was known\n")
	}
	for _, name := range c.Behind {
		fmt.Fprintf(&b, "volume %s could not be told; it is when it comes back, or at the next start\n", name)
	}
	for _, do := range c.Do {
		fmt.Fprintf(&b, "now %s\n", do)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
