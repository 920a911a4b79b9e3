package meta

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sheaf/vfs"
)

var update = flag.Bool("update", false, "write the golden bytes anew")

// sample is one row of each shape; nothing here may ever change without a new Format.
func sample() []struct {
	name string
	op   op
} {
	dir := vfs.NodeID{0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xdf}
	child := vfs.NodeID{0xc0, 15: 0xcf}
	vol := VolumeID{0xa0, 15: 0xaf}
	at := vfs.Time{Sec: 0x65000000, Nsec: 999_999_999}
	node := &Node{
		ID: child, Type: vfs.Regular, Birth: vfs.Birth{Volume: 1, Ino: 2, Gen: 3, Sub: 4},
		Copies: []Copy{{vol, Identity{Ino: 5, Birth: -6, Gen: 7, Sub: 8}}},
		Places: []Place{{dir, vfs.MustName("a")}, {dir, vfs.MustName("\xff.txt")}},
	}
	root := &Node{ID: dir, Type: vfs.Directory}
	entry := &Entry{Cookie: 0x0102030405060708, Name: vfs.MustName("x.conflict-b"), On: vfs.MustName("x"), Child: child, Volumes: SetOf(vol, VolumeID{0xa0}), Type: vfs.Symlink}
	bare := &Entry{Cookie: vfs.FirstCookie, Name: vfs.MustName(strings.Repeat("n", vfs.NameMax)), Volumes: SetOf(vol)}
	dc := &storedCopy{DirCopy{Volume: vol, Version: Version{Ino: 9, Ctime: at, Mtime: vfs.Time{Sec: -1}}, Listed: at, Proof: true, Complete: true}, 5}
	settled := &storedCopy{DirCopy{Volume: vol, Version: Version{Ino: 9}, Complete: true, Settled: true}, 0x01020304}
	row := func(k []byte, v func(k []byte) []byte) op { return op{k, v(k)} }
	return []struct {
		name string
		op   op
	}{
		{"node", row(nodeKey(child), func(k []byte) []byte { return encodeNode(k, node) })},
		{"root", row(nodeKey(dir), func(k []byte) []byte { return encodeNode(k, root) })},
		{"entry", row(entryKey(dir, entry.Cookie), func(k []byte) []byte { return encodeEntry(k, entry) })},
		{"bare-entry", row(entryKey(dir, bare.Cookie), func(k []byte) []byte { return encodeEntry(k, bare) })},
		{"copy", row(copyKey(dir, vol), func(k []byte) []byte { return encodeCopy(k, dc) })},
		{"settled-copy", row(copyKey(dir, vol), func(k []byte) []byte { return encodeCopy(k, settled) })},
		{"absence", row((&Store{opt: Options{Absences: 1000}}).absenceKey(123_456), func(k []byte) []byte {
			return encodeAbsence(k, &storedAbsence{Absence{dir, vfs.MustName("none"), 0x0102030405060708, at}, 9})
		})},
		{"collision", row(collisionKey(dir, vfs.MustName("name")), func(k []byte) []byte { return encodeCollision(k, vfs.MaxCookie) })},
		{"format", row(keyFormat, func(k []byte) []byte { return appendSum(k, be.AppendUint32(nil, Format)) })},
		{"open", row(keyOpen, func(k []byte) []byte { return appendSum(k, be.AppendUint32(nil, 1)) })},
		{"session", row(keySession, func(k []byte) []byte { return appendSum(k, be.AppendUint32(nil, 7)) })},
		{"void", row(keyVoid, func(k []byte) []byte { return appendSum(k, be.AppendUint32(nil, 6)) })},
		{"lost", row(keyLost, func(k []byte) []byte { return appendSum(k, be.AppendUint32(nil, 5)) })},
		{"whole", row(keyWhole, func(k []byte) []byte { return appendSum(k, be.AppendUint32(nil, 1)) })},
	}
}

func TestGoldenBytes(t *testing.T) {
	var got bytes.Buffer
	for _, s := range sample() {
		fmt.Fprintf(&got, "%s\n\t%x\n\t%x\n", s.name, s.op.key, s.op.value)
	}
	file := filepath.Join("testdata", "rows.golden")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("bytes on disk changed: raise Format and migrate.\ngot\n%s\nwant\n%s", got.Bytes(), want)
	}
}

// recode decodes a row and encodes it again.
func recode(key, value []byte) ([]byte, []byte, error) {
	switch key[0] {
	case kindNode:
		n, err := decodeNode(key, value)
		k := nodeKey(n.ID)
		return k, encodeNode(k, &n), err
	case kindAbsence:
		a, err := decodeAbsence(key, value)
		return bytes.Clone(key), encodeAbsence(key, &a), err
	case kindEntry:
		r, _ := parseKey(key)
		e, err := decodeEntry(key, value)
		k := entryKey(r.node, e.Cookie)
		return k, encodeEntry(k, &e), err
	case kindCopy:
		r, _ := parseKey(key)
		c, err := decodeCopy(key, value)
		k := copyKey(r.node, c.Volume)
		return k, encodeCopy(k, &c), err
	default:
		r, _ := parseKey(key)
		c, err := decodeCollision(key, value)
		k := collisionKey(r.node, c.Name)
		return k, encodeCollision(k, c.Cookie), err
	}
}

func TestRowsDecodeAsTheyWere(t *testing.T) {
	for _, s := range sample() {
		if s.op.key[0] == kindMeta {
			continue
		}
		k, v, err := recode(s.op.key, s.op.value)
		if err != nil || !bytes.Equal(k, s.op.key) || !bytes.Equal(v, s.op.value) {
			t.Errorf("%s: got %x %x, %v", s.name, k, v, err)
		}
	}
}

// Every bit of every value and key matters, and so does each byte's being there.
func TestDamageIsSeen(t *testing.T) {
	for _, s := range sample() {
		if s.op.key[0] == kindMeta {
			continue
		}
		for i := range len(s.op.value) * 8 {
			bad := bytes.Clone(s.op.value)
			bad[i/8] ^= 1 << (i % 8)
			if _, _, err := recode(s.op.key, bad); err == nil {
				t.Errorf("%s: flipped bit %d is not seen", s.name, i)
			}
		}
		for n := range len(s.op.value) {
			if _, _, err := recode(s.op.key, s.op.value[:n]); err == nil {
				t.Errorf("%s: cut to %d bytes is not seen", s.name, n)
			}
		}
		moved := bytes.Clone(s.op.key)
		moved[5] ^= 1
		if _, _, err := recode(moved, s.op.value); err == nil {
			t.Errorf("%s: a row in the place of another is not seen", s.name)
		}
	}
}

func TestKeysSortByCookie(t *testing.T) {
	dir := vfs.NodeID{1}
	last := entryKey(dir, vfs.FirstCookie)
	for _, c := range []vfs.Cookie{4, 255, 256, 1 << 32, vfs.MaxCookie} {
		k := entryKey(dir, c)
		if bytes.Compare(last, k) >= 0 {
			t.Errorf("key of cookie %d does not follow", c)
		}
		last = k
	}
}

func TestALongListOfNamesIsCut(t *testing.T) {
	n := Node{ID: vfs.NodeID{1}, Type: vfs.Regular}
	for i := range MaxPlaces + 5 {
		n.Places = append(n.Places, Place{vfs.NodeID{2}, vfs.MustName(fmt.Sprint(i))})
		n.Copies = append(n.Copies, Copy{})
	}
	k := nodeKey(n.ID)
	got, err := decodeNode(k, encodeNode(k, &n))
	if err != nil || !reflect.DeepEqual(got.Places, n.Places[:MaxPlaces]) || len(got.Copies) != MaxCopies {
		t.Errorf("%d places and %d copies, %v", len(got.Places), len(got.Copies), err)
	}
}

// fuzz feeds a decoder with values whose sum is right, so that what lies behind the
// sum is reached, and demands that what decodes has one encoding.
func fuzz(f *testing.F, kind byte) {
	f.Helper()
	for _, s := range sample() {
		if s.op.key[0] == kind {
			f.Add(s.op.key[1:], s.op.value[:len(s.op.value)-sumSize])
		}
	}
	f.Fuzz(func(t *testing.T, key, payload []byte) {
		k := append([]byte{kind}, key...)
		v := appendSum(k, bytes.Clone(payload))
		k2, v2, err := recode(k, v)
		if err == nil && (!bytes.Equal(k, k2) || !bytes.Equal(v, v2)) {
			t.Errorf("%x %x decodes, and encodes to %x %x", k, v, k2, v2)
		}
		if rowName(k) == "" {
			t.Error("a row without a name")
		}
	})
}

func FuzzNode(f *testing.F)      { fuzz(f, kindNode) }
func FuzzEntry(f *testing.F)     { fuzz(f, kindEntry) }
func FuzzCopy(f *testing.F)      { fuzz(f, kindCopy) }
func FuzzAbsence(f *testing.F)   { fuzz(f, kindAbsence) }
func FuzzCollision(f *testing.F) { fuzz(f, kindCollision) }
