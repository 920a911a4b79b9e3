package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// What grows is measured on a server at each size, and written to a page with a chart each.
func TestGrowthIsMeasured(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CPU time of a child can be asked for on Linux only")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "growth.md")
	var out, progress bytes.Buffer
	err = run([]string{
		"-growth", "-growth-of", "entries,files,conn", "-growth-share", "1", "-growth-entries", "25", "-growth-files", "1100", "-growth-conns", "3", "-page", page,
		"-sheaf", self, "-conns", "2", "-rounds", "1", "-time", "5s", "-count", "5", "-dir", t.TempDir(),
	}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	said, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"# Growth\n", "make bench-growth", "\n| 10 |", "\n| 25 |", "\n| 1,000 |", "\n| 1,100 |", "\n| 1 |", "\n| 3 |",
		"- LOOKUP hit, 10 to 25: × ", "- GETATTR, 1,000 to 1,100: × ", "- NULL, 1 to 3: × ",
	} {
		if !bytes.Contains(said, []byte(text)) {
			t.Errorf("no %q on the page", text)
		}
	}
	if strings.Contains(string(said), "failed") || !bytes.HasSuffix(said, out.Bytes()) {
		t.Errorf("%s", said)
	}
	for _, name := range []string{"entries", "files", "held", "connections"} {
		svg, err := os.ReadFile(filepath.Join(filepath.Dir(page), "growth-"+name+".svg"))
		if err != nil || !bytes.Contains(svg, []byte("<svg ")) {
			t.Errorf("chart of %s: %v", name, err)
		}
	}
}

// A page that stands is not replaced by one of a run that failed.
func TestFailedRunWritesNoPage(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{"-page", page, "-peers", "nobody", "-ops", "NULL", "-dir", t.TempDir()}, &out, &out); err == nil {
		t.Error("there is no such peer")
	}
	if said, err := os.ReadFile(page); err != nil || string(said) != "as it was" {
		t.Errorf("%q, %v", said, err)
	}
}

// What grows as a logarithm does, or less, is told from what grows faster, in whatever step.
func TestSlope(t *testing.T) {
	sizes := []int{10, 100, 1000, 10_000}
	for name, c := range map[string]struct {
		cost  []float64
		met   bool
		worst int
	}{
		"flat":                   {[]float64{2, 2, 2, 2}, true, 0},
		"falls":                  {[]float64{9, 4, 2, 2}, true, 0},
		"a logarithm":            {[]float64{4.3, 7.6, 11, 14.3}, true, 0},
		"noise":                  {[]float64{2, 1.9, 2.3, 2.4}, true, 0},
		"in proportion":          {[]float64{1, 10, 100, 1000}, false, 1000},
		"in the last step alone": {[]float64{2, 2, 2, 20}, false, 1000},
		"a root":                 {[]float64{1, 3.2, 10, 32}, false, 1000},
		"at first":               {[]float64{1, 10, 10, 10}, false, 10},
	} {
		if s := slopeOf(sizes, c.cost); s.met != c.met || s.worst != c.worst {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if e := slopeOf(sizes, []float64{1, 10, 100, 1000}).exponent; e < 0.999 || e > 1.001 {
		t.Error("exponent of what grows in proportion:", e)
	}
}

func TestPowers(t *testing.T) {
	for _, c := range []struct {
		base, least, most int
		want              []int
	}{{10, 10, 1000, []int{10, 100, 1000}}, {2, 1, 6, []int{1, 2, 4, 6}}, {10, 1000, 10, []int{10}}} {
		if got := powers(c.base, c.least, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12_345_678: "12,345,678"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}
