package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
	nfs "github.com/willscott/go-nfs"
)

// codec reads a result by the generated code and gives what writes it again.
type codec func(io.Reader) (io.WriterTo, error)

// by adapts a generated reader.
func by[T io.WriterTo](read func(io.Reader) (T, int64, error)) codec {
	return func(r io.Reader) (io.WriterTo, error) {
		m, _, err := read(r)
		return m, err
	}
}

// codecs are generated from the XDR of RFC 1813 by people who never saw our code.
var codecs = map[nfs.NFSProcedure]codec{
	nfs.NFSProcedureGetAttr:     by(nfsv3.ReadGetattr3res),
	nfs.NFSProcedureSetAttr:     by(nfsv3.ReadSetattr3res),
	nfs.NFSProcedureLookup:      by(nfsv3.ReadLookup3res),
	nfs.NFSProcedureAccess:      by(nfsv3.ReadAccess3res),
	nfs.NFSProcedureReadlink:    by(nfsv3.ReadReadlink3res),
	nfs.NFSProcedureRead:        by(nfsv3.ReadRead3res),
	nfs.NFSProcedureWrite:       by(nfsv3.ReadWrite3res),
	nfs.NFSProcedureCreate:      by(nfsv3.ReadCreate3res),
	nfs.NFSProcedureMkDir:       by(nfsv3.ReadMkdir3res),
	nfs.NFSProcedureSymlink:     by(nfsv3.ReadSymlink3res),
	nfs.NFSProcedureMkNod:       by(nfsv3.ReadMknod3res),
	nfs.NFSProcedureRemove:      by(nfsv3.ReadRemove3res),
	nfs.NFSProcedureRmDir:       by(nfsv3.ReadRmdir3res),
	nfs.NFSProcedureRename:      by(nfsv3.ReadRename3res),
	nfs.NFSProcedureLink:        by(nfsv3.ReadLink3res),
	nfs.NFSProcedureReadDir:     by(nfsv3.ReadReaddir3res),
	nfs.NFSProcedureReadDirPlus: by(nfsv3.ReadReaddirplus3res),
	nfs.NFSProcedureFSStat:      by(nfsv3.ReadFsstat3res),
	nfs.NFSProcedureFSInfo:      by(nfsv3.ReadFsinfo3res),
	nfs.NFSProcedurePathConf:    by(nfsv3.ReadPathconf3res),
	nfs.NFSProcedureCommit:      by(nfsv3.ReadCommit3res),
}

// checkOracle demands that the generated code reads a result and writes the same
// bytes. It insists on ASCII in names, so results with others are left out.
func checkOracle(tb testing.TB, proc nfs.NFSProcedure, r *result) {
	tb.Helper()
	read, ok := codecs[proc]
	if !ok || !r.ascii(proc) {
		return
	}
	m, err := read(bytes.NewReader(r.raw))
	if err != nil {
		tb.Fatalf("%v: the generated code cannot read the result: %v\n% x", proc, err, r.raw)
	}
	var again bytes.Buffer
	if _, err := m.WriteTo(&again); err != nil {
		tb.Fatalf("%v: %v", proc, err)
	}
	if !bytes.Equal(again.Bytes(), r.raw) {
		tb.Fatalf("%v: the generated code writes other bytes\ngot  % x\nwant % x", proc, r.raw, again.Bytes())
	}
}

// ascii reports whether names and targets in r are ASCII.
func (r *result) ascii(proc nfs.NFSProcedure) bool {
	text := ""
	if proc == nfs.NFSProcedureReadlink {
		text = string(r.data)
	}
	for _, e := range r.entries {
		text += e.name
	}
	return !strings.ContainsFunc(text, func(c rune) bool { return c > unicode.MaxASCII })
}
