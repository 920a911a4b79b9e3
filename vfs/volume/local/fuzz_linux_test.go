package local

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sheaf/vfs/volume"
)

// Events as a kernel on a little-endian host told them, of ext4, read at once after
// "touch f; chmod 600 f; mv f g; rm g; mkdir d; chmod 700 d; rmdir d".
const (
	fanotifySaid = "54000000030018000c01000000000000ffffffff942100000200200059d9f99b52af9001080000000100000002000000000000006600" +
		"000001001c0059d9f99b52af900108000000010000000f000000eb8a52a554000000030018000400000000000000ffffffff95210000" +
		"0200200059d9f99b52af9001080000000100000002000000000000006600000001001c0059d9f99b52af900108000000010000000f00" +
		"0000eb8a52a554000000030018004000000000000000ffffffff962100000200200059d9f99b52af9001080000000100000002000000" +
		"000000006600000001001c0059d9f99b52af900108000000010000000f000000eb8a52a554000000030018008000000000000000ffff" +
		"ffff962100000200200059d9f99b52af9001080000000100000002000000000000006700000001001c0059d9f99b52af900108000000" +
		"010000000f000000eb8a52a534000000030018000400000000000000ffffffff9721000001001c0059d9f99b52af9001080000000100" +
		"00000f000000eb8a52a554000000030018000002000000000000ffffffff972100000200200059d9f99b52af90010800000001000000" +
		"02000000000000006700000001001c0059d9f99b52af900108000000010000000f000000eb8a52a55400000003001800000100400000" +
		"0000ffffffff982100000200200059d9f99b52af9001080000000100000002000000000000006400000001001c0059d9f99b52af9001" +
		"0800000001000000010800001dc0b75538000000030018000400004000000000ffffffff992100000200200059d9f99b52af90010800" +
		"000001000000010800001dc0b7552e00000054000000030018000002004000000000ffffffff9a2100000200200059d9f99b52af9001" +
		"080000000100000002000000000000006400000001001c0059d9f99b52af90010800000001000000010800001dc0b755"
	inotifySaid = "010000000001000000000000100000006600000000000000000000000000000001000000040000000000000010000000660000000000" +
		"000000000000000000000100000008000000000000001000000066000000000000000000000000000000010000000400000000000000" +
		"1000000066000000000000000000000000000000010000004000000021464e0310000000660000000000000000000000000000000100" +
		"00008000000021464e031000000067000000000000000000000000000000010000000002000000000000100000006700000000000000" +
		"000000000000000001000000000100400000000010000000640000000000000000000000000000000100000004000040000000001000" +
		"0000640000000000000000000000000000000100000000020040000000001000000064000000000000000000000000000000"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func skipNone(uint64, int32) bool { return false }

// TestOwnEventsAreCounted: but for who is tried, our own events are one news, and those of others are told as ever.
func TestOwnEventsAreCounted(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("these events are a little-endian host's")
	}
	const wrote, renamed = 0x2196, 0x2197 // processes
	for _, c := range []struct {
		pid    int32
		inFull bool
		times  int // of what is told as our own without more
		others int
	}{
		{pid: wrote, times: 2, others: 7},
		{pid: renamed, times: 2, others: 7},
		{pid: 1, others: 9},
		{pid: wrote, inFull: true, others: 9},
	} {
		s := &news{t: t}
		w := &fanotify{
			stream: &stream{buf: make([]byte, watchBuffer), sink: s}, magic: unix.EXT4_SUPER_MAGIC, pid: c.pid,
			inFull: func() bool { return c.inFull },
		}
		if err := w.tell(unhex(t, fanotifySaid)); err != nil {
			t.Fatal(err)
		}
		times, others := 0, 0
		for _, n := range s.all {
			if n == (volume.News{Own: true, Times: n.Times}) {
				times += n.Times
			} else {
				others++
			}
		}
		if times != c.times || others != c.others || len(s.lost) > 0 {
			t.Errorf("%+v: %d of our own and %d others, lost %q", c, times, others, s.lost)
		}
	}
}

// TestParseEvents reads what a kernel wrote.
func TestParseEvents(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("these events are a little-endian host's")
	}
	w := &fanotify{magic: unix.EXT4_SUPER_MAGIC}
	var got []string
	err := parseFanotify(unhex(t, fanotifySaid), skipNone, func(e *fanEvent) {
		n, why := w.news(e)
		got = append(got, fmt.Sprintf("%x %d %q %v %v%s", e.mask, n.Dir, n.Name.String(), n.Ino, n.IsDir, why))
	})
	want := []string{
		`10c 2 "f" 15 false`, `4 0 "" 15 false`, `40 2 "f" 15 false`, `80 2 "g" 15 false`, `4 0 "" 15 false`, `200 2 "g" 15 false`,
		`40000100 2 "d" 2049 true`, `40000004 0 "" 2049 true`, `40000200 2 "d" 2049 true`,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %q", err, got)
	}
	got = nil
	err = parseInotify(unhex(t, inotifySaid), func(e inEvent) { got = append(got, fmt.Sprintf("%d %x %s", e.wd, e.mask, e.name)) })
	want = []string{
		"1 100 f", "1 4 f", "1 8 f", "1 4 f", "1 40 f", "1 80 g", "1 200 g", "1 40000100 d", "1 40000004 d", "1 40000200 d",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %q", err, got)
	}
}

// FuzzFanotify: whatever the bytes, what is told lies within them, and of what cannot be read nothing is made up.
func FuzzFanotify(f *testing.F) {
	good := unhex(f, fanotifySaid)
	f.Add(good)
	for _, cut := range []int{1, fanotifyHead, fanotifyHead + 3, len(good) - 1} {
		f.Add(good[:cut])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &fanotify{magic: unix.EXT4_SUPER_MAGIC}
		total := 0
		err := parseFanotify(b, skipNone, func(e *fanEvent) {
			total += fanotifyHead + len(e.dir) + len(e.obj) + len(e.name)
			if len(e.dir) > handleMax || len(e.obj) > handleMax {
				t.Errorf("a handle of %d or %d bytes", len(e.dir), len(e.obj))
			}
			n, why := w.news(e)
			if e.mask&fanotifyNames != 0 && why == "" && n.Dir == 0 && len(e.dir) >= 8 && binary.NativeEndian.Uint32(e.dir) != 0 {
				t.Errorf("a change of names is not told: %+v", e)
			}
		})
		if total > len(b) {
			t.Errorf("%d bytes of events in %d", total, len(b))
		}
		if err == nil && len(b) > 0 && total == 0 {
			t.Errorf("%d bytes without an event", len(b))
		}
	})
}

// FuzzInotify: the same of inotify's.
func FuzzInotify(f *testing.F) {
	good := unhex(f, inotifySaid)
	f.Add(good)
	for _, cut := range []int{1, inotifyHead, inotifyHead + 3, len(good) - 1} {
		f.Add(good[:cut])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		err := parseInotify(b, func(e inEvent) { total += inotifyHead + len(e.name) })
		if total > len(b) || err == nil && len(b) > 0 && total == 0 {
			t.Errorf("%d bytes of events in %d, %v", total, len(b), err)
		}
	})
}
