package share

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"sheaf/vfs"
)

// Limits of the control socket.
const (
	controlHeader  = 32 << 10         // bytes of a request's header; paths are at most 4 KiB, three-fold when escaped
	controlReply   = 16 << 20         // bytes of a reply that a client takes
	controlTimeout = 10 * time.Second // for a request to arrive
)

// A control is the server of the control socket: HTTP, JSON, versioned paths.
//
//	GET /v1/status                  Status
//	GET /v1/volumes                 []VolumeStatus
//	GET /v1/clients                 Clients
//	GET /v1/where?path=P[&lookup=1] Where
//	POST /v1/volumes                Addition → Change
//	POST /v1/volumes/mode           ModeChange → Change
//	POST /v1/volumes/remove         Removal → stream of Held, Change
//	POST /v1/check                  CheckRequest → stream of CheckItem, CheckSummary
//	POST /v1/rebuild                {} → stream of ScanStatus, ScanStatus
//	POST /v1/cache/drop             DropRequest → Dropped
//
// Besides, for programs that know nothing of sheaf (observe.go): GET /metrics, GET /healthz, and
// with the setting pprof /debug/pprof/.
//
// An error is {"error": …, "status": N}, with vfs's number of the status. Bodies and streams
// are in stream.go.
type control struct {
	http   http.Server
	listen net.Listener
	done   chan struct{}
}

// controlError is an error on its way through the socket.
type controlError struct {
	Message string     `json:"error"`
	Status  vfs.Status `json:"status"`
	Config  bool       `json:"config,omitempty"` // it is a ConfigError
}

// Error is the message as the server had it.
func (e *controlError) Error() string { return e.Message }

// Unwrap is the status, and what makes IsConfig know it.
func (e *controlError) Unwrap() []error {
	if e.Config {
		return []error{e.Status, &ConfigError{Problem: e.Message}}
	}
	return []error{e.Status}
}

// startControl answers for in on a socket at state, whose lock the caller holds; others answers what is not of the
// protocol.
func startControl(state *stateDir, in Manager, others http.Handler, log *slog.Logger) (*control, error) {
	if err := state.removeSocket(); err != nil {
		return nil, err
	}
	l, err := listenPrivate(state.socket())
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	c := &control{listen: l, done: make(chan struct{})}
	c.http = http.Server{
		Handler:           controlMux(in, others),
		ReadHeaderTimeout: controlTimeout,
		ReadTimeout:       controlTimeout,
		MaxHeaderBytes:    controlHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(c.done)
		if err := c.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("control socket failed", "op", "control", "err", err)
		}
	}()
	return c, nil
}

// listenPrivate listens on a socket that nobody else can open at any time: it gets
// its mode under a name that nobody knows to ask for.
func listenPrivate(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".c")
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	tmp := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(tmp, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		l.Close()
		return nil, errors.Join(err, os.Remove(tmp))
	}
	return l, nil
}

// stop ends the server and removes its socket. Questions under way are answered
// until ctx ends.
func (c *control) stop(ctx context.Context, state *stateDir) error {
	err := c.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, c.http.Close())
	}
	<-c.done
	return errors.Join(err, state.removeSocket())
}

func controlMux(in Manager, others http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for _, pattern := range []string{"GET /metrics", "GET /healthz", "/debug/pprof/"} {
		mux.Handle(pattern, others)
	}
	handle(mux, "GET /v1/status", func(r *http.Request) (any, error) { return in.Status(r.Context()) })
	handle(mux, "GET /v1/volumes", func(r *http.Request) (any, error) { return in.Volumes(r.Context()) })
	handle(mux, "GET /v1/clients", func(r *http.Request) (any, error) { return in.Clients(r.Context()) })
	handle(mux, "GET /v1/where", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		if !q.Has("path") {
			return nil, &vfs.Error{Status: vfs.Inval, Op: "where", Err: errors.New("no path is given")}
		}
		lookup, err := strconv.ParseBool(q.Get("lookup"))
		return in.Where(r.Context(), q.Get("path"), err == nil && lookup)
	})
	handleBody(mux, "POST /v1/volumes", func(ctx context.Context, q Addition) (any, error) { return in.AddVolume(ctx, q) })
	handleBody(mux, "POST /v1/volumes/mode", func(ctx context.Context, q ModeChange) (any, error) { return in.SetMode(ctx, q.Name, q.Mode) })
	handleStream(mux, "POST /v1/volumes/remove", func(ctx context.Context, q Removal, each func(Held)) (any, error) {
		return in.RemoveVolume(ctx, q, each)
	})
	handleBody(mux, "POST /v1/cache/drop", func(ctx context.Context, q DropRequest) (any, error) { return in.DropCache(ctx, q) })
	handleStream(mux, "POST /v1/check", func(ctx context.Context, q CheckRequest, each func(CheckItem)) (any, error) {
		return in.Check(ctx, q, each)
	})
	handleStream(mux, "POST /v1/rebuild", func(ctx context.Context, _ struct{}, each func(ScanStatus)) (any, error) {
		return in.Rebuild(ctx, each)
	})
	return mux
}

func handle(mux *http.ServeMux, pattern string, f func(*http.Request) (any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		reply(w, v, err)
	})
}

// reply answers with v, or with err.
func reply(w http.ResponseWriter, v any, err error) {
	code := http.StatusOK
	if err != nil {
		v, code = newControlError(err), http.StatusInternalServerError
		if IsNotFound(err) {
			code = http.StatusNotFound
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(v)
}

// Client asks a running server by its control socket.
type Client struct{ http http.Client }

var _ Manager = (*Client)(nil)

// Dial finds the server that has the state directory. ErrNotRunning if there is none.
func Dial(ctx context.Context, state string) (*Client, error) {
	path := filepath.Join(state, ControlSocket)
	var d net.Dialer
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
	conn, err := dial(ctx, "", "")
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w with state directory %q", ErrNotRunning, state)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("control socket of the server: %w; ask as the user who runs it", err)
	case err != nil:
		return nil, fmt.Errorf("control socket of the server: %w", err)
	}
	conn.Close()
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Close lets go of the server.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status asks how the share is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.get(ctx, "/v1/status", nil, &s)
	return s, err
}

// Volumes asks how its volumes are.
func (c *Client) Volumes(ctx context.Context) (v []VolumeStatus, err error) {
	err = c.get(ctx, "/v1/volumes", nil, &v)
	return v, err
}

// Clients asks who uses it.
func (c *Client) Clients(ctx context.Context) (all Clients, err error) {
	err = c.get(ctx, "/v1/clients", nil, &all)
	return all, err
}

// Where asks where an object lies.
func (c *Client) Where(ctx context.Context, path string, lookup bool) (w Where, err error) {
	q := url.Values{"path": {path}}
	if lookup {
		q.Set("lookup", "1")
	}
	err = c.get(ctx, "/v1/where", q, &w)
	return w, err
}

// AddVolume implements Manager.
func (c *Client) AddVolume(ctx context.Context, q Addition) (a Change, err error) {
	err = c.put(ctx, "/v1/volumes", q, &a)
	return a, err
}

// SetMode implements Manager.
func (c *Client) SetMode(ctx context.Context, name, mode string) (a Change, err error) {
	err = c.put(ctx, "/v1/volumes/mode", ModeChange{name, mode}, &a)
	return a, err
}

// RemoveVolume implements Manager.
func (c *Client) RemoveVolume(ctx context.Context, q Removal, each func(Held)) (a Change, err error) {
	err = stream(ctx, c, "/v1/volumes/remove", q, each, &a)
	return a, err
}

// Check implements Manager.
func (c *Client) Check(ctx context.Context, q CheckRequest, each func(CheckItem)) (sum CheckSummary, err error) {
	err = stream(ctx, c, "/v1/check", q, each, &sum)
	return sum, err
}

// Rebuild implements Manager.
func (c *Client) Rebuild(ctx context.Context, each func(ScanStatus)) (s ScanStatus, err error) {
	err = stream(ctx, c, "/v1/rebuild", struct{}{}, each, &s)
	return s, err
}

// DropCache implements Manager.
func (c *Client) DropCache(ctx context.Context, q DropRequest) (d Dropped, err error) {
	err = c.put(ctx, "/v1/cache/drop", q, &d)
	return d, err
}

func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	u := url.URL{Scheme: "http", Host: "sheaf", Path: path, RawQuery: q.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer resp.Body.Close()
	return answerOf(resp, path, into)
}

// answerOf reads the one value that the server answers.
func answerOf(resp *http.Response, path string, into any) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, controlReply))
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return understand(json.Unmarshal(body, into))
	}
	var failed controlError
	if err := json.Unmarshal(body, &failed); err != nil || failed.Message == "" {
		return fmt.Errorf("the server answers %s to %s; it is of another version", resp.Status, path)
	}
	return &failed
}

// understand says of an answer that cannot be read what may be the cause.
func understand(err error) error {
	if err != nil {
		return fmt.Errorf("the server's answer is not understood; is it of another version? %w", err)
	}
	return nil
}
