package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// apart installs what is missing and compares in a child that has its processes and mounts to itself: whatever ends it, nothing of it is left, for the kernel ends
// all processes of a PID namespace with its first, and unmounts what only they saw. Who is not root compares without,
// and without the servers that only root may run.
func (o *options) apart(dir string, out, progress io.Writer) error {
	o.dir = dir
	if os.Geteuid() != 0 {
		fmt.Fprintf(progress, "only root may run nfs-ganesha, and install packages: %s\n", strings.Join(o.packages(), " "))
		return o.comparison(progress).compare(out)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.install(ctx, progress); err != nil { // who is missing is left out
		fmt.Fprintln(progress, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"child-compare"}, o.args...)
	child := exec.CommandContext(ctx, self, append(args, "-dir", dir, "-sheaf", o.sheaf)...) // killed at a signal, and all below it
	child.Stdout, child.Stderr = out, progress
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the child (prctl(2))
	defer runtime.UnlockOSThread()
	if err := child.Run(); err != nil {
		return fmt.Errorf("comparison: %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// packages are Debian's that the chosen peers lack.
func (o *options) packages() (packs []string) {
	for name := range strings.SplitSeq(o.peers, ",") {
		_, more := lacking(name)
		packs = append(packs, more...)
	}
	if !(need{what: "strace"}).have() {
		packs = append(packs, "strace")
	}
	slices.Sort(packs)
	return slices.Compact(packs)
}

// policy is the script that Debian's packages ask whether they may start their services; 101 is no (invoke-rc.d(8)).
const policy = "/usr/sbin/policy-rc.d"

// install gets the packages, and keeps them from starting services.
func (o *options) install(ctx context.Context, progress io.Writer) (err error) {
	packs := o.packages()
	if len(packs) == 0 {
		return nil
	}
	f, err := os.OpenFile(policy, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	switch {
	case err == nil:
		_, err = f.WriteString("#!/bin/sh\nexit 101\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(policy)) }()
	case !errors.Is(err, os.ErrExist): // who has one has decided
		return err
	}
	for _, args := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, packs...)} {
		apt := exec.CommandContext(ctx, "apt-get", append([]string{"-q"}, args...)...)
		apt.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		apt.Stdout, apt.Stderr = progress, progress
		if err := apt.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", strings.Join(args, " "), err)
		}
	}
	return nil
}

// settle makes the namespaces usable, if this process is the first of its own.
func settle() error {
	if os.Getpid() != 1 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil { // of these processes
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// fileSystem names what a directory lies on.
func fileSystem(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	for magic, name := range map[uint32]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs"} {
		if uint32(st.Type) == magic {
			return name, nil
		}
	}
	return fmt.Sprintf("a file system of type %#x", uint32(st.Type)), nil
}
