package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// sheet is what a page of contrib/bench says above what the command prints.
type sheet struct {
	title   string
	command string // that writes the page
	says    string
}

// drawer is a chart.
type drawer interface{ Write(w io.Writer) error }

// drawing is a chart of the page, in a file of its own beside it.
type drawing struct {
	name  string // the page's name without .md, a hyphen, this and .svg make the file's
	alt   string
	chart drawer
}

// sheetOf is the sheet of what o measures.
func (o *options) sheetOf() sheet {
	switch {
	case o.beside:
		return sheet{"Beside its peers", "make bench-peers", besideSays}
	case o.growth:
		return sheet{"Growth", "make bench-growth", growthSays}
	case o.lookups:
		return sheet{"Look-ups along an include path", "make bench-lookup", lookupsSays}
	case o.stack:
		return sheet{"What translators add to a call", "make bench-stack", stackSays}
	default:
		return sheet{"Procedures", "make bench", proceduresSays}
	}
}

// What the pages say first.
const (
	proceduresSays = "Server CPU, rate and latency of each procedure, beside a bare RPC echo in Go (the floor) and stock go-nfs over a plain directory; creates\n" +
		"beside a plain program that makes the same system calls; calls beside a volume that hangs and one that is pulled out."
	lookupsSays = "The experiment of *Extending GlusterFS with Python* (Linux Journal, 2013): files that are looked for by name in one directory after the\n" +
		"other until they are found, over eight volumes, beside a share that asks all volumes each time."
	besideSays = "Server CPU, rate, latency, flushes and memory of Sheaf over 1 and 8 volumes, nfs-ganesha over one directory, mergerfs over eight under another,\n" +
		"and the other servers that could be had, all on one disk in one run."
	stackSays = "CPU time of a GETATTR through layers of translators."
)

// picture gives a chart a place on the page: its line of Markdown goes to out. Without a page there are no charts.
func (o *options) picture(out io.Writer, name, alt string, chart drawer) {
	if o.page != "" {
		o.drawings = append(o.drawings, drawing{name, alt, chart})
		fmt.Fprintf(out, "\n![%s](%s)\n", alt, filepath.Base(o.drawingPath(name)))
	}
}

func (o *options) drawingPath(name string) string {
	return strings.TrimSuffix(o.page, ".md") + "-" + name + ".svg"
}

// write puts the page and its charts into their files.
func (o *options) write(printed []byte) error {
	s := o.sheetOf()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s\n\nWritten by\n\n    %s BENCH=\"-page contrib/bench/%s\"\n\n", s.title, s.says, s.command, filepath.Base(o.page))
	fmt.Fprintf(&b, "on %s.\nRatios within one run are the result; figures of two runs or machines are not to be compared.\n\n", machine(cmp.Or(o.dir, os.TempDir())))
	b.Write(bytes.TrimLeft(printed, "\n"))
	for _, d := range o.drawings {
		var svg bytes.Buffer
		if err := d.chart.Write(&svg); err != nil {
			return fmt.Errorf("chart %s: %w", d.name, err)
		}
		if err := os.WriteFile(o.drawingPath(d.name), svg.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(o.page, b.Bytes(), 0o644)
}
