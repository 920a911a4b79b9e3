// Package chart draws small charts as plain SVG, without scripts, fonts or pictures from elsewhere: lines over a logarithmic
// axis (Lines) and bars beside each other (Bars). Colours follow what the reader prefers, light or dark; series are also told
// apart by the shape of their points, for who sees no colours, and every value is in the drawing as the title of its mark.
package chart

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/template"
)

// Sizes of a chart, in pixels.
const (
	width, height = 720, 360
	left, right   = 64, 190 // room for the axis, and for the names of the series
	top, bottom   = 40, 48
	lineHeight    = 18
	barThick      = 12
	barGap        = 10
	barLeft       = 170
)

// Most is how many series a chart can have; from the ninth on colours come again, with another shape.
const Most = 16

const colours = 8

// errEmpty is what a chart without a value gives.
var errEmpty = errors.New("chart: nothing to draw")

// Point is a value at a place on the horizontal axis; both are more than 0.
type Point struct{ X, Y float64 }

// Series is a line.
type Series struct {
	Name   string
	Points []Point
}

// Lines is a chart of lines, both axes logarithmic: what grows in proportion has a slope of one step in each direction, what
// grows logarithmically bends flat.
type Lines struct {
	Title, X, Y string
	Series      []Series
}

// Bars is a chart of bars, in groups below each other, on an axis that begins at 0 and is linear, or if Log is set at 1/3 of
// the least value.
type Bars struct {
	Title, Unit string
	Log         bool
	Series      []string // a bar of each group
	Groups      []Group
}

// Group is a row of bars; a value of 0 or less is none.
type Group struct {
	Name   string
	Values []float64
}

// axis maps values to pixels.
type axis struct {
	log      bool
	min, max float64
	from, to float64
}

// at is the pixel of v.
func (a axis) at(v float64) float64 {
	if a.log {
		return a.from + (a.to-a.from)*math.Log(v/a.min)/math.Log(a.max/a.min)
	}
	return a.from + (a.to-a.from)*(v-a.min)/(a.max-a.min)
}

// ticks are the values that are written beside the axis.
func (a axis) ticks() (all []float64) {
	if !a.log {
		step := math.Pow(10, math.Floor(math.Log10(a.max)))
		for _, part := range []float64{1, 2, 5, 10} {
			if a.max/(step/part) >= 4 {
				step /= part
				break
			}
		}
		for i := 0; float64(i)*step <= a.max*1.0001; i++ {
			all = append(all, float64(i)*step)
		}
		return all
	}
	decades := math.Log10(a.max / a.min)
	parts := []float64{1}
	if decades < 2.5 {
		parts = []float64{1, 2, 5}
	}
	for e := math.Floor(math.Log10(a.min)); e <= math.Log10(a.max)+0.001; e++ {
		for _, part := range parts {
			if v := part * math.Pow(10, e); v >= a.min*0.999 && v <= a.max*1.001 {
				all = append(all, v)
			}
		}
	}
	return all
}

// logAxis is an axis on which values from least to most have room.
func logAxis(least, most, from, to float64) axis {
	if most <= least*1.01 {
		most = least * 10
	}
	return axis{log: true, min: least, max: most, from: from, to: to}
}

// number writes a value shortly: 0.5, 20, 3k, 1M.
func number(v float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.of*0.9995 {
			return strconv.FormatFloat(v/unit.of, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// The pieces of a drawing, in pixels.
type (
	text struct {
		X, Y   float64
		Anchor string
		Text   string
		Strong bool
	}
	rule struct{ X1, Y1, X2, Y2 float64 }
	mark struct {
		Colour int
		Path   string // of its shape
		Title  string
	}
	trace struct {
		Colour int
		Path   string
	}
	drawing struct {
		Width, Height int
		Title         string
		Rules         []rule
		Traces        []trace
		Marks         []mark
		Texts         []text
	}
)

// Write draws the chart.
func (l Lines) Write(w io.Writer) error {
	x, y, err := l.axes()
	if err != nil {
		return fmt.Errorf("%w: %s", err, l.Title)
	}
	d := drawing{Width: width, Height: height, Title: l.Title}
	d.Texts = append(d.Texts, text{left, 20, "start", l.Title, true},
		text{(left + width - right) / 2, height - 10, "middle", l.X, false}, text{8, top - 8, "start", l.Y, false})
	for _, v := range y.ticks() {
		d.Rules = append(d.Rules, rule{left, y.at(v), width - right, y.at(v)})
		d.Texts = append(d.Texts, text{left - 6, y.at(v) + 4, "end", number(v), false})
	}
	for _, v := range x.ticks() {
		d.Rules = append(d.Rules, rule{x.at(v), top, x.at(v), height - bottom})
		d.Texts = append(d.Texts, text{x.at(v), height - bottom + 16, "middle", number(v), false})
	}
	for i, s := range l.Series {
		var path strings.Builder
		for j, p := range s.Points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], x.at(p.X), y.at(p.Y))
			d.Marks = append(d.Marks, mark{i % colours, shape(i, x.at(p.X), y.at(p.Y)), fmt.Sprintf("%s: %s at %s", s.Name, number(p.Y), number(p.X))})
		}
		d.Traces = append(d.Traces, trace{i % colours, path.String()})
		d.legend(i, width-right+16, float64(top+10+i*lineHeight), s.Name)
	}
	return d.write(w)
}

// axes are those of the points there are.
func (l Lines) axes() (x, y axis, err error) {
	if len(l.Series) > Most {
		return x, y, fmt.Errorf("chart: %d series, at most %d", len(l.Series), Most)
	}
	xs, ys := [2]float64{math.Inf(1), 0}, [2]float64{math.Inf(1), 0}
	for _, s := range l.Series {
		for _, p := range s.Points {
			if !(p.X > 0 && p.Y > 0) {
				return x, y, fmt.Errorf("chart: %s has a point at %v, %v, and a logarithmic axis has none", s.Name, p.X, p.Y)
			}
			xs = [2]float64{min(xs[0], p.X), max(xs[1], p.X)}
			ys = [2]float64{min(ys[0], p.Y), max(ys[1], p.Y)}
		}
	}
	if xs[1] == 0 {
		return x, y, errEmpty
	}
	// Whole decades above and below: lines that are flat are to look flat.
	low, high := math.Pow(10, math.Floor(math.Log10(ys[0]))), math.Pow(10, math.Ceil(math.Log10(ys[1])))
	return logAxis(xs[0], xs[1], left, width-right), logAxis(low, high, height-bottom, top), nil
}

// Write draws the chart.
func (b Bars) Write(w io.Writer) error {
	most, least := 0.0, math.Inf(1)
	bars := 0
	for _, g := range b.Groups {
		for _, v := range g.Values {
			if v > 0 {
				most, least = max(most, v), min(least, v)
			}
		}
		bars += len(g.Values)
	}
	if most == 0 {
		return fmt.Errorf("%w: %s", errEmpty, b.Title)
	}
	if len(b.Series) > Most {
		return fmt.Errorf("chart: %d series, at most %d", len(b.Series), Most)
	}
	tall := top + bars*barThick + len(b.Groups)*barGap
	x := axis{max: most * 1.02, from: barLeft, to: width - right}
	if b.Log {
		x = logAxis(least/3, most*1.02, barLeft, width-right)
	}
	d := drawing{Width: width, Height: max(tall, top+len(b.Series)*lineHeight) + bottom, Title: b.Title}
	d.Texts = append(d.Texts, text{8, 20, "start", b.Title, true}, text{(barLeft + width - right) / 2, float64(tall + 34), "middle", b.Unit, false})
	for _, v := range x.ticks() {
		d.Rules = append(d.Rules, rule{x.at(v), top - 4, x.at(v), float64(tall)})
		d.Texts = append(d.Texts, text{x.at(v), float64(tall + 14), "middle", number(v), false})
	}
	at := float64(top)
	for _, g := range b.Groups {
		d.Texts = append(d.Texts, text{barLeft - 6, at + float64(len(g.Values)*barThick)/2 + 4, "end", g.Name, false})
		for i, v := range g.Values {
			if v > 0 && i < len(b.Series) {
				to := max(x.at(v), barLeft+1)
				d.Marks = append(d.Marks, mark{i % colours, fmt.Sprintf("M%d %.1fH%.1fv%dH%dz", barLeft, at, to, barThick-2, barLeft), fmt.Sprintf("%s, %s: %s", g.Name, b.Series[i], number(v))})
				d.Texts = append(d.Texts, text{to + 4, at + barThick - 3, "start", number(v), false})
			}
			at += barThick
		}
		at += barGap
	}
	for i, name := range b.Series {
		d.legend(i, width-right+40, float64(top+6+i*lineHeight), name)
	}
	return d.write(w)
}

// legend names series i beside its mark.
func (d *drawing) legend(i int, x, y float64, name string) {
	d.Marks = append(d.Marks, mark{i % colours, shape(i, x, y), name})
	d.Texts = append(d.Texts, text{x + 10, y + 4, "start", name, false})
}

// shape is the mark of series i around a point.
func shape(i int, x, y float64) string {
	around := [...]string{
		"M%.1f %.1fm-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", // circle
		"M%.1f %.1fm-4 -4h8v8h-8z",                      // square
		"M%.1f %.1fm0 -5l5 9h-10z",                      // triangle
		"M%.1f %.1fm0 -5l5 5l-5 5l-5 -5z",               // diamond
	}
	return fmt.Sprintf(around[(i+i/colours)%len(around)], x, y)
}

// svg is the drawing. Colours are those of Okabe and Ito, which who is colour-blind tells apart; black is replaced by grey, which is
// seen on both grounds.
var svg = template.Must(template.New("svg").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}" role="img">
<title>{{html .Title}}</title>
<style>
.ground{fill:#fff}text{font:12px sans-serif;fill:#333}.strong{font-weight:bold}.rule{stroke:#ddd}.line{fill:none;stroke-width:2}
.c0{fill:#0072b2;stroke:#0072b2}.c1{fill:#e69f00;stroke:#e69f00}.c2{fill:#009e73;stroke:#009e73}.c3{fill:#cc79a7;stroke:#cc79a7}
.c4{fill:#d55e00;stroke:#d55e00}.c5{fill:#56b4e9;stroke:#56b4e9}.c6{fill:#888;stroke:#888}.c7{fill:#b5a900;stroke:#b5a900}
.line{fill:none}
@media (prefers-color-scheme:dark){.ground{fill:#111}text{fill:#ddd}.rule{stroke:#333}.c0{fill:#3fa0dd;stroke:#3fa0dd}.line{fill:none}}
</style>
<rect class="ground" width="{{.Width}}" height="{{.Height}}"/>
{{range .Rules}}<path class="rule" d="M{{printf "%.1f %.1f" .X1 .Y1}}L{{printf "%.1f %.1f" .X2 .Y2}}"/>
{{end}}{{range .Traces}}<path class="c{{.Colour}} line" d="{{.Path}}"/>
{{end}}{{range .Marks}}<path class="c{{.Colour}}" d="{{.Path}}"><title>{{html .Title}}</title></path>
{{end}}{{range .Texts}}<text x="{{printf "%.1f" .X}}" y="{{printf "%.1f" .Y}}" text-anchor="{{.Anchor}}"{{if .Strong}} class="strong"{{end}}>{{html .Text}}</text>
{{end}}</svg>
`))

func (d drawing) write(w io.Writer) error { return svg.Execute(w, d) }
