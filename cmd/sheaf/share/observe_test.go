package share

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// get asks at addr, a socket or HOST:PORT.
func get(t *testing.T, network, addr, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://sheaf"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// measured serves a share of two volumes that has all that metrics are made of, and has made some calls.
func measured(t *testing.T, change func(*Config)) (*Share, Config) {
	t.Helper()
	c := shareConfig(t, tempDir(t), "a", "b")
	c.MetricsListen = "127.0.0.1:0"
	file := filepath.Join(t.TempDir(), "n.star")
	if err := os.WriteFile(file, []byte("n = counter('n')\ndef lookup(call):\n  n.add()\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Translators = []translator.Spec{{Kind: "metrics"}, {Kind: "script", Options: map[string]any{"file": file}}, {Kind: "metrics", Name: "inner"}}
	if change != nil {
		change(&c)
	}
	s := start(t, c)
	root, err := s.FS().Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := s.FS().Make(t.Context(), vfs.Superuser, root.Node, vfs.MustName("f"), &vfs.How{Type: vfs.Regular})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.FS().Write(t.Context(), vfs.Superuser, a.Node, []byte("hello"), 0, vfs.FileSync); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.FS().Lookup(t.Context(), vfs.Superuser, root.Node, vfs.MustName("nix")); err == nil {
		t.Fatal("nix is there")
	}
	return s, c
}

// TestMetrics looks at what a scrape shows, on the control socket and over TCP.
func TestMetrics(t *testing.T) {
	s, c := measured(t, nil)
	socket := filepath.Join(c.State, ControlSocket)
	for network, addr := range map[string]string{"unix": socket, "tcp": s.MetricsAddr().String()} {
		code, text := get(t, network, addr, "/metrics")
		if code != http.StatusOK {
			t.Fatalf("%s: %d %s", network, code, text)
		}
		for _, want := range []string{
			`sheaf_build_info{engine="native",share="` + s.id.share + `",version="test"} 1`,
			`sheaf_nfs_connections 0`,
			`sheaf_nfs_procedure_calls_total{procedure="GETATTR"} 0`,
			`sheaf_lookups_total{answer="absent"} `,
			`sheaf_volume_up{volume="b"} 1`,
			`sheaf_volume_health{state="away",volume="a"} 0`,
			`sheaf_volume_operation_duration_seconds_count{class="flush",volume="`,
			`sheaf_index_state{state="on"} 1`,
			`sheaf_call_duration_seconds_count{export="",translator="metrics",verb="make"} 1`,
			`sheaf_call_errors_total{export="",status="noent",translator="inner",verb="lookup"} 1`,
			`sheaf_call_written_bytes_total{export="",translator="inner"} 5`,
			`sheaf_script_count_total{counter="n",translator="script"} 1`,
			`go_goroutines `,
		} {
			if !strings.Contains(text, "\n"+want) {
				t.Errorf("%s: no %s", network, want)
			}
		}
		if code, text := get(t, network, addr, "/healthz"); code != http.StatusOK || text != "ok\n" {
			t.Errorf("%s: health is %d %q", network, code, text)
		}
		if code, _ := get(t, network, addr, "/debug/pprof/"); code != http.StatusNotFound {
			t.Errorf("%s: pprof, which nobody asked for, answers %d", network, code)
		}
	}
	if code, _ := get(t, "tcp", s.MetricsAddr().String(), "/v1/status"); code != http.StatusNotFound {
		t.Errorf("the control protocol answers %d over TCP", code)
	}
	if code, _ := get(t, "unix", socket, "/v1/status"); code != http.StatusOK {
		t.Errorf("the control protocol answers %d", code)
	}
}

// TestMetricNames holds the names to Prometheus' conventions: sheaf_ before, units after, _total for
// counters and for nothing else.
func TestMetricNames(t *testing.T) {
	s, _ := measured(t, nil)
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	good := regexp.MustCompile(`^sheaf_[a-z]+(_[a-z]+)*$`)
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "sheaf_") {
			continue // the process's, by the library
		}
		if !good.MatchString(name) || f.GetHelp() == "" {
			t.Errorf("%s: %q", name, f.GetHelp())
		}
		if (f.GetType().String() == "COUNTER") != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %v", name, f.GetType())
		}
	}
}

// TestPprof: profiles on the control socket if they are asked for, and never over TCP.
func TestPprof(t *testing.T) {
	s, c := measured(t, func(c *Config) { c.Pprof = true })
	if code, text := get(t, "unix", filepath.Join(c.State, ControlSocket), "/debug/pprof/goroutine?debug=1"); code != http.StatusOK || !strings.Contains(text, "goroutine profile") {
		t.Errorf("%d %.80s", code, text)
	}
	if code, _ := get(t, "tcp", s.MetricsAddr().String(), "/debug/pprof/goroutine"); code != http.StatusNotFound {
		t.Errorf("over TCP: %d", code)
	}
}

// TestHealth: a share that cannot be used says so.
func TestHealth(t *testing.T) {
	s, c := measured(t, nil)
	away := func(v Volume) {
		t.Helper()
		if err := os.Rename(v.Dir, v.Dir+".away"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Rename(v.Dir+".away", v.Dir); err != nil {
				t.Error(err)
			}
		})
	}
	for i, want := range []struct {
		code  int
		first string
	}{{http.StatusOK, "degraded"}, {http.StatusServiceUnavailable, "no volume answers"}} {
		away(c.Volumes[i])
		until(t, want.first, func() bool {
			code, text := get(t, "tcp", s.MetricsAddr().String(), "/healthz")
			return code == want.code && strings.HasPrefix(text, want.first+"\n") && strings.Contains(text, "volume "+c.Volumes[i].Name+" is away: ")
		})
	}
	if _, text := get(t, "tcp", s.MetricsAddr().String(), "/metrics"); !strings.Contains(text, `sheaf_volume_up{volume="a"} 0`) {
		t.Error("a volume that is away is up")
	}
}

// dashboard is the part of a Grafana dashboard that the test needs.
type dashboard struct {
	Title  string
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// TestDashboard: every metric that the dashboard in contrib uses is there.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "contrib", "grafana", "sheaf.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	s, _ := measured(t, nil)
	_, shown := get(t, "tcp", s.MetricsAddr().String(), "/metrics")
	metric, used := regexp.MustCompile(`\b(sheaf|go|process)_[a-z_]+`), 0
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			names := metric.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: no metric in %s", p.Title, target.Expr)
			}
			for _, name := range slices.Compact(names) {
				used++
				if !strings.Contains(shown, "\n"+name+"{") && !strings.Contains(shown, "\n"+name+" ") {
					t.Errorf("%s uses %s, which is not there", p.Title, name)
				}
			}
		}
	}
	if used < 20 {
		t.Errorf("only %d metrics are used", used)
	}
}
