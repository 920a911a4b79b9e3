package share

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/vfs"
)

func TestStreamCarriesEverything(t *testing.T) {
	in := &fake{}
	for i := range 3000 {
		in.items = append(in.items, CheckItem{Finding: &Finding{Kind: "row", What: fmt.Sprint(i), Path: "a\xff\n"}})
	}
	in.items = append(in.items, CheckItem{Progress: &CheckProgress{Rows: 7}})
	client, _ := controlOver(t, in)
	var got []CheckItem
	sum, err := client.Check(t.Context(), CheckRequest{}, func(i CheckItem) { got = append(got, i) })
	if err != nil || sum.Faults != 3001 || sum.Kinds["row"] != 1 || len(got) != len(in.items) {
		t.Fatalf("%+v with %d items, %v", sum, len(got), err)
	}
	if g := got[2999].Finding; g.What != "2999" || g.Path != "a\xff\n" || got[3000].Progress.Rows != 7 {
		t.Errorf("%+v, %+v", g, got[3000].Progress)
	}
	if _, err := client.Check(t.Context(), CheckRequest{}, nil); err != nil {
		t.Errorf("nobody wants the items: %v", err)
	}
}

func TestStreamKeepsErrors(t *testing.T) {
	in := &fake{items: make([]CheckItem, 1), err: &vfs.Error{Status: vfs.Jukebox, Op: "check"}}
	client, _ := controlOver(t, in)
	if _, err := client.Check(t.Context(), CheckRequest{}, nil); vfs.StatusOf(err) != vfs.Jukebox || err.Error() != in.err.Error() {
		t.Errorf("%v arrives as %v", in.err, err)
	}
	in.err = &ConfigError{Key: "volumes", Problem: "x"}
	if _, err := client.Check(t.Context(), CheckRequest{}, nil); !IsConfig(err) || err.Error() != "volumes: x" {
		t.Errorf("%v arrives as %v", in.err, err)
	}
}

// TestStreamEndsWithItsClient: who hangs up ends what he asked for.
func TestStreamEndsWithItsClient(t *testing.T) {
	in := &fake{items: make([]CheckItem, 1)}
	client, state := controlOver(t, in)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client.Check(ctx, CheckRequest{Repair: true}, func(CheckItem) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// The server's Shutdown in the clean-up waits for the handler; here for the next answer.
	next, err := Dial(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if _, err := next.Check(t.Context(), CheckRequest{}, nil); err != nil {
		t.Error(err)
	}
}

// TestStreamCutShort: an answer that stops in the middle is an error, and no result.
func TestStreamCutShort(t *testing.T) {
	state, err := openState(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer state.close()
	l, err := net.Listen("unix", filepath.Join(state.path, ControlSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n{\"item\":{}}\n")
			}
			conn.Close()
		}
	}()
	client, err := Dial(t.Context(), state.path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Check(t.Context(), CheckRequest{}, nil); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("%v", err)
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	client, _ := controlOver(t, &fake{})
	for _, body := range []string{"", "{", "[]", `{"repair":1}`, `{"repare":true}`, `{"repair":` + strings.Repeat(" ", controlBody) + `true}`} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://sheaf/v1/check", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answerOf(resp, "/v1/check", nil); vfs.StatusOf(err) != vfs.Inval {
			t.Errorf("%.20q: %v", body, err)
		}
		resp.Body.Close()
	}
}

// TestBacklog: who reads slowly keeps nobody waiting, and is told what he has missed.
func TestBacklog(t *testing.T) {
	hold := make(chan struct{})
	var got int64
	b := newBacklog(func(i CheckItem) {
		<-hold
		if i.Finding != nil {
			got++
		}
	})
	const all = checkBacklog + 1000
	for range all {
		b.add(CheckItem{Finding: &Finding{}})
	}
	close(hold)
	if missed := b.end(); missed == 0 || got+missed != all {
		t.Errorf("%d of %d arrived, %d are said to be missing", got, all, missed)
	}
}
