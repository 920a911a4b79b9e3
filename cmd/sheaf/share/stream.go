package share

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"sheaf/vfs"
)

// Requests with a body are JSON. What may have many parts answers with a stream of JSON values, one a
// line: {"item": …} for each part, and at the end {"result": …}, or {"error": …} as in controlError. A
// stream without an end was cut short.

// controlBody bounds the body of a request, in bytes: two paths and a few words.
const controlBody = 64 << 10

// flushEvery is how long parts of a stream are kept back to be sent together.
const flushEvery = 100 * time.Millisecond

// streamLine is one line of a stream.
type streamLine struct {
	Item   json.RawMessage `json:"item,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`

	Message string     `json:"error,omitempty"`
	Status  vfs.Status `json:"status,omitempty"`
	Config  bool       `json:"config,omitempty"`
}

// newControlError is err as it goes through the socket.
func newControlError(err error) *controlError {
	return &controlError{Message: err.Error(), Status: vfs.StatusOf(err), Config: IsConfig(err)}
}

// readBody reads a request's body into v, and lets the answer take as long as it needs.
func readBody(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, controlBody))
	d.DisallowUnknownFields() // what is not understood is not done by halves
	err := d.Decode(v)
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		return &vfs.Error{Status: vfs.Inval, Op: "control", Err: fmt.Errorf("the request is not understood: %w", err)}
	}
	// Else net/http takes the deadline of the request for the client's end.
	return http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// handleBody answers a request with a body by one value.
func handleBody[Q any](mux *http.ServeMux, pattern string, f func(context.Context, Q) (any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		v, err := any(nil), readBody(w, r, &q)
		if err == nil {
			v, err = f(r.Context(), q)
		}
		reply(w, v, err)
	})
}

// handleStream answers a request with a body by a stream.
func handleStream[Q, I any](mux *http.ServeMux, pattern string, f func(context.Context, Q, func(I)) (any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := readBody(w, r, &q); err != nil {
			reply(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := json.NewEncoder(w)
		rc, flushed := http.NewResponseController(w), time.Time{}
		// A client that is gone ends the request's context; it needs no answer.
		v, err := f(r.Context(), q, func(item I) {
			_ = out.Encode(map[string]any{"item": item})
			if now := time.Now(); now.Sub(flushed) >= flushEvery {
				_ = rc.Flush()
				flushed = now
			}
		})
		if err != nil {
			_ = out.Encode(newControlError(err))
			return
		}
		_ = out.Encode(map[string]any{"result": v})
	})
}

// post asks the server with the body q.
func (c *Client) post(ctx context.Context, path string, q any) (*http.Response, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	u := url.URL{Scheme: "http", Host: "sheaf", Path: path}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	return resp, nil
}

// put asks the server with the body q, and takes the one value that it answers.
func (c *Client) put(ctx context.Context, path string, q, into any) error {
	resp, err := c.post(ctx, path, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return answerOf(resp, path, into)
}

// stream asks the server with the body q, gives each part of the answer to each, and takes the result.
func stream[I any](ctx context.Context, c *Client, path string, q any, each func(I), result any) error {
	resp, err := c.post(ctx, path, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answerOf(resp, path, nil)
	}
	for d := json.NewDecoder(resp.Body); ; {
		var line streamLine
		if err := d.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("the server's answer was cut short; did it stop? %w", err)
		}
		switch {
		case line.Message != "":
			return &controlError{line.Message, line.Status, line.Config}
		case line.Result != nil:
			return understand(json.Unmarshal(line.Result, result))
		}
		var item I
		if err := json.Unmarshal(line.Item, &item); err != nil {
			return understand(err)
		}
		if each != nil {
			each(item)
		}
	}
}
