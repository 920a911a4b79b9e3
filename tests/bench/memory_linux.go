package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// memory is what a process holds of the machine's memory, in bytes: resident, without the pages of mapped files, which the host takes back
// when it likes (proc_pid_status(5): VmRSS less RssFile).
func memory(pid int) (int64, error) {
	name := fmt.Sprintf("/proc/%d/status", pid)
	said, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, field := range []string{"RssAnon:", "RssShmem:"} {
		var kib int64
		_, after, _ := bytes.Cut(said, []byte(field))
		if _, err := fmt.Sscan(string(after), &kib); err != nil {
			return 0, fmt.Errorf("%s: %s %w", name, field, err)
		}
		sum += kib << 10
	}
	return sum, nil
}

// allocated is how much of the disk a file takes, in bytes: the index makes its files larger than what it has written.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
