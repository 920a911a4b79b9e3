package union

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// privateFiles are the small files of ours that a start reads.
var privateFiles = []vfs.Name{displacedName, intentsName, conflictsName}

// FuzzPrivate starts a share with any bytes in a file of ours, beside an object that the
// file may be about. The start may be refused, by the name of the volume; it may not
// panic, and nothing that the volumes hold is lost, whether the file is left there or not.
func FuzzPrivate(f *testing.F) {
	node := `{"id":"0123456789abcdef0123456789abcdef","volume":1,"ino":1,"gen":1}`
	for _, b := range []string{
		"", "{", "null", "[]", "{}", `"text"`, "\x00\xff", strings.Repeat("[", 10_000), `{"dir":` + node + `}`,
		`{"dir":` + node + `,"name":"aw==","phys":"aw==","successor":` + node + `}`,
		`{"dir":` + node + `,"name":"Li4=","phys":"Lw==","successor":` + node + `}`, // ".." and "/"
		`{"node":` + node + `,"from":` + node + `,"to":` + node + `,"from_name":"Li4=","to_name":"aw=="}`,
		`{"dir":"0123456789abcdef0123456789abcdef","name":"a2VwdA==","holder":"x"}`,
		`{"dir":"zz","name":"","holder":""}`,
	} {
		for i := range privateFiles {
			f.Add(uint8(i), []byte(b))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		s := memShare(t, 2, nil)
		s.open(t)
		kept := s.mk(t, s.root(t), "kept", vfs.Regular)
		dir := privateFiles[int(which)%len(privateFiles)]
		v := s.u.vol(0)
		if err := v.writePrivate(t.Context(), dir, vfs.MustName("1.json"), b); err != nil {
			t.Fatal(err)
		}
		if err := v.writePrivate(t.Context(), dir, vfs.MustName("1"), []byte("set aside")); err != nil {
			t.Fatal(err)
		}
		s.close(t)
		for i := range s.mems {
			s.mems[i] = s.mems[i].Reopen()
			s.vols[i] = s.mems[i]
		}
		o := s.opt
		o.Volumes = s.vols
		u, err := Open(context.Background(), o)
		if err != nil {
			if !strings.Contains(err.Error(), "v0") {
				t.Fatalf("refused, and the volume is not named: %v", err)
			}
			removeRecord(t, s.vols[0], dir)
			s.open(t)
		} else {
			s.u = u
		}
		if got := s.look(t, s.root(t), "kept", vfs.OK); got.Node.ID != kept.Node.ID {
			t.Errorf("another object has the name")
		}
		if !json.Valid(b) {
			stays(t, s.vols[0], dir)
		}
	})
}

// stays wants what lies beside a record that cannot be read.
func stays(t testing.TB, v volume.Volume, dir vfs.Name) {
	t.Helper()
	d, err := v.Private().OpenDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := d.StatAt(t.Context(), vfs.MustName("1")); err != nil {
		t.Errorf("what was set aside is lost: %v", err)
	}
}

// removeRecord removes the file, as a person would.
func removeRecord(t testing.TB, v volume.Volume, dir vfs.Name) {
	t.Helper()
	d, err := v.Private().OpenDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Unlink(t.Context(), vfs.MustName("1.json")); err != nil {
		t.Fatal(err)
	}
}
