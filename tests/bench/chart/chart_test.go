package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// elements counts the elements of an XML document that is well formed.
func elements(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	count := map[string]int{}
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local+" "+class(e)]++
		}
	}
}

func class(e xml.StartElement) string {
	for _, a := range e.Attr {
		if a.Name.Local == "class" {
			return a.Value
		}
	}
	return ""
}

// Each series is one line, each point a mark that tells its value, and names are written as text.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	err := Lines{Title: "Cost <of> a call", X: "entries", Y: "µs", Series: []Series{
		{"GETATTR & co", []Point{{10, 2}, {1000, 2.2}, {1e6, 2.5}}},
		{"CREATE", []Point{{10, 60}, {1e6, 190}}},
	}}.Write(&out)
	if err != nil {
		t.Fatal(err)
	}
	n := elements(t, out.Bytes())
	if n["path c0 line"] != 1 || n["path c1 line"] != 1 || n["path c0"] != 3+1 || n["path c1"] != 2+1 {
		t.Errorf("%v", n)
	}
	for _, text := range []string{"Cost &lt;of&gt; a call", "GETATTR &amp; co: 2.2 at 1k", ">1M<", ">100<", "prefers-color-scheme:dark"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("no %q in\n%s", text, out.String())
		}
	}
}

// A bar is drawn for each value there is, as long as its value, and written beside it.
func TestBars(t *testing.T) {
	for _, log := range []bool{false, true} {
		var out bytes.Buffer
		err := Bars{Title: "CPU", Unit: "µs per call", Log: log, Series: []string{"ours", "theirs"}, Groups: []Group{
			{"GETATTR", []float64{2, 20}}, {"READ", []float64{4, 0}},
		}}.Write(&out)
		if err != nil {
			t.Fatal(err)
		}
		n := elements(t, out.Bytes())
		if n["path c0"] != 2+1 || n["path c1"] != 1+1 {
			t.Errorf("%v", n)
		}
		if !strings.Contains(out.String(), "GETATTR, theirs: 20") || strings.Contains(out.String(), "READ, theirs") {
			t.Error(out.String())
		}
	}
}

// What cannot be drawn is refused, not drawn wrongly.
func TestRefused(t *testing.T) {
	for name, chart := range map[string]interface{ Write(io.Writer) error }{
		"no point":            Lines{Series: []Series{{Name: "a"}}},
		"zero on a log axis":  Lines{Series: []Series{{Name: "a", Points: []Point{{1, 0}}}}},
		"too many lines":      Lines{Series: make([]Series, Most+1)},
		"no bar":              Bars{Groups: []Group{{"a", []float64{0}}}},
		"too many bars":       Bars{Series: make([]string, Most+1), Groups: []Group{{"a", []float64{1}}}},
		"below a log axis":    Lines{Series: []Series{{Name: "a", Points: []Point{{-1, 1}}}}},
		"nothing whatsoever":  Lines{},
		"no groups of a kind": Bars{},
	} {
		var out bytes.Buffer
		if err := chart.Write(&out); err == nil {
			t.Errorf("%s: drawn:\n%s", name, out.String())
		}
	}
}

// Values lie where a reader of the axis looks for them.
func TestAxis(t *testing.T) {
	linear := axis{max: 100, from: 0, to: 200}
	if linear.at(50) != 100 || linear.at(100) != 200 {
		t.Error("linear:", linear.at(50), linear.at(100))
	}
	log := logAxis(1, 1e6, 0, 600)
	if v := log.at(1000); v < 299.999 || v > 300.001 {
		t.Error("1000 of 1 … 1M lies at", v)
	}
	if n := len(log.ticks()); n != 7 {
		t.Error(log.ticks())
	}
	for v, want := range map[float64]string{0.25: "0.25", 7: "7", 1000: "1k", 64000: "64k", 1e6: "1M", 2.5e9: "2.5G"} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
