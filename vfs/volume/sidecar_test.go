package volume

import "testing"

// TestSidecarName: the name of a sidecar is what it was, and leads back.
func TestSidecarName(t *testing.T) {
	id := Identity{Key: Key{Ino: 0x1234, Birth: -1}, Gen: 7, Sub: 257}
	bucket, name := SidecarName(id)
	if bucket != "34" || name != "000000000000123400000007ffffffffffffffff0000000000000101" {
		t.Errorf("%s/%s", bucket, name)
	}
	if back, ok := ParseSidecarName(name); !ok || back != id {
		t.Errorf("%+v, %v", back, ok)
	}
	for _, bad := range []string{"", "34", name + ".tmp-0123", name[2:], "000000000000123400000007FFFFFFFFFFFFFFFF0000000000000101"} {
		if _, ok := ParseSidecarName(bad); ok {
			t.Errorf("%q is taken for a sidecar", bad)
		}
	}
}
