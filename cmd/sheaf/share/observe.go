package share

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sheaf/vfs/volume"
)

// Limits of the endpoints for programs that watch the server.
const (
	scrapesMax    = 4                // at a time; more are told to come again
	scrapeTimeout = 10 * time.Second // for gathering
	scrapeConns   = 64               // connections over TCP
	scrapeHeader  = 8 << 10          // bytes of a request's header
	scrapeIdle    = 2 * time.Minute  // a connection without a request; Prometheus asks every minute at the latest, by default
)

// observeMux answers /metrics and /healthz, and if asked for /debug/pprof/.
func (s *Share) observeMux(withPprof bool) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesMax, Timeout: scrapeTimeout,
	}))
	mux.HandleFunc("GET /healthz", s.serveHealth)
	if withPprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// serveHealth says whether the share can be used: 200 while any volume answers, 503 while none does. What is not as it should
// be stands in the lines after the first.
func (s *Share) serveHealth(w http.ResponseWriter, _ *http.Request) {
	code, lines := s.health()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// Who is gone needs no answer.
	_, _ = fmt.Fprintln(w, strings.Join(lines, "\n"))
}

// health is the status of /healthz and its lines.
func (s *Share) health() (int, []string) {
	var faults []string
	up := 0
	for _, m := range s.union.Members() {
		if m.State.Health == volume.Online {
			up++
			continue
		}
		faults = append(faults, fmt.Sprintf("volume %s is %s: %s", m.Name, m.State.Health, m.State.Reason))
	}
	if st := s.indexStatus(); st.State != IndexOn {
		faults = append(faults, strings.TrimSuffix(fmt.Sprintf("the index is %s: %s", st.State, st.Error), ": "))
	}
	switch {
	case up == 0:
		return http.StatusServiceUnavailable, append([]string{"no volume answers"}, faults...)
	case len(faults) > 0:
		return http.StatusOK, append([]string{"degraded"}, faults...)
	}
	return http.StatusOK, []string{"ok"}
}

// metricsServer serves over TCP.
type metricsServer struct {
	http http.Server
	done chan struct{}
}

// startMetrics serves /metrics and /healthz where metrics-listen says; nil if that is nowhere.
func (s *Share) startMetrics() *metricsServer {
	if s.scrapes == nil {
		return nil
	}
	m := &metricsServer{done: make(chan struct{})}
	m.http = http.Server{
		Handler:     s.observeMux(false),
		ReadTimeout: scrapeTimeout, WriteTimeout: 2 * scrapeTimeout, IdleTimeout: scrapeIdle, MaxHeaderBytes: scrapeHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.log.Info("metrics are served to whoever reaches this address", "op", "start", "addr", s.scrapes.Addr().String())
	go func() {
		defer close(m.done)
		if err := m.http.Serve(limitConns(s.scrapes, scrapeConns)); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the address for metrics failed", "op", "metrics", "err", err)
		}
	}()
	return m
}

// stop ends it. Scrapes under way are cut off: the next server answers.
func (m *metricsServer) stop() error {
	err := m.http.Close()
	<-m.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// MetricsAddr is where metrics are served over TCP; nil: nowhere.
func (s *Share) MetricsAddr() net.Addr {
	if s.scrapes == nil {
		return nil
	}
	return s.scrapes.Addr()
}

// exportPath is the path of an export, for labels.
func (s *Share) exportPath(id uint64) string {
	if s.engine == nil {
		return ""
	}
	return s.engine.ExportPath(id)
}

// limited is a listener that has so many connections open at most. Further ones wait to be accepted.
type limited struct {
	net.Listener
	turns chan struct{}
	close func() error // closes over, and the Listener
	over  chan struct{}
}

func limitConns(l net.Listener, n int) net.Listener {
	over := make(chan struct{})
	return &limited{l, make(chan struct{}, n), sync.OnceValue(func() error {
		close(over)
		return l.Close()
	}), over}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.turns <- struct{}{}:
	case <-l.over:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.turns
		return nil, err
	}
	return &limitedConn{c, sync.OnceFunc(func() { <-l.turns })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error { return l.close() }

// limitedConn gives its turn back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
