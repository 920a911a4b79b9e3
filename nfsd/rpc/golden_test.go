package rpc

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"sheaf/nfsd/rpc/rpctest"
	"sheaf/nfsd/xdr"
)

// TestGolden pins the bytes of every kind of reply (RFC 5531 §9).
func TestGolden(t *testing.T) {
	_, addr := startServer(t, Config{Programs: testPrograms()})
	sys := rpctest.Sys("host", 1000, 100, 4, 24)
	h := func(prog, vers, proc uint32) rpctest.Header {
		return rpctest.Header{XID: 0x01020304, Prog: prog, Vers: vers, Proc: proc, Cred: sys}
	}
	with := func(h rpctest.Header, f func(*rpctest.Header)) rpctest.Header { f(&h); return h }
	body := func(a rpctest.Auth, f func([]byte) []byte) rpctest.Auth {
		a.Body = f(bytes.Clone(a.Body))
		return a
	}
	const accepted = "01020304 00000001 00000000 00000000 00000000 "
	const denied = "01020304 00000001 00000001 "
	for _, tc := range []struct {
		name string
		h    rpctest.Header
		args []byte
		want string
	}{
		{"success", h(testProg, 3, procNull), nil, "80000018 " + accepted + "00000000"},
		{"success with result", h(testProg, 3, procEcho), []byte("abcd"), "8000001c " + accepted + "00000000 61626364"},
		{"success from a worker", h(testProg, 3, procWorker), []byte("abcd"), "8000001c " + accepted + "00000000 61626364"},
		{"success after Again", h(testProg, 3, procAgain), []byte("abcd"), "8000001c " + accepted + "00000000 61626364"},
		{"AUTH_NONE", with(h(testProg, 3, procNull), func(h *rpctest.Header) { h.Cred = rpctest.Auth{} }), nil, "80000018 " + accepted + "00000000"},
		{"PROG_UNAVAIL", h(99, 3, 0), nil, "80000018 " + accepted + "00000001"},
		// What makes a Linux client that tried NFSv4 fall back at once.
		{"PROG_MISMATCH", h(testProg, 4, 0), nil, "80000020 " + accepted + "00000002 00000003 00000003"},
		{"PROG_MISMATCH low high", h(testProg+1, 2, 0), nil, "80000020 " + accepted + "00000002 00000001 00000003"},
		{
			"PROG_MISMATCH before the credential", with(h(testProg, 4, 1), func(h *rpctest.Header) { h.Cred.Flavor = 6 }), nil,
			"80000020 " + accepted + "00000002 00000003 00000003",
		},
		{"PROC_UNAVAIL missing", h(testProg, 3, procMissing), nil, "80000018 " + accepted + "00000003"},
		{"PROC_UNAVAIL beyond", h(testProg, 3, 1<<32-1), nil, "80000018 " + accepted + "00000003"},
		{"GARBAGE_ARGS", h(testProg, 3, procGarbage), nil, "80000018 " + accepted + "00000004"},
		{"SYSTEM_ERR panic inline", h(testProg, 3, procPanic), nil, "80000018 " + accepted + "00000005"},
		{"SYSTEM_ERR panic in a worker", h(testProg, 3, procWPanic), nil, "80000018 " + accepted + "00000005"},
		{"verdict GarbageArgs", h(testProg, 3, procVerdict), []byte{0, 0, 0, byte(GarbageArgs)}, "80000018 " + accepted + "00000004"},
		{"verdict SystemErr", h(testProg, 3, procVerdict), []byte{0, 0, 0, byte(SystemErr)}, "80000018 " + accepted + "00000005"},
		{"verdict Again without NoWait", h(testProg, 3, procVerdict), []byte{0, 0, 0, byte(Again)}, "80000018 " + accepted + "00000005"},
		{"verdict ProcUnavail", h(testProg, 3, procVerdict), []byte{0, 0, 0, byte(ProcUnavail)}, "80000018 " + accepted + "00000003"},
		{"verdict unknown", h(testProg, 3, procVerdict), []byte{0, 0, 0, 200}, "80000018 " + accepted + "00000005"},
		{"AUTH_TOOWEAK", h(testProg, 3, procVerdict), []byte{0, 0, 0, byte(TooWeak)}, "80000014 " + denied + "00000001 00000005"},
		{
			"RPC_MISMATCH", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.RPCVers = 3 }), nil,
			"80000018 " + denied + "00000000 00000002 00000002",
		},
		{
			"AUTH_REJECTEDCRED for AUTH_SHORT", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Cred = rpctest.Auth{Flavor: 2, Body: make([]byte, 8)} }), nil,
			"80000014 " + denied + "00000001 00000002",
		},
		{
			"AUTH_BADCRED unknown flavor", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Cred.Flavor = 6 }), nil,
			"80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADCRED body in AUTH_NONE", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Cred.Flavor = 0 }), nil,
			"80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADCRED 17 groups", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Cred = rpctest.Sys("m", 0, 0, make([]uint32, 17)...) }), nil,
			"80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADCRED machine of 256 bytes", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Cred = rpctest.Sys(strings.Repeat("m", 256), 0, 0) }), nil,
			"80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADCRED cut", with(h(testProg, 3, 0), func(h *rpctest.Header) {
				h.Cred = body(h.Cred, func(b []byte) []byte { return b[:len(b)-4] })
			}), nil, "80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADCRED too much", with(h(testProg, 3, 0), func(h *rpctest.Header) {
				h.Cred = body(h.Cred, func(b []byte) []byte { return append(b, 0, 0, 0, 0) })
			}), nil, "80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADCRED empty", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Cred.Body = nil }), nil,
			"80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADCRED above 400 bytes", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Cred.Body = make([]byte, 404) }), nil,
			"80000014 " + denied + "00000001 00000001",
		},
		{
			"AUTH_BADVERF flavor", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Verf = rpctest.Auth{Flavor: 1} }), nil,
			"80000014 " + denied + "00000001 00000003",
		},
		{
			"AUTH_BADVERF body", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Verf = rpctest.Auth{Body: make([]byte, 4)} }), nil,
			"80000014 " + denied + "00000001 00000003",
		},
		{
			"AUTH_BADVERF above 400 bytes", with(h(testProg, 3, 0), func(h *rpctest.Header) { h.Verf = rpctest.Auth{Body: make([]byte, 404)} }), nil,
			"80000014 " + denied + "00000001 00000003",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc := dialRaw(t, addr)
			if _, err := nc.Write(rpctest.AppendRecord(nil, tc.h, tc.args)); err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.ReplaceAll(tc.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			rec, err := rpctest.ReadRecord(nc)
			if err != nil {
				t.Fatal(err)
			}
			got := rpctest.AppendFragment(nil, rec, true)
			if !bytes.Equal(got, want) {
				t.Errorf("reply % x\n want % x", got, want)
			}
		})
	}
}

// TestCredentials: what a handler sees, for credentials that alternate on one
// connection, at their limits, and with a stamp that changes.
func TestCredentials(t *testing.T) {
	_, addr := startServer(t, Config{Programs: testPrograms()})
	c := dial(t, addr)
	gids := make([]uint32, maxGIDs)
	for i := range gids {
		gids[i] = uint32(i)
	}
	long := strings.Repeat("m", maxMachine)
	type one struct {
		auth rpctest.Auth
		want string
	}
	creds := []one{
		{rpctest.Auth{}, `0 0 0 [] "" true`},
		{rpctest.Sys("", 0, 0), `1 0 0 [] "" true`},
		{rpctest.Sys(long, 1, 2, gids...), fmt.Sprintf("1 1 2 %v %q true", gids, long)},
	}
	for i := range uint32(6) { // more than the cache has slots
		creds = append(creds, one{rpctest.Sys("h", 1<<32-1, i, i), fmt.Sprintf(`1 4294967295 %d [%d] "h" true`, i, i)})
	}
	for round := range uint32(3) {
		for _, cr := range creds {
			if len(cr.auth.Body) > 0 {
				xdr.PutUint32(cr.auth.Body, 0, round)
			}
			got, err := c.Send(rpctest.Header{XID: c.NextXID(), Prog: testProg, Vers: 3, Proc: procCred, Cred: cr.auth}, nil)(t.Context())
			if err != nil || string(got) != cr.want {
				t.Errorf("round %d: got %q, %v; want %q", round, got, err, cr.want)
			}
		}
	}
}

// TestCredCache: equal credentials are one Cred, so that what hangs on its Memo is
// found again.
func TestCredCache(t *testing.T) {
	var cc credCache
	get := func(uid, stamp uint32) *Cred {
		a := rpctest.Sys("h", uid, 1)
		xdr.PutUint32(a.Body, 0, stamp)
		c, _, stat := cc.get(&header{credFlavor: AuthSys, cred: a.Body})
		if stat != authOK || c.UID != uid {
			t.Fatalf("uid %d: %+v, %d", uid, c, stat)
		}
		return c
	}
	cc.seed = newReplyCache(1).seed
	var first []*Cred
	for uid := range uint32(4) {
		first = append(first, get(uid, 1))
	}
	for uid := range uint32(4) {
		if get(uid, 2) != first[uid] {
			t.Errorf("uid %d was parsed again", uid)
		}
	}
	get(4, 0) // displaces uid 0
	if get(1, 0) != first[1] || get(0, 0) == first[0] {
		t.Error("the least recent credential should have been displaced, no other")
	}
}
