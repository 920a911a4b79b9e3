package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/vfstest"
)

func exportName(id uint64) string { return fmt.Sprint("/export", id) }

// over is the layer over fs.
func over(t testing.TB, fs vfs.FS, options map[string]any) (*translator.Stack, *Recorder) {
	t.Helper()
	r := NewRecorder(exportName)
	s := translator.NewStack(fs, []translator.Kind{r.Kind()}, slog.New(slog.DiscardHandler))
	if err := s.Load(t.Context(), []translator.Spec{{Kind: "metrics", Options: options}}); err != nil {
		t.Fatal(err)
	}
	return s, r
}

// TestSuite: who is counted sees nothing of it.
func TestSuite(t *testing.T) {
	vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
		s, _ := over(t, vfstest.NewModel(vfstest.ModelOptions{}), nil)
		return s
	})
}

// values are all metrics of r by name and labels; of a histogram the count.
func values(t *testing.T, r *Recorder) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetCounter().GetValue()
			if f.GetType() == dto.MetricType_HISTOGRAM {
				v = float64(m.GetHistogram().GetSampleCount())
			}
			all[f.GetName()+" "+strings.Join(labels, " ")] = v
		}
	}
	return all
}

// again answers everything that must not wait with Again.
func again(fs vfs.FS) vfs.FS {
	return translator.Around(fs, func(ctx context.Context, c *translator.Call, next translator.Next) error {
		if c.Who.NoWait {
			return vfs.Again
		}
		return next(ctx, c)
	})
}

// TestCounts makes some calls and looks at what was counted.
func TestCounts(t *testing.T) {
	s, r := over(t, again(vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777})), nil)
	c, w, hasty := t.Context(), &vfs.Who{UID: 1, Export: 7}, &vfs.Who{UID: 1, Export: 7, NoWait: true}
	root, err := s.Root(c, vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := s.Make(c, w, root.Node, vfs.MustName("f"), &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o644}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, who := range []*vfs.Who{hasty, w} {
			if _, _, err := s.Lookup(c, who, root.Node, vfs.MustName("nix")); err == nil {
				t.Fatal("nix is there")
			}
		}
	}
	if _, _, err := s.Write(c, w, a.Node, []byte("hello"), 0, vfs.FileSync); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := s.Read(c, w, a.Node, make([]byte, 3), 0); err != nil {
		t.Fatal(err)
	}
	got := values(t, r)
	for name, want := range map[string]float64{
		"sheaf_call_duration_seconds export= translator=metrics verb=root":                    1,
		"sheaf_call_duration_seconds export=/export7 translator=metrics verb=lookup":          3,
		"sheaf_call_duration_seconds export=/export7 translator=metrics verb=make":            1,
		"sheaf_call_duration_seconds export=/export7 translator=metrics verb=write":           1,
		"sheaf_call_duration_seconds export=/export7 translator=metrics verb=read":            1,
		"sheaf_call_errors_total export=/export7 status=noent translator=metrics verb=lookup": 3,
		"sheaf_call_read_bytes_total export=/export7 translator=metrics":                      3,
		"sheaf_call_written_bytes_total export=/export7 translator=metrics":                   5,
		"sheaf_call_read_bytes_total export= translator=metrics":                              0,
		"sheaf_call_written_bytes_total export= translator=metrics":                           0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is counted", name)
	}
}

// TestVerbs: only those that were asked for are counted.
func TestVerbs(t *testing.T) {
	s, r := over(t, vfstest.NewModel(vfstest.ModelOptions{}), map[string]any{"verbs": []any{"lookup"}})
	root, err := s.Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Lookup(t.Context(), vfs.Superuser, root.Node, vfs.MustName("nix")); err == nil {
		t.Fatal("nix is there")
	}
	got := values(t, r)
	if got["sheaf_call_duration_seconds export= translator=metrics verb=lookup"] != 1 || got["sheaf_call_duration_seconds export= translator=metrics verb=root"] != 0 {
		t.Errorf("counted %v", got)
	}
}

// TestExportsAreBounded: labels do not grow without end, and follow exports that got other names.
func TestExportsAreBounded(t *testing.T) {
	s, r := over(t, vfstest.NewModel(vfstest.ModelOptions{}), nil)
	suffix := ""
	r.exportName = func(id uint64) string { return exportName(id) + suffix }
	call := func(id uint64) {
		t.Helper()
		if _, err := s.Root(t.Context(), &vfs.Who{Export: id}); err != nil {
			t.Fatal(err)
		}
	}
	for id := range uint64(2 * MaxExports) {
		call(id + 1)
	}
	suffix = "\xff"
	r.ExportsChanged()
	call(1)
	got := values(t, r)
	one := func(export string) float64 {
		return got["sheaf_call_duration_seconds export="+export+" translator=metrics verb=root"]
	}
	if one("/export1") != 1 || one("other") != MaxExports || one("/export1\uFFFD") != 1 {
		t.Errorf("%v of export 1, %v others, %v under its other name", one("/export1"), one("other"), one("/export1\uFFFD"))
	}
	if n := len(got); n != 3*(MaxExports+2) {
		t.Errorf("%d series", n)
	}
}
