package nfsd

import (
	"errors"
	"slices"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
)

// TestEveryStatusIsMapped: the set is closed, and so is the table.
func TestEveryStatusIsMapped(t *testing.T) {
	seen := map[nfs.NFSStatus]vfs.Status{}
	for _, s := range append(vfs.Statuses(), vfs.OK) {
		code, ok := statusWire[s]
		if !ok {
			t.Errorf("%v is not mapped", s)
			continue
		}
		if other, twice := seen[code]; twice && s != vfs.Again && other != vfs.Again {
			t.Errorf("%v and %v are both %d", s, other, code)
		}
		seen[code] = s
	}
	if len(statusWire) != len(vfs.Statuses())+1 {
		t.Errorf("%d statuses in the table, %d exist", len(statusWire), len(vfs.Statuses())+1)
	}
	for _, code := range []nfs.NFSStatus{ // all of RFC 1813 section 2.6 but REMOTE, which is no status of ours
		0, 1, 2, 5, 6, 13, 17, 18, 19, 20, 21, 22, 27, 28, 30, 31, 63, 66, 69, 70,
		10001, 10002, 10003, 10004, 10005, 10006, 10007, 10008,
	} {
		if _, ok := seen[code]; !ok {
			t.Errorf("nothing becomes %d", code)
		}
	}
}

// TestChainsEnd: whatever a layer answers, every procedure has something to say
// that it may say, and it says what it was told if it may.
func TestChainsEnd(t *testing.T) {
	for p := range numProcs {
		for _, s := range vfs.Statuses() {
			c := closest(p, s)
			if !allowed(p, c) {
				t.Errorf("%s: %v becomes %v, which it may not answer", procNames[p], s, c)
			}
			if allowed(p, s) && c != s {
				t.Errorf("%s: %v becomes %v", procNames[p], s, c)
			}
			if c == vfs.OK {
				t.Errorf("%s: %v becomes OK", procNames[p], s)
			}
			if c == vfs.ServerFault && s != vfs.ServerFault && s != vfs.Again {
				t.Errorf("%s: %v becomes a server fault", procNames[p], s)
			}
		}
	}
	for p := range uint32(numProcs) {
		if got := wireStatus(p, vfs.Status(200)); got != uint32(nfs.NFSStatusServerFault) {
			t.Errorf("an unknown status becomes %d", got)
		}
	}
}

// TestNamedByTheRFC spot-checks the table against sections 3.3.1 to 3.3.21, and
// what becomes of errors that they do not name.
func TestNamedByTheRFC(t *testing.T) {
	for _, tt := range []struct {
		proc nfs.NFSProcedure
		in   vfs.Status
		want nfs.NFSStatus
	}{
		{nfs.NFSProcedureGetAttr, vfs.NoEnt, nfs.NFSStatusStale},
		{nfs.NFSProcedureGetAttr, vfs.Jukebox, nfs.NFSStatusJukebox},
		{nfs.NFSProcedureGetAttr, vfs.NotDir, nfs.NFSStatusAccess},
		{nfs.NFSProcedureSetAttr, vfs.NotSync, nfs.NFSStatusNotSync},
		{nfs.NFSProcedureSetAttr, vfs.Perm, nfs.NFSStatusPerm},
		{nfs.NFSProcedureLookup, vfs.NoEnt, nfs.NFSStatusNoEnt},
		{nfs.NFSProcedureLookup, vfs.Inval, nfs.NFSStatusAccess},
		{nfs.NFSProcedureRead, vfs.FBig, nfs.NFSStatusIO},
		{nfs.NFSProcedureWrite, vfs.FBig, nfs.NFSStatusFBig},
		{nfs.NFSProcedureWrite, vfs.DQuot, nfs.NFSStatusDQuot},
		{nfs.NFSProcedureCommit, vfs.NoSpc, nfs.NFSStatusNoSPC},
		{nfs.NFSProcedureCreate, vfs.MLink, nfs.NFSStatusNoSPC},
		{nfs.NFSProcedureMkDir, vfs.MLink, nfs.NFSStatusMlink},
		{nfs.NFSProcedureMkDir, vfs.BadType, nfs.NFSStatusNotSupp},
		{nfs.NFSProcedureMkNod, vfs.BadType, nfs.NFSStatusBadType},
		{nfs.NFSProcedureLink, vfs.IsDir, nfs.NFSStatusInval},
		{nfs.NFSProcedureRmDir, vfs.NotEmpty, nfs.NFSStatusNotEmpty},
		{nfs.NFSProcedureRemove, vfs.NotEmpty, nfs.NFSStatusAccess},
		{nfs.NFSProcedureReadDir, vfs.TooSmall, nfs.NFSStatusTooSmall},
		{nfs.NFSProcedureReadDir, vfs.NotSupp, nfs.NFSStatusAccess},
		{nfs.NFSProcedureReadDirPlus, vfs.NotSupp, nfs.NFSStatusNotSupp},
		{nfs.NFSProcedureFSStat, vfs.Again, nfs.NFSStatusServerFault},
	} {
		if got := wireStatus(uint32(tt.proc), tt.in); got != uint32(tt.want) {
			t.Errorf("%v: %v becomes %d, want %d", tt.proc, tt.in, got, tt.want)
		}
	}
}

// TestTablesAreDisjoint: what the RFC names is not listed as forgotten by it.
func TestTablesAreDisjoint(t *testing.T) {
	for p := range numProcs {
		for _, s := range besides[p] {
			if slices.Contains(named[p], s) || slices.Contains(everywhere, s) {
				t.Errorf("%s: %v is in two tables", procNames[p], s)
			}
		}
		for _, s := range named[p] {
			if slices.Contains(everywhere, s) {
				t.Errorf("%s: %v is in two tables", procNames[p], s)
			}
		}
	}
}

func TestStatusOfForeignErrors(t *testing.T) {
	err := &vfs.Error{Status: vfs.NoSpc, Op: "write", Err: errors.New("disk is full")}
	if got := wireStatus(uint32(nfs.NFSProcedureWrite), vfs.StatusOf(err)); got != uint32(nfs.NFSStatusNoSPC) {
		t.Errorf("%d", got)
	}
}
