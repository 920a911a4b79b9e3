//go:build linux || darwin || freebsd

package local

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs/volume"
)

// The marker as it lies on disks, format for format.
const (
	markerFormat1 = `{
  "format": 1,
  "volume": "000102030405060708090a0b0c0d0e0f",
  "name": "disk1",
  "share": "abababababababababababababababab",
  "root": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
  "key": "efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef",
  "epoch": 3,
  "members": [
    {
      "volume": "000102030405060708090a0b0c0d0e0f",
      "name": "disk1"
    }
  ],
  "birth": {
    "Ino": 12,
    "Birth": 34,
    "Gen": 56,
    "Sub": 0
  }
}
`
	markerFormat2 = `{
  "format": 2,
  "volume": "000102030405060708090a0b0c0d0e0f",
  "name": "disk1",
  "share": "abababababababababababababababab",
  "root": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
  "key": "efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef",
  "epoch": 7,
  "members": [
    {
      "volume": "000102030405060708090a0b0c0d0e0f",
      "name": "disk1",
      "mode": "nc",
      "epoch": 6
    }
  ],
  "removed": [
    {
      "volume": "101112131415161718191a1b1c1d1e1f",
      "name": "disk2",
      "epoch": 7,
      "lost": true
    }
  ],
  "birth": {
    "Ino": 12,
    "Birth": 34,
    "Gen": 56,
    "Sub": 0
  }
}
`
)

// goldenMarker is what markerFormat1 says, or markerFormat2.
func goldenMarker(format int) volume.Marker {
	m := *testMarker()
	m.Format, m.Name, m.Volume = format, "disk1", "000102030405060708090a0b0c0d0e0f"
	m.Birth = volume.Identity{Key: volume.Key{Ino: 12, Birth: 34}, Gen: 56}
	if format == 1 {
		m.Epoch, m.Members = 3, []volume.Member{{Volume: m.Volume, Name: "disk1"}}
		return m
	}
	m.Epoch, m.Members = 7, []volume.Member{{Volume: m.Volume, Name: "disk1", Mode: volume.NoCreate, Epoch: 6}}
	m.Removed = []volume.Removed{{Volume: "101112131415161718191a1b1c1d1e1f", Name: "disk2", Epoch: 7, Lost: true}}
	return m
}

func TestMarkerBytes(t *testing.T) {
	for format, text := range map[int]string{1: markerFormat1, 2: markerFormat2} {
		want := goldenMarker(format)
		got, err := decodeMarker([]byte(text))
		if err != nil || got.Epoch != want.Epoch || got.Birth != want.Birth || got.Format != format ||
			!slices.Equal(got.Members, want.Members) || !slices.Equal(got.Removed, want.Removed) {
			t.Errorf("format %d: %+v, %v", format, got, err)
		}
		if b, err := encodeMarker(&want); err != nil || string(b) != text {
			t.Errorf("format %d is written %s, %v", format, b, err)
		}
	}
	for _, bad := range []string{
		strings.Replace(markerFormat2, `"nc"`, `"xx"`, 1),
		strings.Replace(markerFormat2, `"101112`, `"zz1112`, 1),
		strings.Replace(markerFormat2, `"format": 2`, `"format": 0`, 1),
		strings.Replace(markerFormat2, `"format": 2`, `"format": -1`, 1),
	} {
		if m, err := decodeMarker([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s is read as %+v, %v", bad, m, err)
		}
	}
}
