package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newClients(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Show who uses the share",
		Long: `Clients asks the running server by the control socket in its state directory, and
lists who has connections and, of those who have none any more, the last thousand: by calls in the
last second, then by calls. A client is an IPv4 address or an IPv6 network of 64 bits.

  WAITING   calls that wait for a worker, of those in flight
  SLOW      calls that run for long, as on a disk that hangs, beside those in flight
  LIMITED   times that a connection was not read, since its client or all had too much in flight
  REFUSED   connections closed as they came, at a limit
  SHED      connections closed for what was sent or not taken, or to make room

` + exitHelp,
	}
	a := newAsker(cmd, io)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := a.loader.loadUnchecked()
		if err != nil {
			return err
		}
		server, err := share.Dial(cmd.Context(), cfg.State)
		if err != nil {
			return err
		}
		defer server.Close()
		all, err := server.Clients(cmd.Context())
		if err != nil {
			return err
		}
		if *a.json {
			return printJSON(io.Out, all)
		}
		return printClients(io.Out, &all)
	}
	return cmd
}

func printClients(w io.Writer, all *share.Clients) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CLIENT\tCONNECTIONS\tCALLS\tCALLS/S\tIN\tOUT\tIN FLIGHT\tWAITING\tSLOW\tLIMITED\tREFUSED\tSHED\tLAST\tMOUNTS")
	for i := range all.Clients {
		c := &all.Clients[i]
		address := c.Address
		if address == "" {
			address = "-"
		}
		last := "-"
		if c.LastProcedure != "" {
			last = fmt.Sprintf("%s, %v ago", c.LastProcedure, time.Duration(c.Idle*float64(time.Second)).Round(time.Second))
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%.0f\t%s\t%s\t%d, %s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", address, c.Connections, c.Calls, c.Rate,
			humanBytes(c.BytesIn), humanBytes(c.BytesOut), c.InFlight, humanBytes(uint64(c.BytesInFlight)),
			c.Waiting, c.Slow, c.Limited, c.Refused, c.Shed, last, mountsText(c.Mounts))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if more := all.Total - len(all.Clients); more > 0 {
		_, err := fmt.Fprintf(w, "and %d more\n", more)
		return err
	}
	return nil
}

// maxMountsShown bounds the directories of one client in the table.
const maxMountsShown = 4

// mountsText lists what a client has mounted; it may have said any bytes.
func mountsText(dirs []share.Text) string {
	var shown []string
	for _, d := range dirs[:min(len(dirs), maxMountsShown)] {
		shown = append(shown, printable(d))
	}
	if more := len(dirs) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(shown, ", ")
}
