//go:build linux || darwin || freebsd

package local

import (
	"bytes"
	"slices"
	"testing"

	"sheaf/vfs"
)

// FuzzACL: what can be read is written back byte for byte, but for ids that mean nothing.
func FuzzACL(f *testing.F) {
	f.Add(encodeACL(vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 7}, {Tag: vfs.ACLUser, Perm: 5, ID: 1}, {Tag: vfs.ACLMask, Perm: 1}, {Tag: vfs.ACLOther}}))
	f.Add([]byte{2, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 1, 0, 7})
	f.Add([]byte{1, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseACL(b)
		if err != nil || len(b) == 0 {
			return
		}
		again, err := parseACL(encodeACL(a))
		if err != nil || !slices.Equal(a, again) || len(encodeACL(a)) != len(b) {
			t.Errorf("%v became %v, %v", a, again, err)
		}
	})
}

// FuzzMarker: what is accepted is written back to what reads the same.
func FuzzMarker(f *testing.F) {
	m := testMarker()
	m.Format, m.Volume = 1, "00112233445566778899aabbccddeeff"
	good, err := encodeMarker(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"volume":null}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMarker(b)
		if err != nil {
			return
		}
		once, err := encodeMarker(&m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeMarker(once)
		if err != nil {
			t.Fatalf("%q was accepted and came back as %q: %v", b, once, err)
		}
		if twice, err := encodeMarker(&again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q became %q", once, twice)
		}
	})
}

// TestACLBytes pins the layout of <linux/posix_acl_xattr.h>.
func TestACLBytes(t *testing.T) {
	got := encodeACL(vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 6, ID: 9}, {Tag: vfs.ACLUser, Perm: 5, ID: 1001}})
	want := []byte{2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 5, 0, 0xe9, 3, 0, 0}
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}
