package mount3

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// failing is a Backend whose every Mount fails in one way.
type failing struct{ err error }

func (f failing) Mount(context.Context, *rpc.Call, string) ([]byte, error) { return nil, f.err }

func (failing) Exports() []Export { return nil }

// TestEveryStatusHasAnAnswer: what the protocol has no word for is a server
// fault, and nothing but success is OK.
func TestEveryStatusHasAnAnswer(t *testing.T) {
	named := map[vfs.Status]nfs.MountStatus{
		vfs.Perm: 1, vfs.NoEnt: 2, vfs.IO: 5, vfs.Acces: 13, vfs.NotDir: 20, vfs.Inval: 22, vfs.NameTooLong: 63,
		vfs.NotSupp: 10004, vfs.ServerFault: 10006, vfs.Jukebox: 5, vfs.Stale: 2,
	}
	for _, st := range vfs.Statuses() {
		want, ok := named[st]
		if !ok {
			want = nfs.MountStatusErrServerFault
		}
		s := New(failing{fmt.Errorf("walk: %w", st)}, 0, slog.New(slog.DiscardHandler))
		c := &rpc.Call{Args: xdr.AppendString(nil, "/"), Cred: &rpc.Cred{}}
		out, v := s.mnt(t.Context(), c, nil)
		d := xdr.NewDecoder(out)
		if got := nfs.MountStatus(d.Uint32()); v != rpc.Done || got != want || d.Len() != 0 {
			t.Errorf("%v: %d, want %d", st, got, want)
		}
		if n := len(s.Mounts()); n != 0 {
			t.Errorf("%v: a mount that failed is in the list", st)
		}
	}
}

func TestListWithoutAddresses(t *testing.T) {
	l := list{limit: 2}
	for _, name := range []string{"one", "two", "three"} {
		l.add(&rpc.Call{Cred: &rpc.Cred{Machine: name}}, "/"+name)
	}
	got := l.all()
	if len(got) != 2 || got[0].Host != "two" || got[1].Host != "three" || got[1].Since.IsZero() {
		t.Errorf("%+v", got)
	}
	got[0].Host = "changed"
	if l.all()[0].Host != "two" {
		t.Error("the list given out is the list itself")
	}
	l.remove(netip.MustParseAddr("192.0.2.1"), func(*Mount) bool { return true })
	if len(l.all()) != 2 {
		t.Error("another client's mounts were removed")
	}
}

// TestListByClient: a client that mounts all it can drives out its own mounts, and not another's.
func TestListByClient(t *testing.T) {
	l := list{limit: 8}
	from := func(ip string) *rpc.Call {
		return &rpc.Call{Client: netip.AddrPortFrom(netip.MustParseAddr(ip), 700), Cred: &rpc.Cred{}}
	}
	l.add(from("192.0.2.1"), "/first")
	for i := range 100 {
		l.add(from(fmt.Sprintf("2001:db8::%x", i)), fmt.Sprintf("/%d", i)) // one network, one client
	}
	l.add(from("192.0.2.2"), "/late")
	got := l.all()
	if len(got) != 8 || got[0].Dir != "/first" || got[1].Dir != "/94" || got[7].Dir != "/late" {
		t.Errorf("%+v", got)
	}
	for _, m := range got {
		l.remove(m.Client, func(*Mount) bool { return true })
	}
	if l.size != 0 || len(l.by) != 0 {
		t.Errorf("%d bytes of nothing, %v", l.size, l.by)
	}
}

// admitting is a Backend that mounts whatever is asked for.
type admitting struct{}

func (admitting) Mount(context.Context, *rpc.Call, string) ([]byte, error) {
	return make([]byte, 60), nil
}

func (admitting) Exports() []Export { return nil }

// TestHostileMounts: a client that mounts one directory under thousands of long names,
// and others without an end, get neither a long reply from DUMP nor a long log.
func TestHostileMounts(t *testing.T) {
	var log bytes.Buffer
	s := New(admitting{}, 0, slog.New(slog.NewTextHandler(&log, nil)))
	c := &rpc.Call{Cred: &rpc.Cred{}}
	const n = DefaultMaxMounts
	for i := range n {
		dir := fmt.Sprintf("/%0*d", PathMax-1, i)
		c.Args = xdr.AppendString(nil, dir)
		if _, v := s.mnt(t.Context(), c, nil); v != rpc.Done {
			t.Fatal(v)
		}
	}
	out, v := s.dump(t.Context(), c, make([]byte, 0, ListMax+listEnd))
	if v != rpc.Done || len(out) > ListMax+listEnd || len(out) < ListMax-2*PathMax || len(out) != s.dumpSize(nil) {
		t.Errorf("DUMP answers with %d bytes, %d announced", len(out), s.dumpSize(nil))
	}
	if got := s.Mounts(); got[len(got)-1].Dir != fmt.Sprintf("/%0*d", PathMax-1, n-1) {
		t.Errorf("the newest is %q", got[len(got)-1].Dir)
	}
	if lines := bytes.Count(log.Bytes(), []byte{'\n'}); lines < logBurst || lines > 2*logBurst {
		t.Errorf("%d lines logged", lines)
	}
	if _, v := s.umntAll(t.Context(), c, nil); v != rpc.Done || s.dumpSize(nil) != listEnd || len(s.Mounts()) != 0 {
		t.Errorf("%d bytes are left", s.dumpSize(nil))
	}
	c.Args = xdr.AppendOpaque(nil, make([]byte, 1<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, v := s.umnt(t.Context(), c, nil); v != rpc.Done {
		t.Fatal(v)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
		t.Errorf("a path of 1 MiB made it take %d bytes", n)
	}
}
