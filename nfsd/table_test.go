package nfsd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// flaky is a Model whose look-ups fail as long as told.
type flaky struct {
	*vfstest.Model
	fail atomic.Pointer[vfs.Error]
}

func (f *flaky) Lookup(ctx context.Context, w *vfs.Who, dir vfs.Node, name vfs.Name) (obj, dirAttr vfs.Attr, err error) {
	if e := f.fail.Load(); e != nil {
		return obj, dirAttr, e
	}
	return f.Model.Lookup(ctx, w, dir, name)
}

func (f *flaky) mkdir(t *testing.T, name string) vfs.Node {
	t.Helper()
	root, err := f.Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := f.Make(t.Context(), vfs.Superuser, root.Node, vfs.MustName(name), &vfs.How{Type: vfs.Directory})
	if err != nil {
		t.Fatal(err)
	}
	return a.Node
}

// getAttr calls GETATTR on a node by export id x; NoWait is off.
func getAttr(t *testing.T, s *Server, x uint64, n vfs.Node) nfs.NFSStatus {
	t.Helper()
	c := newCall(nfs.NFSProcedureGetAttr, s.appendHandle(nil, x, n))
	c.NoWait = false
	out, v := s.getAttr(t.Context(), c, nil)
	if v != rpc.Done {
		t.Fatalf("verdict %v", v)
	}
	d := xdr.NewDecoder(out)
	return nfs.NFSStatus(d.Uint32())
}

func newServer(t *testing.T, fs vfs.FS, exports string, log *slog.Logger) *Server {
	t.Helper()
	s, err := New(t.Context(), fs, Options{Exports: parse(t, exports), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestExportFoundLater: handles of an export whose directory could not be looked
// at when the server started wait for it and do not go stale.
func TestExportFoundLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &flaky{Model: vfstest.NewModel(vfstest.ModelOptions{})}
		dir := fs.mkdir(t, "dir")
		fs.fail.Store(&vfs.Error{Status: vfs.Jukebox})
		s := newServer(t, fs, "/dir *(rw,insecure)\n", slog.New(slog.DiscardHandler))
		x := s.key.exportID(dir.ID)
		if st := getAttr(t, s, x, dir); st != nfs.NFSStatusJukebox {
			t.Errorf("away: %d, want JUKEBOX", st)
		}
		c := newCall(nfs.NFSProcedureGetAttr, s.appendHandle(nil, x, dir))
		if _, v := s.getAttr(t.Context(), c, nil); v != rpc.Again {
			t.Errorf("inline: verdict %v, want Again", v)
		}
		fs.fail.Store(nil)
		if st := getAttr(t, s, x, dir); st != nfs.NFSStatusJukebox {
			t.Errorf("looked for twice within %v: %d", retryExports, st)
		}
		time.Sleep(retryExports)
		if st := getAttr(t, s, x, dir); st != nfs.NFSStatusOk {
			t.Errorf("back: %d", st)
		}
		// What is known stays known while it cannot be looked at.
		fs.fail.Store(&vfs.Error{Status: vfs.IO})
		if err := s.Reload(t.Context(), parse(t, "/dir *(ro,insecure)\n")); err != nil {
			t.Error(err)
		}
		if st := getAttr(t, s, x, dir); st != nfs.NFSStatusOk {
			t.Errorf("away again: %d", st)
		}
		if _, err := (mountBackend{s}).Mount(t.Context(), c, "/dir"); vfs.StatusOf(err) != vfs.IO {
			t.Errorf("MNT while away: %v", err)
		}
	})
}

// TestExportNeverThere: a directory that is known not to be there leaves handles
// stale, and is found when it comes.
func TestExportNeverThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &flaky{Model: vfstest.NewModel(vfstest.ModelOptions{})}
		s := newServer(t, fs, "/dir *(rw,insecure)\n", slog.New(slog.DiscardHandler))
		root, err := fs.Root(t.Context(), vfs.Superuser)
		if err != nil {
			t.Fatal(err)
		}
		if st := getAttr(t, s, 12345, root.Node); st != nfs.NFSStatusStale {
			t.Errorf("%d, want STALE", st)
		}
		fs.mkdir(t, "dir")
		time.Sleep(retryExports)
		c := newCall(0, nil)
		if _, err := (mountBackend{s}).Mount(t.Context(), c, "/dir"); err != nil {
			t.Error(err)
		}
	})
}

// TestRefusedMountSaysWhy: the log says which rule is missing, the client learns ACCES.
func TestRefusedMountSaysWhy(t *testing.T) {
	fs := &flaky{Model: vfstest.NewModel(vfstest.ModelOptions{})}
	fs.mkdir(t, "dir")
	s := newServer(t, fs, "/dir 10.0.0.1(rw) 10.0.0.2(rw,insecure)\n", slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		client, dir string
		want        error
	}{
		{"10.0.0.3:700", "/dir", errNoRule},
		{"10.0.0.1:1024", "/dir", errPort},
		{"10.0.0.2:1024", "/other", errNotExported},
		{"10.0.0.2:1024", "/dir", nil},
		{"10.0.0.1:1023", "/dir", nil},
	} {
		call := newCall(0, nil)
		call.Client = netip.MustParseAddrPort(c.client)
		_, err := (mountBackend{s}).Mount(t.Context(), call, c.dir)
		if !errors.Is(err, c.want) || c.want != nil && vfs.StatusOf(err) != vfs.Acces {
			t.Errorf("%s of %s: %v, want %v", c.dir, c.client, err, c.want)
		}
	}
}

// TestUnknownExportWaitsForNobody: the exports are being loaded, which takes as long as
// a volume does; a handle of an export that is not there is answered meanwhile.
func TestUnknownExportWaitsForNobody(t *testing.T) {
	s := newServer(t, newOneFile(), "/ *(rw,insecure)\n", slog.New(slog.DiscardHandler))
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	done := make(chan nfs.NFSStatus, 1)
	go func() { done <- getAttr(t, s, 12345, newOneFile().file.Node) }()
	select {
	case st := <-done:
		if st != nfs.NFSStatusStale {
			t.Errorf("%d, want STALE", st)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for the exports")
	}
}

func TestNewRefuses(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	for want, o := range map[string]Options{
		"ReadMax":   {ReadMax: 4097},
		"WriteMax":  {WriteMax: MaxIOMax + 4096},
		"ReadMax ":  {ReadMax: 1},
		"DirMax":    {DirMax: 100},
		"MaxRecord": {RPC: rpc.Config{MaxRecord: 1 << 20}},
	} {
		if _, err := New(t.Context(), m, o); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := New(t.Context(), m, Options{RPC: rpc.Config{MaxConns: -1}}); err == nil {
		t.Error("a negative limit of the transport is accepted")
	}
	fs := &rootless{m}
	if _, err := New(t.Context(), fs, Options{}); vfs.StatusOf(err) != vfs.IO {
		t.Errorf("no root: %v", err)
	}
	same := &Exports{List: []Export{{Path: "/"}, {Path: "/."}}}
	if _, err := New(t.Context(), m, Options{Exports: same}); err == nil || !strings.Contains(err.Error(), "one directory") {
		t.Errorf("one directory twice: %v", err)
	}
}

type rootless struct{ *vfstest.Model }

func (*rootless) Root(context.Context, *vfs.Who) (vfs.Attr, error) { return vfs.Attr{}, vfs.IO }

// TestFailuresAreLogged: what the file system could not do is logged with what the
// operator needs, and not more often than the limit.
func TestFailuresAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &flaky{Model: vfstest.NewModel(vfstest.ModelOptions{})}
		var b bytes.Buffer
		s := newServer(t, fs, "/ *(rw,insecure)\n", slog.New(slog.NewTextHandler(&b, nil)))
		fs.fail.Store(&vfs.Error{Status: vfs.IO, Op: "open", Object: "x", Volume: "disk3"})
		r := s.table.Load().roots[0]
		c := newCall(nfs.NFSProcedureLookup, xdr.AppendString(s.appendHandle(nil, r.id, r.node), "x"))
		c.XID, c.Client = 77, netip.MustParseAddrPort("192.0.2.9:800")
		fail := func() {
			if _, v := s.lookup(t.Context(), c, nil); v != rpc.Done {
				t.Fatalf("verdict %v", v)
			}
		}
		fail()
		for _, want := range []string{"op=LOOKUP", "client=192.0.2.9", "xid=77", "disk3"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is missing in %s", want, b.String())
			}
		}
		for range 99 {
			fail()
		}
		if n := strings.Count(b.String(), "\n"); n != logBurst {
			t.Errorf("%d lines, want %d", n, logBurst)
		}
		b.Reset()
		time.Sleep(time.Second)
		fail()
		if !strings.Contains(b.String(), "suppressed=80") {
			t.Errorf("a second later: %s", b.String())
		}
		b.Reset()
		time.Sleep(time.Hour)
		fs.fail.Store(&vfs.Error{Status: vfs.IO, Err: context.Canceled})
		fail()
		fs.fail.Store(&vfs.Error{Status: vfs.NoEnt})
		fail()
		fs.fail.Store(&vfs.Error{Status: vfs.IO, Err: told{}})
		fail()
		if b.Len() != 0 {
			t.Errorf("a call that was cut or missed, or what was told before, is logged: %s", b.String())
		}
	})
}

// told is an error whose cause the operator knows.
type told struct{}

func (told) Error() string   { return "the disk is away" }
func (told) Announced() bool { return true }

// TestSlowAnswersGoToAWorker: Again without NoWait is a fault of a layer.
func TestSlowAnswersGoToAWorker(t *testing.T) {
	fs := &flaky{Model: vfstest.NewModel(vfstest.ModelOptions{})}
	s := newServer(t, fs, "/ *(rw,insecure)\n", slog.New(slog.DiscardHandler))
	fs.fail.Store(&vfs.Error{Status: vfs.Again})
	r := s.table.Load().roots[0]
	c := newCall(nfs.NFSProcedureLookup, xdr.AppendString(s.appendHandle(nil, r.id, r.node), "x"))
	if _, v := s.lookup(t.Context(), c, nil); v != rpc.Again {
		t.Errorf("verdict %v", v)
	}
	c.NoWait = false
	out, v := s.lookup(t.Context(), c, nil)
	d := xdr.NewDecoder(out)
	if st := nfs.NFSStatus(d.Uint32()); v != rpc.Done || st != nfs.NFSStatusServerFault {
		t.Errorf("verdict %v, status %d", v, st)
	}
}
