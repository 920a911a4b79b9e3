package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newVolume(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Look at the volumes of the share, and change them",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newVolumeList(io), newVolumeAdd(io), newVolumeMode(io), newVolumeRemove(io))
	return cmd
}

func newVolumeList(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the volumes of the share, in volume order",
		Long: `List asks the running server. Without one it opens the volumes that are given.

` + exitHelp,
	}
	a := newAsker(cmd, io)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(cmd, func(in share.Manager) error {
			v, err := in.Volumes(cmd.Context())
			if err != nil {
				return err
			}
			if *a.json {
				return printJSON(io.Out, v)
			}
			return printVolumes(io.Out, v)
		})
	}
	return cmd
}

func printVolumes(w io.Writer, volumes []share.VolumeStatus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VOLUME\tSTATE\tMODE\tCALLS\tSIZE\tFREE\tUSED\tDIRECTORY\tNOTES")
	for _, v := range volumes {
		size, free, used := "-", "-", "-"
		if v.Total > 0 {
			size, free = humanBytes(v.Total), humanBytes(v.Avail)
			taken := v.Total - v.Free
			used = fmt.Sprintf("%.0f%%", 100*float64(taken)/float64(taken+v.Avail)) // as df(1) has it
		}
		calls := strconv.Itoa(v.InFlight)
		if v.Waiting > 0 {
			calls += fmt.Sprintf(", %d wait", v.Waiting)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Name, v.State, v.Mode, calls, size, free, used, v.Dir, notes(&v))
	}
	return t.Flush()
}

// notes are what is not ordinary about a volume.
func notes(v *share.VolumeStatus) string {
	var s string
	add := func(on bool, text string) {
		if !on {
			return
		}
		if s != "" {
			s += ", "
		}
		s += text
	}
	add(v.Reason != "", "since "+v.Since.Local().Format("2006-01-02 15:04:05")+": "+v.Reason)
	add(v.Hung > 0, fmt.Sprintf("%d calls hang", v.Hung))
	add(v.Refused > 0, fmt.Sprintf("calls refused: %d", v.Refused))
	add(v.ReadOnly, "read-only")
	add(v.Exclusive, "exclusive")
	add(v.Identity == "weak", "weak identity")
	add(v.Watch.Kind == "" && !v.Exclusive && v.State == "online", "not watched")
	add(v.Watch.Lost > 0, fmt.Sprintf("news lost: %d", v.Watch.Lost))
	add(v.SharesFS, "same file system as one above")
	add(v.Error != "", v.Error)
	return s
}

// humanBytes is n with three digits or four and a binary unit.
func humanBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
