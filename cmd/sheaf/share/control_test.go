package share

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/vfs"
)

// fake is a Manager that answers from its fields.
type fake struct {
	Manager // what is not asked for
	status  Status
	where   Where
	items   []CheckItem
	err     error
	asked   string
	lookup  bool
}

func (f *fake) Status(context.Context) (Status, error)          { return f.status, f.err }
func (f *fake) Volumes(context.Context) ([]VolumeStatus, error) { return f.status.Volumes, f.err }
func (f *fake) Close() error                                    { return nil }
func (f *fake) Where(_ context.Context, path string, lookup bool) (Where, error) {
	f.asked, f.lookup = path, lookup
	return f.where, f.err
}

func (f *fake) Check(ctx context.Context, q CheckRequest, each func(CheckItem)) (CheckSummary, error) {
	for _, i := range f.items {
		each(i)
	}
	if q.Repair { // a check that goes on until nobody wants it any more
		<-ctx.Done()
		f.asked = "ended"
		return CheckSummary{}, context.Cause(ctx)
	}
	return CheckSummary{Faults: int64(len(f.items)), Kinds: map[string]int64{"row": 1}}, f.err
}

// controlOver starts a control socket over in and gives a client of it.
func controlOver(t *testing.T, in Manager) (*Client, string) {
	t.Helper()
	state, err := openState(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := startControl(state, in, http.NotFoundHandler(), testLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.stop(context.Background(), state), state.close()); err != nil {
			t.Error(err)
		}
	})
	client, err := Dial(t.Context(), state.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, state.path
}

func TestControlCarriesEverything(t *testing.T) {
	in := &fake{
		status: Status{Version: 1, Exports: []string{"/ *(rw)"}, Volumes: []VolumeStatus{{Name: "a", Total: 1 << 60}}, Traffic: &Traffic{Calls: 7}},
		where:  Where{Path: "/a\xff\"b", Places: []Place{{Volume: "a", Path: "/über"}}, FileID: 1<<64 - 1, Lookup: &Lookup{"present", "x"}},
	}
	client, _ := controlOver(t, in)
	st, err := client.Status(t.Context())
	if err != nil || st.Exports[0] != "/ *(rw)" || st.Volumes[0].Total != 1<<60 || st.Traffic.Calls != 7 {
		t.Errorf("status %+v, %v", st, err)
	}
	v, err := client.Volumes(t.Context())
	if err != nil || len(v) != 1 || v[0].Name != "a" {
		t.Errorf("volumes %+v, %v", v, err)
	}
	// Paths are bytes, and long ones fit.
	for _, path := range []string{"/a\xff\x01&=%?#\"b", "/" + strings.Repeat("\xff", pathMax-1)} {
		w, err := client.Where(t.Context(), path, true)
		if err != nil || in.asked != path || !in.lookup {
			t.Errorf("asked for %q, lookup %v, %v", in.asked, in.lookup, err)
		}
		if w.Path != in.where.Path || w.Places[0].Path != "/über" || w.FileID != in.where.FileID || *w.Lookup != *in.where.Lookup {
			t.Errorf("where %+v", w)
		}
	}
}

func TestControlErrorsKeepTheirStatus(t *testing.T) {
	for _, status := range vfs.Statuses() {
		in := &fake{err: &vfs.Error{Status: status, Op: "where", Object: "/x", Volume: "a"}}
		client, _ := controlOver(t, in)
		_, err := client.Where(t.Context(), "/x", false)
		if vfs.StatusOf(err) != status || err.Error() != in.err.Error() {
			t.Errorf("%v arrives as %v with status %v", in.err, err, vfs.StatusOf(err))
		}
		if IsNotFound(err) != (status == vfs.NoEnt) {
			t.Errorf("%v is taken for something not found: %v", err, IsNotFound(err))
		}
	}
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	client, _ := controlOver(t, &fake{})
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/v2/status", http.StatusNotFound},
		{"GET", "/v1/nothing", http.StatusNotFound},
		{"POST", "/v1/status", http.StatusMethodNotAllowed},
		{"GET", "/v1/where", http.StatusInternalServerError},
		{"GET", "/v1/where?path=/" + strings.Repeat("x", controlHeader*2), http.StatusRequestHeaderFieldsTooLarge},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://sheaf"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.code {
			t.Errorf("%s %.20s: %s, want %d", c.method, c.path, resp.Status, c.code)
		}
	}
	if err := client.get(t.Context(), "/v9/status", nil, &Status{}); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("a server of another version: %v", err)
	}
}

func TestDialSaysWhy(t *testing.T) {
	dir := tempDir(t)
	if _, err := Dial(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no state directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ControlSocket), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a file that is no socket: %v", err)
	}
}

// TestControlSurvivesABadClient: bytes that are no request close a connection and
// nothing else.
func TestControlSurvivesABadClient(t *testing.T) {
	client, state := controlOver(t, &fake{})
	conn, err := net.Dial("unix", filepath.Join(state, ControlSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x00\xff not HTTP\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
	if _, err := client.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestText(t *testing.T) {
	for _, s := range []Text{"", "plain", "über\n\"", "\xff\xfe", "a\x00b"} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("%q is written %s and read %q, %v", s, b, back, err)
		}
	}
	var back Text
	if err := json.Unmarshal([]byte(`{"base64":7}`), &back); err == nil {
		t.Error("a number is taken for text")
	}
}

func FuzzSplitPath(f *testing.F) {
	for _, s := range []string{"", "/", "/a/b", "a//b/", "./a", "../a", "/.sheaf/x", "/a/.sheaf", "a\x00b", strings.Repeat("x", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		names, err := splitPath(path)
		if err != nil {
			return
		}
		again, err := splitPath("/" + joinNames(names))
		if err != nil || joinNames(again) != joinNames(names) {
			t.Fatalf("%q is %q, and that %q, %v", path, joinNames(names), joinNames(again), err)
		}
	})
}
