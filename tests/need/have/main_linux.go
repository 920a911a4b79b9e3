// Command have prints what its machine has of the things that tests may need, separated by commas: SHEAF_REQUIRED for a
// run of the tests in which none of them stays away that could run. Guests are not tried: to boot one takes minutes.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sheaf/tests/need"
)

func main() {
	scratch, err := os.MkdirTemp("", "sheaf-have")
	if err != nil {
		fmt.Fprintln(os.Stderr, "have:", err)
		os.Exit(1)
	}
	defer os.RemoveAll(scratch)
	var have []string
	for _, t := range []struct {
		thing string
		try   func(scratch, thing string) error
	}{
		{need.Root, root},
		{need.Descriptors, descriptors},
		{need.Memory, memory},
		{need.Fanotify, fanotify},
		{need.Loop, loop},
		{"ext4", image},
		{"ext4-128", image},
		{"xfs", image},
		{"btrfs", image},
		{"tmpfs", tmpfs},
		{"overlay", overlay},
	} {
		if err := t.try(scratch, t.thing); err != nil {
			fmt.Fprintf(os.Stderr, "have: no %s: %v\n", t.thing, err)
			continue
		}
		have = append(have, t.thing)
	}
	fmt.Println(strings.Join(have, ","))
}

func root(_, _ string) error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("this is uid %d", uid)
	}
	return unix.Access("/proc/self/fd", unix.R_OK)
}

func descriptors(_, _ string) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if lim.Cur < need.ManyDescriptors {
		return fmt.Errorf("the limit is %d, less than %d", lim.Cur, need.ManyDescriptors)
	}
	return nil
}

func memory(_, _ string) error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return fmt.Errorf("/proc/meminfo: %w", err)
	}
	if kib<<10 < need.MuchMemory {
		return fmt.Errorf("%d KiB are available, less than %d", kib, need.MuchMemory>>10)
	}
	return nil
}

// fanotify asks for names of a whole file system's objects, as a watch does.
func fanotify(scratch, _ string) error {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_DFID_NAME, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_CREATE|unix.FAN_ONDIR, unix.AT_FDCWD, scratch)
}

func loop(_, _ string) error { return run("losetup", "--find") }

// image makes a file system in a file and mounts it.
func image(scratch, kind string) error {
	img := filepath.Join(scratch, "image."+kind)
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(img, 320<<20); err != nil { // the least that xfs takes is 300 MiB
		return err
	}
	fs, inode, small := strings.Cut(kind, "-")
	args := []string{"mkfs." + fs, "-q", img}
	if small {
		args = []string{"mkfs." + fs, "-q", "-I", inode, img}
	}
	if err := run(args...); err != nil {
		return err
	}
	return mounted(scratch, "-o", "loop", img)
}

func tmpfs(scratch, _ string) error { return mounted(scratch, "-t", "tmpfs", "tmpfs") }

func overlay(scratch, _ string) error {
	dirs := make(map[string]string)
	for _, name := range []string{"lowerdir", "upperdir", "workdir"} {
		dirs[name] = filepath.Join(scratch, name)
		if err := os.MkdirAll(dirs[name], 0o700); err != nil {
			return err
		}
	}
	return mounted(scratch, "-t", "overlay", "overlay", "-o",
		fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dirs["lowerdir"], dirs["upperdir"], dirs["workdir"]))
}

// mounted reports whether something can be mounted.
func mounted(scratch string, args ...string) error {
	at := filepath.Join(scratch, "mnt")
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	if err := run(append(append([]string{"mount"}, args...), at)...); err != nil {
		return err
	}
	return run("umount", at)
}

func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
