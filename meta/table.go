package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
)

// footerMax bounds the index of a table, in bytes: a table of the settings has 2 MiB and an index of a
// twentieth of it.
const footerMax = 64 << 20

var (
	errCut = errors.New("its end is missing")
	errSum = errors.New("its checksum is none")
)

// inspectTable sees that Badger can open a table. It reads, from the end: the length of a
// checksum[4], the checksum, the length of an index[4], the index; by it the last block, which
// ends like the table. A length that leads out of the file ends the process in Badger.
func inspectTable(path string) (err error) {
	defer func() {
		if r := recover(); r != nil { // flatbuffers does not check what it follows
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			err = fmt.Errorf("table %s: %w", filepath.Base(path), err)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	st, err := f.Stat()
	if err != nil {
		return err
	}
	sum, end, err := lengthBefore(f, st.Size())
	if err != nil {
		return err
	}
	index, _, err := lengthBefore(f, end)
	if err != nil {
		return err
	}
	if err := verify(index, sum); err != nil {
		return err
	}
	root := fb.GetRootAsTableIndex(index, 0)
	var last fb.BlockOffset
	if n := root.OffsetsLength(); n == 0 || !root.Offsets(&last, n-1) {
		return errors.New("it has no block")
	}
	return inspectBlock(f, int64(last.Offset()), int64(last.Len()))
}

// inspectBlock verifies a block: what it holds, its checksum, the length of that[4].
func inspectBlock(f *os.File, from, n int64) error {
	sum, end, err := lengthBefore(f, from+n)
	if err != nil {
		return err
	}
	if end < from || end-from > footerMax {
		return errCut
	}
	data := make([]byte, end-from)
	if _, err := f.ReadAt(data, from); err != nil {
		return err
	}
	return verify(data, sum)
}

// lengthBefore reads what is followed at end by its length[4], and is where it begins.
func lengthBefore(f *os.File, end int64) (b []byte, begin int64, err error) {
	var l [4]byte
	if end < int64(len(l)) {
		return nil, 0, errCut
	}
	if _, err := f.ReadAt(l[:], end-int64(len(l))); err != nil {
		return nil, 0, err
	}
	n := int64(binary.BigEndian.Uint32(l[:]))
	begin = end - int64(len(l)) - n
	if begin < 0 || n > footerMax {
		return nil, 0, errCut
	}
	b = make([]byte, n)
	_, err = f.ReadAt(b, begin)
	return b, begin, err
}

// verify compares data with a checksum as Badger stores it: a protocol buffer of two numbers, 1 the
// algorithm, left out where it is 0, and 2 the sum.
func verify(data, sum []byte) error {
	var field [3]uint64
	for len(sum) > 0 {
		tag := sum[0] // field<<3, of type varint
		v, n := binary.Uvarint(sum[1:])
		if n <= 0 || tag != 1<<3 && tag != 2<<3 {
			return errSum
		}
		field[tag>>3], sum = v, sum[1+n:]
	}
	algo := pb.Checksum_Algorithm(field[1])
	if algo != pb.Checksum_CRC32C && algo != pb.Checksum_XXHash64 { // Badger panics
		return errSum
	}
	return y.VerifyChecksum(data, &pb.Checksum{Algo: algo, Sum: field[2]})
}
