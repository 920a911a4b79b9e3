package nfsd

import (
	"bytes"
	"encoding/hex"
	"testing"

	"sheaf/vfs"
)

func testKey() handleKey {
	var secret [32]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	return newHandleKey(secret)
}

var testNode = vfs.Node{
	ID: vfs.NodeID{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f},
	Birth: vfs.Birth{
		Volume: 0x2021222324252627, Ino: 0x3031323334353637, Gen: 0x40414243, Sub: 0x50515253,
	},
}

// goldenHandle may never change under this version: clients hold such handles.
const goldenHandle = "01000000" + "6061626364656667" + "101112131415161718191a1b1c1d1e1f" +
	"2021222324252627" + "3031323334353637" + "40414243" + "50515253" + "49f9c614d190a707"

func TestHandleGolden(t *testing.T) {
	const export = 0x6061626364656667
	b := testKey().append([]byte("before"), export, testNode)
	if got := hex.EncodeToString(b[len("before"):]); got != goldenHandle {
		t.Errorf("\ngot  %s\nwant %s", got, goldenHandle)
	}
	h, ok := testKey().parse(b[len("before"):])
	if !ok || h.export != export || h.node != testNode {
		t.Errorf("parsed as %+v, %v", h, ok)
	}
	if len(goldenHandle)/2 != handleLen || handleLen > fhMax || handleLen%4 != 0 {
		t.Errorf("%d bytes", handleLen)
	}
}

// TestExportIDGolden: export ids stand in handles too.
func TestExportIDGolden(t *testing.T) {
	if got, want := testKey().exportID(testNode.ID), uint64(0x4119061cf7998552); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}

func TestHandleOfAnotherShare(t *testing.T) {
	b := newHandleKey([32]byte{1}).append(nil, 1, testNode)
	if _, ok := testKey().parse(b); ok {
		t.Error("a handle under another key is believed")
	}
	if _, ok := testKey().parse(testKey().append(nil, 1, vfs.Node{})); ok {
		t.Error("a handle of no object is believed")
	}
	b = testKey().append(nil, 1, testNode)
	b[0] = 2 // the version is under the MAC, but is looked at by itself, too
	if _, ok := testKey().parse(b); ok {
		t.Error("another version is believed")
	}
}

// FuzzHandle: what parses is what append makes, byte for byte.
func FuzzHandle(f *testing.F) {
	k := testKey()
	good := k.append(nil, 7, testNode)
	f.Add(good)
	f.Add(good[:handleLen-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Add(make([]byte, handleLen))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := k.parse(b)
		if ok && !bytes.Equal(k.append(nil, h.export, h.node), b) {
			t.Errorf("% x parses as %+v, which is another handle", b, h)
		}
	})
}
