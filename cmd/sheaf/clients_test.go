package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sheaf/cmd/sheaf/share"
	"sheaf/nfsd/rpc/rpctest"
)

// TestClients: who called is listed, with what it said it has mounted; without a server nobody is.
func TestClients(t *testing.T) {
	state := tempDir(t)
	if got := sheaf(t, "clients", "--state", state); got.code != exitNotRunning || got.out != "" {
		t.Errorf("without a server: %+v", got)
	}
	p := serve(t, nil, "--adopt", "--state", state, "--listen", "127.0.0.1:0", "--volume", "a="+tempDir(t))
	c, err := rpctest.Dial(t.Context(), p.addr(), 100005, 3, rpctest.Sys("host", 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Call(t.Context(), 1, []byte{0, 0, 0, 1, '/', 0, 0, 0}); err != nil { // MNT
		t.Fatal(err)
	}
	var got result
	var one share.ClientStatus
	for end := time.Now().Add(30 * time.Second); one.BytesOut == 0; { // counted when it is sent, so after the reply is here
		var all share.Clients
		got = sheaf(t, "clients", "--json", "--state", state)
		if err := json.Unmarshal([]byte(got.out), &all); err != nil || got.code != exitOK || len(all.Clients) != 1 || all.Total != 1 || !all.Running || time.Now().After(end) {
			t.Fatalf("%+v, %v", got, err)
		}
		one = all.Clients[0]
	}
	if one.Address != "127.0.0.1" || one.Connections != 1 || one.Calls != 1 || one.BytesIn == 0 ||
		one.LastProcedure != "MNT" || len(one.Mounts) != 1 || one.Mounts[0] != "/" {
		t.Errorf("%+v", one)
	}
	got = sheaf(t, "clients", "--state", state)
	if lines := strings.Split(got.out, "\n"); got.code != exitOK || len(lines) != 3 || !strings.HasPrefix(lines[1], "127.0.0.1 ") {
		t.Errorf("%+v", got)
	}
	p.stop()
}

// TestPrintClients: what clients say of themselves does nothing to a terminal, and does not fill it.
func TestPrintClients(t *testing.T) {
	var out bytes.Buffer
	all := share.Clients{Running: true, Total: 3, Clients: []share.ClientStatus{
		{Mounts: []share.Text{"/\x1b[2J", "/b", "/c", "/d", "/e"}}, {Address: "2001:db8::/64", InFlight: 3},
	}}
	if err := printClients(&out, &all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"/\x1b[2J", /b, /c, /d, and 1 more`, "2001:db8::/64 ", "and 1 more\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
}
