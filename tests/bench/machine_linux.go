package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine says in a line what the run was made on, with the file system of dir.
func machine(dir string) string {
	kernel := "an unknown kernel"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = "Linux " + strings.SplitN(unix.ByteSliceToString(u.Release[:]), "-", 2)[0]
	}
	var info unix.Sysinfo_t
	memory := ""
	if unix.Sysinfo(&info) == nil {
		memory = fmt.Sprintf(", %.0f GiB of memory", float64(info.Totalram)*float64(info.Unit)/(1<<30))
	}
	disk, err := fileSystem(dir)
	if err != nil {
		disk = "an unknown file system"
	}
	return fmt.Sprintf("%d processors%s%s, %s, %s", runtime.NumCPU(), processor(), memory, kernel, disk)
}

// processor is the processors' model, in brackets, if the host tells.
func processor() string {
	said, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(said)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}
